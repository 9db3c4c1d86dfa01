"""Newton steps against dense linear algebra, and one-step re-training against real training."""

import pickle

import autograd.numpy as anp
import numpy as np
import optree
import pytest
import scipy.linalg
import scipy.optimize
from autograd import grad
from autograd.scipy.special import logsumexp
from cases import CASES, flat, flat_function, normal
from problems import PROBLEMS
from scipy.optimize._trustregion_ncg import CGSteihaugSubproblem
from scipy.sparse import csr_array
from scipy.sparse.linalg import aslinearoperator
from structures import orthonormal, symmetric

from hessop import (
    DenseOperator,
    DiagonalOperator,
    NonFiniteError,
    NotConvergedWarning,
    Objective,
    fisher_operator,
    hessian_operator,
    likelihoods,
    minimize,
    newton_retrain,
    newton_step,
)
from hessop.operators.foreign import as_symmetric
from hessop.solvers.damped import damping_for, solve_damped
from hessop.solvers.truncated import steihaug
from hessop.spectrum.intervals import SpectralInterval

CASE = pytest.mark.parametrize(
    "case", [case for case in CASES if "linear" not in case.tags], ids=lambda case: case.name
)


def rosenbrock(x):
    return anp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def saddle(x):
    return x[0] ** 2 - x[1] ** 2


def energy(p):
    return anp.sum(anp.cosh(p["a"])) + 0.5 * (p["b"] - anp.sum(p["a"])) ** 2


TREE = {"a": np.array([[0.3, -0.2], [0.1, 0.5]]), "b": 1.0}


def with_hessian(A, g):
    """The function of gradient g and Hessian A at zero."""
    return lambda x: 0.5 * anp.dot(x, anp.dot(A, x)) + anp.dot(g, x)


# --- the step, its damping and its figures --------------------------------------------------------


@CASE
def test_a_step_solves_the_damped_system(case):
    gradient = grad(flat_function(case.fun, case.x, case.args))(flat(case.x))
    H = case.hessian()
    eigenvalues = np.linalg.eigvalsh(H)
    newton = newton_step(case.fun, case.x, args=case.args)
    damped = H + newton.damping * np.eye(len(H))
    assert np.linalg.eigvalsh(damped)[0] > 0.0
    assert np.linalg.cond(damped) < 1.001e8
    # None without need, and not much more than is needed.
    if eigenvalues[0] > 1e-7 * eigenvalues[-1]:
        assert newton.damping == 0.0
    else:
        least = max(2.0 * -eigenvalues[0], 1e-8 * eigenvalues[-1])
        again = "Then the solve ended as" in newton.damping_reason
        assert newton.damping == pytest.approx((10.0 if again else 1.0) * least, rel=0.03)

    step = flat(newton.step)
    size = np.linalg.norm(gradient)
    rounding = 1e-15 * np.linalg.norm(damped) * np.linalg.norm(step)
    assert np.linalg.norm(damped @ step + gradient) <= 1e-8 * size + rounding
    assert optree.tree_structure(newton.step) == optree.tree_structure(case.x)
    assert [np.shape(leaf) for leaf in optree.tree_leaves(newton.step)] == [
        np.shape(leaf) for leaf in optree.tree_leaves(case.x)
    ]
    np.testing.assert_allclose(flat(newton.moved()), flat(case.x) + step, rtol=1e-14)
    np.testing.assert_allclose(flat(newton.moved(0.5)), flat(case.x) + step / 2, rtol=1e-14)

    assert newton.is_descent
    assert newton.value == pytest.approx(float(np.squeeze(case.fun(case.x, *case.args))))
    assert newton.gradient_norm == pytest.approx(size)
    assert newton.slope == pytest.approx(gradient @ step)
    decrement = np.sqrt(gradient @ np.linalg.solve(damped, gradient))
    assert newton.decrement == pytest.approx(decrement, rel=1e-6)
    model = gradient @ step + step @ H @ step / 2
    assert newton.predicted_decrease == pytest.approx(-model, rel=1e-8)


@CASE
def test_negative_curvature_is_found(case):
    H = case.hessian()
    eigenvalues = np.linalg.eigvalsh(H)
    newton = newton_step(case.fun, case.x, args=case.args)
    found = newton.negative_curvature
    assert (found is not None) == (eigenvalues[0] < -1e-12 * np.abs(eigenvalues).max())
    if found is None:
        return
    direction = flat(found.direction)
    gradient = grad(flat_function(case.fun, case.x, case.args))(flat(case.x))
    assert np.linalg.norm(direction) == pytest.approx(1.0)
    assert found.value == pytest.approx(direction @ H @ direction, rel=1e-6)
    assert found.value == pytest.approx(eigenvalues[0], rel=1e-6)
    assert direction @ gradient <= 0.0


def test_the_spectrum_and_the_reason_say_what_was_seen():
    A, g = symmetric(1, 0.5, 1.0, 2.0, 8.0), normal(2, 4)
    newton = newton_step(with_hessian(A, g), np.zeros(4))
    assert newton.spectrum.least == pytest.approx(0.5)
    assert newton.spectrum.largest == pytest.approx(8.0)
    assert newton.damping_reason == (
        "4 products saw eigenvalues from 0.5 to 8, a condition of 16: none is needed."
    )
    newton = newton_step(with_hessian(A, g), np.zeros(4), max_condition=4.0)
    assert newton.damping == pytest.approx(2.0)  # (8 + 2) / (0.5 + 2) = 4
    assert newton.damping_reason == (
        "4 products saw eigenvalues from 0.5 to 8: 2 makes the condition 4."
    )
    newton = newton_step(with_hessian(A - 3.0 * np.eye(4), g), np.zeros(4))
    assert newton.damping == pytest.approx(5.0)
    assert newton.damping_reason == (
        "4 products saw eigenvalues from -2.5 to 5: 5 turns the least into its magnitude."
    )
    newton = newton_step(with_hessian(A - 3.0 * np.eye(4), g), np.zeros(4), max_condition=1.5)
    assert newton.damping == pytest.approx(17.5)  # (5 + 17.5) / (-2.5 + 17.5) = 1.5


def test_a_maximum_is_left():
    x = np.array([0.1, -0.2, 0.3])
    newton = newton_step(lambda x: -anp.sum(anp.cosh(x)), x)
    np.testing.assert_allclose(np.sign(newton.step), np.sign(x))
    assert newton.is_descent


