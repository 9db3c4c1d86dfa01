"""The audit finds what is wrong, names it, and finds nothing where nothing is wrong."""

import json

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.extend import defjvp, defvjp, primitive
from autograd.tracer import getval
from cases import CASES, normal
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from structures import STRUCTURES

from hessop import hessian_operator, jacobian_operator, minimize
from hessop.diagnostics.audits import check_operator

X = normal(1, 20, 5)
POINT = normal(2, 5)
SQUARE = normal(3, 5, 5)
SYMMETRIC = SQUARE + SQUARE.T
TALL = normal(4, 7, 5)


def failed(audit):
    return {check.name for check in audit.failures}


def cosh_loss(w):
    return anp.sum(anp.cosh(anp.dot(X, w)))


def operator(matvec, shape=(5, 5), **more):
    return LinearOperator(shape, matvec=matvec, dtype=float, **more)


# --- no false alarms ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_functions_pass(case):
    audit = check_operator(fun=case.fun, x=case.x, args=case.args, n_probes=1, rng=5)
    assert audit.passed, str(audit)
    made = {check.name for check in audit if check.passed}
    assert {"gradient", "product", "smooth fun", "digits of fun", "linear"} <= made


@pytest.mark.parametrize("case", STRUCTURES, ids=lambda case: case.name)
def test_operators_pass(case):
    audit = check_operator(case.make())
    assert audit.passed, str(audit)
    of_functions = {"hessian", "hessian-float32", "hessian-of-a-tree", "hessian-of-a-tree-float32"}
    assert (audit["gradient"].verdict == "skipped") != (case.name in of_functions)


@pytest.mark.parametrize("scale", [1e-100, 1e100])
@pytest.mark.parametrize(
    "make",
    [
        lambda s: check_operator(s * aslinearoperator(SYMMETRIC)),
        lambda s: check_operator(s * aslinearoperator(TALL)),
        lambda s: check_operator(fun=lambda w: s * cosh_loss(w), x=POINT),
        lambda s: check_operator(fun=lambda w: cosh_loss(w / s), x=POINT * s),
    ],
)
def test_huge_and_tiny_numbers_pass(make, scale):
    assert make(scale).passed


@pytest.mark.parametrize("mode", ["finite-difference", "finite-difference-forward"])
def test_differences_pass_with_their_step_error(mode):
    H = hessian_operator(cosh_loss, POINT, mode=mode)
    audit = check_operator(H)
    assert audit.passed, str(audit)
    assert 1e-12 < audit["linear"].allowed < 1e-4
    shifted = check_operator(0.5 * aslinearoperator(np.eye(5)) + H)
    assert shifted.passed, str(shifted)


@pytest.mark.parametrize(
    ("fun", "x"),
    [
        (lambda w: anp.sum(anp.sin(1e6 * w)), POINT),
        (lambda w: 1e8 + anp.sum(anp.cosh(w)), POINT),
        (lambda w: anp.sum(anp.cosh(w)), np.zeros(5)),
        (lambda w: anp.sum(anp.log(w)), np.full(5, 1e-9)),
        (lambda w: anp.sum(anp.maximum(w, 0.0) ** 2), np.array([1.0, -2.0, 1e-4])),
        (lambda w: anp.dot(POINT, w) + 1e8, POINT),
    ],
    ids=["oscillation", "large-constant", "minimum", "near-an-edge", "kink-not-near", "linear"],
)
def test_what_is_hard_to_difference_passes(fun, x):
    audit = check_operator(fun=fun, x=x)
    assert audit.passed, str(audit)


def test_a_float32_point_passes():
    audit = check_operator(fun=cosh_loss, x=POINT.astype(np.float32))
    assert audit.passed, str(audit)
    assert audit["digits of fun"].verdict == "skipped"
    assert audit["linear"].allowed > 1e-6


