"""Traces, diagonals and norms: against dense matrices, and the promises of their error bars."""

import contextlib
import warnings

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.sparse import csc_array, csr_array, random_array
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from structures import symmetric

from hessop import (
    DiagonalOperator,
    KroneckerOperator,
    LowRankOperator,
    NonFiniteError,
    NotConvergedWarning,
    diagonal,
    frobenius_norm,
    hessian_operator,
    jacobian_operator,
    row_norms,
    spectral_norm,
    trace,
)
from hessop.spectrum.leave_one_out import left_out
from hessop.spectrum.sketches import stages

N = 240

# As in section 4 of Epperly, Tropp and Webber (2024), and one that falls slowly.
SPECTRA = {
    "flat": 3.0 - 2.0 * np.arange(N) / (N - 1),
    "polynomial": (1.0 + np.arange(N)) ** -2.0,
    "slow": (1.0 + np.arange(N)) ** -0.5,
    "exponential": 0.7 ** np.arange(N),
    "step": np.where(np.arange(N) < 15, 1.0, 1e-3),
}
MATRICES = {name: symmetric(3, *values) for name, values in SPECTRA.items()}
SPECTRUM = pytest.mark.parametrize("spectrum", SPECTRA)

# Each public function, its ways to estimate, and the same from the entries
TRUTHS = {
    trace: np.trace,
    diagonal: np.diag,
    frobenius_norm: np.linalg.norm,
    row_norms: lambda A: np.linalg.norm(A, axis=1),
    spectral_norm: lambda A: np.linalg.norm(A, 2),
}
RANDOM = [
    (trace, "xtrace"),
    (trace, "hutch++"),
    (trace, "hutchinson"),
    (diagonal, "xdiag"),
    (diagonal, "hutchinson"),
    (frobenius_norm, "hutch++"),
    (frobenius_norm, "hutchinson"),
    (row_norms, "hutch++"),
    (row_norms, "hutchinson"),
]
EACH = pytest.mark.parametrize(
    ("estimator", "method"), RANDOM, ids=[f"{one.__name__}-{method}" for one, method in RANDOM]
)
EVERY = pytest.mark.parametrize("estimator", TRUTHS, ids=lambda one: one.__name__)


class Counted(LinearOperator):
    """A matrix known by products, which are counted; without an adjoint unless asked for."""

    def __new__(cls, matrix, *, adjoint=False):
        return super().__new__(WithAdjoint if adjoint else cls)

    def __init__(self, matrix, *, adjoint=False):
        super().__init__(matrix.dtype, matrix.shape)
        self.matrix, self.spent, self.blocks = matrix, 0, []

    def _matmat(self, V):
        self.spent += V.shape[1]
        self.blocks.append(V.shape[1])
        return self.matrix @ V

    def _matvec(self, v):
        return self._matmat(np.reshape(v, (-1, 1)))[:, 0]


class WithAdjoint(Counted):
    def _rmatmat(self, U):
        self.spent += U.shape[1]
        return self.matrix.T @ U

    def _rmatvec(self, u):
        return self._rmatmat(np.reshape(u, (-1, 1)))[:, 0]


class Interrupted(Counted):
    """Ctrl-C after so many columns."""

    limit = 0

    def _matmat(self, V):
        if self.spent > self.limit:
            raise KeyboardInterrupt
        return super()._matmat(V)


def runs(estimator, A, seeds, **options):
    """Estimates and their errors, one run a row."""
    found = [estimator(A, rng=seed, **options) for seed in range(seeds)]
    estimates, errors = zip(*((one.estimate, one.standard_error) for one in found), strict=True)
    return np.array(estimates), np.array(errors)


def root_mean_square(estimator, A, seeds=40, **options):
    """Of the error relative to the truth."""
    truth = TRUTHS[estimator](A)
    estimates, _ = runs(estimator, aslinearoperator(A), seeds, **options)
    return np.sqrt(np.mean((estimates - truth) ** 2)) / abs(truth)


