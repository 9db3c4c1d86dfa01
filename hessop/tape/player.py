"""Play a program: on one vector, and on a block of columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hessop.tape.plan import ARGUMENT, RESULT, plan
from hessop.tape.program import Program
from hessop.tape.steps import SCRATCH, TILE, Place, Step, steps_of
from hessop.tape.views import read

__all__ = ["MATRIX_COLUMNS", "Player"]

#: A program of no more columns than this is played as a matrix, where that has less work to do.
MATRIX_COLUMNS = 64
# Shorter vectors are copied in and out, so that all steps stay bound to the same memory.
_COPIED = 4 * TILE
# Bytes of all buffers for the columns that are played together: what the cache holds.
_BLOCK_BYTES = 2**21
# Workspaces that are kept between products: for so many threads at once.
_KEPT = 4


class Player:
    """A program ready to be played, by several threads at once.

    Parameters
    ----------
    program : Program

    Attributes
    ----------
    matrix : ndarray or None
        The whole matrix where that is how products are computed, shape (m, n).
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.matrix: np.ndarray | None = None
        self._plan = plan(program)
        self._steps, self._scratch = steps_of(program, self._plan, None)
        # list.pop and list.append are atomic: a workspace is in one thread's hands at a time.
        self._free: list[_Workspace] = []
        entries = program.rows * program.columns
        if program.columns <= MATRIX_COLUMNS and entries <= max(MATRIX_COLUMNS**2, program.flops):
            identity = np.eye(program.columns, dtype=program.dtype)
            self.matrix = np.ascontiguousarray(self.block(identity))

    def __call__(self, v: np.ndarray) -> np.ndarray:
        """The product with v of shape (n,), as a fresh vector."""
        if self.matrix is not None:
            product: np.ndarray = self.matrix.dot(v)
            return product
        try:
            workspace = self._free.pop()
        except IndexError:
            workspace = _Workspace(self.program, self._plan.sizes, self._scratch, self._steps, None)
        result = workspace.play(v)
        if len(self._free) < _KEPT:
            self._free.append(workspace)
        return result

    def block(self, V: np.ndarray) -> np.ndarray:
        """The product with a block of columns, shape (n, k)."""
        if self.matrix is not None:
            product: np.ndarray = self.matrix @ V
            return product
        rows = np.ascontiguousarray(V.T)
        result = np.empty((len(rows), self.program.rows), dtype=self.program.dtype)
        together = max(1, _BLOCK_BYTES // self._bytes_of_column())
        for start in range(0, len(rows), together):
            stop = min(start + together, len(rows))
            if stop - start == 1:
                result[start] = self(rows[start])
            else:
                self._play_together(rows[start:stop], result[start:stop])
        return result.T

    def _bytes_of_column(self) -> int:
        entries = self.program.columns + self.program.rows + sum(self._plan.sizes)
        return entries * self.program.dtype.itemsize

    def _play_together(self, rows: np.ndarray, result: np.ndarray) -> None:
        steps, scratch = steps_of(self.program, self._plan, len(rows))
        workspace = _Workspace(self.program, self._plan.sizes, scratch, steps, len(rows))
        workspace.run(steps, rows, result)


class _Workspace:
    """Memory to play a program in, and its steps bound to that memory."""

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
        self._rows = program.rows
        self._dtype = dtype
        self._buffers: dict[int | str, np.ndarray] = {
            number: np.empty((*lead, size), dtype=dtype) for number, size in enumerate(sizes)
        }
        self._buffers[SCRATCH] = np.empty((*lead, scratch), dtype=dtype)
        if columns is not None:
            return
        self._copies = program.columns + program.rows <= _COPIED
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
        if self._copies:
            self._argument[...] = v
            for function, args in self._steps:
                function(*args)
            return self._result.copy()
        result = np.empty(self._rows, dtype=self._dtype)
        self._buffers[ARGUMENT], self._buffers[RESULT] = np.ascontiguousarray(v), result
        steps = self._steps.copy()
        for i, function, args in self._late:
            steps[i] = (function, self._bound(args))
        for function, args in steps:
            function(*args)
        del self._buffers[ARGUMENT], self._buffers[RESULT]
        return result

    def run(self, steps: Sequence[Step], rows: np.ndarray, result: np.ndarray) -> None:
        """The products with several vectors, one in each row."""
        self._buffers[ARGUMENT], self._buffers[RESULT] = rows, result
        for function, args in steps:
            function(*self._bound(args))

    def _bound(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            [
                read(arg.view, self._buffers[arg.buffer])
                if isinstance(arg, Place) and arg.buffer in self._buffers
                else arg
                for arg in args
            ]
        )
