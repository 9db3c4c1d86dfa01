"""All eigenvalues of a small matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from hessop.operators.base import BaseOperator
from hessop.operators.checks import matrix_of
from hessop.operators.dense import DenseOperator
from hessop.operators.foreign import ForeignOperator
from hessop.operators.structured import StructuredOperator, diagonal_of

__all__ = ["eigenvalues_of", "few_enough", "has_entries"]

# The most rows of a matrix whose eigenvalues are all computed without being told.
_MOST = 2000


def few_enough(operator: BaseOperator, products: int) -> bool:
    """Whether all eigenvalues cost no more than so many products, and a few seconds."""
    if diagonal_of(operator) is not None:
        return True
    n = int(operator.shape[0])
    return n <= _MOST and (n <= products or has_entries(operator))


def has_entries(operator: BaseOperator) -> bool:
    """Whether the matrix is known without products."""
    if isinstance(operator, ForeignOperator):
        return matrix_of(operator.operator) is not None
    return isinstance(operator, StructuredOperator)


def eigenvalues_of(operator: BaseOperator, *, progress: bool = False) -> tuple[np.ndarray, int]:
    """All eigenvalues of a symmetric operator, ascending, and the products that it took.

    Of a diagonal matrix and of a `DenseOperator` they are known; of any other the matrix is made.

    Parameters
    ----------
    operator : BaseOperator, shape (n, n)
    progress : bool
    """
    known: Any = diagonal_of(operator)
    if known is None and isinstance(operator, DenseOperator):
        known = operator.eigenvalues
    if known is not None:
        return np.sort(known.astype(np.float64)), 0
    before = operator.n_matvec
    dense = operator.to_dense(symmetrize=True, progress=progress).astype(np.float64)
    return np.linalg.eigvalsh(dense), operator.n_matvec - before
