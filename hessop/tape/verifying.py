"""Whether a program computes what it was recorded from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hessop.tape.player import Player
from hessop.tape.program import Opaque

__all__ = ["disagreement"]


def disagreement(closure: Callable[[np.ndarray], np.ndarray], player: Player) -> str | None:
    """Compare a product of a program with one of its closure, at a fresh random vector.

    Parameters
    ----------
    closure : callable
        What was recorded, as a function of flat vectors.
    player : Player
        Of the program.

    Returns
    -------
    str or None
        None where they agree. Else the primitive that is not linear, or that is not what the
        program takes it for.
    """
    program = player.program
    rng = np.random.default_rng(1)
    for instruction in program.instructions:
        if isinstance(instruction, Opaque) and not _is_linear(instruction, program.dtype, rng):
            return instruction.name
    v = rng.standard_normal(program.columns).astype(program.dtype)
    if _differ(player(v), closure(v), program.dtype):
        return "a primitive"
    return None


def _is_linear(instruction: Opaque, dtype: np.dtype, rng: np.random.Generator) -> bool:  # type: ignore[type-arg]
    first, second = (
        [rng.standard_normal(read.view.shape).astype(dtype) for read in instruction.reads]
        for _ in range(2)
    )
    both = [0.75 * a - 0.5 * b for a, b in zip(first, second, strict=True)]
    expected = 0.75 * np.asarray(instruction.function(*first)) - 0.5 * np.asarray(
        instruction.function(*second)
    )
    return not _differ(np.asarray(instruction.function(*both)), expected, dtype)


def _differ(a: np.ndarray, b: np.ndarray, dtype: np.dtype) -> bool:  # type: ignore[type-arg]
    # A wrong instruction is wrong by far more than rounding, or than what odeint iterates to.
    scale = max(float(np.max(np.abs(b), initial=0.0)), float(np.finfo(dtype).tiny))
    error = float(np.max(np.abs(a - b), initial=0.0))
    return not error <= scale * float(np.finfo(dtype).eps) ** 0.375
