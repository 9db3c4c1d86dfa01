"""Minimize the extended Rosenbrock function with up to a million parameters.

    python tests/benchmarks/minimize_large.py [--largest 1000000]

Prints steps, products, seconds, and the most memory that the process has had so far.
"""

from __future__ import annotations

import argparse
import resource
import time

import autograd.numpy as np

from hessop import minimize


def rosenbrock(x):
    odd, even = x[::2], x[1::2]
    return np.sum(100.0 * (even - odd**2) ** 2 + (1.0 - odd) ** 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=1_000_000)
    largest = parser.parse_args().largest
    print(f"{'n':>9}  {'method':<13} {'value':>8} {'steps':>6} {'products':>9} {'s':>6} {'GB':>5}")
    for n in (10_000, 100_000, 1_000_000):
        if n > largest:
            break
        for method in ("trust-krylov", "trust-ncg", "Newton-CG", "L-BFGS-B"):
            start = time.perf_counter()
            result = minimize(rosenbrock, np.tile([-1.2, 1.0], n // 2), method=method, tol=1e-6)
            seconds = time.perf_counter() - start
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            print(
                f"{n:9,}  {method:<13} {result.fun:8.1e} {result.nit:6d} {result.nhessp:9d} "
                f"{seconds:6.1f} {memory:5.2f}"
            )


if __name__ == "__main__":
    main()
