"""Which entries of a program's result depend on which groups of its argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hessop.tape.instructions import Contract, Gather, Instruction, Opaque, Reduce, Scatter, Sum
from hessop.tape.program import Program, instruction_sizes
from hessop.tape.views import read

__all__ = ["depends_on"]

# The least and the largest group on which an entry depends; where it depends on none, the least is
# above the largest.
Span = tuple[np.ndarray, np.ndarray]


def depends_on(program: Program, groups: np.ndarray) -> Span:
    """The least and the largest group of the argument that each entry of the result depends on.

    Constants are not looked at, except that a scaling by zero cuts off. So the dependence may be
    less than this, never more.

    Parameters
    ----------
    program : Program
    groups : ndarray of int, shape (n,)
        The group of each entry of the argument, from 0.

    Returns
    -------
    least, largest : ndarray of int, shape (m,)
        Where an entry depends on nothing, the largest is -1, below the least.
    """
    none = int(groups.max()) + 1
    values: dict[int, Span] = {0: (groups, groups)}
    sizes = instruction_sizes(program)
    last_read = {one.value: i for i, ins in enumerate(program.instructions, 1) for one in ins.reads}
    for number, instruction in enumerate(program.instructions, 1):
        spans = [
            (read(one.view, values[one.value][0]), read(one.view, values[one.value][1]))
            for one in instruction.reads
        ]
        rule = _RULES[type(instruction)]
        values[number] = (
            np.ravel(rule(instruction, sizes[number], [low for low, _ in spans], np.minimum, none)),
            np.ravel(rule(instruction, sizes[number], [high for _, high in spans], np.maximum, -1)),
        )
        for one in instruction.reads:
            if last_read[one.value] == number:
                values.pop(one.value, None)
    return values[len(program.instructions)]


# Each rule combines one end of the spans that are read: the least ones with `minimum`, the largest
# with `maximum`; `empty` is the span of nothing.
Ends = list[np.ndarray]


def _sum(instruction: Sum, size: int, ends: Ends, combine: Any, empty: int) -> np.ndarray:
    result = np.full(size, empty)
    for term, end in zip(instruction.terms, ends, strict=True):
        region = read(term.region, result)
        reached = np.asarray(term.factor) != 0.0
        combine(region, np.where(reached, end, empty), out=region)
    return result


def _gather(instruction: Gather, size: int, ends: Ends, combine: Any, empty: int) -> np.ndarray:
    gathered: np.ndarray = np.ravel(ends[0])[instruction.index]
    return gathered


def _scatter(instruction: Scatter, size: int, ends: Ends, combine: Any, empty: int) -> np.ndarray:
    result = np.full(size, empty)
    combine.at(result, instruction.index, np.ravel(ends[0]))
    return result


def _reduce(instruction: Reduce, size: int, ends: Ends, combine: Any, empty: int) -> np.ndarray:
    reduced: np.ndarray = combine.reduce(ends[0], axis=instruction.axes, initial=empty)
    return reduced


def _contract(instruction: Contract, size: int, ends: Ends, combine: Any, empty: int) -> np.ndarray:
    batch, rows, _ = ends[0].shape
    columns = instruction.constant.shape[2]
    row = combine.reduce(ends[0], axis=2, initial=empty)[:, :, None]
    product = np.broadcast_to(row, (batch, rows, columns))
    return product.transpose(0, 2, 1) if instruction.constant_first else product


def _opaque(instruction: Opaque, size: int, ends: Ends, combine: Any, empty: int) -> np.ndarray:
    every = combine.reduce([combine.reduce(end, axis=None, initial=empty) for end in ends])
    return np.full(size, every)


_RULES: dict[type[Instruction], Callable[..., np.ndarray]] = {
    Sum: _sum,
    Gather: _gather,
    Scatter: _scatter,
    Reduce: _reduce,
    Contract: _contract,
    Opaque: _opaque,
}
