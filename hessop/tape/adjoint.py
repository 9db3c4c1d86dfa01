"""The adjoint of a program, which is a program."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from autograd.core import make_vjp

from hessop._tracing import TRACING
from hessop.tape.builder import Builder, Value
from hessop.tape.instructions import Contract, Factor, Gather, Opaque, Reduce, Scatter, Sum, Term
from hessop.tape.program import Program
from hessop.tape.views import View, read, whole

__all__ = ["adjoint_program"]


def adjoint_program(program: Program) -> Program:
    """The program of the transposed matrix: every instruction turned around, in reverse order.

    What an instruction reads, its adjoint adds to. A view that repeats entries becomes a sum over
    the repetitions; a gather becomes a scatter, and the other way round.

    Parameters
    ----------
    program : Program
        From n to m entries.

    Returns
    -------
    Program
        From m to n entries. It is as long as the other, and best optimized again.
    """
    build = Builder(program.rows, program.dtype)
    # Of every value: the parts of its cotangent, with the views that they are to be added into.
    parts: list[list[tuple[Value, View]]] = [[] for _ in range(len(program.instructions) + 1)]
    parts[-1].append((build.argument, whole((program.rows,))))
    for number in range(len(program.instructions), 0, -1):
        if not parts[number]:
            continue
        instruction = program.instructions[number - 1]
        cotangent = build.place(parts[number], instruction.shape)
        for value, part, view in _RULES[type(instruction)](build, program, instruction, cotangent):
            size = prod(program.shape_of(value))
            parts[value].append(_without_repeats(build, part, view, size))
    build.place(parts[0], (program.columns,))
    return build.finish()


def _without_repeats(build: Builder, part: Value, view: View, size: int) -> tuple[Value, View]:
    """A part summed over the entries that the view reads more than once."""
    repeated = tuple(
        [
            i
            for i, (n, step) in enumerate(zip(view.shape, view.strides, strict=True))
            if n > 1 > abs(step)
        ]
    )
    if repeated:
        kept = [view.over(i) for i in range(len(view.shape)) if i not in repeated]
        part, view = build.reduce(part, repeated), View((), (), view.offset).with_axes(*kept)
    if view.overlaps:  # a sliding window
        positions = read(view, np.arange(size))
        return build.scatter(part, positions, (size,)), whole((size,))
    return part, view


Parts = list[tuple[int, Value, View]]


def _sum(build: Builder, program: Program, instruction: Sum, g: Value) -> Parts:
    def part(term: Term) -> Value:
        here = build.view(g, term.region)
        return here if _is_one(term.factor) else build.scale(here, term.factor, here.shape)

    return [(term.value, part(term), term.view) for term in instruction.terms]


def _is_one(factor: Factor) -> bool:
    return isinstance(factor, float) and factor == 1.0


def _gather(build: Builder, program: Program, instruction: Gather, g: Value) -> Parts:
    x = instruction.x
    flat = build.reshape(g, (g.size,))
    scattered = build.scatter(flat, instruction.index, (x.view.size,))
    return [(x.value, build.reshape(scattered, x.view.shape), x.view)]


def _scatter(build: Builder, program: Program, instruction: Scatter, g: Value) -> Parts:
    gathered = build.gather(build.reshape(g, (g.size,)), instruction.index)
    x = instruction.x
    return [(x.value, build.reshape(gathered, x.view.shape), x.view)]


def _reduce(build: Builder, program: Program, instruction: Reduce, g: Value) -> Parts:
    x = instruction.x
    kept = iter(whole(g.shape).strides)
    strides = [0 if axis in instruction.axes else next(kept) for axis in range(len(x.view.shape))]
    return [(x.value, build.view(g, View(x.view.shape, tuple(strides))), x.view)]


def _contract(build: Builder, program: Program, instruction: Contract, g: Value) -> Parts:
    batch, rows, _ = instruction.x.view.shape
    columns = instruction.constant.shape[2]
    if instruction.constant_first:
        g = build.reshape(g, (batch, columns, rows))
        g = build.rearrange(g, lambda a: a.transpose(0, 2, 1))
    g = build.reshape(g, (batch, rows, columns))
    transposed = instruction.constant.transpose(0, 2, 1)
    product = build.contract(g, transposed, constant_first=False)
    return [(instruction.x.value, product, instruction.x.view)]


def _opaque(build: Builder, program: Program, instruction: Opaque, g: Value) -> Parts:
    parts = []
    for i, one in enumerate(instruction.reads):
        pull_back = _vjp(instruction, i, program.dtype)
        name = f"adjoint of {instruction.name}"
        key = ("adjoint", i, instruction.key)
        part = build.opaque([g], pull_back, name, one.view.shape, key)
        parts.append((one.value, part, one.view))
    return parts


def _vjp(instruction: Opaque, i: int, dtype: Any) -> Any:
    # Linear, so that any point does; but not zeros, at which some primitives drop terms.
    points = [np.full(one.view.shape, 0.5, dtype=dtype) for one in instruction.reads]

    def of_one(x: Any) -> Any:
        return instruction.function(*points[:i], x, *points[i + 1 :])

    with TRACING:
        pull_back, _ = make_vjp(of_one, points[i])
    return pull_back


_RULES: dict[type, Callable[[Builder, Program, Any, Value], Parts]] = {
    Sum: _sum,
    Gather: _gather,
    Scatter: _scatter,
    Reduce: _reduce,
    Contract: _contract,
    Opaque: _opaque,
}
