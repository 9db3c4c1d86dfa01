"""Sparse factorisations of symmetric matrices: CHOLMOD where it is installed, else SuperLU."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from scipy.sparse import csc_array, csc_matrix, diags_array
from scipy.sparse.csgraph import structural_rank
from scipy.sparse.linalg import norm

from hessop.operators.lu_factors import (
    LUFactors,
    lu_by_any_pivots,
    lu_by_diagonal_pivots,
    one_norm,
)
from hessop.operators.structured import (
    Inertia,
    SignedLogdet,
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


class _PivotedFactors(LUFactors):
    """Factors of a symmetric matrix by SuperLU.

    Diagonal pivots are tried first: they keep the factors sparse. Where they lose accuracy, pivots
    are searched for in the column.
    """

    def __init__(self, matrix: csc_array) -> None:
        super().__init__(matrix, None)
        # Singular whatever the entries are? SuperLU may crash on such a pattern.
        if structural_rank(matrix) == matrix.shape[0]:
            self.lu = lu_by_diagonal_pivots(matrix, threshold=0.001)
            if self.lu is None or not self._is_accurate():
                self.lu = lu_by_any_pivots(matrix)

    def slogdet(self) -> SignedLogdet:
        if self.lu is not None and self._is_near_singular and self.matrix.shape[0] <= _DENSE:
            return signed_logdet(self._eigenvalues)
        return super().slogdet()

    def inertia(self) -> Inertia:
        if not self._is_near_singular and (signs := self._proven_signs()) is not None:
            return Inertia(*(int(np.count_nonzero(signs == sign)) for sign in (-1, 0, 1)))
        if self.matrix.shape[0] <= _DENSE:
            return inertia_of(self._eigenvalues)
        raise ValueError(
            "inertia: the matrix is too near to a singular one for the signs of its pivots to be "
            f"proven, and it has {self.matrix.shape[0]:,} rows, more than the {_DENSE:,} for "
            "which dense eigenvalues are computed. Shift it away from its eigenvalues near zero, "
            "as S + shift * eye_array(n): that counts the eigenvalues below -shift."
        )

    def check_regular(self) -> None:
        if self.is_singular():
            raise refuse_singular("the sparse matrix", 0.0)
        _check_condition(self.matrix, self.solve)

    def _is_accurate(self) -> bool:
        """Whether a solution is right up to rounding, once it is refined."""
        b = np.random.default_rng(0).standard_normal(self.matrix.shape[0])
        b = b.astype(self.matrix.dtype)
        x = self.solve(b)
        x = x + self.solve(b - self.matrix @ x)
        residual = float(np.abs(b - self.matrix @ x).max())
        size = float(norm(self.matrix, np.inf)) * float(np.abs(x).max()) + float(np.abs(b).max())
        return residual <= 100 * float(np.finfo(b.dtype).eps) * size

    @cached_property
    def _is_near_singular(self) -> bool:
        """Whether a pivot is so small that rounding before it might tell."""
        if self.lu is None:
            return True
        threshold = math.sqrt(float(np.finfo(self.pivots.dtype).eps))
        return bool((np.abs(self.pivots) <= threshold * self.pivot_sizes).any())

    @cached_property
    def _eigenvalues(self) -> np.ndarray:
        return np.linalg.eigvalsh(self.matrix.toarray())

    def _proven_signs(self) -> np.ndarray | None:
        """The signs of the eigenvalues, in some order, as those of diagonal pivots.

        With pivots on the diagonal, ``L U`` is congruent to its pivots (Sylvester), and has the
        inertia of A if it differs from A by less than the least eigenvalue of A in magnitude. Zeros
        on the diagonal are shifted a little: that counts among the differences.
        """
        least = 1.0 / _norm_of_inverse(self.matrix, self.solve)
        size, eps = float(norm(self.matrix, 1)), float(np.finfo(self.matrix.dtype).eps)
        for shift in (0.0, math.sqrt(eps) * size):
            diagonal = self.matrix.diagonal()
            shifts = np.where(np.abs(diagonal) <= shift, shift, 0.0).astype(diagonal.dtype)
            lu = lu_by_diagonal_pivots(csc_array(self.matrix + diags_array(shifts)), threshold=0.0)
            if lu is None or not np.array_equal(lu.perm_r, lu.perm_c):
                continue
            order = np.argsort(lu.perm_c)
            difference = lu.L @ lu.U - self.matrix[order][:, order]
            if float(norm(difference, 1)) < least:
                signs: np.ndarray = np.sign(lu.U.diagonal())
                return signs
        return None


def _norm_of_inverse(matrix: csc_array, solve: Any) -> float:
    """An estimate of the 1-norm of the inverse, which for a symmetric matrix bounds the 2-norm."""
    return one_norm(solve, matrix.shape[0], matrix.dtype)


def _check_condition(matrix: csc_array, solve: Any) -> None:
    condition = float(norm(matrix, 1)) * _norm_of_inverse(matrix, solve)
    if not condition * float(np.finfo(matrix.dtype).eps) < 1.0:
        raise refuse_singular("the sparse matrix", 0.0)
