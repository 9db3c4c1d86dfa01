"""Trace, largest eigenvalues and density of the digits network, at equal accuracy.

    python tests/benchmarks/compare_spectra.py [--repeat 5]

The Hessian is that of examples/network_spectrum.py, 4,650 parameters. hessop stands beside loops
over single products, with the algorithms of PyHessian (Yao, Gholami, Keutzer and Mahoney 2020):
Hutchinson's estimator, power iteration with deflation, and Lanczos' process for one probe after the
other. The loops run with the products that autograd gives, with those of hessop, and with those of
PyTorch where it is installed; so does curvlinops, with what it has for each task.

Accuracy is measured by the whole matrix: of a trace by the root mean square error over many seeds,
of eigenvalues by the largest error, of a density by the Wasserstein distance to the eigenvalues,
relative to the largest eigenvalue. Each contestant gets the budget with which it is as accurate as
hessop, and what it cannot reach is said. Times are medians, the contestants taking turns.
"""

from __future__ import annotations

import argparse
import math
import runpy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
from autograd import make_hvp
from autograd.misc.flatten import flatten
from scipy.sparse.linalg import LinearOperator, eigsh
from scipy.stats import wasserstein_distance

from hessop import DenseOperator, extreme_eigenpairs, hessian_operator, spectral_density, trace

EXAMPLE = Path(__file__).parents[2] / "examples" / "network_spectrum.py"
PAIRS, PROBES, STEPS, RTOL = 10, 4, 60, 0.02
#: Products after which power iteration is given up.
GIVE_UP = 3000

Product = Callable[[np.ndarray], np.ndarray]


@dataclass
class Task:
    """What contestants do, and how wrong the result is."""

    name: str
    contestants: dict[str, Callable[[], tuple[Any, int]]]
    error: Callable[[Any], float]


# --- the algorithms of PyHessian, over single products --------------------------------------------


def hutchinson_loop(product: Product, n: int, count: int, rng: Any) -> float:
    samples = []
    for _ in range(count):
        z = rng.choice([-1.0, 1.0], n)
        samples.append(z @ product(z))
    return float(np.mean(samples))


def power_iteration_loop(
    product: Product, n: int, k: int, tol: float, rng: Any
) -> tuple[np.ndarray, int]:
    """Each eigenvalue until it changes by less than tol; the vectors found are projected out."""
    values: list[float] = []
    vectors = np.zeros((0, n))
    spent = 0
    for _ in range(k):
        v = rng.standard_normal(n)
        value = math.inf
        while True:
            v -= vectors.T @ (vectors @ v)
            v /= np.linalg.norm(v)
            w = product(v)
            spent += 1
            before, value = value, float(v @ w)
            if abs(value - before) < tol * abs(value) or spent >= GIVE_UP:
                break
            v = w
        values.append(value)
        vectors = np.vstack([vectors, v])
    return np.array(values), spent


