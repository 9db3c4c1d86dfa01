"""Kronecker-factored curvature, and the layers that it is read off."""

import autograd.numpy as anp
import numpy as np
import pytest
import scipy.linalg
from autograd import grad, jacobian
from autograd.tracer import getval
from networks import (
    CURVLINOPS,
    Curvlinops,
    MeanAndSpread,
    dense_gauss_newton,
    flat,
    layers,
    mean_network,
    network,
    normal,
)
from tapes import error

from hessop import (
    BlockDiagonalOperator,
    DiagonalOperator,
    KroneckerOperator,
    NonFiniteError,
    NotTracedError,
    fisher_operator,
    kfac_operator,
)
from hessop.differentiate.autograd import gradient
from hessop.differentiate.layers import cotangents, entries, joint_layers
from hessop.differentiate.models import record_model
from hessop.likelihoods import Bernoulli, Categorical, Gaussian, Poisson
from hessop.params import read_tree

KINDS = ("exact", "monte-carlo", "empirical")
X = normal(0, 9, 4)


def on_blocks(matrix, K):
    """A dense matrix with zeros outside of the blocks of K."""
    found = np.zeros_like(matrix)
    for part in K.partition:
        found[np.ix_(part, part)] = matrix[np.ix_(part, part)]
    return found


def exact_fisher(model, likelihood, x):
    """By autograd's jacobian and hessian, for likelihoods whose Hessian leaves targets out."""
    outputs = model(x)
    targets = np.zeros(np.shape(outputs)[: np.ndim(outputs) - likelihood.event_dims])
    return dense_gauss_newton(model, lambda z: likelihood.nll(z, targets), x)


def assert_exact_blocks(model, x, likelihood=None):
    """The blocks are those of the exact Fisher matrix."""
    likelihood = likelihood or Gaussian()
    K = kfac_operator(model, likelihood, x)
    assert error(K.to_dense(), on_blocks(exact_fisher(model, likelihood, x), K)) < 1e-11
    return K


# --- against formulas and figures -----------------------------------------------------------------


def by_formula(p, X, roots):
    """A ⊗ G of a tanh network; the derivatives by a perturbation of what goes out of a layer.

    roots : function of the outputs, to vectors (s, *outputs.shape) that the gradients are taken of
    """
    depth = len(p) // 2
    inputs = []

    def run(shifts):
        inputs.clear()
        a = X
        for k in range(1, depth + 1):
            ones = np.ones((*anp.shape(a)[:-1], 1))
            inputs.append(np.concatenate([getval(a), ones], axis=-1))
            z = a @ p[f"W{k}"] + p[f"b{k}"] + shifts[k - 1]
            a = anp.tanh(z) if k < depth else z
        return a

    shapes = [(*X.shape[:-1], len(p[f"b{k}"])) for k in range(1, depth + 1)]
    outputs = run([np.zeros(shape) for shape in shapes])
    found = {}
    for k, shape in enumerate(shapes):

        def shifted(shift, k=k):
            return run([shift if i == k else 0.0 for i in range(depth)])

        slopes = jacobian(shifted)(np.zeros(shape))  # (*outputs, *shape)
        axes = list(range(outputs.ndim))
        g = np.tensordot(roots(outputs), slopes, axes=([a + 1 for a in axes], axes))
        g = g.reshape(-1, shape[-1])
        a = inputs[k].reshape(-1, inputs[k].shape[-1])
        found[k + 1] = np.kron(a.T @ a / len(a), g.T @ g)
    return found