@pytest.mark.parametrize("seed", range(5))
def test_curvature_that_the_measurement_missed_raises_the_damping(seed):
    """A crowd of small eigenvalues, some of them negative, hides from thirty steps of Lanczos."""
    eigenvalues = np.r_[np.logspace(-4, 0, 397), -1e-3, -3e-4, -1e-5]
    Q = orthonormal(normal(seed, 400, 400))
    A, g = (Q * eigenvalues) @ Q.T, normal(seed + 10, 400)
    newton = newton_step(with_hessian(A, g), np.zeros(400))
    assert "Then the solve met a curvature of -" in newton.damping_reason
    assert f"raised to {newton.damping:.3g}." in newton.damping_reason
    assert 1e-3 < newton.damping < 4e-3
    step = -np.linalg.solve(A + newton.damping * np.eye(400), g)
    np.testing.assert_allclose(newton.step, step, rtol=0, atol=1e-6 * np.linalg.norm(step))
    assert newton.is_descent
    assert newton.solution.negative_curvature is None
    found = newton.negative_curvature
    assert found.value == pytest.approx(found.direction @ A @ found.direction, rel=1e-6)
    assert -1.0000001e-3 <= found.value < -1e-4
    assert newton.spectrum.n_matvec > 30


def measured(least, largest, least_error=0.0):
    return SpectralInterval(least, largest, least_error, 0.0, np.ones(3), 7, False)


@pytest.mark.parametrize(
    ("ends", "value", "reason"),
    [
        (
            measured(1e-8, 1.0, 0.3),
            0.0,
            "from 1e-08 to 1, a condition of 1e+08 at least: none is needed.",
        ),
        (measured(0.9e-8, 1.0), 1e-9, "from 9e-09 to 1: 1e-09 makes the condition 1e+08."),
        (measured(-1e-17, 1.0, 0.1), 1e-8, "from -1e-17 to 1: 1e-08 makes the condition 1e+08."),
        (measured(-0.1, 1.0, 0.02), 0.2, "from -0.1 to 1: 0.2 turns the least into its magnitude."),
        (measured(-0.1, 1.0, 0.5), 0.6, "from -0.1 to 1, the least up to 0.5: 0.6 outweighs both."),
        (measured(-2.0, -1.0), 4.0, "from -2 to -1: 4 turns the least into its magnitude."),
    ],
)
def test_the_rule(ends, value, reason):
    damping = damping_for(ends, 1e8, 1e-14)
    assert damping.value == pytest.approx(value, rel=1e-6)
    assert damping.reason == f"7 products saw eigenvalues {reason}"


def test_a_condition_is_not_resolved_beyond_rounding():
    damping = damping_for(measured(1e-7, 1.0), 1e8, 1e-5)
    assert damping.value == pytest.approx(1e-5, rel=0.02)


def test_a_wrong_measurement_is_mended():
    Q = orthonormal(normal(18, 200, 200))
    A = as_symmetric((Q * np.r_[-1.0, np.linspace(0.01, 1.0, 199)]) @ Q.T)
    b, before = normal(19, 200), A.n_matvec
    found = solve_damped(A, b, measured(-0.1, 1.5), 1e8, 1e-14, rtol=1e-8)
    assert found.damping.value == pytest.approx(2.0, rel=0.1)
    assert (
        "0.2 turns the least into its magnitude. Then the solve met a curv" in found.damping.reason
    )
    met = float(found.damping.reason.split("curvature of ")[1].split(":")[0])
    assert -1.0 <= met < -0.2
    assert found.ends.least == pytest.approx(-1.0, rel=0.1)
    assert (found.ends.largest, found.ends.n_matvec) == (1.5, 37)
    # Seven were claimed to have been made before. The first solve has ended at what it met.
    assert found.n_matvec == A.n_matvec - before + 7 < 70
    residual = A @ found.solution.x + found.damping.value * found.solution.x - b
    assert np.linalg.norm(residual) <= 1e-8 * np.linalg.norm(b)


def test_a_system_without_a_solution_is_damped():
    found = solve_damped(
        as_symmetric(np.diag([0.0, 1.0, 2.0])), np.ones(3), measured(0.5, 2.0), 1e8, 1e-14
    )
    assert "Then the solve ended as" in found.damping.reason
    assert found.damping.value == pytest.approx(2e-8)
    np.testing.assert_allclose(found.solution.x, [5e7, 1.0, 0.5], rtol=1e-6)


def test_a_wrong_measurement_of_a_structured_matrix_is_mended():
    A = DiagonalOperator(np.r_[-0.5, np.ones(50)])
    b = np.r_[10.0, np.ones(50)]
    found = solve_damped(A, b, measured(1.0, 1.0), 1e8, 1e-14, rtol=1e-8)
    assert found.damping.value == pytest.approx(1.0)
    np.testing.assert_allclose(found.solution.x, np.r_[20.0, np.full(50, 0.5)])


def test_a_measurement_that_has_not_converged_damps_nothing():
    """The least of 300 eigenvalues is far from seen in 30 products, and cg does without it."""
    Q = orthonormal(normal(3, 300, 300))
    A, g = (Q * np.logspace(-4, 0, 300)) @ Q.T, normal(4, 300)
    newton = newton_step(with_hessian(A, g), np.zeros(300))
    assert newton.spectrum.least_bound < 0.0 < newton.spectrum.least
    assert newton.damping == 0.0
    assert newton.negative_curvature is None
    step = -np.linalg.solve(A, g)
    np.testing.assert_allclose(newton.step, step, rtol=0, atol=1e-4 * np.linalg.norm(step))


def test_a_singular_matrix_is_damped_a_little():
    A, g = symmetric(5, 0.0, 1.0, 3.0), normal(6, 3)
    newton = newton_step(with_hessian(A, g), np.zeros(3))
    assert newton.damping == pytest.approx(3e-8, rel=1e-3)
    assert newton.solution.converged
    assert newton.negative_curvature is None
    assert newton.solution.x @ g < 0.0


@pytest.mark.parametrize("damping", [0.0, 0.3, 100.0, np.float32(2.0), 3])
def test_a_damping_is_taken_as_it_is(damping):
    A, g = symmetric(7, -4.0, -1.0, 0.5, 2.0, 7.0), normal(8, 5)
    newton = newton_step(with_hessian(A, g), np.zeros(5), damping=damping)
    assert (newton.damping, newton.damping_reason) == (damping, "as given.")
    assert newton.spectrum is None
    step = -np.linalg.solve(A + damping * np.eye(5), g)
    np.testing.assert_allclose(newton.step, step, rtol=1e-6)
    assert newton.slope == pytest.approx(g @ step)
    assert newton.is_descent == (g @ step < 0.0)
    if damping < 4.0:
        found = newton.negative_curvature
        assert found.value == pytest.approx(found.direction @ A @ found.direction)
        assert -4.0000001 <= found.value < -damping
        assert newton.solution.method == "cg, minres"
    else:
        assert newton.negative_curvature is None