@contextlib.contextmanager
def no_warning_of_convergence():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConvergedWarning)
        yield


# --- what is exact --------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("make", [np.array, csr_array, csc_array, lambda A: csr_array(A).tocoo()])
def test_entries_at_hand_cost_nothing(estimator, make):
    A = random_array((50, 50), density=0.1, rng=np.random.default_rng(0)).toarray()
    for matrix in (make(A), aslinearoperator(make(A))):
        found = estimator(matrix)
        assert (found.status, found.n_matvec, found.method) == ("exact", 0, "exact")
        np.testing.assert_allclose(found.estimate, TRUTHS[estimator](A), rtol=1e-13)
        assert np.shape(found.standard_error) == np.shape(found.estimate)
        assert not np.any(found.standard_error)
    transposed = estimator(aslinearoperator(make(A.T)).T, method="exact")
    np.testing.assert_allclose(transposed.estimate, TRUTHS[estimator](A), rtol=1e-12)


@EVERY
def test_a_structure_is_read(estimator):
    d = np.random.default_rng(1).standard_normal(1000)
    D = DiagonalOperator(d)
    found = estimator(D)
    assert (found.status, found.n_matvec) == ("exact", 0)
    np.testing.assert_allclose(found.estimate, TRUTHS[estimator](np.diag(d)), rtol=1e-12)
    assert D.n_matvec == 0


@pytest.mark.parametrize("estimator", [trace, diagonal], ids=lambda one: one.__name__)
def test_structures_of_traces_and_diagonals(estimator):
    L = LowRankOperator(np.linalg.qr(np.ones((500, 1)))[0], [3.0], shift=0.5)
    K = KroneckerOperator([symmetric(1, *range(1, 20)), symmetric(2, *range(1, 31))])
    for A in (L, K):
        found = estimator(A, n_matvec=2)
        assert (found.status, found.n_matvec, A.n_matvec) == ("exact", 0, 0)
        np.testing.assert_allclose(found.estimate, TRUTHS[estimator](A.to_dense()), rtol=1e-11)


@EVERY
@pytest.mark.parametrize("n", [1, 2, 5, 60])
def test_n_products_are_exact(estimator, n):
    A = np.random.default_rng(n).standard_normal((n, n))
    counted = Counted(A, adjoint=True)
    found = estimator(counted, method="exact" if estimator is spectral_norm else "auto")
    assert found.status == "exact"
    assert found.n_matvec == counted.spent == n
    np.testing.assert_allclose(found.estimate, TRUTHS[estimator](A), rtol=1e-12)


@EACH
def test_an_estimate_that_would_take_n_products_is_exact(estimator, method):
    counted = Counted(MATRICES["slow"])
    found = estimator(counted, method=method, n_matvec=N)
    assert (found.status, found.n_matvec, counted.spent) == ("exact", N, N)
    np.testing.assert_allclose(found.estimate, TRUTHS[estimator](MATRICES["slow"]), rtol=1e-12)


def test_a_sparse_hessian_is_read_off_its_program():
    H = hessian_operator(lambda x: anp.sum((x[1:] - x[:-1]) ** 2), np.zeros(2000))
    assert trace(H, method="exact").estimate == 4 * 1999
    assert diagonal(H, method="exact").n_matvec == H.n_matvec == 0


def test_products_of_a_sum_are_counted():
    H = hessian_operator(lambda x: anp.sum(x**4) + anp.sum(x) ** 2, np.ones(90))
    found = trace(H + 2.0 * csr_array(np.eye(90)))
    assert (found.estimate, found.n_matvec) == (pytest.approx(16 * 90), 90)


