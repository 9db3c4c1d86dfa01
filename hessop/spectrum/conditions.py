"""The condition number of a symmetric operator."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hessop._errors import NotConvergedWarning
from hessop.operators.base import BaseOperator
from hessop.operators.checks import check_count
from hessop.operators.foreign import as_symmetric
from hessop.spectrum.all_eigenvalues import eigenvalues_of, few_enough
from hessop.spectrum.eigen import extreme_eigenpairs
from hessop.spectrum.eigen_problems import rounding_of
from hessop.spectrum.eigen_results import Eigenpairs
from hessop.spectrum.estimates import Estimate, check_rtol, exact_estimate, last_of

__all__ = ["condition_number"]

_METHODS = ("auto", "exact", "lanczos")
# With less products left, none are spent on the smallest eigenvalue.
_LEAST = 20


def condition_number(
    A: Any,
    *,
    method: str = "auto",
    n_matvec: int | None = None,
    rtol: float = 1e-3,
    rng: Any = None,
    progress: bool = False,
    callback: Callable[[Estimate], Any] | None = None,
) -> Estimate:
    """The condition number of a symmetric matrix: its largest eigenvalue over its smallest.

    Both by magnitude; infinite for a singular matrix.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (n, n)
        Symmetric. One that is not hessop's is tested with two products.
    method : {"auto", "exact", "lanczos"}
        ``"exact"`` computes all eigenvalues, from n products. ``"lanczos"`` computes one eigenvalue
        of each kind by `extreme_eigenpairs`. ``"auto"`` is exact where n is at most 2000.
    n_matvec : int, optional
        The most products; 200 for each unknown by default.
    rtol : float
        How accurate both eigenvalues are to be.
    rng : None, int or numpy.random.Generator
    progress : bool
        Show a bar of products; needs tqdm.
    callback : callable, optional
        ``callback(estimate)`` with each partial result. It may raise StopIteration.

    Returns
    -------
    Estimate
        Its standard error is what the residuals of both eigenvalues allow: an eigenvalue lies as
        near to each. Infinite, with an error of zero, where the smallest is not more than rounding
        may leave of zero, ``10 √n ε ||A||``.

    Warns
    -----
    NotConvergedWarning
        When an eigenvalue is not as accurate as rtol asks. Then the condition number is likely to
        be larger.

    Raises
    ------
    TypeError, ValueError
        When A is not symmetric, or an argument is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from hessop import condition_number
    >>> condition_number(np.diag([1.0, -2.0, 50.0]))
    <Estimate 50, exact, 2 products, exact>
    """
    if method not in _METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(_METHODS)}.")
    tolerance = check_rtol(rtol) or 1e-3
    operator = as_symmetric(A)
    n, tested = operator.shape[0], 0 if isinstance(A, BaseOperator) else 2
    limit = 200 * n if n_matvec is None else check_count(n_matvec, "n_matvec")
    if method == "exact" or (method == "auto" and few_enough(operator, limit)):
        values, spent = eigenvalues_of(operator, progress=progress)
        return exact_estimate(_ratio(operator, np.abs(values)), tested + spent)
    return last_of(
        _estimates(operator, tested, limit, tolerance, np.random.default_rng(rng)),
        name="condition_number",
        total=None,
        is_enough=lambda estimate: estimate.status == "converged",
        callback=callback,
        progress=progress,
    )


def _ratio(A: BaseOperator, sizes: np.ndarray) -> float:
    least, largest = float(sizes.min()), float(sizes.max())
    return largest / least if least > rounding_of(A, largest) else math.inf


def _estimates(
    A: BaseOperator, tested: int, limit: int, rtol: float, rng: np.random.Generator
) -> Iterator[Estimate]:
    """One when the largest is known, by the smallest that was met then; and one at the end."""
    largest = _one(A, "LM", limit - tested, rtol, rng)
    spent = tested + largest.n_matvec
    if largest.status == "interrupted":
        raise KeyboardInterrupt  # nothing is known of the smallest yet
    if limit < spent + _LEAST:
        yield Estimate(1.0, math.inf, spent, "lanczos")
        return
    smallest = _one(A, "SM", limit - spent, rtol, rng)
    spent += smallest.n_matvec
    if not len(smallest):
        yield Estimate(1.0, math.inf, spent, "lanczos")
        return
    sizes = np.abs(np.concatenate([smallest.eigenvalues, largest.eigenvalues]))
    condition = _ratio(A, sizes)
    error = 0.0
    if math.isfinite(condition):
        residuals = np.concatenate([smallest.residuals, largest.residuals])
        error = condition * float(np.linalg.norm(residuals / sizes))
    estimate = Estimate(condition, error, spent, "lanczos")
    yield estimate.ended("converged") if largest.converged and smallest.converged else estimate
    if smallest.status == "interrupted":
        raise KeyboardInterrupt


def _one(
    A: BaseOperator, which: str, limit: int, rtol: float, rng: np.random.Generator
) -> Eigenpairs:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConvergedWarning)  # told of the condition number itself
        return extreme_eigenpairs(A, 1, which=which, n_matvec=max(limit, 1), rtol=rtol, rng=rng)
