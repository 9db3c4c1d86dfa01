"""Models as people write them, for tests of Hessian products: a name, a function, a point.

Where the cases of ``cases.py`` try one operation each, a model joins many of them, in loops,
networks, factorisations and solvers of equations. Its data are fixed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import autograd.scipy.linalg as asl
import numpy as np
from autograd.builtins import tuple as traced_tuple
from autograd.misc.fixed_points import fixed_point
from autograd.scipy.integrate import odeint
from autograd.scipy.signal import convolve
from autograd.scipy.special import logsumexp
from case_functions import squared_exponential
from scipy.special import expit


# Compared by identity: comparing the arrays inside would have no single truth value.
@dataclass(frozen=True, eq=False)
class Model:
    """A function fun(tree) -> scalar and a tree x of floats.

    tolerance : how far, relative to its norm, a Hessian product may be from a linear function of
        its vector: more than rounding where an adaptive method computes it
    """

    name: str
    fun: Callable[[Any], Any]
    x: Any
    tolerance: float = 1e-12


def cross_entropy(scores, classes):
    """Mean over the rows of scores of shape (rows, classes)."""
    chosen = scores[anp.arange(len(classes)), classes]
    return anp.mean(logsumexp(scores, axis=1) - chosen)


def sigmoid(z):
    return 0.5 * (1.0 + anp.tanh(0.5 * z))


# Networks


def softmax_network() -> Model:
    rng = np.random.default_rng(1)
    inputs, classes = rng.standard_normal((40, 6)), rng.integers(0, 3, 40)
    sizes = (6, 8, 7, 3)

    def fun(p):
        hidden = anp.tanh(anp.dot(inputs, p["W1"]) + p["b1"])
        hidden = anp.tanh(anp.dot(hidden, p["W2"]) + p["b2"])
        log_p = anp.dot(hidden, p["W3"]) + p["b3"]
        log_p = log_p - logsumexp(log_p, axis=1, keepdims=True)
        l2 = sum(anp.sum(leaf**2) for leaf in p.values())
        return -anp.mean(log_p[anp.arange(len(classes)), classes]) + 1e-3 * l2

    x = {f"W{i}": rng.standard_normal(sizes[i - 1 : i + 1]) / 2 for i in (1, 2, 3)}
    return Model("softmax-network", fun, x | {f"b{i}": np.zeros(sizes[i]) for i in (1, 2, 3)})


def convolved(images, filters):
    """Images (b, 10, 10) with filters (3, 3, 3) -> (b, 3, 8, 8)."""
    return convolve(images, filters, axes=([1, 2], [1, 2]), mode="valid")


def convolved_by_slices(images, filters):
    patches = [images[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    taps = anp.reshape(filters[:, ::-1, ::-1], (3, 9))
    return anp.einsum("tbij,kt->bkij", anp.stack(patches), taps)


def convolutional_network(name, convolution, pooling) -> Model:
    rng = np.random.default_rng(2)
    images, classes = rng.standard_normal((8, 10, 10)), rng.integers(0, 4, 8)

    def fun(p):
        features = anp.tanh(convolution(images, p["filters"]) + p["offset"][:, None, None])
        pooled = pooling(anp.reshape(features, (8, 3, 4, 2, 4, 2)), axis=(3, 5))
        scores = anp.dot(anp.reshape(pooled, (8, -1)), p["dense"]) + p["bias"]
        return cross_entropy(scores, classes)

    x = {
        "filters": 0.5 * rng.standard_normal((3, 3, 3)),
        "offset": 0.1 * rng.standard_normal(3),
        "dense": 0.2 * rng.standard_normal((48, 4)),
        "bias": np.zeros(4),
    }
    return Model(name, fun, x)


def lstm() -> Model:
    rng = np.random.default_rng(3)
    steps, batch, inputs, units = 20, 6, 3, 5
    sequences = rng.standard_normal((steps, batch, inputs))
    targets = np.cumsum(sequences[:, :, 0], axis=0) / np.sqrt(steps)

    def fun(p):
        hidden, cell = anp.zeros((batch, units)), anp.zeros((batch, units))
        loss = 0.0
        for entries, target in zip(sequences, targets, strict=True):
            joined = anp.concatenate([entries, hidden], axis=1)
            z = anp.dot(joined, p["gates"]["weights"]) + p["gates"]["bias"]
            kept, written, shown = (sigmoid(z[:, i * units : (i + 1) * units]) for i in range(3))
            cell = kept * cell + written * anp.tanh(z[:, 3 * units :])
            hidden = shown * anp.tanh(cell)
            loss = loss + anp.mean((anp.dot(hidden, p["readout"]) - target) ** 2)
        return loss / steps

    gates = {
        "weights": 0.5 * rng.standard_normal((inputs + units, 4 * units)),
        "bias": np.repeat([1.0, 0.0, 0.0, 0.0], units),
    }
    return Model("lstm", fun, {"gates": gates, "readout": rng.standard_normal(units)})


# Statistics


def gaussian_process(name, evidence) -> Model:
    rng = np.random.default_rng(4)
    points = rng.uniform(-3.0, 3.0, (30, 1))
    targets = np.sin(2.0 * points[:, 0]) + 0.1 * rng.standard_normal(30)

    def fun(x):
        return evidence(squared_exponential(x, points), targets)

    x = {"log_lengthscales": np.array([-0.2]), "log_amplitude": 0.3, "log_noise": -3.0}
    return Model(name, fun, x)


def evidence_by_solve(covariance, targets):
    factor = anp.linalg.cholesky(covariance)
    solution = anp.linalg.solve(covariance, targets)
    return 0.5 * anp.dot(targets, solution) + anp.sum(anp.log(anp.diag(factor)))


def evidence_by_triangular_solve(covariance, targets):
    factor = anp.linalg.cholesky(covariance)
    whitened = asl.solve_triangular(factor, targets, lower=True)
    return 0.5 * (anp.dot(whitened, whitened) + anp.linalg.slogdet(covariance)[1])


def gaussian_mixture() -> Model:
    """The precision of each component is L Lᵀ, with the logarithm of L's diagonal."""
    rng = np.random.default_rng(5)
    components, d = 3, 3
    centres = rng.normal(scale=2.0, size=(components, d))
    data = centres[rng.integers(0, components, 80)] + rng.standard_normal((80, d))
    below = np.tril_indices(d, -1)
    diagonal_entry = np.array([np.diag(unit) for unit in np.eye(d)])
    entry_below = np.zeros((len(below[0]), d, d))
    entry_below[np.arange(len(below[0])), below[0], below[1]] = 1.0

    def fun(x):
        weights = x["logits"] - logsumexp(x["logits"])
        factors = anp.einsum("ka,aij->kij", anp.exp(x["log_diagonals"]), diagonal_entry)
        factors = factors + anp.einsum("ka,aij->kij", x["below"], entry_below)
        whitened = anp.einsum("mki,kij->mkj", data[:, None] - x["means"], factors)
        log_density = anp.sum(x["log_diagonals"], axis=1) - 0.5 * anp.sum(whitened**2, axis=2)
        return -anp.mean(logsumexp(weights + log_density, axis=1))

    x = {
        "logits": rng.standard_normal(components),
        "means": centres + 0.3 * rng.standard_normal((components, d)),
        "log_diagonals": 0.2 * rng.standard_normal((components, d)),
        "below": 0.2 * rng.standard_normal((components, len(below[0]))),
    }
    return Model("gaussian-mixture", fun, x)


