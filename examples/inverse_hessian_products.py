"""Products with the inverse of a Hessian, from the inverse of the gradient.

The inverse of a Hessian is the Jacobian of the inverse of the gradient. H. Lee makes a method of it
("J. R. 'Bob' Dobbs Memorial Inverse Hessian-Vector Multiplication Method", 2019). This example goes
through the paper:

1. section 4.1, a sum of cubes: the sign that has to be stored,
2. section 4.2, a product of coordinates: a Hessian that is not diagonal,
3. section 3.2, the form with a finite r: the digits that it loses,
4. section 5, a network with one hidden layer, where the paper stops at a loop of dependencies: its
   equations, solved all at once.

Run it from anywhere; it takes a few seconds:

    python inverse_hessian_products.py
    python inverse_hessian_products.py --figure step.png
"""

import argparse

import autograd.numpy as np

from hessop import factorized_inverse, hessian_operator, inverse_gradient_operator


def relative_error(found, exact):
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


# --- 1. section 4.1 -------------------------------------------------------------------------------


def cubes(x):
    return np.sum(x**3)


def section_4_1():
    """``∇f = 3 x²``, so that ``x = ± sqrt(z / 3)``: one sign for each coordinate."""
    rng = np.random.default_rng(0)
    x, v = rng.standard_normal((2, 10))
    signs = np.sign(x)
    H_inv = inverse_gradient_operator(cubes, x, lambda z: signs * np.sqrt(z / 3))
    z = H_inv.gradient
    closed = signs * 0.5 * (z / 3) ** -0.5 * v / 3
    error = relative_error(H_inv @ v, closed)
    print("Section 4.1: f = Σ x³, ten coordinates of both signs")
    print(f"  error of H⁻¹v against the closed form {error:.1e}")
    print(f"  {str(H_inv.program).splitlines()[1]}")
    print("  With the positive root alone, as the paper writes it:")
    try:
        inverse_gradient_operator(cubes, x, lambda z: np.sqrt(z / 3))
    except ValueError as refusal:
        message = str(refusal)
        print(f"    {message.split(': it is')[0]}.")
    return {"error_4_1": error, "negative": np.flatnonzero(x < 0), "refusal": message}


# --- 2. section 4.2 -------------------------------------------------------------------------------


def product(x):
    return np.prod(x)


def inverse_of_product(x):
    """``∇f_i = f / x_i = z_i`` and ``Π z_i = f**(n - 1)``, so that ``x_i = f / z_i``."""
    sign, n = np.sign(np.prod(x)), len(x)
    # By logarithms, because the product of a hundred gradients overflows.
    return lambda z: sign * np.exp(np.sum(np.log(np.abs(z))) / (n - 1)) / z


def point(n):
    """Coordinates of both signs, away from zero."""
    rng = np.random.default_rng(n)
    return rng.uniform(0.7, 1.5, n) * np.where(np.arange(n) % 3 == 1, -1.0, 1.0)


def inverse_by_hand(x):
    """The inverse of the Hessian, ``f (a aᵀ - diag(a²))`` with ``a = 1 / x``."""
    n = len(x)
    return (np.outer(x, x) / (n - 1) - np.diag(x**2)) / np.prod(x)


def section_4_2():
    print("\nSection 4.2: f = Π x")
    print("    n   error of H⁻¹v   H (H⁻¹v) - v")
    errors = {}
    for n in (3, 4, 10, 100):
        x, v = point(n), np.random.default_rng(0).standard_normal(n)
        H_inv = inverse_gradient_operator(product, x, inverse_of_product(x))
        w = H_inv @ v
        errors[n] = relative_error(w, inverse_by_hand(x) @ v)
        back = relative_error(hessian_operator(product, x) @ w, v)
        print(f"  {n:3d}   {errors[n]:13.1e}   {back:12.1e}")
    x1, x2, x3 = x = point(3)
    v1, v2, v3 = v = np.array([1.0, 2.0, 3.0])
    by_paper = (v2 * x1 * x2 + v3 * x1 * x3 - v1 * x1**2) / (2 * x1 * x2 * x3)
    first = (inverse_gradient_operator(product, x, inverse_of_product(x)) @ v)[0]
    print(f"  The first component for n = 3: {first:.12f}, by the paper {by_paper:.12f}")
    return {"errors_4_2": errors, "difference_to_paper": float(abs(first - by_paper))}


# --- 3. the form with a finite r ------------------------------------------------------------------

STEPS = np.logspace(-15, -1, 57)