def test_rectangles():
    A = np.random.default_rng(0).standard_normal((70, 300)) * np.geomspace(1, 1e-3, 300)
    for matrix in (A, A.T):
        for estimator in (frobenius_norm, row_norms):
            truth = TRUTHS[estimator](matrix)
            assert estimator(matrix).estimate == pytest.approx(truth, rel=1e-12)
            counted = Counted(matrix, adjoint=True)
            found = estimator(counted, n_matvec=50, rng=0)
            assert (found.method, found.n_matvec, counted.spent) in [("hutch++", 50, 50)]
            error = np.linalg.norm(found.estimate - truth)
            assert error < 3 * np.linalg.norm(found.standard_error) < 0.5 * np.linalg.norm(truth)
        found = spectral_norm(Counted(matrix, adjoint=True), rtol=1e-6, rng=0)
        assert found.estimate == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-6)


def test_a_jacobian():
    X = np.random.default_rng(0).standard_normal((150, 200))
    J = jacobian_operator(lambda w: anp.tanh(X @ w), np.zeros(200))
    assert spectral_norm(J, rng=0, rtol=1e-3).is_within(1e-3)
    assert frobenius_norm(J, method="exact").estimate == pytest.approx(np.linalg.norm(X))
    found = frobenius_norm(J, n_matvec=60, rng=0)
    assert abs(found.estimate - np.linalg.norm(X)) < 3 * found.standard_error


# --- random signs, normal vectors and their means -------------------------------------------------


@EACH
@SPECTRUM
def test_unbiased_with_an_honest_error(estimator, method, spectrum):
    """The mean over seeds within 3.5 of its standard errors; the truth within 2 of those of a run.

    That in 95 runs of 100, and in 80 where a few probes tell of one eigenvalue; an error bar that
    is half as large, in 68. Of norms, the squares are unbiased.
    """
    A, seeds = MATRICES[spectrum], 30
    truth = TRUTHS[estimator](A)
    estimates, errors = runs(estimator, Counted(A), seeds, method=method, n_matvec=62)
    if estimator in (frobenius_norm, row_norms):
        estimates, errors, truth = estimates**2, 2 * estimates * errors, truth**2
    z = (estimates.mean(axis=0) - truth) / (estimates.std(axis=0, ddof=1) / np.sqrt(seeds))
    # Errors of rows go together where one direction is missing; those of a diagonal do not.
    assert np.mean(z**2) < (2.0 if estimator is diagonal else 3.5**2)
    covered = np.mean(np.abs(estimates - truth) <= 2.0 * errors)
    assert covered > 0.8


def test_a_biased_estimate_would_be_seen():
    """XTrace without leaving any probe out."""
    A, errors = MATRICES["slow"], []
    for seed in range(60):
        Z = np.random.default_rng(seed).standard_normal((N, 31))
        Q = np.linalg.qr(A @ Z)[0]
        rest = Z - Q @ (Q.T @ Z)
        mean = np.mean(np.sum(rest * (A @ rest), axis=0))
        errors.append(np.trace(Q.T @ A @ Q) + mean - np.trace(A))
    assert abs(np.mean(errors)) > 8.0 * np.std(errors) / np.sqrt(60)


@pytest.mark.parametrize("estimator", [trace, diagonal], ids=lambda one: one.__name__)
def test_errors_of_samples_that_share_a_sketch(estimator):
    """As large as the errors are; from the deviation of the samples alone, 0.8 times that."""
    A = MATRICES["slow"]
    options = {"method": "xtrace" if estimator is trace else "xdiag", "n_matvec": 62}
    estimates, errors = runs(estimator, Counted(A), 120 if estimator is trace else 30, **options)
    true = np.sqrt(np.mean((estimates - TRUTHS[estimator](A)) ** 2))
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(true, rel=0.12)


def test_unsymmetric_matrices():
    rng = np.random.default_rng(0)
    A = (rng.standard_normal((N, N)) * 0.9 ** np.arange(N)) @ rng.standard_normal((N, N))
    for estimator, method in RANDOM:
        truth = TRUTHS[estimator](A)
        estimates, errors = runs(
            estimator, Counted(A, adjoint=True), 20, method=method, n_matvec=70
        )
        z = (estimates.mean(axis=0) - truth) / (estimates.std(axis=0, ddof=1) / np.sqrt(20))
        assert np.mean(z**2) < (12.0 if np.ndim(truth) == 0 else 2.0)
        assert np.mean(np.abs(estimates - truth) <= 2.0 * errors) > 0.8


