"""A program as a list of NumPy calls with their operands.

A step is a function and its arguments. Those that live in a buffer are named, and become arrays
when the steps are bound to memory. Every result goes into such an array, so that playing a program
allocates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np

from hessop.tape.buffers import Plan
from hessop.tape.instructions import Contract, Gather, Opaque, Reduce, Scatter, Sum, Term
from hessop.tape.program import Program
from hessop.tape.sandwiches import sandwich_at
from hessop.tape.views import View, read, whole

__all__ = ["SCRATCH", "TILE", "Place", "Step", "steps_of"]

SCRATCH = "scratch"
#: Entries of large arrays that are worked on at a time: three pieces of them fit the fast cache.
TILE = 32768


@dataclass(frozen=True, slots=True)
class Place:
    """An array in a buffer."""

    buffer: int | str
    view: View


Step = tuple[Callable[..., Any], tuple[Any, ...]]


def steps_of(program: Program, plan: Plan, columns: int | None) -> tuple[list[Step], int]:
    """The steps of a program, and how many entries of scratch memory they need for one column.

    Parameters
    ----------
    program : Program
    plan : Plan
    columns : int or None
        None for one vector; else how many rows the buffers have.
    """
    steps: list[Step] = []
    scratch = 0
    written = 0
    for number, instruction in enumerate(program.instructions, 1):
        if number <= written:
            continue
        writer = _Writer(program, plan, number, columns)
        sandwich = sandwich_at(program, number) if columns is None else None
        step = sandwich and _sandwich(writer, program, number, sandwich)
        if step:
            written = number + 2
        steps += [step] if step else _WRITERS[type(instruction)](writer, instruction)
        scratch = max(scratch, writer.scratch)
    return steps, scratch


class _Writer:
    """Writes the steps of one instruction."""

    def __init__(self, program: Program, plan: Plan, number: int, columns: int | None) -> None:
        self.plan = plan
        self.home = plan.homes[number]
        self.dtype = program.dtype
        self.columns = columns
        self.out = self.region(whole(program.shape_of(number)))
        self.scratch = 0

    def region(self, view: View) -> Place:
        """Part of the result."""
        return Place(self.home.buffer, _shifted(view, self.home.offset))

    def is_made_here(self, term: Term) -> bool:
        """Whether a term lies already where it is to be added."""
        return self.place(term.value, term.view) == self.region(term.region)

    def place(self, value: int, view: View) -> Place:
        """What is read of a value."""
        home = self.plan.homes[value]
        return Place(home.buffer, _shifted(view, home.offset))

    def temporary(self, shape: tuple[int, ...]) -> Place:
        """Memory for a product before it is added."""
        self.scratch = max(self.scratch, prod(shape))
        return Place(SCRATCH, whole(shape))


def _shifted(view: View, offset: int) -> View:
    return View(view.shape, view.strides, view.offset + offset) if offset else view


# --- sums -----------------------------------------------------------------------------------------


def _sum(writer: _Writer, instruction: Sum) -> Iterator[Step]:
    size = prod(instruction.shape)
    regions = {term.region for term in instruction.terms}
    if len(regions) == 1 and all(region.is_whole(size) for region in regions):
        yield from _accumulate(writer, regions.pop(), list(instruction.terms), assign=True)
        return
    groups: dict[View, list[Term]] = {}
    # What lies there already comes first, before anything is written over it.
    for term in sorted(instruction.terms, key=lambda term: not writer.is_made_here(term)):
        groups.setdefault(term.region, []).append(term)
    # The first to reach a region assigns. Whoever overlaps with others adds, to zeros in the gaps.
    reached, assigned = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    first_there = {}
    for region in groups:
        first_there[region] = not read(region, reached).any()
        read(region, reached)[...] = True
        if first_there[region]:
            read(region, assigned)[...] = True
    if not assigned.all():
        made_here = any(writer.is_made_here(term) for term in instruction.terms)
        yield from _fill_gaps(writer, assigned, exactly=made_here)
    for region, terms in groups.items():
        yield from _accumulate(writer, region, terms, assign=first_there[region])


def _fill_gaps(writer: _Writer, assigned: np.ndarray, *, exactly: bool) -> Iterator[Step]:
    edges = np.flatnonzero(np.diff(assigned, prepend=True, append=True))
    if len(edges) > 8 and not exactly:  # many small gaps: it is one call to assign all of it
        edges = edges[[0, -1]]
    for start, stop in edges.reshape(-1, 2).tolist():
        yield (
            np.copyto,
            (writer.region(View((stop - start,), (int(stop - start > 1),), start)), 0.0),
        )


def _accumulate(
    writer: _Writer, region: View, terms: list[Term], *, assign: bool
) -> Iterator[Step]:
    out = writer.region(region)
    own = [term for term in terms if writer.is_made_here(term)]
    if own:
        # It begins with this term, or writes over it.
        terms = own + [term for term in terms if term is not own[0]]
    elif assign:
        # Products first: they need no memory of their own while there is nothing to add to.
        terms = sorted(terms, key=lambda term: _sign(term) != 0.0)
    places = [writer.place(term.value, term.view) for term in terms]
    factors = [term.factor for term in terms]
    if region.size >= 2 * TILE and writer.columns is None:
        yield partial(_in_tiles, assign, factors), (out, writer.temporary((TILE,)), *places)
        return
    scaled = [_sign(term) == 0.0 for term in terms]
    temporary = writer.temporary(region.shape) if any(scaled[assign:]) else None
    yield from _calls(assign, out, temporary, places, factors)


def _sign(term: Term) -> float:
    if isinstance(term.factor, float) and abs(term.factor) == 1.0:
        return term.factor
    return 0.0


def _calls(
    assign: bool, out: Any, temporary: Any, xs: Sequence[Any], factors: Sequence[Any]
) -> Iterator[Step]:
    """``out = sum of factors * xs``, or ``out +=`` that."""
    for x, factor in zip(xs, factors, strict=True):
        one = isinstance(factor, float) and factor == 1.0
        minus = isinstance(factor, float) and factor == -1.0
        if assign and one:
            if x is not out and x != out:
                yield np.copyto, (out, x)
        elif assign:
            # Also for -1: np.negative of NumPy 2.4 is wrong for some strides.
            yield np.multiply, (x, factor, out)
        elif one:
            yield np.add, (out, x, out)
        elif minus:
            yield np.subtract, (out, x, out)
        else:
            yield np.multiply, (x, factor, temporary)
            yield np.add, (out, temporary, out)
        assign = False


def _in_tiles(
    assign: bool, factors: Sequence[Any], out: np.ndarray, memory: np.ndarray, *xs: np.ndarray
) -> None:
    """The calls on pieces of large arrays that stay in the cache from one call to the next."""
    inner = prod(out.shape[1:])
    if inner > TILE:
        for i in range(out.shape[0]):
            rows = [f if isinstance(f, float) else f[i] for f in factors]
            _in_tiles(assign, rows, out[i], memory, *(x[i] for x in xs))
        return
    step = max(1, TILE // inner)
    for start in range(0, out.shape[0], step):
        piece = slice(start, start + step)
        part = out[piece]
        temporary = memory[: part.size].reshape(part.shape)
        _run_piece(
            assign,
            part,
            temporary,
            [x[piece] for x in xs],
            [f if isinstance(f, float) else f[piece] for f in factors],
        )


def _run_piece(
    assign: bool, out: np.ndarray, temporary: np.ndarray, xs: list[Any], factors: list[Any]
) -> None:
    for x, factor in zip(xs, factors, strict=True):
        if isinstance(factor, float) and factor == 1.0:
            if not assign:
                np.add(out, x, out)
            elif not _same(x, out):
                np.copyto(out, x)
        elif assign:
            np.multiply(x, factor, out)
        else:
            np.multiply(x, factor, temporary)
            np.add(out, temporary, out)
        assign = False


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    here: bool = a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
    return here and a.strides == b.strides


# --- the others -----------------------------------------------------------------------------------


def _gather(writer: _Writer, instruction: Gather) -> Iterator[Step]:
    x = writer.place(instruction.x.value, instruction.x.view)
    out = writer.region(whole((instruction.index.size,)))
    yield partial(_take, instruction.index), (x, out)


def _take(index: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
    # "clip" writes straight into out, and every index is within bounds.
    np.take(x.reshape(*out.shape[:-1], -1), index, axis=-1, out=out, mode="clip")


def _scatter(writer: _Writer, instruction: Scatter) -> Iterator[Step]:
    order = np.argsort(instruction.index, kind="stable")
    targets, starts = np.unique(instruction.index[order], return_index=True)
    x = writer.place(instruction.x.value, instruction.x.view)
    out = writer.region(whole((prod(instruction.shape),)))
    yield partial(_add_at, order, targets, starts), (x, out)


def _add_at(
    order: np.ndarray, targets: np.ndarray, starts: np.ndarray, x: np.ndarray, out: np.ndarray
) -> None:
    out[...] = 0.0
    moved = x.reshape(*out.shape[:-1], -1)[..., order]
    if len(targets) < len(order):
        moved = np.add.reduceat(moved, starts, axis=-1)
    out[..., targets] = moved


def _reduce(writer: _Writer, instruction: Reduce) -> Iterator[Step]:
    x = writer.place(instruction.x.value, instruction.x.view)
    axes = tuple([axis + (writer.columns is not None) for axis in instruction.axes])
    if writer.columns is None and axes == (0,) and len(x.view.shape) == 2 and x.view.is_run:
        yield np.dot, (np.ones(x.view.shape[0], dtype=writer.dtype), x, writer.out)
    else:
        yield partial(_add_reduce, axes), (x, writer.out)


def _add_reduce(axes: tuple[int, ...], x: np.ndarray, out: np.ndarray) -> None:
    np.add.reduce(x, axes, out=out)


def _contract(writer: _Writer, instruction: Contract) -> Iterator[Step]:
    batch, rows, _ = instruction.x.view.shape
    constant = instruction.constant
    columns = constant.shape[2]
    axes = [instruction.x.view.over(axis) for axis in range(3)]
    start = View((), (), instruction.x.view.offset)
    single = writer.columns is None
    multiply = np.dot if single else np.matmul

    def x(*which: int) -> Place:
        return writer.place(instruction.x.value, start.with_axes(*(axes[i] for i in which)))

    def out(*shape: int) -> Place:
        return writer.region(whole(shape))

    if batch == 1 and rows == 1 and single:
        yield np.dot, (constant[0].T, x(2), out(columns))
    elif batch == 1 and rows == 1:
        yield np.matmul, (x(2), constant[0], out(columns))
    elif batch == 1 and columns == 1:
        yield multiply, (x(1, 2), constant[0, :, 0], out(rows))
    elif batch == 1 and instruction.constant_first:
        yield multiply, (constant[0].T, x(2, 1), out(columns, rows))
    elif batch == 1:
        yield multiply, (x(1, 2), constant[0], out(rows, columns))
    elif rows == columns == 1:
        subscripts = "bk,bk->b" if single else "zbk,bk->zb"
        yield partial(_einsum, subscripts), (x(0, 2), constant[:, :, 0], out(batch))
    elif instruction.constant_first:
        transposed = constant.transpose(0, 2, 1)
        yield np.matmul, (transposed, x(0, 2, 1), out(batch, columns, rows))
    else:
        yield np.matmul, (x(0, 1, 2), constant, out(batch, rows, columns))


def _sandwich(
    writer: _Writer, program: Program, number: int, function: Callable[..., None]
) -> Step | None:
    first = program.instructions[number - 1]
    assert isinstance(first, Contract)
    size = prod(program.shape_of(number + 2))
    result = _Writer(program, writer.plan, number + 2, None).region(whole((size,)))
    view = first.x.view
    x = writer.place(first.x.value, View((), (), view.offset).with_axes(view.over(2)))
    if x.buffer in (result.buffer, writer.home.buffer):
        return None  # it would be written over while it is still read
    products = writer.region(whole((first.constant.shape[2],)))
    return function, (x, products, writer.temporary((size,)), result)


def _einsum(subscripts: str, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    np.einsum(subscripts, a, b, out=out)


def _opaque(writer: _Writer, instruction: Opaque) -> Iterator[Step]:
    places = [writer.place(one.value, one.view) for one in instruction.reads]
    run = _run_opaque if writer.columns is None else _run_opaque_by_columns
    yield partial(run, instruction.function), (writer.out, *places)


def _run_opaque(function: Callable[..., Any], out: np.ndarray, *xs: np.ndarray) -> None:
    out[...] = function(*xs)


def _run_opaque_by_columns(function: Callable[..., Any], out: np.ndarray, *xs: np.ndarray) -> None:
    for j in range(len(out)):
        _run_opaque(function, out[j, ...], *(x[j] for x in xs))


_WRITERS: dict[type, Callable[[_Writer, Any], Iterator[Step]]] = {
    Sum: _sum,
    Gather: _gather,
    Scatter: _scatter,
    Reduce: _reduce,
    Contract: _contract,
    Opaque: _opaque,
}
