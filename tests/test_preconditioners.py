"""Preconditioners, against dense formulas and the conditions that they promise."""

import copy
import math
import pickle

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.scipy.special import logsumexp
from cases import normal
from scipy.linalg import block_diag
from scipy.optimize import LbfgsInvHessProduct, OptimizeResult, rosen, rosen_der
from scipy.optimize import minimize as scipy_minimize
from scipy.sparse import csc_array, csr_array, eye_array
from scipy.sparse.linalg import LinearOperator, aslinearoperator, cg, minres, spilu
from structures import orthonormal, path_laplacian, symmetric

from hessop import (
    DenseOperator,
    DiagonalOperator,
    LowRankOperator,
    backprop_diagonal,
    block_jacobi_preconditioner,
    fisher_operator,
    gauss_newton_operator,
    hessian_operator,
    jacobi_preconditioner,
    kfac_operator,
    kfac_preconditioner,
    lbfgs_preconditioner,
    likelihoods,
    minimize,
    nystrom_preconditioner,
    sparse_preconditioner,
)

N = 60
BOTH = pytest.mark.parametrize("dtype", [np.float64, np.float32])

# Positive eigenvalues, largest first
DECAYS = {
    "exponential": 2.0 ** -np.arange(N),
    "polynomial": (1.0 + np.arange(N)) ** -2.0,
    "slow": (1.0 + np.arange(N)) ** -0.5,
    "step": np.where(np.arange(N) < 8, 1.0, 1e-4),
    "noise": np.maximum(3.0 ** -np.arange(N), 1e-6),
}
DECAY = pytest.mark.parametrize("decay", DECAYS)
INDEFINITE = symmetric(2, *(DECAYS["slow"] * np.where(np.arange(N) % 3 == 1, -1.0, 1.0)))


def definite(decay):
    return symmetric(1, *DECAYS[decay])


def foreign(A):
    """A SciPy operator that knows nothing but products."""
    return LinearOperator(A.shape, matvec=lambda v: A @ v, matmat=lambda V: A @ V, dtype=A.dtype)


def is_positive_definite(M):
    dense = M.to_dense()
    assert np.all(np.abs(dense - dense.T) <= 10 * np.finfo(M.dtype).eps * np.abs(dense).max())
    return np.linalg.eigvalsh(dense.astype(float))[0] > 0


def condition(M, A):
    """Of the matrix that cg sees."""
    root = np.linalg.cholesky(M.to_dense().astype(float))
    w = np.linalg.eigvalsh(root.T @ A @ root)
    assert w[0] > 0
    return w[-1] / w[0]


def products_of_cg(A, M, rtol=1e-8):
    """Iterations to a relative residual, by the matrix itself."""
    count = 0

    def watch(_):
        nonlocal count
        count += 1

    b = A @ normal(9, len(A))
    x, info = cg(A, b, M=M, rtol=rtol, maxiter=200 * len(A), callback=watch)
    assert info == 0
    assert np.linalg.norm(A @ x - b) <= 10 * rtol * np.linalg.norm(b)
    return count


# --- Jacobi ---------------------------------------------------------------------------------------


def test_jacobi_is_the_inverse_of_the_diagonal():
    A = definite("polynomial")
    for source in (A, csr_array(A), aslinearoperator(A), foreign(A), DenseOperator(A)):
        for damping in (0.0, 0.1):
            M = jacobi_preconditioner(source, damping=damping)
            assert isinstance(M, DiagonalOperator)
            np.testing.assert_allclose(M.diagonal(), 1.0 / (np.diag(A) + damping), rtol=1e-12)


@BOTH
def test_jacobi_is_exact_for_a_diagonal_matrix(dtype):
    d = np.geomspace(1e-4, 1e3, 9).astype(dtype)
    M = jacobi_preconditioner(np.diag(d), damping=0.5)
    assert M.dtype == dtype
    np.testing.assert_allclose(M.diagonal(), 1.0 / (d + dtype(0.5)), rtol=1e-6)


def test_jacobi_is_exact_over_many_orders_of_magnitude():
    d = np.geomspace(1e-12, 1.0, 9)
    np.testing.assert_allclose(jacobi_preconditioner(np.diag(d)).diagonal() * d, 1.0)


@BOTH
def test_jacobi_takes_magnitudes(dtype):
    d = np.array([4.0, -2.0, 0.0, 1e-3], dtype)
    expected = np.array([0.25, 0.5, 0.25, 1e3], dtype)
    np.testing.assert_allclose(jacobi_preconditioner(np.diag(d)).diagonal(), expected)
    rounding = np.diag([1.0, -np.finfo(dtype).eps, 0.5]).astype(dtype)
    np.testing.assert_array_equal(jacobi_preconditioner(rounding).diagonal(), [1.0, 1.0, 2.0])
    # With a damping they are those of the damped entries.
    np.testing.assert_allclose(
        jacobi_preconditioner(np.diag(d), damping=-4.0).diagonal(),
        1.0 / np.array([6.0, 6.0, 4.0, 3.999]),
        rtol=1e-6,
    )


@BOTH
def test_jacobi_of_the_zero_matrix(dtype):
    M = jacobi_preconditioner(np.zeros((3, 3), dtype))
    np.testing.assert_array_equal(M.diagonal(), np.ones(3))
    np.testing.assert_allclose(
        jacobi_preconditioner(np.zeros((3, 3), dtype), damping=4.0).diagonal(), 0.25
    )


def test_jacobi_undoes_scales():
    B = symmetric(3, *np.linspace(1.0, 5.0, N))
    scales = np.geomspace(1e-3, 1e3, N)
    A = scales[:, None] * B * scales
    assert np.linalg.cond(A) > 1e11
    assert condition(jacobi_preconditioner(A), A) < 10.0


def test_jacobi_of_a_given_diagonal():
    A, d = definite("slow"), np.linspace(1.0, 2.0, N)
    for diagonal in (d, d.tolist(), DiagonalOperator(d)):
        H = DenseOperator(A)
        M = jacobi_preconditioner(H, damping=1.0, diagonal=diagonal)
        np.testing.assert_allclose(M.diagonal(), 1.0 / (d + 1.0))
        assert H.n_matvec == 0
    M = jacobi_preconditioner(A.astype(np.float32), diagonal=d)
    assert M.dtype == np.float32


def test_jacobi_of_a_back_propagated_diagonal():
    X, y = normal(4, 30, 5), np.arange(30) % 3

    def loss(W):
        z = X @ W
        return anp.sum(logsumexp(z, axis=1) - z[np.arange(30), y])

    W = normal(5, 5, 3)
    H = hessian_operator(loss, W)
    M = jacobi_preconditioner(H, damping=0.1, diagonal=backprop_diagonal(loss, W))
    assert H.n_matvec == 0
    exact = jacobi_preconditioner(H, damping=0.1)
    np.testing.assert_allclose(M.diagonal(), exact.diagonal(), rtol=1e-10)


