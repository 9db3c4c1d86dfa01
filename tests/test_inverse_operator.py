"""Inverses as operators: against dense solves, in SciPy's solvers, and what they cost."""

import copy
import pickle

import autograd.numpy as anp
import numpy as np
import pytest
from cases import normal
from scipy.sparse.linalg import LinearOperator, aslinearoperator, cg, eigsh, lobpcg
from sklearn.datasets import load_digits
from structures import symmetric

from hessop import (
    DenseOperator,
    DiagonalOperator,
    LowRankOperator,
    NotConvergedError,
    NotConvergedWarning,
    SparseOperator,
    hessian_operator,
    jacobian_operator,
    likelihoods,
    minimize,
)
from hessop.solvers.inverse_products import InverseStatistics, inverse_operator
from hessop.solvers.recycling import Recycler, deflation_of

N = 60
POSITIVE = np.linspace(1.0, 10.0, N)
INDEFINITE = POSITIVE * np.where(np.arange(N) % 4 == 1, -1.0, 1.0)


def counting(matrix, *, adjoint=True):
    """A SciPy operator that counts its products, in a list of one number."""
    count = [0]

    def product(v):
        count[0] += 1
        return matrix @ v

    def transposed(v):
        count[0] += 1
        return matrix.T @ v

    operator = LinearOperator(
        matrix.shape, matvec=product, rmatvec=transposed if adjoint else None, dtype=matrix.dtype
    )
    return operator, count


def costs(A_inv, vectors):
    """The products with A that each product with its inverse takes."""
    spent = []
    for v in vectors:
        before = A_inv.statistics.n_matvec
        A_inv @ v
        spent.append(A_inv.statistics.n_matvec - before)
    return spent


def relative(x, exact):
    return np.linalg.norm(x - exact) / np.linalg.norm(exact)


# --- products -------------------------------------------------------------------------------------


@pytest.mark.parametrize("eigenvalues", [POSITIVE, INDEFINITE], ids=["definite", "indefinite"])
@pytest.mark.parametrize("damping", [0.0, 0.25])
@pytest.mark.parametrize("recycle", [False, True, 3])
def test_vectors_and_blocks(eigenvalues, damping, recycle):
    A = symmetric(0, *eigenvalues)
    inverse = np.linalg.inv(A + damping * np.eye(N))
    A_inv = inverse_operator(A, damping=damping, recycle=recycle, rtol=1e-10)
    v, V = normal(1, N), normal(2, N, 4)
    assert relative(A_inv @ v, inverse @ v) < 1e-8
    assert relative(A_inv @ V, inverse @ V) < 1e-8
    assert A_inv.T is A_inv
    assert A_inv.symmetric
    assert relative(A_inv.to_dense(), inverse) < 1e-8
    assert A_inv.statistics.worst_residual < 1e-10
    assert not (A_inv @ np.zeros(N)).any()


@pytest.mark.parametrize("method", ["cg", "minres", "gmres", "lgmres", "bicgstab", "lsmr"])
def test_methods(method):
    A = symmetric(0, *POSITIVE)
    A_inv = inverse_operator(A, method=method)
    v = normal(1, N)
    assert relative(A_inv @ v, np.linalg.solve(A, v)) < 1e-6
    assert A_inv.last.method == method


def test_single_precision():
    A = symmetric(0, *POSITIVE).astype(np.float32)
    v = normal(1, N)
    for recycle in (False, 5):
        A_inv = inverse_operator(A, recycle=recycle)
        for _ in range(4):
            x = A_inv @ v
        assert x.dtype == A_inv.dtype == np.float32
        assert relative(x, np.linalg.solve(A.astype(float), v)) < 1e-4
        assert A_inv.statistics.not_converged == 0


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64, np.complex128])
def test_vectors_of_any_dtype(dtype):
    A = symmetric(0, *POSITIVE)
    v = np.arange(N).astype(dtype) + (1j if dtype == np.complex128 else 0)
    assert relative(inverse_operator(A) @ v, np.linalg.solve(A, v)) < 1e-6


