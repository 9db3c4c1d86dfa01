"""What docs/explanation/inverse-hessian.md says of the paper's formulas, line by line.

H. Lee, "J. R. 'Bob' Dobbs Memorial Inverse Hessian-Vector Multiplication Method", 2019.
"""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import elementwise_grad, jacobian

from hessop import hessian_operator

# --- sections 4.1 and 4.2 -------------------------------------------------------------------------


def test_the_hessian_product_of_section_4_1():
    x, v = np.random.default_rng(0).standard_normal((2, 4))
    product = hessian_operator(lambda x: anp.sum(x**3), x) @ v
    np.testing.assert_allclose(product, 6 * x * v)
    derivative = 6 * x * v  # of 3 (x + r v)² at r = 0
    as_printed = 6 * x * v * derivative
    assert not np.allclose(product, as_printed)


def test_the_closed_form_in_z_has_the_sign_of_a_positive_x():
    x = np.array([1.3, -0.7, 0.4])
    v = np.array([1.0, 2.0, -3.0])
    w = np.linalg.solve(hessian_operator(lambda x: x[0] * x[1] * x[2], x).to_dense(), v)
    z = np.prod(x) / x

    def in_z(i, j, k):
        root = (z[j] * z[k] / z[i]) ** -0.5
        above = (v[j] * z[k] + v[k] * z[j]) * z[i] - v[i] * z[j] * z[k]
        return root / 2 * above / z[i] ** 2

    found = np.array([in_z(0, 1, 2), in_z(1, 0, 2), in_z(2, 0, 1)])
    np.testing.assert_allclose(np.sign(x) * found, w)
    assert not np.allclose(found, w)


# --- section 5 ------------------------------------------------------------------------------------

act, inverse_act = anp.tanh, anp.arctanh
act1 = elementwise_grad(act)
act2 = elementwise_grad(act1)
STEP = 1e-6


class Network:
    """The network of the paper, all of its quantities, and their derivatives along weights."""

    def __init__(self, examples=3, inputs=3, hidden=2, outputs=2):
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((examples, inputs))
        self.weights = {
            "W1": rng.standard_normal((inputs, hidden)),
            "W2": rng.standard_normal((hidden, outputs)),
        }
        self.y = rng.uniform(-0.9, 0.9, (examples, outputs))
        self.H = hessian_operator(self.loss, self.weights)
        self.at = self.quantities(self.weights)

    def loss(self, w):
        return anp.sum((act(anp.dot(act(anp.dot(self.x, w["W1"])), w["W2"])) - self.y) ** 2) / 2

    def quantities(self, w):
        """With the transposes that the paper leaves out of the last two lines."""
        q = dict(w)
        q["net1"] = self.x @ w["W1"]
        q["h1"] = act(q["net1"])
        q["net2"] = q["h1"] @ w["W2"]
        q["h2"] = act(q["net2"])
        q["dh2"] = q["h2"] - self.y
        q["dnet2"] = act1(q["net2"]) * q["dh2"]
        q["dh1"] = q["dnet2"] @ w["W2"].T
        q["dnet1"] = act1(q["net1"]) * q["dh1"]
        q["dW2"] = q["h1"].T @ q["dnet2"]
        q["dW1"] = self.x.T @ q["dnet1"]
        return q

    def along(self, direction):
        """The derivative of every quantity along a direction of the weights."""
        ahead, behind = (
            self.quantities({k: w + s * STEP * direction[k] for k, w in self.weights.items()})
            for s in (1, -1)
        )
        return {k: (ahead[k] - behind[k]) / (2 * STEP) for k in ahead}


def same(a, b):
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=1e-6 * np.abs(b).max())


@pytest.fixture(scope="module")
def network():
    return Network()


@pytest.fixture(scope="module")
def v(network):
    return network.H.unflatten(np.random.default_rng(1).standard_normal(network.H.shape[0]))


