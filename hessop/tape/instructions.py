"""The instructions of a linear program, each a linear function of the values before it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
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
    "Read",
    "Reduce",
    "Scatter",
    "Sum",
    "Term",
    "constants",
    "distinct_entries",
    "flops",
    "is_copy",
    "memory_of",
    "moved",
    "redirected",
    "with_reads",
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
class _OfOne:
    """An instruction of one value."""

    shape: Shape
    x: Read

    @property
    def reads(self) -> tuple[Read, ...]:
        """What it is made of."""
        return (self.x,)


@dataclass(frozen=True, eq=False, slots=True)
class Gather(_OfOne):
    """``result.flat[i] = x.flat[index[i]]``."""

    index: np.ndarray


@dataclass(frozen=True, eq=False, slots=True)
class Scatter(_OfOne):
    """``result.flat[index[i]] += x.flat[i]``, starting from zeros."""

    index: np.ndarray


@dataclass(frozen=True, eq=False, slots=True)
class Reduce(_OfOne):
    """The sum of x over some of its axes."""

    axes: tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Contract(_OfOne):
    """A product of matrices with a constant, one for each entry of a batch.

    x has the shape (batch, rows, inner), the constant (batch, inner, columns). The result is
    ``x @ constant``, or with `constant_first` its transpose ``constantᵀ @ xᵀ``; it may be given
    another shape of the same size.
    """

    constant: np.ndarray
    constant_first: bool


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
    key : hashable
        Equal for functions that compute the same.
    """

    shape: Shape
    reads: tuple[Read, ...]
    function: Callable[..., Any]
    name: str
    key: Hashable


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
    return read + sum(distinct_entries(c) for c in constants(instruction)) + prod(instruction.shape)


def memory_of(arrays: Any) -> int:
    """Bytes of memory behind some arrays, each piece counted once."""
    owners = {}
    for array in arrays:
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        owners[id(owner)] = owner.nbytes
    return sum(owners.values())


def distinct_entries(*arrays: np.ndarray) -> int:
    """How many entries arrays of one shape have together, those that repeat counted once."""
    steps = zip(*(array.strides for array in arrays), strict=True)
    return prod(n for n, some in zip(arrays[0].shape, steps, strict=True) if any(some))


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
