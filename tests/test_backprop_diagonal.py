"""The diagonal of second derivatives that is propagated backwards through a recording.

Where the method is exact, it is compared with the diagonal of a dense Hessian; where it is not,
with its own formulas, written out for a network in plain NumPy.
"""

import contextlib
from itertools import pairwise

import autograd.numpy as anp
import autograd.scipy.special as asp
import numpy as np
import pytest
from autograd import elementwise_grad
from autograd.scipy.signal import convolve
from cases import CASES, dense_hessian, flat, normal, uniform
from hypothesis import given, settings
from models import MODELS
from random_functions import functions

from hessop import MissingDerivativeError, backprop_diagonal
from hessop.differentiate import retention
from hessop.differentiate.recording import record
from hessop.differentiate.second_order import propagated_diagonal
from hessop.params import read_tree


def propagated(fun, x, args=()):
    return backprop_diagonal(fun, x, args=args).diagonal()


def exact(fun, x, args=()):
    return np.diag(dense_hessian(fun, x, args))


def assert_exact(fun, x, args=(), rtol=1e-11):
    expected = exact(fun, x, args)
    found = propagated(fun, x, args)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


# One function, entry by entry

X = np.array([0.31, 0.82, 0.55, 0.17])
WEIGHTS = np.array([1.5, -0.4, 2.0, 0.7])

OF_ONE = {
    "exp": anp.exp,
    "exp2": anp.exp2,
    "expm1": anp.expm1,
    "log": anp.log,
    "log2": anp.log2,
    "log10": anp.log10,
    "log1p": anp.log1p,
    "sin": anp.sin,
    "cos": anp.cos,
    "tan": anp.tan,
    "arcsin": anp.arcsin,
    "arccos": anp.arccos,
    "arctan": anp.arctan,
    "sinh": anp.sinh,
    "cosh": anp.cosh,
    "tanh": anp.tanh,
    "arcsinh": anp.arcsinh,
    "arccosh": lambda x: anp.arccosh(1.5 + x),
    "arctanh": anp.arctanh,
    "sqrt": anp.sqrt,
    "square": anp.square,
    "reciprocal": anp.reciprocal,
    "negative": lambda x: -anp.sin(-x),
    "absolute": lambda x: anp.abs(x - 0.5) ** 3,
    "fabs": lambda x: anp.fabs(x - 0.5) ** 3,
    "power": lambda x: x**2.5,
    "exponent": lambda x: 1.7**x,
    "subtract": lambda x: (1.0 - x) ** 3,
    "divide": lambda x: 1.0 / (1.0 + x),
    "true_divide": lambda x: anp.true_divide(anp.exp(x), 1.0 + x),
    "logaddexp": lambda x: anp.logaddexp(0.0, x),
    "logaddexp2": lambda x: anp.logaddexp2(x, 0.3),
    "maximum": lambda x: anp.maximum(x, 0.5) ** 3,
    "minimum": lambda x: anp.minimum(0.5, x) ** 3,
    "fmax": lambda x: anp.fmax(x, 0.5) ** 3,
    "clip": lambda x: anp.clip(x, 0.3, 0.6) * x**2,
    "where": lambda x: anp.where(x > 0.5, anp.exp(x), anp.sin(x)),
    "mod": lambda x: anp.mod(3.0 * x, 1.0) ** 3,
    "sinc": anp.sinc,
    "degrees": lambda x: anp.degrees(x) ** 2,
    "deg2rad": lambda x: anp.deg2rad(x) ** 2,
    "nan_to_num": lambda x: anp.nan_to_num(x) ** 3,
    "expit": asp.expit,
    "logit": asp.logit,
    "erf": asp.erf,
    "erfc": asp.erfc,
    "erfinv": asp.erfinv,
    "gammaln": asp.gammaln,
    "gamma": asp.gamma,
    "digamma": asp.digamma,
    "polygamma": lambda x: asp.polygamma(2, x),
    "j1": asp.j1,
    "i0": asp.i0,
    # Several primitives on one array are one function of it.
    "swish": lambda x: x * asp.expit(x),
    "gelu": lambda x: 0.5 * x * (1.0 + anp.tanh(0.8 * (x + 0.045 * x**3))),
    "sigmoid by hand": lambda x: 1.0 / (1.0 + anp.exp(-x)),
    "entropy": lambda x: -x * anp.log(x) - (1.0 - x) * anp.log(1.0 - x),
    "x to the x": lambda x: x**x,
    "mish": lambda x: x * anp.tanh(anp.logaddexp(0.0, x)),
}


