"""When operators record, what they fall back to, and what their programs are good for."""

import tracemalloc
import warnings
import weakref

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.extend import defvjp, primitive
from autograd.numpy import numpy_wrapper
from problems import rosenbrock, sum_of_squares
from scipy.sparse.linalg import spsolve
from tapes import error

import hessop.operators.compiling as compiling
import hessop.tape.sparse as sparse
from hessop import (
    NoProgramError,
    Objective,
    ProgramWarning,
    hessian_operator,
    jacobian_operator,
)
from hessop.tape.builder import Builder
from hessop.tape.player import Player
from hessop.tape.rules import RULES


def cubes(x):
    return anp.sum(x**3) + anp.sum(x) ** 2


def cubes_hessian(x):
    return np.diag(6.0 * x) + 2.0


@pytest.fixture
def recordings(monkeypatch):
    """How often a program was made."""
    made = []
    original = compiling.compiled

    def compiled(*args):
        made.append(args)
        return original(*args)

    monkeypatch.setattr(compiling, "compiled", compiled)
    return made


# --- when -----------------------------------------------------------------------------------------


def test_it_records_after_some_products(recordings):
    x = np.linspace(0.1, 1, 70)
    H = hessian_operator(cubes, x)
    v = np.ones(70)
    products = [H @ v for _ in range(compiling.RECORD_AFTER)]
    assert not recordings
    products += [H @ v for _ in range(30)]
    assert len(recordings) == 1
    for product in products:
        np.testing.assert_allclose(product, cubes_hessian(x) @ v, rtol=1e-13)
    assert H.n_matvec == len(products)


@pytest.mark.parametrize(
    "ask",
    [
        lambda H: H @ np.ones((70, compiling.RECORD_AFTER + 1)),
        lambda H: H.to_dense(),
        lambda H: H.to_sparse(),
        lambda H: H.compile(),
        lambda H: H.program,
    ],
)
def test_it_records_at_once_where_that_pays(recordings, ask):
    H = hessian_operator(cubes, np.linspace(0.1, 1, 70))
    ask(H)
    assert len(recordings) == 1
    H @ np.ones(70)
    ask(H)
    assert len(recordings) == 1


def test_a_block_counts_as_its_columns(recordings):
    H = hessian_operator(cubes, np.linspace(0.1, 1, 70))
    assert (H.matmat(np.ones((70, 1)))).shape == (70, 1)
    for _ in range(3):
        H @ np.ones((70, 6))
    assert not recordings
    H @ np.ones((70, 2))
    assert len(recordings) == 1
    small = hessian_operator(cubes, np.ones(3))  # three products are cheaper than a program
    np.testing.assert_allclose(small.to_dense(), cubes_hessian(np.ones(3)))
    assert len(recordings) == 1


def test_compile_returns_the_operator():
    H = hessian_operator(cubes, np.ones(3))
    J = jacobian_operator(lambda x: x**2, np.ones(3))
    for operator in (H, J):
        assert not operator.is_compiled
        assert operator.compile() is operator
        assert operator.is_compiled
        assert ", compiled, float64" in repr(operator)
    differences = hessian_operator(cubes, np.ones(3), mode="finite-difference")
    assert not differences.is_compiled


def test_an_objective_plays_the_same_program(recordings):
    objective = Objective(cubes, np.linspace(0.1, 1, 70))
    x = objective.x0
    v = np.ones(70)
    objective.hess(x).compile()
    np.testing.assert_allclose(objective.hessp(x, v), cubes_hessian(x) @ v, rtol=1e-13)
    objective.hess(x) @ v
    assert len(recordings) == 1
    assert objective.counts.nhessp == 2


def test_value_and_gradient_survive_recording():
    x = np.linspace(0.1, 1, 70)
    H = hessian_operator(cubes, x).compile()
    np.testing.assert_allclose(H.gradient, 3 * x**2 + 2 * x.sum(), rtol=1e-13)
    assert H.value == cubes(x)
    J = jacobian_operator(lambda x: x**2, x).compile()
    np.testing.assert_array_equal(J.value, x**2)


# --- what it falls back to ------------------------------------------------------------------------


@primitive
def crooked(x):
    return np.sum(x**2)


# A rule that is not linear in g.
defvjp(crooked, lambda ans, x: lambda g: bent(g, x))


@primitive
def bent(g, x):
    return np.abs(g) * 2 * x


defvjp(
    bent,
    lambda ans, g, x: lambda h: np.sign(g) * anp.sum(2 * x * h),
    lambda ans, g, x: lambda h: folded(h, g),
)


@primitive
def folded(h, g):
    return 2.0 * np.abs(h)


