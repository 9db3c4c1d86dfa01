"""What an estimator gives, and when it has done enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from hessop._errors import NotConvergedWarning, warn_user
from hessop._lengths import length
from hessop._progress import progress_bar
from hessop.operators.base import is_real_number

__all__ = ["Estimate", "Partial", "check_rtol", "exact_estimate", "last_of"]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number, or an array of them, with its error and what it has cost.

    Attributes
    ----------
    estimate : float or ndarray
    standard_error : float or ndarray
        Of the shape of the estimate: about 68 in 100 estimates are as near to the truth, and 95
        within twice as much. 0.0 for what is exact, up to rounding.
    n_matvec : int
        Columns multiplied.
    method : str
    status : str
        ``"exact"``, ``"converged"`` (the error is as small as rtol asks), ``"product limit"``
        (n_matvec were spent before that), ``"done"`` (they are spent, and no rtol was given),
        ``"stopped"`` (by callback) or ``"interrupted"`` (by Ctrl-C).
    """

    estimate: Any
    standard_error: Any
    n_matvec: int
    method: str
    status: str = "product limit"

    @property
    def converged(self) -> bool:
        """Whether it is exact, or as accurate as rtol asks."""
        return self.status in ("exact", "converged")

    def is_within(self, rtol: float) -> bool:
        """Whether the error, of an array its norm, is at most rtol times the estimate."""
        size, error = (length(np.ravel(one)) for one in (self.estimate, self.standard_error))
        return error <= rtol * size

    def ended(self, status: str) -> Self:
        """The same with another status."""
        return replace(self, status=status)

    def __float__(self) -> float:
        return float(self.estimate)

    def __repr__(self) -> str:
        value, error = self.estimate, self.standard_error
        if np.ndim(value):
            what = f"{np.shape(value)} entries, norm {np.linalg.norm(value):.6g}"
            error = np.linalg.norm(error)
        else:
            what = f"{float(value):.6g}"
        sure = "" if self.status == "exact" else f" ± {error:.2g}"
        return f"<Estimate {what}{sure}, {self.method}, {self.n_matvec} products, {self.status}>"


def exact_estimate(value: Any, n_matvec: int, method: str = "exact") -> Estimate:
    """An estimate without an error."""
    error = np.zeros_like(value) if np.ndim(value) else 0.0
    return Estimate(value, error, n_matvec, method, "exact")


class Partial(Protocol):
    """What long work has so far, and may end with."""

    @property
    def n_matvec(self) -> int:
        """Columns multiplied."""

    @property
    def status(self) -> str:
        """How it ended."""

    def ended(self, status: str) -> Self:
        """The same with another status."""


P = TypeVar("P", bound=Partial)


def last_of(
    results: Iterator[P],
    *,
    name: str,
    total: int | None,
    is_enough: Callable[[P], bool] | None = None,
    callback: Callable[[P], Any] | None = None,
    progress: bool = False,
) -> P:
    """The last of some results that get better and better, or the first that is good enough.

    Parameters
    ----------
    results : iterator
        Each has cost more products than the one before, and stands for all of them.
    name : str
        How the bar and warnings call the work.
    total : int or None
        Products that the last of them has cost: of the bar.
    is_enough : callable, optional
        Where the work may end, as converged.
    callback : callable, optional
        Called with each result. It may raise StopIteration, which ends the work with it.
    progress : bool
        Show a bar of products; needs tqdm.

    Returns
    -------
    result
        The last one, also when Ctrl-C came after it.

    Warns
    -----
    NotConvergedWarning
        When `is_enough` was not met, or the work was interrupted.

    Raises
    ------
    KeyboardInterrupt
        When Ctrl-C came before the first result.
    """
    last: P | None = None
    with progress_bar(progress, total, desc=name, unit=" products") as bar:
        try:
            for last in results:
                if bar is not None:
                    bar.update(last.n_matvec - bar.n)
                if callback is not None:
                    try:
                        callback(last)
                    except StopIteration:
                        return last.ended("stopped")
                if is_enough is not None and last.status != "exact" and is_enough(last):
                    return last.ended("converged")
        except KeyboardInterrupt:
            if last is None:
                raise
            warn_user(
                f"{name} was interrupted after {last.n_matvec} products: the result is what these "
                "have given.",
                NotConvergedWarning,
            )
            return last.ended("interrupted")
    assert last is not None, "an estimator gives at least one result"
    if last.status != "product limit":
        return last
    if is_enough is None:
        return last.ended("done")
    warn_user(
        f"{name} did not converge in {last.n_matvec} products: {last!r}. Raise n_matvec, or rtol.",
        NotConvergedWarning,
    )
    return last


def check_rtol(rtol: Any) -> float | None:
    """A relative tolerance, or None.

    Raises
    ------
    ValueError
        When it is not a positive number.
    """
    if rtol is None:
        return None
    if not is_real_number(rtol) or not np.isfinite(rtol) or rtol <= 0:
        raise ValueError(f"rtol is {rtol!r}, expected a positive number, or None for no tolerance.")
    return float(rtol)
