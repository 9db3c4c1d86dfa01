"""Right-hand sides: a vector, a block of columns, or a tree; and solutions in the same form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from hessop._errors import NonFiniteError
from hessop.operators.checks import all_finite, first_bad
from hessop.params import Layout

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
        The tree of a solution, where the right-hand side was one.
    """

    columns: np.ndarray
    n: int
    layout: Layout | None = None

    @property
    def solution_shape(self) -> tuple[int, ...]:
        """The shape of the solution for flat columns."""
        return (self.n, *self.columns.shape[1:])

    def solution(self, x: np.ndarray) -> Any:
        """A flat solution, or a direction of one, in the form of the right-hand side."""
        return x if self.layout is None else self.layout.unflatten(x)

    def start(self, x0: Any) -> np.ndarray:
        """A starting point in the form of the solution, flat; a fresh array."""
        if self.layout is not None and not isinstance(x0, np.ndarray):
            x0 = self.layout.flatten(x0, "x0")
        start = _real(x0, "x0")
        if self.layout is not None and start.shape == self.layout.shapes[0]:
            start = start.reshape(-1)
        if start.shape != self.solution_shape:
            raise ValueError(f"x0 has shape {start.shape}, expected {self.solution_shape}.")
        return start


def read_right_side(operator: LinearOperator, b: Any) -> RightSide:
    """The right-hand side for an operator.

    Raises
    ------
    TypeError, ValueError
        When it is not real, not finite (`NonFiniteError`), or has another shape.
    """
    m, n = operator.shape
    layout: Layout | None = getattr(operator, "layout", None)
    if layout is not None and _is_tree(b, layout, m):
        flatten_outputs = getattr(operator, "flatten_outputs", None)
        flat = layout.flatten(b, "b") if flatten_outputs is None else flatten_outputs(b)
        return RightSide(_real(flat, "b"), n, layout)
    if isinstance(b, dict):
        raise TypeError(
            "b is a dict, and A does not know a tree of parameters. Give a flat vector of shape "
            f"({m},)."
        )
    columns = _real(b, "b")
    if columns.ndim not in (1, 2) or columns.shape[0] != m or columns.size == 0:
        raise ValueError(
            f"b has shape {columns.shape}, expected ({m},) or, for k columns, ({m}, k)."
        )
    return RightSide(columns, n)


def _is_tree(b: Any, layout: Layout, m: int) -> bool:
    if isinstance(b, np.ndarray):
        # An array in the shape of x, where x is one that is not flat.
        return layout.is_array and b.shape == layout.shapes[0] and b.shape[:1] != (m,)
    if layout.is_array:
        return False
    return isinstance(b, dict | tuple) or (isinstance(b, list) and np.ndim(b[:1]) != 1)


def _real(x: Any, name: str) -> np.ndarray:
    array = np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} has dtype {array.dtype}, expected real numbers. Of a complex right-hand side, "
            "solve for the real and the imaginary part as two columns."
        )
    array = array.astype(np.float64)
    if not all_finite(array):
        raise NonFiniteError(f"{name} has {first_bad(array)}, expected finite numbers.")
    return array