def test_jacobi_by_probes():
    A = definite("slow")
    H = DenseOperator(A)
    M = jacobi_preconditioner(H, damping=0.2, probes=20, rng=3)
    assert H.n_matvec == 20
    Z = np.random.default_rng(3).choice([-1.0, 1.0], (N, 20))
    samples = Z * (A @ Z)
    mean, error = samples.mean(axis=1), samples.std(axis=1) / math.sqrt(19)
    expected = 1.0 / np.maximum(np.abs(mean + 0.2), error)
    np.testing.assert_allclose(M.diagonal(), expected, rtol=1e-10)
    again = jacobi_preconditioner(H, damping=0.2, probes=20, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(M.diagonal(), again.diagonal())
    other = jacobi_preconditioner(H, damping=0.2, probes=20, rng=4)
    assert np.abs(M.diagonal() - other.diagonal()).max() > 1e-6
    many = jacobi_preconditioner(H, damping=0.2, probes=20_000, rng=3)
    np.testing.assert_allclose(many.diagonal(), 1.0 / (np.diag(A) + 0.2), rtol=0.05)


def test_a_probed_entry_is_not_smaller_than_its_error():
    """Else noise about zero would make weights of any size."""
    A = np.ones((40, 40)) - np.eye(40)  # zero on the diagonal
    for seed in range(10):
        M = jacobi_preconditioner(A, probes=16, rng=seed)
        assert M.diagonal().max() < 4.0  # errors are about √39 / 4
        assert M.diagonal().min() > 0.05


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"diagonal": np.ones(3), "probes": 4}, "both diagonal and probes"),
        ({"diagonal": np.ones(3)}, f"has 3 entries, expected {N}"),
        ({"diagonal": np.full(N, np.nan)}, "NaN or infinite"),
        ({"diagonal": np.ones((N, N))}, "expected a vector"),
        ({"probes": 1}, "probes is 1, expected a whole number from 2"),
        ({"probes": 2.5}, "probes is 2.5"),
        ({"damping": np.nan}, "damping is nan"),
    ],
)
def test_jacobi_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        jacobi_preconditioner(definite("slow"), **options)


# --- block-Jacobi ---------------------------------------------------------------------------------

PARTS = [np.arange(0, N, 3), np.arange(1, N, 3), np.arange(2, N, 3)]


def of_blocks(A, parts, function):
    """A function of the diagonal blocks of a matrix, in their places."""
    found = np.zeros_like(A)
    for part in parts:
        found[np.ix_(part, part)] = function(A[np.ix_(part, part)])
    return found


def inverse_of_size(block):
    """By the square root of the square, not by its eigenvectors."""
    U, s, _ = np.linalg.svd(block)
    return (U / s) @ U.T


@pytest.mark.parametrize("damping", [0.0, 0.05])
def test_block_jacobi_is_the_inverse_of_the_blocks(damping):
    A = definite("polynomial")
    for source in (A, csr_array(A), foreign(A), DenseOperator(A)):
        M = block_jacobi_preconditioner(source, damping=damping, partition=PARTS)
        expected = of_blocks(A + damping * np.eye(N), PARTS, np.linalg.inv)
        np.testing.assert_allclose(M.to_dense(), expected, rtol=1e-7, atol=1e-6)
        assert is_positive_definite(M)


@BOTH
@pytest.mark.parametrize("damping", [0.0, 0.3, -0.3])
def test_block_jacobi_of_an_indefinite_matrix(damping, dtype):
    A = INDEFINITE.astype(dtype)
    M = block_jacobi_preconditioner(A, damping=damping, partition=PARTS)
    expected = of_blocks(INDEFINITE + damping * np.eye(N), PARTS, inverse_of_size)
    assert M.dtype == dtype
    assert is_positive_definite(M)
    tolerance = 1e-2 if dtype == np.float32 else 1e-9
    assert np.abs(M.to_dense() - expected).max() <= tolerance * np.abs(expected).max()


def test_block_jacobi_of_blocks_makes_an_involution():
    """So that minres is done in two steps."""
    blocks = [symmetric(k, *normal(k + 10, k + 2)) for k in range(4)]
    A = block_diag(*blocks)
    parts = np.split(np.arange(len(A)), np.cumsum([len(block) for block in blocks])[:-1])
    M = block_jacobi_preconditioner(A, partition=parts)
    MA = M.to_dense() @ A
    np.testing.assert_allclose(MA @ MA, np.eye(len(A)), atol=1e-10)
    steps = []
    b = normal(8, len(A))
    x, info = minres(A, b, M=M, rtol=1e-12, callback=steps.append)
    assert info == 0
    assert len(steps) <= 3
    np.testing.assert_allclose(A @ x, b, atol=1e-9)


def quadratics(p):
    pairs = 0.5 * anp.sum(p["a"] @ p["a"].T) ** 2
    return pairs + anp.sum(p["b"] ** 4) + anp.sum(anp.outer(p["b"], p["b"]) ** 2)


def test_block_jacobi_has_a_block_for_each_leaf():
    x = {"b": normal(1, 3), "a": normal(2, 2, 2)}
    H = hessian_operator(quadratics, x)
    M = block_jacobi_preconditioner(H, damping=0.5)
    assert M.names == ("x['a']", "x['b']")
    leaves = [np.arange(4), np.arange(4, 7)]
    expected = of_blocks(H.to_dense() + 0.5 * np.eye(7), leaves, inverse_of_size)
    np.testing.assert_allclose(M.to_dense(), expected, rtol=1e-9, atol=1e-12)
    # These leaves do not mix.
    np.testing.assert_allclose(
        np.abs(np.linalg.eigvals(M.to_dense() @ (H.to_dense() + 0.5 * np.eye(7)))), 1.0
    )


def test_products_of_block_jacobi():
    x = {"b": normal(1, 3), "a": normal(2, 2, 2)}
    H = hessian_operator(quadratics, x)
    block_jacobi_preconditioner(H, partition=[np.arange(7)])
    assert H.n_matvec == 7
    H = hessian_operator(quadratics, x).compile()
    block_jacobi_preconditioner(H)
    assert H.n_matvec == 4  # the largest block, for the blocks do not mix


def test_directions_without_curvature_get_the_least_weight():
    A = block_diag(symmetric(5, 0.0, 2.0, 4.0), np.zeros((2, 2)), [[-3.0]])
    M = block_jacobi_preconditioner(A, partition=[[0, 1, 2], [3, 4], [5]])
    assert is_positive_definite(M)
    w = np.linalg.eigvalsh(M.to_dense())
    np.testing.assert_allclose(w, np.sort([0.25, 0.25, 0.5, 1.0, 1.0, 1 / 3]), atol=1e-12)