def test_negative_damping_makes_no_negative_curvature():
    A, g = symmetric(7, 0.5, 2.0, 7.0), normal(8, 3)
    newton = newton_step(with_hessian(A, g), np.zeros(3), damping=-1.0)
    np.testing.assert_allclose(newton.step, -np.linalg.solve(A - np.eye(3), g), rtol=1e-6)
    assert newton.solution.negative_curvature is not None
    assert newton.negative_curvature is None


def test_a_step_uphill_says_so():
    newton = newton_step(saddle, np.array([0.1, 2.0]), damping=0.0)
    np.testing.assert_allclose(newton.moved(), 0.0, atol=1e-12)  # the saddle itself
    assert newton.slope > 0.0
    assert not newton.is_descent
    assert np.isnan(newton.decrement)
    assert newton.predicted_decrease < 0.0


def test_a_zero_gradient_has_a_zero_step_and_may_be_a_saddle():
    newton = newton_step(saddle, np.zeros(2))
    assert not newton.step.any()
    assert (newton.slope, newton.predicted_decrease, newton.decrement) == (0.0, 0.0, 0.0)
    assert newton.negative_curvature.value == pytest.approx(-2.0)
    assert newton.damping == 0.0
    assert "the gradient is zero" in newton.damping_reason
    assert not newton.is_descent
    for options in ({"trust_radius": 1.0}, {"damping": 2.0}):
        assert not newton_step(saddle, np.zeros(2), **options).step.any()
    assert not newton_step(lambda x: anp.sum(x**4), np.zeros(3)).step.any()


def test_close_to_a_minimum_the_model_is_the_function():
    x = minimize(rosenbrock, np.zeros(6), tol=1e-8).params + 1e-4 * normal(9, 6)
    newton = newton_step(rosenbrock, x)
    decrease = newton.value - rosenbrock(newton.moved())
    assert newton.predicted_decrease == pytest.approx(decrease, rel=1e-2)
    assert newton.decrement**2 / 2 == pytest.approx(newton.value, rel=1e-2)  # the minimum is 0
    assert newton_step(rosenbrock, newton.moved()).gradient_norm < 1e-3 * newton.gradient_norm


REACHED = [
    problem
    for problem in PROBLEMS
    # Its condition is 1e12; a narrow valley; a value that rounding keeps from going down.
    if problem.name not in ("brown-badly-scaled", "biggs-exp6", "osborne-2")
]


@pytest.mark.parametrize("problem", REACHED, ids=lambda problem: problem.name)
def test_a_loop_of_damped_steps_finds_published_minima(problem):
    objective = Objective(problem.fun, problem.x0)
    x = objective.x0
    for _ in range(100):
        newton = newton_step(objective, x)
        if newton.gradient_norm < 1e-7:
            break
        t = 1.0
        while not objective.fun(newton.moved(t)) <= newton.value + 1e-4 * t * newton.slope:
            t /= 2
        x = newton.moved(t)
    assert newton.gradient_norm < 1e-7
    assert problem.is_minimum(newton.value)


# --- what may be given ----------------------------------------------------------------------------


def test_an_objective_takes_flat_vectors_and_trees():
    objective = Objective(energy, TREE)
    by_tree = newton_step(objective, TREE)
    by_vector = newton_step(objective, objective.x0)
    by_function = newton_step(energy, TREE)
    assert by_vector.step.shape == by_vector.moved().shape == (5,)
    for other in (by_tree, by_function):
        assert other.step["a"].shape == (2, 2)
        np.testing.assert_allclose(flat(other.step), by_vector.step, rtol=1e-12)
        np.testing.assert_allclose(flat(other.moved()), by_vector.moved(), rtol=1e-12)
    assert objective.counts.nfev == 1


def test_an_objective_brings_its_arguments_and_its_gradient():
    x = np.array([0.5, -0.2])
    objective = Objective(lambda x, a: float(a * np.cosh(x).sum()), x, (3.0,), grad=scaled_sinh)
    newton = newton_step(objective, x)
    np.testing.assert_allclose(newton.step, -np.tanh(x), rtol=1e-6)
    with pytest.raises(ValueError, match="an Objective has its own"):
        newton_step(objective, x, args=(1.0,))


def scaled_sinh(x, a):
    return a * np.sinh(x)


def test_an_argument_that_is_no_tuple_is_one_argument():
    newton = newton_step(lambda x, a: anp.sum((x - a) ** 2), np.zeros(3), args=np.arange(3.0))
    np.testing.assert_allclose(newton.step, np.arange(3.0), atol=1e-12)


@pytest.mark.parametrize("x", [np.zeros((2, 3)), 0.5, [0.1, np.ones(2)], (np.ones(1), {"c": 2.0})])
def test_shapes_of_x(x):
    def fun(x):
        return sum(anp.sum((leaf - 1.0) ** 4 + leaf**2) for leaf in optree.tree_leaves(x))

    newton = newton_step(fun, x)
    leaves = optree.tree_leaves(x)
    for leaf, step in zip(leaves, optree.tree_leaves(newton.step), strict=True):
        assert np.shape(leaf) == np.shape(step)
        slope, curvature = 4 * (leaf - 1.0) ** 3 + 2 * leaf, 12 * (leaf - 1.0) ** 2 + 2
        np.testing.assert_allclose(step, -slope / curvature, rtol=1e-6)


def test_single_precision_stays_single():
    x = np.linspace(-1.0, 1.0, 20, dtype=np.float32)
    newton = newton_step(lambda x: anp.sum(anp.cosh(x)), x)
    assert newton.step.dtype == newton.moved().dtype == np.float32
    assert newton.damping == 0.0
    np.testing.assert_allclose(newton.step, -np.tanh(x), atol=1e-5)
    newton = newton_step(lambda x: anp.sum(anp.cos(x)), x)
    assert newton.damping == pytest.approx(2 * np.cos(x).max(), rel=1e-4)


def test_the_noise_of_finite_differences_is_no_negative_curvature():
    objective = Objective(
        lambda x: float(np.cosh(x.sum())),
        np.linspace(0.0, 0.5, 8),
        mode="finite-difference-forward",
        grad=lambda x: np.full(8, np.sinh(x.sum())),
    )
    for seed in range(5):
        newton = newton_step(objective, objective.x0, rng=seed, rtol=1e-4)
        assert newton.negative_curvature is None
        assert newton.is_descent


