"""Eigenpairs at the ends of spectra and within, against dense ones and closed forms."""

import math
import pickle
import warnings

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.sparse import diags_array, eye_array
from scipy.sparse.linalg import LinearOperator, aslinearoperator, eigsh
from spectra import (
    by_products,
    grid_eigenvalues,
    grid_laplacian,
    laplacian,
    laplacian_eigenvalues,
    planted,
)

from hessop import DiagonalOperator, hessian_operator, jacobi_preconditioner
from hessop._errors import NotConvergedWarning
from hessop.spectrum.conditions import condition_number
from hessop.spectrum.deflation import deflated_operator
from hessop.spectrum.eigen import extreme_eigenpairs
from hessop.spectrum.searches import ENDS, Search

N, K = 210, 4


def wanted(values, which, k=K):
    values = np.sort(values)
    if which == "SM":
        return np.sort(values[np.argsort(np.abs(values), kind="stable")[:k]])
    if which == "BE":
        return np.r_[values[: k // 2], values[values.size - (k - k // 2) :]]
    order = {"LA": -values, "SA": values, "LM": -np.abs(values)}[which]
    return np.sort(values[np.argsort(order, kind="stable")[:k]])


def check(A, pairs, exact, rtol=1e-9):
    """That pairs are those, orthonormal, and that their residuals are what they are."""
    assert pairs.converged
    assert pairs.status in ("converged", "exact")
    scale = max(np.abs(exact).max(), 1e-4 * pairs.norm)
    np.testing.assert_allclose(pairs.eigenvalues, exact, rtol=0, atol=rtol * scale)
    U = pairs.eigenvectors
    eps = np.finfo(U.dtype).eps
    assert np.abs(U.T @ U - np.eye(len(exact))).max() < 1000 * eps
    residuals = np.linalg.norm(A @ U - U * pairs.eigenvalues, axis=0)
    assert np.abs(residuals - pairs.residuals).max() <= 1e-13 * pairs.norm * math.sqrt(len(U))
    assert (residuals <= 1.001 * pairs.tolerances).all()


SPECTRA = {
    "even": np.linspace(-2.0, 3.01, N),
    "definite": np.linspace(1.0, 2.0, N),
    "negative": -np.geomspace(1e-3, 1.0, N),
    "outliers": np.r_[-30.0, np.linspace(0.0, 1.0, N - 4), 10.0, 20.0, 50.0],
    "copies": np.r_[-3.0, -3.0, np.linspace(0.1, 1.0, N - 7), 5.0, 5.0, 5.0, 7.0, 7.0],
    "all twofold": np.repeat(np.linspace(1.0, 20.0, N // 2), 2),
    "identity": np.ones(N),
    "zero": np.zeros(N),
    "rank-three": np.r_[-1.0, np.zeros(N - 3), 2.0, 2.0],
    "singular": np.r_[-2.0, np.zeros(3), np.linspace(1.0, 3.0, N - 4)],
}


@pytest.mark.parametrize("which", ["LA", "SA", "LM", "BE", "SM"])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_planted_spectra(spectrum, which):
    A = planted(SPECTRA[spectrum])
    exact = wanted(np.linalg.eigvalsh(A), which)
    pairs = extreme_eigenpairs(by_products(A), K, which=which, rng=0)
    check(A, pairs, exact)
    assert pairs.method != "dense"


def test_a_cluster_next_to_zero_beside_large_ones():
    """What `eigsh` does not find: the far end is a billion times the cluster."""
    values = np.r_[np.geomspace(1e-8, 1e-6, 390), np.geomspace(10.0, 1e3, 10)]
    A = planted(values)
    for which in ("SA", "SM"):
        pairs = extreme_eigenpairs(by_products(A), K, which=which, rng=0)
        assert pairs.converged
        # The matrix itself is rounded to 1e-13.
        np.testing.assert_allclose(pairs.eigenvalues, values[:K], rtol=1e-4)


@pytest.mark.parametrize("known", ["sparse", "recorded"])
@pytest.mark.parametrize("which", ["SA", "LA", "SM"])
def test_crowded_ends_of_a_large_laplacian(which, known):
    n = 6000
    A = laplacian(n)
    if known == "recorded":

        def energy(x):
            return 0.5 * anp.sum((x[1:] - x[:-1]) ** 2) + 0.5 * (x[0] ** 2 + x[-1] ** 2)

        A = hessian_operator(energy, np.zeros(n))
    pairs = extreme_eigenpairs(A, 4, which=which, rng=0)
    exact = wanted(laplacian_eigenvalues(n), which, 4)
    assert pairs.converged
    assert "exact" in pairs.method
    assert pairs.n_matvec < 400
    np.testing.assert_allclose(pairs.eigenvalues, exact, rtol=1e-6)


def test_a_large_grid_from_products_alone():
    a, b = 31, 43
    A = grid_laplacian(a, b)
    values = grid_eigenvalues(a, b)
    for options in ({}, {"method": "shift-invert"}):
        pairs = extreme_eigenpairs(by_products(A), 4, which="SA", rng=0, **options)
        check(A, pairs, values[:4])
        assert ("minres" in pairs.method) == bool(options)


def test_slow_ends_are_found_by_minres():
    A = laplacian(500)
    pairs = extreme_eigenpairs(by_products(A), 2, which="SA", method="shift-invert", rng=0)
    check(A, pairs, laplacian_eigenvalues(500)[:2])
    assert pairs.method == "shift-invert, minres"


@pytest.mark.parametrize("sigma", [0.37, 1.0, 0.002])
def test_next_to_a_shift(sigma):
    values = np.sort(np.r_[np.linspace(-2.0, 2.0, 218), 1.0, 0.0])  # also a shift that is one
    A = planted(values)
    values = np.linalg.eigvalsh(A)
    nearest = np.sort(values[np.argsort(np.abs(values - sigma))[:3]])
    pairs = extreme_eigenpairs(by_products(A), 3, sigma=sigma, rng=0)
    assert pairs.converged
    assert pairs.method == "shift-invert, minres"
    np.testing.assert_allclose(pairs.eigenvalues, nearest, atol=1e-9)
    same = extreme_eigenpairs(by_products(A), 3, sigma=sigma, which="LM", method="dense")
    np.testing.assert_allclose(same.eigenvalues, nearest, atol=1e-12)


@pytest.mark.parametrize("sigma", [1.0, 0.3, -0.01])
def test_next_to_a_shift_of_a_sparse_matrix(sigma):
    n = 5000  # one is an eigenvalue, exactly
    pairs = extreme_eigenpairs(laplacian(n), 3, sigma=sigma, rng=0)
    exact = laplacian_eigenvalues(n)
    exact = np.sort(exact[np.argsort(np.abs(exact - sigma))[:3]])
    assert pairs.converged
    assert pairs.n_matvec < 100
    np.testing.assert_allclose(pairs.eigenvalues, exact, atol=1e-10)


def test_a_diagonal_operator_and_its_exact_inverse():
    d = np.r_[np.geomspace(1e-12, 1.0, 1000)]
    pairs = extreme_eigenpairs(DiagonalOperator(d), 3, which="SM", method="shift-invert", rng=0)
    assert pairs.method == "shift-invert, exact"
    assert pairs.converged
    np.testing.assert_allclose(pairs.eigenvalues, d[:3], atol=1e-13)


def test_lobpcg_with_a_preconditioner():
    which, rng = "SA", np.random.default_rng(3)
    A = np.diag(np.geomspace(1.0, 1e3, 400)) + planted(np.linspace(-0.5, 0.5, 400)) * 0.3
    M = jacobi_preconditioner(by_products(A))
    with_M = extreme_eigenpairs(by_products(A), 3, which=which, M=M, rng=rng)
    check(A, with_M, wanted(np.linalg.eigvalsh(A), which, 3))
    assert with_M.method == "lobpcg"
    plain = extreme_eigenpairs(by_products(A), 3, which=which, rng=0)
    assert with_M.n_matvec < plain.n_matvec


@pytest.mark.parametrize("which", ["LA", "SA", "BE"])
def test_fewer_products_than_eigsh(which):
    A = planted(np.random.default_rng(5).standard_normal(N) ** 3)
    count = 0

    def product(v):
        nonlocal count
        count += 1
        return A @ v

    operator = LinearOperator(A.shape, matvec=product, dtype=float)
    eigsh(operator, K, which=which, v0=np.ones(N), tol=1e-9)
    before, count = count, 0
    pairs = extreme_eigenpairs(operator, K, which=which, rng=0)
    assert pairs.n_matvec == count <= 1.4 * before


@pytest.mark.parametrize("method", ["lanczos", "shift-invert", "lobpcg", "auto"])
def test_all_products_are_counted_and_runs_are_reproducible(method):
    A, results = planted(np.linspace(0.5, 9.0, N)), []
    for seed in (7, 7, 8):
        count = np.zeros(1, dtype=int)

        def product(v, count=count):
            count += 1 if v.ndim == 1 else v.shape[1]
            return A @ v

        operator = LinearOperator(A.shape, matvec=product, matmat=product, dtype=float)
        pairs = extreme_eigenpairs(operator, 3, which="SA", method=method, rng=seed)
        assert pairs.n_matvec == count[0]
        results.append(pairs.eigenvectors)
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("which", [*ENDS, "SM"])
@pytest.mark.parametrize("method", ["auto", "lanczos"])
def test_small_matrices(n, which, method):
    if which == "SM" and method == "lanczos":
        return
    A = planted(np.arange(n) - 1.3)
    for k in range(1, n + 1):
        pairs = extreme_eigenpairs(A, k, which=which, method=method, rng=0)
        check(A, pairs, wanted(np.linalg.eigvalsh(A), which, k), rtol=1e-11)


def test_single_precision():
    values = np.r_[np.linspace(1.0, 2.0, 295), 5.0, 6.0, 8.0, 9.0, 20.0]
    A = planted(values).astype(np.float32)
    pairs = extreme_eigenpairs(by_products(A), 3, rng=0)
    assert pairs.eigenvectors.dtype == np.float32
    assert pairs.converged
    np.testing.assert_allclose(pairs.eigenvalues, [8.0, 9.0, 20.0], rtol=1e-5)


def test_a_tree_of_parameters():
    def fun(p):
        return anp.sum(p["w"] ** 2 * anp.arange(1.0, 5.0).reshape(2, 2)) - 7.0 * p["b"] ** 2

    H = hessian_operator(fun, {"w": np.zeros((2, 2)), "b": 0.0})
    pairs = extreme_eigenpairs(H, 1, which="SA")
    tree = pairs.eigenvector_tree(0)
    assert abs(tree["b"]) == pytest.approx(1.0)
    np.testing.assert_allclose(tree["w"], 0.0, atol=1e-12)
    with pytest.raises(TypeError, match="does not know a tree"):
        extreme_eigenpairs(np.eye(3), 1).eigenvector_tree(0)


def test_a_limit_is_kept_and_told():
    A = by_products(laplacian(3000))
    with pytest.warns(NotConvergedWarning, match="did not converge"):
        pairs = extreme_eigenpairs(A, 4, which="SA", n_matvec=60, rng=0)
    assert pairs.n_matvec <= 60
    assert not pairs.converged
    assert pairs.status == "product limit"
    assert "not converged" in str(pairs)
    # A Ritz value is never beyond the end, and an eigenvalue lies as near as its residual.
    exact = laplacian_eigenvalues(3000)
    assert pairs.eigenvalues[0] >= exact[0]
    for value, residual in zip(pairs.eigenvalues, pairs.residuals, strict=True):
        assert np.abs(exact - value).min() <= residual * 1.001


@pytest.mark.parametrize("method", ["lanczos", "shift-invert", "lobpcg"])
def test_an_interruption_leaves_what_was_found(method):
    A, count = planted(np.linspace(0.0, 1.0, N) ** 3), 0

    def product(v):
        nonlocal count
        count += 1
        if count > 500:
            raise KeyboardInterrupt
        return A @ v

    operator = LinearOperator(A.shape, matvec=product, dtype=float)
    with pytest.warns(NotConvergedWarning, match="was interrupted"):
        pairs = extreme_eigenpairs(operator, 3, which="SA", method=method, rtol=1e-13, rng=0)
    assert pairs.status == "interrupted"
    assert len(pairs)
    assert np.abs(pairs.eigenvalues).max() < 0.3

    count = 500
    with pytest.raises(KeyboardInterrupt):
        extreme_eigenpairs(operator, 3, rng=0, method="lanczos")


def test_a_callback_sees_partial_results_and_may_stop():
    seen = []

    def callback(pairs):
        seen.append(pairs.n_matvec)
        if len(seen) == 3:
            raise StopIteration

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pairs = extreme_eigenpairs(
            by_products(laplacian(2000)), 2, which="SA", callback=callback, rng=0
        )
    assert pairs.status == "stopped"
    assert pairs.n_matvec == seen[-1]
    assert sorted(set(seen)) == seen


def test_a_start_that_is_given():
    A = planted(np.linspace(0.0, 1.0, N))
    values, vectors = np.linalg.eigh(A)
    cold = extreme_eigenpairs(by_products(A), 2, rng=0)
    warm = extreme_eigenpairs(by_products(A), 2, v0=vectors[:, -2:], rng=0)
    assert warm.n_matvec < cold.n_matvec
    np.testing.assert_allclose(warm.eigenvalues, values[-2:], rtol=1e-12)


BAD = {
    "not symmetric": (lambda: extreme_eigenpairs(np.triu(np.ones((4, 4)))), "not symmetric"),
    "k": (lambda: extreme_eigenpairs(np.eye(4), 5), "k is 5, expected .* 1 to 4"),
    "k=0": (lambda: extreme_eigenpairs(np.eye(4), 0), "k is 0"),
    "which": (lambda: extreme_eigenpairs(np.eye(4), 1, which="LR"), "which is 'LR'"),
    "method": (lambda: extreme_eigenpairs(np.eye(4), 1, method="arpack"), "method is 'arpack'"),
    "sigma": (lambda: extreme_eigenpairs(np.eye(4), 1, sigma=np.nan), "sigma is nan"),
    "both": (lambda: extreme_eigenpairs(np.eye(4), 1, sigma=1.0, which="SA"), "both sigma"),
    "interior": (
        lambda: extreme_eigenpairs(np.eye(4), 1, sigma=1.0, method="lanczos"),
        "shift-invert",
    ),
    "lobpcg": (lambda: extreme_eigenpairs(np.eye(9), 2, method="lobpcg"), "a fifth of all"),
    "rtol": (lambda: extreme_eigenpairs(np.eye(4), 1, rtol=-1.0), "rtol is -1.0"),
    "atol": (lambda: extreme_eigenpairs(np.eye(4), 1, atol=np.inf), "atol is inf"),
    "v0": (lambda: extreme_eigenpairs(np.eye(4), 1, v0=np.ones(3)), "v0 has shape"),
    "n_matvec": (lambda: extreme_eigenpairs(np.eye(4), 1, n_matvec=0), "n_matvec is 0"),
    "M": (lambda: extreme_eigenpairs(np.eye(4), 1, M=np.eye(3)), "M has shape"),
    "M indefinite": (
        lambda: extreme_eigenpairs(
            by_products(planted(np.arange(1.0, 301.0))), 2, which="SA", M=-eye_array(300), rng=0
        ),
        "M is not positive definite",
    ),
    "deflate": (lambda: deflated_operator(np.eye(4), np.ones((3, 1))), "shape"),
    "dependent": (lambda: deflated_operator(np.eye(4), np.ones((4, 2))), "linearly independent"),
    "condition": (lambda: condition_number(np.eye(4), method="svd"), "method is 'svd'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_complex_matrices_are_refused():
    with pytest.raises(TypeError, match="expected real numbers"):
        extreme_eigenpairs(np.eye(3) * 1j)


# --- the rest of a spectrum -----------------------------------------------------------------------


def test_a_deflated_operator_is_the_rest():
    values = np.r_[np.linspace(-1.0, 1.0, N - 3) * 1e-6, 1e2, 5e2, 1e3]
    A = planted(values)
    top = extreme_eigenpairs(by_products(A), 3, rng=0)
    rest = deflated_operator(A, top)
    exact, vectors = np.linalg.eigh(A)
    kept = vectors[:, :-3]
    np.testing.assert_allclose(rest.to_dense(), kept @ np.diag(exact[:-3]) @ kept.T, atol=1e-11)
    V = np.random.default_rng(0).standard_normal((N, 4))
    np.testing.assert_allclose(rest @ V, np.stack([rest @ v for v in V.T], axis=1), atol=1e-11)
    assert "3 directions taken out" in repr(rest)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(rest)) @ V, rest @ V)


def test_directions_that_are_put_elsewhere():
    A = planted(np.arange(1.0, 31.0))
    low = extreme_eigenpairs(A, 2, which="SA")
    rest = deflated_operator(A, low.eigenvectors * 3.0, shift=100.0)  # of any length
    np.testing.assert_allclose(
        np.linalg.eigvalsh(rest.to_dense()), [*range(3, 31), 100.0, 100.0], atol=1e-9
    )


def test_a_search_stays_beside_locked_vectors():
    A = planted(np.arange(50.0))
    vectors = np.linalg.eigh(A)[1]
    rng = np.random.default_rng(0)
    search = Search(
        aslinearoperator_of(A), 2, "LA", lambda v, _: 1e-9 * np.ones_like(v),
        rng.standard_normal((50, 1)), rng, locked=vectors[:, -3:],
    )  # fmt: skip
    while not search.is_done:
        search.step()
    np.testing.assert_allclose(np.sort(search.pairs().values), [45.0, 46.0], atol=1e-9)


def aslinearoperator_of(A):
    from hessop.operators.foreign import as_symmetric

    return as_symmetric(aslinearoperator(A))


# --- condition numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("values", [np.geomspace(1.0, 1e3, 600), np.r_[-3.0, np.arange(2, 601)]])
@pytest.mark.parametrize("method", ["exact", "lanczos"])
def test_condition_numbers(values, method):
    A = planted(values)
    exact = np.abs(values).max() / np.abs(values).min()
    estimate = condition_number(by_products(A), method=method, rng=0)
    assert estimate.converged
    assert abs(float(estimate) - exact) <= 2 * estimate.standard_error + 1e-6 * exact
    assert float(estimate) == pytest.approx(exact, rel=3e-3)


def test_an_enormous_condition_number():
    d = np.geomspace(1e-6, 1e6, 1000)
    assert float(condition_number(DiagonalOperator(d), rng=0)) == pytest.approx(1e12, rel=1e-3)
    assert float(condition_number(diags_array(d), rng=0)) == pytest.approx(1e12, rel=1e-3)


@pytest.mark.parametrize("n", [5, 800])
def test_the_condition_of_a_singular_matrix_is_infinite(n):
    A = by_products(planted(np.r_[0.0, np.linspace(1.0, 2.0, n - 1)]))
    assert float(condition_number(A, rng=0)) == math.inf
    zero = by_products(np.zeros((n, n)))
    assert float(condition_number(zero, rng=0)) == math.inf


def test_a_condition_number_that_is_not_found():
    A = by_products(laplacian(3000))
    with pytest.warns(NotConvergedWarning, match="condition_number did not converge"):
        estimate = condition_number(A, n_matvec=100, rng=0)
    exact = laplacian_eigenvalues(3000)
    assert not estimate.converged
    assert estimate.n_matvec <= 100
    assert float(estimate) <= exact[-1] / exact[0]


def interrupted_after(A, most):
    count = 0

    def product(v):
        nonlocal count
        count += 1
        if count == most:  # once: who goes on after it is found out
            raise KeyboardInterrupt
        return A @ v

    return LinearOperator(A.shape, matvec=product, dtype=float)


def test_condition_numbers_end_when_they_are_interrupted():
    A = planted(np.geomspace(1e-6, 1.0, N))
    with pytest.raises(KeyboardInterrupt):
        condition_number(interrupted_after(A, 5), method="lanczos", rng=0)
    with pytest.warns(NotConvergedWarning, match="condition_number was interrupted"):
        found = condition_number(interrupted_after(A, 150), method="lanczos", rng=0)
    assert found.status == "interrupted"
    assert 1.0 < float(found) < np.inf


def test_a_limit_below_the_size_is_kept():
    A = by_products(planted(np.linspace(1.0, 2.0, 30)))
    with pytest.warns(NotConvergedWarning, match="did not converge in"):
        pairs = extreme_eigenpairs(A, 2, n_matvec=9, rng=0)
    assert pairs.n_matvec <= 9 + 2  # the residuals of both are measured
    assert pairs.status == "product limit"


def test_a_preconditioner_is_for_the_small_end():
    A = planted(np.geomspace(1.0, 1e3, N))
    M = np.linalg.inv(A)
    assert extreme_eigenpairs(by_products(A), 2, which="LA", M=M, rng=0).method == "lanczos"
    assert extreme_eigenpairs(by_products(A), 2, which="SA", M=M, rng=0).method == "lobpcg"