def test_block_jacobi_refuses_what_has_no_blocks():
    with pytest.raises(ValueError, match="partition is missing"):
        block_jacobi_preconditioner(definite("slow"))
    with pytest.raises(ValueError, match="expected every index"):
        block_jacobi_preconditioner(definite("slow"), partition=[[0, 1]])
    with pytest.raises(ValueError, match="damping is inf"):
        block_jacobi_preconditioner(definite("slow"), partition=PARTS, damping=np.inf)
    with pytest.raises(ValueError, match="not symmetric"):
        block_jacobi_preconditioner(normal(1, N, N), partition=PARTS)


# --- Nyström --------------------------------------------------------------------------------------


def by_hand(A, columns, damping):
    """Equation 5.3 of Frangella, Tropp and Udell, as an approximate inverse."""
    core = columns.T @ A @ columns
    w, V = np.linalg.eigh(A @ columns @ np.linalg.solve(core, columns.T @ A))
    w, U = w[::-1][: columns.shape[1]], V[:, ::-1][:, : columns.shape[1]]
    last = w[-1] + damping
    paper = last * (U / (w + damping)) @ U.T + np.eye(len(A)) - U @ U.T
    return paper / last


def gaussian(seed, rank):
    """Random columns as they are drawn, in up to three stages."""
    rng = np.random.default_rng(seed)
    sizes = sorted({math.ceil(rank / 4), math.ceil(rank / 2), rank})
    return np.hstack([rng.standard_normal((N, count)) for count in np.diff([0, *sizes])])


def rest_of(A, columns):
    """The norm of what a sketch leaves of A."""
    core = columns.T @ A @ columns
    rest = A - A @ columns @ np.linalg.solve(core, columns.T @ A)
    return np.linalg.norm(rest, 2)


@pytest.mark.parametrize("decay", ["polynomial", "slow", "noise"])
@pytest.mark.parametrize("damping", [None, 0.0, 1e-4, 1e-1])
@pytest.mark.parametrize("rank", [1, 2, 7, 12])
def test_nystrom_is_that_of_the_paper(decay, damping, rank):
    A = definite(decay)
    M = nystrom_preconditioner(A, rank, damping=damping, rng=5)
    columns = gaussian(5, rank)
    expected = by_hand(A, columns, damping or 0.0)
    assert M.rank == rank
    np.testing.assert_allclose(M.to_dense(), expected, rtol=1e-6, atol=1e-7 * expected.max())
    assert is_positive_definite(M)
    # Woodbury: its inverse is of the same form.
    P = M.inverse()
    assert isinstance(P, LowRankOperator)
    exact = np.linalg.inv(M.to_dense())
    np.testing.assert_allclose(P.to_dense(), exact, rtol=1e-6, atol=1e-7 * exact.max())


@DECAY
@pytest.mark.parametrize("damping", [1e-6, 1e-3, 1e-1])
@pytest.mark.parametrize("rank", [5, 10, 25])
def test_the_condition_is_within_its_bound_and_its_estimate(decay, damping, rank):
    A = definite(decay)
    damped = A + damping * np.eye(N)
    for seed in range(5):
        M = nystrom_preconditioner(A, rank, damping=damping, rng=seed)
        last = 1.0 / M.shift - damping
        columns = gaussian(seed, rank)
        rest = rest_of(A, columns)
        bound = (last + damping + rest) / damping
        exact = condition(M, damped)
        assert exact <= bound * (1 + 1e-6)
        assert exact <= 3.0 * M.condition_estimate
        assert exact <= np.linalg.cond(damped) * (1 + 1e-6)


def estimated_rest(M, damping):
    return (M.condition_estimate - 1.0) * damping - (1.0 / M.shift - damping)


@DECAY
@pytest.mark.parametrize("rank", [1, 2, 7, 15])
def test_each_column_is_a_probe_of_what_the_others_leave(decay, rank):
    A = definite(decay)
    M = nystrom_preconditioner(A, rank, damping=1.0, rng=5)
    Q = orthonormal(gaussian(5, rank))
    left = []
    for i in range(rank):
        others = np.delete(Q, i, axis=1)
        core = others.T @ A @ others
        left.append(A @ Q[:, i] - A @ others @ np.linalg.solve(core, others.T @ A @ Q[:, i]))
    expected = np.linalg.norm(left, 2) * math.sqrt((N - rank + 1) / rank)
    assert estimated_rest(M, 1.0) == pytest.approx(expected, rel=1e-4, abs=1e-9)


@DECAY
@pytest.mark.parametrize("rank", [6, 12, 25])
def test_the_norm_of_the_rest_is_estimated_without_products(decay, rank):
    """About that of a sketch with one column less; in the mean over random numbers."""
    A = definite(decay)
    ratios = []
    for seed in range(30):
        M = nystrom_preconditioner(A, rank, damping=1.0, rng=seed)
        exact = rest_of(A, gaussian(seed, rank))
        ratios.append((estimated_rest(M, 1.0) + 1e-12) / (exact + 1e-12))
    assert 0.5 < np.exp(np.mean(np.log(ratios))) < 6.0
    assert np.quantile(ratios, 0.1) > 0.1


@BOTH
@pytest.mark.parametrize("rank", [5, 6, 30, N])
def test_nystrom_is_exact_for_low_rank_and_damping(rank, dtype):
    U = orthonormal(normal(3, N, 5))
    A = ((U * [1.0, 0.8, 0.5, 0.3, 0.1]) @ U.T).astype(dtype)
    M = nystrom_preconditioner(A, rank, damping=0.01, rng=0)
    assert M.dtype == dtype
    # Also where the paper's formula has λ_l above the damping.
    expected = by_hand(A.astype(float), U, 0.01) if rank == 5 else None
    if rank > 5:
        expected = np.linalg.inv(A.astype(float) + 0.01 * np.eye(N))
        assert M.condition_estimate == pytest.approx(1.0, abs=1e-2)
    tolerance = 1e-2 if dtype == np.float32 else 1e-9
    assert np.abs(M.to_dense() - expected).max() <= tolerance * np.abs(expected).max()


def test_nystrom_of_full_rank_is_the_inverse():
    for n in (1, 2, 3, 20):
        A = symmetric(4, *np.arange(1.0, n + 1))
        for damping in (None, 0.5):
            M = nystrom_preconditioner(A, n, damping=damping, rng=0)
            damped = A + (damping or 0.0) * np.eye(n)
            np.testing.assert_allclose(M.to_dense() @ damped, np.eye(n), atol=1e-10)
            assert M.condition_estimate == pytest.approx(1.0)


