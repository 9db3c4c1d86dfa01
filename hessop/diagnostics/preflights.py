"""What solving with a matrix, or its spectrum, would take: by which way, in time and memory."""

from __future__ import annotations

import math
import textwrap
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hessop.diagnostics.measuring import Timings, available_memory, measure
from hessop.diagnostics.options import (
    Option,
    cg_option,
    dense_options,
    jacobi_option,
    lanczos_option,
    nystrom_option,
    sparse_option,
    structure_option,
)
from hessop.diagnostics.surroundings import Surroundings
from hessop.operators.base import is_real_number
from hessop.operators.checks import check_count
from hessop.operators.foreign import as_symmetric

__all__ = ["Preflight", "Recommendation", "preflight"]

# Of the memory that is left, so much may be filled.
_SHARE = 0.8
# A simpler way is taken where it takes no more than this times as long as the quickest.
_AS_QUICK = 1.25
_WIDTH = 100


@dataclass(frozen=True)
class Recommendation:
    """What to take.

    Attributes
    ----------
    option : str
        The name of one of the rows.
    reason : str
    """

    option: str
    reason: str


@dataclass(frozen=True)
class Preflight:
    """What each way would take. Made by `preflight`.

    Attributes
    ----------
    n : int
        The size of the matrix.
    timings : Timings
        What was measured, in seconds.
    rows : tuple of Option
        What was predicted of each way.
    available_memory : int or None
        Bytes; None where the system does not tell.
    recommended : dict of str to Recommendation
        For a ``"solve"``, such as a Newton step, and for a ``"spectrum"``.
    n_matvec : int
        Products that this has cost.
    """

    n: int
    timings: Timings
    rows: tuple[Option, ...]
    available_memory: int | None
    recommended: dict[str, Recommendation]
    n_matvec: int

    def __getitem__(self, name: str) -> Option:
        for row in self.rows:
            if row.name == name:
                return row
        names = ", ".join(row.name for row in self.rows)
        raise KeyError(f"there is no way {name!r}, expected one of {names}.")

    def to_dict(self) -> dict[str, Any]:
        """The same as plain dictionaries for JSON; NaN and infinity are None."""
        return {
            "n": self.n,
            "timings": _plain(asdict(self.timings)),
            "product_in_gradients": _number(self.timings.product_in_gradients),
            "rows": [_plain(asdict(row)) for row in self.rows],
            "available_memory": self.available_memory,
            "recommended": {name: asdict(one) for name, one in self.recommended.items()},
            "n_matvec": self.n_matvec,
        }

    def __repr__(self) -> str:
        ways = ", ".join(f"{name}: {one.option}" for name, one in self.recommended.items())
        return f"<Preflight n={self.n:,}, {ways}>"

    def __str__(self) -> str:
        t = self.timings
        measured = {
            "one product": t.product,
            "one of 16 columns": t.column,
            "gradient": t.gradient,
            "function": t.function,
        }
        known = [f"{name} {seconds_text(one)}" for name, one in measured.items() if one == one]
        head = f"{self.n:,} x {self.n:,}; measured: {', '.join(known)}"
        lines = textwrap.wrap(head, _WIDTH)
        if t.product_in_gradients == t.product_in_gradients:
            lines.append(f"a product costs {t.product_in_gradients:.2g} gradients")
        if self.available_memory is not None:
            lines.append(f"memory available: {bytes_text(self.available_memory)}")
        lines += ["", f"{'predicted for':<22}{'products':>10}{'time':>10}{'memory':>10}  remarks"]
        lines.append("-" * len(lines[-1]))
        lines += [_row_text(row) for row in self.rows]
        lines.append("")
        for name, one in self.recommended.items():
            lines += textwrap.wrap(f"{name}: {one.option}, {one.reason}", _WIDTH)
        return "\n".join(lines)