@pytest.mark.parametrize("function", OF_ONE.values(), ids=OF_ONE.keys())
@pytest.mark.parametrize("inner", [lambda x: x, lambda x: 0.9 * anp.tanh(x)], ids=["", "of tanh"])
def test_functions_of_one_array(function, inner):
    def fun(x, weights):
        return anp.sum(weights * function(inner(x)))

    assert_exact(fun, X, (WEIGHTS,))
    # Above the size from which a recording lets go of what derivatives do not look at.
    large = propagated(fun, np.tile(X, 1100), (np.tile(WEIGHTS, 1100),))
    np.testing.assert_allclose(large, np.tile(propagated(fun, X, (WEIGHTS,)), 1100), rtol=1e-13)
    # Not as one function of x: the array in between is moved, and so a base of its own.
    moved = propagated(lambda x: anp.sum(WEIGHTS * function(inner(x)[::-1])), X)
    np.testing.assert_allclose(
        moved, WEIGHTS[::-1] * elementwise_grad(elementwise_grad(lambda x: function(inner(x))))(X)
    )


OF_TWO = {
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "power": lambda a, b: a**b,
    "maximum": lambda a, b: anp.maximum(a, b) ** 2,
    "logaddexp": anp.logaddexp,
    "arctan2": anp.arctan2,
    "hypot": anp.hypot,
    "where": lambda a, b: anp.where(b > 0.6, a**3, b**2),
    "difference": lambda a, b: (a - b) ** 2,
    "betaln": asp.betaln,
}


@pytest.mark.parametrize("function", OF_TWO.values(), ids=OF_TWO.keys())
@pytest.mark.parametrize("shapes", [((4,), (4,)), ((4, 1), (3,)), ((), (2, 3)), ((3, 1), (1,))])
def test_functions_of_two_arrays(function, shapes):
    first, second = shapes

    def fun(x):
        return anp.sum(function(x["first"], x["second"]))

    x = {"first": uniform(1, 0.2, 2.0, *first), "second": uniform(2, 0.5, 2.0, *second)}
    assert_exact(fun, x)


# A value that meets itself

R, COLUMN = normal(3, 5), normal(4, 5, 1)
MEETINGS = {
    "x * x": lambda x: anp.sum(x * x),
    "dot(x, x)": lambda x: anp.dot(x, x),
    "inner(x, x)": lambda x: anp.inner(x, x) ** 1,
    "x @ x": lambda x: x @ x,
    "x.T @ x": lambda x: x.T @ x,
    "dot(sin(x), x)": lambda x: anp.dot(anp.sin(x), x),
    "dot(x, 0.5 * x)": lambda x: anp.dot(x, 0.5 * x),
    "einsum": lambda x: anp.einsum("i,i->", x, anp.exp(x)),
    "einsum of a matrix": lambda x: anp.einsum("ij,ij->", x[:, None] - 1, x[:, None] - 1),
    "raveled": lambda x: anp.dot(anp.ravel(x), anp.ravel(x)),
    "an entry, taken twice": lambda x: x[0] * x[0] * x[1],
    "a slice, taken twice": lambda x: anp.sum(x[1:3] * anp.exp(x[1:3])),
    "indices, taken twice": lambda x: anp.sum(x[[0, 2]] * anp.exp(x[[0, 2]])),
    "a product, taken twice": lambda x: anp.sum((2.0 * x) * (2.0 * x)),
    "neighbours": lambda x: anp.sum(x[1:] * x[:-1] ** 2),
    "reversed halves": lambda x: anp.dot(x[:2], x[:2:-1] ** 2),
    "rolled": lambda x: anp.sum((anp.roll(x, 1) - x) ** 2),
    "slices of a flat vector": lambda x: anp.sum(
        anp.sin(anp.matmul(anp.reshape(x[:4], (2, 2)), np.array([0.7, -0.4])) * x[4])
    ),
    "padded": lambda x: anp.dot(anp.pad(x[:4], (1, 0), "constant"), anp.pad(x, 0, "constant")),
    "zeros filled in": lambda x: anp.sum(anp.exp(anp.diag(x) + anp.roll(anp.diag(x), 1, axis=1))),
    "not the largest": lambda x: anp.exp(x[np.argmin(R)] - anp.max(x)),
    "two uses": lambda x: anp.sum(anp.exp(x)) + anp.sum(x**3) + x[2] ** 2,
}