def decay(p, t):
    return p[0] * anp.exp(-p[1] * t) + p[2]


TIMES = np.linspace(0.0, 3.0, 12)
SEEN = 2.0 * np.exp(-1.3 * TIMES) + 0.1 * normal(11, 12)


def half_squares(z):
    return 0.5 * anp.sum((z - SEEN) ** 2)


@pytest.mark.parametrize("damping", ["auto", 0.0, 0.5])
def test_gauss_newton_of_a_pair(damping):
    p = np.array([1.0, 0.5, 0.2])
    newton = newton_step(
        (decay, half_squares), p, args=(TIMES,), curvature="gauss-newton", damping=damping
    )
    e = np.exp(-p[1] * TIMES)
    J = np.stack([e, -p[0] * TIMES * e, np.ones(12)], axis=1)
    r = decay(p, TIMES) - SEEN
    shift = 0.5 if damping == 0.5 else 0.0
    np.testing.assert_allclose(
        newton.step, -np.linalg.solve(J.T @ J + shift * np.eye(3), J.T @ r), rtol=1e-6
    )
    assert newton.value == pytest.approx(r @ r / 2)
    assert newton.gradient_norm == pytest.approx(np.linalg.norm(J.T @ r))


def test_a_pair_is_named_by_both():
    with pytest.warns(RuntimeWarning), pytest.raises(NonFiniteError, match="half_squares of decay"):
        newton_step((decay, half_squares), np.array([1.0, -1e3, 0.0]), args=(TIMES,))


def test_the_hessian_of_a_pair():
    p = np.array([1.0, 0.5, 0.2])
    pair = newton_step((decay, half_squares), p, args=(TIMES,))
    whole = newton_step(lambda p: half_squares(decay(p, TIMES)), p)
    np.testing.assert_allclose(pair.step, whole.step, rtol=1e-10)
    assert pair.damping == pytest.approx(whole.damping)


@pytest.mark.parametrize("make", [np.array, csr_array, aslinearoperator, DenseOperator])
def test_another_curvature(make):
    A = symmetric(12, 0.5, 1.0, 2.0, 3.0, 4.0)
    curvature, x = make(A), normal(13, 5)
    for damping in ("auto", 0.7):
        newton = newton_step(
            lambda x: anp.sum(anp.cosh(x)), x, curvature=curvature, damping=damping
        )
        expected = -np.linalg.solve(A + newton.damping * np.eye(5), np.sinh(x))
        np.testing.assert_allclose(newton.step, expected, rtol=1e-6)
        assert newton.predicted_decrease == pytest.approx(
            -np.sinh(x) @ newton.step - newton.step @ A @ newton.step / 2
        )


def test_a_structured_curvature_is_inverted_exactly():
    d = np.logspace(-6, 0, 50)
    x = normal(14, 50)
    newton = newton_step(
        lambda x: anp.sum(anp.cosh(x)), x, curvature=DiagonalOperator(d), damping=0.0
    )
    np.testing.assert_allclose(newton.step, -np.sinh(x) / d, rtol=1e-12)
    assert newton.solution.method == "inverse"
    assert newton.n_matvec <= 3
    negative = DiagonalOperator(np.where(np.arange(50) == 7, -0.5, d))
    newton = newton_step(lambda x: anp.sum(anp.cosh(x)), x, curvature=negative)
    assert newton.damping == pytest.approx(1.0, rel=1e-3)
    assert newton.negative_curvature.value == pytest.approx(-0.5, rel=1e-3)


def test_a_fisher_matrix_as_curvature():
    X, labels = normal(15, 30, 3), np.arange(30) % 2

    def logits(w):
        return X @ w

    likelihood = likelihoods.Bernoulli()
    w = np.array([0.1, 0.2, -0.3])
    F = fisher_operator(logits, likelihood, w, targets=labels)
    newton = newton_step(
        lambda w: anp.sum(anp.logaddexp(0.0, logits(w)) - labels * logits(w)), w, curvature=F
    )
    p = 1.0 / (1.0 + np.exp(-X @ w))
    expected = -np.linalg.solve(X.T @ (X * (p * (1 - p))[:, None]), X.T @ (p - labels))
    np.testing.assert_allclose(newton.step, expected, rtol=1e-6)


def test_a_preconditioner_saves_products_and_changes_nothing():
    A, g = symmetric(16, *np.logspace(-4, 0, 200)), normal(17, 200)
    plain = newton_step(with_hessian(A, g), np.zeros(200), damping=0.0)
    M = DenseOperator(A + 1e-5 * np.eye(200)).inverse()
    helped = newton_step(with_hessian(A, g), np.zeros(200), damping=0.0, M=M)
    assert helped.n_matvec < plain.n_matvec / 5
    step = -np.linalg.solve(A, g)
    for newton in (plain, helped):
        np.testing.assert_allclose(newton.step, step, rtol=0, atol=1e-4 * np.linalg.norm(step))


# --- the trust region -----------------------------------------------------------------------------

POSITIVE = symmetric(20, *np.logspace(-1, 1, 30))
INDEFINITE = symmetric(21, *np.r_[-2.0, -0.1, np.logspace(-1, 1, 28)])
SLOPE = normal(22, 30)
RADIUS = pytest.mark.parametrize("radius", [1e-3, 0.1, 1.0, 5.0, 50.0, 1e4])
MATRIX = pytest.mark.parametrize("A", [POSITIVE, INDEFINITE], ids=["positive", "indefinite"])


def decrease(A, g, s):
    return -(g @ s + s @ A @ s / 2)


def scipys(A, g, radius):
    """What trust-ncg of SciPy takes for its step."""
    subproblem = CGSteihaugSubproblem(
        np.zeros(len(g)), lambda x: 0.0, lambda x: g, hessp=lambda x, p: A @ p
    )
    return subproblem.solve(radius)


@MATRIX
@RADIUS
def test_a_truncated_step_is_scipys(A, radius):
    g = SLOPE / np.linalg.norm(SLOPE) * 0.04  # SciPy stops at the root of its length, 0.2
    s, on_boundary = scipys(A, g, radius)
    newton = newton_step(with_hessian(A, g), np.zeros(30), trust_radius=radius, rtol=0.2)
    np.testing.assert_allclose(newton.step, s, rtol=1e-8, atol=1e-12)
    assert newton.on_boundary == on_boundary


