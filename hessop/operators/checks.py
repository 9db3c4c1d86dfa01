"""What a vector, a block of columns or a set of indices must be before it is used."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import issparse

__all__ = [
    "all_finite",
    "as_block",
    "as_vector",
    "by_columns",
    "check_count",
    "first_bad",
    "float_dtype",
    "indices",
    "matrix_of",
]


def all_finite(x: np.ndarray) -> bool:
    """Whether there is no NaN and no infinity."""
    if x.ndim == 1:
        # A sum of squares is finite only if all of them are, and it is the quickest to make.
        with np.errstate(over="ignore", invalid="ignore"):
            if math.isfinite(x.dot(x)):
                return True
    return bool(np.isfinite(x).all())


def as_vector(x: Any) -> np.ndarray:
    """One vector of shape (n,), of that or of one column (n, 1)."""
    # SciPy 1.17 passes (n,) and (n, 1). From 1.18 also (..., n), which a Hessian does not need.
    vector: np.ndarray = np.asarray(x)
    if vector.ndim == 1 or (vector.ndim == 2 and vector.shape[1] == 1):
        return vector.reshape(-1)
    raise ValueError(f"A @ v: v has shape {vector.shape}, expected one vector (n,). Use matmat.")


def as_block(X: Any) -> np.ndarray:
    """A block of columns, shape (n, k)."""
    block: np.ndarray = np.asarray(X)
    if block.ndim != 2:
        raise ValueError(f"A @ V: V has shape {block.shape}, expected a block of columns (n, k).")
    return block


def by_columns(product: Callable[[np.ndarray], np.ndarray], V: np.ndarray, rows: int) -> np.ndarray:
    """A block times an operator that multiplies one vector at a time."""
    result = np.empty((rows, V.shape[1]), dtype=V.dtype)
    for j, v in enumerate(np.ascontiguousarray(V.T)):
        result[:, j] = product(v)
    return result


def first_bad(x: np.ndarray) -> str:
    """The first entry that is not finite, in words."""
    bad = np.argwhere(~np.isfinite(x))
    entry = tuple(int(i) for i in bad[0])
    where = entry[0] if len(entry) == 1 else entry
    return f"{x[entry]} at entry {where} ({len(bad)} of {x.size} entries are not finite)"


def indices(which: Any, n: int, name: str) -> np.ndarray:
    """Distinct integers in ``range(n)``, of a slice, a mask or integers that may be negative."""
    if isinstance(which, slice):
        which = np.arange(n)[which]
    which = np.atleast_1d(which)
    if which.dtype == bool and which.shape == (n,):
        return np.flatnonzero(which)
    if (
        which.size == 0
        or which.ndim != 1
        or which.dtype.kind not in "iu"
        or np.any((which < -n) | (which >= n))
    ):
        raise IndexError(
            f"block: {name} is {which.dtype} of shape {which.shape}, expected a slice, a mask of "
            f"{n}, or integers from {-n} to {n - 1}."
        )
    chosen: np.ndarray = which.astype(np.intp) % n
    if np.unique(chosen).size != chosen.size:
        raise IndexError(f"block: {name} names an entry twice, expected each at most once.")
    return chosen


def matrix_of(operator: Any) -> Any:
    """The array or the sparse matrix that an operator of SciPy was made of; None where none was."""
    matrix = getattr(operator, "A", None)  # of a transposed one it is an operator
    return matrix if isinstance(matrix, np.ndarray) or issparse(matrix) else None


def float_dtype(dtype: Any) -> np.dtype[Any]:
    """The precision that a matrix of some dtype is computed in: single only where it is single."""
    return np.dtype(np.float32) if np.dtype(dtype or float) == np.float32 else np.dtype(np.float64)


def check_count(value: Any, name: str, least: int = 1, most: int | None = None) -> int:
    """A whole number in its range.

    Raises
    ------
    ValueError
        When it is not one.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool | np.bool_)
    if not whole or value < least or (most is not None and value > most):
        span = f"from {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} is {value!r}, expected a whole number {span}.")
    return int(value)
