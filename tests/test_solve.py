"""Linear solves: every statement of a result, against dense NumPy.

`solved` checks them all, at every solve here: the residual, whether it is small enough, the
products, the history, the direction of negative curvature, and the warning.
"""

import pickle
import warnings
from collections import namedtuple

import autograd.numpy as anp
import case_functions as functions
import numpy as np
import pytest
import scipy.sparse.linalg
from cases import CASES, flat, normal, uniform
from scipy.sparse import coo_array, csr_array
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from structures import STRUCTURES, symmetric

from hessop import (
    DenseOperator,
    DiagonalOperator,
    NonFiniteError,
    hessian_operator,
    jacobian_operator,
    ntk_operator,
    solve,
)
from hessop._errors import NotConvergedError, NotConvergedWarning
from hessop.operators.base import BaseOperator
from hessop.operators.foreign import ForeignOperator
from hessop.solvers.systems import System
from hessop.solvers.verdicts import result_of

EPS = np.finfo(np.float64).eps
STATUSES = {
    "converged",
    "iteration limit",
    "inconsistent",
    "stagnated",
    "not positive definite",
    "breakdown",
    "stopped",
}
METHODS = ("cg", "minres", "gmres", "lgmres", "bicgstab", "lsmr")
SQUARE_METHODS = METHODS[:-1]


def method_of(*methods):
    return pytest.mark.parametrize("method", methods)


def length(v):
    """The norm of a vector whose squares may overflow."""
    size = np.abs(v).max(initial=0.0)
    return float(size * np.linalg.norm(v / size)) if size else 0.0


def spectral_norm(dense):
    size = np.abs(dense).max() or 1.0
    return float(size * np.linalg.norm(dense / size, 2))


class Counted(BaseOperator):
    """A matrix as an operator without a structure."""

    def __init__(self, matrix, dtype=np.float64):
        self.matrix = np.array(matrix, dtype=dtype)
        is_symmetric = self.matrix.shape[0] == self.matrix.shape[1]
        is_symmetric = is_symmetric and np.array_equal(self.matrix, self.matrix.T)
        super().__init__(dtype, self.matrix.shape, symmetric=is_symmetric)

    def _product(self, v):
        return self.matrix @ v

    def _adjoint_product(self, u):
        return self.matrix.T @ u


def solved(A, b, dense=None, **options):
    """Solve, and check all that the result states."""
    if dense is None:
        dense = A
    operator = Counted(A) if isinstance(A, np.ndarray) else A
    before = getattr(operator, "n_matvec", None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = solve(operator, b, **options)
    if before is not None:
        assert result.n_matvec == operator.n_matvec - before
    check(result, np.asarray(dense, dtype=np.float64), np.asarray(b, dtype=np.float64), **options)
    check_warning(result, caught)
    return result


def check_warning(result, caught):
    assert all(warning.category is NotConvergedWarning for warning in caught)
    assert len(caught) == (not result.converged and result.status != "stopped")
    for warning in caught:
        assert warning.filename == __file__
        assert result.reason in str(warning.message)


def check(result, dense, b, *, damping=0.0, x0=None, rtol=1e-8, atol=0.0, method="auto", **_):
    assert result.status in STATUSES
    assert result.converged is (result.status == "converged")
    assert result.x.dtype == np.float64
    assert result.x.shape == (dense.shape[1], *b.shape[1:])
    assert np.isfinite(result.x).all()
    assert not np.shares_memory(result.x, b)
    assert x0 is None or not np.shares_memory(result.x, x0)
    if b.ndim == 2:
        assert len(result.columns) == b.shape[1]
        assert result.converged == all(column.converged for column in result.columns)
        np.testing.assert_array_equal(result.x.T, [column.x for column in result.columns])
        norms = [column.residual_norm for column in result.columns]
        np.testing.assert_array_equal(result.residual_norm, norms)
        for j, column in enumerate(result.columns):
            start = None if x0 is None else x0[:, j]
            options = {"damping": damping, "rtol": rtol, "atol": atol, "method": method}
            check(column, dense, b[:, j], x0=start, **options)
        return
    scale = spectral_norm(dense)
    if dense.shape[0] == dense.shape[1]:
        dense = dense + damping * np.eye(len(dense))
        scale += abs(damping)
    elif damping:
        dense = np.vstack([dense, damping**0.5 * np.eye(dense.shape[1])])
        b = np.r_[b, np.zeros(dense.shape[1])]
        scale += damping**0.5
    check_residual(result, dense, b, max(rtol * length(b), atol), scale)
    check_history(result, dense, b, x0)
    if result.negative_curvature is not None:
        check_curvature(result.negative_curvature, dense)


def check_residual(result, dense, b, goal, scale):
    rounding = 20 * EPS * (scale * length(result.x) + length(b)) * len(b) ** 0.5
    residual = b - dense @ result.x
    assert abs(length(residual) - result.residual_norm) <= rounding
    if not result.converged:
        assert result.residual_norm > goal
    elif result.residual_norm > goal:
        assert result.method == "lsmr"
        normal = length(dense.T @ residual)
        assert normal <= (2.0 * goal / length(b) + 100 * EPS) * scale * length(residual) + rounding
        assert "least-squares" in result.reason


def check_history(result, dense, b, x0):
    assert result.history.ndim == 2
    products, norms = result.history.T
    assert (np.diff(products) >= 0).all()
    assert products[0] >= 0
    assert products[-1] <= result.n_matvec
    assert norms[-1] == result.residual_norm
    if x0 is not None and b.any():
        start = b - dense @ x0
        rounding = 20 * EPS * (spectral_norm(dense) * length(x0) + length(b))
        assert abs(norms[0] - length(start)) <= rounding
    else:
        assert norms[0] == pytest.approx(length(b), rel=1e-14)


def check_curvature(found, dense):
    size = spectral_norm(dense)
    eigenvalues = size * np.linalg.eigvalsh(dense / size)
    assert found.value < 0
    assert found.value >= eigenvalues[0] - 1e-13 * size
    assert eigenvalues[0] < -10 * EPS * size
    assert abs(np.linalg.norm(found.direction) - 1.0) < 1e-14 * len(dense)
    assert found.direction @ dense @ found.direction == pytest.approx(found.value, abs=1e-13 * size)


def relative_error(x, exact):
    return length(np.asarray(x) - exact) / length(exact)


# --- exact solutions ------------------------------------------------------------------------------


def well_conditioned(rows, dense, most):
    return [row for row in rows if np.linalg.cond(dense(row)) < most]


@pytest.mark.parametrize(
    "case",
    well_conditioned(CASES, lambda case: case.hessian(), 1e4),
    ids=lambda case: case.name,
)
def test_hessians_against_dense_solves(case):
    dense = case.hessian()
    H = hessian_operator(case.fun, case.x, args=case.args)
    b = normal(1, len(dense))
    result = solve(H, b, rtol=1e-9 / np.linalg.cond(dense))
    assert result.converged
    assert relative_error(result.x, np.linalg.solve(dense, b)) < 1e-8
    assert result.n_matvec == H.n_matvec
    w = np.linalg.eigvalsh(dense)
    if w[0] > 0:
        assert result.method == "cg"
        assert result.negative_curvature is None
    if result.negative_curvature is not None:
        check_curvature(result.negative_curvature, (dense + dense.T) / 2)


def square_rows(singular):
    return [
        row
        for row in STRUCTURES
        if row.dense().shape[0] == row.dense().shape[1]
        and (np.linalg.matrix_rank(row.dense(), tol=1e-12 * spectral_norm(row.dense()) or None)
             < len(row.dense())) == singular
    ]  # fmt: skip


@pytest.mark.parametrize("row", square_rows(singular=False), ids=lambda row: row.name)
def test_structures_against_dense_solves(row):
    A, dense = row.make(), row.dense()
    b = dense @ normal(2, len(dense))
    condition = np.linalg.cond(dense)
    single = row.dtype == np.float32
    with warnings.catch_warnings():
        if single:  # ten units in the last place may be too few
            warnings.simplefilter("ignore", NotConvergedWarning)
        result = solve(A, b, rtol=max(1e-10 / condition, 1e-15))
    tolerance = 100 * np.finfo(np.float32).eps * condition if single else 1e-8
    assert relative_error(result.x, normal(2, len(dense))) < tolerance
    assert result.n_matvec == A.n_matvec
    if row.is_structured:
        assert result.method == "inverse"
        assert result.n_matvec <= 3


@pytest.mark.parametrize("row", square_rows(singular=False), ids=lambda row: row.name)
def test_dampings_of_structures(row):
    A, dense = row.make(), row.dense()
    b = normal(3, len(dense))
    damping = 2.5 * spectral_norm(dense)
    result = solve(A, b, damping=damping, rtol=1e-9 if row.dtype == np.float64 else 1e-5)
    exact = np.linalg.solve(dense + damping * np.eye(len(dense)), b)
    assert relative_error(result.x, exact) < (1e-8 if row.dtype == np.float64 else 1e-4)
    has_inverse = row.is_structured and "no-damping" not in row.tags
    assert result.method == ("inverse" if has_inverse else "cg")


@pytest.mark.parametrize("row", square_rows(singular=True), ids=lambda row: row.name)
def test_singular_structures(row):
    A, dense = row.make(), row.dense()
    w, V = np.linalg.eigh(dense)
    null = V[:, np.argmin(np.abs(w))]
    solution = normal(4, len(dense))
    if dense.any():
        consistent = solve(A, dense @ solution, rtol=1e-5)
        assert consistent.converged
        tolerance = 2e-5 * length(dense @ solution)
        assert length(dense @ consistent.x - dense @ solution) < tolerance
    with pytest.warns(NotConvergedWarning, match="singular"):
        inconsistent = solve(A, dense @ solution + null, rtol=1e-5)
    assert inconsistent.status == "inconsistent"
    assert inconsistent.residual_norm == pytest.approx(1.0, rel=1e-3)
    if w[0] > -1e-12:
        assert inconsistent.negative_curvature is None


# --- methods --------------------------------------------------------------------------------------

POSITIVE = symmetric(10, *np.linspace(1.0, 10.0, 40))
INDEFINITE = symmetric(11, *np.linspace(-3.0, -0.5, 15), *np.linspace(0.5, 8.0, 25))
SKEWED = POSITIVE + 0.3 * normal(12, 40, 40)
B = normal(13, 40)


@method_of(*METHODS)
def test_methods_on_a_positive_definite_matrix(method):
    result = solved(POSITIVE, B, method=method, rtol=1e-11)
    assert result.converged
    assert result.method == method
    assert relative_error(result.x, np.linalg.solve(POSITIVE, B)) < 1e-9
    assert result.negative_curvature is None


@method_of("minres", "gmres", "lgmres", "bicgstab", "lsmr")
def test_methods_on_an_indefinite_matrix(method):
    result = solved(INDEFINITE, B, method=method, rtol=1e-10)
    assert result.converged
    assert relative_error(result.x, np.linalg.solve(INDEFINITE, B)) < 1e-8


@method_of("gmres", "lgmres", "bicgstab", "lsmr", "auto")
@pytest.mark.parametrize("make", [Counted, aslinearoperator, csr_array, np.asarray])
def test_methods_on_a_matrix_that_is_not_symmetric(method, make):
    result = solved(make(SKEWED), B, SKEWED, method=method, rtol=1e-10)
    assert result.converged
    assert result.method == ("gmres" if method == "auto" else method)
    assert relative_error(result.x, np.linalg.solve(SKEWED, B)) < 1e-8
    assert result.negative_curvature is None


def test_auto_takes_cg_until_it_is_not_enough():
    assert solved(POSITIVE, B).method == "cg"
    result = solved(INDEFINITE, B)
    assert result.converged
    assert result.method == "cg, minres"
    assert result.negative_curvature.value < -0.5


def test_auto_takes_as_many_products_as_cg():
    products = [0]

    def count(v):
        products[0] += 1
        return POSITIVE @ v

    operator = LinearOperator((40, 40), matvec=count, dtype=float)
    scipy.sparse.linalg.cg(operator, B, rtol=1e-8)
    assert solved(POSITIVE, B).n_matvec == products[0] + 1


@method_of("cg", "minres")
def test_methods_that_need_symmetry(method):
    with pytest.raises(ValueError, match=f"A is not symmetric, as {method} needs it"):
        solve(Counted(SKEWED), B, method=method)


@method_of(*SQUARE_METHODS)
def test_methods_that_need_a_square_matrix(method):
    with pytest.raises(ValueError, match=rf"\(40, 30\), and {method} needs a square one. Use 'lsm"):
        solve(SKEWED[:, :30], B, method=method)


def test_unknown_methods():
    with pytest.raises(ValueError, match="method is 'qmr', expected one of auto, cg, minres"):
        solve(POSITIVE, B, method="qmr")


@pytest.mark.parametrize("n", [1, 2, 3])
@method_of("auto", *METHODS)
def test_tiny_systems(n, method):
    A, b = POSITIVE[:n, :n], B[:n]
    result = solved(A, b, method=method, rtol=1e-12)
    assert result.converged
    assert relative_error(result.x, np.linalg.solve(A, b)) < 1e-10
    assert solved(-A, b, method="minres").converged


@method_of(*METHODS)
def test_clustered_eigenvalues_take_few_products(method):
    d = np.repeat([1.0, 3.0, 7.0], 30)
    result = solved(Counted(np.diag(d)), normal(14, 90), np.diag(d), method=method)
    assert result.converged
    assert result.n_matvec <= (20 if method == "lsmr" else 10)


def test_the_zero_right_hand_side():
    for x0 in (None, np.ones(40)):
        result = solved(POSITIVE, np.zeros(40), x0=x0)
        assert result.converged
        assert not result.x.any()
        assert result.method == "none"


# --- negative curvature ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
@method_of("auto", "cg", "minres", "gmres", "lgmres", "bicgstab", "lsmr")
def test_negative_curvature_is_true(seed, method):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 30))
    A = symmetric(seed, *rng.uniform(-1.0, 2.0, n))
    solved(A, rng.standard_normal(n), method=method)


