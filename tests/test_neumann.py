"""Neumann series, against polynomials of dense matrices and against inverses."""

import copy
import pickle

import autograd.numpy as anp
import numpy as np
import pytest
from cases import normal
from scipy.sparse.linalg import aslinearoperator, cg
from structures import symmetric

from hessop import DenseOperator, DiagonalOperator, NonFiniteError, hessian_operator
from hessop.solvers.neumann import neumann_inverse

N = 24
POSITIVE = np.linspace(0.5, 4.0, N)


def series(A, scale, terms):
    """``scale Σ (I - scale A)ʲ``."""
    factor = np.eye(len(A)) - scale * A
    return scale * sum(np.linalg.matrix_power(factor, j) for j in range(terms))


def batches_of(count, low=0.2):
    """Positive definite matrices around a common one."""
    return [symmetric(seed, *np.linspace(low, 2.0 + seed % 3, N)) for seed in range(count)]


# --- one matrix -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [None, 0.1, 0.45])
@pytest.mark.parametrize("terms", [1, 2, 7, 60])
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_the_polynomial(scale, terms, damping):
    A = symmetric(0, *POSITIVE)
    A_inv = neumann_inverse(A, scale, terms, damping=damping, rng=0)
    damped = A + damping * np.eye(N)
    assert A_inv.scale == pytest.approx(scale or 1.0 / (4.0 + damping))
    exact = series(damped, A_inv.scale, terms)
    np.testing.assert_allclose(A_inv.to_dense(), exact, atol=1e-12)
    np.testing.assert_allclose(A_inv @ normal(1, N), exact @ normal(1, N), atol=1e-12)
    assert (A_inv.terms, A_inv.damping, A_inv.repeats) == (terms, damping, 1)
    assert A_inv.symmetric
    assert A_inv.T is A_inv


@pytest.mark.parametrize("scale", [None, 0.4])
@pytest.mark.parametrize("terms", [1, 5, 50])
@pytest.mark.parametrize("n", [N, 200])
def test_the_error_is_what_is_said(scale, terms, n):
    """In the worst direction; the ends of a spectrum are exact where n is small."""
    eigenvalues = np.linspace(0.5, 4.0, n)
    A = symmetric(0, *eigenvalues)
    A_inv = neumann_inverse(A, scale, terms, rng=0)
    rate = np.abs(1.0 - A_inv.scale * eigenvalues).max()
    assert rate <= A_inv.rate * (1.0 + 1e-12)
    assert A_inv.rate == pytest.approx(rate, rel=0.02)
    error = np.linalg.norm(np.eye(n) - A @ A_inv.to_dense(), 2)
    assert error == pytest.approx(rate**terms, rel=1e-6)
    assert error <= A_inv.error_bound * (1.0 + 1e-9)
    assert A_inv.error_bound == A_inv.rate**terms


def test_the_inverse():
    A = symmetric(0, *POSITIVE)
    A_inv = neumann_inverse(A, terms=300)
    np.testing.assert_allclose(A_inv.to_dense(), np.linalg.inv(A), atol=1e-10)
    assert A_inv.error_bound < 1e-10


def test_an_end_that_is_not_known():
    """Where the least eigenvalue cannot be told from zero, nothing is promised."""
    A_inv = neumann_inverse(symmetric(0, *np.logspace(-4, 0, 200)), rng=0)
    assert A_inv.rate == A_inv.error_bound == 1.0
    more = neumann_inverse(symmetric(0, *np.logspace(-4, 0, 200)), rng=0, steps=200)
    assert more.rate == pytest.approx(1.0 - 1e-4, rel=1e-6)


def test_products_are_counted():
    A = DenseOperator(symmetric(0, *POSITIVE))
    A_inv = neumann_inverse(A, terms=9, steps=10)
    assert A.n_matvec == A_inv.interval.n_matvec == 10
    A_inv @ normal(0, N, 3)
    assert A_inv.n_matvec == 3
    assert A.n_matvec == 10 + 8 * 3


def test_trees_and_hessians():
    H = hessian_operator(
        lambda p: anp.sum(anp.cosh(p["a"])) + p["b"] ** 2 * anp.sum(p["a"]) + 5 * p["b"] ** 2,
        {"a": np.array([1.0, 2.0]), "b": 0.5},
    )
    tree = {"a": np.array([1.0, -1.0]), "b": 2.0}
    found = neumann_inverse(H, terms=400).matvec_tree(tree)
    np.testing.assert_allclose(
        H.flatten(found), np.linalg.solve(H.to_dense(), H.flatten(tree)), rtol=1e-8
    )


def test_single_precision():
    A = symmetric(0, *POSITIVE).astype(np.float32)
    A_inv = neumann_inverse(A, terms=100)
    assert A_inv.dtype == (A_inv @ np.ones(N)).dtype == np.float32
    np.testing.assert_allclose(A_inv.to_dense(), np.linalg.inv(A), atol=1e-5)