@pytest.mark.parametrize("fun", MEETINGS.values(), ids=MEETINGS.keys())
def test_a_value_that_meets_itself(fun):
    assert_exact(fun, R)


def test_what_a_recording_of_a_square_is():
    weighted = propagated(lambda x: anp.exp(anp.dot(x, x)), R)
    value = np.exp(R @ R)  # h = 4 x² h + 2 g, where both are exp(x.x)
    np.testing.assert_allclose(weighted, 4 * R**2 * value + 2 * value)


# Layers, as trees of weights

INPUTS, CLASSES = normal(5, 9, 4), np.arange(9) % 3
TARGETS, COUNTS = normal(6, 9, 3), np.arange(27).reshape(9, 3) % 4
LAYER = {"weights": normal(7, 4, 3), "bias": normal(8, 3)}


def one_hot(classes):
    return np.eye(3)[classes]


LOSSES = {
    "squares": lambda z: 0.5 * anp.sum((z - TARGETS) ** 2),
    "mean of squares": lambda z: anp.mean((z - TARGETS) ** 2),
    "dot of residuals": lambda z: anp.dot(anp.ravel(z - TARGETS), anp.ravel(z - TARGETS)),
    "einsum of residuals": lambda z: anp.einsum("ij,ij->", z - TARGETS, z - TARGETS),
    "logistic": lambda z: anp.sum(anp.logaddexp(0.0, z) - one_hot(CLASSES) * z),
    "logistic by hand": lambda z: anp.mean(anp.log(1 + anp.exp(-z * (2 * one_hot(CLASSES) - 1)))),
    "expit": lambda z: -anp.sum(anp.log(asp.expit(z * (2 * one_hot(CLASSES) - 1)))),
    "poisson": lambda z: anp.sum(anp.exp(z) - COUNTS * z),
    "softmax": lambda z: anp.sum(asp.logsumexp(z, axis=1) - z[np.arange(9), CLASSES]),
    "softmax, keepdims": lambda z: (
        -anp.sum(one_hot(CLASSES) * (z - asp.logsumexp(z, axis=1, keepdims=True)))
    ),
    "softmax by hand": lambda z: anp.mean(
        anp.log(anp.sum(anp.exp(z), axis=1)) - z[np.arange(9), CLASSES]
    ),
    "log of softmax": lambda z: (
        -anp.sum(
            one_hot(CLASSES) * anp.log(anp.exp(z) / anp.sum(anp.exp(z), axis=1, keepdims=True))
        )
    ),
    "weighted": lambda z: anp.dot(np.arange(9.0), anp.sum(anp.tanh(z) ** 2, axis=1)),
}
PRODUCTS = {
    "dot": lambda x: anp.dot(INPUTS, x["weights"]) + x["bias"],
    "matmul": lambda x: INPUTS @ x["weights"] + x["bias"],
    "transposed": lambda x: (x["weights"].T @ INPUTS.T).T + x["bias"][None, :],
    "einsum": lambda x: anp.einsum("ij,jk->ik", INPUTS, x["weights"]) + x["bias"],
    "einsum by lists": lambda x: (
        anp.einsum(INPUTS, [0, 1], x["weights"], [1, 2], [0, 2]) + x["bias"]
    ),
    "tensordot": lambda x: anp.tensordot(INPUTS, x["weights"], axes=([1], [0])) + x["bias"],
    "inner": lambda x: anp.inner(INPUTS, anp.swapaxes(x["weights"], 0, 1)) + x["bias"],
    "by rows": lambda x: anp.stack([anp.dot(row, x["weights"]) + x["bias"] for row in INPUTS]),
    "joined": lambda x: anp.dot(
        np.column_stack([INPUTS, np.ones(9)]),
        anp.concatenate([x["weights"], x["bias"][None]], axis=0),
    ),
    "convolution": lambda x: (
        convolve(INPUTS, x["weights"], axes=([], []), dot_axes=([1], [0])) + x["bias"]
    ),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS.keys())
