"""The curvature spectrum of a trained network: a bulk, and as many outliers as classes.

Ghorbani, Krishnan and Xiao (2019) and Papyan (2018, 2019) found that the Hessian of a trained deep
classifier has most eigenvalues near zero, in a bulk, and about one large one for each class; and
that the outliers are those of the Gauss-Newton matrix. The example looks for both in a network of
4,650 parameters, trained on scikit-learn's 1,797 images of digits. It

1. trains the network with smoothed labels: 0.91 for the true class, and 0.01 for each other one,
2. compares the largest eigenvalues of the Hessian and of the Gauss-Newton matrix, finds the widest
   gap between them, and measures how much of their eigenspaces is shared,
3. estimates the density of both spectra, by blocks of products with random vectors,
4. does the same layer by layer: traces, largest eigenvalues, outliers.

Labels are smoothed because that makes the picture plain. With hard labels such a small network
fits every image exactly, its probabilities for the wrong classes differ by orders of magnitude, and
so do the outliers: the gap behind the tenth is then no wider than others (``--smoothing 0``).

Run it from anywhere; it takes about twenty seconds:

    python network_spectrum.py
    python network_spectrum.py --progress --figure spectrum.png
"""

import argparse
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import autograd.numpy as np
from autograd.scipy.special import logsumexp
from sklearn.datasets import load_digits

from hessop import (
    extreme_eigenpairs,
    gauss_newton_operator,
    hessian_operator,
    minimize,
    spectral_density,
    trace,
)

CLASSES = 10
SIZES = (64, 40, 40, CLASSES)
PENALTY = 1e-4
TOP = 16


# --- the network ----------------------------------------------------------------------------------


def softplus(z):
    """Like max(z, 0), and smooth, so that second derivatives exist."""
    return np.logaddexp(0.0, 4.0 * z) / 4.0


def scores(params, images):
    *hidden, last = params.values()
    activations = images
    for layer in hidden:
        activations = softplus(activations @ layer["W"] + layer["b"])
    return activations @ last["W"] + last["b"]


def cross_entropy(scores, targets):
    return np.mean(logsumexp(scores, axis=1) - np.sum(targets * scores, axis=1))


def loss(params, images, targets):
    squares = sum(np.sum(p**2) for layer in params.values() for p in layer.values())
    return cross_entropy(scores(params, images), targets) + PENALTY / 2 * squares


def random_network(rng):
    return {
        f"layer {i}": {"W": rng.standard_normal((m, n)) / np.sqrt(m), "b": np.zeros(n)}
        for i, (m, n) in enumerate(pairwise(SIZES), 1)
    }


def read_digits(smoothing):
    pixels, labels = load_digits(return_X_y=True)
    images = pixels - pixels.mean(axis=0)
    targets = (1.0 - smoothing) * np.eye(CLASSES)[labels] + smoothing / CLASSES
    return images / images.std(), targets, labels


# --- what is measured -----------------------------------------------------------------------------


@dataclass
class Spectrum:
    """What is known of the spectrum of a matrix."""

    name: str
    largest: np.ndarray
    vectors: np.ndarray
    trace: Any
    density: Any = None

    @property
    def outliers(self):
        """Eigenvalues above the widest gap, by ratio, past the third of the largest ones."""
        ratios = self.largest[:-1] / self.largest[1:]
        return 3 + int(np.argmax(ratios[2:]))

    @property
    def gap(self):
        return self.largest[self.outliers - 1] / self.largest[self.outliers]


def spectrum_of(name, A, *, density=False, progress=False):
    pairs = extreme_eigenpairs(A, TOP, which="LA", rng=0, progress=progress)
    assert pairs.converged
    found = Spectrum(
        name,
        pairs.eigenvalues[::-1],
        pairs.eigenvectors[:, ::-1],
        trace(A, rtol=0.02, rng=0, progress=progress),
    )
    if density:
        found.density = spectral_density(A, n_probes=4, degree=80, rng=0, progress=progress)
    return found


def shared(first, second):
    """The mean squared cosine between the spaces of the outliers: 1 where they are the same."""
    k = first.outliers
    cosines = np.linalg.svd(first.vectors[:, :k].T @ second.vectors[:, :k], compute_uv=False)
    return float(np.mean(cosines**2))


def print_spectra(spectra, title):
    print(f"\n{title}")
    print(f"  {'':<22} {'trace':>17} {'largest':>8} {'outliers':>9} {'gap':>6}")
    for one in spectra:
        traced = f"{float(one.trace):.3f} ± {one.trace.standard_error:.3f}"
        print(
            f"  {one.name:<22} {traced:>17} {one.largest[0]:8.3f} {one.outliers:9d} {one.gap:6.2f}"
        )


# --- the parts ------------------------------------------------------------------------------------


