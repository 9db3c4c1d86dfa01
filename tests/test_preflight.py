"""What is predicted before the work, against what the work then takes."""

import json
import math

import autograd.numpy as anp
import numpy as np
import pytest
from cases import normal
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, eigsh, splu

from hessop import (
    DiagonalOperator,
    hessian_operator,
    jacobi_preconditioner,
    nystrom_preconditioner,
    solve,
)
from hessop.diagnostics import measuring, preflights
from hessop.diagnostics.preflights import preflight

N = 200
Q = np.linalg.qr(normal(1, N, N))[0]
B = normal(2, N)


def rotated(eigenvalues):
    A = (Q * eigenvalues) @ Q.T
    return (A + A.T) / 2


SPECTRA = {
    "well-conditioned": np.linspace(1.0, 10.0, N),
    "uniform": np.linspace(1.0, 1e4, N),
    "geometric": np.geomspace(1.0, 1e4, N),
    "ill-conditioned": np.geomspace(1.0, 1e6, N),
    "outliers": np.r_[np.linspace(1.0, 2.0, N - 10), np.geomspace(10.0, 1e5, 10)],
    "small-cluster": np.r_[np.full(10, 1e-4), np.linspace(1.0, 2.0, N - 10)],
    "decaying": (1.0 + np.arange(N)) ** -2.0,
}


def actual(A, M=None):
    result = solve(A, normal(3, A.shape[0]), method="cg", M=M, maxiter=20_000)
    assert result.converged
    return result.n_matvec


@pytest.mark.parametrize("name", SPECTRA)
def test_products_of_cg(name):
    """Within a factor of two; of three, where fewer were made than cg takes."""
    A = rotated(SPECTRA[name])
    count = actual(A)
    assert 0.5 < preflight(A)["cg"].products / count < 2.0
    assert 1 / 3 < preflight(A, n_matvec=60)["cg"].products / count < 3.0


def chain(x):
    return anp.sum((x[1:] - x[:-1]) ** 2) + 5e-4 * anp.sum(x**2)


def test_products_of_cg_beyond_the_steps_on_a_large_matrix():
    H = hessian_operator(chain, np.zeros(5000))
    predicted = preflight(H, n_matvec=150)["cg"].products
    count = actual(H)
    assert count > 300
    assert 0.5 < predicted / count < 2.0


@pytest.mark.parametrize("name", ["geometric", "decaying", "outliers"])
def test_products_with_nystrom(name):
    A = rotated(SPECTRA[name])
    row = preflight(A, rng=0)["cg + Nystrom"]
    M = nystrom_preconditioner(A, rng=0)
    assert 0.5 < row.products / (M.rank + actual(A, M)) < 2.0


def test_products_with_jacobi():
    scales = np.geomspace(1.0, 1e3, N)
    A = rotated(SPECTRA["well-conditioned"]) * np.outer(scales, scales)
    costs = preflight(A)
    spared = costs["cg + Jacobi"].products
    assert 0.5 < spared / actual(A, jacobi_preconditioner(A)) < 2.0
    assert costs["cg"].products > 10 * spared
    # Without a matrix, the diagonal takes as many products as there are columns.
    known_by_products = LinearOperator(A.shape, matvec=lambda v: A @ v, dtype=float)
    assert abs(preflight(known_by_products)["cg + Jacobi"].products - N - spared) <= 0.2 * spared


def test_an_indefinite_matrix_is_left_to_minres():
    A = rotated(np.linspace(-1.0, 10.0, N))
    costs = preflight(A)
    count = solve(A, B, method="minres").n_matvec
    assert 0.5 < costs["cg"].products / count < 2.0
    assert "minres" in costs["cg"].remark
    for name in ("cg + Jacobi", "cg + Nystrom"):
        assert not costs[name].is_known
        assert "not positive" in costs[name].remark


def test_products_of_eigenpairs():
    A = rotated(SPECTRA["geometric"])
    counted = 0

    def product(v):
        nonlocal counted
        counted += 1
        return A @ v

    eigsh(LinearOperator(A.shape, matvec=product, dtype=float), 10, tol=1e-6, v0=B)
    assert 0.4 < preflight(A)["Lanczos"].products / counted < 2.5


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_dense_memory_is_exact(dtype):
    A = rotated(SPECTRA["uniform"]).astype(dtype)
    costs = preflight(A)
    assert costs["dense"].memory == A.nbytes + A.nbytes
    assert costs["dense + eigh"].memory == 4 * A.nbytes
    assert costs["dense"].products == N


def grid(u):
    return anp.sum((u[1:] - u[:-1]) ** 2) + anp.sum((u[:, 1:] - u[:, :-1]) ** 2) + anp.sum(u**2)


