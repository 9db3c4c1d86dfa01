"""Densities, traces of functions and log-determinants, against spectra that are known."""

import math

import autograd.numpy as anp
import matplotlib as mpl
import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from scipy.stats import wasserstein_distance
from spectra import grid_eigenvalues, grid_laplacian, laplacian, laplacian_eigenvalues
from structures import symmetric

from hessop import (
    DenseOperator,
    DiagonalOperator,
    LowRankOperator,
    NonFiniteError,
    NotConvergedWarning,
    SparseOperator,
    effective_dimension,
    hessian_operator,
    logdet,
    spectral_density,
    trace_of_function,
)
from hessop.spectrum import kernel_polynomials
from hessop.spectrum.intervals import SpectralInterval
from hessop.spectrum.quadrature import ProbeBlock

mpl.use("Agg")

N = 400
METHODS = pytest.mark.parametrize("method", ["lanczos", "kernel-polynomial"])


def wishart(n, samples):
    X = np.random.default_rng(0).standard_normal((n, samples))
    return X @ X.T / samples


BULK = 0.1 * np.random.default_rng(5).standard_normal(N - 6)
OUTLIERS = np.array([3.0, 4.0, 5.0, 6.0, 8.0, 10.0])
# A matrix, and its eigenvalues
SPECTRA = {
    "path": (laplacian(N), laplacian_eigenvalues(N)),
    "grid": (
        grid_laplacian(20, 20),
        grid_eigenvalues(20, 20),
    ),
    "wishart": (wishart(N, 2 * N), np.linalg.eigvalsh(wishart(N, 2 * N))),
    "outliers": (symmetric(0, *BULK, *OUTLIERS), np.r_[BULK, OUTLIERS]),
    "clusters": (
        symmetric(1, *np.repeat([-1.0, 0.0, 2.0, 2.001], N // 4)),
        np.repeat([-1.0, 0.0, 2.0, 2.001], N // 4),
    ),
    "rank one": (symmetric(2, 3.0, *np.zeros(N - 1)), np.r_[3.0, np.zeros(N - 1)]),
    "zero": (np.zeros((N, N)), np.zeros(N)),
    "identity": (np.eye(N), np.ones(N)),
    "n = 1": (np.array([[-2.5]]), np.array([-2.5])),
}
SPECTRUM = pytest.mark.parametrize("name", SPECTRA)
DISTINCT = {"clusters": 4, "rank one": 2, "zero": 1, "identity": 1, "n = 1": 1}


def distance(found, eigenvalues):
    """Wasserstein's, of the mean over probes."""
    return wasserstein_distance(
        found.nodes.ravel(), eigenvalues, np.ascontiguousarray(found.weights).ravel()
    )


def range_of(eigenvalues):
    return np.ptp(eigenvalues) or np.abs(eigenvalues).max() or 1.0


# --- the density ----------------------------------------------------------------------------------


@SPECTRUM
@METHODS
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_within_the_stated_distance(name, method, dtype):
    """``range (1 / degree + 0.5 / √(n probes))``; of kernel polynomials 2.5 over the degree."""
    A, eigenvalues = SPECTRA[name]
    found = spectral_density(A.astype(dtype), method=method, rng=0)
    kernel = 2.5 / 100 if method == "kernel-polynomial" else 1.0 / 100
    bound = kernel + 0.5 / math.sqrt(10 * len(eigenvalues)) * (len(eigenvalues) > 1)
    assert distance(found, eigenvalues) <= bound * range_of(eigenvalues)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1.0)
    assert np.all(found.weights >= 0.0)


def test_the_bound_tells_wrong_weights():
    """The same nodes with weights that are not squared, or all the same, are too far away."""
    for name in ("grid", "outliers", "rank one"):
        A, eigenvalues = SPECTRA[name]
        found = spectral_density(A, method="lanczos", rng=0)
        nodes, bound = found.nodes.ravel(), 0.01 + 0.5 / math.sqrt(10 * N)
        for wrong in (np.sqrt(found.weights), 1.0 * (found.weights > 0.0)):
            off = wasserstein_distance(nodes, eigenvalues, wrong.ravel())
            assert off > 5.0 * distance(found, eigenvalues)
            assert off > bound * range_of(eigenvalues) or name == "outliers"


@SPECTRUM
def test_all_steps_of_one_probe_find_each_eigenvalue_once(name):
    A, eigenvalues = SPECTRA[name]
    found = spectral_density(A, method="lanczos", n_probes=2, degree=200, rng=0)
    if name in DISTINCT:
        for nodes, weights in zip(found.nodes, found.weights, strict=True):
            # Where an eigenvalue is multiple, rounding may share its mass among some nodes.
            known = np.unique(nodes[weights > 1e-20].round(9))
            np.testing.assert_allclose(known, np.unique(eigenvalues), atol=1e-9)
    if name == "outliers":
        for outlier in OUTLIERS:
            near = np.abs(found.nodes - outlier) < 1e-9
            np.testing.assert_array_equal(near.sum(axis=1), 1)
            assert found.count(outlier - 0.1, outlier + 0.1).standard_error > 0.0


def test_weights_against_dense_quadrature():
    """``Σ w θ^k`` is ``zᵀ A^k z / n`` for each probe, up to twice the degree."""
    A = symmetric(3, *np.linspace(-1.0, 1.0, 50))
    block = ProbeBlock(DenseOperator(A), 4, np.random.default_rng(0))
    block.extend(6)
    Z = np.random.default_rng(0).choice([-1.0, 1.0], (50, 4))
    for z, rule in zip(Z.T, block.rules(), strict=True):
        for k in range(12):
            exact = z @ np.linalg.matrix_power(A, k) @ z / 50
            assert rule.weights @ rule.nodes**k == pytest.approx(exact, abs=1e-14)
        exact = z @ np.linalg.matrix_power(A, 12) @ z / 50
        assert rule.weights @ rule.nodes**12 != pytest.approx(exact, rel=1e-9)


@METHODS
@pytest.mark.parametrize("name", ["path", "wishart", "outliers"])
def test_the_integral_is_one_and_bands_are_around(name, method):
    found = spectral_density(SPECTRA[name][0], method=method, rng=0)
    x = found.grid()
    density, (lower, upper) = found.density(x), found.bands(x)
    assert np.trapezoid(density, x) == pytest.approx(1.0, abs=1e-4)
    assert np.all((lower >= 0.0) & (lower <= density) & (density <= upper))
    half = found.bands(x, 0.5)[1]
    assert np.all(half <= upper)
    np.testing.assert_array_equal(found.density(x.reshape(1, -1)), density.reshape(1, -1))
    assert found.density(float(x[7])) == pytest.approx(density[7])


def test_both_methods_agree():
    A = laplacian(3000)
    by_lanczos = spectral_density(A, method="lanczos", degree=60, rng=0)
    by_moments = spectral_density(A, method="kernel-polynomial", degree=120, rng=1)
    x = np.linspace(0.5, 3.5, 50)
    exact = 1.0 / (np.pi * np.sqrt(x * (4.0 - x)))
    np.testing.assert_allclose(by_lanczos.density(x, width=0.05), exact, rtol=0.15)
    np.testing.assert_allclose(by_moments.density(x), exact, rtol=0.15)


def test_marchenko_pastur():
    """The density of large sample covariances."""
    found = spectral_density(SPECTRA["wishart"][0], method="lanczos", n_probes=20, rng=0)
    low, high = (1 - math.sqrt(0.5)) ** 2, (1 + math.sqrt(0.5)) ** 2
    x = np.linspace(0.4, 2.4, 30)
    law = np.sqrt((high - x) * (x - low)) / (math.pi * x)
    np.testing.assert_allclose(found.density(x, width=0.15), law, rtol=0.15)
    assert np.allclose(found.support, [low, high], atol=0.1)


@METHODS
def test_bands_cover_the_density_of_all_eigenvalues(method):
    """At the promised rate, of 95 in 100; nearby points are seldom right by themselves."""
    A, eigenvalues = SPECTRA["grid"]
    own = DenseOperator(A.toarray())
    x, width = np.linspace(0.5, 7.5, 15), 0.3
    exact = np.mean(
        np.exp(-0.5 * ((x[:, None] - eigenvalues) / width) ** 2) / (width * math.sqrt(2 * math.pi)),
        axis=1,
    )
    covered = []
    for seed in range(30):
        found = spectral_density(own, method=method, degree=30, width=width, rng=seed)
        lower, upper = found.bands(x)
        covered.append((lower <= exact) & (exact <= upper))
    # Kernel polynomials smooth a little more than by the width.
    assert np.mean(covered) > (0.92 if method == "lanczos" else 0.85)
    assert np.mean(covered) < 0.99


# --- masses, moments, quantiles -------------------------------------------------------------------


def test_moments_are_within_their_errors():
    A = laplacian(N)
    traces = [1.0, 2.0, 6.0 - 2.0 / N, np.sum(laplacian_eigenvalues(N) ** 3) / N]
    scores = []
    for seed in range(100):
        found = spectral_density(A, method="lanczos", degree=2, rng=seed)
        assert float(found.moment(0)) == pytest.approx(1.0)
        for k in (1, 2, 3):
            moment = found.moment(k)
            scores.append((float(moment) - traces[k]) / moment.standard_error)
    assert float(found.mean) == float(found.moment(1))
    assert np.mean(np.abs(scores) < 2.0) > 0.88
    assert abs(np.mean(scores)) < 0.4


@METHODS
def test_counts_and_the_distribution_function(method):
    A, _ = SPECTRA["clusters"]
    found = spectral_density(A, method=method, n_probes=40, rng=0)
    for low, high, exact in [(-2, -0.5, 100), (-0.5, 1.0, 100), (1.0, 3.0, 200), (-2, 3, 400)]:
        count = found.count(low, high)
        assert float(count) == pytest.approx(exact, abs=3.0 * count.standard_error + 1e-6)
        assert count.n_matvec == found.n_matvec
    counts = found.count(-np.inf, np.array([-2.0, 0.5, 3.0]))
    np.testing.assert_allclose(counts.estimate, N * found.cdf([-2.0, 0.5, 3.0]))
    assert counts.standard_error.shape == (3,)
    assert float(found.count()) == pytest.approx(N)
    np.testing.assert_allclose(found.cdf(-3.0), 0.0)


def test_the_mass_at_zero():
    for name, exact in [("clusters", 0.25), ("rank one", 1 - 1 / N), ("zero", 1.0)]:
        for method, slack in (("lanczos", 1e-12), ("kernel-polynomial", 0.1), ("exact", 1e-12)):
            found = spectral_density(SPECTRA[name][0], method=method, degree=50, rng=0)
            mass = found.mass_near_zero()
            assert float(mass) == pytest.approx(exact, abs=4.0 * mass.standard_error + slack)
    singular = spectral_density(wishart(N, N // 2), method="lanczos", rng=0)
    assert float(singular.mass_near_zero()) == pytest.approx(0.5, abs=0.05)
    assert float(singular.mass_near_zero(tol=1e3)) == pytest.approx(1.0)


def test_quantiles():
    exact = spectral_density(np.diag([1.0, 2.0, 3.0, 4.0]))
    assert exact.quantile(0.5) == 2.0
    np.testing.assert_array_equal(exact.quantile([0.0, 0.25, 0.26, 1.0]), [1.0, 1.0, 2.0, 4.0])
    A, eigenvalues = SPECTRA["path"]
    found = spectral_density(A, method="lanczos", rng=0)
    q = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(found.quantile(q), np.quantile(eigenvalues, q), atol=0.15)


@SPECTRUM
def test_exact(name):
    A, eigenvalues = SPECTRA[name]
    found = spectral_density(A)  # as n is less than the products of an estimate
    assert (found.method, found.status) == ("exact", "exact")
    np.testing.assert_allclose(found.nodes[0], np.sort(eigenvalues), atol=1e-13)
    assert float(found.moment(2)) == pytest.approx(np.mean(eigenvalues**2), abs=1e-12)
    assert found.moment(2).standard_error == 0.0
    x = found.grid()
    lower, upper = found.bands(x)
    np.testing.assert_array_equal(lower, upper)
    assert np.trapezoid(found.density(x), x) == pytest.approx(1.0, abs=1e-3)


def test_what_is_exact_by_itself():
    large = DiagonalOperator(np.arange(5000.0))
    found = spectral_density(large)
    assert (found.method, found.n_matvec, large.n_matvec) == ("exact", 0, 0)
    assert float(found.count(0.0, 99.0)) == pytest.approx(100.0)
    A = laplacian(600)
    products = LinearOperator(A.shape, matvec=lambda v: A @ v, matmat=lambda V: A @ V, dtype=float)
    assert spectral_density(products, n_probes=5, rng=0).method == "lanczos"
    assert spectral_density(products, n_probes=6, rng=0).method == "exact"
    assert spectral_density(A, n_probes=5, rng=0).method == "exact"
    assert spectral_density(laplacian(2001), rng=0).method == "lanczos"


# --- on a logarithmic scale -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lanczos", "exact"])
def test_the_log_scale_keeps_signs_apart(method):
    eigenvalues = np.r_[np.zeros(100), np.repeat([-0.1, -0.01, 1.0, 10.0, 100.0, 1000.0], 50)]
    found = spectral_density(symmetric(4, *eigenvalues), method=method, scale="log", rng=0)
    assert found.width == 0.2
    x = found.grid()
    masses = [
        np.trapezoid(found.density(part), np.log10(np.abs(part)) * np.sign(part))
        for part in (x[x < 0.0], x[x > 0.0])
    ]
    slack = 0.03 * (method == "lanczos") + 1e-3
    assert sum(masses) + float(found.mass_near_zero()) == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(masses, [0.25, 0.5], atol=slack)
    peak = 0.125 / (0.2 * math.sqrt(2.0 * math.pi))
    np.testing.assert_allclose(found.density([-0.1, -0.01, 1.0, 10.0]), peak, atol=5.0 * slack)
    assert np.all(found.density([-1e3, 1e-3]) < 1e-40)
    lower, upper = found.bands(10.0)
    assert lower <= found.density(10.0) <= upper
    with pytest.raises(ValueError, match="x has a zero, which has no place on a logarithmic scale"):
        found.density([1.0, 0.0])
    assert not spectral_density(np.zeros((3, 3)), scale="log").grid().size


def test_the_bulk_of_a_near_singular_spectrum():
    """Three decades above what the degree resolves are flat, as they should be."""
    A = DiagonalOperator(np.geomspace(1e-6, 1.0, 3000))
    found = spectral_density(A, method="lanczos", n_probes=20, scale="log", rng=0)
    np.testing.assert_allclose(found.density([1e-2, 3e-2, 1e-1]), 1 / 6, rtol=0.35)


# --- kernel polynomials ---------------------------------------------------------------------------


def test_an_eigenvalue_outside_of_the_interval_is_found_and_taken_in(monkeypatch):
    """By whatever the first look has missed."""
    A, eigenvalues = SPECTRA["outliers"]
    real = kernel_polynomials.spectral_interval
    calls = []

    def too_narrow(A, **options):
        calls.append(options)
        if len(calls) > 1:
            return real(A, **options)
        return SpectralInterval(-0.4, 3.5, 0.0, 0.0, np.ones(N), 0, False)

    monkeypatch.setattr(kernel_polynomials, "spectral_interval", too_narrow)
    own = DenseOperator(A)
    found = spectral_density(own, method="kernel-polynomial", rng=0)
    assert len(calls) == 2
    assert found.n_matvec == own.n_matvec
    center, half = found.interval
    assert center - half < eigenvalues.min()
    assert center + half > eigenvalues.max()
    assert distance(found, eigenvalues) < 0.03 * np.ptp(eigenvalues)


def test_moments_by_half_the_products():
    own = DenseOperator(SPECTRA["path"][0].toarray())
    found = spectral_density(own, method="kernel-polynomial", n_probes=3, degree=51, rng=0)
    assert found.n_matvec == own.n_matvec == 30 + 3 * 26
    assert found.nodes.shape == (3, 104)


# --- traces of functions --------------------------------------------------------------------------

FUNCTIONS = {
    "logarithm": np.log,
    "root": np.sqrt,
    "exponential": np.exp,
    "share": lambda x: x / (x + 0.01),
    "kink": lambda x: np.maximum(x - 0.3, 0.0),
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_traces_are_within_their_errors_at_the_promised_rate(function):
    """About 95 in 100 within two standard errors: with ten probes 92, by Student's distribution.

    At least 80 % of 50 are: less has a probability of one in a thousand.
    """
    f = FUNCTIONS[function]
    eigenvalues = np.geomspace(1e-2, 1.0, 150)
    A = DenseOperator(symmetric(6, *eigenvalues))
    exact = np.sum(f(eigenvalues))
    found = [trace_of_function(A, f, method="lanczos", rng=seed) for seed in range(50)]
    errors = np.array([float(one) for one in found]) - exact
    scores = errors / [one.standard_error for one in found]
    assert np.mean(np.abs(scores) < 2.0) >= 0.8
    assert np.mean(np.abs(scores) < 1.0) <= 0.85  # and the error is not much too large
    # Unbiased: the mean is as near as means of so many are.
    assert abs(np.mean(errors)) < 3.0 * np.std(errors) / math.sqrt(50)


def test_the_degree_is_what_it_takes():
    A = DenseOperator(symmetric(6, *np.geomspace(1e-4, 1.0, 300)))
    easy = trace_of_function(A, np.exp, method="lanczos", rng=0)
    hard = trace_of_function(A, np.log, method="lanczos", rng=0)
    assert easy.n_matvec <= 120 < hard.n_matvec
    assert A.n_matvec == easy.n_matvec + hard.n_matvec
    rough = trace_of_function(A, np.log, method="lanczos", degree=6, n_probes=200, rng=0)
    exact = np.sum(np.log(np.geomspace(1e-4, 1.0, 300)))
    # What the quadrature lacks is in the error, and far more than the error by the probes.
    assert 8.0 < float(rough) - exact < 2.0 * rough.standard_error
    assert trace_of_function(A, np.log, method="lanczos", degree=2, rng=0).standard_error == np.inf
    assert trace_of_function(A, np.exp, method="lanczos", n_probes=1).standard_error == np.inf


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_tolerance(dtype):
    eigenvalues = np.linspace(0.1, 1.0, 500)
    A = DenseOperator(symmetric(7, *eigenvalues).astype(dtype))
    before = 0
    for rtol in (1e-1, 1e-2, 3e-3):
        found = trace_of_function(A, np.sqrt, method="lanczos", rtol=rtol, rng=0)
        assert found.converged
        assert found.standard_error <= rtol * float(found)
        assert float(found) == pytest.approx(np.sum(np.sqrt(eigenvalues)), rel=3.0 * rtol)
        assert before <= found.n_matvec < 10_000
        before = found.n_matvec
    with pytest.warns(NotConvergedWarning, match=r"did not converge in [12]\d+ products"):
        found = trace_of_function(A, np.sqrt, method="lanczos", rtol=1e-6, n_matvec=2000, rng=0)
    assert found.n_matvec <= 2000
    assert found.status == "product limit"


def test_more_probes_do_not_mend_a_degree_that_is_too_low():
    A = DenseOperator(symmetric(6, *np.geomspace(1e-4, 1.0, 300)))
    with (
        pytest.warns(NotConvergedWarning, match="degree 8 lacks about .* Use a larger degree"),
        pytest.warns(NotConvergedWarning, match="trace_of_function did not converge in 80"),
    ):
        trace_of_function(A, np.log, method="lanczos", degree=8, rtol=1e-3, rng=0)


def test_all_products_are_spent_where_only_their_number_is_said():
    A = DenseOperator(symmetric(7, *np.linspace(0.1, 1.0, 500)))
    errors = []
    for n_matvec in (500, 2000, 8000):
        found = trace_of_function(A, np.sqrt, method="lanczos", n_matvec=n_matvec, rng=0)
        assert 0.8 * n_matvec < found.n_matvec <= n_matvec
        errors.append(found.standard_error)
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2.0, rtol=0.4)


@pytest.mark.parametrize("n_matvec", [2, 7, 30, 100, 1000])
def test_no_more_products_than_said(n_matvec):
    A = DenseOperator(symmetric(6, *np.geomspace(1e-4, 1.0, 300)))
    found = trace_of_function(A, np.log, method="lanczos", n_matvec=n_matvec, rng=0)
    assert 0 < A.n_matvec == found.n_matvec <= n_matvec


def test_exact_sums():
    eigenvalues = np.linspace(-1.0, 3.0, 40)
    A = symmetric(8, *eigenvalues)
    found = trace_of_function(A, np.abs)
    assert (found.status, found.n_matvec) == ("exact", 2)
    assert float(found) == pytest.approx(np.sum(np.abs(eigenvalues)))
    products = LinearOperator((40, 40), matvec=lambda v: A @ v, dtype=float)
    assert trace_of_function(products, np.abs).n_matvec == 42
    assert float(trace_of_function(DiagonalOperator(np.ones(10**5)), np.exp)) == pytest.approx(
        1e5 * math.e
    )


def test_few_probes_at_a_time_give_the_same_within_errors(monkeypatch):
    """As for matrices so large that only two bases fit into memory."""
    monkeypatch.setattr("hessop.spectrum.quadrature._MOST_ENTRIES", 1)
    A = laplacian(N)
    eigenvalues = laplacian_eigenvalues(N)
    found = trace_of_function(A, np.exp, method="lanczos", rng=0)
    exact = np.sum(np.exp(eigenvalues))
    assert float(found) == pytest.approx(exact, abs=3.0 * found.standard_error)
    found = trace_of_function(A, np.exp, method="lanczos", rtol=1e-2, rng=0)
    assert found.converged
    assert float(found) == pytest.approx(exact, rel=0.03)
    density = spectral_density(A, method="lanczos", n_probes=5, degree=50, rng=0)
    assert density.nodes.shape == (5, 50)
    assert distance(density, eigenvalues) < 0.03 * 4.0


# --- log-determinant and effective dimension ------------------------------------------------------


def test_log_determinants_are_within_their_errors():
    eigenvalues = np.linspace(0.0, 2.0, 300)
    A = DenseOperator(symmetric(9, *eigenvalues))
    exact = np.sum(np.log(eigenvalues + 0.05))
    scores = []
    for seed in range(40):
        found = logdet(A, damping=0.05, method="lanczos", rng=seed)
        scores.append((float(found) - exact) / found.standard_error)
    assert np.mean(np.abs(scores) < 2.0) >= 0.8
    assert abs(np.mean(scores)) < 0.5


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_exact_log_determinants(damping):
    """By structure, by sparse factors, by factors of a program, and by eigenvalues."""
    n = 3000
    exact = np.sum(np.log(laplacian_eigenvalues(n) + damping))

    def energy(x):
        return 0.5 * (anp.sum((x[1:] - x[:-1]) ** 2) + x[0] ** 2 + x[-1] ** 2)

    for A in (SparseOperator(laplacian(n)), laplacian(n), hessian_operator(energy, np.zeros(n))):
        for method in ("auto", "exact"):
            found = logdet(A, damping=damping, method=method)
            assert found.status == "exact"
            assert float(found) == pytest.approx(exact, rel=1e-9)
    small = logdet(symmetric(0, 1.0, 2.0, 4.0), damping=damping)
    assert float(small) == pytest.approx(np.sum(np.log(np.array([1.0, 2.0, 4.0]) + damping)))
    low_rank = LowRankOperator(np.eye(50)[:, :2], [1.0, 3.0], 0.5)
    assert float(logdet(low_rank)) == pytest.approx(math.log(1.5 * 3.5) + 48 * math.log(0.5))


@pytest.mark.parametrize("method", ["auto", "exact", "lanczos"])
def test_log_determinants_that_there_are_not(method):
    indefinite, singular = symmetric(1, -0.5, *np.ones(30)), symmetric(1, *np.ones(30), 0.0)
    with pytest.raises(ValueError, match=r"eigenvalue of -0.\d+, or below, .* damping above 0.\d+"):
        logdet(indefinite, method=method, rng=0)
    with pytest.raises(np.linalg.LinAlgError, match=r"A is singular .* Use a damping, as logdet"):
        logdet(singular, method=method, rng=0)
    shifted = symmetric(1, *np.repeat([1.0, 2.0], 15))
    with pytest.raises(np.linalg.LinAlgError, match=r"A \+ -1 I is singular .* a larger damping"):
        logdet(shifted, damping=-1.0, method=method, rng=0)
    for A in (indefinite, singular):
        assert np.isfinite(float(logdet(A, damping=0.7, method=method, rng=0)))
    if method != "lanczos":
        with pytest.raises(ValueError, match=r"A is indefinite, .* Use a damping above"):
            logdet(DenseOperator(indefinite), method=method)
        with pytest.raises(np.linalg.LinAlgError, match="A is singular up to rounding"):
            logdet(DenseOperator(singular), method=method)


@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_two_negative_eigenvalues_have_no_log_determinant(damping):
    d = np.r_[-3.0, -2.0, np.linspace(1.0, 2.0, 2998)]

    def fun(x):
        return anp.sum(d * x**2) / 2 + anp.sum(x[1:] * x[:-1]) / 100

    H = hessian_operator(fun, np.zeros(3000))
    structured = DiagonalOperator(d), LowRankOperator(np.eye(3000)[:, :2], [-4.0, -3.0], 1.0)
    for A in (H, csr_array(H.to_sparse()), SparseOperator(H.to_sparse()), *structured):
        with pytest.raises(ValueError, match="is indefinite"):
            logdet(A, damping=damping)
        assert np.isfinite(float(logdet(A, damping=4.0)))


def test_singular_by_the_factors_of_a_program():
    n = 3000
    H = hessian_operator(lambda x: anp.sum((x[1:] - x[:-1]) ** 2), np.zeros(n))
    with pytest.raises(np.linalg.LinAlgError, match="A is singular up to rounding"):
        logdet(H)


def test_effective_dimensions():
    eigenvalues = np.r_[np.geomspace(1e-6, 1e2, 100), np.zeros(50)]
    A = symmetric(2, *eigenvalues)
    for damping in (1e-2, 1.0):
        exact = np.sum(eigenvalues / (eigenvalues + damping))
        assert float(effective_dimension(A, damping)) == pytest.approx(exact)
        scores = []
        for seed in range(12):
            found = effective_dimension(DenseOperator(A), damping, method="lanczos", rng=seed)
            scores.append((float(found) - exact) / found.standard_error)
        assert np.mean(np.abs(scores) < 2.0) >= 0.75
    for method in ("exact", "lanczos"):
        with pytest.raises(ValueError, match=r"eigenvalue of -0.* expected none that is negative"):
            effective_dimension(symmetric(1, -0.5, 1.0, 2.0), 0.1, method=method, rng=0)


# --- along the way --------------------------------------------------------------------------------

CALLS = {
    "lanczos": lambda A, **options: spectral_density(A, method="lanczos", **options),
    "kernel-polynomial": lambda A, **options: spectral_density(
        A, method="kernel-polynomial", **options
    ),
    "trace_of_function": lambda A, **options: trace_of_function(
        A, np.exp, method="lanczos", **options
    ),
    "logdet": lambda A, **options: logdet(A, damping=1.0, method="lanczos", **options),
    "effective_dimension": lambda A, **options: effective_dimension(
        A, 1e-3, method="lanczos", **options
    ),
}
CALL = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def numbers_of(result):
    return result.weights if hasattr(result, "weights") else float(result)


@CALL
def test_reproducible(call):
    A = laplacian(N)
    first, second = call(A, rng=7), call(A, rng=np.random.default_rng(7))
    np.testing.assert_array_equal(numbers_of(first), numbers_of(second))
    assert not np.array_equal(numbers_of(first), numbers_of(call(A, rng=8)))


@CALL
def test_callback_and_its_end(call):
    seen = []

    def stop(result):
        seen.append(result)
        if len(seen) == 2:
            raise StopIteration

    found = call(laplacian(N), rng=0, callback=stop)
    assert found.status == "stopped"
    assert found.n_matvec == seen[1].n_matvec > seen[0].n_matvec
    np.testing.assert_array_equal(numbers_of(found), numbers_of(seen[1]))


@CALL
def test_an_interruption_leaves_what_there_is(call):
    columns = []

    def multiply(V):
        columns.append(V.shape[1])
        if sum(columns) > 100:
            raise KeyboardInterrupt
        return laplacian(N) @ V

    operator = LinearOperator(
        (N, N), matvec=lambda v: multiply(v[:, None])[:, 0], matmat=multiply, dtype=float
    )
    with pytest.warns(NotConvergedWarning, match="was interrupted after"):
        found = call(operator, rng=0, degree=40)
    assert found.status == "interrupted"
    assert found.n_matvec <= 100
    assert np.all(np.isfinite(numbers_of(found)))


@CALL
def test_progress(call, capsys):
    call(laplacian(N), rng=0, progress=True)
    assert "products" in capsys.readouterr().err


@CALL
def test_products_are_counted(call):
    own = DenseOperator(laplacian(N).toarray())
    assert call(own, rng=0).n_matvec == own.n_matvec
    foreign = call(aslinearoperator(laplacian(N)), rng=0)
    assert foreign.n_matvec == own.n_matvec + 2


def test_plots():
    for A, options in (
        (laplacian(N), {"method": "lanczos"}),
        (laplacian(N), {"method": "kernel-polynomial"}),
        (symmetric(4, -0.1, 1.0, 20.0), {"scale": "log"}),
    ):
        found = spectral_density(A, rng=0, **options)
        axes = found.plot()
        assert len(axes.lines) == (2 if found.scale == "log" else 1)
        assert len(axes.collections) == (found.method != "exact")
        assert found.plot(axes, confidence=0.5, width=0.1) is axes
        mpl.pyplot.close(axes.figure)


def test_repr():
    assert repr(spectral_density(np.diag([0.0, 1.0, 3.0, 4.0]))) == (
        "<SpectralDensity of 4 eigenvalues from 0 to 4, median 1, near zero 0.25, exact, "
        "2 products, exact>"
    )
    found = spectral_density(laplacian(N), method="lanczos", rng=0)
    assert "lanczos, 10 probes, 1002 products" in repr(found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "slq"}, "method is 'slq', expected one of 'auto', 'exact', 'lanczos', 'kernel"),
        ({"scale": "log10"}, "scale is 'log10', expected one of 'linear', 'log'"),
        ({"scale": "log", "method": "kernel-polynomial"}, "has the same resolution everywhere"),
        ({"n_probes": 0}, "n_probes is 0, expected a whole number from 1"),
        ({"degree": 2.5}, "degree is 2.5, expected a whole number from 1"),
        ({"width": 0.0}, "width is 0.0, expected a positive number"),
        ({"A": np.triu(np.ones((3, 3)))}, "A is not symmetric"),
        ({"A": np.ones((3, 2))}, r"A has shape \(3, 2\), expected a square"),
    ],
)
def test_errors_of_densities(arguments, message):
    with pytest.raises(ValueError, match=message):
        spectral_density(**({"A": np.eye(3)} | arguments))


def test_errors_of_results():
    found = spectral_density(np.eye(3))
    for call, message in (
        (lambda: found.bands(0.0, 95), "confidence is 95, expected a number between 0 and 1"),
        (lambda: found.density(0.0, width=-1.0), "width is -1.0, expected a positive number"),
        (lambda: found.mass_near_zero(-1.0), "tol is -1.0, expected a number that is not negative"),
        (lambda: found.quantile(1.5), "q is 1.5, expected numbers from 0 to 1"),
        (lambda: found.moment(-1), "k is -1, expected a whole number from 0"),
        (lambda: found.count(2.0, 1.0), "low is 2.0 and high is 1.0, expected"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("method", ["exact", "lanczos"])
def test_errors_of_functions(method):
    A = symmetric(0, *np.linspace(-1.0, 1.0, 20))

    def by(f, **options):
        return trace_of_function(A, f, method=method, rng=0, **options)

    with pytest.raises(NonFiniteError, match=r"log is nan at -\d.*, an eigenvalue of A or between"):
        by(np.log)
    with pytest.raises(ValueError, match=r"sum gives shape \(\) for eigenvalues of shape"):
        by(np.sum)
    with pytest.raises(TypeError, match=r"gives complex128, expected real numbers"):
        by(lambda x: np.exp(1j * x))
    with pytest.raises(TypeError, match="f is 2, expected a function of an array"):
        by(2)
    for name, value in (("n_probes", 0), ("degree", -1), ("n_matvec", 1), ("rtol", 0.0)):
        with pytest.raises(ValueError, match=f"{name} is {value}, expected a"):
            by(np.exp, **{name: value})
    with pytest.raises(ValueError, match="method is 'xtrace', expected one of 'auto', 'exact'"):
        trace_of_function(A, np.exp, method="xtrace")
    for damping in (0.0, -1.0):
        with pytest.raises(ValueError, match=r"expected a positive number\. For the number of eig"):
            effective_dimension(A, damping, method=method)
    with pytest.raises(ValueError, match="damping is nan, expected a finite real number"):
        logdet(A, damping=np.nan, method=method)


def test_a_zero_matrix_is_drawn_on_a_logarithmic_scale():
    ax = spectral_density(np.zeros((5, 5)), scale="log").plot()
    assert ax.get_title() == "near zero: 1"
