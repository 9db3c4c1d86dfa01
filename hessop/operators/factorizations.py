"""Sparse factorisations of symmetric matrices: CHOLMOD where it is installed, else SuperLU."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from scipy.sparse import coo_array, csc_array, csc_matrix
from scipy.sparse.csgraph import connected_components, structural_rank
from scipy.sparse.linalg import LinearOperator, SuperLU, norm, onenormest, splu

from hessop.operators.structured import (
    Inertia,
    SignedLogdet,
    exact_logdet,
    inertia_of,
    refuse_singular,
    signed_logdet,
)

__all__ = ["Factorization", "factorize"]

# Above this, eigenvalues of the dense matrix are not asked for where pivots are in doubt.
_DENSE = 2000


class Factorization(Protocol):
    """What is known of a matrix by its factors."""

    def solve(self, b: np.ndarray) -> np.ndarray:
        """``A⁻¹ b`` for a vector or a block of columns."""
        ...

    def slogdet(self) -> SignedLogdet:
        """Sign and logarithm of the determinant."""
        ...

    def inertia(self) -> Inertia:
        """The number of negative, zero and positive eigenvalues."""
        ...

    def check_regular(self) -> None:
        """Raise a LinAlgError when the matrix is singular up to rounding."""
        ...


def factorize(matrix: csc_array) -> Factorization:
    """Factors of a sparse symmetric matrix.

    Parameters
    ----------
    matrix : csc_array, shape (n, n)
        float64 or float32, symmetric.
    """
    return _by_cholmod(matrix) or _PivotedFactors(matrix)


def _by_cholmod(matrix: csc_array) -> Factorization | None:
    """Cholesky factors, where scikit-sparse is installed and the matrix is positive definite."""
    if matrix.dtype != np.float64 or (matrix.diagonal() <= 0.0).any():
        return None
    try:
        from sksparse.cholmod import CholmodError, cholesky
    except ImportError:
        return None
    try:
        factor = cholesky(csc_matrix(matrix))
    except CholmodError:
        return None
    # For small matrices it is L D Lᵀ, which indefinite ones may have, too.
    threshold = math.sqrt(float(np.finfo(matrix.dtype).eps))
    definite = (factor.D() > threshold * matrix.diagonal()[factor.P()]).all()
    return _CholeskyFactors(matrix, factor) if definite else None


@dataclass(frozen=True, eq=False)
class _CholeskyFactors:
    matrix: csc_array
    factor: Any

    def solve(self, b: np.ndarray) -> np.ndarray:
        x: np.ndarray = self.factor(b)
        return x

    def slogdet(self) -> SignedLogdet:
        return SignedLogdet(1.0, float(self.factor.logdet()))

    def inertia(self) -> Inertia:
        return Inertia(0, 0, self.matrix.shape[0])

    def check_regular(self) -> None:
        _check_condition(self.matrix, self.solve)


class _PivotedFactors:
    """``P A Q = L U`` by SuperLU.

    Diagonal pivots are tried first: they keep the factors sparse, and with them the signs of U's
    diagonal are those of the eigenvalues. Where they lose accuracy, pivots are searched for in the
    column.
    """

    def __init__(self, matrix: csc_array) -> None:
        self._matrix = matrix
        self._signs_are_known = True
        self._lu: SuperLU | None = None
        if structural_rank(matrix) < matrix.shape[0]:
            # Singular whatever the entries are; SuperLU may crash on such a pattern.
            self._signs_are_known = False
            return
        self._lu = _superlu(matrix, diagonal=True)
        if self._lu is None or not self._is_accurate():
            self._lu = _superlu(matrix, diagonal=False)
            self._signs_are_known = False
        elif not np.array_equal(self._lu.perm_r, self._lu.perm_c):
            self._signs_are_known = False

    def _is_accurate(self) -> bool:
        b = np.random.default_rng(0).standard_normal(self._matrix.shape[0])
        b = b.astype(self._matrix.dtype)
        x = self.solve(b)
        residual = float(np.abs(b - self._matrix @ x).max())
        size = float(norm(self._matrix, np.inf)) * float(np.abs(x).max()) + float(np.abs(b).max())
        return residual <= 100 * float(np.finfo(b.dtype).eps) * size

    @cached_property
    def _pivots(self) -> np.ndarray:
        """The pivots, those that are rounding taken for zero."""
        if self._lu is None:
            return np.zeros(1)
        pivots: np.ndarray = self._lu.U.diagonal()
        rounding = 10.0 * math.sqrt(pivots.size) * float(np.finfo(pivots.dtype).eps)
        return np.where(np.abs(pivots) <= rounding * self._pivot_sizes, 0.0, pivots)

    @cached_property
    def _pivot_sizes(self) -> np.ndarray:
        """The sums of absolute values that the pivots are sums of.

        Their rounding is the least that a pivot is off by (N. J. Higham, Accuracy and Stability of
        Numerical Algorithms, section 9.3).
        """
        assert self._lu is not None
        products = abs(self._lu.L).multiply(abs(self._lu.U).T)
        return np.asarray(products.sum(axis=1)).ravel()

    @cached_property
    def _is_near_singular(self) -> bool:
        """Whether a pivot is so small that rounding before it might tell."""
        if self._lu is None:
            return True
        threshold = math.sqrt(float(np.finfo(self._pivots.dtype).eps))
        return bool((np.abs(self._pivots) <= threshold * self._pivot_sizes).any())

    @cached_property
    def _eigenvalues(self) -> np.ndarray:
        return np.linalg.eigvalsh(self._matrix.toarray())

    def solve(self, b: np.ndarray) -> np.ndarray:
        if self._lu is None:
            raise refuse_singular("the sparse matrix", 0.0)
        x: np.ndarray = self._lu.solve(np.asfortranarray(b, dtype=self._matrix.dtype))
        return x

    def slogdet(self) -> SignedLogdet:
        if self._is_near_singular and self._matrix.shape[0] <= _DENSE:
            return signed_logdet(self._eigenvalues)
        sign, logabsdet = exact_logdet(self._pivots)
        if self._lu is not None:
            sign *= _parity(self._lu.perm_r) * _parity(self._lu.perm_c)
        return SignedLogdet(sign, logabsdet)

    def inertia(self) -> Inertia:
        is_doubtful = self._is_near_singular or not self._signs_are_known
        if is_doubtful and self._matrix.shape[0] <= _DENSE:
            return inertia_of(self._eigenvalues)
        if self._signs_are_known:
            signs = np.sign(self._pivots)
            return Inertia(*(int(np.count_nonzero(signs == sign)) for sign in (-1, 0, 1)))
        raise ValueError(
            "inertia: the pivots on the diagonal are too small to be trusted, and there are "
            f"{self._matrix.shape[0]:,} rows, more than the {_DENSE:,} for which dense eigenvalues "
            "are computed. Shift the matrix a little, as S + 1e-8 * eye_array(n)."
        )

    def check_regular(self) -> None:
        if self._lu is None or not self._pivots.all():
            raise refuse_singular("the sparse matrix", 0.0)
        _check_condition(self._matrix, self.solve)


def _superlu(matrix: csc_array, *, diagonal: bool) -> SuperLU | None:
    options = {"SymmetricMode": True} if diagonal else {}
    try:
        return splu(
            matrix,
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.001 if diagonal else 1.0,
            options=options,
        )
    except RuntimeError:  # a pivot is zero
        return None


def _check_condition(matrix: csc_array, solve: Any) -> None:
    inverse = LinearOperator(
        matrix.shape, matvec=solve, rmatvec=solve, matmat=solve, rmatmat=solve, dtype=matrix.dtype
    )
    with np.errstate(all="ignore"):
        condition = float(norm(matrix, 1)) * float(onenormest(inverse))
    if not condition * float(np.finfo(matrix.dtype).eps) < 1.0:
        raise refuse_singular("the sparse matrix", 0.0)


def _parity(permutation: np.ndarray) -> int:
    """1 for an even permutation, -1 for an odd one: by the number of its cycles."""
    n = permutation.size
    graph = coo_array((np.ones(n), (np.arange(n), permutation)), shape=(n, n))
    cycles, _ = connected_components(graph, directed=False)
    return 1 if (n - cycles) % 2 == 0 else -1