@MATRIX
def test_a_preconditioner_is_a_change_of_variables(A):
    """``x = L y`` with ``M = L Lᵀ``: the same iterates, and the same region."""
    L = np.linalg.cholesky(symmetric(23, *np.linspace(0.1, 2.0, 30)))
    M, seen = aslinearoperator(L @ L.T), set()
    for radius in np.geomspace(0.01, 1000.0, 40):
        plain = steihaug(DenseOperator(L.T @ A @ L), L.T @ SLOPE, radius, maxiter=8)
        result = steihaug(DenseOperator(A), SLOPE, radius, maxiter=8, M=M)
        assert (result.status, result.n_matvec) == (plain.status, plain.n_matvec)
        np.testing.assert_allclose(result.x, L @ plain.x, rtol=1e-8, atol=1e-8)
        size = np.linalg.norm(np.linalg.solve(L, result.x))
        assert size <= radius * (1 + 1e-12)
        if result.status in ("boundary", "negative curvature"):
            assert size == pytest.approx(radius)
        seen.add(result.n_matvec)
    assert len(seen) > 4


@MATRIX
@RADIUS
@pytest.mark.parametrize("damping", ["auto", 0.05])
def test_a_truncated_step_stays_inside_and_beats_the_steepest_descent(A, radius, damping):
    newton = newton_step(with_hessian(A, SLOPE), np.zeros(30), trust_radius=radius, damping=damping)
    size = np.linalg.norm(newton.step)
    assert size <= radius * (1 + 1e-12)
    if newton.on_boundary:
        assert size == pytest.approx(radius)
        assert np.isnan(newton.decrement)
    else:
        damped = A + newton.damping * np.eye(30)
        np.testing.assert_allclose(newton.step, -np.linalg.solve(damped, SLOPE), rtol=1e-5)
        assert newton.decrement == pytest.approx(np.sqrt(-SLOPE @ newton.step))
    if damping != "auto":
        return
    assert (newton.damping, newton.spectrum) == (0.0, None)
    assert "trust radius" in newton.damping_reason
    # Cauchy's point: the lowest along the gradient.
    curvature = SLOPE @ A @ SLOPE / (SLOPE @ SLOPE)
    length = np.linalg.norm(SLOPE)
    t = radius / length if curvature <= 0 else min(radius / length, 1.0 / curvature)
    assert newton.predicted_decrease == pytest.approx(decrease(A, SLOPE, newton.step))
    assert newton.predicted_decrease >= decrease(A, SLOPE, -t * SLOPE) * (1 - 1e-12)
    if A is POSITIVE:  # and half of the best there is (Yuan, 2000)
        best = trust_region_minimum(A, SLOPE, radius)
        assert newton.predicted_decrease >= decrease(A, SLOPE, best) / 2


def trust_region_minimum(A, g, radius):
    """The exact one for a positive definite matrix, by its eigenvalues."""
    if np.linalg.norm(np.linalg.solve(A, g)) <= radius:
        return -np.linalg.solve(A, g)
    w, V = np.linalg.eigh(A)
    c = V.T @ g

    def excess(shift):
        return np.linalg.norm(c / (w + shift)) - radius

    shift = scipy.optimize.brentq(excess, 0.0, np.linalg.norm(g) / radius)
    return -V @ (c / (w + shift))


def test_negative_curvature_leads_to_the_boundary():
    newton = newton_step(saddle, np.array([0.0, 0.1]), trust_radius=3.0)
    np.testing.assert_allclose(newton.step, [0.0, 3.0])
    assert newton.on_boundary
    assert newton.solution.status == "negative curvature"
    assert newton.negative_curvature.value == pytest.approx(-2.0)
    np.testing.assert_allclose(newton.negative_curvature.direction, [0.0, 1.0])
    newton = newton_step(saddle, np.array([0.0, 0.1]), trust_radius=3.0, damping=0.5)
    assert newton.negative_curvature.value == pytest.approx(-2.0)
    assert newton.solution.negative_curvature.value == pytest.approx(-1.5)


def test_a_linear_function_goes_to_the_boundary():
    newton = newton_step(lambda x: anp.sum(3.0 * x), np.zeros(4), trust_radius=2.0)
    np.testing.assert_allclose(newton.step, -1.0)
    assert newton.predicted_decrease == pytest.approx(12.0)
    assert newton.negative_curvature is None
    assert newton.solution.negative_curvature is None


@pytest.mark.parametrize("scale", [1e-140, 1e140])
def test_the_scale_of_a_truncated_step_does_not_matter(scale):
    s = steihaug(DenseOperator(POSITIVE), SLOPE, 2.0).x
    scaled = steihaug(DenseOperator(POSITIVE), scale * SLOPE, scale * 2.0).x
    np.testing.assert_allclose(scaled, scale * s, rtol=1e-10)


def test_the_work_of_a_truncated_step():
    A = DenseOperator(POSITIVE)
    result = steihaug(A, SLOPE, 1e4, maxiter=4)
    assert result.status == "iteration limit"
    assert not result.converged
    assert result.n_matvec == A.n_matvec == 5  # one measures the residual
    residual = np.linalg.norm(SLOPE - POSITIVE @ result.x)
    assert result.residual_norm == pytest.approx(residual)
    assert result.history[-1, 1] == pytest.approx(residual)
    np.testing.assert_array_equal(result.history[:, 0], np.arange(5))
    assert "4 products" in result.reason
    seen = []

    def stop_at_three(x):
        seen.append(np.linalg.norm(x))
        if len(seen) == 3:
            raise StopIteration

    result = steihaug(A, SLOPE, 1e4, callback=stop_at_three)
    assert result.status == "stopped"
    assert np.linalg.norm(result.x) == seen[-1]
    assert seen == sorted(seen)


# --- counts, prints, errors -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"damping": 1.0}, {"damping": 0.0}, {"trust_radius": 0.1}, {"maxiter": 50}]
)
def test_products_are_counted(options):
    objective = Objective(rosenbrock, np.tile([-1.2, 1.0], 20))
    newton = newton_step(objective, objective.x0, **options)
    assert newton.n_matvec == objective.counts.nhessp
    A = hessian_operator(rosenbrock, objective.x0)
    newton = newton_step(objective, objective.x0, curvature=A, **options)
    assert newton.n_matvec == A.n_matvec
    products = []
    foreign = aslinearoperator(A.to_dense())
    foreign._matvec = lambda v, multiply=foreign._matvec: products.append(1) or multiply(v)
    newton = newton_step(objective, objective.x0, curvature=foreign, **options)
    assert newton.n_matvec == len(products)


