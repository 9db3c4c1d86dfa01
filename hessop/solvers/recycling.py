"""What the products of one linear solve tell the next: directions to be deflated."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import LinearOperator

from hessop._lengths import length
from hessop.operators.base import BaseOperator

__all__ = ["Deflation", "Recycler", "WatchedOperator", "deflation_of"]

# Vectors that are held, for each one that is kept at one end of the spectrum.
_WINDOW = 5


@dataclass(frozen=True)
class Deflation:
    """A space in which a system is solved at once, so that cg has to work beside it only.

    Attributes
    ----------
    W : ndarray, shape (k, n)
        Its directions as rows, with ``W A Wᵀ = I``.
    AW : ndarray, shape (k, n)
        Their products, ``W A``.
    level : float
        The eigenvalue that the preconditioned matrix gets in the space: one of its others.

    Notes
    -----
    R. A. Nicolaides, "Deflation of conjugate gradients with applications to boundary value
    problems", SIAM J. Numer. Anal. 24, 1987; Y. Saad, M. Yeung, J. Erhel and F. Guyomarc'h, "A
    deflated version of the conjugate gradient algorithm", SIAM J. Sci. Comput. 21, 2000.
    """

    W: np.ndarray
    AW: np.ndarray
    level: float

    def start(self, b: np.ndarray) -> np.ndarray:
        """The solution in the space: what it leaves of b is orthogonal to the space."""
        return np.asarray((self.W @ b) @ self.W)

    def preconditioner(self, M: LinearOperator | None) -> LinearOperator:
        """``Pᵀ M P + level Wᵀ W`` with ``P = I - (W A)ᵀ W``: positive definite, as M is.

        The balancing preconditioner, as in J. M. Tang, R. Nabben, C. Vuik and Y. A. Erlangga,
        "Comparison of two-level preconditioners derived from deflation, domain decomposition and
        multigrid methods", J. Sci. Comput. 39, 2009. There the level is 1, which is far outside of
        the spectrum for another scale of A.
        """

        def product(r: np.ndarray) -> np.ndarray:
            r = r.reshape(-1)
            inside = self.W @ r
            outside = r - inside @ self.AW
            z = outside if M is None else np.asarray(M.matvec(outside)).reshape(-1)
            return np.asarray(z + (self.level * inside - self.AW @ z) @ self.W)

        n = self.W.shape[1]
        return LinearOperator((n, n), matvec=product, dtype=np.float64)


def deflation_of(
    P: np.ndarray, AP: np.ndarray, M: LinearOperator | None, rank: int, eps: float
) -> Deflation:
    """The outermost Ritz vectors of ``M A`` in a space.

    Parameters
    ----------
    P, AP : ndarray, shape (m, n)
        Directions as rows, scaled to ``pᵀ A p = 1``, and their products.
    M : LinearOperator or None
        The preconditioner; the identity if None.
    rank : int
        How many are kept at each end of the spectrum.
    eps : float
        The relative rounding of a product.
    """
    d, Z = scipy.linalg.eigh(P @ AP.T)
    # cg makes its directions conjugate, so that most of d is near to one. A direction that is
    # nearly a combination of others has a product that is mostly rounding.
    kept = d > eps ** (1 / 3) * d[-1]
    T = Z[:, kept] / np.sqrt(d[kept])
    # M A is symmetric in the inner product of A, in which T makes the directions orthonormal.
    MAP = AP if M is None else np.asarray(M.matmat(AP.T)).T
    ritz, C = scipy.linalg.eigh(T.T @ (AP @ MAP.T) @ T)
    level = ritz[min(rank, len(ritz) // 2)]
    if len(ritz) > 2 * rank:
        C = np.concatenate([C[:, :rank], C[:, -rank:]], axis=1)
    Y = (T @ C).T
    return Deflation(Y @ P, Y @ AP, float(level))


class Recycler:
    """Gathers the products of a positive definite matrix, and keeps what is worth it.

    A window of directions is compressed to Ritz vectors whenever it is full, as by A. Stathopoulos
    and K. Orginos, "Computing and deflating eigenvalues while solving multiple right-hand side
    linear systems with an application to quantum chromodynamics", SIAM J. Sci. Comput. 32, 2010.
    They keep the lower end of the spectrum. A damped curvature has its outliers at the upper one,
    and many equal eigenvalues at the lower.

    Parameters
    ----------
    rank : int
        Ritz vectors that are kept at each end; ten times as many vectors are in memory.
    M : LinearOperator or None
        The preconditioner.
    eps : float
        The relative rounding of a product.
    """

    def __init__(self, rank: int, M: LinearOperator | None, eps: float) -> None:
        self.rank = rank
        self._M = M
        self._eps = eps
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []
        self._kept: Deflation | None = None

    def watch(self, v: np.ndarray, Av: np.ndarray) -> None:
        """Take a vector and its product, unless its curvature is negative, or rounding."""
        size = length(v)
        if not size:
            return
        v, Av = v / size, Av / size
        curvature = float(v @ Av)
        if not curvature > 10.0 * self._eps * length(Av):
            return
        self._pairs.append((v / np.sqrt(curvature), Av / np.sqrt(curvature)))
        if len(self._pairs) + self._kept_count >= _WINDOW * self.rank:
            self._compress()

    def deflation(self) -> Deflation | None:
        """What is known so far; None before the first product."""
        # To compress costs as much as some products, and is left until it is needed.
        if self._pairs and self._kept_count < 2 * self.rank:
            self._compress()
        return self._kept

    def copy(self) -> Self:
        """Another one that knows the same."""
        twin = copy(self)
        twin._pairs = self._pairs.copy()
        return twin

    @property
    def _kept_count(self) -> int:
        return 0 if self._kept is None else len(self._kept.W)

    def _compress(self) -> None:
        P, AP = (np.stack(vectors) for vectors in zip(*self._pairs, strict=True))
        if self._kept is not None:
            P, AP = np.concatenate([self._kept.W, P]), np.concatenate([self._kept.AW, AP])
        self._kept = deflation_of(P, AP, self._M, self.rank, self._eps)
        self._pairs.clear()


class WatchedOperator(BaseOperator):
    """A symmetric operator that shows its products.

    Parameters
    ----------
    original : LinearOperator, shape (n, n)
    dtype : dtype
    watch : callable
        Gets each vector and its product, and keeps neither.
    """

    def __init__(
        self,
        original: LinearOperator,
        dtype: Any,
        watch: Callable[[np.ndarray, np.ndarray], None],
    ) -> None:
        super().__init__(dtype, original.shape, symmetric=True)
        self._original = original
        self._watch = watch

    def _product(self, v: np.ndarray) -> np.ndarray:
        product = np.array(self._original.matvec(v), dtype=self.dtype)
        self._watch(v, product)
        return product
