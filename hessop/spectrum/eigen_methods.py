"""The ways to eigenpairs, each as a generator of better and better results."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import LinearOperator, lobpcg

from hessop.spectrum.eigen_problems import EigenProblem
from hessop.spectrum.eigen_results import Eigenpairs
from hessop.spectrum.intervals import spectral_interval
from hessop.spectrum.searches import RitzPairs, Search
from hessop.spectrum.shift_invert import by_inverses, shift_beyond
from hessop.spectrum.shifted_inverses import ShiftedInverses

__all__ = ["by_any_means", "by_decomposition", "by_lanczos", "by_lobpcg", "by_shift"]

# Products from one partial result to the next.
_STRIDE = 10
# Products of Lanczos at one end before an exact inverse is tried; and, for each unknown, before
# each product is a solve: that takes about ten times as many.
_BEFORE_EXACT, _BEFORE_SOLVES = 300, 3
# With less products left, none are spent on solves.
_LEAST_SOLVES = 200
# Products of Lanczos where an inverse is asked for, beside two for each wanted pair.
_BEFORE_SHIFT = 10
# Products spent on the norm, where a method does not find it by itself.
_NORM_STEPS = 10
# Iterations of lobpcg from one partial result to the next; and random columns beside the wanted.
_ITERATIONS, _GUARDS = 40, 2


def by_decomposition(problem: EigenProblem, *, progress: bool) -> Iterator[Eigenpairs]:
    """All eigenpairs of the dense matrix, of which the wanted are taken."""
    A = problem.A.to_dense(symmetrize=True, progress=progress).astype(np.float64)
    values, vectors = scipy.linalg.eigh(A)
    norm = float(np.abs(values).max())
    chosen = problem.chosen(values)
    values, vectors = values[chosen], vectors[:, chosen]
    images = A @ vectors
    residuals = np.linalg.norm(images - values * vectors, axis=0)
    yield problem.result(RitzPairs(values, vectors, images, residuals), norm, "dense", "exact")


def by_lanczos(problem: EigenProblem) -> Iterator[Eigenpairs]:
    """The pairs at the ends, from products alone."""
    search = _search(problem)
    yield from _worked(search, problem, problem.limit)
    yield problem.final(search.pairs().vectors, search.norm, "lanczos")


def by_any_means(problem: EigenProblem, M: LinearOperator | None) -> Iterator[Eigenpairs]:
    """The pairs at the ends by Lanczos; those of one end, where that is slow, by an inverse."""
    search = _search(problem)
    if problem.which in ("LA", "SA"):
        yield from _worked(search, problem, _BEFORE_EXACT)
        if not search.is_done:
            inverses = ShiftedInverses(problem, search.norm, M)
            if not inverses.are_exact(shift_beyond(problem, search.values, search.pairs())):
                yield from _worked(search, problem, _BEFORE_SOLVES * problem.A.shape[0])
            if not search.is_done and problem.spent + _LEAST_SOLVES <= problem.limit:
                yield from by_inverses(problem, inverses, search)
                return
    yield from _worked(search, problem, problem.limit)
    yield problem.final(search.pairs().vectors, search.norm, "lanczos")


def by_shift(
    problem: EigenProblem, M: LinearOperator | None, *, by_sign: bool = False
) -> Iterator[Eigenpairs]:
    """The pairs nearest to a shift, or those of one end, from the inverse next to that.

    Parameters
    ----------
    problem : EigenProblem
    M : LinearOperator or None
    by_sign : bool
        Whether those nearest to zero may be found as those of one end, where there seems to be no
        eigenvalue beyond zero: products with the matrix do that in a tenth of what solves take.
    """
    interval = spectral_interval(problem.A, steps=_NORM_STEPS, rng=problem.rng)
    norm = max(abs(interval.least), abs(interval.largest))
    if not norm:  # the zero matrix, which has no inverse anywhere near
        yield from by_lanczos(replace(problem, which="LM"))
        return
    inverses = ShiftedInverses(problem, norm, M)
    one_sided = interval.least * interval.largest > 0.0
    if by_sign and one_sided and not inverses.are_exact(problem.sigma):
        which = "SA" if interval.least > 0.0 else "LA"
        for pairs in by_any_means(replace(problem, which=which), M):
            beyond = -pairs.eigenvalues if which == "LA" else pairs.eigenvalues
            if beyond.min(initial=0.0) < -problem.rounding(norm):
                break
            yield pairs
        else:
            return
    search = None
    if problem.which != "nearest":
        search = _search(problem)
        yield from _worked(search, problem, problem.spent + _BEFORE_SHIFT + 3 * problem.k)
    yield from by_inverses(problem, inverses, search)


def _search(problem: EigenProblem) -> Search:
    A, k, which = problem.A, problem.k, problem.which
    return Search(
        A, k, which, problem.allowed, problem.start, problem.rng, left=lambda: problem.left
    )


def _worked(search: Search, problem: EigenProblem, limit: int) -> Iterator[Eigenpairs]:
    """Partial results of a search, until it is done or has spent the products."""
    while not search.is_done and problem.spent + problem.k < min(limit, problem.limit):
        search.step()
        if search.steps % _STRIDE == 0:
            yield problem.result(search.pairs(), search.norm, "lanczos")


def check_positive(M: LinearOperator | None, X: np.ndarray) -> None:
    """Refuse a preconditioner that is not positive definite along some columns.

    Raises
    ------
    ValueError
    """
    if M is None:
        return
    forms = np.linalg.eigvalsh(X.T @ np.asarray(M.matmat(X)))
    if not forms.min() > 0.0:
        raise ValueError(
            f"M is not positive definite: it has the curvature {forms.min():.3g} along a vector, "
            "and lobpcg and minres need one that is. Take the magnitudes of its eigenvalues."
        )


def by_lobpcg(problem: EigenProblem, M: LinearOperator | None) -> Iterator[Eigenpairs]:
    """The pairs at one end, by `scipy.sparse.linalg.lobpcg` with a preconditioner."""
    A, n, k = problem.A, problem.A.shape[0], problem.k
    interval = spectral_interval(A, steps=_NORM_STEPS, rng=problem.rng)
    norm = max(abs(interval.least), abs(interval.largest))
    X = np.hstack([problem.start, problem.rng.standard_normal((n, k + _GUARDS))])
    found = problem.measured(X[:, : min(k + _GUARDS, n // 5)])
    check_positive(M, found.vectors)
    while True:
        result = problem.result(found, norm, "lobpcg")
        if result.converged or problem.spent >= problem.limit:
            break
        yield result
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", UserWarning)  # that it has not converged
            _, X = lobpcg(
                A,
                found.vectors.astype(A.dtype),
                M=M,
                tol=0.5 * float(result.tolerances.min()),  # one for all, wanted or not
                maxiter=_ITERATIONS,
                largest=problem.which == "LA",
            )
        found = problem.measured(np.asarray(X, dtype=np.float64))
    yield result.ended("converged") if result.converged else result
