"""One Hessian operator through the solvers of scipy.sparse.linalg.

The function is a penalised logistic regression on scikit-learn's breast-cancer data: 569 real
patients, 31 parameters. Small enough to form its Hessian once, so that every answer can be checked
against numpy.linalg; each solver itself sees only products.

Run it from anywhere; it takes a second:

    python scipy_tour.py
    python scipy_tour.py --figure tour.png
"""

import argparse

import autograd.numpy as np
import scipy.linalg
import scipy.sparse.linalg as spla
from scipy.sparse import eye_array
from sklearn.datasets import load_breast_cancer

from hessop import jacobian_operator, minimize


def scores(params, features):
    return features @ params["w"] + params["b"]


def loss(params, features, signs, l2):
    """Mean logistic loss and a quadratic penalty on every parameter."""
    margins = signs * scores(params, features)
    return np.mean(np.logaddexp(0.0, -margins)) + l2 / 2 * (
        np.sum(params["w"] ** 2) + params["b"] ** 2
    )


def patients():
    features, labels = load_breast_cancer(return_X_y=True)
    return (features - features.mean(axis=0)) / features.std(axis=0), 2.0 * labels - 1.0


class Report:
    """A table of what each solver computed, how well, and with how many products."""

    def __init__(self, H):
        self.H = H
        self.errors = {}
        self.products = {}

    def section(self, title):
        print(f"\n{title}")
        print(f"  {'solver':<15} {'computes':<44} {'error':>8} {'products':>9}")

    def row(self, solver, what, compute, expected):
        before = self.H.n_matvec
        found = compute()
        products = self.H.n_matvec - before
        error = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
        self.errors[solver], self.products[solver] = error, products
        print(f"  {solver:<15} {what:<44} {error:8.1e} {products:9d}")


def converged(outcome):
    """The solution of a solver that returns it with a flag, which must say that it converged."""
    solution, info = outcome
    if info != 0:
        raise RuntimeError(f"not converged: info {info}")
    return solution


def least_squares(A, b):
    # By default it stops after min(m, n) steps, which is too early in floating point.
    return spla.lsmr(A, b, atol=1e-13, btol=1e-13, conlim=0, maxiter=2000)[0]


def linear_systems(report, H, dense):
    b = -H.gradient
    step = np.linalg.solve(dense, b)
    report.section("Newton step: H d = -gradient")
    # cg wants a positive definite H and does not look whether it is; minres takes any symmetric H.
    report.row("cg", "d", lambda: converged(spla.cg(H, b, rtol=1e-10)), step)
    report.row("minres", "d", lambda: converged(spla.minres(H, b, rtol=1e-12)), step)
    for solver in (spla.gmres, spla.lgmres, spla.bicgstab):
        report.row(solver.__name__, "d", lambda s=solver: converged(s(H, b, rtol=1e-10)), step)
    report.row("lsmr", "d, by least squares", lambda: least_squares(H, b), step)
    damped = H + 0.1 * eye_array(H.shape[0])
    report.row(
        "cg, damped",
        "(H + 0.1 I) d = -gradient",
        lambda: converged(spla.cg(damped, b, rtol=1e-10)),
        np.linalg.solve(dense + 0.1 * np.eye(len(dense)), b),
    )
    weights = slice(1, None)  # the bias comes first: leaves lie in the order of their names
    block = H.block(weights, weights)
    report.row(
        "cg, a block",
        "the step of the weights alone",
        lambda: converged(spla.cg(block, b[weights], rtol=1e-10)),
        np.linalg.solve(dense[weights, weights], b[weights]),
    )


def spectrum(report, H, dense):
    eigenvalues = np.linalg.eigvalsh(dense)
    rng = np.random.default_rng(0)
    v0 = rng.standard_normal(H.shape[0])  # a seeded start makes the run reproducible
    block = rng.standard_normal((H.shape[0], 4))

    def ends(which, k):
        values = spla.eigsh(H, k=k, which=which, v0=v0, return_eigenvectors=False)
        return np.sort(values)

    report.section("Spectrum")
    report.row("eigsh, LA", "5 largest eigenvalues", lambda: ends("LA", 5), eigenvalues[-5:])
    report.row("eigsh, SA", "3 smallest eigenvalues", lambda: ends("SA", 3), eigenvalues[:3])
    report.row(
        "lobpcg",
        "4 largest eigenvalues, by blocks",
        # Twenty steps, its default, are rarely enough.
        lambda: np.sort(spla.lobpcg(H, block, maxiter=200, tol=1e-7)[0]),
        eigenvalues[-4:],
    )
    report.row(
        "svds",
        "3 largest singular values",
        lambda: np.sort(spla.svds(H, k=3, v0=v0, return_singular_vectors=False)),
        eigenvalues[-3:],
    )


def functions_of_the_matrix(report, H, dense):
    v = np.random.default_rng(1).standard_normal(H.shape[0])
    report.section("Functions and norms")
    report.row(
        "expm_multiply",
        "exp(-H) v: a gradient flow for unit time",
        # The trace spares it an estimate by random products.
        lambda: spla.expm_multiply(-H, v, traceA=-np.trace(dense)),
        scipy.linalg.expm(-dense) @ v,
    )
    report.row(
        "onenormest",
        "the largest column sum, a lower bound",
        lambda: np.array([spla.onenormest(H)]),
        np.array([np.linalg.norm(dense, 1)]),
    )


def rectangular(H, params, features):
    """The least-squares solvers take a Jacobian, which is not symmetric and not square."""
    J = jacobian_operator(scores, params, args=(features,))
    target = np.sin(np.arange(J.shape[0]))
    by_lsmr = least_squares(J, target)
    exact = np.linalg.lstsq(J.to_dense(), target, rcond=None)[0]
    error = float(np.linalg.norm(by_lsmr - exact) / np.linalg.norm(exact))
    print(f"\nlsmr with a Jacobian, {J.shape[0]} x {J.shape[1]}: relative error {error:.1e}")
    return error


def draw(path, report, dense):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    matrix, bars = figure.subplots(1, 2)
    limit = np.abs(dense).max()
    image = matrix.imshow(dense, cmap="RdBu_r", vmin=-limit, vmax=limit)
    matrix.set(title="The Hessian, formed once to check by", xlabel="parameter", ylabel="parameter")
    figure.colorbar(image, ax=matrix)
    names = list(report.products)[::-1]
    bars.barh(names, [report.products[name] for name in names], color="C0")
    bars.set(title="Hessian products by each solver", xlabel="products", xscale="log")
    figure.savefig(path, dpi=120)
    print(f"\nFigure: {path}")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", metavar="PATH", help="save a figure here")
    options = parser.parse_args(argv)

    features, signs = patients()
    args = (features, signs, 1e-2)
    start = {"w": np.zeros(features.shape[1]), "b": 0.0}
    early = minimize(loss, start, args, options={"maxiter": 2})  # not at the minimum yet
    H = early.curvature
    print(f"{features.shape[0]} patients, {H.shape[0]} parameters; {H}")

    report = Report(H)
    dense = H.to_dense(symmetrize=True)
    linear_systems(report, H, dense)
    spectrum(report, H, dense)
    functions_of_the_matrix(report, H, dense)
    least_squares_error = rectangular(H, early.params, features)
    if options.figure:
        draw(options.figure, report, dense)
    return report.errors | {"lsmr, a Jacobian": least_squares_error}


if __name__ == "__main__":
    main()