def test_a_rectangular_operator_and_one_without_symmetry_pass():
    J = jacobian_operator(lambda w: anp.tanh(anp.dot(TALL, w)), POINT)
    audit = check_operator(J)
    assert audit.passed, str(audit)
    assert audit["adjoint"].passed
    assert audit["adjoint block"].passed
    assert audit["symmetric"].verdict == "skipped"
    assert check_operator(SQUARE).passed
    assert failed(check_operator(SQUARE, symmetric=True)) == {"symmetric"}
    assert check_operator(operator(lambda v: SQUARE @ v), symmetric=False).passed


# --- faults of functions --------------------------------------------------------------------------


def dropout():
    rng = np.random.default_rng(0)
    return lambda w: anp.sum(anp.tanh(anp.dot(X * (rng.uniform(size=X.shape) < 0.5), w)) ** 2)


def counting():
    calls = []

    def fun(w):
        calls.append(0)
        return anp.sum(w**2) * (1.0 + 0.1 * len(calls))

    return fun


def in_single(w):
    return anp.sum(anp.cosh(anp.dot(X, w).astype(np.float32)))


def partly_in_single(w):
    return 1.7 * anp.sum(anp.cosh(anp.dot(X, w.astype(np.float32)))) + anp.sum(w**3)


def left_as_float(w):
    return cosh_loss(w) * (1.0 + float(getval(anp.sum(w**2))))


def left_as_array(w):
    return cosh_loss(w) + 1e-3 * anp.sum(np.array([float(getval(one)) for one in w]) ** 3)


def cube(vjp, jvp=None):
    own_cube = primitive(lambda w: w**3)
    defvjp(own_cube, lambda ans, w: lambda g: vjp(w) * g)
    if jvp is not None:
        defjvp(own_cube, lambda g, ans, w: jvp(w) * g)
    return lambda w: anp.sum(anp.sin(own_cube(w))) + anp.sum(w**2)


def right(w):
    return 3.0 * w**2


@pytest.mark.parametrize(
    ("fun", "x", "check", "words"),
    [
        (dropout(), POINT, "repeatable fun", "randomness in fun"),
        (counting(), POINT, "repeatable fun", "a state that it changes"),
        (in_single, POINT, "digits of fun", "float32"),
        (partly_in_single, POINT, "digits of fun", "float32"),
        (lambda w: anp.sum(anp.abs(w)), np.array([0.0, 1.0]), "smooth fun", "a kink"),
        (lambda w: anp.sum(anp.abs(w)), np.array([1e-9, 1.0]), "smooth fun", "a kink"),
        (lambda w: anp.sum(anp.maximum(w, 0.0)), np.array([0.0, 1.0]), "smooth fun", "maximum"),
        (lambda w: anp.sum(anp.maximum(w, 0.0) ** 2), np.array([0.0, 1.0]), "smooth fun",
         "the Hessian jumps"),
        (lambda w: anp.sum(anp.where(w > 0.0, w**2, w)), np.array([1e-8, 1.0]), "smooth fun",
         "a kink"),
        (left_as_float, POINT, "gradient", "values left the graph"),
        (left_as_array, POINT, "gradient", "values left the graph"),
        (cube(lambda w: 2.0 * w**2), POINT, "gradient", "a wrong custom derivative: the VJP"),
        (cube(lambda w: 3.0 * np.array(getval(w)) ** 2), POINT, "product",
         "a wrong custom derivative: the derivative of the VJP"),
    ],
    ids=["dropout", "state", "float32", "partly-float32", "abs", "abs-nearby", "relu",
         "squared-relu", "branches", "left-as-float", "left-as-array", "wrong-vjp",
         "vjp-that-leaves-the-graph"],
)  # fmt: skip
def test_a_fault_of_a_function_is_named(fun, x, check, words):
    audit = check_operator(fun=fun, x=x)
    assert not audit.passed
    assert audit[check].verdict == "failed"
    assert words in audit[check].cause, audit[check].cause


