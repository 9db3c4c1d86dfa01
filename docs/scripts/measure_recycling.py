"""Products that recycling saves: the table of docs/how-to/solve-linear-systems.md.

Influence on a softmax regression and on a small network, both for the digits of scikit-learn: each
right-hand side is the gradient of one example.
"""

import autograd.numpy as np
from sklearn.datasets import load_digits

from hessop import hessian_operator, likelihoods, minimize
from hessop.solvers.inverse_products import inverse_operator

softmax = likelihoods.Categorical()


def regression(p, X):
    return X @ p["W"] + p["b"]


def network(p, X):
    return np.tanh(X @ p["W"] + p["b"]) @ p["V"] + p["c"]


def loss(p, X, y, model, penalty):
    squares = sum(np.sum(p[name] ** 2) for name in ("W", "V") if name in p)
    return softmax.nll(model(p, X), y) / len(y) + 0.5 * penalty * squares


def products(H, vectors, **options):
    """The products with H that each vector takes."""
    H_inv, spent = inverse_operator(H, **options), [0]
    for v in vectors:
        H_inv @ v
        spent.append(H_inv.statistics.n_matvec)
    return np.diff(spent)


def main():
    X, y = load_digits(return_X_y=True)
    X, rng = X / 16.0, np.random.default_rng(0)
    linear = {"W": np.zeros((64, 10)), "b": np.zeros(10)}
    hidden = {
        "W": rng.standard_normal((64, 16)) / 8,
        "b": np.zeros(16),
        "V": rng.standard_normal((16, 10)) / 4,
        "c": np.zeros(10),
    }
    for model, start, penalty in ((regression, linear, 1e-4), (network, hidden, 1e-3)):
        fit = minimize(loss, start, args=(X, y, model, penalty), method="trust-krylov")
        H = hessian_operator(loss, fit.params, args=(X, y, model, penalty)).compile()
        gradients = [
            hessian_operator(
                loss, fit.params, args=(X[i : i + 1], y[i : i + 1], model, penalty)
            ).gradient
            for i in range(8)
        ]
        for damping in (1e-3, 1e-4, 1e-5):
            for recycle in (False, 10, 20):
                spent = products(H, gradients, damping=damping, recycle=recycle)
                print(model.__name__, H.shape[0], damping, recycle, spent)


if __name__ == "__main__":
    main()