def test_products_are_fresh_arrays():
    A_inv = inverse_operator(symmetric(0, *POSITIVE), recycle=True)
    v = normal(1, N)
    x = A_inv @ v
    kept = x.copy()
    x *= 0.0
    np.testing.assert_allclose(A_inv @ v, kept, rtol=1e-6)
    assert x.flags.writeable


def test_trees():
    def fun(p):
        return anp.sum(anp.cosh(p["a"])) + p["b"] ** 2 * anp.sum(p["a"]) + 5 * p["b"] ** 2

    H = hessian_operator(fun, {"a": np.array([1.0, 2.0]), "b": 0.5})
    H_inv = inverse_operator(H, damping=0.1)
    tree = {"a": np.array([1.0, -1.0]), "b": 2.0}
    found = H_inv.matvec_tree(tree)
    exact = np.linalg.solve(H.to_dense() + 0.1 * np.eye(3), H.flatten(tree))
    np.testing.assert_allclose(H.flatten(found), exact, rtol=1e-7)
    with pytest.raises(TypeError, match="matvec_tree"):
        H_inv @ tree
    with pytest.raises(TypeError, match="dict"):
        inverse_operator(np.eye(3)).matvec_tree(tree)


def test_a_square_jacobian_is_solved_for_its_inputs():
    J = jacobian_operator(
        lambda p: [p["a"] ** 3, p["a"][0] * p["b"]], {"a": np.array([1.0, 2.0]), "b": 4.0}
    )
    outputs = [np.array([3.0, 12.0]), 5.0]
    found = inverse_operator(J).matvec_tree(outputs)
    np.testing.assert_allclose(found["a"], [1.0, 1.0])
    assert found["b"] == pytest.approx(1.0)


# --- structured matrices --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "A",
    [
        DiagonalOperator(np.arange(1.0, N + 1)),
        DenseOperator(symmetric(0, *INDEFINITE)),
        SparseOperator(np.diag(POSITIVE)),
        LowRankOperator(normal(0, N, 3), [1.0, 2.0, -1.0], 1.5),
    ],
    ids=lambda A: type(A).__name__,
)
def test_a_structure_is_inverted_once(A, monkeypatch):
    calls = []
    inverse = type(A).inverse
    monkeypatch.setattr(type(A), "inverse", lambda *args: calls.append(1) or inverse(*args))
    A_inv = inverse_operator(A, damping=0.5, recycle=True)
    V = normal(1, N, 3)
    exact = np.linalg.solve(A.to_dense() + 0.5 * np.eye(N), V)
    spent = A.n_matvec
    assert relative(A_inv @ V, exact) < 1e-12
    assert len(calls) == 1
    assert A_inv.statistics.n_matvec == A.n_matvec - spent <= 6
    assert A_inv.statistics.solves == 3
    assert A_inv.last.method == "inverse"
    assert "exact" in repr(A_inv)


def test_a_singular_structure_is_solved_where_that_can_be():
    A_inv = inverse_operator(DiagonalOperator([1.0, 2.0, 0.0]))
    np.testing.assert_allclose(A_inv @ np.array([1.0, 4.0, 0.0]), [1.0, 2.0, 0.0])
    with pytest.warns(NotConvergedWarning, match="singular"):
        A_inv @ np.ones(3)


# --- matrices that are not symmetric --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["matrix", "operator"])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_not_symmetric(kind, preconditioned):
    A = normal(0, N, N) + 12 * np.eye(N)
    A[0] *= 100.0
    M = np.linalg.inv(np.triu(A)) if preconditioned else None
    operator, count = counting(A)
    A_inv = inverse_operator(A if kind == "matrix" else operator, M=M, rtol=1e-11)
    v, V = normal(1, N), normal(2, N, 2)
    assert not A_inv.symmetric
    assert relative(A_inv @ v, np.linalg.solve(A, v)) < 1e-8
    assert relative(A_inv.T @ v, np.linalg.solve(A.T, v)) < 1e-8
    assert relative(A_inv.T @ V, np.linalg.solve(A.T, V)) < 1e-8
    assert relative(v @ A_inv, np.linalg.solve(A.T, v)) < 1e-8
    if kind == "operator":
        assert A_inv.statistics.n_matvec == count[0]