def matrix_factorisation() -> Model:
    rng = np.random.default_rng(6)
    ratings, seen = rng.standard_normal((12, 9)), rng.uniform(size=(12, 9)) < 0.6

    def fun(x):
        U, V = x
        residual = seen * (anp.einsum("ik,jk->ij", U, V) - ratings)
        return 0.5 * anp.sum(residual**2) + 0.05 * (anp.sum(U**2) + anp.sum(V**2))

    return Model(
        "matrix-factorisation", fun, (rng.standard_normal((12, 3)), rng.standard_normal((9, 3)))
    )


def embedding(name, loss, mean) -> Model:
    """A generalised linear model whose rows look up a vector each, many the same one."""
    rng = np.random.default_rng(7)
    groups, features = rng.integers(0, 10, 60), rng.standard_normal((60, 4))
    x = {
        "table": 0.3 * rng.standard_normal((10, 4)),
        "slopes": 0.3 * rng.standard_normal(4),
        "intercept": 0.2,
    }

    def scores(x):
        rows = x["table"][groups] + x["slopes"]
        return anp.sum(rows * features, axis=1) + x["intercept"]

    counts = rng.poisson(mean(scores(x)))

    def fun(x):
        return anp.sum(loss(scores(x), counts)) + 0.5 * anp.sum(x["table"] ** 2)

    return Model(name, fun, x)


