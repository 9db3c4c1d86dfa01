"""How many products a preconditioner spares, with those that it takes to make it.

Two linear systems with the Hessian of a real problem are solved by SciPy's cg:

1. softmax regression on scikit-learn's digits, 650 parameters, at its minimum. The right-hand side
   is the gradient of a single image's loss: the solution tells how the parameters would move if
   that image counted more;
2. scikit-learn's diabetes data with all products of up to three of the ten columns, 286
   parameters, and a small penalty, so that the condition is above 1e8. The right-hand side is the
   downhill gradient: the solution is the regression itself.

Run it from anywhere; it takes some ten seconds:

    python preconditioning.py
    python preconditioning.py --figure residuals.png
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import autograd.numpy as np
from autograd.scipy.special import logsumexp
from scipy.optimize import OptimizeResult
from scipy.sparse.linalg import cg
from sklearn.datasets import load_diabetes, load_digits
from sklearn.preprocessing import PolynomialFeatures

from hessop import (
    HessianOperator,
    backprop_diagonal,
    block_jacobi_preconditioner,
    hessian_operator,
    jacobi_preconditioner,
    kfac_preconditioner,
    lbfgs_preconditioner,
    likelihoods,
    minimize,
    nystrom_preconditioner,
)

RTOL = 1e-8
PENALTIES = {"digits": 1e-3, "diabetes": 1e-6}


# --- the two problems -----------------------------------------------------------------------------


@dataclass
class Problem:
    """A system ``H x = b``, and what else preconditioners are made of."""

    name: str
    loss: Callable[[Any], Any]
    params: Any  # where the Hessian is taken
    H: HessianOperator
    b: Any
    past: OptimizeResult  # of a minimisation by L-BFGS
    partition: list  # of the parameters into blocks
    blocks: str  # what the blocks are
    more: dict = field(default_factory=dict)  # further preconditioners, by name


def squares(params):
    return sum(np.sum(leaf**2) for leaf in params.values())


def gather(loss, start, steps):
    """Minimize by L-BFGS, which remembers its last 50 steps."""
    options = {"maxcor": 50, "maxiter": steps, "maxfun": 10 * steps, "gtol": 1e-8, "ftol": 0.0}
    return minimize(loss, start, method="L-BFGS-B", options=options)


def digits():
    pixels, labels = load_digits(return_X_y=True)
    images, one_hot, count = pixels / 16, np.eye(10)[labels], len(labels)
    penalty = PENALTIES["digits"]

    def scores(params):
        return images @ params["W"] + params["b"]

    def cross_entropy(params, some=slice(None)):
        z = scores(params)[some]
        return np.mean(logsumexp(z, axis=1) - np.sum(one_hot[some] * z, axis=1))

    def loss(params):
        return cross_entropy(params) + penalty / 2 * squares(params)

    past = gather(loss, {"W": np.zeros((64, 10)), "b": np.zeros(10)}, steps=500)
    H = hessian_operator(loss, past.params).compile()
    b = hessian_operator(lambda params: cross_entropy(params, slice(0, 1)), past.params).gradient
    where = {name: leaf.astype(int) for name, leaf in H.unflatten(np.arange(650)).items()}
    by_class = [np.append(where["W"][:, k], where["b"][k]) for k in range(10)]

    def kfac():
        softmax = likelihoods.Categorical()
        return kfac_preconditioner(scores, softmax, past.params, damping=penalty, scale=1 / count)

    return Problem("digits", loss, past.params, H, b, past, by_class, "class", {"KFAC": kfac})


def diabetes(degree=3):
    columns, targets = load_diabetes(return_X_y=True)
    columns = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    targets = (targets - targets.mean()) / targets.std()
    polynomial = PolynomialFeatures(degree)
    features = polynomial.fit_transform(columns)
    degrees = polynomial.powers_.sum(axis=1)
    by_degree = {f"degree {k}": features[:, degrees == k] for k in range(degree + 1)}

    def loss(params):
        fitted = sum(X @ params[name] for name, X in by_degree.items())
        fit = 0.5 * np.mean((fitted - targets) ** 2)
        return fit + PENALTIES["diabetes"] / 2 * squares(params)

    start = {name: np.zeros(X.shape[1]) for name, X in by_degree.items()}
    past = gather(loss, start, steps=500)
    H = hessian_operator(loss, start).compile()
    partition = H.layout.partition()
    return Problem("diabetes", loss, start, H, -H.gradient, past, partition, "degree")


# --- making and judging a preconditioner ----------------------------------------------------------


@dataclass
class Row:
    """A preconditioner, and what was measured with it."""

    name: str
    build: int  # products to make it
    cg: int  # products of cg
    residual: float  # measured, relative
    seconds: float
    path: list  # the relative residual after each product of cg

    @property
    def total(self):
        return self.build + self.cg


def measure(problem, name, make, matrix=None):
    """Solve with a preconditioner; with the dense matrix at hand, also watch the residual."""
    H, b = problem.H, problem.b
    size, path = np.linalg.norm(b), [1.0]

    def watch(x):
        path.append(np.linalg.norm(matrix @ x - b) / size)

    before, began = H.n_matvec, time.perf_counter()
    M = make()
    build = H.n_matvec - before
    x, info = cg(H, b, M=M, rtol=RTOL, maxiter=50_000, callback=None if matrix is None else watch)
    spent, seconds = H.n_matvec - before - build, time.perf_counter() - began
    assert info == 0, name
    residual = np.linalg.norm(H @ x - b) / size
    return Row(name, build, spent, residual, seconds, path)


def recipes(problem):
    """Names of preconditioners, and how to make each."""
    H = problem.H
    yield "none", lambda: None
    yield "Jacobi, exact", lambda: jacobi_preconditioner(H)
    yield "Jacobi, 64 probes", lambda: jacobi_preconditioner(H, probes=64, rng=0)
    yield (
        "Jacobi, back-propagated",
        lambda: jacobi_preconditioner(H, diagonal=backprop_diagonal(problem.loss, problem.params)),
    )
    yield (
        f"block-Jacobi, one a {problem.blocks}",
        lambda: block_jacobi_preconditioner(H, partition=problem.partition),
    )
    yield from problem.more.items()
    yield "L-BFGS, 50 steps", lambda: lbfgs_preconditioner(problem.past)
    yield "Nyström, rank 100", lambda: nystrom_preconditioner(H, 100, rng=0)
    yield "Nyström, adaptive", lambda: nystrom_preconditioner(H, rng=0)


def compare(problem):
    matrix = problem.H.to_dense(symmetrize=True)
    w = np.linalg.eigvalsh(matrix)
    print(f"{problem.name}: {len(w)} parameters, condition {w[-1] / w[0]:.1e}")
    print(f"  {'':28} {'to make it':>10} {'of cg':>7} {'in all':>7} {'residual':>9} {'time':>8}")
    rows = {}
    for name, make in recipes(problem):
        row = rows[name] = measure(problem, name, make)
        row.path = measure(problem, name, make, matrix).path
        print(
            f"  {name:28} {row.build:10d} {row.cg:7d} {row.total:7d} {row.residual:9.1e}"
            f" {1e3 * row.seconds:5.0f} ms"
        )
    plain, adaptive = rows["none"], rows["Nyström, adaptive"]
    print(f"  {nystrom_preconditioner(problem.H, rng=0)!r}")
    print(f"  It divides the products of cg by {plain.cg / adaptive.cg:.1f}, ", end="")
    print(f"all products by {plain.cg / adaptive.total:.1f}.\n")
    return rows


# --- the figure, and what must be true ------------------------------------------------------------

STYLES = {
    "none": ("black", ":"),
    "Jacobi, exact": ("#6b6b6b", "-"),
    "KFAC": ("#2f8f5b", "-"),
    "L-BFGS, 50 steps": ("#d08a1d", "-"),
    "Nyström, rank 100": ("#2a6f97", "--"),
    "Nyström, adaptive": ("#2a6f97", "-"),
}


def draw(found):
    """Residuals against products, those to make the preconditioner first, as a figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, rows) in zip(figure.subplots(1, 2), found.items(), strict=True):
        blocks = next(row for row in rows if row.startswith("block"))
        for row, (color, line) in (STYLES | {blocks: ("#7b4fa3", "-")}).items():
            if row in rows:
                path = list(accumulate(rows[row].path, min))  # cg's residuals go up and down
                products = np.maximum(rows[row].build + np.arange(len(path)), 1)
                axes.plot(products, path, color=color, linestyle=line, label=row)
        axes.set(xscale="log", yscale="log", ylim=(RTOL / 2, None), title=name)
        axes.set(xlabel="products, with those to make it", ylabel="least relative residual so far")
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8)
    return figure


def check(found):
    for rows in found.values():
        for row in rows.values():
            assert row.residual < 2 * RTOL, row.name
        # For a single layer it is the exact diagonal, but for rounding.
        assert rows["Jacobi, back-propagated"].build == 0
        assert rows["Jacobi, back-propagated"].cg < 1.3 * rows["Jacobi, exact"].cg
        assert rows["Nyström, rank 100"].build == 100
        assert rows["Nyström, adaptive"].cg < rows["none"].cg
    hard = found["diabetes"]
    assert hard["none"].cg >= 5 * hard["Nyström, adaptive"].total
    assert found["digits"]["KFAC"].build == 0


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", "--plot", metavar="PATH", help="save a figure here")
    options = parser.parse_args(argv)

    found = {problem.name: compare(problem) for problem in (digits(), diabetes())}
    check(found)
    if options.figure:
        draw(found).savefig(options.figure, dpi=120)
        print(f"Figure: {options.figure}")
    return found


if __name__ == "__main__":
    main()