def test_without_an_adjoint():
    A = normal(0, N, N) + 12 * np.eye(N)
    A_inv = inverse_operator(counting(A, adjoint=False)[0])
    v = normal(1, N)
    assert relative(A_inv @ v, np.linalg.solve(A, v)) < 1e-7
    with pytest.raises(TypeError, match="rmatvec"):
        A_inv.T @ v


# --- what SciPy makes of it -----------------------------------------------------------------------


def wave(u):
    """A function whose Hessian is indefinite."""
    return anp.sum((u[1:] - u[:-1]) ** 2) + anp.sum(anp.cos(3 * u))


@pytest.mark.parametrize("kind", ["ours", "foreign"])
@pytest.mark.parametrize("sigma", [-3.3, 0.0, 2.0])
def test_shift_and_invert(kind, sigma):
    H = hessian_operator(wave, np.linspace(0.0, 2.0, N))
    A = H if kind == "ours" else aslinearoperator(H.to_dense(symmetrize=True))
    A_inv = inverse_operator(A, damping=-sigma, rtol=1e-10)
    values, vectors = eigsh(A, k=4, sigma=sigma, OPinv=A_inv, v0=np.ones(N))
    dense = np.linalg.eigvalsh(H.to_dense(symmetrize=True))
    nearest = np.sort(dense[np.argsort(np.abs(dense - sigma))[:4]])
    np.testing.assert_allclose(np.sort(values), nearest, rtol=1e-8)
    assert np.abs(H @ vectors - vectors * values).max() < 1e-6
    assert A_inv.statistics.solves == A_inv.n_matvec
    assert A_inv.statistics.not_converged == 0


def test_shift_and_invert_of_the_sum():
    """``H - sigma I`` as an operator of its own, and recycling within eigsh."""
    A = symmetric(3, *np.r_[np.logspace(-4, -3, 12), np.linspace(1.0, 10.0, 150)])
    n, solves = len(A), []
    for recycle in (False, True):
        A_inv = inverse_operator(A + 1e-4 * np.eye(n), recycle=recycle)
        values = eigsh(A, 3, sigma=-1e-4, OPinv=A_inv, v0=np.ones(n), return_eigenvectors=False)
        np.testing.assert_allclose(np.sort(values), np.linalg.eigvalsh(A)[:3], rtol=1e-7)
        solves.append(A_inv.statistics)
    plain, recycled = solves
    assert recycled.solves == plain.solves
    assert recycled.n_matvec < plain.n_matvec / 2


def test_as_a_preconditioner():
    A = symmetric(0, *np.logspace(-3, 0, N))
    near = inverse_operator(A + 1e-3 * np.eye(N), rtol=1e-12, recycle=True)
    b = normal(1, N)
    iterations = []
    x, info = cg(A, b, M=near, rtol=1e-10, callback=lambda x: iterations.append(1))
    assert info == 0
    assert len(iterations) < 20  # the condition is two
    assert relative(x, np.linalg.solve(A, b)) < 1e-6
    values, _ = lobpcg(A, normal(2, N, 3), M=near, largest=False, tol=1e-8, maxiter=60)
    np.testing.assert_allclose(np.sort(values), np.linalg.eigvalsh(A)[:3], rtol=1e-6)


def test_algebra():
    A = symmetric(0, *POSITIVE)
    H = DenseOperator(A)
    A_inv = inverse_operator(aslinearoperator(A), rtol=1e-12)
    v = normal(1, N)
    assert relative((A_inv @ H) @ v, v) < 1e-9
    assert relative((2.0 * A_inv + H) @ v, 2.0 * np.linalg.solve(A, v) + A @ v) < 1e-9


def test_no_methods_that_scipy_takes_for_others():
    A_inv = inverse_operator(np.eye(3))
    assert not hasattr(A_inv, "solve")
    assert not hasattr(A_inv, "astype")


