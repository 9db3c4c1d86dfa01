"""What every operator of hessop answers to, beyond SciPy's own contract."""

import copy
import pickle

import autograd.numpy as anp
import numpy as np
import pytest
import scipy.sparse
from module_level import cubes
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from hessop import NonFiniteError, Objective, hessian_operator, jacobian_operator

A = np.random.default_rng(0).standard_normal((6, 6))
A = A + A.T


def quadratic(x):
    return 0.5 * anp.dot(x, anp.dot(A, x))


@pytest.fixture
def H():
    return hessian_operator(quadratic, np.arange(6.0))


def test_quadratic_form(H):
    v, V = np.arange(6.0), np.random.default_rng(1).standard_normal((6, 3))
    assert H.quadratic_form(v) == pytest.approx(v @ A @ v)
    assert isinstance(H.quadratic_form(v), float)
    np.testing.assert_allclose(H.quadratic_form(V), np.diag(V.T @ A @ V))
    w = v + 1j * v[::-1]
    assert H.quadratic_form(w) == pytest.approx((w.conj() @ A @ w).real)
    J = jacobian_operator(lambda x: x[:2], np.ones(3))
    with pytest.raises(ValueError, match="square"):
        J.quadratic_form(np.ones(3))


def test_diagonal_and_dense(H):
    np.testing.assert_allclose(H.diagonal(), np.diag(A))
    np.testing.assert_allclose(H.to_dense(), A)
    assert H.n_matvec == 12
    B = np.random.default_rng(2).standard_normal((3, 5))
    J = jacobian_operator(lambda x: anp.dot(B, x), np.ones(5))
    np.testing.assert_allclose(J.diagonal(), np.diag(B))
    np.testing.assert_allclose(J.to_dense(), B)
    np.testing.assert_allclose(J.T @ np.eye(3), B.T)


def test_more_columns_than_one_block():
    scale = np.arange(1.0, 151.0)
    H = hessian_operator(lambda x: 0.5 * anp.sum(scale * x**2), np.zeros(150))
    np.testing.assert_allclose(H.diagonal(), scale)
    np.testing.assert_allclose(H.to_dense(), np.diag(scale))


def test_symmetrize():
    def fun(x):
        return anp.sum(anp.exp(anp.outer(x, x[::-1]) / 3.0) ** 1.7)

    H = hessian_operator(fun, np.linspace(0, 1, 8))
    plain, symmetric = H.to_dense(), H.to_dense(symmetrize=True)
    np.testing.assert_array_equal(symmetric, symmetric.T)
    np.testing.assert_array_equal(symmetric, (plain + plain.T) / 2)
    with pytest.raises(ValueError, match="square"):
        jacobian_operator(lambda x: x[:2], np.ones(3)).to_dense(symmetrize=True)


@pytest.mark.parametrize(
    ("rows", "cols"),
    [
        (slice(0, 3), slice(3, None)),
        ([5, 0, 2], [1]),
        (np.array([True, False] * 3), slice(None, None, -1)),
        ([-1, 0], [-1, 0]),
        (2, np.int64(3)),
    ],
)
def test_block(H, rows, cols):
    block = H.block(rows, cols)
    dense = A[np.atleast_1d(np.arange(6)[rows])][:, np.atleast_1d(np.arange(6)[cols])]
    assert block.shape == dense.shape
    np.testing.assert_allclose(block.to_dense(), dense)
    np.testing.assert_allclose(block.T @ np.eye(len(dense)), dense.T)
    np.testing.assert_allclose(block @ np.ones(dense.shape[1]), dense.sum(axis=1))
    assert H.n_matvec >= dense.shape[1]


def test_a_principal_block_is_its_own_transpose(H):
    assert H.block([0, 3], [0, 3]).T.shape == (2, 2)
    block = H.block([0, 3], [0, 3])
    assert block.T is block


@pytest.mark.parametrize("bad", [[0, 0], [6], [0.5], np.ones(5, bool), np.ones((2, 2), int), []])
def test_block_refuses(H, bad):
    with pytest.raises(IndexError, match="block: rows"):
        H.block(bad, [0])