@pytest.mark.parametrize("rank", [None, 8])
@pytest.mark.parametrize("n", [1, 2, 30])
@BOTH
def test_nystrom_of_the_zero_matrix(n, rank, dtype):
    rank = rank and min(rank, n)
    A = np.zeros((n, n), dtype)
    M = nystrom_preconditioner(A, rank)
    np.testing.assert_array_equal(M.to_dense(), np.eye(n))
    M = nystrom_preconditioner(A, rank, damping=4.0)
    np.testing.assert_allclose(M.to_dense(), np.eye(n) / 4.0, rtol=1e-6)
    assert M.dtype == dtype


def test_nystrom_of_a_singular_matrix_without_damping():
    """Where there is no curvature it weighs as for the least curvature that there is."""
    U = orthonormal(normal(3, N, 4))
    A = (U * [1.0, 0.5, 0.2, 0.01]) @ U.T
    M = nystrom_preconditioner(A, rng=0)
    assert M.rank == 4
    assert M.condition_estimate == math.inf
    w = np.sort(np.linalg.eigvals(M.to_dense() @ A).real)
    np.testing.assert_allclose(w, np.r_[np.zeros(N - 4), np.ones(4)], atol=1e-8)
    np.testing.assert_allclose(np.linalg.eigvalsh(M.to_dense())[-1], 100.0)
    assert is_positive_definite(M)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_does_not_matter_to_nystrom(scale):
    A = definite("polynomial")
    M = nystrom_preconditioner(A, 10, damping=1e-3, rng=0)
    scaled = nystrom_preconditioner(scale * A, 10, damping=1e-3 * scale, rng=0)
    np.testing.assert_allclose(scale * scaled.to_dense(), M.to_dense(), rtol=1e-9, atol=1e-9)
    assert scaled.condition_estimate == pytest.approx(M.condition_estimate)


@BOTH
@DECAY
def test_nystrom_is_positive_definite(decay, dtype):
    A = definite(decay).astype(dtype)
    for rank in (None, 1, 9, 30, N):
        for damping in (None, 0.0, 1e-10, 1e-3):
            for seed in range(2):
                M = nystrom_preconditioner(A, rank, damping=damping, rng=seed)
                assert M.dtype == dtype
                assert M.inertia().negative == 0
                assert is_positive_definite(M)


def test_nystrom_is_reproducible():
    A = definite("slow")

    def found(rng):
        return nystrom_preconditioner(A, 6, damping=0.1, rng=rng).to_dense()

    np.testing.assert_array_equal(found(3), found(3))
    np.testing.assert_array_equal(found(3), found(np.random.default_rng(3)))
    assert np.abs(found(3) - found(4)).max() > 1e-3
    assert np.abs(found(None) - found(None)).max() > 1e-3


def test_nystrom_takes_any_operator():
    A = definite("polynomial")
    expected = nystrom_preconditioner(A, 9, damping=0.01, rng=0).to_dense()
    weights = DECAYS["polynomial"]
    for source in (csr_array(A), aslinearoperator(A), foreign(A), DenseOperator(A)):
        M = nystrom_preconditioner(source, 9, damping=0.01, rng=0)
        np.testing.assert_allclose(M.to_dense(), expected, rtol=1e-9, atol=1e-10)
    H = hessian_operator(lambda x: 0.5 * anp.sum(weights * x["a"] ** 2), {"a": np.zeros(N)})
    M = nystrom_preconditioner(H, 9, damping=0.01, rng=0)
    assert H.n_matvec == 9
    assert condition(M, np.diag(weights) + 0.01 * np.eye(N)) < 10.0


def test_nystrom_refuses_what_is_indefinite():
    words = r"not positive semidefinite, .* below -.* minres"
    for A in (INDEFINITE, -definite("polynomial"), -np.eye(N)):
        for source in (A, foreign(A), A.astype(np.float32)):
            for rank in (None, 20):
                with pytest.raises(np.linalg.LinAlgError, match=words):
                    nystrom_preconditioner(source, rank, rng=0)


@BOTH
def test_nystrom_takes_what_is_semidefinite_up_to_rounding(dtype):
    for seed in range(10):
        B = normal(seed, N, 4)
        A = (B @ B.T).astype(dtype)
        for rank in (None, 4, 15, N):
            M = nystrom_preconditioner(A, rank, rng=seed)
            assert M.rank == 4
            assert is_positive_definite(M)


@pytest.mark.parametrize(
    ("args", "options", "words"),
    [
        ((0,), {}, f"rank is 0, expected a whole number from 1 to {N}"),
        ((N + 1,), {}, f"rank is {N + 1}"),
        ((2.5,), {}, "rank is 2.5"),
        ((), {"max_rank": 0}, "max_rank is 0, expected a whole number from 1"),
        ((5,), {"max_rank": 9}, "both rank and max_rank"),
        ((5,), {"damping": -1e-3}, "damping is -0.001, expected"),
        ((5,), {"damping": np.nan}, "damping is nan"),
        ((5,), {"damping": np.ones(N)}, "expected a finite real number"),
    ],
)
def test_nystrom_refuses(args, options, words):
    with pytest.raises(ValueError, match=words):
        nystrom_preconditioner(definite("slow"), *args, **options)


@pytest.mark.parametrize("twin", [copy.copy, lambda M: pickle.loads(pickle.dumps(M))])
def test_what_was_measured_is_kept(twin):
    M = nystrom_preconditioner(definite("slow"), 6, damping=0.1, rng=0)
    other = twin(M)
    np.testing.assert_array_equal(other.to_dense(), M.to_dense())
    assert type(other) is type(M)
    assert (other.damping, other.condition_estimate) == (0.1, M.condition_estimate)
    assert "rank 6, damping 0.1, condition about" in repr(M)
    doubled = 2.0 * M
    assert isinstance(doubled, LowRankOperator)
    np.testing.assert_allclose(doubled.to_dense(), 2.0 * M.to_dense())


# --- Nyström: the rank is found -------------------------------------------------------------------


def found(A, **options):
    """An adaptive preconditioner, and the products that it took."""
    H = DenseOperator(A)
    M = nystrom_preconditioner(H, rng=0, **options)
    return M, H.n_matvec


def larger(function, n=400, seed=6):
    return symmetric(seed, *function(np.arange(n)))


def test_each_product_is_made_once():
    A = larger(lambda i: 1e3 * 0.8**i + 1e-6)
    M, products = found(A, damping=1e-6)
    assert products in (80, 160)
    # The columns of all stages together, as they were drawn.
    rng = np.random.default_rng(0)
    sizes = [10, 10, 20, 40, 80][: 4 if products == 80 else 5]
    columns = np.hstack([rng.standard_normal((400, size)) for size in sizes])
    at_once = by_hand(A, np.linalg.qr(columns)[0], 1e-6)
    np.testing.assert_allclose(M.to_dense(), at_once, rtol=1e-4, atol=1e-4 * at_once.max())