@pytest.fixture(scope="module")
def B(network, v):
    """Derivatives along H⁻¹v."""
    exact = np.linalg.solve(network.H.to_dense(), network.H.flatten(v))
    return network.along(network.H.unflatten(exact))


def test_the_gradient_with_transposes(network):
    gradient = network.H.unflatten(network.H.gradient)
    assert same(network.at["dW1"], gradient["W1"])
    assert same(network.at["dW2"], gradient["W2"])


def test_the_products_with_transposes(network, v):
    q, R = network.at, network.along(v)
    product = network.H.matvec_tree(v)
    assert same(R["net1"], network.x @ v["W1"])  # R(x) = 0
    assert same(product["W2"], q["h1"].T @ R["dnet2"] + R["h1"].T @ q["dnet2"])
    assert same(product["W1"], network.x.T @ R["dnet1"])


@pytest.mark.parametrize("examples", [2, 3, 5])
def test_both_pseudo_inverses_invert_only_where_x_is_square(examples):
    network = Network(examples=examples)
    q, x_plus = network.at, np.linalg.pinv(network.x)
    assert same(x_plus.T @ q["dW1"], q["dnet1"]) == (examples <= 3)
    assert same(x_plus @ q["net1"], q["W1"]) == (examples >= 3)
    # With fewer examples than inputs, weights that no example sees make the Hessian singular.
    condition = np.linalg.cond(network.H.to_dense())
    assert condition > 1e14 if examples < 3 else condition < 1e4


@pytest.mark.parametrize(("hidden", "outputs"), [(2, 2), (3, 2), (2, 3)])
def test_the_pseudo_inverses_of_w2_invert_only_where_it_is_square(hidden, outputs):
    network = Network(hidden=hidden, outputs=outputs)
    q, W_plus = network.at, np.linalg.pinv(network.weights["W2"])
    assert same(q["net2"] @ W_plus, q["h1"]) == (hidden <= outputs)
    assert same(q["dh1"] @ W_plus.T, q["dnet2"]) == (outputs <= hidden)


def test_the_lines_of_the_inverse(network, B):
    q = network.at
    for dh, dnet, net in (("dh1", "dnet1", "net1"), ("dh2", "dnet2", "net2")):
        slope, bend = act1(q[net]), act2(q[net])
        assert same(q[dh], q[dnet] / slope)
        as_printed = B[dnet] / slope * q[dnet] / bend * B[net]
        with_a_plus = B[dnet] / slope + q[dnet] / bend * B[net]
        corrected = B[dnet] / slope - q[dnet] * bend / slope**2 * B[net]
        assert same(B[dh], corrected)
        assert not same(B[dh], as_printed)
        assert not same(B[dh], with_a_plus)


def stacked_equations(network, B, v, *, with_v2):
    """What is left of the paper's equations for B, corrected, all of them in one vector."""
    q, x_plus = network.at, np.linalg.pinv(network.x)
    W_inv, h1 = np.linalg.inv(network.weights["W2"]), network.at["h1"]
    h1_plus, gram = np.linalg.pinv(h1), np.linalg.inv(h1.T @ h1)
    slope1, slope2 = act1(q["net1"]), act1(q["net2"])
    # Of h1⁺ = (h1ᵀ h1)⁻¹ h1ᵀ
    B_h1_plus = gram @ B["h1"].T - gram @ (B["h1"].T @ h1 + h1.T @ B["h1"]) @ h1_plus
    B_W_inv = -W_inv @ B["W2"] @ W_inv
    left = [
        B["dnet1"] - x_plus.T @ v["W1"],
        B["dh1"] - B["dnet1"] / slope1 + q["dnet1"] * act2(q["net1"]) / slope1**2 * B["net1"],
        B["dnet2"] - B["dh1"] @ W_inv.T - q["dh1"] @ B_W_inv.T,
        B["dh2"] - B["dnet2"] / slope2 + q["dnet2"] * act2(q["net2"]) / slope2**2 * B["net2"],
        B["h2"] - B["dh2"],
        B["net2"] - elementwise_grad(inverse_act)(q["h2"]) * B["h2"],
        B["h1"] - B["net2"] @ W_inv - q["net2"] @ B_W_inv,
        B["net1"] - elementwise_grad(inverse_act)(q["h1"]) * B["h1"],
        B["W2"] - B_h1_plus @ q["net2"] - h1_plus @ B["net2"],
        B["W1"] - x_plus @ B["net1"],
    ]
    if with_v2:
        left.append(B["h1"].T @ q["dnet2"] + h1.T @ B["dnet2"] - v["W2"])
    return np.concatenate([part.ravel() for part in left])


