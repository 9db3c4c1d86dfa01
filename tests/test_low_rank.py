"""Approximations of low rank, against the bounds of the papers that the methods come from."""

import math

import autograd.numpy as anp
import numpy as np
import pytest
from cases import normal
from scipy.sparse.linalg import aslinearoperator
from structures import orthonormal, symmetric

from hessop import DiagonalOperator, LowRankOperator, hessian_operator

METHODS = pytest.mark.parametrize("method", ["lanczos", "nystrom", "randomized"])
N = 60

# Positive eigenvalues, largest first
DECAYS = {
    "exponential": 2.0 ** -np.arange(N),
    "polynomial": (1.0 + np.arange(N)) ** -2.0,
    "slow": (1.0 + np.arange(N)) ** -0.5,
    "step": np.where(np.arange(N) < 8, 1.0, 1e-4),
    "noise": np.maximum(3.0 ** -np.arange(N), 1e-6),
}
DECAY = pytest.mark.parametrize("decay", DECAYS)
BOTH_SIGNS = np.where(np.arange(N) % 3 == 1, -1.0, 1.0)


def definite(decay):
    return symmetric(1, *DECAYS[decay])


def indefinite(decay):
    return symmetric(2, *(DECAYS[decay] * BOTH_SIGNS))


def distance(A, found):
    """Of an approximation in the spectral norm."""
    return np.linalg.norm(A - found.to_dense(), 2)


def approximations(A, method, rank, oversampling, seeds=20):
    """Approximations from different random numbers."""
    for seed in range(seeds):
        yield LowRankOperator.from_operator(
            A, rank, method=method, oversampling=oversampling, error_probes=0, rng=seed
        )


# --- what is promised of all ----------------------------------------------------------------------


@METHODS
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("rank", [1, 7, N - 1, N])
def test_the_form(method, rank, dtype):
    eps = np.finfo(dtype).eps
    A = definite("polynomial").astype(dtype)
    L = LowRankOperator.from_operator(A, rank, method=method, rng=0)
    assert (L.rank, L.shift, L.dtype) == (rank, 0.0, dtype)
    assert np.abs(L.U.T @ L.U - np.eye(rank)).max() < 100 * eps
    assert np.all(np.diff(np.abs(L.s)) <= 10 * eps)
    assert np.all(L.s >= 0) or method == "lanczos"
    assert np.all(L.s <= 1.0 + 100 * eps)
    exact = np.linalg.norm(A - L.to_dense())
    assert 0.3 * exact - 100 * eps <= L.error_estimate <= 3.0 * exact + 100 * eps


@METHODS
@DECAY
def test_an_estimate_is_near_the_distance(method, decay):
    """In the Frobenius norm, with a relative standard error of ``1 / √(2k)`` at most."""
    A = definite(decay) if method == "nystrom" else indefinite(decay)
    ratios = []
    for seed in range(50):
        L = LowRankOperator.from_operator(A, 10, method=method, rng=seed)
        ratios.append(L.error_estimate / np.linalg.norm(A - L.to_dense()))
        assert 0.1 < ratios[-1] < 3.0
    assert np.mean(np.square(ratios)) == pytest.approx(1.0, abs=0.3)
    assert np.std(ratios) <= 1.2 / math.sqrt(2 * 5)
    L = LowRankOperator.from_operator(A, 10, method=method, error_probes=400, rng=0)
    assert L.error_estimate == pytest.approx(np.linalg.norm(A - L.to_dense()), rel=0.1)
    assert distance(A, L) <= 1.1 * L.error_estimate


def test_an_estimate_grows_with_the_matrix():
    A = definite("polynomial")
    L = LowRankOperator.from_operator(A, 5, rng=0)
    assert (-3.0 * L).error_estimate == pytest.approx(3.0 * L.error_estimate)
    assert (L + DiagonalOperator(np.ones(N))).error_estimate == L.error_estimate
    larger = LowRankOperator.from_operator(3.0 * A, 5, rng=0)
    assert larger.error_estimate == pytest.approx(3.0 * L.error_estimate)


