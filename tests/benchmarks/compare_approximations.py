"""Gauss-Newton, Fisher, KFAC and diagonals: hessop beside loops by hand, JAX and curvlinops.

    python tests/benchmarks/compare_approximations.py [--repeat 15] [--only 256]

A Gauss-Newton product is to take at most 0.8 of one with the exact Hessian, and at most 1.15 of one
written by hand.

All contestants of a row take turns in one run, medians are compared, and all have to agree before
they are timed. JAX takes part where it is installed, curvlinops where it and torch are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import grad
from softmax_networks import NETWORKS, Network
from timing import agree, medians, report

from hessop import (
    backprop_diagonal,
    fisher_operator,
    gauss_newton_operator,
    hessian_operator,
    kfac_operator,
    likelihoods,
)

Product = Callable[[np.ndarray], np.ndarray]
CLASSES = likelihoods.Categorical()


def compare(network: Network, repeat: int) -> None:
    """Print all timings of a network."""
    model, loss, x = network.model(anp), network.loss(anp), network.x
    _, y = network.data
    few = max(3, repeat // 5)
    torch = _curvlinops(network)
    G = gauss_newton_operator(model, loss, x).compile()
    H = hessian_operator(lambda p: loss(model(p)), x).compile()
    v = np.random.default_rng(2).standard_normal(G.shape[0])
    print(f"\n{network.name}  (n = {v.size:,})")

    products: dict[str, Product] = {"hessop": G.__matmul__}
    products["by hand"] = network.gauss_newton_product()
    products |= _jax(network) | torch.get("Gauss-Newton", {})
    for name, product in products.items():
        agree(name, product(v), G @ v)
    calls = {"hessop, exact Hessian": partial(H.__matmul__, v)}
    calls |= {name: partial(product, v) for name, product in products.items()}
    report("Gauss-Newton product", medians(calls, repeat))

    E = fisher_operator(model, CLASSES, x, kind="empirical", targets=y).compile()
    rows = network.gradients_by_a_loop()
    agree("gradients", E.gradients(), rows)
    products = {"hessop": E.__matmul__, "stored gradients": lambda v: rows.T @ (rows @ v)}
    products |= torch.get("empirical Fisher", {})
    for name, product in products.items():
        agree(name, product(v), E @ v)
    calls = {name: partial(product, v) for name, product in products.items()}
    report("empirical Fisher product", medians(calls, repeat))
    report(
        "gradients of all examples",
        medians({"hessop": E.gradients, "a loop": network.gradients_by_a_loop}, few),
    )

    def kfac() -> Any:
        return kfac_operator(model, CLASSES, x)

    for block, (A, B) in zip(kfac().blocks, network.kfac_by_a_loop(), strict=True):
        agree("KFAC", block.to_dense(), np.kron(A, B)) if A.size * B.size < 1e6 else None
    contestants = {"hessop": kfac, "a loop": network.kfac_by_a_loop}
    report("KFAC", medians(contestants | torch.get("KFAC", {}), few))

    def diagonal() -> np.ndarray:
        return fisher_operator(model, CLASSES, x).diagonal()

    agree("diagonal", diagonal(), network.diagonal_by_a_loop())
    report(
        "Fisher diagonal",
        medians({"hessop": diagonal, "a loop": network.diagonal_by_a_loop}, few),
    )

    def fun(p: Any) -> Any:
        return CLASSES.nll(model(p), y)

    contestants = {
        "autograd's gradient": lambda: grad(fun)(x),
        "hessop": lambda: backprop_diagonal(fun, x),
    }
    report("back-propagated diagonal", medians(contestants, repeat))


def _jax(network: Network) -> dict[str, Product]:
    """JAX's Gauss-Newton product, compiled; NumPy in and out."""
    try:
        import jax
    except ImportError:
        return {}
    from jax.flatten_util import ravel_pytree

    jax.config.update("jax_enable_x64", True)
    x, unravel = ravel_pytree(network.x)
    model, loss = network.model(jax.numpy), network.loss(jax.numpy)
    outputs, forward = jax.linearize(lambda x: model(unravel(x)), x)
    _, backward = jax.vjp(lambda x: model(unravel(x)), x)
    _, inside = jax.linearize(jax.grad(loss), outputs)
    product = jax.jit(lambda v: backward(inside(forward(v)))[0])
    return {"JAX": lambda v: np.asarray(product(v))}


def _curvlinops(network: Network) -> dict[str, dict[str, Any]]:
    """What curvlinops has of the same network, in the same order of parameters."""
    try:
        import torch
        from curvlinops import EFLinearOperator, GGNLinearOperator, KFACLinearOperator
    except ImportError:
        return {}
    torch.set_default_dtype(torch.float64)
    X, y = map(torch.from_numpy, network.data)
    layers: list[Any] = []
    for i, (m, n) in enumerate(zip(network.sizes, network.sizes[1:], strict=False), 1):
        linear = torch.nn.Linear(m, n)
        linear.weight.data = torch.from_numpy(network.x[f"W{i}"].T.copy())
        linear.bias.data = torch.from_numpy(network.x[f"b{i}"].copy())
        layers += [linear, torch.nn.Tanh()]
    module = torch.nn.Sequential(*layers[:-1])
    linears = [layer for layer in module if isinstance(layer, torch.nn.Linear)]
    parameters = [layer.weight for layer in linears] + [layer.bias for layer in linears]
    problem = (module, torch.nn.CrossEntropyLoss(reduction="sum"), parameters, [(X, y)])
    # A weight of torch is the transpose of ours.
    start, order = 0, []
    for parameter in parameters:
        places = start + np.arange(parameter.numel()).reshape(parameter.shape)
        order.append(places.T.ravel())
        start += parameter.numel()
    to_torch = np.argsort(np.concatenate(order))

    def ours(operator: Any) -> Product:
        def product(v: np.ndarray) -> np.ndarray:
            result = operator @ torch.from_numpy(v[to_torch])
            return np.asarray(result.detach().numpy())[np.concatenate(order)]

        return product

    def kfac() -> Any:
        operator = KFACLinearOperator(
            *problem,
            fisher_type="type-2",
            kfac_approx="expand",
            separate_weight_and_bias=False,
            check_deterministic=False,
        )
        operator.compute_kronecker_factors()
        return operator

    G = GGNLinearOperator(*problem, check_deterministic=False)
    E = EFLinearOperator(*problem, check_deterministic=False)
    return {
        "Gauss-Newton": {"curvlinops": ours(G)},
        "empirical Fisher": {"curvlinops": ours(E)},
        "KFAC": {"curvlinops": kfac},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=15, help="turns of each contestant")
    parser.add_argument("--only", nargs="+", default=[""], help="parts of names of networks")
    options = parser.parse_args()
    print("medians; in brackets, relative to the first of the row")
    for network in NETWORKS:
        if any(part in network.name for part in options.only):
            compare(network, options.repeat)


if __name__ == "__main__":
    main()
