"""Is a point a minimum, a saddle or a maximum? And which way leads down."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hessop._errors import NotConvergedWarning
from hessop._lengths import length
from hessop.operators.base import BaseOperator, is_real_number
from hessop.operators.checks import check_count
from hessop.operators.foreign import as_symmetric
from hessop.operators.hessian import HessianOperator, hessian_operator
from hessop.spectrum.eigen import extreme_eigenpairs
from hessop.spectrum.eigen_results import Eigenpairs

__all__ = ["CriticalPoint", "critical_point", "curvature_ends", "zero_curvature"]

# A Hessian up to this size is decomposed as a whole.
_DENSE = 200
# Eigenvalues as far below the largest magnitude are zero, up to rounding: that leaves about 1e-14.
_ZERO = 1e-10
# The accuracy of the eigenvalues at both ends; a sign needs no more.
_RTOL = 1e-4


def zero_curvature(H: HessianOperator, norm: float, tol: float = _ZERO) -> float:
    """What of a Hessian's eigenvalues counts as zero: rounding, or the error of differences."""
    return max(tol, 10.0 * H.step_error) * norm


def curvature_ends(A: BaseOperator, *, n_matvec: int, rng: Any = 0) -> Eigenpairs:
    """The smallest and the largest eigenvalue of a Hessian; all, up to 200 parameters.

    Without a warning: whether they have converged is to be seen in the result.

    Parameters
    ----------
    A : BaseOperator, shape (n, n)
        Symmetric.
    n_matvec : int
        Products at most.
    rng : None, int or numpy.random.Generator
    """
    n = A.shape[0]
    k = n if n <= min(_DENSE, n_matvec) else min(n, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConvergedWarning)
        return extreme_eigenpairs(A, k, which="BE", rtol=_RTOL, n_matvec=n_matvec, rng=rng)


@dataclass(frozen=True, eq=False)
class CriticalPoint:
    """What a point is, by its gradient and the ends of the spectrum of its Hessian.

    Attributes
    ----------
    kind : str
        ``"minimum"``, ``"maximum"``, ``"saddle"``, ``"degenerate"`` (the Hessian is semidefinite up
        to the tolerance, and cannot tell), ``"not critical"``, or ``"undecided"`` (an eigenvalue
        was not found accurately enough).
    reason : str
        The same in words, with the figures that decided.
    value : float
        The function at x.
    gradient_norm, gradient_tolerance : float
        The point counts as critical where the first is not above the second.
    smallest, largest : float
        The eigenvalues at both ends of the Hessian's spectrum.
    smallest_residual, largest_residual : float
        An eigenvalue lies as near to each.
    curvature_tolerance : float
        Eigenvalues of at most this magnitude count as zero.
    escape : tree or None
        At a saddle or a maximum: the direction of the smallest eigenvalue, of length one, in the
        form of x. Both ways lead down; this one, further where the gradient is not quite zero.
    n_matvec : int
        Hessian-vector products.
    """

    kind: str
    reason: str
    value: float
    gradient_norm: float
    gradient_tolerance: float
    smallest: float
    largest: float
    smallest_residual: float
    largest_residual: float
    curvature_tolerance: float
    escape: Any
    n_matvec: int

    def promised_decrease(self, step: float) -> float:
        """By how much the quadratic model falls along `escape`: zero where there is none."""
        return 0.0 if self.escape is None else -0.5 * self.smallest * step**2

    def __repr__(self) -> str:
        ends = f"eigenvalues from {self.smallest:.4g} to {self.largest:.4g}"
        return (
            f"<CriticalPoint {self.kind}, gradient {self.gradient_norm:.1e}, {ends}, "
            f"{self.n_matvec} products>"
        )

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


