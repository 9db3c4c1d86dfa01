"""One linearisation per iterate, found again by value."""

import autograd.numpy as anp
import numpy as np
import pytest
import scipy.optimize

import hessop.differentiate.points as points
from hessop import NonFiniteError, Objective
from hessop.optimize.objectives import Counts


def rosenbrock(x):
    return anp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


X0 = np.array([-1.2, 1.0, 0.5])


@pytest.fixture
def linearisations(monkeypatch):
    """How often second order was paid for."""
    made = []
    original = points.reverse_over_reverse

    def spy(*args):
        made.append(1)
        return original(*args)

    monkeypatch.setattr(points, "reverse_over_reverse", spy)
    return made


def test_values_gradients_and_products_are_scipys():
    obj = Objective(rosenbrock, X0)
    rng = np.random.default_rng(0)
    for _ in range(5):
        x, v = rng.standard_normal(3), rng.standard_normal(3)
        assert obj.fun(x) == pytest.approx(scipy.optimize.rosen(x), rel=1e-14)
        np.testing.assert_allclose(obj.grad(x), scipy.optimize.rosen_der(x), rtol=1e-12)
        product = scipy.optimize.rosen_hess_prod(x, v)
        np.testing.assert_allclose(obj.hessp(x, v), product, rtol=1e-12)
        np.testing.assert_allclose(obj.hess(x) @ v, product, rtol=1e-12)
        np.testing.assert_allclose(obj.hess_dense(x), scipy.optimize.rosen_hess(x), atol=1e-11)
        value, gradient = obj.value_and_grad(x)
        assert value == obj.fun(x)
        np.testing.assert_array_equal(gradient, obj.grad(x))


def test_everything_at_one_point_is_one_run(linearisations):
    obj = Objective(rosenbrock, X0)
    x = obj.x0
    _ = obj.fun(x), obj.grad(x), obj.value_and_grad(x), obj.hessp(x, x), obj.hess(x) @ x
    assert obj.counts == Counts(nfev=1, njev=1, nhev=1, nhessp=2)
    assert len(linearisations) == 1


def test_a_point_without_products_never_pays_for_second_order(linearisations):
    obj = Objective(rosenbrock, X0)
    for shift in range(4):
        obj.value_and_grad(X0 + shift)
    assert len(linearisations) == 0
    assert obj.counts.nhev == 0


def test_points_are_known_by_value():
    obj = Objective(rosenbrock, X0)
    x = X0.copy()
    first = obj.grad(x)
    x += 1.0  # the solver's own array, changed in place
    assert not np.array_equal(obj.grad(x), first)
    np.testing.assert_array_equal(obj.grad(X0.copy()), first)
    assert obj.counts.nfev == 2


def test_rejected_steps_leave_the_accepted_point_in_place(linearisations):
    obj = Objective(rosenbrock, X0)
    obj.value_and_grad(X0)
    before = obj.hessp(X0, np.ones(3))
    for trial in range(5):
        obj.fun(X0 + trial + 1.0)
    np.testing.assert_array_equal(obj.hessp(X0, np.ones(3)), before)
    assert obj.counts.nfev == 6
    assert len(linearisations) == 1


def test_what_is_returned_may_be_changed():
    obj = Objective(rosenbrock, X0)
    obj.x0[:] = 9.0
    obj.grad(X0)[:] = 9.0
    obj.hessp(X0, np.ones(3))[:] = 9.0
    np.testing.assert_array_equal(obj.x0, X0)
    np.testing.assert_allclose(obj.grad(X0), scipy.optimize.rosen_der(X0))


def test_trees():
    def fun(p, target):
        return anp.sum((p["w"] - target) ** 2) + p["b"] ** 4

    obj = Objective(fun, {"w": np.ones((2, 2)), "b": 2}, (3.0,))
    np.testing.assert_array_equal(obj.x0, [2, 1, 1, 1, 1])
    assert obj.unflatten(obj.x0)["w"].shape == (2, 2)
    np.testing.assert_array_equal(obj.flatten({"w": np.ones((2, 2)), "b": 2}), obj.x0)
    assert obj.fun(obj.x0) == 32.0


def test_plugs_into_scipy():
    obj = Objective(rosenbrock, X0)
    result = scipy.optimize.minimize(
        obj.value_and_grad, obj.x0, jac=True, hessp=obj.hessp, method="trust-krylov", tol=1e-8
    )
    np.testing.assert_allclose(result.x, 1.0, atol=1e-6)
    assert obj.counts.nfev <= result.nfev
    assert obj.counts.nhessp > 0


def test_shapes():
    obj = Objective(rosenbrock, X0)
    for v in (np.ones((3, 1)), np.ones((1, 3)), np.ones(4), np.ones((3, 2))):
        with pytest.raises(ValueError, match=r"hessp: v has shape .* expected \(3,\)"):
            obj.hessp(X0, v)
    for bad in ({"a": 1.0}, X0 * 1j, np.array(["a", "b", "c"])):
        with pytest.raises(TypeError, match="expected a real vector"):
            obj.fun(bad)
    for call in (obj.fun, obj.grad, obj.hess, obj.value_and_grad):
        with pytest.raises(ValueError, match=r"x has shape \(2,\), expected \(3,\)"):
            call(np.ones(2))


def log_barrier(x):
    return anp.sum(x - anp.log(x))


@pytest.mark.filterwarnings("ignore:(invalid|divide):RuntimeWarning")
def test_a_value_that_is_not_finite_counts_as_infinity():
    obj = Objective(log_barrier, np.ones(2))
    outside = np.array([-1.0, 1.0])
    assert obj.fun(outside) == np.inf
    assert np.isnan(obj.grad(outside)).all()
    assert obj.counts.nonfinite == 1
    with pytest.raises(NonFiniteError, match="has no Hessian there"):
        obj.hess(outside)
    starts_outside = Objective(log_barrier, outside)
    with pytest.raises(NonFiniteError, match=r"log_barrier\(x0\) is nan"):
        starts_outside.fun(outside)


def test_a_gradient_that_is_not_finite_where_the_value_is_ends_it():
    obj = Objective(lambda x: anp.sqrt(anp.sum(x**2)), np.ones(2))
    assert obj.fun(np.zeros(2)) == 0.0
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match=r"gradient of .* x\[0\]"):
        obj.grad(np.zeros(2))


def test_a_gradient_of_ones_own():
    obj = Objective(
        scipy.optimize.rosen, X0, grad=scipy.optimize.rosen_der, mode="finite-difference"
    )
    product = scipy.optimize.rosen_hess_prod(X0, np.ones(3))
    np.testing.assert_allclose(obj.hessp(X0, np.ones(3)), product, rtol=1e-7)
    assert obj.fun(X0) == scipy.optimize.rosen(X0)
    with pytest.raises(TypeError, match="expected one real number"):
        Objective(lambda x: x, X0, grad=scipy.optimize.rosen_der).fun(X0)


def test_repr():
    obj = Objective(rosenbrock, X0)
    obj.fun(X0)
    assert repr(obj).startswith("<Objective rosenbrock of 3 parameters, Counts(nfev=1, njev=0")