@pytest.mark.parametrize("seed", range(20))
@method_of("auto", "cg", "minres", "gmres", "bicgstab", "lsmr")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rounding_is_no_negative_curvature(seed, method, dtype):
    rng = np.random.default_rng(100 + seed)
    n = int(rng.integers(2, 40))
    zeros = int(rng.integers(0, n))
    w = np.r_[np.zeros(zeros), 10.0 ** rng.uniform(-14, 2, n - zeros)]
    A = symmetric(seed, *w)
    V = np.linalg.eigh(A)[1]
    operator = Counted(A, dtype)
    sides = (V[:, 0], V[:, 0] + 1e-9 * V[:, -1], A @ rng.standard_normal(n), rng.standard_normal(n))
    for b in sides:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotConvergedWarning)
            result = solve(operator, b, method=method, maxiter=100)
        assert result.negative_curvature is None


@pytest.mark.parametrize("scale", [1e-200, 1e-150, 1.0, 1e150])
@pytest.mark.parametrize("damping", [0.3, -3.0])
def test_negative_curvature_of_a_damped_matrix(scale, damping):
    b = B[:20]
    A = scale * symmetric(20, *np.linspace(-1.0, 2.0, 20))
    result = solved(A, b, damping=scale * damping)
    assert result.converged
    assert result.negative_curvature is not None
    found = result.negative_curvature
    form = found.direction @ (A / scale) @ found.direction + damping
    assert form == pytest.approx(found.value / scale, rel=1e-12)
    assert solved(A, b, damping=1.5 * scale).negative_curvature is None


def test_a_damping_that_cancels_is_no_negative_curvature():
    # Rounding is relative to the damping, and not to what is left.
    for seed in range(10):
        A = -symmetric(seed, *np.ones(30))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotConvergedWarning)
            result = solve(Counted(A), normal(seed, 30), damping=1.0, maxiter=20)
        assert result.negative_curvature is None


@method_of("auto", "minres", "gmres", "lsmr")
def test_the_most_negative_curvature_is_kept(method):
    met = []

    class Watched(Counted):
        def _product(self, v):
            met.append(v @ self.matrix @ v / (v @ v))
            return super()._product(v)

    result = solve(Watched(INDEFINITE), B, method=method)
    assert result.negative_curvature.value == pytest.approx(min(met), rel=1e-12)


@pytest.mark.parametrize("mode", ["finite-difference", "finite-difference-forward"])
def test_errors_of_differences_are_no_negative_curvature(mode):
    for seed in range(5):
        J = normal(seed, 15, 30) * np.logspace(0, -3, 30)

        def fun(x, J=J):
            return anp.sum(anp.log(anp.cosh(anp.dot(J, x))))

        H = hessian_operator(fun, normal(23, 30), mode=mode)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotConvergedWarning)
            for b in (normal(24, 30), H @ normal(25, 30), np.linalg.svd(J)[2][-1]):
                assert solve(H, b, maxiter=60).negative_curvature is None
    saddle = hessian_operator(lambda x: x[0] ** 2 - x[1] ** 2, np.ones(2), mode=mode)
    result = solve(saddle, np.array([0.1, 1.0]), rtol=1e-4)
    assert result.negative_curvature.value < -1.0


