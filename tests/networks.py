"""Small networks and loops with many outputs, and their matrices by autograd's own jacobian.

Parameters are dicts, or other trees; data come as arguments. The dense matrices are the other route
of the tests: nothing of hessop is used for them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import hessian, jacobian
from autograd.scipy.special import logsumexp

from hessop.likelihoods import Likelihood

REFERENCES = Path(__file__).parent / "references"


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def layers(seed, *sizes):
    """W1, b1, W2, b2, ... with W of shape (in, out)."""
    rng = np.random.default_rng(seed)
    p = {}
    for k, (fan_in, fan_out) in enumerate(pairwise(sizes), start=1):
        p[f"W{k}"] = rng.standard_normal((fan_in, fan_out)) / np.sqrt(fan_in)
        p[f"b{k}"] = rng.standard_normal(fan_out) / 2
    return p


def network(p, X):
    """Tanh layers, the last one linear; X may have any number of axes before its last."""
    depth = len(p) // 2
    for k in range(1, depth + 1):
        X = anp.dot(X, p[f"W{k}"]) + p[f"b{k}"]
        if k < depth:
            X = anp.tanh(X)
    return X


def mean_network(p, X):
    """Of positions, where there are any, the mean: the network of curvlinops' figures."""
    z = network(p, X)
    return anp.mean(z, axis=1) if z.ndim == 3 else z


def cross_entropy(z, classes):
    """Summed over everything but the last axis, which has the classes."""
    chosen = classes[..., None] == np.arange(z.shape[-1])
    return anp.sum(logsumexp(z, axis=-1)) - anp.sum(z * chosen)


class MeanAndSpread(Likelihood):
    """Normal targets; the last axis of the outputs has a mean and the logarithm of a spread."""

    event_dims = 1

    def nll(self, outputs, targets):
        mean, log_spread = outputs[..., 0], outputs[..., 1]
        z = (targets - mean) * anp.exp(-log_spread)
        return anp.sum(0.5 * z**2 + log_spread + 0.5 * np.log(2.0 * np.pi))

    def sample(self, outputs, rng):
        return rng.normal(outputs[..., 0], np.exp(outputs[..., 1]))

    def _fisher(self, outputs):
        precisions = np.exp(-2.0 * outputs[..., 1])
        return np.stack([precisions, np.full_like(precisions, 2.0)], axis=-1)

    def fisher_product(self, outputs, v):
        return self._fisher(outputs) * v

    def fisher_roots(self, outputs):
        one = np.eye(2).reshape(2, *[1] * (outputs.ndim - 1), 2)
        return one * np.sqrt(self._fisher(outputs))


# --- figures of other packages --------------------------------------------------------------------


class Curvlinops:
    """A problem of curvlinops' figures, for `mean_network`."""

    def __init__(self, problem):
        self._figures = np.load(REFERENCES / "curvlinops_figures.npz")
        self._problem = problem
        self.X = self._figures[f"{problem}/X"]
        self.targets = self._figures[f"{problem}/targets"]
        keys = [key.split("/")[1] for key in self._figures if key.startswith(f"{problem}/")]
        self.p = {key: self._figures[f"{problem}/{key}"] for key in keys if key[0] in "Wb"}

    def __getitem__(self, name):
        scale = self._figures.get(f"{self._problem}/scale/{name}", 1.0)
        return self._figures[f"{self._problem}/{name}"] / scale


CURVLINOPS = ("softmax", "squared", "deep", "shared")


# --- dense matrices -------------------------------------------------------------------------------


def leaves(tree):
    """The leaves of a nest of dicts, lists and tuples, keys sorted."""
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    if isinstance(tree, list | tuple):
        return [leaf for child in tree for leaf in leaves(child)]
    return [tree]


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in leaves(tree)])


def joined(tree):
    """The same for values that autograd traces."""
    return anp.concatenate([anp.reshape(leaf, (-1,)) for leaf in leaves(tree)])


def nested(tree, v):
    """A flat vector, nested and shaped like a tree."""
    found, rest = _nested(tree, v)
    assert rest.size == 0
    return found


def _nested(tree, v):
    if isinstance(tree, dict):
        made = {}
        for key in sorted(tree):
            made[key], v = _nested(tree[key], v)
        return made, v
    if isinstance(tree, list | tuple):
        children = []
        for child in tree:
            made, v = _nested(child, v)
            children.append(made)
        return type(tree)(children), v
    size = np.size(tree)
    return anp.reshape(v[:size], np.shape(tree)), v[size:]


def dense_jacobian(model, x, args=()):
    """Shape (m, n), outputs and parameters flat."""
    return jacobian(lambda v: joined(model(nested(x, v), *args)))(flat(x))


def dense_hessian(fun, x):
    """Shape (n, n), of a scalar function of a tree."""
    return hessian(lambda v: fun(nested(x, v)))(flat(x))


