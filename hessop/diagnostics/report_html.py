"""A report as one page of HTML that needs nothing else: no script, no request."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import Protocol

from hessop.diagnostics.findings import Curve, Row, Table, groups, is_number, shown
from hessop.diagnostics.report_parts import Section
from hessop.diagnostics.report_plots import plots_of, svg

__all__ = ["page"]

# Letters of a cell that is to wrap.
_LONG = 24


class Reported(Protocol):
    """What a page is made of: a `CurvatureReport`."""

    @property
    def function(self) -> str:
        """Its name."""

    @property
    def n(self) -> int:
        """Parameters."""

    @property
    def effort(self) -> str:
        """What it took, in words."""

    @property
    def sections(self) -> tuple[Section, ...]:
        """In order."""


def page(report: Reported) -> str:
    """The whole document."""
    title = escape(f"Curvature of {report.function}")
    style = files("hessop.diagnostics").joinpath("report.css").read_text(encoding="utf-8")
    contents = "".join(
        f'<li><a href="#{_anchor(section)}">{escape(section.title)}</a>{_status(section)}</li>\n'
        for section in report.sections
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{report.n:,} parameters; {escape(report.effort)}</p>
</header>
<nav aria-label="Contents">
<ol>
{contents}</ol>
</nav>
<main>
{"".join(map(_section, report.sections))}</main>
</body>
</html>
"""


def _anchor(section: Section) -> str:
    return section.name.replace("_", "-")


def _status(section: Section) -> str:
    if section.status == "done":
        return ""
    return f' <span class="status">{escape(section.status)}</span>'


def _section(section: Section) -> str:
    name = _anchor(section)
    parts = "".join(
        _table(group) if isinstance(group, Table) else _rows(group, section.title)
        for group in groups(section.parts)
        if not isinstance(group, Curve)
    )
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">\n'
        f'<h2 id="{name}-title">{escape(section.title)}</h2>\n'
        f'<p class="about">{escape(section.about)}</p>\n'
        f"{''.join(map(_warning, section.remarks))}{parts}{_figures(section, name)}</section>\n"
    )


def _warning(message: str) -> str:
    return f'<p class="warning">{escape(message)}</p>\n'


def _rows(rows: list[Row], title: str) -> str:
    lines = "".join(
        f'<tr><th scope="row">{escape(row.label)}</th>{_value(row)}'
        f'<td class="note">{escape(row.note)}</td></tr>\n'
        for row in rows
    )
    return f'<table class="figures" aria-label="{escape(title)}"><tbody>\n{lines}</tbody></table>\n'


def _value(row: Row) -> str:
    error = "" if row.error is None else f" <span>± {row.error:.2g}</span>"
    kind = "number" if is_number(row.value) else "words"
    return f'<td class="{kind}">{escape(shown(row.value))}{error} {escape(row.unit)}</td>'


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.columns)
    cells = [_cells(table, name) for name in table.columns]
    if table.bars is not None:
        heads += '<td aria-hidden="true"></td>'
        cells.append([_bar(length) for length in table.lengths()])
    lines = "".join(f"<tr>{''.join(row)}</tr>\n" for row in zip(*cells, strict=True))
    title = escape(table.title)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{title}">\n'
        f"<table><caption>{title}</caption>\n<thead><tr>{heads}</tr></thead>\n"
        f"<tbody>\n{lines}</tbody></table>\n</div>\n"
    )


def _cells(table: Table, name: str) -> list[str]:
    texts = table.shown_column(name)
    if any(map(is_number, table.column(name))):
        return [f'<td class="number">{escape(text)}</td>' for text in texts]
    kind = "long" if max(map(len, texts)) > _LONG else "words"
    return [f'<td class="{kind}">{escape(text)}</td>' for text in texts]


def _bar(length: float) -> str:
    return f'<td class="bar"><span style="width:{100.0 * length:.2f}%"></span></td>'


def _figures(section: Section, name: str) -> str:
    try:
        return "".join(
            f"<figure>\n{svg(plot, f'{name}-plot-{i}')}\n"
            f"<figcaption>{escape(plot[0])}</figcaption>\n</figure>\n"
            for i, plot in enumerate(plots_of(section))
        )
    except ImportError:
        return _warning("There is no plot here, because matplotlib is not installed.")
