"""Gauss-Newton matrices, Jacobians and tangent kernels against dense ones by another route."""

import copy
import pickle

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.scipy.special import logsumexp
from networks import (
    cross_entropy,
    dense_gauss_newton,
    dense_hessian,
    dense_jacobian,
    flat,
    layers,
    many_outputs,
    nested,
    network,
    normal,
)
from scipy.sparse.linalg import cg, eigsh, lsmr, svds
from scipy.special import expit
from tapes import error

from hessop import (
    NonFiniteError,
    NotConvexWarning,
    NotTracedError,
    gauss_newton_operator,
    hessian_operator,
    jacobian_operator,
    ntk_operator,
)

MODELS = many_outputs()
BY_NAME = {case.name: case for case in MODELS}
every_model = pytest.mark.parametrize("case", MODELS, ids=lambda case: case.name)


def targets(outputs):
    """Some numbers of the shape of the outputs, and numbers 0 and 1."""
    y = normal(100, *np.shape(outputs))
    return y, (y > 0.0) * 1.0


def squared_error(outputs):
    y, _ = targets(outputs)
    return lambda z: anp.sum((z - y) ** 2)


def logistic(outputs):
    _, y = targets(outputs)
    return lambda z: anp.sum(anp.logaddexp(0.0, z) - y * z)


def softmax(outputs):
    shape = np.shape(outputs) or (1,)
    classes = np.random.default_rng(101).integers(0, shape[-1], shape[:-1])
    return lambda z: cross_entropy(anp.reshape(z, shape), np.asarray(classes))


def poisson(outputs):
    _, y = targets(outputs)
    return lambda z: anp.mean(anp.exp(z) - 3.0 * y * z)


def pseudo_huber(outputs):
    y, _ = targets(outputs)
    return lambda z: anp.sum(anp.sqrt(1.0 + (z - 2.0 * y) ** 2) - 1.0)


def huber(outputs):
    y, _ = targets(outputs)

    def loss(z):
        size = anp.abs(z - 2.0 * y)
        return anp.sum(anp.where(size < 1.0, 0.5 * size**2, size - 0.5))

    return loss


def coupled(outputs):
    """Convex, though no sum over examples."""
    y, _ = targets(outputs)
    return lambda z: logsumexp(z - y) + anp.sum(z) ** 2 + 0.1 * anp.sum(z**4)


LOSSES = (squared_error, logistic, softmax, poisson, huber, pseudo_huber, coupled)
every_loss = pytest.mark.parametrize("make_loss", LOSSES, ids=lambda make: make.__name__)


# --- Gauss-Newton ---------------------------------------------------------------------------------


@every_loss
@every_model
def test_it_is_the_sandwich(case, make_loss):
    outputs = case.model(case.x, *case.args)
    loss = make_loss(outputs)
    expected = dense_gauss_newton(case.model, loss, case.x, case.args)
    G = gauss_newton_operator(case.model, loss, case.x, args=case.args)
    assert G.shape == expected.shape
    assert G.dtype == np.float64
    assert G.T is G
    np.testing.assert_allclose(G.value, loss(outputs), rtol=1e-13)
    by_grad = grad(lambda x: loss(case.model(x, *case.args)))(case.x)
    assert error(G.gradient, flat(by_grad)) < 1e-12

    v = normal(102, len(expected))
    scale = np.abs(expected).max() * np.abs(v).max() or 1.0
    np.testing.assert_allclose(G @ v, expected @ v, rtol=0, atol=1e-11 * scale)
    V = normal(103, len(expected), 4)
    by_autograd = G @ V
    assert not G.is_compiled
    played = G.compile() @ V
    assert G.is_compiled
    np.testing.assert_allclose(by_autograd, expected @ V, rtol=0, atol=1e-11 * scale)
    np.testing.assert_allclose(played, by_autograd, rtol=0, atol=1e-12 * scale)

    dense = G.to_dense(symmetrize=True)
    assert error(dense, expected) < 1e-11
    eigenvalues = np.linalg.eigvalsh(dense)
    assert eigenvalues[0] >= -1e-13 * eigenvalues[-1]


@every_model
def test_half_of_squares_is_levenberg_and_marquardts(case):
    y, _ = targets(case.model(case.x, *case.args))
    G = gauss_newton_operator(
        case.model, lambda z: 0.5 * anp.sum((z - y) ** 2), case.x, args=case.args
    )
    J = dense_jacobian(case.model, case.x, case.args)
    assert error(G.to_dense(), J.T @ J) < 1e-11
    residuals = np.ravel(case.model(case.x, *case.args) - y)
    assert error(G.compile().gradient, J.T @ residuals) < 1e-12  # for the first time
    assert G.value == pytest.approx(0.5 * residuals @ residuals, rel=1e-13)
    J = jacobian_operator(case.model, case.x, args=case.args)
    v = normal(104, J.shape[1])
    assert error(G @ v, J.T @ (J @ v)) < 1e-12


