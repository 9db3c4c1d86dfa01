"""A program as one sparse linear system in all its values.

A program computes ``y_1 = M_10 v``, ``y_2 = M_20 v + M_21 y_1``, ... one after the other. Written
as equations, they hold all at once, and nothing says that v has to be known: with the last of them
set to b, the v that leads there is an unknown among the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from scipy.sparse import coo_array, csc_array

from hessop.tape.entries import count_entries, instruction_entries
from hessop.tape.instructions import Opaque
from hessop.tape.program import Program, instruction_sizes
from hessop.tape.sparse import PROBED_COLUMNS, sparse_values
from hessop.tape.views import read

__all__ = ["LinearSystem", "linear_system"]

# Entries that an opaque instruction may read to be run for each of them.
_PROBED_ENTRIES = 2048


@dataclass(frozen=True, eq=False)
class LinearSystem:
    """``matrix @ [v, y] = [0, b]``, solved by the v that the program takes to b, damped.

    Attributes
    ----------
    matrix : csc_array, shape (N, N)
        The columns are v and all values; the rows are the instructions, and the demand that
        the result, and `damping` times v, be b.
    columns : int
        n, the length of v and b.
    sign : int
        ``det(matrix) = sign * det(A + damping I)``, where A is the program's matrix.
    """

    matrix: csc_array
    columns: int
    sign: int

    def right_side(self, b: np.ndarray) -> np.ndarray:
        """``[0, b]`` for a block b of shape (n, k)."""
        side = np.zeros((self.matrix.shape[0], b.shape[1]))
        side[-self.columns :] = b
        return side

    def argument(self, solution: np.ndarray) -> np.ndarray:
        """v, shape (n, k), of a solution."""
        return solution[: self.columns]


def linear_system(program: Program, damping: float, max_nnz: int) -> LinearSystem:
    """The sparse system of a program with as many rows as columns.

    Parameters
    ----------
    program : Program
    damping : float
    max_nnz : int
        The most nonzeros that its matrix may have.

    Raises
    ------
    ValueError
        When there would be more; when an opaque instruction reads too much to be made a matrix.

    Notes
    -----
    In the order (y, v) of the columns, the matrix is ``[[T, -B], [C, damping I]]`` with T
    triangular with a unit diagonal. Its determinant is that of the Schur complement,
    ``damping I + C T⁻¹ B``, which is the damped matrix of the program.
    """
    sizes = instruction_sizes(program)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    n, size = sizes[0], int(starts[-1])
    lowered = [i for i in program.instructions if not isinstance(i, Opaque)]
    count = sum(map(count_entries, lowered)) + size
    if count > max_nnz:
        raise ValueError(
            f"the system of all {size:,} values of the program has {count:,} nonzeros, more than "
            f"max_nnz={max_nnz:,}. Allow more if they fit in memory. Solve with products alone: "
            "solve(A, b), or inverse_operator(A)."
        )
    of_opaque = _entries_of_opaque(program, sizes, max_nnz)

    pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def put(row: int, column: int, rows: Any, columns: Any, entries: Any) -> None:
        entries = np.broadcast_to(np.asarray(entries, dtype=np.float64), rows.shape)
        pieces.append((rows.ravel() + row, columns.ravel() + column, entries.ravel()))

    for number, instruction in enumerate(program.instructions, 1):
        found = of_opaque.get(number) or instruction_entries(instruction, sizes)
        for value, rows, columns, entries in found:
            put(starts[number] - n, starts[value], rows, columns, np.negative(entries))
    own = np.arange(size - n)
    put(0, n, own, own, 1.0)
    put(size - n, starts[-2], own[:n], own[:n], 1.0)
    if damping:
        put(size - n, 0, np.arange(n), np.arange(n), damping)
    rows, columns, entries = (np.concatenate([one[i] for one in pieces]) for i in range(3))
    matrix = coo_array((entries, (rows, columns)), shape=(size, size)).tocsc()
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    # The n columns of v are moved past all others.
    return LinearSystem(matrix, n, -1 if n * (size - n) % 2 else 1)


def _entries_of_opaque(
    program: Program, sizes: list[int], max_nnz: int
) -> dict[int, list[tuple[int, Any, Any, Any]]]:
    """For each opaque instruction what `instruction_entries` gives for the others."""
    numbers = {i for i, ins in enumerate(program.instructions, 1) if isinstance(ins, Opaque)}
    if not numbers:
        return {}
    if program.columns <= PROBED_COLUMNS:
        # All that they read depends on few numbers: those of the argument.
        values = sparse_values(program, numbers, max_nnz)
        return {number: [(0, *_coordinates(values[number]))] for number in numbers}
    return {number: _by_units(program, number, sizes) for number in numbers}


def _by_units(program: Program, number: int, sizes: list[int]) -> list[tuple[int, Any, Any, Any]]:
    """The entries of an opaque instruction's matrices, by a run for each number that it reads."""
    instruction: Any = program.instructions[number - 1]
    values = list(dict.fromkeys(one.value for one in instruction.reads))
    count = sum(sizes[value] for value in values)
    if count > _PROBED_ENTRIES:
        raise ValueError(
            f"{instruction.name} is not lowered to linear instructions, and reads {count:,} "
            f"numbers, more than the {_PROBED_ENTRIES:,} for which its matrix is found. Solve "
            "with products, or write it with other functions of NumPy."
        )
    found = []
    for value in values:
        buffers = {other: np.zeros(sizes[other], dtype=program.dtype) for other in values}
        columns = np.empty((prod(instruction.shape), sizes[value]))
        for entry in range(sizes[value]):
            buffers[value][entry] = 1.0
            arrays = [read(one.view, buffers[one.value]) for one in instruction.reads]
            columns[:, entry] = np.ravel(instruction.function(*arrays))
            buffers[value][entry] = 0.0
        found.append((value, *_coordinates(coo_array(columns))))
    return found


def _coordinates(matrix: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and entries."""
    found = matrix.tocoo()
    return (*found.coords, found.data)
