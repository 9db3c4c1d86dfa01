"""Laws of operators over the table in ``structures.py``, and what the structured ones are made of.

Each law is a statement about matrices, checked with the matrix that the table gives by a route of
its own. `error` is relative to the largest entry.
"""

import copy
import math
import os
import pickle
import subprocess
import sys

import autograd.numpy as anp
import numpy as np
import pytest
from cases import CASES, dense_hessian, normal
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.sparse import (
    block_array,
    coo_array,
    csc_array,
    csr_array,
    diags_array,
    eye_array,
    kron,
)
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from structures import STRUCTURES, orthonormal, outer_sum, path_laplacian, scattered, symmetric
from tapes import error, linear_map, stages, tape_of

from hessop import (
    BlockDiagonalOperator,
    DenseOperator,
    DiagonalOperator,
    KroneckerOperator,
    LowRankOperator,
    NonFiniteError,
    SparseOperator,
    hessian_operator,
    jacobian_operator,
)
from hessop.operators.inverses import InverseOperator
from hessop.operators.kronecker import KroneckerEigenOperator
from hessop.operators.structured import StructuredOperator
from hessop.tape.mixing import depends_on

EPS = np.finfo(np.float64).eps


def rows(condition=lambda case: True):
    """A test for each row of the table for which a condition holds."""
    chosen = [case for case in STRUCTURES if condition(case)]
    return pytest.mark.parametrize("case", chosen, ids=lambda case: case.name)


ALL = rows()
STRUCTURED = rows(lambda case: case.is_structured)
REGULAR = rows(lambda case: case.is_structured and "singular" not in case.tags)
SINGULAR = rows(lambda case: "singular" in case.tags)


def tolerance(case):
    """For what a product, a sum or an entry may be wrong by."""
    return 1e-5 if case.dtype == np.float32 else 1e-10


def tolerance_of_inverse(case, matrix):
    if case.dtype == np.float32:
        return 30 * np.finfo(np.float32).eps * np.linalg.cond(matrix)
    return 1e-8


def dampings(case):
    """Dampings with which the matrix is regular: none, two positive ones and negative ones."""
    w = np.linalg.eigvalsh(case.dense())
    size = np.abs(w).max() or 1.0
    found = [] if "singular" in case.tags else [0.0]
    if "no-damping" in case.tags:
        return found
    # Behind all eigenvalues, and in the widest gap between two of them.
    found += [-2.0 * size]
    if w.size > 1:
        widest = np.argmax(np.diff(w))
        found += [-(w[widest] + w[widest + 1]) / 2] if w[widest + 1] > w[widest] else []
    found += [0.1 * size, 3.0 * size]
    eye = np.eye(w.size)
    return [one for one in found if one == 0.0 or np.linalg.cond(case.dense() + one * eye) < 1e3]


def pickled(operator):
    return pickle.loads(pickle.dumps(operator))


# --- the table ------------------------------------------------------------------------------------


@STRUCTURED
def test_the_tags_are_true(case):
    w = np.linalg.eigvalsh(case.dense())
    size = np.abs(w)
    zero = size <= 1e-13 * size.max()
    assert ("singular" in case.tags) == zero.any()
    assert ("indefinite" in case.tags) == (w[~zero] < 0).any()
    assert ("positive-definite" in case.tags) == ((w > 0).all() and not zero.any())
    if not zero.any():
        low, high = (1e5, 1e6) if "ill-conditioned" in case.tags else (1.0, 1e3)
        assert low <= size.max() / size.min() <= high * (1 + 1e-9)


def test_every_row_has_a_name_of_its_own():
    assert len({case.name for case in STRUCTURES}) == len(STRUCTURES)


# --- laws of every operator -----------------------------------------------------------------------


@ALL
def test_products(case):
    A, dense = case.make(), case.dense()
    m, n = dense.shape
    assert type(A) is case.kind
    assert A.shape == (m, n)
    for matrix, operator in ((dense, A), (dense.T, A.T), (dense.T, A.H)):
        V = normal(1, matrix.shape[1], 4)
        for v in (V[:, 0], V[:, 0].copy(), V, np.asfortranarray(V), V[:, ::-2], V[:, :1], V[::-1]):
            product = operator @ v
            assert product.shape == (matrix.shape[0], *v.shape[1:])
            assert error(product, matrix @ v) <= tolerance(case)
    U, V = normal(2, m, 3), normal(3, n, 3)
    assert error(A.matvec(V[:, 0]), dense @ V[:, 0]) <= tolerance(case)
    assert error(A.matmat(V), dense @ V) <= tolerance(case)
    assert error(A.rmatvec(U[:, 0]), dense.T @ U[:, 0]) <= tolerance(case)
    assert error(A.rmatmat(U), dense.T @ U) <= tolerance(case)
    assert error(A @ V[:, 0].tolist(), dense @ V[:, 0]) <= tolerance(case)


@ALL
def test_linearity(case):
    A = case.make()
    u, v = normal(4, 2, A.shape[1])
    assert error(A @ (2.0 * u - 3.0 * v), 2.0 * (A @ u) - 3.0 * (A @ v)) <= tolerance(case)


@ALL
def test_adjoint(case):
    A = case.make()
    m, n = A.shape
    u, v = normal(5, m), normal(6, n)
    Av, uA = A @ v, A.T @ u
    scale = np.linalg.norm(u) * np.linalg.norm(Av) + np.linalg.norm(v) * np.linalg.norm(uA)
    assert abs(u @ Av - uA @ v) <= tolerance(case) * scale
    if np.array_equal(case.dense(), case.dense().T):
        assert A.T is A
        assert A.H is A
        assert A.symmetric
        assert A.quadratic_form(v) == pytest.approx(v @ Av, rel=tolerance(case))


@ALL
def test_a_block_is_its_columns(case):
    A = case.make()
    V = normal(7, A.shape[1], 30)
    block = A @ V
    for v, product in zip(V.T, block.T, strict=True):
        assert error(product, A @ v) <= tolerance(case)


@pytest.mark.parametrize(
    "kind", sorted({case.kind for case in STRUCTURES}, key=lambda k: k.__name__)
)
def test_a_block_of_no_columns(kind):
    A = next(case for case in STRUCTURES if case.kind is kind).make()
    assert (A @ np.ones((A.shape[1], 0))).shape == (A.shape[0], 0)
    assert (A.T @ np.ones((A.shape[0], 0))).shape == (A.shape[1], 0)
    assert A.n_matvec == 0


@ALL
def test_dtypes(case):
    A, dense = case.make(), case.dense()
    assert A.dtype == case.dtype
    whole = np.arange(A.shape[1]) % 5 - 1
    for kind in (np.float64, np.float32, np.int64, np.int8, bool):
        v = whole.astype(kind)
        for x in (v, np.column_stack([v, v[::-1]])):
            product = A @ x
            assert product.dtype == case.dtype
            assert error(product, dense @ x) <= tolerance(case)
    for v in (np.zeros(A.shape[1], np.int8), np.zeros((A.shape[1], 2))):
        product = A @ v
        assert product.dtype == case.dtype
        assert not product.any()
    v, w = normal(8, 2, A.shape[1])
    for kind in (np.complex64, np.complex128):
        z = (v + 1j * w).astype(kind)
        for x in (z, np.column_stack([z, z.conj()])):
            product = A @ x
            assert product.dtype == np.result_type(case.dtype, np.complex64)
            # A cast to complex64 is the caller's.
            allowed = tolerance(case) if kind == np.complex128 else 1e-5
            assert error(product.real, (dense @ x).real) <= allowed
            assert error(product.imag, (dense @ x).imag) <= allowed


@ALL
def test_dense_and_diagonal(case):
    A, dense = case.make(), case.dense()
    for found, expected in (
        (A.to_dense(), dense),
        (A.diagonal(), np.diagonal(dense)),
        (A.block([0], slice(None)).to_dense(), dense[:1]),
    ):
        assert found.dtype == case.dtype
        assert found.shape == expected.shape
        assert error(found, expected) <= tolerance(case)
    if A.shape[0] == A.shape[1]:
        symmetrized = A.to_dense(symmetrize=True)
        np.testing.assert_array_equal(symmetrized, symmetrized.T)
        assert error(symmetrized, dense) <= tolerance(case)


@ALL
def test_products_are_counted(case):
    A = case.make()
    n = A.shape[1]
    assert A.n_matvec == 0
    A @ np.ones(n)
    A.matvec(np.ones(n))
    assert A.n_matvec == 2
    A @ np.ones((n, 5))
    A.matmat(np.ones((n, 1)))
    assert A.n_matvec == 8
    A.T @ np.ones(A.shape[0])
    before = 9 if A.symmetric else A.n_matvec
    assert A.n_matvec == before
    A @ (np.ones(n) + 1j)
    A @ (np.ones((n, 3)) + 1j)
    assert A.n_matvec == before + 8


@ALL
def test_vectors_that_are_not_finite_are_refused(case):
    A = case.make()
    for bad in (np.nan, np.inf, -np.inf):
        v = np.ones(A.shape[1])
        v[-1] = bad
        for x in (v, np.column_stack([np.ones_like(v), v]), v + 1j):
            with pytest.raises(NonFiniteError, match=rf"v has {bad} at entry"):
                A @ x
    assert A.n_matvec == 0


@ALL
def test_shapes_are_refused(case):
    A = case.make()
    n = A.shape[1]
    for bad in (np.ones(n + 1), np.ones((n + 1, 2)), np.ones((1, n, 1)), np.ones((n + 1, 1))):
        with pytest.raises(ValueError, match=f"expected {n}"):
            A @ bad
    with pytest.raises(TypeError, match="X is sparse"):
        A @ eye_array(n)
    assert A.n_matvec == 0


@ALL
def test_results_are_fresh(case):
    A, dense = case.make(), case.dense()
    V = normal(9, A.shape[1], 3)
    kept = V.copy()
    for again in (
        lambda: A @ V[:, 0],
        lambda: A @ V,
        lambda: A.T @ np.ones(A.shape[0]),
        lambda: A.diagonal(),
        lambda: A.to_dense(),
        lambda: A.to_dense(symmetrize=A.symmetric),
    ):
        first = again()
        expected = first.copy()
        first[...] = 7.0
        assert error(again(), expected) <= tolerance(case)
    np.testing.assert_array_equal(V, kept)
    V[...] = np.nan
    assert error(A @ kept, dense @ kept) <= tolerance(case)


