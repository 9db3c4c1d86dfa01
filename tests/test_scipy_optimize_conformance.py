"""SciPy's own tests of its optimizers, with hessop's derivatives in place of those written by hand.

What SciPy's test modules call by name is replaced there: their functions by the same ones in
autograd.numpy, their derivatives by ours, or `minimize` and `least_squares` themselves by hessop's.
"""

from functools import partial
from types import SimpleNamespace

import autograd.numpy as anp
import numpy as np
import pytest
import scipy.optimize
from scipy.optimize import NonlinearConstraint
from scipy.sparse.linalg import LinearOperator
from test_scipy_conformance import call, scipys_tests, undisturbed

import hessop
from hessop import Objective, nonlinear_constraint

pytestmark = [
    # SciPy 1.15 and 1.16 call what NumPy 2.4 has deprecated, in their tests and in trust-constr.
    pytest.mark.filterwarnings("ignore:NumPy warning suppression:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:'where' used without 'out':UserWarning"),
]

krylov_tests = scipys_tests("scipy.optimize.tests.test_trustregion_krylov")
trust_region_tests = scipys_tests("scipy.optimize.tests.test_trustregion")
constrained_tests = scipys_tests("scipy.optimize.tests.test_minimize_constrained")
least_squares_tests = scipys_tests("scipy.optimize.tests.test_least_squares")


def names_of_tests(group):
    return [name for name in dir(group) if name.startswith("test")]


def rosenbrock(x):
    return anp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


# --- rosen and its derivatives --------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 10, 100])
def test_rosen(n):
    rng = np.random.default_rng(n)
    objective = Objective(rosenbrock, np.zeros(n))
    for _ in range(5):
        x, p = rng.standard_normal((2, n))
        np.testing.assert_allclose(objective.fun(x), scipy.optimize.rosen(x), rtol=1e-12)
        gradient = scipy.optimize.rosen_der(x)
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(objective.grad(x), gradient, rtol=1e-12, atol=1e-13 * scale)
        product = scipy.optimize.rosen_hess_prod(x, p)
        scale = np.abs(product).max()
        np.testing.assert_allclose(objective.hessp(x, p), product, rtol=1e-12, atol=1e-13 * scale)
        dense = scipy.optimize.rosen_hess(x)
        np.testing.assert_allclose(objective.hess_dense(x), dense, rtol=1e-12, atol=1e-10)


# --- trust-krylov's subproblem --------------------------------------------------------------------


def with_our_products(subproblem):
    """A quadratic subproblem whose value, gradient and products come from an `Objective`."""

    def make(x, fun, jac, hess, hessp):
        g = jac(x)
        H = np.column_stack([hessp(x, unit) for unit in np.eye(g.size)])

        def quadratic(y):
            return anp.dot(g, y) + anp.dot(y, anp.dot(H, y)) / 2

        objective = Objective(quadratic, np.zeros(g.size))
        return subproblem(
            x=objective.x0, fun=objective.fun, jac=objective.grad, hess=None, hessp=objective.hessp
        )

    return make


@pytest.mark.parametrize("test", names_of_tests(krylov_tests.TestKrylovQuadraticSubproblem))
def test_krylov_subproblem(test, monkeypatch, capsys):
    for name in ("KrylovQP", "KrylovQP_disp"):
        monkeypatch.setattr(krylov_tests, name, with_our_products(getattr(krylov_tests, name)))
    call(getattr(krylov_tests.TestKrylovQuadraticSubproblem(), test), capsys=capsys)


# --- minimize without constraints -----------------------------------------------------------------


def our_minimize(fun, x0, args=(), method=None, jac=None, hess=None, hessp=None, **kwargs):
    """hessop's minimize, called as SciPy's; of derivatives it takes none."""
    return hessop.minimize(fun, np.asarray(x0, dtype=float), args, method, **kwargs)


