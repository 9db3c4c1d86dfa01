"""Inverses that are applied by solving, with the matrix itself at hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hessop.operators.diagonal import DiagonalOperator
from hessop.operators.structured import (
    Inertia,
    SignedLogdet,
    StructuredOperator,
    check_damping,
)

__all__ = ["InverseOperator", "refined"]

Map = Callable[[np.ndarray], np.ndarray]


class InverseOperator(StructuredOperator):
    """The inverse of a structured matrix, by a solver whose results are refined.

    Made by `SparseOperator.inverse`, and by `LowRankOperator.inverse` where that needs it.

    Parameters
    ----------
    original : StructuredOperator
    solve : callable
        Takes a block of columns, (n, k), to an approximate solution.
    refinements : int
        How often, at most, a solution is corrected by that for its residual.
    """

    symbol = "A⁻¹"

    def __init__(
        self,
        original: StructuredOperator,
        solve: Callable[[np.ndarray], np.ndarray],
        refinements: int = 1,
    ) -> None:
        super().__init__(original.dtype, original.shape[0])
        self._original = original
        self._solve = solve
        self._refinements = refinements

    def _product(self, v: np.ndarray) -> np.ndarray:
        return self._block_product(v[:, None])[:, 0]

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        return refined(self._solve, self._original._block_product, V, self._refinements)[0]

    def inverse(self, damping: float = 0.0) -> StructuredOperator:
        """The matrix itself.

        Raises
        ------
        TypeError
            With a damping, with which there is no such form.
        """
        if check_damping(damping):
            raise TypeError(
                "this inverse is known by its products only, and has no damped inverse. Use a "
                "solver, or damp the matrix itself."
            )
        return self._original

    def slogdet(self, damping: float = 0.0) -> SignedLogdet:
        """Sign and logarithm of the determinant.

        Raises
        ------
        TypeError
            With a damping.
        """
        if check_damping(damping):
            raise TypeError("the determinant is known without damping only.")
        sign, logabsdet = self._original.slogdet()
        return SignedLogdet(sign, -logabsdet)

    def inertia(self) -> Inertia:
        """That of the matrix."""
        return self._original.inertia()

    def _scaled(self, factor: float) -> StructuredOperator:
        if factor == 0.0:
            return DiagonalOperator(np.zeros(self.shape[0], dtype=self.dtype))
        return self._original._scaled(1.0 / factor).inverse()

    def _facts(self) -> tuple[str, ...]:
        return (f"of {self._original!r}",)

    def __reduce__(self) -> Any:
        return type(self._original).inverse, (self._original,)


def refined(solve: Map, multiply: Map, B: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Solutions for a block of columns, each corrected by that for its residual while that helps.

    Parameters
    ----------
    solve, multiply : callable
        Take a block, (n, k), to an approximate solution, and to a product with the matrix.
    B : ndarray, shape (n, k)
    most : int
        Corrections at most.

    Returns
    -------
    X : ndarray, shape (n, k)
    residuals : ndarray, shape (k,)
        The largest entry of the residual of each column.
    """
    X = solve(B)
    residual = B - multiply(X)
    sizes = np.abs(residual).max(axis=0, initial=0.0)
    for _ in range(most):
        if not sizes.any():
            break
        corrected = X + solve(residual)
        left = B - multiply(corrected)
        after = np.abs(left).max(axis=0, initial=0.0)
        better = after < sizes
        X = np.where(better, corrected, X)
        rests = not (after < 0.5 * sizes).any()  # it is rounding by now
        residual, sizes = np.where(better, left, residual), np.where(better, after, sizes)
        if rests:
            break
    return X, sizes