def joint_positions(p):
    """For each layer where W, and below it b, are in the flat vector."""
    start, positions = 0, {}
    for name in sorted(p):
        positions[name] = np.arange(start, start + p[name].size).reshape(p[name].shape)
        start += p[name].size
    return {
        k: np.vstack([positions[f"W{k}"], positions[f"b{k}"]]) for k in range(1, len(p) // 2 + 1)
    }


def dense_by_formula(p, X, roots):
    blocks = by_formula(p, X, roots)
    dense = np.zeros((flat(p).size,) * 2)
    for k, positions in joint_positions(p).items():
        dense[np.ix_(positions.ravel(), positions.ravel())] = blocks[k]
    return dense


@pytest.mark.parametrize("sizes", [(4, 2), (4, 3, 2), (4, 3, 3, 2)])
@pytest.mark.parametrize("shape", [(7, 4), (5, 3, 4)])
def test_the_formula(sizes, shape):
    p, X = layers(1, *sizes), normal(2, *shape)
    K = kfac_operator(network, Bernoulli(), p, args=(X,))
    # Every output of every position is an observation of its own: one root at a time.

    def roots(z):
        deviations = np.sqrt(np.exp(z) / (1 + np.exp(z)) ** 2).ravel()
        return np.diag(deviations).reshape(-1, *z.shape)

    assert error(K.to_dense(), dense_by_formula(p, X, roots)) < 1e-12
    y = (normal(3, *network(p, X).shape) > 0) * 1.0
    K = kfac_operator(network, Bernoulli(), p, kind="empirical", targets=y, args=(X,))

    def scores(z):
        of_examples = np.eye(len(z)).reshape(len(z), len(z), *[1] * (z.ndim - 1))
        return of_examples * (1 / (1 + np.exp(-z)) - y)

    assert error(K.to_dense(), dense_by_formula(p, X, scores)) < 1e-12


@pytest.mark.parametrize("problem", CURVLINOPS)
def test_curvlinops_figures(problem):
    figures = Curvlinops(problem)
    likelihood = Gaussian() if problem == "squared" else Categorical()
    exact = kfac_operator(mean_network, likelihood, figures.p, args=(figures.X,))
    assert error(exact.to_dense(), figures["kfac_exact"]) < 1e-12
    options = {"kind": "empirical", "targets": figures.targets, "args": (figures.X,)}
    empirical = kfac_operator(mean_network, likelihood, figures.p, **options)
    assert error(empirical.to_dense(), figures["kfac_empirical"]) < 1e-12


@pytest.mark.parametrize(
    "likelihood", [Gaussian(0.5), Poisson(), Bernoulli(), Categorical()], ids=repr
)
def test_one_example_is_exact(likelihood):
    p = layers(4, 4, 3, 3, 3)
    K = assert_exact_blocks(lambda p: network(p, X[:1]), p, likelihood)
    assert len(K.blocks) == 3


def test_one_example_with_an_own_likelihood():
    p = layers(4, 4, 3, 2)
    F = fisher_operator(network, MeanAndSpread(), p, args=(X[:1],)).to_dense()
    K = kfac_operator(network, MeanAndSpread(), p, args=(X[:1],))
    assert error(K.to_dense(), on_blocks(F, K)) < 1e-11


@pytest.mark.parametrize("kind", ["monte-carlo", "empirical"])
def test_one_example_and_one_score_is_exact(kind):
    p, options = layers(4, 4, 3, 3), {"kind": kind, "targets": [1], "rng": 5}
    K = kfac_operator(network, Categorical(), p, args=(X[:1],), **options)
    F = fisher_operator(network, Categorical(), p, args=(X[:1],), **options).to_dense()
    assert error(K.to_dense(), on_blocks(F, K)) < 1e-11


def test_a_linear_model_with_squared_error_is_exact():
    p = {"W": normal(5, 4, 3), "b": normal(6, 3)}
    K = assert_exact_blocks(lambda p: X @ p["W"] + p["b"], p, Gaussian(0.3))
    assert len(K.blocks) == 1
    K = assert_exact_blocks(lambda w: X @ w, normal(7, 4))
    np.testing.assert_allclose(K.to_dense(), X.T @ X, rtol=1e-12)


@pytest.mark.parametrize("likelihood", [Gaussian(), Categorical()], ids=repr)
def test_monte_carlo_converges_to_exact(likelihood):
    p, sizes = layers(8, 4, 3, 3), np.array([4, 16, 64, 256])
    exact = kfac_operator(network, likelihood, p, args=(X,)).to_dense()

    def distance(size, seed):
        options = {"kind": "monte-carlo", "num_samples": int(size), "rng": seed}
        K = kfac_operator(network, likelihood, p, args=(X,), **options)
        return np.linalg.norm(K.to_dense() - exact) ** 2

    errors = [np.sqrt(np.mean([distance(size, seed) for seed in range(10)])) for size in sizes]
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert -0.6 < slope < -0.4
    again = [
        kfac_operator(network, likelihood, p, kind="monte-carlo", rng=3, args=(X,)).to_dense()
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*again)


# --- how layers are written -----------------------------------------------------------------------

P = {"W": normal(10, 4, 3), "b": normal(11, 3), "V": normal(12, 3, 2), "c": normal(13, 2)}
HALVES = X.reshape(9, 2, 2)


def plain(p):
    return anp.tanh(X @ p["W"] + p["b"]) @ p["V"] + p["c"]


def by(multiply):
    """The network, with a function of activations and weights."""

    def model(p):
        return multiply(anp.tanh(multiply(X, p["W"]) + p["b"]), p["V"]) + p["c"]

    return model


def einsum(subscripts, *, weights_first=False):
    return by(lambda a, W: anp.einsum(subscripts, *((W, a) if weights_first else (a, W))))


def tensordot(axes):
    return by(lambda a, W: anp.tensordot(a, W, axes=axes))


def columns(p):
    """Examples are columns."""
    hidden = anp.tanh(p["W"] @ X.T + p["b"][:, None])
    return (p["V"] @ hidden + p["c"][:, None]).T


def einsum_of_columns(p):
    """Implicit outputs are sorted by letter: features a by examples n, then n by z."""
    hidden = anp.tanh(anp.einsum("ab,bn", p["W"], X.T) + p["b"][:, None])
    return anp.einsum("zh,hn", p["V"], hidden) + p["c"]


def stacked(p):
    """Each example a matrix of one row."""
    hidden = anp.tanh(anp.matmul(X[:, None], p["W"]) + p["b"])
    return (anp.matmul(hidden, p["V"]) + p["c"])[:, 0]


def stacked_columns(p):
    """Each example a matrix of one column."""
    hidden = anp.tanh(anp.matmul(p["W"], X[:, :, None]) + p["b"][:, None])
    return anp.squeeze(anp.matmul(p["V"], hidden) + anp.reshape(p["c"], (2, 1)), axis=2)


def sliced(x):
    c, W, b, V = x[:2], anp.reshape(x[2:14], (4, 3)), x[14:17], anp.reshape(x[17:], (2, 3))
    return anp.tanh(X @ W + b) @ V.T + c


def tensordot_of_two_axes(p):
    hidden = anp.tanh(anp.tensordot(HALVES, p["W"]) + p["b"])
    return anp.tensordot(hidden[:, None], p["V"], axes=([2, 1], [0, 1])) + p["c"]


def einsum_of_two_axes(p):
    hidden = anp.tanh(anp.einsum("nij,ijo->no", HALVES, p["W"]) + p["b"])
    return anp.einsum("nzi,izo->no", hidden[:, None], p["V"]) + p["c"]


def same(p):
    return p


def transposed(p):
    return p | {"W": p["W"].T, "V": p["V"].T}


def in_three_axes(p):
    return p | {"W": p["W"].reshape(2, 2, 3), "V": p["V"].reshape(3, 1, 2)}


def in_one_vector(p):
    return np.concatenate([p["c"], np.ravel(p["W"]), p["b"], np.ravel(p["V"].T)])


# Each with the change of the parameters that goes with it.
SPELLINGS = {
    "dot": (by(anp.dot), same),
    "matmul": (by(anp.matmul), same),
    "transposed": (by(lambda a, W: a @ W.T), transposed),
    "swapped-axes": (by(lambda a, W: a @ anp.swapaxes(W, 0, 1)), transposed),
    "moved-axes": (by(lambda a, W: a @ anp.moveaxis(W, 0, -1)), transposed),
    "columns": (columns, transposed),
    "inner": (by(anp.inner), transposed),
    "einsum": (einsum("ni,io->no"), same),
    "einsum-of-spaces": (einsum(" n i, io -> n o "), same),
    "einsum-with-an-ellipsis": (einsum("...i,io->...o"), same),
    "einsum-of-lists": (by(lambda a, W: anp.einsum(a, [0, 1], W, [1, 2], [0, 2])), same),
    "einsum-implicit": (einsum("ni,io"), same),
    "einsum-weights-first": (einsum("io,ni->no", weights_first=True), same),
    "einsum-transposed": (einsum("ni,oi->no"), transposed),
    "einsum-of-columns": (einsum_of_columns, transposed),
    "einsum-of-two-axes": (einsum_of_two_axes, in_three_axes),
    "tensordot-1": (tensordot(1), same),
    "tensordot-pairs": (tensordot(([1], [0])), same),
    "tensordot-numbers": (tensordot((1, 0)), same),
    "tensordot-negative": (tensordot(((-1,), (-2,))), same),
    "tensordot-of-arrays": (tensordot(np.array([[1], [1]])), transposed),
    "tensordot-positional": (by(lambda a, W: anp.tensordot(a, W, 1)), same),
    "tensordot-of-two-axes": (tensordot_of_two_axes, in_three_axes),
    "stacked": (stacked, same),
    "stacked-columns": (stacked_columns, transposed),
    "one-vector": (sliced, in_one_vector),
    "biases-in-rows": (plain, lambda p: p | {"b": p["b"][None], "c": p["c"][None]}),
    "biases-first": (lambda p: p["c"] + anp.tanh(p["b"] + X @ p["W"]) @ p["V"], same),
    "nested": (
        lambda p: anp.tanh(X @ p[0]["W"] + p[0]["b"]) @ p[1][0] + p[1][1],
        lambda p: ({"W": p["W"], "b": p["b"]}, [p["V"], p["c"]]),
    ),
    "one-leaf-for-a-layer": (
        lambda p: anp.tanh(X @ p["Wb"][:-1] + p["Wb"][-1]) @ p["Vc"][:-1] + p["Vc"][-1],
        lambda p: {"Wb": np.vstack([p["W"], p["b"]]), "Vc": np.vstack([p["V"], p["c"]])},
    ),
}


def numbered(tree):
    """A tree of positions, in place of a tree of numbers."""
    layout, _ = read_tree(tree)
    return layout.unflatten(np.arange(layout.size))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings_of_one_network(name, kind):
    model, convert = SPELLINGS[name]
    options = {"kind": kind, "num_samples": 2, "rng": 1, "targets": np.arange(9) % 2}
    expected = kfac_operator(plain, Categorical(), P, **options)
    assert len(expected.blocks) == 2
    x = convert(P)
    order = flat(convert(numbered(P))).astype(int)
    np.testing.assert_allclose(model(x), plain(P), rtol=1e-13)
    K = kfac_operator(model, Categorical(), x, **options)
    assert len(K.blocks) == 2
    assert all(isinstance(block, KroneckerOperator) for block in K.blocks)
    assert error(K.to_dense(), expected.to_dense()[np.ix_(order, order)]) < 1e-12
    v = normal(14, 23)
    assert error(K @ v, K.to_dense() @ v) < 1e-13


SIGNS = {
    "bias-subtracted": (lambda p: X @ p["W"] - p["b"], -1.0),
    "bias-added-first": (lambda p: p["b"] + X @ p["W"], 1.0),
    "product-subtracted": (lambda p: p["b"] - X @ p["W"], -1.0),
    "bias-in-a-row": (lambda p: X @ p["W"] + p["b"][None], 1.0),
    "bias-subtracted-in-columns": (lambda p: (p["W"].T @ X.T - p["b"][:, None]).T, -1.0),
    "product-subtracted-in-columns": (lambda p: (p["b"][:, None] - p["W"].T @ X.T).T, -1.0),
}


@pytest.mark.parametrize("name", SIGNS)
def test_signs_of_biases(name):
    model, sign = SIGNS[name]
    p = {"W": P["W"], "b": P["b"]}
    K = assert_exact_blocks(model, p, Gaussian(2.0))  # linear, hence exact
    assert K.names == ("x['W'], x['b']",)
    np.testing.assert_allclose(K.to_dense()[0, -3], sign * 0.25 * X[:, 0].sum(), rtol=1e-12)


def test_a_bias_of_one_row_for_one_example():
    """A bias of shape (1, d) belongs to its product, also where there is but one row."""
    p = {"W": P["W"], "b": P["b"][None]}
    K = assert_exact_blocks(lambda p: X[:1] @ p["W"] + p["b"], p)
    assert K.names == ("x['W'], x['b']",)


def test_a_bias_after_something_else_is_a_layer_of_its_own():
    p = P | {"late": normal(15, 3), "later": 0.3}

    def model(p):
        hidden = anp.tanh(X @ p["W"] + p["b"]) + p["late"]
        return anp.tanh(hidden @ p["V"] * 2.0 + p["c"]) + p["later"]

    K = kfac_operator(model, Gaussian(), p)
    assert set(K.names) == {"x['W'], x['b']", "x['V']", "x['c']", "x['late']", "x['later']"}
    fisher = exact_fisher(model, Gaussian(), p)
    for name in ("x['c']", "x['late']"):
        i = K.names.index(name)
        part = K.partition[i]
        assert error(K.blocks[i].to_dense(), fisher[np.ix_(part, part)]) < 1e-11


def test_a_bias_after_a_transpose():
    """Whether or not it shares the block of the product, the parts on the diagonal are the same."""
    p = {"W": P["W"].T, "b": P["b"]}
    K = kfac_operator(lambda p: anp.dot(p["W"], X.T).T + p["b"], Categorical(), p)
    expected = kfac_operator(lambda p: X @ p["W"].T + p["b"], Categorical(), p).to_dense()
    found = K.to_dense()
    assert error(found[:12, :12], expected[:12, :12]) < 1e-12
    assert error(found[12:, 12:], expected[12:, 12:]) < 1e-12


def test_two_biases_on_one_product():
    p = {"W": P["W"], "b": P["b"], "d": normal(16, 3)}
    K = assert_exact_blocks(lambda p: (X @ p["W"] + p["b"]) + p["d"], p)
    assert len(K.blocks) == 2
    assert sorted(len(name.split(", ")) for name in K.names) == [1, 2]


def test_a_product_that_is_used_elsewhere_keeps_its_bias_out():
    p = {"W": P["W"], "b": P["b"]}

    def model(p):
        z = X @ p["W"]
        return anp.tanh(z + p["b"]) + z

    K = kfac_operator(model, Gaussian(), p)
    assert K.names == ("x['W']", "x['b']")
    one = X[:1]

    def of_one(p):
        z = one @ p["W"]
        return anp.tanh(z + p["b"]) + z

    assert_exact_blocks(of_one, p)


def test_weights_without_a_bias():
    p = {"W": P["W"], "V": P["V"]}
    K = kfac_operator(lambda p: anp.tanh(X @ p["W"]) @ p["V"], Categorical(), p)
    assert K.names == ("x['W']", "x['V']")
    with_ones = kfac_operator(plain, Categorical(), P | {"b": np.zeros(3), "c": np.zeros(2)})
    A, G = K.blocks[0].factors
    np.testing.assert_allclose(A, X.T @ X / 9, rtol=1e-12)
    np.testing.assert_allclose(G, with_ones.blocks[0].factors[1], rtol=1e-11)


def test_weights_of_one_axis():
    p = {"W": P["W"], "v": normal(17, 3), "c": -0.4}

    def model(p, X):
        return anp.tanh(X @ p["W"]) @ p["v"] + p["c"]

    K = kfac_operator(model, Poisson(), p, args=(X,))
    assert K.names == ("x['W']", "x['c'], x['v']")
    z, hidden = model(p, X), np.tanh(X @ p["W"])
    a = np.column_stack([hidden, np.ones(9)])
    A, G = K.blocks[1].factors
    np.testing.assert_allclose(A, a.T @ a / 9, rtol=1e-12)
    np.testing.assert_allclose(G, [[np.exp(z).sum()]], rtol=1e-12)
    assert_exact_blocks(lambda p: model(p, X[:1]), p, Poisson())
    dotted = kfac_operator(
        lambda p: anp.dot(p["v"], anp.tanh(anp.dot(X, p["W"])).T) + p["c"], Poisson(), p
    )
    assert error(dotted.to_dense(), K.to_dense()) < 1e-12


def test_a_scalar_output():
    p = {"W": P["W"], "v": normal(17, 3), "c": -0.4}
    for model in (
        lambda p: anp.tanh(X[0] @ p["W"]) @ p["v"] + p["c"],
        lambda p: anp.inner(p["v"], anp.tanh(anp.einsum("i,io", X[0], p["W"]))) - p["c"],
        lambda p: anp.tensordot(anp.tanh(anp.tensordot(X[0], p["W"], 1)), p["v"], 1) + p["c"],
    ):
        K = assert_exact_blocks(model, p, Bernoulli())
        assert K.shape == (16, 16)


def test_an_outer_product_with_weights():
    """No axis is summed: each weight has one input."""
    t = normal(18, 9)
    x = {"w": normal(19, 3), "b": normal(20, 3)}
    expected = kfac_operator(lambda p: t[:, None] @ p["w"][None] + p["b"], Categorical(), x)
    for model in (
        lambda p: anp.tensordot(t, p["w"], 0) + p["b"],
        lambda p: anp.einsum("n,o->no", t, p["w"]) + p["b"],
    ):
        K = kfac_operator(model, Categorical(), x)
        assert error(K.to_dense(), expected.to_dense()) < 1e-12


def test_heads_have_one_block_of_all_their_outputs():
    x = {"W": normal(21, 2, 4, 3), "b": normal(22, 2, 1, 3)}

    def model(p):
        return anp.swapaxes(anp.matmul(X, p["W"]) + p["b"], 0, 1)

    K = assert_exact_blocks(model, x)  # linear, hence exact
    assert K.names == ("x['W'], x['b']",)
    assert [factor.shape for factor in K.blocks[0].factors] == [(5, 5), (6, 6)]
    W = {"W": x["W"]}
    by_einsum = kfac_operator(lambda p: anp.einsum("ni,hio->nho", X, p["W"]), Bernoulli(), W)
    by_matmul = kfac_operator(lambda p: anp.swapaxes(anp.matmul(X, p["W"]), 0, 1), Bernoulli(), W)
    assert error(by_einsum.to_dense(), by_matmul.to_dense()) < 1e-12


def test_large_layers():
    """Above the size from which a recording lets go of arrays."""
    p, inputs = layers(23, 80, 90, 3), normal(24, 60, 80)
    K = kfac_operator(network, Categorical(), p, args=(inputs,))
    hidden = np.tanh(inputs @ p["W1"] + p["b1"])
    z = hidden @ p["W2"] + p["b2"]
    probabilities = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    L = probabilities[:, :, None] * np.eye(3) - probabilities[:, :, None] * probabilities[:, None]
    back = p["W2"].T * (1 - hidden**2)[:, None]  # (n, c, h)
    for block, a, G in zip(
        K.blocks,
        (inputs, hidden),
        (np.einsum("ncg,ncd,ndh->gh", back, L, back), L.sum(axis=0)),
        strict=True,
    ):
        ones = np.column_stack([a, np.ones(60)])
        assert error(block.factors[0], ones.T @ ones / 60) < 1e-12
        assert error(block.factors[1], G) < 1e-11


# Rows that are not examples


def test_a_parameter_of_each_example():
    """Such as a random effect: the gradients of different examples are independent."""
    x = {"w": normal(25, 4), "u": normal(26, 9)}
    K = kfac_operator(lambda p: X @ p["w"] + p["u"], Bernoulli(), x, other="diagonal")
    fisher = exact_fisher(lambda p: X @ p["w"] + p["u"], Bernoulli(), x)
    found = K.to_dense()[:9, :9]  # u comes first
    assert error(found, fisher[:9, :9]) < 1e-11


@pytest.mark.parametrize("rows", [2, 9])
def test_a_layer_above_all_examples(rows):
    """What it gives goes into all examples: their gradients in it are independent all the same."""
    prototypes = normal(27, rows, 3)
    x = {"A": normal(28, 3, 4), "v": normal(29, rows)}

    def model(p):
        return X @ (p["v"] @ anp.tanh(prototypes @ p["A"]))

    slopes = x["v"][:, None] * (1.0 - np.tanh(prototypes @ x["A"]) ** 2)
    g = X[:, None] * slopes  # of each example, in each row
    factored = np.kron(prototypes.T @ prototypes / rows, np.einsum("nro,nrp->op", g, g))
    fisher = exact_fisher(model, Gaussian(), x)[:12, :12]
    found = kfac_operator(model, Gaussian(), x, other="diagonal").to_dense()[:12, :12]
    # Either the definition, or what parameters get that are in no layer.
    assert min(error(found, factored), error(found, np.diag(np.diag(fisher)))) < 1e-11


def test_outputs_that_are_examples_though_they_share_an_input():
    """One axis of outputs is that of examples: those of a single input are several of them."""
    x = {"W": normal(30, 4, 3), "b": normal(31, 3)}

    def model(p):
        return X[0] @ p["W"] + p["b"]

    fisher = exact_fisher(model, Bernoulli(), x)
    assert error(fisher_operator(model, Bernoulli(), x).to_dense(), fisher) < 1e-11
    K = kfac_operator(model, Bernoulli(), x, other="diagonal").to_dense()
    # The matrix is block-diagonal in the outputs, whether a layer is found or not.
    assert error(np.diag(K), np.diag(fisher)) < 1e-11
    outputs = np.tile(np.arange(3), 5)
    assert not K[outputs[:, None] != outputs].any()


@pytest.mark.parametrize("t", [2, 3, 4])
def test_a_bias_of_positions_is_not_one_of_features(t):
    """Even where there are as many positions as features."""
    inputs = normal(30, 5, t, 2)
    x = {"W": normal(31, 2, 3), "c": normal(32, t, 1)}

    def model(p):
        return inputs @ p["W"] + p["c"]

    K = kfac_operator(model, Gaussian(), x)
    assert K.names == ("x['W']", "x['c']")
    fisher = exact_fisher(model, Gaussian(), x)
    for part, block in zip(K.partition, K.blocks, strict=True):
        assert error(block.to_dense(), fisher[np.ix_(part, part)]) < 1e-11  # a linear model


# --- other parameters -----------------------------------------------------------------------------


def assert_refused(model, x, words, likelihood=None):
    with pytest.raises(ValueError, match=words) as caught:
        kfac_operator(model, likelihood or Gaussian(), x)
    message = str(caught.value)
    assert "is not made of layers alone" in message
    assert "Use other='diagonal'" in message
    return message


def assert_diagonal(model, x, name, likelihood=None):
    """The last block is the exact diagonal of the Fisher matrix, and the rest is as ever."""
    likelihood = likelihood or Gaussian()
    K = kfac_operator(model, likelihood, x, other="diagonal")
    assert isinstance(K.blocks[-1], DiagonalOperator)
    assert K.names[-1] == name
    assert all(isinstance(block, KroneckerOperator) for block in K.blocks[:-1])
    part = K.partition[-1]
    fisher = np.diag(exact_fisher(model, likelihood, x))[part]
    assert error(K.blocks[-1].diagonal(), fisher) < 1e-11
    dense = K.to_dense()
    np.testing.assert_allclose(dense, dense.T, rtol=1e-12)
    eigenvalues = np.linalg.eigvalsh(dense)
    assert eigenvalues[0] > -1e-13 * eigenvalues[-1]
    return K


def test_an_elementwise_scale():
    x = P | {"gamma": normal(33, 3)}

    def model(p):
        return (p["gamma"] * anp.tanh(X @ p["W"] + p["b"])) @ p["V"] + p["c"]

    message = assert_refused(model, x, r"x\['gamma'\] enters multiply")
    assert "x['W']" not in message
    K = assert_diagonal(model, x, "x['gamma']")
    assert K.names == ("x['W'], x['b']", "x['V'], x['c']", "x['gamma']")
    options = {"kind": "empirical", "targets": normal(34, 9, 2)}
    K = kfac_operator(model, Gaussian(), x, other="diagonal", **options)
    F = fisher_operator(model, Gaussian(), x, **options)
    gamma = K.partition[-1]
    assert error(K.blocks[-1].diagonal(), F.to_dense().diagonal()[gamma]) < 1e-12
    options = {"kind": "monte-carlo", "num_samples": 400, "rng": 1}
    K = kfac_operator(model, Gaussian(), x, other="diagonal", **options)
    exact = exact_fisher(model, Gaussian(), x).diagonal()[gamma]
    assert error(K.blocks[-1].diagonal(), exact) < 0.3  # by 400 draws


def test_a_parameter_used_twice():
    x = {"W": normal(35, 4, 4), "b": normal(36, 4), "V": normal(37, 4, 2), "c": normal(38, 2)}

    def model(p):
        hidden = anp.tanh(X @ p["W"])
        return anp.tanh(hidden @ p["W"] + p["b"]) @ p["V"] + p["c"]

    message = assert_refused(model, x, r"x\['W'\] enters more than once")
    assert message.count("x['W']") == 1
    assert "x['V']" not in message
    K = kfac_operator(model, Gaussian(), x, other="diagonal")
    assert isinstance(K.blocks[K.names.index("x['V'], x['c']")], KroneckerOperator)
    W = slice(8, 24)  # after V in the flat vector
    assert error(K.diagonal()[W], exact_fisher(model, Gaussian(), x).diagonal()[W]) < 1e-11
    assert error(K.to_dense()[W, W], np.diag(K.diagonal()[W])) == 0.0


def test_a_bias_used_twice_is_named_without_its_weights():
    x = {"W1": normal(39, 4, 3), "W2": normal(40, 3, 3), "b": normal(41, 3)}

    def model(p):
        return anp.tanh(X @ p["W1"] + p["b"]) @ p["W2"] + p["b"]

    message = assert_refused(model, x, r"x\['b'\] enters more than once")
    assert "x['W1']" not in message
    K = assert_diagonal(model, x, "x['b']")
    assert K.names == ("x['W1']", "x['W2']", "x['b']")


def test_a_part_of_a_flat_vector_used_twice():
    def model(x):
        W, b, V = anp.reshape(x[:12], (4, 3)), x[12:15], anp.reshape(x[12:18], (3, 2))
        return anp.tanh(X @ W + b) @ V

    x = normal(42, 18)
    assert_refused(model, x, r"x\[12\] to x\[1[47]\] enters more than once")
    K = kfac_operator(model, Gaussian(), x, other="diagonal")
    fisher = exact_fisher(model, Gaussian(), x)
    twice = slice(12, 15)
    assert error(K.to_dense()[twice, twice], np.diag(np.diag(fisher)[twice])) < 1e-11


def test_a_tied_autoencoder():
    def model(p):
        return anp.tanh(X @ p["W"] + p["b"]) @ p["W"].T

    x = {"W": P["W"], "b": P["b"]}
    assert_refused(model, x, r"x\['W'\] enters more than once")
    K = kfac_operator(model, Gaussian(), x, other="diagonal")
    fisher = exact_fisher(model, Gaussian(), x)
    assert error(K.to_dense()[:12, :12], np.diag(np.diag(fisher)[:12])) < 1e-11


@pytest.mark.parametrize(
    ("model", "x", "words", "name"),
    [
        (
            lambda p: X @ anp.exp(p["log_w"]) + p["b"],
            {"log_w": normal(43, 4), "b": 0.1},
            r"x\['log_w'\] enters exp",
            "x['log_w']",
        ),
        (
            lambda p: anp.tanh(p["table"][np.arange(9) % 3]) @ p["V"],
            {"table": normal(44, 3, 4), "V": normal(45, 4, 2)},
            r"x\['table'\] enters tanh",
            "x['table']",
        ),
        (
            lambda p: (X @ p["W"]) ** 2 / p["scale"],
            {"W": P["W"], "scale": 2.0},
            r"x\['scale'\] enters (true_)?divide",
            "x['scale']",
        ),
        (
            lambda p: anp.tanh(X @ p["W"]) @ p["V"],
            {"W": P["W"], "V": P["V"], "spare": np.ones(2)},
            r"x\['spare'\] does not enter the outputs",
            "x['spare']",
        ),
        (
            lambda p: X @ p[0] + anp.sum(p[1]["c"]),
            (normal(46, 4), {"c": normal(47, 2)}),
            r"x\[1\]\['c'\] enters sum",
            "x[1]['c']",
        ),
        (
            lambda x: X @ x[:4] * x[5],
            normal(48, 7),
            r"x\[5\] enters multiply; x\[4\] to x\[6\] does not enter the outputs",
            "x[4] to x[6]",
        ),
        (
            lambda p: X @ p["w"] + anp.einsum("ij->i", p["S"]),
            {"w": normal(46, 4), "S": normal(49, 9, 2)},
            r"x\['S'\] enters einsum",
            "x['S']",
        ),
        (
            lambda p: anp.einsum("ni,ni->n", X, p["W"]) + X @ p["v"],
            {"W": normal(50, 9, 4), "v": normal(51, 4)},
            r"x\['W'\] enters einsum",
            "x['W']",
        ),
        (
            lambda p: anp.tanh(X @ p["A"]) @ (p["B"] @ p["C"]),
            {"A": normal(52, 4, 3), "B": normal(53, 3, 2), "C": normal(54, 2, 2)},
            r"x\['B'\] enters matmul; x\['C'\] enters matmul",
            "x['B'], x['C']",
        ),
        (
            lambda p: X @ p["W"] + (p["b"] + p["c"]),
            {"W": P["W"], "b": P["b"], "c": np.ones(3)},
            r"x\['b'\] enters add; x\['c'\] enters add",
            "x['b'], x['c']",
        ),
    ],
)
def test_what_does_not_enter_as_a_layer(model, x, words, name):
    assert_refused(model, x, words)
    assert_diagonal(model, x, name)


def test_nothing_is_a_layer():
    assert_refused(lambda x: x, np.ones(3), "x is an output itself")
    K = assert_diagonal(lambda x: x, np.ones(3), "x")
    np.testing.assert_array_equal(K.to_dense(), np.eye(3))
    assert len(K.blocks) == 1
    assert_diagonal(
        lambda p: anp.exp(X @ np.ones(4) * p["a"]) + p["b"] ** 2,
        {"a": 0.1, "b": 0.2},
        "x['a'], x['b']",
    )


# --- the operator ---------------------------------------------------------------------------------


@pytest.fixture
def K():
    return kfac_operator(plain, Categorical(), P)


def test_blocks_and_names(K):
    assert isinstance(K, BlockDiagonalOperator)
    assert K.names == ("x['W'], x['b']", "x['V'], x['c']")
    assert [block.shape for block in K.blocks] == [(15, 15), (8, 8)]
    assert [len(factor) for block in K.blocks for factor in block.factors] == [5, 3, 4, 2]
    assert repr(K) == "<23x23 BlockDiagonalOperator 2 blocks (kronecker), float64, 0 products>"
    np.testing.assert_array_equal(np.sort(np.concatenate(K.partition)), np.arange(23))


def test_the_inverse_is_exact(K):
    dense, v, V = K.to_dense(), normal(60, 23), normal(61, 23, 3)
    for damping in (1e-3, 0.5):
        inverse = K.inverse(damping)
        expected = np.linalg.inv(dense + damping * np.eye(23))
        assert error(inverse @ v, expected @ v) < 1e-10
        assert error(inverse @ V, expected @ V) < 1e-10
        assert error(inverse.to_dense(), expected) < 1e-10
        assert K.logdet(damping) == pytest.approx(
            np.linalg.slogdet(dense + damping * np.eye(23))[1], rel=1e-10
        )
    assert K.trace() == pytest.approx(np.trace(dense), rel=1e-12)
    np.testing.assert_allclose(K.diagonal(), np.diag(dense), rtol=1e-12)


def test_the_factored_inverse_splits_the_damping(K):
    damping = 0.01
    expected = np.zeros((23, 23))
    for block, part in zip(K.blocks, K.partition, strict=True):
        A, G = block.factors
        # Martens and Grosse, 6.3: by the mean eigenvalues of both factors.
        split = np.sqrt((np.trace(A) / len(A)) / (np.trace(G) / len(G)))
        A = A + split * np.sqrt(damping) * np.eye(len(A))
        G = G + np.sqrt(damping) / split * np.eye(len(G))
        expected[np.ix_(part, part)] = np.linalg.inv(np.kron(A, G))
    assert error(K.inverse(damping, factored=True).to_dense(), expected) < 1e-10


def test_a_singular_block_is_named(K):
    with pytest.raises(np.linalg.LinAlgError, match=r"x\['W'\], x\['b'\]|x\['V'\], x\['c'\]"):
        K.inverse()  # of a softmax: logits have a direction without effect


def test_with_a_diagonal_block_it_is_semidefinite_and_invertible():
    x = P | {"gamma": normal(33, 3), "spare": np.ones(2)}

    def model(p):
        return (p["gamma"] * anp.tanh(X @ p["W"] + p["b"])) @ p["V"] + p["c"]

    K = kfac_operator(model, Categorical(), x, other="diagonal")
    dense = K.to_dense()
    np.testing.assert_allclose(dense, dense.T, rtol=1e-13)
    eigenvalues = scipy.linalg.eigvalsh(dense)
    assert eigenvalues[0] > -1e-13 * eigenvalues[-1]
    damped = dense + 0.1 * np.eye(len(dense))
    for factored in (False, True):
        inverse = K.inverse(0.1, factored=factored)
        part = K.partition[-1]
        found = inverse.to_dense()[np.ix_(part, part)]
        assert error(found, np.linalg.inv(damped)[np.ix_(part, part)]) < 1e-12
    assert error(K.inverse(0.1).to_dense(), np.linalg.inv(damped)) < 1e-10
    assert K.logdet(0.1) == pytest.approx(np.linalg.slogdet(damped)[1], rel=1e-11)
    assert K.inertia().negative == 0


def test_a_step_goes_down():
    """Natural gradient with KFAC in place of the Fisher matrix."""
    y = np.arange(9) % 2

    def loss(p):
        return Categorical().nll(plain(p), y)

    layout, x = read_tree(P)
    g = layout.flatten(grad(loss)(P))
    step = kfac_operator(plain, Categorical(), P).inverse(damping=0.1) @ -g
    assert g @ step < 0.0
    change = loss(layout.unflatten(x + 1e-4 * step)) - loss(P)
    assert change == pytest.approx(1e-4 * g @ step, rel=0.1)


def test_single_precision():
    single = {key: value.astype(np.float32) for key, value in P.items()}
    expected = kfac_operator(plain, Categorical(), P).to_dense()
    for kind in KINDS:
        K = kfac_operator(plain, Categorical(), single, kind=kind, targets=np.zeros(9), rng=0)
        assert K.dtype == K.to_dense().dtype == np.float32
        assert all(factor.dtype == np.float32 for block in K.blocks for factor in block.factors)
        if kind == "exact":
            assert error(K.to_dense(), expected) < 1e-5


def test_arguments():
    K = kfac_operator(network, Categorical(), layers(4, 4, 3, 3), args=(X,))
    expected = kfac_operator(lambda p: network(p, X), Categorical(), layers(4, 4, 3, 3))
    np.testing.assert_array_equal(K.to_dense(), expected.to_dense())


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"other": "skip"}, ValueError, "other is 'skip', expected 'error' or 'diagonal'"),
        ({"likelihood": "softmax"}, TypeError, "likelihood is 'softmax'"),
        ({"kind": "expand"}, ValueError, "kind is 'expand', expected one of"),
        ({"kind": "empirical"}, ValueError, "no targets were given"),
        ({"kind": "empirical", "targets": np.ones(9)}, ValueError, r"targets have shape \(9,\)"),
        ({"num_samples": 0}, ValueError, "num_samples is 0"),
        ({"model": lambda p: [plain(p)]}, NotTracedError, "tree of outputs, expected one array"),
        ({"model": lambda p: plain(p) * np.nan}, NonFiniteError, "is not finite"),
        ({"model": lambda p: np.ones(3)}, NotTracedError, "does not depend on its argument"),
        ({"model": None}, TypeError, "model is None, expected a function"),
    ],
)
def test_errors_in_words(change, kind, words):
    arguments = {"model": plain, "likelihood": Gaussian(), "x": P} | change
    with pytest.raises(kind, match=words):
        kfac_operator(**arguments)


