"""Least squares in a Krylov space, for many shifts of the matrix at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["ShiftedMinres", "ShiftedSolutions"]


class ShiftedSolutions(NamedTuple):
    """Least-squares solutions for L shifts, in the basis of a Krylov space of dimension k.

    Attributes
    ----------
    y : ndarray, shape (L, k)
    residual_norm : ndarray, shape (L,)
    is_singular : ndarray of bool, shape (L,)
        Where T + λ I is singular up to rounding: there y is the shortest solution.
    """

    y: np.ndarray
    residual_norm: np.ndarray
    is_singular: np.ndarray


class ShiftedMinres:
    """The y of least ``||size e₁ - (T + λ I) y||`` for many λ, where T grows by columns.

    T is the tridiagonal matrix of Lanczos' process, with one row more than columns. Its QR
    decomposition is carried along by Givens rotations, one for each λ and column.

    Parameters
    ----------
    shifts : ndarray, shape (L,)
    size : float
        The length of the right-hand side.
    eps : float
        The relative rounding of T.

    Notes
    -----
    C. C. Paige and M. A. Saunders, "Solution of sparse indefinite systems of linear equations",
    SIAM J. Numer. Anal. 12, 1975, section 6.
    """

    def __init__(self, shifts: np.ndarray, size: float, eps: float) -> None:
        self._shifts = shifts
        self._size = size
        self._eps = eps
        self._diagonal: list[float] = []
        self._beside: list[float] = []
        # The last two rotations, as cosines and sines; at first, those that change nothing.
        still = (np.ones_like(shifts), np.zeros_like(shifts))
        self._before, self._last = still, still
        self._left = np.full_like(shifts, size)
        # For each column of R: the diagonal, one and two above; and the rotated right-hand side.
        self._columns: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    @property
    def residual_norm(self) -> np.ndarray:
        """What is left of the right-hand side, for each λ, shape (L,)."""
        norms: np.ndarray = np.abs(self._left)
        return norms

    def extend(self, diagonal: float, beside: float) -> None:
        """Add a column: its entry on the diagonal of T, and the one below it."""
        (c2, s2), (c1, s1) = self._before, self._last
        shifted = diagonal + self._shifts
        above = self._beside[-1] if self._beside else 0.0
        two_above, rest = s2 * above, c2 * above
        one_above, rest = c1 * rest + s1 * shifted, c1 * shifted - s1 * rest
        size = np.hypot(rest, beside)
        # A column of zeros, the last of a singular matrix, has no part in the solution.
        divisor = np.where(size == 0.0, np.inf, size)
        c, s = rest / divisor, np.where(size == 0.0, -1.0, beside / divisor)
        self._columns.append((divisor, one_above, two_above, c * self._left))
        self._left = -s * self._left
        self._before, self._last = self._last, (c, s)
        self._diagonal.append(diagonal)
        self._beside.append(beside)

    def solutions(self, target: float) -> ShiftedSolutions:
        """The solutions in the basis so far.

        Parameters
        ----------
        target : float
            Where rounding keeps a solution from a residual like this, T + λ I may be singular.
        """
        y, residuals = self._by_substitution(), self.residual_norm
        is_singular = np.isinf(self._columns[-1][0])  # a column of zeros
        largest = max(map(abs, [*self._diagonal, *self._beside])) + np.abs(self._shifts)
        rounding = self._tolerance * largest * np.linalg.norm(y, axis=1)
        for i in np.flatnonzero(rounding > np.maximum(target, residuals)):
            y[i], residuals[i], is_singular[i] = self._shortest(self._shifts[i], largest[i])
        return ShiftedSolutions(y, residuals, is_singular)

    @property
    def _tolerance(self) -> float:
        return 10.0 * float(np.sqrt(len(self._diagonal))) * self._eps

    def _by_substitution(self) -> np.ndarray:
        steps, zeros = len(self._columns), np.zeros_like(self._shifts)
        # Beyond the last column there is nothing.
        columns = [*self._columns, *2 * [(zeros, zeros, zeros, zeros)]]
        y = np.zeros((steps + 2, len(zeros)))
        for k in reversed(range(steps)):
            diagonal, _, _, right = columns[k]
            _, above, _, _ = columns[k + 1]
            _, _, two_above, _ = columns[k + 2]
            y[k] = (right - above * y[k + 1] - two_above * y[k + 2]) / diagonal
        return y[:steps].T

    def _shortest(self, shift: float, largest: float) -> tuple[np.ndarray, float, bool]:
        """The shortest least-squares solution, where entries of size `largest` have cancelled."""
        k = len(self._diagonal)
        T = np.zeros((k + 1, k))
        columns = np.arange(k)
        T[columns, columns] = np.array(self._diagonal) + shift
        T[columns + 1, columns] = self._beside
        T[columns[:-1], columns[1:]] = self._beside[:-1]
        right = np.zeros(k + 1)
        right[0] = self._size
        rounding, size = self._tolerance * largest, float(np.linalg.norm(T, 2))
        if size <= rounding:
            return np.zeros(k), self._size, True
        found: Any = np.linalg.lstsq(T, right, rcond=rounding / size)
        y, _, rank, _ = found
        return y, float(np.linalg.norm(right - T @ y)), bool(rank < k)