def test_what_is_not_linear_is_named_and_left_to_autograd():
    x = np.ones(70)
    H = hessian_operator(lambda x: crooked(x) + anp.sum(x**3), x)
    v = np.random.default_rng(0).standard_normal(70)
    expected = H @ v
    with pytest.warns(ProgramWarning, match="folded is not linear in v"):
        H @ np.ones((70, 30))
    np.testing.assert_array_equal(H @ v, expected)  # and no second warning
    with pytest.raises(NoProgramError, match=r"the Hessian of .* has no program: folded"):
        H.compile()
    with pytest.raises(NoProgramError, match="to_dense"):
        H.to_sparse()


def test_a_wrong_rule_is_found_and_named(monkeypatch):
    right = RULES[numpy_wrapper.multiply]
    monkeypatch.setitem(
        RULES,
        numpy_wrapper.multiply,
        lambda build, node, xs: build.scale(right(build, node, xs), 1.001, node.shape),
    )
    x = np.linspace(0.1, 1, 70)
    H = hessian_operator(cubes, x)
    with pytest.warns(ProgramWarning, match="multiply is lowered to something else"):
        product = H @ np.eye(70)
    np.testing.assert_allclose(product, cubes_hessian(x), rtol=1e-12, atol=1e-12)


def test_a_rule_that_fails_is_no_disaster(monkeypatch):
    def broken(*args, **kwargs):
        raise IndexError("out of range")

    monkeypatch.setattr(Builder, "scale", broken)
    x = np.linspace(0.1, 1, 70)
    H = hessian_operator(cubes, x)
    with pytest.warns(ProgramWarning, match="IndexError: out of range"):
        product = H @ np.eye(70)
    np.testing.assert_allclose(product, cubes_hessian(x), rtol=1e-12, atol=1e-12)


def test_differences_have_no_program():
    H = hessian_operator(cubes, np.ones(70), mode="finite-difference")
    for ask in (lambda: H.program, H.compile, H.to_sparse):
        with pytest.raises(ValueError, match=r"'finite-difference'.*cannot be compiled"):
            ask()
    assert error(H @ np.eye(70), cubes_hessian(np.ones(70))) < 1e-6