# --- decay, as in the papers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spectrum", "plus_plus", "xtrace"),
    [("exponential", 1e-2, 1e-3), ("polynomial", 3e-2, 2e-2), ("step", 0.2, 1e-3)],
)
def test_sketches_against_plain_probes(spectrum, plus_plus, xtrace):
    """At 60 products, relative to Hutchinson's error."""
    A = MATRICES[spectrum]
    plain = root_mean_square(trace, A, method="hutchinson", n_matvec=60)
    assert root_mean_square(trace, A, method="hutch++", n_matvec=60) < plus_plus * plain
    assert root_mean_square(trace, A, method="xtrace", n_matvec=60) < xtrace * plain


def test_a_flat_spectrum_gains_nothing_and_loses_little():
    A = MATRICES["flat"]
    plain = root_mean_square(trace, A, method="hutchinson", n_matvec=60)
    for method in ("hutch++", "xtrace"):
        assert 0.5 * plain < root_mean_square(trace, A, method=method, n_matvec=60) < 3.0 * plain


def test_rates():
    """The error of eigenvalues 1/i falls as 1/m, with plain probes as its root."""
    A = symmetric(5, *1.0 / np.arange(1.0, 301.0))
    budgets = [24, 48, 96, 144]
    for method, low, high in (
        ("xtrace", -1.6, -0.85),
        ("hutch++", -1.4, -0.8),
        ("hutchinson", -0.7, -0.3),
    ):
        errors = [root_mean_square(trace, A, 16, method=method, n_matvec=m) for m in budgets]
        slope = np.polyfit(np.log(budgets), np.log(errors), 1)[0]
        assert low < slope < high, method


def test_xdiag_follows_the_spectrum():
    A = MATRICES["exponential"]
    errors = [
        np.linalg.norm(
            diagonal(Counted(A), method="xdiag", n_matvec=m, rng=0).estimate - np.diag(A)
        )
        for m in (22, 42, 82)
    ]
    assert errors[1] < 0.1 * errors[0]
    assert errors[2] < 0.01 * errors[1]


# --- what products are spent ----------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("limit", [6, 7, 8, 9, 11, 33, 61, 101, 128, 239])
def test_never_more_than_allowed(estimator, method, limit):
    counted = Counted(MATRICES["flat"])
    found = estimator(counted, method=method, n_matvec=limit, rng=0)
    assert limit - 1 <= found.n_matvec == counted.spent <= limit
    assert found.method == method
    assert found.status == "done"
    assert np.all(np.isfinite(found.standard_error))
    hutchinson = method == "hutchinson"
    assert hutchinson or len(counted.blocks) < 6 + limit / 8  # blocks, not single columns


@EACH
def test_the_least(estimator, method):
    tested = method in ("xdiag", "hutch++") and estimator is not trace
    least = (2 if method == "hutchinson" else 4) + 2 * tested
    counted = Counted(MATRICES["flat"])
    with pytest.raises(
        ValueError,
        match=rf"^n_matvec is {least - 1}, expected a whole number from "
        rf"{least}: method='{method.replace('+', '.')}' takes",
    ):
        estimator(counted, method=method, n_matvec=least - 1)
    assert counted.spent == 0
    assert estimator(counted, method=method, n_matvec=least, rng=0).n_matvec == least
    H = hessian_operator(lambda x: anp.sum(x) ** 2 + anp.sum(x**4), np.ones(200))
    if tested:  # ours is known to be symmetric
        assert estimator(H, method=method, n_matvec=4, rng=0).n_matvec <= H.n_matvec <= 4


