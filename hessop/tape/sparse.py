"""Play a program on a sparse identity: the exact matrix, without colouring and without probing."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array, csr_array, eye_array, vstack

from hessop.tape.entries import count_entries, instruction_matrices
from hessop.tape.instructions import Contract, Opaque
from hessop.tape.program import Program, instruction_sizes
from hessop.tape.views import read

__all__ = ["PROBED_COLUMNS", "refuse_if_full", "sparse_matrix", "sparse_values"]

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
    last = len(program.instructions)
    result = sparse_values(program, {last}, max_nnz)[last]
    result.sum_duplicates()
    result.eliminate_zeros()
    return result


def sparse_values(program: Program, wanted: set[int], max_nnz: int) -> dict[int, csr_array]:
    """Values of a program as matrices that multiply its argument; see `sparse_matrix`.

    Parameters
    ----------
    program : Program
    wanted : set of int
        The numbers of the values.
    max_nnz : int
    """
    sizes = instruction_sizes(program)
    needed = _needed_for(program, wanted)
    last_read = {
        read.value: number
        for number in sorted(needed - {0})
        for read in program.instructions[number - 1].reads
    }
    values: dict[int, csr_array] = {0: eye_array(sizes[0], dtype=program.dtype, format="csr")}
    for number in sorted(needed - {0}):
        instruction = program.instructions[number - 1]
        last = number == len(program.instructions)
        where = "in the result" if last else f"in %{number}, a value on the way to the result"
        if isinstance(instruction, Opaque):
            value = _probed(instruction, program, values)
        else:
            value = csr_array((sizes[number], program.columns), dtype=program.dtype)
            if isinstance(instruction, Contract):
                refuse_if_full(count_entries(instruction), max_nnz, where)
            for source, matrix in instruction_matrices(instruction, sizes, number, program.dtype):
                product = _product(matrix, values[source], source == 0, max_nnz, where)
                value = product if value.nnz == 0 else value + product
        refuse_if_full(value.nnz, max_nnz, where)
        values[number] = value
        for one in instruction.reads:
            if last_read[one.value] == number and one.value not in wanted:
                values.pop(one.value, None)
    return values


def _needed_for(program: Program, wanted: set[int]) -> set[int]:
    """These values, and all that they are made of."""
    needed = set(wanted)
    for number in range(max(wanted), 0, -1):
        if number in needed:
            needed.update(one.value for one in program.instructions[number - 1].reads)
    return needed


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
