"""Putting instructions together, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from hessop.tape.instructions import (
    Contract,
    Factor,
    Gather,
    Instruction,
    Opaque,
    Read,
    Reduce,
    Scatter,
    Sum,
    Term,
)
from hessop.tape.program import Program
from hessop.tape.views import Shape, View, affine, view_of, whole

__all__ = ["Builder", "Value", "simple_factor"]


@dataclass(frozen=True, slots=True)
class Value:
    """The result of an instruction, or the argument: its number and shape."""

    index: int
    shape: Shape

    @property
    def size(self) -> int:
        """How many entries."""
        return prod(self.shape)

    @property
    def read(self) -> Read:
        """All of it, as it lies."""
        return Read(self.index, whole(self.shape))


class Builder:
    """A program in the making.

    Parameters
    ----------
    columns : int
        The length of the argument.
    dtype : dtype
    """

    def __init__(self, columns: int, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.instructions: list[Instruction] = []
        self.argument = Value(0, (columns,))

    def append(self, instruction: Instruction) -> Value:
        """Add an instruction, and give the value that it makes."""
        self.instructions.append(instruction)
        return Value(len(self.instructions), instruction.shape)

    def finish(self) -> Program:
        """The program, whose result is the value made last."""
        return Program(self.argument.size, tuple(self.instructions), self.dtype)

    # --- sums -------------------------------------------------------------------------------------

    def add(self, parts: Sequence[tuple[Value, Factor]], shape: Shape) -> Value:
        """The sum of values, each broadcast to the shape and multiplied by a factor."""
        region = whole(shape)
        terms = [
            Term(x.index, broadcast(whole(x.shape), shape), self.factor(factor, shape), region)
            for x, factor in parts
        ]
        return self.append(Sum(shape, tuple(terms)))

    def scale(self, x: Value, factor: Factor, shape: Shape) -> Value:
        """A value times a constant, the two broadcast to the shape."""
        return self.add([(x, factor)], shape)

    def place(self, parts: Sequence[tuple[Value, View]], shape: Shape) -> Value:
        """Values added into regions of zeros."""
        terms = [Term(x.index, whole(x.shape), 1.0, region) for x, region in parts]
        return self.append(Sum(shape, tuple(terms)))

    def view(self, x: Value, view: View) -> Value:
        """A value read through a view."""
        if view == whole(x.shape):
            return x
        return self.append(Sum(view.shape, (Term(x.index, view, 1.0, whole(view.shape)),)))

    def reshape(self, x: Value, shape: Shape) -> Value:
        """A value in another shape of the same size."""
        return self.view(x, whole(shape))

    def factor(self, factor: Any, shape: Shape) -> Factor:
        """A constant of the program's dtype and this shape; a number where it is one all over."""
        return simple_factor(np.broadcast_to(np.asarray(factor, dtype=self.dtype), shape))

    # --- entries moved around ---------------------------------------------------------------------

    def rearrange(self, x: Value, fun: Callable[[np.ndarray], Any]) -> Value:
        """What `fun` does to an array, where all it does is to move entries and fill in zeros."""
        view = view_of(fun, x.shape)
        if view is not None:
            return self.view(x, view)
        # Run on the positions themselves, counted from one, it says where every entry comes from.
        origin = np.asarray(fun(np.arange(1, x.size + 1).reshape(x.shape))).astype(np.intp)
        filled = origin > 0
        if filled.all():
            return self.gather(x, origin - 1)
        if np.array_equal(np.sort(origin[filled]), np.arange(1, x.size + 1)):
            place = np.empty(x.size, dtype=np.intp)
            place[origin[filled] - 1] = np.flatnonzero(filled)
            return self.scatter(x, place.reshape(x.shape), origin.shape)
        # Where a hole is multiplied by zero, any entry will do: the one that keeps a view simple.
        own = np.arange(x.size).reshape(x.shape) if origin.shape == x.shape else 0
        moved = self.gather(x, np.where(filled, origin - 1, own))
        return self.scale(moved, filled.astype(self.dtype), origin.shape)

    def gather(self, x: Value, index: np.ndarray) -> Value:
        """The entries `index` of a value, counted in C order."""
        view = affine(index)
        if view is not None:
            return self.view(x, view)
        return self.append(Gather(index.shape, x.read, np.ascontiguousarray(index).reshape(-1)))

    def scatter(self, x: Value, index: np.ndarray, shape: Shape) -> Value:
        """A value added into zeros, at entries counted in C order."""
        region = affine(index)
        if region is not None and np.unique(index).size == index.size:
            return self.place([(self.reshape(x, index.shape), region)], shape)
        return self.append(Scatter(shape, x.read, np.ascontiguousarray(index).reshape(-1)))

    # --- the others -------------------------------------------------------------------------------

    def reduce(self, x: Value, axes: tuple[int, ...]) -> Value:
        """The sum of a value over some axes, which vanish."""
        axes = tuple(sorted(axes))
        kept = tuple([n for axis, n in enumerate(x.shape) if axis not in axes])
        if prod(kept) == x.size:
            return self.reshape(x, kept)
        return self.append(Reduce(kept, x.read, axes))

    def contract(self, x: Value, constant: np.ndarray, *, constant_first: bool) -> Value:
        """A product of matrices: (batch, rows, inner) with the constant (batch, inner, columns)."""
        constant = np.asarray(constant, dtype=self.dtype)
        ends = (x.shape[1], constant.shape[2])
        shape = (x.shape[0], *(reversed(ends) if constant_first else ends))
        return self.append(Contract(shape, x.read, constant, constant_first))

    def opaque(
        self,
        xs: Sequence[Value],
        function: Callable[..., Any],
        name: str,
        shape: Shape,
        key: Hashable,
    ) -> Value:
        """Primitives that are run as they are; see `Opaque`."""
        return self.append(Opaque(shape, tuple([x.read for x in xs]), function, name, key))


def broadcast(view: View, shape: Shape) -> View:
    """A view repeated along new leading axes, and along those that have one entry."""
    missing = len(shape) - len(view.shape)
    strides = (0,) * missing + tuple(
        [s if n > 1 else 0 for s, n in zip(view.strides, view.shape, strict=True)]
    )
    return View(shape, strides, view.offset)


def simple_factor(factor: np.ndarray) -> Factor:
    """A factor as a number, where it is the same all over."""
    if factor.size == 0:
        return 0.0
    first = factor.flat[0]
    if factor.size == 1 or not any(factor.strides) or (factor == first).all():
        return float(first)
    return factor
