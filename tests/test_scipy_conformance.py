"""SciPy's own tests, applied to hessop's operators in place of matrices.

SciPy's wheels ship their tests. Those of ARPACK and of the iterative solvers run here unchanged, on
operators; those of `LinearOperator` are mirrored, because they make their operators themselves.
"""

import copy
import gc
import importlib
import inspect
import operator
import pickle
import weakref
from contextlib import contextmanager
from functools import wraps
from unittest import mock

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.sparse import csr_array, issparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from hessop import HessianOperator, JacobianOperator, hessian_operator, jacobian_operator


class _SciPysMarks:
    """pytest.mark, with marks of SciPy's own that --strict-markers would refuse."""

    def __init__(self, marks):
        self._marks = marks

    def __getattr__(self, name):
        try:
            return getattr(self._marks, name)
        except pytest.fail.Exception:
            return self._marks.skipif(False, reason="a mark that does nothing")


@contextmanager
def undisturbed():
    """Run code of SciPy's tests, some of which seeds NumPy's global generator."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def scipys_tests(name):
    """A test module of the installed SciPy; the module that asks is skipped if there is none."""
    with undisturbed(), mock.patch.object(pytest, "mark", _SciPysMarks(pytest.mark)):
        try:
            return importlib.import_module(name)
        except ImportError as error:
            pytest.skip(f"this SciPy comes without {name}: {error}", allow_module_level=True)


def call(test, **available):
    """Run a test function of SciPy's with those arguments that it takes in this version."""
    # From 1.18 the tests of solvers are written for any array library, and for batches.
    available |= {"xp": np, "batch_A": (), "batch_b": ()}
    with undisturbed():
        return test(**{name: available[name] for name in inspect.signature(test).parameters})


arpack_tests = scipys_tests("scipy.sparse.linalg._eigen.arpack.tests.test_arpack")
solver_tests = scipys_tests("scipy.sparse.linalg._isolve.tests.test_iterative")


# --- a matrix as an operator of ours --------------------------------------------------------------


def half_quadratic(x, A):
    return anp.dot(x, anp.dot(A, x)) / 2


def linear(x, A):
    return anp.dot(A, x)


def ours(A):
    """A real matrix as a HessianOperator where it is symmetric, else as a JacobianOperator."""
    A = A.toarray() if issparse(A) else np.asarray(A)
    assert A.dtype.kind in "if", "hessop has no complex operators"
    x = np.ones(A.shape[1], dtype=np.float32 if A.dtype == np.float32 else np.float64)
    if A.shape[0] == A.shape[1] and np.array_equal(A, A.T):
        op = hessian_operator(half_quadratic, x, args=(A,))
    else:
        op = jacobian_operator(linear, x, args=(A,))
    assert op.dtype == x.dtype
    op.toarray = op.to_dense  # the name by which SciPy's preconditioner tests ask for the entries
    return op


# --- eigsh, eigs ----------------------------------------------------------------------------------

MODES = [(None, "normal"), (0.5, "normal"), (0.5, "buckling"), (0.5, "cayley")]
PROBLEMS = {D.name: D for D in arpack_tests.SymmetricParams().real_test_cases}
NONSYMMETRIC = {D.name: D for D in arpack_tests.NonSymmetricParams().real_test_cases}


def eval_evec(symmetric, D, typ, k, which, **kwargs):
    # The random start has been an argument since 1.17 only.
    if "rng" in inspect.signature(arpack_tests.eval_evec).parameters:
        kwargs["rng"] = np.random.default_rng(1749531508689996)
    with undisturbed():
        np.random.seed(0)  # noqa: NPY002
        arpack_tests.eval_evec(symmetric, D, typ, k, which, **kwargs)


@pytest.fixture
def as_operator(monkeypatch):
    """`ours`, with the tolerances that SciPy grants single precision operators."""
    monkeypatch.setattr(arpack_tests, "aslinearoperator", ours)
    return ours


