"""Conjugate gradients within a trust region, ended at its boundary or by negative curvature."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse.linalg import LinearOperator

from hessop._lengths import length
from hessop._progress import progress_bar
from hessop.operators.base import BaseOperator
from hessop.solvers.options import read_limit
from hessop.solvers.results import NegativeCurvature, SolveResult
from hessop.solvers.runs import not_positive_definite

__all__ = ["steihaug"]

_REASONS = {
    "converged": "the residual is {residual:.1e} of b, inside of the trust region.",
    "boundary": "the iterates have left the trust region: the step ends at its boundary.",
    "negative curvature": (
        "a direction of curvature {curvature:.3g} was met, and is followed to the boundary of the "
        "trust region."
    ),
    "iteration limit": (
        "the residual is {residual:.1e} of b, after {spent:,} products. Give a preconditioner M, "
        "or a larger maxiter."
    ),
    "stopped": "the residual is {residual:.1e} of b; callback has stopped it.",
}


def steihaug(
    A: BaseOperator,
    b: np.ndarray,
    radius: float,
    *,
    damping: float = 0.0,
    M: LinearOperator | None = None,
    rtol: float = 1e-8,
    maxiter: int | None = None,
    callback: Callable[[np.ndarray], Any] | None = None,
    progress: bool = False,
) -> SolveResult:
    """Go down ``xᵀ (A + damping I) x / 2 - bᵀ x`` within ``||x|| <= radius``.

    Parameters
    ----------
    A : BaseOperator, shape (n, n)
        Symmetric; it may be indefinite.
    b : ndarray, shape (n,)
        Not zero.
    radius : float
        Of the trust region. With M its norm is ``||x||² = xᵀ M⁻¹ x``, in which the iterates grow;
        M⁻¹ itself is not needed.
    damping : float
    M : LinearOperator, optional
        Preconditioner: an approximation of the inverse of A, positive definite.
    rtol : float
        Solved when ``||b - A x|| <= rtol ||b||``.
    maxiter : int, optional
        Products at most, 10 n unless said otherwise; the one that measures the result comes on top.
    callback : callable, optional
        ``callback(x)`` after each iteration; StopIteration ends it.
    progress : bool

    Returns
    -------
    SolveResult
        Its status is ``"converged"``, ``"boundary"``, ``"negative curvature"``,
        ``"iteration limit"`` or ``"stopped"``. Only the first of them solves the system.

    Notes
    -----
    T. Steihaug, "The conjugate gradient method and trust regions in large scale optimization",
    SIAM J. Numer. Anal. 20, 1983; A. R. Conn, N. I. M. Gould and Ph. L. Toint, Trust-Region
    Methods, 2000, algorithm 7.5.1.
    """
    size = length(b)
    with progress_bar(progress, None, desc="steihaug", unit=" products") as bar:

        def multiply(v: np.ndarray) -> np.ndarray:
            if bar is not None:
                bar.update(1)
            return (np.asarray(A.matvec(v), dtype=np.float64) + damping * v) / size

        def precondition(r: np.ndarray) -> tuple[np.ndarray, float]:
            return _preconditioned(M, r, size)

        def follow(x: np.ndarray) -> None:
            if callback is not None:
                callback(x.copy())

        # Divided by the length of b, so that squares neither overflow nor vanish; the norm of the
        # region is then that of M⁻¹ / ||b||.
        limit, unit, eps = read_limit(maxiter, b.size), b / size, float(np.finfo(A.dtype).eps)
        scaled = radius if M is None else radius / math.sqrt(size)
        rounding = 10.0 * math.sqrt(b.size) * eps
        x, status, residuals, found = _descend(
            multiply, unit, scaled, precondition, rtol, limit, rounding, follow
        )
        residual = length(unit - multiply(x))
    if found is not None:
        found = replace(found, value=size * found.value)
    spent = len(residuals) - (status in ("converged", "iteration limit", "stopped"))
    curvature = math.nan if found is None else found.value
    return SolveResult(
        x=x,
        converged=status == "converged",
        status=status,
        reason=_REASONS[status].format(residual=residual, spent=spent, curvature=curvature),
        residual_norm=size * residual,
        n_matvec=spent + 1,
        history=np.array([*enumerate(size * norm for norm in residuals)]),
        negative_curvature=found if found is not None and found.value < 0.0 else None,
        method="steihaug",
    )


class _Paired(NamedTuple):
    """A vector and its product with M⁻¹, for inner products in the norm of the region."""

    vector: np.ndarray
    dual: np.ndarray

    def plus(self, t: float, other: _Paired) -> _Paired:
        return _Paired(self.vector + t * other.vector, self.dual + t * other.dual)

    def dot(self, other: _Paired) -> float:
        return float(self.vector @ other.dual)


def _descend(
    multiply: Callable[[np.ndarray], np.ndarray],
    b: np.ndarray,
    radius: float,
    precondition: Callable[[np.ndarray], tuple[np.ndarray, float]],
    rtol: float,
    limit: int,
    rounding: float,
    follow: Callable[[np.ndarray], Any],
) -> tuple[np.ndarray, str, list[float], NegativeCurvature | None]:
    """The step, how it ended, norms of residuals, and the curvature at which it ended."""
    r, norms, largest = b, [length(b)], 0.0
    z, rz = precondition(r)
    # The products with M⁻¹ are sums of residuals.
    x, p = _Paired(np.zeros_like(b), np.zeros_like(b)), _Paired(z, r)
    while norms[-1] > rtol:
        if len(norms) > limit:
            return x.vector, "iteration limit", norms, None
        Ap, size = multiply(p.vector), length(p.vector)
        curvature = float(p.vector @ Ap)
        largest = max(largest, length(Ap) / size)
        if curvature <= rounding * largest * size**2:
            slope = float(r @ p.vector)
            # Both ends of the line lie on the boundary, and the lower one is taken.
            ends = _to_boundary(x, p, radius)
            end = min(ends, key=lambda t: 0.5 * t * t * curvature - t * slope)
            found = NegativeCurvature(p.vector / size, curvature / size**2)
            return x.plus(end, p).vector, "negative curvature", norms, found
        ahead = x.plus(rz / curvature, p)
        if ahead.dot(ahead) >= radius**2:
            end = max(_to_boundary(x, p, radius))
            return x.plus(end, p).vector, "boundary", norms, None
        x, r = ahead, r - rz / curvature * Ap
        norms.append(length(r))
        try:
            follow(x.vector)
        except StopIteration:
            return x.vector, "stopped", norms, None
        before = rz
        z, rz = precondition(r)
        p = _Paired(z, r).plus(rz / before, p)
    return x.vector, "converged", norms, None


def _to_boundary(x: _Paired, p: _Paired, radius: float) -> tuple[float, float]:
    """Both t with ``||x + t p|| = radius``, for an x inside of the region."""
    a, b, c = p.dot(p), x.dot(p), min(x.dot(x) - radius**2, 0.0)
    # One root by adding what has the same sign, and the other by their product.
    q = -(b + math.copysign(math.sqrt(b * b - a * c), b))
    return q / a, c / q if q else 0.0


def _preconditioned(
    M: LinearOperator | None, r: np.ndarray, size: float
) -> tuple[np.ndarray, float]:
    """``size M r``, and its product with r; without M, r."""
    if M is None:
        return r, float(r @ r)
    z = size * np.asarray(M.matvec(r), dtype=np.float64).reshape(-1)
    form = float(r @ z)
    if not form > 0.0 and r.any():
        raise not_positive_definite(form)
    return z, form