@METHODS
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_does_not_matter(method, scale):
    A = definite("exponential")
    L = LowRankOperator.from_operator(A, 6, method=method, rng=0)
    scaled = LowRankOperator.from_operator(scale * A, 6, method=method, rng=0)
    np.testing.assert_allclose(scaled.s, scale * L.s, rtol=1e-10)
    assert scaled.error_estimate == pytest.approx(scale * L.error_estimate, rel=1e-6)


@METHODS
@pytest.mark.parametrize("rank", [3, 4, 8, 30])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_matrix_of_low_rank_is_recovered(method, rank, dtype):
    """Also where more is asked for than there is."""
    # The shift that makes the core of Nyström positive definite is taken off again up to rounding
    # that the sketch has enlarged.
    rounding = (1000 if method == "nystrom" else 100) * np.finfo(dtype).eps
    s = np.array([1.0, 0.5, 0.2]) * (1.0 if method == "nystrom" else [1.0, -1.0, 1.0])
    U = orthonormal(normal(3, N, 3))
    A = ((U * s) @ U.T).astype(dtype)
    for seed in range(5):
        L = LowRankOperator.from_operator(A, rank, method=method, oversampling=6, rng=seed)
        assert distance(A, L) < rounding
        np.testing.assert_allclose(L.s[:3], s, rtol=0, atol=rounding)
        assert np.abs(L.s[3:]).max(initial=0.0) < rounding
        assert L.error_estimate < 100 * rounding