def test_trees():
    p = {"b": 3.0, "a": np.array([[1.0, 2.0]])}
    H = hessian_operator(cubes, p)
    product = H.matvec_tree({"a": np.array([[1.0, 1.0]]), "b": 1.0})
    np.testing.assert_allclose(product["a"], [[6.0, 12.0]])
    assert product["b"] == 2.0
    np.testing.assert_array_equal(H.flatten(H.unflatten(np.arange(3.0))), np.arange(3.0))
    with pytest.raises(TypeError, match="x is complex"):
        H.unflatten(np.ones(3) * 1j)
    gradient = H.unflatten(H.gradient)
    np.testing.assert_allclose(gradient["a"], [[3.0, 12.0]])
    with pytest.raises(ValueError, match="v has the structure"):
        H.matvec_tree([1.0, 2.0])
    with pytest.raises(ValueError, match=r"v\['a'\] has shape \(2,\)"):
        H.matvec_tree({"a": np.ones(2), "b": 1.0})


def test_algebra_keeps_blocks_fast(H):
    V = np.random.default_rng(3).standard_normal((6, 4))
    B = np.random.default_rng(4).standard_normal((6, 6))
    shift = 0.1 * scipy.sparse.eye_array(6)
    J = jacobian_operator(lambda x: anp.dot(B, x), np.ones(6))
    for combined, dense in [
        (2.0 * H, 2 * A),
        (H * 2, 2 * A),
        (H / 2, A / 2),
        (-H, -A),
        (H + shift, A + 0.1 * np.eye(6)),
        (shift + H, A + 0.1 * np.eye(6)),
        (H - shift, A - 0.1 * np.eye(6)),
        (shift - H, 0.1 * np.eye(6) - A),
        (H + B, A + B),
        (B - H, B - A),
        (H - aslinearoperator(B), A - B),
        (J.T @ J + H, B.T @ B + A),
        (J.T * H * J, B.T @ A @ B),
        (H**2, A @ A),
        (3 * H.block(slice(0, 6), slice(0, 6)) + H, 4 * A),
    ]:
        assert isinstance(combined, LinearOperator)
        before = H.n_matvec
        np.testing.assert_allclose(combined @ V, dense @ V, atol=1e-12)
        np.testing.assert_allclose(combined @ V[:, 0], dense @ V[:, 0], atol=1e-12)
        np.testing.assert_allclose(combined.T @ V, dense.T @ V, atol=1e-12)
        assert H.n_matvec > before


def test_blocks_reach_the_operator_as_blocks(H, monkeypatch):
    shapes = []
    original = type(H)._block_product

    def spy(self, V):
        shapes.append(V.shape)
        return original(self, V)

    monkeypatch.setattr(type(H), "_block_product", spy)
    _ = (2.0 * H + aslinearoperator(scipy.sparse.eye_array(6))) @ np.eye(6)
    assert shapes == [(6, 6)]


def test_matrices_of_any_real_dtype_are_subtracted(H):
    for dtype in (np.uint8, np.int64, np.float32):
        np.testing.assert_allclose((H - np.eye(6, dtype=dtype)) @ np.eye(6), A - np.eye(6))
    np.testing.assert_allclose((H - np.eye(6).tolist()) @ np.eye(6), A - np.eye(6))


def test_a_number_is_not_added(H):
    with pytest.raises(TypeError, match=r"x \* scipy.sparse.eye_array\(6\)"):
        _ = H + 0.1
    with pytest.raises(TypeError, match="eye_array"):
        _ = 0.1 - H


def test_float32_composites_stay_float32():
    H = hessian_operator(lambda x: anp.sum(x**2), np.ones(3, np.float32))
    for combined in (2.0 * H, H * 2.0, H / 3.0, -H, H + H, H @ H):
        assert combined.dtype == np.float32
        assert (combined @ np.ones(3, np.float32)).dtype == np.float32


