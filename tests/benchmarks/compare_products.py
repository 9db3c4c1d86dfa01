"""Value, gradient and Hessian products: hessop beside autograd, NumPy by hand, and JAX.

    python tests/benchmarks/compare_products.py [--repeat 15]

All contestants of a row take turns in one run, and medians are compared, so that what else the
machine does meets them alike. Every product is compared with the others before it is timed. JAX
takes part where it is installed.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import make_hvp, value_and_grad
from workloads import Workload, workloads

from hessop import Objective, hessian_operator

Timed = Callable[[], Any]


def medians(contestants: dict[str, Timed], repeat: int) -> dict[str, float]:
    """Seconds a call, the contestants taking turns; short calls are repeated within a turn."""
    inner = {}
    for name, call in contestants.items():
        call()
        start = time.perf_counter()
        call()
        inner[name] = max(1, int(2e-3 / (time.perf_counter() - start)))
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeat):
        for name, call in contestants.items():
            start = time.perf_counter()
            for _ in range(inner[name]):
                call()
            seconds[name].append((time.perf_counter() - start) / inner[name])
    return {name: float(np.median(times)) for name, times in seconds.items()}


def compare(work: Workload, repeat: int) -> None:
    fun = work.of(anp)
    H = hessian_operator(fun, work.x)
    n = H.shape[0]
    rng = np.random.default_rng(0)
    v = rng.standard_normal(n)
    tree = H.unflatten(v)
    closure = make_hvp(fun)(work.x)[0]
    by_hand = work.by_hand
    if by_hand is not None:
        _agree(work.name, H @ v, by_hand(v))

    objective = Objective(fun, work.x)
    x0 = objective.x0
    shift = itertools.count(1)

    def elsewhere() -> np.ndarray:  # a new point each time, so that nothing is remembered
        x = x0.copy()
        x[0] += 1e-9 * next(shift)
        return x

    print(f"\n{work.name}  (n = {n:,})")
    _report(
        "value",
        medians(
            {
                "fun itself": lambda: fun(objective.unflatten(elsewhere())),
                "hessop": lambda: objective.fun(elsewhere()),
            },
            repeat,
        ),
    )
    _report(
        "value and gradient",
        medians(
            {
                "autograd": lambda: value_and_grad(fun)(objective.unflatten(elsewhere())),
                "hessop": lambda: objective.value_and_grad(elsewhere()),
            },
            repeat,
        ),
    )
    _report(
        "operator and one product",
        medians(
            {
                "autograd": lambda: make_hvp(fun)(work.x)[0](tree),
                "hessop": lambda: hessian_operator(fun, work.x) @ v,
            },
            repeat,
        ),
    )
    products: dict[str, Timed] = {"autograd": lambda: closure(tree)}
    if by_hand is not None:
        products["by hand"] = lambda: by_hand(v)
    products["hessop"] = lambda: H @ v
    jax_product = _jax_product(work, H) if work.jax else None
    if jax_product is not None:
        _agree("JAX", H @ v, jax_product(v))
        products["JAX"] = lambda: jax_product(v)
    _report("one product", medians(products, repeat))
    if work.columns:
        V = rng.standard_normal((n, work.columns))
        trees = [H.unflatten(column) for column in V.T]
        blocks: dict[str, Timed] = {"autograd": lambda: [closure(t) for t in trees]}
        if by_hand is not None:
            blocks["by hand"] = lambda: [by_hand(column) for column in V.T]
        blocks["hessop"] = lambda: H @ V
        _report(f"a block of {work.columns}", medians(blocks, max(3, repeat // 3)))


def _report(what: str, seconds: dict[str, float]) -> None:
    first = next(iter(seconds))
    cells = [
        f"{name} {1e6 * time:,.0f} us"
        + ("" if name == first else f" ({time / seconds[first]:.2f})")
        for name, time in seconds.items()
    ]
    print(f"  {what:26}" + "   ".join(cells))


def _agree(name: str, ours: np.ndarray, other: np.ndarray) -> None:
    error = np.linalg.norm(ours - other) / np.linalg.norm(other)
    if not error < 1e-10:
        raise AssertionError(f"{name}: products differ by {error:.1e}")


def _jax_product(work: Workload, H: Any) -> Callable[[np.ndarray], np.ndarray] | None:
    """JAX's linearised gradient, compiled; flat vectors in and out."""
    try:
        import jax
    except ImportError:
        return None
    jax.config.update("jax_enable_x64", True)
    fun = work.of(jax.numpy)
    _, linear = jax.linearize(jax.grad(fun), jax.tree.map(jax.numpy.asarray, work.x))
    compiled = jax.jit(linear)

    def product(v: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [np.ravel(leaf) for leaf in jax.tree.leaves(compiled(H.unflatten(v)))]
        )

    return product


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=15, help="turns of each contestant")
    repeat = parser.parse_args().repeat
    print("medians; in brackets, relative to the first of the row")
    for work in workloads():
        compare(work, repeat)


if __name__ == "__main__":
    main()