@pytest.mark.parametrize(
    ("name", "function", "damping", "products"),
    [
        ("identity", lambda i: np.ones(len(i)), None, 20),
        ("identity, damped", lambda i: np.ones(len(i)), 1e-3, 20),
        ("zero", lambda i: 0.0 * i, None, 10),
        ("rank 15", lambda i: 1.0 * (i < 15), None, 20),
        ("rank 15, damped", lambda i: 1.0 * (i < 15), 1e-8, 20),
        ("slow", lambda i: (1.0 + i) ** -0.5, None, 20),
        ("slow, damped", lambda i: (1.0 + i) ** -0.5, 0.01, 20),
        ("well conditioned", lambda i: 1.0 + (i % 7) / 7, None, 20),
        ("well conditioned, damped", lambda i: 1.0 + (i % 7) / 7, 0.1, 20),
        ("under its damping", lambda i: (1.0 + i) ** -2.0, 10.0, 10),
    ],
)
def test_it_stops_where_no_more_is_to_be_had(name, function, damping, products):
    A = larger(function)
    M, took = found(A, damping=damping)
    assert took == products
    assert M.rank <= products


@pytest.mark.parametrize("damping", [1e-7, 1e-5, 1e-3])
@pytest.mark.parametrize(
    "function",
    [lambda i: 10.0 * 0.7**i, lambda i: 10.0 * 0.9**i, lambda i: 10.0 * (1.0 + i) ** -3.0],
    ids=["fast", "slower", "polynomial"],
)
def test_all_products_are_near_the_fewest(function, damping):
    """Of all ranks: twice as many at most, and a few."""
    A = larger(function)
    damped = A + damping * np.eye(400)
    M, products = found(A, damping=damping)
    took = products + products_of_cg(damped, M)
    fewest = products_of_cg(damped, None)
    for rank in (5, 10, 20, 40, 80, 160, 256):
        fixed = nystrom_preconditioner(A, rank, damping=damping, rng=0)
        fewest = min(fewest, rank + products_of_cg(damped, fixed))
    assert took <= 2 * fewest + 20


@pytest.mark.parametrize("damping", [1e-6, 1e-4])
def test_an_adaptive_condition_is_small(damping):
    A = larger(lambda i: 10.0 * 0.85**i)
    damped = A + damping * np.eye(400)
    M, _ = found(A, damping=damping)
    assert np.linalg.cond(damped) > 9e4
    assert condition(M, damped) <= min(50.0, 2.0 * M.condition_estimate)


@pytest.mark.parametrize("floor", [1e-3, 1e-5])
def test_a_damping_within_the_matrix_is_found(floor):
    """As soon as the eigenvalues level off at it."""
    A = larger(lambda i: 0.8**i + floor)
    M, products = found(A)
    assert products <= 160
    assert floor / 3 <= M.damping <= 3 * floor
    assert condition(M, A) <= 2.0 * M.condition_estimate < 500.0
    given, _ = found(A, damping=floor)
    assert given.damping == floor


@pytest.mark.parametrize("power", [0.3, 0.5, 0.7])
def test_a_power_law_is_followed_to_its_end(power):
    A = larger(lambda i: (1.0 + i) ** -power)
    dampings = [nystrom_preconditioner(A, 80, rng=seed).damping for seed in range(5)]
    assert 0.7 < np.median(dampings) * 400**power < 1.4


@pytest.mark.parametrize("length", [50, 100])
def test_an_exponential_is_followed_to_its_end(length):
    A = larger(lambda i: 10.0 ** (-i / length))
    for rank in (40, 80, 160):
        dampings = [nystrom_preconditioner(A, rank, rng=seed).damping for seed in range(5)]
        assert abs(np.median(np.log10(dampings)) + 400 / length) < 0.2 * 400 / length


def test_a_slow_exponential_does_not_level_off():
    """Though a doubling takes less than half off the first of its eigenvalues."""
    A = DiagonalOperator(10.0 ** (-np.arange(2000) / 100.0))
    for seed in range(8):
        M = nystrom_preconditioner(A, rng=seed)
        assert M.rank == 256
        assert M.condition_estimate > 1e6


def test_nothing_is_said_of_an_end_by_the_first_columns():
    A = larger(lambda i: 10.0 ** (-i / 50.0))
    M, products = found(A, max_rank=10)
    assert products == M.rank == 10
    assert M.damping == 0.0
    assert M.condition_estimate == math.inf
    assert condition(M, A) < np.linalg.cond(A)


@pytest.mark.parametrize("damping", [None, 1e-7])
@pytest.mark.parametrize(
    "function",
    [lambda i: 10.0 ** (-i / 25.0), lambda i: 10.0 ** (-i / 50.0)],
    ids=["exponential", "slower exponential"],
)
def test_ill_conditioned_systems_take_a_fifth_of_the_products(function, damping):
    """Also where the first eigenvalues seem to level off, as those of a slow exponential do."""
    penalised = larger(lambda i: function(i) + 1e-7)
    A = penalised if damping is None else larger(function)
    assert np.linalg.cond(penalised) > 1e6
    M, products = found(A, damping=damping)
    assert 5 * (products + products_of_cg(penalised, M)) <= products_of_cg(penalised, None)


def test_the_most_products_are_limited():
    A = larger(lambda i: 2.0**-i + 1e-9)
    for limit, products in ((1, 1), (15, 15), (25, 25), (10**6, 80)):
        assert found(A, max_rank=limit)[1] == products
    fast = larger(lambda i: 10.0 ** (-i / 25.0))
    assert found(fast)[1] == 256
    assert found(fast, max_rank=10**6)[1] == 400


# --- KFAC -----------------------------------------------------------------------------------------

IMAGES, CLASSES = normal(20, 25, 4), np.arange(25) % 3
SOFTMAX = likelihoods.Categorical()


def network(p):
    return anp.tanh(IMAGES @ p["W"] + p["b"]) @ p["V"]


WEIGHTS = {"W": normal(21, 4, 5), "b": normal(22, 5), "V": normal(23, 5, 3)}


@pytest.mark.parametrize("scale", [1.0, 1 / 25])
def test_kfac_is_the_inverse_of_the_damped_factors(scale):
    K = kfac_operator(network, SOFTMAX, WEIGHTS)
    M = kfac_preconditioner(network, SOFTMAX, WEIGHTS, damping=0.03, scale=scale)
    n = K.shape[0]
    np.testing.assert_allclose(
        M.to_dense(), np.linalg.inv(scale * K.to_dense() + 0.03 * np.eye(n)), rtol=1e-8, atol=1e-9
    )
    assert M.names == K.names
    assert is_positive_definite(M)