def test_one_layer(loss, product):
    assert_exact(lambda x: loss(product(x)), LAYER)


def test_one_layer_from_a_flat_vector():
    def fun(x):
        return LOSSES["softmax"](anp.dot(INPUTS, x[:12].reshape(4, 3)) + x[12:])

    np.testing.assert_array_equal(
        propagated(fun, np.concatenate([LAYER["weights"].ravel(), LAYER["bias"]])),
        np.roll(propagated(lambda x: LOSSES["softmax"](PRODUCTS["dot"](x)), LAYER), -3),
    )


def test_a_filter_over_an_image():
    image = normal(9, 7, 7)

    def fun(x):
        return anp.sum((convolve(image, x, mode="valid") - 1.0) ** 2)

    assert_exact(fun, normal(10, 3, 3))


def test_weight_decay_adds():
    plain = propagated(lambda x: LOSSES["softmax"](PRODUCTS["dot"](x)), LAYER)

    def fun(x):
        decay = anp.sum(x["weights"] ** 2) + anp.sum(x["bias"] ** 2)
        return LOSSES["softmax"](PRODUCTS["dot"](x)) + 0.25 * decay

    np.testing.assert_allclose(propagated(fun, LAYER), plain + 0.5, rtol=1e-12)


# Networks


def network(x, inputs, activation=anp.tanh):
    for weights, bias in x[:-1]:
        inputs = activation(anp.dot(inputs, weights) + bias)
    weights, bias = x[-1]
    return anp.dot(inputs, weights) + bias


def layers(seed, *sizes):
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal((m, n)) / np.sqrt(m), 0.3 * rng.standard_normal(n))
        for m, n in pairwise(sizes)
    ]


@pytest.mark.parametrize("activation", [anp.tanh, asp.expit, OF_ONE["swish"]])
@pytest.mark.parametrize("examples", [1, 6])
@pytest.mark.parametrize("depth", [2, 4])
def test_layers_of_one_unit(activation, examples, depth):
    x = layers(11, *[1] * (depth + 1))
    inputs, targets = normal(12, examples, 1), normal(13, examples, 1)
    assert_exact(lambda x: anp.sum((network(x, inputs, activation) - targets) ** 2), x)
    assert_exact(lambda x: anp.sum(anp.logaddexp(0.0, network(x, inputs, activation))), x)


def test_one_example_at_a_time():
    x = layers(19, 4, 6, 5, 3)

    def fun(x):
        return LOSSES["softmax"](anp.stack([network(x, row) for row in INPUTS]))

    together = propagated(lambda x: LOSSES["softmax"](network(x, INPUTS)), x)
    np.testing.assert_allclose(propagated(fun, x), together, rtol=1e-11, atol=1e-12)


def test_one_hidden_layer_under_a_sum():
    """Each hidden unit reaches the outputs by itself, and those are not coupled by the loss."""
    assert_exact(lambda x: LOSSES["squares"](network(x, INPUTS)), layers(14, 4, 6, 3))
    assert_exact(lambda x: LOSSES["poisson"](network(x, INPUTS)), layers(14, 4, 6, 3))


def test_shared_weights_count_once_for_each_use():
    """What couples the uses is neglected; each use by itself is exact for layers of one unit."""

    def fun(x):
        return anp.sum((anp.tanh(x[1] * anp.tanh(x[0] * INPUTS[:, 0])) - 0.3) ** 2)

    apart = exact(fun, np.array([0.7, 0.7]))
    shared = propagated(lambda w: fun([w, w]), 0.7)
    np.testing.assert_allclose(shared, [apart.sum()], rtol=1e-12)


