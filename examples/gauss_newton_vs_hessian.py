"""The Hessian and the Gauss-Newton matrix of a small network, side by side.

A tanh network of 760 parameters learns scikit-learn's digits: 1,797 real images of 8 x 8 pixels.
The Gauss-Newton matrix leaves out the curvature of the network itself. The example

1. compares both matrices along the training: spectra, negative eigenvalues, distance,
2. finds the ends of the spectra again by products alone,
3. takes damped Newton steps with both from the same start, and counts products,
4. takes undamped steps with both next to the minimum.

Run it from anywhere; it takes about ten seconds:

    python gauss_newton_vs_hessian.py
    python gauss_newton_vs_hessian.py --figure curvature.png
"""

import argparse
from dataclasses import dataclass

import autograd.numpy as np
import scipy.linalg
from autograd.scipy.special import logsumexp
from scipy.sparse import eye_array
from scipy.sparse.linalg import cg, eigsh, minres
from sklearn.datasets import load_digits

from hessop import (
    DenseOperator,
    Objective,
    gauss_newton_operator,
    hessian_operator,
    minimize,
)

PENALTY = 1e-3
CLASSES = 10
HIDDEN = 10


# --- the network ----------------------------------------------------------------------------------


def scores(params, images):
    hidden = np.tanh(images @ params["W1"] + params["b1"])
    return hidden @ params["W2"] + params["b2"]


def start():
    rng = np.random.default_rng(0)
    return {
        "W1": rng.standard_normal((64, HIDDEN)) / np.sqrt(64),
        "b1": np.zeros(HIDDEN),
        "W2": rng.standard_normal((HIDDEN, CLASSES)) / np.sqrt(HIDDEN),
        "b2": np.zeros(CLASSES),
    }


class Problem:
    """The loss of the network on the digits, and its two curvature operators."""

    def __init__(self):
        pixels, labels = load_digits(return_X_y=True)
        self.images, self.one_hot = pixels / 16, np.eye(CLASSES)[labels]
        self.objective = Objective(self.loss, start())
        self.n = self.objective.x0.size

    def cross_entropy(self, z):
        return np.mean(logsumexp(z, axis=1) - np.sum(self.one_hot * z, axis=1))

    def loss(self, params):
        penalty = PENALTY / 2 * sum(np.sum(p**2) for p in params.values())
        return self.cross_entropy(scores(params, self.images)) + penalty

    def hessian(self, x):
        return hessian_operator(self.loss, self.objective.unflatten(x))

    def gauss_newton(self, x):
        """Of the cross-entropy alone: the penalty adds ``PENALTY`` times the identity."""
        params = self.objective.unflatten(x)
        return gauss_newton_operator(scores, self.cross_entropy, params, args=(self.images,))


def train(problem):
    """The iterates of trust-krylov, flat; the first is the start, the last the minimum."""
    path = [problem.objective.x0]
    minimize(
        problem.loss,
        start(),
        method="trust-krylov",
        options={"gtol": 1e-6},
        callback=path.append,
    )
    return path


# --- 1. both matrices, whole ----------------------------------------------------------------------


@dataclass
class Pair:
    """Both matrices at a point, formed."""

    iteration: int
    loss: float
    hessian: DenseOperator
    gauss_newton: DenseOperator

    @property
    def distance(self):
        """Of the two, relative to the Hessian, in the Frobenius norm."""
        H, G = self.hessian.to_dense(), self.gauss_newton.to_dense()
        return float(np.linalg.norm(H - G) / np.linalg.norm(H))


def pair_at(problem, path, i):
    H, G = problem.hessian(path[i]), problem.gauss_newton(path[i])
    penalised = DenseOperator.from_operator(G) + PENALTY * eye_array(problem.n)
    return Pair(i, H.value, DenseOperator.from_operator(H), penalised)


def compare(problem, path):
    iterations = [0, 4, 8, 12, len(path) - 1]
    pairs = [pair_at(problem, path, i) for i in iterations]
    print(f"The Hessian H and the Gauss-Newton matrix G, {problem.n} x {problem.n}, while training")
    print(f"  {'':19}   {'eigenvalues of H':^31}   {'of G':^19}   distance")
    print(
        f"  {'iteration':9} {'loss':>9}   {'smallest':>10} {'largest':>9} {'negative':>10}   "
        f"{'smallest':>10} {'largest':>8}"
    )
    for pair in pairs:
        h, g = pair.hessian.eigh[0], pair.gauss_newton.eigh[0]
        print(
            f"  {pair.iteration:9d} {pair.loss:9.5f}   {h[0]:10.6f} {h[-1]:9.4f} "
            f"{pair.hessian.inertia().negative:10d}   {g[0]:10.6f} {g[-1]:8.4f}   "
            f"{pair.distance:8.3f}"
        )
    print(
        f"  The penalty adds {PENALTY} to every eigenvalue. The distance falls, though not to zero:"
    )
    print("  as predictions get certain, the residuals vanish, which make H differ from G, but so")
    print("  does the curvature of the cross-entropy, which G is made of.")
    return pairs