@ALL
def test_copies(case):
    A = case.make()
    V = normal(10, A.shape[1], 2)
    before = A @ V
    for again in (copy.copy, copy.deepcopy, pickled):
        twin = again(A)
        assert type(twin) is case.kind
        assert (twin.shape, twin.dtype, twin.n_matvec) == (A.shape, A.dtype, 0)
        assert error(twin @ V, before) <= tolerance(case)
        assert (A.n_matvec, twin.n_matvec) == (2, 2)
        assert repr(twin) == repr(A)
        if case.is_structured:
            assert twin.inertia() == A.inertia()
            np.testing.assert_allclose(twin.slogdet(), A.slogdet())
    composite = pickled(aslinearoperator(np.eye(len(before))) @ A)
    assert error(composite @ V, before) <= tolerance(case)


@ALL
def test_repr(case):
    A = case.make()
    m, n = A.shape
    text = repr(A)
    assert text.startswith(f"<{m}x{n} {case.kind.__name__} ")
    assert text.endswith(f"{case.dtype}, 0 products>")
    assert "\n" not in text


# --- laws of the structured -----------------------------------------------------------------------


@STRUCTURED
def test_trace(case):
    dense = case.dense()
    trace = case.make().trace()
    assert isinstance(trace, float)
    assert abs(trace - np.trace(dense)) <= tolerance(case) * np.linalg.norm(dense, "nuc")


@STRUCTURED
def test_inverse(case):
    A, dense = case.make(), case.dense()
    eye = np.eye(len(dense))
    tried = dampings(case)
    assert len(tried) >= (1 if "no-damping" in case.tags else 3)
    for damping in tried:
        matrix = dense + damping * eye
        allowed = tolerance_of_inverse(case, matrix)
        inverse = A.inverse(damping) if damping else A.inverse()
        assert isinstance(inverse, StructuredOperator)
        assert inverse.dtype == case.dtype
        assert inverse.T is inverse
        assert inverse.n_matvec == 0
        V = normal(11, len(dense), 5)
        assert error(inverse @ (A @ V + damping * V), V) <= allowed
        assert error(inverse @ (matrix @ V[:, 0]), V[:, 0]) <= allowed
        assert np.abs(inverse.to_dense() @ matrix - eye).max() <= allowed
        expected = np.linalg.inv(matrix)
        scale = np.abs(expected).max()
        assert np.abs(inverse.to_dense() - expected).max() <= allowed * scale
        assert np.abs(inverse.diagonal() - np.diag(expected)).max() <= allowed * scale
        assert error(inverse.inverse().to_dense(), matrix) <= allowed


@SINGULAR
def test_the_inverse_of_what_is_singular(case):
    A = case.make()
    with pytest.raises(np.linalg.LinAlgError, match=r"damping"):
        A.inverse()
    with pytest.raises(np.linalg.LinAlgError, match=r"damping"):
        A.inverse(damping=0.0)


@rows(lambda case: "no-damping" in case.tags)
def test_what_takes_no_damping_says_so(case):
    A = case.make()
    with pytest.raises(TypeError, match="Use a solver"):
        A.inverse(damping=0.1)
    with pytest.raises(TypeError, match="without damping"):
        A.slogdet(damping=0.1)
    with pytest.raises(TypeError, match="without damping"):
        A.logdet(damping=0.1)


@STRUCTURED
def test_determinant(case):
    A, dense = case.make(), case.dense()
    for damping in dampings(case):
        matrix = dense + damping * np.eye(len(dense))
        allowed = len(dense) * tolerance_of_inverse(case, matrix)
        sign, logabsdet = np.linalg.slogdet(matrix)
        found = A.slogdet(damping) if damping else A.slogdet()
        assert isinstance(found.sign, float)
        assert isinstance(found.logabsdet, float)
        assert found.sign == sign
        assert abs(found.logabsdet - logabsdet) <= allowed
        if sign > 0:
            assert isinstance(A.logdet(damping), float)
            assert A.logdet(damping) == found.logabsdet
        else:
            with pytest.raises(ValueError, match=r"determinant is negative.* Use slogdet"):
                A.logdet(damping)


def largest_determinant(case):
    """The logarithm of a determinant whose zero eigenvalues are replaced by rounding."""
    size = np.abs(np.linalg.eigvalsh(case.dense()))
    scale = size.max() or 1.0
    return np.sum(np.log(np.maximum(size, 20 * np.finfo(case.dtype).eps * scale)))


@SINGULAR
def test_the_determinant_of_what_is_singular(case):
    sign, logabsdet = case.make().slogdet()
    assert np.isneginf(logabsdet) == (sign == 0.0)
    assert logabsdet <= largest_determinant(case)


@rows(lambda case: "singular" in case.tags and "indefinite" not in case.tags)
def test_what_is_semidefinite_is_not_called_indefinite(case):
    assert case.make().logdet() <= largest_determinant(case)


@STRUCTURED
def test_inertia(case):
    w = np.linalg.eigvalsh(case.dense())
    zero = np.abs(w) <= 1e-13 * np.abs(w).max()
    counts = (np.sum(w[~zero] < 0), np.sum(zero), np.sum(w[~zero] > 0))
    inertia = case.make().inertia()
    assert tuple(inertia) == counts
    assert (inertia.negative, inertia.zero, inertia.positive) == counts
    assert all(type(count) is int for count in inertia)


@STRUCTURED
def test_square_root(case):
    A, dense = case.make(), case.dense()
    if "no-root" in case.tags:
        with pytest.raises(TypeError, match="has no square root"):
            A.sqrt()
    elif "indefinite" in case.tags:
        with pytest.raises(np.linalg.LinAlgError, match=r"negative eigenvalue .* real square root"):
            A.sqrt()
    else:
        root = A.sqrt()
        assert isinstance(root, StructuredOperator)
        assert root.dtype == case.dtype
        V = normal(12, len(dense), 3)
        assert error(root @ (root @ V), dense @ V) <= 10 * tolerance(case)
        assert error(root.to_dense() @ root.to_dense(), dense) <= 10 * tolerance(case)
        assert np.linalg.eigvalsh(root.to_dense())[0] >= -tolerance(case) * np.abs(dense).max()


# --- algebra --------------------------------------------------------------------------------------


def addends(operator):
    """What leaves an operator structured when it is added."""
    if isinstance(operator, InverseOperator):
        return set()
    if isinstance(operator, KroneckerOperator | KroneckerEigenOperator):
        return {"identity"}
    every = {"identity", "diagonal", "itself"}
    if isinstance(operator, BlockDiagonalOperator):
        return every.intersection(*(addends(block) for block in operator.blocks))
    return every


def assert_is(operator, matrix, case, structured):
    assert isinstance(operator, LinearOperator)
    assert isinstance(operator, StructuredOperator) or not structured
    assert operator.dtype == case.dtype
    V = normal(13, len(matrix), 3)
    scale = np.abs(case.dense()).max()
    assert np.abs(operator @ V - matrix @ V).max() <= 10 * tolerance(case) * (scale or 1.0)
    assert np.abs(operator @ V[:, 0] - matrix @ V[:, 0]).max() <= 10 * tolerance(case) * (
        scale or 1.0
    )


@STRUCTURED
def test_scaling(case):
    A, dense = case.make(), case.dense()
    for scaled, factor in (
        (2.0 * A, 2.0),
        (A * 3, 3.0),
        (A.dot(-0.5), -0.5),
        (A / 4, 0.25),
        (-A, -1.0),
        (np.float32(0.5) * A, 0.5),
        (A * np.float64(0.5), 0.5),
        (np.int64(2) * A, 2.0),
        (2.0 * (A * 2.0), 4.0),
        (0.0 * A, 0.0),
    ):
        assert_is(scaled, factor * dense, case, structured=True)
        assert type(scaled) is case.kind or factor == 0.0
    assert_is(A, dense, case, structured=True)
    complex_one = (2j * A) @ np.ones(len(dense))
    assert error(complex_one.imag, 2 * dense.sum(axis=1)) <= tolerance(case)


@STRUCTURED
def test_sums(case):
    A, dense = case.make(), case.dense()
    n = len(dense)
    d = np.linspace(0.5, 1.5, n)
    D = DiagonalOperator(d.astype(case.dtype))
    identity = DiagonalOperator(np.ones(n, case.dtype))
    sparse_identity = eye_array(n, dtype=case.dtype)
    asymmetric = normal(14, n, n).astype(case.dtype)
    kept = addends(A)
    for total, matrix, addend in (
        (A + A, 2 * dense, "itself"),
        (A - A, 0 * dense, "itself"),
        (A + 0.5 * A, 1.5 * dense, "itself"),
        (A + D, dense + np.diag(d), "diagonal"),
        (D + A, dense + np.diag(d), "diagonal"),
        (A - D, dense - np.diag(d), "diagonal"),
        (D - A, np.diag(d) - dense, "diagonal"),
        (A + diags_array(d).astype(case.dtype), dense + np.diag(d), "diagonal"),
        (A + identity, dense + np.eye(n), "identity"),
        (identity + A, dense + np.eye(n), "identity"),
        (A - 2.0 * identity, dense - 2 * np.eye(n), "identity"),
        (A + sparse_identity, dense + np.eye(n), "identity"),
        (A + csr_array(sparse_identity), dense + np.eye(n), "identity"),
        (A + aslinearoperator(sparse_identity), dense + np.eye(n), "identity"),
        (sparse_identity + A, dense + np.eye(n), "identity"),
        (A + asymmetric, dense + asymmetric, "another matrix"),
        (asymmetric - A, asymmetric - dense, "another matrix"),
        (A + csr_array(asymmetric), dense + asymmetric, "another matrix"),
        (A @ A, dense @ dense, "another matrix"),
    ):
        assert_is(total, matrix, case, structured=addend in kept)
    with pytest.raises(ValueError, match=r"shape|dimension"):
        A + DiagonalOperator(np.ones(n + 1))
    with pytest.raises(TypeError, match="eye_array"):
        A + 1.0