# --- layers ---------------------------------------------------------------------------------------


def recorded(model, x):
    layout, point = read_tree(x)
    return record_model(model, layout, point).recording


SEQUENCES = normal(70, 5, 3, 4)
LAYERED = {
    **{name: (model, convert(P)) for name, (model, convert) in SPELLINGS.items()},
    **{name: (model, {"W": P["W"], "b": P["b"]}) for name, (model, _) in SIGNS.items()},
    "positions": (lambda p: network(p, SEQUENCES), layers(71, 4, 3, 2)),
    "heads": (
        lambda p: anp.tanh(anp.matmul(X, p["W"]) + p["b"]),
        {"W": normal(21, 2, 4, 3), "b": normal(22, 2, 1, 3)},
    ),
    "positions-as-features": (
        lambda p: SEQUENCES @ p["W"] + p["c"],
        {"W": normal(73, 4, 3), "c": normal(74, 3, 1)},
    ),
    "examples-as-features": (
        lambda p: X @ p["W"] + p["u"],
        {"W": normal(75, 4, 9), "u": normal(76, 9, 1)},
    ),
    "one-example": (lambda p: X[:1] @ p["W"] + p["b"], {"W": P["W"], "b": P["b"][None]}),
    "scalar-bias": (lambda p: X @ p["w"] - p["b"], {"w": normal(77, 4), "b": 0.5}),
    "a-bias-like-the-product": (
        lambda p: anp.tanh(X @ p["W"] + p["B"]),
        {"W": P["W"], "B": normal(78, 9, 3)},
    ),
}