def dense_gauss_newton(model, loss, x, args=()):
    J = dense_jacobian(model, x, args)
    return J.T @ dense_hessian(loss, model(x, *args)) @ J


# --- models ---------------------------------------------------------------------------------------


# Compared by identity: comparing the arrays inside would have no single truth value.
@dataclass(frozen=True, eq=False)
class ManyOutputs:
    """A model(x, *args) -> array of any shape, and a point x."""

    name: str
    model: Callable[..., Any]
    x: Any
    args: tuple[Any, ...] = ()


def lstm(p, sequences):
    """Sequences (steps, batch, d) -> hidden states of shape (batch, steps, units)."""
    units = len(p["b"]) // 4
    hidden = cell = anp.zeros((sequences.shape[1], units))
    states = []
    for entries in sequences:
        z = anp.concatenate([entries, hidden], axis=1) @ p["W"] + p["b"]
        kept, written, shown = (anp.tanh(z[:, i * units : (i + 1) * units]) for i in range(3))
        cell = 0.5 * (1 + kept) * cell + written * anp.tanh(z[:, 3 * units :])
        hidden = shown * anp.tanh(cell)
        states.append(hidden)
    return anp.stack(states, axis=1)


def runge_kutta(x, t):
    """Prey and predators at the times t, shape (len(t), 2), by the classical method."""

    def slope(state):
        return state * (x["growth"] + x["interaction"] * state[::-1])

    states = [x["start"]]
    for h in np.diff(t):
        state = states[-1]
        k1 = slope(state)
        k2 = slope(state + 0.5 * h * k1)
        k3 = slope(state + 0.5 * h * k2)
        states.append(state + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + slope(state + h * k3)))
    return anp.stack(states)


def interpolated(x, points):
    """The mean of a Gaussian process at its points, given a squared exponential kernel."""
    distances = (points[:, None] - points) ** 2
    K = anp.exp(x[0] - 0.5 * distances * anp.exp(x[1]))
    return anp.dot(K, anp.linalg.solve(K + 0.3 * np.eye(len(points)), np.cos(points)))


def convolved(p, images):
    """Images (b, 5, 5) -> (b, 2, 4, 4)."""
    patches = [images[:, i : i + 4, j : j + 4] for i in range(2) for j in range(2)]
    taps = anp.reshape(p["filters"], (2, 4))
    return anp.tanh(anp.einsum("tbij,kt->bkij", anp.stack(patches), taps)) * p["gain"]


def looked_up(x, groups, features):
    """A vector from a table for each row, many the same one: shape (rows,)."""
    table, slopes, (intercept, scale) = x
    return scale * anp.sum((table[groups] + slopes) * features, axis=1) + intercept


def flat_network(x, X):
    """A network whose weights are cut out of one vector: (4, 3), (3,) and (3, 2)."""
    hidden = anp.tanh(X @ anp.reshape(x[:12], (4, 3)) + x[12:15])
    return hidden @ anp.reshape(x[15:], (2, 3)).T


def many_outputs() -> tuple[ManyOutputs, ...]:
    groups = np.random.default_rng(5).integers(0, 4, 9)
    table = (0.5 * normal(6, 4, 2), normal(7, 2), [0.2, 1.3])
    cell = {"W": 0.5 * normal(8, 4, 8), "b": 0.2 * normal(9, 8)}
    rates = {"start": [1.0, 0.8], "growth": [1.0, -1.2], "interaction": [-0.6, 0.5]}
    filters = {"filters": 0.5 * normal(11, 2, 2, 2), "gain": 1.4}
    return (
        ManyOutputs("network", network, layers(0, 4, 5, 3), (normal(1, 6, 4),)),
        ManyOutputs("deep-network", network, layers(2, 3, 3, 3, 2), (normal(3, 5, 3),)),
        ManyOutputs("positions", network, layers(4, 2, 3, 2), (normal(4, 3, 2, 2),)),
        ManyOutputs("lstm", lstm, cell, (normal(10, 3, 2, 2),)),
        ManyOutputs(
            "runge-kutta",
            runge_kutta,
            {key: np.array(rate) for key, rate in rates.items()},
            (np.linspace(0.0, 2.0, 6),),
        ),
        ManyOutputs("solve", interpolated, np.array([0.2, -0.4]), (np.linspace(-2, 2, 7),)),
        ManyOutputs("convolution", convolved, filters, (normal(12, 2, 5, 5),)),
        ManyOutputs("embedding", looked_up, table, (groups, normal(13, 9, 2))),
        ManyOutputs("flat-vector", flat_network, normal(14, 21), (normal(15, 5, 4),)),
        ManyOutputs("one-number", lambda x: anp.sum(anp.sin(x)) * x[0], normal(16, 4)),
        ManyOutputs("one-parameter", lambda x, t: anp.exp(-x * t), 0.7, (np.linspace(0, 2, 5),)),
    )