def test_as_a_preconditioner():
    """Few terms are positive definite as well."""
    A, b = symmetric(0, *np.logspace(-3, 0, 120)), normal(0, 120)
    counts = []
    for M in (None, neumann_inverse(A, terms=8, rng=0)):
        count = []
        x, info = cg(A, b, M=M, rtol=1e-8, callback=lambda x, count=count: count.append(1))
        assert info == 0
        np.testing.assert_allclose(A @ x, b, atol=1e-7 * np.linalg.norm(b))
        counts.append(len(count))
    assert counts[1] < counts[0] / 2


def test_copies_and_pickles():
    batches = batches_of(3)
    for A_inv in (neumann_inverse(batches[0]), neumann_inverse(batches, repeats=3, rng=0)):
        v = normal(0, N)
        x = A_inv @ v
        for twin in (copy.copy(A_inv), pickle.loads(pickle.dumps(A_inv))):
            np.testing.assert_array_equal(twin @ v, x)
            assert repr(twin) == repr(A_inv)
            assert twin.rate == A_inv.rate


def test_in_print():
    A_inv = neumann_inverse(np.diag([1.0, 2.0, 4.0]), terms=60, rng=0)
    assert repr(A_inv) == (
        "<3x3 NeumannOperator 60 terms, scale 0.25, error below 3.2e-08, float64, 0 products>"
    )
    assert "3 batches, 5 drawings" in repr(neumann_inverse(batches_of(3), repeats=5))


# --- batches --------------------------------------------------------------------------------------


def test_a_single_batch_is_no_batch():
    A = batches_of(1)[0]
    A_inv = neumann_inverse([A], terms=9, rng=0)
    assert A_inv.symmetric
    np.testing.assert_array_equal(A_inv.to_dense(), neumann_inverse(A, terms=9, rng=0).to_dense())


def test_the_drawn_product():
    """Term by term, with the drawing itself."""
    batches = batches_of(4)
    A_inv = neumann_inverse(batches, 0.2, 6, damping=0.1, rng=3, repeats=3)
    eye, total = np.eye(N), np.zeros((N, N))
    for draw in A_inv._draws:
        y = eye
        for i in draw:
            y = eye + (eye - 0.2 * (batches[i] + 0.1 * eye)) @ y
        total += 0.2 * y / 3
    np.testing.assert_allclose(A_inv.to_dense(), total, atol=1e-13)
    np.testing.assert_allclose(A_inv.T.to_dense(), total.T, atol=1e-13)
    v, V = normal(0, N), normal(1, N, 5)
    np.testing.assert_allclose(A_inv @ v, total @ v, atol=1e-13)
    np.testing.assert_allclose(A_inv @ V, total @ V, atol=1e-13)
    np.testing.assert_allclose(A_inv.T @ v, total.T @ v, atol=1e-13)
    np.testing.assert_allclose(A_inv.T @ V, total.T @ V, atol=1e-13)
    assert not A_inv.symmetric


def test_the_drawing_is_done_once():
    batches, v = batches_of(4), normal(0, N)
    A_inv = neumann_inverse(batches, rng=0)
    np.testing.assert_array_equal(A_inv @ v, A_inv @ v)
    np.testing.assert_array_equal(neumann_inverse(batches, rng=0) @ v, A_inv @ v)
    generator = np.random.default_rng(0)
    np.testing.assert_array_equal(neumann_inverse(batches, rng=generator) @ v, A_inv @ v)
    assert np.any(neumann_inverse(batches, rng=1) @ v != A_inv @ v)


def test_lissa_is_unbiased():
    """Over seeds, it meets the series of the mean within its standard error."""
    batches, v = batches_of(5), normal(0, N)
    mean = sum(batches) / len(batches)
    terms, scale = 12, 0.2
    found = np.array(
        [neumann_inverse(batches, scale, terms, rng=s, steps=8) @ v for s in range(400)]
    )
    expected = series(mean, scale, terms) @ v
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    z = (found.mean(axis=0) - expected) / error
    assert np.abs(z).max() < 4.0
    # and it would be seen if it were that of the first batch
    other = series(batches[0], scale, terms) @ v
    assert np.abs((found.mean(axis=0) - other) / error).max() > 20.0


def test_the_standard_error():
    batches, v = batches_of(5), normal(0, N)
    expected = series(sum(batches) / len(batches), 0.2, 30) @ v
    z = []
    for seed in range(25):
        A_inv = neumann_inverse(batches, 0.2, 30, rng=seed, repeats=20)
        z.append((A_inv @ v - expected) / A_inv.standard_error(v))
    assert 0.8 < np.mean(np.square(z)) < 1.3
    assert A_inv.standard_error(normal(1, N, 2)).shape == (N, 2)
    assert not neumann_inverse(batches[0]).standard_error(v).any()
    with pytest.raises(ValueError, match="repeats"):
        neumann_inverse(batches).standard_error(v)


def test_drawings_average_out():
    batches, v = batches_of(5), normal(0, N)
    exact = np.linalg.solve(sum(batches) / 5, v)
    few, many = (neumann_inverse(batches, terms=60, repeats=r, rng=0) @ v for r in (4, 200))
    assert np.linalg.norm(many - exact) < 0.3 * np.linalg.norm(few - exact)
    assert np.linalg.norm(many - exact) < 0.05 * np.linalg.norm(exact)