@EACH
def test_rtol_is_reached(estimator, method):
    A = MATRICES["polynomial" if method != "hutchinson" else "flat"]
    counted = Counted(A)
    found = estimator(counted, method=method, rtol=0.04, rng=1)
    truth = TRUTHS[estimator](A)
    assert found.converged
    assert found.n_matvec == counted.spent
    assert np.linalg.norm(found.standard_error) <= 0.04 * np.linalg.norm(found.estimate)
    assert np.linalg.norm(found.estimate - truth) <= 3 * 0.04 * np.linalg.norm(truth)
    if method != "hutchinson":
        assert found.status == "converged"
        assert found.n_matvec < N / 2


def test_a_smaller_rtol_takes_more():
    spent = [
        trace(Counted(MATRICES["polynomial"]), rtol=rtol, rng=0).n_matvec
        for rtol in (0.1, 3e-3, 3e-4)
    ]
    assert spent[0] < spent[1] < spent[2] < N


@EACH
def test_exact_after_all(estimator, method):
    """Where n products were not enough, n more are exact."""
    counted = Counted(MATRICES["flat"])
    found = estimator(counted, method=method, rtol=1e-7, rng=0)
    assert found.status == "exact"
    assert 2 * N - 1 <= found.n_matvec == counted.spent <= 2 * N
    np.testing.assert_allclose(found.estimate, TRUTHS[estimator](MATRICES["flat"]), rtol=1e-11)


@EACH
def test_a_limit_before_rtol(estimator, method):
    with pytest.warns(NotConvergedWarning, match=rf"{estimator.__name__} did not converge in "):
        found = estimator(Counted(MATRICES["flat"]), method=method, rtol=1e-7, n_matvec=40, rng=0)
    assert found.status == "product limit"
    assert not found.converged


@EACH
def test_reproducible(estimator, method):
    A = Counted(MATRICES["slow"])
    first, again, other, generator = (
        estimator(A, method=method, n_matvec=30, rng=rng)
        for rng in (4, 4, 5, np.random.default_rng(4))
    )
    assert np.array_equal(first.estimate, again.estimate)
    assert np.array_equal(first.estimate, generator.estimate)
    assert not np.array_equal(first.estimate, other.estimate)


@EACH
def test_growing_is_the_same_as_at_once(estimator, method):
    """The estimates on the way are those of a smaller budget, with the same products."""
    partial = []
    A = MATRICES["slow"]
    estimator(Counted(A), method=method, n_matvec=120, rng=0, callback=partial.append)
    costs = [one.n_matvec for one in partial]
    assert len(partial) >= 3
    assert costs == sorted(set(costs))
    truth = TRUTHS[estimator](A)
    errors = [np.linalg.norm(one.estimate - truth) for one in partial]
    assert errors[-1] < errors[0] or errors[0] < 2 * np.linalg.norm(partial[0].standard_error)
    if method != "hutch++":  # whose thirds are cut otherwise at the end
        alone = estimator(Counted(A), method=method, n_matvec=costs[0], rng=0)
        np.testing.assert_allclose(alone.estimate, partial[0].estimate, rtol=1e-12)


# --- ends of its own ------------------------------------------------------------------------------


@EVERY
def test_callback_ends(estimator):
    def enough(found):
        seen.append(found)
        if len(seen) == 2:
            raise StopIteration

    seen = []
    found = estimator(Counted(MATRICES["slow"]), n_matvec=120, rtol=1e-9, rng=0, callback=enough)
    assert (found.status, found.n_matvec) == ("stopped", seen[-1].n_matvec)
    assert np.array_equal(found.estimate, seen[-1].estimate)


@EVERY
def test_interrupt_leaves_the_last_estimate(estimator):
    A = Interrupted(MATRICES["flat"])
    A.limit = 20 if estimator is spectral_norm else 40
    with pytest.warns(NotConvergedWarning, match=f"{estimator.__name__} was interrupted after"):
        found = estimator(A, n_matvec=120, rtol=1e-9, rng=0)
    assert found.status == "interrupted"
    assert 0 < found.n_matvec <= A.spent
    size = np.linalg.norm(TRUTHS[estimator](A.matrix))
    assert np.linalg.norm(found.estimate - TRUTHS[estimator](A.matrix)) < 0.5 * size


