"""Kronecker products of small symmetric matrices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array, kron
from scipy.sparse.linalg import LinearOperator

from hessop.operators.approximations import rank_one
from hessop.operators.dense import DenseOperator
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

__all__ = ["KroneckerEigenOperator", "KroneckerOperator"]


class KroneckerOperator(StructuredOperator):
    """The Kronecker product of symmetric matrices, ``F₁ ⊗ F₂ ⊗ ...``.

    It multiplies an array X of shape (n₁, n₂, ...), raveled, with each factor along its own axis;
    for two factors, ``F₁ X F₂``. The whole matrix is never formed.

    Parameters
    ----------
    factors : sequence of array_like, shapes (n₁, n₁), (n₂, n₂), ...
        Real, finite and symmetric. Copied.

    Attributes
    ----------
    factors : tuple of ndarray
    eigenvalues : ndarray, shape (n,)
        All products of eigenvalues of the factors, in the order of the eigenvectors.

    Notes
    -----
    C. F. Van Loan, "The ubiquitous Kronecker product", Journal of Computational and Applied
    Mathematics 123, 2000.

    Examples
    --------
    >>> import numpy as np
    >>> from hessop import KroneckerOperator
    >>> K = KroneckerOperator([np.diag([1.0, 2.0]), [[2.0, 1.0], [1.0, 2.0]]])
    >>> K @ np.ones(4)
    array([3., 3., 6., 6.])
    >>> round(K.trace(), 12), round(float(np.exp(K.logdet())), 12)
    (12.0, 36.0)
    """

    symbol = "K"

    def __init__(self, factors: Sequence[Any]) -> None:
        if len(factors) == 0:
            raise ValueError("factors is empty, expected at least one matrix.")
        arrays = [symmetric_array(f, f"factors[{i}]") for i, f in enumerate(factors)]
        dtype = np.result_type(*arrays)
        self._factors = tuple(DenseOperator(array.astype(dtype)) for array in arrays)
        super().__init__(dtype, prod(len(array) for array in arrays))

    @property
    def factors(self) -> tuple[np.ndarray, ...]:
        """The factors: fresh copies."""
        return tuple(factor.to_dense() for factor in self._factors)

    @classmethod
    def from_operator(
        cls, A: Any, dims: Sequence[int], *, maxiter: int = 100, progress: bool = False
    ) -> Self:
        """The Kronecker product that is nearest to a symmetric operator, by n products.

        Parameters
        ----------
        A : LinearOperator or matrix, shape (n, n)
        dims : sequence of int
            The sizes of the factors; their product is n.
        maxiter : int
            Rounds of alternating least squares, for more than two factors. Two are found directly.
        progress : bool
            Show a bar; needs tqdm.

        Returns
        -------
        KroneckerOperator
            Nearest in the Frobenius norm, among those with symmetric factors, for two factors; for
            more, as near as the alternation comes.

        Notes
        -----
        A rearrangement of the entries makes of a Kronecker product a matrix of rank one (C. F. Van
        Loan and N. Pitsianis, "Approximation with Kronecker products", 1993).

        Examples
        --------
        >>> import numpy as np
        >>> from hessop import KroneckerOperator
        >>> A = np.kron([[2.0, 1.0], [1.0, 2.0]], np.diag([1.0, 3.0]))
        >>> K = KroneckerOperator.from_operator(A, (2, 2))
        >>> bool(np.allclose(K.to_dense(), A))
        True
        """
        operator = as_symmetric(A)
        n, dims = operator.shape[0], tuple(dims)
        are_whole = all(isinstance(d, int | np.integer) and d > 0 for d in dims)
        if not dims or not are_whole or prod(dims) != n:
            raise ValueError(f"dims are {dims}, expected whole numbers whose product is {n}.")
        dense = operator.to_dense(symmetrize=True, progress=progress)
        k = len(dims)
        # (i₁, i₂, ..., j₁, j₂, ...) -> (i₁ j₁, i₂ j₂, ...)
        pairs = dense.reshape(dims + dims).transpose([a for i in range(k) for a in (i, k + i)])
        for i in range(k):  # the factors are to be symmetric
            pairs = (pairs + pairs.swapaxes(2 * i, 2 * i + 1)) / 2
        found = rank_one(pairs.reshape([d * d for d in dims]), maxiter)
        squares = [f.reshape(d, d) for f, d in zip(found, dims, strict=True)]
        # Signs may be moved between factors: positive traces, as far as there is a choice.
        for i in range(1, k):
            if np.trace(squares[i]) < 0:
                squares[0], squares[i] = -squares[0], -squares[i]
        return cls(squares)

    def _product(self, v: np.ndarray) -> np.ndarray:
        return _along_axes(self._matrices, v[:, None])[:, 0]

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        return _along_axes(self._matrices, V)

    @property
    def _matrices(self) -> list[np.ndarray]:
        return [factor._matrix for factor in self._factors]

    @property
    def eigenvalues(self) -> np.ndarray:
        """All products of eigenvalues of the factors, shape (n,)."""
        return _outer([factor.eigh[0] for factor in self._factors])

    def eigen(self) -> KroneckerEigenOperator:
        """The same matrix by its eigendecomposition, to which any shift can be added."""
        vectors = [factor.eigh[1] for factor in self._factors]
        return KroneckerEigenOperator(vectors, self.eigenvalues)

    def inverse(self, damping: float = 0.0, *, factored: bool = False) -> StructuredOperator:
        """``(F₁ ⊗ F₂ ⊗ ... + damping I)⁻¹``.

        Parameters
        ----------
        damping : float
        factored : bool
            Split the damping over the factors, in proportion to their mean eigenvalues: an
            approximation, but a Kronecker product again. Otherwise the result is exact, through the
            eigendecompositions of the factors.

        Returns
        -------
        KroneckerOperator or KroneckerEigenOperator
            The latter for an exact damping.

        Raises
        ------
        numpy.linalg.LinAlgError
            When the damped matrix, or a damped factor, is singular.

        Notes
        -----
        The factored damping is that of J. Martens and R. Grosse, "Optimizing neural networks with
        Kronecker-factored approximate curvature", ICML 2015, section 6.3.
        """
        damping = check_damping(damping)
        if damping and not factored:
            return self.eigen().inverse(damping)
        shares = self._shares(damping) if damping else [0.0] * len(self._factors)
        return KroneckerOperator(
            [f.inverse(share)._matrix for f, share in zip(self._factors, shares, strict=True)]
        )

    def _shares(self, damping: float) -> list[float]:
        means = [factor.trace() / factor.shape[0] for factor in self._factors]
        if damping < 0 or min(means) <= 0:
            raise ValueError(
                f"damping is {damping:.3g} and the mean eigenvalues of the factors are "
                f"{', '.join(f'{m:.3g}' for m in means)}: a factored damping expects positive "
                "ones. Leave factored out."
            )
        k = len(means)
        mean = prod(m ** (1.0 / k) for m in means)
        return [damping ** (1.0 / k) * m / mean for m in means]

    def slogdet(self, damping: float = 0.0) -> SignedLogdet:
        """Sign and logarithm of the determinant of ``F₁ ⊗ F₂ ⊗ ... + damping I``."""
        if check_damping(damping):
            return self.eigen().slogdet(damping)
        sign, logabsdet = 1.0, 0.0
        for factor in self._factors:
            own, copies = factor.slogdet(), self.shape[0] // factor.shape[0]
            sign *= own.sign**copies
            logabsdet += copies * own.logabsdet
        return SignedLogdet(sign, logabsdet)

    def inertia(self) -> Inertia:
        """The number of negative, zero and positive eigenvalues: of products of the factors'."""
        negative, positive = 0, 1
        for factor in self._factors:
            own = factor.inertia()
            negative, positive = (
                negative * own.positive + positive * own.negative,
                negative * own.negative + positive * own.positive,
            )
        return Inertia(negative, self.shape[0] - negative - positive, positive)

    def sqrt(self) -> StructuredOperator:
        """The positive semidefinite root: the Kronecker product of those of the factors."""
        if all(factor.inertia().negative == 0 for factor in self._factors):
            return KroneckerOperator([factor.sqrt()._matrix for factor in self._factors])
        return self.eigen().sqrt()

    def trace(self) -> float:
        """The product of the traces of the factors."""
        return prod(factor.trace() for factor in self._factors)

    def diagonal(self, *, progress: bool = False) -> np.ndarray:
        """The diagonal, shape (n,)."""
        return _outer([factor.diagonal() for factor in self._factors])

    def to_dense(self, *, symmetrize: bool = False, progress: bool = False) -> np.ndarray:
        """The whole matrix, shape (n, n)."""
        return reduce(np.kron, self._matrices, np.ones((1, 1), dtype=self.dtype))

    def to_sparse(self) -> csr_array:
        """The entries that are not zero."""
        factors = (csr_array(matrix) for matrix in self._matrices)
        return csr_array(reduce(lambda a, b: kron(a, b, format="csr"), factors))

    def _scaled(self, factor: float) -> KroneckerOperator:
        first, *rest = self._matrices
        return KroneckerOperator([self.dtype.type(factor) * first, *rest])

    def _plus(self, other: LinearOperator) -> StructuredOperator | None:
        return _shifted(self, other)

    def _made_of(self) -> tuple[Any, ...]:
        return (self._matrices,)

    def _facts(self) -> tuple[str, ...]:
        return (" x ".join(str(factor.shape[0]) for factor in self._factors),)


