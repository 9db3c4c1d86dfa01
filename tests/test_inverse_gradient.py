"""The inverse Hessian as the derivative of the inverse gradient, against dense inverses."""

import itertools
import pickle

import autograd.numpy as anp
import numpy as np
import pytest
from cases import normal
from structures import orthonormal

from hessop import NonFiniteError, NotConvergedError, NotTracedError, hessian_operator
from hessop.solvers.conjugates import conjugate_inverse_operator
from hessop.solvers.inverse_gradient import InverseGradientOperator, inverse_gradient_operator

EPS = np.finfo(float).eps


def relative_error(found, exact):
    return np.linalg.norm(found - exact) / np.linalg.norm(exact)


# --- the functions of the paper -------------------------------------------------------------------


def cubes(x):
    return anp.sum(x**3)


def product(x):
    return anp.prod(x)


def inverse_of_cubes(x):
    """The branch of x."""
    signs = np.sign(x)
    return lambda z: signs * anp.sqrt(z / 3)


def inverse_of_product(x):
    """``x_i = f / z_i``, where ``Π z = f**(n - 1)``, on the branch of x."""
    sign, power = np.sign(np.prod(x)), 1 / (len(x) - 1)
    return lambda z: sign * anp.abs(anp.prod(z)) ** power / z


def hessian_of_product(x):
    hessian = np.prod(x) / np.outer(x, x)
    np.fill_diagonal(hessian, 0.0)
    return hessian


def sign_patterns(n):
    return [np.array(signs) for signs in itertools.product([1.0, -1.0], repeat=n)]


def sizes(n):
    """Positive, between 0.5 and 2."""
    return np.random.default_rng(n).uniform(0.5, 2.0, n)


@pytest.mark.parametrize("signs", sign_patterns(3))
def test_section_4_1(signs):
    x = sizes(3) * signs
    H_inv = inverse_gradient_operator(cubes, x, inverse_of_cubes(x))
    v, z = normal(1, 3), H_inv.gradient
    np.testing.assert_allclose(z, 3 * x**2, rtol=1e-15)
    dense = np.linalg.inv(np.diag(6 * x))
    np.testing.assert_allclose(H_inv.to_dense(), dense, rtol=0, atol=1e-15)
    np.testing.assert_allclose(H_inv @ v, signs * 0.5 * (z / 3) ** -0.5 * v / 3, rtol=1e-14)


@pytest.mark.parametrize("signs", sign_patterns(3))
def test_section_4_2(signs):
    """With the inverse as the paper writes it for three coordinates, and with the general one."""
    x1, x2, x3 = x = sizes(3) * signs
    v1, v2, v3 = v = normal(1, 3)

    def inverse_grad(z):
        quotients = [z[1] * z[2] / z[0], z[0] * z[2] / z[1], z[0] * z[1] / z[2]]
        return signs * anp.sqrt(anp.array(quotients))

    by_hand = [
        (v2 * x1 * x2 + v3 * x1 * x3 - v1 * x1**2) / (2 * x1 * x2 * x3),
        (v1 * x2 * x1 + v3 * x2 * x3 - v2 * x2**2) / (2 * x1 * x2 * x3),
        (v1 * x1 * x3 + v2 * x2 * x3 - v3 * x3**2) / (2 * x1 * x2 * x3),
    ]
    for inverse in (inverse_grad, inverse_of_product(x)):
        H_inv = inverse_gradient_operator(product, x, inverse)
        np.testing.assert_allclose(H_inv @ v, by_hand, rtol=1e-13)


@pytest.mark.parametrize("n", [3, 4, 5, 8])
def test_products_of_any_length(n):
    v = normal(2, n)
    for signs in sign_patterns(n)[:: 5 if n == 8 else 1]:
        x = sizes(n) * signs
        H_inv = inverse_gradient_operator(product, x, inverse_of_product(x))
        dense = np.linalg.inv(hessian_of_product(x))
        np.testing.assert_allclose(H_inv.to_dense(), dense, rtol=1e-12, atol=1e-13)
        closed = x * (x @ v / (n - 1) - x * v) / np.prod(x)
        np.testing.assert_allclose(H_inv @ v, closed, rtol=1e-12, atol=1e-13)


# --- the operator ---------------------------------------------------------------------------------