@EVERY
def test_interrupt_before_the_first(estimator):
    A = Interrupted(MATRICES["slow"])
    with pytest.raises(KeyboardInterrupt):
        estimator(A, rng=0)


@EVERY
def test_progress(estimator, capsys):
    pytest.importorskip("tqdm")
    A = Counted(MATRICES["slow"])
    estimator(A, n_matvec=120, progress=True, rng=0)
    assert f"{estimator.__name__}: " in capsys.readouterr().err


# --- numbers that are hard ------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_scales(estimator, method, scale):
    A = MATRICES["slow"]
    plain = estimator(Counted(A), method=method, n_matvec=40, rng=0)
    found = estimator(Counted(scale * A), method=method, n_matvec=40, rng=0)
    np.testing.assert_allclose(found.estimate / scale, plain.estimate, rtol=1e-9)
    np.testing.assert_allclose(found.standard_error / scale, plain.standard_error, rtol=1e-7)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_scales_of_what_is_exact(scale):
    A = np.random.default_rng(0).standard_normal((20, 20))
    for estimator, truth in TRUTHS.items():
        for make in (np.array, csr_array, lambda A: Counted(A, adjoint=True)):
            found = estimator(make(scale * A), method="exact").estimate
            np.testing.assert_allclose(found / scale, truth(A), rtol=1e-12)


@EACH
@pytest.mark.parametrize("rank", [0, 1, 2, 7])
def test_low_rank_is_found_exactly(estimator, method, rank):
    """Signs of few coordinates repeat: these columns of a sketch are dependent."""
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((N, rank))
    for A in (dense @ dense.T, np.diag(np.arange(N) < rank).astype(float)):
        for adjoint in (False, True):
            counted = Counted(A, adjoint=adjoint)
            found = estimator(counted, method=method, n_matvec=62, rng=0)
            assert found.n_matvec == counted.spent <= 62
            truth = TRUTHS[estimator](A)
            if method == "hutchinson":
                continue
            scale = np.linalg.norm(truth) or 1.0
            assert np.linalg.norm(found.estimate - truth) < 1e-13 * scale
            assert np.linalg.norm(found.standard_error) < 1e-13 * scale
            assert found.status == "exact" or method == "xdiag"


def test_a_fast_decay_does_not_break_the_sketch():
    for ratio in (0.5, 0.1, 1e-3):
        A = symmetric(6, *ratio ** np.arange(N))
        for estimator, method in RANDOM:
            if method != "hutchinson":
                found = estimator(Counted(A), method=method, n_matvec=126, rng=0)
                truth = TRUTHS[estimator](A)
                error = np.linalg.norm(found.estimate - truth)
                assert error < 1e-8 * np.linalg.norm(truth), (ratio, method)


@EACH
def test_single_precision(estimator, method):
    A = MATRICES["polynomial"].astype(np.float32)
    counted = Counted(A)
    found = estimator(counted, method=method, n_matvec=62, rng=0)
    plain = estimator(Counted(A.astype(float)), method=method, n_matvec=62, rng=0)
    size = np.linalg.norm(plain.estimate)
    assert np.asarray(found.estimate).dtype == np.float64
    assert np.linalg.norm(found.estimate - TRUTHS[estimator](A)) < max(
        4 * np.linalg.norm(plain.standard_error), 1e-5 * size
    )


def test_left_out():
    R = np.random.default_rng(0).standard_normal((5, 5))
    S = left_out(R)
    np.testing.assert_allclose(np.linalg.norm(S, axis=0), 1.0)
    crossed = S.T @ R
    np.testing.assert_allclose(crossed - np.diag(np.diag(crossed)), 0.0, atol=1e-13)
    twice = np.column_stack([R, R[:, 0]])  # the first and the last are each other's double
    S = left_out(twice)
    assert not S[:, [0, 5]].any()
    np.testing.assert_allclose(S[:, 1:5], left_out(R)[:, 1:], atol=1e-13)