def test_cg_ends_where_it_does_not_apply():
    result = solved(INDEFINITE, B, method="cg")
    assert result.status == "not positive definite"
    assert result.negative_curvature is not None
    assert "method='auto' or 'minres'" in result.reason
    semidefinite = np.diag([1.0, 2.0, 0.0])
    result = solved(semidefinite, np.ones(3), method="cg")
    assert result.status == "not positive definite"
    assert result.negative_curvature is None


def test_the_direction_does_not_change_with_x():
    result = solved(np.diag([1.0, -1.0]), np.array([0.0, 1.0]))
    np.testing.assert_allclose(np.abs(result.negative_curvature.direction), [0.0, 1.0])
    assert result.negative_curvature.value == -1.0


# --- singular systems -----------------------------------------------------------------------------


def spectra_with_zeros():
    rng = np.random.default_rng(0)
    yield np.r_[np.zeros(10), np.linspace(1.0, 10.0, 60)]
    yield np.r_[np.zeros(10), np.logspace(-3, 0, 50)]
    yield np.r_[np.zeros(30), np.linspace(-3.0, -0.1, 40), np.linspace(0.1, 5.0, 40)]
    yield np.r_[np.zeros(39), 1.0]  # rank one
    yield np.r_[np.zeros(39), -1.0]
    yield np.r_[np.zeros(1), np.ones(39)]
    for _ in range(10):
        n = int(rng.integers(2, 40))
        zeros = int(rng.integers(1, n))
        yield np.r_[
            np.zeros(zeros), rng.choice([-1, 1], n - zeros) * rng.uniform(0.1, 3, n - zeros)
        ]


SINGULAR = [symmetric(30 + i, *w) for i, w in enumerate(spectra_with_zeros())]
SINGULAR_IDS = [f"{len(A)}" for A in SINGULAR]


@pytest.mark.parametrize("A", SINGULAR, ids=SINGULAR_IDS)
@method_of("auto", "minres", "gmres", "lgmres", "bicgstab", "lsmr")
def test_singular_consistent_systems(A, method):
    b = A @ normal(31, len(A))
    result = solved(A, b, method=method, maxiter=3000)
    assert result.converged or method == "bicgstab"


@pytest.mark.parametrize("A", SINGULAR, ids=SINGULAR_IDS)
@method_of("auto", "minres")
def test_singular_inconsistent_systems_end_at_least_squares(A, method):
    b = normal(32, len(A))
    result = solved(A, b, method=method)
    assert result.status == "inconsistent"
    assert "singular or nearly so" in result.reason
    least = np.linalg.norm(b - A @ np.linalg.lstsq(A, b, rcond=1e-10)[0])
    assert result.residual_norm == pytest.approx(least, rel=1e-8)


@pytest.mark.parametrize("A", SINGULAR, ids=SINGULAR_IDS)
def test_lsmr_finds_the_shortest_least_squares_solution(A):
    b = normal(33, len(A))
    result = solved(A, b, method="lsmr", maxiter=3000)
    assert result.converged
    np.testing.assert_allclose(result.x, np.linalg.lstsq(A, b, rcond=1e-10)[0], atol=1e-3)


@pytest.mark.parametrize("A", SINGULAR, ids=SINGULAR_IDS)
@method_of("gmres", "lgmres", "bicgstab", "cg")
def test_other_methods_say_that_they_fail(A, method):
    result = solved(A, normal(34, len(A)), method=method, maxiter=300)
    assert not result.converged


@method_of("auto", *METHODS)
def test_the_zero_matrix(method):
    result = solved(np.zeros((6, 6)), B[:6], method=method)
    assert not result.x.any()
    assert result.residual_norm == pytest.approx(np.linalg.norm(B[:6]))
    assert result.status == {
        "auto": "inconsistent",
        "minres": "inconsistent",
        "lsmr": "converged",
        "cg": "not positive definite",
    }.get(method, result.status)
    assert solved(np.zeros((6, 6)), np.zeros(6), method=method).converged


@method_of("auto", "minres")
@pytest.mark.parametrize("which", range(5))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_right_hand_side_out_of_reach(method, which, sign):
    A = sign * symmetric(35, *np.zeros(5), *np.linspace(1.0, 2.0, 30))
    null = np.linalg.eigh(sign * A)[1][:, which]
    result = solved(A, null, method=method)
    assert result.status == "inconsistent"
    if sign > 0:
        assert result.negative_curvature is None
    np.testing.assert_allclose(result.x, 0.0, atol=1e-8)


def test_inconsistent_systems_of_operators_without_an_adjoint():
    A = SINGULAR[0]
    operator = LinearOperator(A.shape, matvec=lambda v: A @ v, dtype=float)
    assert solved(operator, normal(36, len(A)), A).status == "inconsistent"


# --- ill-conditioned systems ----------------------------------------------------------------------

ILL = {
    "logarithmic": np.logspace(-12, 0, 60),
    "one-small": np.r_[1e-12, np.linspace(1.0, 2.0, 59)],
    "one-large": np.r_[np.linspace(1.0, 2.0, 59), 1e12],
    "two-clusters": np.r_[np.linspace(1e-12, 2e-12, 30), np.linspace(1.0, 2.0, 30)],
    "both-signs": np.logspace(-12, 0, 60) * np.tile([-1, 1], 30),
    "small-negative": np.r_[-1e-12, np.linspace(1.0, 2.0, 59)],
}


@pytest.mark.parametrize("w", ILL.values(), ids=ILL)
@method_of("auto", *METHODS)
def test_ill_conditioned_systems_end_with_the_truth(w, method):
    A = symmetric(40, *w)
    for b in (normal(41, 60), A @ normal(42, 60)):
        result = solved(A, b, method=method)
        if result.status == "inconsistent":
            ratio = length(A @ (b - A @ result.x)) / result.residual_norm / np.abs(w).max()
            assert ratio < EPS**0.4


def test_one_large_eigenvalue_is_not_inconsistent():
    # Rounding is relative to it, and next to it all others are as good as zero.
    A, b = symmetric(40, *ILL["one-large"]), normal(41, 60)
    for method in ("auto", "cg", "minres", "gmres"):
        result = solved(A, b, method=method)
        assert result.status == "stagnated"
        assert result.residual_norm < 1e-4 * np.linalg.norm(b)
        assert "this is all that rounding allows" in result.reason


@pytest.mark.parametrize("exponent", [4, 5, 6])
def test_minres_does_not_end_as_early_as_that_of_scipy(exponent):
    A = symmetric(43, *np.logspace(-exponent, 0, 50) * np.tile([-1, 1], 25))
    x, info = scipy.sparse.linalg.minres(A, B0 := normal(44, 50))
    assert info == 0
    assert np.linalg.norm(B0 - A @ x) > 1e-2 * np.linalg.norm(B0)
    assert solved(A, B0, method="minres", maxiter=5000).converged


@method_of("cg", "bicgstab", "minres", "gmres", "lgmres")
def test_residuals_that_drift_away(method):
    x0 = 1e9 * normal(45, 40)
    if method in ("cg", "bicgstab"):
        x, info = getattr(scipy.sparse.linalg, method)(POSITIVE, B, x0, rtol=1e-12)
        assert info == 0
        assert np.linalg.norm(B - POSITIVE @ x) > 1e-10 * np.linalg.norm(B)
    assert solved(POSITIVE, B, x0=x0, method=method, rtol=1e-12).converged


def test_cg_does_not_succeed_on_an_indefinite_matrix():
    _, info = scipy.sparse.linalg.cg(INDEFINITE, B, maxiter=1000)
    assert info == 0  # which says nothing of the saddle
    assert not solved(INDEFINITE, B, method="cg", maxiter=1000).converged


@method_of("auto", *METHODS)
def test_single_precision(method):
    A = Counted(POSITIVE, np.float32)
    dense = A.matrix.astype(float)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = solve(A, B, method=method, rtol=1e-12)
    check_warning(result, caught)
    residual = np.linalg.norm(B - dense @ result.x)
    eps = np.finfo(np.float32).eps
    assert result.residual_norm == pytest.approx(residual, abs=20 * eps * np.linalg.norm(B))
    assert result.converged == (result.residual_norm <= 10 * eps * np.linalg.norm(B))
    assert relative_error(result.x, np.linalg.solve(POSITIVE, B)) < 1e-5
    assert result.negative_curvature is None


def test_methods_that_break_down():
    skew = np.array([[0.0, 1.0], [-1.0, 0.0]])
    result = solved(skew, np.array([1.0, 0.0]), method="bicgstab")
    assert result.status == "breakdown"
    assert "bicgstab has broken down" in result.reason