class KroneckerEigenOperator(StructuredOperator):
    """``Q diag(w) Qᵀ``, where Q is the Kronecker product of orthogonal matrices.

    What a Kronecker product becomes with a multiple of the identity added, and the inverse of that.

    Parameters
    ----------
    vectors : sequence of ndarray, shapes (n₁, n₁), (n₂, n₂), ...
        Orthogonal.
    eigenvalues : ndarray, shape (n,)
    """

    symbol = "K"

    def __init__(self, vectors: Sequence[np.ndarray], eigenvalues: np.ndarray) -> None:
        self._vectors = tuple(np.array(Q) for Q in vectors)
        self._eigenvalues = np.array(eigenvalues)
        super().__init__(eigenvalues.dtype, eigenvalues.size)

    @property
    def vectors(self) -> tuple[np.ndarray, ...]:
        """The orthogonal factors of Q: fresh copies."""
        return tuple(Q.copy() for Q in self._vectors)

    @property
    def eigenvalues(self) -> np.ndarray:
        """w, shape (n,): a fresh copy."""
        return self._eigenvalues.copy()

    @property
    def _decomposed(self) -> int:
        """The size of the decompositions: their rounding is that of the eigenvalues."""
        return sum(len(Q) for Q in self._vectors)

    def _with(self, eigenvalues: np.ndarray) -> KroneckerEigenOperator:
        return KroneckerEigenOperator(self._vectors, eigenvalues)

    def _product(self, v: np.ndarray) -> np.ndarray:
        return self._block_product(v[:, None])[:, 0]

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        inside = _along_axes([Q.T for Q in self._vectors], V)
        return _along_axes(self._vectors, self._eigenvalues[:, None] * inside)

    def inverse(self, damping: float = 0.0) -> KroneckerEigenOperator:
        """``(A + damping I)⁻¹``.

        Raises
        ------
        numpy.linalg.LinAlgError
            When an eigenvalue is zero up to rounding, with the damping added.
        """
        what, count = "the Kronecker product", self._decomposed
        return self._with(inverted(self._eigenvalues, check_damping(damping), what, count=count))

    def slogdet(self, damping: float = 0.0) -> SignedLogdet:
        """Sign and logarithm of the determinant of ``A + damping I``."""
        return signed_logdet(self._eigenvalues, check_damping(damping), count=self._decomposed)

    def inertia(self) -> Inertia:
        """The number of negative, zero and positive eigenvalues, up to rounding."""
        return inertia_of(self._eigenvalues, count=self._decomposed)

    def sqrt(self) -> KroneckerEigenOperator:
        """The positive semidefinite root."""
        return self._with(roots(self._eigenvalues, "the Kronecker product"))

    def trace(self) -> float:
        """The sum of the eigenvalues."""
        return float(self._eigenvalues.sum())

    def diagonal(self, *, progress: bool = False) -> np.ndarray:
        """The diagonal, shape (n,)."""
        return _along_axes([Q**2 for Q in self._vectors], self._eigenvalues[:, None])[:, 0]

    def _scaled(self, factor: float) -> KroneckerEigenOperator:
        return self._with(self.dtype.type(factor) * self._eigenvalues)

    def _plus(self, other: LinearOperator) -> StructuredOperator | None:
        return _shifted(self, other)

    def eigen(self) -> KroneckerEigenOperator:
        """The operator itself."""
        return self

    def _made_of(self) -> tuple[Any, ...]:
        return self._vectors, self._eigenvalues

    def _facts(self) -> tuple[str, ...]:
        return (" x ".join(str(len(Q)) for Q in self._vectors),)


def _shifted(
    operator: KroneckerOperator | KroneckerEigenOperator, other: LinearOperator
) -> KroneckerEigenOperator | None:
    d = diagonal_of(other)
    if d is None or np.any(d != d[0]):
        return None
    eigen = operator.eigen()
    return eigen._with(eigen._eigenvalues + d[0])


def _outer(vectors: Sequence[np.ndarray]) -> np.ndarray:
    return reduce(
        lambda a, b: np.multiply.outer(a, b).ravel(), vectors, np.ones(1, vectors[0].dtype)
    )


def _along_axes(matrices: Sequence[np.ndarray], V: np.ndarray) -> np.ndarray:
    """The Kronecker product of matrices times a block (n, k), one axis after the other."""
    n, columns = V.shape
    T = V
    for matrix in matrices:
        # The axis of this factor is the first; it goes behind the others, so that after the last
        # factor all are in order again.
        m = len(matrix)
        T = matrix @ T.reshape(m, n // m * columns)
        T = T.reshape(m, n // m, columns).transpose(1, 0, 2)
    return np.ascontiguousarray(T.reshape(n, columns))