def test_stages():
    for most in range(1, 200):
        counts = list(stages(most))
        assert counts == sorted(set(counts))
        assert counts[-1] == most
        assert most < 10 or counts[0] == 10


# --- the spectral norm ----------------------------------------------------------------------------


@SPECTRUM
def test_spectral_norm(spectrum):
    values = SPECTRA[spectrum] * np.where(np.arange(N) % 2, 1.0, -1.0)
    A = symmetric(4, *values)
    for rtol in (1e-1, 1e-3, 1e-8):
        for seed in range(5):
            counted = Counted(A)
            found = spectral_norm(counted, rtol=rtol, rng=seed)
            truth = np.abs(values).max()
            assert found.n_matvec == counted.spent
            assert found.converged
            assert abs(found.estimate - truth) <= rtol * truth
            assert found.estimate <= truth * (1 + 1e-13)


def test_spectral_norm_bounds_hold():
    A = np.random.default_rng(0).standard_normal((200, 200))
    truth = np.linalg.norm(A, 2)
    for seed in range(10):
        seen = []
        counted = Counted(A, adjoint=True)
        spectral_norm(counted, rtol=1e-10, rng=seed, callback=seen.append)
        assert counted.spent == seen[-1].n_matvec
        # An accepted bound holds for some singular value, and in the end for the largest.
        values = np.linalg.svd(A, compute_uv=False)
        for one in seen:
            assert np.abs(values - one.estimate).min() <= one.standard_error + 1e-12 * truth
        assert seen[-1].estimate == pytest.approx(truth, rel=1e-10)


def test_a_single_large_value_is_not_overlooked():
    """A bulk at one, where the first residuals are small at once."""
    d = np.ones(20_000) + 1e-6 * np.arange(20_000) / 20_000
    d[17] = 1.5
    for seed in range(10):
        A = aslinearoperator(csr_array((d, (np.arange(20_000),) * 2)))
        assert spectral_norm(A, method="lanczos", rng=seed).estimate == pytest.approx(1.5, rel=1e-2)


@pytest.mark.parametrize("n", [1, 3, 50])
def test_spectral_norms_of_degenerate_matrices(n):
    for A in (np.zeros((n, n)), np.eye(n), -2.0 * np.eye(n), np.ones((n, n))):
        for adjoint in (False, True):
            found = spectral_norm(Counted(A, adjoint=adjoint), method="lanczos", rng=0)
            assert found.status == "exact"
            assert found.estimate == pytest.approx(np.linalg.norm(A, 2), rel=1e-12)
    found = spectral_norm(Counted(np.eye(n, n + 2) * 1e-160, adjoint=True), method="lanczos")
    assert found.estimate == pytest.approx(1e-160, rel=1e-12)


def test_spectral_norm_within_a_limit():
    A = Counted(MATRICES["flat"])
    with pytest.warns(NotConvergedWarning, match="did not converge in 7 products"):
        found = spectral_norm(A, n_matvec=7, rng=0)
    assert (found.n_matvec, A.spent, found.status) == (7, 7, "product limit")
    assert spectral_norm(A, n_matvec=33, rtol=None, rng=0).n_matvec == 33
    unsymmetric = Counted(np.random.default_rng(0).standard_normal((150, 150)), adjoint=True)
    with no_warning_of_convergence():
        assert spectral_norm(unsymmetric, n_matvec=13, rng=0).n_matvec == 12
    dense = spectral_norm(A, method="exact")
    assert (dense.estimate, dense.n_matvec) == (pytest.approx(3.0), N)


# --- refused --------------------------------------------------------------------------------------