def test_repr():
    H = hessian_operator(cubes, {"a": np.ones(2), "b": 1.0})
    _ = H @ np.eye(3)
    line = "<3x3 HessianOperator of cubes, reverse-over-reverse, float64, 3 products>"
    assert repr(H) == line
    assert repr(H.block([0], [1])).startswith(f"<1x1 SubmatrixOperator of {line}")
    J = jacobian_operator(lambda x: x, np.ones(2))
    assert repr(J) == "<2x2 JacobianOperator of <lambda>, float64, 0 products>"


@pytest.mark.parametrize("mode", ["auto", "forward-over-reverse", "finite-difference"])
@pytest.mark.parametrize(
    "again", [lambda H: pickle.loads(pickle.dumps(H)), copy.copy, copy.deepcopy]
)
def test_pickling_and_copying(mode, again):
    p = {"a": np.array([1.0, 2.0]), "b": 3.0}
    H = hessian_operator(cubes, p, args=(2.0,), mode=mode)
    v = np.array([1.0, 0.0, 2.0])
    product = H @ v
    twin = again(H)
    np.testing.assert_array_equal(twin @ v, product)
    assert (twin.mode, twin.value, twin.shape) == (H.mode, H.value, H.shape)
    assert (H.n_matvec, twin.n_matvec) == (1, 1)
    composite = again(2.0 * H + H)
    np.testing.assert_allclose(composite @ v, 3 * product)


def test_float32_survives_pickling():
    p = {"a": np.ones(2, np.float32), "b": np.float32(1.0)}
    H = pickle.loads(pickle.dumps(hessian_operator(cubes, p)))
    assert H.dtype == np.float32
    assert (H @ np.ones(3)).dtype == np.float32


def test_an_objective_pickles():
    obj = Objective(cubes, {"a": np.ones(2), "b": 1.0}, (2.0,))
    twin = pickle.loads(pickle.dumps(obj))
    assert twin.fun(twin.x0) == obj.fun(obj.x0)
    assert copy.deepcopy(obj).fun(obj.x0) == obj.fun(obj.x0)


def test_a_local_function_does_not_pickle_and_the_error_says_which():
    def local(x):
        return anp.sum(x**2)

    H = hessian_operator(local, np.ones(2))
    with pytest.raises((AttributeError, pickle.PicklingError), match="local"):
        pickle.dumps(H)
    np.testing.assert_allclose(copy.deepcopy(H) @ np.ones(2), [2.0, 2.0])


def test_operators_of_a_jacobian_copy():
    J = copy.deepcopy(jacobian_operator(lambda x: x**2, np.arange(3.0)))
    np.testing.assert_allclose(J @ np.ones(3), [0.0, 2.0, 4.0])


@pytest.mark.parametrize("make", [hessian_operator, jacobian_operator])
def test_shapes_are_refused_in_words(make):
    op = make(lambda x: anp.sum(x**2) if make is hessian_operator else x**2, np.ones(10))
    for bad, words in [
        (np.ones(12), "12 entries, expected 10"),
        (np.ones((1, 10)), r"shape \(1, 10\), expected 10.*Transpose it"),
        (np.ones((10, 2, 1)), r"shape \(10, 2, 1\), expected 10"),
        (np.ones((3, 4)), r"shape \(3, 4\), expected 10"),
        (np.float64(1.0).reshape(()), "shape"),
    ]:
        with pytest.raises(ValueError, match=words):
            op.matvec(bad)
        with pytest.raises(ValueError, match=words):
            op.matmat(bad)
        if bad.shape == (12,):
            with pytest.raises(ValueError, match=words):
                op.T.dot(bad) if make is hessian_operator else op.rmatvec(bad)
        if bad.ndim:
            with pytest.raises(ValueError, match=words):
                op @ bad
    for bad, call in ((np.ones((10, 2)), op.matvec), (np.ones(10), op.matmat)):
        with pytest.raises(ValueError, match=r"v has shape .* expected 10"):
            call(bad)
    with pytest.raises(TypeError, match=r"Use (matvec_tree|flatten)"):
        op @ {"a": np.ones(10)}
    with pytest.raises(TypeError, match="X is sparse"):
        op @ scipy.sparse.eye_array(10)
    with pytest.raises(TypeError, match="dtype object"):
        op @ np.array([None] * 10)
    with pytest.raises(TypeError, match="dtype <U"):
        op @ np.array(["a"] * 10)


