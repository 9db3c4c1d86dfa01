"""A program that is known to compute what it was recorded from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

__all__ = ["agrees", "compiled", "difference"]

Product = Callable[[np.ndarray], np.ndarray]


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
    if not _is_linear(program, rng):
        raise NotLinearError(_not_linear(program, rng))
    player = Player(program)
    v = rng.standard_normal(source.size).astype(source.dtype)
    expected = product(v)
    if not agrees(program, player(v), expected):
        raise NoProgramError(
            f"{_culprit(tape, v, expected)} is lowered to something else than autograd computes"
        )
    player.rest()
    return player


def agrees(program: Program, computed: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two results differ by no more than rounding, and what odeint iterates to."""
    # A wrong instruction is wrong by far more.
    opaque = any(isinstance(instruction, Opaque) for instruction in program.instructions)
    eps = float(np.finfo(program.dtype).eps)
    tolerance: float = eps**0.375 if opaque else eps**0.5
    return difference(computed, expected) <= tolerance


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
    if not any(isinstance(instruction, Opaque) for instruction in program.instructions):
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