@pytest.fixture(params=["derivatives", "minimize"])
def our_trust_region_tests(request, monkeypatch):
    if request.param == "derivatives":
        objective = Objective(rosenbrock, np.zeros(2))
        monkeypatch.setattr(trust_region_tests, "rosen", objective.fun)
        monkeypatch.setattr(trust_region_tests, "rosen_der", objective.grad)
        monkeypatch.setattr(trust_region_tests, "rosen_hess", objective.hess_dense)
        monkeypatch.setattr(trust_region_tests, "rosen_hess_prod", objective.hessp)
    else:
        monkeypatch.setattr(trust_region_tests, "rosen", rosenbrock)
        monkeypatch.setattr(trust_region_tests, "minimize", our_minimize)
    group = trust_region_tests.TestTrustRegionSolvers()
    group.setup_method()
    return group


@pytest.mark.parametrize("test", names_of_tests(trust_region_tests.TestTrustRegionSolvers))
def test_trust_region(test, our_trust_region_tests, capsys):
    call(getattr(our_trust_region_tests, test))


METHODS = ["Newton-CG", "trust-ncg", "trust-krylov", "trust-constr", "trust-exact", "dogleg"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("x0", [[2.0, 2.0], [-1.2, 1.0], [1.0, 1.0]], ids=["easy", "hard", "opt"])
def test_minimize_rosen(method, x0):
    result = hessop.minimize(rosenbrock, np.array(x0), method=method, tol=1e-8)
    assert result.success, result.message
    np.testing.assert_allclose(result.x, [1.0, 1.0], rtol=1e-7)


# --- trust-constr ---------------------------------------------------------------------------------


def energy_of_electrons(x):
    positions = anp.reshape(x, (3, -1))
    i, j = np.triu_indices(positions.shape[1], 1)
    return anp.sum(anp.sum((positions[:, i] - positions[:, j]) ** 2, axis=0) ** -0.5)


def with_exact_derivatives(problem, args=()):
    """One of SciPy's constrained problems with ours instead of the derivatives written by hand."""
    kinds = {constrained_tests.Rosenbrock: rosenbrock, constrained_tests.Elec: energy_of_electrons}
    fun = next((fun for kind, fun in kinds.items() if isinstance(problem, kind)), problem.fun)
    x0 = np.asarray(problem.x0, dtype=float)
    np.testing.assert_allclose(fun(x0, *args), problem.fun(x0, *args), rtol=1e-14)
    constr = problem.constr
    if isinstance(constr, NonlinearConstraint):
        constr = nonlinear_constraint(constr.fun, constr.lb, constr.ub, x0)
    return SimpleNamespace(
        original=problem,
        fun=fun,
        args=args,
        x0=x0,
        x_opt=problem.x_opt,
        bounds=problem.bounds,
        constr=constr,
    )


@pytest.fixture(
    params=[
        ("Maratos", {}),
        ("MaratosTestArgs", {"a": "a", "b": 234}),
        ("HyperbolicIneq", {}),
        ("Rosenbrock", {}),
        ("Rosenbrock", {"n": 8}),
        ("IneqRosenbrock", {}),
        ("EqIneqRosenbrock", {}),
        ("BoundedRosenbrock", {}),
        ("Elec", {"n_electrons": 2}),
        ("Elec", {"n_electrons": 6}),
    ],
    ids=lambda param: param[0] + "".join(f"-{value}" for value in param[1].values()),
)
def problem(request):
    name, kwargs = request.param
    args = tuple(kwargs.values()) if name == "MaratosTestArgs" else ()
    return with_exact_derivatives(getattr(constrained_tests, name)(**kwargs), args)


def test_problem_by_scipys_minimize(problem):
    objective = Objective(problem.fun, problem.x0, problem.args)
    problem.fun, problem.grad, problem.hess = objective.fun, objective.grad, objective.hess
    group = constrained_tests.TestTrustRegionConstr()
    call(group.test_list_of_problems, prob=problem, grad="prob.grad", hess="prob.hess")


def test_problem_by_our_minimize(problem):
    result = hessop.minimize(
        problem.fun,
        problem.x0,
        problem.args,
        "trust-constr",
        bounds=problem.bounds,
        constraints=problem.constr,
    )
    assert result.status in (1, 2), result.message
    if result.status == 1:
        assert result.optimality < 1e-8
    if problem.x_opt is not None:
        np.testing.assert_array_almost_equal(result.x, problem.x_opt, decimal=5)
    if problem.args:
        return  # in this problem, SciPy's own derivative of the constraint is wrong by a factor
    by_hand = scipy.optimize.minimize(
        problem.original.fun,
        problem.x0,
        method="trust-constr",
        jac=problem.original.grad,
        hess=problem.original.hess,
        bounds=problem.bounds,
        constraints=problem.original.constr,
    )
    np.testing.assert_allclose(result.x, by_hand.x, atol=1e-5)
    assert result.niter <= by_hand.niter + 2


@pytest.mark.parametrize(
    "test",
    [
        "TestTrustRegionConstr.test_default_jac_and_hess",
        "TestTrustRegionConstr.test_default_hess",
        "TestTrustRegionConstr.test_hessp",
        "TestTrustRegionConstr.test_args",
        "TestTrustRegionConstr.test_issue_9044",
        "TestTrustRegionConstr.test_issue_15093",
        "TestEmptyConstraint.test_empty_constraint",
    ],
)
def test_trust_constr(test, monkeypatch):
    monkeypatch.setattr(constrained_tests, "minimize", our_minimize)
    group, name = test.split(".")
    call(getattr(getattr(constrained_tests, group)(), name))


# --- least_squares --------------------------------------------------------------------------------


def our_least_squares(
    default, fun, x0, jac=None, bounds=(-np.inf, np.inf), method="trf", args=(), **options
):
    """hessop's least_squares, called as SciPy's; of derivatives it takes none."""
    for derivative in ("jac_sparsity", "diff_step"):
        options.pop(derivative, None)
    fun = partial(fun, **options.pop("kwargs", {}))
    x0 = np.atleast_1d(x0)
    if default == "lsmr":
        options.setdefault("tr_solver", "lsmr")
    result = hessop.least_squares(fun, x0, args, bounds=bounds, method=method, **options)
    if isinstance(result.jac, LinearOperator):
        result.jac = result.jac @ np.eye(x0.size)  # SciPy's tests look at its entries
    return result


def boundary_value_problem(x):
    n = int(np.sqrt(x.shape[0]))
    x = anp.reshape(x, (n, n))
    u = anp.pad(x, 1, "constant")
    y = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] - 4 * x + x**3
    return anp.ravel(y)


