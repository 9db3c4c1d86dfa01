"""Products with blocks of columns, as estimators need them: counted, and of a size near one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hessop._lengths import power_of_two
from hessop.operators.base import BaseOperator
from hessop.operators.foreign import ForeignOperator, is_symmetric

__all__ = ["MissingAdjointError", "Products", "symmetry_test_cost"]


class MissingAdjointError(TypeError):
    """An estimator needs products with the transpose, and there are none."""


class Products:
    """Products with an operator in double precision, divided by one power of two.

    It is found with the first product, and brings entries near to one, so that squares neither
    overflow nor vanish.

    Parameters
    ----------
    operator : BaseOperator, shape (m, n)

    Attributes
    ----------
    n_matvec : int
        Columns multiplied, with A and with its transpose.
    symmetric : bool
        Whether A is known to be.
    """

    def __init__(self, operator: BaseOperator) -> None:
        self.operator = operator
        self.symmetric = operator.symmetric
        self.n_matvec = 0
        self._scale = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        """That of the operator."""
        m, n = self.operator.shape
        return m, n

    @property
    def dtype(self) -> Any:
        """What the operator computes in."""
        return self.operator.dtype

    @property
    def scale(self) -> float:
        """What has to be multiplied with: A is as many times larger."""
        return self._scale or 1.0

    def __call__(self, V: np.ndarray) -> np.ndarray:
        """``A @ V / scale`` for a block V, shape (n, k)."""
        return self._product(self.operator.matmat, V)

    def adjoint(self, U: np.ndarray) -> np.ndarray:
        """``A.T @ U / scale`` for a block U, shape (m, k).

        Raises
        ------
        MissingAdjointError
            When A has no adjoint, and is not known to be symmetric.
        """
        if self.symmetric:
            return self(U)
        try:
            return self._product(self.operator.rmatmat, U)
        except NotImplementedError as error:
            raise MissingAdjointError(
                f"A is a {type(_original(self.operator)).__name__} without an adjoint, which this "
                "method needs of a matrix that is not symmetric. Give its rmatvec, or use "
                "method='hutchinson'."
            ) from error

    def test_symmetry(self) -> None:
        """Spend two products where it is not known whether A is symmetric."""
        if symmetry_test_cost(self.operator):
            self.symmetric = is_symmetric(self.operator)
            self.n_matvec += 2

    def _product(self, multiply: Callable[[np.ndarray], Any], V: np.ndarray) -> np.ndarray:
        product = np.asarray(multiply(V), dtype=np.float64)
        self.n_matvec += V.shape[1]
        if not self._scale:
            self._scale = power_of_two(float(np.abs(product).max()))
        return product / self.scale


def symmetry_test_cost(operator: BaseOperator) -> int:
    """The products that `Products.test_symmetry` spends: two for a square one that is not ours."""
    square = operator.shape[0] == operator.shape[1]
    return 2 if isinstance(operator, ForeignOperator) and square else 0


def _original(operator: BaseOperator) -> Any:
    return operator.operator if isinstance(operator, ForeignOperator) else operator
