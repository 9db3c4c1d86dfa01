"""Play a program: on one vector, and on a block of columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hessop.tape.buffers import ARGUMENT, RESULT, plan
from hessop.tape.program import Program
from hessop.tape.steps import SCRATCH, Place, Step, steps_of
from hessop.tape.views import read

__all__ = ["MATRIX_COLUMNS", "Player"]

#: A program of no more columns than this is played as a matrix, where that has less work to do.
MATRIX_COLUMNS = 64
# Shorter vectors are copied in and out, so that all steps stay bound to the same memory.
_COPIED = 2**15
# Bytes of all buffers for the columns that are played together: what the cache holds. Constants
# beyond the cache are read again for every such group, which then had better be larger.
_BLOCK_BYTES = 2**20
_MOST_BLOCK_BYTES = 2**25
# Fewer columns than this are played faster one by one.
_FEW = 4
# Workspaces that are kept between products, for several threads; of large ones only the last.
_KEPT = 4
_KEPT_BYTES = 2**22


class Player:
    """A program ready to be played, by several threads at once.

    Parameters
    ----------
    program : Program
    as_matrix : bool
        Whether a program of few columns may be played as its matrix.

    Attributes
    ----------
    matrix : ndarray or None
        The whole matrix where that is how products are computed, shape (m, n).
    """

    def __init__(self, program: Program, *, as_matrix: bool = True) -> None:
        self.program = program
        self.matrix: np.ndarray | None = None
        self._plan = plan(program)
        bytes_kept = program.bytes_kept
        self._block_bytes = min(max(_BLOCK_BYTES, bytes_kept // 4), _MOST_BLOCK_BYTES)
        # list.pop and list.append are atomic: a workspace is in one thread's hands at a time.
        self._free: list[_Workspace] = []
        entries = program.rows * program.columns
        small = as_matrix and program.columns <= MATRIX_COLUMNS
        if small and entries <= max(MATRIX_COLUMNS**2, program.flops):
            identity = np.eye(program.columns, dtype=program.dtype)
            self.matrix = np.ascontiguousarray(self.block(identity))
            self.rest()

    def __call__(self, v: np.ndarray) -> np.ndarray:
        """The product with v of shape (n,), as a fresh vector."""
        if self.matrix is not None:
            product: np.ndarray = self.matrix.dot(v)
            return product
        workspace = self._workspace(None)
        result = workspace.play(v)
        self._give_back(workspace)
        return result

    def block(self, V: np.ndarray) -> np.ndarray:
        """The product with a block of columns, shape (n, k)."""
        if self.matrix is not None:
            product: np.ndarray = self.matrix @ V
            return product
        rows = np.ascontiguousarray(V.T)
        result = np.empty((len(rows), self.program.rows), dtype=self.program.dtype)
        together = max(1, self._block_bytes // self._bytes_of_column())
        for start in range(0, len(rows), together):
            stop = min(start + together, len(rows))
            if stop - start < _FEW:
                workspace = self._workspace(None)
                for row, product in zip(rows[start:stop], result[start:stop], strict=True):
                    workspace.play_into(row, product)
            else:
                workspace = self._workspace(stop - start)
                workspace.play_into(rows[start:stop], result[start:stop])
            self._give_back(workspace)
        return result.T

    def _bytes_of_column(self) -> int:
        entries = self.program.columns + self.program.rows + sum(self._plan.sizes)
        return entries * self.program.dtype.itemsize

    def _workspace(self, columns: int | None) -> _Workspace:
        for i, workspace in enumerate(self._free):
            if workspace.columns == columns:
                try:
                    taken = self._free.pop(i)
                except IndexError:
                    break
                if taken.columns == columns:
                    return taken
                self._free.append(taken)  # another thread was quicker
                break
        steps, scratch = steps_of(self.program, self._plan, columns)
        return _Workspace(self.program, self._plan.sizes, scratch, steps, columns)

    def _give_back(self, workspace: _Workspace) -> None:
        self._free.append(workspace)
        kept = self._free[:]
        while len(kept) > 1 and (
            len(kept) > _KEPT or sum(one.nbytes for one in kept) > _KEPT_BYTES
        ):
            kept = kept[1:]  # the one that was used longest ago
            self._free = kept

    def rest(self) -> None:
        """Let go of the memory that was worked in; the next product takes it again."""
        self._free = []


class _Workspace:
    """Memory to play a program in, and its steps bound to that memory.

    Attributes
    ----------
    columns : int or None
        How many vectors it plays together; None for one.
    nbytes : int
        Of the buffers.
    """

    def __init__(
        self,
        program: Program,
        sizes: Sequence[int],
        scratch: int,
        steps: Sequence[Step],
        columns: int | None,
    ) -> None:
        lead = () if columns is None else (columns,)
        dtype = program.dtype
        self.columns = columns
        self.nbytes = dtype.itemsize * (columns or 1) * (sum(sizes) + scratch)
        self._rows = program.rows
        self._dtype = dtype
        self._buffers: dict[int | str, np.ndarray] = {
            number: np.empty((*lead, size), dtype=dtype) for number, size in enumerate(sizes)
        }
        self._buffers[SCRATCH] = np.empty((*lead, scratch), dtype=dtype)
        self._copies = columns is None and program.columns + program.rows <= _COPIED
        if self._copies:
            self._argument = np.empty(program.columns, dtype=dtype)
            self._result = np.empty(program.rows, dtype=dtype)
            self._buffers[ARGUMENT] = self._argument
            self._buffers[RESULT] = self._result
        self._steps = [(function, self._bound(args)) for function, args in steps]
        # Those that have to be bound again for every vector.
        self._late = [
            (i, function, args)
            for i, (function, args) in enumerate(steps)
            if not self._copies
            and any(isinstance(a, Place) and a.buffer in (ARGUMENT, RESULT) for a in args)
        ]

    def play(self, v: np.ndarray) -> np.ndarray:
        """The product with one vector."""
        result = np.empty(self._rows, dtype=self._dtype)
        self.play_into(np.ascontiguousarray(v), result)
        return result

    def play_into(self, v: np.ndarray, result: np.ndarray) -> None:
        """Products with one vector, or with one in each row, written into the rows of a result."""
        if self._copies:
            self._argument[...] = v
            for function, args in self._steps:
                function(*args)
            result[...] = self._result
            return
        self._buffers[ARGUMENT], self._buffers[RESULT] = v, result
        for i, function, args in self._late:
            self._steps[i] = (function, self._bound(args))
        for function, args in self._steps:
            function(*args)
        # The caller's arrays are not kept alive, nor written into later.
        del self._buffers[ARGUMENT], self._buffers[RESULT]
        for i, function, args in self._late:
            self._steps[i] = (function, args)

    def _bound(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            [
                read(arg.view, self._buffers[arg.buffer])
                if isinstance(arg, Place) and arg.buffer in self._buffers
                else arg
                for arg in args
            ]
        )