# --- statistics and truth -------------------------------------------------------------------------


@pytest.mark.parametrize("recycle", [False, 4])
@pytest.mark.parametrize("method", ["auto", "cg"])
def test_every_product_is_counted(recycle, method):
    A, count = counting(symmetric(0, *POSITIVE))
    A_inv = inverse_operator(A, method=method, recycle=recycle)
    assert A_inv.statistics == InverseStatistics(n_matvec=count[0])
    assert A_inv.last is None
    A_inv @ normal(1, N)
    A_inv @ normal(2, N, 5)
    assert (A_inv.statistics.solves, A_inv.n_matvec) == (6, 6)
    assert A_inv.statistics.n_matvec == count[0]
    assert A_inv.last.n_matvec < count[0]


def test_the_worst_residual():
    A = symmetric(0, *np.logspace(-2, 0, N))
    A_inv = inverse_operator(A, rtol=1e-3)
    measured = []
    for seed in range(5):
        v = normal(seed, N)
        measured.append(relative(A @ (A_inv @ v), v))
    assert A_inv.statistics.worst_residual == pytest.approx(max(measured), rel=1e-6)


def test_a_singular_matrix():
    A = symmetric(0, *np.maximum(POSITIVE - 2.0, 0.0))
    for recycle in (False, True):
        A_inv = inverse_operator(A, recycle=recycle)
        inside = A @ normal(1, N)
        assert relative(A @ (A_inv @ inside), inside) < 1e-7
        v = normal(2, N)
        with pytest.warns(NotConvergedWarning, match="singular") as caught:
            x = A_inv @ v
        assert caught[0].filename == __file__
        assert A_inv.statistics.not_converged == 1
        exact = np.linalg.lstsq(A, v)[0]
        assert relative(A @ x, A @ exact) < 1e-3  # a least-squares solution
        assert A_inv.statistics.worst_residual == pytest.approx(relative(A @ x, v), rel=1e-6)
    strict = inverse_operator(A, strict=True)
    with pytest.raises(NotConvergedError, match="singular") as error:
        strict @ v
    assert error.value.result is strict.last
    assert strict.statistics.not_converged == 1


def test_the_limit_is_for_each_product():
    A_inv = inverse_operator(symmetric(0, *np.logspace(-8, 0, N)), maxiter=10)
    for solves in (1, 2):
        with pytest.warns(NotConvergedWarning, match="products"):
            A_inv @ normal(solves, N)
        assert A_inv.statistics.not_converged == solves
        assert A_inv.last.n_matvec < 15


def test_an_indefinite_matrix_is_noticed_once():
    A_inv = inverse_operator(symmetric(0, *INDEFINITE), recycle=True)
    first, *others = costs(A_inv, normal(1, 4, N))
    assert A_inv.method == "minres"
    assert A_inv.last.method == "minres"
    assert max(others) < first


def test_bad_arguments():
    A = np.eye(4)
    with pytest.raises(ValueError, match=r"\(3, 4\), expected a square"):
        inverse_operator(np.ones((3, 4)))
    with pytest.raises(TypeError, match="list"):
        inverse_operator([[1.0]])
    with pytest.raises(TypeError, match="complex"):
        inverse_operator(1j * A)
    with pytest.raises(ValueError, match="method is 'newton'"):
        inverse_operator(A, method="newton")
    with pytest.raises(ValueError, match="M has shape"):
        inverse_operator(A, M=np.eye(3))
    with pytest.raises(ValueError, match="lsmr"):
        inverse_operator(A, method="lsmr", M=A)
    with pytest.raises(ValueError, match="damping"):
        inverse_operator(A, damping=np.nan)
    with pytest.raises(ValueError, match="rtol"):
        inverse_operator(A, rtol=-1.0)
    with pytest.raises(ValueError, match="maxiter"):
        inverse_operator(A, maxiter=1.5)
    with pytest.raises(ValueError, match="expected 4"):
        inverse_operator(A) @ np.ones(3)
    for recycle in (-1, 2.5, "yes"):
        with pytest.raises(ValueError, match="recycle"):
            inverse_operator(A, recycle=recycle)
    with pytest.raises(ValueError, match="minres"):
        inverse_operator(A, method="minres", recycle=True)
    with pytest.raises(ValueError, match="not symmetric"):
        inverse_operator(np.triu(np.ones((4, 4))), recycle=True)