def test_the_operator():
    x = sizes(5)
    H_inv = inverse_gradient_operator(product, x, inverse_of_product(x))
    assert isinstance(H_inv, InverseGradientOperator)
    assert H_inv.T is H_inv
    assert (H_inv.shape, H_inv.dtype, H_inv.n_matvec) == ((5, 5), np.float64, 0)
    assert repr(H_inv) == (
        "<5x5 InverseGradientOperator of product, inverse-gradient, float64, 0 products>"
    )
    V, dense = normal(3, 5, 4), np.linalg.inv(hessian_of_product(x))
    np.testing.assert_allclose(H_inv @ V, dense @ V, rtol=1e-12)
    np.testing.assert_allclose(V[:, 0] @ H_inv, dense @ V[:, 0], rtol=1e-12)
    assert H_inv.n_matvec == 5
    assert H_inv.step_error == 0.0
    np.testing.assert_array_equal(H_inv.x, x)
    np.testing.assert_allclose(H_inv.gradient, np.prod(x) / x, rtol=1e-15)
    H_inv.gradient[:] = H_inv.x[:] = 0.0  # copies
    np.testing.assert_allclose(H_inv @ V, dense @ V, rtol=1e-12)


def test_it_becomes_a_program():
    x = normal(4, 100)
    H_inv = inverse_gradient_operator(cubes, x, inverse_of_cubes(x))
    assert not H_inv.is_compiled
    assert [line.split()[1] for line in str(H_inv.program).splitlines()[1:]] == ["scale"]
    assert H_inv.is_compiled
    np.testing.assert_allclose(H_inv @ np.ones(100), 1 / (6 * x), rtol=1e-13)
    np.testing.assert_allclose(H_inv.to_sparse().toarray(), np.diag(1 / (6 * x)), rtol=1e-13)
    np.testing.assert_allclose(H_inv.diagonal(), 1 / (6 * x), rtol=1e-13)


def test_single_precision():
    x = (sizes(4) * [1, -1, -1, 1]).astype(np.float32)
    dense = np.linalg.inv(hessian_of_product(x.astype(float)))
    for kwargs in ({}, {"step": 1e-3}):
        H_inv = inverse_gradient_operator(product, x, inverse_of_product(x), **kwargs)
        assert H_inv.dtype == np.float32
        found = H_inv @ np.ones(4, np.float32)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, dense.sum(axis=1), rtol=1e-2 if kwargs else 1e-5)
    H_inv = inverse_gradient_operator(product, x)
    found = H_inv @ np.ones(4, np.float32)
    assert found.dtype == np.float32
    assert relative_error(found, dense.sum(axis=1)) < 10 * H_inv.step_error < 0.05
    rounded = x.astype(float)
    with pytest.raises(ValueError, match=r"wrong sign at x\[1\], x\[2\]:"):
        inverse_gradient_operator(cubes, x, lambda z: np.float32(1) * anp.sqrt(z / 3))
    exact = inverse_gradient_operator(cubes, rounded, inverse_of_cubes(rounded)) @ np.ones(4)
    np.testing.assert_allclose(
        inverse_gradient_operator(cubes, x, inverse_of_cubes(x)) @ np.ones(4), exact, rtol=1e-6
    )


def tree_fun(p):
    return anp.sum(p["a"] ** 3) + p["b"][0] ** 4


def tree_inverse(z):
    return {"a": -anp.sqrt(z["a"] / 3), "b": [(z["b"][0] / 4) ** (1 / 3)]}


TREE = {"a": np.array([[-1.0, -2.0]]), "b": [3.0]}


@pytest.mark.parametrize("step", [None, 1e-6])
def test_trees(step):
    H_inv = inverse_gradient_operator(tree_fun, TREE, tree_inverse, step=step)
    found = H_inv.matvec_tree({"a": np.array([[1.0, 2.0]]), "b": [3.0]})
    tolerance = 1e-14 if step is None else 1e-6
    np.testing.assert_allclose(found["a"], [[-1 / 6, -1 / 6]], rtol=tolerance)
    np.testing.assert_allclose(found["b"][0], 3 / (12 * 9), rtol=tolerance)
    assert H_inv.unflatten(H_inv.gradient)["b"] == [108.0]
    with pytest.raises(ValueError, match=r"wrong sign at x\['a'\]\[0, 0\], x\['a'\]\[0, 1\]: "):
        inverse_gradient_operator(
            tree_fun, TREE, lambda z: {**tree_inverse(z), "a": anp.sqrt(z["a"] / 3)}
        )
    with pytest.raises(ValueError, match=r"inverse_grad\(z\) has the structure"):
        inverse_gradient_operator(tree_fun, TREE, lambda z: z["a"], step=step)


