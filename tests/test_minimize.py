"""minimize: every method of SciPy, on classical problems and on what goes wrong."""

import warnings

import autograd.numpy as anp
import numpy as np
import optree
import pytest
import scipy.optimize
from problems import LARGE, METHOD_OPTIONS, PROBLEMS

from hessop import HessianOperator, NonFiniteError, minimize, nonlinear_constraint
from hessop.optimize.minimization import DENSE_LIMIT

SECOND_ORDER = tuple(METHOD_OPTIONS)
GRADIENT = ("L-BFGS-B", "TNC", "SLSQP", "BFGS", "CG")
NO_DERIVATIVE = ("Nelder-Mead", "Powell", "COBYLA", "COBYQA")


def pairs(problems):
    return [
        pytest.param(problem, method, id=f"{problem.name}-{method}")
        for problem in problems
        for method in SECOND_ORDER
        if method not in problem.unreached
    ]


@pytest.mark.parametrize(("problem", "method"), pairs(PROBLEMS) + pairs(LARGE))
def test_classical_problems(problem, method):
    result = minimize(problem.fun, problem.x0, method=method, options=METHOD_OPTIONS[method])
    assert problem.is_minimum(result.fun), result
    assert optree.tree_structure(result.params) == optree.tree_structure(problem.x0)
    assert isinstance(result.curvature, HessianOperator)
    assert result.nhessp > 0


def test_every_second_order_method_reaches_twelve_problems():
    for method in SECOND_ORDER:
        assert sum(method not in problem.unreached for problem in PROBLEMS) >= 12


def well(p):
    return anp.sum((p["a"] - anp.arange(1.0, 4.0)) ** 2) + anp.cosh(p["b"] + 1.0)


START = {"a": np.zeros(3), "b": 0.5}


@pytest.mark.parametrize("method", SECOND_ORDER + GRADIENT + NO_DERIVATIVE)
def test_every_method(method):
    seen = []
    result = minimize(well, START, method=method, callback=seen.append, tol=1e-9)
    assert result.success, result
    np.testing.assert_allclose(result.params["a"], [1, 2, 3], atol=1e-3)
    assert result.params["b"] == pytest.approx(-1.0, abs=1e-3)
    assert set(result.params) == {"a", "b"}
    assert (result.nhessp > 0) == (method in SECOND_ORDER)
    assert ("curvature" in result) == (method in SECOND_ORDER)
    assert len(seen) > 0
    assert all(x.shape == (4,) for x in seen)


def test_names_in_any_case_and_callables():
    assert minimize(well, START, method="TRUST-Krylov").success

    def descent(fun, x0, jac, hessp, **options):
        x = x0
        for _ in range(200):
            g = jac(x)
            x = x - g * (g @ g) / max(g @ hessp(x, g), 1e-12)
        return scipy.optimize.OptimizeResult(x=x, fun=fun(x), success=True)

    result = minimize(well, START, method=descent)
    np.testing.assert_allclose(result.params["a"], [1, 2, 3], atol=1e-6)
    with pytest.raises(ValueError, match="method is 'newton', expected one of newton-cg"):
        minimize(well, START, method="newton")


@pytest.mark.parametrize("method", ["trust-exact", "dogleg"])
def test_a_dense_hessian_is_refused_above_a_size(method):
    with pytest.raises(ValueError, match=f"refused above {DENSE_LIMIT} parameters. Use 'trust-kr"):
        minimize(lambda x: anp.sum(x**2), np.ones(DENSE_LIMIT + 1), method=method)


