"""Inverses by factorising a program: against dense solves, determinants, and closed forms."""

import copy
import itertools
import pickle

import autograd.numpy as anp
import autograd.scipy.linalg as asl
import module_level
import numpy as np
import pytest
from cases import CASES
from scipy.sparse import csr_array, eye_array, random_array
from scipy.sparse.linalg import splu, spsolve

from hessop import (
    DiagonalOperator,
    NoProgramError,
    factorized_inverse,
    fisher_operator,
    gauss_newton_operator,
    hessian_operator,
    jacobian_operator,
    likelihoods,
)
from hessop.operators.fill_in import estimated_fill
from hessop.tape.elimination import linear_system

# Relative residuals that are asked of deep networks.
RESIDUAL = 1e-10


def condition(dense):
    singular = np.linalg.svd(dense, compute_uv=False)
    return singular[0] / singular[-1] if singular[-1] else np.inf


def residual(H, F, b, damping=0.0):
    x = F @ b
    return np.linalg.norm(H @ x + damping * x - b) / np.linalg.norm(b)


# --- every case of the table ----------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_inverse_and_determinant_are_those_of_the_dense_matrix(case):
    H = hessian_operator(case.fun, case.x, args=case.args)
    dense = case.hessian()
    if condition(dense) < 1e8:
        F = factorized_inverse(H)
        B = np.random.default_rng(0).standard_normal((len(dense), 3))
        exact = np.linalg.solve(dense, B)
        assert np.linalg.norm(F @ B - exact) < 1e-8 * np.linalg.norm(exact)
        assert np.linalg.norm(F @ B[:, 0] - exact[:, 0]) < 1e-8 * np.linalg.norm(exact[:, 0])
        sign, logabsdet = np.linalg.slogdet(dense)
        assert F.sign == sign
        assert F.logdet() == pytest.approx(-logabsdet, rel=1e-9, abs=1e-9)
        assert F.slogdet() == (F.sign, F.logdet())
        # The estimate in the 1-norm is a lower bound, and seldom off by more than a few times.
        assert 0.1 < F.condition / np.linalg.cond(dense, 1) < 1.001
    elif condition(dense) > 1e17:
        with pytest.raises(np.linalg.LinAlgError, match="singular up to rounding"):
            factorized_inverse(H)
        F = factorized_inverse(H, damping=2.0 * np.abs(dense).sum(axis=0).max() or 1.0)
        B = np.random.default_rng(0).standard_normal((len(dense), 2))
        exact = np.linalg.solve(dense + F.damping * np.eye(len(dense)), B)
        assert np.linalg.norm(F @ B - exact) < 1e-10 * np.linalg.norm(exact)


# --- networks -------------------------------------------------------------------------------------


def deep_network(depth, penalty=1e-2, *, width=4, batch=3, seed=0):
    """A tanh network with squared error; singular without the penalty, as width > batch."""
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((batch, batch))
    targets = rng.standard_normal((batch, width))
    sizes = [batch] + [width] * depth
    pairs = itertools.pairwise(sizes)
    weights = [1.2 * rng.standard_normal(pair) / np.sqrt(pair[0]) for pair in pairs]

    def loss(weights):
        values = images
        for W in weights:
            values = anp.tanh(values @ W)
        squares = anp.sum((values - targets) ** 2)
        return (squares + penalty * sum([anp.sum(W**2) for W in weights])) / 2

    return loss, weights


@pytest.mark.parametrize("depth", [2, 4, 8, 16, 32, 64, 128, 256])
def test_deep_networks_of_width_four(depth):
    H = hessian_operator(*deep_network(depth))
    F = factorized_inverse(H)
    b = np.random.default_rng(1).standard_normal((H.shape[0], 2))
    assert residual(H, F, b) < RESIDUAL
    # Linear in the depth: the same number of unknowns and of nonzeros for each layer.
    assert F.unknowns < 170 * depth
    assert F.nnz < 5500 * depth
    if depth <= 32:
        sign, logabsdet = np.linalg.slogdet(H.to_dense(symmetrize=True))
        assert (F.sign, F.logdet()) == (sign, pytest.approx(-logabsdet, rel=1e-10))