def test_the_equations_of_the_inverse_are_too_few(network, B, v):
    """As many as W2 has entries are missing: those of ∂J/∂W2, where v2 would come in."""
    names = ["dnet1", "dh1", "dnet2", "dh2", "h2", "net2", "h1", "net1", "W2", "W1"]
    ends = np.cumsum([network.at[k].size for k in names])

    def residual(flat, with_v2):
        parts = np.split(flat, ends[:-1])
        shaped = {k: p.reshape(network.at[k].shape) for k, p in zip(names, parts, strict=True)}
        return stacked_equations(network, shaped, v, with_v2=with_v2)

    def matrix_and_right_side(with_v2):
        zero = residual(np.zeros(ends[-1]), with_v2)
        return np.stack([residual(e, with_v2) - zero for e in np.eye(ends[-1])], axis=1), -zero

    printed, _ = matrix_and_right_side(with_v2=False)
    complete, right_side = matrix_and_right_side(with_v2=True)
    assert printed.shape == (58, 58)
    assert np.linalg.matrix_rank(printed, tol=1e-9) == 58 - network.weights["W2"].size
    assert np.linalg.matrix_rank(complete, tol=1e-9) == 58
    solution, *_ = np.linalg.lstsq(complete, right_side)
    np.testing.assert_allclose(complete @ solution, right_side, atol=1e-10)
    W2, W1 = np.split(solution, ends)[-3:-1]
    assert same(W1, B["W1"].ravel())
    assert same(W2, B["W2"].ravel())


def test_all_equations_at_once_have_the_determinant_of_the_hessian(network):
    """The linear program of v -> Hv, one equation for each value, and Hv = b."""
    n = network.H.shape[0]
    L = np.zeros((3 * n, 3 * n))  # a program of two instructions that makes H out of its halves
    upper = np.triu(network.H.to_dense(symmetrize=True))
    L[:n, :n], L[:n, 2 * n :] = np.eye(n), -upper  # y1 = U v
    L[n : 2 * n, n : 2 * n] = np.eye(n)  # y2 = y1 + (H - U) v
    L[n : 2 * n, :n] = -np.eye(n)
    L[n : 2 * n, 2 * n :] = -(network.H.to_dense(symmetrize=True) - upper)
    L[2 * n :, n : 2 * n] = np.eye(n)  # y2 = b
    sign, logabsdet = np.linalg.slogdet(L)
    expected = np.linalg.slogdet(network.H.to_dense(symmetrize=True))
    assert logabsdet == pytest.approx(expected.logabsdet)
    assert abs(sign) == abs(expected.sign) == 1.0
    b = np.arange(1.0, n + 1)
    solution = np.linalg.solve(L, np.concatenate([np.zeros(2 * n), b]))
    np.testing.assert_allclose(network.H @ solution[2 * n :], b)


def test_the_jacobian_of_the_inverse_is_taken_at_the_gradient():
    """``H⁻¹(x) = J(∇⁻¹f)`` at ∇f(x), not at x."""
    x = np.array([0.5, 2.0])
    inverse = jacobian(lambda z: anp.sqrt(z / 3))
    np.testing.assert_allclose(inverse(3 * x**2), np.diag(1 / (6 * x)))
    assert not np.allclose(inverse(x), np.diag(1 / (6 * x)))
