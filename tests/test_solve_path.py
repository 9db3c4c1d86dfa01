"""Many dampings from one Krylov space, against dense solutions of each."""

import matplotlib as mpl
import numpy as np
import pytest
from cases import normal
from scipy.sparse.linalg import aslinearoperator
from structures import symmetric

from hessop import (
    DenseOperator,
    DiagonalOperator,
    NonFiniteError,
    NotConvergedError,
    NotConvergedWarning,
    SparseOperator,
    hessian_operator,
    solve,
)
from hessop.solvers.dampings import solve_path
from hessop.solvers.shifted import ShiftedMinres

mpl.use("Agg")

N = 80
MANY = np.logspace(-6, 6, 25)
POSITIVE = np.logspace(-2, 1, N)
INDEFINITE = np.linspace(1.0, 10.0, N) * np.where(np.arange(N) % 3 == 1, -1.0, 1.0)
WITH_NULL_SPACE = np.maximum(np.linspace(-2.0, 8.0, N), 0.0)


def dense_path(A, b, dampings):
    """The shortest least-squares solution for each damping."""
    return np.array([np.linalg.lstsq(A + s * np.eye(len(b)), b)[0] for s in dampings])


def errors(path, A, b):
    exact = dense_path(A, b, path.dampings)
    return np.linalg.norm(path.x - exact, axis=1) / np.linalg.norm(exact, axis=1)


def residuals(path, A, b):
    return np.array(
        [
            np.linalg.norm(b - A @ x - s * x)
            for x, s in zip(np.asarray(path.x), path.dampings, strict=True)
        ]
    )


# --- solutions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("eigenvalues", "dampings"),
    [
        (POSITIVE, MANY),
        (POSITIVE, [0.0, *MANY]),
        (POSITIVE, -20.0 - MANY),
        (INDEFINITE, [0.0, *0.9 * MANY, *-MANY - 12.0]),
        (INDEFINITE, [-3.05, -2.0, 4.44]),
        (WITH_NULL_SPACE, MANY[4:]),
        (np.r_[np.full(N - 3, 2.0), 5.0, -1.5, 9.0], MANY),
    ],
    ids=["positive", "zero", "negative", "indefinite", "within", "null space", "few eigenvalues"],
)
def test_against_dense_solutions(eigenvalues, dampings):
    A, b = symmetric(0, *eigenvalues), normal(1, N)
    path = solve_path(A, b, dampings, rtol=1e-10)
    assert path.converged.all()
    assert path.x.shape == (len(dampings), N)
    np.testing.assert_array_equal(path.dampings, dampings)
    distance = np.abs(eigenvalues + np.array(dampings)[:, None])
    condition = distance.max(axis=1) / distance.min(axis=1)
    assert np.all(errors(path, A, b) < 1e-10 * condition + 1e-12)
    rounding = 1e-14 * np.abs(distance).max(axis=1) * path.size
    assert np.all(np.abs(path.residual_norm - residuals(path, A, b)) <= rounding)
    assert path.residual_norm.max() <= 1e-10 * np.linalg.norm(b)
    np.testing.assert_allclose(path.size, np.linalg.norm(path.x, axis=1))
    np.testing.assert_allclose(path.misfit, np.linalg.norm(b - path.x @ A, axis=1), atol=1e-12)


def test_the_products_are_those_of_the_hardest():
    A, b = symmetric(0, *POSITIVE), normal(1, N)
    counted = DenseOperator(A)  # structured, and so hidden behind a function of products
    H = hessian_operator(lambda x: 0.5 * x @ A @ x, np.zeros(N))
    path = solve_path(H, b, MANY)
    alone = [
        solve(H, b, damping=s, method=method).n_matvec for s in MANY for method in ("cg", "minres")
    ]
    assert path.steps <= max(alone)
    assert path.n_matvec == path.steps + len(MANY)
    assert path.n_matvec < sum(alone) / 10
    before = H.n_matvec
    again = solve_path(H, b, MANY)
    assert H.n_matvec - before == again.n_matvec == path.n_matvec
    foreign = solve_path(aslinearoperator(A), b, MANY)
    assert foreign.n_matvec == path.n_matvec + 2  # and the test for symmetry
    np.testing.assert_allclose(solve_path(counted, b, MANY).x, path.x, rtol=1e-5, atol=1e-9)


