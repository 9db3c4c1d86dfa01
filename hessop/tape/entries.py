"""Every instruction as the sparse matrices that it multiplies values with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.sparse import coo_array, csr_array

from hessop.tape.instructions import Contract, Gather, Read, Reduce, Scatter, Sum
from hessop.tape.views import read

__all__ = ["count_entries", "instruction_entries", "instruction_matrices"]

# A value that is read, rows, columns and entries of its matrix; the latter may be broadcast.
Entries = Iterator[tuple[int, np.ndarray, np.ndarray, Any]]


def instruction_entries(instruction: Any, sizes: list[int]) -> Entries:
    """The entries of the matrices that an instruction multiplies values with, piece by piece.

    Entries at the same place are to be added.

    Parameters
    ----------
    instruction : Instruction
        Any but an opaque one.
    sizes : list of int
        Of all values.
    """
    return _ENTRIES[type(instruction)](instruction, sizes)


def instruction_matrices(
    instruction: Any, sizes: list[int], number: int, dtype: Any
) -> Iterator[tuple[int, csr_array]]:
    """For each value that an instruction reads, the matrix that it multiplies it with.

    Parameters
    ----------
    instruction : Instruction
        Any but an opaque one.
    sizes : list of int
        Of all values.
    number : int
        Of the instruction.
    dtype : dtype
    """
    pieces: dict[int, list[tuple[np.ndarray, np.ndarray, Any]]] = {}
    for value, rows, columns, entries in instruction_entries(instruction, sizes):
        entries = np.broadcast_to(np.asarray(entries, dtype=dtype), rows.shape)
        pieces.setdefault(value, []).append((rows, columns, entries))
    for value, some in pieces.items():
        rows, columns, entries = (np.concatenate([p[i].ravel() for p in some]) for i in range(3))
        matrix = coo_array((entries, (rows, columns)), shape=(sizes[number], sizes[value])).tocsr()
        matrix.eliminate_zeros()
        yield value, matrix


def count_entries(instruction: Any) -> int:
    """How many nonzeros these matrices have at most, without making them."""
    if isinstance(instruction, Contract):
        rows: int = instruction.x.view.shape[1]
        return rows * int(np.count_nonzero(instruction.constant))
    if isinstance(instruction, Gather):
        return len(instruction.index)
    return sum(one.view.size for one in instruction.reads)


def _positions(one: Read, sizes: list[int]) -> np.ndarray:
    """Where in its value a read takes every entry from."""
    return read(one.view, _count(sizes[one.value]))


def _count(size: int) -> np.ndarray:
    return np.arange(size, dtype=np.int32 if size < 2**31 else np.int64)


def _sum(instruction: Sum, sizes: list[int]) -> Entries:
    size = int(np.prod(instruction.shape))
    for term in instruction.terms:
        rows = read(term.region, _count(size))
        yield term.value, rows, _positions(term, sizes), term.factor


def _gather(instruction: Gather, sizes: list[int]) -> Entries:
    columns = _positions(instruction.x, sizes).ravel()[instruction.index]
    yield instruction.x.value, _count(len(columns)), columns, 1.0


def _scatter(instruction: Scatter, sizes: list[int]) -> Entries:
    columns = _positions(instruction.x, sizes).ravel()
    yield instruction.x.value, instruction.index, columns, 1.0


def _reduce(instruction: Reduce, sizes: list[int]) -> Entries:
    columns = _positions(instruction.x, sizes)
    kept = iter(instruction.shape)
    shape = [1 if axis in instruction.axes else next(kept) for axis in range(columns.ndim)]
    rows = np.broadcast_to(_count(int(np.prod(shape))).reshape(shape), columns.shape)
    yield instruction.x.value, rows, columns, 1.0


def _contract(instruction: Contract, sizes: list[int]) -> Entries:
    batch, rows, _ = instruction.x.view.shape
    columns = instruction.constant.shape[2]
    # Of all combinations (batch, inner, columns), only those where the constant is not zero.
    b, i, c = np.nonzero(instruction.constant)
    of_x = _positions(instruction.x, sizes)[b, :, i]
    if instruction.constant_first:
        numbers = _count(batch * columns * rows).reshape(batch, columns, rows)[b, c, :]
    else:
        numbers = _count(batch * rows * columns).reshape(batch, rows, columns)[b, :, c]
    yield instruction.x.value, numbers, of_x, instruction.constant[b, i, c][:, None]


_ENTRIES: dict[type, Callable[[Any, list[int]], Entries]] = {
    Sum: _sum,
    Gather: _gather,
    Scatter: _scatter,
    Reduce: _reduce,
    Contract: _contract,
}
