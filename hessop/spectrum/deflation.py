"""An operator without some of its eigenvectors, to look at the rest."""

from __future__ import annotations

from typing import Any

import numpy as np

from hessop.operators.base import BaseOperator
from hessop.operators.foreign import as_symmetric
from hessop.operators.structured import check_damping
from hessop.spectrum.eigen_results import Eigenpairs

__all__ = ["DeflatedOperator", "deflated_operator"]


class DeflatedOperator(BaseOperator):
    """``(I - U Uᵀ) A (I - U Uᵀ) + shift U Uᵀ``. Made by `deflated_operator`.

    Parameters
    ----------
    original : BaseOperator, shape (n, n)
        A, symmetric.
    U : ndarray, shape (n, k)
        Orthonormal.
    shift : float

    Attributes
    ----------
    rank : int
        k, the number of directions that are taken out.
    """

    def __init__(self, original: BaseOperator, U: np.ndarray, shift: float = 0.0) -> None:
        super().__init__(original.dtype, original.shape, symmetric=True)
        self.original, self.shift, self.layout = original, shift, original.layout
        self._U = U.astype(self.dtype, copy=False)

    @property
    def rank(self) -> int:
        """How many directions are taken out."""
        return int(self._U.shape[1])

    def _product(self, v: np.ndarray) -> np.ndarray:
        U = self._U
        along = U.T @ v
        product = np.asarray(self.original.dot(v - U @ along))
        product = product - U @ (U.T @ product)
        deflated: np.ndarray = product + U @ (self.dtype.type(self.shift) * along)
        return deflated

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        return self._product(V)

    def _meaning_of(self, n: int) -> str:
        return self.original._meaning_of(n)

    def _facts(self) -> tuple[str, ...]:
        shift = (f"at {self.shift:.3g}",) if self.shift else ()
        return (f"of {type(self.original).__name__}, {self.rank} directions taken out", *shift)

    def __reduce__(self) -> Any:
        return DeflatedOperator, (self.original, self._U, self.shift)


def deflated_operator(A: Any, pairs: Any, *, shift: float = 0.0) -> DeflatedOperator:
    """A symmetric operator with some eigenpairs taken out, to look at the rest.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (n, n)
        Symmetric. One that is not hessop's is tested with two products.
    pairs : Eigenpairs, or array_like of shape (n, k)
        What `extreme_eigenpairs` has found; or vectors, which need not be orthonormal, but span a
        space that A maps into itself.
    shift : float
        The eigenvalue that they have instead, zero by default. To look for the smallest of the
        rest, put them above it.

    Returns
    -------
    DeflatedOperator
        Shape (n, n). Each product is one of A, block products too.

    Raises
    ------
    ValueError, TypeError
        When A is not symmetric, or the vectors do not fit, are not finite, or not independent.

    Notes
    -----
    It is ``P A P`` with the projection ``P = I - U Uᵀ``. Where vectors are off by an angle φ from
    those of the eigenvalue λ, φ² λ of it is left; of ``A - U diag(λ) Uᵀ`` it would be φ λ, often
    more than the rest is.

    Examples
    --------
    >>> import numpy as np
    >>> from hessop import deflated_operator, extreme_eigenpairs
    >>> A = np.diag([1e3, 1e2, 3.0, 2.0, 1.0])
    >>> outliers = extreme_eigenpairs(A, 2)
    >>> rest = deflated_operator(A, outliers)
    >>> rest
    <5x5 DeflatedOperator of ForeignOperator, 2 directions taken out, float64, 0 products>
    >>> np.round(extreme_eigenpairs(rest, 3).eigenvalues, 9)
    array([1., 2., 3.])
    """
    operator = as_symmetric(A)
    vectors = np.asarray(pairs.eigenvectors if isinstance(pairs, Eigenpairs) else pairs)
    n = operator.shape[0]
    if vectors.ndim != 2 or len(vectors) != n or vectors.dtype.kind not in "biuf":
        raise ValueError(
            f"pairs has vectors of shape {vectors.shape} and {vectors.dtype}, expected real ones "
            f"of shape ({n}, k), one in each column: those of A."
        )
    if not 0 < vectors.shape[1] <= n or not np.isfinite(vectors).all():
        raise ValueError(f"pairs has {vectors.shape[1]} vectors, expected 1 to {n}, all finite.")
    U, R = np.linalg.qr(vectors.astype(np.float64))
    sizes = np.abs(np.diagonal(R))
    if sizes.min() <= 1e-6 * sizes.max():
        raise ValueError(
            "the vectors of pairs are not linearly independent. Leave out those that are repeated."
        )
    return DeflatedOperator(operator, U, check_damping(shift, "shift"))