def test_copies_and_pickles():
    A = symmetric(0, *POSITIVE)
    v = normal(1, N)
    A_inv = inverse_operator(A, damping=0.5, recycle=4, M=np.eye(N), rtol=1e-9, strict=True)
    x = A_inv @ v
    for twin in (copy.copy(A_inv), copy.deepcopy(A_inv), pickle.loads(pickle.dumps(A_inv))):
        assert twin.statistics.solves == twin.n_matvec == 0
        assert twin.last is None
        assert repr(twin) == repr(A_inv).replace("1 products", "0 products")
        np.testing.assert_allclose(twin @ v, x, rtol=1e-7)
        assert A_inv.statistics.solves == 1
    assert repr(A_inv) == (
        "<60x60 SolverInverse of MatrixLinearOperator, damping 0.5, auto, float64, 1 products>"
    )


def test_a_bar_for_each_solve(capsys):
    A_inv = inverse_operator(symmetric(0, *POSITIVE), progress=True)
    A_inv @ normal(1, N, 2)
    assert capsys.readouterr().err.count("product") >= 2


# --- recycling ------------------------------------------------------------------------------------

# Eigenvalues, and the part of the first solve's products that later ones may take
SPECTRA = {
    "small outliers": (np.r_[np.logspace(-4, -3, 20), np.linspace(1.0, 10.0, 280)], 0.25),
    "large outliers": (np.r_[np.linspace(1.0, 10.0, 280), np.logspace(3, 4, 20)], 0.4),
    "both": (np.r_[np.logspace(-3, -2, 9), np.linspace(1, 9, 280), np.logspace(3, 4, 9)], 0.25),
    "damped": (1e-3 + np.arange(1.0, 301) ** -2.0, 0.5),
    "flat": (np.r_[np.full(200, 1e-3), np.logspace(-3, 2, 100)], 0.5),
}


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_later_solves_are_cheaper(spectrum):
    eigenvalues, part = SPECTRA[spectrum]
    A = symmetric(7, *eigenvalues)
    vectors = normal(8, 5, len(A))
    plain = costs(inverse_operator(A), vectors)
    A_inv = inverse_operator(A, recycle=True)
    first, second, *others = costs(A_inv, vectors)
    assert first == plain[0]  # of which nothing is known
    assert second < 0.5 * min(plain)
    assert max(others) < part * min(plain)
    assert A_inv.statistics.not_converged == 0
    assert relative(A @ (A_inv @ vectors[0]), vectors[0]) < 1e-8


def test_the_scale_does_not_matter():
    A, vectors = symmetric(7, *SPECTRA["both"][0]), normal(8, 4, 298)
    scales = (1.0, 2.0**-100, 2.0**100)  # without rounding
    spent = [costs(inverse_operator(s * A, recycle=10), vectors) for s in scales]
    assert np.ptp(spent, axis=0).max() <= 3


def test_a_rank_larger_than_needed():
    A = symmetric(0, *np.logspace(-4, 0, 30))
    A_inv = inverse_operator(A, recycle=50)
    spent = costs(A_inv, normal(1, 5, 30))
    assert max(spent[1:]) <= 6  # all directions are known
    assert A_inv.statistics.not_converged == 0


def test_the_same_vector_twice():
    A_inv = inverse_operator(symmetric(0, *POSITIVE), recycle=True)
    v = normal(1, N)
    spent = costs(A_inv, [v, v, 2.0 * v])
    assert spent[1] < spent[0]
    assert relative(A_inv @ (2.0 * v), 2.0 * (A_inv @ v)) < 1e-7