def test_a_product_that_is_not_finite_is_not_blamed_on_the_program():
    def fun(x):
        return anp.sum(anp.where(x > 0, x**1.5, 0.0))

    with warnings.catch_warnings():
        warnings.simplefilter("error", ProgramWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        H = hessian_operator(fun, np.array([0.0] * 40 + [1.0] * 40))
        with pytest.raises(ValueError, match=r"NaN|nan"):
            H @ np.ones((80, 30))
        with pytest.raises(ValueError, match=r"to_sparse.* not finite"):
            H.to_sparse()


def test_a_warning_points_at_the_users_line():
    H = hessian_operator(lambda x: crooked(x) + anp.sum(x**3), np.ones(70))
    with pytest.warns(ProgramWarning) as caught:
        H @ np.ones((70, 30))
    assert caught[0].filename == __file__


def test_an_ill_conditioned_product_is_forgiven_its_rounding():
    points = np.linspace(0, 1, 60)
    distances = (points[:, None] - points) ** 2

    def evidence(p):
        K = anp.exp(-distances * anp.exp(p[0])) + 1e-9 * np.eye(60)
        return 0.5 * points @ anp.linalg.solve(K, points) + 0.1 * p[1] ** 2

    H = hessian_operator(evidence, np.array([1.0, 0.5]))
    expected = np.column_stack([H @ e for e in np.eye(2)])
    assert error(H.compile() @ np.eye(2), expected) < 1e-3


def test_a_primitive_without_a_second_derivative_keeps_the_forward_program():
    @primitive
    def thrice(x):
        return 3.0 * x

    @primitive
    def thrice_back(g):
        return 3.0 * g

    @primitive
    def thrice_again(h):
        return 3.0 * h

    defvjp(thrice, lambda ans, x: lambda g: thrice_back(g))
    defvjp(thrice_back, lambda ans, g: lambda h: thrice_again(h))
    x = np.ones(100)
    J = jacobian_operator(lambda x: thrice(x) ** 2, x)
    with pytest.warns(ProgramWarning, match=r"the adjoint of the Jacobian .* thrice_again"):
        J.compile()
    np.testing.assert_allclose(J @ x, 18.0)
    np.testing.assert_allclose(J.T @ x, 18.0)
    assert J.program.rows == 100


def test_a_program_that_is_slower_than_autograd_is_not_played(monkeypatch):
    monkeypatch.setattr(compiling, "is_slower", lambda player, product: True)
    x = np.linspace(0.1, 1, 300)
    H = hessian_operator(lambda x: anp.sum(anp.cumsum(x) ** 3), x)
    before = H @ x
    assert any(type(i).__name__ == "Opaque" for i in H.compile().program.instructions)
    np.testing.assert_array_equal(H @ x, before)


def test_complex_steps_cost_what_they_cost_autograd():
    runs = []

    @primitive
    def phase(z):
        runs.append(1)
        return z * np.exp(0.3j)

    defvjp(phase, lambda ans, z: lambda g: phase(g))

    def fun(x):
        z = x + 0j * x
        for _ in range(10):
            z = phase(z) + 0.01 * z * z * anp.real(z[0])
        return anp.sum(anp.abs(z) ** 4)

    x = np.linspace(0.1, 1, 100)
    H = hessian_operator(fun, x)
    expected = H @ x
    runs.clear()
    H @ x
    by_autograd = len(runs)
    play = Player(H.program, as_matrix=False)
    runs.clear()
    assert error(play(x), expected) < 1e-12
    assert len(runs) <= by_autograd
    assert error(hessian_operator(fun, x).to_sparse(max_nnz=10**6) @ x, expected) < 1e-12


# --- sparse ---------------------------------------------------------------------------------------


def extended_rosenbrock(x):
    return anp.sum(100.0 * (x[1::2] - x[::2] ** 2) ** 2 + (1 - x[::2]) ** 2)


def grid_energy(x, side=300):
    u = anp.reshape(x, (side, side))
    across, down = u[:, 1:] - u[:, :-1], u[1:] - u[:-1]
    bending = anp.sum(anp.sqrt(1 + across**2)) + anp.sum(anp.sqrt(1 + down**2))
    return bending + 0.05 * anp.sum(u**2) - anp.sum(anp.sin(u))


def chained_elements(x):
    # The chained singular function (Conn, Gould and Toint): elements of four variables each.
    a, b, c, d = x[:-3:2], x[1:-2:2], x[2:-1:2], x[3::2]
    return anp.sum((a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4)


@pytest.mark.parametrize(
    ("fun", "n", "nonzeros"),
    [
        (extended_rosenbrock, 100_000, 200_000),
        (sum_of_squares(rosenbrock), 100_000, None),
        (grid_energy, 90_000, 90_000 + 4 * 300 * 299),
        (chained_elements, 100_000, None),
    ],
)
def test_newton_steps_of_large_sparse_problems(fun, n, nonzeros):
    x = np.random.default_rng(0).uniform(0.5, 1.5, n)
    H = hessian_operator(fun, x)
    matrix = H.to_sparse()
    assert matrix.shape == (n, n)
    assert nonzeros is None or matrix.nnz == nonzeros
    v = np.random.default_rng(1).standard_normal(n)
    other = hessian_operator(fun, x)  # its first product is autograd's
    assert error(matrix @ v, other @ v) < 1e-12
    assert abs(matrix - matrix.T).max() < 1e-12 * abs(matrix).max()
    step = spsolve(matrix.tocsc(), -H.gradient)
    assert np.linalg.norm(H @ step + H.gradient) < 1e-8 * np.linalg.norm(H.gradient)


def test_a_dense_matrix_is_refused_with_its_count():
    rng = np.random.default_rng(0)
    data = rng.standard_normal(200)

    def mixture(p):
        logits = -0.5 * (data[:, None] - p["means"]) ** 2 + p["weights"]
        top = anp.max(logits, axis=1, keepdims=True)
        return -anp.sum(anp.log(anp.sum(anp.exp(logits - top), axis=1)) + top[:, 0])

    H = hessian_operator(mixture, {"means": rng.standard_normal(50), "weights": np.zeros(50)})
    with pytest.raises(ValueError, match=r"[\d,]+ nonzeros so far, .* max_nnz=3,000"):
        H.to_sparse(max_nnz=3_000)
    np.testing.assert_allclose(H.to_sparse(max_nnz=10**6).toarray(), H.to_dense(), atol=1e-12)


def test_a_large_dense_matrix_is_refused_early():
    H = hessian_operator(lambda x: anp.sum(x) ** 2 + anp.sum(x**4), np.ones(100_000))
    tracemalloc.start()
    with pytest.raises(ValueError, match="not sparse enough"):
        H.to_sparse()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e9  # the dense matrix has 80 GB


def test_opaque_primitives_are_probed_where_few_columns_enter():
    def fun(x):
        return anp.sum(x**4) + anp.sum(anp.cumsum(x[:40]) ** 3) + anp.sum(anp.cumsum(x[40:90]) ** 3)

    x = np.linspace(0.1, 1, 300)
    np.testing.assert_allclose(
        hessian_operator(fun, x).to_sparse().toarray(), hessian_operator(fun, x).to_dense()
    )


def test_opaque_primitives_that_depend_on_much_are_named():
    n = 3 * sparse.PROBED_COLUMNS
    H = hessian_operator(lambda x: anp.sum(anp.cumsum(x) ** 3), np.ones(n))
    with pytest.raises(ValueError, match=f"cumsum .* {n} columns enter it"):
        H.to_sparse()


def test_single_precision_matrices_are_single():
    def fun(x):
        return anp.sum(x[1:] * x[:-1] ** 2) + anp.sum(x[np.arange(0, 100, 3)] ** 2)

    H = hessian_operator(fun, np.ones(100, dtype=np.float32))
    assert H.to_sparse().dtype == np.float32
    assert error(H.to_sparse().toarray(), H.to_dense()) < 1e-6


def test_a_large_constant_is_refused_before_it_is_taken_apart():
    X = np.random.default_rng(0).standard_normal((2000, 500))
    H = hessian_operator(lambda w: anp.sum(anp.logaddexp(0.0, X @ w)), np.zeros(500)).compile()
    tracemalloc.start()
    with pytest.raises(ValueError, match="1,000,000 nonzeros so far, in %1, a value on the way"):
        H.to_sparse(max_nnz=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes


def test_a_small_matrix_is_taken_as_it_is():
    H = hessian_operator(cubes, np.ones(10)).compile()
    np.testing.assert_array_equal(H.to_sparse().toarray(), H.to_dense())
    with pytest.raises(ValueError, match="100 nonzeros"):
        H.to_sparse(max_nnz=50)


def test_constant_hessians():
    H = hessian_operator(lambda x: anp.sum(x), np.ones(5))
    assert H.to_sparse().nnz == 0
    np.testing.assert_array_equal(H @ np.eye(5), 0.0)
    assert len(H.program.instructions) == 1


# --- memory ---------------------------------------------------------------------------------------


def network(rows=1000):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((rows, 100)), np.eye(10)[rng.integers(0, 10, rows)]
    p = {
        "W1": rng.standard_normal((100, 200)) / 10,
        "W2": rng.standard_normal((200, 200)) / 14,
        "W3": rng.standard_normal((200, 10)) / 14,
        "b1": np.zeros(200),
        "b2": np.zeros(200),
    }

    def fun(p):
        a = anp.tanh(X @ p["W1"] + p["b1"])
        a = anp.tanh(a @ p["W2"] + p["b2"])
        z = a @ p["W3"]
        top = anp.max(z, axis=1, keepdims=True)
        return anp.mean(anp.log(anp.sum(anp.exp(z - top), axis=1)) + top[:, 0] - anp.sum(Y * z, 1))

    return fun, p


def kept_by(make):
    tracemalloc.start()
    kept = make()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size, kept


def test_a_program_keeps_no_more_than_the_closure():
    fun, p = network()
    v = np.ones(hessian_operator(fun, p).shape[0])

    def closure():
        H = hessian_operator(fun, p)
        H @ v
        return H

    by_closure, _ = kept_by(closure)
    by_program, H = kept_by(lambda: closure().compile())
    buffers, _ = kept_by(lambda: H @ v)
    print("MB:", *(f"{n / 1e6:.1f}" for n in (by_closure, by_program, buffers)))
    assert by_program <= by_closure
    assert H.program.bytes_kept <= by_closure
    assert buffers <= by_closure


def test_products_allocate_little():
    # Sixty layers: what a product allocates must not grow with them.
    def fun(x, layers):
        y = x
        for _ in range(layers):
            y = anp.tanh(y + 0.1 * y[::-1])
        return anp.sum(y)

    peaks = []
    for layers in (5, 60):
        H = hessian_operator(fun, np.linspace(-1, 1, 10_000), args=(layers,)).compile()
        v = np.ones(10_000)
        H @ v
        tracemalloc.start()
        H @ v
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_an_opaque_instruction_does_not_keep_the_tape(monkeypatch):
    monkeypatch.setattr(compiling, "is_slower", lambda player, product: False)

    @primitive
    def own(x):
        return np.sum(x**2)

    defvjp(own, lambda ans, x: lambda g: 2 * g * x)

    def fun(x, last):
        y = x
        for _ in range(20):
            y = anp.sin(y) + anp.cos(y)
        return last(y)

    x = np.linspace(0, 1, 50_000)
    sizes = [
        kept_by(lambda last=last: hessian_operator(fun, x, args=(last,)).compile())[0]
        for last in (lambda y: anp.sum(y**2), lambda y: anp.sum(anp.cumsum(y) ** 2))
    ]
    assert sizes[1] < sizes[0] + 6 * x.nbytes


def test_the_recording_is_let_go():
    class Data(np.ndarray):
        pass

    data = np.ones(50).view(Data)
    alive = weakref.ref(data)
    H = hessian_operator(lambda x, d: anp.sum(x**3 * np.asarray(d)), np.ones(50), args=(data,))
    H = H.compile()
    H._remake = None
    del data
    H @ np.ones(50)
    assert alive() is None