def preflight(
    A: Any, *, rtol: float = 1e-8, n_matvec: int = 300, budget: float = 10.0, rng: Any = 0
) -> Preflight:
    """What solving with a symmetric matrix, and its spectrum, would take; and which way to go.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (n, n)
        Symmetric.
    rtol : float
        The relative residual to which a system is to be solved.
    n_matvec : int
        Steps of Lanczos' process, for each of the matrices that are looked at: A, and A with a
        preconditioner. More tell more.
    budget : float
        Seconds. What would take a larger share of it is not tried: then steps are fewer, and
        preconditioners left out.
    rng : None, int or numpy.random.Generator

    Returns
    -------
    Preflight
        Printed, it is a table.

    Raises
    ------
    TypeError, ValueError
        When A is no matrix, or not symmetric.

    Notes
    -----
    Times of products are measured, and those of dense factorisations scaled from a small one.
    Products of `cg` are those for a random right-hand side. Where it takes no more than `n_matvec`,
    they are counted; beyond, they are an estimate: the spectrum is modelled by the quantiles that
    Lanczos' process gives, and `cg` run on a diagonal matrix that has it. That is too low where
    eigenvalues lie below what was seen. Products for eigenpairs are those after which residuals are
    small enough if they fall on as they have fallen; they do not count what restarts cost.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import hessian_operator, preflight
    >>> def energy(x):
    ...     return np.sum((x[1:] - x[:-1]) ** 2) + 0.01 * np.sum(x**2)
    >>> costs = preflight(hessian_operator(energy, np.zeros(500)))
    >>> costs["dense"].memory == 2 * 8 * 500**2, sorted(costs.recommended)
    (True, ['solve', 'spectrum'])
    """
    operator = as_symmetric(A)
    n_matvec = check_count(n_matvec, "n_matvec", least=2)
    for name, value in (("rtol", rtol), ("budget", budget)):
        if not is_real_number(value) or not 0.0 < value < math.inf:
            unit = " of seconds" if name == "budget" else ""
            raise ValueError(f"{name} is {value!r}, expected a positive number{unit}.")
    before = operator.n_matvec
    generator = np.random.default_rng(rng)
    timings = measure(operator, 0.2 * budget, generator)
    here = Surroundings(operator, timings, float(rtol), n_matvec, float(budget), generator)
    rows = (
        *structure_option(here),
        *dense_options(here),
        sparse_option(here),
        cg_option(here),
        jacobi_option(here),
        nystrom_option(here),
        lanczos_option(here),
    )
    memory = available_memory()
    recommended = {purpose: _best(rows, purpose, memory) for purpose in ("solve", "spectrum")}
    spent = operator.n_matvec - before
    return Preflight(operator.shape[0], timings, rows, memory, recommended, spent)


def _best(rows: tuple[Option, ...], purpose: str, memory: int | None) -> Recommendation:
    """The quickest of the ways that fit into memory, or a simpler one that is about as quick."""
    possible = [row for row in rows if row.purpose == purpose and row.is_known]
    fitting = [row for row in possible if memory is None or row.memory <= _SHARE * memory]
    if not fitting:
        return Recommendation("none", "nothing that was predicted fits into memory.")
    own = next((row for row in fitting if row.is_exact_for_free), None)
    if own is not None:
        return Recommendation(own.name, own.remark)
    least = min(row.seconds for row in fitting)
    # The rows begin with what is exact, and end with what has more parts.
    best = next(row for row in fitting if row.seconds <= _AS_QUICK * least)
    others = sorted((row for row in fitting if row is not best), key=lambda row: row.seconds)
    reason = f"about {seconds_text(best.seconds)}"
    if others:
        reason += f", where {others[0].name} takes {seconds_text(others[0].seconds)}"
    too_large = [row.name for row in possible if row not in fitting]
    if too_large:
        reason += f"; too large for memory: {', '.join(too_large)}"
    return Recommendation(best.name, f"{reason}.")


# --- words ----------------------------------------------------------------------------------------


def _row_text(row: Option) -> str:
    products = f"{row.products:,.0f}" if math.isfinite(row.products) else "-"
    figures = f"{products:>10}{seconds_text(row.seconds):>10}{bytes_text(row.memory):>10}"
    return f"{row.name:<22}{figures}  {row.remark}".rstrip()


def seconds_text(seconds: float) -> str:
    """A time in a unit that suits it."""
    if not math.isfinite(seconds):
        return "-"
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def bytes_text(count: float) -> str:
    """An amount of memory in a unit that suits it."""
    if not math.isfinite(count):
        return "-"
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def _plain(entries: dict[str, Any]) -> dict[str, Any]:
    return {name: _number(value) for name, value in entries.items()}


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