@method_of("cg", "bicgstab", "minres")
@pytest.mark.parametrize("scale", [1.0, 1e200])
def test_methods_that_do_not_apply(method, scale):
    # They are told that it is symmetric, and it is not.
    skew = normal(47, 40, 40)
    A = scale * (np.eye(40) + 100.0 * (skew - skew.T))
    with pytest.warns(NotConvergedWarning):
        result = solve(A, B, method=method, maxiter=500)
    assert np.isfinite(result.x).all()
    assert result.residual_norm == pytest.approx(np.linalg.norm(B - A @ result.x), rel=1e-6)


def test_a_tolerance_of_zero_ends():
    result = solved(POSITIVE, B, rtol=0.0)
    assert result.status == "stagnated"
    assert result.residual_norm < 1e-14 * np.linalg.norm(B)
    assert result.n_matvec < 200
    assert solved(np.eye(3), np.ones(3), rtol=0.0).residual_norm == 0.0
    with pytest.warns(NotConvergedWarning, match="all that rounding allows"):
        result = solve(DenseOperator(POSITIVE), B, rtol=0.0)
    assert result.method == "inverse"
    assert result.n_matvec < 10


# --- scales ---------------------------------------------------------------------------------------

SCALES = pytest.mark.parametrize(
    ("of_A", "of_b"),
    [(a, b) for a in (1e-150, 1e-20, 1.0, 1e20, 1e150) for b in (1e-150, 1e-20, 1.0, 1e150)]
    + [(1e-200, 1e-250), (1e200, 1.0), (1e-250, 1e50), (1e250, 1e200), (1.0, 1e-300)],
)


@SCALES
@method_of("auto", *METHODS)
def test_scales(of_A, of_b, method):
    A, b = of_A * POSITIVE[:12, :12], of_b * B[:12]
    result = solved(A, b, method=method)
    assert result.converged
    exact = np.linalg.solve(POSITIVE[:12, :12], B[:12])
    assert relative_error(result.x * of_A / of_b, exact) < 1e-6


@SCALES
@method_of("auto", "minres", "gmres", "lsmr")
def test_scales_of_indefinite_systems(of_A, of_b, method):
    A, b = of_A * INDEFINITE[:12, :12], of_b * B[:12]
    result = solved(A, b, method=method, M=None)
    assert result.converged
    if method == "auto":
        assert result.negative_curvature is not None


@pytest.mark.parametrize("of_A", [1e-150, 1e150])
def test_scales_of_inconsistent_systems(of_A):
    A = of_A * symmetric(50, *np.zeros(5), *np.linspace(1.0, 2.0, 20))
    assert solved(A, normal(51, 25)).status == "inconsistent"
    assert solved(A, A @ normal(51, 25)).converged


def test_scales_of_a_start():
    A, b = 1e150 * POSITIVE, 1e-30 * B
    x0 = 1e-180 * normal(52, 40)
    for method in METHODS:
        assert solved(A, b, x0=x0, method=method).converged


@pytest.mark.parametrize("scale", [1e-200, 1e200])
@method_of(*SQUARE_METHODS)
def test_scales_of_a_preconditioner(scale, method):
    result = solved(POSITIVE, B, method=method, M=scale * np.linalg.inv(POSITIVE + np.eye(40)))
    assert result.converged
    assert result.n_matvec < 25


def test_scales_of_structures():
    for scale in (1e-150, 1e150):
        d = scale * np.linspace(1.0, 2.0, 8)
        result = solved(DiagonalOperator(d), B[:8] / scale, np.diag(d), rtol=1e-14)
        assert result.method == "inverse"
        assert result.converged


def test_solutions_that_cannot_be_represented():
    with pytest.warns(NotConvergedWarning):
        result = solve(1e-200 * POSITIVE, 1e200 * B)
    assert not result.converged
    with pytest.warns(NotConvergedWarning):
        result = solve(DiagonalOperator(np.full(3, 1e-200)), np.full(3, 1e200))
    assert not result.converged
    with pytest.raises(ValueError, match="overflows"):
        solve(POSITIVE, np.full(40, 1e308))
    with pytest.raises(ValueError, match="overflows"):
        solve(1e200 * POSITIVE, B, x0=1e200 * B)


# --- preconditioners ------------------------------------------------------------------------------

SPREAD = np.diag(np.logspace(0, 5, 80)) + 0.1 * symmetric(60, *np.linspace(0.0, 1.0, 80))
NEAR = np.linalg.inv(np.diag(np.diag(SPREAD)))


@method_of("auto", *SQUARE_METHODS)
@pytest.mark.parametrize(
    "make", [np.asarray, aslinearoperator, csr_array, lambda M: DiagonalOperator(np.diag(M))]
)
def test_preconditioners_save_products(method, make):
    b = normal(61, 80)
    with_M = solved(SPREAD, b, method=method, M=make(NEAR))
    without = solved(SPREAD, b, method=method)
    assert with_M.converged
    assert with_M.n_matvec < without.n_matvec / 2


@method_of("gmres", "lgmres", "bicgstab", "auto")
def test_preconditioners_of_a_matrix_that_is_not_symmetric(method):
    M = np.linalg.inv(POSITIVE)
    assert solved(SKEWED, B, method=method, M=M).converged


@method_of("auto", "cg", "minres")
@pytest.mark.parametrize(
    "M",
    [-np.eye(40), np.zeros((40, 40)), np.diag(np.r_[-np.ones(39), 1.0]), -1e-200 * np.eye(40)],
    ids=["negative", "zero", "indefinite", "tiny"],
)
def test_preconditioners_that_are_not_positive_definite(method, M):
    with pytest.raises(ValueError, match="M is not positive definite: rᵀ M r is"):
        solve(POSITIVE, B, method=method, M=M)


@method_of("auto", "cg", "minres")
def test_a_preconditioner_that_is_singular_up_to_rounding(method):
    M = symmetric(62, *np.zeros(10), *np.ones(30))
    solved(POSITIVE, B, method=method, M=M)


@method_of("gmres", "lgmres", "bicgstab")
@pytest.mark.parametrize("M", [np.zeros((40, 40)), np.diag(np.r_[np.zeros(39), 1.0])])
def test_singular_preconditioners_break_methods_down(method, M):
    assert not solved(POSITIVE, B, method=method, M=M).converged


def test_preconditioners_that_do_not_fit():
    with pytest.raises(ValueError, match=r"M has shape \(3, 3\), expected \(40, 40\)"):
        solve(POSITIVE, B, M=np.eye(3))
    with pytest.raises(TypeError, match="M has dtype complex128, expected real"):
        solve(POSITIVE, B, M=1j * np.eye(40))
    with pytest.raises(TypeError, match="M is a str, expected a LinearOperator or a matrix"):
        solve(POSITIVE, B, M="jacobi")
    for A, method in ((POSITIVE, "lsmr"), (POSITIVE[:, :30], "auto")):
        with pytest.raises(ValueError, match="lsmr takes no preconditioner"):
            solve(A, B, M=np.eye(40), method=method)


@method_of(*SQUARE_METHODS)
def test_preconditioners_that_are_not_finite(method):
    M = LinearOperator((40, 40), matvec=lambda r: np.full(40, np.nan), dtype=float)
    with pytest.raises(NonFiniteError, match="M @ r has nan at entry 0"):
        solve(POSITIVE, B, method=method, M=M)


@method_of(*SQUARE_METHODS)
def test_preconditioners_may_keep_their_buffers(method):
    buffer = np.empty(40)

    def scaled(r):
        np.multiply(r, 0.5, out=buffer)
        return buffer

    for product in (scaled, lambda r: r):
        M = LinearOperator((40, 40), matvec=product, dtype=float)
        assert solved(POSITIVE, B, method=method, M=M).converged


# --- starts, limits and tolerances ----------------------------------------------------------------


@method_of("auto", *METHODS)
def test_starts(method):
    exact = np.linalg.solve(POSITIVE, B)
    result = solved(POSITIVE, B, x0=exact, method=method)
    assert result.converged
    assert result.method == "none"
    assert result.n_matvec == 1
    np.testing.assert_array_equal(result.x, exact)
    near = solved(POSITIVE, B, x0=exact + 1e-6 * B, method=method)
    assert near.converged
    assert near.n_matvec < solved(POSITIVE, B, method=method).n_matvec
    assert solved(POSITIVE, B, x0=np.zeros(40), method=method).converged


def test_a_start_in_the_null_space():
    A = np.diag([0.0, 1.0, 2.0])
    result = solved(A, np.array([0.0, 1.0, 1.0]), x0=np.array([5.0, 0.0, 0.0]))
    np.testing.assert_allclose(result.x, [5.0, 1.0, 0.5])


