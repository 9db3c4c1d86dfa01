"""Hessian products against closed forms and dense Hessians, in every mode."""

import threading
from concurrent.futures import ThreadPoolExecutor

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import checkpoint, grad, make_jvp
from autograd.core import primitive_vjps
from autograd.extend import defvjp, primitive
from autograd.numpy.numpy_boxes import ArrayBox
from cases import CASES, flat_function

import hessop.differentiate.retention as retention
from hessop import MissingDerivativeError, NonFiniteError, hessian_operator, jacobian_operator

EXACT = ("reverse-over-reverse", "forward-over-reverse", "reverse-over-forward")
FORWARD = EXACT[1:]
TOLERANCE = {"finite-difference": 1e-6, "finite-difference-forward": 1e-4}

ALL = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
WITH_JVP = [case for case in CASES if "no-jvp" not in case.tags]


def random_vector(n):
    return np.random.default_rng(7).standard_normal(n)


def relative(error, size):
    return np.linalg.norm(error) / (np.linalg.norm(size) or 1.0)


@ALL
def test_products_are_exact(case):
    H = hessian_operator(case.fun, case.x, args=case.args)
    exact = case.hessian()
    V = np.random.default_rng(3).standard_normal((len(exact), 3))
    assert relative(H @ V - exact @ V, exact @ V) < 1e-10
    assert relative(H.to_dense() - exact, exact) < 1e-10
    assert H.n_matvec == 3 + len(exact)


@pytest.mark.parametrize("mode", FORWARD)
@pytest.mark.parametrize("case", WITH_JVP, ids=lambda case: case.name)
def test_modes_agree(case, mode):
    H = hessian_operator(case.fun, case.x, args=case.args, mode=mode)
    v = random_vector(H.shape[0])
    product = case.hessian() @ v
    assert relative(H @ v - product, product) < 1e-10
    assert H.mode == mode


@pytest.mark.parametrize("mode", TOLERANCE)
@ALL
def test_differences_are_as_good_as_they_say(case, mode):
    H = hessian_operator(case.fun, case.x, args=case.args, mode=mode)
    v = random_vector(H.shape[0])
    product = case.hessian() @ v
    error = relative(H @ v - product, product)
    assert error < TOLERANCE[mode]
    assert error <= 10 * H.step_error
    # An estimate that is always large says nothing.
    assert H.step_error < 100 * TOLERANCE[mode]


@ALL
def test_value_and_gradient(case):
    H = hessian_operator(case.fun, case.x, args=case.args)
    flat_fun = flat_function(case.fun, case.x, case.args)
    assert H.value == pytest.approx(float(np.reshape(flat_fun(H.x), ())), rel=1e-14)
    gradient = grad(lambda x: anp.sum(flat_fun(x)))(H.x)
    np.testing.assert_allclose(H.gradient, gradient, rtol=1e-12, atol=1e-14)
    H @ np.ones(H.shape[0])
    np.testing.assert_allclose(H.gradient, gradient, rtol=1e-12, atol=1e-14)


@ALL
def test_no_rule_looks_at_what_was_let_go(case, monkeypatch):
    # A stand-in is NaN, so that a look at it would show.
    monkeypatch.setattr(retention, "LEAST_SIZE", 0)
    exact = case.hessian()
    v = random_vector(len(exact))
    for mode in EXACT if "no-jvp" not in case.tags else EXACT[:1]:
        H = hessian_operator(case.fun, case.x, args=case.args, mode=mode)
        assert relative(H @ v - exact @ v, exact @ v) < 1e-10


def test_what_is_let_go_belongs_to_primitives():
    # An entry that wraps a primitive would never be met.
    for table in (retention._NOTHING, retention._OTHERS, retention._ARGUMENTS):
        assert table <= set(primitive_vjps)


def test_a_traced_condition_of_a_large_where():
    x = np.linspace(-1.0, 1.0, 5000)
    x[::2] = 0.0
    for mode in EXACT:
        H = hessian_operator(lambda x: anp.sum(anp.where(x, x**3, (x + 2.0) ** 2)), x, mode=mode)
        np.testing.assert_allclose(H @ np.ones(5000), np.where(x, 6 * x, 2.0))


