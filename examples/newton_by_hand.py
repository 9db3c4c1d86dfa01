"""Newton's method by hand: a damped Newton-CG in twenty lines, and re-training by one step.

scikit-learn's digits: 1,797 real images of 8 x 8 pixels. The example

1. writes a damped Newton-CG with a line search, and trains a tanh network of 760 parameters, whose
   Hessian is indefinite at the start,
2. compares it with a trust-region method of SciPy,
3. fits a softmax regression of 650 parameters, takes images away, and fits it again by one Newton
   step, whose estimated error is compared with real re-training.

Run it from anywhere; it takes about ten seconds:

    python newton_by_hand.py
    python newton_by_hand.py --figure newton.png
"""

import argparse
from dataclasses import dataclass

import autograd.numpy as np
from autograd.scipy.special import logsumexp
from sklearn.datasets import load_digits

from hessop import (
    DenseOperator,
    Objective,
    hessian_operator,
    minimize,
    newton_retrain,
    newton_step,
)

CLASSES = 10
HIDDEN = 10
PENALTY = 1e-3


# --- 1. Newton-CG ---------------------------------------------------------------------------------


def newton_cg(objective, gtol=1e-8):
    """Minimize an objective from its x0.

    Each step is damped as its curvature asks for, solved the better the closer the minimum is, and
    halved until the function goes down by a part of what its slope promises (Armijo's rule).
    """
    x, steps, rtol = objective.x0, [], 0.1
    while True:
        newton = newton_step(objective, x, rtol=rtol)
        if newton.gradient_norm < gtol:
            return x, newton, steps
        t = 1.0
        while not objective.fun(newton.moved(t)) <= newton.value + 1e-4 * t * newton.slope:
            t /= 2
        x = newton.moved(t)
        steps.append((newton, t))
        rtol = min(0.1, newton.gradient_norm**0.5)


def network(params, images):
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


def cross_entropy(scores, one_hot):
    return logsumexp(scores, axis=1) - np.sum(one_hot * scores, axis=1)


def network_loss(params, images, one_hot):
    penalty = PENALTY / 2 * sum(np.sum(leaf**2) for leaf in params.values())
    return np.mean(cross_entropy(network(params, images), one_hot)) + penalty


def train_network(images, one_hot):
    objective = Objective(network_loss, start(), (images, one_hot))
    _, last, steps = newton_cg(objective)
    print(f"Newton-CG by hand: a tanh network of {objective.x0.size} parameters")
    print("  step      loss  gradient   least eigenvalue    damping   length   products")
    for number, (newton, t) in enumerate([*steps, (last, 0.0)]):
        if number % 4 == 0 or number == len(steps):
            length = "" if newton is last else f"{t:.3f}"
            print(
                f"  {number:4d} {newton.value:9.5f} {newton.gradient_norm:9.1e} "
                f"{newton.spectrum.least:18.5f} {newton.damping:10.4f} {length:>8} "
                f"{newton.n_matvec:10d}"
            )
    print(f"  The first damping: {steps[0][0].damping_reason}")
    products = objective.counts.nhessp
    result = minimize(network_loss, start(), (images, one_hot), tol=1e-8)
    print(f"  By hand:              loss {last.value:.5f} after {products} products")
    print(f"  SciPy's trust-krylov: loss {result.fun:.5f} after {result.nhessp} products")
    print(
        "  A network has many minima. Each step by hand spends 30 products on a look at both ends"
    )
    print("  of the spectrum, which tells saddles from minima.")
    return steps, last, result


# --- 3. re-training by one step -------------------------------------------------------------------


def softmax_loss(params, images, one_hot, weights):
    losses = cross_entropy(images @ params["W"] + params["b"], one_hot)
    penalty = PENALTY / 2 * (np.sum(params["W"] ** 2) + np.sum(params["b"] ** 2))
    return np.sum(weights * losses) / len(images) + penalty


def trained(params, data, weights):
    """The minimum, by SciPy; and the products that it took."""
    result = minimize(
        softmax_loss,
        params,
        (*data, weights),
        method="trust-ncg",
        options={"gtol": 1e-10, "maxiter": 1000},
    )
    return result.params, result.nhessp


def distance(params, others):
    return float(np.sqrt(sum(np.sum((params[k] - others[k]) ** 2) for k in params)))


def changes(images, one_hot, labels, params):
    """Which images are taken away."""
    shuffled = np.random.default_rng(0).permutation(len(images))
    losses = cross_entropy(images @ params["W"] + params["b"], one_hot)
    worst = np.argsort(-losses)
    return {
        "1 image": shuffled[:1],
        "10 images": shuffled[:10],
        "100 images": shuffled[:100],
        "the worst image": worst[:1],
        "the 10 worst": worst[:10],
        "the 100 worst": worst[:100],
        "every nine": np.flatnonzero(labels == 9),
    }