def test_kfac_with_a_factored_damping():
    M = kfac_preconditioner(network, SOFTMAX, WEIGHTS, damping=0.03, factored=True)
    expected = kfac_operator(network, SOFTMAX, WEIGHTS).inverse(0.03, factored=True)
    np.testing.assert_array_equal(M.to_dense(), expected.to_dense())
    assert is_positive_definite(M)


def test_kfac_is_exact_for_a_linear_model_with_squared_error():
    def model(w):
        return IMAGES @ w

    w, gaussian_noise = normal(24, 4, 2), likelihoods.Gaussian()
    F = fisher_operator(model, gaussian_noise, w).to_dense()
    M = kfac_preconditioner(model, gaussian_noise, w, damping=0.1, scale=0.5)
    np.testing.assert_allclose(M.to_dense() @ (0.5 * F + 0.1 * np.eye(8)), np.eye(8), atol=1e-10)


def test_kfac_of_other_kinds():
    """Options are those of `kfac_operator`."""
    for options in (
        {"kind": "monte-carlo", "num_samples": 3, "rng": 5},
        {"kind": "empirical", "targets": CLASSES},
    ):
        M = kfac_preconditioner(network, SOFTMAX, WEIGHTS, damping=0.1, **options)
        expected = kfac_operator(network, SOFTMAX, WEIGHTS, **options).inverse(0.1)
        np.testing.assert_array_equal(M.to_dense(), expected.to_dense())


def test_kfac_takes_arguments_and_what_is_no_layer():
    def model(p, images):
        return p["t"] * (images @ p["W"])

    x = {"W": normal(25, 4, 3), "t": 1.5}
    with pytest.raises(ValueError, match="not made of layers alone"):
        kfac_preconditioner(model, SOFTMAX, x, damping=0.1, args=(IMAGES,))
    M = kfac_preconditioner(model, SOFTMAX, x, damping=0.1, args=(IMAGES,), other="diagonal")
    assert M.shape == (13, 13)
    assert is_positive_definite(M)


def test_kfac_undoes_scales():
    """Of features, which a layer's activations are."""
    scales = np.geomspace(0.01, 100.0, 4)

    def model(p):
        return (IMAGES * scales) @ p["W"] + p["b"]

    p = {"W": normal(26, 4, 3) / scales[:, None], "b": normal(27, 3)}
    G = gauss_newton_operator(model, lambda z: SOFTMAX.nll(z, CLASSES) / 25, p).to_dense()
    M = kfac_preconditioner(model, SOFTMAX, p, damping=1e-4, scale=1 / 25)
    damped = G + 1e-4 * np.eye(len(G))
    assert condition(M, damped) < np.linalg.cond(damped) / 1000


@pytest.mark.parametrize("options", [{"damping": 0.0}, {"damping": -1.0}, {"damping": np.nan}])
def test_kfac_refuses_a_damping_that_is_not_positive(options):
    with pytest.raises(ValueError, match=r"damping is .*, expected a positive number"):
        kfac_preconditioner(network, SOFTMAX, WEIGHTS, **options)


def test_kfac_refuses_a_scale_that_is_not_positive():
    for scale in (0.0, -1.0, np.inf, np.ones(2), "mean"):
        with pytest.raises(ValueError, match=r"scale is .*, expected a positive number"):
            kfac_preconditioner(network, SOFTMAX, WEIGHTS, damping=0.1, scale=scale)


# --- L-BFGS ---------------------------------------------------------------------------------------


def updated(S, Y, gamma):
    """The inverse Hessian after updates of a multiple of the identity, by the recursion of BFGS."""
    H = gamma * np.eye(len(S))
    for s, y in zip(S.T, Y.T, strict=True):
        V = np.eye(len(s)) - np.outer(y, s) / (y @ s)
        H = V.T @ H @ V + np.outer(s, s) / (y @ s)
    return H


def scale_of(S, Y):
    return S[:, -1] @ Y[:, -1] / (Y[:, -1] @ Y[:, -1])


@BOTH
@pytest.mark.parametrize("count", [1, 3, 12, 40])
def test_lbfgs_is_that_of_its_updates(count, dtype):
    A = symmetric(30, *np.geomspace(1e-2, 1e2, 12))
    S = normal(31, 12, count).astype(dtype)
    Y = (A @ S).astype(dtype)
    M = lbfgs_preconditioner((S, Y))
    wide = S.astype(float), Y.astype(float)
    expected = updated(*wide, scale_of(*wide))
    assert M.dtype == dtype
    assert is_positive_definite(M)
    error = np.abs(M.to_dense() - expected).max() / np.abs(expected).max()
    assert error < (1e-4 if dtype == np.float32 else 1e-8)
    plain = lbfgs_preconditioner([S, Y], rescale=False).to_dense()
    expected = updated(*wide, 1.0)
    error = np.abs(plain - expected).max() / np.abs(expected).max()
    assert error < (1e-4 if dtype == np.float32 else 1e-8)


def test_lbfgs_satisfies_the_secant_equation_of_the_latest_pair():
    A = symmetric(30, *np.geomspace(1e-4, 1e2, 12))
    S = normal(31, 12, 5)
    Y = A @ S
    for rescale in (True, False):
        M = lbfgs_preconditioner((S, Y), rescale=rescale)
        np.testing.assert_allclose(M @ Y[:, -1], S[:, -1], rtol=1e-6, atol=1e-6)


def test_lbfgs_of_conjugate_directions_is_the_inverse():
    """Of all n of them, whatever the updates start from."""
    A = symmetric(32, *np.geomspace(1e-2, 1e2, 8))
    S = np.linalg.eigh(A)[1]
    for rescale in (True, False):
        M = lbfgs_preconditioner((S, A @ S), rescale=rescale)
        np.testing.assert_allclose(M.to_dense() @ A, np.eye(8), atol=1e-7)


def test_lbfgs_of_a_past_minimisation():
    result = scipy_minimize(rosen, np.zeros(6), jac=rosen_der, method="L-BFGS-B")
    S, Y = result.hess_inv.sk.T, result.hess_inv.yk.T
    for source in (result, result.hess_inv, (S, Y)):
        M = lbfgs_preconditioner(source)
        np.testing.assert_allclose(M.to_dense(), updated(S, Y, scale_of(S, Y)), rtol=1e-6)
        M = lbfgs_preconditioner(source, rescale=False)
        np.testing.assert_allclose(M.to_dense(), result.hess_inv.todense(), rtol=1e-6, atol=1e-10)


def test_lbfgs_of_a_minimisation_of_a_tree():
    weights = np.geomspace(1e2, 1e4, 12)

    def fun(x):
        return anp.sum(weights * anp.append(x["a"], x["b"]) ** 2) / 2

    x0 = {"a": np.ones(5), "b": np.ones(7)}
    result = minimize(fun, x0, method="L-BFGS-B", options={"maxcor": 20, "gtol": 1e-10})
    A = np.diag(weights)
    M = lbfgs_preconditioner(result)
    assert condition(M, A) < np.linalg.cond(A) / 5
    # SciPy's starts from the identity, though no curvature is near 1.
    assert condition(M, A) < condition(lbfgs_preconditioner(result, rescale=False), A)