@EVERY
def test_refused_options(estimator):
    A = Counted(MATRICES["flat"])
    with pytest.raises(ValueError, match=r"^method is 'best', expected 'auto', "):
        estimator(A, method="best")
    for n_matvec in (0, -3, 2.5, True, "10"):
        with pytest.raises(ValueError, match=r"^n_matvec is .*, expected a whole number from 1"):
            estimator(A, n_matvec=n_matvec)
    for rtol in (0.0, -1.0, np.nan, np.inf, "1"):
        with pytest.raises(ValueError, match=r"^rtol is .*, expected a positive number"):
            estimator(A, rtol=rtol)
    with pytest.raises(ValueError, match=f"^n_matvec is 10, expected a whole number from {N}: "):
        estimator(A, method="exact", n_matvec=10)
    assert A.spent == 0


@EVERY
def test_refused_matrices(estimator):
    with pytest.raises(TypeError, match=r"^A is a function, expected a LinearOperator or a matrix"):
        estimator(lambda x: x)
    with pytest.raises(TypeError, match=r"^A has dtype complex128, expected real numbers"):
        estimator(1j * np.eye(3))
    with pytest.raises(ValueError, match=r"^A has shape \(0, 0\), expected \(m, n\)"):
        estimator(np.zeros((0, 0)))
    if estimator in (trace, diagonal):
        with pytest.raises(ValueError, match=r"^A has shape \(3, 2\), expected a square"):
            estimator(np.zeros((3, 2)))


@EVERY
def test_what_is_not_finite(estimator):
    A = MATRICES["flat"].copy()
    A[3, 3] = np.nan
    with pytest.raises(NonFiniteError, match="not finite"):
        estimator(Counted(A), rng=0)
    if estimator is not spectral_norm:
        with pytest.raises(NonFiniteError, match=r"^A has entries that are not finite"):
            estimator(A)


def test_neither_limit_nor_tolerance():
    with pytest.raises(ValueError, match=r"^n_matvec and rtol are both None, expected one of them"):
        spectral_norm(Counted(MATRICES["flat"]), rtol=None)


def test_without_an_adjoint():
    """A symmetric matrix has its own; others are refused where it is needed."""
    A = np.random.default_rng(0).standard_normal((N, N))
    needs = [(diagonal, "xdiag"), (frobenius_norm, "hutch++"), (row_norms, "hutch++")]
    for without in (Counted(A), LinearOperator(A.shape, matvec=A.__matmul__, dtype=float)):
        for estimator, method in [*needs, (spectral_norm, "lanczos"), (spectral_norm, "auto")]:
            with pytest.raises(TypeError, match=r"^A is a \w+ without an adjoint"):
                estimator(without, method=method, n_matvec=60)
        for estimator in (frobenius_norm, row_norms):
            found = estimator(without, n_matvec=60, rng=0)
            assert (found.method, found.n_matvec) == ("hutchinson", 60)
        assert trace(without, n_matvec=60, rng=0).method == "xtrace"
    own = LinearOperator((N, N), matvec=MATRICES["flat"].__matmul__, dtype=float)
    for estimator, method in needs:
        assert estimator(own, method=method, n_matvec=60, rng=0).n_matvec == 60
    assert spectral_norm(own, rng=0).converged


# --- operators of hessop --------------------------------------------------------------------------


@EVERY
def test_a_hessian(estimator):
    x = np.linspace(0.5, 1.5, 400)
    H = hessian_operator(lambda x: anp.sum(x**4) + anp.sum(x) ** 2, x)
    dense = 12 * np.diag(x**2) + 2.0
    found = estimator(H, n_matvec=150, rtol=0.1, rng=0)
    assert found.converged
    assert found.n_matvec == H.n_matvec <= 150
    truth = TRUTHS[estimator](dense)
    assert np.linalg.norm(found.estimate - truth) <= 0.2 * np.linalg.norm(truth)


@pytest.mark.parametrize("estimator", TRUTHS, ids=lambda estimator: estimator.__name__)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_matrix_that_is_not_finite(estimator, bad):
    with pytest.raises(NonFiniteError, match="not finite, expected finite numbers"):
        estimator(np.full((6, 6), bad))