KINDS = {case.kind: case for case in STRUCTURES if case.is_structured and case.dtype != np.float32}
EACH_KIND = pytest.mark.parametrize("case", KINDS.values(), ids=lambda case: case.kind.__name__)


@EACH_KIND
def test_a_sparse_identity_is_subtracted(case):
    A, dense = case.make(), case.dense()
    eye = np.eye(len(dense))
    structured = "identity" in addends(A)
    assert_is(A - 0.5 * eye_array(len(dense)), dense - 0.5 * eye, case, structured)
    assert_is(0.5 * eye_array(len(dense)) - A, 0.5 * eye - dense, case, structured)
    assert_is(A - aslinearoperator(eye_array(len(dense))), dense - eye, case, structured=False)


@EACH_KIND
def test_a_sum_has_the_dtype_of_its_wider_part(case):
    single = next(
        one for one in STRUCTURES if one.kind is case.kind and one.dtype == np.float32
    ).make()
    n = single.shape[0]
    for wide in (eye_array(n), DiagonalOperator(np.ones(n)), DenseOperator(np.eye(n))):
        assert (single + wide).dtype == np.float64
        assert (single + wide).matvec(np.ones(n)).dtype == np.float64


@EACH_KIND
def test_complex_matrices_are_added(case):
    A, dense = case.make(), case.dense()
    n = len(dense)
    other = normal(15, n, n)
    for matrix in (1j * eye_array(n), csr_array(1j * other), 1j * other):
        total = (A + matrix) @ np.ones(n)
        added = (matrix @ np.ones(n)).imag
        assert error(total.real, dense.sum(axis=1)) <= 1e-10
        assert error(total.imag, added) <= 1e-10


def test_the_class_of_a_sum():
    """The class of a sum is the one that has the simplest inverse."""
    D, eye = DiagonalOperator([1.0, 2.0, 3.0]), DiagonalOperator(np.full(3, 2.0))
    L = LowRankOperator(np.ones((3, 1)), [1.0])
    K = KroneckerOperator([symmetric(1, 1.0, 2.0, 3.0)])
    S = SparseOperator(path_laplacian(3))
    B = BlockDiagonalOperator([L, [[2.0]]])
    M = DenseOperator(path_laplacian(3))
    for total, kind in (
        (D + eye, DiagonalOperator),
        (D + L, LowRankOperator),
        (L + D, LowRankOperator),
        (L + L, LowRankOperator),
        (eye + K, KroneckerEigenOperator),
        (K + eye - 3.0 * eye, KroneckerEigenOperator),
        (D + S, SparseOperator),
        (S + S, SparseOperator),
        (D + M, DenseOperator),
        (M - M, DenseOperator),
    ):
        assert type(total) is kind
        assert (
            error(total.inverse(0.1).to_dense(), np.linalg.inv(total.to_dense() + 0.1 * np.eye(3)))
            < 1e-12
        )
    assert type(DiagonalOperator(np.ones(4)) + B) is BlockDiagonalOperator
    # A diagonal that is not constant destroys a Kronecker product, and with it the inverse.
    for total in (K + D, D + K, BlockDiagonalOperator([K]) + D):
        assert not isinstance(total, StructuredOperator)
        assert error(total @ np.eye(3), K.to_dense() + D.to_dense()) < 1e-14


# --- what goes in is copied, what comes out may be changed ----------------------------------------

ORDER, POINTERS = np.array([0, 1, 1, 0]), np.array([0, 2, 4])
GIVEN = {
    "diagonal": (DiagonalOperator, [np.array([1.0, 2.0])]),
    "dense": (DenseOperator, [symmetric(1, 1.0, 2.0)]),
    "low-rank": (LowRankOperator, [normal(1, 3, 2), np.ones(2), np.array([1.0, 2.0, 3.0])]),
    "kronecker": (
        lambda *factors: KroneckerOperator(factors),
        [symmetric(1, 1.0, 2.0), symmetric(2, 1.0, 3.0)],
    ),
    "kronecker-eigen": (
        lambda Q, w: KroneckerEigenOperator([Q], w),
        [orthonormal(normal(1, 3, 3)), np.array([1.0, 2.0, 3.0])],
    ),
    "sparse": (
        lambda *parts: SparseOperator(csr_array(parts, shape=(2, 2))),
        [np.array([2.0, 1.0, 3.0, 1.0]), ORDER.copy(), POINTERS.copy()],
    ),
    "blocks": (
        lambda *parts: BlockDiagonalOperator(parts[:2], parts[2:]),
        [symmetric(1, 1.0, 2.0), np.array([[3.0]]), np.array([2, 0]), np.array([1])],
    ),
}


@pytest.mark.parametrize("name", GIVEN)
def test_what_is_given_is_copied(name):
    make, originals = GIVEN[name]
    arrays = [array.copy() for array in originals]
    A = make(*arrays)
    expected = make(*originals).to_dense()
    for array in arrays:
        array[...] = 0
    np.testing.assert_array_equal(A.to_dense(), expected)
    np.testing.assert_array_equal(A @ np.eye(len(expected)), expected)
    assert error(A.inverse().to_dense(), np.linalg.inv(expected)) < 1e-12


HANDED_OUT = {
    "low-rank U": lambda: (A := LowRankOperator(np.ones((3, 1)), [2.0], 1.0), A.U),
    "low-rank s": lambda: (A := LowRankOperator(np.ones((3, 1)), [2.0], 1.0), A.s),
    "low-rank shift": lambda: (A := LowRankOperator(np.ones((3, 1)), [2.0], [1, 2, 3]), A.shift),
    "kronecker factor": lambda: (A := KroneckerOperator([path_laplacian(3)]), A.factors[0]),
    "kronecker eigenvalues": lambda: (A := KroneckerOperator([path_laplacian(3)]), A.eigenvalues),
    "eigenvalues": lambda: (A := KroneckerOperator([path_laplacian(3)]).eigen(), A.eigenvalues),
    "eigenvectors": lambda: (A := KroneckerOperator([path_laplacian(3)]).eigen(), A.vectors[0]),
    "dense eigenvalues": lambda: (A := DenseOperator(path_laplacian(3)), A.eigh[0]),
    "dense eigenvectors": lambda: (A := DenseOperator(path_laplacian(3)), A.eigh[1]),
    "sparse": lambda: (A := SparseOperator(path_laplacian(3)), A.to_sparse().data),
    "partition": lambda: (A := BlockDiagonalOperator([np.eye(2), [[3.0]]]), A.partition[0]),
    "standard error": lambda: (
        A := DiagonalOperator.from_operator(path_laplacian(3), method="probing", rng=0),
        A.standard_error,
    ),
}


@pytest.mark.parametrize("name", HANDED_OUT)
def test_what_is_handed_out_cannot_break_the_operator(name):
    A, array = HANDED_OUT[name]()
    kept = array.copy()
    dense, inverse = A.to_dense(), A.inverse(0.5).to_dense()
    if array.flags.writeable:
        array[...] = 0
    np.testing.assert_array_equal(A.to_dense(), dense)
    np.testing.assert_array_equal(A.inverse(0.5).to_dense(), inverse)
    if name == "standard error":
        np.testing.assert_array_equal(A.standard_error, kept)


AGAIN = pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])


@AGAIN
def test_a_standard_error_is_pickled(again):
    D = DiagonalOperator.from_operator(path_laplacian(5), method="probing", rng=0)
    np.testing.assert_array_equal(again(D).standard_error, D.standard_error)


@AGAIN
def test_an_error_estimate_and_names_are_pickled(again):
    L = LowRankOperator.from_operator(path_laplacian(5), 2, rng=0)
    assert again(L).error_estimate == L.error_estimate > 0.0
    B = BlockDiagonalOperator([path_laplacian(5), np.eye(2)], names=["first", "second"])
    assert again(B).names == ("first", "second")


def test_attributes():
    U, s, d = normal(1, 4, 2), np.array([2.0, -1.0]), np.array([1.0, 2.0, 3.0, 4.0])
    L = LowRankOperator(U, s, d)
    np.testing.assert_array_equal(L.U, U)
    np.testing.assert_array_equal(L.s, s)
    np.testing.assert_array_equal(L.shift, d)
    assert LowRankOperator(U, s, 2).shift == 2.0
    assert isinstance(LowRankOperator(U, s, np.full(4, 2.0)).shift, float)
    assert (L.rank, L.error_estimate) == (2, None)
    factors = symmetric(1, 1.0, 2.0), symmetric(2, 1.0, -3.0)
    K = KroneckerOperator(factors)
    for found, factor in zip(K.factors, factors, strict=True):
        np.testing.assert_array_equal(found, factor)
    w = np.linalg.eigvalsh(np.kron(*factors))
    np.testing.assert_allclose(np.sort(K.eigenvalues), w)
    np.testing.assert_allclose(np.sort(K.eigen().eigenvalues), w)
    assert SparseOperator(path_laplacian(4)).nnz == 10
    np.testing.assert_array_equal(
        SparseOperator(path_laplacian(4)).to_sparse().toarray(), path_laplacian(4)
    )
    B = BlockDiagonalOperator([factors[0], K], [[5, 0], [1, 4, 2, 3]])
    assert [type(block) for block in B.blocks] == [DenseOperator, KroneckerOperator]
    np.testing.assert_array_equal(B.partition[1], [1, 4, 2, 3])
    assert B.names == ("block 0", "block 1")
    values, vectors = DenseOperator(factors[1]).eigh
    np.testing.assert_allclose((vectors * values) @ vectors.T, factors[1])