def test_a_gradient_alone_is_enough():
    A = np.random.default_rng(0).standard_normal((5, 5))
    A = A + A.T

    def gradient(p):
        return {"a": np.reshape(A[:4, :4] @ p["a"] + A[:4, 4] * p["b"], 4), "b": A[4, :4] @ p["a"]}

    exact = A.copy()
    exact[4, 4] = 0.0
    H = hessian_operator(None, {"a": np.arange(4.0), "b": 1.0}, grad=gradient)
    v = random_vector(5)
    assert H.mode == "finite-difference"
    np.testing.assert_allclose(H @ v, exact @ v, rtol=1e-8)
    assert 0.0 < H.step_error < 1e-6
    np.testing.assert_allclose(H.gradient, exact @ H.x)
    with pytest.raises(ValueError, match="no fun was given"):
        _ = H.value


@pytest.mark.parametrize("mode", TOLERANCE)
@pytest.mark.parametrize("size", [1e-200, 1e-20, 1e20, 1e200])
def test_differences_along_tiny_and_huge_vectors(mode, size):
    H = hessian_operator(lambda x: anp.sum(x**3), np.array([1.0, 2.0]), mode=mode)
    np.testing.assert_allclose(H @ np.array([size, -size]), [6 * size, -12 * size], rtol=1e-6)


def test_step_error_where_the_gradient_vanishes():
    # Rounding of x + h v is all there is, and the gradient at x says nothing about it.
    for seed in range(100):
        rng = np.random.default_rng(seed)
        center, v = 1e3 * rng.standard_normal(4), rng.standard_normal(4)
        H = hessian_operator(
            lambda x, c=center: 3 * anp.sum((x - c) ** 2), center, mode="finite-difference"
        )
        assert relative(H @ v - 6 * v, v * 6) <= 10 * H.step_error


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_difference_across_the_edge_of_the_domain_is_refused():
    H = hessian_operator(
        lambda x: anp.sum(anp.log(x)), np.array([1e-7, 1e5]), mode="finite-difference"
    )
    with pytest.raises(NonFiniteError, match="not finite a small step away"):
        H @ np.array([1.0, 0.0])


def test_a_gradient_may_reuse_its_buffer():
    buffer = np.empty(3)

    def gradient(x):
        np.multiply(3.0, x**2, out=buffer)
        return buffer

    x = np.array([1.0, 2.0, 3.0])
    H = hessian_operator(lambda x: float(np.sum(x**3)), x, grad=gradient)
    np.testing.assert_allclose(H @ np.ones(3), 6 * x, rtol=1e-8)
    assert H.value == 36.0


def test_float32_stays_float32():
    def fun(x):  # mean promotes to float64 inside autograd
        return anp.mean(anp.exp(x) ** 2)

    x = np.linspace(0, 1, 4, dtype=np.float32)
    for mode in (*EXACT, "finite-difference"):
        H = hessian_operator(fun, x, mode=mode)
        product = H @ np.ones(4, np.float32)
        assert H.dtype == product.dtype == H.gradient.dtype == np.float32
        rtol = 2e-2 if mode == "finite-difference" else 1e-6
        np.testing.assert_allclose(product, np.exp(2 * x), rtol=rtol)


def test_integers_are_cast():
    H = hessian_operator(lambda x: anp.sum(x**3) / 4, np.array([1, 2, 3]))
    np.testing.assert_allclose(H.gradient, [0.75, 3.0, 6.75])
    np.testing.assert_allclose(H @ np.array([1, 0, 0]), [1.5, 0, 0])


def test_one_run_of_the_function_serves_everything():
    runs = []

    def fun(x):
        runs.append(1)
        return anp.sum(anp.sin(x) ** 2)

    for mode in EXACT:
        runs.clear()
        H = hessian_operator(fun, np.ones(3), mode=mode)
        _ = H.value, H.gradient, H @ np.ones(3), H @ np.eye(3), H.gradient
        assert len(runs) == 1, mode


