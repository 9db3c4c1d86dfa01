"""Newton's method on images of handwritten digits, with exact curvature and no matrix.

The data are scikit-learn's digits: 1,797 real images of 8 x 8 pixels. The example

1. fits a softmax regression of 650 parameters and compares it with scikit-learn,
2. computes a Newton step by two of SciPy's linear solvers,
3. finds both ends of the Hessian's spectrum at the optimum,
4. trains a network of 1,210 parameters, and watches its Hessian turn from indefinite to positive.

Run it from anywhere; it takes a few seconds:

    python digits_newton.py
    python digits_newton.py --progress --figure digits.png
"""

import argparse
import time
from dataclasses import dataclass

import autograd.numpy as np
from autograd.scipy.special import logsumexp
from scipy.optimize import OptimizeResult
from scipy.sparse import eye_array
from scipy.sparse.linalg import cg, eigsh, minres
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from hessop import Objective, hessian_operator, minimize

PENALTY = 1e-3
CLASSES = 10


# --- the two models -------------------------------------------------------------------------------


def linear_scores(params, images):
    return images @ params["W"] + params["b"]


def network_scores(params, images):
    hidden = np.tanh(images @ params["W1"] + params["b1"])
    return hidden @ params["W2"] + params["b2"]


def penalised(scores, params, one_hot):
    """Mean cross-entropy and a quadratic penalty on every parameter."""
    cross_entropy = np.mean(logsumexp(scores, axis=1) - np.sum(one_hot * scores, axis=1))
    return cross_entropy + PENALTY / 2 * sum(np.sum(p**2) for p in params.values())


def linear_loss(params, images, one_hot):
    return penalised(linear_scores(params, images), params, one_hot)


def network_loss(params, images, one_hot):
    return penalised(network_scores(params, images), params, one_hot)


def linear_start():
    return {"W": np.zeros((64, CLASSES)), "b": np.zeros(CLASSES)}


def network_start(hidden=16):
    rng = np.random.default_rng(0)
    return {
        "W1": rng.standard_normal((64, hidden)) / np.sqrt(64),
        "b1": np.zeros(hidden),
        "W2": rng.standard_normal((hidden, CLASSES)) / np.sqrt(hidden),
        "b2": np.zeros(CLASSES),
    }


# --- training -------------------------------------------------------------------------------------


@dataclass
class Fit:
    """A trained model, and what its training went through."""

    result: OptimizeResult
    path: list  # the flat parameters, from the start on
    losses: list
    gradient_norms: list
    seconds: float


def train(loss, start, args, progress):
    objective = Objective(loss, start, args)
    path = [objective.x0]
    began = time.perf_counter()
    result = minimize(
        loss,
        start,
        args=args,
        method="trust-krylov",
        options={"gtol": 1e-6},
        callback=path.append,
        progress=progress,
    )
    seconds = time.perf_counter() - began
    visited = [objective.value_and_grad(x) for x in path]
    losses = [value for value, _ in visited]
    gradient_norms = [float(np.linalg.norm(gradient)) for _, gradient in visited]
    return Fit(result, path, losses, gradient_norms, seconds)


def accuracy(scores, labels):
    return float(np.mean(np.argmax(scores, axis=1) == labels))


def fit_by_scikit_learn(solver, images, labels):
    """The same objective by scikit-learn: the biases belong to a column of ones."""
    model = LogisticRegression(
        C=1 / (len(images) * PENALTY),
        fit_intercept=False,
        solver=solver,
        tol=1e-7,
        max_iter=10_000,
    )
    with_ones = np.column_stack([images, np.ones(len(images))])
    began = time.perf_counter()
    model.fit(with_ones, labels)
    seconds = time.perf_counter() - began
    params = {"W": model.coef_[:, :-1].T, "b": model.coef_[:, -1]}
    return params, int(model.n_iter_[0]), seconds


# --- curvature ------------------------------------------------------------------------------------


def newton_step(solver, H):
    """Solve ``H d = -gradient``; also the residual, measured, and the products it took."""
    before = H.n_matvec
    step, _ = solver(H, -H.gradient, rtol=1e-10)
    products = H.n_matvec - before
    residual = np.linalg.norm(H @ step + H.gradient) / np.linalg.norm(H.gradient)
    return step, float(residual), products


