"""The plots of a report, by matplotlib, which is imported only when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any

import numpy as np

from hessop.diagnostics.findings import Curve, Table
from hessop.diagnostics.report_parts import Section

__all__ = ["draw", "plots_of", "svg"]

_BLUE, _ORANGE = "#2f7fb8", "#c8553d"
# Stands for the colour of the text in a figure that is put into a page.
_INK = "#123457"
# Inches and points: of a figure that still has letters of 12 pixels on a page 400 pixels wide.
_SIZE, _LETTERS = (4.3, 3.1), 10.5
# Leaves that are shown, and letters of their names.
_MOST_LEAVES, _LONGEST_NAME = 10, 20
# The least density that is shown, relative to the highest.
_DEEP = 1e-6

Plot = tuple[str, str, Callable[[Any], None]]


def plots_of(section: Section) -> list[Plot]:
    """What there is to plot of a section.

    For each its title, words for who does not see it, and a function that draws it on axes.
    """
    found: list[Plot] = []
    for part in section.parts:
        if isinstance(part, Curve):
            found.append((part.title, _density_in_words(part), _density_on(part)))
        elif isinstance(part, Table) and part.columns[:1] == ("eigenvalue",) and part.rows:
            found.append((part.title, _eigenvalues_in_words(part), _eigenvalues_on(part)))
        elif isinstance(part, Table) and part.columns[:2] == ("leaf", "trace") and part.rows:
            found.append((part.title, _leaves_in_words(part), _leaves_on(part)))
    return found


def draw(sections: Sequence[Section]) -> Any:
    """All plots in one figure of pyplot.

    Raises
    ------
    ImportError
        When matplotlib is not installed.
    ValueError
        When there is nothing to plot.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "plot needs matplotlib, which is not installed. Run 'pip install matplotlib'."
        ) from error
    plots = [plot for section in sections for plot in plots_of(section)]
    if not plots:
        raise ValueError(
            "there is nothing to plot: no section with eigenvalues, leaves or a density is done. "
            "Raise the budget."
        )
    figure, axes = pyplot.subplots(
        1, len(plots), figsize=(4.6 * len(plots), 3.6), layout="constrained", squeeze=False
    )
    for axis, (title, _, paint) in zip(axes[0], plots, strict=True):
        paint(axis)
        axis.set_title(title)
    return figure


def svg(plot: Plot, name: str) -> str:
    """A plot as an SVG element for a page: in the page's colours, and reading itself out.

    Parameters
    ----------
    plot : tuple
        As `plots_of` gives it.
    name : str
        Of letters and hyphens, different for each plot of a page.

    Raises
    ------
    ImportError
        When matplotlib is not installed.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    _, words, paint = plot
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.family": "sans-serif",
        "font.size": _LETTERS,
        "axes.labelsize": _LETTERS,
        "xtick.labelsize": _LETTERS,
        "ytick.labelsize": _LETTERS,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), _INK),
        **dict.fromkeys(("xtick.color", "ytick.color"), _INK),
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=_SIZE, layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure.subplots())
        file = StringIO()
        figure.savefig(
            file,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
        )
    return _for_a_page(file.getvalue(), words, name)


def _for_a_page(content: str, words: str, name: str) -> str:
    """The SVG element alone, with names of its own and the colour of the text around it."""
    body = content[content.index("<svg") :]
    body = body[body.index(">") + 1 :]
    for before, after in (
        (' id="', f' id="{name}-'),
        ("url(#", f"url(#{name}-"),
        ('href="#', f'href="#{name}-'),
        ("xlink:href", "href"),
        (_INK, "currentColor"),
    ):
        body = body.replace(before, after)
    width, height = (72.0 * side for side in _SIZE)
    words = words.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return f'<svg role="img" aria-label="{words}" viewBox="0 0 {width:g} {height:g}">{body}'


# --- one kind after the other ---------------------------------------------------------------------


def _density_on(curve: Curve) -> Callable[[Any], None]:
    def paint(axes: Any) -> None:
        axes.fill_between(curve.x, curve.low, curve.high, color=_BLUE, alpha=0.3, linewidth=0)
        axes.plot(curve.x, curve.y, color=_BLUE)
        top = float(curve.y.max())
        axes.set(yscale="log", ylim=(_DEEP * top, 3.0 * top), xlabel="eigenvalue", ylabel="density")
        _plain_ticks(axes)

    return paint


def _plain_ticks(axes: Any) -> None:
    """Powers written as 1e-05: their superscripts would be too small to be read."""
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    axes.yaxis.set_minor_formatter(lambda y, _: "")


def _density_in_words(curve: Curve) -> str:
    peak = curve.x[int(np.argmax(curve.y))]
    return (
        f"{curve.title}: a curve from {curve.x[0]:.4g} to {curve.x[-1]:.4g}, highest at {peak:.4g}."
    )


def _eigenvalues_on(table: Table) -> Callable[[Any], None]:
    def paint(axes: Any) -> None:
        values = np.array(table.column("eigenvalue"), dtype=float)
        colours = [_ORANGE if value < 0.0 else _BLUE for value in values]
        axes.scatter(np.arange(values.size) + 1, values, color=colours, s=22)
        axes.set(xlabel="number, from the largest", ylabel="eigenvalue")
        sizes = np.abs(values[values != 0.0])
        if sizes.size and sizes.max() > 100.0 * sizes.min():
            if values.min() > 0.0:
                axes.set_yscale("log")
            else:
                axes.set_yscale("symlog", linthresh=max(sizes.min(), 1e-3 * sizes.max()))
            _plain_ticks(axes)

    return paint


def _eigenvalues_in_words(table: Table) -> str:
    values = [row[0] for row in table.rows]
    return f"{table.title}: {len(values)} dots from {min(values):.4g} to {max(values):.4g}."


def _leaves_on(table: Table) -> Callable[[Any], None]:
    def paint(axes: Any) -> None:
        names, traces = table.column("leaf"), np.array(table.column("trace"), dtype=float)
        shown = np.sort(np.argsort(-np.abs(traces))[:_MOST_LEAVES])
        places = np.arange(shown.size)
        axes.barh(places, traces[shown], color=[_ORANGE if traces[i] < 0 else _BLUE for i in shown])
        axes.set_yticks(places, [_shortened(names[i]) for i in shown])
        axes.invert_yaxis()
        few = f", of the {_MOST_LEAVES} leaves where it is largest"
        axes.set(xlabel=f"trace{few if len(names) > _MOST_LEAVES else ''}")

    return paint


def _shortened(name: str) -> str:
    """The end of a long name, which tells it from others."""
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def _leaves_in_words(table: Table) -> str:
    pairs = zip(table.column("leaf"), table.column("trace"), strict=True)
    return f"{table.title}: bars, {', '.join(f'{name} {trace:.4g}' for name, trace in pairs)}."
