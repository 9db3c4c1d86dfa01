"""One right-hand side and many dampings, from one Krylov space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from hessop._errors import NotConvergedError, NotConvergedWarning, warn_user
from hessop._lengths import length
from hessop._progress import progress_bar
from hessop.operators.base import BaseOperator
from hessop.operators.foreign import as_symmetric
from hessop.operators.structured import StructuredOperator
from hessop.solvers.linear import solve
from hessop.solvers.options import read_accuracy, read_limit
from hessop.solvers.right_sides import RightSide, read_right_side
from hessop.solvers.shifted import ShiftedMinres
from hessop.spectrum.krylov import KrylovSpace

__all__ = ["PathResult", "solve_path"]

# Vectors in memory at most, when nothing else is said.
_STEPS = 500


@dataclass(frozen=True, eq=False)
class PathResult:
    """The solutions of ``(A + λ I) x = b`` for a list of dampings λ, and what is known of them.

    Attributes
    ----------
    dampings : ndarray, shape (L,)
    x : ndarray, shape (L, n), or list of trees
        A row, or a tree, for each damping; trees where b was one.
    converged : ndarray of bool, shape (L,)
    reason : str
        In words, with figures and what to try.
    residual_norm : ndarray, shape (L,)
        ``||b - (A + λ I) x||``, computed from x at the end.
    misfit : ndarray, shape (L,)
        ``||b - A x||``, without the damping.
    size : ndarray, shape (L,)
        ``||x||``.
    n_matvec : int
        Products with A, those included that have measured residuals.
    steps : int
        The dimension of the Krylov space: zero where all came from exact inverses.
    ritz_values : ndarray, shape (steps,)
        Approximate eigenvalues of A, ascending; the outer ones are the best.
    """

    dampings: np.ndarray
    x: Any
    converged: np.ndarray
    reason: str
    residual_norm: np.ndarray
    misfit: np.ndarray
    size: np.ndarray
    n_matvec: int
    steps: int
    ritz_values: np.ndarray

    def __repr__(self) -> str:
        count, least, most = len(self.dampings), self.dampings.min(), self.dampings.max()
        solved = f"{int(np.count_nonzero(self.converged))} of {count} dampings solved"
        return (
            f"<PathResult {solved}, from {least:.3g} to {most:.3g}, "
            f"largest residual {self.residual_norm.max():.1e}, {self.n_matvec} products>"
        )

    def plot(self, ax: Any = None) -> Any:
        """The size of x against the misfit, with the dampings beside: the L-curve.

        Its corner is where less damping begins to cost size without a gain in misfit (P. C. Hansen,
        "Analysis of discrete ill-posed problems by means of the L-curve", SIAM Review 34, 1992).

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            A new one by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots()
        shown = (self.misfit > 0) & (self.size > 0)  # for logarithmic axes
        order = np.flatnonzero(shown)[np.argsort(self.dampings[shown])]
        ax.loglog(self.misfit[order], self.size[order], "o-")
        for i in order:
            ax.annotate(f"{self.dampings[i]:.1g}", (self.misfit[i], self.size[i]))
        ax.set_xlabel("misfit ||b - A x||")
        ax.set_ylabel("size ||x||")
        return ax