def optimal_brain_damage(x, inputs, targets):
    """The second derivatives of Le Cun, Denker and Solla, one example and one unit at a time.

    The units are x_i = f(a_i) with a_i = Σ_j w_ij x_j and f = tanh, in the last layer as well, and
    E = Σ (d_i - x_i)². Their formulas ::

        ∂²E/∂w_ij² = ∂²E/∂a_i² x_j²
        ∂²E/∂a_i²  = f'(a_i)² Σ_l w_li² ∂²E/∂a_l² - f''(a_i) (-∂E/∂x_i)
        ∂²E/∂a_i²  = 2 f'(a_i)² - 2 (d_i - x_i) f''(a_i)     in the last layer
    """
    found = [(np.zeros_like(weights), np.zeros_like(bias)) for weights, bias in x]
    for states, target in zip(inputs, targets, strict=True):
        states = [states]
        for weights, bias in x:
            states.append(
                np.array(
                    [np.tanh(sum(weights[:, i] * states[-1]) + bias[i]) for i in range(bias.size)]
                )
            )
        by_state = -2.0 * (target - states[-1])  # ∂E/∂x_i
        from_above = np.full(target.size, 2.0)  # ∂²E/∂x_i²
        for k in reversed(range(len(x))):
            weights = x[k][0]
            unit, below = states[k + 1], states[k]
            slope = 1.0 - unit**2
            bend = -2.0 * unit * slope
            by_sum = slope * by_state  # ∂E/∂a_i
            curvature = slope**2 * from_above + bend * by_state  # ∂²E/∂a_i²
            for i in range(unit.size):
                found[k][1][i] += curvature[i]
                for j in range(below.size):
                    found[k][0][j, i] += curvature[i] * below[j] ** 2
            by_state = np.array([sum(weights[j] * by_sum) for j in range(below.size)])
            from_above = np.array([sum(weights[j] ** 2 * curvature) for j in range(below.size)])
    return flat(found)


@pytest.mark.parametrize("sizes", [(4, 3), (4, 6, 3), (4, 6, 5, 3), (4, 5, 5, 5, 3)])
def test_the_formulas_of_optimal_brain_damage(sizes):
    x = layers(15, *sizes)

    def fun(x):
        return anp.sum((TARGETS - anp.tanh(network(x, INPUTS))) ** 2)

    found = propagated(fun, x)
    expected = optimal_brain_damage(x, INPUTS, TARGETS)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())


def test_the_formulas_for_large_layers():
    """Above the size from which a recording lets go of arrays."""
    x = layers(16, 4, 70, 70, 3)

    inputs, targets = np.tile(INPUTS, (8, 1)), np.tile(TARGETS, (8, 1))

    def fun(x):
        return anp.sum((targets - anp.tanh(network(x, inputs))) ** 2)

    expected = 8 * optimal_brain_damage(x, INPUTS, TARGETS)
    np.testing.assert_allclose(
        propagated(fun, x), expected, rtol=1e-11, atol=1e-12 * np.abs(expected).max()
    )


def test_how_far_off_a_network_is():
    """Two hidden layers under a softmax: exact in the last layer only."""
    x = layers(17, 4, 8, 8, 3)

    def fun(x):
        return LOSSES["softmax"](network(x, INPUTS))

    found, true = propagated(fun, x), exact(fun, x)
    ends = np.cumsum([weights.size + bias.size for weights, bias in x])
    errors = [
        np.linalg.norm(part - whole) / np.linalg.norm(whole)
        for part, whole in zip(np.split(found, ends[:-1]), np.split(true, ends[:-1]), strict=True)
    ]
    assert errors[2] < 1e-13
    assert 0.15 < errors[1] < 0.25  # 20 %
    assert 0.3 < errors[0] < 0.4  # 34 %
    assert 0.97 < np.corrcoef(found, true)[0, 1] < 0.98


# The table of cases

BY_NAME = {case.name: case for case in CASES}
# Closed-form cases whose Hessian is diagonal, and that have no rule here.
NOT_PROPAGATED = {"user-primitive": "softplus"}