@pytest.mark.parametrize("find", [entries, joint_layers])
@pytest.mark.parametrize("name", LAYERED)
def test_rows_of_layers_add_up_to_the_gradient(name, find):
    """Each layer's gradient is the sum over rows of the outer products of inputs and cotangents."""
    model, x = LAYERED[name]
    recording = recorded(model, x)
    found, others = find(recording)
    assert others == []
    positions = np.sort(np.concatenate([layer.positions.ravel() for layer in found]))
    np.testing.assert_array_equal(positions, np.arange(recording.layout.size))
    seed = normal(79, *np.shape(recording.value))
    expected = gradient(recording, seed)
    by_layers = cotangents(recording, [layer.node for layer in found], [seed, -2.0 * seed])
    for factor, of_seed in zip((1.0, -2.0), by_layers, strict=True):
        for layer, cotangent in zip(found, of_seed, strict=True):
            g = layer.by_rows(cotangent)
            rows = layer.inputs.shape[:-1]
            assert g.shape == (*rows, layer.positions.shape[1])
            total = np.zeros(layer.positions.shape)
            for row in np.ndindex(rows):
                total += np.outer(layer.inputs[row], g[row])
            assert error(total, factor * expected[layer.positions]) < 1e-12


@pytest.mark.parametrize("name", LAYERED)
def test_a_layer_is_a_product_row_by_row(name):
    """``outputs = inputs @ x[positions]``, as far as the layer says what goes out."""
    model, x = LAYERED[name]
    recording = recorded(model, x)
    point = flat(x)
    for layer in entries(recording)[0]:
        value = layer.by_rows(np.asarray(layer.node.value))
        product = layer.inputs @ point[layer.positions]
        if layer.inputs.shape[-1] > 1 or not np.all(np.abs(layer.inputs) == 1.0):
            assert error(product, value) < 1e-12
        else:  # a bias: what goes out is more than the product
            assert product.shape == value.shape


def test_where_parameters_are_recognised():
    recording = recorded(plain, P)
    found, others = joint_layers(recording)
    assert others == []
    assert [layer.inputs.shape for layer in found] == [(9, 5), (9, 4)]
    assert [layer.positions.shape for layer in found] == [(5, 3), (4, 2)]
    separate, _ = entries(recording)
    assert [layer.inputs.shape for layer in separate] == [(9, 4), (9, 1), (9, 3), (9, 1)]


def test_others_have_their_positions_and_a_reason():
    x = {"a": normal(80, 2), "g": normal(81, 3), "W": normal(82, 4, 3)}

    def model(p):
        return anp.tanh(X @ p["W"]) * p["g"]

    found, others = joint_layers(recorded(model, x))
    assert [layer.positions.shape for layer in found] == [(4, 3)]
    reasons = {one.reason: one.positions.ravel().tolist() for one in others}
    # W, a, g in the flat vector.
    assert reasons == {
        "enters multiply": [14, 15, 16],
        "does not enter the outputs": [12, 13],
    }
