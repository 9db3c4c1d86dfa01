"""How an array is read out of a flat buffer: an affine map, as a value.

Slices, transposes, reshapes, broadcasts and diagonals of a C-ordered array all are the same thing:
a shape, a stride for each axis, and an offset. So chains of them collapse into one, and what looks
like work in a function (``x[1:].T[None]``) costs nothing in a program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

__all__ = ["View", "affine", "compose", "read", "view_of", "view_of_array", "whole"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class View:
    """Entries ``offset + i · strides`` of a buffer, for the indices i of an array of this shape.

    Attributes
    ----------
    shape : tuple of int
    strides : tuple of int
        In entries; 0 where the axis has one entry, or repeats it.
    offset : int
    """

    shape: Shape
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def size(self) -> int:
        """How many entries the array has, repeated ones counted."""
        return prod(self.shape)

    @property
    def is_run(self) -> bool:
        """Whether it is a C-ordered array without gaps, wherever it begins."""
        return self.strides == _strides(self.shape)

    def is_whole(self, size: int) -> bool:
        """Whether it is the whole of a buffer of that size, in order."""
        return self.offset == 0 and self.size == size and self.is_run

    @property
    def overlaps(self) -> bool:
        """Whether it may read an entry more than once."""
        reach = 0
        for step, extent in sorted(zip(map(abs, self.strides), self.shape, strict=True)):
            if extent > 1 and step <= reach:
                return True
            reach += step * (extent - 1)
        return False

    def over(self, axis: int) -> tuple[int, int]:
        """Extent and stride of an axis."""
        return self.shape[axis], self.strides[axis]

    def with_axes(self, *axes: tuple[int, int]) -> View:
        """The same beginning, with these extents and strides."""
        shape = tuple([extent for extent, _ in axes])
        return View(shape, tuple([step if extent > 1 else 0 for extent, step in axes]), self.offset)


def _strides(shape: Shape) -> tuple[int, ...]:
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step if extent > 1 else 0)
        step *= extent
    return tuple(reversed(strides))


def whole(shape: Shape) -> View:
    """A C-ordered array that fills its buffer."""
    return View(shape, _strides(shape))


def read(view: View, buffer: np.ndarray) -> np.ndarray:
    """The array that a view shows of a buffer.

    Parameters
    ----------
    view : View
    buffer : ndarray, shape (size,) or (k, size)
        C-ordered. With k, every row is read.

    Returns
    -------
    ndarray
        In the view's shape, with k in front; it shares its memory with the buffer.
    """
    item = buffer.itemsize
    strides = [step * item for step in view.strides]
    offset = view.offset * item
    if buffer.ndim == 1:
        return np.ndarray(view.shape, buffer.dtype, buffer, offset, strides)
    shape = (buffer.shape[0], *view.shape)
    return np.ndarray(shape, buffer.dtype, buffer, offset, [buffer.strides[0], *strides])


def compose(outer: View, inner: View) -> View | None:
    """The view of inner's buffer that reads what `outer` reads of inner's entries, in C order.

    Returns None where there is no such view, as for a reshape of a transposed array.
    """
    if inner.is_run:
        return View(outer.shape, outer.strides, outer.offset + inner.offset)
    shape, strides = _merged(inner)
    low = high = _digits(outer.offset, shape)
    steps = []
    for extent, stride in zip(outer.shape, outer.strides, strict=True):
        digits = [digit if stride > 0 else -digit for digit in _digits(abs(stride), shape)]
        reach = [digit * (extent - 1) for digit in digits]
        low = [a + min(b, 0) for a, b in zip(low, reach, strict=True)]
        high = [a + max(b, 0) for a, b in zip(high, reach, strict=True)]
        steps.append(sum(a * b for a, b in zip(digits, strides, strict=True)))
    # Inside of the array along every axis, so that no carry from one to the next ever occurs.
    if any(a < 0 for a in low) or any(a >= b for a, b in zip(high, shape, strict=True)):
        return None
    start = sum(a * b for a, b in zip(_digits(outer.offset, shape), strides, strict=True))
    return View(outer.shape, tuple(steps), inner.offset + start)


def _merged(view: View) -> tuple[list[int], list[int]]:
    """Extents and strides with neighbouring axes made one where they are one run."""
    shape: list[int] = []
    strides: list[int] = []
    for extent, stride in zip(view.shape, view.strides, strict=True):
        if extent == 1:
            continue
        if shape and strides[-1] == stride * extent:
            shape[-1] *= extent
            strides[-1] = stride
        else:
            shape.append(extent)
            strides.append(stride)
    return shape or [1], strides or [0]


def _digits(position: int, shape: list[int]) -> list[int]:
    """The index of a C-ordered position; the first digit takes what is left over."""
    digits = []
    for extent in reversed(shape[1:]):
        position, digit = divmod(position, extent)
        digits.append(digit)
    return [position, *reversed(digits)]


# --- from what numpy does to arrays ---------------------------------------------------------------


def view_of(fun: Callable[[np.ndarray], Any], shape: Shape) -> View | None:
    """The view that `fun` takes of an array of this shape; None where it makes a new array."""
    size = prod(shape)
    probe = np.empty(size, dtype=np.int8)  # one byte an entry, so that strides count entries
    result = fun(probe.reshape(shape))
    if not isinstance(result, np.ndarray) or result.size == 0:
        return None
    offset = _address(result) - _address(probe)
    return _canonical(result.shape, result.strides, offset) if 0 <= offset < size else None


def view_of_array(array: np.ndarray) -> tuple[View, np.ndarray]:
    """A view, and the flat memory that it reads an array from."""
    if any(step < 0 or step % array.itemsize for step in array.strides):
        array = np.ascontiguousarray(array)
    view = _canonical(array.shape, [step // array.itemsize for step in array.strides], 0)
    span = 1 + sum((n - 1) * s for n, s in zip(view.shape, view.strides, strict=True))
    return view, np.lib.stride_tricks.as_strided(array, (span,), (array.itemsize,))


def affine(index: np.ndarray) -> View | None:
    """The view that reads the entries ``index`` of a buffer, if there is one."""
    if index.size == 0:
        return None
    first = int(index.flat[0])
    strides = []
    for axis, extent in enumerate(index.shape):
        second = tuple([int(a == axis) for a in range(index.ndim)])
        strides.append(int(index[second]) - first if extent > 1 else 0)
    expected: Any = first
    for axis, (extent, stride) in enumerate(zip(index.shape, strides, strict=True)):
        along = np.arange(extent) * stride
        expected = expected + along.reshape((-1,) + (1,) * (index.ndim - axis - 1))
    if not np.array_equal(np.broadcast_to(expected, index.shape), index):
        return None
    return View(index.shape, tuple(strides), first)


def _canonical(shape: Shape, strides: Sequence[int], offset: int) -> View:
    steps = [step if n > 1 else 0 for step, n in zip(strides, shape, strict=True)]
    return View(shape, tuple(steps), offset)


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