def solve_path(
    A: Any,
    b: Any,
    dampings: Any,
    *,
    rtol: float = 1e-8,
    atol: float = 0.0,
    maxiter: int | None = None,
    callback: Callable[[np.ndarray], Any] | None = None,
    progress: bool = False,
    strict: bool = False,
) -> PathResult:
    """Solve ``(A + λ I) x = b`` for many dampings λ with the products of one.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (n, n)
        Symmetric. One that is not hessop's is tested with two products.
    b : array_like, shape (n,), or tree
    dampings : array_like, shape (L,)
        Real numbers in any order. With a negative one the matrix may be indefinite, or singular.
    rtol, atol : float
        Solved when ``||b - (A + λ I) x|| <= max(rtol ||b||, atol)``. For float32 operators, rtol is
        at least ten units in the last place.
    maxiter : int, optional
        The largest dimension of the Krylov space: n, but at most 500 unless said otherwise. Its
        basis is kept, which takes the memory of so many vectors.
    callback : callable, optional
        ``callback(residual_norms)`` after each product, with one for each damping. It may raise
        StopIteration, which ends the iteration.
    progress : bool
        Show a bar of the products; needs tqdm.
    strict : bool
        Raise, instead of a warning, when one of them does not converge.

    Returns
    -------
    PathResult

    Warns
    -----
    NotConvergedWarning
        With the dampings that have not converged, and what to try.

    Raises
    ------
    NotConvergedError
        With `strict`. It carries the result.
    TypeError, ValueError
        When A is not symmetric, b is not one vector, or a damping is no finite real number.

    Notes
    -----
    The Krylov spaces of b with A and with A + λ I are the same. For each λ the solution is that of
    minres in this space (C. C. Paige and M. A. Saunders, "Solution of sparse indefinite systems of
    linear equations", SIAM J. Numer. Anal. 12, 1975), whose residual is known after each step. At
    the end all residuals are measured, with one product for each damping.

    A structured A is inverted for each damping instead.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import hessian_operator, solve_path
    >>> H = hessian_operator(lambda x: np.sum(np.cosh(x)) + np.sum(x) ** 2, np.zeros(5))
    >>> path = solve_path(H, np.arange(5.0), [0.0, 1.0, 10.0])
    >>> bool(path.converged.all()), path.steps, path.n_matvec
    (True, 2, 5)
    >>> path.size.round(3)
    array([3.188, 1.624, 0.358])
    """
    operator = as_symmetric(A)
    side = read_right_side(operator, b)
    if side.columns.ndim != 1:
        raise ValueError(
            f"b has shape {side.columns.shape}, expected one vector, ({side.n},): every column has "
            "a Krylov space of its own. Call solve_path for each of them."
        )
    size = length(side.columns)
    problem = _Problem(
        operator,
        side.columns / (size or 1.0),
        _read_dampings(dampings),
        max(read_accuracy(rtol, atol, operator), atol / (size or 1.0)),
        min(_STEPS, side.n) if maxiter is None else read_limit(maxiter, side.n),
    )
    follow = None if callback is None else lambda norms: callback(size * norms)
    with progress_bar(progress, None, desc="solve_path", unit=" products") as bar:
        if not size:
            found = _zeros(problem)
        elif isinstance(operator, StructuredOperator):
            found = _by_inverses(problem)
        else:
            found = _by_lanczos(problem, follow, bar)
    tested = 0 if isinstance(A, BaseOperator) else 2
    result = _measured(problem, found, size, tested, side)
    if not result.converged.all() and not found.is_stopped:
        message = f"solve_path did not converge: {result.reason}"
        if strict:
            raise NotConvergedError(message, result)
        warn_user(message, NotConvergedWarning)
    return result


class _Problem(NamedTuple):
    """With a b of length one, so that no number is too large or too small."""

    A: BaseOperator
    b: np.ndarray
    dampings: np.ndarray
    target: float
    limit: int


class _Found(NamedTuple):
    """Solutions, shape (L, n), and how each of them ended."""

    x: np.ndarray
    endings: list[str]
    n_matvec: int = 0
    ritz_values: np.ndarray = np.empty(0)
    is_stopped: bool = False


def _zeros(problem: _Problem) -> _Found:
    count = len(problem.dampings)
    return _Found(np.zeros((count, problem.b.size)), [""] * count)


def _by_inverses(problem: _Problem) -> _Found:
    """The solutions of a structured matrix, which has an inverse for each damping."""
    results = []
    for damping in problem.dampings:
        try:
            # strict, for what has failed is told of all at the end
            result = solve(
                problem.A, problem.b, damping=damping, rtol=0.0, atol=problem.target, strict=True
            )
        except NotConvergedError as error:
            result = error.result
        results.append(result)
    return _Found(
        np.array([result.x for result in results]),
        [f": {result.status}." for result in results],
        sum(result.n_matvec for result in results),
    )


