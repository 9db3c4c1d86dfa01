"""The linear program, as a value.

Value 0 is the argument, a flat vector; instruction number i makes value i; the last one is the
result, a flat vector too. Every pass takes a program and returns another.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from hessop.tape.instructions import Instruction, constants, flops, memory_of, moved
from hessop.tape.printing import amount, instruction_lines
from hessop.tape.views import Shape

__all__ = ["Program", "instruction_sizes"]


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
        count = len(self.instructions)
        head = (
            f"linear program {self.columns:,} -> {self.rows:,}, {self.dtype}: "
            f"{count:,} instruction{'s' * (count != 1)}, {amount(self.flops, 'flop')}, "
            f"{amount(self.bytes_moved, 'B')} moved, {amount(self.bytes_kept, 'B')} of constants"
        )
        return "\n".join([head, *instruction_lines(self.columns, self.instructions, self.dtype)])

    __repr__ = __str__


def instruction_sizes(program: Program) -> list[int]:
    """Entries of every value, the argument first."""
    return [program.columns, *(prod(i.shape) for i in program.instructions)]