def test_the_outer_products_of_a_logistic_network():
    """H ≃ Σ ŷ (1 - ŷ) ∇a ∇aᵀ, with a the activation before the sigmoid, example by example."""
    p, X = layers(20, 4, 3, 1), normal(21, 15, 4)
    y = (normal(22, 15) > 0) * 1.0
    expected = np.zeros((flat(p).size,) * 2)
    for example in X:
        b = flat(grad(lambda p, x=example: network(p, x)[0])(p))
        estimate = expit(network(p, example)[0])
        expected += estimate * (1.0 - estimate) * np.outer(b, b)

    def loss(a):
        estimate = 1.0 / (1.0 + anp.exp(-a))
        return -anp.sum(y * anp.log(estimate) + (1.0 - y) * anp.log(1.0 - estimate))

    G = gauss_newton_operator(lambda p: network(p, X)[:, 0], loss, p)
    assert error(G.to_dense(), expected) < 1e-12


def test_the_outer_products_of_squares():
    """H ≃ Σ ∇ŷ ∇ŷᵀ for half the squared error."""
    p, X, y = layers(23, 3, 4, 1), normal(24, 11, 3), normal(25, 11)
    gradients = [flat(grad(lambda p, x=example: network(p, x)[0])(p)) for example in X]
    expected = sum(np.outer(b, b) for b in gradients)
    G = gauss_newton_operator(
        lambda p: network(p, X)[:, 0], lambda z: 0.5 * anp.sum((z - y) ** 2), p
    )
    assert error(G.to_dense(), expected) < 1e-12


@every_loss
def test_a_linear_model_has_the_exact_hessian(make_loss):
    X, x = normal(26, 8, 3), {"W": 0.5 * normal(27, 3, 4), "b": normal(28, 4)}

    def model(x):
        return X @ x["W"] + x["b"]

    loss = make_loss(model(x))
    G = gauss_newton_operator(model, loss, x)
    H = hessian_operator(lambda x: loss(model(x)), x)
    assert error(G.to_dense(), H.to_dense()) < 1e-12
    assert error(G.to_dense(), dense_hessian(lambda x: loss(model(x)), x)) < 1e-11


def test_what_is_left_out_is_the_curvature_of_the_model():
    """At a perfect fit of squares nothing is; elsewhere Σ r ∇²ŷ."""
    case = BY_NAME["runge-kutta"]
    fitted = case.model(case.x, *case.args)
    for y, exact in ((fitted, True), (fitted + 0.1, False)):

        def loss(z, y=y):
            return 0.5 * anp.sum((z - y) ** 2)

        G = gauss_newton_operator(case.model, loss, case.x, args=case.args).to_dense()
        H = hessian_operator(lambda x, loss=loss: loss(case.model(x, *case.args)), case.x)
        assert (error(G, H.to_dense()) < 1e-10) == exact
    left_out = hessian_operator(lambda x: -0.1 * anp.sum(case.model(x, *case.args)), case.x)
    assert error(G + left_out.to_dense(), H.to_dense()) < 1e-10


# Trees of outputs


def ensemble(p, X):
    hidden = anp.tanh(X @ p["shared"])
    return {
        "means": hidden @ p["heads"][0],
        "rates": [anp.exp(0.3 * hidden @ p["heads"][1]), 2.0],
        "penalty": anp.sum(p["shared"] ** 2),
        "data": X,
    }


def ensemble_loss(z):
    rates, two = z["rates"]
    fit = anp.sum((z["means"] - 0.1 * z["data"][:, :2]) ** 2 * anp.exp(0.2 * two))
    return fit + anp.sum(rates**2) * z["penalty"] + anp.sum(z["data"][0] * rates[0])


ENSEMBLE = {"shared": 0.5 * normal(30, 3, 4), "heads": (normal(31, 4, 2), normal(32, 4))}
ENSEMBLE_DATA = normal(33, 5, 3)


