"""The linear program: a handful of instructions, each a linear function of the values before it.

Value 0 is the argument, a flat vector; instruction number i makes value i; the last one is the
result, a flat vector too. Programs are values: every pass takes one and returns another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from hessop.tape.views import Shape, View

__all__ = [
    "Contract",
    "Factor",
    "Gather",
    "Instruction",
    "Opaque",
    "Program",
    "Read",
    "Reduce",
    "Scatter",
    "Sum",
    "Term",
    "instruction_sizes",
    "memory_of",
]

#: A number, or an array in the shape of what it multiplies; axes that repeat have stride 0.
Factor = float | np.ndarray


@dataclass(frozen=True, slots=True)
class Read:
    """An earlier value, read through a view."""

    value: int
    view: View


@dataclass(frozen=True, eq=False, slots=True)
class Term(Read):
    """``factor * view(value)``, added into a region of the result."""

    factor: Factor
    region: View


@dataclass(frozen=True, eq=False, slots=True)
class Sum:
    """A sum of terms; entries that no term reaches are zero.

    One term is a scaling (or, with the factor 1, a view); two are an addition; terms with regions
    are a concatenation.
    """

    shape: Shape
    terms: tuple[Term, ...]

    @property
    def reads(self) -> tuple[Read, ...]:
        """What it is made of."""
        return self.terms


@dataclass(frozen=True, eq=False, slots=True)
class Gather:
    """``result.flat[i] = x.flat[index[i]]``."""

    shape: Shape
    x: Read
    index: np.ndarray

    @property
    def reads(self) -> tuple[Read, ...]:
        """What it is made of."""
        return (self.x,)


@dataclass(frozen=True, eq=False, slots=True)
class Scatter:
    """``result.flat[index[i]] += x.flat[i]``, starting from zeros."""

    shape: Shape
    x: Read
    index: np.ndarray

    @property
    def reads(self) -> tuple[Read, ...]:
        """What it is made of."""
        return (self.x,)


@dataclass(frozen=True, eq=False, slots=True)
class Reduce:
    """The sum of x over some of its axes.

    Attributes
    ----------
    shape : tuple of int
    x : Read
    axes : tuple of int
        The axes of x that are summed.
    """

    shape: Shape
    x: Read
    axes: tuple[int, ...]

    @property
    def reads(self) -> tuple[Read, ...]:
        """What it is made of."""
        return (self.x,)


@dataclass(frozen=True, eq=False, slots=True)
class Contract:
    """A product of matrices with a constant, one for each entry of a batch.

    Attributes
    ----------
    shape : tuple of int
        (batch, rows, columns), or with `constant_first` (batch, columns, rows).
    x : Read
        Shape (batch, rows, inner).
    constant : ndarray, shape (batch, inner, columns)
    constant_first : bool
        ``result = (x @ constant)``, or its transpose ``constantᵀ @ xᵀ``.
    """

    shape: Shape
    x: Read
    constant: np.ndarray
    constant_first: bool

    @property
    def reads(self) -> tuple[Read, ...]:
        """What it is made of."""
        return (self.x,)


@dataclass(frozen=True, eq=False, slots=True)
class Opaque:
    """Primitives as they were recorded, run for one column at a time.

    Attributes
    ----------
    shape : tuple of int
    reads : tuple of Read
    function : callable
        Takes the arrays that are read, returns an array of this shape; made of autograd primitives.
    name : str
    """

    shape: Shape
    reads: tuple[Read, ...]
    function: Callable[..., Any]
    name: str


Instruction = Sum | Gather | Scatter | Reduce | Contract | Opaque


def with_reads(instruction: Instruction, reads: Sequence[Any]) -> Instruction:
    """The same instruction of other values; a Sum's are its terms."""
    if isinstance(instruction, Sum):
        return Sum(instruction.shape, tuple(reads))
    if isinstance(instruction, Opaque):
        return replace(instruction, reads=tuple(reads))
    return replace(instruction, x=reads[0])