def test_each_residual_is_that_of_minres():
    """No solution in the space has a smaller one, for any damping."""
    A, b = symmetric(0, *INDEFINITE), normal(1, N)
    dampings = np.array([-4.0, 0.0, 0.3, 20.0])
    seen = []
    with pytest.warns(NotConvergedWarning):
        path = solve_path(A, b, dampings, maxiter=12, callback=seen.append)
    assert path.steps == len(seen) == 12
    basis = np.linalg.qr(np.array([np.linalg.matrix_power(A / 10, k) @ b for k in range(12)]).T)[0]
    for i, s in enumerate(dampings):
        left = np.linalg.lstsq((A + s * np.eye(N)) @ basis, b)[1]
        assert path.residual_norm[i] == pytest.approx(np.sqrt(left[0]), rel=1e-6)
        assert seen[-1][i] == pytest.approx(path.residual_norm[i], rel=1e-10)
    assert np.all(np.diff(seen, axis=0) <= 1e-12)


def test_the_least_squares_alone():
    """The rotations, against a dense least-squares solution of a tridiagonal matrix."""
    k, shifts = 9, np.array([-1.0, 0.0, 2.5])
    diagonal, beside = normal(0, k), np.abs(normal(1, k))
    T = np.zeros((k + 1, k))
    T[:k] = np.diag(diagonal) + np.diag(beside[:-1], 1)
    T[1:] += np.diag(beside)
    minres = ShiftedMinres(shifts, 3.0, np.finfo(float).eps)
    for entries in zip(diagonal, beside, strict=True):
        minres.extend(*entries)
    y, left, is_singular = minres.solutions(0.0)
    assert not is_singular.any()
    for i, s in enumerate(shifts):
        shifted = T + s * np.eye(k + 1, k)
        exact, square, _, _ = np.linalg.lstsq(shifted, 3.0 * np.eye(k + 1)[0])
        np.testing.assert_allclose(y[i], exact, rtol=1e-10, atol=1e-12)
        assert left[i] == pytest.approx(np.sqrt(square[0]), rel=1e-10)
        assert minres.residual_norm[i] == left[i]


def test_ritz_values():
    A, b = symmetric(0, *INDEFINITE), normal(1, N)
    path = solve_path(A, b, [0.0])
    assert path.ritz_values.shape == (path.steps,)
    assert path.ritz_values[0] == pytest.approx(INDEFINITE.min(), rel=1e-6)
    assert path.ritz_values[-1] == pytest.approx(INDEFINITE.max(), rel=1e-6)


def test_single_precision():
    A, b = symmetric(0, *np.linspace(1.0, 10.0, N)).astype(np.float32), normal(1, N)
    path = solve_path(A, b, MANY)
    assert path.converged.all()
    assert errors(path, A.astype(float), b).max() < 1e-4


def test_trees():
    import autograd.numpy as anp

    def fun(p):
        return anp.sum(anp.cosh(p["a"])) + p["b"] ** 2 * anp.sum(p["a"]) + 5 * p["b"] ** 2

    H = hessian_operator(fun, {"a": np.array([1.0, 2.0]), "b": 0.5})
    b = {"a": np.array([1.0, -1.0]), "b": 2.0}
    path = solve_path(H, b, [0.0, 1.0])
    exact = dense_path(H.to_dense(symmetrize=True), H.flatten(b), [0.0, 1.0])
    assert isinstance(path.x, list)
    for tree, flat in zip(path.x, exact, strict=True):
        np.testing.assert_allclose(H.flatten(tree), flat, rtol=1e-7)
    np.testing.assert_allclose(path.size, np.linalg.norm(exact, axis=1))