def density_loop(
    product: Product, n: int, probes: int, steps: int, rng: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Ritz values and weights: Lanczos' process with full reorthogonalisation for each probe."""
    nodes, weights = [], []
    for _ in range(probes):
        v = rng.choice([-1.0, 1.0], n)
        basis = [v / np.linalg.norm(v)]
        diagonal, beside = [], []
        for _ in range(steps):
            w = product(basis[-1])
            diagonal.append(basis[-1] @ w)
            for u in basis:
                w = w - (u @ w) * u
            beside.append(np.linalg.norm(w))
            basis.append(w / beside[-1])
        values, vectors = scipy.linalg.eigh_tridiagonal(diagonal, beside[:-1])
        nodes.append(values)
        weights.append(vectors[0] ** 2 / probes)
    return np.concatenate(nodes), np.concatenate(weights)


# --- the network ----------------------------------------------------------------------------------


def trained() -> tuple[Any, Any, Any]:
    """The loss of the data, its parameters, and the operator."""
    example = runpy.run_path(str(EXAMPLE))
    images, targets, labels = example["read_digits"](0.1)
    params, _ = example["train"](images, targets, labels, False)

    def loss(params: Any) -> Any:
        return example["cross_entropy"](example["scores"](params, images), targets)

    torch = _torch(params, images, targets)
    return loss, params, torch


def _torch(params: Any, images: np.ndarray, targets: np.ndarray) -> Any:
    """The same network in PyTorch: a product by two back-propagations, and curvlinops' operator."""
    try:
        import torch
        from curvlinops import HessianLinearOperator
    except ImportError:
        return None
    torch.set_default_dtype(torch.float64)

    class Softplus(torch.nn.Module):
        def forward(self, z: Any) -> Any:
            return torch.nn.functional.softplus(4.0 * z) / 4.0

    layers: list[Any] = []
    for layer in params.values():
        linear = torch.nn.Linear(*layer["W"].shape)
        linear.weight.data = torch.from_numpy(layer["W"].T.copy())
        linear.bias.data = torch.from_numpy(layer["b"].copy())
        layers += [linear, Softplus()]
    module = torch.nn.Sequential(*layers[:-1])
    parameters = list(module.parameters())
    X, T = torch.from_numpy(images), torch.from_numpy(targets)
    loss_function = torch.nn.CrossEntropyLoss()
    loss = loss_function(module(X), T)
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    sizes = [p.numel() for p in parameters]

    def product(v: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(v).split(sizes)
        shaped = [part.reshape(p.shape) for part, p in zip(parts, parameters, strict=True)]
        Hv = torch.autograd.grad(gradient, parameters, grad_outputs=shaped, retain_graph=True)
        return torch.cat([part.reshape(-1) for part in Hv]).numpy()

    operator = HessianLinearOperator(
        module, loss_function, parameters, [(X, T)], check_deterministic=False
    )
    return product, operator


# --- the tasks ------------------------------------------------------------------------------------


def rms(errors: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


def traces(H: Any, dense: np.ndarray, loops: dict[str, Product], curvlinops: Any) -> Task:
    true = float(np.trace(dense))
    n = len(dense)
    cheap = DenseOperator(dense)
    sampled = [trace(cheap, method="xtrace", rtol=RTOL, rng=seed) for seed in range(50)]
    ours = rms([float(one) / true - 1.0 for one in sampled])
    budget = int(np.median([one.n_matvec for one in sampled]))
    # Var z'Az = 2 (||A||² - Σ a_ii²) for random signs.
    variance = 2.0 * (np.sum(dense**2) - np.sum(np.diag(dense) ** 2)) / true**2
    count = math.ceil(variance / ours**2)
    print(f"\ntrace to a root mean square error of {ours:.2%}, which rtol={RTOL} gives")
    contestants: dict[str, Any] = {
        "hessop, trace(H, rtol)": lambda: _cost(trace(H, method="xtrace", rtol=RTOL, rng=0)),
        **{
            f"loop, {name}": lambda product=product: (
                hutchinson_loop(product, n, count, np.random.default_rng(0)),
                count,
            )
            for name, product in loops.items()
        },
    }
    if curvlinops is not None:
        import torch
        from curvlinops import xtrace

        def by_curvlinops() -> tuple[float, int]:
            torch.manual_seed(0)
            return float(xtrace(curvlinops, budget)), budget

        contestants["curvlinops, xtrace"] = by_curvlinops
    return Task("trace", contestants, lambda value: abs(float(value) / true - 1.0))


def _cost(result: Any) -> tuple[Any, int]:
    return result, result.n_matvec


def eigenvalues(H: Any, dense: np.ndarray, loops: dict[str, Product], curvlinops: Any) -> Task:
    n = len(dense)
    true = scipy.linalg.eigvalsh(dense, subset_by_index=(n - PAIRS, n - 1))
    print(f"\nthe {PAIRS} largest eigenvalues, to a relative accuracy of 1e-4 (largest error)")

    def ours() -> tuple[np.ndarray, int]:
        pairs = extreme_eigenpairs(H, PAIRS, which="LA", rtol=1e-3, rng=0)
        return pairs.eigenvalues, pairs.n_matvec

    def loop(product: Product) -> tuple[np.ndarray, int]:
        # Changes that are this small have left errors of 1e-4 at the end.
        values, spent = power_iteration_loop(product, n, PAIRS, 1e-6, np.random.default_rng(0))
        return np.sort(values), spent

    contestants: dict[str, Any] = {"hessop, extreme_eigenpairs": ours}
    contestants |= {
        f"loop, {name}": lambda product=product: loop(product) for name, product in loops.items()
    }
    if curvlinops is not None:

        def by_curvlinops() -> tuple[np.ndarray, int]:
            spent = 0
            operator = curvlinops.to_scipy()

            def counted(v: np.ndarray) -> np.ndarray:
                nonlocal spent
                spent += 1
                return operator @ v

            A = LinearOperator((n, n), matvec=counted, dtype=float)
            v0 = np.random.default_rng(0).standard_normal(n)
            found = eigsh(A, PAIRS, which="LA", tol=1e-3, v0=v0, return_eigenvectors=False)
            return np.sort(found), spent

        contestants["curvlinops and eigsh"] = by_curvlinops
    return Task("eigenvalues", contestants, lambda found: float(np.abs(found / true - 1).max()))


def densities(H: Any, dense: np.ndarray, loops: dict[str, Product], curvlinops: Any) -> Task:
    n = len(dense)
    values = scipy.linalg.eigvalsh(dense)
    print(f"\ndensity from {PROBES} probes and {STEPS} steps (Wasserstein distance / largest)")

    def ours() -> tuple[Any, int]:
        found = spectral_density(H, n_probes=PROBES, degree=STEPS, rng=0)
        return (found.nodes.ravel(), found.weights.ravel()), found.n_matvec

    contestants: dict[str, Any] = {"hessop, spectral_density": ours}
    contestants |= {
        f"loop, {name}": lambda product=product: (
            density_loop(product, n, PROBES, STEPS, np.random.default_rng(0)),
            PROBES * STEPS,
        )
        for name, product in loops.items()
    }
    if curvlinops is not None:
        from curvlinops import lanczos_approximate_spectrum

        bounds = (float(values[0]), float(values[-1]))

        def by_curvlinops() -> tuple[Any, int]:
            grid, density = lanczos_approximate_spectrum(
                curvlinops, STEPS, num_repeats=PROBES, boundaries=bounds
            )
            grid, density = np.asarray(grid), np.asarray(density)
            return (grid, density / density.sum()), PROBES * STEPS

        contestants["curvlinops, Lanczos"] = by_curvlinops

    def distance(found: Any) -> float:
        nodes, weights = found
        apart = wasserstein_distance(values, nodes, v_weights=np.maximum(weights, 0.0))
        return float(apart / values[-1])

    return Task("density", contestants, distance)


def compare(task: Task, repeat: int) -> None:
    """Print errors, products and times; in brackets, relative to the first."""
    found = {name: call() for name, call in task.contestants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in task.contestants}
    for _ in range(repeat):
        for name, call in task.contestants.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    first = float(np.median(next(iter(seconds.values()))))
    for name, (result, products) in found.items():
        median = float(np.median(seconds[name]))
        reached = "  given up" if products >= GIVE_UP else ""
        print(
            f"  {name:32} error {task.error(result):8.1e}  {products:5d} products  "
            f"{median:8.3f} s ({median / first:.1f}){reached}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5, help="turns of each contestant")
    options = parser.parse_args()
    loss, params, torch = trained()
    x, unflatten = flatten(params)
    H = hessian_operator(loss, params).compile()
    dense = H.to_dense(symmetrize=True)
    loops: dict[str, Product] = {
        "autograd's product": make_hvp(lambda x: loss(unflatten(x)))(x)[0],
        "hessop's product": H.__matmul__,
    }
    if torch is not None:
        loops["PyTorch's product"] = torch[0]
    curvlinops = None if torch is None else torch[1]
    for make in (traces, eigenvalues, densities):
        compare(make(H, dense, loops, curvlinops), options.repeat)


if __name__ == "__main__":
    main()
