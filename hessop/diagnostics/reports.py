"""The report of a function at a point: everything that its curvature tells."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hessop._errors import name_of
from hessop._progress import progress_bar
from hessop.diagnostics.budgets import read_budget
from hessop.diagnostics.findings import Part
from hessop.diagnostics.report_html import page
from hessop.diagnostics.report_parts import Section
from hessop.diagnostics.report_plots import draw
from hessop.diagnostics.report_sections import PLANS, Plan
from hessop.diagnostics.studies import NotAskedFor, Study
from hessop.operators.checks import check_count
from hessop.operators.hessian import hessian_operator

__all__ = ["SCHEMA_VERSION", "CurvatureReport", "report"]

#: Of `CurvatureReport.to_json`: it grows when a key changes its meaning or goes away.
SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class CurvatureReport:
    """What is known about a function at a point; printed, it is a page of text.

    Attributes
    ----------
    function : str
        Its name.
    n : int
        Parameters.
    budget : str
    seconds : float
    n_matvec : int
        Columns multiplied with the Hessian.
    sections : tuple of Section
        In the order in which they were computed, each done, failed, skipped or interrupted. Also
        by name: ``report["audit"]``, and a figure of it by its label,
        ``report["value"]["gradient norm"]``.

    Notes
    -----
    `to_json` writes an object with the keys

    ``schema_version``
        1.
    ``function``, ``n``, ``budget``, ``seconds``, ``n_matvec``
        As above.
    ``sections``
        An object of the sections by name. Each has ``title``, ``status``, ``reason``, ``rows``,
        ``tables``, ``curves``, ``warnings``, ``seconds`` and ``n_matvec``. ``rows`` is an object
        by label, of ``value``, ``error``, ``unit`` and ``note``; ``tables`` is a list of ``title``,
        ``columns`` and ``rows``; ``curves`` is a list of ``title``, ``x``, ``y``, ``low`` and
        ``high``.

    A number that is not finite, which JSON has not, is the text ``"NaN"``, ``"Infinity"`` or
    ``"-Infinity"``; what there is not is null.
    """

    function: str
    n: int
    budget: str
    seconds: float
    n_matvec: int
    sections: tuple[Section, ...]

    def __getitem__(self, name: str) -> Section:
        for section in self.sections:
            if section.name == name:
                return section
        known = ", ".join(repr(section.name) for section in self.sections)
        raise KeyError(f"the report has no section {name!r}, expected one of: {known}.")

    @property
    def effort(self) -> str:
        """What it took, in words."""
        return f"{self.n_matvec:,} products, {self.seconds:.1f} s (budget: {self.budget})"

    def __str__(self) -> str:
        title = f"Curvature of {self.function} in {self.n:,} parameters"
        head = f"{title}\n{'=' * len(title)}\n{self.effort}"
        return "\n\n".join([head, *map(str, self.sections)])

    def __repr__(self) -> str:
        done = sum(section.status == "done" for section in self.sections)
        return (
            f"<CurvatureReport of {self.function} in {self.n:,} parameters: {done} of "
            f"{len(self.sections)} sections, {self.n_matvec:,} products, {self.seconds:.1f} s>"
        )

    def to_dict(self) -> dict[str, Any]:
        """What `to_json` writes."""
        return {
            "schema_version": SCHEMA_VERSION,
            "function": self.function,
            "n": self.n,
            "budget": self.budget,
            "seconds": self.seconds,
            "n_matvec": self.n_matvec,
            "sections": {section.name: section.to_dict() for section in self.sections},
        }

    def to_json(self, path: Any = None) -> str:
        """The report as strict JSON, also written to a file; see Notes for the keys.

        Parameters
        ----------
        path : str or Path, optional

        Returns
        -------
        str
        """
        return _written(json.dumps(self.to_dict(), allow_nan=False, indent=1), path)

    def to_html(self, path: Any = None) -> str:
        """The report as one page of HTML that needs nothing else, also written to a file.

        Its plots need matplotlib; where it is not installed, the page says so in their place.

        Parameters
        ----------
        path : str or Path, optional

        Returns
        -------
        str
        """
        return _written(page(self), path)

    def plot(self) -> Any:
        """The density, the extreme eigenvalues and the leaves' traces, as far as they are known.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            When matplotlib is not installed.
        ValueError
            When there is nothing to plot.
        """
        return draw(self.sections)


def report(
    fun: Callable[..., Any] | None,
    x: Any,
    *,
    args: tuple[Any, ...] = (),
    grad: Callable[..., Any] | None = None,
    mode: str = "auto",
    eigs: int = 10,
    density: bool = True,
    budget: Any = "30s",
    rng: Any = 0,
    progress: bool = False,
) -> CurvatureReport:
    """Everything that the curvature of ``fun(x, *args)`` at x tells.

    A section that fails says so, with the reason, and the others go on. After Ctrl-C the report
    holds what was done until then.

    Parameters
    ----------
    fun : callable or None
        ``fun(x, *args) -> scalar``, written with autograd.numpy; see `hessian_operator`.
    x : parameter tree
        The point.
    args : tuple
        Further arguments, not differentiated.
    grad : callable, optional
        ``grad(x, *args)``, a gradient that is not autograd's. Products are then differences of it.
    mode : str
        As for `hessian_operator`.
    eigs : int
        Extreme eigenvalues at each end.
    density : bool
        Whether to estimate the spectral density.
    budget : str, int or None
        A time (``"30s"``, ``"2m"``, ``"500ms"``), a number of products with the Hessian, or None
        for no limit. Each section gets a share of what is left. A section does not start when
        nothing is; one that has started ends soon after its share is spent.
    rng : None, int or numpy.random.Generator
        The same report each time unless said otherwise, up to times.
    progress : bool
        Show a bar of the sections; needs tqdm.

    Returns
    -------
    CurvatureReport

    Raises
    ------
    TypeError, ValueError, RuntimeError
        When there is no Hessian operator of `fun` at x, for the reasons of `hessian_operator`; when
        the budget is unreadable or `eigs` not a whole number from 1.

    Notes
    -----
    Where the matrix is small, it is multiplied out once; where it is sparse, it is read off the
    program. What follows is then exact.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import report
    >>> def loss(p):
    ...     return np.sum(np.cosh(p["a"])) + (p["b"] - 1.0) ** 2
    >>> found = report(loss, {"a": np.zeros(3), "b": 1.0})
    >>> found["critical_point"]["kind"]
    'minimum'
    >>> found["size"]["parameters"], float(found["value"]["value"])
    (4, 3.0)
    """
    began = time.perf_counter()
    study = Study(
        fun,
        x,
        args,
        grad,
        operator=partial(hessian_operator, fun, x, args=args, mode=mode, grad=grad),
        eigs=check_count(eigs, "eigs"),
        density=density,
        rng=rng,
        limit=read_budget(budget),
    )
    sections: list[Section] = []
    with progress_bar(progress, len(PLANS), desc="report", unit=" sections") as bar:
        for plan, part in _with_shares(PLANS):
            sections.append(_section(plan, part, study))
            if bar is not None:
                bar.update(1)
    return CurvatureReport(
        function=name_of(grad if fun is None else fun),
        n=study.n,
        budget=str(study.budget.limit),
        seconds=time.perf_counter() - began,
        n_matvec=study.n_matvec,
        sections=tuple(sections),
    )


def _with_shares(plans: tuple[Plan, ...]) -> Iterator[tuple[Plan, float]]:
    """Each with its share of what those before it have left."""
    total = sum(plan.weight for plan in plans)
    for plan in plans:
        yield plan, plan.weight / total if total > 0 else 1.0
        total -= plan.weight


def _section(plan: Plan, part: float, study: Study) -> Section:
    """A section, whatever happens."""
    if study.interrupted:
        return _empty(plan, "interrupted before it began.")
    if plan.weight and study.budget.is_spent:
        return _empty(plan, f"the budget, {study.budget.limit}, was spent before it began.")
    began, before = time.perf_counter(), study.n_matvec
    parts: list[Part] = []
    status, reason = "done", ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            for found in plan.compute(study, study.budget.share(part)):
                parts.append(found)
        except KeyboardInterrupt:
            study.interrupted = True
        except NotAskedFor as error:
            status, reason = "skipped", str(error)
        except Exception as error:  # a user's function may raise anything
            status, reason = "failed", f"{type(error).__name__}: {error}"
    if study.interrupted:
        status, reason = "interrupted", "by Ctrl-C; what follows was not begun."
    return Section(
        plan.name,
        plan.title,
        plan.about,
        status,
        reason,
        tuple(parts),
        tuple(dict.fromkeys(str(warning.message) for warning in caught)),
        time.perf_counter() - began,
        study.n_matvec - before,
    )


def _empty(plan: Plan, reason: str) -> Section:
    return Section(plan.name, plan.title, plan.about, "skipped", reason)


def _written(content: str, path: Any) -> str:
    if path is not None:
        Path(path).write_text(content, encoding="utf-8")
    return content