# --- 2. the ends of the spectra, by products ------------------------------------------------------


def ends(A):
    """Smallest and largest eigenvalue, and the products that it took."""
    before = A.n_matvec
    v0 = np.random.default_rng(0).standard_normal(A.shape[0])
    top = eigsh(A, 1, which="LA", v0=v0, return_eigenvectors=False)[0]
    # Shifted down by the largest, the smallest is large itself, and a wide basis finds it where
    # eigenvalues are crowded: see digits_newton.py.
    shifted = A - top * eye_array(A.shape[0])
    low = eigsh(shifted, 1, which="SA", v0=v0, ncv=100, tol=1e-5, return_eigenvectors=False)[0]
    return float(low + top), float(top), A.n_matvec - before


def find_ends(problem, path, pairs):
    print("\nThe ends of the spectra by eigsh, without forming the matrices")
    print("  iteration   of       smallest    largest   products   off by")
    worst = 0.0
    for pair in (pairs[0], pairs[-1]):
        x = path[pair.iteration]
        penalised = pair.gauss_newton.eigh[0] - PENALTY
        for name, A, exact in (
            ("H", problem.hessian(x), pair.hessian.eigh[0]),
            ("G", problem.gauss_newton(x), penalised),
        ):
            low, top, products = ends(A)
            error = max(abs(low - exact[0]), abs(top - exact[-1])) / top
            worst = max(worst, error)
            low = round(low, 5) + 0.0  # not -0.0
            print(
                f"  {pair.iteration:9d}   {name:4} {low:12.5f} {top:10.5f} {products:10d}   "
                f"{error:.0e}"
            )
    print("  Here G is without the penalty: its smallest eigenvalue is zero.")
    return worst


# --- 3. damped steps from the start ---------------------------------------------------------------


@dataclass
class Run:
    """A descent: after each step that was taken, products so far and the loss."""

    products: list
    losses: list
    rejected: int

    def loss_after(self, budget):
        return min(
            loss for spent, loss in zip(self.products, self.losses, strict=True) if spent <= budget
        )


def damped_newton(problem, make, solver, shift, budget):
    """Levenberg and Marquardt's rule: more damping where the quadratic model was wrong.

    The matrix of the model is ``make(x) + shift I``. Each step is given 20 iterations of the
    solver, so that a step costs the same with both matrices.
    """
    x, damping, spent = problem.objective.x0, 1.0, 0
    value, gradient = problem.objective.value_and_grad(x)
    A = make(x)
    run = Run([0], [value], 0)
    while spent < budget:
        before = A.n_matvec
        damped = A + (shift + damping) * eye_array(problem.n)
        step, _ = solver(damped, -gradient, rtol=1e-6, maxiter=20)
        promised = -(gradient @ step + (A.quadratic_form(step) + shift * step @ step) / 2)
        spent += A.n_matvec - before
        gain = (value - problem.objective.fun(x + step)) / promised
        if promised > 0 and gain > 0:
            x = x + step
            value, gradient = problem.objective.value_and_grad(x)
            A = make(x)
            run.products.append(spent)
            run.losses.append(value)
        else:
            run.rejected += 1
        if promised > 0 and gain > 0.75:
            damping /= 3
        elif promised <= 0 or gain < 0.25:
            damping *= 4
    return run


def descend(problem, budget=800):
    # cg needs a positive definite matrix, and the Hessian is none at the start.
    by_hessian = damped_newton(problem, problem.hessian, minres, 0.0, budget)
    by_gauss_newton = damped_newton(problem, problem.gauss_newton, cg, PENALTY, budget)
    print("\nThe loss after damped Newton steps from the same start, by products spent")
    spent = (0, 50, 100, 150, 200, 300, 400, 600, 800)
    print(f"  {'products':16}" + "".join(f"{budget:9d}" for budget in spent))
    for name, run in (("H, by minres", by_hessian), ("G, by cg", by_gauss_newton)):
        losses = "".join(f"{run.loss_after(budget):9.4f}" for budget in spent)
        print(f"  {name:16}{losses}   {len(run.losses) - 1} steps, {run.rejected} rejected")
    return by_hessian, by_gauss_newton


# --- 4. undamped steps next to the minimum --------------------------------------------------------


