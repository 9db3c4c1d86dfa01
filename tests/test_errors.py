"""Bad input gets an error that says what came, what was expected, and the way out."""

import math

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad

import hessop
from hessop import NonFiniteError, NotTracedError, hessian_operator, jacobian_operator

X = np.array([1.0, 2.0, 3.0])


def raises_inside(x):
    anp.sum(x)
    raise KeyError("data/train.csv")


@pytest.mark.parametrize(
    ("fun", "error", "words"),
    [
        (lambda x: x**2, NotTracedError, r"shape \(3,\), expected a scalar. Sum it, or use jac"),
        (lambda x: anp.sum(x) * 1j, NotTracedError, "complex result, expected a real one"),
        (lambda x: anp.fft.fft(x)[0], NotTracedError, "complex result"),
        (lambda x: None, NotTracedError, "fun returned None, expected a number. Add a return"),
        (lambda x: float(np.sum(np.ones(3))), NotTracedError, "does not depend on its argument"),
        (lambda x: 3, NotTracedError, "plain int"),
        (lambda x: np.ones(3), NotTracedError, r"plain ndarray of shape \(3,\)"),
        (lambda x: [x[0], x[1]], NotTracedError, "returned a list, expected a number"),
        (lambda x: (anp.sum(x), x), NotTracedError, "returned a tuple"),
        (lambda x: "loss", NotTracedError, "returned a str"),
        (lambda x: np.array([x[0], x[1]]), NotTracedError, "numpy built it from traced"),
        (lambda x: anp.sum(x) * np.nan, NonFiniteError, "is nan, expected a finite number"),
        (lambda x: anp.exp(1e4 * anp.sum(x)), NonFiniteError, "is inf, expected a finite number"),
        (lambda x: np.inf, NonFiniteError, "fun returned inf"),
        (raises_inside, KeyError, "data/train.csv"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_what_fun_may_not_return(fun, error, words):
    with pytest.raises(error, match=words):
        hessian_operator(fun, X)


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: math.exp(x[0]) + x[1],
        lambda x: float(x[0]) ** 2 + x[1],
        lambda x: x.__setitem__(0, 1.0),
    ],
)
def test_leaving_the_graph_in_the_middle_keeps_the_error_and_adds_a_hint(fun):
    with pytest.raises((TypeError, AttributeError)) as caught:
        hessian_operator(fun, X)
    assert any("not from autograd.numpy" in note for note in caught.value.__notes__)


def test_a_list_of_numbers_is_a_tree_and_the_hint_says_so():
    with pytest.raises(TypeError) as caught:
        hessian_operator(lambda x: anp.sum(x**2), [1.0, 2.0])
    assert any("for an array, pass one" in note for note in caught.value.__notes__)


def test_tracing_recovers_from_an_error():
    with pytest.raises(KeyError):
        hessian_operator(raises_inside, X)
    np.testing.assert_allclose(hessian_operator(lambda x: anp.sum(x**3), X) @ X, 6 * X**2)


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.array([]), ValueError, "x is empty"),
        ({}, ValueError, "x is empty"),
        (np.array([1j]), TypeError, "dtype complex128.*real and imaginary parts"),
        (np.array([None]), TypeError, "dtype object"),
        ("abc", TypeError, "x is a str"),
        (np.array([1.0, np.nan]), NonFiniteError, r"x\[1\] is nan"),
    ],
)
@pytest.mark.parametrize("make", [hessian_operator, jacobian_operator])
def test_what_x_may_not_be(make, x, error, words):
    with pytest.raises(error, match=words):
        make(lambda x: anp.sum(x**2), x)


def test_an_operator_is_not_made_inside_a_trace():
    with pytest.raises(TypeError, match="make the operator outside"):
        grad(lambda x: hessian_operator(lambda y: anp.sum(y**2), x).value)(X)


def test_nor_of_a_function_that_refers_to_a_traced_value():
    with pytest.raises(NotTracedError, match="make the operator outside"):
        grad(lambda s: hessian_operator(lambda y: s * anp.sum(y**2), X).value)(2.0)


def test_a_gradient_alone_that_is_not_finite_is_named_as_such():
    H = hessian_operator(None, X, grad=lambda x: x * np.nan, mode="finite-difference-forward")
    with pytest.raises(NonFiniteError, match="the gradient is not finite"):
        H @ np.ones(3)


def test_mode_and_callables():
    with pytest.raises(ValueError, match="mode is 'forward', expected one of 'auto'"):
        hessian_operator(lambda x: anp.sum(x**2), X, mode="forward")
    with pytest.raises(TypeError, match="fun is None, expected a function"):
        hessian_operator(None, X)
    with pytest.raises(TypeError, match="grad is 3, expected a function"):
        hessian_operator(None, X, grad=3)
    with pytest.raises(ValueError, match="can only be differenced"):
        hessian_operator(None, X, grad=lambda x: x, mode="reverse-over-reverse")


@pytest.mark.parametrize(
    ("gradient", "error", "words"),
    [
        (lambda x: x[:2], ValueError, r"grad\(x\) has shape \(2,\), expected \(3,\)"),
        (lambda x: None, TypeError, r"grad\(x\) is NoneType"),
        (lambda x: x + 1j, TypeError, "complex128"),
        (lambda x: [x, x], ValueError, r"grad\(x\) has the structure"),
        (lambda x: x * np.nan, NonFiniteError, "the gradient is not finite at x or a small step"),
    ],
)
def test_what_grad_may_not_return(gradient, error, words):
    H = hessian_operator(None, X, grad=gradient)
    with pytest.raises(error, match=words):
        H @ np.ones(3)


def test_a_gradient_that_is_not_finite_is_named_by_its_entry():
    def norm(p):
        return anp.sqrt(anp.sum(p["w"] ** 2)) + p["b"]

    H = hessian_operator(norm, {"w": np.zeros((2, 2)), "b": 1.0})
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match=r"x\['w'\]\[0, 0\]"):
        _ = H.gradient


def test_the_jacobian_wants_a_finite_array():
    with pytest.raises(NotTracedError, match=r"<lambda>\(x\)\[1\] is a str"):
        jacobian_operator(lambda x: [x[0], "x[1]"], X)
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="not finite"):
        jacobian_operator(lambda x: anp.log(x - 1.0), X)


def test_every_error_of_the_package_is_public_and_a_usual_kind():
    assert issubclass(hessop.NonFiniteError, ValueError)
    assert not issubclass(hessop.NonFiniteError, np.linalg.LinAlgError)
    assert issubclass(hessop.NotTracedError, TypeError)
    assert issubclass(hessop.MissingDerivativeError, RuntimeError)