def test_batches_of_a_loss():
    """The mean of the Hessians of batches is the Hessian of the whole."""
    X, y = normal(0, 60, 4), normal(1, 60)

    def loss(w, X, y):
        return anp.mean(anp.log(1.0 + anp.exp(-y * (X @ w)))) + 0.1 * anp.sum(w**2)

    w = normal(2, 4)
    whole = hessian_operator(loss, w, args=(X, y))
    parts = [hessian_operator(loss, w, args=(X[i::4], y[i::4])) for i in range(4)]
    A_inv = neumann_inverse(parts, terms=60, repeats=200, rng=0)
    exact = np.linalg.solve(whole.to_dense(), whole.gradient)
    error = A_inv.standard_error(whole.gradient)
    assert np.all(np.abs(A_inv @ whole.gradient - exact) < 4 * error + A_inv.error_bound)
    assert A_inv.layout is parts[0].layout


# --- what diverges --------------------------------------------------------------------------------


def test_a_scale_that_is_too_large():
    A = symmetric(0, *POSITIVE)
    with pytest.raises(ValueError, match=r"scale is 0.51, expected less than 0.5: .* 0.25"):
        neumann_inverse(A, 0.51)
    with pytest.raises(ValueError, match=r"expected less than 0.4:"):
        neumann_inverse(A, 0.5, damping=1.0)
    assert neumann_inverse(A, 0.499).error_bound < 1.0
    with pytest.raises(ValueError, match="scale"):
        neumann_inverse([0.1 * A, A], 0.51)  # the mean would do, a batch would not


@pytest.mark.parametrize("least", [-0.5, -1e-3])
def test_an_indefinite_matrix(least):
    A = symmetric(0, least, *POSITIVE[1:])
    with pytest.raises(ValueError, match=r"diverges\. Use a damping above") as error:
        neumann_inverse(A)
    enough = float(str(error.value).split("damping above ")[1].split(",")[0])
    assert -least <= enough < 1.1 * -least
    damped = neumann_inverse(A, damping=enough + 0.1, terms=600)
    exact = np.linalg.inv(A + (enough + 0.1) * np.eye(N))
    np.testing.assert_allclose(damped.to_dense(), exact, rtol=0, atol=1e-5 * np.abs(exact).max())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_singular_matrix(dtype):
    A = symmetric(0, *np.maximum(POSITIVE - 1.0, 0.0)).astype(dtype)
    with pytest.raises(ValueError, match=r"singular .* Use a larger damping"):
        neumann_inverse(A)
    assert neumann_inverse(A, damping=0.1).error_bound < 0.1
    with pytest.raises(ValueError, match="singular"):
        neumann_inverse(np.zeros((3, 3)))


def test_batches_that_diverge():
    good = symmetric(0, *POSITIVE)
    with pytest.raises(ValueError, match=r"A\[1\] has an eigenvalue of -0.1"):
        neumann_inverse([good, symmetric(1, -0.1, *POSITIVE[1:])])
    # Singular batches will do, as long as their mean is regular.
    halves = [DiagonalOperator([2.0, 0.0]), DiagonalOperator([0.0, 2.0])]
    A_inv = neumann_inverse(halves, terms=80, repeats=50, rng=0)
    assert A_inv.rate == pytest.approx(0.5)
    assert np.all(np.abs(A_inv @ np.ones(2) - 1.0) < 4 * A_inv.standard_error(np.ones(2)))
    with pytest.raises(ValueError, match="A is singular"):
        neumann_inverse([halves[0], halves[0]])


def test_bad_arguments():
    A = np.eye(3)
    for scale in (0.0, -1.0, np.nan, np.inf, "large"):
        with pytest.raises(ValueError, match="scale is"):
            neumann_inverse(A, scale)
    for name in ("terms", "repeats", "steps"):
        for value in (0, 1.5, None):
            with pytest.raises(ValueError, match=f"{name} is {value}"):
                neumann_inverse([A, A], **{name: value})
    with pytest.raises(ValueError, match="repeats is 2, and there is one matrix"):
        neumann_inverse(A, repeats=2)
    with pytest.raises(ValueError, match="damping"):
        neumann_inverse(A, damping=np.nan)
    with pytest.raises(ValueError, match="empty"):
        neumann_inverse([])
    with pytest.raises(ValueError, match="one shape"):
        neumann_inverse([np.eye(2), np.eye(3)])
    with pytest.raises(ValueError, match="square"):
        neumann_inverse(np.ones((2, 3)))
    with pytest.raises(ValueError, match="not symmetric"):
        neumann_inverse(np.triu(np.ones((3, 3))))
    with pytest.raises(TypeError, match="expected a LinearOperator"):
        neumann_inverse("A")
    with pytest.raises(NonFiniteError):
        neumann_inverse(A) @ np.full(3, np.nan)
    assert neumann_inverse(aslinearoperator(A)).shape == (3, 3)
