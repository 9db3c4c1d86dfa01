"""Lanczos' process as users call it: what it is, how accurate, and how it goes on from a file."""

import numpy as np
import pytest
from scipy.sparse import diags_array
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from structures import symmetric

from hessop import (
    DenseOperator,
    DiagonalOperator,
    LanczosState,
    NonFiniteError,
    NotConvergedWarning,
    lanczos,
)
from hessop.spectrum.krylov import KrylovSpace, extend_together

N = 60
EIGENVALUES = np.r_[np.linspace(-1.0, 1.0, N - 3), 5.0, 20.0, -9.0]
A = symmetric(0, *EIGENVALUES)
START = np.random.default_rng(1).standard_normal(N)


def tridiagonal(state):
    return (
        np.diag(state.diagonal) + np.diag(state.off_diagonal, 1) + np.diag(state.off_diagonal, -1)
    )


def assert_same(state, other):
    """To the last bit."""
    for name in ("rows", "diagonal", "beside"):
        np.testing.assert_array_equal(getattr(state, name), getattr(other, name), strict=True)
    assert state.norm == other.norm


# --- what it is -----------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 10, 40])
def test_the_relation(steps):
    state = lanczos(DenseOperator(A), START, steps)
    V, T = state.vectors, tridiagonal(state)
    assert state.steps == state.n_matvec == steps
    assert state.status == "done"
    np.testing.assert_allclose(V[:, 0] * state.norm, START, atol=1e-14)
    np.testing.assert_allclose(V.T @ V, np.eye(steps), atol=1e-14)
    np.testing.assert_allclose(V.T @ state.next_vector, 0.0, atol=1e-14)
    last = np.eye(steps)[-1]
    rest = state.residual_norm * np.outer(state.next_vector, last)
    np.testing.assert_allclose(A @ V, V @ T + rest, atol=1e-13)
    np.testing.assert_allclose(state.ritz_values(), np.linalg.eigvalsh(V.T @ A @ V), atol=1e-13)


