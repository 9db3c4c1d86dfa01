"""What users pass for a matrix, read: any operator of SciPy, or a matrix, as one of ours."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from hessop.operators.base import BaseOperator
from hessop.operators.checks import float_dtype, matrix_of

__all__ = [
    "ForeignOperator",
    "as_operator",
    "as_square",
    "as_symmetric",
    "is_symmetric",
    "real_operator",
]


class ForeignOperator(BaseOperator):
    """A SciPy operator with the methods of ours.

    Parameters
    ----------
    operator : LinearOperator
    symmetric : bool
        Whether it is known to be.
    """

    def __init__(self, operator: LinearOperator, *, symmetric: bool = True) -> None:
        super().__init__(float_dtype(operator.dtype), operator.shape, symmetric=symmetric)
        self.operator = operator

    def _product(self, v: np.ndarray) -> np.ndarray:
        return np.array(self.operator.matvec(v), dtype=self.dtype)

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        return np.array(self.operator.matmat(V), dtype=self.dtype)

    def _adjoint_product(self, u: np.ndarray) -> np.ndarray:
        return np.array(self.operator.rmatvec(u), dtype=self.dtype)

    def _adjoint_block_product(self, U: np.ndarray) -> np.ndarray:
        try:
            return np.array(self.operator.rmatmat(U), dtype=self.dtype)
        except TypeError:
            self.operator.rmatvec(U[:, 0])  # where SciPy tells that there is no adjoint
            raise

    def diagonal(self, *, progress: bool = False) -> np.ndarray:
        """The diagonal, shape (min(m, n),): read off where it is the operator of a matrix."""
        matrix: Any = matrix_of(self.operator)
        if matrix is None:
            return super().diagonal(progress=progress)
        return np.array(matrix.diagonal(), dtype=self.dtype)

    def to_dense(self, *, symmetrize: bool = False, progress: bool = False) -> np.ndarray:
        """The whole matrix, shape (m, n): a copy where it is the operator of a matrix."""
        matrix: Any = matrix_of(self.operator)
        if matrix is None:
            return super().to_dense(symmetrize=symmetrize, progress=progress)
        dense = np.array(matrix.toarray() if issparse(matrix) else matrix, dtype=self.dtype)
        return (dense + dense.T) / 2 if symmetrize else dense

    def _facts(self) -> tuple[str, ...]:
        return (f"of {type(self.operator).__name__}",)

    def __reduce__(self) -> Any:
        return partial(ForeignOperator, symmetric=self.symmetric), (self.operator,)


def real_operator(A: Any, name: str = "A") -> LinearOperator:
    """Any operator or matrix as a LinearOperator of real numbers.

    Raises
    ------
    TypeError, ValueError
        When it is neither, complex, or empty.
    """
    if isinstance(A, np.ndarray):
        _check_shape(A.shape, name)
    try:
        operator = aslinearoperator(A)
    except TypeError:
        way_out = " Use hessian_operator(fun, x) for its Hessian." if callable(A) else ""
        raise TypeError(
            f"{name} is a {type(A).__name__}, expected a LinearOperator or a matrix: an array, "
            f"or a sparse one.{way_out}"
        ) from None
    _check_shape(tuple(operator.shape), name)
    if np.dtype(operator.dtype or float).kind not in "biuf":
        raise TypeError(f"{name} has dtype {operator.dtype}, expected real numbers.")
    return operator


def _check_shape(shape: tuple[int, ...], name: str) -> None:
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{name} has shape {shape}, expected (m, n), and at least one entry.")


def as_operator(A: Any, name: str = "A") -> BaseOperator:
    """Any operator or matrix as one of ours, symmetric or not; a view, without any product.

    Raises
    ------
    TypeError, ValueError
        When it is neither, complex, or empty.
    """
    if isinstance(A, BaseOperator):
        return A
    return ForeignOperator(real_operator(A, name), symmetric=False)


def as_square(A: Any, name: str = "A") -> BaseOperator:
    """Any square operator or matrix as one of ours, symmetric or not.

    Raises
    ------
    TypeError, ValueError
        When it is no matrix, not real, or not square.
    """
    return _checked_square(as_operator(A, name), name)


def as_symmetric(A: Any, name: str = "A") -> BaseOperator:
    """Any symmetric operator or matrix as one of ours.

    One that is not ours is tested with two products, which its counter shows.

    Raises
    ------
    TypeError, ValueError
        When it is no matrix, not real, not square, or not symmetric.
    """
    if isinstance(A, BaseOperator):
        operator = _checked_square(A, name)
        known = operator.symmetric
    else:
        operator = _checked_square(ForeignOperator(real_operator(A, name)), name)
        known = is_symmetric(operator)
    if not known:
        raise ValueError(
            f"{name} is not symmetric, and has to be here. Where that is rounding, use "
            "(A + A.T) / 2; for a system that is not symmetric, solve(A, b)."
        )
    return operator


def _checked_square(operator: BaseOperator, name: str) -> BaseOperator:
    if operator.shape[0] != operator.shape[1]:
        raise ValueError(f"{name} has shape {operator.shape}, expected a square operator.")
    return operator


def is_symmetric(operator: LinearOperator) -> bool:
    """Whether a square operator is symmetric: a test with two products."""
    dtype = float_dtype(operator.dtype)
    u, v = np.random.default_rng(0).standard_normal((2, operator.shape[0])).astype(dtype)
    Au, Av = np.ravel(operator.matvec(u)), np.ravel(operator.matvec(v))
    size = max(np.abs(Au).max(), np.abs(Av).max()) or 1.0  # their squares may underflow
    difference = abs(v @ (Au / size) - u @ (Av / size))
    return bool(difference <= np.finfo(dtype).eps ** 0.5 * operator.shape[0])