# SciPy 1.15 beside a newer NumPy
@pytest.mark.filterwarnings("ignore:'where' used without 'out':UserWarning")
@pytest.mark.parametrize("method", ["trust-constr", "L-BFGS-B", "TNC", "SLSQP", "Nelder-Mead"])
def test_bounds(method):
    x0 = np.array([[0.5, 0.5], [0.5, 0.5]])
    target = np.array([[2.0, 0.3], [-1.0, 0.7]])

    def fun(x):
        return anp.sum((x - target) ** 2)

    for bounds in (
        scipy.optimize.Bounds(np.zeros((2, 2)), np.ones((2, 2))),
        scipy.optimize.Bounds(0.0, 1.0),
        [(0.0, 1.0)] * 4,
    ):
        result = minimize(fun, x0, method=method, bounds=bounds)
        np.testing.assert_allclose(result.params, np.clip(target, 0, 1), atol=1e-2)


def test_bounds_of_a_tree():
    low = {"a": np.zeros(3), "b": 0.0}
    high = {"a": np.array([0.5, 5.0, np.inf]), "b": 1.0}
    result = minimize(well, START, method="L-BFGS-B", bounds=(low, high))
    np.testing.assert_allclose(result.params["a"], [0.5, 2.0, 3.0], atol=1e-4)
    assert result.params["b"] == 0.0
    result = minimize(well, START, method="L-BFGS-B", bounds=(low, 1.5))
    np.testing.assert_allclose(result.params["a"], [1.0, 1.5, 1.5], atol=1e-4)


@pytest.mark.parametrize(
    "bounds",
    [(0, 1), (np.zeros(4), np.ones(4)), {"a": (0, 1)}, [({}, 1.0)], [(0, 1)], [("a", "b")] * 4],
)
def test_bounds_that_are_none(bounds):
    with pytest.raises(ValueError, match=r"expected scipy.optimize.Bounds.* each of the 4 param"):
        minimize(well, START, method="L-BFGS-B", bounds=bounds)


def test_bounds_on_one_side():
    half_open = [(None, 0.5), (2.5, None), (None, None), (0, 1)]
    result = minimize(well, START, method="L-BFGS-B", bounds=half_open)
    np.testing.assert_allclose(result.params["a"], [0.5, 2.5, 3.0], atol=1e-4)
    assert result.params["b"] == 0.0


def test_bounds_and_constraints_are_not_silently_ignored():
    with pytest.raises(
        ValueError, match=r"'trust-krylov' takes no bounds. Use one of trust-constr"
    ):
        minimize(well, START, bounds=[(0, 1)] * 4)
    with pytest.raises(ValueError, match=r"'L-BFGS-B' takes no constraints. Use one of trust-con"):
        minimize(well, START, method="L-BFGS-B", constraints={"type": "eq", "fun": np.sum})
    with pytest.raises(ValueError, match="says nothing about a minimum on a bound"):
        minimize(well, START, method="trust-constr", bounds=[(0, 1)] * 4, check_saddle=True)


@pytest.mark.parametrize("method", ["trust-constr", "SLSQP", "COBYLA", "COBYQA"])
def test_constraints(method):
    def circle(p):
        return anp.sum(p["a"] ** 2) + p["b"] ** 2

    constraint = nonlinear_constraint(circle, -np.inf, 1.0, START)
    with warnings.catch_warnings():
        if method in ("SLSQP", "COBYLA"):  # SciPy says which derivatives it does not use
            warnings.simplefilter("ignore", scipy.optimize.OptimizeWarning)
        result = minimize(
            lambda p: anp.sum(p["a"]) + p["b"], START, method=method, constraints=constraint
        )
    assert result.fun == pytest.approx(-2.0, abs=1e-3)


def barrier(x):
    return anp.sum(x) - 0.1 * anp.sum(anp.log(x))


def branch(x):
    return np.inf if np.any(x <= 0) else barrier(x)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("fun", [barrier, branch])
@pytest.mark.parametrize("method", SECOND_ORDER + GRADIENT + NO_DERIVATIVE)
def test_a_trial_step_that_is_not_finite_is_rejected(method, fun):
    result = minimize(fun, np.array([1e-3, 3.0, 0.5]), method=method)
    assert result.success, result
    np.testing.assert_allclose(result.params, 0.1, atol=1e-3)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("method", ["trust-krylov", "L-BFGS-B", "Nelder-Mead", "trust-constr"])