@pytest.mark.parametrize("make", [DenseOperator, SparseOperator])
def test_structures_are_inverted(make):
    A, b = symmetric(0, *POSITIVE), normal(1, N)
    path = solve_path(make(A), b, MANY)
    assert errors(path, A, b).max() < 1e-12
    assert path.steps == path.ritz_values.size == 0
    assert path.n_matvec <= 3 * len(MANY)


def test_a_singular_structure():
    b = np.array([1.0, 2.0, 3.0])
    with pytest.warns(NotConvergedWarning, match=r"1 of 3 .* λ = 0.*inconsistent"):
        path = solve_path(DiagonalOperator([1.0, 2.0, 0.0]), b, [1.0, 0.0, 2.0])
    np.testing.assert_array_equal(path.converged, [True, False, True])
    np.testing.assert_allclose(path.x[1, :2], [1.0, 1.0], atol=1e-6)
    assert path.residual_norm[1] == pytest.approx(3.0)


@pytest.mark.parametrize("size", [2.0**-700, 2.0**700])
def test_sizes_whose_squares_are_no_numbers(size):
    A, b = symmetric(0, *POSITIVE), normal(1, N)
    path = solve_path(A, size * b, MANY)
    assert path.converged.all()
    np.testing.assert_allclose(path.x / size, solve_path(A, b, MANY).x, rtol=1e-10)
    assert np.all(path.residual_norm <= 1e-8 * size * np.linalg.norm(b))


def test_zeros():
    path = solve_path(symmetric(0, *POSITIVE), np.zeros(N), [0.0, 1.0])
    assert path.converged.all()
    assert not path.x.any()
    assert (path.n_matvec, path.steps) == (2, 0)  # the test for symmetry


# --- what does not converge -----------------------------------------------------------------------


def test_a_null_space():
    A, b = symmetric(0, *WITH_NULL_SPACE), normal(1, N)
    dampings = [1.0, 0.0, 1e-3]
    with pytest.warns(NotConvergedWarning, match=r"1 of 3 .* λ = 0, .*singular") as caught:
        path = solve_path(A, b, dampings)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(path.converged, [True, False, True])
    assert errors(path, A, b).max() < 1e-5
    np.testing.assert_allclose(path.residual_norm, residuals(path, A, b), rtol=1e-6, atol=1e-10)
    with pytest.raises(NotConvergedError, match="singular") as error:
        solve_path(A, b, dampings, strict=True)
    np.testing.assert_array_equal(error.value.result.converged, path.converged)
    inside = A @ b
    assert solve_path(A, inside, dampings).converged.all()


@pytest.mark.parametrize("which", [0, 17, N - 1])
def test_a_damping_that_is_an_eigenvalue(which):
    A, b = symmetric(0, *INDEFINITE), normal(1, N)
    singular = -INDEFINITE[which]
    with pytest.warns(NotConvergedWarning, match="singular"):
        path = solve_path(A, b, [singular, 0.5])
    np.testing.assert_array_equal(path.converged, [False, True])
    assert np.linalg.norm(path.x[0]) < 1e3 * np.linalg.norm(b)
    vector = np.linalg.eigh(A)[1][:, np.searchsorted(np.sort(INDEFINITE), INDEFINITE[which])]
    assert path.residual_norm[0] == pytest.approx(abs(vector @ b), rel=1e-6)


def test_what_rounding_allows():
    A, b = symmetric(0, *np.logspace(-10, 2, N)), normal(1, N)
    with pytest.warns(NotConvergedWarning, match="rounding"):
        path = solve_path(A, b, [0.0, 1e-3])
    np.testing.assert_array_equal(path.converged, [False, True])
    assert path.residual_norm[0] < 1e-13 * 100.0 * path.size[0]


