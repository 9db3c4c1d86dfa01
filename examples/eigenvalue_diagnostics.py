"""The questions that one asks of a Hessian, one after the other: a script to start from.

1. Is the operator right?                 check_operator
2. Where do I stand?                      critical_point
3. What are the ends of the spectrum?     extreme_eigenpairs
4. How many directions are flat?          inertia
5. And the rest?                          spectral_density, trace
6. What does damping do?                  condition_number, effective_dimension, logdet

Put your own `fun` and `x` in place of the model: a softmax regression on scikit-learn's 1,797
digits, fitted without a penalty, and stopped early. Its flat directions are known, so that the
answers can be checked: adding the same to the weights of all classes changes nothing (65
directions), and three pixels are blank in all images (27 more).

Run it from anywhere; it takes a few seconds:

    python eigenvalue_diagnostics.py
    python eigenvalue_diagnostics.py --figure diagnostics.png --html report.html
"""

import argparse

import autograd.numpy as np
from autograd.scipy.special import logsumexp
from scipy.sparse import eye_array
from sklearn.datasets import load_digits

from hessop import (
    DenseOperator,
    check_operator,
    condition_number,
    critical_point,
    effective_dimension,
    extreme_eigenpairs,
    hessian_operator,
    inertia,
    logdet,
    minimize,
    report,
    spectral_density,
    trace,
)

CLASSES = 10
DAMPINGS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


# --- your function and point ----------------------------------------------------------------------


def fun(params, images, one_hot):
    scores = images @ params["W"] + params["b"]
    return np.mean(logsumexp(scores, axis=1) - np.sum(one_hot * scores, axis=1))


def problem():
    pixels, labels = load_digits(return_X_y=True)
    images, one_hot = pixels / 16.0, np.eye(CLASSES)[labels]
    start = {"W": np.zeros((images.shape[1], CLASSES)), "b": np.zeros(CLASSES)}
    result = minimize(fun, start, args=(images, one_hot), options={"maxiter": 3})
    blank = int(np.sum(~images.any(axis=0)))
    # One direction of a blank pixel is among those that all classes share.
    flat = images.shape[1] + 1 + blank * (CLASSES - 1)
    return result.params, (images, one_hot), flat


# --- the questions --------------------------------------------------------------------------------


def is_it_right(H, x, args):
    audit = check_operator(H, fun, x, args=args, rng=0)
    print(audit)
    return audit


def where_do_i_stand(x, args):
    point = critical_point(fun, x, args=args, rng=0)
    print(f"\n{point.reason}")
    return point


def what_are_the_ends(H):
    pairs = extreme_eigenpairs(H, 5, which="LA", rng=0)
    print(f"\nThe largest eigenvalues, by {pairs.method}, {pairs.n_matvec} products")
    leaves = zip(H.layout.names("x"), H.layout.partition(), strict=True)
    shares = {name: np.sum(pairs.eigenvectors[rows] ** 2, axis=0) for name, rows in leaves}
    print(f"  {'eigenvalue':>10} {'residual':>9}   share of " + ", ".join(shares))
    for i, (value, residual) in enumerate(zip(pairs.eigenvalues, pairs.residuals, strict=True)):
        parts = "  ".join(f"{share[i]:.2f}" for share in shares.values())
        print(f"  {value:10.5f} {residual:9.1e}   {parts}")
    return pairs


def how_many_are_flat(H, flat):
    signs = inertia(H)
    print(f"\nInertia, {signs.method}: {signs.negative} negative, {signs.zero} zero, ", end="")
    print(f"{signs.positive} positive eigenvalues. By construction {flat} are zero.")
    return signs


def what_of_the_rest(H):
    density = spectral_density(H, n_probes=10, degree=120, scale="log", rng=0)
    total = trace(H, n_matvec=100, rng=0)
    print(f"\nTrace {float(total):.5f} ± {total.standard_error:.5f}, in {total.n_matvec} products")
    halves = [density.quantile(q) for q in (0.25, 0.5, 0.75)]
    print("Quartiles of the spectrum " + ", ".join(f"{value:.2e}" for value in halves))
    return density, total


def what_does_damping_do(H):
    print("\n   damping  condition  effective dimension  log-determinant")
    n = H.shape[0]
    # Many questions of a small matrix: multiplied out once, it answers all of them exactly.
    matrix = DenseOperator.from_operator(H) if n <= 2000 else H
    rows = []
    for damping in DAMPINGS:
        damped = matrix + damping * eye_array(n)
        row = (
            float(condition_number(damped, rng=0)),
            float(effective_dimension(matrix, damping, rng=0)),
            float(logdet(matrix, damping=damping, rng=0)),
        )
        rows.append(row)
        print(f"  {damping:8.0e} {row[0]:10.3g} {row[1]:20.2f} {row[2]:16.2f}")
    return rows


def save_figure(path, density, rows):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    density.plot(ax=left)
    left.set_title("Density of the spectrum")
    right.semilogx(DAMPINGS, [effective for _, effective, _ in rows], "o-")
    right.set(title="Effective dimension", xlabel="damping", ylim=(0, None))
    figure.savefig(path, dpi=120)
    print(f"\nSaved {path}")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", help="save density and effective dimension as a picture")
    parser.add_argument("--html", help="save all of this, and more, as a page: hessop.report")
    options = parser.parse_args(arguments)

    x, args, flat = problem()
    H = hessian_operator(fun, x, args=args)
    audit = is_it_right(H, x, args)
    point = where_do_i_stand(x, args)
    pairs = what_are_the_ends(H)
    signs = how_many_are_flat(H, flat)
    density, total = what_of_the_rest(H)
    rows = what_does_damping_do(H)
    if options.figure:
        save_figure(options.figure, density, rows)
    if options.html:
        report(fun, x, args=args, rng=0).to_html(options.html)
        print(f"Saved {options.html}")
    check_answers(H, audit, point, pairs, signs, flat, total, rows)


def check_answers(H, audit, point, pairs, signs, flat, total, rows):
    """All answers against those of the whole matrix, which is small enough here."""
    values = np.linalg.eigvalsh(H.to_dense(symmetrize=True))
    assert audit.passed
    assert point.kind == "not critical"  # stopped early
    assert pairs.converged
    assert np.allclose(pairs.eigenvalues, values[-5:], rtol=1e-6)
    assert (signs.negative, signs.zero) == (0, flat)
    assert abs(float(total) - values.sum()) < 4 * total.standard_error
    for damping, (condition, effective, determinant) in zip(DAMPINGS, rows, strict=True):
        damped = values + damping
        assert np.isclose(condition, damped[-1] / damped[0], rtol=1e-6)
        assert np.isclose(effective, np.sum(values / damped), rtol=1e-6)
        assert np.isclose(determinant, np.sum(np.log(damped)), rtol=1e-6)


if __name__ == "__main__":
    main()