class BroydenTridiagonal(least_squares_tests.BroydenTridiagonal):
    def fun(self, x):
        zero = np.zeros(1)
        before = anp.concatenate((zero, x[:-1]))
        after = anp.concatenate((x[1:], zero))
        return (3 - x) * x + 1 - before - 2 * after


class ExponentialFittingProblem(least_squares_tests.ExponentialFittingProblem):
    def fun(self, p):
        return p[0] + anp.exp(p[1] * self.x) - self.y


REPLACED = {
    "fun_2d_trivial": lambda x: anp.array([x[0], x[1]]),
    "fun_rosenbrock": lambda x: anp.array([10 * (x[1] - x[0] ** 2), (1 - x[0])]),
    "fun_bvp": boundary_value_problem,
    "BroydenTridiagonal": BroydenTridiagonal,
    "ExponentialFittingProblem": ExponentialFittingProblem,
}


@pytest.mark.parametrize("name", REPLACED)
def test_replacements_are_the_same_functions(name):
    original, replacement = getattr(least_squares_tests, name), REPLACED[name]
    if isinstance(original, type):
        arguments = (1, 0.1, 0.5) if name.startswith("Exp") else ()
        with undisturbed():
            original = original(*arguments).fun
            np.random.seed(0)  # noqa: NPY002
            replacement = replacement(*arguments)
        original.__self__.__dict__.update(replacement.__dict__)  # the same random data
        replacement = replacement.fun
    x = np.random.default_rng(0).standard_normal(2 if "2d" in name or "Exp" in name else 100)
    np.testing.assert_allclose(replacement(x), original(x), rtol=1e-14)