def test_further_arguments():
    x, scale = normal(5, 4), np.array([1.0, 2.0, 3.0, 4.0])

    def fun(x, scale):
        return anp.sum(scale * anp.cosh(x))

    exact = 1 / (scale * np.cosh(x))
    known = inverse_gradient_operator(fun, x, lambda z: anp.arcsinh(z / scale), args=scale)
    np.testing.assert_allclose(known @ np.ones(4), exact, rtol=1e-14)
    by_newton = inverse_gradient_operator(fun, x, args=(scale,))
    np.testing.assert_allclose(by_newton @ np.ones(4), exact, rtol=1e-8)


POINT = np.array([1.0, -2.0])


def cubes_at_point(z):
    return np.sign(POINT) * anp.sqrt(z / 3)


def entropy(z):
    return anp.sum(z * anp.log(z) - z)


def exponentials(x):
    return anp.sum(anp.exp(x))


@pytest.mark.parametrize(
    "operator",
    [
        lambda: inverse_gradient_operator(cubes, POINT, cubes_at_point),
        lambda: inverse_gradient_operator(cubes, POINT, cubes_at_point, step=1e-7),
        lambda: inverse_gradient_operator(cubes, POINT, rtol=1e-6),
        lambda: conjugate_inverse_operator(entropy, POINT, exponentials),
    ],
)
def test_pickling(operator):
    H_inv = operator()
    again = pickle.loads(pickle.dumps(H_inv))
    assert repr(again) == repr(H_inv)
    np.testing.assert_array_equal(again @ np.ones(2), H_inv @ np.ones(2))


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [None, 1e-8])
def test_the_wrong_branch(step):
    """Every choice of signs but one is refused, with the coordinates that are wrong."""
    x = sizes(3) * [1, -1, 1]
    for signs in sign_patterns(3):
        wrong = [f"x[{i}]" for i in range(3) if signs[i] != np.sign(x[i])]

        def inverse_grad(z, signs=signs):
            return signs * anp.sqrt(z / 3)

        if not wrong:
            inverse_gradient_operator(cubes, x, inverse_grad, step=step)
            continue
        with pytest.raises(ValueError, match="Store the sign") as caught:
            inverse_gradient_operator(cubes, x, inverse_grad, step=step)
        assert f"has the wrong sign at {', '.join(wrong)}: it is another" in str(caught.value)


@pytest.mark.parametrize("n", [3, 4, 5])
def test_the_wrong_branch_of_a_product(n):
    """For an odd n, x and -x have the same gradient; for an even one they do not."""
    x = sizes(n) * np.where(np.arange(n) == 1, -1.0, 1.0)
    right = inverse_of_product(x)
    with pytest.raises(ValueError, match=r"wrong sign at x\[0\], x\[1\], x\[2\]"):
        inverse_gradient_operator(product, x, lambda z: -right(z))


def test_a_tiny_coordinate_has_a_sign():
    x = np.array([1.0, -1e-12])
    with pytest.raises(ValueError, match=r"wrong sign at x\[1\]"):
        inverse_gradient_operator(cubes, x, lambda z: anp.sqrt(z / 3))
    H_inv = inverse_gradient_operator(cubes, x, inverse_of_cubes(x))
    np.testing.assert_allclose(H_inv @ np.ones(2), 1 / (6 * x), rtol=1e-14)


def test_wrong_signs_and_other_entries_are_named_apart():
    x = np.array([1.0, -2.0, 3.0, -4.0])
    with pytest.raises(ValueError, match="wrong sign") as caught:
        inverse_gradient_operator(cubes, x, lambda z: anp.sqrt(z / 3) * np.array([1, 1, 2, 3]))
    message = str(caught.value)
    assert "has the wrong sign at x[1]: " in message
    assert "differs from x at x[2], x[3]: it is 6 at x[2], expected 3." in message


