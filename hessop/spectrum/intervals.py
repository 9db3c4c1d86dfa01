"""Where the eigenvalues of an operator lie: the two ends, from a few products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from hessop.spectrum.krylov import KrylovSpace

__all__ = ["SpectralInterval", "spectral_interval"]

_STEPS = 30


@dataclass(frozen=True)
class SpectralInterval:
    """The ends of a spectrum, as far as some steps of Lanczos' process tell.

    Attributes
    ----------
    least, largest : float
        The outermost Ritz values: the least eigenvalue is at most `least`, and the largest at least
        `largest`.
    least_error, largest_error : float
        The norms of their residuals: an eigenvalue lies as near.
    direction : ndarray, shape (n,)
        The Ritz vector of `least`, of length one.
    n_matvec : int
        Products spent.
    is_complete : bool
        Whether the space was invariant, so that the ends are exact for a generic start.
    """

    least: float
    largest: float
    least_error: float
    largest_error: float
    direction: np.ndarray
    n_matvec: int
    is_complete: bool

    @property
    def least_bound(self) -> float:
        """What the least eigenvalue is likely to be above: `least` less its error."""
        return self.least - self.least_error

    @property
    def largest_bound(self) -> float:
        """What the largest eigenvalue is likely to be below: `largest` plus its error."""
        return self.largest + self.largest_error

    @property
    def norm_bound(self) -> float:
        """What the spectral norm is likely to be below."""
        return max(abs(self.least_bound), abs(self.largest_bound))


def spectral_interval(
    A: LinearOperator, *, steps: int = _STEPS, v0: np.ndarray | None = None, rng: Any = None
) -> SpectralInterval:
    """The ends of the spectrum of a symmetric operator.

    Parameters
    ----------
    A : LinearOperator, shape (n, n)
    steps : int
        Products at most.
    v0 : ndarray, shape (n,), optional
        Where to start: a random vector by default.
    rng : None, int or numpy.random.Generator

    Notes
    -----
    Kuczyński and Woźniakowski, "Estimating the largest eigenvalue by the power and Lanczos
    algorithms with a random start", SIAM J. Matrix Anal. Appl. 13, 1992, bound what is missed.
    """
    n = A.shape[0]
    if v0 is None:
        v0 = np.random.default_rng(rng).standard_normal(n)
    space = KrylovSpace(A, v0)
    for _ in range(min(steps, n)):
        space.extend()
        if space.is_invariant:
            break
    values, coordinates, residuals = space.ritz_pairs()
    return SpectralInterval(
        least=float(values[0]),
        largest=float(values[-1]),
        least_error=float(residuals[0]),
        largest_error=float(residuals[-1]),
        direction=space.vectors @ coordinates[:, 0],
        n_matvec=space.steps,
        is_complete=space.is_invariant,
    )