@pytest.mark.parametrize("mode", ["forward-over-reverse", "reverse-over-forward"])
def test_a_wrong_jvp_is_named(mode):
    fun = cube(right, lambda w: 2.0 * w**2)
    audit = check_operator(hessian_operator(fun, POINT, mode=mode))
    assert failed(audit) == {"product"}
    assert "a wrong custom derivative: the JVP" in audit["product"].cause
    assert check_operator(fun=fun, x=POINT).passed  # the other mode does without it


def test_right_rules_pass():
    audit = check_operator(hessian_operator(cube(right, right), POINT, mode="reverse-over-forward"))
    assert audit.passed, str(audit)


def test_what_is_not_repeatable_is_not_differenced():
    audit = check_operator(fun=dropout(), x=POINT)
    assert failed(audit) == {"repeatable fun"}
    assert audit["gradient"].verdict == "skipped"
    assert "of dot" in audit["repeatable fun"].cause


def test_a_gradient_of_ones_own_is_compared():
    def fun(w):
        return np.sum(np.cosh(X @ w))

    def grad(w):
        return X.T @ np.sinh(X @ w)

    assert check_operator(fun=fun, grad=grad, x=POINT).passed
    audit = check_operator(fun=fun, grad=lambda w: 2.0 * grad(w), x=POINT)
    assert failed(audit) == {"gradient"}
    assert "2 times" in audit["gradient"].cause
    audit = check_operator(
        fun=fun, grad=lambda w: X.T @ np.sinh((X @ w).astype(np.float32)).astype(float), x=POINT
    )
    assert "float32" in audit["digits of fun"].cause
    only = check_operator(grad=grad, x=POINT)
    assert only.passed
    assert only["gradient"].verdict == "skipped"
    kinked = check_operator(grad=lambda w: np.sign(w) + w, x=np.array([1e-9, 1.0]))
    assert "a kink" in kinked["smooth fun"].cause


def test_the_hessian_of_something_else_is_refused():
    audit = check_operator(hessian_operator(cosh_loss, POINT), cosh_loss, POINT + 0.1)
    assert failed(audit) == {"product"}
    assert "A is not the Hessian of fun at x" in audit["product"].cause
    audit = check_operator(2.0 * hessian_operator(cosh_loss, POINT), cosh_loss, POINT)
    assert "2 times what differences give" in audit["product"].cause


def test_differences_across_a_kink_are_told():
    H = hessian_operator(
        lambda w: anp.sum(anp.maximum(w, 0.0)) + anp.sum(w**3),
        np.array([1.0, 2.0, 3e-6]),
        mode="finite-difference",
    )
    audit = check_operator(H)
    assert not audit.passed
    assert "kink" in audit["product"].cause


def test_small_errors_are_found():
    """Of a part in a million in the gradient, and a few units in the twelfth digit of products."""
    audit = check_operator(
        fun=lambda w: np.sum(np.cosh(X @ w)),
        grad=lambda w: (1.0 + 1e-6) * (X.T @ np.sinh(X @ w)),
        x=POINT,
    )
    assert failed(audit) == {"gradient"}
    skew = SYMMETRIC + 1e-12 * (SQUARE - SQUARE.T)
    assert failed(check_operator(operator(lambda v: skew @ v))) == {"symmetric"}
    bent = check_operator(operator(lambda v: SYMMETRIC @ (v * (1.0 + 1e-12 * v @ v))))
    assert "linear" in failed(bent)


# --- faults of operators --------------------------------------------------------------------------


class Drifting:
    """Each product adds something of the one before."""

    def __init__(self):
        self.last = np.zeros(5)

    def __call__(self, v):
        product = SYMMETRIC @ np.ravel(v) + 0.1 * self.last
        self.last = np.ravel(v).copy()
        return product


def noisy():
    rng = np.random.default_rng(0)
    return lambda v: SYMMETRIC @ np.ravel(v) + 1e-6 * rng.standard_normal(5)


def buffered():
    buffer = np.empty(5)
    return lambda v: np.dot(SYMMETRIC, np.ravel(v), out=buffer)


def doubling(v):
    v *= 2.0
    return SYMMETRIC @ v


