"""What makes a program shorter and faster without changing its result beyond rounding.

Each pass takes a program and returns one, in time proportional to its length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from hessop.tape.folding import fold_sums
from hessop.tape.instructions import (
    Contract,
    Instruction,
    Opaque,
    Read,
    Reduce,
    Sum,
    constants,
    distinct_entries,
    is_copy,
    redirected,
    with_reads,
)
from hessop.tape.program import Program
from hessop.tape.views import compose, whole

__all__ = [
    "PASSES",
    "collapse_views",
    "contract_scalings",
    "delay",
    "drop_dead",
    "optimize",
    "share",
]


def optimize(program: Program) -> Program:
    """All passes, one after the other."""
    for one_pass in PASSES:
        program = one_pass(program)
    return program


def drop_dead(program: Program) -> Program:
    """Leave out what the result does not depend on."""
    alive = _alive(program.instructions)
    number = {0: 0}
    kept: list[Instruction] = []
    for value, instruction in enumerate(program.instructions, 1):
        if alive[value]:
            kept.append(_renumber(instruction, number))
            number[value] = len(kept)
    return replace(program, instructions=tuple(kept))


def share(program: Program) -> Program:
    """Compute equal subterms once."""
    number = {0: 0}
    kept: list[Instruction] = []
    known: dict[Hashable, int] = {}
    for value, instruction in enumerate(program.instructions, 1):
        renumbered = _renumber(instruction, number)
        key = _key(renumbered)
        if value == len(program.instructions) or key not in known:
            kept.append(renumbered)
            known[key] = len(kept)
        number[value] = known[key]
    return replace(program, instructions=tuple(kept))


def collapse_views(program: Program) -> Program:
    """Read through views of views, and views of views of those, as one view of the value below."""
    instructions: list[Instruction] = []
    for instruction in program.instructions:
        before = instruction.reads
        reads = [_collapsed(one, instructions) for one in before]
        if any(new is not old for new, old in zip(reads, before, strict=True)):
            instruction = with_reads(instruction, reads)
        instructions.append(instruction)
    return replace(program, instructions=tuple(instructions))


def delay(program: Program) -> Program:
    """Compute what only needs the argument when it is first read, so that less waits in buffers."""
    order: list[int] = []
    waiting: set[int] = set()
    for value, instruction in enumerate(program.instructions, 1):
        values = dict.fromkeys(one.value for one in instruction.reads)
        if not any(values) and value < len(program.instructions):
            waiting.add(value)
            continue
        for needed in values:
            if needed in waiting:
                waiting.remove(needed)
                order.append(needed)
        order.append(value)
    number = {0: 0} | {value: i for i, value in enumerate(order, 1)}
    moved = [_renumber(program.instructions[value - 1], number) for value in order]
    return replace(program, instructions=tuple(moved))


def contract_scalings(program: Program) -> Program:
    """Where a sum over axes is all that is made of a scaled value, multiply and add in one go."""
    old = program.instructions
    uses = Counter(read.value for instruction in old for read in instruction.reads)
    new: list[Instruction] = []
    for instruction in old:
        new.append(instruction)
        if isinstance(instruction, Reduce) and uses[instruction.x.value] == 1:
            inner = old[instruction.x.value - 1] if instruction.x.value else None
            contraction = _as_contraction(instruction, inner)
            if contraction is not None:
                new[-1] = contraction
    return replace(program, instructions=tuple(new))


# --- views ----------------------------------------------------------------------------------------


def _collapsed(one: Read, instructions: Sequence[Instruction]) -> Read:
    while one.value:
        instruction = instructions[one.value - 1]
        if not is_copy(instruction):
            break
        (inner,) = instruction.reads
        view = compose(one.view, inner.view)
        if view is None:
            break
        one = redirected(one, inner.value, view)
    return one


# --- contractions ---------------------------------------------------------------------------------


def _as_contraction(reduction: Reduce, inner: Instruction | None) -> Contract | None:
    if not isinstance(inner, Sum) or len(inner.terms) != 1:
        return None
    (term,) = inner.terms
    ndim = len(inner.shape)
    kept = ndim - len(reduction.axes)
    if (
        not isinstance(term.factor, np.ndarray)
        or not term.region.is_whole(prod(inner.shape))
        or not reduction.x.view.is_whole(prod(inner.shape))
        or len(reduction.x.view.shape) != ndim
        or reduction.axes != tuple(range(kept, ndim))  # only where they are the last
        or distinct_entries(term.factor) < term.view.size
    ):
        return None
    batch, summed = reduction.shape, inner.shape[kept:]
    shape = (prod(batch), 1, prod(summed))
    shaped = compose(whole(shape), term.view)
    if shaped is None:
        return None
    constant = term.factor.reshape(shape[0], shape[2], 1)
    return Contract(batch, Read(term.value, shaped), constant, False)


# --- all passes -----------------------------------------------------------------------------------


def _renumber(instruction: Instruction, number: dict[int, int]) -> Instruction:
    reads = instruction.reads
    if all(number[one.value] == one.value for one in reads):
        return instruction
    return with_reads(instruction, [redirected(r, number[r.value], r.view) for r in reads])


def _alive(instructions: Sequence[Instruction]) -> list[bool]:
    alive = [False] * len(instructions) + [True]
    for value in range(len(instructions), 0, -1):
        if alive[value]:
            for one in instructions[value - 1].reads:
                alive[one.value] = True
    return alive


def _key(instruction: Instruction) -> Hashable:
    """Equal for instructions that compute the same from the same."""
    where = tuple(
        (a.__array_interface__["data"][0], a.shape, a.strides) for a in constants(instruction)
    )
    reads: tuple[Hashable, ...] = tuple((one.value, one.view) for one in instruction.reads)
    own: tuple[Hashable, ...] = ()
    if isinstance(instruction, Sum):
        own = tuple(
            (term.region, term.factor if isinstance(term.factor, float) else None)
            for term in instruction.terms
        )
    elif isinstance(instruction, Contract):
        own = (instruction.constant_first,)
    elif isinstance(instruction, Reduce):
        own = instruction.axes
    elif isinstance(instruction, Opaque):
        own = (instruction.key,)
    return type(instruction), instruction.shape, reads, own, where


PASSES = (
    collapse_views,
    share,
    drop_dead,
    fold_sums,
    drop_dead,
    collapse_views,
    fold_sums,  # some sums are used once only now
    drop_dead,
    contract_scalings,
    drop_dead,
    delay,
)