@pytest.mark.parametrize(("fun", "x"), [(chain, np.zeros(2000)), (grid, np.zeros((30, 30)))])
def test_sparse_memory_is_about_that_of_the_factors(fun, x):
    H = hessian_operator(fun, x)
    row = preflight(H)["sparse + factors"]
    matrix = H.to_sparse().tocsc()
    factors = splu(matrix, permc_spec="MMD_AT_PLUS_A")
    # Twelve bytes for each nonzero: the number and its row.
    assert 0.5 < row.memory / (12 * (matrix.nnz + factors.nnz)) < 6.0
    assert f"{matrix.nnz:,} nonzeros" in row.remark


def test_a_full_hessian_is_not_sparse():
    costs = preflight(hessian_operator(lambda x: anp.sum(anp.cosh(Q @ x)), np.zeros(N)))
    assert not costs["sparse + factors"].is_known
    assert costs["sparse + factors"].remark.startswith("no: ")


def test_what_is_recommended_depends_on_the_matrix():
    diagonal = preflight(DiagonalOperator(np.linspace(1.0, 2.0, 50))).recommended
    assert diagonal["solve"].option == "structure"
    large = preflight(hessian_operator(chain, np.zeros(5000))).recommended
    assert large["solve"].option != "dense"
    outliers = preflight(rotated(SPECTRA["outliers"])).recommended
    assert "takes" in outliers["solve"].reason


def test_what_does_not_fit_into_memory_is_not_recommended(monkeypatch):
    A = rotated(SPECTRA["ill-conditioned"])
    monkeypatch.setattr(preflights, "available_memory", lambda: 2 * A.nbytes)
    recommended = preflight(A).recommended
    assert recommended["solve"].option != "dense"
    assert recommended["spectrum"].option == "Lanczos"
    assert "too large for memory: dense" in recommended["solve"].reason
    monkeypatch.setattr(preflights, "available_memory", lambda: 10)
    assert preflight(A).recommended["solve"].option == "none"
    monkeypatch.setattr(preflights, "available_memory", lambda: None)
    assert "memory available" not in str(preflight(A))


def test_memory_is_that_of_this_machine():
    memory = measuring.available_memory()
    assert memory is None or 1e7 < memory < 1e14


def test_what_is_measured():
    H = hessian_operator(chain, np.zeros(500))
    costs = preflight(H)
    t = costs.timings
    assert min(t.product, t.column, t.gradient, t.function, t.iteration) > 0.0
    assert t.product_in_gradients == t.product / t.gradient
    assert costs.n_matvec == H.n_matvec
    foreign = preflight(csr_array(H.to_sparse()))
    assert math.isnan(foreign.timings.gradient)
    assert "gradient" not in str(foreign).splitlines()[0]
    by_differences = preflight(
        hessian_operator(None, np.ones(20), grad=lambda x: np.arange(1.0, 21.0) * x)
    )
    assert by_differences["cg"].is_known
    assert by_differences.timings.gradient > 0.0


@pytest.mark.parametrize(
    "A",
    [
        np.eye(1),
        np.zeros((5, 5)),
        np.diag([1.0, 2.0, 0.0]),
        hessian_operator(chain, np.zeros(12)),
        hessian_operator(chain, np.zeros(12, dtype=np.float32)),
        rotated(1e100 * SPECTRA["uniform"]),
        rotated(1e-100 * SPECTRA["uniform"]),
    ],
    ids=["one", "zero", "singular", "small", "float32", "huge", "tiny"],
)
def test_it_is_printed_and_written(A):
    costs = preflight(A)
    assert max(map(len, str(costs).splitlines())) <= 100
    assert json.loads(json.dumps(costs.to_dict(), allow_nan=False))["n"] == A.shape[0]
    assert set(costs.recommended) == {"solve", "spectrum"}
    assert len(repr(costs)) < 120
    with pytest.raises(KeyError, match="there is no way 'magic', expected one of"):
        costs["magic"]


def test_a_small_budget_tries_less():
    A = rotated(SPECTRA["geometric"])
    operator = LinearOperator(A.shape, matvec=lambda v: A @ v, dtype=float)
    frugal = preflight(operator, budget=1e-3)
    assert frugal.n_matvec < preflight(operator).n_matvec / 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((normal(4, 3, 4),), ValueError, "square"),
        ((normal(5, 4, 4),), ValueError, "not symmetric"),
        (("A",), TypeError, "expected a LinearOperator"),
    ],
)
def test_bad_matrices_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        preflight(*arguments)


@pytest.mark.parametrize("name", ["rtol", "budget", "n_matvec"])
@pytest.mark.parametrize("value", [0, -1.0, "much", np.nan])
def test_bad_numbers_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is "):
        preflight(np.eye(3), **{name: value})