def test_a_start_for_a_structured_operator():
    d = np.linspace(1.0, 2.0, 5)
    result = solved(DiagonalOperator(d), np.ones(5), np.diag(d), x0=np.ones(5))
    assert result.method == "inverse"
    np.testing.assert_allclose(result.x, 1.0 / d, rtol=1e-14)


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 5, 11])
@method_of("auto", *METHODS)
def test_limits(limit, method):
    for A in (POSITIVE, INDEFINITE, SKEWED):
        if A is SKEWED and method in ("cg", "minres"):
            continue
        result = solved(A, B, method=method, maxiter=limit)
        assert not result.converged
        assert result.n_matvec <= limit + 5
        if A is not INDEFINITE:
            assert result.status == "iteration limit"
            assert f"after {limit} products" in result.reason or method in ("gmres", "lsmr", "auto")
        if limit == 0:
            assert not result.x.any()


@method_of("auto", *METHODS)
def test_limits_of_hard_systems(method):
    # Nothing is gained that would be worth another run.
    A = symmetric(76, *np.logspace(-5, 0, 60))
    for limit in (10, 25, 40):
        assert solved(A, normal(77, 60), method=method, maxiter=limit).status == "iteration limit"


@method_of("auto", *METHODS)
def test_limits_leave_what_was_found(method):
    before = np.linalg.norm(B)
    for limit in (6, 12, 24):
        result = solved(POSITIVE, B, method=method, maxiter=limit, rtol=1e-14)
        assert result.residual_norm < 0.7 * before
        before = result.residual_norm


def test_a_limit_within_a_cycle_of_gmres():
    A, b = np.diag(np.linspace(1.0, 100.0, 300)), normal(70, 300)
    few = solved(A, b, method="gmres", maxiter=30, rtol=1e-12)
    more = solved(A, b, method="gmres", maxiter=90, rtol=1e-12)
    assert few.status == more.status == "iteration limit"
    assert more.residual_norm < 1e-2 * few.residual_norm < 1e-2 * np.linalg.norm(b)
    assert few.n_matvec <= 33


def test_cg_at_its_limit_gives_its_last_iterate():
    # Its residuals go up at first, and its errors do not.
    A = symmetric(71, *np.logspace(-6, 0, 60))
    b = normal(72, 60)
    iterates = []
    result = solved(A, b, maxiter=20, callback=iterates.append)
    assert result.status == "iteration limit"
    assert result.residual_norm > np.linalg.norm(b)
    np.testing.assert_array_equal(result.x, iterates[-1])
    exact = np.linalg.solve(A, b)
    error = result.x - exact
    assert error @ A @ error < exact @ A @ exact


def test_atol():
    for atol in (1e-3, 10.0, 1e3):
        result = solved(POSITIVE, B, atol=atol)
        assert result.converged
        assert result.residual_norm <= atol
    assert result.n_matvec == 0


def test_the_larger_of_the_tolerances_counts():
    unit = B / np.linalg.norm(B)
    for residual, converged in ((0.9e-3, True), (1.1e-3, False), (1.9e-3, False)):
        x0 = np.linalg.solve(POSITIVE, (1.0 - residual) * unit)
        result = solved(POSITIVE, unit, x0=x0, rtol=1e-3, atol=1e-3, maxiter=0)
        assert result.converged is converged


@pytest.mark.parametrize("bad", [-1e-8, np.nan, np.inf, "1e-8", None, 1j])
def test_tolerances_that_are_not(bad):
    with pytest.raises(ValueError, match=r"rtol is .*, expected a number from 0"):
        solve(POSITIVE, B, rtol=bad)
    with pytest.raises(ValueError, match=r"atol is .*, expected a number from 0"):
        solve(POSITIVE, B, atol=bad)


@pytest.mark.parametrize("bad", [-1, 2.0, np.nan, "9"])
def test_limits_that_are_not(bad):
    with pytest.raises(ValueError, match=r"maxiter is .*, expected a whole number from 0"):
        solve(POSITIVE, B, maxiter=bad)


@pytest.mark.parametrize("bad", [np.nan, np.inf, "1", None, 1j, [1.0]])
def test_dampings_that_are_not(bad):
    with pytest.raises(ValueError, match=r"damping is .*, expected a finite real number"):
        solve(POSITIVE, B, damping=bad)


@method_of("auto", *METHODS)
@pytest.mark.parametrize("A", [POSITIVE, SKEWED], ids=["symmetric", "skewed"])
def test_dampings(A, method):
    if A is SKEWED and method in ("cg", "minres"):
        method = "auto"
    for damping in (0.7, np.float32(2.0), 3):
        result = solved(A, B, damping=damping, method=method)
        exact = np.linalg.solve(A + damping * np.eye(40), B)
        assert relative_error(result.x, exact) < 1e-6


# --- callbacks and progress -----------------------------------------------------------------------


@method_of(*SQUARE_METHODS)
def test_callbacks(method):
    iterates = []
    result = solved(POSITIVE, B, method=method, callback=iterates.append)
    assert iterates
    assert all(type(x) is np.ndarray and x.shape == (40,) for x in iterates)
    assert len({id(x) for x in iterates}) == len(iterates)
    residuals = [np.linalg.norm(B - POSITIVE @ x) for x in iterates]
    assert residuals[-1] <= 1.0001 * result.residual_norm or method == "lgmres"
    if method in ("cg", "minres"):
        assert len(set(residuals)) == len(residuals) > 10


def test_the_history_of_cg_is_that_of_its_residuals():
    iterates = []
    result = solved(SPREAD, normal(78, 80), method="cg", rtol=1e-6, callback=iterates.append)
    residuals = [np.linalg.norm(normal(78, 80) - SPREAD @ x) for x in iterates]
    np.testing.assert_allclose(result.history[1:, 1], residuals, rtol=1e-6)
    np.testing.assert_array_equal(result.history[:-1, 0], np.arange(len(iterates)))
    assert result.history[-1, 0] == len(iterates) + 1


@method_of(*SQUARE_METHODS)
def test_callbacks_that_write(method):
    def spoil(x):
        x[:] = np.nan

    result = solved(POSITIVE, B, method=method, callback=spoil)
    np.testing.assert_array_equal(result.x, solved(POSITIVE, B, method=method).x)


