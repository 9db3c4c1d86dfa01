"""Factors of a sparse matrix by SuperLU, and its determinant."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import coo_array, csc_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, SuperLU, onenormest, splu

from hessop.operators.structured import SignedLogdet, exact_logdet, refuse_singular

__all__ = [
    "LUFactors",
    "ScaledFactors",
    "lu_by_any_pivots",
    "lu_by_diagonal_pivots",
    "one_norm",
]


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


class ScaledFactors:
    """Factors of a matrix whose rows and columns are first brought to one size.

    Pivots are chosen by size, which says nothing between rows of different units.

    Parameters
    ----------
    matrix : csc_array, shape (n, n)
        Structurally regular.
    """

    def __init__(self, matrix: csc_array) -> None:
        self._rows = _powers_of_two(abs(matrix).max(axis=1).toarray())
        scaled = diags_array(1.0 / self._rows) @ matrix
        self._columns = _powers_of_two(abs(scaled).max(axis=0).toarray())
        scaled = csc_array(scaled @ diags_array(1.0 / self._columns))
        self._factors = LUFactors(scaled, lu_by_any_pivots(scaled))

    @property
    def nnz(self) -> int:
        """Entries that are stored of both factors."""
        return self._factors.nnz

    def solve(self, B: np.ndarray) -> np.ndarray:
        """``A⁻¹ B`` for a block of columns."""
        solution: np.ndarray = self._factors.solve(B / self._rows[:, None])
        solution /= self._columns[:, None]
        return solution

    def is_singular(self) -> bool:
        """Whether a pivot is zero, or rounding."""
        return self._factors.is_singular()

    def slogdet(self) -> SignedLogdet:
        """Sign and logarithm of the determinant."""
        sign, logabsdet = self._factors.slogdet()
        scale = float(np.sum(np.log(self._rows)) + np.sum(np.log(self._columns)))
        return SignedLogdet(sign, logabsdet + scale)


def _powers_of_two(sizes: np.ndarray) -> np.ndarray:
    """The powers of two next to sizes: they scale without rounding."""
    _, exponents = np.frexp(np.ravel(sizes))
    powers: np.ndarray = np.ldexp(1.0, np.clip(exponents, -1000, 1000))
    return powers


def one_norm(multiply: Callable[[np.ndarray], np.ndarray], n: int, dtype: Any = float) -> float:
    """An estimate of the 1-norm of a symmetric matrix, from its products with blocks."""
    operator = LinearOperator(
        (n, n),
        matvec=lambda v: multiply(np.reshape(v, (-1, 1)))[:, 0],
        rmatvec=lambda v: multiply(np.reshape(v, (-1, 1)))[:, 0],
        matmat=multiply,
        rmatmat=multiply,
        dtype=np.dtype(dtype),
    )
    with np.errstate(all="ignore"):
        return float(onenormest(operator))


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