def finite_r():
    """The error of H⁻¹v against the length of ``r v``, one sided and central."""
    x, v = point(5), np.random.default_rng(1).standard_normal(5)
    exact = inverse_by_hand(x) @ v
    curves = {}
    for name, inverse_grad, steps in (
        ("one-sided, inverse known", inverse_of_product(x), STEPS),
        ("central, by Newton-Krylov", None, STEPS[STEPS > 1e-11]),
    ):
        measured = []
        for step in steps:
            H_inv = inverse_gradient_operator(product, x, inverse_grad, step=step)
            measured.append((step, relative_error(H_inv @ v, exact), H_inv.step_error))
        curves[name] = np.array(measured).T
    derivative = inverse_gradient_operator(product, x, inverse_of_product(x))
    error = relative_error(derivative @ v, exact)
    print("\nSection 3.2: the limit of r, and finite r")
    print(f"  the derivative               error {error:.1e}")
    for name, (steps, errors, estimates) in curves.items():
        best = np.argmin(errors)
        print(
            f"  {name:26}   error {errors[best]:.1e} at best, with r of {steps[best]:.0e}; "
            f"estimated {estimates[best]:.1e}"
        )
    print("  A finite r keeps half of the digits, or two thirds: see the figure.")
    return {"curves": curves, "error_of_derivative": error}


# --- 4. section 5 ---------------------------------------------------------------------------------


def network(examples, inputs, hidden, outputs):
    """The Hessian of a network with one hidden layer and squared error, at random weights."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((examples, inputs))
    targets = rng.uniform(-0.9, 0.9, (examples, outputs))
    weights = {
        "W1": rng.standard_normal((inputs, hidden)),
        "W2": rng.standard_normal((hidden, outputs)),
    }

    def loss(w):
        return np.sum((np.tanh(np.tanh(images @ w["W1"]) @ w["W2"]) - targets) ** 2) / 2

    return hessian_operator(loss, weights)


def section_5():
    """As many examples as inputs, fewer, and more."""
    print("\nSection 5: a tanh network with 4 inputs, 3 hidden units and 2 outputs")
    print("  examples   zero eigenvalues   error of H⁻¹v   error of log |det H|")
    errors, refusals = {}, {}
    for examples in (2, 3, 4, 5, 8):
        H = network(examples, 4, 3, 2)
        dense = H.to_dense(symmetrize=True)
        eigenvalues = np.abs(np.linalg.eigvalsh(dense))
        zeros = int(np.sum(eigenvalues < 1e-12 * eigenvalues.max()))
        v = np.random.default_rng(1).standard_normal(H.shape[0])
        try:
            F = factorized_inverse(H)
        except np.linalg.LinAlgError as refusal:
            refusals[examples] = zeros
            print(
                f"  {examples:8d}   {zeros:16d}   refused: {str(refusal).split(': ')[-1][:43]}..."
            )
            continue
        sign, logabsdet = np.linalg.slogdet(dense)
        assert F.sign == sign
        errors[examples] = relative_error(F @ v, np.linalg.solve(dense, v))
        off = abs(F.logdet() + logabsdet)
        print(f"  {examples:8d}   {zeros:16d}   {errors[examples]:13.1e}   {off:20.1e}")
    print(f"  {F!r}")
    print("  No order of the equations is needed. With fewer examples than inputs H is singular.")
    return {"network_errors": errors, "network_refusals": refusals}


# --- the figure, and what must be true ------------------------------------------------------------


def draw(path, curves):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for (name, (steps, errors, estimates)), color in zip(curves.items(), ("C1", "C0"), strict=True):
        axes.loglog(steps, errors, "o-", markersize=3, color=color, label=name)
        axes.loglog(steps, estimates, ":", color=color, label="its own estimate")
    eps = np.finfo(float).eps
    for power in (1 / 2, 1 / 3):
        axes.axvline(eps**power, color="grey", linewidth=0.8, linestyle="--")
    axes.annotate(r" $\epsilon^{1/2}$", (eps ** (1 / 2), 2e-13), color="grey")
    axes.annotate(r" $\epsilon^{1/3}$", (eps ** (1 / 3), 2e-13), color="grey")
    axes.set(
        title="H⁻¹v by differences of the inverse gradient, f = Π x",
        xlabel="length of the step r v",
        ylabel="relative error",
        ylim=(1e-13, 1e2),
    )
    axes.legend()
    figure.savefig(path, dpi=120)
    print(f"\nFigure: {path}")


def check(found):
    assert found["error_4_1"] < 1e-14
    assert all(f"x[{i}]" in found["refusal"] for i in found["negative"][:5])
    assert max(found["errors_4_2"].values()) < 1e-12
    assert found["difference_to_paper"] < 1e-13
    assert found["error_of_derivative"] < 1e-13
    one_sided, central = found["curves"].values()
    assert 1e-10 < one_sided[1].min() < 1e-7
    assert central[1].min() < one_sided[1].min()
    for _, errors, estimates in found["curves"].values():
        assert np.all(errors < 10 * estimates)
    assert list(found["network_errors"]) == [4, 5, 8]
    assert max(found["network_errors"].values()) < 1e-9
    # (inputs - examples) combinations of inputs that are not seen, for each hidden unit.
    assert found["network_refusals"] == {2: 6, 3: 3}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", metavar="PATH", help="save a figure here")
    options = parser.parse_args(argv)

    found = section_4_1() | section_4_2() | finite_r() | section_5()
    check(found)
    if options.figure:
        draw(options.figure, found["curves"])
    return found


if __name__ == "__main__":
    main()