def test_a_long_list_is_cut():
    with pytest.raises(ValueError, match=r"x\[0\], x\[1\], x\[2\], x\[3\], x\[4\] and 15 more"):
        inverse_gradient_operator(cubes, -np.ones(20), lambda z: anp.sqrt(z / 3))


@pytest.mark.parametrize("step", [None, 1e-8])
@pytest.mark.parametrize(
    ("inverse_grad", "message"),
    [
        (lambda z: anp.sqrt(-z / 3), r"inverse_grad.* is nan at x\[0\], where x is 1;"),
        (lambda z: POINT + 0 * z, "the derivative of inverse_grad at ∇f"),
        # Right at ∇f(x), and nowhere else
        (lambda z: POINT + (z - 3 * POINT**2), "the derivative of inverse_grad at ∇f"),
        (lambda z: POINT + 1.01 * (z - 3 * POINT**2) / (6 * POINT), "differs from v by 1.0e-02"),
        (lambda z: z[:1], r"inverse_grad\(z\) has shape \(1,\), expected \(2,\)"),
        (lambda z: 3 * cubes_at_point(z), r"differs from x at x\[0\], x\[1\]: it is 3 at x\[0\]"),
    ],
)
def test_what_is_not_an_inverse(inverse_grad, message, step):
    with pytest.raises(ValueError, match=message):
        inverse_gradient_operator(cubes, POINT, inverse_grad, step=step)


def test_a_function_that_leaves_the_graph_needs_a_step():
    def inverse_grad(z):
        return np.sign(POINT) * np.sqrt(np.array([float(zi) for zi in z]) / 3)

    with pytest.raises(NotTracedError, match="inverse_grad"):
        inverse_gradient_operator(cubes, POINT, lambda z: POINT)
    with pytest.raises(NotTracedError, match="Or give step="):
        inverse_gradient_operator(cubes, POINT, lambda z: POINT)
    H_inv = inverse_gradient_operator(cubes, POINT, inverse_grad, step=1e-7)
    np.testing.assert_allclose(H_inv @ np.ones(2), 1 / (6 * POINT), rtol=1e-6)


def test_a_singular_hessian():
    x = np.array([1.0, 0.0])
    with pytest.raises(NonFiniteError, match=r"is -?inf at x\[1\]\. The Hessian is singular"):
        inverse_gradient_operator(cubes, x, lambda z: anp.sqrt(z / 3))
    # The difference steps out of the range of the gradient.
    with pytest.raises(NonFiniteError, match=r"near ∇f\(x\) is nan at x\[1\], where x is 0"):
        inverse_gradient_operator(cubes, x, lambda z: anp.sqrt(z / 3), step=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 0.0}, "step is 0.0, expected a positive number"),
        ({"step": np.inf}, "step is inf"),
        ({"step": "auto"}, "step is 'auto'"),
        ({"rtol": -1.0}, "rtol is -1.0"),
        ({"maxiter": 0}, "maxiter is 0, expected a whole number from 1"),
        ({"inverse_grad": cubes_at_point, "rtol": 1e-6}, "rtol and maxiter are for Newton"),
    ],
)
def test_options(options, message):
    with pytest.raises(ValueError, match=message):
        inverse_gradient_operator(cubes, POINT, **options)


# --- conjugates -----------------------------------------------------------------------------------


def definite(seed, n):
    Q = orthonormal(normal(seed, n, n))
    return (Q * np.linspace(0.1, 3.0, n)) @ Q.T


MATRIX = definite(6, 6)
INVERSE = np.linalg.inv(MATRIX)
SCORES = 2 * normal(7, 6)
SIGMOID = 1 / (1 + np.exp(-SCORES))

