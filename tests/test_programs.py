"""Programs against the closures that they were recorded from, after every pass."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import builtins
from autograd.extend import vspace
from cases import CASES
from models import MODELS
from random_functions import OPERATIONS, function_of
from scipy.sparse import csr_array
from tapes import (
    assert_plays,
    columns_of,
    error,
    linear_map,
    optimized,
    stages,
    tape_of,
)

import hessop.tape.opaque as opaque
import hessop.tape.sandwiches as sandwiches
from hessop import hessian_operator, jacobian_operator
from hessop.differentiate.linear_map import LinearMap
from hessop.params import Leaves
from hessop.tape.adjoint import adjoint_program
from hessop.tape.instructions import Contract, Opaque, Sum
from hessop.tape.passes import PASSES, optimize
from hessop.tape.player import Player
from hessop.tape.rules import RULES
from hessop.tape.sparse import sparse_matrix

EXACT = ("reverse-over-reverse", "forward-over-reverse", "reverse-over-forward")
WITH_JVP = [case for case in CASES if "no-jvp" not in case.tags]
ALL = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
MODEL = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)


def tolerance(dtype):
    return 1e-12 if dtype == np.float64 else 1e-5


@ALL
def test_every_pass_keeps_the_product(case):
    closure = linear_map(case.fun, case.x, case.args)
    V, expected = columns_of(closure, 4)
    for name, program in stages(tape_of(closure)):
        print(name, program, sep="\n")
        assert_plays(program, V, expected, tolerance(program.dtype))


@pytest.mark.parametrize("mode", EXACT[1:])
@pytest.mark.parametrize("case", WITH_JVP, ids=lambda case: case.name)
def test_every_mode_can_be_recorded(case, mode):
    closure = linear_map(case.fun, case.x, case.args, mode)
    V, expected = columns_of(closure, 2)
    assert_plays(optimized(closure), V, expected, tolerance(V.dtype))


@ALL
def test_the_adjoint_of_a_hessian_is_the_hessian(case):
    closure = linear_map(case.fun, case.x, case.args)
    V, expected = columns_of(closure, 3)
    program = optimized(closure)
    turned = adjoint_program(program)
    for other in (turned, optimize(turned), optimize(adjoint_program(turned))):
        assert_plays(other, V, expected, 10 * tolerance(V.dtype))


@ALL
def test_the_sparse_matrix_is_exact(case):
    closure = linear_map(case.fun, case.x, case.args)
    identity = np.eye(closure.source.size, dtype=closure.source.dtype)
    dense = np.column_stack([closure(v) for v in identity])
    matrix = sparse_matrix(optimized(closure), max_nnz=10**6)
    assert isinstance(matrix, csr_array)
    assert matrix.dtype == dense.dtype
    assert error(matrix.toarray(), dense) <= tolerance(dense.dtype)
    assert matrix.has_canonical_format
    assert np.all(matrix.data != 0.0)


@ALL
def test_what_is_left_opaque_is_still_right(case, monkeypatch):
    monkeypatch.setattr(opaque, "MATRIX_ENTRIES", 0)
    closure = linear_map(case.fun, case.x, case.args)
    V, expected = columns_of(closure, 2)
    tape = tape_of(closure)
    for name, program in stages(tape, opaque=set(RULES)):
        print(name, program, sep="\n")
        assert_plays(program, V, expected, tolerance(program.dtype))
    if "linear" not in case.tags:
        assert any(isinstance(instruction, Opaque) for instruction in program.instructions)


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation(name):
    for setting in (0, 7, 16):
        function = function_of(5, [(name, 0, 0, setting)], True)
        closure = linear_map(function, function.point())
        V, expected = columns_of(closure, 3)
        first, *_, last = stages(tape_of(closure))  # the fuzzer plays those in between
        for _, program in (first, last):
            assert_plays(program, V, expected, 1e-12)


# Rows that no second derivative above meets, as linear functions of an array of shape (4, 6).
LINEAR = {
    "array": lambda a: anp.array([a[0, 0], a[1, 2], 2.0 * a[3, 3]]),
    "array_split": lambda a: anp.array_split(a, [1, 4], axis=1)[1],
    "atleast_2d": lambda a: anp.atleast_2d(a[0]),
    "atleast_3d": lambda a: anp.atleast_3d(a),
    "broadcast_to": lambda a: anp.broadcast_to(a[:, :1], (4, 3)),
    "conjugate": lambda a: anp.conjugate(a),
    "covector": lambda a: vspace(a).covector(a),
    "divide": lambda a: anp.divide(a, 3.0),
    "dsplit": lambda a: anp.dsplit(anp.reshape(a, (2, 3, 4)), 2)[0],
    "flip": lambda a: anp.flip(a, 0),
    "hsplit": lambda a: anp.hsplit(a, 3)[2],
    "mean": lambda a: anp.mean(a, axis=0, keepdims=True),
    "pad": lambda a: anp.pad(a, 1, "constant"),
    "positive": lambda a: anp.positive(a),
    "ravel": lambda a: anp.ravel(a),
    "real_if_close": lambda a: anp.real_if_close(a),
    "rollaxis": lambda a: anp.rollaxis(anp.reshape(a, (2, 3, 4)), 2),
    "scalar_mul": lambda a: vspace(a).scalar_mul(a, 2.5),
    "take": lambda a: anp.take(a, [1, 1, 5], axis=1),
    "tuple": lambda a: builtins.tuple([a, a[1:]])[1],
    "vsplit": lambda a: anp.vsplit(a, 2)[1],
    "windows": lambda a: anp.ravel(a)[np.arange(5)[:, None] + np.arange(3)],
}


def linear_closure(fun):
    source = Leaves(((4, 6),), np.dtype(float))
    target = Leaves((np.shape(fun(np.ones((4, 6)))),), np.dtype(float))
    return LinearMap(source, target, lambda leaves: [fun(leaves[0])])


@pytest.mark.parametrize("name", LINEAR)
def test_any_linear_closure_can_be_recorded(name, monkeypatch):
    monkeypatch.setattr(opaque, "MATRIX_ENTRIES", 0)
    closure = linear_closure(LINEAR[name])
    V, expected = columns_of(closure, 3)
    for _, program in stages(tape_of(closure)):
        assert_plays(program, V, expected, 1e-14)
        assert not any(isinstance(instruction, Opaque) for instruction in program.instructions)
    matrix = np.column_stack([closure(v) for v in np.eye(24)])
    np.testing.assert_allclose(sparse_matrix(program, 1000).toarray(), matrix, atol=1e-15)
    turned = Player(optimize(adjoint_program(program)), as_matrix=False)
    np.testing.assert_allclose(turned.block(np.eye(len(matrix))), matrix.T, atol=1e-15)


def test_every_row_of_the_table_is_met():
    closures = [linear_closure(fun) for fun in LINEAR.values()]
    for case in CASES:
        for mode in EXACT if "no-jvp" not in case.tags else EXACT[:1]:
            closures.append(linear_map(case.fun, case.x, case.args, mode))
    for name in OPERATIONS:
        function = function_of(5, [(name, 0, 0, 3)], True)
        closures.append(linear_map(function, function.point()))
    met = {node.fun for closure in closures for node in tape_of(closure).order}
    assert {fun.__name__ for fun in set(RULES) - met} == set()


# --- models ---------------------------------------------------------------------------------------


@MODEL
def test_models(model):
    closure = linear_map(model.fun, model.x)
    V, expected = columns_of(closure, 3)
    H = hessian_operator(model.fun, model.x).compile()
    assert error(H @ V, expected) <= model.tolerance
    assert error(H @ V[:, 0], expected[:, 0]) <= model.tolerance
    if "odeint" not in model.name:  # half a second a product
        assert_plays(H.program, V, expected, model.tolerance)
        symmetric = Player(optimize(adjoint_program(H.program)))
        assert error(symmetric.block(V), expected) <= 10 * model.tolerance


def test_one_program_in_several_threads_between_new_recordings():
    model = next(model for model in MODELS if model.name == "softmax-network")
    closure = linear_map(model.fun, model.x)
    V, expected = columns_of(closure, 40)
    player = Player(optimized(closure), as_matrix=False)
    stop = threading.Event()

    def record_others():
        while not stop.is_set():
            hessian_operator(lambda x: anp.sum(anp.tanh(x) ** 2), np.ones(3)).compile()

    def play(j):
        return [error(player(V[:, j]), expected[:, j]) for _ in range(20)] + [
            error(player.block(V[:, : 2 + j % 3]), expected[:, : 2 + j % 3])
        ]

    other = threading.Thread(target=record_others)
    other.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            errors = list(pool.map(play, range(V.shape[1])))
    finally:
        stop.set()
        other.join()
    assert np.max(errors) <= 1e-12


def test_results_are_fresh_and_arguments_are_left_alone():
    for n in (5, 200, 100_000):  # played as a matrix, by copying in and out, and in place
        H = hessian_operator(lambda x: anp.sum(x[1:] ** 2 * x[:-1]), np.ones(n)).compile()
        v = np.random.default_rng(0).standard_normal(n)
        before = v.copy()
        first = H @ v
        kept = first.copy()
        first[:] = np.nan
        V = np.column_stack([v, 2 * v])
        block = H @ V
        np.testing.assert_array_equal(H @ v, kept)
        np.testing.assert_allclose(block, np.column_stack([kept, 2 * kept]))
        np.testing.assert_array_equal(v, before)
        assert first.flags.writeable
        strided = np.zeros(2 * n)
        strided[::2] = v
        np.testing.assert_array_equal(H @ strided[::2], kept)
        np.testing.assert_array_equal(H @ np.asfortranarray(V), block)


def test_single_precision_stays_single():
    x = np.linspace(-1, 1, 100, dtype=np.float32)

    def fun(x):
        return anp.mean(anp.where(x > 0, x**3, x**2)) + anp.var(x) * anp.sum(anp.abs(x) ** 3)

    H = hessian_operator(fun, x).compile()
    exact = hessian_operator(fun, x.astype(float))
    v = np.random.default_rng(0).standard_normal(100)
    for instruction in H.program.instructions:
        if isinstance(instruction, Contract):
            assert instruction.constant.dtype == np.float32
        if isinstance(instruction, Sum):
            factors = [t.factor for t in instruction.terms if isinstance(t.factor, np.ndarray)]
            assert all(factor.dtype == np.float32 for factor in factors)
    assert (H @ v).dtype == np.float32
    assert error(H @ v, exact @ v) < 1e-5


def test_jacobians_and_their_adjoints_are_programs():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((30, 100))

    def model(p):
        return anp.tanh(A @ p["w"])[:, None] * p["s"]

    x = {"w": rng.standard_normal(100), "s": rng.standard_normal(4)}
    closure = jacobian_operator(model, x)
    J = jacobian_operator(model, x).compile()
    v, u = rng.standard_normal(104), rng.standard_normal(120)
    assert error(J @ v, closure @ v) <= 1e-12
    assert error(J.T @ u, closure.T @ u) <= 1e-12
    U = rng.standard_normal((120, 5))
    assert error(J.T @ U, np.column_stack([closure.T @ u for u in U.T])) <= 1e-12
    assert abs(u @ (J @ v) - v @ (J.T @ u)) <= 1e-10
    np.testing.assert_allclose(J.to_sparse().toarray(), J.to_dense(), atol=1e-14)


@pytest.mark.parametrize("piece", [1, 2**12, 2**22])
def test_large_constants_are_read_in_pieces(piece, monkeypatch):
    monkeypatch.setattr(sandwiches, "_LARGE", 0)
    monkeypatch.setattr(sandwiches, "_PIECE", piece)
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((130, 70)), rng.standard_normal((130, 70))

    def logistic(w):
        return anp.sum(anp.logaddexp(0.0, X @ w)) + 0.5 * anp.sum(w**2)

    def squares(w):  # the factor is a number
        return anp.sum((X @ w) ** 2)

    def two(w):  # other matrices on either side, and values that others read too
        a, b = X @ w, Y @ w
        return anp.sum(anp.exp(0.01 * a) * anp.sin(b)) + anp.sum(anp.tanh(X @ anp.sin(w)))

    def shifted(w):  # what is scaled goes to another place
        return anp.sum(anp.exp(anp.concatenate([np.zeros(7), X @ w])[:130] * X[:, 0]))

    def turned(w):
        return anp.sum(anp.sin((X @ w)[::-1]) * anp.cos(X @ w))

    for fun in (logistic, squares, two, shifted, turned):
        closure = linear_map(fun, 0.1 * rng.standard_normal(70))
        V, expected = columns_of(closure, 3)
        assert_plays(optimized(closure), V, expected, 1e-12)
    program = optimized(linear_map(logistic, np.zeros(70)))
    assert sandwiches.sandwich_at(program, 1) is not None
    assert sandwiches.sandwich_at(program, 2) is None


def test_a_scale_that_moves_is_no_sandwich(monkeypatch):
    monkeypatch.setattr(sandwiches, "_LARGE", 0)
    rng = np.random.default_rng(0)
    X, B = rng.standard_normal((90, 70)), rng.standard_normal((70, 90))
    for model in (
        lambda w: B @ anp.concatenate([np.zeros(7), 2.0 * (X @ w)])[:90],
        lambda w: B @ anp.sin(X @ w)[::-1],
    ):
        J = jacobian_operator(model, rng.standard_normal(70))
        v = rng.standard_normal(70)
        before, back = J @ v, J.T @ v
        J.compile()
        assert error(J @ v, before) <= 1e-12
        assert error(J.T @ v, back) <= 1e-12


# --- passes ---------------------------------------------------------------------------------------


def rosenbrock(x):
    return anp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def test_folding_leaves_what_one_would_write_by_hand():
    program = hessian_operator(rosenbrock, np.linspace(-1, 1, 100)).program
    assert len(program.instructions) == 2
    assert all(isinstance(instruction, Sum) for instruction in program.instructions)

    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 100)), rng.integers(0, 2, 200)

    def logistic(w):
        z = X @ w
        return anp.mean(anp.logaddexp(0.0, z) - y * z) + 0.5 * anp.sum(w**2)

    kinds = [
        type(i).__name__ for i in hessian_operator(logistic, np.zeros(100)).program.instructions
    ]
    assert kinds == ["Contract", "Sum", "Contract", "Sum"]


def test_a_constant_is_computed_once():
    # Ten layers of the same elementwise function: one factor each way is left.
    def fun(x):
        y = x
        for _ in range(10):
            y = anp.sin(y) * 1.5 - 0.25
        return anp.sum(y)

    program = hessian_operator(fun, np.linspace(0.1, 1, 100)).program
    assert len(program.instructions) == 1
    assert program.bytes_kept == 100 * 8


def test_passes_are_linear_in_the_length():
    counts = []
    for steps in (50, 100, 200):

        def fun(x, steps=steps):
            y, total = x, 0.0
            for i in range(steps):
                y = y + 0.01 * anp.tanh(y) * x[i % 3]
                total = total + y[i % 3] ** 2
            return total

        closure = linear_map(fun, np.linspace(-1, 1, 5))
        *_, (_, program) = stages(tape_of(closure))
        terms = sum(len(i.terms) for i in program.instructions if isinstance(i, Sum))
        counts.append((len(program.instructions), terms))
    (a, b), (c, d), (e, f) = counts
    assert e - c <= 2.1 * (c - a)
    assert f - d <= 2.1 * (d - b)


def test_passes_leave_their_argument_alone():
    program = next(program for _, program in stages(tape_of(linear_map(rosenbrock, np.ones(9)))))
    before = str(program)
    for one_pass in PASSES:
        one_pass(program)
    assert str(program) == before


def test_a_long_sum_stays_one_instruction():
    def fun(x):
        total = 0.0
        for i in range(300):
            total = total + x[i] ** 3
        return total

    program = hessian_operator(fun, np.arange(1.0, 301.0)).program
    assert len(program.instructions) == 1
    np.testing.assert_allclose(
        Player(program, as_matrix=False)(np.ones(300)), 6 * np.arange(1.0, 301.0)
    )


def test_equal_opaque_terms_are_computed_once():
    A = 3 * np.eye(70) + np.random.default_rng(0).standard_normal((70, 70)) / 10

    def fun(x):
        y = anp.linalg.solve(A, x)
        z = anp.linalg.solve(A, x)
        return anp.sum(y**2 * z)

    program = hessian_operator(fun, np.ones(70)).program
    assert sum(isinstance(instruction, Opaque) for instruction in program.instructions) == 3


def test_a_program_prints_itself():
    text = str(hessian_operator(rosenbrock, np.linspace(-1, 1, 100)).program)
    head, *lines = text.splitlines()
    assert head.startswith("linear program 100 -> 100, float64: 2 instructions")
    assert len(lines) == 2
    assert lines[0].split()[:2] == ["%1", "add"]
    assert "%0[1:100]" in lines[0]
    assert all(unit in lines[0] for unit in ("flop", "B", "(99,)"))


def test_flops_and_bytes():
    A = np.random.default_rng(0).standard_normal((70, 70))
    program = hessian_operator(lambda x: x @ A @ x, np.ones(70)).program
    contractions = [i for i in program.instructions if isinstance(i, Contract)]
    assert program.flops >= 2 * 70 * 70 * len(contractions)
    assert program.bytes_kept <= 2 * A.nbytes
    assert program.rows == program.columns == 70
    smaller = replace(program, instructions=program.instructions[:1])
    assert smaller.flops < program.flops