@pytest.mark.parametrize(
    ("operator", "text"),
    [
        (DiagonalOperator(np.ones(3)), "<3x3 DiagonalOperator float64, 0 products>"),
        (DenseOperator(np.eye(2)), "<2x2 DenseOperator float64, 0 products>"),
        (
            LowRankOperator(np.ones((3, 2)), np.ones(2), 0.125),
            "<3x3 LowRankOperator rank 2, shift 0.125, float64, 0 products>",
        ),
        (
            LowRankOperator(np.ones((3, 2)), np.ones(2), [1.0, 2.0, 3.0]),
            "<3x3 LowRankOperator rank 2, diagonal shift, float64, 0 products>",
        ),
        (
            KroneckerOperator([np.eye(2), np.eye(3)]),
            "<6x6 KroneckerOperator 2 x 3, float64, 0 products>",
        ),
        (
            KroneckerOperator([np.eye(2), np.eye(3)]).eigen(),
            "<6x6 KroneckerEigenOperator 2 x 3, float64, 0 products>",
        ),
        (
            SparseOperator(path_laplacian(3).astype(np.float32)),
            "<3x3 SparseOperator 7 nonzeros, float32, 0 products>",
        ),
        (
            BlockDiagonalOperator([np.eye(2), DiagonalOperator([1.0])]),
            "<3x3 BlockDiagonalOperator 2 blocks (dense, diagonal), float64, 0 products>",
        ),
        (
            BlockDiagonalOperator([np.eye(2)]),
            "<2x2 BlockDiagonalOperator 1 block (dense), float64, 0 products>",
        ),
    ],
)
def test_repr_of_each_structure(operator, text):
    assert repr(operator) == text


# --- a factored damping ---------------------------------------------------------------------------


def test_a_factored_damping_is_that_of_martens_and_grosse():
    A, G = symmetric(1, 0.5, 1.0, 3.0), symmetric(2, 0.2, 4.0)
    ratio = np.sqrt((np.trace(A) / 3) / (np.trace(G) / 2))
    root = np.sqrt(0.1)
    expected = np.kron(
        np.linalg.inv(A + ratio * root * np.eye(3)), np.linalg.inv(G + root / ratio * np.eye(2))
    )
    found = KroneckerOperator([A, G]).inverse(0.1, factored=True)
    assert isinstance(found, KroneckerOperator)
    assert error(found.to_dense(), expected) < 1e-14
    blocks = BlockDiagonalOperator([KroneckerOperator([A, G]), DiagonalOperator([2.0])])
    nested = BlockDiagonalOperator([blocks]).inverse(0.1, factored=True)
    assert error(nested.to_dense(), scattered([expected, [[1 / 2.1]]])) < 1e-14
    exact = KroneckerOperator([A, G]).inverse(factored=True)
    assert error(exact.to_dense(), np.linalg.inv(np.kron(A, G))) < 1e-14
    for factors, damping in (((A, G), -0.1), ((-A, -G), 0.1), ((A, np.diag([1.0, -1.0])), 0.1)):
        with pytest.raises(ValueError, match="Leave factored out"):
            KroneckerOperator(factors).inverse(damping, factored=True)


# --- errors ---------------------------------------------------------------------------------------

NAN, ASYMMETRIC = np.array([[1.0, np.nan], [np.nan, 1.0]]), np.array([[1.0, 2.0], [0.0, 1.0]])


@pytest.mark.parametrize("make", [DenseOperator, SparseOperator, lambda A: KroneckerOperator([A])])
@pytest.mark.parametrize(
    ("matrix", "kind", "words"),
    [
        (ASYMMETRIC, ValueError, r"not symmetric: .* differ by 2, .* Use \(A \+ A.T\) / 2"),
        (np.ones((2, 3)), ValueError, r"shape \(2, 3\), expected a square matrix"),
        (np.ones(3), ValueError, r"expected a square matrix"),
        (np.zeros((0, 0)), ValueError, r"shape \(0, 0\), expected"),
        (NAN, ValueError, "NaN or infinite, expected finite numbers"),
        (np.diag([1.0, np.inf]), ValueError, "NaN or infinite, expected finite numbers"),
        (np.eye(2) * 1j, TypeError, "dtype complex128, expected real numbers"),
    ],
)
def test_matrices_that_are_refused(make, matrix, kind, words):
    with pytest.raises(kind, match=words):
        make(matrix)


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: DiagonalOperator([]), ValueError, "expected a vector of at least one entry"),
        (lambda: DiagonalOperator(np.eye(2)), ValueError, r"d has shape \(2, 2\), expected a vec"),
        (lambda: DiagonalOperator(2.0), ValueError, r"d has shape \(\), expected a vector"),
        (lambda: DiagonalOperator([1.0, np.nan]), ValueError, "d has entries that are NaN"),
        (lambda: DiagonalOperator([1.0, 1j]), TypeError, "d has dtype complex128, expected real"),
        (lambda: DiagonalOperator(["a"]), TypeError, "d has dtype <U1, expected real"),
        (lambda: LowRankOperator(np.ones((3, 2)), [1.0]), ValueError, r"\(3, 2\), expected \(n, 1"),
        (lambda: LowRankOperator(np.ones(3), [1.0]), ValueError, r"U has shape \(3,\), expected"),
        (lambda: LowRankOperator(np.ones((0, 1)), [1.0]), ValueError, r"U has shape \(0, 1\)"),
        (lambda: LowRankOperator(np.ones((3, 0)), []), ValueError, "at least one entry"),
        (lambda: LowRankOperator(np.ones((3, 1)), 1.0), ValueError, r"s has shape \(\), expected"),
        (lambda: LowRankOperator([[np.nan]], [1.0]), ValueError, "U has entries that are NaN"),
        (lambda: LowRankOperator([[1.0]], [np.inf]), ValueError, "s has entries that are NaN"),
        (lambda: LowRankOperator([[1j]], [1.0]), TypeError, "U has dtype complex128"),
        (lambda: LowRankOperator([[1.0]], [1j]), TypeError, "s has dtype complex128"),
        (lambda: LowRankOperator([[1.0]], [1.0], 1j), TypeError, "shift has dtype complex128"),
        (lambda: LowRankOperator([[1.0]], [1.0], np.nan), ValueError, "shift has entries"),
        (
            lambda: LowRankOperator(np.ones((3, 1)), [1.0], [1.0, 2.0]),
            ValueError,
            "shift has 2 entries, expected one or 3",
        ),
        (
            lambda: LowRankOperator(np.ones((3, 1)), [1.0], np.eye(3)),
            ValueError,
            r"shift has shape \(3, 3\)",
        ),
        (lambda: KroneckerOperator([]), ValueError, "factors is empty, expected at least one"),
        (
            lambda: KroneckerOperator([np.eye(2), ASYMMETRIC]),
            ValueError,
            r"factors\[1\] is not symmetric",
        ),
        (lambda: BlockDiagonalOperator([]), ValueError, "blocks is empty, expected at least one"),
        (lambda: BlockDiagonalOperator([np.eye(2), ASYMMETRIC]), ValueError, "not symmetric"),
        (
            lambda: BlockDiagonalOperator([jacobian_operator(lambda x: x[::-1] * x, np.ones(3))]),
            ValueError,
            "not symmetric",
        ),
        (
            lambda: BlockDiagonalOperator([jacobian_operator(lambda x: x[:2], np.ones(3))]),
            ValueError,
            r"shape \(2, 3\), expected a square",
        ),
        (
            lambda: BlockDiagonalOperator([np.eye(2), np.eye(1)], [[0, 1], [1]]),
            ValueError,
            "partition: expected every index from 0 to 2 once",
        ),
        (
            lambda: BlockDiagonalOperator([np.eye(2), np.eye(1)], [[0, 1], [3]]),
            ValueError,
            "partition: expected every index from 0 to 2 once",
        ),
        (
            lambda: BlockDiagonalOperator([np.eye(2), np.eye(1)], [[0, -2], [2]]),
            ValueError,
            "partition: expected every index from 0 to 2 once",
        ),
        (
            lambda: BlockDiagonalOperator([np.eye(2), np.eye(1)], [[0], [1, 2]]),
            ValueError,
            r"partition has parts of \[1, 2\] entries, expected \[2, 1\]",
        ),
        (
            lambda: BlockDiagonalOperator([np.eye(2), np.eye(1)], [[0.0, 1.0], [2.0]]),
            ValueError,
            "partition: expected vectors of whole numbers",
        ),
        (lambda: BlockDiagonalOperator([np.eye(2)], []), ValueError, "partition"),
        (
            lambda: BlockDiagonalOperator([np.eye(2)], names=["a", "b"]),
            ValueError,
            "2 names for 1 blocks",
        ),
        (lambda: LowRankOperator.from_lbfgs(np.eye(2)), TypeError, "hess_inv is a ndarray, exp"),
    ],
)
def test_parts_that_are_refused(make, kind, words):
    with pytest.raises(kind, match=words):
        make()


@EACH_KIND
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1j, None, "a", [0.1], np.ones(2)])
def test_dampings_that_are_refused(case, bad):
    A = case.make()
    for ask in (A.inverse, A.slogdet, A.logdet):
        with pytest.raises((TypeError, ValueError), match=r"damping is .*, expected a finite real"):
            ask(bad)


@pytest.mark.parametrize("scalar", [float, np.float32, np.float64, int, np.int64])
def test_dampings_of_any_real_kind(scalar):
    for A in (
        DiagonalOperator([1.0, 2.0]),
        KroneckerOperator([np.eye(2)]),
        DenseOperator(np.eye(2)),
    ):
        expected = np.linalg.inv(A.to_dense() + 2.0 * np.eye(2))
        np.testing.assert_allclose(A.inverse(scalar(2)).to_dense(), expected)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not InverseOperator])
def test_a_damping_that_makes_it_singular_is_named(kind):
    case = KINDS[kind]
    n = case.make().shape[0]
    A = 0.0 * case.make() + eye_array(n)
    assert isinstance(A, StructuredOperator)
    with pytest.raises(np.linalg.LinAlgError, match="damping"):
        A.inverse(-1.0)
    assert A.slogdet(-1.0) == (0.0, -np.inf)
    assert A.logdet(-1.0) == -np.inf
    assert np.isneginf((0.0 * case.make()).logdet())