def test_the_point_is_copied():
    x = np.array([1.0, 2.0])
    H = hessian_operator(lambda x: anp.sum(x**3), x)
    x[:] = 100.0
    np.testing.assert_allclose(H @ np.ones(2), [6.0, 12.0])
    H.x[:] = 7.0
    H.gradient[:] = 7.0
    np.testing.assert_allclose(H.gradient, [3.0, 12.0])


def test_results_are_fresh():
    H = hessian_operator(lambda x: anp.sum(x**2) / 2, np.ones(3))
    v = np.ones(3)
    first, second = H @ v, H @ v
    assert not np.shares_memory(first, v)
    assert not np.shares_memory(first, second)
    assert first.flags.writeable
    first[:] = 5.0
    np.testing.assert_array_equal(H @ v, v)


def test_a_linear_function_has_a_zero_hessian_without_a_warning():
    H = hessian_operator(lambda x: anp.sum(3.0 * x), np.ones(4))
    np.testing.assert_array_equal(H @ np.ones(4), np.zeros(4))
    np.testing.assert_array_equal(H.gradient, np.full(4, 3.0))
    for mode in FORWARD:
        H = hessian_operator(lambda x: anp.sum(3.0 * x), np.ones(4), mode=mode)
        np.testing.assert_array_equal(H @ np.ones(4), np.zeros(4))


def test_an_accumulated_gradient_of_a_gradient():
    # Inside, autograd adds into its accumulators in place; the recording holds those arrays.
    def fun(x):
        inner = grad(lambda y: anp.sum(y**2 * y[::-1] + y[0] * y))(x)
        return anp.sum(inner**2)

    x = random_vector(4)
    dense = np.column_stack(
        [(grad(fun)(x + 1e-6 * e) - grad(fun)(x - 1e-6 * e)) / 2e-6 for e in np.eye(4)]
    )
    np.testing.assert_allclose(hessian_operator(fun, x).to_dense(), dense, rtol=1e-6, atol=1e-6)


def test_a_missing_jvp_names_the_primitive_and_the_mode_that_works():
    def fun(x):
        return anp.sum(anp.linalg.cholesky(x @ x.T + anp.eye(2)))

    for mode in FORWARD:
        H = hessian_operator(fun, np.ones((2, 2)), mode=mode)
        with pytest.raises(MissingDerivativeError, match=r"JVP of cholesky.*reverse-over-reverse"):
            H @ np.ones(4)
    with pytest.raises(NotImplementedError, match="JVP of cholesky"):
        make_jvp(fun)(np.ones((2, 2)))(np.ones((2, 2)))


def test_a_missing_derivative_is_named():
    square = primitive(lambda y: y**2)  # of no rule at all
    cube_root = primitive(lambda x: np.cbrt(x))
    defvjp(cube_root, lambda ans, x: lambda g: g / (3 * square(ans)))
    with pytest.raises(MissingDerivativeError, match=r"no derivative of cbrt.*pass grad="):
        hessian_operator(lambda x: anp.sum(anp.cbrt(x)), np.ones(2))
    if hasattr(ArrayBox, "__array_ufunc__"):  # numpy's own functions are taken over: from 1.9
        with pytest.raises(MissingDerivativeError, match="no derivative of cbrt"):
            hessian_operator(lambda x: anp.sum(np.cbrt(x)), np.ones(2))
    H = hessian_operator(lambda x: anp.sum(cube_root(x)), np.ones(2))
    np.testing.assert_allclose(H.gradient, 1 / 3)
    with pytest.raises(MissingDerivativeError, match="finite-difference"):
        H @ np.ones(2)
    D = hessian_operator(lambda x: anp.sum(cube_root(x)), np.ones(2), mode="finite-difference")
    np.testing.assert_allclose(D @ np.ones(2), -2 / 9, rtol=1e-8)


def test_a_primitive_that_returns_a_python_float():
    total = primitive(lambda x: float(np.sum(x**2)))
    defvjp(total, lambda ans, x: lambda g: 2.0 * g * x)
    H = hessian_operator(total, np.arange(3.0))
    np.testing.assert_allclose(H @ np.ones(3), 2.0)
    assert H.value == 5.0