def shallow_network(examples, inputs, hidden, outputs):
    """Section 5 of H. Lee's paper: one hidden layer, squared error."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((examples, inputs))
    targets = rng.uniform(-0.9, 0.9, (examples, outputs))
    weights = {
        "W1": rng.standard_normal((inputs, hidden)) / np.sqrt(inputs),
        "W2": rng.standard_normal((hidden, outputs)) / np.sqrt(hidden),
    }

    def loss(w):
        return anp.sum((anp.tanh(anp.tanh(images @ w["W1"]) @ w["W2"]) - targets) ** 2) / 2

    return loss, weights


def nullity(examples, inputs, hidden, outputs):
    """Directions that neither a loss nor its gradient sees.

    Weights from inputs that no example combines (inputs > examples), and weights of the second
    layer of rank one, from hidden values to errors that no example has.
    """
    first = max(0, inputs - examples) * hidden
    return first + max(0, hidden - examples) * max(0, outputs - examples)


@pytest.mark.parametrize(
    "sizes",
    [
        *[(4, 4, 4, 4), (4, 4, 3, 2), (4, 4, 8, 2), (3, 3, 3, 4), (4, 4, 3, 1), (1, 1, 1, 1)],
        *[(5, 4, 3, 2), (8, 4, 3, 2), (40, 4, 3, 2), (6, 3, 4, 5)],  # more examples than inputs
        *[(3, 4, 3, 2), (2, 4, 3, 2), (4, 5, 6, 5)],  # fewer
        *[(3, 3, 4, 4), (2, 2, 4, 4), (4, 4, 6, 5)],  # wider than there are examples
    ],
    ids=str,
)
def test_the_network_of_section_5(sizes):
    H = hessian_operator(*shallow_network(*sizes))
    dense = H.to_dense(symmetrize=True)
    eigenvalues = np.linalg.eigvalsh(dense)
    zero = np.abs(eigenvalues) < 1e-11 * np.abs(eigenvalues).max()
    assert np.count_nonzero(zero) == nullity(*sizes)
    if nullity(*sizes):
        with pytest.raises(np.linalg.LinAlgError, match=r"singular .*damping"):
            factorized_inverse(H)
        F = factorized_inverse(H, damping=0.1)
        dense = dense + 0.1 * np.eye(len(dense))
    else:
        F = factorized_inverse(H)
    v = np.random.default_rng(2).standard_normal(len(dense))
    exact = np.linalg.solve(dense, v)
    assert np.linalg.norm(F @ v - exact) < 1e-9 * np.linalg.norm(exact)


# --- large and structured problems ----------------------------------------------------------------


def test_extended_rosenbrock_with_a_hundred_thousand_variables():
    def rosenbrock(x):
        return anp.sum(100.0 * (x[1::2] - x[::2] ** 2) ** 2 + (1.0 - x[::2]) ** 2)

    n = 100_000
    x = np.random.default_rng(0).uniform(-1.5, 1.5, n)
    H = hessian_operator(rosenbrock, x)
    F = factorized_inverse(H)
    b = np.random.default_rng(1).standard_normal(n)
    # By hand: pairs of variables, with 2 x 2 blocks [[p, q], [q, 200]].
    first, second = x[::2], x[1::2]
    p, q = 1200.0 * first**2 - 400.0 * second + 2.0, -400.0 * first
    determinant = 200.0 * p - q**2
    exact = np.empty(n)
    exact[::2] = (200.0 * b[::2] - q * b[1::2]) / determinant
    exact[1::2] = (p * b[1::2] - q * b[::2]) / determinant
    assert np.linalg.norm(F @ b - exact) < 1e-10 * np.linalg.norm(exact)
    assert F.logdet() == pytest.approx(-np.sum(np.log(np.abs(determinant))), rel=1e-12)
    assert F.sign == (-1.0) ** np.count_nonzero(determinant < 0)


def test_a_dense_hessian_by_sparse_factors():
    def fun(x):
        return anp.log(anp.sum(anp.exp(x))) + 0.5 * anp.sum(x**2)

    n = 5000
    x = np.random.default_rng(0).standard_normal(n)
    p = np.exp(x) / np.exp(x).sum()
    # By Sherman and Morrison: H = diag(1 + p) - p pᵀ.
    b = np.random.default_rng(1).standard_normal(n)
    inner, scaled = b / (1 + p), p / (1 + p)
    exact = inner + scaled * (p @ inner) / (1 - p @ scaled)
    F = factorized_inverse(hessian_operator(fun, x))
    assert np.linalg.norm(F @ b - exact) < 1e-13 * np.linalg.norm(exact)
    assert F.nnz < 30 * n


def test_a_gaussian_process():
    # Hyperparameters, through a Cholesky factorisation: a few unknowns, large values in between.
    rng = np.random.default_rng(0)
    t = np.sort(rng.uniform(0.0, 5.0, 30))
    y = np.sin(2 * t) + 0.1 * rng.standard_normal(30)

    def evidence(theta):
        length, signal, noise = anp.exp(theta)
        K = signal**2 * anp.exp(-((t[:, None] - t) ** 2) / (2 * length**2))
        L = anp.linalg.cholesky(K + (noise**2 + 1e-8) * anp.eye(30))
        a = asl.solve_triangular(L, y, lower=True)
        return 0.5 * anp.sum(a**2) + anp.sum(anp.log(anp.diag(L)))

    H = hessian_operator(evidence, np.array([-0.5, 0.1, -1.5]))
    F = factorized_inverse(H)
    assert np.allclose(F @ np.eye(3), np.linalg.inv(H.to_dense()), rtol=1e-9)

    # Its values, with a likelihood that is not Gaussian: as many unknowns as data.
    K = np.exp(-((t[:, None] - t) ** 2) / 2) + 0.1 * np.eye(30)
    counts = rng.poisson(np.exp(np.sin(t)))

    def posterior(f):
        return 0.5 * f @ anp.linalg.solve(K, f) + anp.sum(anp.exp(f) - counts * f)

    f = rng.standard_normal(30)
    exact = np.linalg.inv(np.linalg.inv(K) + np.diag(np.exp(f)))
    F = factorized_inverse(hessian_operator(posterior, f))
    assert np.allclose(F @ np.eye(30), exact, rtol=1e-9, atol=1e-12)


def test_values_of_a_gaussian_process_through_an_opaque_solve():
    n = 300  # beyond what is probed by columns of the argument
    t = np.linspace(0.0, 5.0, n)
    K = np.exp(-((t[:, None] - t) ** 2) * 50) + 0.1 * np.eye(n)
    rng = np.random.default_rng(0)
    f = rng.standard_normal(n)

    def posterior(f):
        return 0.5 * f @ anp.linalg.solve(K, f) + anp.sum(anp.exp(f))

    F = factorized_inverse(hessian_operator(posterior, f))
    b = rng.standard_normal(n)
    exact = np.linalg.solve(np.linalg.inv(K) + np.diag(np.exp(f)), b)
    assert np.linalg.norm(F @ b - exact) < 1e-9 * np.linalg.norm(exact)


def runge_kutta(rates, steps=20, h=0.3):
    """Lotka and Volterra's equations, by the classical method of fourth order."""

    def speed(state):
        prey, predator = state
        a, b, c, d = rates
        return anp.array([a * prey - b * prey * predator, c * prey * predator - d * predator])

    states = [anp.array([1.0, 0.5])]
    for _ in range(steps):
        state = states[-1]
        k1 = speed(state)
        k2 = speed(state + h / 2 * k1)
        k3 = speed(state + h / 2 * k2)
        k4 = speed(state + h * k3)
        states.append(state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    return anp.array(states)


def test_a_runge_kutta_fit():
    truth = np.array([1.0, 0.8, 0.6, 1.2])
    data = runge_kutta(truth) + 0.05 * np.random.default_rng(0).standard_normal((21, 2))
    H = hessian_operator(lambda rates: anp.sum((runge_kutta(rates) - data) ** 2), truth)
    F = factorized_inverse(H)
    dense = H.to_dense()
    assert np.allclose(F @ np.eye(4), np.linalg.inv(dense), rtol=1e-8)
    assert -F.logdet() == pytest.approx(np.linalg.slogdet(dense)[1], rel=1e-11)


def test_a_trajectory_with_all_its_states_as_unknowns():
    # Collocation: the Hessian is sparse, and so are its factors.
    n = 2000
    h = 10.0 / n
    x = np.stack([np.sin(np.arange(n) * h), np.cos(np.arange(n) * h)])

    def misfit(x):
        angle, speed = x
        drift = angle[1:] - angle[:-1] - h * (speed[1:] + speed[:-1]) / 2
        force = speed[1:] - speed[:-1] + h * (anp.sin(angle[1:]) + anp.sin(angle[:-1])) / 2
        return (anp.sum(drift**2) + anp.sum(force**2)) / h**2 + anp.sum(x**2) * h

    H = hessian_operator(misfit, x)
    F = factorized_inverse(H)
    b = np.random.default_rng(0).standard_normal(2 * n)
    exact = spsolve(H.to_sparse().tocsc(), b)
    assert np.linalg.norm(F @ b - exact) < 1e-6 * np.linalg.norm(exact)
    assert residual(H, F, b) < 1e-6
    assert F.nnz < 200 * n


# --- ill-conditioned matrices, and units ----------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-200, 1e-12, 1.0, 1e12, 1e150])
@pytest.mark.parametrize("orders", [4, 8, 12])
def test_residuals_do_not_depend_on_the_unit(scale, orders):
    rng = np.random.default_rng(0)
    Q, _ = np.linalg.qr(rng.standard_normal((20, 20)))
    A = (Q * np.geomspace(1.0, 10.0**orders, 20)) @ Q.T
    b = rng.standard_normal(20)
    F = factorized_inverse(hessian_operator(lambda x: 0.5 * scale * (x @ (A @ x)), np.ones(20)))
    x = scale * (F @ b)
    by_numpy = np.linalg.norm(A @ np.linalg.solve(A, b) - b)
    assert np.linalg.norm(A @ x - b) < 10 * max(by_numpy, 1e-14 * np.linalg.norm(b))
    expected = np.linalg.slogdet(A).logabsdet + 20 * np.log(scale)
    assert -F.logdet() == pytest.approx(expected, abs=1e-15 * 10.0**orders + 1e-10)


def test_variables_in_different_units_are_not_taken_for_a_singular_matrix():
    units = np.geomspace(1.0, 1e-8, 8)
    x = units * np.linspace(-1.0, 1.0, 8)
    F = factorized_inverse(
        hessian_operator(lambda x: anp.sum(anp.exp(x / units) + 0.5 * (x / units) ** 2), x)
    )
    exact = units**2 / (np.exp(x / units) + 1.0)
    assert F.condition > 1e15
    assert np.allclose(F @ np.ones(8), exact, rtol=1e-13)


# --- other operators, other numbers ---------------------------------------------------------------


def test_gauss_newton_and_fisher_matrices():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((20, 3))
    labels = rng.integers(0, 3, 20)

    def model(weights):
        return features @ weights

    def loss(scores):
        peak = anp.max(scores, axis=1, keepdims=True)
        logs = anp.log(anp.sum(anp.exp(scores - peak), axis=1, keepdims=True)) + peak
        return -anp.sum((scores - logs)[anp.arange(20), labels])

    x = rng.standard_normal((3, 3))
    b = rng.standard_normal(9)
    for A in (
        gauss_newton_operator(model, loss, x),
        fisher_operator(model, likelihoods.Categorical(), x),
        hessian_operator(lambda x: loss(model(x)), x),
    ):
        # Adding a constant to all scores changes nothing: three directions without curvature.
        with pytest.raises(np.linalg.LinAlgError, match="singular"):
            factorized_inverse(A)
        F = factorized_inverse(A, damping=0.5)
        exact = np.linalg.solve(A.to_dense() + 0.5 * np.eye(9), b)
        assert np.allclose(F @ b, exact, rtol=1e-12)
        sign, logabsdet = np.linalg.slogdet(A.to_dense() + 0.5 * np.eye(9))
        assert (F.sign, -F.logdet()) == (sign, pytest.approx(logabsdet, rel=1e-12))


def test_trees_blocks_and_copies():
    def fun(p):
        return anp.sum(p["a"] ** 2) * p["b"] + anp.sum(anp.cosh(p["a"])) + p["b"] ** 2

    H = hessian_operator(fun, {"a": np.array([0.5, -1.0]), "b": 2.0})
    F = factorized_inverse(H)
    inverse = np.linalg.inv(H.to_dense())
    tree = F.matvec_tree({"a": np.array([1.0, 2.0]), "b": 3.0})
    assert np.allclose([*tree["a"], tree["b"]], inverse @ [1.0, 2.0, 3.0], rtol=1e-13)
    assert np.allclose(F.to_dense(), inverse, rtol=1e-13)
    assert np.allclose(F.diagonal(), np.diag(inverse), rtol=1e-13)
    assert F.T is F
    assert (F @ np.empty((3, 0))).shape == (3, 0)
    before = F.n_matvec
    F @ np.ones((3, 5))
    assert F.n_matvec == before + 5
    assert copy.copy(F).n_matvec == 0
    assert np.array_equal(copy.deepcopy(F) @ np.ones(3), F @ np.ones(3))
    assert "FactorizedInverse of HessianOperator fun" in repr(F)


def test_large_blocks_are_solved_in_parts(monkeypatch):
    import hessop.solvers.factorized as factorized

    H = hessian_operator(*deep_network(2))
    F = factorized_inverse(H)
    B = np.random.default_rng(0).standard_normal((H.shape[0], 7))
    whole = F @ B
    monkeypatch.setattr(factorized, "_BLOCK_ENTRIES", 2 * F.unknowns)
    assert np.allclose(F @ B, whole, rtol=1e-12)


def test_pickles():
    H = hessian_operator(module_level.cubes, {"a": np.array([1.0, -2.0]), "b": 0.5})
    F = factorized_inverse(H, damping=0.5)
    again = pickle.loads(pickle.dumps(F))
    assert np.array_equal(again @ np.ones(3), F @ np.ones(3))
    assert again.damping == 0.5


def test_single_precision():
    loss, weights = deep_network(8, penalty=0.1)
    H = hessian_operator(loss, [W.astype(np.float32) for W in weights])
    F = factorized_inverse(H)
    assert F.dtype == np.float32
    b = np.random.default_rng(0).standard_normal(H.shape[0]).astype(np.float32)
    assert (F @ b).dtype == np.float32
    assert residual(H, F, b) < 1e-4


# --- the system -----------------------------------------------------------------------------------


def test_the_determinant_of_the_system_is_that_of_the_matrix():
    for n in (2, 3):  # an even and an odd number of columns to be moved
        H = hessian_operator(lambda x: anp.sum(anp.sin(x)) * anp.sum(x**2), np.arange(1.0, n + 1))
        for damping in (0.0, 0.7):
            system = linear_system(H.program, damping, 10**6)
            sign, logabsdet = np.linalg.slogdet(system.matrix.toarray())
            expected = np.linalg.slogdet(H.to_dense() + damping * np.eye(n))
            assert system.sign * sign == expected.sign
            assert logabsdet == pytest.approx(expected.logabsdet, rel=1e-12)


@pytest.mark.parametrize("n", [400, 2500])
def test_fill_in_is_estimated_to_a_factor(n):
    rng = np.random.default_rng(0)
    side = int(np.sqrt(n))
    line = eye_array(side, k=1) + eye_array(side, k=-1)
    grid = csr_array(
        4.0 * eye_array(n)
        - (csr_array(np.kron(line.toarray(), np.eye(side))))
        - (csr_array(np.kron(np.eye(side), line.toarray())))
    )
    scattered = random_array((n, n), density=3.0 / n, rng=rng) + 5.0 * eye_array(n)
    chain = eye_array(n) * 3.0 + eye_array(n, k=1) + eye_array(n, k=-1)
    arrow = csr_array(eye_array(n) * 3.0 + csr_array((np.ones(n), (np.zeros(n), range(n))), (n, n)))
    for matrix in (grid, scattered, chain, arrow + arrow.T):
        matrix = csr_array(matrix)
        stored = splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A").nnz
        estimate = estimated_fill(matrix, limit=max(2 * n, stored // 10))
        assert 0.09 < estimate / stored < 8
        assert estimated_fill(matrix, limit=10 * n**2) <= 10 * n**2


def test_fill_in_of_wide_layers_is_refused_soon():
    # The graph of this one has a hundred million edges after a few rounds.
    H = hessian_operator(*deep_network(2, width=48, batch=48))
    with pytest.raises(ValueError, match="more than max_nnz=20,000,000"):
        factorized_inverse(H, max_nnz=20_000_000)


# --- refusals -------------------------------------------------------------------------------------


def test_too_much_fill_in_is_refused_with_its_size():
    def grid(u):
        return anp.sum((u[1:] - u[:-1]) ** 2) + anp.sum((u[:, 1:] - u[:, :-1]) ** 2) + anp.sum(u**4)

    u = np.random.default_rng(0).standard_normal((100, 100))
    with pytest.raises(ValueError, match=r"about [\d,]+ nonzeros .* max_nnz=1,000,000") as refusal:
        factorized_inverse(hessian_operator(grid, u), max_nnz=1_000_000)
    assert "solve(A, b)" in str(refusal.value)
    with pytest.raises(ValueError, match=r"has 168,600 nonzeros, more than max_nnz=1,000"):
        factorized_inverse(hessian_operator(grid, u), max_nnz=1_000)


def test_an_opaque_primitive_that_reads_too_much_is_named():
    def fun(x):
        return anp.sum(anp.cumsum(x) ** 2) + anp.sum(anp.real(anp.fft.fft(x)) ** 2)

    with pytest.raises(ValueError, match=r"reads 3,000 numbers.*Solve with products"):
        factorized_inverse(hessian_operator(fun, np.ones(3000)))


def test_what_is_not_recorded_is_refused():
    x = np.array([1.0, 2.0])
    H = hessian_operator(lambda x: anp.sum(x**4), x)
    with pytest.raises(TypeError, match=r"DiagonalOperator, which has an exact inverse: A.inverse"):
        factorized_inverse(DiagonalOperator(x))
    with pytest.raises(TypeError, match=r"CombinedOperator, expected an operator .* damping="):
        factorized_inverse(H + eye_array(2))
    with pytest.raises(TypeError, match="ndarray, expected an operator made of a function"):
        factorized_inverse(np.eye(2))
    with pytest.raises(TypeError, match=r"JacobianOperator of shape .*, expected a symmetric"):
        factorized_inverse(jacobian_operator(lambda x: x**2, x))
    with pytest.raises(ValueError, match="difference"):
        factorized_inverse(hessian_operator(None, x, grad=lambda x: 4 * x**3))
    with pytest.raises(ValueError, match="damping is nan"):
        factorized_inverse(H, damping=np.nan)


def test_no_program_no_factors(monkeypatch):
    H = hessian_operator(lambda x: anp.sum(x**4), np.ones(2))

    def refuse(self):
        raise NoProgramError("fun has no program: there is a reason.")

    monkeypatch.setattr(type(H), "program", property(refuse))
    with pytest.raises(
        NoProgramError, match=r"there is a reason. Solve with products alone: solve\(A, b\)"
    ):
        factorized_inverse(H)