@pytest.mark.parametrize(
    "singular",
    [
        DiagonalOperator([1.0, 0.0]),
        DiagonalOperator([1.0, 1e-310]),
        DenseOperator(np.ones((2, 2))),
        LowRankOperator([[1.0], [2.0]], [1.0]),
        LowRankOperator(normal(1, 4, 5) * [[1.0], [1.0], [1.0], [0.0]], np.ones(5)),
        LowRankOperator([[1.0], [0.0]], [-0.3], 0.3),
        LowRankOperator([[0.6], [0.8]], [-0.3], 0.3),
        LowRankOperator([[0.1], [0.2]], [-1 / (0.01 / 0.7 + 0.04 / 0.3)], [0.7, 0.3]),
        LowRankOperator([[0.1], [0.2]], [-1 / (-0.01 / 0.7 + 0.04 / 0.3)], [-0.7, 0.3]),
        LowRankOperator([[1.0], [0.0]], [1.0], [1.0, 0.0]),
        KroneckerOperator([np.eye(2), np.ones((2, 2))]),
        KroneckerOperator([np.eye(2), np.ones((2, 2))]).eigen(),
        SparseOperator(path_laplacian(5)),
        SparseOperator(csr_array((3, 3))),
        SparseOperator(np.diag([1.0, 1e-17])),
    ],
    ids=repr,
)
def test_what_is_singular_is_refused_with_a_way_out(singular):
    with pytest.raises(np.linalg.LinAlgError, match="damping"):
        singular.inverse()
    n = singular.shape[0]
    expected = np.linalg.inv(singular.to_dense() + 0.3 * np.eye(n))
    assert error(singular.inverse(damping=0.3).to_dense(), expected) < 1e-12
    with pytest.raises(np.linalg.LinAlgError, match=r"output layer: .*damping"):
        BlockDiagonalOperator(
            [np.eye(2), singular], names=["hidden layer", "output layer"]
        ).inverse()


@pytest.mark.parametrize(("n", "rank"), [(2, 1), (3, 1), (3, 2), (5, 2), (5, 4), (20, 3)])
@pytest.mark.parametrize(
    ("copies", "make"),
    [
        (1, DenseOperator),
        (2, lambda M: KroneckerOperator([M, np.eye(2)])),
        (2, lambda M: KroneckerOperator([np.eye(2), M]).eigen()),
        (2, lambda M: BlockDiagonalOperator([M, M])),
        (1, SparseOperator),
    ],
    ids=["dense", "kronecker", "kronecker-eigen", "blocks", "sparse"],
)
def test_rounding_is_not_taken_for_an_eigenvalue(copies, make, n, rank):
    """Of a sum of outer products, whose zero eigenvalues are rounding."""
    for seed in range(50):
        B = normal(seed, n, rank)
        A = make(B @ B.T)
        assert tuple(A.inertia()) == (0, copies * (n - rank), copies * rank)
        with pytest.raises(np.linalg.LinAlgError, match="damping"):
            A.inverse()


@pytest.mark.parametrize("others", [(0.3, 0.3), (1.0, 2.0)])
@pytest.mark.parametrize(
    "make",
    [
        DenseOperator,
        lambda M: KroneckerOperator([M, np.eye(1)]),
        lambda M: KroneckerOperator([M]).eigen(),
        lambda M: LowRankOperator(*np.linalg.eigh(M)[::-1]),
        lambda M: BlockDiagonalOperator([M]),
    ],
    ids=["dense", "kronecker", "kronecker-eigen", "low-rank", "blocks"],
)
def test_a_damping_that_cancels_an_eigenvalue_up_to_rounding(make, others):
    """Also where nothing is left that is larger than rounding."""
    for seed in range(50):
        A = make(symmetric(seed, 0.3, 0.3, *others))
        with pytest.raises(np.linalg.LinAlgError, match="damping"):
            A.inverse(-0.3)


def test_a_shift_that_cancels_all_of_the_rest():
    for seed in range(50):
        Q = orthonormal(normal(seed, 4, 4))
        A = LowRankOperator(Q, np.full(4, -0.3), 0.3)
        assert tuple(A.inertia()) == (0, 4, 0)
        with pytest.raises(np.linalg.LinAlgError, match="damping"):
            A.inverse()


CRASHING = """
import numpy as np
from hessop import SparseOperator
A = np.zeros((8, 8))
for i, j in ((0, 2), (0, 3), (1, 2), (1, 3), (1, 6), (2, 5), (3, 4), (4, 6), (6, 7)):
    A[i, j] = A[j, i] = 1.0
S = SparseOperator(A)
print(*S.inertia())
S.slogdet()
try:
    S.inverse()
except np.linalg.LinAlgError:
    print("singular")
"""


def test_a_matrix_that_is_singular_by_its_pattern_does_not_crash():
    """In a process of its own, whose fresh memory is not zero by chance."""
    done = subprocess.run(
        [sys.executable, "-c", CRASHING],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MALLOC_PERTURB_": "165", "PYTHONMALLOC": "malloc"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "2", "3", "singular"]


def test_a_negative_determinant_has_no_logarithm():
    for A in (
        DiagonalOperator([1.0, -2.0]),
        DenseOperator(symmetric(1, 1.0, -2.0)),
        LowRankOperator([[1.0], [0.0]], [-3.0], 1.0),
        KroneckerOperator([np.diag([1.0, -2.0])]),
        KroneckerOperator([np.diag([1.0, -2.0])]).eigen(),
        SparseOperator(np.diag([1.0, -2.0])),
        SparseOperator(np.diag([1.0, -0.5])).inverse(),
        BlockDiagonalOperator([[[1.0]], [[-2.0]]]),
    ):
        with pytest.raises(ValueError, match=r"negative, -exp\(0.693147\).* Use slogdet"):
            A.logdet()
        assert tuple(A.slogdet()) == pytest.approx((-1.0, math.log(2.0)))
        assert tuple(A.inertia()) == (1, 0, 1)


def test_blocks_without_an_inverse_are_named():
    H = hessian_operator(lambda x: anp.sum(x**4), np.ones(2))
    foreign = aslinearoperator(2.0 * np.eye(2))
    for block, kind in ((H, "HessianOperator"), (foreign, type(foreign).__name__)):
        B = BlockDiagonalOperator([np.eye(2), block], names=["first", "second"])
        assert error(B @ np.eye(4), scattered([np.eye(2), block @ np.eye(2)])) < 1e-14
        assert error(B.diagonal(), np.r_[1.0, 1.0, np.diag(block @ np.eye(2))]) < 1e-14
        assert B.trace() == pytest.approx(2.0 + np.trace(block @ np.eye(2)))
        assert error(B.to_dense(), scattered([np.eye(2), block @ np.eye(2)])) < 1e-14
        for ask in (B.inverse, B.slogdet, B.logdet, B.inertia, B.sqrt):
            with pytest.raises(TypeError, match=f"second is a {kind}, which has no .* of its own"):
                ask()


def test_blocks_without_an_inverse_are_named_in_sums():
    for block in (
        hessian_operator(lambda x: anp.sum(x**4), np.ones(2)),
        aslinearoperator(np.eye(2)),
    ):
        B = BlockDiagonalOperator([np.eye(2), block], names=["first", "second"])
        total = 2.0 * B + DiagonalOperator(np.ones(4))
        assert isinstance(total, BlockDiagonalOperator)
        assert error(total @ np.eye(4), 2 * B.to_dense() + np.eye(4)) < 1e-14
        for operator in (B, total):
            assert "foreign" not in repr(operator)
            with pytest.raises(TypeError, match=r"second is a [A-Z]\w+, which has no inverse"):
                operator.inverse()


def test_blocks_of_several_dtypes():
    parts = [symmetric(1, 1.0, 2.0).astype(np.float32), symmetric(2, 1.0, -3.0)]
    B, dense = BlockDiagonalOperator(parts), scattered(parts)
    assert B.dtype == np.float64
    assert error(B @ normal(1, 4, 2), dense @ normal(1, 4, 2)) < 1e-6
    assert error(B.to_dense(), dense) == 0.0
    assert error(B.inverse().to_dense(), np.linalg.inv(dense)) < 1e-6
    assert B.inverse().dtype == np.float64


# --- from_operator --------------------------------------------------------------------------------


class Counting(LinearOperator):
    """An operator of SciPy that counts the columns that it multiplies."""

    def __init__(self, matrix):
        super().__init__(matrix.dtype, matrix.shape)
        self.matrix = matrix
        self.n_matvec = 0

    def _matvec(self, x):
        self.n_matvec += 1
        return self.matrix @ x

    def _matmat(self, X):
        self.n_matvec += X.shape[1]
        return self.matrix @ X


SIX = symmetric(3, 9.0, -7.0, 5.0, 4.0, -2.0, 1.0)
PARTS = [[0, 3], [5, 1, 2], [4]]


def hessian_of(matrix):
    return hessian_operator(
        lambda x: 0.5 * anp.dot(x, anp.dot(matrix, x)), np.zeros(len(matrix), matrix.dtype)
    )


SOURCES = {
    "hessian": hessian_of,
    "scipy": Counting,
    "array": np.array,
    "sparse": csr_array,
    "sparse operator": lambda matrix: aslinearoperator(csc_array(matrix)),
    "structured": DenseOperator,
}
BLOCKS_OF_SIX = scattered([SIX[np.ix_(part, part)] for part in PARTS], PARTS)
STRUCTURES_OF = {
    "diagonal": (DiagonalOperator.from_operator, np.diag(np.diag(SIX)), 6),
    "dense": (DenseOperator.from_operator, SIX, 6),
    "blocks": (lambda A: BlockDiagonalOperator.from_operator(A, PARTS), BLOCKS_OF_SIX, 6),
    "low-rank": (lambda A: LowRankOperator.from_operator(A, 6, rng=0), SIX, 6 + 5),
    "kronecker": (lambda A: KroneckerOperator.from_operator(A, [6]), SIX, 6),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", STRUCTURES_OF)
def test_structures_of_operators(name, source, dtype):
    make, expected, products = STRUCTURES_OF[name]
    A = SOURCES[source](SIX.astype(dtype))
    found = make(A)
    assert isinstance(found, StructuredOperator)
    assert found.dtype == dtype
    assert error(found.to_dense(), expected) < (1e-13 if dtype == np.float64 else 1e-5)
    if source == "hessian":
        assert A.n_matvec == products
    if source == "scipy":
        assert A.n_matvec == products + 2  # two of them to see whether it is symmetric


@pytest.mark.parametrize("name", STRUCTURES_OF)
@pytest.mark.parametrize(
    ("bad", "kind", "words"),
    [
        (normal(1, 6, 6), ValueError, "A is not symmetric"),
        (aslinearoperator(normal(1, 6, 6)), ValueError, "A is not symmetric"),
        (jacobian_operator(lambda x: x[::-1] ** 2 * x, np.arange(6.0)), ValueError, "not symmetri"),
        (np.ones((6, 3)), ValueError, r"shape \(6, 3\), expected a square"),
        (1j * np.eye(6), TypeError, "dtype complex128, expected real"),
        (aslinearoperator(1j * np.eye(6)), TypeError, "dtype complex128, expected real"),
        ([[1.0]], TypeError, "A is a list, expected a LinearOperator or a matrix"),
        (np.diag([1.0, 2.0, np.nan, 1.0, 1.0, 1.0]), ValueError, "nan"),
    ],
    ids=["array", "scipy", "jacobian", "not square", "complex", "complex-scipy", "list", "nan"],
)
def test_operators_that_are_refused(name, bad, kind, words):
    make, _, _ = STRUCTURES_OF[name]
    with pytest.raises(kind, match=words):
        make(bad)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DiagonalOperator.from_operator(SIX, method="guess"), "'exact' or 'probing'"),
        (
            lambda: DiagonalOperator.from_operator(SIX, method="probing", num_probes=1),
            "num_probes is 1, expected a whole number from 2",
        ),
        (lambda: LowRankOperator.from_operator(SIX, 0), "rank is 0, expected .* from 1 to 6"),
        (lambda: LowRankOperator.from_operator(SIX, 7), "rank is 7, expected .* from 1 to 6"),
        (lambda: LowRankOperator.from_operator(SIX, 2.5), "rank is 2.5, expected a whole number"),
        (lambda: LowRankOperator.from_operator(SIX, 2, method="svd"), "expected one of lanczos"),
        (
            lambda: LowRankOperator.from_operator(SIX, 3, method="randomized", oversampling=-2),
            "oversampling is -2",
        ),
        (lambda: LowRankOperator.from_operator(SIX, 2, error_probes=-1), "negative|error_probes"),
        (lambda: KroneckerOperator.from_operator(SIX, (2, 2)), "whole numbers whose product is 6"),
        (lambda: KroneckerOperator.from_operator(SIX, ()), "whole numbers whose product is 6"),
        (lambda: KroneckerOperator.from_operator(SIX, (-2, -3)), "whole numbers whose product"),
        (lambda: KroneckerOperator.from_operator(SIX, (2.9, 3)), "whole numbers whose product"),
        (lambda: BlockDiagonalOperator.from_operator(SIX), "partition is missing, and ndarray has"),
        (
            lambda: BlockDiagonalOperator.from_operator(SIX, [[0, 1], [2]]),
            "partition: expected every index from 0 to 5 once",
        ),
        (lambda: BlockDiagonalOperator.from_operator(SIX, []), "partition"),
    ],
)
def test_options_that_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_sparse_matrices_of_operators():
    def energy(x):
        return anp.sum((x[1:] - x[:-1]) ** 2) + anp.sum(x**4)

    x = np.linspace(0.0, 1.0, 9)
    expected = 2.0 * path_laplacian(9) + np.diag(12.0 * x**2)
    H = hessian_operator(energy, x)
    for A in (H, expected, csc_array(expected), aslinearoperator(coo_array(expected))):
        S = SparseOperator.from_operator(A)
        assert type(S) is SparseOperator
        assert error(S.to_dense(), expected) < 1e-14
        assert (S.to_sparse() != S.to_sparse().T).nnz == 0
    assert H.n_matvec == 0
    twin = SparseOperator.from_operator(S)
    assert twin is not S
    assert error(twin.to_dense(), expected) < 1e-14
    with pytest.raises(ValueError, match="max_nnz=5"):
        SparseOperator.from_operator(H, max_nnz=5)
    combined = SparseOperator.from_operator(2.0 * H + eye_array(9))
    assert error(combined.to_dense(), 2.0 * expected + np.eye(9)) < 1e-14
    for unknown in (Counting(expected), H + Counting(expected), H.block([0], [0])):
        with pytest.raises(TypeError, match=r"known by its products only, expected .* to_sparse"):
            SparseOperator.from_operator(unknown)