def largest_eigenvalues(H, k):
    # A seeded start makes Lanczos reproducible.
    v0 = np.random.default_rng(0).standard_normal(H.shape[0])
    return np.sort(eigsh(H, k, which="LA", v0=v0, return_eigenvectors=False))


def smallest_eigenvalues(H, k):
    """The k smallest eigenvalues, to 1e-5 of the largest.

    eigsh measures its tolerance by the eigenvalue that it looks for, and does not converge where
    that is close to zero and one of many. Shifted down by the largest, it is large itself.
    """
    n = H.shape[0]
    top = largest_eigenvalues(H, 1)[0]
    shifted = H - top * eye_array(n)
    v0 = np.random.default_rng(0).standard_normal(n)
    # The more Lanczos vectors, the fewer restarts: a wide basis pays where eigenvalues are crowded.
    found = eigsh(shifted, k, which="SA", v0=v0, ncv=100, tol=1e-5, return_eigenvectors=False)
    return np.sort(found + top)


def spectrum_along(fit, loss, start, args, every=10):
    """Smallest and largest eigenvalue at the start, at every tenth iterate, and at the end."""
    objective = Objective(loss, start, args)
    iterations = [*range(0, len(fit.path) - 1, every), len(fit.path) - 1]
    hessians = [objective.hess(fit.path[i]) for i in iterations]
    smallest = [float(smallest_eigenvalues(H, 1)[0]) for H in hessians]
    largest = [float(largest_eigenvalues(H, 1)[0]) for H in hessians]
    return iterations, smallest, largest


# --- the four parts -------------------------------------------------------------------------------


def softmax_regression(images, labels, args, progress):
    fit = train(linear_loss, linear_start(), args, progress)
    result = fit.result
    print(f"\nSoftmax regression, {result.x.size} parameters, by three methods")
    print(
        f"  {'':<24} {'loss':>14} {'|gradient|':>11} {'accuracy':>9} {'iterations':>11} "
        f"{'products':>9} {'seconds':>8}"
    )

    def row(name, params, iterations, products, seconds):
        H = hessian_operator(linear_loss, params, args=args)
        print(
            f"  {name:<24} {H.value:14.10f} {np.linalg.norm(H.gradient):11.1e} "
            f"{accuracy(linear_scores(params, images), labels):9.4f} {iterations:11d} "
            f"{products:>9} {seconds:8.2f}"
        )
        return H.value

    row("hessop, trust-krylov", result.params, result.nit, result.nhessp, fit.seconds)
    others = []
    for solver in ("newton-cg", "lbfgs"):
        params, iterations, seconds = fit_by_scikit_learn(solver, images, labels)
        others.append(row(f"scikit-learn, {solver}", params, iterations, "", seconds))
    difference = max(abs(result.fun - other) / other for other in others)
    print(f"  The losses agree to {difference:.1e}, relatively.")
    return fit, difference


def newton_steps(args):
    early = minimize(linear_loss, linear_start(), args=args, options={"maxiter": 3})
    H = early.curvature
    by_cg, cg_residual, cg_products = newton_step(cg, H)
    by_minres, minres_residual, minres_products = newton_step(minres, H)
    agreement = float(np.linalg.norm(by_cg - by_minres) / np.linalg.norm(by_cg))
    after = Objective(linear_loss, linear_start(), args).fun(H.x + by_cg)
    promised = H.value + by_cg @ H.gradient + H.quadratic_form(by_cg) / 2

    print("\nThe Newton step after three iterations: H d = -gradient")
    print(f"  by cg            residual {cg_residual:.1e}, {cg_products} products")
    print(f"  by minres        residual {minres_residual:.1e}, {minres_products} products")
    print(f"  they differ by   {agreement:.1e}, relatively")
    print(f"  the step takes   the loss from {H.value:.6f} to {after:.6f}; ", end="")
    print(f"the quadratic model says {promised:.6f}")
    return {
        "cg_residual": cg_residual,
        "minres_residual": minres_residual,
        "step_difference": agreement,
    }