def test_pairs_without_positive_curvature_are_left_out():
    S = normal(33, 10, 6)
    Y = symmetric(34, *np.geomspace(1.0, 9.0, 10)) @ S
    spoiled = Y.copy()
    spoiled[:, [1, 5]] *= -1.0
    spoiled[:, 2] = 0.0
    M = lbfgs_preconditioner((S, spoiled))
    kept = [0, 3, 4]
    expected = updated(S[:, kept], Y[:, kept], scale_of(S[:, kept], Y[:, kept]))
    np.testing.assert_allclose(M.to_dense(), expected, rtol=1e-8, atol=1e-10)
    assert is_positive_definite(M)
    with pytest.raises(ValueError, match="none of the 6 pairs has positive curvature"):
        lbfgs_preconditioner((S, -Y))


def test_lbfgs_of_an_indefinite_matrix_is_positive_definite():
    S = normal(35, N, 30)
    assert is_positive_definite(lbfgs_preconditioner((S, INDEFINITE @ S)))


@BOTH
def test_lbfgs_stays_positive_definite_through_rounding(dtype):
    """Where the updates take an eigenvalue of the identity to almost nothing."""
    A = np.diag(np.geomspace(1e-3, 1e12, 10)).astype(dtype)
    S = np.eye(10, dtype=dtype)
    M = lbfgs_preconditioner((S, A @ S), rescale=False)
    assert M.inertia().negative == 0
    assert np.linalg.eigvalsh(M.to_dense().astype(float))[0] > 0
    v = np.eye(10, dtype=dtype)
    assert np.all(np.diag(M @ v) > 0)


def test_lbfgs_without_a_history_is_the_identity():
    empty = LbfgsInvHessProduct(np.empty((0, 4)), np.empty((0, 4)))
    for source in (empty, OptimizeResult(hess_inv=empty)):
        np.testing.assert_array_equal(lbfgs_preconditioner(source).to_dense(), np.eye(4))


def test_lbfgs_refuses_what_has_no_history():
    result = scipy_minimize(rosen, np.zeros(3), jac=rosen_der, method="BFGS")
    for source in (result, OptimizeResult(), np.eye(3), None, (np.eye(3),), "L-BFGS-B"):
        with pytest.raises(TypeError, match="no history of L-BFGS"):
            lbfgs_preconditioner(source)
    S = normal(36, 5, 2)
    for pair, words in (
        ((S, S[:, :1]), r"S has shape \(5, 2\) and Y \(5, 1\), expected the same"),
        ((S[:, 0], S[:, 0]), r"S has shape \(5,\), expected \(n, m\)"),
        ((S, np.full((5, 2), np.nan)), "Y has entries that are NaN"),
    ):
        with pytest.raises(ValueError, match=words):
            lbfgs_preconditioner(pair)
    with pytest.raises(TypeError, match="expected real numbers"):
        lbfgs_preconditioner((S, S + 1j))


# --- sparse factors -------------------------------------------------------------------------------

SIDE = 12


def laplacian():
    one = path_laplacian(SIDE)
    return csr_array(np.kron(one, np.eye(SIDE)) + np.kron(np.eye(SIDE), one))


def tilted():
    """A definite matrix whose incomplete factors differ from those of its transpose."""
    coefficients = np.exp(normal(40, SIDE**2))
    L = laplacian()
    return csr_array(L.multiply(np.sqrt(np.outer(coefficients, coefficients)))) + eye_array(SIDE**2)


def test_complete_factors_are_the_inverse():
    S = laplacian()
    dense = S.toarray() + 0.1 * np.eye(SIDE**2)
    sources = (S, S.toarray(), aslinearoperator(S), csc_array(S))
    for source in sources:
        M = sparse_preconditioner(source, damping=0.1)
        np.testing.assert_allclose(M @ dense, np.eye(SIDE**2), atol=1e-11)
        assert is_positive_definite(M)


