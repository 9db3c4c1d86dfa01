"""Lanczos' process: an orthonormal basis in which a symmetric operator is tridiagonal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import LinearOperator

from hessop._errors import NonFiniteError
from hessop._lengths import length

__all__ = ["KrylovSpace", "extend_together", "tridiagonal_pairs", "tridiagonal_values"]

# Vectors that there is room for at first; the room is doubled when it is full.
_ROOM = 32
# A vector that keeps this part of its length has lost no digits by being made orthogonal.
_KEPT = 0.7


class KrylovSpace:
    """An orthonormal basis of ``span{v, A v, A² v, ...}``, made one product at a time.

    With the vectors as the columns of V, and T symmetric and tridiagonal,
    ``A V = V T + next_vector * β eᵀ``, where e is the last unit vector. Each new vector is made
    orthogonal to all before it, so that this holds to the last digit and no eigenvalue is found
    again: the cost is O(n k) for the k-th, beside the product.

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
    C. Lanczos, "An iteration method for the solution of the eigenvalue problem", 1950. A product is
    made orthogonal to the last two vectors first, which in exact arithmetic is all, and then to all
    of them; once more where that takes much of its length (W. Kahan, in B. N. Parlett, The
    Symmetric Eigenvalue Problem, section 6.9: twice is enough).
    """

    def __init__(self, A: LinearOperator, v: np.ndarray) -> None:
        v = np.asarray(v, dtype=np.float64)
        self._A = A
        self._rows = np.empty((min(_ROOM, v.size) + 1, v.size))
        self.norm = length(v)
        self._rows[0] = v / self.norm
        self._diagonal: list[float] = []
        self._beside: list[float] = []
        self._scale = 0.0
        self.is_invariant = False

    @classmethod
    def resumed(
        cls,
        A: LinearOperator,
        rows: np.ndarray,
        diagonal: np.ndarray,
        off_diagonal: np.ndarray,
        norm: float,
    ) -> KrylovSpace:
        """A space of k steps as it was.

        Parameters
        ----------
        A : LinearOperator, shape (n, n)
        rows : ndarray, shape (k + 1, n), or (k, n) where it is invariant
            The basis, and the next vector. Copied.
        diagonal, off_diagonal : ndarray, shape (k,)
        norm : float
        """
        space = cls(A, rows[0])
        space._rows = np.array(rows)
        space.norm = norm
        space._diagonal, space._beside = diagonal.tolist(), off_diagonal.tolist()
        space._scale = max(map(abs, space._diagonal + space._beside))
        space.is_invariant = off_diagonal[-1] == 0.0
        return space

    @property
    def steps(self) -> int:
        """The dimension so far."""
        return len(self._diagonal)

    @property
    def vectors(self) -> np.ndarray:
        """V, shape (n, k): a view."""
        return self._rows[: self.steps].T

    @property
    def rows(self) -> np.ndarray:
        """The vectors as rows, and the next one where there is one: a view that stays as it is."""
        view = self._rows[: self.steps + (not self.is_invariant)]
        view.flags.writeable = False
        return view

    @property
    def next_vector(self) -> np.ndarray:
        """What A is to be multiplied with for the next step, shape (n,): a view."""
        vector: np.ndarray = self._rows[self.steps]
        return vector

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
        if not self.is_invariant:
            self.take(self._A.matvec(self.next_vector))

    def take(self, product: np.ndarray) -> None:
        """One step more, with the product of A and `next_vector`, shape (n,).

        Raises
        ------
        NonFiniteError
            When it is not finite.
        """
        k = self.steps
        w = np.array(product, dtype=np.float64).reshape(-1)
        size = length(w)
        if not np.isfinite(size):
            raise NonFiniteError("A @ v is not finite, though v is: neither is the operator.")
        self._make_room(k + 2)
        basis = self._rows[: k + 1]
        alpha = float(basis[k] @ w)
        w -= alpha * basis[k]
        if k:
            w -= self._beside[-1] * basis[k - 1]
        before = length(w)
        for _ in range(2):
            w -= (basis @ w) @ basis
            beta = length(w)
            if beta > _KEPT * before:
                break
            before = beta
        self._diagonal.append(alpha)
        self._scale = max(self._scale, abs(alpha))
        # Below the rounding of the product there is no direction left.
        eps = float(np.finfo(np.float32 if self._A.dtype == np.float32 else np.float64).eps)
        if beta <= 10.0 * eps * max(size, self._scale) or k + 1 == w.size:
            self.is_invariant = True
            beta = 0.0
        else:
            self._rows[k + 1] = w / beta
        self._beside.append(beta)
        self._scale = max(self._scale, beta)

    def _make_room(self, count: int) -> None:
        """Room for so many rows."""
        held, n = self._rows.shape
        if count > held:
            room = np.empty((min(2 * held, n) + 1, n))
            room[:held] = self._rows
            self._rows = room

    def ritz_values(self) -> np.ndarray:
        """The eigenvalues of T, ascending, shape (k,): approximate ones of A."""
        return tridiagonal_values(self.diagonal, self.off_diagonal)

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
        return tridiagonal_pairs(self.diagonal, self.off_diagonal)


def extend_together(A: LinearOperator, spaces: Sequence[KrylovSpace]) -> int:
    """One step more of several spaces of A, by one product with a block.

    Spaces that are invariant stay as they are.

    Returns
    -------
    int
        Columns multiplied.

    Raises
    ------
    NonFiniteError
        When the product is not finite.
    """
    growing = [space for space in spaces if not space.is_invariant]
    if growing:
        block = np.stack([space.next_vector for space in growing], axis=1)
        for space, product in zip(growing, np.asarray(A.matmat(block)).T, strict=True):
            space.take(product)
    return len(growing)


def tridiagonal_values(diagonal: np.ndarray, off_diagonal: np.ndarray) -> np.ndarray:
    """The eigenvalues of T, ascending, shape (k,); see `tridiagonal_pairs`."""
    values: np.ndarray = scipy.linalg.eigvalsh_tridiagonal(diagonal, off_diagonal[:-1])
    return values


def tridiagonal_pairs(
    diagonal: np.ndarray, off_diagonal: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The eigenpairs of T, and the norms of the residuals that they have in A.

    Parameters
    ----------
    diagonal, off_diagonal : ndarray, shape (k,)
        As of a `KrylovSpace`: the last entry beside the diagonal is outside of T.
    """
    beside = off_diagonal[:-1]
    found: Any
    try:
        found = scipy.linalg.eigh_tridiagonal(diagonal, beside)
    except np.linalg.LinAlgError:  # LAPACK's stemr may fail where eigenvalues are clustered
        found = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, -1))
    values, coordinates = found
    return values, coordinates, off_diagonal[-1] * np.abs(coordinates[-1])
