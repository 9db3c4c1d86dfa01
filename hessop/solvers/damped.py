"""Solves with as much damping as a symmetric matrix needs, from the ends of its spectrum."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hessop._errors import NotConvergedError
from hessop.operators.base import BaseOperator
from hessop.operators.structured import StructuredOperator
from hessop.solvers.linear import solve
from hessop.solvers.results import SolveResult, report_failure
from hessop.spectrum.intervals import SpectralInterval, spectral_interval

__all__ = ["DampedSolution", "Damping", "damping_for", "solve_damped"]

# Solves at most; each has at least twice the damping of the one before.
_ATTEMPTS = 6


@dataclass(frozen=True)
class Damping:
    """A multiple of the identity that is added to a matrix.

    Attributes
    ----------
    value : float
    reason : str
        Why so much, in words and figures.
    """

    value: float
    reason: str


@dataclass(frozen=True)
class DampedSolution:
    """The solution of ``(A + damping I) x = b``.

    Attributes
    ----------
    solution : SolveResult
    damping : Damping
    ends : SpectralInterval or None
        Of A, as far as they were measured.
    n_matvec : int
        Products with A, for the measurement and for all solves.
    """

    solution: SolveResult
    damping: Damping
    ends: SpectralInterval | None
    n_matvec: int


def damping_for(ends: SpectralInterval, max_condition: float, rounding: float) -> Damping:
    """The damping with which a matrix is likely to be positive definite and well-conditioned.

    There is none without a sign that it is needed. Ritz values are eigenvalues of a compression: a
    negative one proves negative curvature, and their ratio is a lower bound of the condition. That
    the least has not converged proves nothing.

    Parameters
    ----------
    ends : SpectralInterval
    max_condition : float
    rounding : float
        What a Ritz value may be wrong by, in parts of the norm.

    Raises
    ------
    ValueError
        When the matrix is zero.
    """
    # A larger condition is drowned by rounding.
    max_condition = min(max_condition, 1.0 / rounding)
    least, top = ends.least, ends.largest_bound
    if ends.norm_bound == 0.0:
        raise ValueError(
            "the curvature is zero, so that the quadratic model has no minimum. Give a damping, a "
            "trust_radius, or another curvature."
        )
    seen = f"{ends.n_matvec} products saw eigenvalues from {least:.3g} to {ends.largest:.3g}"
    negative = least < -rounding * ends.norm_bound
    if not negative and 0.0 < ends.largest <= max_condition * least:
        bound = "" if ends.is_complete else " at least"
        known = f"a condition of {ends.largest / least:.2g}{bound}"
        return Damping(0.0, f"{seen}, {known}: none is needed.")
    conditioned = (top - max_condition * least) / (max_condition - 1.0)
    # A negative eigenvalue becomes its magnitude. Were it only made positive, the step along its
    # direction could be of any length.
    mirrored = abs(least) + max(abs(least), ends.least_error) if negative else 0.0
    if mirrored <= conditioned:
        return Damping(
            conditioned, f"{seen}: {conditioned:.3g} makes the condition {max_condition:.2g}."
        )
    if ends.least_error > abs(least):
        error = f"{seen}, the least up to {ends.least_error:.2g}"
        return Damping(mirrored, f"{error}: {mirrored:.3g} outweighs both.")
    return Damping(mirrored, f"{seen}: {mirrored:.3g} turns the least into its magnitude.")


def solve_damped(
    A: BaseOperator,
    b: np.ndarray,
    ends: SpectralInterval,
    max_condition: float,
    rounding: float,
    **options: Any,
) -> DampedSolution:
    """Solve ``(A + damping I) x = b`` with a damping that makes the matrix positive definite.

    What a measurement has missed, cg may meet. Then A is measured again from there, the damping
    raised, and the system solved again.

    Parameters
    ----------
    A : BaseOperator, shape (n, n)
        Symmetric.
    b : ndarray, shape (n,)
    ends : SpectralInterval
        Of A, measured before.
    max_condition, rounding : float
        As for `damping_for`.
    **options
        Of `solve`.

    Returns
    -------
    DampedSolution

    Warns
    -----
    NotConvergedWarning
        When the last solve did not converge.
    """
    damping = damping_for(ends, max_condition, rounding)
    spent = 0
    for attempt in range(1, _ATTEMPTS + 1):
        # minres goes on from negative curvature; cg ends there.
        exact = isinstance(A, StructuredOperator) or attempt == _ATTEMPTS
        method = "auto" if exact else "cg"
        solution = _solved(A, b, method=method, damping=damping.value, **options)
        spent += solution.n_matvec
        met = solution.negative_curvature
        # A limit of the caller's is meant to cut the solve short; our own has shown a condition.
        cut = solution.status == "stopped" or options.get("maxiter") is not None
        if attempt == _ATTEMPTS or (met is None and (solution.converged or cut)):
            break
        if met is not None:
            ends = _joined(ends, spectral_interval(A, v0=met.direction))
            raised = damping_for(ends, max_condition, rounding).value
            found = f"met a curvature of {met.value - damping.value:.3g}"
        else:
            condition = max_condition
            if solution.status == "iteration limit":
                condition = min(condition, _reachable_condition(A.shape[0], **options))
            raised = max(ends.largest_bound / (condition - 1.0), 10.0 * damping.value)
            found = f"ended as {solution.status!r}"
        damping = Damping(
            raised, f"{damping.reason} Then the solve {found}: raised to {raised:.3g}."
        )
    report_failure(solution, strict=False)
    return DampedSolution(solution, damping, ends, spent + ends.n_matvec)


def _reachable_condition(n: int, *, rtol: float = 1e-8, **_: Any) -> float:
    """The condition with which cg needs about half of the 10 n products that it may take.

    It takes ``√κ log(2 / rtol) / 2`` of them, whatever the spectrum is.
    """
    return max((10.0 * n / math.log(2.0 / max(rtol, 1e-16))) ** 2, 10.0)


def _solved(A: BaseOperator, b: np.ndarray, **options: Any) -> SolveResult:
    try:
        return solve(A, b, strict=True, **options)
    except NotConvergedError as error:
        result: SolveResult = error.result
        return result


def _joined(first: SpectralInterval, second: SpectralInterval) -> SpectralInterval:
    """What two measurements of one matrix tell; the second reaches lower."""
    higher = max(first, second, key=lambda ends: ends.largest)
    return replace(
        second,
        largest=higher.largest,
        largest_error=higher.largest_error,
        n_matvec=first.n_matvec + second.n_matvec,
        is_complete=first.is_complete or second.is_complete,
    )
