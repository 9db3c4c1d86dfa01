"""Least squares and nonlinear constraints, against SciPy with derivatives by hand."""

import autograd.numpy as anp
import numpy as np
import pytest
import scipy.optimize
from problems import PROBLEMS
from scipy.sparse.linalg import LinearOperator

from hessop import JacobianOperator, NonFiniteError, least_squares, nonlinear_constraint
from hessop.optimize.residuals import DENSE_JACOBIAN

SUMS = [p for p in PROBLEMS if p.residuals is not None and not p.name.startswith("penalty")]


@pytest.mark.parametrize("tr_solver", ["exact", "lsmr"])
@pytest.mark.parametrize("problem", SUMS, ids=lambda p: p.name)
def test_it_finds_what_scipy_finds(problem, tr_solver):
    options = {"tr_solver": tr_solver, "xtol": 1e-12, "ftol": 1e-12, "gtol": 1e-12}
    ours = least_squares(problem.residuals, problem.x0, max_nfev=200, **options)
    if problem.is_minimum(2 * ours.cost):
        return
    # Not every start leads Gauss-Newton to a listed minimum; then it does not lead SciPy there.
    if isinstance(problem.x0, np.ndarray):
        theirs = scipy.optimize.least_squares(
            lambda x: np.ravel(problem.residuals(x)), problem.x0, max_nfev=200, **options
        )
        assert ours.cost <= theirs.cost * (1 + 1e-3) + 1e-9


T = np.linspace(0.0, 1.0, 30)
Y = 2.0 * np.exp(-3.0 * T) + 0.1 * np.sin(20 * T)


def misfit(p):
    return p["scale"] * anp.exp(-p["rate"] * T) - Y


START = {"scale": 1.0, "rate": 1.0}


@pytest.mark.parametrize(
    ("method", "loss"),
    [
        ("trf", "linear"),
        ("trf", "soft_l1"),
        ("dogbox", "linear"),
        ("dogbox", "soft_l1"),
        ("lm", "linear"),
    ],
)
def test_trees_methods_and_losses(method, loss):
    result = least_squares(misfit, START, method=method, loss=loss)

    def by_hand(z):
        return z[1] * np.exp(-z[0] * T) - Y

    expected = scipy.optimize.least_squares(by_hand, [1.0, 1.0], loss=loss)
    assert result.params["rate"] == pytest.approx(expected.x[0], rel=1e-5)
    assert result.params["scale"] == pytest.approx(expected.x[1], rel=1e-5)


def test_bounds_as_numbers_vectors_and_trees():
    for low in (0.0, np.zeros(2), {"scale": 0.0, "rate": 0.0}):
        high = {"scale": 1.5, "rate": np.inf}
        result = least_squares(misfit, START, bounds=(low, high))
        assert result.params["scale"] == pytest.approx(1.5, abs=1e-6)


def test_one_parameter_and_an_unknown_solver():
    result = least_squares(lambda x: anp.array([x[0] - 2.0]), np.zeros(1), tr_solver="lsmr")
    np.testing.assert_allclose(result.params, 2.0)
    with pytest.raises(ValueError, match="tr_solver"):
        least_squares(misfit, START, tr_solver="best")


def test_the_jacobian_is_formed_only_when_small():
    small = least_squares(misfit, START)
    assert isinstance(small.jac, np.ndarray)
    assert isinstance(least_squares(misfit, START, tr_solver="lsmr").jac, JacobianOperator)

    def large(x):
        return anp.concatenate([x - 1.0, 0.1 * (x[1:] - x[:-1])])

    result = least_squares(large, np.zeros(DENSE_JACOBIAN + 1))
    assert isinstance(result.jac, LinearOperator)
    np.testing.assert_allclose(result.params, 1.0, atol=1e-6)
    for forced in ({"x_scale": "jac"}, {"tr_solver": "exact"}, {"method": "lm"}):
        assert isinstance(least_squares(large, np.zeros(120), **forced).jac, np.ndarray)


def test_one_run_a_point():
    points = []

    def fun(x):
        points.append(np.array(x._value))
        return anp.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])

    least_squares(fun, np.array([-1.2, 1.0]))
    assert len({tuple(p) for p in points}) == len(points)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_start_that_is_not_finite():
    with pytest.raises(NonFiniteError, match=r"\(x0\) is not finite"):
        least_squares(lambda x: anp.log(x), np.array([-1.0]))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_trial_that_is_not_finite_is_rejected():
    def fun(x):
        return np.inf if x[0] <= 0 else anp.array([anp.log(x[0]) + 2.0, x[0] ** 2])

    result = least_squares(fun, np.array([3.0]))
    assert result.success
    assert 0 < result.params[0] < 1


def test_constraint_derivatives():
    def fun(p, scale):
        return scale * anp.array([anp.sum(p["a"] ** 3), p["a"][0] * p["b"], p["b"]])

    x0 = {"a": np.array([1.0, 2.0]), "b": 3.0}
    constraint = nonlinear_constraint(fun, 0.0, 1.0, x0, (2.0,))
    x = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(constraint.fun(x), [18.0, 6.0, 6.0])
    np.testing.assert_allclose(constraint.jac(x), [[6, 24, 0], [6, 0, 2], [0, 0, 2]])
    H = constraint.hess(x, np.array([1.0, 2.0, 5.0]))
    np.testing.assert_allclose(H.to_dense(), [[12, 0, 4], [0, 24, 0], [4, 0, 0]])
    np.testing.assert_array_equal(constraint.hess(x, np.zeros(3, np.int8)) @ x, np.zeros(3))
    with pytest.raises(TypeError, match="belongs to an optimizer"):
        H.__reduce__()


def test_a_linear_constraint_has_a_zero_hessian():
    constraint = nonlinear_constraint(lambda x: anp.sum(x), 0.0, 1.0, np.ones(3))
    np.testing.assert_array_equal(constraint.hess(np.ones(3), [2.0]) @ np.ones(3), np.zeros(3))