@pytest.mark.parametrize(("sigma", "mode"), MODES)
@pytest.mark.parametrize("which", ["LM", "SM", "LA", "SA", "BE"])
@pytest.mark.parametrize("typ", ["f", "d"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_eigsh(name, typ, which, sigma, mode, as_operator):
    eval_evec(True, PROBLEMS[name], typ, 2, which, sigma=sigma, mattype=as_operator, mode=mode)


@pytest.mark.parametrize(("sigma", "mode"), MODES)
@pytest.mark.parametrize("which", ["LM", "SM", "LA", "SA", "BE"])
@pytest.mark.parametrize("typ", ["f", "d"])
def test_eigsh_with_a_plain_mass_matrix(typ, which, sigma, mode, as_operator, monkeypatch):
    D = PROBLEMS["gen-symmetric"]

    def only_A(matrix):
        return ours(matrix) if np.array_equal(matrix, D["mat"].astype(typ)) else matrix

    monkeypatch.setattr(arpack_tests, "aslinearoperator", only_A)
    eval_evec(True, D, typ, 2, which, sigma=sigma, mattype=only_A, mode=mode)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("typ", ["f", "d"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_eigsh_starting_vector(name, typ, k, as_operator):
    v0 = np.random.default_rng(1749532110418901).uniform(size=6).astype(typ)
    eval_evec(True, PROBLEMS[name], typ, k, "LM", v0=v0, mattype=as_operator)


@pytest.mark.parametrize(
    ("sigma", "part"), [(None, None), (0.1, "r"), (0.1 + 0.1j, "r"), (0.1 + 0.1j, "i")]
)
@pytest.mark.parametrize("which", ["LM", "LR", "LI"])
@pytest.mark.parametrize("typ", ["f", "d"])
@pytest.mark.parametrize("name", NONSYMMETRIC)
def test_eigs(name, typ, which, sigma, part, as_operator):
    D = NONSYMMETRIC[name]
    eval_evec(False, D, typ, 2, which, sigma=sigma, mattype=as_operator, OPpart=part)


# --- the iterative solvers ------------------------------------------------------------------------

SMALL = 50
NEEDS_A_NUMBER = pytest.mark.xfail(
    raises=(TypeError, ValueError),
    reason="for gmres the callback of SciPy's test multiplies A by a scalar, as only a matrix can",
)


def solver_cases(test):
    """SciPy's real double precision cases, with A as an operator of ours."""
    cases = []
    for case in solver_tests.cases:
        if case.A.dtype != np.float64 or case.A.shape[0] > SMALL:
            continue
        case = copy.copy(case)
        case.A = ours(case.A)
        # Before 1.18, two tests look at these attributes of a case for all solvers.
        case.casename = case.name.removesuffix(f"-{case.solver.__name__}")
        case.skip = [solver for solver in solver_tests._SOLVERS if solver is not case.solver]
        broken = test == "test_maxiter" and case.solver is solver_tests.gmres and case.convergence
        marks = [NEEDS_A_NUMBER] if broken else []
        cases.append(pytest.param(case, id=case.name, marks=marks))
    return cases


@pytest.mark.parametrize("case", solver_cases("test_maxiter"))
def test_solver_maxiter(case):
    call(solver_tests.test_maxiter, case=case)


@pytest.mark.parametrize("test", ["test_convergence", "test_precond_dummy", "test_x0_equals_Mb"])
@pytest.mark.parametrize("case", solver_cases(""))
def test_solver(case, test):
    call(getattr(solver_tests, test), case=case)


@pytest.mark.parametrize("case", [p for p in solver_cases("") if p.id.startswith("poisson1d-")])
def test_solver_precond_inverse(case):
    call(solver_tests.test_precond_inverse, case=case)


@pytest.mark.parametrize("case", [p for p in solver_cases("") if p.id.endswith("-tfqmr")])
def test_solver_show(case, capsys):
    case = copy.copy(case)
    case.name = case.casename
    call(solver_tests.test_show, case=case, capsys=capsys)


@pytest.fixture
def solvers_of_ours(monkeypatch):
    """Every solver that SciPy's tests call by name gets its matrix as an operator of ours."""

    def with_operator(solver):
        @wraps(solver)
        def solve(A, b, *args, **kwargs):
            return solver(ours(A), b, *args, **kwargs)

        return solve

    # Under the names in that module, because the tests compare `solver is minres` and the like.
    solvers = {s.__name__: with_operator(s) for s in solver_tests._SOLVERS}
    for name, solver in solvers.items():
        monkeypatch.setattr(solver_tests, name, solver)
    return solvers


@pytest.mark.parametrize(
    "test",
    # Without test_maxiter_worsening, whose matrix is complex, and test_nD, of operators in 3-d.
    [
        "test_atol",
        "test_zero_rhs",
        "test_x0_working",
        "test_x0_solves_problem_exactly",
        "test_positional_error",
    ],
)
@pytest.mark.parametrize("name", [solver.__name__ for solver in solver_tests._SOLVERS])
def test_solver_on_its_own(name, test, solvers_of_ours):
    call(getattr(solver_tests, test), solver=solvers_of_ours[name])


@pytest.mark.parametrize("atol", ["legacy", None, -1])
@pytest.mark.parametrize("name", [solver.__name__ for solver in solver_tests._SOLVERS])
def test_solver_invalid_atol(name, atol, solvers_of_ours):
    call(solver_tests.test_invalid_atol, solver=solvers_of_ours[name], atol=atol)


@pytest.mark.filterwarnings("ignore:.*called without specifying `callback_type`:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
@pytest.mark.parametrize(
    "test",
    # Without TestGMRES.test_abi, whose matrix is complex.
    [
        "TestQMR.test_leftright_precond",
        "TestGMRES.test_basic",
        "TestGMRES.test_callback",
        "TestGMRES.test_atol_legacy",
        "TestGMRES.test_defective_precond_breakdown",
        "TestGMRES.test_defective_matrix_breakdown",
        "TestGMRES.test_callback_type",
        "TestGMRES.test_callback_x_monotonic",
    ],
)
def test_one_solver(test, solvers_of_ours):
    group, name = test.split(".")
    call(getattr(getattr(solver_tests, group)(), name))


# --- LinearOperator's own tests, mirrored ---------------------------------------------------------

N, M = 6, 4
MATRIX = np.random.default_rng(0).standard_normal((N, N))
SYMMETRIC = MATRIX + MATRIX.T


def energy(x, A):
    return half_quadratic(x, A) + anp.sum(x**4) / 12


def model(x, A):
    return anp.dot(A, x**2) / 2


def hessian_with_matrix(dtype):
    x, A = np.linspace(0.5, 1.5, N, dtype=dtype), SYMMETRIC.astype(dtype)
    return hessian_operator(energy, x, args=(A,)), A + np.diag(x**2)


def jacobian_with_matrix(dtype):
    x, A = np.linspace(0.5, 1.5, N, dtype=dtype), MATRIX[:M].astype(dtype)
    return jacobian_operator(model, x, args=(A,)), A * x


def block_with_matrix(make, rows, cols):
    def block(dtype):
        op, matrix = make(dtype)
        return op.block(rows, cols), matrix[rows][:, cols]

    return block


MAKERS = {
    "hessian": hessian_with_matrix,
    "jacobian": jacobian_with_matrix,
    "block": block_with_matrix(hessian_with_matrix, [4, 0, 2, 1], [3, 5]),
    "symmetric block": block_with_matrix(hessian_with_matrix, [4, 0, 2], [4, 0, 2]),
    "block of jacobian": block_with_matrix(jacobian_with_matrix, [3, 1], [0, 5, 2, 4, 1]),
}
SQUARE = ["hessian", "symmetric block"]
COLUMN = "ignore:Calling .* on 'column vectors':FutureWarning"  # of matvec, from SciPy 1.18


@pytest.fixture(params=MAKERS)
def kind(request):
    return request.param


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return np.dtype(request.param)


def close(actual, expected, dtype):
    """Equal up to the rounding of `dtype`, and of the same shape."""
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=20 * tolerance)


def vectors(shape, dtype):
    rng = np.random.default_rng(1)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        return rng.integers(0 if dtype.kind == "u" else -9, 9, shape).astype(dtype)
    real = rng.standard_normal(shape)
    imaginary = 1j * rng.standard_normal(shape) if dtype.kind == "c" else 0
    return (real + imaginary).astype(dtype)


DTYPES = ["bool", "uint8", "int8", "int64", "float16", "float32", "float64", "complex64"]


@pytest.mark.filterwarnings(COLUMN)
@pytest.mark.parametrize("given", [*DTYPES, "complex128"])
@pytest.mark.parametrize("columns", [None, 0, 1, 3])
def test_products_with_any_numbers(kind, dtype, given, columns):
    op, matrix = MAKERS[kind](dtype)
    assert op.shape == matrix.shape
    tail = () if columns is None else (columns,)
    v = vectors((op.shape[1], *tail), np.dtype(given))
    u = vectors((op.shape[0], *tail), np.dtype(given))
    multiply, multiply_adjoint = [op.dot, op.__matmul__], [op.T.dot, op.H.dot, op.adjoint().dot]
    if columns in (None, 1):
        multiply.append(op.matvec)
        multiply_adjoint += [op.rmatvec, op.T.matvec, op.H.matvec]
    if columns is not None:
        multiply.append(op.matmat)
        multiply_adjoint += [op.rmatmat, op.T.matmat, op.H.matmat, op.transpose().matmat]
    expected_dtype = np.result_type(dtype, np.complex64) if v.dtype.kind == "c" else dtype
    for product in multiply:
        close(product(v), matrix @ v, dtype)
        assert product(v).dtype == expected_dtype
    for product in multiply_adjoint:
        close(product(u), matrix.T @ u, dtype)
        assert product(u).dtype == expected_dtype


LAYOUTS = {
    "strided": lambda v: np.repeat(v, 2, axis=0)[::2],
    "reversed": lambda v: np.flip(np.flip(v).copy()),
    "fortran": np.asfortranarray,
    "broadcast": lambda v: np.broadcast_to(v[:1], v.shape),
    "big endian": lambda v: v.astype(v.dtype.newbyteorder(">")),
    "list": np.ndarray.tolist,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(), (3,)])
def test_products_with_any_memory(kind, dtype, layout, shape):
    op, matrix = MAKERS[kind](dtype)
    for A, D in ((op, matrix), (op.T, matrix.T)):
        v = LAYOUTS[layout](vectors((D.shape[1], *shape), dtype))
        close(A @ v, D @ np.asarray(v, dtype=dtype), dtype)
        assert (A @ v).dtype == dtype
        assert (A @ v).dtype.isnative


@pytest.mark.filterwarnings(COLUMN, "ignore::PendingDeprecationWarning")  # of np.matrix itself
def test_products_with_np_matrix(kind, dtype):
    op, matrix = MAKERS[kind](dtype)
    column = vectors((op.shape[1], 1), dtype)
    for product in (op.matvec, op.dot, op.__matmul__):
        assert isinstance(product(np.matrix(column)), np.ndarray)
        close(np.asarray(product(np.matrix(column))), matrix @ column, dtype)


@pytest.mark.parametrize("shape", [(), (1,), (3,)])
@pytest.mark.parametrize("zero", [False, True])
def test_results_are_fresh_and_inputs_untouched(kind, dtype, shape, zero):
    op, matrix = MAKERS[kind](dtype)
    for A, D in ((op, matrix), (op.T, matrix.T), (op.H, matrix.T)):
        v = vectors((D.shape[1], *shape), dtype) * (not zero)
        v.flags.writeable = False
        first, second = A @ v, A @ v
        assert first.flags.writeable
        assert not np.shares_memory(first, second)
        assert not np.shares_memory(first, v)
        first[...] = np.nan
        close(A @ v, D @ v, dtype)
        close(second, D @ v, dtype)


COMPOSITES = {
    "2*A": lambda A: 2 * A,
    "A*2.5": lambda A: A * 2.5,
    "2j*A": lambda A: 2j * A,
    "A/2": lambda A: A / 2,
    "A/2j": lambda A: A / 2j,
    "-A": lambda A: -A,
    "A*3/3": lambda A: (A * 3) / 3,
    "A+A": lambda A: A + A,
    "A-A/4": lambda A: A - A / 4,
    "A+2j*A": lambda A: A + 2j * A,
    "A.T": lambda A: A.T,
    "A.T.T": lambda A: A.T.T,
    "(2j*A).T": lambda A: (2j * A).T,
    "A @ A.T": lambda A: A @ A.T,
    "A.T @ A": lambda A: A.T @ A,
    "2j*A @ A.T": lambda A: 2j * A @ A.T,
    "A.T @ A + A.T @ A / 2": lambda A: A.T @ A + A.T @ A / 2,
}


def check_composite(op, matrix, dtype):
    assert op.shape == matrix.shape
    assert op.ndim == 2
    # SciPy itself widens single precision in some composites, not in all versions in the same ones.
    assert op.dtype.kind == np.result_type(dtype, matrix).kind
    assert np.result_type(dtype, matrix) <= op.dtype <= np.complex128
    v = vectors((matrix.shape[1], 3), np.dtype(complex))
    u = vectors((matrix.shape[0], 3), np.dtype(complex))
    close(op @ v, matrix @ v, dtype)
    close(op.dot(v), matrix @ v, dtype)
    close(op.matmat(v), matrix @ v, dtype)
    close(op.matvec(v[:, 0]), matrix @ v[:, 0], dtype)
    close(op.rmatmat(u), matrix.conj().T @ u, dtype)
    close(op.rmatvec(u[:, 0]), matrix.conj().T @ u[:, 0], dtype)
    close(op.H @ u, matrix.conj().T @ u, dtype)
    close(op.adjoint().matvec(u[:, 0]), matrix.conj().T @ u[:, 0], dtype)
    close(op.T @ u, matrix.T @ u, dtype)
    close(op.transpose().matvec(u[:, 0]), matrix.T @ u[:, 0], dtype)
    close(u.T @ op, u.T @ matrix, dtype)
    close(u[:, 0] @ op, u[:, 0] @ matrix, dtype)
    close(v[:, 0].conj() @ op.H, v[:, 0].conj() @ matrix.conj().T, dtype)
    close(operator.matmul(v.T, op.T), v.T @ matrix.T, dtype)


@pytest.mark.parametrize("name", COMPOSITES)
def test_composites(kind, dtype, name):
    op, matrix = MAKERS[kind](dtype)
    check_composite(COMPOSITES[name](op), COMPOSITES[name](matrix), dtype)


@pytest.mark.parametrize("power", [0, 1, 2, 3])
@pytest.mark.parametrize("square", SQUARE)
def test_powers(square, dtype, power):
    op, matrix = MAKERS[square](dtype)
    check_composite(op**power, np.linalg.matrix_power(matrix, power), dtype)


WRAPPERS = {"array": np.asarray, "sparse": csr_array, "operator": aslinearoperator}


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_sums_with_other_matrices(kind, dtype, wrap):
    op, matrix = MAKERS[kind](dtype)
    other = vectors(op.shape, dtype)
    wrapped = WRAPPERS[wrap](other)
    check_composite(op + wrapped, matrix + other, dtype)
    check_composite(op - wrapped, matrix - other, dtype)
    assert (op + wrapped).dtype == (wrapped + op).dtype == (wrapped - op).dtype == dtype
    check_composite(wrapped + op, other + matrix, dtype)
    check_composite(wrapped - op, other - matrix, dtype)


def test_products_with_other_operators(kind, dtype):
    op, matrix = MAKERS[kind](dtype)
    other = vectors(op.shape[::-1], dtype)
    check_composite(op @ aslinearoperator(other), matrix @ other, dtype)
    check_composite(aslinearoperator(other) @ op, other @ matrix, dtype)


@pytest.mark.parametrize(
    "scalar", [2, 2.5, True, np.float64(2.5), np.int64(2)], ids=lambda s: type(s).__name__
)
def test_real_scalars_keep_the_dtype(kind, dtype, scalar):
    op, _ = MAKERS[kind](dtype)
    for scaled in (scalar * op, op * scalar, op / scalar, op.dot(scalar), -op):
        assert scaled.dtype == dtype
        assert (scaled @ np.ones(op.shape[1], dtype=dtype)).dtype == dtype


def test_composites_know_their_parts(kind, dtype):
    op, _ = MAKERS[kind](dtype)
    other, _ = MAKERS[kind](dtype)
    assert (op + other).terms == ((1.0, op), (1.0, other))
    assert (op + op).terms == (2 * op).terms == ((2.0, op),)
    assert ((op * 3) / 3).terms == ((1.0, op),)
    assert (op @ op.T).factors[0] is op
    assert aslinearoperator(op) is op
    for composite in (2 * op, op + op, op @ op.T, op.T, op.H):
        assert isinstance(composite, LinearOperator)


def test_symmetric_operators_are_their_own_transpose(dtype):
    for name in SQUARE:
        op, _ = MAKERS[name](dtype)
        assert op.T is op
        assert op.H is op
        assert op.adjoint() is op


def test_sparse_matrices_are_refused(kind, dtype):
    op, matrix = MAKERS[kind](dtype)
    for sparse in (csr_array(np.eye(op.shape[1])), csr_array(np.ones((op.shape[1], 1)))):
        for product in (op.dot, op.matmat, op.matvec, op.__matmul__):
            with pytest.raises(TypeError, match="sparse"):
                product(sparse)
    with pytest.raises(TypeError, match="sparse"):
        csr_array(matrix.T) @ op


def test_wrong_shapes_are_refused(kind, dtype):
    op, _ = MAKERS[kind](dtype)
    m, n = op.shape
    for bad in (np.ones(n + 1), np.ones((n + 1, 1)), np.ones((1, n)), np.ones((n, 1, 1)), 1.0):
        for product in (op.matvec, op.matmat):
            with pytest.raises(ValueError, match="expected"):
                product(bad)
    with pytest.raises(ValueError):  # noqa: PT011 -- SciPy's words
        op.matvec(np.ones((n, 3)))
    for bad in (np.ones(m + 1), np.ones((m + 1, 1)), np.ones((m, 1, 1))):
        for product in (op.rmatvec, op.rmatmat, op.T.dot, op.H.dot):
            with pytest.raises(ValueError):  # noqa: PT011
                product(bad)
    for refused in (
        lambda: op @ 2,
        lambda: 2 @ op,
        lambda: op @ np.identity(n + 2),
        lambda: np.identity(m + 2) @ op,
        lambda: op / np.ones(2),
        lambda: op + aslinearoperator(np.ones((m, n + 1))),
        lambda: op @ aslinearoperator(np.ones((n + 1, m))),
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            refused()
    if m != n:
        with pytest.raises(ValueError):  # noqa: PT011
            op @ op
        with pytest.raises(ValueError):  # noqa: PT011
            op**2


@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize("name", ["A", *COMPOSITES])
def test_pickled(kind, name, protocol):
    op, matrix = MAKERS[kind](np.float64)
    compose = COMPOSITES.get(name, lambda A: A)
    again = pickle.loads(pickle.dumps(compose(op), protocol=protocol))
    assert type(again) is type(compose(op))
    check_composite(again, compose(matrix), np.float64)


def test_nothing_is_multiplied_until_asked(kind, dtype):
    op, _ = MAKERS[kind](dtype)
    assert op.n_matvec == 0
    assert isinstance(op, HessianOperator | JacobianOperator) or "block" in kind
    assert "unspecified dtype" not in repr(op)
    other, _ = MAKERS[kind](dtype)
    composite = 2 * op + other
    assert (op.n_matvec, composite.dtype) == (0, dtype)
    composite @ np.ones(op.shape[1])
    assert op.n_matvec == other.n_matvec == composite.n_matvec == 1


def test_operators_die_with_their_last_reference(kind, dtype):
    # As SciPy's test_MatrixLinearOperator_refcycle: no cycle keeps large arrays alive.
    op, _ = MAKERS[kind](dtype)
    gc.collect()
    gc.disable()
    try:
        op @ np.ones(op.shape[1])
        op.T @ np.ones(op.shape[0])
        op.adjoint()
        gone = weakref.ref(op)
        del op
        assert gone() is None
    finally:
        gc.enable()
