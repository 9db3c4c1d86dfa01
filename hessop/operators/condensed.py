"""A diagonal plus a matrix of low rank, condensed to the few directions in which it acts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Condensed", "condense"]

# Of the columns that make up for small entries.
_MOST_ENTRIES = 10_000_000


@dataclass(frozen=True, eq=False, slots=True)
class Condensed:
    """``A = R (P inside Pᵀ + Σ on all that is orthogonal to P) R``.

    Σ is a diagonal of signs, R a positive one.

    Attributes
    ----------
    root : ndarray, shape (n,)
        R.
    own : ndarray, shape (n,)
        Σ.
    P : ndarray, shape (n, k)
        Orthonormal; every column lies where Σ has one sign.
    signs : ndarray, shape (k,)
        That sign: ``Σ P = P diag(signs)``.
    inside : ndarray, shape (k, k)
        Symmetric.
    scale : float
        The size of the terms that `inside` is a sum of.
    """

    root: np.ndarray
    own: np.ndarray
    P: np.ndarray
    signs: np.ndarray
    inside: np.ndarray
    scale: float

    @property
    def outside(self) -> tuple[int, int]:
        """How many directions orthogonal to P have the sign -1, and the sign 1."""
        counts = [
            int(np.count_nonzero(self.own == sign) - np.count_nonzero(self.signs == sign))
            for sign in (-1, 1)
        ]
        return counts[0], counts[1]


def condense(U: np.ndarray, s: np.ndarray, diagonal: np.ndarray) -> Condensed:
    """``diag(diagonal) + U diag(s) Uᵀ``, condensed.

    Entries of the diagonal that are zero, or next to it beside what the part of low rank adds to
    them, are made up for by further columns of U.

    Parameters
    ----------
    U : ndarray, shape (n, r)
    s : ndarray, shape (r,)
    diagonal : ndarray, shape (n,)
    """
    beside = np.einsum("ir,r,ir->i", U, np.abs(s), U)
    near_zero = float(np.finfo(U.dtype).eps) ** 0.25
    small = np.flatnonzero(np.abs(diagonal) <= near_zero * beside)
    if (s >= 0.0).all() and (diagonal > 0.0).all():
        small = small[:0]  # a sum of what is positive loses nothing
    if small.size * len(U) > _MOST_ENTRIES:  # digits are lost in place of memory
        small = np.flatnonzero(diagonal == 0.0)
        if small.size * len(U) > _MOST_ENTRIES:
            raise ValueError(
                f"the diagonal has {small.size:,} zeros: too many to be made up for. Use a damping."
            )
    if small.size:
        units = np.zeros((len(U), small.size), dtype=U.dtype)
        units[small, np.arange(small.size)] = 1.0
        U = np.concatenate([U, units], axis=1)
        instead = np.where(beside[small] > 0.0, beside[small], 1.0)
        s = np.concatenate([s, diagonal[small] - instead]).astype(U.dtype)
        diagonal = diagonal.copy()
        diagonal[small] = instead
    root, own = np.sqrt(np.abs(diagonal)), np.sign(diagonal)
    W = U / root[:, None]
    parts, signs = [], []
    for sign in (-1.0, 1.0):
        rows = np.flatnonzero(own == sign)
        if rows.size:
            Q, _ = np.linalg.qr(W[rows])
            part = np.zeros((len(U), Q.shape[1]), dtype=U.dtype)
            part[rows] = Q
            parts.append(part)
            signs.append(np.full(Q.shape[1], sign, dtype=U.dtype))
    P, all_signs = np.concatenate(parts, axis=1), np.concatenate(signs)
    inner = P.T @ W
    inside = np.diag(all_signs) + (inner * s) @ inner.T
    scale = max(1.0, float(np.abs(s) @ np.sum(inner**2, axis=0)))
    return Condensed(root, own, P, all_signs, (inside + inside.T) / 2, scale)
