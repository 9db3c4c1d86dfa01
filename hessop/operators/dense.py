"""Small matrices that are kept whole: the blocks and factors of larger ones."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Self

import numpy as np
import scipy.linalg
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator

from hessop.operators.foreign import as_symmetric
from hessop.operators.structured import (
    Inertia,
    SignedLogdet,
    StructuredOperator,
    check_damping,
    diagonal_of,
    inertia_of,
    inverted,
    roots,
    signed_logdet,
    symmetric_array,
)

__all__ = ["DenseOperator"]


class DenseOperator(StructuredOperator):
    """A symmetric matrix that is kept whole.

    One eigendecomposition serves inverses with any damping, determinants and roots.

    Parameters
    ----------
    matrix : array_like, shape (n, n)
        Real, finite and symmetric. Copied.

    Examples
    --------
    >>> import numpy as np
    >>> from hessop import DenseOperator
    >>> A = DenseOperator([[2.0, 1.0], [1.0, 2.0]])
    >>> A.inverse(damping=1.0).to_dense() * 8
    array([[ 3., -1.],
           [-1.,  3.]])
    >>> A.inertia()
    Inertia(negative=0, zero=0, positive=2)
    """

    def __init__(self, matrix: Any) -> None:
        self._matrix = symmetric_array(matrix, "matrix")
        super().__init__(self._matrix.dtype, len(self._matrix))

    @classmethod
    def from_operator(cls, A: Any, *, progress: bool = False) -> Self:
        """The whole matrix of a symmetric operator, by n products.

        Parameters
        ----------
        A : LinearOperator or matrix, shape (n, n)
        progress : bool
            Show a bar; needs tqdm.
        """
        return cls(as_symmetric(A).to_dense(symmetrize=True, progress=progress))

    @cached_property
    def eigh(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues, ascending, shape (n,), and orthonormal eigenvectors as columns, (n, n)."""
        w, Q = scipy.linalg.eigh(self._matrix)
        w.flags.writeable = Q.flags.writeable = False  # they are shared
        return w, Q

    @property
    def eigenvalues(self) -> np.ndarray:
        """All eigenvalues, ascending, shape (n,): a fresh copy."""
        return self.eigh[0].copy()

    def _product(self, v: np.ndarray) -> np.ndarray:
        product: np.ndarray = self._matrix @ v
        return product

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        return self._product(V)

    def inverse(self, damping: float = 0.0) -> DenseOperator:
        """``(A + damping I)⁻¹``, a matrix again.

        Raises
        ------
        numpy.linalg.LinAlgError
            When an eigenvalue is zero up to rounding, with the damping added.
        """
        w, Q = self.eigh
        return DenseOperator((Q * inverted(w, check_damping(damping), "the matrix")) @ Q.T)

    def slogdet(self, damping: float = 0.0) -> SignedLogdet:
        """Sign and logarithm of the determinant of ``A + damping I``."""
        return signed_logdet(self.eigh[0], check_damping(damping))

    def inertia(self) -> Inertia:
        """The number of negative, zero and positive eigenvalues, up to rounding."""
        return inertia_of(self.eigh[0])

    def sqrt(self) -> DenseOperator:
        """The positive semidefinite root.

        Raises
        ------
        numpy.linalg.LinAlgError
            When an eigenvalue is negative.
        """
        w, Q = self.eigh
        return DenseOperator((Q * roots(w, "the matrix")) @ Q.T)

    def diagonal(self, *, progress: bool = False) -> np.ndarray:
        """The diagonal, shape (n,)."""
        return self._matrix.diagonal().copy()

    def to_dense(self, *, symmetrize: bool = False, progress: bool = False) -> np.ndarray:
        """The matrix, shape (n, n): a fresh copy."""
        return self._matrix.copy()

    def to_sparse(self) -> csr_array:
        """The entries that are not zero."""
        return csr_array(self._matrix)

    def _scaled(self, factor: float) -> DenseOperator:
        return DenseOperator(self.dtype.type(factor) * self._matrix)

    def _plus(self, other: LinearOperator) -> DenseOperator | None:
        if isinstance(other, DenseOperator):
            return DenseOperator(self._matrix + other._matrix)
        d = diagonal_of(other)
        return None if d is None else DenseOperator(self._matrix + np.diag(d))

    def _made_of(self) -> tuple[Any, ...]:
        return (self._matrix,)
