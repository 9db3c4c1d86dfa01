"""``A x = b`` for any operator: one interface to SciPy's solvers, with a result to be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from hessop._progress import progress_bar
from hessop.operators.base import BaseOperator, is_real_number
from hessop.operators.structured import StructuredOperator, check_damping, is_symmetric
from hessop.solvers.iterations import METHODS, SYMMETRIC_METHODS, run
from hessop.solvers.results import NegativeCurvature, SolveResult, joined, report_failure
from hessop.solvers.right_sides import RightSide, read_right_side
from hessop.solvers.systems import System

__all__ = ["real_operator", "solve", "solve_vector"]

# Products for each unknown when nothing else is said: what SciPy's cg allows.
_PRODUCTS = 10


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
        cg, and from the first direction of negative curvature on minres; gmres for a square A
        that is not symmetric, lsmr for one that is not square.
    M : LinearOperator or matrix, optional
        Preconditioner: an approximation of the inverse. Positive definite for cg and minres; lsmr
        takes none.
    damping : float
        For an A that is not square, the penalty ``damping ||x||²`` of least squares.
    x0 : array_like or tree, optional
        Where to start, in the form of the solution; zeros by default.
    rtol, atol : float
        Solved when ``||b - A x|| <= max(rtol ||b||, atol)``. For float32 operators, rtol is at
        least ten units in the last place. lsmr also ends, as converged, at a least-squares
        solution: ``||Aᵀ r|| <= rtol ||A|| ||r||``.
    maxiter : int, optional
        The most products with A, for one right-hand side: 10 n unless said otherwise. The few that
        measure the result come on top.
    callback : callable, optional
        ``callback(x)`` with a flat iterate, after each iteration (of gmres and lgmres: each
        restart; none of lsmr). It may raise StopIteration, which ends the solve.
    progress : bool
        Show a bar of the products; needs tqdm.
    strict : bool
        Raise, instead of a warning, when it does not converge.

    Returns
    -------
    SolveResult

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
    (True, 'cg', 4)

    Of a saddle, the direction that leads down comes along:

    >>> H = hessian_operator(lambda x: x[0] ** 2 - x[1] ** 2, np.array([1.0, 2.0]))
    >>> result = solve(H, -H.gradient)
    >>> result.x, result.method, result.negative_curvature.value < 0
    (array([-1., -2.]), 'cg, minres', True)
    """
    if method not in ("auto", *METHODS):
        raise ValueError(
            f"method is {method!r}, expected one of auto, {', '.join(METHODS)}. For another, call "
            "it from scipy.sparse.linalg."
        )
    operator = real_operator(A)
    side = read_right_side(operator, b)
    M = _preconditioner(M, operator, method)
    rtol = _accuracy(rtol, atol, operator)
    damping = check_damping(damping)
    symmetric, spent = _symmetry(operator, method)
    limit = _PRODUCTS * operator.shape[1] if maxiter is None else _limit(maxiter)
    exact = None
    if x0 is None and method == "auto":
        exact = _by_inverse(operator, side.columns, damping)
    if exact is not None:
        start = exact
    else:
        start = np.zeros(side.solution_shape) if x0 is None else side.start(x0)

    def vector(column: np.ndarray, x: np.ndarray, bar: Any) -> SolveResult:
        x = x if column.any() else np.zeros_like(x)
        system = System(
            operator,
            column,
            damping=damping,
            symmetric=symmetric,
            x0=x,
            target=max(rtol * float(np.linalg.norm(column)), atol),
            limit=limit,
            callback=callback,
            bar=bar,
        )
        return solve_vector(system, method, M, is_exact=exact is not None)

    with progress_bar(progress, None, desc="solve", unit="product") as bar:
        if side.columns.ndim == 1:
            result = vector(side.columns, start, bar)
        else:
            pairs = zip(side.columns.T, start.T, strict=True)
            result = joined(tuple([vector(column, x, bar) for column, x in pairs]))
    result = _in_form(result, side, spent)
    report_failure(result, strict=strict)
    return result


def solve_vector(
    system: System, method: str, M: LinearOperator | None, *, is_exact: bool = False
) -> SolveResult:
    """Solve a system of one right-hand side, without a warning where that fails.

    Parameters
    ----------
    system, method, M
    is_exact : bool
        Whether the system starts from a product with the exact inverse.
    """
    if system.is_solved():
        return _result(system, "converged", "inverse" if is_exact else "none")
    if method != "auto":
        return _result(system, run(system, method, M), method)
    if not system.symmetric:
        method = "gmres" if system.is_square else "lsmr"
        return _result(system, run(system, method, M), method)
    status = run(system, "cg", M)
    if status != "negative curvature":
        return _result(system, status, "cg")
    return _result(system, run(system, "minres", M), "cg, minres")


def _result(system: System, status: str, method: str) -> SolveResult:
    status, reason = _verdict(system, status, method)
    return SolveResult(
        x=system.x,
        converged=status == "converged",
        status=status,
        reason=reason,
        residual_norm=system.residual_norm,
        n_matvec=system.spent,
        history=np.array(system.history),
        negative_curvature=system.negative_curvature,
        method=method,
    )


