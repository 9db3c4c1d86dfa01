"""Newton's method for a program that only gives energies and forces.

Fifty-five atoms attract and repel each other by the Lennard-Jones potential. Energy and gradient
are plain NumPy, as they would come from a simulator in Fortran or C++: autograd never sees them.
The example

1. relaxes a shaken icosahedron by Hessian products that are differences of the gradient, and
   compares the energy with the published one,
2. says how far these products are from the exact ones, and how far the operator thinks they are,
3. reads the stability of the cluster off the ends of the spectrum.

Run it from anywhere; it takes a few seconds:

    python gradient_only.py
    python gradient_only.py --figure cluster.png
"""

import argparse

import autograd.numpy as anp
import numpy as np
import scipy.optimize
from scipy.sparse.linalg import eigsh

from hessop import hessian_operator, minimize

# D. J. Wales and J. P. K. Doye, "Global optimization by basin-hopping and the lowest energy
# structures of Lennard-Jones clusters", J. Phys. Chem. A 101 (1997), 5111: 55 atoms.
PUBLISHED_ENERGY = -279.248470


# --- the simulator: plain NumPy -------------------------------------------------------------------


def separations(atoms):
    """Differences of all pairs, and the inverse squares of their distances; of none to itself."""
    differences = atoms[:, None] - atoms[None]
    squares = np.sum(differences**2, axis=-1)
    np.fill_diagonal(squares, np.inf)
    return differences, 1 / squares


def energy(atoms):
    _, inverse = separations(atoms)
    return float(2 * np.sum(inverse**6 - inverse**3))


def gradient(atoms):
    """Minus the forces, shaped like the atoms: (55, 3)."""
    differences, inverse = separations(atoms)
    strength = (24 * inverse**3 - 48 * inverse**6) * inverse
    return np.sum(strength[:, :, None] * differences, axis=1)


class CountedGradient:
    """The gradient, and how often it was asked for."""

    def __init__(self):
        self.calls = 0

    def __call__(self, atoms):
        self.calls += 1
        return gradient(atoms)


def icosahedron():
    """An atom in the middle, 12 around it, and 42 around those; neighbours are one apart."""
    golden = (1 + np.sqrt(5)) / 2
    corners = np.array([(0, a, b * golden) for a in (-1, 1) for b in (-1, 1)])
    inner = np.concatenate([np.roll(corners, shift, axis=1) for shift in range(3)]) / 2
    distances = np.linalg.norm(inner[:, None] - inner[None], axis=-1)
    first, second = np.nonzero(np.triu(distances < 1.01))  # each with itself and its neighbours
    return np.concatenate([np.zeros((1, 3)), inner, inner[first] + inner[second]])


# --- the same energy for autograd, only to judge the differences by -------------------------------


def energy_for_autograd(atoms):
    first, second = np.triu_indices(len(atoms), 1)
    inverse = 1 / anp.sum((atoms[first] - atoms[second]) ** 2, axis=1)
    return 4 * anp.sum(inverse**6 - inverse**3)


# --- the three parts ------------------------------------------------------------------------------


def relax(start):
    counted = CountedGradient()
    norms = []

    def watch(x):
        norms.append(float(np.linalg.norm(gradient(x.reshape(-1, 3)))))

    result = minimize(
        energy, start, grad=counted, method="trust-krylov", options={"gtol": 1e-6}, callback=watch
    )
    print("Relaxation by trust-krylov, with differences of the gradient for Hessian products")
    print(f"  energy               {energy(start):.6f} -> {result.fun:.6f}")
    print(f"  published            {PUBLISHED_ENERGY:.6f}")
    print(f"  norm of the gradient {norms[-1]:.1e}")
    print(f"  {result.nit} steps, {result.nhessp} products, {counted.calls} gradients in all")
    return result, norms, counted.calls


def by_scipy_alone(start):
    """The same through scipy.optimize.minimize, with hessp from an operator made at each point."""

    def on_vectors(function):
        return lambda x: np.ravel(function(x.reshape(-1, 3)))

    def hessp(x, v):
        return hessian_operator(None, x, grad=on_vectors(gradient)) @ v

    result = scipy.optimize.minimize(
        lambda x: energy(x.reshape(-1, 3)),
        start.ravel(),
        jac=on_vectors(gradient),
        hessp=hessp,
        method="trust-ncg",
        options={"gtol": 1e-6},
    )
    print(f"  scipy.optimize.minimize with hessp, by trust-ncg: {result.fun:.6f}")
    return result


def errors(atoms):
    exact = hessian_operator(energy_for_autograd, atoms)
    v = np.random.default_rng(1).standard_normal(atoms.size)
    product = exact @ v
    found = {}
    print("\nThe relative error of a product")
    for mode in ("finite-difference", "finite-difference-forward"):
        H = hessian_operator(None, atoms, grad=gradient, mode=mode)
        error = float(np.linalg.norm(H @ v - product) / np.linalg.norm(product))
        found[mode] = (error, H.step_error)
        print(f"  {mode:<26} {error:.1e}; by the operator's own estimate {H.step_error:.1e}")
    return found


def stability(atoms):
    H = hessian_operator(None, atoms, grad=gradient)
    eigenvalues = np.linalg.eigvalsh(H.to_dense(symmetrize=True))
    v0 = np.random.default_rng(2).standard_normal(atoms.size)
    stiffest = eigsh(H, k=3, which="LA", v0=v0, return_eigenvectors=False)
    print("\nThe Hessian of the relaxed cluster, 165 x 165")
    print("  six smallest  " + " ".join(f"{value:9.1e}" for value in eigenvalues[:6]))
    print("                three translations and three rotations cost nothing")
    print(f"  the seventh   {eigenvalues[6]:9.4f}: positive, so the cluster is stable")
    print("  stiffest      " + " ".join(f"{value:9.2f}" for value in np.sort(stiffest)))
    return eigenvalues, np.sort(stiffest)


def draw(path, norms, eigenvalues):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    convergence, spectrum = figure.subplots(1, 2)
    convergence.semilogy(range(1, len(norms) + 1), norms, "o-", markersize=4)
    convergence.axhline(1e-6, color="grey", linestyle=":", label="gtol")
    convergence.set(
        title="Relaxing 55 atoms by trust-krylov",
        xlabel="iteration",
        ylabel="norm of the gradient",
    )
    convergence.legend()
    bins = np.arange(-25, 1125, 25)
    spectrum.hist(eigenvalues[6:], bins, color="C0", label="vibrations")
    spectrum.hist(eigenvalues[:6], bins, color="C3", label="6 rigid motions: zero")
    spectrum.set(
        title="Eigenvalues of the Hessian", xlabel="stiffness (Lennard-Jones units)", ylabel="count"
    )
    spectrum.legend()
    figure.savefig(path, dpi=120)
    print(f"\nFigure: {path}")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", metavar="PATH", help="save a figure here")
    options = parser.parse_args(argv)

    ideal = icosahedron()
    start = 1.1 * ideal + 0.05 * np.random.default_rng(0).standard_normal(ideal.shape)
    result, norms, calls = relax(start)
    again = by_scipy_alone(start)
    found = errors(result.params)
    eigenvalues, stiffest = stability(result.params)
    if options.figure:
        draw(options.figure, norms, eigenvalues)
    return {
        "energy": result.fun,
        "energy_by_scipy": again.fun,
        "gradient_norm": norms[-1],
        "gradients": calls,
        "errors": found,
        "eigenvalues": eigenvalues,
        "stiffest": stiffest,
    }


if __name__ == "__main__":
    main()