@pytest.mark.filterwarnings("ignore::hessop.NotConvexWarning")
def test_trees_of_outputs():
    args = (ENSEMBLE_DATA,)
    expected = dense_gauss_newton(ensemble, ensemble_loss, ENSEMBLE, args)
    G = gauss_newton_operator(ensemble, ensemble_loss, ENSEMBLE, args=args)
    assert error(G.to_dense(), expected) < 1e-12
    assert error(G.compile() @ np.eye(len(expected)), expected) < 1e-12
    by_grad = grad(lambda p: ensemble_loss(ensemble(p, *args)))(ENSEMBLE)
    assert error(G.gradient, flat(by_grad)) < 1e-12
    assert G.value == pytest.approx(ensemble_loss(ensemble(ENSEMBLE, *args)), rel=1e-14)


def test_parameter_trees():
    case = BY_NAME["embedding"]
    loss = squared_error(case.model(case.x, *case.args))
    G = gauss_newton_operator(case.model, loss, case.x, args=case.args)
    v = normal(34, G.shape[0])
    product = G.matvec_tree(nested(case.x, v))
    assert isinstance(product, tuple)
    assert isinstance(product[2], list)
    np.testing.assert_allclose(flat(product), G @ v, rtol=1e-12)
    np.testing.assert_array_equal(G.x, flat(case.x))
    np.testing.assert_array_equal(flat(G.unflatten(G.x)), G.x)


def test_an_argument_that_is_no_tuple_is_one_argument():
    def model(x, factor):
        return factor * x**2

    def loss(z):
        return anp.sum(z**2)

    x = np.array([1.0, 2.0])
    G = gauss_newton_operator(model, loss, x, args=3.0)
    np.testing.assert_allclose(G.to_dense(), np.diag(2.0 * (3.0 * 2.0 * x) ** 2))
    np.testing.assert_allclose(jacobian_operator(model, x, args=3.0).to_dense(), np.diag(6.0 * x))
    np.testing.assert_allclose(ntk_operator(model, x, args=3.0).to_dense(), np.diag(36.0 * x**2))


def test_the_point_is_copied():
    x = np.array([1.0, 2.0])
    made = [
        gauss_newton_operator(lambda x: x**2, lambda z: 0.5 * anp.sum(z**2), x),
        jacobian_operator(lambda x: x**2, x),
        ntk_operator(lambda x: x**2, x),
    ]
    x[:] = np.nan
    for operator, expected in zip(made, ([4, 16], [2, 4], [4, 16]), strict=True):
        np.testing.assert_allclose(operator.to_dense(), np.diag(expected))
    G = made[0]
    G.gradient[:] = G.x[:] = np.nan
    np.testing.assert_array_equal(G.gradient, [2.0, 16.0])


# Convexity


def test_a_concave_loss_is_warned_of_at_the_users_line():
    with pytest.warns(NotConvexWarning, match=r"<lambda> is not convex: .* -2, so") as caught:
        gauss_newton_operator(lambda x: x, lambda z: -anp.sum(z**2), np.ones(4))
    assert caught[0].filename == __file__
    assert len(caught) == 1


def test_a_concave_number_is_warned_of():
    with pytest.warns(NotConvexWarning):
        gauss_newton_operator(lambda x: anp.sum(x), lambda z: -(z**2), np.ones(4))
    with pytest.warns(NotConvexWarning):
        gauss_newton_operator(
            lambda x: {"a": x, "b": anp.sum(x)},
            lambda z: 0.1 * anp.sum(z["a"] ** 2) - 9.0 * z["b"] ** 2,
            np.ones(4),
        )