def both_ends(H):
    largest, smallest = largest_eigenvalues(H, 10), smallest_eigenvalues(H, 5)
    print("\nThe Hessian at the optimum")
    print("  ten largest eigenvalues    " + " ".join(f"{value:.4f}" for value in largest[:5]))
    print("                             " + " ".join(f"{value:.4f}" for value in largest[5:]))
    print("  five smallest              " + " ".join(f"{value:.6f}" for value in smallest))
    print("  Adding the same to the weights of all classes changes no prediction. In those")
    print(f"  directions only the penalty curves, so many eigenvalues sit at {PENALTY}.")
    return largest, smallest


def tanh_network(images, labels, args, progress):
    start = network_start()
    fit = train(network_loss, start, args, progress)
    spectrum = spectrum_along(fit, network_loss, start, args)
    before = accuracy(network_scores(start, images), labels)
    after = accuracy(network_scores(fit.result.params, images), labels)

    print(f"\nA tanh network, {fit.result.x.size} parameters, by trust-krylov")
    print("  iteration       loss  |gradient|   smallest eigenvalue    largest")
    for i, low, high in zip(*spectrum, strict=True):
        loss, norm = fit.losses[i], fit.gradient_norms[i]
        print(f"  {i:9d} {loss:10.6f}  {norm:10.1e}  {low:20.6f} {high:10.4f}")
    print(
        f"  Accuracy from {before:.4f} to {after:.4f}, in {fit.result.nhessp} products and ", end=""
    )
    print(f"{fit.seconds:.1f} seconds.")
    return fit, spectrum, after


def draw(path, linear, largest, smallest, network, spectrum):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subfigures(2, 1)
    convergence, eigenvalues = top.subplots(1, 2)

    for name, fit in (("softmax regression", linear), ("tanh network", network)):
        convergence.semilogy(fit.gradient_norms, "o-", markersize=3, label=name)
    convergence.axhline(1e-6, color="grey", linestyle=":", label="gtol")
    convergence.set(
        title="Training by trust-krylov", xlabel="iteration", ylabel="norm of the gradient"
    )
    convergence.legend()

    iterations, lows, highs = spectrum
    eigenvalues.plot(iterations, highs, "^-", color="C3", label="largest, network")
    eigenvalues.plot(iterations, lows, "v-", color="C0", label="smallest, network")
    eigenvalues.axhline(0, color="grey", linewidth=0.8)
    eigenvalues.set_yscale("symlog", linthresh=1e-3)
    eigenvalues.set(
        title="Both ends of the network's Hessian", xlabel="iteration", ylabel="eigenvalue"
    )
    eigenvalues.legend()

    bottom.suptitle("Weights of the softmax regression")
    weights = linear.result.params["W"]
    limit = np.abs(weights).max()
    for digit, axes in enumerate(bottom.subplots(2, 5).flat):
        image = axes.imshow(weights[:, digit].reshape(8, 8), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set_title(f"{digit}")
        axes.set_axis_off()
    bottom.colorbar(image, ax=bottom.axes, label="weight")
    figure.savefig(path, dpi=120)
    print(f"\nFigure: {path}")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", metavar="PATH", help="save a figure here")
    parser.add_argument("--progress", action="store_true", help="show progress bars")
    options = parser.parse_args(argv)

    pixels, labels = load_digits(return_X_y=True)
    images = pixels / 16
    args = (images, np.eye(CLASSES)[labels])
    print(f"{len(images)} images of {images.shape[1]} pixels, {CLASSES} digits")

    linear, loss_difference = softmax_regression(images, labels, args, options.progress)
    steps = newton_steps(args)
    largest, smallest = both_ends(linear.result.curvature)
    network, spectrum, network_accuracy = tanh_network(images, labels, args, options.progress)
    if options.figure:
        draw(options.figure, linear, largest, smallest, network, spectrum)

    return {
        "gradient_norm": linear.gradient_norms[-1],
        "loss_difference": loss_difference,
        "accuracy": accuracy(linear_scores(linear.result.params, images), labels),
        **steps,
        "largest": largest,
        "smallest": smallest,
        "network_accuracy": network_accuracy,
        "network_smallest": spectrum[1],
        "network_largest": spectrum[2],
    }


if __name__ == "__main__":
    main()
