"""From a function to its Hessian's tape and programs, for the tests of both."""

import numpy as np

from hessop.differentiate.points import differentiate_at
from hessop.params import read_tree
from hessop.tape.lowering import lower
from hessop.tape.passes import PASSES
from hessop.tape.player import Player
from hessop.tape.recorder import record


def linear_map(fun, x, args=(), mode="auto"):
    """The closure v -> H v as autograd computes it."""
    layout, point = read_tree(x)
    return differentiate_at(fun, layout, point, args=args, mode=mode).linear_map()


def tape_of(closure, seed=0):
    size, dtype = closure.source.size, closure.source.dtype
    v = np.random.default_rng(seed).uniform(0.5, 1.5, size).astype(dtype)
    return record(closure.on_leaves, closure.source, closure.target, v)


def stages(tape, **options):
    """The program as it is lowered, and after each of the passes, with their names."""
    with np.errstate(all="ignore"):
        program = lower(tape, **options)
        yield "lowered", program
        for number, one_pass in enumerate(PASSES):
            program = one_pass(program)
            yield f"{number} {one_pass.__name__}", program


def optimized(closure):
    *_, (_, program) = stages(tape_of(closure))
    return program


def columns_of(closure, k, seed=1):
    """k random vectors as columns, and the closure's products with them."""
    rng = np.random.default_rng(seed)
    V = rng.standard_normal((closure.source.size, k)).astype(closure.source.dtype)
    return V, np.column_stack([closure(v) for v in V.T])


def error(computed, expected):
    """The largest error, relative to the largest entry."""
    scale = np.max(np.abs(expected), initial=0.0)
    return np.max(np.abs(computed - expected), initial=0.0) / (scale or 1.0)


def assert_plays(program, V, expected, tolerance):
    """Products of every column alone and of the block agree, and their dtype is the program's."""
    player = Player(program, as_matrix=False)
    for v, product in zip(V.T, expected.T, strict=True):
        assert error(player(v), product) <= tolerance
    # Enough columns that they are played together.
    block = player.block(np.tile(V, 4))
    assert error(block, np.tile(expected, 4)) <= tolerance
    assert block.dtype == player(V[:, 0]).dtype == program.dtype
