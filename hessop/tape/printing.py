"""Instructions as text, one a line."""

from __future__ import annotations

from collections.abc import Sequence
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
    flops,
    is_copy,
    moved,
)
from hessop.tape.views import Shape, View

__all__ = ["amount", "instruction_lines"]


def instruction_lines(
    columns: int, instructions: Sequence[Instruction], dtype: np.dtype[Any]
) -> list[str]:
    """The instructions of a program, one a line.

    ``%3`` is a value, ``%3[10:20]`` a run of its entries, ``%3[5 + (1, 20)]`` one that begins at
    entry 5 and steps by 1 and 20 along its axes; ``c(20, 3)`` a constant of this shape.

    Parameters
    ----------
    columns : int
        The length of the argument.
    instructions : sequence of Instruction
    dtype : numpy.dtype
    """
    shapes = [(columns,), *(instruction.shape for instruction in instructions)]
    rows = [
        (
            f"%{number}",
            _name(instruction),
            str(instruction.shape),
            amount(flops(instruction), "flop"),
            amount(dtype.itemsize * moved(instruction), "B"),
            _text(shapes, instruction),
        )
        for number, instruction in enumerate(instructions, 1)
    ]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(5)]
    return [
        "  ".join(
            cell.rjust(width) if i in (3, 4) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        )
        + "  "
        + row[5]
        for row in rows
    ]


def amount(number: float, unit: str) -> str:
    """A number with a unit and its prefix: ``1.2 kB``."""
    for prefix in ("", "k", "M", "G", "T"):
        if number < 1000 or prefix == "T":
            break
        number /= 1000
    return f"{number:.3g} {prefix}{unit}"


def _name(instruction: Instruction) -> str:
    if not isinstance(instruction, Sum):
        return type(instruction).__name__.lower()
    if is_copy(instruction):
        return "view"
    size = prod(instruction.shape)
    if not all(term.region.is_whole(size) for term in instruction.terms):
        return "place"
    if not instruction.terms:
        return "zeros"
    return "scale" if len(instruction.terms) == 1 else "add"


def _text(shapes: Sequence[Shape], instruction: Instruction) -> str:
    if isinstance(instruction, Sum):
        return "  +  ".join(_term(shapes, term, instruction.shape) for term in instruction.terms)
    reads = ", ".join(_read(shapes, read) for read in instruction.reads)
    if isinstance(instruction, Contract):
        constant = f"c{_matrix(instruction.constant)}"
        return (
            f"{constant}.T @ {reads}.T" if instruction.constant_first else f"{reads} @ {constant}"
        )
    if isinstance(instruction, Reduce):
        return f"sum of {reads} over {', '.join(map(str, instruction.axes))}"
    if isinstance(instruction, Gather):
        return f"{reads} at {instruction.index.size:,} entries"
    if isinstance(instruction, Scatter):
        return f"{reads} into {instruction.index.size:,} entries"
    assert isinstance(instruction, Opaque)
    return f"{instruction.name}({reads})"


def _term(shapes: Sequence[Shape], term: Term, shape: Shape) -> str:
    text = _factor(term.factor) + _read(shapes, term)
    if term.region.is_whole(prod(shape)):
        return text
    return f"{_entries(term.region)} += {text}"


def _factor(factor: Factor) -> str:
    if isinstance(factor, np.ndarray):
        return f"c{_compact(factor)} * "
    return {1.0: "", -1.0: "-"}.get(factor, f"{factor:.6g} * ")


def _compact(factor: np.ndarray) -> str:
    return str(
        tuple([n if step else 1 for n, step in zip(factor.shape, factor.strides, strict=True)])
    )


def _matrix(constant: np.ndarray) -> str:
    return str(constant.shape if constant.shape[0] > 1 else constant.shape[1:])


def _read(shapes: Sequence[Shape], read: Read) -> str:
    shape = shapes[read.value]
    text = f"%{read.value}"
    if read.view.is_whole(prod(shape)):
        return text
    return f"{text}{_entries(read.view)}"


def _entries(view: View) -> str:
    if view.is_run:
        run = f"[{view.offset}:{view.offset + view.size}]"
        return run if len(view.shape) < 2 else f"{run}{view.shape}".replace(" ", "")
    start = f"{view.offset} + " if view.offset else ""
    return f"[{start}{view.strides}]{view.shape}".replace(", ", ",")