def test_recycling_with_a_preconditioner():
    """What M has not caught is deflated."""
    eigenvalues = np.r_[np.logspace(-4, -3, 8), np.linspace(1.0, 2.0, 180)]
    A, D = symmetric(7, *eigenvalues), np.logspace(0, 4, len(eigenvalues))
    B = np.sqrt(D)[:, None] * A * np.sqrt(D)
    vectors = normal(8, 5, len(A))
    M = DiagonalOperator(1.0 / D)
    plain = costs(inverse_operator(B, M=M), vectors)
    first, *others = costs(inverse_operator(B, M=M, recycle=10), vectors)
    assert first <= max(plain)
    assert max(others) < 0.35 * min(plain)


def test_influence_of_digits():
    """Real data: softmax regression, and the gradients of single examples."""
    X, y = load_digits(return_X_y=True)
    X, softmax = X / 16.0, likelihoods.Categorical()

    def loss(p, X, y):
        penalty = 0.5e-4 * anp.sum(p["W"] ** 2)
        return softmax.nll(X @ p["W"] + p["b"], y) / len(y) + penalty

    start = {"W": np.zeros((64, 10)), "b": np.zeros(10)}
    x = minimize(loss, start, args=(X, y), method="trust-krylov").params
    H = hessian_operator(loss, x, args=(X, y)).compile()
    gradients = [
        hessian_operator(loss, x, args=(X[i : i + 1], y[i : i + 1])).gradient for i in range(6)
    ]
    plain, recycled = (inverse_operator(H, damping=1e-5, recycle=r) for r in (False, True))
    first, *others = costs(plain, gradients)
    _, *cheaper = costs(recycled, gradients)
    assert max(cheaper) < 0.5 * min(first, *others)
    exact = np.linalg.solve(H.to_dense() + 1e-5 * np.eye(650), gradients[-1])
    assert relative(recycled @ gradients[-1], exact) < 1e-5


def test_deflation():
    A, M = symmetric(0, *np.logspace(-2, 2, N)), symmetric(1, *np.linspace(1.0, 2.0, N))
    P = normal(2, 12, N)
    P = np.concatenate([P, P[:1] + P[1:2]])  # one that is a combination of others
    P /= np.sqrt(np.sum(P * (P @ A), axis=1))[:, None]
    for preconditioner in (None, aslinearoperator(M)):
        D = deflation_of(P, P @ A, preconditioner, 4, np.finfo(float).eps)
        assert D.W.shape == (8, N)
        np.testing.assert_allclose(D.W @ A @ D.W.T, np.eye(8), atol=1e-10)
        np.testing.assert_allclose(D.W @ A, D.AW, atol=1e-10)
        b = normal(3, N)
        np.testing.assert_allclose(D.W @ (b - A @ D.start(b)), 0.0, atol=1e-10)
        B = D.preconditioner(preconditioner) @ np.eye(N)
        np.testing.assert_allclose(B, B.T, atol=1e-10 * np.abs(B).max())
        assert np.linalg.eigvalsh(B).min() > 0.0
        np.testing.assert_allclose(B @ D.AW.T, D.level * D.W.T, atol=1e-8)


def test_eigenvectors_are_found():
    """With all directions of a space, the Ritz vectors are eigenvectors."""
    A = symmetric(0, *POSITIVE)
    recycler = Recycler(3, None, np.finfo(float).eps)
    recycler.rank = 100  # so that nothing is compressed on the way
    for v in np.eye(N):
        recycler.watch(v, A @ v)
    recycler.rank = 3
    W = recycler.deflation().W
    for w, eigenvalue in zip(W, np.r_[POSITIVE[:3], POSITIVE[-3:]], strict=True):
        np.testing.assert_allclose(A @ w, eigenvalue * w, atol=1e-10)


def test_what_the_recycler_refuses():
    recycler = Recycler(3, None, np.finfo(float).eps)
    recycler.watch(np.zeros(3), np.zeros(3))
    recycler.watch(np.ones(3), -np.ones(3))
    recycler.watch(np.array([1.0, 0.0]), np.array([1e-17, 1.0]))
    assert recycler.deflation() is None
