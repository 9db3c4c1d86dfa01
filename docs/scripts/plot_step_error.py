"""Plot the error of a differenced Hessian product against its step.

Writes ``docs/explanation/step-error.svg``, or another file::

    python docs/scripts/plot_step_error.py [file]
"""

from __future__ import annotations

import sys
from pathlib import Path

import autograd.numpy as np
import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from autograd import grad

from hessop import hessian_operator
from hessop.differentiate.finite_difference import difference_product, difference_step

OUTPUT = Path(__file__).parents[1] / "explanation" / "step-error.svg"
BLUE, ORANGE, GREY = "#2a6f97", "#c8553d", "#6b6b6b"


def fun(x):
    """A smooth function whose derivatives of every order are of order one."""
    return np.sum(np.exp(np.sin(x)) + np.cos(x) * np.roll(x, 1))


def errors(x, v, steps, *, central):
    """The relative error of the product with v, for each length of the step ``h v``."""
    gradient = grad(fun)
    at_x = None if central else gradient(x)
    exact = hessian_operator(fun, x) @ v
    products = [difference_product(gradient, x, v, h, at_x=at_x) for h in steps]
    return [np.linalg.norm(p - exact) / np.linalg.norm(exact) for p in products]


def main(output=OUTPUT):
    """Draw the figure and save it."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(20)
    v = rng.standard_normal(20)
    v /= np.linalg.norm(v)
    steps = np.logspace(-13, 0, 157)
    eps = np.finfo(float).eps

    plt.rcParams.update({"font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "hessop"})
    figure, axes = plt.subplots(figsize=(6.8, 4.4), layout="constrained")
    axes.loglog(steps, errors(x, v, steps, central=False), color=ORANGE, lw=1.4)
    axes.loglog(steps, errors(x, v, steps, central=True), color=BLUE, lw=1.4)

    # Slopes of theory, through a point of the measured curves well away from the bend.
    def slope(power, at, value, low, high, color):
        ends = np.array([low, high])
        axes.loglog(ends, value * (ends / at) ** power, color=color, lw=1.0, ls=(0, (5, 3)))

    one = errors(x, v, [1e-4], central=False)[0]
    two = errors(x, v, [1e-2], central=True)[0]
    slope(1, 1e-4, 2.5 * one, 3e-7, 3e-1, GREY)
    slope(2, 1e-2, 0.4 * two, 2e-4, 5e-1, GREY)
    slope(-1, 1e-10, 12 * eps / 1e-10, 1e-13, 3e-6, GREY)
    for text, place in (
        (r"$\propto h$", (1e-4, 5e-4)),
        (r"$\propto h^2$", (2.2e-2, 4e-6)),
        (r"$\propto \epsilon / h$", (3e-12, 3e-3)),
    ):
        axes.annotate(text, place, color=GREY)

    for central, color, name, place in (
        (False, ORANGE, "one-sided", (8e-5, 4e-6)),
        (True, BLUE, "central", (2e-6, 3e-12)),
    ):
        h = difference_step(x, v, central=central)
        error = errors(x, v, [h], central=central)[0]
        axes.plot(h, error, "o", ms=8, mfc="white", mec=color, mew=2, zorder=5)
        axes.annotate(name, place, color=color)
    axes.set(
        xlabel=r"length of the step, $h\,\Vert v\Vert$",
        ylabel=r"relative error of the product",
        xlim=(1e-13, 1),
        ylim=(1e-13, 1e1),
    )
    axes.grid(alpha=0.25, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(
        output, metadata={"Date": None} if str(output).endswith("svg") else None, dpi=150
    )
    plt.close(figure)


if __name__ == "__main__":
    main(*sys.argv[1:])
