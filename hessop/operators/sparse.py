"""Sparse symmetric matrices, inverted by a sparse factorisation."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Self

import numpy as np
from scipy.sparse import csc_array, csr_array, diags_array, issparse
from scipy.sparse.linalg import LinearOperator

from hessop.operators.base import sparse_of
from hessop.operators.checks import matrix_of
from hessop.operators.factorizations import Factorization, factorize
from hessop.operators.foreign import as_symmetric
from hessop.operators.inverses import InverseOperator
from hessop.operators.recorded import RecordedOperator
from hessop.operators.structured import (
    Inertia,
    SignedLogdet,
    StructuredOperator,
    check_damping,
    diagonal_of,
)

__all__ = ["SparseOperator"]


class SparseOperator(StructuredOperator):
    """A sparse symmetric matrix.

    Its inverse goes through a sparse factorisation, made when it is first needed: CHOLMOD's
    Cholesky where scikit-sparse is installed and the matrix positive definite, else SuperLU.

    Parameters
    ----------
    matrix : sparse matrix or array_like, shape (n, n)
        Real, finite and symmetric. Copied.

    Attributes
    ----------
    nnz : int
        Entries that are stored.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import SparseOperator, hessian_operator
    >>> def energy(x):
    ...     return np.sum((x[1:] - x[:-1]) ** 2) + np.sum(x**4)
    >>> S = SparseOperator.from_operator(hessian_operator(energy, np.ones(1000)))
    >>> S
    <1000x1000 SparseOperator 2998 nonzeros, float64, 0 products>
    >>> x = S.inverse() @ np.ones(1000)
    >>> bool(np.allclose(S @ x, 1.0)), S.inertia().negative
    (True, 0)
    """

    symbol = "S"

    def __init__(self, matrix: Any) -> None:
        self._matrix = _symmetric_sparse(matrix)
        super().__init__(self._matrix.dtype, self._matrix.shape[0])

    @classmethod
    def from_operator(cls, A: Any, *, max_nnz: int | None = None) -> Self:
        """The exact sparse matrix of an operator; for a recorded one, by one run of its program.

        Parameters
        ----------
        A : operator with `to_sparse`, such as a HessianOperator or a sum of them, or a matrix
        max_nnz : int, optional
            The most nonzeros allowed of a recorded operator: see `HessianOperator.to_sparse`.

        Raises
        ------
        TypeError
            When A, or a part of it, is known by products only.
        ValueError
            When it is not sparse enough.
        """
        if isinstance(A, RecordedOperator):
            as_symmetric(A)
            return cls(A.to_sparse(max_nnz=max_nnz))
        return cls(sparse_of(A) if isinstance(A, LinearOperator) else A)

    @property
    def nnz(self) -> int:
        """Entries that are stored."""
        return int(self._matrix.nnz)

    def to_sparse(self) -> csr_array:
        """The matrix: a fresh copy."""
        return self._matrix.copy()

    def _product(self, v: np.ndarray) -> np.ndarray:
        product: np.ndarray = self._matrix @ v
        return product

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        return self._product(V)

    @cached_property
    def _factorization(self) -> Factorization:
        return factorize(csc_array(self._matrix))

    def _damped(self, damping: float) -> SparseOperator:
        damping = check_damping(damping)
        if not damping:
            return self
        diagonal = np.full(self.shape[0], damping, dtype=self.dtype)
        return SparseOperator(self._matrix + diags_array(diagonal))

    def inverse(self, damping: float = 0.0) -> InverseOperator:
        """``(S + damping I)⁻¹``: each product is a solve with the factors.

        Raises
        ------
        numpy.linalg.LinAlgError
            When the matrix is singular up to rounding.
        """
        damped = self._damped(damping)
        damped._factorization.check_regular()
        return InverseOperator(damped, damped._factorization.solve)

    def slogdet(self, damping: float = 0.0) -> SignedLogdet:
        """Sign and logarithm of the determinant of ``S + damping I``, from the factors."""
        return self._damped(damping)._factorization.slogdet()

    def inertia(self) -> Inertia:
        """The number of negative, zero and positive eigenvalues: the signs of the pivots.

        Raises
        ------
        ValueError
            When the pivots are not to be trusted, and the matrix too large for dense eigenvalues.
        """
        return self._factorization.inertia()

    def diagonal(self, *, progress: bool = False) -> np.ndarray:
        """The diagonal, shape (n,)."""
        diagonal: np.ndarray = self._matrix.diagonal()
        return diagonal

    def to_dense(self, *, symmetrize: bool = False, progress: bool = False) -> np.ndarray:
        """The whole matrix, shape (n, n)."""
        dense: np.ndarray = self._matrix.toarray()
        return dense

    def _scaled(self, factor: float) -> SparseOperator:
        return SparseOperator(self._matrix * self.dtype.type(factor))

    def _plus(self, other: LinearOperator) -> SparseOperator | None:
        d = diagonal_of(other)
        if d is not None:
            return SparseOperator(self._matrix + diags_array(d))
        matrix = other._matrix if isinstance(other, SparseOperator) else matrix_of(other)
        if not issparse(matrix):
            return None
        try:
            return SparseOperator(self._matrix + matrix)
        except ValueError:  # not symmetric: a sum without structure
            return None

    def _made_of(self) -> tuple[Any, ...]:
        return (self._matrix,)

    def _facts(self) -> tuple[str, ...]:
        return (f"{self.nnz} nonzeros",)


def _symmetric_sparse(matrix: Any) -> csr_array:
    if isinstance(matrix, LinearOperator):
        raise TypeError(
            f"matrix is a {type(matrix).__name__}, expected a matrix. Use from_operator."
        )
    matrix = matrix if issparse(matrix) else np.asarray(matrix)
    if matrix.ndim != 2:
        raise ValueError(f"matrix has shape {matrix.shape}, expected a square matrix.")
    if matrix.dtype.kind not in "biuf":
        raise TypeError(f"matrix has dtype {matrix.dtype}, expected real numbers.")
    sparse = csr_array(matrix, copy=True)
    if sparse.dtype != np.float32:
        sparse = sparse.astype(np.float64)
    if sparse.shape[0] != sparse.shape[1] or sparse.shape[0] == 0:
        raise ValueError(f"matrix has shape {sparse.shape}, expected a square matrix.")
    if not np.isfinite(sparse.data).all():
        raise ValueError("matrix has entries that are NaN or infinite, expected finite numbers.")
    difference = abs(sparse - sparse.T)
    scale = float(abs(sparse).max()) if sparse.nnz else 0.0
    asymmetry = float(difference.max()) if difference.nnz else 0.0
    if asymmetry > float(np.finfo(sparse.dtype).eps) ** 0.5 * scale:
        raise ValueError(
            f"matrix is not symmetric: entries that should be equal differ by {asymmetry:.3g}, "
            f"where the largest is {scale:.3g}. Use (A + A.T) / 2."
        )
    half = sparse.dtype.type(0.5)
    return csr_array((sparse + sparse.T) * half) if asymmetry else sparse