def test_operators_can_be_made_and_used_in_several_threads():
    def fun(x, scale):
        return anp.sum(anp.exp(scale * x) * x[::-1] ** 2)

    def work(seed):
        rng = np.random.default_rng(seed)
        x, v, scale = rng.standard_normal(20), rng.standard_normal(20), rng.uniform()
        barrier.wait()
        found = [hessian_operator(fun, x, args=(scale,)) @ v for _ in range(10)]
        shared_products.append(shared @ shared_v)
        return x, v, scale, found

    shared, shared_v = hessian_operator(fun, np.ones(20), args=(0.3,)), np.arange(20.0)
    shared_products: list = []
    barrier = threading.Barrier(6)
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(work, range(6)))
    for x, v, scale, found in results:
        alone = hessian_operator(fun, x, args=(scale,)) @ v
        for product in found:
            np.testing.assert_array_equal(product, alone)
    for product in shared_products:
        np.testing.assert_array_equal(product, shared_products[0])
    assert shared.n_matvec == 6


def test_rules_that_trace_work_in_several_threads():
    # checkpoint runs its function again, under a trace, when it is pulled back.
    remade = checkpoint(lambda x: anp.sin(x) ** 2)

    def work(seed):
        x = np.random.default_rng(seed).standard_normal(50)
        H = hessian_operator(lambda x: anp.sum(remade(x) * x), x)
        return max(
            np.abs(H @ v - (4 * x * np.cos(2 * x) / 2 + 2 * np.sin(2 * x)) * v).max()
            for v in np.eye(50)
        )

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(work, range(16))) < 1e-12


def test_a_function_may_use_an_operator_while_another_thread_does():
    inner = hessian_operator(lambda y: anp.sum(y**3), np.ones(3))

    def outer(x):
        return anp.sum(x**2 * (inner @ np.ones(3)))

    def work(index):
        if index % 2:
            return inner @ np.ones(3)
        return hessian_operator(outer, np.ones(3)) @ np.ones(3) / 2

    with ThreadPoolExecutor(4) as pool:
        for product in pool.map(work, range(40)):
            np.testing.assert_allclose(product, 6.0)


@pytest.mark.parametrize("name", ["tall", "wide", "matrix-valued", "tree"])
def test_jacobian_products(name):
    rng = np.random.default_rng(5)
    A = rng.standard_normal((4, 3))
    model, x = {
        "tall": (lambda x: anp.sin(A @ x), rng.standard_normal(3)),
        "wide": (lambda x: anp.exp(A[:2] @ x), rng.standard_normal(3)),
        "matrix-valued": (lambda x: anp.outer(x, anp.cos(x)), rng.standard_normal(3)),
        "tree": (lambda p: p["a"] * anp.sum(p["b"] ** 2), {"a": np.ones(2), "b": np.ones((2, 2))}),
    }[name]
    J = jacobian_operator(model, x)
    flat_model = flat_function(model, x)
    point = np.concatenate([np.ravel(leaf) for leaf in ([x] if name != "tree" else x.values())])
    step = 1e-6
    dense = np.column_stack(
        [
            np.ravel(flat_model(point + step * e) - flat_model(point - step * e)) / (2 * step)
            for e in np.eye(point.size)
        ]
    )
    np.testing.assert_allclose(J.to_dense(), dense, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(J @ np.eye(point.size), dense, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(J.T @ np.eye(len(dense)), dense.T, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(J.value, model(x))


def test_the_jacobian_is_linearised_where_no_rule_drops_terms():
    # eigh's rule leaves out a term where the cotangent of the vectors is zero throughout.
    def model(x):
        values, vectors = anp.linalg.eigh(x + x.T)
        return anp.concatenate([values, vectors[:, 0] ** 2])

    x = np.random.default_rng(2).standard_normal((3, 3))
    J = jacobian_operator(model, x)
    v = random_vector(9)
    step = 1e-6 * v.reshape(3, 3)
    difference = (model(x + step) - model(x - step)) / 2e-6
    np.testing.assert_allclose(J @ v, difference, rtol=1e-6)
