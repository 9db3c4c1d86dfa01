"""Is a critical point a minimum? If not, which way out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult

from hessop._errors import NotConvergedError
from hessop.operators.hessian import HessianOperator
from hessop.optimize.objectives import Objective
from hessop.spectrum.critical_points import curvature_ends, zero_curvature
from hessop.spectrum.eigen import extreme_eigenpairs

__all__ = ["LowestCurvature", "leave_saddles", "lowest_curvature"]

#: Saddle points left in one run at most.
MAX_ESCAPES = 10
#: Products of Lanczos at most; and up to which size a Hessian is decomposed as a whole where that
#: does not converge.
_PRODUCTS, _DENSE_AT_LAST = 2000, 2000


class LowestCurvature(NamedTuple):
    """The smallest eigenvalue, and a direction to leave by where it is negative.

    Attributes
    ----------
    eigenvalue : float
    direction : ndarray, shape (n,)
        Of unit length. Where several eigenvalues are negative and all are known, a random mixture
        of their eigenvectors, so that one escape serves them together.
    negative : bool
        Whether it is more than an error of rounding, or of finite differences.
    """

    eigenvalue: float
    direction: np.ndarray
    negative: bool


def lowest_curvature(H: HessianOperator) -> LowestCurvature:
    """Look at the lower end of a Hessian's spectrum.

    Parameters
    ----------
    H : HessianOperator

    Returns
    -------
    LowestCurvature

    Raises
    ------
    NotConvergedError
        When Lanczos does not find it, and the Hessian is too large to be formed.
    """
    pairs = curvature_ends(H, n_matvec=_PRODUCTS)
    if not pairs.converged and H.shape[0] <= _DENSE_AT_LAST:
        pairs = extreme_eigenpairs(H, H.shape[0], method="dense")
    zero = zero_curvature(H, pairs.norm)
    values, vectors = pairs.eigenvalues, pairs.eigenvectors
    negative = values < -zero
    if negative.any():
        mixture = np.random.default_rng(0).standard_normal(int(negative.sum()))
        direction = vectors[:, negative] @ mixture
        return LowestCurvature(float(values[0]), direction / np.linalg.norm(direction), True)
    if not pairs.converged:
        raise NotConvergedError("The smallest eigenvalue was not found by Lanczos", pairs)
    return LowestCurvature(float(values[0]), vectors[:, 0], False)


def leave_saddles(
    objective: Objective,
    result: OptimizeResult,
    run: Callable[[np.ndarray], OptimizeResult],
) -> OptimizeResult:
    """Go on from saddle points until the smallest eigenvalue is not negative.

    Parameters
    ----------
    objective : Objective
    result : OptimizeResult
        Of the first run.
    run : callable
        Minimizes anew from a flat point.

    Returns
    -------
    OptimizeResult
        Of the last run, with the work of all of them, ``min_eigenvalue`` and ``escapes``. It is no
        success if it still stands on a saddle point.
    """
    escapes = 0
    while True:
        try:
            lowest = lowest_curvature(objective.hess(result.x))
        except NotConvergedError:
            unknown = (
                "The smallest eigenvalue was not found by Lanczos, so that this may be a saddle "
                "point."
            )
            warnings.warn(f"check_saddle: {unknown}", RuntimeWarning, stacklevel=3)
            result.min_eigenvalue, result.escapes = np.nan, escapes
            result.message = f"{result.message} {unknown}"
            return result
        result.min_eigenvalue, result.escapes = lowest.eigenvalue, escapes
        if not lowest.negative:
            return result
        start = _downhill(objective, result.x, lowest.direction)
        if start is None or escapes == MAX_ESCAPES:
            result.success = False
            result.message = (
                f"{result.message} This is a saddle point: the Hessian has the eigenvalue "
                f"{lowest.eigenvalue:.3g}"
                + (", but no lower value was found along it." if start is None else ".")
            )
            return result
        escapes += 1
        result = _joined(result, run(start))


def _downhill(objective: Objective, x: np.ndarray, direction: np.ndarray) -> np.ndarray | None:
    """A point along the direction, to either side, that is lower by a part of what is promised."""
    value = objective.fun(x)
    curvature = float(objective.hess(x).quadratic_form(direction))
    # The side that the gradient points down to; at an exact saddle either will do.
    slope = float(objective.grad(x) @ direction)
    direction = direction if slope <= 0 else -direction
    step = 0.1 * (1.0 + float(np.linalg.norm(x)))
    for _ in range(20):
        for signed in (direction, -direction):
            candidate: np.ndarray = x + step * signed
            if objective.fun(candidate) < value + 0.1 * curvature * step**2:
                return candidate
        step /= 4
    return None


def _joined(before: OptimizeResult, after: OptimizeResult) -> OptimizeResult:
    for count in ("nit", "nfev"):
        if count in before and count in after:
            after[count] += before[count]
    return after
