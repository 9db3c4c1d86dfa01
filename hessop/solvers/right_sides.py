"""Right-hand sides: a vector, a block of columns, or a tree; and solutions in the same form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import optree
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator

from hessop._errors import NonFiniteError
from hessop.operators.checks import all_finite, first_bad
from hessop.operators.jacobian import JacobianOperator
from hessop.params import Layout, read_tree

__all__ = ["RightSide", "read_right_side"]


@dataclass(frozen=True)
class RightSide:
    """What an operator is to be equal to.

    Attributes
    ----------
    columns : ndarray, shape (m,) or (m, k)
        float64.
    n : int
        The length of a solution.
    layout : Layout or None
        The tree of a solution, where one is known.
    is_tree : bool
        Whether the right-hand side was a tree, so that the solution will be one.
    """

    columns: np.ndarray
    n: int
    layout: Layout | None
    is_tree: bool

    def solution(self, x: np.ndarray) -> Any:
        """A flat solution, or a direction of one, in the form of the right-hand side."""
        return self.layout.unflatten(x) if self.is_tree and self.layout else x

    def start(self, x0: Any) -> np.ndarray:
        """A starting point, flat, or a tree where one is known: a fresh array, zeros for None."""
        shape = (self.n, *self.columns.shape[1:])
        if x0 is None:
            return np.zeros(shape)
        start = _real_array(x0, "x0", self.layout, self.n)
        if start.shape != shape:
            raise ValueError(f"x0 has shape {start.shape}, expected {shape}.")
        return start


def read_right_side(operator: LinearOperator, b: Any) -> RightSide:
    """The right-hand side for an operator.

    Raises
    ------
    TypeError, ValueError
        When it is not real, not finite (`NonFiniteError`), or has another shape.
    """
    m, n = operator.shape
    rows = _layout_of_rows(operator)
    columns = _real_array(b, "b", rows, m)
    if columns.ndim not in (1, 2) or columns.shape[0] != m or columns.size == 0:
        raise ValueError(
            f"b has shape {columns.shape}, expected ({m},) or, for k columns, ({m}, k)."
        )
    is_tree = rows is not None and _is_tree(b, rows, m)
    return RightSide(columns, n, getattr(operator, "layout", None), is_tree)


def _layout_of_rows(operator: LinearOperator) -> Layout | None:
    """How ``A x`` lies in a tree, where that is known."""
    if isinstance(operator, JacobianOperator):
        return read_tree(operator.value)[0]
    return getattr(operator, "layout", None) if getattr(operator, "symmetric", False) else None


def _is_tree(x: Any, layout: Layout, size: int) -> bool:
    """Whether x is to be flattened, and is not a flat vector or a block of columns."""
    if layout.is_array:
        return not isinstance(x, dict) and size not in np.shape(x)[:1]
    return isinstance(x, dict | tuple) or (isinstance(x, list) and _structure(x) == layout.spec)


def _structure(x: Any) -> optree.PyTreeSpec:
    return optree.tree_structure(x, none_is_leaf=True)


def _real_array(x: Any, name: str, layout: Layout | None, size: int) -> np.ndarray:
    """A vector, a block, or a tree as a fresh array of finite float64."""
    if layout is not None and _is_tree(x, layout, size):
        x = layout.flatten(x, name)
    if isinstance(x, dict):
        raise TypeError(
            f"{name} is a dict, and A does not know how it lies in a tree. Give a flat vector of "
            f"shape ({size},)."
        )
    if issparse(x) or isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} is a {type(x).__name__}, expected a dense array.")
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{name} is not an array of numbers: {error}") from None
    if array.dtype.kind not in "biuf":
        way_out = " Solve for its real and imaginary parts, as two columns."
        raise TypeError(
            f"{name} has dtype {array.dtype}, expected real numbers."
            + (way_out if array.dtype.kind == "c" else "")
        )
    array = array.astype(np.float64)
    if not all_finite(array):
        raise NonFiniteError(f"{name} has {first_bad(array)}, expected finite numbers.")
    return array
