"""Where every value of a program lives while it is played."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod

import numpy as np

from hessop.tape.instructions import Opaque, Sum
from hessop.tape.program import Program, instruction_sizes
from hessop.tape.views import read

__all__ = ["ARGUMENT", "RESULT", "Home", "Plan", "plan"]

ARGUMENT = "argument"
RESULT = "result"


@dataclass(frozen=True, slots=True)
class Home:
    """A buffer, by its number or name, and the entry where a value begins in it."""

    buffer: int | str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Buffers and who lives in them.

    Attributes
    ----------
    homes : tuple of Home
        One for every value, the argument first.
    sizes : tuple of int
        Entries of every buffer; argument and result are not counted.
    """

    homes: tuple[Home, ...]
    sizes: tuple[int, ...]


def plan(program: Program) -> Plan:
    """Give every value a home: a buffer is free again after its value was read for the last time.

    A value that goes unchanged into a run of the result is made there. A sum takes the place of a
    term that nobody reads after it.
    """
    sizes = instruction_sizes(program)
    last_read = [0] * len(sizes)
    for number, instruction in enumerate(program.instructions, 1):
        for one in instruction.reads:
            last_read[one.value] = number
    homes: dict[int, Home] = {0: Home(ARGUMENT), len(sizes) - 1: Home(RESULT)}
    homes.update(_within_result(program, sizes))
    buffers: list[int] = []
    free: list[int] = []
    replaced: set[int] = set()
    for number, instruction in enumerate(program.instructions, 1):
        if number not in homes:
            taken = _replaced(program, number, last_read, homes)
            if taken is None:
                homes[number] = Home(_take(sizes[number], buffers, free))
            else:
                homes[number] = homes[taken]
                replaced.add(taken)
        # Only now, so that nothing but a sum writes over what it reads.
        for value in {one.value for one in instruction.reads}:
            home = homes[value].buffer
            if last_read[value] == number and isinstance(home, int) and value not in replaced:
                free.append(home)
    return Plan(tuple(homes[value] for value in range(len(sizes))), tuple(buffers))


def _take(size: int, buffers: list[int], free: list[int]) -> int:
    """The tightest free buffer that is large enough; else the largest, grown; else a new one."""
    if not free:
        buffers.append(size)
        return len(buffers) - 1
    enough = [buffer for buffer in free if buffers[buffer] >= size]
    best = min(enough, key=buffers.__getitem__) if enough else max(free, key=buffers.__getitem__)
    free.remove(best)
    buffers[best] = max(buffers[best], size)
    return best


def _within_result(program: Program, sizes: list[int]) -> dict[int, Home]:
    """Values that are one whole term of the result, alone in a run of it when they get there."""
    last = program.instructions[-1] if program.instructions else None
    if not isinstance(last, Sum):
        return {}
    uses = Counter(one.value for i in program.instructions for one in i.reads)
    homes: dict[int, Home] = {}
    made = np.zeros(program.rows, dtype=int)
    for term in last.terms:
        read(term.region, made)[...] += 1
    shared = {term.region for term in last.terms if (read(term.region, made) > 1).any()}
    for term in last.terms:
        if (
            term.value
            and term.region not in shared
            and uses[term.value] == 1
            and isinstance(term.factor, float)
            and term.factor == 1.0
            and term.region.is_run
            and term.view.is_whole(sizes[term.value])
            and not isinstance(program.instructions[term.value - 1], Opaque)
        ):
            homes[term.value] = Home(RESULT, term.region.offset)
    return homes


def _replaced(
    program: Program, number: int, last_read: list[int], homes: dict[int, Home]
) -> int | None:
    """The term that a sum may write over."""
    instruction = program.instructions[number - 1]
    if not isinstance(instruction, Sum):
        return None
    size = prod(instruction.shape)
    read_once = Counter(term.value for term in instruction.terms)
    for term in instruction.terms:
        if (
            last_read[term.value] == number
            and read_once[term.value] == 1
            and isinstance(homes[term.value].buffer, int)
            and term.region.is_whole(size)
            and term.view.is_whole(size)
        ):
            return term.value
    return None
