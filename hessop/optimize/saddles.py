"""Is a critical point a minimum? If not, which way out."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from scipy.optimize import OptimizeResult
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

from hessop.operators.hessian import HessianOperator
from hessop.optimize.objectives import Objective

__all__ = ["leave_saddles", "lowest_curvature"]

#: Saddle points left in one run at most.
MAX_ESCAPES = 10
#: A Hessian up to this size is formed and decomposed; larger ones go through Lanczos.
_DENSE_EIGEN = 200
#: An eigenvalue counts as negative below minus this, times the largest in magnitude.
_NEGATIVE = 1e-6


def lowest_curvature(H: HessianOperator) -> tuple[float, np.ndarray, float]:
    """The smallest eigenvalue of a Hessian, its eigenvector, and the largest magnitude of any.

    Parameters
    ----------
    H : HessianOperator

    Returns
    -------
    value : float
    vector : ndarray, shape (n,)
        Of unit length.
    size : float

    Raises
    ------
    scipy.sparse.linalg.ArpackNoConvergence
        When Lanczos does not find it.
    """
    n = H.shape[0]
    if n <= _DENSE_EIGEN:
        values, vectors = np.linalg.eigh(H.to_dense(symmetrize=True))
    else:
        # Both ends at once: the upper one is the measure of what counts as negative.
        start = np.random.default_rng(0).standard_normal(n).astype(H.dtype)
        values, vectors = eigsh(H, k=2, which="BE", v0=start, tol=1e-4, maxiter=50 * n)
    lowest = int(np.argmin(values))
    return float(values[lowest]), vectors[:, lowest], float(np.abs(values).max())


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
            lowest, direction, size = lowest_curvature(objective.hess(result.x))
        except ArpackNoConvergence:
            warnings.warn(
                "check_saddle: Lanczos did not find the smallest eigenvalue, so that this may be a "
                "saddle point. Look at result.curvature with eigsh.",
                RuntimeWarning,
                stacklevel=3,
            )
            result.min_eigenvalue, result.escapes = np.nan, escapes
            return result
        result.min_eigenvalue, result.escapes = lowest, escapes
        if lowest >= -_NEGATIVE * max(1.0, size):
            return result
        start = _downhill(objective, result.x, direction, lowest)
        if start is None or escapes == MAX_ESCAPES:
            result.success = False
            result.message = (
                f"Stopped at a saddle point: the Hessian has the eigenvalue {lowest:.3g}."
            )
            return result
        escapes += 1
        result = _joined(result, run(start))


def _downhill(
    objective: Objective, x: np.ndarray, direction: np.ndarray, curvature: float
) -> np.ndarray | None:
    """A point along the direction, to either side, that is lower by a part of what is promised."""
    value = objective.fun(x)
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
    for count in ("nit", "nfev", "njev", "nhev"):
        if count in before and count in after:
            after[count] += before[count]
    return after