def has_diagonal_hessian(case):
    if "closed-form" not in case.tags:
        return False
    dense = case.hessian()
    return not np.any(dense - np.diag(np.diag(dense)))


DIAGONAL = [case for case in CASES if has_diagonal_hessian(case)]


@pytest.mark.parametrize("case", DIAGONAL, ids=lambda case: case.name)
def test_separable_cases_are_exact_or_refused(case):
    if case.name in NOT_PROPAGATED:
        with pytest.raises(MissingDerivativeError, match=NOT_PROPAGATED[case.name]):
            propagated(case.fun, case.x, case.args)
        return
    expected = np.diag(case.hessian())
    found = propagated(case.fun, case.x, case.args)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max())


def test_there_are_many_separable_cases():
    assert len(DIAGONAL) > 20
    assert NOT_PROPAGATED.keys() <= {case.name for case in DIAGONAL}


@pytest.mark.parametrize(
    "name",
    [
        "rosenbrock",
        "pearlmutter",
        "product",
        "powers",
        "lattice-energy",
        "reversed-slices",
        "cumulative-cubes",
        "mean-over-two-axes",
        "product-over-an-axis",
        "log-sum-exp",
        "matrix-factorisation",
        "kronecker-product",
        "log-beta",
        "logistic-regression",
        "softmax-cross-entropy",
        "normal",
        "probit-regression",
        "student-regression",
        "poisson-regression",
        "beta-scalar-leaves",
        "gamma",
        "convolution-least-squares",
        "filtered-image",
        "tanh-network",
        "regression-namedtuple",
        "unused-leaf",
        "mixed-tree",
    ],
)
def test_cases_that_are_exact_though_entries_are_coupled(name):
    case = BY_NAME[name]
    expected = np.diag(case.hessian())
    found = propagated(case.fun, case.x, case.args)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("case", [*CASES, *MODELS], ids=lambda case: case.name)
def test_every_function_has_a_diagonal_or_is_refused(case):
    found = None
    with contextlib.suppress(MissingDerivativeError):
        found = propagated(case.fun, case.x, getattr(case, "args", ()))
    if found is not None:
        assert found.shape == flat(case.x).shape
        assert np.isfinite(found).all()


def test_a_quadratic_form_by_two_products_is_what_the_method_cannot_see():
    """x and A x are both linear in x: their second derivatives are zero, and the rest coupling."""
    A = normal(18, 4, 4)
    np.testing.assert_array_equal(propagated(lambda x: x @ (A @ x), X), np.zeros(4))
    # Its square root, seen one row at a time, is a layer.
    assert_exact(lambda x: anp.sum((A @ x) ** 2), X)


# Refusals


@pytest.mark.parametrize(
    ("fun", "words"),
    [
        (lambda x: anp.sum(anp.linalg.solve(x + 9 * np.eye(4), X)), "through solve. Use Diag"),
        (lambda x: anp.linalg.cholesky(x @ np.eye(4) + 9 * np.eye(4))[1, 0], "through cholesky"),
        (lambda x: anp.sum(anp.abs(anp.fft.fft(x)) ** 2), "through fft"),
        (lambda x: anp.linalg.norm(x), "through norm"),
        (lambda x: anp.sum(anp.var(x, axis=0)), "through var"),
        (lambda x: anp.sum(anp.diff(x) ** 2), "through diff"),
        (lambda x: anp.abs(anp.sum(anp.exp(1j * x))), "through multiply with complex values"),
        (lambda x: anp.einsum("i,j->", x[0], x[0]), "through einsum of a value with itself"),
        (lambda x: anp.einsum("i,ij,j->", x[0], np.eye(4), x[0]), "through einsum of a value"),
        (lambda x: anp.sum(anp.outer(x, x)), "through outer of a value with itself"),
        (lambda x: anp.tensordot(x, x), "through tensordot of a value with itself"),
        (lambda x: anp.sum(x @ x), "through matmul of a value with itself"),
        (lambda x: anp.sum(x @ x.T), "through matmul of a value with itself, or a rearrangement"),
        (lambda x: anp.sum(anp.dot(x[:2, :3], x[1:, :2])), "through dot of a value with itself"),
        (lambda x: (x[0][:, None].T @ x[0][:, None])[0, 0], "through matmul of a value with"),
        (lambda x: anp.sum(x * x.T), "through multiply of a value with itself, or a rearrangement"),
        (lambda x: anp.sum(anp.exp(0.5 * (x + anp.tanh(x).T))), "through add of a value"),
        (lambda x: anp.sum((x[0][:, None] - x[0]) ** 2), "through subtract of a value"),
        (lambda x: anp.sum(anp.exp(x - anp.max(x))), "through subtract of a value with itself"),
        (lambda x: anp.exp(x[0, 0] - anp.max(x[0])), "through subtract of a value with itself"),
        (lambda x: anp.sum(x[0] * anp.sort(x[0])), "through multiply of a value with itself"),
    ],
)
def test_refusals(fun, words):
    x = np.array([[1.0, 0.2, 0.4, 0.1], [0.3, 2.0, 0.5, 0.6], [0.7, 0.8, 3.0, 0.9], [1, 2, 1, 4]])
    with pytest.raises(MissingDerivativeError, match=words) as caught:
        propagated(fun, x)
    assert "Use DiagonalOperator.from_operator(hessian_operator(fun, x))" in str(caught.value)


