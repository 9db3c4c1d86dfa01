"""``A x = b`` for any operator: one interface to SciPy's solvers, with a result to be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from hessop._lengths import length
from hessop._progress import progress_bar
from hessop.operators.foreign import real_operator
from hessop.operators.structured import check_damping
from hessop.solvers.iterations import refine, run
from hessop.solvers.options import (
    check_method,
    exact_inverse,
    read_accuracy,
    read_limit,
    read_preconditioner,
    read_symmetry,
)
from hessop.solvers.results import NegativeCurvature, SolveResult, joined, report_failure
from hessop.solvers.right_sides import RightSide, read_right_side
from hessop.solvers.systems import System
from hessop.solvers.verdicts import result_of

__all__ = ["solve", "solve_vector"]


def solve(
    A: Any,
    b: Any,
    *,
    method: str = "auto",
    M: Any = None,
    damping: float = 0.0,
    x0: Any = None,
    rtol: float = 1e-8,
    atol: float = 0.0,
    maxiter: int | None = None,
    callback: Callable[[np.ndarray], Any] | None = None,
    progress: bool = False,
    strict: bool = False,
) -> SolveResult:
    """Solve ``(A + damping I) x = b``.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (m, n)
        Any operator of SciPy. ``"auto"`` tests one that is not hessop's for symmetry, with two
        products.
    b : array_like, shape (m,) or (m, k), or tree
        A block is solved one column after the other; a tree is nested like the parameters of A.
    method : {"auto", "cg", "minres", "gmres", "lgmres", "bicgstab", "lsmr"}
        ``"auto"``: the inverse of a structured operator, which is exact; for other symmetric ones
        cg, and from the first direction of negative or no curvature on minres; gmres for a square
        A that is not symmetric, lsmr for one that is not square.
    M : LinearOperator or matrix, optional
        Preconditioner: an approximation of the inverse. Positive definite for cg and minres; lsmr
        takes none, and an exact inverse needs none.
    damping : float
        For an A that is not square, the penalty ``damping ||x||²`` of least squares.
    x0 : array_like or tree, optional
        Where to start, in the form of the solution; zeros by default.
    rtol, atol : float
        Solved when ``||b - A x|| <= t = max(rtol ||b||, atol)``. For float32 operators, rtol is at
        least ten units in the last place. lsmr also ends, as converged, at a least-squares
        solution: ``||Aᵀ r|| <= t / ||b|| ||A|| ||r||``.
    maxiter : int, optional
        The most products with A, for one right-hand side: 10 n unless said otherwise. The few that
        measure the result come on top.
    callback : callable, optional
        ``callback(x)`` with a flat iterate, after each iteration (of gmres and lgmres: each
        restart; not of lsmr, nor of an exact inverse). It may raise StopIteration, which ends the
        solve with this x.
    progress : bool
        Show a bar of the products; needs tqdm.
    strict : bool
        Raise, instead of a warning, when it does not converge.

    Returns
    -------
    SolveResult
        Its x is float64, whatever A and b are.

    Warns
    -----
    NotConvergedWarning
        With the reason, and what to try.

    Raises
    ------
    NotConvergedError
        With `strict`. It carries the result.
    NonFiniteError
        When b, or a product, is not finite.
    TypeError, ValueError
        When something has another shape or kind than is expected, or M is not positive definite.

    Notes
    -----
    The algorithms are SciPy's: M. R. Hestenes and E. Stiefel, "Methods of conjugate gradients for
    solving linear systems", 1952; C. C. Paige and M. A. Saunders, "Solution of sparse indefinite
    systems of linear equations", SIAM J. Numer. Anal. 12, 1975. They end by residuals that they
    carry along, and minres by tests relative to ``||A|| ||x||``; here the residual is computed
    from x, and an iteration that has ended too early is continued.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import hessian_operator, solve
    >>> def fun(x):
    ...     return np.sum(np.cosh(x)) + 0.5 * np.sum(x) ** 2
    >>> H = hessian_operator(fun, np.linspace(-1.0, 1.0, 5))
    >>> result = solve(H, -H.gradient)
    >>> result.converged, result.method, result.n_matvec
    (True, 'cg', 3)

    Of a saddle, the direction that leads down comes along:

    >>> H = hessian_operator(lambda x: x[0] ** 2 - x[1] ** 2, np.array([1.0, 2.0]))
    >>> result = solve(H, -H.gradient)
    >>> result.x, result.method, result.negative_curvature.value < 0
    (array([-1., -2.]), 'cg, minres', True)
    """
    check_method(method)
    operator = real_operator(A)
    side = read_right_side(operator, b)
    M = read_preconditioner(M, operator, method)
    rtol = read_accuracy(rtol, atol, operator)
    damping = check_damping(damping)
    symmetric, spent = read_symmetry(operator, method)
    inverse = exact_inverse(operator, damping) if method == "auto" else None
    columns, starts = side.columns, side.start(x0)
    if operator.shape[0] != operator.shape[1] and damping:
        operator, columns = _penalized(operator, columns, damping)
        damping = 0.0
    limit = read_limit(maxiter, operator.shape[1])
    is_stopped = False

    def solved(column: np.ndarray, x: np.ndarray, bar: Any) -> SolveResult:
        nonlocal is_stopped
        system = System(
            operator,
            column,
            damping=damping,
            symmetric=symmetric,
            x0=x if column.any() else np.zeros_like(x),
            target=max(rtol * length(column), atol),
            limit=limit,
            callback=callback,
            bar=bar,
        )
        if not math.isfinite(system.residual_norm):
            raise ValueError("the length of b - A x0 overflows. Scale b, or begin elsewhere.")
        if is_stopped:
            return result_of(system, "converged" if system.is_solved() else "stopped", "none")
        result = solve_vector(system, method, M, inverse=inverse)
        is_stopped = result.status == "stopped"
        return result

    with progress_bar(progress, None, desc="solve", unit=" products") as bar:
        if columns.ndim == 1:
            result = solved(columns, starts, bar)
        else:
            pairs = zip(columns.T, starts.T, strict=True)
            result = joined(tuple([solved(b, x, bar) for b, x in pairs]))
    result = _in_form(result, side, spent)
    report_failure(result, strict=strict)
    return result


def solve_vector(
    system: System,
    method: str,
    M: LinearOperator | None,
    *,
    inverse: LinearOperator | None = None,
) -> SolveResult:
    """Solve a system of one right-hand side, without a warning where that fails.

    Parameters
    ----------
    system, method, M
    inverse : LinearOperator, optional
        The exact inverse, which is tried first.
    """
    if system.is_solved():
        return result_of(system, "converged", "none")
    if inverse is not None:
        status = refine(system, inverse)
        if status != "breakdown":
            return result_of(system, status, "inverse")
    if method != "auto":
        return result_of(system, run(system, method, M), method)
    if not system.symmetric:
        method = "gmres" if system.A.shape[0] == system.A.shape[1] else "lsmr"
        return result_of(system, run(system, method, M), method)
    status = run(system, "cg", M)
    if status != "not positive definite":
        return result_of(system, status, "cg")
    return result_of(system, run(system, "minres", M), "cg, minres")


def _in_form(result: SolveResult, side: RightSide, spent: int) -> SolveResult:
    """A result in the form of b, with the products that were spent before it began."""
    curvature = result.negative_curvature
    if curvature is not None:
        curvature = NegativeCurvature(side.solution(curvature.direction), curvature.value)
    return replace(
        result,
        x=side.solution(result.x),
        n_matvec=result.n_matvec + spent,
        history=result.history + np.array([spent, 0.0]),
        negative_curvature=curvature,
    )


def _penalized(
    A: LinearOperator, columns: np.ndarray, damping: float
) -> tuple[LinearOperator, np.ndarray]:
    """The least-squares problem ``||b - A x||² + damping ||x||²`` as one without a penalty."""
    if damping < 0.0:
        raise ValueError(
            f"damping is {damping}, expected a number from 0 for an A of shape {A.shape}: it is "
            "the penalty damping ||x||²."
        )
    (m, n), root = A.shape, damping**0.5
    operator = LinearOperator(
        (m + n, n),
        matvec=lambda v: np.concatenate([A.matvec(v), root * v]),
        rmatvec=lambda u: A.rmatvec(u[:m]) + root * u[m:],
        dtype=A.dtype,
    )
    return operator, np.concatenate([columns, np.zeros((n, *columns.shape[1:]))])