PAIRS = {
    "quadratic": (
        lambda x: anp.dot(x, anp.dot(MATRIX, x)) / 2,
        lambda z: anp.dot(z, anp.dot(INVERSE, z)) / 2,
        INVERSE,
    ),
    "exponential": (exponentials, entropy, np.diag(np.exp(-SCORES))),
    "logistic": (
        lambda x: anp.sum(anp.logaddexp(0.0, x)),
        lambda z: anp.sum(z * anp.log(z) + (1 - z) * anp.log(1 - z)),
        np.diag(1 / (SIGMOID * (1 - SIGMOID))),
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_conjugates(pair):
    fun, conjugate, exact = PAIRS[pair]
    H_inv = conjugate_inverse_operator(conjugate, SCORES, fun)
    assert H_inv.mode == "conjugate"
    assert H_inv.step_error == 0.0
    np.testing.assert_allclose(H_inv.to_dense(), exact, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(H_inv.compile() @ SCORES, exact @ SCORES, rtol=1e-12)
    # Its gradient is the inverse gradient of the other.
    np.testing.assert_array_equal(H_inv.gradient, hessian_operator(fun, SCORES).gradient)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_conjugate_of_another_scale(pair):
    fun, conjugate, _ = PAIRS[pair]
    with pytest.raises(ValueError, match="so it is not the conjugate"):
        conjugate_inverse_operator(lambda z: 2 * conjugate(z), SCORES, fun)
    with pytest.raises(ValueError, match=r"differs from x at|is nan at"):
        conjugate_inverse_operator(conjugate, SCORES, lambda x: 3 * fun(x))


def test_a_conjugate_by_its_value_alone():
    """One that agrees with f* at ∇f(x), and has another gradient."""
    fun, conjugate, _ = PAIRS["exponential"]
    z = np.exp(SCORES)
    with pytest.raises(ValueError, match="so it is a conjugate by its value"):
        conjugate_inverse_operator(lambda w: conjugate(w) + anp.sum(w - z), SCORES, fun)


def test_a_conjugate_of_another_curvature():
    fun, conjugate, _ = PAIRS["quadratic"]
    z = MATRIX @ SCORES
    with pytest.raises(ValueError, match="the derivative of ∇<lambda> at ∇f"):
        conjugate_inverse_operator(lambda w: conjugate(w) + anp.sum((w - z) ** 2), SCORES, fun)


def test_a_conjugate_outside_of_its_domain():
    with pytest.raises(NonFiniteError, match="is nan at x"):
        conjugate_inverse_operator(lambda z: entropy(-z), SCORES, exponentials)


def test_a_conjugate_of_trees_with_arguments():
    def fun(p, weight):
        return weight * anp.sum(anp.exp(p["a"])) + anp.sum(p["b"] ** 2)

    def conjugate(z):
        return entropy(z["a"]) - anp.log(3.0) * anp.sum(z["a"]) + anp.sum(z["b"] ** 2) / 4

    x = {"a": np.array([0.0, 1.0]), "b": np.array([[2.0], [3.0]])}
    H_inv = conjugate_inverse_operator(conjugate, x, fun, args=(3.0,))
    exact = [1 / 3, np.exp(-1.0) / 3, 0.5, 0.5]
    np.testing.assert_allclose(H_inv.to_dense(), np.diag(exact), rtol=1e-14)


# --- the form with a finite r ---------------------------------------------------------------------


def finite_form_errors(steps):
    """Errors of the paper's difference quotient, and what the operator thinks of them."""
    x = sizes(5) * [1, -1, 1, 1, -1]
    exact = np.linalg.inv(hessian_of_product(x))
    v = normal(8, 5)
    found = []
    for step in steps:
        H_inv = inverse_gradient_operator(product, x, inverse_of_product(x), step=step)
        found.append((relative_error(H_inv @ v, exact @ v), H_inv.step_error))
    return np.array(found).T


def test_the_finite_form_loses_digits():
    """Half of the digits are left at best: the error falls with r, until rounding grows with 1/r.

    At the best r, about the root of the machine's epsilon, it is about that root.
    """
    steps = np.logspace(-15, -1, 15)
    errors, _ = finite_form_errors(steps)
    best = int(np.argmin(errors))
    assert 1e-9 <= steps[best] <= 1e-6
    assert 1e-10 < errors[best] < 1e-7
    truncation = np.polyfit(np.log10(steps[-5:]), np.log10(errors[-5:]), 1)[0]
    rounding = np.polyfit(np.log10(steps[:6]), np.log10(errors[:6]), 1)[0]
    assert truncation == pytest.approx(1.0, abs=0.1)
    assert rounding == pytest.approx(-1.0, abs=0.3)
    assert errors[0] > 1e-2


def test_the_finite_form_knows_its_error():
    errors, estimates = finite_form_errors(np.logspace(-14, -2, 40))
    assert np.all(errors < 10 * estimates)
    assert np.all(estimates < 100 * errors)


def test_the_finite_form_is_homogeneous():
    x = sizes(3)
    H_inv = inverse_gradient_operator(product, x, inverse_of_product(x), step=1e-7)
    v = normal(9, 3)
    for scale in (1e-30, 1e30):
        np.testing.assert_allclose(H_inv @ (scale * v), scale * (H_inv @ v), rtol=1e-13)
    np.testing.assert_array_equal(H_inv @ np.zeros(3), np.zeros(3))
    np.testing.assert_allclose(H_inv @ np.stack([v, -v], 1) @ [1, 1], 0.0, atol=1e-6)
    quotient = (inverse_of_product(x)(H_inv.gradient + 1e-7 * v / np.linalg.norm(v)) - x) / 1e-7
    assert relative_error(H_inv @ (v / np.linalg.norm(v)), quotient) < 1e-8
    assert not H_inv.is_compiled
    with pytest.raises(ValueError, match="cannot be compiled"):
        H_inv.compile()


# --- without a known inverse ----------------------------------------------------------------------


def coupled_cosh(x):
    return anp.sum(anp.cosh(x)) + 0.5 * anp.sum(x) ** 2


def rosenbrock(x):
    return anp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def sines(x):
    return anp.sum(anp.sin(x) * anp.roll(x, 1)) + 0.3 * anp.sum(x**2)


def logistic(x):
    return anp.sum(anp.logaddexp(0.0, anp.dot(normal(10, 60, 20), x))) + anp.sum(x**2) / 200


def ill_conditioned(x):
    return anp.sum(np.logspace(-6, 0, 20) * (anp.cosh(x) + anp.roll(x, 1) * x / 4))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("fun", "accuracy"),
    [
        (coupled_cosh, 1e-8),
        (logistic, 1e-8),
        (rosenbrock, 1e-5),
        (sines, 1e-6),
        (ill_conditioned, 1e-4),
    ],
)
def test_newton_krylov(fun, accuracy, seed):
    x, v = normal(seed, 20), normal(seed + 10, 20)
    dense = hessian_operator(fun, x).to_dense()
    exact = np.linalg.solve(dense, v)
    H_inv = inverse_gradient_operator(fun, x)
    error = relative_error(H_inv @ v, exact)
    assert error < 10 * H_inv.step_error
    assert error < accuracy
    assert H_inv.step_error < 10 * accuracy
    assert H_inv.n_matvec == 1


def test_the_functions_above_are_of_all_kinds():
    kinds = set()
    for fun in (coupled_cosh, logistic, rosenbrock, sines, ill_conditioned):
        eigenvalues = np.linalg.eigvalsh(hessian_operator(fun, normal(0, 20)).to_dense())
        kinds.add(("indefinite", "definite")[int(eigenvalues[0] > 0)])
        if fun is ill_conditioned:
            assert np.ptp(np.log10(np.abs(eigenvalues))) > 5
    assert kinds == {"definite", "indefinite"}


def test_newton_krylov_in_a_block():
    x = normal(11, 6)
    H_inv = inverse_gradient_operator(coupled_cosh, x)
    exact = np.linalg.inv(np.diag(np.cosh(x)) + 1.0)
    np.testing.assert_allclose(H_inv.to_dense(), exact, rtol=0, atol=1e-9)
    assert H_inv.n_matvec == 6
    assert H_inv.mode == "newton-krylov"
    before_any = inverse_gradient_operator(coupled_cosh, x).step_error
    assert 1e-13 < before_any < 1e-8


@pytest.mark.parametrize("step", [1e-2, 1e-4, 1e-7])
def test_the_central_difference_of_a_given_length(step):
    """Its error is of second order in the step, and rounding over the step."""
    x, v = normal(12, 6), normal(13, 6)
    exact = np.linalg.solve(np.diag(np.cosh(x)) + 1.0, v)
    H_inv = inverse_gradient_operator(coupled_cosh, x, step=step)
    error = relative_error(H_inv @ v, exact)
    assert error < 10 * (step**2 + 10 * EPS / step)
    assert error < 10 * H_inv.step_error


@pytest.mark.parametrize("seed", range(5))
def test_a_coarse_solve_is_seen_in_the_error(seed):
    """What Newton's method leaves is the same for every step, so that no second step shows it."""
    x, v = normal(seed, 20), normal(seed + 5, 20)
    exact = np.linalg.solve(np.diag(np.cosh(x)) + 1.0, v)
    H_inv = inverse_gradient_operator(coupled_cosh, x, rtol=5e-3, maxiter=5)
    error = relative_error(H_inv @ v, exact)
    assert 1e-5 < error < 5 * H_inv.step_error < 1e-1


def test_too_few_products_for_a_solve():
    H_inv = inverse_gradient_operator(coupled_cosh, normal(16, 6), maxiter=1)
    with pytest.raises(NotConvergedError, match="did not converge from x: its residual is"):
        H_inv @ normal(17, 6)


def test_newton_krylov_agrees_with_the_known_inverse():
    for n in (3, 4, 8):
        x = sizes(n) * np.where(np.arange(n) % 3 == 1, -1.0, 1.0)
        known = inverse_gradient_operator(product, x, inverse_of_product(x))
        found = inverse_gradient_operator(product, x)
        assert relative_error(found.to_dense(), known.to_dense()) < 1e-7


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: anp.sum(x) ** 2,  # singular everywhere
        lambda x: anp.sum(x**3),  # singular at zero
        lambda x: anp.sum(x**4),
    ],
)
def test_newton_krylov_of_a_singular_hessian(fun):
    H_inv = inverse_gradient_operator(fun, np.zeros(3))
    with pytest.raises(NotConvergedError, match=r"singular.*smaller step=, or solve with the"):
        H_inv @ np.array([1.0, 2.0, -1.0])