@method_of("auto", *SQUARE_METHODS)
@pytest.mark.parametrize("strict", [False, True])
def test_callbacks_that_stop(method, strict):
    seen = []

    def stop(x):
        seen.append(x)
        if len(seen) == 2:
            raise StopIteration

    A = np.diag(np.logspace(0, 4, 300))
    b = normal(73, 300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = solve(Counted(A), b, method=method, callback=stop, rtol=1e-13, strict=strict)
    assert result.status == "stopped"
    assert not result.converged
    assert "callback has stopped it" in result.reason
    assert len(seen) == 2
    np.testing.assert_array_equal(result.x, seen[-1])
    assert result.residual_norm == pytest.approx(np.linalg.norm(b - A @ result.x), rel=1e-10)


def test_callbacks_that_stop_a_block():
    def stop(x):
        raise StopIteration

    V = normal(74, 40, 3)
    result = solve(POSITIVE, V, callback=stop)
    assert result.status == "stopped"
    assert [column.status for column in result.columns] == ["stopped"] * 3
    assert not result.x[:, 1:].any()
    V[:, 1] = 0.0
    assert [column.converged for column in solve(POSITIVE, V, callback=stop).columns] == [0, 1, 0]


def test_a_block_that_is_stopped_is_not_at_fault():
    # Not even if a column before has failed, and by more.
    calls = []

    def stop_later(x):
        calls.append(x)
        if len(calls) > 4:
            raise StopIteration

    V = np.stack([1e3 * B, B], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = solve(Counted(POSITIVE), V, callback=stop_later, maxiter=4)
    assert [column.status for column in result.columns] == ["iteration limit", "stopped"]
    assert result.status == "stopped"


def test_callbacks_that_fail():
    def fail(x):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        solve(POSITIVE, B, callback=fail)


def test_progress(capsys):
    pytest.importorskip("tqdm")
    result = solve(Counted(POSITIVE), normal(75, 40, 2), progress=True)
    shown = capsys.readouterr().err
    assert "solve" in shown
    assert f"{result.n_matvec}product" in shown.replace(" ", "")


# --- blocks ---------------------------------------------------------------------------------------


@method_of("auto", *METHODS)
def test_blocks(method):
    V = normal(80, 40, 3)
    result = solved(POSITIVE, V, method=method, rtol=1e-10)
    assert result.converged
    assert relative_error(result.x, np.linalg.solve(POSITIVE, V)) < 1e-8
    assert result.n_matvec == sum(column.n_matvec for column in result.columns)
    assert (np.diff(result.history[:, 0]) >= 0).all()
    assert result.status == "converged"


def test_blocks_of_one_column():
    result = solved(POSITIVE, B[:, None])
    assert result.x.shape == (40, 1)
    assert result.residual_norm.shape == (1,)
    np.testing.assert_array_equal(result.x[:, 0], solved(POSITIVE, B).x)


def test_blocks_in_other_orders():
    V = normal(81, 4, 40).T  # in Fortran's order
    result = solved(POSITIVE, V)
    np.testing.assert_array_equal(result.x, solved(POSITIVE, V.copy()).x)
    np.testing.assert_array_equal(result.x[:, ::-1], solved(POSITIVE, V[:, ::-1]).x)


def test_blocks_with_starts():
    V = normal(82, 40, 2)
    exact = np.linalg.solve(POSITIVE, V)
    assert solved(POSITIVE, V, x0=exact).n_matvec == 2
    assert solved(POSITIVE, V, x0=np.ones((40, 2))).converged
    with pytest.raises(ValueError, match=r"x0 has shape \(40,\), expected \(40, 2\)"):
        solve(POSITIVE, V, x0=np.ones(40))


def test_blocks_that_fail_in_a_column():
    A = np.diag([0.0, 1.0, 2.0])
    V = np.array([[0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    result = solved(A, V)
    assert [column.converged for column in result.columns] == [True, False, True]
    assert not result.converged
    assert result.status == "inconsistent"
    assert result.reason.startswith("1 of 3 columns did not converge; the worst: ")


def test_the_worst_column_gives_the_reason():
    worse = 9.0 * normal(85, 40)
    for V in (np.stack([B, worse], axis=1), np.stack([worse, B], axis=1)):
        result = solved(POSITIVE, V, maxiter=3)
        worst = max(result.columns, key=lambda column: column.residual_norm)
        assert result.columns[0].reason != result.columns[1].reason
        assert result.reason == f"2 of 2 columns did not converge; the worst: {worst.reason}"


def test_blocks_of_an_indefinite_matrix():
    result = solved(INDEFINITE, normal(83, 40, 3))
    values = [column.negative_curvature.value for column in result.columns]
    assert result.negative_curvature.value == min(values)
    assert result.method == "cg, minres"


def test_blocks_of_a_structured_operator():
    d = np.linspace(-1.0, 2.0, 6)
    V = normal(84, 6, 4)
    result = solved(DiagonalOperator(d), V, np.diag(d))
    np.testing.assert_allclose(result.x, V / d[:, None], rtol=1e-14)
    assert result.method == "inverse"


# --- trees ----------------------------------------------------------------------------------------

Pair = namedtuple("Pair", "first second")


def cubes(tree):
    return sum(anp.sum(anp.exp(leaf) + leaf**2) for leaf in leaves(tree)) + 0.5 * total(tree) ** 2


def total(tree):
    return sum(anp.sum(leaf) for leaf in leaves(tree))


def leaves(tree):
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    if isinstance(tree, list | tuple):
        return [leaf for part in tree for leaf in leaves(part)]
    return [tree]


TREES = {
    "dict": {"w": normal(90, 3, 2), "b": normal(91, 2)},
    "nested": {"layers": [(normal(92, 2, 2), normal(93, 2)), (normal(94, 2), 0.3)], "scale": 0.5},
    "namedtuple": Pair(normal(95, 3), {"a": normal(96, 1, 1)}),
    "list": [normal(97, 3), normal(98, 3)],
    "list-of-columns": [normal(97, 1), normal(98, 1)],
    "list-of-numbers": [0.2, 0.4, 0.1],
    "matrix": normal(99, 3, 4),
    "row": normal(99, 1, 4),
    "number": 0.7,
    "zero-dimensional": np.array(0.7),
    "vector": normal(99, 5),
}


def mapped(function, tree):
    """The tree of what a function gives for the leaves."""
    if isinstance(tree, dict):
        return {key: mapped(function, part) for key, part in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(mapped(function, part) for part in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(mapped(function, part) for part in tree)
    return function(tree)


def assert_same_form(tree, like):
    assert type(tree) is type(like) or not isinstance(like, dict | list | tuple)
    if isinstance(like, dict):
        assert sorted(tree) == sorted(like)
        for key in like:
            assert_same_form(tree[key], like[key])
    elif isinstance(like, list | tuple):
        for part, other in zip(tree, like, strict=True):
            assert_same_form(part, other)
    else:
        assert np.shape(tree) == np.shape(like)


@pytest.mark.parametrize("x", TREES.values(), ids=TREES)
def test_trees(x):
    H = hessian_operator(cubes, x)
    dense = np.diag(np.exp(flat(x)) + 2.0) + 1.0
    b = mapped(lambda leaf: np.cos(leaf) + 1.0, x)
    result = solve(H, b, rtol=1e-12)
    exact = np.linalg.solve(dense, flat(b))
    assert_same_form(result.x, x)
    assert relative_error(flat(result.x), exact) < 1e-10
    assert isinstance(result.residual_norm, float)
    flat_result = solve(H, flat(b), rtol=1e-12)
    np.testing.assert_allclose(flat_result.x, flat(result.x), rtol=1e-13)
    assert flat_result.x.shape == (H.shape[0],)
    # A start in the same form, or flat.
    for start in (result.x, flat_result.x):
        for side in (b, flat(b)):
            assert solve(H, side, x0=start, rtol=1e-12).n_matvec == 1
    block = solve(H, np.stack([flat(b), 2 * flat(b)], axis=1), rtol=1e-12)
    np.testing.assert_allclose(block.x[:, 1], 2 * exact)


def test_the_direction_is_a_tree_as_well():
    def saddle(p):
        return anp.sum(p["u"] ** 2) - p["v"] ** 2

    H = hessian_operator(saddle, {"u": np.ones((2, 2)), "v": 2.0})
    result = solve(H, {"u": np.ones((2, 2)), "v": 3.0})
    direction = result.negative_curvature.direction
    assert_same_form(direction, {"u": np.ones((2, 2)), "v": 2.0})
    assert 2 * np.sum(direction["u"] ** 2) - 2 * direction["v"] ** 2 < 0


def test_trees_in_single_precision():
    x = {"w": np.ones((2, 2), np.float32), "b": np.zeros(3, np.float32)}
    result = solve(hessian_operator(cubes, x), x)
    assert result.x["w"].dtype == np.float32
    dense = np.diag(np.exp(flat(x)) + 2.0) + 1.0
    np.testing.assert_allclose(
        flat(result.x), np.linalg.solve(dense, flat(x)), rtol=1e-5, atol=1e-6
    )


def test_trees_that_do_not_fit():
    H = hessian_operator(cubes, TREES["dict"])
    with pytest.raises(ValueError, match="b has the structure"):
        solve(H, {"w": np.ones((3, 2))})
    with pytest.raises(ValueError, match=r"b\['w'\] has shape \(2, 3\), expected \(3, 2\)"):
        solve(H, {"w": np.ones((2, 3)), "b": np.ones(2)})
    with pytest.raises(ValueError, match="x0 has the structure"):
        solve(H, TREES["dict"], x0={"w": np.ones((3, 2))})
    with pytest.raises(NonFiniteError, match="b has nan at entry 0"):
        solve(H, {"w": np.ones((3, 2)), "b": np.full(2, np.nan)})
    with pytest.raises(TypeError, match="complex"):
        solve(H, {"w": np.ones((3, 2)), "b": np.ones(2) * 1j})
    with pytest.raises(TypeError, match="b is a dict, and A does not know"):
        solve(POSITIVE, {"w": B})
    with pytest.raises(TypeError, match="x0 is a dict, and A does not know"):
        solve(POSITIVE, B, x0={"w": B})
    matrix = hessian_operator(cubes, TREES["matrix"])
    with pytest.raises(ValueError, match=r"b has shape \(4, 3\), expected \(3, 4\)"):
        solve(matrix, np.ones((4, 3)))
    with pytest.raises((ValueError, TypeError), match="b "):
        solve(matrix, {"w": np.ones((4, 3))})


def model(p, features):
    return {"mean": anp.tanh(features @ p["w"] + p["b"]), "scale": anp.exp(p["b"])}


def test_jacobians_of_trees():
    p = {"w": 0.3 * normal(100, 4), "b": 0.2}
    J = jacobian_operator(model, p, args=(normal(101, 9, 4),))
    dense = J.to_dense()
    targets = {"mean": normal(102, 9), "scale": 0.7}
    result = solve(J, targets, rtol=1e-10)
    assert result.converged
    exact = np.linalg.lstsq(dense, flat(targets), rcond=None)[0]
    assert_same_form(result.x, p)
    assert relative_error(flat(result.x), exact) < 1e-8
    np.testing.assert_allclose(solve(J, flat(targets), rtol=1e-10).x, flat(result.x), rtol=1e-9)
    ridge = solve(J, targets, damping=0.5, x0=p, rtol=1e-10)
    exact = np.linalg.solve(dense.T @ dense + 0.5 * np.eye(5), dense.T @ flat(targets))
    assert relative_error(flat(ridge.x), exact) < 1e-8
    with pytest.raises(ValueError, match="b has the structure"):
        solve(J, p)


def test_jacobians_of_arrays():
    J = jacobian_operator(lambda x: anp.outer(x, x) + x, normal(103, 3))
    b = normal(104, 3, 3)
    result = solve(J, b)
    exact = np.linalg.lstsq(J.to_dense(), b.ravel(), rcond=None)[0]
    np.testing.assert_allclose(result.x, exact, rtol=1e-6)
    assert solve(J, normal(105, 9, 2)).x.shape == (3, 2)


def test_tangent_kernels():
    K = ntk_operator(lambda w: anp.tanh(anp.outer(w, w)[0]), normal(106, 3))
    b = K.to_dense() @ normal(107, 3)
    assert solve(K, b).converged


# --- least squares --------------------------------------------------------------------------------

TALL = normal(110, 30, 12)
RECTANGLES = {
    "tall": TALL,
    "wide": TALL.T,
    "rank": TALL @ np.diag(np.r_[np.zeros(4), np.ones(8)]),
    "ill": TALL @ np.diag(np.logspace(-5, 0, 12)),
    "column": TALL[:, :1],
    "row": TALL[:, :1].T,
}


@pytest.mark.parametrize("A", RECTANGLES.values(), ids=RECTANGLES)
@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_least_squares(A, scale):
    b = normal(111, len(A))
    result = solved(scale * A, b, maxiter=2000, rtol=1e-9)
    assert result.method == "lsmr"
    assert result.converged
    exact = np.linalg.lstsq(A, b, rcond=1e-12)[0]
    residual = b - A @ exact
    assert result.residual_norm == pytest.approx(
        np.linalg.norm(residual), abs=1e-7 * np.linalg.norm(b)
    )
    if A is not RECTANGLES["ill"]:
        assert relative_error(scale * result.x, exact) < 1e-6


@pytest.mark.parametrize("A", RECTANGLES.values(), ids=RECTANGLES)
@pytest.mark.parametrize("damping", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("start", [False, True])
def test_ridge_regression(A, damping, start):
    m, n = A.shape
    b = normal(112, m)
    x0 = np.linalg.lstsq(A, b, rcond=1e-12)[0] if start else None
    result = solved(A, b, damping=damping, x0=x0, rtol=1e-10, maxiter=2000)
    assert result.converged
    exact = np.linalg.solve(A.T @ A + damping * np.eye(n), A.T @ b)
    assert relative_error(result.x, exact) < 1e-6
    objective = np.linalg.norm(b - A @ exact) ** 2 + damping * np.linalg.norm(exact) ** 2
    assert result.residual_norm == pytest.approx(objective**0.5)


def test_ridge_regression_with_blocks():
    V = normal(113, 30, 2)
    result = solved(TALL, V, damping=2.0, rtol=1e-10)
    exact = np.linalg.solve(TALL.T @ TALL + 2.0 * np.eye(12), TALL.T @ V)
    assert relative_error(result.x, exact) < 1e-8


def test_penalties_are_not_negative():
    with pytest.raises(ValueError, match=r"damping is -1.0, expected a number from 0 for an A of"):
        solve(TALL, normal(114, 30), damping=-1)


@method_of("auto", "lsmr")
@pytest.mark.parametrize("damping", [0.0, 1.0])
def test_least_squares_without_an_adjoint(method, damping):
    A = LinearOperator((30, 12), matvec=lambda v: TALL @ v, dtype=float)
    with pytest.raises(TypeError, match=r"without an adjoint, which lsmr needs. Give its rmatvec"):
        solve(A, normal(115, 30), method=method, damping=damping)


def test_a_square_matrix_without_an_adjoint():
    A = LinearOperator((40, 40), matvec=lambda v: POSITIVE @ v, dtype=float)
    assert solve(A, B).converged
    with pytest.raises(TypeError, match="use method='gmres'"):
        solve(A, B, method="lsmr")


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("b", "message"),
    [
        (np.ones(39), r"b has shape \(39,\), expected \(40,\) or, for k columns, \(40, k\)"),
        (np.ones((1, 40)), r"b has shape \(1, 40\)"),
        (np.ones((40, 0)), r"b has shape \(40, 0\)"),
        (np.ones((40, 1, 1)), r"b has shape \(40, 1, 1\)"),
        (1.0, r"b has shape \(\)"),
        ([], r"b has shape \(0,\)"),
        (B * 1j, "b has dtype complex128, expected real numbers. Solve for its real and imagin"),
        (np.full(40, "a"), "b has dtype <U1, expected real numbers"),
        (np.full(40, None), "b has dtype object"),
        (["a", [1.0]], "b is not an array of numbers"),
        (np.r_[B[:-1], np.nan], r"b has nan at entry 39 \(1 of 40 entries are not finite\)"),
        (np.r_[-np.inf, B[1:]], "b has -inf at entry 0"),
        (csr_array(B[:, None]), "b is a csr_array, expected a dense array"),
        (np.ma.masked_array(B, B > 0), "b is a MaskedArray, expected a dense array"),
    ],
)
def test_right_hand_sides_that_are_not(b, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        solve(POSITIVE, b)


@pytest.mark.parametrize(
    ("x0", "message"),
    [
        (np.ones(39), r"x0 has shape \(39,\), expected \(40,\)"),
        (np.ones((40, 1)), r"x0 has shape \(40, 1\), expected \(40,\)"),
        (B * 1j, "x0 has dtype complex128"),
        (np.r_[B[:-1], np.nan], "x0 has nan at entry 39"),
        ("Mb", "x0 has dtype <U2"),
    ],
)
def test_starts_that_are_not(x0, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        solve(POSITIVE, B, x0=x0)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize(
    "b",
    [
        np.arange(40),
        np.arange(40, dtype=np.int8),
        list(range(40)),
        tuple(range(40)),
        np.arange(40) > 20,
        np.arange(40, dtype=np.float32),
        np.arange(40, dtype=np.longdouble),
        np.arange(80.0)[::2],
        np.arange(40.0).astype(">f8"),
        np.matrix(np.arange(40.0)).T,
    ],
    ids=lambda b: f"{type(b).__name__}-{getattr(b, 'dtype', '')}",
)
def test_right_hand_sides_of_other_kinds(b):
    result = solved(POSITIVE, b)
    exact = np.linalg.solve(POSITIVE, np.asarray(b, dtype=float))
    assert relative_error(result.x, exact) < 1e-6


@pytest.mark.parametrize(
    ("A", "message"),
    [
        ("A", "A is a str, expected a LinearOperator or a matrix"),
        (None, "A is a NoneType"),
        (2.0, "A is a float"),
        ([[2.0]], "A is a list"),
        (lambda v: v, "A is a function"),
        (1j * np.eye(3), "A has dtype complex128, expected real numbers"),
        (np.full((3, 3), "a"), "A has dtype <U1, expected real numbers"),
        (np.ones(3), r"A has shape \(3,\), expected \(m, n\)"),
        (np.ones((3, 3, 3)), "A has shape"),
        (np.ones((0, 0)), r"A has shape \(0, 0\), expected \(m, n\), and at least one entry"),
        (np.ones((3, 0)), r"A has shape \(3, 0\)"),
    ],
)
def test_matrices_that_are_not(A, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        solve(A, np.ones(3))


@pytest.mark.parametrize("make", [
    np.asarray, np.asfortranarray, np.matrix, csr_array, coo_array, aslinearoperator, Counted,
    lambda A: ForeignOperator(aslinearoperator(A)),
    lambda A: aslinearoperator(A.astype(np.longdouble)),
])  # fmt: skip
@method_of("auto", "minres", "lsmr")
@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_matrices_of_other_kinds(make, method):
    result = solved(make(POSITIVE), B, POSITIVE, method=method)
    assert relative_error(result.x, np.linalg.solve(POSITIVE, B)) < 1e-6
    assert result.x.shape == (40,)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.bool_, np.uint16])
def test_matrices_of_integers(dtype):
    A = (np.eye(5) + np.eye(5)[::-1] > 0).astype(dtype)
    b = A.astype(float) @ np.arange(5.0)
    for matrix in (A, csr_array(A), aslinearoperator(A)):
        assert solve(matrix, b).converged


def test_an_operator_without_a_dtype():
    A = aslinearoperator(POSITIVE)
    A.dtype = None
    for method in ("auto", *METHODS):
        assert solved(A, B, POSITIVE, method=method).converged


def test_an_operator_that_returns_columns():
    class Columns(LinearOperator):
        def __init__(self):
            super().__init__(np.dtype(float), (40, 40))

        def _matvec(self, x):
            return (POSITIVE @ x.reshape(-1)).reshape(-1, 1)

        def _adjoint(self):
            return self

    for method in ("auto", *METHODS):
        assert solved(Columns(), B, POSITIVE, method=method).converged


@method_of("auto", *METHODS)
def test_an_operator_may_keep_its_buffer(method):
    buffer = np.empty(40)

    def product(v):
        return np.matmul(POSITIVE, v, out=buffer)

    A = LinearOperator((40, 40), matvec=product, rmatvec=product, dtype=float)
    assert solved(A, B, POSITIVE, method=method).converged
    identity = LinearOperator((40, 40), matvec=lambda v: v, rmatvec=lambda v: v, dtype=float)
    np.testing.assert_allclose(solved(identity, B, np.eye(40), method=method).x, B, rtol=1e-7)


@method_of("auto", *METHODS)
@pytest.mark.parametrize("after", [0, 1, 4])
def test_an_operator_that_is_not_finite(method, after):
    products = []

    def product(v):
        products.append(v)
        return POSITIVE @ v if len(products) <= after else np.full(40, np.nan)

    A = LinearOperator((40, 40), matvec=product, rmatvec=product, dtype=float)
    with pytest.raises(NonFiniteError, match="A @ v has nan at entry 0"):
        solve(A, B, method=method, rtol=1e-12)


@method_of("auto", *METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_matrices_that_are_not_finite(method, bad):
    A = POSITIVE.copy()
    A[3, 3] = bad
    with pytest.raises(NonFiniteError, match="A @ v has"):
        solve(A, B, method=method)


def test_errors_of_an_operator_come_through():
    def fail(v):
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        solve(LinearOperator((40, 40), matvec=fail, dtype=float), B)


# --- symmetry -------------------------------------------------------------------------------------


def test_symmetry_of_other_operators_is_found_by_two_products():
    products = []

    def product(v):
        products.append(1)
        return POSITIVE @ v

    A = LinearOperator((40, 40), matvec=product, dtype=float)
    result = solve(A, B)
    assert result.method == "cg"
    assert result.n_matvec == len(products) == solve(Counted(POSITIVE), B).n_matvec + 2
    assert result.history[0, 0] == 2
    products.clear()
    assert solve(A, B, method="cg").n_matvec == len(products)


# --- failures -------------------------------------------------------------------------------------


def test_strict():
    with pytest.raises(
        NotConvergedError, match=r"solve \(cg\) did not converge: the residual"
    ) as e:
        solve(Counted(POSITIVE), B, maxiter=3, strict=True)
    result = e.value.result
    assert result.status == "iteration limit"
    check(result, POSITIVE, B)
    copy = pickle.loads(pickle.dumps(e.value))
    assert str(copy) == str(e.value)
    np.testing.assert_array_equal(copy.result.x, result.x)
    assert copy.result.reason == result.reason
    assert solve(Counted(POSITIVE), B, strict=True).converged


def test_results_pickle():
    for b in (B, normal(120, 40, 2)):
        result = solve(Counted(INDEFINITE), b)
        copy = pickle.loads(pickle.dumps(result))
        np.testing.assert_array_equal(copy.x, result.x)
        assert copy.negative_curvature.value == result.negative_curvature.value


def test_results_are_short_in_print():
    text = repr(solve(Counted(INDEFINITE), B))
    assert "SolveResult converged by cg, minres" in text
    assert len(text) < 300


def test_reasons_say_what_to_try():
    limited = solved(POSITIVE, B, maxiter=3)
    assert "after 3 products. Give a preconditioner M" in limited.reason
    assert f"the residual is {limited.residual_norm / np.linalg.norm(B):.1e} of b" in limited.reason
    assert "asked for were 1.0e-08" in limited.reason


# --- what was given stays -------------------------------------------------------------------------


@method_of("auto", *METHODS)
def test_nothing_given_is_changed(method):
    given = {
        "A": POSITIVE.copy(),
        "b": normal(130, 40, 2),
        "x0": normal(131, 40, 2),
        "M": np.linalg.inv(POSITIVE),
    }
    kept = {name: array.copy() for name, array in given.items()}
    M = {} if method == "lsmr" else {"M": given["M"]}
    for array in given.values():
        array.flags.writeable = False
    result = solve(given["A"], given["b"], x0=given["x0"], method=method, **M)
    result.x[:] = 1.0
    result.history[:] = 1.0
    for name, array in given.items():
        np.testing.assert_array_equal(array, kept[name])


@method_of("auto", *METHODS)
def test_arguments_of_products_stay(method):
    seen = []

    def product(v):
        seen.append((v, v.copy()))
        return POSITIVE @ v

    A = LinearOperator((40, 40), matvec=product, rmatvec=product, dtype=float)
    x = solve(A, B, method=method).x
    assert not any(np.shares_memory(x, v) for v, _ in seen)


def test_results_do_not_depend_on_each_other():
    H = Counted(INDEFINITE)
    first = solve(H, B)
    kept = first.x.copy(), first.negative_curvature.direction.copy()
    solve(H, 2 * B)
    np.testing.assert_array_equal(first.x, kept[0])
    np.testing.assert_array_equal(first.negative_curvature.direction, kept[1])


def test_solutions_are_the_same_each_time():
    for method in ("auto", *METHODS):
        for A in (POSITIVE, INDEFINITE):
            if method == "cg" and A is INDEFINITE:
                continue
            x = solve(Counted(A), B, method=method).x
            np.testing.assert_array_equal(solve(Counted(A), B, method=method).x, x)


def test_the_settings_of_numpy_stay():
    def check_settings(x):
        raise StopIteration

    with np.errstate(over="raise", divide="print"):
        before = np.geterr()
        solve(Counted(POSITIVE), B, callback=check_settings)
        solve(Counted(POSITIVE), B)
        assert np.geterr() == before


# --- a Newton step of a network -------------------------------------------------------------------


def test_newton_steps_go_down():
    x = uniform(140, -1.0, 1.0, 10)
    H = hessian_operator(functions.rosenbrock, x)
    for damping in (0.0, 10.0):
        result = solve(H, -H.gradient, damping=damping)
        dense = functions.rosenbrock_hessian(x) + damping * np.eye(10)
        assert relative_error(result.x, np.linalg.solve(dense, -H.gradient)) < 1e-5


# --- what is measured -----------------------------------------------------------------------------


def system(A, b, x0, target):
    return System(Counted(A), b, damping=0.0, symmetric=True, x0=x0, target=target, limit=10)


def test_what_counts_as_inconsistent():
    for eigenvalue, status in ((1e-8, "inconsistent"), (1e-4, "stagnated")):
        problem = system(np.diag([1.0, eigenvalue]), np.array([0.0, 1.0]), np.zeros(2), 1e-8)
        problem.measure(np.array([1.0, 0.0]))
        assert result_of(problem, "stagnated", "minres").status == status
        assert result_of(problem, "iteration limit", "minres").status == "iteration limit"


def test_iterates_that_are_not_finite_are_not_kept():
    problem = system(np.eye(2), np.ones(2), np.zeros(2), 0.0)
    for bad in (np.nan, np.inf):
        assert problem.measure(np.array([bad, 1.0]), keep=True) == np.inf
    np.testing.assert_array_equal(problem.x, 0.0)
    assert problem.spent == 0


def test_what_is_solved_is_kept():
    # Though the residual is hardly smaller, and less of it lies in what A shrinks.
    A, b = np.diag([1.0, 1e-3]), np.array([0.0, 1.0])
    problem = system(A, b, np.array([0.0, 1e-9]), 1.0 - 1e-6)
    assert not problem.is_solved()
    problem.measure(np.array([1e-4, 1e-2]))
    assert problem.is_solved()


def test_of_residuals_that_are_alike_the_one_of_least_squares_is_kept():
    A, b = np.diag([1.0, 1e-15]), np.ones(2)
    problem = system(A, b, np.array([1.0 + 1e-6, 0.0]), 0.0)
    problem.measure(np.array([1.0, 0.0]))
    np.testing.assert_array_equal(problem.x, [1.0, 0.0])
    problem.measure(np.array([1.0 + 1e-7, 1e11]))  # smaller by a ten-thousandth
    np.testing.assert_array_equal(problem.x, [1.0, 0.0])


def test_an_operator_that_is_not_symmetric_is_named_when_cg_fails():
    A = np.triu(np.random.default_rng(0).standard_normal((20, 20)))
    with pytest.warns(NotConvergedWarning, match=r"A is not symmetric, as cg and minres need it"):
        solve(A, np.ones(20), method="cg")


def test_results_are_compared_by_identity():
    result = solve(np.eye(3), np.ones(3))
    assert result == result
    assert result != solve(np.eye(3), np.ones(3))
    assert hash(result)