@pytest.mark.parametrize("count", [3, 100])
def test_sparse_matrices_keep_single_precision(count):
    H = hessian_operator(lambda x: anp.sum(x[1:] * x[:-1] ** 2), np.ones(count, np.float32))
    S = SparseOperator.from_operator(H)
    assert S.dtype == np.float32
    assert S.to_sparse().dtype == np.float32
    assert error(S.to_dense(), H.to_dense()) < 1e-6


@pytest.mark.parametrize("count", [3, 100])
def test_a_jacobian_is_not_made_symmetric_in_silence(count):
    J = jacobian_operator(lambda x: anp.concatenate([x[:1] ** 2, x[1:] * x[:-1]]), np.ones(count))
    with pytest.raises(ValueError, match="not symmetric"):
        SparseOperator.from_operator(J)
    with pytest.raises(ValueError, match="square"):
        SparseOperator.from_operator(jacobian_operator(lambda x: x[:2], np.ones(count)))


# Functions of a tree, and the sizes of its leaves

TREE = {"a": np.linspace(0.3, 1, 3), "b": np.linspace(-1, 1, 4).reshape(2, 2), "c": 0.5}
LARGE_TREE = {"a": np.linspace(0.3, 1, 90), "b": np.linspace(-1, 1, 8).reshape(2, 4), "c": 0.5}


def apart(p):
    return anp.sum(anp.exp(p["a"])) ** 2 + anp.sum(anp.tanh(p["b"] @ p["b"].T)) + p["c"] ** 4


def mixed(p):
    return apart(p) * (1.0 + anp.sum(p["b"] ** 2))


def tree_of_vectors(fun, tree):
    dense = dense_hessian(fun, tree)
    sizes = [np.size(leaf) for leaf in tree.values()]
    parts = np.split(np.arange(len(dense)), np.cumsum(sizes)[:-1])
    return scattered([dense[np.ix_(part, part)] for part in parts]), sizes


@pytest.mark.parametrize("tree", [TREE, LARGE_TREE], ids=["small", "large"])
def test_leaves_that_do_not_mix_share_products(tree):
    expected, sizes = tree_of_vectors(apart, tree)
    H = hessian_operator(apart, tree)
    B = BlockDiagonalOperator.from_operator(H)
    assert H.n_matvec == max(sizes)
    assert B.names == ("x['a']", "x['b']", "x['c']")
    assert [part.size for part in B.partition] == sizes
    assert all(type(block) is DenseOperator for block in B.blocks)
    assert error(B.to_dense(), expected) < 1e-13
    assert error(B.to_dense(), H.to_dense()) < 1e-13


@pytest.mark.parametrize("tree", [TREE, LARGE_TREE], ids=["small", "large"])
@pytest.mark.parametrize("mode", ["auto", "forward-over-reverse", "finite-difference"])
def test_leaves_that_mix_take_a_product_for_each_column(tree, mode):
    expected, sizes = tree_of_vectors(mixed, tree)
    H = hessian_operator(mixed, tree, mode=mode)
    B = BlockDiagonalOperator.from_operator(H)
    assert H.n_matvec == sum(sizes)
    assert error(B.to_dense(), expected) < (1e-6 if mode == "finite-difference" else 1e-12)