def test_the_flat_size_is_explained(H):
    with pytest.raises(ValueError, match=r"v has 12 entries, expected 6 \(the flat size of x\)"):
        H @ np.ones(12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_refused(H, bad):
    v = np.ones(6)
    v[3] = bad
    with pytest.raises(NonFiniteError, match=rf"v has {bad} at entry 3 \(1 of 6"):
        H @ v
    V = np.ones((6, 2))
    V[3, 1] = bad
    with pytest.raises(NonFiniteError, match=rf"v has {bad} at entry \(3, 1\)"):
        H @ V
    with pytest.raises(NonFiniteError):
        H @ (v + 1j)
    assert H.n_matvec == 0


def test_large_and_tiny_numbers_are_finite(H):
    v = np.full(6, 1e200)  # whose square overflows
    np.testing.assert_allclose(H @ v, A @ v)
    v = np.full(6, 1e-200)
    np.testing.assert_allclose(H @ v, A @ v)


def test_a_product_that_is_not_finite_is_an_error():
    H = hessian_operator(lambda x: anp.sum(anp.abs(x) ** 1.5), np.array([1.0, 0.0]))
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="though v is finite"):
        H @ np.ones(2)


def test_progress_bars():
    pytest.importorskip("tqdm")
    H = hessian_operator(quadratic, np.zeros(6))
    np.testing.assert_allclose(H.to_dense(progress=True), A)
    np.testing.assert_allclose(H.diagonal(progress=True), np.diag(A))


# Sums and multiples


def test_a_combination_is_an_operator_of_ours():
    x = {"a": np.array([1.0, 2.0]), "b": 3.0}
    H = hessian_operator(lambda x: anp.sum(x["a"] ** 3) * x["b"] ** 2, x)
    dense, shift = H.to_dense(), 0.1 * scipy.sparse.eye_array(3)
    A = H / 4 + shift
    expected = dense / 4 + 0.1 * np.eye(3)
    v = np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(A @ v, expected @ v, rtol=1e-14)
    np.testing.assert_allclose(A @ np.eye(3), expected, rtol=1e-14)
    assert A.n_matvec == 4
    np.testing.assert_allclose(A.diagonal(), np.diag(expected), rtol=1e-14)
    np.testing.assert_allclose(A.to_dense(), expected, rtol=1e-14)
    np.testing.assert_allclose(A.block([0], [1, 2]).to_dense(), expected[:1, 1:], rtol=1e-14)
    assert A.quadratic_form(v) == pytest.approx(v @ expected @ v, rel=1e-13)
    assert A.T is A
    assert A.layout is H.layout
    assert repr(A).startswith("<3x3 CombinedOperator 0.25 HessianOperator + 1 ")


def test_a_combination_can_be_shifted_scaled_and_taken_apart_again():
    H = hessian_operator(lambda x: anp.sum(x**4), np.array([1.0, 2.0]))
    identity = scipy.sparse.eye_array(2)
    dense = H.to_dense()
    for A, expected in (
        (H + identity + identity, dense + 2 * np.eye(2)),
        (2.0 * H - identity, 2 * dense - np.eye(2)),
        (identity - H, np.eye(2) - dense),
        (-(H + np.eye(2)) / 2, -(dense + np.eye(2)) / 2),
        (3 * (H + H) - H, 5 * dense),
        (H - H, 0 * dense),
    ):
        np.testing.assert_allclose(A @ np.eye(2), expected, rtol=1e-14)
        assert A.T is A
    assert [factor for factor, _ in (3 * (H + H) - H).terms] == [5.0]