def test_a_step_out_of_the_range_of_the_gradient():
    """∇f is positive, so that ∇f(y) = ∇f(x) - r v has no solution for a large r."""
    H_inv = inverse_gradient_operator(exponentials, np.zeros(2), step=10.0)
    with pytest.raises(NotConvergedError) as caught:
        H_inv @ np.ones(2)
    assert caught.value.result.residual.shape == (2,)
    H_inv = inverse_gradient_operator(lambda x: -anp.sum(anp.log(x)), np.ones(2), step=10.0)
    with pytest.raises(NonFiniteError, match="has left the domain"):
        H_inv @ -np.ones(2)


def test_a_large_step_takes_the_hessian_anew():
    """Far from x its Hessian does not make Newton's method converge any more."""
    x = np.full(3, 2.0)
    H_inv = inverse_gradient_operator(cubes, x, step=16.0)
    v = np.array([1.0, 0.0, 0.0])
    ahead, behind = np.sqrt((12 + 16) / 3), -np.sqrt(0)
    with pytest.raises(NotConvergedError):
        H_inv @ v  # 12 - 16 is no value of 3 x²
    H_inv = inverse_gradient_operator(cubes, x, step=11.0)
    ahead, behind = np.sqrt((12 + 11) / 3), np.sqrt((12 - 11) / 3)
    np.testing.assert_allclose(H_inv @ v, [(ahead - behind) / 22, 0, 0], rtol=1e-9, atol=1e-12)


# --- the unit of the function ---------------------------------------------------------------------


@pytest.mark.parametrize("unit", [1e-150, 1e-20, 1.0, 1e20])
def test_step_errors_do_not_depend_on_the_unit(unit):
    def fun(x):
        return unit * (anp.sum(anp.exp(x)) + anp.sum(x) ** 2)

    x = np.linspace(0.1, 1.0, 5)
    exact = np.linalg.solve(np.diag(np.exp(x)) + 2.0, np.ones(5))
    H_inv = inverse_gradient_operator(fun, x)
    assert relative_error(unit * (H_inv @ np.ones(5)), exact) < 10 * H_inv.step_error < 1e-7


@pytest.mark.parametrize("unit", [1e-20, 1.0])
def test_a_wrong_derivative_is_refused_whatever_the_unit(unit):
    x = np.linspace(0.1, 1.0, 5)

    def wrong(z):  # right at ∇f(x), and seven times too steep
        return x + 7.0 * (np.sqrt(z / (3.0 * unit)) - x)

    with pytest.raises(ValueError, match="differs from v by 6"):
        inverse_gradient_operator(lambda x: unit * anp.sum(x**3), x, wrong, step=1e-6 * unit)
