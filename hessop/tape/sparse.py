"""Play a program on a sparse identity: the exact matrix, without colouring and without probing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.sparse import coo_array, csr_array, eye_array, vstack

from hessop.tape.instructions import Contract, Gather, Opaque, Read, Reduce, Scatter, Sum
from hessop.tape.program import Program, instruction_sizes
from hessop.tape.views import read

__all__ = ["PROBED_COLUMNS", "refuse_if_full", "sparse_matrix"]

#: An opaque instruction is run for one column at a time, for no more columns than this.
PROBED_COLUMNS = 256


def sparse_matrix(program: Program, max_nnz: int) -> csr_array:
    """The matrix of a program.

    Every instruction is itself a sparse matrix, and the values are matrices with as many columns as
    the program. The time is that of their sparse products: proportional to the nonzeros met.

    Parameters
    ----------
    program : Program
    max_nnz : int
        The most nonzeros that the matrix, or any value on the way, may have.

    Returns
    -------
    scipy.sparse.csr_array, shape (m, n)
        With sorted indices and without stored zeros.

    Raises
    ------
    ValueError
        When there are more nonzeros, with the count so far; when an opaque instruction depends on
        too many columns, with its name.
    """
    sizes = instruction_sizes(program)
    last_read = {
        read.value: i for i, ins in enumerate(program.instructions, 1) for read in ins.reads
    }
    values: dict[int, csr_array] = {0: eye_array(sizes[0], dtype=program.dtype, format="csr")}
    for number, instruction in enumerate(program.instructions, 1):
        last = number == len(program.instructions)
        where = "in the result" if last else f"in %{number}, a value on the way to the result"
        if isinstance(instruction, Opaque):
            value = _probed(instruction, program, values)
        else:
            value = csr_array((sizes[number], program.columns), dtype=program.dtype)
            if isinstance(instruction, Contract):
                rows = instruction.x.view.shape[1]
                entries = rows * int(np.count_nonzero(instruction.constant))
                refuse_if_full(entries, max_nnz, where)
            for source, matrix in _matrices(instruction, sizes, number, program.dtype):
                product = _product(matrix, values[source], source == 0, max_nnz, where)
                value = product if value.nnz == 0 else value + product
        refuse_if_full(value.nnz, max_nnz, where)
        values[number] = value
        for one in instruction.reads:
            if last_read[one.value] == number:
                values.pop(one.value, None)
    result = values[len(program.instructions)]
    result.sum_duplicates()
    result.eliminate_zeros()
    return result


def _matrices(
    instruction: Any, sizes: list[int], number: int, dtype: Any
) -> Iterator[tuple[int, csr_array]]:
    """For each value that an instruction reads, the matrix that it multiplies it with."""
    pieces: dict[int, list[tuple[np.ndarray, np.ndarray, Any]]] = {}
    for value, rows, columns, entries in _ENTRIES[type(instruction)](instruction, sizes):
        entries = np.broadcast_to(np.asarray(entries, dtype=dtype), rows.shape)
        pieces.setdefault(value, []).append((rows, columns, entries))
    for value, some in pieces.items():
        rows, columns, entries = (np.concatenate([p[i].ravel() for p in some]) for i in range(3))
        matrix = coo_array((entries, (rows, columns)), shape=(sizes[number], sizes[value])).tocsr()
        matrix.eliminate_zeros()
        yield value, matrix


def _product(
    matrix: csr_array, value: csr_array, is_identity: bool, max_nnz: int, where: str
) -> csr_array:
    """``matrix @ value``, in pieces where all of it might be too much."""
    if is_identity:
        return matrix
    counts = np.diff(value.indptr).astype(np.int64)
    bound = np.add.reduceat(
        np.append(counts[matrix.indices], 0), np.minimum(matrix.indptr[:-1], matrix.nnz)
    )
    bound[np.diff(matrix.indptr) == 0] = 0
    ends = np.cumsum(bound)
    if not len(ends) or ends[-1] <= max_nnz:
        return matrix @ value
    pieces, start, count = [], 0, 0
    while start < matrix.shape[0]:
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + max_nnz, side="right")))
        pieces.append(matrix[start:stop] @ value)
        count += pieces[-1].nnz
        refuse_if_full(count, max_nnz, where)
        start = stop
    return vstack(pieces, format="csr")


def refuse_if_full(count: int, max_nnz: int, where: str = "in the result") -> None:
    """Raise a ValueError when a matrix has too many nonzeros."""
    if count > max_nnz:
        raise ValueError(
            f"the matrix is not sparse enough: {count:,} nonzeros so far, {where}, more than "
            f"max_nnz={max_nnz:,}. Allow more if they fit in memory, use to_dense, or solve with "
            "products alone."
        )


def _probed(instruction: Opaque, program: Program, values: dict[int, csr_array]) -> csr_array:
    entering = [values[one.value] for one in instruction.reads]
    columns = np.unique(np.concatenate([value.indices for value in entering]))
    if len(columns) > PROBED_COLUMNS:
        raise ValueError(
            f"{instruction.name} is not lowered to linear instructions, and "
            f"{len(columns):,} columns enter it, more than the {PROBED_COLUMNS} that are probed. "
            "Use products, or to_dense."
        )
    shape = (int(np.prod(instruction.shape)), program.columns)
    if not len(columns):
        return csr_array(shape, dtype=program.dtype)
    dense = [value[:, columns].toarray().T.copy() for value in entering]
    found = []
    for column, *buffers in zip(columns, *dense, strict=True):
        pairs = zip(instruction.reads, buffers, strict=True)
        result = np.ravel(instruction.function(*(read(one.view, buffer) for one, buffer in pairs)))
        rows = np.flatnonzero(result)
        found.append((result[rows], rows, np.full(len(rows), column)))
    entries, rows, numbers = (np.concatenate([some[i] for some in found]) for i in range(3))
    matrix: csr_array = coo_array((entries, (rows, numbers)), shape=shape).tocsr()
    return matrix.astype(program.dtype, copy=False)


# --- entries of an instruction's matrix -----------------------------------------------------------

Entries = Iterator[tuple[int, np.ndarray, np.ndarray, Any]]


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
