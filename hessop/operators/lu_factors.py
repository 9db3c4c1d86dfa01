"""Factors of a sparse matrix by SuperLU, and its determinant."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import coo_array, csc_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import SuperLU, splu

from hessop.operators.structured import SignedLogdet, exact_logdet, refuse_singular

__all__ = ["LUFactors", "lu_by_any_pivots", "lu_by_diagonal_pivots"]


class LUFactors:
    """``P A Q = L U``.

    Parameters
    ----------
    matrix : csc_array, shape (n, n)
    lu : SuperLU or None
        None where a pivot was zero.
    """

    def __init__(self, matrix: csc_array, lu: SuperLU | None) -> None:
        self.matrix = matrix
        self.lu = lu

    @property
    def nnz(self) -> int:
        """Entries that are stored of both factors."""
        return 0 if self.lu is None else int(self.lu.nnz)

    def solve(self, b: np.ndarray) -> np.ndarray:
        """``A⁻¹ b`` for a vector or a block of columns."""
        if self.lu is None:
            raise refuse_singular("the sparse matrix", 0.0)
        x: np.ndarray = self.lu.solve(np.asfortranarray(b, dtype=self.matrix.dtype))
        return x

    def is_singular(self) -> bool:
        """Whether a pivot is zero, or rounding."""
        return self.lu is None or not self.pivots.all()

    def slogdet(self) -> SignedLogdet:
        """Sign and logarithm of the determinant."""
        if self.lu is None:
            return SignedLogdet(0.0, -np.inf)
        sign, logabsdet = exact_logdet(self.pivots)
        sign *= _parity(self.lu.perm_r) * _parity(self.lu.perm_c)
        return SignedLogdet(sign, logabsdet)

    @cached_property
    def pivots(self) -> np.ndarray:
        """The pivots, those that are rounding taken for zero."""
        assert self.lu is not None
        pivots: np.ndarray = self.lu.U.diagonal()
        rounding = 10.0 * math.sqrt(pivots.size) * float(np.finfo(pivots.dtype).eps)
        return np.where(np.abs(pivots) <= rounding * self.pivot_sizes, 0.0, pivots)

    @cached_property
    def pivot_sizes(self) -> np.ndarray:
        """The sums of absolute values that the pivots are sums of.

        Their rounding is the least that a pivot is off by (N. J. Higham, Accuracy and Stability of
        Numerical Algorithms, section 9.3).
        """
        assert self.lu is not None
        products = abs(self.lu.L).multiply(abs(self.lu.U).T)
        return np.asarray(products.sum(axis=1)).ravel()


def lu_by_diagonal_pivots(matrix: csc_array, *, threshold: float) -> SuperLU | None:
    """Factors with pivots on the diagonal, where they are not too small; None without a pivot.

    The pattern has to be structurally regular: SuperLU may crash on others.
    """
    return _superlu(
        matrix,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=threshold,
        options={"SymmetricMode": True},
    )


def lu_by_any_pivots(matrix: csc_array) -> SuperLU | None:
    """Factors with the largest pivots of each column; None where they are all zero."""
    return _superlu(matrix, permc_spec="COLAMD")


def _superlu(matrix: csc_array, **options: Any) -> SuperLU | None:
    try:
        return splu(matrix, **options)
    except RuntimeError:  # a pivot is zero
        return None


def _parity(permutation: np.ndarray) -> int:
    """1 for an even permutation, -1 for an odd one: by the number of its cycles."""
    n = permutation.size
    graph = coo_array((np.ones(n), (np.arange(n), permutation)), shape=(n, n))
    cycles, _ = connected_components(graph, directed=False)
    return 1 if (n - cycles) % 2 == 0 else -1