def test_a_start_that_is_not_finite_is_an_error(method):
    with pytest.raises(NonFiniteError, match=r"barrier\(x0\) is nan"):
        minimize(barrier, np.array([-1.0, 1.0]), method=method)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_start_that_the_bounds_move_out_of_the_domain():
    with pytest.raises(NonFiniteError, match="not finite at the starting point within the bounds"):
        minimize(barrier, np.ones(2), method="L-BFGS-B", bounds=[(-2, -1)] * 2)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("method", SECOND_ORDER)
def test_a_gradient_that_is_not_finite_ends_the_run(method):
    def trap(x):  # where's other branch is a square root of a negative number
        return anp.sum(anp.where(x > 0, anp.sqrt(x), x**2))

    with pytest.raises(NonFiniteError, match="gradient of trap"):
        minimize(trap, np.array([-1.0, 0.0]), method=method)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("method", SECOND_ORDER)
def test_a_product_that_is_not_finite_ends_the_run(method):
    def kink(x):
        return anp.sum(anp.abs(x) ** 1.5) + 5.0 * x[0]

    with pytest.raises(NonFiniteError, match="not exist at x"):
        minimize(kink, np.array([1.0, 0.0]), method=method)


def test_newton_cg_without_curvature_is_no_success():
    result = minimize(lambda x: anp.sum(3.0 * x), np.ones(2), method="Newton-CG")
    assert not result.success
    assert "no curvature along the gradient" in result.message


def test_trust_krylov_goes_on_below_the_gradient_where_its_subproblem_breaks_down():
    # trlib takes a gradient below sqrt(eps) for zero, and then multiplies by NaN.
    def fun(x):
        return anp.sum(anp.sinh(x - 1.0) ** 2)  # zero at its minimum, so that no digit is lost

    options = {"gtol": 1e-12, "inexact": True}
    result = minimize(fun, np.full(5, 1.0 + 1e-9), options=options)
    assert result.success, result
    assert np.linalg.norm(result.jac) < 1e-12
    assert "The last steps were made by trust-ncg" in result.message
    assert 0 < result.nit < 5
    assert result.nhessp < 20


def test_a_nearly_singular_problem_keeps_its_iterate():
    problem = next(p for p in PROBLEMS if p.name == "biggs-exp6")
    result = minimize(problem.fun, problem.x0, options={"gtol": 1e-14, "maxiter": 300})
    assert np.isfinite(result.x).all()
    assert result.nhessp < 20_000
    assert problem.is_minimum(result.fun)


def test_warnings_of_the_function_are_heard():
    with pytest.warns(RuntimeWarning, match="invalid value"):
        minimize(lambda x: anp.sum(x - 0.1 * anp.log(x)), np.array([3.0, 0.01]))


def test_a_run_to_an_exact_zero_of_the_gradient():
    for method in ("trust-krylov", "trust-ncg"):
        result = minimize(lambda x: anp.sum((x - 1.0) ** 2), np.zeros(6), method=method, tol=0)
        assert result.success, result
        np.testing.assert_array_equal(result.params, np.ones(6))


@pytest.mark.parametrize("method", SECOND_ORDER + GRADIENT)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_gradient_that_is_not_finite_at_a_rejected_step_is_passed_over(method):
    def walled(x):  # beyond zero the value is high, and the gradient NaN
        return anp.sum(anp.where(x > 0, 100 * anp.sqrt(x) + 1 / anp.sqrt(x), 1e6))

    try:
        result = minimize(walled, np.array([0.02]), method=method)
    except NonFiniteError:
        assert method == "dogleg"  # its Hessian is not positive definite on the way
    else:
        assert result.fun <= walled(np.array([0.02]))
        assert np.isfinite(result.jac).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_singular_matrix_at_a_trial_step_is_rejected():
    def log_det(x):
        factor = anp.linalg.cholesky(anp.array([[x[0], 0.3], [0.3, x[1]]]))
        return anp.sum(x) - 2 * anp.sum(anp.log(anp.diag(factor)))

    result = minimize(log_det, np.array([4.0, 0.1]))
    assert result.success
    with pytest.raises(np.linalg.LinAlgError):
        minimize(log_det, np.array([-4.0, 0.1]))