def test_the_limit():
    A, b = symmetric(0, *POSITIVE), normal(1, N)
    with pytest.warns(NotConvergedWarning, match="after 15 products. Use a larger maxiter"):
        path = solve_path(A, b, MANY, maxiter=15)
    assert path.steps == 15
    assert 0 < path.converged.sum() < len(MANY)
    np.testing.assert_allclose(path.residual_norm, residuals(path, A, b), atol=1e-11)
    with pytest.warns(NotConvergedWarning):
        path = solve_path(A, b, MANY, maxiter=0)
    assert path.steps == 0
    assert not path.x.any()
    np.testing.assert_allclose(path.residual_norm, np.linalg.norm(b))


def test_a_callback_stops_it():
    def callback(norms):
        seen.append(norms)
        if len(seen) == 7:
            raise StopIteration

    seen = []
    path = solve_path(symmetric(0, *POSITIVE), normal(1, N), MANY, callback=callback)
    assert path.steps == 7
    assert "callback" in path.reason
    assert not path.converged.all()


def test_absolute_tolerance():
    A, b = symmetric(0, *POSITIVE), normal(1, N)
    path = solve_path(A, b, MANY, rtol=0.0, atol=0.1)
    assert path.converged.all()
    assert 1e-3 < path.residual_norm.max() <= 0.1
    assert path.steps < solve_path(A, b, MANY).steps


# --- the rest -------------------------------------------------------------------------------------


def test_the_curve():
    A, b = symmetric(0, *POSITIVE), normal(1, N)
    order = np.random.default_rng(0).permutation(len(MANY))
    path = solve_path(A, b, MANY[order])
    ax = path.plot()
    x, y = ax.lines[0].get_data()
    assert len(x) == len(MANY)
    assert np.all(np.diff(x) > 0)  # more damping, more misfit
    assert np.all(np.diff(y) < 0)  # and less size
    assert len(ax.texts) == len(MANY)
    assert path.plot(ax) is ax
    mpl.pyplot.close(ax.figure)


def test_progress(capsys):
    solve_path(symmetric(0, *POSITIVE), normal(1, N), [1.0], progress=True)
    assert "product" in capsys.readouterr().err


def test_in_print():
    path = solve_path(np.eye(3), np.ones(3), [0.0, 1.0])
    assert "x=" not in repr(path)
    assert "2 of 2 dampings solved, from 0 to 1" in repr(path)


def test_bad_arguments():
    A, b = np.eye(4), np.ones(4)
    with pytest.raises(ValueError, match=r"b has shape \(4, 2\), expected one vector"):
        solve_path(A, np.ones((4, 2)), [1.0])
    with pytest.raises(ValueError, match="b has shape"):
        solve_path(A, np.ones(3), [1.0])
    for dampings in ([], [[1.0, 2.0]], [np.nan], [np.inf], [1j], ["one"], [None]):
        with pytest.raises(ValueError, match="dampings"):
            solve_path(A, b, dampings)
    with pytest.raises(ValueError, match="not symmetric"):
        solve_path(np.triu(np.ones((4, 4))), b, [1.0])
    with pytest.raises(ValueError, match="square"):
        solve_path(np.ones((4, 3)), b, [1.0])
    with pytest.raises(ValueError, match="rtol"):
        solve_path(A, b, [1.0], rtol=-1.0)
    with pytest.raises(ValueError, match="maxiter"):
        solve_path(A, b, [1.0], maxiter=-1)
    with pytest.raises(NonFiniteError, match="b has nan"):
        solve_path(A, [np.nan, 1.0, 1.0, 1.0], [1.0])
    assert solve_path(A, b, 3.0).x.shape == (1, 4)


@pytest.mark.parametrize("unit", [1.0, 2.0, 1e-8])
def test_what_cancels_to_zero_is_not_divided_by(unit):
    # All of A + λ I is rounding: the shortest solution is zero.
    b = normal(0, 300)
    with pytest.warns(NotConvergedWarning, match="singular"):
        path = solve_path(aslinearoperator(unit * np.eye(300)), b, [-unit])
    assert not path.x.any()
    assert path.residual_norm[0] == pytest.approx(np.linalg.norm(b), rel=1e-14)