def test_the_same_each_time_unless_said_otherwise():
    Q = orthonormal(normal(30, 100, 100))
    A = (Q * np.linspace(-1.0, 1.0, 100)) @ Q.T
    fun = with_hessian(A, normal(31, 100))
    steps = [newton_step(fun, np.zeros(100), rng=rng) for rng in (0, 0, 1)]
    np.testing.assert_array_equal(steps[0].step, steps[1].step)
    assert steps[0].damping == steps[1].damping != steps[2].damping


def test_too_few_products_are_told():
    A, g = symmetric(32, *np.logspace(-4, 0, 60)), normal(33, 60)
    with pytest.warns(NotConvergedWarning, match=r"solve \(cg\) did not converge") as warned:
        newton = newton_step(with_hessian(A, g), np.zeros(60), maxiter=5)
    assert len(warned) == 1
    assert warned[0].filename == __file__
    assert newton.solution.status == "iteration limit"
    assert newton.is_descent  # as every iterate of cg


def test_iterates_and_products_are_shown(capsys):
    pytest.importorskip("tqdm")
    seen = []
    newton_step(rosenbrock, np.zeros(5), callback=seen.append, progress=True)
    assert seen[0].shape == (5,)
    assert "product" in capsys.readouterr().err
    newton_step(rosenbrock, np.zeros(5), callback=seen.append, progress=True, trust_radius=0.1)
    assert "steihaug" in capsys.readouterr().err


def test_it_prints_itself_in_a_line_and_pickles():
    newton = newton_step(saddle, np.array([1.0, 0.1]))
    assert repr(newton) == (
        "<NewtonStep in 2 parameters: decrement 0.829, predicted decrease 0.586, damping 4, "
        f"negative curvature, {newton.n_matvec} products>"
    )
    assert "on the boundary" in repr(newton_step(saddle, np.ones(2), trust_radius=0.1))
    again = pickle.loads(pickle.dumps(newton_step(energy, TREE)))
    assert again.moved()["a"].shape == (2, 2)


def bad(x):
    return anp.sum(anp.log(x))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"curvature": "fisher"}, ValueError, "curvature is 'fisher', expected 'hessian'"),
        ({"curvature": "gauss-newton"}, ValueError, r"a pair \(model, loss\)"),
        ({"curvature": np.eye(3)}, ValueError, r"shape \(3, 3\), expected \(2, 2\)"),
        ({"curvature": np.ones((2, 3))}, ValueError, r"shape \(2, 3\), expected \(2, 2\)"),
        ({"curvature": np.triu(np.ones((2, 2)))}, ValueError, "not symmetric"),
        ({"curvature": 1j * np.eye(2)}, TypeError, "complex"),
        ({"curvature": None}, TypeError, "curvature is a NoneType"),
        ({"curvature": np.array([[1.0, np.nan], [np.nan, 1.0]])}, NonFiniteError, "finite"),
        ({"damping": "none"}, ValueError, "damping is 'none', expected 'auto'"),
        ({"damping": np.nan}, ValueError, "damping is nan"),
        ({"damping": np.inf}, ValueError, "damping is inf"),
        ({"damping": None}, ValueError, "damping is None"),
        ({"trust_radius": 0.0}, ValueError, "trust_radius is 0.0, expected a positive"),
        ({"trust_radius": -1.0}, ValueError, "trust_radius is -1.0"),
        ({"trust_radius": np.inf}, ValueError, "trust_radius is inf"),
        ({"trust_radius": "1"}, ValueError, "trust_radius is '1'"),
        ({"max_condition": 1.0}, ValueError, "max_condition is 1.0, expected"),
        ({"M": np.eye(3)}, ValueError, r"M has shape \(3, 3\), expected \(2, 2\)"),
        ({"M": -np.eye(2)}, ValueError, "M is not positive definite"),
        ({"M": -np.eye(2), "trust_radius": 1.0}, ValueError, "M is not positive definite"),
        ({"M": "jacobi"}, TypeError, "M is a str"),
        ({"rtol": -1.0}, ValueError, "rtol is -1.0"),
        ({"rtol": np.nan}, ValueError, "rtol is nan"),
        ({"maxiter": 1.5}, ValueError, "maxiter is 1.5"),
        ({"maxiter": -1, "trust_radius": 1.0}, ValueError, "maxiter is -1"),
    ],
)
def test_what_cannot_be_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        newton_step(energy_of_two, np.array([0.3, 0.4]), **options)


def energy_of_two(x):
    return anp.sum(anp.cosh(x)) + x[0] * x[1]


def test_what_is_not_finite_is_refused():
    with pytest.raises(NonFiniteError, match="nan"):
        newton_step(energy_of_two, np.array([np.nan, 0.0]))
    objective = Objective(energy_of_two, np.zeros(2))
    for x in (np.array([0.0, np.inf]), [np.nan, 0.0]):
        with pytest.raises(NonFiniteError, match="x has"):
            newton_step(objective, np.asarray(x))
    with pytest.warns(RuntimeWarning), pytest.raises(NonFiniteError, match="bad"):
        newton_step(bad, np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match="the curvature is zero"):
        newton_step(anp.sum, np.ones(3))
    with pytest.raises(ValueError, match="shape"):
        newton_step(objective, np.zeros(3))


# --- re-training ----------------------------------------------------------------------------------


def ridge(p, X, y, weights):
    residual = anp.dot(X, p["w"]) + p["b"] - y
    return anp.sum(weights * residual**2) + 0.3 * (anp.sum(p["w"] ** 2) + p["b"] ** 2)


def exact_ridge(X, y, weights):
    X = np.c_[X, np.ones(len(X))]
    w = np.linalg.solve(
        X.T @ (weights[:, None] * X) + 0.3 * np.eye(X.shape[1]), X.T @ (weights * y)
    )
    return {"w": w[:-1], "b": w[-1]}