def test_newton_cg_where_curvature_ends_before_the_gradient():
    def ramp(x):
        return anp.sum(anp.where(x > 1, 1e6 * (x - 1) ** 2 + x, x))

    assert not minimize(ramp, np.array([10.0]), method="Newton-CG").success


@pytest.mark.parametrize("method", GRADIENT + SECOND_ORDER)
def test_float32_with_every_method(method):
    start = np.zeros(3, np.float32)
    result = minimize(lambda x: anp.sum((x - 1) ** 2), start, method=method)
    assert result.params.dtype == np.float32
    np.testing.assert_allclose(result.params, 1.0, atol=1e-3)


def test_args_that_are_not_a_tuple_are_one_argument():
    data = np.array([[1.0, 2.0]])
    result = minimize(lambda x, A: anp.sum((x - A[0]) ** 2), np.zeros(2), data)
    np.testing.assert_allclose(result.params, [1.0, 2.0])
    assert minimize(lambda x, a: anp.sum((x - a) ** 2), np.zeros(1), 3.0).params[0] == 3.0


def test_derivative_free_methods_take_any_function():
    for method in NO_DERIVATIVE:
        result = minimize(lambda x: float(np.mean(np.abs(x - 1.0))), np.zeros(3), method=method)
        assert result.fun < 0.1


def test_counts_are_the_work_done():
    runs = []

    def fun(x):
        runs.append(1)
        return anp.sum((x[1:] - x[:-1] ** 2) ** 2) + anp.sum((1 - x) ** 2)

    for method in SECOND_ORDER + GRADIENT + NO_DERIVATIVE:
        runs.clear()
        result = minimize(fun, np.full(3, -0.5), method=method, check_saddle=method in SECOND_ORDER)
        assert result.nfev == len(runs), method


class TestCallback:
    def test_result_style_has_the_parameters(self):
        seen = []

        def callback(intermediate_result):
            seen.append(intermediate_result)

        for method in ("trust-krylov", "trust-constr", "TNC", "L-BFGS-B"):
            seen.clear()
            minimize(well, START, method=method, callback=callback)
            assert set(seen[-1].params) == {"a", "b"}
            assert seen[-1].fun == pytest.approx(1.0, abs=1e-2)

    def test_state_style_of_trust_constr(self):
        states = []
        minimize(
            well, START, method="trust-constr", callback=lambda xk, state: states.append(state)
        )
        assert states[-1].nit > 0

    @pytest.mark.parametrize("method", SECOND_ORDER + GRADIENT)
    def test_stop_iteration(self, method):
        def stop(xk):
            raise StopIteration

        result = minimize(well, START, method=method, callback=stop)
        assert result.nit == 1
        assert set(result.params) == {"a", "b"}


def test_progress(capsys):
    pytest.importorskip("tqdm")
    result = minimize(well, START, progress=True)
    assert result.success
    shown = capsys.readouterr().err
    assert "trust-krylov" in shown
    assert "gradient=" in shown
    assert "products=" in shown


def test_progress_of_a_method_without_gradient(capsys):
    pytest.importorskip("tqdm")
    assert minimize(well, START, method="Nelder-Mead", progress=True).success
    assert "value=" in capsys.readouterr().err


