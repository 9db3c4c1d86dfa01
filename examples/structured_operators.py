"""What approximations of a network's curvature cost, and how good they are.

The network of digits_newton.py, 1,210 parameters, is trained on scikit-learn's digits. Its
Gauss-Newton matrix is small enough to be formed, so that each approximation can be compared with it

1. by the distance, relative in the Frobenius norm,
2. as a preconditioner: iterations of cg for a damped Gauss-Newton step,
3. by its price: products with the matrix, and the time to make it.

Run it from anywhere; it takes about fifteen seconds:

    python structured_operators.py
    python structured_operators.py --figure approximations.png
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import autograd.numpy as np
from autograd.scipy.special import logsumexp
from scipy.sparse import eye_array
from scipy.sparse.linalg import cg
from scipy.stats import spearmanr
from sklearn.datasets import load_digits

from hessop import (
    BlockDiagonalOperator,
    DenseOperator,
    DiagonalOperator,
    LowRankOperator,
    backprop_diagonal,
    fisher_operator,
    gauss_newton_operator,
    hessian_operator,
    kfac_operator,
    likelihoods,
    minimize,
)

PENALTY = 1e-3
CLASSES = 10
RANKS = (10, 25, 50, 100)
DAMPINGS = (1e-2, 1e-4)
MOST_ITERATIONS = 1000


# --- the network ----------------------------------------------------------------------------------


def scores(params, images):
    """A tanh network: a layer for each entry of params, and one that is linear."""
    *hidden, last = params
    for layer in hidden:
        images = np.tanh(images @ layer["W"] + layer["b"])
    return images @ last["W"] + last["b"]


def start(*hidden):
    rng = np.random.default_rng(0)
    sizes = (64, *hidden, CLASSES)
    return [
        {"W": rng.standard_normal((rows, columns)) / np.sqrt(rows), "b": np.zeros(columns)}
        for rows, columns in pairwise(sizes)
    ]


class Problem:
    """The digits, and a network trained on them by a few steps of trust-krylov.

    Everything here is of the mean over images. hessop's likelihoods are sums, so what is made of
    them is divided by the number of images.
    """

    def __init__(self, *hidden):
        pixels, self.labels = load_digits(return_X_y=True)
        self.images, self.one_hot = pixels / 16, np.eye(CLASSES)[self.labels]
        self.start = start(*hidden)
        result = minimize(self.penalised, self.start, options={"maxiter": 15})
        self.params, self.loss = result.params, result.fun

    def cross_entropy(self, z):
        return np.mean(logsumexp(z, axis=1) - np.sum(self.one_hot * z, axis=1))

    def data_loss(self, params):
        return self.cross_entropy(scores(params, self.images))

    def penalised(self, params):
        squares = sum(np.sum(layer["W"] ** 2) + np.sum(layer["b"] ** 2) for layer in params)
        return self.data_loss(params) + PENALTY / 2 * squares

    def gauss_newton(self):
        args = (self.images,)
        return gauss_newton_operator(scores, self.cross_entropy, self.params, args=args).compile()

    def fisher(self, **options):
        """Of the sum over images."""
        softmax = likelihoods.Categorical()
        return fisher_operator(scores, softmax, self.params, args=(self.images,), **options)

    def kfac(self, **options):
        """Of the mean over images."""
        softmax = likelihoods.Categorical()
        K = kfac_operator(scores, softmax, self.params, args=(self.images,), **options)
        return K / len(self.images)


# --- making and judging an approximation ----------------------------------------------------------


@dataclass
class Row:
    """An approximation, and what was measured of it."""

    name: str
    family: str
    products: int  # with the Gauss-Newton matrix
    time: float  # to make it, over that of one product
    error: float
    iterations: dict  # of cg, by damping; None where it did not converge

    @property
    def price(self):
        """In products: those that were spent, or, where there are none, the time."""
        return self.products or self.time


@dataclass
class Recipe:
    """How to make an approximation, and to invert it with a damping."""

    name: str
    family: str
    make: Callable[[], Any]
    invert: Callable[[Any, float], Any] = lambda A, damping: A.inverse(damping)


def clipped(D, damping):
    """A preconditioner of cg is positive: negative entries of an estimated diagonal are not."""
    return DiagonalOperator(np.maximum(D.diagonal(), 0.0)).inverse(damping)


def factored(K, damping):
    """The damping split over the factors of each block."""
    return K.inverse(damping, factored=True)


def recipes(problem, G):
    def low_rank(method, rank):
        return lambda: LowRankOperator.from_operator(G, rank, method=method, rng=0)

    layers = problem.kfac().partition
    yield Recipe("diagonal, exact", "diagonal", lambda: DiagonalOperator.from_operator(G))
    yield Recipe(
        "diagonal, 64 probes",
        "diagonal",
        lambda: DiagonalOperator.from_operator(G, method="probing", rng=0),
        clipped,
    )
    yield Recipe(
        "diagonal, back-propagated",
        "diagonal",
        lambda: backprop_diagonal(problem.data_loss, problem.params),
        clipped,
    )
    yield Recipe("blocks, one a leaf", "blocks", lambda: BlockDiagonalOperator.from_operator(G))
    yield Recipe(
        "blocks, one a layer", "blocks", lambda: BlockDiagonalOperator.from_operator(G, layers)
    )
    yield Recipe("KFAC, exact", "KFAC", problem.kfac)
    yield Recipe("  with factored damping", "KFAC", problem.kfac, factored)
    yield Recipe("KFAC, one draw", "KFAC", lambda: problem.kfac(kind="monte-carlo", rng=0))
    for method in ("nystrom", "randomized", "lanczos"):
        for rank in RANKS:
            yield Recipe(f"{method}, rank {rank}", method, low_rank(method, rank))
    yield Recipe("dense", "dense", lambda: DenseOperator.from_operator(G))


def measure(recipe, G, exact, one_product):
    before, began = G.n_matvec, time.perf_counter()
    made = recipe.make()
    seconds, products = time.perf_counter() - began, G.n_matvec - before
    if products == 0:  # it is quick, and its time is the only price: the best of some
        seconds = min(seconds, *(seconds_of(recipe.make) for _ in range(4)))
    iterations = {
        damping: cg_iterations(G, damping, recipe.invert(made, damping)) for damping in DAMPINGS
    }
    return Row(
        recipe.name,
        recipe.family,
        products,
        seconds / one_product,
        distance(made.to_dense(), exact),
        iterations,
    )


def seconds_of(call):
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def distance(matrix, exact):
    return float(np.linalg.norm(matrix - exact) / np.linalg.norm(exact))


def cg_iterations(G, damping, M=None):
    """How many iterations the damped Gauss-Newton step takes; None where there are too many."""
    count = 0

    def watch(_):
        nonlocal count
        count += 1

    damped = G + damping * eye_array(G.shape[0])
    _, info = cg(damped, -G.gradient, rtol=1e-8, M=M, maxiter=MOST_ITERATIONS, callback=watch)
    return count if info == 0 else None


def seconds_of_a_product(G):
    v = np.random.default_rng(0).standard_normal(G.shape[0])
    return float(np.median([seconds_of(lambda: G @ v) for _ in range(50)]))


# --- the four parts -------------------------------------------------------------------------------


def compare(problem, G, exact):
    one_product = seconds_of_a_product(G)
    plain = {damping: cg_iterations(G, damping) for damping in DAMPINGS}
    rows = [measure(recipe, G, exact, one_product) for recipe in recipes(problem, G)]

    def counts(iterations):
        return "".join(
            f"{f'> {MOST_ITERATIONS}' if count is None else count:>9}"
            for count in iterations.values()
        )

    print(f"Approximations of the Gauss-Newton matrix, {G.shape[0]} x {G.shape[0]}")
    print(f"  {'':26} {'':8} {'':7} {'':8}   iterations of cg,")
    dampings = "".join(f"{f'd = {damping:g}':>11}" for damping in DAMPINGS)
    print(f"  {'':26} {'products':>8} {'time':>7} {'error':>8}{dampings}")
    print(f"  {'plain cg':52}{counts(plain)}")
    for row in rows:
        print(
            f"  {row.name:26} {row.products:8d} {row.time:7.0f} {row.error:8.4f}"
            f"{counts(row.iterations)}"
        )
    print("  Products: with the matrix, to make the approximation. Time: to make it, in products.")
    print("  Error: the relative distance. cg solves (G + d I) x = -gradient.")
    return plain, rows


def rank_50(G, exact):
    before = G.n_matvec
    L = LowRankOperator.from_operator(G, 50, method="nystrom", rng=0)
    products, rest = G.n_matvec - before, L.to_dense() - exact
    error, norm = distance(L.to_dense(), exact), float(np.linalg.norm(rest, 2))
    print("\nA rank-50 approximation of the digits network's Gauss-Newton matrix, by nystrom")
    print(f"  {products} products: 50, 10 for oversampling, and 5 to estimate the error")
    print(f"  relative error {error:.3f}")
    print(f"  the rest has the spectral norm {norm:.3f}; the estimate, a bound, is ", end="")
    print(f"{L.error_estimate:.3f}")
    return products, error, norm, L.error_estimate


def kinds_of_fisher(problem, exact):
    def mean(**options):
        return problem.fisher(**options).to_dense() / len(problem.images)

    empirical = mean(kind="empirical", targets=problem.labels)
    factor = np.sum(empirical * exact) / np.sum(empirical**2)
    errors = {
        "exact": distance(mean(), exact),
        "one draw": distance(mean(kind="monte-carlo", rng=0), exact),
        "ten draws": distance(mean(kind="monte-carlo", num_samples=10, rng=0), exact),
        "empirical": distance(empirical, exact),
        "best multiple": distance(factor * empirical, exact),
    }
    print("\nThe Fisher matrix of the mean, by its kinds: distance to the Gauss-Newton matrix")
    print(f"  exact                    {errors['exact']:.0e}")
    print(f"  Monte Carlo, one draw    {errors['one draw']:.3f}")
    print(f"  Monte Carlo, ten draws   {errors['ten draws']:.3f}")
    print(f"  empirical                {errors['empirical']:.3f}")
    print(f"  empirical, {factor:.2f} times    {errors['best multiple']:.3f}, the best multiple")
    return errors


def diagonals(problem):
    """The back-propagated diagonal is one of the loss's Hessian: compare it with that."""
    print("\nThe back-propagated diagonal of the data loss's Hessian, next to the exact one")
    print("  layers              size   error   median error   sum   wrong sign   correlation")
    errors = {}
    one_layer, two, three = Problem(), Problem(16, 16), Problem(16, 16, 16)
    for name, at, params in (
        ("1, trained", one_layer, one_layer.params),
        ("2, at the start", problem, problem.start),
        ("2, trained", problem, problem.params),
        ("3, trained", two, two.params),
        ("4, trained", three, three.params),
    ):
        exact = hessian_operator(at.data_loss, params).diagonal()
        found = backprop_diagonal(at.data_loss, params).diagonal()
        errors[name] = distance(found, exact)
        some = np.abs(exact) > 1e-10 * np.abs(exact).max()  # some pixels are always white
        median = np.median(np.abs(found - exact)[some] / np.abs(exact)[some])
        error = "0" if errors[name] < 1e-12 else f"{errors[name]:.2f}"
        sums, wrong = found.sum() / exact.sum(), np.sum(found * exact < 0)
        order = spearmanr(found, exact).statistic
        print(
            f"  {name:16} {exact.size:7d} {error:>7} {median:14.2f} {sums:5.2f} {wrong:12d}"
            f" {order:13.3f}"
        )
    print("  Error: of the vector. Median: of the entries, each relative to the exact one. Sum: of")
    print("  the entries, over the exact sum. Correlation: of the order of the entries (Spearman).")
    return errors