X, Y, ONES = normal(40, 30, 4), normal(41, 30), np.ones(30)
CHANGES = {
    "removed": (X[3:], Y[3:], ONES[3:]),
    "added": (np.r_[X, 3.0 * X[:5]], np.r_[Y, -Y[:5]], np.ones(35)),
    "reweighted": (X, Y, np.linspace(0.0, 3.0, 30)),
    "relabelled": (X, -Y, ONES),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("with_operator", [False, True])
def test_ridge_regression_is_fitted_in_one_step(change, with_operator):
    x, args = exact_ridge(X, Y, ONES), CHANGES[change]
    curvature = hessian_operator(ridge, x, args=args) if with_operator else "hessian"
    again = newton_retrain(ridge, x, args, old_args=(X, Y, ONES), curvature=curvature)
    exact = exact_ridge(*args)
    for name in ("w", "b"):
        np.testing.assert_allclose(again.params[name], exact[name], rtol=1e-8)
        np.testing.assert_allclose(again.corrected[name], exact[name], rtol=1e-10)
        np.testing.assert_allclose(again.step[name], exact[name] - x[name], rtol=1e-7, atol=1e-9)
    assert again.is_enough
    moved = np.linalg.norm(flat(exact) - flat(x))
    assert again.step_norm == pytest.approx(moved)
    assert again.error_estimate < 1e-8 * moved
    assert again.contraction < 1e-8
    assert 0.0 <= again.excess < 1e-14 * again.value
    assert again.initial_error < 1e-12
    assert again.value == pytest.approx(ridge(exact, *args))
    assert again.gradient_norm < 1e-8 * again.initial_gradient_norm
    if with_operator:
        assert again.n_matvec == curvature.n_matvec


RIDGE = 1e-2


def softmax(x, images, one_hot, weights):
    z = anp.dot(images, x["W"]) + x["b"]
    losses = logsumexp(z, axis=1) - anp.sum(one_hot * z, axis=1)
    penalty = RIDGE / 2 * (anp.sum(x["W"] ** 2) + anp.sum(x["b"] ** 2))
    return anp.sum(weights * losses) / 400 + penalty


@pytest.fixture(scope="module")
def digits():
    """400 images, each 8 x 8, as means of 2 x 2: sixteen pixels."""
    data = pytest.importorskip("sklearn.datasets").load_digits()
    images = data.images[:400].reshape(400, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(400, 16) / 16
    return images, np.eye(10)[data.target[:400]], data.target[:400]


def trained(start, *args):
    """By SciPy, and the last digits by dense linear algebra."""
    x = minimize(softmax, start, args=args, method="trust-exact", options={"gtol": 1e-8}).params
    for _ in range(2):
        H = hessian_operator(softmax, x, args=args)
        x = H.unflatten(H.x - np.linalg.solve(H.to_dense(), H.gradient))
    assert np.linalg.norm(hessian_operator(softmax, x, args=args).gradient) < 1e-13
    return x


START = {"W": np.zeros((16, 10)), "b": np.zeros(10)}


@pytest.fixture(scope="module")
def fit(digits):
    return trained(START, *digits[:2], np.ones(400))


def distance(p, q):
    return float(np.linalg.norm(flat(p) - flat(q)))


def change_of(name, digits, fit):
    """Weights with which examples count."""
    images, one_hot, labels = digits
    z = images @ fit["W"] + fit["b"]
    losses = scipy.special.logsumexp(z, axis=1) - np.sum(one_hot * z, axis=1)
    worst_first, random = np.argsort(-losses), np.random.default_rng(0).permutation(400)
    kind, _, count = name.partition(" ")
    weights = np.ones(400)
    if kind in ("random", "worst"):
        weights[{"random": random, "worst": worst_first}[kind][: int(count)]] = 0.0
    elif kind == "doubled":
        weights[random[: int(count)]] = 2.0
    elif kind == "reweighted":
        weights = np.random.default_rng(1).exponential(size=400)
    elif kind == "digit":
        weights[labels == int(count)] = 0.0
    return weights


SMALL = ["random 1", "random 10", "random 100", "worst 1", "worst 10", "doubled 50", "reweighted"]
LARGE = ["worst 100", "digit 3"]


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_the_error_of_one_step_is_what_is_estimated(name, digits, fit):
    weights = change_of(name, digits, fit)
    args = (*digits[:2], weights)
    again = newton_retrain(softmax, fit, args, old_args=(*digits[:2], np.ones(400)))
    exact = trained(again.corrected, *args)
    moved, left = distance(exact, fit), distance(exact, again.params)
    assert again.error_estimate == pytest.approx(left, rel=0.1 if name in SMALL else 0.3)
    assert again.is_enough == (name in SMALL)
    assert left < (0.1 if name in SMALL else 0.5) * moved
    assert distance(exact, again.corrected) < (0.02 if name in SMALL else 0.5) * left
    excess = softmax(again.params, *args) - softmax(exact, *args)
    assert again.excess == pytest.approx(excess, rel=0.1 if name in SMALL else 0.5)
    assert again.initial_error < 1e-7


def test_what_is_left_of_the_old_training_is_told(digits, fit):
    old, new = ((*digits[:2], change_of(name, digits, fit)) for name in ("random 0", "random 1"))
    assert newton_retrain(softmax, fit, new).initial_error is None
    away = {name: leaf + 1e-2 * normal(50, *leaf.shape) for name, leaf in fit.items()}
    again = newton_retrain(softmax, away, new, old_args=old)
    assert again.initial_error == pytest.approx(distance(away, fit), rel=0.1)
    assert "not all due to the change" in again.reason
    # The step is to the new minimum all the same.
    assert distance(again.params, trained(fit, *new)) == pytest.approx(
        again.error_estimate, rel=0.1
    )


def test_nothing_has_changed(digits, fit):
    again = newton_retrain(softmax, fit, (*digits[:2], np.ones(400)))
    assert again.step_norm < 1e-12
    assert again.error_estimate < 1e-12
    assert again.is_enough
    # Steps grow here, by a wrong curvature; but they are within rounding.
    again = newton_retrain(
        lambda x: anp.sum((x - 1.0) ** 2), np.full(3, 1.0 + 1e-14), curvature=np.eye(3) / 2
    )
    assert again.contraction > 2.0
    assert again.is_enough
    again = newton_retrain(lambda x: anp.sum(x**2), np.zeros(3))
    assert (again.step_norm, again.contraction, again.error_estimate) == (0.0, 0.0, 0.0)
    assert again.is_enough


def test_the_curvature_of_the_old_data_will_do(digits, fit):
    """With one matrix at both points steps get shorter at the same rate, as is assumed."""
    old, new = ((*digits[:2], change_of(name, digits, fit)) for name in ("random 0", "random 100"))
    H = DenseOperator.from_operator(hessian_operator(softmax, fit, args=old))
    again = newton_retrain(softmax, fit, new, curvature=H)
    left = distance(again.params, trained(fit, *new))
    assert again.error_estimate == pytest.approx(left, rel=0.5)
    assert again.contraction > 3 * newton_retrain(softmax, fit, new).contraction
    assert not again.is_enough
    assert "Call newton_retrain again, from corrected" in again.reason
    assert again.n_matvec < 5


def test_a_preconditioner_from_the_old_fit_saves_products(digits, fit):
    old, new = ((*digits[:2], change_of(name, digits, fit)) for name in ("random 0", "random 10"))
    M = DenseOperator.from_operator(hessian_operator(softmax, fit, args=old)).inverse()
    plain, helped = newton_retrain(softmax, fit, new), newton_retrain(softmax, fit, new, M=M)
    assert distance(plain.params, helped.params) < 1e-5 * plain.step_norm
    assert helped.n_matvec < plain.n_matvec / 2


def weighted_residual(p, t, y, weights):
    return weights * (decay(p, t) - y)


def half_sum_of_squares(z):
    return 0.5 * anp.sum(z**2)


@pytest.mark.parametrize("curvature", ["hessian", "gauss-newton"])
def test_a_model_with_a_loss(curvature):
    def fit(weights):
        return scipy.optimize.least_squares(
            weighted_residual, [2.0, 1.3, 0.0], args=(TIMES, SEEN, weights), xtol=1e-15, ftol=1e-15
        ).x

    weights = np.where(np.arange(12) == 8, 0.0, 1.0)
    again = newton_retrain(
        (weighted_residual, half_sum_of_squares),
        fit(np.ones(12)),
        (TIMES, SEEN, weights),
        old_args=(TIMES, SEEN, np.ones(12)),
        curvature=curvature,
    )
    left = np.linalg.norm(again.params - fit(weights))
    assert again.error_estimate == pytest.approx(left, rel=0.3)
    assert np.linalg.norm(again.corrected - fit(weights)) < left / 3
    assert again.initial_error < 1e-6


def test_an_objective_of_the_new_data():
    x, args = exact_ridge(X, Y, ONES), CHANGES["removed"]
    objective = Objective(ridge, x, args)
    again = newton_retrain(objective, objective.flatten(x))
    np.testing.assert_allclose(again.params, flat(exact_ridge(*args)), rtol=1e-8)
    assert again.n_matvec == objective.counts.nhessp


def test_a_step_that_is_not_to_be_trusted():
    # Newton's method for the root of arctan diverges from 1.4 on.
    def fun(x):
        return anp.sum(x * anp.arctan(x) - 0.5 * anp.log(1 + x**2))

    far = newton_retrain(fun, np.array([1.5]))
    assert far.contraction > 1.0
    assert far.error_estimate == np.inf
    assert not far.is_enough
    assert "Train again" in far.reason
    near = newton_retrain(fun, np.array([0.1]))
    assert near.is_enough
    assert near.error_estimate == pytest.approx(abs(near.params[0]), rel=0.01)
    # Enough for half of the step, but not for a tenth.
    middle = newton_retrain(fun, np.array([0.8]))
    assert not middle.is_enough
    assert newton_retrain(fun, np.array([0.8]), accuracy=0.9).is_enough
    damped = newton_retrain(fun, np.array([1.5]), damping=1.0)
    assert damped.contraction < 1.0


# Along the gradient of the first, the curvature is zero.
@pytest.mark.parametrize("x", [[0.5, 0.5], [0.5, 1.0]])
def test_a_saddle_is_no_minimum(x):
    again = newton_retrain(saddle, np.array(x))
    assert not again.is_enough
    assert again.error_estimate == np.inf
    assert "so that there is no minimum near" in again.reason


def test_what_a_solve_leaves_belongs_to_the_error(digits, fit):
    args = (*digits[:2], change_of("random 10", digits, fit))
    exact = trained(fit, *args)
    with pytest.warns(NotConvergedWarning):
        again = newton_retrain(softmax, fit, args, maxiter=3)
    assert again.error_estimate == np.inf
    assert not again.is_enough
    assert "the next step was not found" in again.reason
    again = newton_retrain(softmax, fit, args, rtol=1e-2)
    assert again.error_estimate == pytest.approx(distance(exact, again.params), rel=0.3)
    assert again.error_estimate > 2 * newton_retrain(softmax, fit, args).error_estimate


def test_a_step_out_of_the_domain_says_where():
    with pytest.warns(RuntimeWarning), pytest.raises(NonFiniteError) as raised:  # of log
        newton_retrain(lambda x: anp.sum(x - 0.1 * anp.log(x)), np.array([0.5]))
    assert "newton_retrain met it after its step" in raised.value.__notes__[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accuracy": 0.0}, "accuracy is 0.0"),
        ({"accuracy": np.nan}, "accuracy is nan"),
        ({"damping": np.nan}, "damping is nan"),
        ({"damping": "auto"}, "damping is 'auto'"),
        ({"curvature": "fisher"}, "curvature is 'fisher'"),
        ({"M": np.eye(3)}, r"M has shape \(3, 3\)"),
        ({"rtol": -1.0}, "rtol is -1.0"),
        ({"maxiter": 0.5}, "maxiter is 0.5"),
    ],
)
def test_retraining_refuses_what_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        newton_retrain(energy_of_two, np.array([0.3, 0.4]), **options)


def test_old_data_of_an_objective_are_refused():
    with pytest.raises(ValueError, match="old_args is given, but an Objective"):
        newton_retrain(Objective(energy_of_two, np.zeros(2)), np.zeros(2), old_args=())


def test_a_result_prints_without_its_parameters():
    text = repr(newton_retrain(energy_of_two, np.array([0.3, 0.4])))
    assert "estimated error" in text
    assert "params" not in text


def test_what_cg_could_not_solve_is_damped():
    # Thirty products see a condition of 1e5 in what has one of 1e12.
    n = 200
    Q = orthonormal(normal(0, n, n))
    A, c = (Q * np.geomspace(1e-12, 1.0, n)) @ Q.T, Q @ np.ones(n)
    newton = newton_step(lambda x: 0.5 * x @ (A @ x) - c @ x, np.zeros(n))
    assert "ended as 'iteration limit'" in newton.damping_reason
    assert newton.solution.converged
    exact = np.linalg.solve(A + newton.damping * np.eye(n), c)
    assert np.linalg.norm(newton.step - exact) < 1e-3 * np.linalg.norm(exact)
    assert newton.n_matvec < 20 * n


@pytest.mark.parametrize("unit", [1e-170, 1e-100, 1e100, 1e170])
@pytest.mark.parametrize("options", [{}, {"trust_radius": 0.1}, {"trust_radius": 10.0}], ids=str)
def test_steps_do_not_depend_on_the_unit_of_the_function(unit, options):
    x = np.array([0.5, 0.3])
    expected = newton_step(lambda x: anp.sum(anp.cosh(x)), x, **options).step
    scaled = newton_step(lambda x: unit * anp.sum(anp.cosh(x)), x, **options).step
    np.testing.assert_allclose(scaled, expected, rtol=1e-12)