class TestSaddles:
    @staticmethod
    def double_well(x):
        return anp.sum(0.25 * x[:2] ** 4 - 0.5 * x[:2] ** 2) + 0.5 * anp.sum(x[2:] ** 2)

    @pytest.mark.parametrize("n", [3, 400])
    @pytest.mark.parametrize("method", ["trust-krylov", "Newton-CG", "L-BFGS-B"])
    def test_an_exact_saddle_is_left(self, method, n):
        stuck = minimize(self.double_well, np.zeros(n), method=method)
        assert stuck.success
        assert stuck.fun == 0.0
        result = minimize(self.double_well, np.zeros(n), method=method, check_saddle=True, tol=1e-8)
        assert result.success
        assert result.fun == pytest.approx(-0.5, abs=1e-6)
        assert result.escapes >= 1
        assert result.min_eigenvalue == pytest.approx(1.0, abs=1e-2)

    def test_a_minimum_stays(self):
        result = minimize(well, START, check_saddle=True)
        assert result.escapes == 0
        assert result.min_eigenvalue == pytest.approx(1.0, abs=1e-3)

    @pytest.mark.parametrize(
        "scale",
        [
            np.r_[-1e-2, np.logspace(-6, 6, 99)],
            np.r_[-1e-2, np.logspace(-6, 6, 299)],
            np.array([-2e-6, 2e3]),
            np.array([-2e-8, 2e-8]),
        ],
        ids=["dense", "lanczos-does-not-converge", "small-beside-large", "all-small"],
    )
    def test_small_negative_curvature_counts(self, scale):
        def fun(x):
            return anp.sum(0.5 * scale * x**2) + 1e-3 * np.abs(scale).min() * anp.sum(x**4)

        result = minimize(fun, np.zeros(scale.size), check_saddle=True, options={"gtol": 1e-12})
        assert result.escapes >= 1
        assert result.fun < 0

    def test_many_directions_down_are_left_at_once(self):
        def wells(x):
            return anp.sum(0.25 * x**4 - 0.5 * x**2)

        for n in (50, 300):
            result = minimize(wells, np.zeros(n), check_saddle=True)
            assert result.escapes == 1
            assert result.fun == pytest.approx(-n / 4, rel=1e-6)

    @pytest.mark.parametrize("n", [3, 300])
    def test_a_zero_hessian_is_no_saddle(self, n):
        result = minimize(lambda x: anp.sum(x**4), np.zeros(n), check_saddle=True)
        assert result.success
        assert result.min_eigenvalue == 0.0

    def test_no_way_down_is_no_success(self):
        # Unbounded: each escape leads on for ever, and the run must say that it stands on a saddle.
        result = minimize(
            lambda x: x[0] ** 2 - x[1] ** 2,
            np.zeros(2),
            check_saddle=True,
            options={"maxiter": 3},
        )
        assert not result.success
        assert "saddle point" in result.message
        assert result.min_eigenvalue == pytest.approx(-2.0)


def test_args_and_a_gradient_of_ones_own():
    def gradient(p, target):
        return {"w": 4 * (p["w"] - target) ** 3 + (p["w"] - target)}

    def value(p, target):
        d = p["w"] - target
        return float(np.sum(d**4 + 0.5 * d**2))

    result = minimize(value, {"w": np.zeros(3)}, (2.0,), grad=gradient, tol=1e-8)
    np.testing.assert_allclose(result.params["w"], 2.0, atol=1e-6)
    assert result.curvature.mode == "finite-difference"


def test_derivative_free_methods_run_no_trace():
    kinds = set()

    def fun(x):
        kinds.add(type(x))
        return anp.sum((x - 1.0) ** 2)

    result = minimize(fun, np.zeros(2), method="Powell")
    assert result.nhessp == 0
    assert np.ndarray in kinds


def test_float32_parameters():
    result = minimize(lambda x: anp.sum((x - 1) ** 2), np.zeros(3, np.float32), method="trust-ncg")
    assert result.params.dtype == np.float32
    np.testing.assert_allclose(result.params, 1.0, atol=1e-4)