def test_ritz_pairs():
    state = lanczos(A, START, 30)
    values, vectors, residuals = state.ritz_pairs()
    measured = np.linalg.norm(A @ vectors - vectors * values, axis=0)
    np.testing.assert_allclose(residuals, measured, atol=1e-12)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(30), atol=1e-12)
    distance = np.abs(values[:, None] - EIGENVALUES).min(axis=1)
    assert np.all(distance <= residuals + 1e-12)
    np.testing.assert_allclose(values[-2:], [5.0, 20.0], rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_all_eigenvalues_of_an_invariant_space(dtype):
    state = lanczos(A.astype(dtype), START, 200)
    assert state.is_invariant
    assert state.status == "exact"
    assert state.steps == N
    assert not state.next_vector.any()
    tolerance = 1e3 * np.finfo(dtype).eps
    np.testing.assert_allclose(state.ritz_values(), np.sort(EIGENVALUES), atol=tolerance)


def test_orthogonality_where_outliers_have_converged():
    """No eigenvalue is found again: as many Ritz values lie near each as there are copies."""
    n = 1000
    outliers = np.array([10.0, 30.0, 100.0, -50.0, 300.0])
    eigenvalues = np.r_[outliers, np.random.default_rng(0).standard_normal(n - 5)]
    state = lanczos(diags_array(eigenvalues), steps=300, rng=0)
    V = state.vectors
    assert np.abs(V.T @ V - np.eye(300)).max() < 1e-12
    values = state.ritz_values()
    for outlier in outliers:
        assert np.count_nonzero(np.abs(values - outlier) < 1e-8 * 300.0) == 1


@pytest.mark.parametrize(
    ("eigenvalues", "steps"),
    [(np.zeros(5), 1), (np.ones(5), 1), ([3.0, 0, 0, 0, 0], 2), ([1.0, 1, 2, 2, 3], 3), ([4.0], 1)],
    ids=["zero", "identity", "rank one", "degenerate", "n = 1"],
)
def test_a_space_is_as_large_as_there_are_distinct_eigenvalues(eigenvalues, steps):
    state = lanczos(symmetric(3, *eigenvalues), rng=0)
    assert state.steps == steps
    assert state.is_invariant
    np.testing.assert_allclose(state.ritz_values(), np.unique(eigenvalues), atol=1e-13)
    again = lanczos(symmetric(3, *eigenvalues), state, 10)
    assert again.steps == steps
    assert again.status == "exact"


def test_sizes_beyond_squares():
    for size in (1e-200, 1e200):
        state = lanczos(size * np.diag([1.0, 2.0, 3.0]), np.full(3, size))
        np.testing.assert_allclose(state.ritz_values(), size * np.array([1.0, 2.0, 3.0]))


# --- going on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pause", [1, 2, 31, 32, 33, 59])
def test_it_goes_on_from_a_file_as_if_there_were_no_pause(pause, tmp_path):
    whole = lanczos(DenseOperator(A), START, 60)
    half = lanczos(DenseOperator(A), START, pause)
    half.save(tmp_path / "state")  # no suffix is added
    read = LanczosState.load(tmp_path / "state")
    assert_same(read, half)
    assert (read.n_matvec, read.status) == (half.n_matvec, half.status)
    rest = lanczos(DenseOperator(A), read, 60 - pause)
    assert_same(rest, whole)
    assert rest.n_matvec == whole.n_matvec + 1  # the test that it is the same operator
    assert_same(read, half)


def test_a_state_is_a_value():
    state = lanczos(A, START, 5)
    before = state.vectors.copy()
    lanczos(A, state, 50)
    np.testing.assert_array_equal(state.vectors, before)
    with pytest.raises(ValueError, match="read-only"):
        state.vectors[0, 0] = 1.0


def test_a_state_of_another_operator_is_refused():
    state = lanczos(A, START, 7)
    with pytest.raises(ValueError, match=r"LanczosState in 60 dimensions, expected 3, as A has"):
        lanczos(np.eye(3), state)
    with pytest.raises(ValueError, match="of another operator: the product with its last vector"):
        lanczos(A + 1e-3 * np.eye(N), state)
    single = lanczos(A.astype(np.float32), START, 7)
    assert lanczos(A.astype(np.float32), single, 2).steps == 9


def test_other_files_are_refused(tmp_path):
    for name, write in (
        ("other.npz", lambda path: np.savez(path, rows=np.eye(3))),
        ("other.npy", lambda path: np.save(path, np.eye(3))),
        ("other.txt", lambda path: path.write_text("rows")),
    ):
        path = tmp_path / name
        write(path)
        with pytest.raises(ValueError, match=rf"{name} holds no LanczosState, expected a file"):
            LanczosState.load(path)
    with pytest.raises(FileNotFoundError):
        LanczosState.load(tmp_path / "none")


# --- along the way --------------------------------------------------------------------------------


def test_callback_and_its_end():
    seen = []

    def stop(state):
        seen.append(state)
        if state.steps == 4:
            raise StopIteration

    state = lanczos(A, START, 20, callback=stop)
    assert state.status == "stopped"
    assert [one.steps for one in seen] == [1, 2, 3, 4]
    assert_same(lanczos(A, state, 16), lanczos(A, START, 20))


def test_an_interruption_leaves_the_steps_until_then():
    products = []

    def multiply(v):
        products.append(1)
        if len(products) == 8:
            raise KeyboardInterrupt
        return A @ v

    operator = LinearOperator((N, N), matvec=multiply, dtype=float)
    with pytest.warns(NotConvergedWarning, match="lanczos was interrupted after 7 products"):
        state = lanczos(operator, START, 20)
    assert state.steps == 5  # two products have tested the symmetry
    assert state.status == "interrupted"
    assert_same(lanczos(A, state, 15), lanczos(A, START, 20))


def test_progress(capsys):
    lanczos(A, START, 20, progress=True)
    assert "22/22" in capsys.readouterr().err


def test_the_start_is_reproducible():
    assert_same(lanczos(A, rng=3), lanczos(A, rng=np.random.default_rng(3)))
    with pytest.raises(AssertionError):
        assert_same(lanczos(A, rng=3), lanczos(A, rng=4))


def test_products_are_counted():
    own = DenseOperator(A)
    assert lanczos(own, START, 9).n_matvec == own.n_matvec == 9
    assert lanczos(aslinearoperator(A), START, 9).n_matvec == 11


def test_repr():
    shown = repr(lanczos(np.diag([1.0, 2.0]), np.ones(2)))
    assert shown == (
        "<LanczosState 2 steps in 2 dimensions, Ritz values from 1 to 2, 4 products, exact>"
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"v0": np.ones(3)},
            ValueError,
            r"v0 is float64 of shape \(3,\), expected real .* \(60,\)",
        ),
        ({"v0": 1j * np.ones(N)}, ValueError, "v0 is complex128"),
        ({"v0": np.zeros(N)}, ValueError, "v0 is zero, expected a finite vector"),
        ({"v0": np.full(N, np.nan)}, ValueError, "v0 is not finite, expected"),
        ({"steps": 0}, ValueError, "steps is 0, expected a whole number from 1"),
        ({"A": np.triu(A)}, ValueError, "A is not symmetric"),
        ({"A": "A"}, TypeError, "A is a str, expected a LinearOperator or a matrix"),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        lanczos(**({"A": A, "v0": START, "steps": 5} | arguments))


def test_a_product_that_is_not_finite():
    operator = LinearOperator((3, 3), matvec=lambda v: np.full(3, np.nan), dtype=float)
    space = KrylovSpace(operator, np.ones(3))
    with pytest.raises(NonFiniteError, match="A @ v is not finite, though v is"):
        space.extend()


# --- in lockstep ----------------------------------------------------------------------------------


def test_spaces_in_lockstep_are_those_by_themselves():
    """Also where one of them ends early."""
    own = DiagonalOperator(EIGENVALUES)
    units = np.eye(N)
    starts = [START, units[3] + units[9], units[5]]
    together = [KrylovSpace(own, v) for v in starts]
    counts = [extend_together(own, together) for _ in range(5)]
    assert counts == [3, 2, 1, 1, 1]
    for v, space in zip(starts, together, strict=True):
        alone = KrylovSpace(own, v)
        for _ in range(5):
            alone.extend()
        assert alone.steps == space.steps
        np.testing.assert_allclose(alone.diagonal, space.diagonal, atol=1e-13)
        np.testing.assert_allclose(alone.vectors, space.vectors, atol=1e-12)
    assert [space.is_invariant for space in together] == [False, True, True]
    for _ in range(N):
        extend_together(own, together)
    assert extend_together(own, together) == 0