def undamped_newton(problem, make, shift, x, steps=4):
    """The norm of the gradient at x and after each step."""
    norms = []
    for _ in range(steps):
        gradient = problem.objective.grad(x)
        norms.append(float(np.linalg.norm(gradient)))
        A = make(x) + shift * eye_array(problem.n)
        x = x + cg(A, -gradient, rtol=1e-10, maxiter=3000)[0]
    return [*norms, float(np.linalg.norm(problem.objective.grad(x)))]


def finish(problem, minimum, pair):
    direction = np.random.default_rng(1).standard_normal(problem.n)
    x = minimum + 1e-3 * direction / np.linalg.norm(direction)
    by_hessian = undamped_newton(problem, problem.hessian, 0.0, x)
    by_gauss_newton = undamped_newton(problem, problem.gauss_newton, PENALTY, x)
    ratios = scipy.linalg.eigh(
        pair.hessian.to_dense(), pair.gauss_newton.to_dense(), eigvals_only=True
    )
    print("\nThe norm of the gradient after undamped steps, starting 0.001 away from the minimum")
    for name, norms in (("H", by_hessian), ("G", by_gauss_newton)):
        print(f"  {name}   " + " ".join(f"{norm:9.1e}" for norm in norms))
    print(
        f"  The curvature by H is {ratios[0]:.2f} to {ratios[-1]:.2f} times that by G, depending on"
    )
    print("  the direction. A step with G multiplies the error there by one minus this ratio:")
    print("  where the ratio is above 2, the error grows. Enough damping of G brings it below.")
    return by_hessian, by_gauss_newton, ratios


# --- the figure, and what must be true ------------------------------------------------------------


def draw(path, pairs, runs):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    FigureCanvasAgg(figure)
    *spectra, descent = figure.subplots(1, 3)
    spectra[1].sharey(spectra[0])
    for axes, pair in zip(spectra, (pairs[0], pairs[-1]), strict=True):
        for operator, name, color in (
            (pair.hessian, "Hessian", "C3"),
            (pair.gauss_newton, "Gauss-Newton", "C0"),
        ):
            axes.plot(operator.eigh[0][::-1], color=color, label=name)
        axes.axhline(0, color="grey", linewidth=0.8)
        axes.set_yscale("symlog", linthresh=1e-4)
        axes.set(
            title=f"Spectra at iteration {pair.iteration}, loss {pair.loss:.3f}",
            xlabel="eigenvalues, from the largest",
            ylabel="eigenvalue",
        )
        axes.legend()
    for run, name, color in zip(runs, ("Hessian", "Gauss-Newton"), ("C3", "C0"), strict=True):
        descent.semilogy(
            run.products,
            run.losses,
            "o-",
            markersize=3,
            color=color,
            label=f"with {name}",
        )
    descent.set(title="Damped Newton steps", xlabel="products", ylabel="loss")
    descent.set_yticks([0.2, 0.5, 1.0, 2.0], ["0.2", "0.5", "1", "2"])
    descent.minorticks_off()
    descent.legend()
    figure.savefig(path, dpi=120)
    print(f"\nFigure: {path}")


def check(found):
    first, last = found["pairs"][0], found["pairs"][-1]
    # A convex loss makes the Gauss-Newton matrix semidefinite, and the penalty definite.
    assert all(pair.gauss_newton.eigh[0][0] > PENALTY / 2 for pair in found["pairs"])
    assert first.hessian.inertia().negative > 50
    assert last.hessian.inertia().negative == 0
    assert last.distance < first.distance / 3
    assert found["ends_error"] < 1e-5
    by_hessian, by_gauss_newton = found["runs"]
    assert by_gauss_newton.loss_after(100) < by_hessian.loss_after(100)
    assert max(run.losses[-1] for run in found["runs"]) < found["losses"][0] / 5
    # Newton's method converges quadratically. Gauss-Newton steps do not without damping.
    assert found["by_hessian"][-1] < 1e-10
    assert found["by_gauss_newton"][-1] > 1e3 * found["by_hessian"][-1]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", "--plot", metavar="PATH", help="save a figure here")
    options = parser.parse_args(argv)

    problem = Problem()
    path = train(problem)
    pairs = compare(problem, path)
    error = find_ends(problem, path, pairs)
    runs = descend(problem)
    by_hessian, by_gauss_newton, ratios = finish(problem, path[-1], pairs[-1])
    found = {
        "losses": [pair.loss for pair in pairs],
        "pairs": pairs,
        "ends_error": error,
        "runs": runs,
        "by_hessian": by_hessian,
        "by_gauss_newton": by_gauss_newton,
        "ratios": ratios,
    }
    check(found)
    if options.figure:
        draw(options.figure, pairs, runs)
    return found


if __name__ == "__main__":
    main()
