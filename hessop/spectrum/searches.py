"""A search for eigenpairs at the ends of a spectrum, in a space that grows and is cut back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg

from hessop._lengths import length
from hessop.operators.base import BaseOperator

__all__ = ["ENDS", "RitzPairs", "Search", "size_of_search"]

#: Vectors that the space has room for, beside two for each wanted pair, and the entries that they
#: have at most. Where eigenvalues are crowded, more room spares products.
_ROOM, _LEAST_ROOM, _MOST_ENTRIES = 60, 10, 25_000_000
#: Less than this of a vector's length is left where it lies in the space, but for rounding.
_DEPENDENT = 1e-13
#: The least products, and the part of the steps before, that are spent on what was missed.
_LOOK, _LOOK_PART = 10, 2


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    return np.argsort(-values, kind="stable")[:count]


def _smallest(values: np.ndarray, count: int) -> np.ndarray:
    return np.argsort(values, kind="stable")[:count]


def _largest_magnitudes(values: np.ndarray, count: int) -> np.ndarray:
    return np.argsort(-np.abs(values), kind="stable")[:count]


def _both_ends(values: np.ndarray, count: int) -> np.ndarray:
    order = np.argsort(-values, kind="stable")
    from_both = np.stack([order, order[::-1]], axis=1).ravel()
    return from_both[: min(count, values.size)]


#: Indices of the most wanted of some values, the most wanted first: as `scipy.sparse.linalg.eigsh`
#: names them. Of both ends, the larger has one more where the number is odd.
ENDS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "LA": _largest,
    "SA": _smallest,
    "LM": _largest_magnitudes,
    "BE": _both_ends,
}


class RitzPairs(NamedTuple):
    """Ritz values, their vectors, and the norms of their residuals.

    Attributes
    ----------
    values : ndarray, shape (k,)
    vectors : ndarray, shape (n, k)
        Orthonormal.
    images : ndarray, shape (n, k)
        Their products with the operator.
    residuals : ndarray, shape (k,)
    """

    values: np.ndarray
    vectors: np.ndarray
    images: np.ndarray
    residuals: np.ndarray


def size_of_search(n: int, k: int) -> int:
    """How many vectors a search for k pairs keeps at most, and their products as well."""
    room = min(_ROOM, max(_LEAST_ROOM, _MOST_ENTRIES // n - 2 * k))
    return min(n, 2 * k + room)


class Search:
    """Lanczos' process, restarted with Ritz vectors, for some eigenpairs of a symmetric operator.

    The space is extended by the residual of the first wanted Ritz pair that is not accurate enough.
    Until something else is added these residuals are parallel to each other, and the space is that
    of Lanczos; but it may start from several vectors, others may be added, and residuals are those
    of products, not of a recurrence.

    Parameters
    ----------
    A : BaseOperator, shape (n, n)
        Symmetric.
    k : int
        Pairs that are wanted.
    which : str
        One of `ENDS`.
    allowed : callable
        ``allowed(values, norm)``: the residuals that are small enough, for a matrix of that norm.
    start : ndarray, shape (n, j)
        Vectors that the space begins with.
    rng : numpy.random.Generator
        Of random vectors, where the space is invariant.
    locked : ndarray, shape (n, l), optional
        Orthonormal vectors that the space is kept orthogonal to.
    looks : bool
        Whether it looks for what it has missed.
    left : callable
        How many products may still be spent on that.

    Attributes
    ----------
    norm : float
        The largest magnitude of a Ritz value so far: of A, from below.
    steps : int
        Steps so far, each of one product.
    is_done : bool
        Whether the wanted pairs are accurate enough, and none was missed.

    Notes
    -----
    K. Wu and H. Simon, "Thick-restart Lanczos method for large symmetric eigenvalue problems", SIAM
    J. Matrix Anal. Appl. 22, 2000. Ritz vectors of both ends are kept at a restart: otherwise what
    is large at the far end has to be found again each time. As a space that is extended by
    residuals, it is that of E. R. Davidson, J. Comput. Phys. 17, 1975.
    """

    def __init__(
        self,
        A: BaseOperator,
        k: int,
        which: str,
        allowed: Callable[[np.ndarray, float], np.ndarray],
        start: np.ndarray,
        rng: np.random.Generator,
        *,
        locked: np.ndarray | None = None,
        looks: bool = True,
        left: Callable[[], int] = lambda: sys.maxsize,
    ) -> None:
        n = A.shape[0]
        self._A, self._k, self._which, self._allowed, self._rng = A, k, which, allowed, rng
        self._wanted, self._looks, self._left = ENDS[which], looks, left
        self._locked = np.empty((0, n)) if locked is None else np.ascontiguousarray(locked.T)
        self._most = n - len(self._locked)
        self.size = min(size_of_search(n, k), self._most)
        self._basis, self._images = np.empty((2, self.size, n))
        self._T = np.empty((self.size, self.size))
        self._dimension = 0
        self._first = 0  # of the wanted pairs that may not be accurate enough
        self.norm = 0.0
        self.steps = 0
        self.is_done = False
        self.add(start)

    # --- what is known --------------------------------------------------------------------------

    @property
    def dimension(self) -> int:
        """Of the space."""
        return self._dimension

    @property
    def values(self) -> np.ndarray:
        """All Ritz values, ascending."""
        values: np.ndarray = self._values
        return values

    def pairs(self) -> RitzPairs:
        """The wanted Ritz pairs, the most wanted first."""
        return self._pairs(self._wanted(self._values, self._k))

    def _pairs(self, chosen: np.ndarray) -> RitzPairs:
        values, coordinates = self._values[chosen], self._coordinates[:, chosen]
        vectors = self._basis[: self._dimension].T @ coordinates
        images = self._images[: self._dimension].T @ coordinates
        residuals = np.linalg.norm(images - values * vectors, axis=0)
        return RitzPairs(values, vectors, images, residuals)

    def _first_residual(self) -> np.ndarray | None:
        """The residual of the first wanted pair that is not accurate enough; None without one."""
        chosen = self._wanted(self._values, self._k)
        for _ in range(2):
            while self._first < chosen.size:
                pair = self._pairs(chosen[self._first : self._first + 1])
                if pair.residuals[0] > self._allowed(pair.values, self.norm)[0]:
                    residual: np.ndarray = (pair.images - pair.values * pair.vectors)[:, 0]
                    return residual
                self._first += 1
            # Those that were accurate once are looked at again.
            self._first = 0
        return None

    # --- the work -------------------------------------------------------------------------------

    def step(self) -> None:
        """Extend the space by one vector; at the end, look for what was missed."""
        self.steps += 1
        if self._dimension == self._most:
            self.is_done = True
            return
        residual = self._first_residual()
        few = self._dimension < min(self._k, self._most)
        if residual is None and not few:
            self.is_done = not self._add_missed()
            return
        if residual is None or not self.add(residual[:, None]):
            self.add(self._rng.standard_normal((self._A.shape[0], 1)))

    def add(self, columns: np.ndarray) -> bool:
        """Add vectors to the space, and multiply them.

        Returns
        -------
        bool
            Whether there was any that did not lie in it.
        """
        before = self._dimension
        for column in columns.T:
            if self._dimension == self.size and self.size < self._most:
                self._restart()
            v = self._orthogonal(column)
            if v is not None and self._dimension < self.size:
                self._basis[self._dimension] = v
                self._images[self._dimension] = self._A.matvec(v)
                self._dimension += 1
                self._project()
        if self._dimension == before:
            return False
        self._values, self._coordinates = scipy.linalg.eigh(
            self._T[: self._dimension, : self._dimension]
        )
        self.norm = max(self.norm, float(np.abs(self._values).max()))
        return True

    def _add_missed(self) -> bool:
        """Look beside the wanted pairs for one that belongs among them, such as a second copy.

        Lanczos' process never sees more than one vector of the eigenspace of a multiple eigenvalue:
        the one that its start has. From a random start beside it, it sees another.
        """
        if not self._looks or self._left() < _LOOK:
            return False
        found, n = self.pairs(), self._A.shape[0]
        others = Search(
            self._A,
            2 if self._which == "BE" else 1,
            self._which,
            self._allowed,
            self._rng.standard_normal((n, 1)),
            self._rng,
            locked=np.hstack([self._locked.T, found.vectors]),
            looks=False,
        )
        for step in range(min(_LOOK + self.steps // _LOOK_PART, self._left() - 2)):
            pairs = others.pairs()
            for j, value in enumerate(pairs.values):
                if self._belongs(value, found.values):
                    return self.add(pairs.vectors[:, j : j + 1])
            bounds = [*(pairs.values - pairs.residuals), *(pairs.values + pairs.residuals)]
            possible = any(self._belongs(bound, found.values) for bound in bounds)
            if (step >= _LOOK and not possible) or others.is_done:
                break
            others.step()
        return False

    def _belongs(self, value: float, found: np.ndarray) -> bool:
        """Whether a value is more wanted than one of those found, by more than they may be off."""
        chosen = self._wanted(np.append(found, value), found.size)
        dropped = np.delete(found, chosen[chosen < found.size])
        margins = np.abs(value - dropped) - self._allowed(dropped, self.norm)
        return bool(found.size in chosen and (margins > 0.0).all())

    def _orthogonal(self, v: np.ndarray) -> np.ndarray | None:
        """The part of v that is orthogonal to the space, of length one; None where it is zero."""
        size = length(v)
        if not size:
            return None
        v = v / size
        basis = self._basis[: self._dimension]
        for _ in range(2):
            v = v - (self._locked @ v) @ self._locked
            v -= (basis @ v) @ basis
            size = length(v)
            if size < _DEPENDENT:
                return None
            v /= size
        return v

    def _project(self) -> None:
        last = self._dimension - 1
        column = self._basis[: last + 1] @ self._images[last]
        self._T[: last + 1, last] = self._T[last, : last + 1] = column

    def _restart(self) -> None:
        """Keep the wanted half of the Ritz vectors, and some of both ends."""
        free = self.size - self._k
        near = self._wanted(self._values, self._k + free // 3)
        kept = np.union1d(near, _both_ends(self._values, max(2, free // 6)))
        found = self._pairs(kept)
        count = kept.size
        self._basis[:count], self._images[:count] = found.vectors.T, found.images.T
        self._T[:count, :count] = np.diag(found.values)
        self._values, self._coordinates = found.values, np.eye(count)
        self._dimension = count
        self._first = 0
