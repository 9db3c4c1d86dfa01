"""Gauss quadrature for the spectrum of an operator, by Lanczos' process from random probes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hessop.operators.base import BaseOperator
from hessop.operators.probing import PROBES, columns_together
from hessop.spectrum.krylov import KrylovSpace, extend_together, tridiagonal_pairs

__all__ = ["GaussRule", "ProbeBlock", "probes_together"]

# The most numbers in the bases of the probes of one block: 256 MiB.
_MOST_ENTRIES = 2**25


class GaussRule(NamedTuple):
    """A discrete distribution that stands for a spectrum as one probe sees it.

    For polynomials p of degree below 2 k, ``weights @ p(nodes)`` is ``zᵀ p(A) z / zᵀ z`` exactly.
    """

    nodes: np.ndarray  # shape (k,), ascending: Ritz values
    weights: np.ndarray  # shape (k,), not negative; their sum is one


class ProbeBlock:
    """Some random probes, and the Krylov space of each: extended in lockstep.

    Parameters
    ----------
    A : BaseOperator, shape (n, n)
        Symmetric.
    count : int
    rng : numpy.random.Generator

    Attributes
    ----------
    steps : int
        Steps done: of probes whose space is invariant there may be less.
    n_matvec : int

    Notes
    -----
    G. H. Golub and J. H. Welsch, "Calculation of Gauss quadrature rules", Math. Comp. 23, 1969: the
    nodes are the eigenvalues of the tridiagonal matrix, and the weights the squares of the first
    entries of its eigenvectors. Probes of random signs, as in S. Ubaru, J. Chen and Y. Saad, "Fast
    estimation of tr(f(A)) via stochastic Lanczos quadrature", SIAM J. Matrix Anal. Appl. 38, 2017.
    """

    def __init__(self, A: BaseOperator, count: int, rng: np.random.Generator) -> None:
        self._A = A
        probes = PROBES["signs"](rng, (A.shape[0], count))
        self._spaces = [KrylovSpace(A, z) for z in probes.T]
        self.steps = 0
        self.n_matvec = 0

    def __len__(self) -> int:
        return len(self._spaces)

    @property
    def is_invariant(self) -> bool:
        """Whether all spaces are, so that the rules are exact."""
        return all(space.is_invariant for space in self._spaces)

    def extend(self, steps: int) -> None:
        """Some steps more, or less where all spaces become invariant."""
        for _ in range(steps):
            if self.is_invariant:
                break
            self.n_matvec += extend_together(self._A, self._spaces)
            self.steps += 1

    def rules(self) -> Iterator[GaussRule]:
        """The rule of each probe."""
        for space in self._spaces:
            nodes, coordinates, _ = tridiagonal_pairs(space.diagonal, space.off_diagonal)
            weights = coordinates[0] ** 2
            yield GaussRule(nodes, weights / weights.sum())


def probes_together(n: int, degree: int) -> int:
    """How many probes are extended in lockstep: two at least, as one alone tells of no error."""
    by_memory = _MOST_ENTRIES // (n * (min(degree, n) + 1))
    return max(2, min(columns_together(n), by_memory))