def _by_lanczos(
    problem: _Problem, callback: Callable[[np.ndarray], Any] | None, bar: Any
) -> _Found:
    """The solutions of least residual in the Krylov space of A and b."""
    space = KrylovSpace(problem.A, problem.b)
    eps = float(np.finfo(problem.A.dtype).eps)
    minres = ShiftedMinres(problem.dampings, space.norm, eps)
    is_stopped = False
    while space.steps < problem.limit and not space.is_invariant:
        space.extend()
        minres.extend(space.diagonal[-1], space.off_diagonal[-1])
        if bar is not None:
            bar.update(1)
        if callback is not None:
            try:
                callback(minres.residual_norm)
            except StopIteration:
                is_stopped = True
                break
        if (minres.residual_norm <= problem.target).all():
            break
    if not space.steps:
        return _zeros(problem)._replace(endings=["."] * len(problem.dampings))
    solutions = minres.solutions(problem.target)
    unsolved = f", after {space.steps} products. Use a larger maxiter, or a larger damping."
    if is_stopped:
        unsolved = "; callback has stopped it."
    is_exhausted = space.is_invariant | (solutions.residual_norm <= problem.target)
    endings = [
        _SINGULAR if singular else _ROUNDING if exhausted else unsolved
        for singular, exhausted in zip(solutions.is_singular, is_exhausted, strict=True)
    ]
    return _Found(
        solutions.y @ space.vectors.T, endings, space.steps, space.ritz_values(), is_stopped
    )


_ROUNDING = (
    ": for the norms of A and x, this is all that rounding allows. Use another damping, or a "
    "larger rtol."
)
_SINGULAR = (
    ": A + λ I is singular or nearly so, and b is not in its range. Up to this, x is the shortest "
    "least-squares solution; another damping makes the matrix regular."
)


def _measured(
    problem: _Problem, found: _Found, size: float, tested: int, side: RightSide
) -> PathResult:
    """The result for a b of that size, with the residuals of its solutions."""
    x, dampings = found.x, problem.dampings
    products = problem.A.matmat(x.T).T if x.any() else np.zeros_like(x)
    without = problem.b - products
    norms = np.linalg.norm(without - dampings[:, None] * x, axis=1)
    converged = norms <= problem.target
    worst = int(np.argmax(norms))
    reason = f"the largest residual is {norms[worst]:.1e} of b"
    if converged.all():
        reason += "."
    else:
        reason = (
            f"{np.count_nonzero(~converged)} of {len(dampings)} dampings; {reason}, with λ = "
            f"{dampings[worst]:.3g}, asked for were {problem.target:.1e}{found.endings[worst]}"
        )
    solutions = size * x
    return PathResult(
        dampings=dampings,
        x=[side.solution(row) for row in solutions] if side.is_tree else solutions,
        converged=converged,
        reason=reason,
        residual_norm=size * norms,
        misfit=size * np.linalg.norm(without, axis=1),
        size=size * np.linalg.norm(x, axis=1),
        n_matvec=tested + found.n_matvec + (len(x) if x.any() else 0),
        steps=len(found.ritz_values),
        ritz_values=found.ritz_values,
    )


def _read_dampings(dampings: Any) -> np.ndarray:
    shifts = np.atleast_1d(np.asarray(dampings))
    if shifts.ndim != 1 or shifts.size == 0:
        raise ValueError(f"dampings has shape {shifts.shape}, expected a list of numbers.")
    if shifts.dtype.kind not in "biuf" or not np.isfinite(shifts).all():
        raise ValueError(f"dampings are {dampings!r}, expected finite real numbers.")
    return shifts.astype(np.float64)
