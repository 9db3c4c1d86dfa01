"""Inverse products with the Hessian of deep narrow networks: what they take as depth grows.

    python tests/benchmarks/factorize_depth.py [--repeat 5] [--figure depth.svg]

Tanh networks of width 4 on three examples, with weight decay, from 2 to 256 layers. The factors of
the program are made for each depth, and used; beside them, a dense matrix and `numpy.linalg.solve`,
and `solve` with products alone. Residuals are to stay below 1e-10, and the time from a recorded
program to an inverse product to grow as the depth to a power below 1.25, by least squares in
logarithms from 8 layers on.
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np

from hessop import HessianOperator, factorized_inverse, hessian_operator, solve

DEPTHS = (2, 4, 8, 16, 32, 64, 128, 256)
WIDTH, EXAMPLES, DECAY = 4, 3, 1e-2
# Where these contestants would take minutes.
MOST_DENSE, MOST_ITERATIVE = 128, 64


def network(depth: int) -> HessianOperator:
    """The Hessian of a tanh network of this depth, recorded."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((EXAMPLES, EXAMPLES))
    targets = rng.standard_normal((EXAMPLES, WIDTH))
    sizes = [EXAMPLES] + [WIDTH] * depth
    pairs = itertools.pairwise(sizes)
    weights = [1.2 * rng.standard_normal(pair) / np.sqrt(pair[0]) for pair in pairs]

    def loss(weights: Any) -> Any:
        values = images
        for W in weights:
            values = anp.tanh(values @ W)
        decay = sum([anp.sum(W**2) for W in weights])
        return (anp.sum((values - targets) ** 2) + DECAY * decay) / 2

    return hessian_operator(loss, weights).compile()


def median(call: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """Seconds a call, and what the last one gave."""
    seconds, result = [], call()
    for _ in range(repeat):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)), result


def measure(depth: int, repeat: int) -> dict[str, float]:
    """Times and residuals for one depth."""
    H = network(depth)
    b = np.random.default_rng(1).standard_normal(H.shape[0])

    def residual(x: np.ndarray) -> float:
        return float(np.linalg.norm(H @ x - b) / np.linalg.norm(b))

    found = {"depth": depth, "n": H.shape[0]}
    found["make"], F = median(lambda: factorized_inverse(H), repeat)
    found["use"], x = median(lambda: F @ b, repeat)
    found["both"] = found["make"] + found["use"]
    found["product"], _ = median(lambda: H @ b, 10 * repeat)
    found |= {"residual": residual(x), "unknowns": F.unknowns, "fill": F.fill, "nnz": F.nnz}
    if depth <= MOST_DENSE:
        few = 1 if depth > 16 else repeat
        found["dense"], x = median(lambda: np.linalg.solve(H.to_dense(), b), few)
        found["dense residual"] = residual(x)
    if depth <= MOST_ITERATIVE:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found["iterative"], result = median(lambda: solve(H, b, rtol=1e-10), 1)
        found["products"], found["converged"] = result.n_matvec, result.converged
    return found


def power(rows: list[dict[str, float]], name: str) -> float:
    """The power of the depth with which a time grows."""
    long = [row for row in rows if row["depth"] >= 8 and name in row]
    depths, times = ([np.log(row[key]) for row in long] for key in ("depth", name))
    return float(np.polyfit(depths, times, 1)[0])


def draw(path: str, rows: list[dict[str, float]]) -> None:
    """Times against depth."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "hessop"})
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for name, label in (
        ("make", "making the factors"),
        ("use", "an inverse product with them"),
        ("dense", "a dense matrix and its solution"),
        ("iterative", "cg and minres, products alone"),
    ):
        known = [row for row in rows if name in row]
        axes.loglog(
            [row["depth"] for row in known], [row[name] for row in known], "o-", label=label
        )
    ends = np.array([8.0, 256.0])
    axes.loglog(ends, 1e-3 * ends, "k:", linewidth=1, label="proportional to depth")
    axes.set(xlabel="layers", ylabel="seconds", title="Inverse Hessian products of deep networks")
    axes.legend()
    figure.savefig(path, metadata={"Date": None} if path.endswith("svg") else None)


def main() -> None:
    """Print the table; stop where a residual or the growth is too large."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--figure", metavar="PATH")
    options = parser.parse_args()
    print("depth      n  unknowns   fill    make s     use s  residual     dense s  iterative s")
    rows = []
    for depth in DEPTHS:
        row = measure(depth, options.repeat)
        rows.append(row)
        dense = f"{row['dense']:11.4f}" if "dense" in row else "          -"
        iterative = "-"
        if "iterative" in row:
            ended = "" if row["converged"] else ", not converged"
            iterative = f"{row['iterative']:.3f} ({row['products']:,} products{ended})"
        print(
            f"{depth:5} {row['n']:6,} {row['unknowns']:9,} {row['fill']:6.1f} {row['make']:9.4f} "
            f"{row['use']:9.5f} {row['residual']:9.1e} {dense}  {iterative}",
            flush=True,
        )
        assert row["residual"] < 1e-10
    for name in ("make", "use", "both", "dense"):
        print(f"{name:5} grows as depth to the power {power(rows, name):.2f}")
    assert power(rows, "both") < 1.25
    if options.figure:
        draw(options.figure, rows)


if __name__ == "__main__":
    main()