def test_long_indices_are_told_apart():
    """They print the same."""
    one, other = np.arange(2000), np.arange(2000)
    other[[1000, 1001]] = 1001, 1000
    assert repr(one) == repr(other)
    with pytest.raises(MissingDerivativeError, match="multiply of a value with"):
        propagated(lambda x: anp.sum(x[one, None] * x[other, None]), np.ones(2000))


def test_a_derivative_that_autograd_lacks():
    with pytest.raises(MissingDerivativeError, match=r"autograd: .*gammainc.*exact diag"):
        propagated(lambda x: anp.sum(asp.gammainc(x, 2.0)), X)


# Results


def test_single_precision():
    x = {"weights": LAYER["weights"].astype(np.float32), "bias": LAYER["bias"].astype(np.float32)}

    def fun(x):
        return LOSSES["softmax"](anp.tanh(PRODUCTS["dot"](x)))

    found = propagated(fun, x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, propagated(fun, LAYER), rtol=1e-4, atol=1e-5)


def test_a_seed_scales():
    layout, x = read_tree(X)
    recording = record(lambda x: anp.sum(anp.exp(x)).reshape(1, 1), layout, x)
    np.testing.assert_allclose(propagated_diagonal(recording, np.array([[3.0]])), 3 * np.exp(X))
    recording = record(lambda x: anp.exp(x), layout, x)
    np.testing.assert_allclose(propagated_diagonal(recording, WEIGHTS), WEIGHTS * np.exp(X))


def test_leaves_that_are_not_used_and_functions_that_are_linear():
    x = {"used": X, "spare": np.ones((2, 2)), "linear": 1.0}
    found = propagated(lambda x: anp.sum(x["used"] ** 3) + 2.0 * x["linear"], x)
    np.testing.assert_allclose(found, [0, 0, 0, 0, 0, *(6 * X)])
    np.testing.assert_array_equal(propagated(lambda x: x, 2.0), [0.0])


def test_a_recording_can_be_used_again():
    layout, x = read_tree(LAYER)
    recording = record(lambda x: LOSSES["softmax"](PRODUCTS["dot"](x)), layout, x)
    first = propagated_diagonal(recording, np.array(1.0))
    kept = first.copy()
    again = propagated_diagonal(recording, np.array(1.0))
    first[:] = 0.0
    np.testing.assert_array_equal(again, kept)


@given(functions())
@settings(max_examples=100, deadline=None)
def test_what_a_recording_lets_go_of_is_not_needed(function):
    x = function.point()
    found = []
    for least_size in (10**9, 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(retention, "LEAST_SIZE", least_size)
            try:
                found.append(propagated(function, x))
            except MissingDerivativeError:
                return
    complete, thinned = found
    assert np.isfinite(complete).all()
    np.testing.assert_allclose(thinned, complete, rtol=1e-12, atol=1e-13 * np.abs(complete).max())
