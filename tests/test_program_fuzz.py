"""Programs of random functions against the closures that they were recorded from."""

import numpy as np
import pytest
from hypothesis import given, settings
from random_functions import functions
from tapes import assert_plays, linear_map, stages, tape_of

from hessop.tape import folding, opaque, player, sandwiches, steps
from hessop.tape.adjoint import adjoint_program
from hessop.tape.passes import optimize
from hessop.tape.player import Player
from hessop.tape.sparse import sparse_matrix


@given(functions())
@settings(max_examples=100, deadline=None)
def test_random_functions_as_if_they_were_large(function):
    closure = linear_map(function, function.point())
    V = np.column_stack([function.point(seed) for seed in range(1, 5)])
    expected = np.column_stack([closure(v) for v in V.T])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "TILE", 4)
        patch.setattr(player, "_COPIED", 0)
        patch.setattr(player, "_BLOCK_BYTES", 2**10)
        patch.setattr(folding, "LARGE", 1)
        patch.setattr(sandwiches, "_LARGE", 0)
        patch.setattr(opaque, "MATRIX_ENTRIES", 0)
        for name, program in stages(tape_of(closure)):
            print(name, program, sep="\n")
            assert_plays(program, V, expected, 1e-12)


@given(functions())
@settings(max_examples=200, deadline=None)
def test_random_functions(function):
    closure = linear_map(function, function.point())
    V = np.column_stack([function.point(seed) for seed in range(1, 5)])
    expected = np.column_stack([closure(v) for v in V.T])
    for name, program in stages(tape_of(closure)):
        print(name, program, sep="\n")
        assert_plays(program, V, expected, 1e-12)
    matrix = sparse_matrix(program, max_nnz=10**6)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(matrix @ V, expected, rtol=0, atol=1e-11 * scale)
    symmetric = Player(optimize(adjoint_program(program)), as_matrix=False)
    np.testing.assert_allclose(symmetric.block(V), expected, rtol=0, atol=1e-11 * scale)