@pytest.mark.parametrize("outliers", [1, 2, 5])
@pytest.mark.parametrize("shape", [(100,), (100, 1), (50, 2)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_loss_that_is_concave_in_a_few_examples_is_warned_of(outliers, shape, dtype):
    """The Cauchy loss has the curvature 2 (1 - r²) / (1 + r²)², negative beyond 1."""
    r = 0.1 * normal(40, *shape)
    r.reshape(shape[0], -1)[7 : 7 + outliers] += 4.0
    x = r.astype(dtype)

    def cauchy(z):
        return anp.sum(anp.log(1.0 + z**2))

    with pytest.warns(NotConvexWarning, match="cauchy is not convex"):
        G = gauss_newton_operator(lambda x: 1.0 * x, cauchy, x)
    expected = (2 * (1 - r**2) / (1 + r**2) ** 2).ravel()
    assert error(G.to_dense(), np.diag(expected)) < (1e-12 if dtype == np.float64 else 1e-5)
    assert np.sum(expected) > 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("seed", range(3))
@every_loss
def test_convex_losses_give_no_warning(make_loss, seed, spread, dtype):
    """Also not where the outputs are far out, so that some curvatures are all but zero."""
    spread = min(spread, 10.0) if make_loss is poisson else spread  # exp overflows
    z = (spread * normal(50 + seed, 12, 5)).astype(dtype)
    y = normal(100, 12, 5).astype(dtype)

    def loss(z):
        return make_loss(y)(z)

    G = gauss_newton_operator(lambda x: 1.0 * x, loss, z)
    assert np.isfinite(G @ np.ones(60)).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "loss",
    [
        lambda z: anp.sum(z),
        lambda z: anp.mean(np.arange(12.0).reshape(4, 3) * z) + 5.0,
        lambda z: z[0, 0],
        lambda z: anp.sum(anp.maximum(z, 0.0)),
    ],
)
def test_a_linear_loss_has_no_curvature_and_no_warning(loss, dtype):
    p = {key: value.astype(dtype) for key, value in layers(60, 2, 3).items()}
    X = normal(61, 4, 2).astype(dtype)
    G = gauss_newton_operator(network, loss, p, args=(X,))
    np.testing.assert_array_equal(G.to_dense(), np.zeros((9, 9)))
    np.testing.assert_array_equal(G.compile() @ np.ones(9), np.zeros(9))
    assert G.to_sparse().nnz == 0
    by_grad = grad(lambda p: loss(network(p, X)))(p)
    assert error(G.gradient, flat(by_grad)) < 1e-5


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("seed", range(3))
def test_absolute_errors_have_no_curvature_and_no_warning(seed, dtype):
    """autograd's second derivative of abs is a difference of equals, zero up to rounding."""
    z = normal(seed, 40).astype(dtype)
    G = gauss_newton_operator(lambda x: x * 1.0, lambda z: anp.mean(anp.abs(z - 0.3)), z)
    assert np.abs(G.to_dense()).max() < 10.0 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_large_residuals_and_units_give_no_warning(dtype):
    z, y = normal(62, 30).astype(dtype), normal(63, 30).astype(dtype)
    for unit in (1e-8, 1e8):
        gauss_newton_operator(lambda x: x * 1.0, lambda z, u=unit: u * anp.sum((z - y) ** 2), z)
        gauss_newton_operator(
            lambda x: x * 1.0, lambda z, u=unit: anp.mean((z - y - dtype(u)) ** 2), z
        )
        gauss_newton_operator(
            lambda x, u=unit: x * dtype(u), lambda z, u=unit: anp.sum((z - dtype(u) * y) ** 2), z
        )


def test_a_loss_that_does_not_curve_along_the_outputs_gives_no_warning():
    """A norm does not curve along its argument, whatever that is."""
    for seed in range(5):
        gauss_newton_operator(lambda x: x * 1.0, lambda z: anp.sqrt(anp.sum(z**2)), normal(seed, 8))


# Programs


def test_it_is_one_program():
    case = BY_NAME["network"]
    loss = softmax(case.model(case.x, *case.args))
    G = gauss_newton_operator(case.model, loss, case.x, args=case.args)
    assert not G.is_compiled
    program = G.program
    assert G.is_compiled
    assert (program.rows, program.columns) == G.shape
    assert str(program).startswith("linear program 43 -> 43, float64: ")
    assert G.compile() is G


def test_many_products_compile_it():
    case = BY_NAME["network"]
    loss = softmax(case.model(case.x, *case.args))
    G = gauss_newton_operator(case.model, loss, case.x, args=case.args)
    J = dense_jacobian(case.model, case.x, case.args)
    expected = J.T @ dense_hessian(loss, case.model(case.x, *case.args)) @ J
    for i in range(40):
        v = normal(i, len(expected))
        assert error(G @ v, expected @ v) < 1e-12
    assert G.is_compiled
    assert G.n_matvec == 40
    assert repr(G) == "<43x43 GaussNewtonOperator of network, compiled, float64, 40 products>"


def test_a_sparse_model_has_a_sparse_matrix():
    n = 3000

    def model(x):
        return x[1:] * x[:-1] ** 2

    def loss(z):
        return anp.sum(anp.logaddexp(0.0, z))

    x = np.linspace(-1, 1, n)
    G = gauss_newton_operator(model, loss, x)
    matrix = G.to_sparse()
    assert matrix.nnz <= 3 * n
    J = jacobian_operator(model, x).to_sparse()
    z = model(x)
    expected = J.T @ (J * (expit(z) * expit(-z))[:, None])
    assert abs(matrix - expected).max() < 1e-12 * abs(expected).max()
    np.testing.assert_allclose(G.diagonal(), expected.diagonal(), rtol=1e-12, atol=1e-14)
    v = normal(64, n)
    fresh = gauss_newton_operator(model, loss, x)
    assert error(fresh @ v, matrix @ v) < 1e-12


def test_blocks_and_submatrices():
    case = BY_NAME["flat-vector"]
    loss = pseudo_huber(case.model(case.x, *case.args))
    expected = dense_gauss_newton(case.model, loss, case.x, case.args)
    G = gauss_newton_operator(case.model, loss, case.x, args=case.args)
    assert error(G @ normal(65, 21, 70), expected @ normal(65, 21, 70)) < 1e-12
    rows, columns = [0, 5, 20], slice(3, 9)
    assert error(G.block(rows, columns).to_dense(), expected[rows][:, columns]) < 1e-12
    assert error(G.diagonal(), np.diag(expected)) < 1e-12
    v = normal(66, 21)
    assert G.quadratic_form(v) == pytest.approx(v @ expected @ v, rel=1e-12)
    damped = 2.0 * (G + np.eye(21))
    assert error(damped @ v, 2.0 * (expected @ v + v)) < 1e-12


# Copies


def half_squares(z):
    return 0.5 * anp.sum((z - 1.0) ** 2)


@pytest.mark.parametrize(
    "again", [lambda A: pickle.loads(pickle.dumps(A)), copy.copy, copy.deepcopy]
)
@pytest.mark.parametrize("compiled", [False, True])
def test_pickling_and_copying(again, compiled):
    p, args = layers(70, 2, 3, 2), (normal(71, 4, 2),)
    for A in (
        gauss_newton_operator(network, half_squares, p, args=args),
        jacobian_operator(network, p, args=args),
        ntk_operator(network, p, args=args),
    ):
        if compiled:
            A.compile()
        v = normal(72, A.shape[1])
        product = A @ v
        twin = again(A)
        assert type(twin) is type(A)
        assert (twin.shape, twin.dtype, twin.n_matvec) == (A.shape, A.dtype, 0)
        np.testing.assert_allclose(twin @ v, product, rtol=1e-12, atol=1e-13)
        np.testing.assert_array_equal(twin.value, A.value)
        composite = again(2.0 * A + A)
        np.testing.assert_allclose(composite @ v, 3 * product, rtol=1e-12, atol=1e-12)


def test_repr():
    p, args = layers(70, 2, 3, 2), (normal(71, 4, 2),)
    G = gauss_newton_operator(network, half_squares, p, args=args)
    G @ np.ones((17, 3))
    assert repr(G) == "<17x17 GaussNewtonOperator of network, float64, 3 products>"
    assert repr(ntk_operator(network, p, args=args)).startswith("<8x8 NTKOperator of network, fl")


def test_shapes_are_explained():
    G = gauss_newton_operator(network, half_squares, layers(70, 2, 3), args=(normal(71, 4, 2),))
    with pytest.raises(ValueError, match=r"v has 4 entries, expected 9 \(the flat size of x\)"):
        G @ np.ones(4)
    K = ntk_operator(network, layers(70, 2, 3), args=(normal(71, 4, 2),))
    with pytest.raises(ValueError, match=r"v has 9 entries, expected 12 \(the number of outputs\)"):
        K @ np.ones(9)


# Errors

X = np.array([1.0, 2.0, 3.0])
NOT_MODELS = [
    (lambda x: None, NotTracedError, "returned None, expected a number"),
    (lambda x: 1j * x, NotTracedError, "complex result, expected a real one"),
    (lambda x: "outputs", NotTracedError, "returned a str"),
    (lambda x: np.ones(3), NotTracedError, "does not depend on its argument"),
    (lambda x: {"a": np.ones(3), "b": 2.0}, NotTracedError, "does not depend on its argument"),
    (lambda x: {"a": x, "b": None}, NotTracedError, r"<lambda>\(x\)\['b'\] is a NoneType"),
    (lambda x: [x, {"c": "s"}], NotTracedError, r"<lambda>\(x\)\[1\]\['c'\] is a str"),
    (lambda x: (x, 1j * x), NotTracedError, r"<lambda>\(x\)\[1\] is a complex number"),
    (lambda x: [x, np.array([x[0], x[1]])], NotTracedError, r"<lambda>\(x\)\[1\] is a ndarray"),
    (lambda x: np.array([x[0], x[1]]), NotTracedError, "numpy built it from traced"),
    (lambda x: x * np.nan, NonFiniteError, r"<lambda>\(x\) is not finite"),
    (lambda x: {"a": x, "b": x * np.inf}, NonFiniteError, r"<lambda>\(x\) is not finite"),
    (lambda x: x[:0], ValueError, r"<lambda>\(x\) is empty, expected at least one"),
    (lambda x: {"a": x[:0], "b": []}, ValueError, r"<lambda>\(x\) is empty"),
    (lambda x: [], ValueError, r"<lambda>\(x\) is empty"),
    (3, TypeError, "model is 3, expected a function"),
]


@pytest.mark.parametrize(
    "make",
    [
        lambda model, x: gauss_newton_operator(model, half_squares, x),
        jacobian_operator,
        ntk_operator,
    ],
    ids=["gauss-newton", "jacobian", "ntk"],
)
@pytest.mark.parametrize(("model", "kind", "words"), NOT_MODELS)
def test_what_a_model_may_not_return(make, model, kind, words):
    with pytest.raises(kind, match=words):
        make(model, X)


def test_a_container_of_autograd_is_refused_by_its_path():
    from autograd.builtins import tuple as traced_tuple

    for pair in (lambda x: traced_tuple((x, x)), lambda x: traced_tuple((x, x[:1]))):
        with pytest.raises(NotTracedError, match=r"<lambda>\(x\)\['a'\] is a tuple"):
            jacobian_operator(lambda x, pair=pair: {"a": pair(x)}, X)


@pytest.mark.parametrize(
    ("loss", "kind", "words"),
    [
        (lambda z: z, NotTracedError, r"shape \(3,\), expected a scalar. Sum it"),
        (lambda z: None, NotTracedError, "returned None"),
        (lambda z: 1.0, NotTracedError, "does not depend on its argument"),
        (lambda z: anp.sum(z) * 1j, NotTracedError, "complex"),
        (lambda z: anp.sum(z) * np.nan, NonFiniteError, "<lambda> of the outputs of <lambda> is n"),
        (lambda z: 1.0 / (anp.sum(z) - 6.0), NonFiniteError, "is inf, expected a finite number"),
        ("mse", TypeError, "is 'mse', expected a function"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_what_a_loss_may_not_return(loss, kind, words):
    with pytest.raises(kind, match=words) as caught:
        gauss_newton_operator(lambda x: x * 1.0, loss, X)
    if kind is not NonFiniteError:
        assert any("as the loss" in note for note in caught.value.__notes__)


def test_a_gradient_that_is_not_finite():
    def norms(z):
        return anp.sum(anp.sqrt(z**2))

    with np.errstate(all="ignore"):
        G = gauss_newton_operator(lambda x: x * 1.0, norms, np.array([0.0, 1.0]))
        assert G.value == 1.0
        with pytest.raises(NonFiniteError, match=r"the gradient of <lambda> is not finite"):
            _ = G.gradient
        with pytest.raises(NonFiniteError, match="though v is finite"):
            G @ np.ones(2)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: gauss_newton_operator(lambda x: x, half_squares, x),
        lambda x: ntk_operator(lambda x: x, x),
    ],
)
@pytest.mark.parametrize(
    ("x", "kind", "words"),
    [
        (np.array([]), ValueError, "x is empty"),
        (np.array([1j]), TypeError, "real and imaginary parts"),
        ({"a": None}, TypeError, r"x\['a'\] is NoneType"),
        (np.array([1.0, np.inf]), NonFiniteError, r"x\[1\] is inf"),
    ],
)
def test_what_x_may_not_be(make, x, kind, words):
    with pytest.raises(kind, match=words):
        make(x)


# Single precision


@every_loss
def test_single_precision(make_loss):
    p, inputs = layers(80, 4, 5, 3), normal(81, 6, 4)
    loss = make_loss(network(p, inputs))
    expected = dense_gauss_newton(network, loss, p, (inputs,))
    single = {key: value.astype(np.float32) for key, value in p.items()}
    for data in (inputs, inputs.astype(np.float32)):  # single parameters decide
        G = gauss_newton_operator(network, loss, single, args=(data,))
        assert G.dtype == np.float32
        assert (G @ np.ones(43)).dtype == np.float32
        assert error(G.to_dense(), expected) < 1e-5
        assert G.compile().to_dense().dtype == np.float32
        assert error(G.to_dense(), expected) < 1e-5
        assert G.gradient.dtype == np.float32
        J = jacobian_operator(network, single, args=(data,))
        K = ntk_operator(network, single, args=(data,))
        assert J.dtype == K.dtype == np.float32
        by_autograd = dense_jacobian(network, p, (inputs,))
        assert error(J.to_dense(), by_autograd) < 1e-5
        assert error(K.to_dense(), by_autograd @ by_autograd.T) < 1e-5


def test_double_parameters_and_single_data():
    p, inputs = layers(80, 4, 5, 3), normal(81, 6, 4).astype(np.float32)
    loss = pseudo_huber(network(p, inputs))
    G = gauss_newton_operator(network, loss, p, args=(inputs,))
    assert G.dtype == np.float64
    assert error(G.to_dense(), dense_gauss_newton(network, loss, p, (inputs,))) < 1e-12


# With SciPy


def decay(p, t):
    return p["scale"] * anp.exp(-p["rate"] * t) + p["offset"]


TIMES = np.linspace(0.0, 3.0, 25)
DECAY = {"scale": np.array([1.5]), "rate": np.array([0.8]), "offset": np.array([0.1])}
OBSERVED = 2.0 * np.exp(-1.1 * TIMES) + 0.02 * np.sin(20.0 * TIMES)


def test_a_levenberg_marquardt_step_by_either_operator():
    """(JᵀJ + λ I) d = -Jᵀr by cg on G, and by lsmr on J with the damping √λ."""
    damping = 0.1
    J = jacobian_operator(decay, DECAY, args=(TIMES,))
    G = gauss_newton_operator(
        decay, lambda z: 0.5 * anp.sum((z - OBSERVED) ** 2), DECAY, args=(TIMES,)
    )
    r = J.value - OBSERVED
    np.testing.assert_allclose(G.gradient, J.T @ r, rtol=1e-12)
    dense = dense_jacobian(decay, DECAY, (TIMES,))
    expected = np.linalg.solve(dense.T @ dense + damping * np.eye(3), -dense.T @ r)
    step, info = cg(G + damping * np.eye(3), -G.gradient, rtol=1e-14, atol=0.0)
    assert info == 0
    assert error(step, expected) < 1e-10
    step = lsmr(J, -r, damp=np.sqrt(damping), atol=1e-15, btol=1e-15)[0]
    assert error(step, expected) < 1e-10


def test_singular_values_and_eigenvalues():
    p, inputs = layers(90, 3, 5, 2), normal(91, 8, 3)
    dense = dense_jacobian(network, p, (inputs,))
    J = jacobian_operator(network, p, args=(inputs,))
    G = gauss_newton_operator(network, half_squares, p, args=(inputs,))
    K = ntk_operator(network, p, args=(inputs,))
    expected = np.linalg.svd(dense, compute_uv=False)
    v0 = normal(92, min(J.shape))
    u, s, vt = svds(J, k=4, v0=v0, tol=1e-13)
    np.testing.assert_allclose(np.sort(s)[::-1], expected[:4], rtol=1e-11)
    assert error((u * s) @ vt @ vt.T, dense @ vt.T) < 1e-10
    for operator in (G, K):
        found = eigsh(operator, k=4, v0=normal(92, operator.shape[0]), return_eigenvectors=False)
        np.testing.assert_allclose(np.sort(found)[::-1], expected[:4] ** 2, rtol=1e-10)


# --- Jacobians ------------------------------------------------------------------------------------


@every_model
def test_jacobians_of_outputs_of_any_shape(case):
    expected = dense_jacobian(case.model, case.x, case.args)
    J = jacobian_operator(case.model, case.x, args=case.args)
    m, n = J.shape
    assert (m, n) == expected.shape
    value = case.model(case.x, *case.args)
    np.testing.assert_allclose(J.value, value, rtol=1e-14)
    assert np.shape(J.value) == np.shape(value)
    np.testing.assert_array_equal(J.outputs, np.ravel(J.value))
    u, v, U, V = normal(110, m), normal(111, n), normal(112, m, 3), normal(113, n, 3)
    for compiled in (False, True):
        if compiled:
            J.compile()
        assert error(J @ v, expected @ v) < 1e-11
        assert error(J @ V, expected @ V) < 1e-11
        assert error(J.T @ u, expected.T @ u) < 1e-11
        assert error(J.T @ U, expected.T @ U) < 1e-11
        assert error(J.rmatmat(U), expected.T @ U) < 1e-11
        size = np.linalg.norm(u) * np.linalg.norm(expected @ v)
        assert abs(u @ (J @ v) - (J.T @ u) @ v) < 1e-12 * size
    assert error(J.to_dense(), expected) < 1e-11
    assert error(J.T @ np.eye(m), expected.T) < 1e-11
    assert error(J.to_sparse().toarray(), expected) < 1e-11


def test_jacobians_of_trees_of_outputs():
    J = jacobian_operator(ensemble, ENSEMBLE, args=(ENSEMBLE_DATA,))
    expected = dense_jacobian(ensemble, ENSEMBLE, (ENSEMBLE_DATA,))
    value = ensemble(ENSEMBLE, ENSEMBLE_DATA)
    assert J.value.keys() == value.keys()
    assert isinstance(J.value["rates"], list)
    assert [np.shape(leaf) for leaf in J.value["rates"]] == [(5,), ()]
    np.testing.assert_allclose(flat(J.value), flat(value), rtol=1e-14)
    np.testing.assert_array_equal(J.outputs, flat(J.value))
    J.outputs[:] = np.nan
    J.value["means"][:] = np.nan
    assert np.isfinite(J.outputs).all()
    assert np.isfinite(flat(J.value)).all()
    for compiled in (False, True):
        if compiled:
            J.compile()
        assert error(J @ np.eye(J.shape[1]), expected) < 1e-12
        assert error(J.T @ np.eye(J.shape[0]), expected.T) < 1e-12
    constant = slice(0, ENSEMBLE_DATA.size)  # "data" is the first leaf
    assert not J.to_dense()[constant].any()
    assert J.to_sparse()[constant].nnz == 0


def test_lists_and_namedtuples_of_outputs():
    from collections import namedtuple

    Pair = namedtuple("Pair", ["first", "second"])
    J = jacobian_operator(lambda x: Pair(x[1:] ** 2, x[0]), X)
    np.testing.assert_allclose(J.to_dense(), [[0, 4, 0], [0, 0, 6], [1, 0, 0]])
    assert J.value.second == 1.0
    assert isinstance(J.value, Pair)
    J = jacobian_operator(lambda x: [x[0] * x[1], x[2]], X)
    np.testing.assert_allclose(J.to_dense(), [[2, 1, 0], [0, 0, 1]])
    assert J.value == [2.0, 3.0]
    alone = jacobian_operator(lambda x: [x], X)
    assert isinstance(alone.value, list)
    np.testing.assert_array_equal(alone.to_dense(), np.eye(3))


def test_a_tree_of_outputs_with_integers_and_truths():
    J = jacobian_operator(lambda x: {"x": x, "count": 3, "ok": True, "n": np.arange(2)}, X)
    assert J.shape == (7, 3)
    np.testing.assert_array_equal(J.outputs, [3, 0, 1, 1, 1, 2, 3])
    np.testing.assert_array_equal(J.T @ np.ones(7), np.ones(3))


# --- tangent kernels ------------------------------------------------------------------------------


@every_model
def test_the_tangent_kernel(case):
    J = dense_jacobian(case.model, case.x, case.args)
    K = ntk_operator(case.model, case.x, args=case.args)
    m, expected = len(J), J @ J.T
    assert K.shape == (m, m)
    assert K.T is K
    u, U = normal(120, m), normal(121, m, 3)
    for compiled in (False, True):
        if compiled:
            K.compile()
        assert error(K @ u, expected @ u) < 1e-11
        assert error(K @ U, expected @ U) < 1e-11
    assert error(K.to_dense(), expected) < 1e-11
    np.testing.assert_allclose(K.value, case.model(case.x, *case.args), rtol=1e-14)

    least = min(J.shape)
    of_kernel = np.linalg.eigvalsh(K.to_dense(symmetrize=True))[-least:]
    of_gram = np.linalg.eigvalsh(J.T @ J)[-least:]
    np.testing.assert_allclose(of_kernel, of_gram, rtol=0, atol=1e-11 * of_gram[-1])


def test_the_tangent_kernel_of_a_tree():
    J = dense_jacobian(ensemble, ENSEMBLE, (ENSEMBLE_DATA,))
    K = ntk_operator(ensemble, ENSEMBLE, args=(ENSEMBLE_DATA,))
    assert error(K.to_dense(), J @ J.T) < 1e-12
    np.testing.assert_allclose(flat(K.value), flat(ensemble(ENSEMBLE, ENSEMBLE_DATA)), rtol=1e-14)


def test_a_loss_that_is_concave_in_one_output_of_each_example_is_warned_of():
    z = normal(90, 12, 2)
    with pytest.warns(NotConvexWarning):
        gauss_newton_operator(
            lambda x: x * 1.0, lambda z: anp.sum(z[:, 0] ** 2) - 1e-3 * anp.sum(z[:, 1] ** 2), z
        )