def test_parts_that_do_not_mix_share_products():
    x = np.linspace(0.1, 1.0, 80)
    for fun, part_of, products in (
        (lambda x: anp.sum(x**3), np.arange(80), 1),
        (lambda x: anp.sum(x**3), np.arange(80) % 7, 12),
        (lambda x: anp.sum(x[::2] * x[1::2] ** 2), np.arange(80) // 2, 2),
        (lambda x: anp.sum(x[:40] * x[40:] ** 2), np.arange(80) % 40, 2),
        (lambda x: anp.sum(anp.reshape(x, (8, 10)), axis=1)[3] ** 3, np.arange(80) // 10, 10),
        (lambda x: anp.sum(anp.sum(anp.reshape(x, (8, 10)), axis=0) ** 3), np.arange(80) % 10, 8),
        (lambda x: anp.sum(anp.cumsum(x[:30]) ** 3) + anp.sum(x**4), np.arange(80) // 40, 40),
        (lambda x: anp.sum(x[:-1] * x[1:] ** 2), np.arange(80) // 2, 80),
        (lambda x: anp.sum(x) ** 3, np.arange(80) // 2, 80),
    ):
        parts = [np.flatnonzero(part_of == part) for part in range(part_of.max() + 1)]
        dense = dense_hessian(fun, x)
        expected = np.where(part_of[:, None] == part_of, dense, 0.0)
        H = hessian_operator(fun, x)
        B = BlockDiagonalOperator.from_operator(H, parts)
        assert error(B.to_dense(), expected) < 1e-12
        assert H.n_matvec == products


def test_an_empty_leaf_is_no_block():
    tree = {"a": np.ones(2), "b": np.zeros((0, 3)), "c": 1.0}
    H = hessian_operator(lambda p: anp.sum(p["a"] ** 3) + p["c"] ** 2 + anp.sum(p["b"]), tree)
    B = BlockDiagonalOperator.from_operator(H)
    assert B.names == ("x['a']", "x['c']")
    np.testing.assert_allclose(B.to_dense(), np.diag([6.0, 6.0, 2.0]))


# Diagonals


def test_an_exact_diagonal_takes_a_product_for_each_entry_or_none():
    weights = np.linspace(-1.0, 1.0, 100)
    for fun, products in (
        (lambda x: 0.5 * anp.sum(weights * x**2), 0),  # one run of a sparse program
        (lambda x: 0.5 * anp.sum(weights * x**2) + anp.sum(x) ** 3, 100),
    ):
        H = hessian_operator(fun, np.ones(100))
        D = DiagonalOperator.from_operator(H)
        assert H.n_matvec == products
        assert error(D.diagonal(), np.diag(dense_hessian(fun, np.ones(100)))) < 1e-13


def test_a_probed_diagonal_is_within_its_standard_error():
    A = normal(20, 40, 40)
    A = A + A.T
    errors = {}
    for count in (64, 1024):
        deviations = []
        for seed in range(10):
            D = DiagonalOperator.from_operator(A, method="probing", num_probes=count, rng=seed)
            assert np.all(np.abs(D.diagonal() - np.diag(A)) <= 5.0 * D.standard_error)
            deviations.append(D.diagonal() - np.diag(A))
            # The variance is the sum of the squares of the rest of the row.
            variance = np.sum(A**2, axis=1) - np.diag(A) ** 2
            np.testing.assert_allclose(D.standard_error, np.sqrt(variance / count), rtol=0.5)
        errors[count] = np.sqrt(np.mean(np.square(deviations)))
        assert errors[count] == pytest.approx(np.sqrt(np.mean(variance) / count), rel=0.15)
    assert 3.0 < errors[64] / errors[1024] < 5.3  # the root of 16 is 4


def test_probing_is_counted_and_reproducible():
    for count in (2, 64, 65, 130):
        H = hessian_of(SIX)
        D = DiagonalOperator.from_operator(H, method="probing", num_probes=count, rng=3)
        assert H.n_matvec == count
        again = DiagonalOperator.from_operator(
            SIX, method="probing", num_probes=count, rng=np.random.default_rng(3)
        )
        np.testing.assert_allclose(D.diagonal(), again.diagonal(), rtol=1e-12)
        np.testing.assert_allclose(D.standard_error, again.standard_error, rtol=1e-6)
        assert D.standard_error.shape == (6,)
    other = DiagonalOperator.from_operator(SIX, method="probing", rng=4)
    assert np.abs(other.diagonal() - D.diagonal()).max() > 1e-3
    assert DiagonalOperator.from_operator(SIX).standard_error is None


def test_the_diagonal_of_a_diagonal_matrix_is_probed_exactly():
    d = np.array([1e6, -3.0, 0.0, 1e-3])
    D = DiagonalOperator.from_operator(DiagonalOperator(d), method="probing", num_probes=10, rng=0)
    np.testing.assert_allclose(D.diagonal(), d, rtol=1e-15)
    assert np.all(D.standard_error <= 1e-7 * np.abs(d))


# Nearest Kronecker products


@pytest.mark.parametrize("sizes", [(3,), (2, 3), (4, 1), (2, 3, 2), (2, 2, 2, 2)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_kronecker_products_are_recovered(sizes, sign):
    for seed in range(5):
        factors = [
            symmetric(100 * seed + i, *normal(7 * seed + i, size)) for i, size in enumerate(sizes)
        ]
        A = sign * KroneckerOperator(factors).to_dense()
        H = hessian_of(A)
        K = KroneckerOperator.from_operator(H, sizes)
        assert H.n_matvec == len(A)
        assert tuple(len(factor) for factor in K.factors) == sizes
        assert error(K.to_dense(), A) < 1e-12
        assert all(np.trace(factor) >= 0 for factor in K.factors[1:])


def test_definite_products_have_definite_factors():
    factors = [symmetric(1, 1.0, 2.0), symmetric(2, 0.5, 3.0, 4.0)]
    for sign in (1.0, -1.0):
        A = sign * np.kron(*factors)
        first, second = KroneckerOperator.from_operator(A, (2, 3)).factors
        assert np.linalg.eigvalsh(sign * first)[0] > 0
        assert np.linalg.eigvalsh(second)[0] > 0


def symmetric_basis(n):
    """Orthonormal symmetric matrices, shape (n (n + 1) / 2, n, n)."""
    found = []
    for i in range(n):
        for j in range(i + 1):
            E = np.zeros((n, n))
            E[i, j] = E[j, i] = 1.0
            found.append(E / np.linalg.norm(E))
    return np.array(found)


def least_distance(A, m, n):
    """From A to a Kronecker product of symmetric matrices: by a best rank-one approximation."""
    inner = np.einsum("ikjl,pij,qkl->pq", A.reshape(m, n, m, n), *map(symmetric_basis, (m, n)))
    largest = np.linalg.svd(inner, compute_uv=False)[0]
    return np.sqrt(max(np.sum(A**2) - largest**2, 0.0))


TURN = np.array([[0.0, 1.0], [-1.0, 0.0]])
NOT_PRODUCTS = {
    **{f"random {seed}": symmetric(200 + seed, *normal(seed, 6)) for seed in range(8)},
    # The nearest product of all has factors that are not symmetric.
    "of turns": 2.0 * np.kron(TURN, TURN) + np.eye(4),
    "of turns alone": np.kron(TURN, TURN),
    "zero": np.zeros((6, 6)),
}


@pytest.mark.parametrize("name", NOT_PRODUCTS)
def test_the_nearest_kronecker_product(name):
    A = NOT_PRODUCTS[name]
    m, n = 2, len(A) // 2
    K = KroneckerOperator.from_operator(A, (m, n))
    distance = np.linalg.norm(K.to_dense() - A)
    assert distance <= least_distance(A, m, n) * (1.0 + 1e-10) + 1e-14
    rng = np.random.default_rng(0)
    for scale in (1e-4, 1e-2, 1.0):
        for _ in range(20):
            changed = [f + scale * rng.standard_normal(f.shape) for f in K.factors]
            other = KroneckerOperator([(f + f.T) / 2 for f in changed])
            assert distance <= np.linalg.norm(other.to_dense() - A) + 1e-14


def test_three_factors_are_near_a_best_approximation():
    for seed in range(5):
        factors = [symmetric(300 + 3 * seed + i, *(1.0 + i + np.arange(2 + i))) for i in range(3)]
        exact = KroneckerOperator(factors).to_dense()
        noise = normal(seed, *exact.shape)
        A = exact + 1e-3 * (noise + noise.T)
        K = KroneckerOperator.from_operator(A, (2, 3, 4))
        distance = np.linalg.norm(K.to_dense() - A)
        assert distance <= np.linalg.norm(exact - A)
        rng = np.random.default_rng(seed)
        for _ in range(20):
            changed = [f + 1e-3 * rng.standard_normal(f.shape) for f in K.factors]
            other = KroneckerOperator([(f + f.T) / 2 for f in changed])
            assert distance <= np.linalg.norm(other.to_dense() - A)


# --- random sizes ---------------------------------------------------------------------------------


def assert_agrees(A, dense, dampings=(0.0, 0.7, -0.4)):
    """All answers of a structured operator are those of a dense matrix."""
    n = len(dense)
    V = np.random.default_rng(0).standard_normal((n, 3))
    size = np.abs(dense).max() or 1.0
    assert np.abs(A @ V - dense @ V).max() <= 1e-11 * n * size
    assert np.abs(A @ V[:, 0] - dense @ V[:, 0]).max() <= 1e-11 * n * size
    assert np.abs(A.diagonal() - np.diag(dense)).max() <= 1e-12 * n * size
    assert np.abs(A.to_dense() - dense).max() <= 1e-12 * n * size
    assert abs(A.trace() - np.trace(dense)) <= 1e-12 * n * n * size
    for damping in dampings:
        damped = dense + damping * np.eye(n)
        if np.linalg.cond(damped) < 1e3:
            inverse = A.inverse(damping).to_dense()
            assert np.abs(inverse @ damped - np.eye(n)).max() <= 1e-9
            sign, logabsdet = np.linalg.slogdet(damped)
            found = A.slogdet(damping)
            assert found.sign == sign
            assert abs(found.logabsdet - logabsdet) <= 1e-9
            if damping == 0.0:
                w = np.linalg.eigvalsh(dense)
                assert tuple(A.inertia()) == (np.sum(w < 0), 0, np.sum(w > 0))


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    seed=st.integers(0, 10**6),
    definite=st.booleans(),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_random_kronecker_products(sizes, seed, definite):
    assume(math.prod(sizes) <= 64)
    rng = np.random.default_rng(seed)
    factors, dense = [], np.ones((1, 1))
    for size in sizes:
        w = rng.uniform(0.5, 2.0, size) * (1.0 if definite else rng.choice([-1.0, 1.0], size))
        factors.append(symmetric(int(rng.integers(10**6)), *w))
        dense = np.kron(dense, factors[-1])
    K = KroneckerOperator(factors)
    assert_agrees(K, dense)
    assert_agrees(K.eigen(), dense)
    assert_agrees(K + 0.3 * eye_array(len(dense)), dense + 0.3 * np.eye(len(dense)))
    if definite:
        root = K.sqrt().to_dense()
        assert error(root @ root, dense) < 1e-12


@given(
    n=st.integers(1, 8),
    rank=st.integers(1, 10),
    seed=st.integers(0, 10**6),
    shift=st.sampled_from(["none", "scalar", "positive", "negative", "both signs"]),
    signs=st.sampled_from(["positive", "both signs"]),
    zeros=st.integers(0, 2),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_random_matrices_of_low_rank(n, rank, seed, shift, signs, zeros):
    rng = np.random.default_rng(seed)
    U = rng.standard_normal((n, rank))
    s = rng.uniform(0.3, 2.0, rank)
    s = s if signs == "positive" else s * rng.choice([-1.0, 1.0], rank)
    s[:zeros] = 0.0
    d = rng.uniform(0.5, 2.0, n)
    shift = {
        "none": 0.0,
        "scalar": d[0] * rng.choice([-1.0, 1.0]),
        "positive": d,
        "negative": -d,
        "both signs": d * rng.choice([-1.0, 1.0], n),
    }[shift]
    A, dense = LowRankOperator(U, s, shift), outer_sum(U, s, shift)
    # With these no entry of a damped diagonal is small: the table has rows for those.
    dampings, e = (0.0, 5.0, -5.0), rng.uniform(2.5, 3.5, n)
    assert_agrees(A, dense, dampings)
    assert_agrees(A + DiagonalOperator(e), dense + np.diag(e), (0.0, 5.0))
    assert_agrees(-0.5 * A, -0.5 * dense, dampings)


# --- which entries depend on which ----------------------------------------------------------------

CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def programs_of(case):
    closure = linear_map(case.fun, case.x, case.args)
    return [program for _, program in stages(tape_of(closure))]


@CASE
def test_an_entry_depends_on_no_group_out_of_its_span(case):
    H = case.hessian()
    nonzero = np.abs(H) > 1e-12 * np.abs(H).max()
    n = len(H)
    groupings = [np.arange(n), np.arange(n)[::-1].copy(), np.zeros(n, int), np.arange(n) // 2]
    groupings += [np.random.default_rng(seed).permutation(np.arange(n) % 3) for seed in range(2)]
    for program in programs_of(case):
        for groups in groupings:
            least, largest = depends_on(program, groups)
            assert least.shape == largest.shape == (n,)
            # Where an entry depends on nothing, its row is zero.
            assert not nonzero[largest < least].any()
            low = np.where(nonzero, groups, n).min(axis=1)
            high = np.where(nonzero, groups, -1).max(axis=1)
            some = nonzero.any(axis=1)
            assert np.all(least[some] <= low[some])
            assert np.all(largest[some] >= high[some])
            assert np.all(largest[largest < least] == -1)
            assert np.all(largest <= groups.max())
            assert np.all(least >= 0)


def is_diagonal(case):
    H = case.hessian()
    return np.count_nonzero(np.abs(H - np.diag(np.diag(H))) > 1e-12 * np.abs(H).max()) == 0


# The maxima of rows become a contraction with a constant, and its zeros are not looked at.
SEPARABLE = [case for case in CASES if is_diagonal(case) and case.name != "row-maxima"]


@pytest.mark.parametrize("case", SEPARABLE, ids=lambda case: case.name)
def test_the_span_of_a_separable_function_is_exact(case):
    d = np.diag(case.hessian())
    for groups in (np.arange(d.size), np.arange(d.size) // 3):
        *_, program = programs_of(case)
        least, largest = depends_on(program, groups)
        nothing = largest < least
        assert np.all(nothing | ((least == groups) & (largest == groups)))
        assert not d[nothing].any()


def test_there_are_separable_cases():
    assert len(SEPARABLE) > 15


# Where digits are easily lost, and where a matrix is easily filled


def spread(seed, n=30, rank=20):
    """A diagonal over five orders of magnitude, with a part of low rank of the size of one."""
    rng = np.random.default_rng(seed)
    U, s = rng.standard_normal((n, rank)), rng.standard_normal(rank)
    return LowRankOperator(U, s, np.logspace(0, -5, n) * rng.choice([-1.0, 1.0], n))


@pytest.mark.parametrize("seed", range(30))
def test_the_inverse_of_low_rank_and_a_spread_diagonal(seed):
    A = spread(seed)
    dense = A.to_dense()
    residual = np.abs(A.inverse().to_dense() @ dense - np.eye(len(dense))).max()
    assert residual < 1e-14 * np.linalg.cond(dense) + 1e-11
    assert error(A.inverse().inverse().to_dense(), dense) < 1e-12


def test_what_is_positive_by_its_parts_is_never_singular():
    U = normal(3, 500, 2)
    d = np.logspace(-12, 0, 500)
    A = LowRankOperator(U, np.ones(2), d)
    capacitance = np.eye(2) + U.T @ (U / d[:, None])
    expected = np.sum(np.log(d)) + np.linalg.slogdet(capacitance)[1]
    assert A.logdet() == pytest.approx(expected, rel=1e-12)
    assert tuple(A.inertia()) == (0, 0, 500)
    alone = LowRankOperator(np.zeros((4, 1)), [0.0], [1.0, 1e-10, 1e-12, 1e-20])
    assert alone.logdet() == pytest.approx(DiagonalOperator(alone.shift).logdet())


def shifted_grid(m, shift):
    """The five-point Laplacian, and its eigenvalues in closed form."""
    second = diags_array([-np.ones(m - 1), 2.0 * np.ones(m), -np.ones(m - 1)], offsets=[-1, 0, 1])
    grid = kron(eye_array(m), second) + kron(second, eye_array(m)) - shift * eye_array(m * m)
    one = 2.0 - 2.0 * np.cos(np.arange(1, m + 1) * np.pi / (m + 1))
    return csr_array(grid), np.add.outer(one, one).ravel() - shift


@pytest.mark.parametrize("shift", [0.0, 1.3, 3.3])
def test_an_indefinite_grid(shift):
    matrix, eigenvalues = shifted_grid(70, shift)
    S = SparseOperator(matrix)
    expected = (np.sum(eigenvalues < 0), 0, np.sum(eigenvalues > 0))
    assert tuple(S.inertia()) == expected
    assert S.slogdet().logabsdet == pytest.approx(np.sum(np.log(np.abs(eigenvalues))), rel=1e-10)
    assert S.slogdet().sign == (-1.0) ** expected[0]
    v = normal(1, len(eigenvalues))
    assert error(S @ (S.inverse() @ v), v) < 1e-12
    # Row pivoting in an ordering that is made for diagonal pivots would fill ten times as much.
    factors = getattr(S._factorization, "_lu", None)
    assert factors is None or factors.nnz < 60 * len(eigenvalues)


def test_the_inertia_of_zero_blocks():
    n = 3000
    for first in (2.0, 0.0):
        blocks = block_array([[first * eye_array(n), eye_array(n)], [eye_array(n), None]])
        assert tuple(SparseOperator(blocks).inertia()) == (n, 0, n)


def test_inertia_that_cannot_be_proven_says_how_to_count():
    matrix, eigenvalues = shifted_grid(50, 0.0)
    S = SparseOperator(matrix - eigenvalues[1234] * eye_array(2500))
    with pytest.raises(ValueError, match="too near to a singular one"):
        S.inertia()
    below = (S - 1e-5 * eye_array(2500)).inertia().negative
    assert below == np.sum(eigenvalues - eigenvalues[1234] < 1e-5)


def test_a_damping_of_single_precision_factors():
    rng = np.random.default_rng(0)
    a, g = rng.standard_normal((2, 60, 200)).astype(np.float32)
    K = KroneckerOperator([a.T @ a / 60, g.T @ g / 60])
    damping = 1e-3 * float(K.eigenvalues.max())
    v = normal(2, K.shape[0]).astype(np.float32)
    assert error(K.inverse(damping) @ (K @ v + np.float32(damping) * v), v) < 1e-2


def test_a_kronecker_product_is_as_regular_as_its_factors():
    K = KroneckerOperator([np.diag([1.0, 1e-9]), np.diag([-1.0, 1e-9])])
    assert tuple(K.slogdet()) == pytest.approx((1.0, 4 * np.log(1e-9)))
    assert tuple(K.inertia()) == (2, 0, 2)


def test_numbers_without_axes():
    D = DiagonalOperator([1.0, 2.0])
    for two in (np.array(2.0), np.float32(2.0), 2):
        for A in (two * D, D * two):
            assert type(A) is DiagonalOperator
            np.testing.assert_array_equal(A.diagonal(), [2.0, 4.0])
    np.testing.assert_array_equal((D / np.array(2.0)).diagonal(), [0.5, 1.0])
    np.testing.assert_array_equal(D.inverse(np.array(1.0)).diagonal(), [0.5, 1 / 3])
    with pytest.raises(ValueError, match="x is nan, expected a finite number"):
        np.nan * D


def test_operators_for_arrays():
    A = np.array([[2.0, 1.0], [1.0, 2.0]])
    D = DenseOperator(A)
    K = KroneckerOperator([D, DiagonalOperator([1.0, 3.0])])
    np.testing.assert_allclose(K.to_dense(), np.kron(A, np.diag([1.0, 3.0])))
    np.testing.assert_array_equal(D.eigenvalues, np.linalg.eigvalsh(A))
    with pytest.raises(
        TypeError, match=r"expected an array. Use its to_dense\(\), or from_operator"
    ):
        DenseOperator(aslinearoperator(A))
    parts = BlockDiagonalOperator.from_operator(
        K, [slice(0, 2), np.array([False, False, 1, 1], bool)]
    )
    np.testing.assert_allclose(parts.blocks[1].to_dense(), 2.0 * np.diag([1.0, 3.0]))


def test_a_matrix_is_read_and_not_multiplied():
    matrix = csr_array(path_laplacian(2000))
    np.testing.assert_array_equal(
        DiagonalOperator.from_operator(matrix).diagonal(), matrix.diagonal()
    )
    np.testing.assert_array_equal(DenseOperator.from_operator(matrix).to_dense(), matrix.toarray())


def test_tiny_numbers_are_symmetric():
    L = LowRankOperator.from_operator(1e-200 * np.ones((50, 50)), 2, rng=0)
    assert L.s[0] == pytest.approx(5e-199)


@pytest.mark.parametrize(
    "A",
    [
        DiagonalOperator([1.0, 0.0, 3.0]),
        DenseOperator(np.diag([1.0, 2.0, 0.0])),
        KroneckerOperator([np.diag([1.0, 0.0]), [[2.0, 1.0], [1.0, 2.0]], np.eye(2)]),
        BlockDiagonalOperator([np.eye(2), DiagonalOperator([5.0, 6.0])], [[2, 0], [3, 1]]),
        BlockDiagonalOperator([KroneckerOperator([np.eye(2), np.eye(1)]), [[3.0]]]),
        2.0 * DiagonalOperator([1.0, 2.0]) + DenseOperator([[1.0, 2.0], [2.0, 1.0]]),
    ],
    ids=repr,
)
def test_structures_that_can_be_sparse(A):
    np.testing.assert_array_equal(A.to_sparse().toarray(), A.to_dense())
    np.testing.assert_array_equal(SparseOperator.from_operator(A).to_dense(), A.to_dense())


def test_what_cancels_in_a_low_rank_part_is_zero():
    U = normal(4, 6, 2)
    for L in (LowRankOperator(U, [2.0, 3.0]), LowRankOperator(U, [2.0, 3.0], np.arange(1.0, 7.0))):
        zero = L - L
        assert tuple(zero.inertia()) == (0, 6, 0)
        with pytest.raises(np.linalg.LinAlgError, match="damping"):
            zero.inverse()


def test_a_small_shift_is_not_lost_beside_a_large_part():
    """A precise observation and a wide prior."""
    L = LowRankOperator(np.eye(5)[:, :1], [1e8], 1e-9)
    assert L.logdet() == pytest.approx(np.log(1e8) + 4 * np.log(1e-9))
    assert tuple(L.inertia()) == (0, 0, 5)
    # The condition is 1e17: the inverse is right in proportion to its largest entry.
    for inverse in (L.inverse(), LowRankOperator(np.eye(5)[:, :1], [1e8]).inverse(1e-9)):
        np.testing.assert_allclose(1e-9 * inverse.diagonal(), [0, 1, 1, 1, 1], atol=1e-15)
