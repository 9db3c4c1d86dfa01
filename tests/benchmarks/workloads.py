"""What the benchmarks run: functions, most with a Hessian product written by hand.

Each function is made for a NumPy-like module, so that autograd and JAX differentiate the same text.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Vector = np.ndarray


@dataclass(frozen=True)
class Workload:
    """A function at a point.

    of : module -> fun(x), for autograd.numpy or jax.numpy
    by_hand : product(v) at x, in flat vectors, in plain NumPy; what is constant is computed once.
        None where nobody would write it
    columns : how many columns a block has, or none where it would not fit
    jax : whether JAX takes part
    """

    name: str
    of: Callable[[Any], Callable[[Any], Any]]
    x: Any
    by_hand: Callable[[Vector], Vector] | None = None
    columns: int = 32
    jax: bool = True


def rosenbrock(n: int) -> Workload:
    x = np.random.default_rng(0).standard_normal(n)

    def of(anp: Any) -> Callable[[Any], Any]:
        def fun(x: Any) -> Any:
            return anp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

        return fun

    main = np.full(n, 200.0)
    main[0] = 0.0
    main[:-1] += 1200.0 * x[:-1] ** 2 - 400.0 * x[1:] + 2.0
    off = -400.0 * x[:-1]

    def by_hand(v: Vector) -> Vector:
        product = main * v
        product[:-1] += off * v[1:]
        product[1:] += off * v[:-1]
        return product

    return Workload(f"Rosenbrock n = {n:,}", of, x, by_hand, columns=32 if n <= 10_000 else 0)


def logistic_regression(rows: int, n: int) -> Workload:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((rows, n)) / np.sqrt(n)
    y = (rng.uniform(size=rows) < 0.5).astype(float)
    w = rng.standard_normal(n)
    l2 = 1e-3

    def of(anp: Any) -> Callable[[Any], Any]:
        def fun(w: Any) -> Any:
            z = anp.dot(X, w)
            return anp.mean(anp.logaddexp(0.0, z) - y * z) + 0.5 * l2 * anp.dot(w, w)

        return fun

    p = 1.0 / (1.0 + np.exp(-(X @ w)))
    weights = p * (1.0 - p) / rows

    def by_hand(v: Vector) -> Vector:
        return X.T @ (weights * (X @ v)) + l2 * v

    return Workload(f"logistic regression {rows:,} x {n:,}", of, w, by_hand)


def tanh_network(rows: int, sizes: tuple[int, int, int, int]) -> Workload:
    """Two hidden layers and a softmax, or a logistic function where there is a single output.

    By hand, Pearlmutter's R operator line by line.
    """
    rng = np.random.default_rng(2)
    X = rng.standard_normal((rows, sizes[0]))
    single = sizes[-1] == 1
    classes = 2 if single else sizes[-1]
    Y = np.eye(classes)[rng.integers(0, classes, rows), -sizes[-1] :]
    p = {f"W{i + 1}": rng.standard_normal(s) / np.sqrt(s[0]) for i, s in enumerate(_pairs(sizes))}
    p |= {f"b{i + 1}": 0.1 * rng.standard_normal(s[1]) for i, s in enumerate(_pairs(sizes))}

    def of(anp: Any) -> Callable[[Any], Any]:
        def fun(p: Any) -> Any:
            a = anp.tanh(anp.dot(X, p["W1"]) + p["b1"])
            a = anp.tanh(anp.dot(a, p["W2"]) + p["b2"])
            z = anp.dot(a, p["W3"]) + p["b3"]
            if single:
                return anp.mean(anp.logaddexp(0.0, z) - Y * z)
            top = anp.max(z, axis=1, keepdims=True)
            log_sum = anp.log(anp.sum(anp.exp(z - top), axis=1)) + top[:, 0]
            return anp.mean(log_sum - anp.sum(Y * z, axis=1))

        return fun

    W1, W2, W3 = p["W1"], p["W2"], p["W3"]
    A1 = np.tanh(X @ W1 + p["b1"])
    A2 = np.tanh(A1 @ W2 + p["b2"])
    Z3 = A2 @ W3 + p["b3"]
    if single:
        P = 1.0 / (1.0 + np.exp(-Z3))
    else:
        P = np.exp(Z3 - Z3.max(axis=1, keepdims=True))
        P /= P.sum(axis=1, keepdims=True)
    D3 = (P - Y) / rows
    S1, S2 = 1.0 - A1**2, 1.0 - A2**2
    B2 = D3 @ W3.T
    D2 = B2 * S2
    B1 = D2 @ W2.T
    C1, C2 = -2.0 * B1 * A1, -2.0 * B2 * A2
    shapes = [p[key].shape for key in sorted(p)]
    ends = np.cumsum([np.prod(shape) for shape in shapes])

    def by_hand(v: Vector) -> Vector:
        V1, V2, V3, c1, c2, c3 = (
            part.reshape(shape) for part, shape in zip(np.split(v, ends[:-1]), shapes, strict=True)
        )
        R1 = S1 * (X @ V1 + c1)
        R2 = S2 * (A1 @ V2 + R1 @ W2 + c2)
        RZ = A2 @ V3 + R2 @ W3 + c3
        mean = P * RZ if single else np.sum(P * RZ, axis=1, keepdims=True)
        T3 = P * (RZ - mean) / rows
        T2 = (T3 @ W3.T + D3 @ V3.T) * S2 + C2 * R2
        T1 = (T2 @ W2.T + D2 @ V2.T) * S1 + C1 * R1
        parts = (
            X.T @ T1,
            R1.T @ D2 + A1.T @ T2,
            R2.T @ D3 + A2.T @ T3,
            T1.sum(axis=0),
            T2.sum(axis=0),
            T3.sum(axis=0),
        )
        return np.concatenate([part.ravel() for part in parts])

    return Workload(f"tanh network {'-'.join(map(str, sizes))}, {rows:,} rows", of, p, by_hand)


def _pairs(sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(itertools.pairwise(sizes))


def gaussian_process(points: int) -> Workload:
    """Evidence of a squared exponential kernel.

    x has the logarithms of the length scale, the variance and the variance of the noise.
    """
    rng = np.random.default_rng(3)
    t = np.sort(rng.uniform(0.0, 10.0, points))
    y = np.sin(2.0 * t) + 0.1 * rng.standard_normal(points)
    squared = (t[:, None] - t) ** 2
    x = np.array([-0.3, 0.2, -3.0])

    def of(anp: Any) -> Callable[[Any], Any]:
        def fun(x: Any) -> Any:
            signal = anp.exp(x[1] - 0.5 * anp.exp(-2.0 * x[0]) * squared)
            covariance = signal + anp.exp(x[2]) * np.eye(points)
            factor = anp.linalg.cholesky(covariance)
            fit = anp.dot(y, anp.linalg.solve(covariance, y))
            return 0.5 * fit + anp.sum(anp.log(anp.diag(factor)))

        return fun

    return Workload(f"Gaussian process, {points} points", of, x)


def runge_kutta(steps: int) -> Workload:
    """A fit of the two growth and the two interaction rates of prey and predator."""
    rng = np.random.default_rng(4)
    h = 0.05
    observed = rng.uniform(0.5, 2.0, (steps, 2))
    x = np.array([1.0, -1.2, -0.6, 0.5])

    def of(anp: Any) -> Callable[[Any], Any]:
        def fun(x: Any) -> Any:
            growth, interaction = x[:2], x[2:]

            def slope(state: Any) -> Any:
                return state * (growth + interaction * state[::-1])

            state, misfit = np.array([1.0, 0.8]), 0.0
            for target in observed:
                k1 = slope(state)
                k2 = slope(state + 0.5 * h * k1)
                k3 = slope(state + 0.5 * h * k2)
                k4 = slope(state + h * k3)
                state = state + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
                misfit = misfit + anp.sum((state - target) ** 2)
            return misfit / steps

        return fun

    # JAX unrolls the loop, and compiles its product for many minutes.
    return Workload(f"Runge-Kutta fit, {steps} steps", of, x, jax=False)


def workloads() -> list[Workload]:
    return [
        rosenbrock(10),
        rosenbrock(1_000),
        rosenbrock(1_000_000),
        logistic_regression(2_000, 500),
        logistic_regression(20_000, 1_000),
        tanh_network(256, (20, 50, 50, 1)),
        tanh_network(1_000, (100, 200, 200, 10)),
        gaussian_process(300),
        runge_kutta(200),
    ]


# Functions with a sparse Hessian


def extended_rosenbrock(n: int) -> Workload:
    """Pairs of two, each with a valley of its own, near the usual start."""
    x = np.tile([-1.2, 1.0], n // 2) + 0.01 * np.random.default_rng(5).standard_normal(n)

    def of(anp: Any) -> Callable[[Any], Any]:
        def fun(x: Any) -> Any:
            odd, even = x[::2], x[1::2]
            return anp.sum(100.0 * (even - odd**2) ** 2 + (1.0 - odd) ** 2)

        return fun

    return Workload(f"extended Rosenbrock n = {n:,}", of, x)


def minimal_surface(side: int) -> Workload:
    """A surface over a grid, with a small quadratic; the differences are along both axes."""
    x = np.random.default_rng(6).standard_normal((side, side))

    def of(anp: Any) -> Callable[[Any], Any]:
        def fun(u: Any) -> Any:
            down, right = u[1:] - u[:-1], u[:, 1:] - u[:, :-1]
            area = anp.sum(anp.sqrt(1.0 + down**2)) + anp.sum(anp.sqrt(1.0 + right**2))
            return area + 0.005 * anp.sum(u**2)

        return fun

    return Workload(f"surface over {side} x {side}", of, x)


def broyden_tridiagonal(n: int) -> Workload:
    """Broyden's tridiagonal equations as least squares: five diagonals."""
    x = -np.ones(n)

    def of(anp: Any) -> Callable[[Any], Any]:
        def fun(x: Any) -> Any:
            zero = np.zeros(1)
            before = anp.concatenate([zero, x[:-1]])
            after = anp.concatenate([x[1:], zero])
            return anp.sum(((3.0 - 2.0 * x) * x - before - 2.0 * after + 1.0) ** 2)

        return fun

    return Workload(f"Broyden tridiagonal n = {n:,}", of, x)


def sparse_workloads() -> list[Workload]:
    return [extended_rosenbrock(1_000_000), minimal_surface(300), broyden_tridiagonal(100_000)]