# --- the figure, and what must be true ------------------------------------------------------------

FAMILIES = {
    "diagonal": ("v", "#6b6b6b"),
    "blocks": ("s", "#7b4fa3"),
    "KFAC": ("D", "#2f8f5b"),
    "nystrom": ("o", "#2a6f97"),
    "randomized": ("^", "#d08a1d"),
    "lanczos": ("P", "#c8553d"),
}
# What a point is called in the figure, and where, in points from it.
LABELS = {
    "diagonal, exact": ("exact", (7, -3)),
    "diagonal, 64 probes": ("64 probes", (7, -3)),
    "diagonal, back-propagated": ("back-propagated", (7, -3)),
    "blocks, one a leaf": ("leaves", (7, -3)),
    "blocks, one a layer": ("layers", (7, -3)),
    "KFAC, exact": ("exact", (6, -8)),
    "KFAC, one draw": ("one draw", (6, 4)),
    "nystrom, rank 10": ("rank 10", (-44, -3)),
    "nystrom, rank 100": ("rank 100", (-50, -3)),
}


def draw(plain, rows):
    """Error and iterations of cg against the price, as a figure of matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    damping = DAMPINGS[-1]
    rows = [row for row in rows if row.family in FAMILIES and "factored" not in row.name]
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    heights = (
        (left, lambda row: row.error),
        (right, lambda row: row.iterations[damping] or np.nan),
    )
    for axes, height in heights:
        for family, (marker, color) in FAMILIES.items():
            some = [row for row in rows if row.family == family]
            axes.loglog(
                [row.price for row in some],
                [height(row) for row in some],
                marker=marker,
                color=color,
                linestyle="-" if len(some) == len(RANKS) else "",
                label=family,
            )
        for row in rows:
            if row.name in LABELS and np.isfinite(height(row)):
                text, offset = LABELS[row.name]
                axes.annotate(
                    text,
                    (row.price, height(row)),
                    xytext=offset,
                    textcoords="offset points",
                    fontsize=8,
                    color=FAMILIES[row.family][1],
                )
        axes.set_xlabel("products to make it")
        axes.set_xlim(6, 5000)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    left.set(title="Distance to the matrix", ylabel="relative error", ylim=(0.01, 1.5))
    right.set(
        title=f"As a preconditioner, damping {damping:g}",
        ylabel="iterations of cg",
        ylim=(50, 700),
        yticks=[50, 100, 200, 500],
    )
    right.yaxis.set_major_formatter(ScalarFormatter())
    right.yaxis.set_minor_formatter(NullFormatter())
    right.axhline(plain[damping], color="black", linestyle=":", linewidth=1)
    right.annotate(
        "without one",
        (900, plain[damping]),
        xytext=(0, 4),
        textcoords="offset points",
        ha="right",
        fontsize=8,
    )
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def check(found):
    rows = {row.name: row for row in found["rows"]}
    error = {name: row.error for name, row in rows.items()}
    count = {name: row.iterations[DAMPINGS[-1]] for name, row in rows.items()}
    plain = found["plain"][DAMPINGS[-1]]

    # The nearest diagonal, the nearest blocks and the nearest matrix of a rank are the exact ones.
    assert error["diagonal, exact"] < error["diagonal, 64 probes"]
    assert error["diagonal, exact"] < error["diagonal, back-propagated"]
    assert error["blocks, one a layer"] < error["KFAC, exact"] < error["diagonal, exact"]
    assert error["blocks, one a leaf"] < error["diagonal, exact"]
    for method in ("nystrom", "randomized", "lanczos"):
        names = [f"{method}, rank {rank}" for rank in RANKS]
        for small, large in pairwise(names):
            assert error[large] < error[small]
            assert count[large] < count[small]
    for rank in RANKS:
        assert max(count[f"nystrom, rank {rank}"], count[f"lanczos, rank {rank}"]) < plain
        nearest = error[f"lanczos, rank {rank}"]
        assert nearest <= error[f"nystrom, rank {rank}"]
        assert nearest <= error[f"randomized, rank {rank}"]
        assert rows[f"nystrom, rank {rank}"].products == rank + 10 + 5
        assert rows[f"randomized, rank {rank}"].products == 2 * (rank + 10) + 5
    assert count["  with factored damping"] < plain
    assert count["blocks, one a layer"] < plain
    assert count["dense"] <= 2

    products, relative, norm, estimate = found["rank_50"]
    assert products == 65
    assert relative < 0.15
    assert norm < estimate
    fisher = found["fisher"]
    assert fisher["exact"] < 1e-12 < fisher["ten draws"] < fisher["one draw"]
    assert fisher["best multiple"] < fisher["empirical"]
    # For a single layer with a loss the back-propagated diagonal is exact.
    assert found["diagonals"]["1, trained"] < 1e-12 < found["diagonals"]["2, trained"]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", "--plot", metavar="PATH", help="save a figure here")
    options = parser.parse_args(argv)

    problem = Problem(16)
    G = problem.gauss_newton()
    exact = G.to_dense(symmetrize=True)
    plain, rows = compare(problem, G, exact)
    found = {
        "plain": plain,
        "rows": rows,
        "rank_50": rank_50(G, exact),
        "fisher": kinds_of_fisher(problem, exact),
        "diagonals": diagonals(problem),
    }
    check(found)
    if options.figure:
        draw(plain, rows).savefig(options.figure, dpi=120)
        print(f"\nFigure: {options.figure}")
    return found


if __name__ == "__main__":
    main()