def train(images, targets, labels, progress):
    result = minimize(
        loss,
        random_network(np.random.default_rng(0)),
        args=(images, targets),
        method="L-BFGS-B",
        options={"maxiter": 500},
        progress=progress,
    )
    right = np.mean(np.argmax(scores(result.params, images), axis=1) == labels)
    print(f"A network {'-'.join(map(str, SIZES))} of {result.x.size} parameters on the digits")
    print(f"  loss {result.fun:.4f}, accuracy {right:.4f}, after {result.nit} iterations")
    return result.params, float(right)


def operators(params, images, targets):
    """Hessian and Gauss-Newton matrix of the data's part of the loss."""

    def of_data(params):
        return cross_entropy(scores(params, images), targets)

    def model(params):
        return scores(params, images)

    H = hessian_operator(of_data, params)
    G = gauss_newton_operator(model, lambda z: cross_entropy(z, targets), params)
    return H.compile(), G.compile()


def layer_by_layer(H, G, progress):
    """The spectra of the diagonal blocks of each layer: weights and biases together."""
    leaves = H.layout.partition()
    found = []
    for i in range(len(SIZES) - 1):
        # A dict's leaves are sorted by name: biases and weights of the first layer come first.
        rows = np.concatenate(leaves[2 * i : 2 * i + 2])
        for name, A in (("Hessian", H), ("Gauss-Newton", G)):
            label = f"layer {i + 1}, {name}"
            found.append(spectrum_of(label, A.block(rows, rows), progress=progress))
    return found


def save_figure(path, whole, layers):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    axes = figure.subplots(2, 2)
    for axis, one in zip(axes[0], whole, strict=True):
        one.density.plot(ax=axis)
        top = one.largest[: one.outliers]
        axis.plot(top, np.full(top.size, 2e-4), "k|", markersize=14, label=f"{top.size} outliers")
        axis.set(yscale="log", ylim=(1e-4, 1e3), title=one.name, xlabel="eigenvalue")
        axis.legend()
    for one, marker in zip(whole, "o.", strict=True):
        axes[1, 0].semilogy(np.arange(1, TOP + 1), one.largest, marker, label=one.name)
    axes[1, 0].axvline(CLASSES + 0.5, color="grey", linestyle=":")
    axes[1, 0].set(title="The largest eigenvalues", xlabel="number")
    axes[1, 0].legend()
    for one in layers:
        marker = "o-" if "Hessian" in one.name else ".--"
        axes[1, 1].semilogy(np.arange(1, TOP + 1), one.largest, marker, label=one.name)
    axes[1, 1].set(title="Layer by layer", xlabel="number")
    axes[1, 1].legend(fontsize="small")
    figure.savefig(path, dpi=120)
    print(f"\nSaved {path}")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoothing", type=float, default=0.1, help="of labels; 0.1 by default")
    parser.add_argument("--progress", action="store_true", help="show bars (needs tqdm)")
    parser.add_argument("--figure", help="save the spectra as a picture")
    options = parser.parse_args(arguments)

    images, targets, labels = read_digits(options.smoothing)
    params, accuracy = train(images, targets, labels, options.progress)
    H, G = operators(params, images, targets)
    whole = [
        spectrum_of(name, A, density=True, progress=options.progress)
        for name, A in (("Hessian", H), ("Gauss-Newton matrix", G))
    ]
    print_spectra(whole, f"The whole network: {CLASSES} classes")
    common = shared(*whole)
    above = [one.density.count(one.largest[one.outliers - 1] * 0.99, np.inf) for one in whole]
    near = [float(one.density.mass_near_zero(1e-2 * one.largest[0])) for one in whole]
    print(f"  The spaces of the outliers of the two agree to {common:.4f} (1 is the same).")
    print(
        f"  Within 1% of the largest eigenvalue lie {near[0]:.2%} and {near[1]:.2%} of the others."
    )
    print(f"  {H.n_matvec} products with the Hessian, {G.n_matvec} with the Gauss-Newton matrix.")
    layers = layer_by_layer(H, G, options.progress)
    print_spectra(layers, "Layer by layer")
    if options.figure:
        save_figure(options.figure, whole, layers)
    if options.smoothing == 0.1:
        check_claims(accuracy, whole, above, common, near, layers)


def check_claims(accuracy, whole, above, common, near, layers):
    """What the example says is what it has found."""
    assert accuracy > 0.99
    for one, count in zip(whole, above, strict=True):
        assert one.outliers == CLASSES
        assert one.gap > 1.5
        # The density has seen the same outliers, each with about the mass of one eigenvalue.
        assert abs(float(count) - CLASSES) < 4 * count.standard_error < CLASSES
        total = one.trace
        assert abs(float(one.density.mean) * one.density.n - float(total)) < 0.1 * float(total)
    assert common > 0.999
    assert min(near) > 0.95
    # Traces of the blocks on the diagonal add up to that of the whole.
    for which, one in enumerate(whole):
        parts = [layer.trace for layer in layers[which::2]]
        error = np.hypot(one.trace.standard_error, sum(p.standard_error**2 for p in parts) ** 0.5)
        assert abs(sum(map(float, parts)) - float(one.trace)) < 4 * error


if __name__ == "__main__":
    main()
