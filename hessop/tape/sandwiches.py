"""``Xᵀ (w ∘ (X v))`` with a large X, read from memory once instead of twice.

Statistical models are full of this. Each half reads all of X, and where X is larger than the cache,
to read it is what takes the time. So both halves are computed for one piece of its rows at a time.
"""

from __future__ import annotations

from functools import partial
from math import prod

import numpy as np

from hessop.tape.instructions import Contract, Factor, Read, Sum
from hessop.tape.program import Program

__all__ = ["sandwich_at"]

# Bytes of a constant that is larger than the caches, and of the pieces that it is read in.
_LARGE = 2**25
_PIECE = 2**22


def sandwich_at(program: Program, number: int) -> partial[None] | None:
    """The function that computes instruction `number` and the two after it, if they are one.

    It takes the vector x, memory for all of ``w ∘ (X v)``, memory for one result, and the result.
    """
    triple = program.instructions[number - 1 : number + 2]
    if len(triple) < 3:
        return None
    first, scale, last = triple
    if not (isinstance(first, Contract) and isinstance(scale, Sum) and isinstance(last, Contract)):
        return None
    size = first.constant.shape[2]
    if (
        first.constant.nbytes < _LARGE
        or first.x.view.shape[:2] != (1, 1)
        or last.x.view.shape != (1, 1, size)
        or prod(scale.shape) != size
        or len(scale.terms) != 1
        or not scale.terms[0].region.is_whole(size)
        or not _reads_all(scale.terms[0], number, size)
        or not _reads_all(last.x, number + 1, size)
        or any(
            read.value in (number, number + 1)
            for later in program.instructions[number + 2 :]
            for read in later.reads
        )
    ):
        return None
    return partial(_run, first.constant[0].T, scale.terms[0].factor, last.constant[0])


def _reads_all(read: Read, value: int, size: int) -> bool:
    return read.value == value and read.view.is_whole(size)


def _run(
    A: np.ndarray,
    factor: Factor,
    B: np.ndarray,
    x: np.ndarray,
    z: np.ndarray,
    more: np.ndarray,
    out: np.ndarray,
) -> None:
    rows = max(1, _PIECE // A[0].nbytes)
    weights = factor if isinstance(factor, float) else factor.reshape(-1)
    for start in range(0, len(A), rows):
        piece = slice(start, start + rows)
        part = z[piece]
        np.dot(A[piece], x, part)
        part *= weights if isinstance(weights, float) else weights[piece]
        if start == 0:
            np.dot(part, B[piece], out)
        else:
            np.dot(part, B[piece], more)
            out += more