SINGLE = SYMMETRIC.astype(np.float32)


@pytest.mark.parametrize(
    ("A", "check", "words"),
    [
        (operator(noisy()), "repeatable", "randomness"),
        (operator(Drifting()), "repeatable", "state"),
        (operator(buffered()), "no side effects", "the same buffer"),
        (operator(doubling), "no side effects", "changes v"),
        (operator(lambda v: np.abs(SYMMETRIC @ v)), "linear", "more than a matrix"),
        (operator(lambda v: SYMMETRIC @ v + 1.0), "linear", "A @ 0 is not zero"),
        (operator(lambda v: SYMMETRIC @ np.round(v, 5)), "linear", "not quite linear"),
        (operator(lambda v: SQUARE @ v), "symmetric", "A is not symmetric"),
        (operator(lambda v: SQUARE @ v, rmatvec=lambda v: SQUARE @ v), "adjoint", "rmatvec"),
        (operator(lambda v: TALL @ v, (7, 5), rmatvec=lambda u: 1.001 * TALL.T @ u), "adjoint",
         "not the transpose"),
        (operator(lambda v: SYMMETRIC @ v, matmat=lambda V: (SYMMETRIC @ V)[:, ::-1]), "block",
         "column"),
        (operator(lambda v: TALL @ v, (7, 5), rmatvec=lambda u: TALL.T @ u,
                  rmatmat=lambda U: -TALL.T @ U), "adjoint block", "rmatmat"),
        (operator(lambda v: SINGLE @ v.astype(np.float32)), "dtype", "float32"),
        (operator(lambda v: (SINGLE @ v.astype(np.float32)).astype(float)), "dtype", "float32"),
        (operator(lambda v: 1.1 * (SINGLE @ v.astype(np.float32)).astype(float)), "linear",
         "float32"),
        (operator(lambda v: (1e3 * SYMMETRIC @ v).astype(int)), "dtype", "int"),
        (operator(lambda v: np.rint(1e3 * SYMMETRIC @ v)), "dtype", "whole numbers"),
        (operator(lambda v: SYMMETRIC @ v + 0j), "dtype", "complex"),
        (operator(lambda v: np.full(5, np.nan)), "finite", "nan at entry 0"),
        (operator(lambda v: (SYMMETRIC @ v)[:3]), "finite", "ValueError"),
        (operator(lambda v: 1 / 0), "finite", "ZeroDivisionError"),
    ],
    ids=["noise", "state", "buffer", "changed-argument", "absolute", "affine", "rounded",
         "not-symmetric", "not-its-own-adjoint", "wrong-adjoint", "wrong-block",
         "wrong-adjoint-block", "float32-products", "cast-to-float32", "float32-within", "integers",
         "whole-numbers", "complex", "nan", "wrong-shape", "raises"],
)  # fmt: skip
def test_a_fault_of_an_operator_is_named(A, check, words):
    audit = check_operator(A)
    assert audit[check].verdict == "failed", str(audit)
    assert words in audit[check].cause, audit[check].cause


@pytest.mark.parametrize("A", [np.full((3, 3), np.nan), operator(lambda v: 1 / 0)])
def test_without_products_nothing_else_is_judged(A):
    audit = check_operator(A, symmetric=True)
    assert failed(audit) == {"finite"}


def test_a_derivative_that_does_not_exist():
    audit = check_operator(fun=anp.linalg.norm, x=np.zeros(3))
    assert failed(audit) == {"finite", "finite fun"}
    assert "x[0]" in audit["finite fun"].cause


def test_a_function_that_cannot_be_differentiated_is_a_failed_check():
    audit = check_operator(fun=lambda w: float(np.sum(np.array(getval(w)))), x=POINT)
    assert failed(audit) == {"operator"}
    assert "does not depend on its argument through autograd" in audit["operator"].cause


# --- the interface --------------------------------------------------------------------------------


