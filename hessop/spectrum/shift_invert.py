"""Eigenpairs next to a shift, as the largest of an inverse."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hessop.spectrum.eigen_problems import EigenProblem
from hessop.spectrum.eigen_results import Eigenpairs
from hessop.spectrum.searches import ENDS, RitzPairs, Search
from hessop.spectrum.shifted_inverses import Shifted, ShiftedInverses

__all__ = ["by_inverses", "shift_beyond"]

# Steps with one shift beside two for each wanted pair, before pairs are measured; and how much
# nearer the next shift has to be.
_STEPS, _NEARER = 10, 0.3
# How often they may be measured without getting better by that factor.
_STAGNANT, _GAIN = 10, 0.9


def shift_beyond(problem: EigenProblem, values: np.ndarray, pairs: RitzPairs) -> float:
    """A shift beyond one end: as far from the first eigenvalue as the last of the wanted is.

    So the inverse has the wanted ones well apart, and systems are not worse than that needs.

    Parameters
    ----------
    problem : EigenProblem
        Of the smallest or the largest eigenvalues.
    values : ndarray
        What is known of them, and of the next.
    pairs : RitzPairs
    """
    near = values[ENDS[problem.which](values, problem.k + 2)]
    rounding = problem.rounding(float(np.abs(values).max()))
    distance = max(float(np.ptp(near)), float(pairs.residuals[0]), 10.0 * rounding)
    return float(near[0]) + (distance if problem.which == "LA" else -distance)


def by_inverses(
    problem: EigenProblem, inverses: ShiftedInverses, search: Search | None = None
) -> Iterator[Eigenpairs]:
    """The pairs next to a shift.

    Parameters
    ----------
    problem : EigenProblem
    inverses : ShiftedInverses
    search : Search, optional
        What Lanczos has found, for pairs at one end: then the shift lies beyond that, and is moved
        nearer as more is known.
    """
    start, sigma = problem.start, problem.sigma
    if search is not None:
        start = search.pairs().vectors
        sigma = shift_beyond(problem, search.values, search.pairs())
    shifted, inner = _begin(problem, inverses, sigma, start)
    least, stagnant = np.inf, 0
    while True:
        yield from _some_steps(problem, shifted, inner, inverses.norm)
        # Next to an eigenvalue, residuals of the inverse say less than those of A.
        pairs = problem.measured(shifted.pairs(inner.pairs()).vectors)
        result = problem.result(pairs, inverses.norm, shifted.method)
        stagnant = 0 if result.excess <= _GAIN * least else stagnant + 1
        least = min(least, result.excess)
        near = shifted.values(inner.values[ENDS["LM"](inner.values, problem.k + 2)])
        # Where eigenvalues are on both sides of it, the shift was not beyond the end.
        sides = np.sign(near - shifted.sigma)
        inside = search is not None and bool((sides == (1 if problem.which == "LA" else -1)).any())
        ended = result.converged or inner.is_done or stagnant == _STAGNANT
        if (ended and not inside) or _is_spent(problem, inner):
            break
        yield result
        if search is not None:
            sigma = shift_beyond(problem, near, pairs)
            distances = [np.abs(shift - near).min() for shift in (sigma, shifted.sigma)]
            if inside or distances[0] < _NEARER * distances[1]:
                shifted, inner = _begin(problem, inverses, sigma, pairs.vectors)
                stagnant = 0
    if result.converged and not inside:
        result = result.ended("converged")
    yield result


def _begin(
    problem: EigenProblem, inverses: ShiftedInverses, sigma: float, start: np.ndarray
) -> tuple[Shifted, Search]:
    shifted = inverses.at(sigma)
    k, rng = problem.k, problem.rng
    return shifted, Search(shifted.inverse, k, "LM", shifted.allowed, start, rng)


def _is_spent(problem: EigenProblem, search: Search) -> bool:
    # An exact inverse spends no products.
    return max(problem.spent, search.steps) >= problem.limit


def _some_steps(
    problem: EigenProblem, shifted: Shifted, search: Search, norm: float
) -> Iterator[Eigenpairs]:
    """Steps with one shift, each with its result: until it is done, or it is time to measure."""
    for _ in range(2 * problem.k + _STEPS):
        if search.is_done or _is_spent(problem, search):
            return
        search.step()
        yield problem.result(shifted.pairs(search.pairs()), norm, shifted.method)