@dataclass
class Change:
    """What one step makes of a change, and what real training does."""

    name: str
    moved: float  # the distance between the old minimum and the new
    left: float  # from the step to the new minimum
    estimate: float
    corrected: float  # from the second step to the new minimum
    is_enough: bool
    products: int
    with_preconditioner: int
    of_training: int


def retrain(images, one_hot, labels):
    data, ones = (images, one_hot), np.ones(len(images))
    nothing = {"W": np.zeros((64, CLASSES)), "b": np.zeros(CLASSES)}
    params, products = trained(nothing, data, ones)
    H = hessian_operator(softmax_loss, params, args=(*data, ones))
    # Formed once, it serves for all that is asked of this fit.
    M = DenseOperator.from_operator(H).inverse()

    def change(name, gone):
        weights = ones.copy()
        weights[gone] = 0.0
        again = newton_retrain(softmax_loss, params, (*data, weights))
        helped = newton_retrain(softmax_loss, params, (*data, weights), M=M)
        new, of_training = trained(params, data, weights)
        return Change(
            name=name,
            moved=distance(new, params),
            left=distance(new, again.params),
            estimate=again.error_estimate,
            corrected=distance(new, again.corrected),
            is_enough=again.is_enough,
            products=again.n_matvec,
            with_preconditioner=helped.n_matvec,
            of_training=of_training,
        )

    print(f"\nA softmax regression of {H.shape[0]} parameters, trained with {products} products,")
    print("and without some images: by one Newton step, and by real training from the old fit")
    print(f"{'':24}distance from the new minimum{'':29}products")
    print(
        f"  {'without':15} {'old fit':>9} {'one step':>10} {'estimated':>10} {'two steps':>10}   "
        f"{'enough?':9} {'steps':>6} {'with M':>8} {'training':>10}"
    )
    found = []
    for name, gone in changes(images, one_hot, labels, params).items():
        found.append(one := change(name, gone))
        print(
            f"  {name:15} {one.moved:9.1e} {one.left:10.1e} {one.estimate:10.1e} "
            f"{one.corrected:10.1e}   {'yes' if one.is_enough else 'no':9} {one.products:6d} "
            f"{one.with_preconditioner:8d} {one.of_training:10d}"
        )
    print("  The second step is where the estimate comes from; its products are counted. M is the")
    print("  inverse of the Hessian at the old fit, which was formed once.")
    return found


# --- the figure, and what must be true ------------------------------------------------------------


def draw(path, steps, found):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    descent, errors = figure.subplots(1, 2)
    descent.semilogy([newton.gradient_norm for newton, _ in steps], "o-", markersize=3, color="C0")
    damped = [(k, newton.damping) for k, (newton, _) in enumerate(steps) if newton.damping]
    descent.semilogy(*zip(*damped, strict=True), "s", markersize=4, color="C3")
    descent.set(title="Newton-CG by hand", xlabel="step", ylabel="gradient norm, damping")
    descent.legend(["gradient norm", "damping"])
    moved = [change.moved for change in found]
    for values, marker, color, size, label in (
        (moved, "o", "C7", 6, "old fit"),
        ([change.left for change in found], "o", "C0", 6, "one step"),
        ([change.estimate for change in found], "_", "C3", 16, "one step, estimated"),
        ([change.corrected for change in found], "o", "C2", 6, "two steps"),
    ):
        errors.loglog(moved, values, marker, color=color, markersize=size, label=label)
    errors.set(
        title="Images taken away",
        xlabel="distance between the old minimum and the new",
        ylabel="distance from the new minimum",
    )
    errors.legend()
    figure.savefig(path, dpi=120)
    print(f"\nFigure: {path}")


def check(found):
    steps, last = found["steps"], found["last"]
    # Negative curvature at the start, and a damping that outweighs it; none of either at the end.
    assert steps[0][0].negative_curvature.value < -0.5
    assert steps[0][0].damping > 1.0
    assert last.damping == 0.0
    assert last.spectrum.least > 0.0
    assert all(newton.is_descent for newton, _ in steps)
    assert found["value"] < 0.2
    assert last.gradient_norm < 1e-8
    for change in found["changes"]:
        assert change.with_preconditioner < change.products
        assert 0.5 < change.estimate / change.left < 2.0
        assert change.left < change.moved / 2
        if change.is_enough:
            assert change.left < change.moved / 10
            assert change.corrected < change.left / 10
    assert [change.is_enough for change in found["changes"]][:3] == [True] * 3
    assert not found["changes"][-1].is_enough


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", "--plot", metavar="PATH", help="save a figure here")
    options = parser.parse_args(argv)

    pixels, labels = load_digits(return_X_y=True)
    images, one_hot = pixels / 16, np.eye(CLASSES)[labels]
    steps, last, by_scipy = train_network(images, one_hot)
    found = {
        "steps": steps,
        "last": last,
        "value": last.value,
        "value_by_scipy": float(by_scipy.fun),
        "changes": retrain(images, one_hot, labels),
    }
    check(found)
    if options.figure:
        draw(options.figure, steps, found["changes"])
    return found


if __name__ == "__main__":
    main()
