"""Measure what a Hessian product costs in each mode: time, memory, accuracy.

Prints the table of ``explanation/hessian-products.md``::

    OPENBLAS_NUM_THREADS=1 python docs/scripts/measure_modes.py

Times are in units of one value and gradient: the median ratio over many rounds. Memory is what
tracemalloc sees, in vectors of n floats.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import autograd.numpy as np

from hessop import hessian_operator

MODES = (
    "reverse-over-reverse",
    "forward-over-reverse",
    "reverse-over-forward",
    "finite-difference",
    "finite-difference-forward",
)


def rosenbrock(x):
    """The extended Rosenbrock function, of pairs of parameters."""
    odd, even = x[::2], x[1::2]
    return np.sum(100.0 * (even - odd**2) ** 2 + (1.0 - odd) ** 2)


def network(params, inputs, targets):
    """Half the mean squared error of a network with tanh layers."""
    hidden = inputs
    for weights, bias in params[:-1]:
        hidden = np.tanh(hidden @ weights + bias)
    weights, bias = params[-1]
    return 0.5 * np.mean(np.sum((hidden @ weights + bias - targets) ** 2, axis=1))


def problems(scale: float) -> dict[str, tuple[Callable[..., Any], Any, tuple[Any, ...]]]:
    """Function, point and further arguments; `scale` shrinks them for a quick run."""
    rng = np.random.default_rng(0)
    half = max(int(50_000 * scale), 1)
    rows = max(int(1000 * scale), 2)
    widths = [100, 200, 200, 10] if scale == 1 else [3, 4, 2]
    params = [
        (rng.standard_normal((m, k)) / m**0.5, np.zeros(k)) for m, k in itertools.pairwise(widths)
    ]
    inputs = rng.standard_normal((rows, widths[0]))
    targets = rng.standard_normal((rows, widths[-1]))
    return {
        "extended Rosenbrock": (rosenbrock, np.tile([-1.2, 1.0], half), ()),
        "tanh network": (network, params, (inputs, targets)),
    }


def seconds(run: Callable[[], Any]) -> float:
    """How long a run takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def memory_of_products(make: Callable[[], Any], v: Any) -> tuple[int, int]:
    """Bytes that an operator holds between products, and at the peak of one."""
    gc.collect()
    tracemalloc.start()
    try:
        operator = make()
        operator @ v
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        operator @ v
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return held, peak


def peak_of(run: Callable[[], Any]) -> int:
    """Bytes allocated at the peak of a run."""
    gc.collect()
    tracemalloc.start()
    try:
        run()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak


def measure(fun: Callable[..., Any], x: Any, args: tuple[Any, ...], rounds: int) -> list[str]:
    """The lines of the table for one function."""

    def make(mode: str = "auto") -> Any:
        return hessian_operator(fun, x, args=args, mode=mode)

    def value_and_gradient() -> Any:
        return make().gradient

    n = make().shape[0]
    v = np.random.default_rng(1).standard_normal(n)
    operators = {mode: make(mode) for mode in MODES}
    products = {mode: H @ v for mode, H in operators.items()}
    exact = products["reverse-over-reverse"]

    # Each round times everything once, so that a busy moment slows all of it alike.
    units, first, later = [], {m: [] for m in MODES}, {m: [] for m in MODES}
    for _ in range(rounds):
        units.append(seconds(value_and_gradient))
        for mode, H in operators.items():
            later[mode].append(seconds(lambda H=H: H @ v) / units[-1])
            first[mode].append(seconds(lambda mode=mode: make(mode) @ v) / units[-1])

    unit, peak = np.median(units), peak_of(value_and_gradient) / (8 * n)
    lines = [f"value and gradient: {1e3 * unit:.1f} ms, peak {peak:.1f}"]
    for mode in MODES:
        error = np.linalg.norm(products[mode] - exact) / np.linalg.norm(exact)
        held, peak = (
            count / (8 * n) for count in memory_of_products(lambda mode=mode: make(mode), v)
        )
        times = f"{np.median(first[mode]):.1f} | {np.median(later[mode]):.1f}"
        lines.append(f"| {mode} | {times} | {held:.1f} | {peak:.1f} | {error:.0e} |")
    return lines


def main() -> None:
    """Print a table for each function."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="1 for the table of the docs")
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    for name, (fun, x, args) in problems(options.scale).items():
        n = hessian_operator(fun, x, args=args).shape[0]
        print(f"\n{name}, n = {n}")
        print("| mode | first product | product | held | peak | relative error |")
        print("\n".join(measure(fun, x, args, options.rounds)))


if __name__ == "__main__":
    main()
