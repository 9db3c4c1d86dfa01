"""A program that is known to compute what it was recorded from."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from hessop._errors import NoProgramError, NotLinearError, name_of
from hessop.params import Leaves
from hessop.tape.instructions import Opaque
from hessop.tape.lowering import lower
from hessop.tape.passes import drop_dead, optimize
from hessop.tape.player import Player
from hessop.tape.program import Program
from hessop.tape.recorder import Tape, record

__all__ = ["agrees", "compiled", "difference", "is_slower"]

Product = Callable[[np.ndarray], np.ndarray]


@contextmanager
def _without_collector() -> Iterator[None]:
    # Recording makes thousands of small objects and no garbage, and the collector would look at
    # all of them again and again: that takes as long as everything else.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_without_collector()
@np.errstate(all="ignore")  # what is not finite is for whoever asks for products to report
def compiled(
    on_leaves: Callable[[Sequence[Any]], Sequence[Any]],
    source: Leaves,
    target: Leaves,
    product: Product,
) -> Player:
    """Record a linear closure, lower and optimize its tape, and check the program.

    Parameters
    ----------
    on_leaves : callable
        Takes arrays in the shapes of `source` to arrays in the shapes of `target`, None for zeros.
    source, target : Leaves
    product : callable
        The same closure from a flat vector to a flat vector.

    Returns
    -------
    Player

    Raises
    ------
    NoProgramError
        When the program disagrees with the closure at a fresh random vector, or a primitive is not
        linear; the message names the primitive.
    """
    rng = np.random.default_rng(0)
    # Without zeros, at which some primitives drop terms.
    v = rng.choice([-1.0, 1.0], source.size) * rng.uniform(0.5, 1.5, source.size)
    tape = record(on_leaves, source, target, v.astype(source.dtype))
    program = optimize(lower(tape))
    player = Player(program)
    a, b = rng.standard_normal((2, source.size)).astype(source.dtype)
    expected = product(a)
    linear = _is_linear(program, rng)
    if not linear or not agrees(program, player(a), expected):
        # Is it the program, or are autograd's own products linear to a few digits only?
        own = difference(product(a - 0.5 * b), expected - 0.5 * product(b))
        few_digits = _eps(program) ** 0.5 < own < _eps(program) ** 0.25
        if own >= _eps(program) ** 0.25:
            # Or nothing but rounding? Then factors of two are exact nevertheless.
            few_digits, own = np.array_equal(product(-2.0 * a), -2.0 * expected), 100.0
        if not few_digits or difference(player(a), expected) > 10 * own:
            if not linear:
                raise NotLinearError(_not_linear(program, rng))
            raise NoProgramError(
                f"{_culprit(tape, a, expected)} is lowered to something else than autograd computes"
            )
    player.rest()
    return player


def is_slower(player: Player, product: Product) -> bool:
    """Whether a product of a program with opaque instructions takes longer than the closure's."""
    if player.matrix is not None or not _is_opaque(player.program):
        return False
    v = np.ones(player.program.columns, dtype=player.program.dtype)

    def seconds(multiply: Product) -> float:
        times: list[float] = []
        while len(times) < 4 and sum(times) < 0.05:
            start = time.perf_counter()
            multiply(v)
            times.append(time.perf_counter() - start)
        return min(times)

    with np.errstate(all="ignore"):
        slower: bool = seconds(player) > seconds(product)
    return slower


def agrees(program: Program, computed: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two results differ by no more than rounding, and what odeint iterates to."""
    # A wrong instruction is wrong by far more.
    tolerance: float = _eps(program) ** (0.375 if _is_opaque(program) else 0.5)
    return difference(computed, expected) <= tolerance


def _is_opaque(program: Program) -> bool:
    return any(isinstance(instruction, Opaque) for instruction in program.instructions)


def _eps(program: Program) -> float:
    return float(np.finfo(program.dtype).eps)


def difference(computed: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest entry; equal NaNs and infinities agree."""
    same = (computed == expected) | (np.isnan(computed) & np.isnan(expected))
    if same.all():
        return 0.0
    scale = np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected))
    error = np.max(np.abs(computed - expected), initial=0.0, where=~same)
    return float(error / scale) if scale > 0 else np.inf


def _culprit(tape: Tape, v: np.ndarray, expected: np.ndarray) -> str:
    """The primitive without whose lowering the program is right."""
    for fun in dict.fromkeys(node.fun for node in tape.order):
        program = optimize(lower(tape, opaque={fun}))
        if agrees(program, Player(program)(v), expected):
            return name_of(fun)
    return "a primitive"


def _is_linear(program: Program, rng: np.random.Generator) -> bool:
    """Whether the opaque instructions are linear in what comes to them."""
    if not _is_opaque(program):
        return True
    play = Player(program, as_matrix=False)
    first, second = rng.standard_normal((2, program.columns)).astype(program.dtype)
    return agrees(program, play(first - 0.5 * second), play(first) - 0.5 * play(second))


def _not_linear(program: Program, rng: np.random.Generator) -> str:
    """The first opaque instruction that is not linear."""
    for number, instruction in enumerate(program.instructions, 1):
        if isinstance(instruction, Opaque):
            until = replace(program, instructions=program.instructions[:number])
            if not _is_linear(drop_dead(until), rng):
                return instruction.name
    return "a primitive"