def critical_point(
    fun: Callable[..., Any] | None,
    x: Any,
    *,
    args: tuple[Any, ...] = (),
    grad: Callable[..., Any] | None = None,
    A: Any = None,
    gtol: float = 1e-5,
    tol: float = _ZERO,
    n_matvec: int = 2000,
    rng: Any = 0,
) -> CriticalPoint:
    """Tell a minimum from a saddle, a maximum, and from a point that is not critical.

    Parameters
    ----------
    fun : callable or None
        ``fun(x, *args) -> scalar``, as for `hessian_operator`.
    x : parameter tree
        The point.
    args : tuple
    grad : callable, optional
        As for `hessian_operator`.
    A : LinearOperator or matrix, shape (n, n), optional
        The Hessian at x, where it is at hand: its eigenvalues are looked at.
    gtol : float
        The gradient counts as zero up to ``gtol ||H|| max(1, ||x||)``: as the difference of
        gradients between points whose distance is that part of x. So a multiple of `fun` has the
        same verdict.
    tol : float
        Eigenvalues count as zero up to ``tol ||H||``, or ten times the error of products where they
        are finite differences. Raise it, to call a very flat minimum degenerate.
    n_matvec : int
        Products at most. From 200 parameters on, eigenvalues are found by Lanczos; below, all of
        them are computed.
    rng : None, int or numpy.random.Generator

    Returns
    -------
    CriticalPoint

    Raises
    ------
    TypeError, ValueError
        As `hessian_operator`; or when a tolerance or limit is out of range.

    Notes
    -----
    A negative eigenvalue is certain: a Ritz value is a curvature along a direction. That there is
    none is certain up to 200 parameters, and else but for the small probability that a random start
    misses it.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import critical_point
    >>> def fun(p):
    ...     return np.cos(p["a"]) + p["b"] ** 2
    >>> point = critical_point(fun, {"a": 0.0, "b": 0.0})
    >>> point
    <CriticalPoint saddle, gradient 0.0e+00, eigenvalues from -1 to 2, 2 products>
    >>> float(abs(point.escape["a"])), float(abs(point.escape["b"]))
    (1.0, 0.0)
    >>> round(point.promised_decrease(0.1), 9)
    0.005
    """
    for name, number in (("gtol", gtol), ("tol", tol)):
        if not is_real_number(number) or not np.isfinite(number) or number < 0:
            raise ValueError(f"{name} is {number!r}, expected a number from 0.")
    limit = check_count(n_matvec, "n_matvec", least=2)
    H = hessian_operator(fun, x, args=args, grad=grad)
    matrix = H if A is None else as_symmetric(A)
    if matrix.shape != H.shape:
        raise ValueError(f"A has shape {matrix.shape}, expected {H.shape}, for the entries of x.")
    pairs = curvature_ends(matrix, n_matvec=limit, rng=rng)
    gradient = H.gradient.astype(np.float64)
    size = length(gradient)
    allowed = gtol * pairs.norm * max(1.0, length(H.x.astype(np.float64)))
    zero = zero_curvature(H, pairs.norm, tol)
    kind, reason = _verdict(pairs, size, allowed, zero)
    escape = None
    if kind in ("saddle", "maximum"):
        direction = pairs.eigenvectors[:, 0]
        escape = H.layout.unflatten(-direction if gradient @ direction > 0.0 else direction)
    return CriticalPoint(
        kind=kind,
        reason=reason,
        value=H.value if fun is not None else float("nan"),
        gradient_norm=size,
        gradient_tolerance=allowed,
        smallest=float(pairs.eigenvalues[0]),
        largest=float(pairs.eigenvalues[-1]),
        smallest_residual=float(pairs.residuals[0]),
        largest_residual=float(pairs.residuals[-1]),
        curvature_tolerance=zero,
        escape=escape,
        n_matvec=pairs.n_matvec,
    )


def _verdict(pairs: Eigenpairs, size: float, allowed: float, zero: float) -> tuple[str, str]:
    smallest, largest = float(pairs.eigenvalues[0]), float(pairs.eigenvalues[-1])
    ends = f"the Hessian's eigenvalues lie from {smallest:.3g} to {largest:.3g}"
    within = f"where up to {zero:.1e} counts as zero"
    if size > allowed:
        return "not critical", (
            f"the gradient has the norm {size:.3g}, above {allowed:.1e}; {ends}. Minimize further, "
            "or raise gtol."
        )
    flat = f"the gradient is zero up to {allowed:.1e} (it is {size:.1e}), and {ends}, {within}"
    if smallest < -zero and largest > zero:
        return "saddle", f"{flat}: along `escape` the function falls."
    unsure = np.abs(pairs.eigenvalues[[0, -1]]) <= pairs.residuals[[0, -1]] + zero
    if not pairs.converged and (unsure.any() or len(pairs) < pairs.wanted):
        return "undecided", (
            f"{flat}, but they are known up to {pairs.residuals.max():.1e} only, after "
            f"{pairs.n_matvec} products. Raise n_matvec, or tol."
        )
    if smallest > zero:
        return "minimum", f"{flat}."
    if largest < -zero:
        return "maximum", f"{flat}: along `escape` the function falls."
    return "degenerate", (
        f"{flat}: where the curvature is zero, terms of higher order decide. Look along the "
        "eigenvectors of the smallest eigenvalues."
    )