def _verdict(system: System, status: str, method: str) -> tuple[str, str]:
    """The status of a finished run, and the reason in words."""
    size = float(np.linalg.norm(system.b))
    residual = f"the residual is {system.residual_norm / size if size else 0.0:.1e} of b"
    if status == "converged":
        return status, f"{residual}."
    asked = f"{residual}, asked for were {system.target / size:.1e}"
    if status in ("stagnated", "iteration limit") and (system.symmetric or method == "lsmr"):
        if method == "lsmr" and system.is_least_squares():
            return "converged", (
                f"{residual}, and orthogonal to the range of A: x is a least-squares solution."
            )
        ratio = system.normal_ratio()
        if ratio <= system.eps**0.5:
            return "inconsistent", (
                f"{asked}, and A shrinks what is left of b to {ratio:.1e} of its norm: A is "
                "singular or nearly so, and b is not in its range. x is a least-squares solution; "
                "a damping makes the system regular."
            )
    if status == "iteration limit":
        return status, (
            f"{asked}, after {system.limit:,} products. Give a preconditioner M, such as "
            "nystrom_preconditioner(A), a damping, or a larger maxiter."
        )
    if status == "negative curvature":
        return status, (
            f"{asked}, and cg has met a direction along which A is not positive: it does not "
            "apply. Use method='auto' or 'minres', or a damping above the most negative "
            "eigenvalue."
        )
    if status == "stopped":
        return status, f"{asked}; callback has stopped it."
    if status == "breakdown":
        return status, (
            f"{asked}, when {method} has broken down. Use another method, a preconditioner M or a "
            "damping."
        )
    return "stagnated", (
        f"{asked}, and it does not go down any more: for a matrix of norm {system.norm:.1e} and "
        f"an x of norm {float(np.linalg.norm(system.x)):.1e}, this is all that rounding allows, or "
        f"all that {method} achieves. Use a damping, a preconditioner M, or a larger rtol."
    )


def _in_form(result: SolveResult, side: RightSide, spent: int) -> SolveResult:
    """A result in the form of b, with the products that were spent before it began."""
    curvature = result.negative_curvature
    if curvature is not None:
        curvature = NegativeCurvature(side.solution(curvature.direction), curvature.value)
    return replace(
        result,
        x=side.solution(result.x),
        n_matvec=result.n_matvec + spent,
        negative_curvature=curvature,
    )


# --- what was given -------------------------------------------------------------------------------


def real_operator(A: Any, name: str = "A") -> LinearOperator:
    """Any operator or matrix as a LinearOperator of real numbers.

    Raises
    ------
    TypeError
        When it is neither, or complex.
    """
    try:
        operator = aslinearoperator(A)
    except TypeError:
        raise TypeError(
            f"{name} is a {type(A).__name__}, expected a LinearOperator or a matrix."
        ) from None
    if np.dtype(operator.dtype or float).kind not in "biuf":
        raise TypeError(f"{name} has dtype {operator.dtype}, expected real numbers.")
    return operator


def _symmetry(operator: LinearOperator, method: str) -> tuple[bool, int]:
    """Whether an operator is symmetric, and what it has cost to know."""
    if operator.shape[0] != operator.shape[1]:
        if method not in ("auto", "lsmr"):
            raise ValueError(
                f"A has shape {operator.shape}, and {method} needs a square one. Use 'lsmr', which "
                "gives the least-squares solution."
            )
        return False, 0
    if isinstance(operator, BaseOperator):
        if not operator.symmetric and method in SYMMETRIC_METHODS:
            raise ValueError(
                f"A is not symmetric, as {method} needs it to be. Use 'gmres' or 'lsmr'."
            )
        return operator.symmetric, 0
    if method in SYMMETRIC_METHODS:
        return True, 0
    return (is_symmetric(operator), 2) if method == "auto" else (False, 0)


def _preconditioner(M: Any, operator: LinearOperator, method: str) -> LinearOperator | None:
    if M is None:
        return None
    if operator.shape[0] != operator.shape[1] or method == "lsmr":
        raise ValueError("M is given, and lsmr takes no preconditioner. Scale the columns of A.")
    M = real_operator(M, "M")
    if M.shape != operator.shape:
        raise ValueError(f"M has shape {M.shape}, expected {operator.shape}, that of A.")
    return M


def _accuracy(rtol: float, atol: float, operator: LinearOperator) -> float:
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not (is_real_number(value) and np.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value!r}, expected a number from 0.")
    if operator.dtype == np.float32:
        return max(rtol, 10.0 * float(np.finfo(np.float32).eps))
    return rtol


def _limit(maxiter: Any) -> int:
    if not isinstance(maxiter, int | np.integer) or maxiter < 0:
        raise ValueError(f"maxiter is {maxiter!r}, expected a whole number from 0.")
    return int(maxiter)


def _by_inverse(operator: LinearOperator, columns: np.ndarray, damping: float) -> np.ndarray | None:
    """The solution by the exact inverse of a structured operator, where there is one."""
    if not isinstance(operator, StructuredOperator):
        return None
    try:
        x = operator.inverse(damping) @ columns
    except (np.linalg.LinAlgError, TypeError, ValueError):  # singular, or no damped inverse
        return None
    return np.asarray(x, dtype=np.float64)