def redirected(read: Read, value: int, view: View) -> Read:
    """The same read, or term, of another value."""
    # dataclasses.replace takes five times as long, and long programs are made of this.
    if isinstance(read, Term):
        return Term(value, view, read.factor, read.region)
    return Read(value, view)


@dataclass(frozen=True, eq=False, slots=True)
class Program:
    """A linear map from vectors of length `columns` to vectors of length `rows`.

    Attributes
    ----------
    columns : int
    instructions : tuple of Instruction
    dtype : numpy.dtype
        Of the argument, the result, the constants and everything in between.
    """

    columns: int
    instructions: tuple[Instruction, ...]
    dtype: np.dtype[Any]

    @property
    def rows(self) -> int:
        """The length of the result."""
        return prod(self.shape_of(len(self.instructions)))

    @property
    def flops(self) -> int:
        """Floating-point operations of one product; those of opaque instructions are not known."""
        return sum(flops(instruction) for instruction in self.instructions)

    @property
    def bytes_moved(self) -> int:
        """Bytes that one product reads and writes."""
        return self.dtype.itemsize * sum(moved(i) for i in self.instructions)

    @property
    def bytes_kept(self) -> int:
        """Bytes of the constants; memory that several of them share is counted once."""
        return memory_of(constant for i in self.instructions for constant in constants(i))

    def shape_of(self, value: int) -> Shape:
        """The shape of a value."""
        return self.instructions[value - 1].shape if value else (self.columns,)

    def __str__(self) -> str:
        # Printing is a room of its own, and rarely entered.
        from hessop.tape.printing import text_of

        return text_of(self)

    __repr__ = __str__


def constants(instruction: Instruction) -> Iterator[np.ndarray]:
    """The arrays that an instruction holds."""
    if isinstance(instruction, Sum):
        yield from (t.factor for t in instruction.terms if isinstance(t.factor, np.ndarray))
    elif isinstance(instruction, Contract):
        yield instruction.constant
    elif isinstance(instruction, Gather | Scatter):
        yield instruction.index


def flops(instruction: Instruction) -> int:
    """Multiplications and additions of an instruction for one column."""
    if isinstance(instruction, Sum):
        scaled = sum(t.view.size for t in instruction.terms if not _is_unit(t.factor))
        total = sum(term.view.size for term in instruction.terms)
        return scaled + max(0, total - prod(instruction.shape))
    if isinstance(instruction, Contract):
        columns: int = instruction.constant.shape[2]
        return 2 * instruction.x.view.size * columns
    if isinstance(instruction, Reduce | Scatter):
        return instruction.x.view.size
    return 0


def moved(instruction: Instruction) -> int:
    """Numbers that an instruction reads and writes for one column."""
    read: int = sum(read.view.size for read in instruction.reads)
    return read + sum(_distinct(c) for c in constants(instruction)) + prod(instruction.shape)


def memory_of(arrays: Any) -> int:
    """Bytes of memory behind some arrays, each piece counted once."""
    owners = {}
    for array in arrays:
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        owners[id(owner)] = owner.nbytes
    return sum(owners.values())


def instruction_sizes(program: Program) -> list[int]:
    """Entries of every value, the argument first."""
    return [program.columns, *(prod(i.shape) for i in program.instructions)]


def _distinct(array: np.ndarray) -> int:
    return prod(extent for extent, step in zip(array.shape, array.strides, strict=True) if step)


def _is_unit(factor: Factor) -> bool:
    return isinstance(factor, float) and abs(factor) == 1.0


def is_copy(instruction: Instruction) -> bool:
    """Whether it is nothing but a view of one value."""
    if not isinstance(instruction, Sum) or len(instruction.terms) != 1:
        return False
    (term,) = instruction.terms
    return (
        isinstance(term.factor, float)
        and term.factor == 1.0
        and term.region.is_whole(prod(instruction.shape))
    )