@METHODS
@pytest.mark.parametrize("n", [1, 2, 30])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_zero_matrix(method, n, dtype):
    L = LowRankOperator.from_operator(np.zeros((n, n), dtype), max(1, n // 2), method=method, rng=0)
    assert L.dtype == dtype
    assert not L.s.any()
    assert L.error_estimate == 0.0
    assert not (L @ np.ones(n)).any()


@METHODS
@pytest.mark.parametrize("n", [1, 2, 5])
def test_small_matrices(method, n):
    A = symmetric(4, *np.arange(1.0, n + 1))
    for rank in range(1, n + 1):
        L = LowRankOperator.from_operator(A, rank, method=method, rng=0)
        # The columns are oversampled to all of them.
        np.testing.assert_allclose(L.s, np.arange(float(n), n - rank, -1.0))
    assert distance(A, L) < 1e-13


@METHODS
def test_multiples_of_the_identity(method):
    L = LowRankOperator.from_operator(3.0 * np.eye(40), 4, method=method, rng=0)
    np.testing.assert_allclose(L.s, 3.0)
    assert distance(3.0 * np.eye(40), L) == pytest.approx(3.0)


@METHODS
def test_it_is_reproducible(method):
    A = definite("slow")

    def found(rng):
        L = LowRankOperator.from_operator(A, 6, method=method, oversampling=2, rng=rng)
        return L.to_dense(), L.error_estimate

    np.testing.assert_array_equal(found(3)[0], found(3)[0])
    np.testing.assert_array_equal(found(3)[0], found(np.random.default_rng(3))[0])
    assert found(3)[1] == found(3)[1] == found(np.random.default_rng(3))[1]
    assert found(3)[1] != found(4)[1]
    rng = np.random.default_rng(3)
    assert found(rng)[1] != found(rng)[1]
    if method != "lanczos":  # which does not depend on its start
        assert np.abs(found(3)[0] - found(4)[0]).max() > 1e-3
        assert np.abs(found(None)[0] - found(None)[0]).max() > 1e-3


@METHODS
def test_it_is_a_preconditioner(method):
    """With a shift it is inverted, and what it leaves is the part that was not found."""
    A = definite("exponential")
    L = LowRankOperator.from_operator(A, 12, method=method, rng=0)
    P = (L + DiagonalOperator(np.full(N, 1e-3))).inverse()
    preconditioned = P @ (A + 1e-3 * np.eye(N))
    w = np.linalg.eigvals(preconditioned).real
    assert w.max() / w.min() < 2.0


# --- products -------------------------------------------------------------------------------------


def counted(rank, method, **options):
    weights = DECAYS["polynomial"]
    H = hessian_operator(lambda x: 0.5 * anp.sum(weights * x**2), np.zeros(N))
    LowRankOperator.from_operator(H, rank, method=method, rng=0, **options)
    return H.n_matvec


def test_products_are_as_promised():
    for rank, oversampling, probes in ((5, 10, 5), (1, 0, 0), (12, 3, 7), (30, 29, 0)):
        options = {"oversampling": oversampling, "error_probes": probes}
        assert counted(rank, "nystrom", **options) == rank + oversampling + probes
        assert counted(rank, "randomized", **options) == 2 * (rank + oversampling) + probes
    assert counted(5, "nystrom") == 5 + 10 + 5
    assert counted(5, "randomized") == 2 * 15 + 5


def test_no_more_columns_are_multiplied_than_there_are():
    assert counted(55, "nystrom", error_probes=0) == N
    assert counted(55, "randomized", error_probes=0) == 2 * N
    for method in ("lanczos", "nystrom", "randomized"):
        assert counted(N, method) == N + 5


def test_lanczos_counts_its_products():
    assert counted(5, "lanczos") == counted(5, "lanczos", error_probes=0) + 5
    assert 5 < counted(5, "lanczos", error_probes=0) < 10 * N


@METHODS
def test_products_are_those_of_the_original(method):
    found = LowRankOperator.from_operator(definite("slow"), 4, method=method, rng=0)
    assert found.n_matvec == 0


@METHODS
def test_an_estimate_can_be_left_out(method):
    without = LowRankOperator.from_operator(definite("slow"), 4, method=method, error_probes=0)
    assert without.error_estimate is None


# --- lanczos: the best approximation --------------------------------------------------------------


@pytest.mark.parametrize("decay", ["exponential", "polynomial", "slow"])
@pytest.mark.parametrize("make", [definite, indefinite])
@pytest.mark.parametrize("rank", [1, 5, 20])
def test_lanczos_is_the_best_approximation(decay, make, rank):
    A = make(decay)
    L = LowRankOperator.from_operator(A, rank, rng=0)
    size = np.sort(np.abs(np.linalg.eigvalsh(A)))[::-1]
    np.testing.assert_allclose(np.abs(L.s), size[:rank], rtol=1e-9, atol=1e-12)
    # Eckart and Young: in the spectral and in the Frobenius norm.
    assert distance(A, L) == pytest.approx(size[rank], rel=1e-6, abs=1e-12)
    rest = np.linalg.norm(size[rank:])
    assert np.linalg.norm(A - L.to_dense()) == pytest.approx(rest, rel=1e-6, abs=1e-12)


# --- nystrom --------------------------------------------------------------------------------------


def nystrom_bound(eigenvalues, columns):
    """Z. Frangella, J. A. Tropp and M. Udell, "Randomized Nyström preconditioning", SIAM J. Matrix
    Anal. Appl. 44, 2023, proposition 2.2: the expected error in the spectral norm.
    """
    return min(
        (1 + 2 * (columns - p) / (p - 1)) * eigenvalues[columns - p]
        + 2 * math.e**2 * columns / (p**2 - 1) * eigenvalues[columns - p :].sum()
        for p in range(2, columns - 1)
    )


@DECAY
@pytest.mark.parametrize("columns", [6, 12, 25])
def test_nystrom_is_within_its_bound(decay, columns):
    A, w = definite(decay), DECAYS[decay]
    errors = [distance(A, one) for one in approximations(A, "nystrom", columns, 0)]
    assert min(errors) >= w[columns] * (1 - 1e-9) - 1e-15
    assert np.mean(errors) <= nystrom_bound(w, columns) + 1e-14


@DECAY
def test_nystrom_of_fixed_rank_is_within_its_bound(decay):
    """Truncated, it adds no more than the eigenvalue that follows."""
    A, w = definite(decay), DECAYS[decay]
    errors = [distance(A, one) for one in approximations(A, "nystrom", 8, 6)]
    assert np.mean(errors) <= nystrom_bound(w, 14) + w[8] + 1e-14


@DECAY
def test_nystrom_is_exact_on_what_was_multiplied_and_below_elsewhere(decay):
    A = definite(decay)
    for L in approximations(A, "nystrom", 9, 0, seeds=5):
        rest = np.linalg.eigvalsh(A - L.to_dense())
        assert rest[0] >= -1e-13
        assert np.abs(rest[:9]).max() <= 1e-13


def test_nystrom_refuses_what_is_indefinite():
    words = r"not positive semidefinite, .* below -.* Use method='randomized' or 'lanczos'"
    for A in (indefinite("slow"), -definite("polynomial"), -np.eye(N)):
        for source in (A, aslinearoperator(A), A.astype(np.float32)):
            with pytest.raises(np.linalg.LinAlgError, match=words):
                LowRankOperator.from_operator(source, 10, method="nystrom", rng=0)


def test_nystrom_names_an_eigenvalue_that_there_is():
    A = indefinite("slow")
    with pytest.raises(np.linalg.LinAlgError) as caught:
        LowRankOperator.from_operator(A, 20, method="nystrom", rng=0)
    named = float(str(caught.value).split("below ")[1].split(". Use")[0])
    assert np.linalg.eigvalsh(A)[0] <= named * (1 - 5e-3)
    assert named < 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nystrom_takes_what_is_semidefinite_up_to_rounding(dtype):
    for seed in range(20):
        B = normal(seed, N, 4)
        A = (B @ B.T).astype(dtype)
        for rank in (4, 15, 40):
            L = LowRankOperator.from_operator(A, rank, method="nystrom", rng=seed)
            assert distance(A, L) < 1000 * np.finfo(dtype).eps * np.linalg.norm(A, 2)
            assert np.all(L.s >= 0)


# --- randomized -----------------------------------------------------------------------------------


def range_bound(sizes, rank, oversampling):
    """N. Halko, P. G. Martinsson and J. A. Tropp, "Finding structure with randomness", SIAM Review
    53, 2011, theorem 10.6: the expected ``||(I - Q Qᵀ) A||``.
    """
    k, p = rank, oversampling
    tail = math.sqrt(np.sum(sizes[k:] ** 2))
    return (1 + math.sqrt(k / (p - 1))) * sizes[k] + math.e * math.sqrt(k + p) / p * tail


@DECAY
@pytest.mark.parametrize("make", [definite, indefinite])
@pytest.mark.parametrize("columns", [6, 12, 25])
def test_randomized_is_within_its_bound(decay, make, columns):
    A, w = make(decay), DECAYS[decay]
    errors = [distance(A, one) for one in approximations(A, "randomized", columns, 0)]
    bound = min(range_bound(w, columns - p, p) for p in range(2, columns - 1))
    assert min(errors) >= w[columns] * (1 - 1e-9) - 1e-15
    assert np.mean(errors) <= 2 * bound + 1e-14


@DECAY
@pytest.mark.parametrize("make", [definite, indefinite])
def test_randomized_of_fixed_rank_is_within_its_bound(decay, make):
    A, w = make(decay), DECAYS[decay]
    errors = [distance(A, one) for one in approximations(A, "randomized", 8, 6)]
    assert np.mean(errors) <= 2 * range_bound(w, 8, 6) + w[8] + 1e-14


@pytest.mark.parametrize("make", [definite, indefinite])
def test_randomized_is_a_compression(make):
    """Its eigenvalues lie between those of A, and ``Q Qᵀ A Q Qᵀ`` agrees with A on Q."""
    A = make("polynomial")
    w = np.linalg.eigvalsh(A)
    for L in approximations(A, "randomized", 9, 0, seeds=5):
        U = L.U
        np.testing.assert_allclose(U.T @ A @ U, np.diag(L.s), atol=1e-14)
        s = np.sort(L.s)
        assert np.all(s >= w[:9] - 1e-14)
        assert np.all(s <= w[-9:] + 1e-14)


def test_a_high_rank_takes_no_more_products_than_there_are_columns():
    matrix = definite("polynomial")
    H = hessian_operator(lambda x: 0.5 * x @ matrix @ x, np.zeros(N))
    L = LowRankOperator.from_operator(H, N // 2, error_probes=0)
    assert H.n_matvec == N
    w = np.linalg.eigvalsh(matrix)[::-1]
    np.testing.assert_allclose(L.s, w[: N // 2], rtol=1e-10)