def test_an_operator_knows_its_function():
    H = hessian_operator(lambda p, s: s * anp.sum(p["a"] ** 3) * p["b"], {"a": POINT, "b": 2.0},
                         args=(3.0,))  # fmt: skip
    known, given = (
        check_operator(H),
        check_operator(H, lambda p: 3.0 * anp.sum(p["a"] ** 3) * p["b"]),
    )
    assert known.passed
    assert given.passed
    assert known["gradient"].passed
    assert given["product"].passed


def test_it_is_reproducible_and_leaves_the_point_alone():
    x = POINT.copy()
    first, second = (check_operator(fun=cosh_loss, x=x, rng=7) for _ in range(2))
    assert [check.discrepancy for check in first if check.passed] == pytest.approx(
        [check.discrepancy for check in second if check.passed], nan_ok=True, abs=0.0
    )
    assert np.array_equal(x, POINT)


def test_an_audit_is_legible():
    for audit in (
        check_operator(fun=cosh_loss, x=POINT),
        check_operator(fun=in_single, x=POINT),
        check_operator(operator(lambda v: 1 / 0)),
    ):
        lines = str(audit).splitlines()
        assert max(map(len, lines)) <= 100
        assert lines[-1] == ("passed" if audit.passed else "failed")
        assert all(any(line.startswith(check.name) for line in lines) for check in audit)
        assert len(repr(audit)) < 200
        assert json.loads(json.dumps(audit.to_dict(), allow_nan=False))["passed"] == audit.passed
        assert len(audit) == len(list(audit))
    with pytest.raises(KeyError, match="there is no check 'speed', expected one of operator"):
        check_operator(fun=lambda w: 1.0, x=POINT)["speed"]


def test_figures_are_against_what_rounding_allows():
    linear = check_operator(SYMMETRIC)["linear"]
    assert linear.discrepancy < linear.allowed
    eps = np.finfo(float).eps
    assert 10 * 5**0.5 * eps <= linear.allowed < 1e3 * eps
    assert "where" in str(linear)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "neither A nor fun"),
        ({"fun": cosh_loss}, ValueError, "no x"),
        ({"A": SYMMETRIC, "x": POINT}, ValueError, "no fun or grad"),
        ({"A": SYMMETRIC, "fun": cosh_loss}, ValueError, "no x"),
        ({"A": SYMMETRIC, "fun": cosh_loss, "x": POINT[:4]}, ValueError, r"A has shape \(5, 5\)"),
        ({"A": TALL, "symmetric": True}, ValueError, "not square"),
        ({"A": SYMMETRIC, "n_probes": 0}, ValueError, "n_probes is 0"),
        ({"A": SYMMETRIC + 0j}, TypeError, "complex128"),
        ({"A": cosh_loss}, TypeError, "expected a LinearOperator"),
        ({"fun": cosh_loss, "x": np.array([np.nan])}, ValueError, "expected a finite number"),
    ],
)
def test_bad_input_is_an_error(arguments, error, message):
    with pytest.raises(error, match=message):
        check_operator(**arguments)


def test_a_gradient_that_vanishes_is_no_lack_of_digits():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 6)), rng.standard_normal(40)

    def fun(w):
        return anp.mean((X @ w - y) ** 2) + 1.0

    least = np.linalg.lstsq(X, y)[0]
    assert check_operator(fun=fun, x=least).passed


def test_the_rounding_of_large_sums_is_seen_at_a_minimum():
    # Two sums of about 10⁵ whose difference is near 300, as of a cross-entropy: rounding of the
    # sums, and not that of x, is what differences of fun have at the minimum.
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 4))

    def fun(w):
        scores = 200.0 + X @ w
        return (anp.sum(anp.sqrt(scores**2 + 1.0 + (X @ w) ** 2)) - anp.sum(scores)) / 500.0

    least = minimize(fun, np.ones(4), method="trust-exact", options={"gtol": 1e-9}).params
    for seed in range(20):
        audit = check_operator(fun=fun, x=least, rng=seed)
        assert audit.passed, audit
