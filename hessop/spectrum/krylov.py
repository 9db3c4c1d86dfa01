"""Lanczos' process: an orthonormal basis in which a symmetric operator is tridiagonal."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import LinearOperator

from hessop._errors import NonFiniteError
from hessop._lengths import length

__all__ = ["KrylovSpace"]

# Vectors that there is room for at first; the room is doubled when it is full.
_ROOM = 32


class KrylovSpace:
    """An orthonormal basis of ``span{v, A v, A² v, ...}``, made one product at a time.

    With the vectors as the columns of V, and T symmetric and tridiagonal,
    ``A V = V T + next_vector * β eᵀ``, where e is the last unit vector. Each new vector is made
    orthogonal to all before it, twice, so that this holds to the last digit and no eigenvalue is
    found again: the cost is O(n k) for the k-th, beside the product.

    Parameters
    ----------
    A : LinearOperator, shape (n, n)
        Symmetric.
    v : ndarray, shape (n,)
        Not zero.

    Attributes
    ----------
    steps : int
        Products so far: the dimension k.
    is_invariant : bool
        Whether A maps the space into itself, so that there is nothing to be added.
    norm : float
        The length of v.

    Notes
    -----
    C. Lanczos, "An iteration method for the solution of the eigenvalue problem", 1950; orthogonal
    twice, because that is enough (W. Kahan, in B. N. Parlett, The Symmetric Eigenvalue Problem,
    section 6.9).
    """

    def __init__(self, A: LinearOperator, v: np.ndarray) -> None:
        v = np.asarray(v, dtype=np.float64)
        self._A = A
        self._rows = np.empty((min(_ROOM, v.size) + 1, v.size))
        self.norm = length(v)
        self._rows[0] = v / self.norm
        self._diagonal: list[float] = []
        self._beside: list[float] = []
        self.is_invariant = False

    @property
    def steps(self) -> int:
        """The dimension so far."""
        return len(self._diagonal)

    @property
    def vectors(self) -> np.ndarray:
        """V, shape (n, k): a view."""
        return self._rows[: self.steps].T

    @property
    def diagonal(self) -> np.ndarray:
        """The diagonal of T, shape (k,)."""
        return np.array(self._diagonal)

    @property
    def off_diagonal(self) -> np.ndarray:
        """Beside the diagonal of T, shape (k,): the last entry is β, outside of T."""
        return np.array(self._beside)

    def extend(self) -> None:
        """One product more.

        Raises
        ------
        NonFiniteError
            When it is not finite.
        """
        if self.is_invariant:
            return
        k = self.steps
        if k + 2 > len(self._rows):
            room = np.empty((min(2 * k, self._rows.shape[1]) + 2, self._rows.shape[1]))
            room[: k + 1] = self._rows[: k + 1]
            self._rows = room
        v = self._rows[k]
        w = np.array(self._A.matvec(v), dtype=np.float64).reshape(-1)
        size = length(w)
        if not np.isfinite(size):
            raise NonFiniteError("A @ v is not finite, though v is: neither is the operator.")
        self._diagonal.append(float(v @ w))
        basis = self._rows[: k + 1]
        for _ in range(2):
            w -= basis.T @ (basis @ w)
        beta = length(w)
        # Below the rounding of the product there is no direction left.
        eps = float(np.finfo(np.float32 if self._A.dtype == np.float32 else np.float64).eps)
        scale = max(size, *map(abs, self._diagonal), *self._beside)
        if beta <= 10.0 * eps * scale or k + 1 == v.size:
            self.is_invariant = True
            beta = 0.0
        else:
            self._rows[k + 1] = w / beta
        self._beside.append(beta)

    def ritz_values(self) -> np.ndarray:
        """The eigenvalues of T, ascending, shape (k,): approximate ones of A."""
        values: np.ndarray = scipy.linalg.eigvalsh_tridiagonal(self.diagonal, self._beside[:-1])
        return values

    def ritz_pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ritz values, their vectors in the basis, and the norms of their residuals.

        Returns
        -------
        values : ndarray, shape (k,)
            Ascending.
        coordinates : ndarray, shape (k, k)
            ``vectors @ coordinates`` are the Ritz vectors.
        residuals : ndarray, shape (k,)
            ``||A u - θ u||``: an eigenvalue of A lies as near to each θ.
        """
        found: Any = scipy.linalg.eigh_tridiagonal(self.diagonal, self._beside[:-1])
        values, coordinates = found
        return values, coordinates, self._beside[-1] * np.abs(coordinates[-1])