def test_a_combination_of_what_is_not_symmetric_has_an_adjoint():
    J = jacobian_operator(lambda x: anp.array([x[0] * x[1], x[1] ** 2]), np.array([2.0, 3.0]))
    M = np.array([[0.0, 1.0], [5.0, 0.0]])
    A = 2.0 * J + M
    expected = 2.0 * J.to_dense() + M
    U = np.array([[1.0, 2.0, 0.0], [0.5, -1.0, 3.0]])
    np.testing.assert_allclose(A.T @ U, expected.T @ U, rtol=1e-14)
    np.testing.assert_allclose(A.T @ U[:, 0], expected.T @ U[:, 0], rtol=1e-14)
    assert not A.symmetric


def test_a_combination_with_complex_numbers_or_another_shape_is_scipys():
    H = hessian_operator(lambda x: anp.sum(x**4), np.array([1.0, 2.0]))
    np.testing.assert_allclose((1j * H) @ np.ones(2), 1j * (H @ np.ones(2)))
    np.testing.assert_allclose((H + 1j * np.eye(2)) @ np.ones(2), H @ np.ones(2) + 1j)
    with pytest.raises(ValueError, match=r"shape|dimension|add"):
        H + np.eye(3)


def test_a_combination_pickles_and_copies():
    H = hessian_operator(cubes, {"a": np.array([1.0, 2.0]), "b": 0.5})
    A = 0.5 * H + scipy.sparse.eye_array(3)
    for twin in (pickle.loads(pickle.dumps(A)), copy.deepcopy(A)):
        np.testing.assert_allclose(twin @ np.eye(3), A @ np.eye(3), rtol=1e-15)


# Products and transposes


def test_levenberg_and_marquardt():
    J = jacobian_operator(lambda x: anp.array([x[0] * x[1], x[1] ** 2, x[0]]), np.array([2.0, 3.0]))
    dense = J.to_dense()
    A = J.T @ J + 0.5 * scipy.sparse.eye_array(2)
    np.testing.assert_allclose(A.to_dense(), dense.T @ dense + 0.5 * np.eye(2), rtol=1e-14)
    np.testing.assert_allclose(A.diagonal(), np.diag(dense.T @ dense) + 0.5, rtol=1e-14)
    assert A.symmetric
    assert A.layout is J.layout
    assert (J @ J.T).symmetric
    assert repr(J.T @ J) == (
        "<2x2 ProductOperator TransposedOperator @ JacobianOperator, float64, 0 products>"
    )


def test_products_and_transposes_of_any_operators():
    J = jacobian_operator(lambda x: anp.array([x[0] * x[1], x[1] ** 2, x[0]]), np.array([2.0, 3.0]))
    H = hessian_operator(lambda x: x[0] ** 2 * x[1], np.array([2.0, 3.0]))
    j, h = J.to_dense(), H.to_dense()
    for A, expected in (
        (J @ H, j @ h),
        (H @ J.T, h @ j.T),
        ((J @ H).T, h @ j.T),
        (J.T, j.T),
        (J.T.T, j),
        ((2.0 * J).T, 2.0 * j.T),
        (J @ H @ J.T, j @ h @ j.T),
        (H @ H - H, h @ h - h),
    ):
        np.testing.assert_allclose(A.to_dense(), expected, rtol=1e-13)
        np.testing.assert_allclose(A.T @ np.eye(len(expected)), expected.T, rtol=1e-13)
        v = np.arange(1.0, expected.shape[1] + 1)
        np.testing.assert_allclose(A @ v, expected @ v, rtol=1e-13)
        np.testing.assert_allclose(A.T.matvec(expected @ v), expected.T @ expected @ v, rtol=1e-13)
    assert J.T.T is J
    assert (H @ H).symmetric
    assert not (J @ H).symmetric
    with pytest.raises(ValueError, match=r"shape|dimension|mismatch"):
        H @ J


def test_products_pickle():
    H = hessian_operator(cubes, {"a": np.array([1.0, 2.0]), "b": 0.5})
    A = (2.0 * H) @ H
    np.testing.assert_allclose(pickle.loads(pickle.dumps(A)).to_dense(), A.to_dense(), rtol=1e-15)