@pytest.mark.parametrize("drop_tol", [0.0, 1e-3, 1e-2, 1e-1])
def test_incomplete_factors_are_those_of_superlu(drop_tol):
    S = csc_array(tilted())
    M = sparse_preconditioner(S, drop_tol=drop_tol, fill_factor=8.0)
    factors = spilu(
        S,
        drop_tol=drop_tol,
        fill_factor=8.0,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    solved = factors.solve(np.eye(SIDE**2))
    np.testing.assert_allclose(M.to_dense(), (solved + solved.T) / 2, atol=1e-12)
    V = normal(41, SIDE**2, 3)
    np.testing.assert_allclose(M @ V, M.to_dense() @ V, atol=1e-12)
    np.testing.assert_allclose(M @ V[:, 0], M.to_dense() @ V[:, 0], atol=1e-12)
    assert is_positive_definite(M)
    assert M.T is M
    assert M.nnz == factors.nnz


def test_less_dropped_is_nearer():
    S = tilted()
    conditions = [
        condition(sparse_preconditioner(S, drop_tol=tol, fill_factor=50.0), S.toarray())
        for tol in (0.5, 1e-1, 1e-2, 1e-3, 0.0)
    ]
    assert np.all(np.diff(conditions) < 0)
    assert conditions[0] < np.linalg.cond(S.toarray())
    assert conditions[-1] == pytest.approx(1.0, abs=1e-8)


def energy(x):
    return anp.sum((x["u"][1:] - x["u"][:-1]) ** 2) + anp.sum(x["u"] ** 4)


@pytest.mark.parametrize("drop_tol", [None, 1e-3])
def test_sparse_factors_of_a_hessian(drop_tol):
    x = {"u": np.linspace(0.1, 1.0, 80)}
    H = hessian_operator(energy, x)
    M = sparse_preconditioner(H, damping=0.01, drop_tol=drop_tol)
    exact = H.to_dense() + 0.01 * np.eye(80)
    assert condition(M, exact) < 1.1
    # A sum that is sparse is one, too.
    of_sum = sparse_preconditioner(H + 0.01 * eye_array(80), drop_tol=drop_tol)
    np.testing.assert_allclose(of_sum.to_dense(), M.to_dense(), rtol=1e-9, atol=1e-12)


@BOTH
@pytest.mark.parametrize("drop_tol", [None, 1e-2])
def test_sparse_factors_keep_the_precision(drop_tol, dtype):
    S = tilted().astype(dtype)
    M = sparse_preconditioner(S, damping=0.5, drop_tol=drop_tol)
    assert M.dtype == dtype
    assert (M @ np.ones(SIDE**2)).dtype == dtype
    assert condition(M, S.toarray().astype(float) + 0.5 * np.eye(SIDE**2)) < 1.5


@pytest.mark.parametrize("drop_tol", [None, 1e-2])
def test_sparse_factors_are_pickled(drop_tol):
    M = sparse_preconditioner(tilted(), drop_tol=drop_tol)
    for twin in (copy.copy(M), pickle.loads(pickle.dumps(M))):
        np.testing.assert_array_equal(twin.to_dense(), M.to_dense())
    assert sparse_preconditioner(tilted(), drop_tol=drop_tol).n_matvec == 0


@pytest.mark.parametrize("drop_tol", [None, 1e-3])
def test_sparse_factors_refuse_what_is_indefinite(drop_tol):
    S = laplacian() - 0.7 * eye_array(SIDE**2)
    assert 0 < np.sum(np.linalg.eigvalsh(S.toarray()) < 0) < 20
    with pytest.raises(np.linalg.LinAlgError, match=r"not positive definite.*larger damping"):
        sparse_preconditioner(S, drop_tol=drop_tol)
    assert is_positive_definite(sparse_preconditioner(S, damping=0.8, drop_tol=drop_tol))
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        sparse_preconditioner(-laplacian() - eye_array(SIDE**2), drop_tol=drop_tol)


def test_a_large_negative_eigenvalue_is_seen():
    """Though it is a small one of the inverse, of which random vectors have little."""
    d = np.ones(SIDE**2)
    d[7] = -1e4
    S = laplacian() + csr_array(np.diag(d))
    for drop_tol in (None, 1e-2):
        with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
            sparse_preconditioner(S, drop_tol=drop_tol)


def test_sparse_factors_refuse_what_is_singular():
    for S in (laplacian(), csr_array((4, 4)), csr_array(np.diag([1.0, 0.0, 2.0]))):
        with pytest.raises(np.linalg.LinAlgError, match="singular"):
            sparse_preconditioner(S)
    with pytest.raises(np.linalg.LinAlgError, match="no incomplete factors"):
        sparse_preconditioner(csr_array(np.diag([1.0, 0.0, 2.0])), drop_tol=0.1)


def test_sparse_factors_refuse_what_is_known_by_products():
    with pytest.raises(TypeError, match="known by its products only"):
        sparse_preconditioner(foreign(definite("slow")))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"drop_tol": -0.1}, "drop_tol is -0.1, expected a number from 0 to 1"),
        ({"drop_tol": 1.5}, "drop_tol is 1.5"),
        ({"drop_tol": np.nan}, "drop_tol is nan"),
        ({"drop_tol": "small"}, "drop_tol is 'small'"),
        ({"drop_tol": 0.1, "fill_factor": 0.5}, "fill_factor is 0.5, expected a number from 1"),
        ({"damping": np.nan}, "damping is nan"),
    ],
)
def test_sparse_factors_refuse(options, words):
    with pytest.raises(ValueError, match=words):
        sparse_preconditioner(tilted(), **options)


# --- what is promised of all ----------------------------------------------------------------------

SCALES = np.geomspace(0.1, 10.0, N)
CHAIN = SCALES[:, None] * (path_laplacian(N) + 0.05 * np.eye(N)) * SCALES
MADE = {
    "jacobi": lambda A: jacobi_preconditioner(A),
    "jacobi, probed": lambda A: jacobi_preconditioner(A, probes=30, rng=0),
    "blocks": lambda A: block_jacobi_preconditioner(A, partition=PARTS),
    "nystrom": lambda A: nystrom_preconditioner(A, 20, rng=0),
    "nystrom, adaptive": lambda A: nystrom_preconditioner(A, rng=0),
    "lbfgs": lambda A: lbfgs_preconditioner(pairs(A)),
    "sparse": lambda A: sparse_preconditioner(A),
    "sparse, incomplete": lambda A: sparse_preconditioner(A, drop_tol=1e-2),
}
ALL = pytest.mark.parametrize("make", MADE.values(), ids=MADE)
OF_ANY = pytest.mark.parametrize(
    "make", [MADE[name] for name in ("jacobi", "jacobi, probed", "blocks", "lbfgs")]
)


def pairs(A):
    S = normal(50, N, 30).astype(A.dtype)
    return S, A @ S


@ALL
@BOTH
def test_all_are_positive_definite_and_of_the_precision(make, dtype):
    M = make(CHAIN.astype(dtype))
    assert M.dtype == dtype
    assert M.shape == (N, N)
    assert is_positive_definite(M)
    V = normal(51, N, 3).astype(dtype)
    assert (M @ V).dtype == dtype
    np.testing.assert_allclose(M @ V, M.to_dense() @ V, rtol=1e-3, atol=1e-3)


@ALL
def test_all_serve_cg_and_minres(make):
    b = normal(52, N)
    M = make(CHAIN)
    expected = np.linalg.solve(CHAIN, b)
    x, info = cg(CHAIN, b, M=M, rtol=1e-10, maxiter=1000)
    assert info == 0
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())
    x, info = minres(CHAIN, b, M=M, rtol=1e-12, maxiter=1000)
    assert info == 0
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@OF_ANY
@BOTH
def test_those_of_any_matrix_are_positive_definite_for_an_indefinite_one(make, dtype):
    for A in (INDEFINITE, np.diag(SCALES - 1.0), np.diag(SCALES) + INDEFINITE):
        M = make(A.astype(dtype))
        assert is_positive_definite(M)
        x, _ = minres(A, normal(53, N), M=M, rtol=1e-10, maxiter=5000)
        assert np.isfinite(x).all()


@pytest.mark.parametrize("make", [make for name, make in MADE.items() if name != "lbfgs"])
def test_all_but_pairs_must_be_of_a_symmetric_matrix(make):
    with pytest.raises(ValueError, match="not symmetric"):
        make(normal(54, N, N))
    with pytest.raises(ValueError, match="square"):
        make(normal(54, N, N - 1))


@ALL
def test_all_refuse_complex_numbers(make):
    with pytest.raises(TypeError, match="expected real numbers"):
        make(CHAIN + 0j)


@ALL
def test_all_refuse_what_is_not_finite(make):
    A = CHAIN.copy()
    A[3, 4] = A[4, 3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        make(A)


def test_one_large_block_is_refused_unless_it_is_asked_for():
    H = hessian_operator(lambda x: anp.sum((x[1:] - x[:-1]) ** 2) + anp.sum(x**2), np.ones(2001))
    with pytest.raises(ValueError, match=r"all of the 2001 x 2001 matrix. Give a partition"):
        block_jacobi_preconditioner(H)
    assert H.n_matvec == 0
    halves = np.array_split(np.arange(2001), 20)
    assert len(block_jacobi_preconditioner(H, partition=halves).blocks) == 20