NOT_OURS = {
    "test_jac_options": "jac is not an argument of ours",
    "test_jac_wrong_dimensions": "jac is not an argument of ours",
    "test_fun_and_jac_inconsistent_dimensions": "jac is not an argument of ours",
    "test_wrong_jac_sparsity": "jac_sparsity is not an argument of ours",
    "test_solver_selection": "our Jacobian is never sparse",
    "test_exact_tr_solver": "ours forms the Jacobian where SciPy refuses a sparse one",
    "test_linear_operator": "ours forms the Jacobian where SciPy refuses an operator",
    "test_x_scale_jac_scale": "ours forms the Jacobian where SciPy refuses an operator",
    "test_x0_multidimensional": "ours takes arrays of any shape",
    "test_fun_wrong_dimensions": "ours takes residuals of any shape",
    "test_x0_complex_scalar": "ours raises TypeError",
    "test_x0_complex_array": "ours raises TypeError",
    "test_sparse_not_supported": "ours never makes a sparse Jacobian",
    "test_jac_sparsity_not_supported": "jac_sparsity is not an argument of ours",
    "test_LinearOperator_not_supported": "ours forms the Jacobian",
}


def least_squares_cases():
    cases = []
    for group in ("TestTRF", "TestDogbox", "TestLM"):
        for test in names_of_tests(getattr(least_squares_tests, group)):
            if test == "test_workers":  # which are for finite differences, and slow to start
                continue
            for tr_solver in (None, "lsmr")[: 1 if group == "TestLM" else 2]:
                reason = NOT_OURS.get(test)
                if (group, test) == ("TestLM", "test_full_result"):
                    reason = "expects njev to be None, as without a Jacobian"
                if (tr_solver, test) == ("lsmr", "test_bounds_shape"):
                    reason = "expects zeros, which lsmr gives up to rounding"
                marks = [] if reason is None else [pytest.mark.xfail(reason=reason)]
                if test == "test_convergence_with_only_one_tolerance_enabled":
                    # trf with lsmr divides by a gradient of zero, by whomever it was written.
                    marks = [pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")]
                name = f"{group}.{test}-{tr_solver or 'default'}"
                cases.append(pytest.param(group, test, tr_solver, id=name, marks=marks))
    return cases


@pytest.fixture
def our_least_squares_tests(monkeypatch):
    for name, replacement in REPLACED.items():
        monkeypatch.setattr(least_squares_tests, name, replacement)

    def with_solver(tr_solver):
        monkeypatch.setattr(
            least_squares_tests, "least_squares", partial(our_least_squares, tr_solver)
        )
        return least_squares_tests

    return with_solver


@pytest.mark.parametrize(("group", "test", "tr_solver"), least_squares_cases())
def test_least_squares(group, test, tr_solver, our_least_squares_tests):
    tests = our_least_squares_tests(tr_solver)
    call(getattr(getattr(tests, group)(), test))


@pytest.mark.parametrize("tr_solver", [None, "lsmr"])
@pytest.mark.parametrize(
    "test",
    # Without test_fp32_gh12991, of finite differences, and test_gh_19103, written in numpy.
    [
        name
        for name in ("test_basic", "test_callback", "test_gh_18793_and_19351")
        if hasattr(least_squares_tests, name)
    ],
)
def test_least_squares_on_its_own(test, tr_solver, our_least_squares_tests):
    call(getattr(our_least_squares_tests(tr_solver), test))


@pytest.mark.parametrize("bounds", [(0.5, [2.0, 2.0]), ([0.3, 0.2], 3.0), ([-1, 0.5], [1.0, 3.0])])
def test_least_squares_bounds_as_lists(bounds):
    result = hessop.least_squares(REPLACED["fun_2d_trivial"], np.ones(2), bounds=bounds)
    np.testing.assert_allclose(result.x, np.clip([0.0, 0.0], *bounds), atol=1e-5)