# Differential equations and equations


def prey_and_predator(state, t, growth, interaction):
    """The slope of (prey, predator), shape (2,), as scipy.integrate.odeint asks for it."""
    return state * (growth + interaction * state[::-1])


RATES = {"growth": np.array([1.0, -1.2]), "interaction": np.array([-0.6, 0.5])}
START = np.array([1.0, 0.8])


def runge_kutta(t, growth, interaction):
    """The states of shape (len(t), 2) by the classical method of fourth order."""

    def slope(state):
        return prey_and_predator(state, None, growth, interaction)

    states = [START]
    for h in np.diff(t):
        state = states[-1]
        k1 = slope(state)
        k2 = slope(state + 0.5 * h * k1)
        k3 = slope(state + 0.5 * h * k2)
        k4 = slope(state + h * k3)
        states.append(state + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4))
    return anp.stack(states)


def adaptive(t, growth, interaction):
    # A plain tuple would hide the rates from autograd: this one is a primitive.
    rates = traced_tuple((growth, interaction))
    return odeint(prey_and_predator, START, t, rates, rtol=1e-10, atol=1e-10)


def population_fit(name, integrate, t, tolerance=1e-12) -> Model:
    rng = np.random.default_rng(8)
    x = {key: rate * rng.uniform(0.9, 1.1, 2) for key, rate in RATES.items()}
    observed = integrate(t, **RATES) * rng.normal(1.0, 0.05, (len(t), 2))

    def fun(x):
        return 0.5 * anp.mean((integrate(t, x["growth"], x["interaction"]) - observed) ** 2)

    return Model(name, fun, x, tolerance)


def equilibrium() -> Model:
    """A network whose state is the solution z of z = tanh(W z + inputs + b)."""
    rng = np.random.default_rng(9)
    inputs, targets = rng.standard_normal((7, 5)), rng.standard_normal(7)

    def layer(cell):
        return lambda z: anp.tanh(anp.dot(z, cell["weights"]) + inputs + cell["bias"])

    def change(z, previous):
        # Relative, since the derivatives iterate on vectors of any scale, zero among them.
        return anp.linalg.norm(z - previous) / (anp.linalg.norm(z) + 1e-300)

    def fun(x):
        z = fixed_point(layer, x["cell"], anp.zeros_like(inputs), change, 1e-13)
        return anp.mean((anp.dot(z, x["readout"]) - targets) ** 2)

    cell = {"weights": 0.2 * rng.standard_normal((5, 5)), "bias": 0.1 * rng.standard_normal(5)}
    return Model("equilibrium", fun, {"cell": cell, "readout": rng.standard_normal(5)}, 1e-11)


MODELS: tuple[Model, ...] = (
    softmax_network(),
    convolutional_network("convolutional-network", convolved, anp.max),
    convolutional_network("convolutional-network-by-slices", convolved_by_slices, anp.mean),
    lstm(),
    gaussian_process("gaussian-process", evidence_by_solve),
    gaussian_process("gaussian-process-by-triangular-solve", evidence_by_triangular_solve),
    gaussian_mixture(),
    matrix_factorisation(),
    embedding("poisson-embedding", lambda z, count: anp.exp(z) - count * z, np.exp),
    embedding(
        "logistic-embedding", lambda z, count: anp.logaddexp(0.0, z) - (count > 0) * z, expit
    ),
    population_fit("runge-kutta-fit", runge_kutta, np.linspace(0.0, 10.0, 201)),
    population_fit("odeint-fit", adaptive, np.linspace(0.0, 4.0, 6), 1e-7),
    equilibrium(),
)
