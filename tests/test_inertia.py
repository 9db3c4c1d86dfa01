"""Counts of eigenvalues by their signs, and the verdicts on critical points."""

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.sparse import diags_array
from scipy.sparse.linalg import LinearOperator
from spectra import by_products, grid_eigenvalues, grid_laplacian, planted

from hessop import DiagonalOperator, LowRankOperator, hessian_operator
from hessop.spectrum.critical_points import critical_point
from hessop.spectrum.inertias import inertia


def counts(result):
    return result.negative, result.zero, result.positive


@pytest.mark.parametrize("below", [0, 1, 17, 40, 60])
@pytest.mark.parametrize("form", ["products", "array", "low-rank"])
def test_small_matrices_are_counted(below, form):
    values = np.r_[-np.arange(1.0, below + 1), np.zeros(3), np.arange(1.0, 60 - below + 1)]
    A = planted(values)
    if form == "low-rank":
        Q = np.linalg.qr(np.random.default_rng(1).standard_normal((63, 63)))[0]
        nonzero = values != 0.0
        A = LowRankOperator(Q[:, nonzero], values[nonzero])
    result = inertia(by_products(A) if form == "products" else A)
    assert counts(result) == (below, 3, 60 - below)
    assert result.status == "exact"
    assert result.converged
    assert result.standard_error == 0.0
    assert result.tolerance < 1e-9


def test_a_tolerance_and_a_shift():
    d = np.array([-2.0, -1e-3, 0.0, 1e-3, 1.0, 2.0, 3.0])
    for A in (DiagonalOperator(d), np.diag(d), diags_array(d)):
        assert counts(inertia(A)) == (2, 1, 4)
        assert counts(inertia(A, tol=0.01)) == (1, 3, 3)
        assert counts(inertia(A, shift=1.0)) == (4, 1, 2)
        assert counts(inertia(A, shift=1.0, tol=1.5)) == (1, 5, 1)


@pytest.mark.parametrize("rank", [0, 1, 2000])
def test_large_sparse_matrices_are_counted_by_factors(rank):
    A, values = grid_laplacian(61, 83), grid_eigenvalues(61, 83)
    shift = (values[rank - 1] + values[rank]) / 2 if rank else 0.0
    result = inertia(A, shift=shift)
    assert counts(result) == (rank, 0, values.size - rank)
    assert result.method == "factors"
    assert result.n_matvec < 20


def test_a_recorded_hessian_is_counted_by_factors():
    def fun(x):
        return anp.sum((x[1:] - x[:-1]) ** 2) + anp.sum(anp.cos(x) * anp.arange(800.0))

    x = np.linspace(0.0, 3.0, 800)
    H = hessian_operator(fun, x)
    result = inertia(H)
    assert result.method == "factors"
    assert result.negative == np.count_nonzero(np.linalg.eigvalsh(H.to_sparse().toarray()) < 0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_few_eigenvalues_on_one_side_are_found_by_products(sign):
    values = np.r_[-3.0, -1.0, 0.0, np.linspace(0.5, 5.0, 2198)] * sign
    A = by_products(planted_by_reflections(values))
    result = inertia(A, rng=0)
    assert counts(result) == ((2, 1, 2198) if sign > 0 else (2198, 1, 2))
    assert (result.method, result.status) == ("extreme eigenpairs", "converged")
    assert result.n_matvec < 700


def planted_by_reflections(values):
    """A full matrix, of a diagonal one between two reflections."""
    n = values.size
    u = np.random.default_rng(0).standard_normal(n)
    u /= np.linalg.norm(u)
    return Reflected(np.asarray(values), u)


class Reflected(LinearOperator):
    def __init__(self, values, u):
        super().__init__(np.dtype(float), (values.size, values.size))
        self.values, self.u = values, u

    def _matvec(self, v):
        return self._matmat(v.reshape(-1, 1))

    def _matmat(self, V):
        def reflect(W):
            return W - 2.0 * np.outer(self.u, self.u @ W)

        return reflect(self.values[:, None] * reflect(V))


@pytest.mark.parametrize("gap", [0.5, 0.01])
def test_estimates_cover_the_truth(gap):
    values = np.r_[-np.geomspace(gap, 3.0, 350), np.zeros(150), np.geomspace(gap, 5.0, 1000)]
    values = np.r_[values, np.full(1000, 6.0)]  # 2500 are more than are decomposed as a whole
    A = planted_by_reflections(values)
    good = 0
    for seed in range(6):
        result = inertia(A, tol=1e-3, n_probes=6, degree=60, rng=seed)
        assert result.method == "lanczos"
        assert not result.converged
        assert sum(counts(result)) == 2500
        assert 0.0 < result.standard_error < (100.0 if gap > 0.1 else 1000.0)
        good += abs(result.negative - 350) <= result.standard_error
        assert abs(result.negative - 350) <= 3 * result.standard_error
        assert abs(result.positive - 2000) <= 3 * result.standard_error
    assert good >= 3


def test_a_callback_may_stop_an_estimate_and_its_products_are_counted():
    def callback(result):
        raise StopIteration

    A = by_products(planted(np.linspace(-1.0, 1.0, 300)))
    result = inertia(A, method="lanczos", callback=callback, rng=0)
    assert result.status == "stopped"
    full = inertia(A, method="lanczos", n_probes=4, degree=20, rng=0)
    assert full.n_matvec == 2 + 10 + 4 * 20
    assert repr(full) == repr(inertia(A, method="lanczos", n_probes=4, degree=20, rng=0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "cholesky"}, "method is 'cholesky'"),
        ({"tol": -1.0}, "tol is -1.0"),
        ({"tol": np.nan}, "tol is nan"),
        ({"shift": np.inf}, "expected a finite real number"),
        ({"n_probes": 1}, "n_probes is 1"),
        ({"degree": 0}, "degree is 0"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        inertia(np.eye(3), **options)
    with pytest.raises(ValueError, match="not symmetric"):
        inertia(np.array([[0.0, 1.0], [0.0, 0.0]]))


# --- critical points ------------------------------------------------------------------------------


def cosines(x):
    return anp.prod(anp.cos(x))


@pytest.mark.parametrize(
    ("x", "kind"),
    [
        ([0.0, 0.0], "maximum"),
        ([0.0, np.pi], "minimum"),
        ([np.pi / 2, np.pi / 2], "saddle"),
        ([0.3, 0.2], "not critical"),
    ],
)
def test_products_of_cosines(x, kind):
    point = critical_point(cosines, np.array(x))
    assert point.kind == kind
    dense = np.linalg.eigvalsh(hessian_operator(cosines, np.array(x)).to_dense())
    assert (point.smallest, point.largest) == pytest.approx((dense[0], dense[-1]))
    assert str(point).startswith(kind)
    if kind in ("maximum", "saddle"):
        step = 1e-2
        fall = cosines(np.array(x)) - cosines(np.array(x) + step * point.escape)
        assert fall == pytest.approx(point.promised_decrease(step), rel=1e-3)
    else:
        assert point.escape is None
        assert point.promised_decrease(1.0) == 0.0


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: x[0] ** 3 - 3 * x[0] * x[1] ** 2,  # the monkey saddle
        lambda x: anp.sum(x**4),
        lambda x: x[0] ** 2 + x[1] ** 4,
        lambda x: -(x[0] ** 2) + x[1] ** 3,
    ],
)
def test_degenerate_points(fun):
    point = critical_point(fun, np.zeros(2))
    assert point.kind == "degenerate"
    assert "higher order" in point.reason


@pytest.mark.parametrize("n", [30, 500])
@pytest.mark.parametrize("index", [0, 1, 3, "all"])
def test_the_kind_follows_the_index(n, index):
    scale = np.linspace(1.0, 4.0, n)
    index = n if index == "all" else index
    scale[:index] *= -1.0
    mix = np.random.default_rng(0).standard_normal(n)
    mix /= np.linalg.norm(mix)

    def fun(p):
        x = anp.concatenate([p["a"], p["b"]])
        x = x - 2.0 * mix * (mix @ x)
        return anp.sum(scale * (0.5 * x**2 + x**4))

    point = critical_point(fun, {"a": np.zeros(n // 2), "b": np.zeros(n - n // 2)})
    assert point.kind == {0: "minimum", n: "maximum"}.get(index, "saddle")
    if index:
        way = {name: 1e-3 * part for name, part in point.escape.items()}
        assert fun(way) < 0.0
        assert fun(way) == pytest.approx(-point.promised_decrease(1e-3), rel=1e-4)


def test_a_networks_saddle_of_equal_units():
    """Two hidden units that are equal stay equal under the gradient: a saddle between minima."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 2))
    y = np.tanh(X @ [2.0, -1.0]) - np.tanh(X @ [-0.5, 1.5])

    def loss(p):
        return anp.mean((anp.tanh(X @ p["in"].T) @ p["out"] - y) ** 2)

    def tied(q):
        return loss({"in": anp.stack([q[:2], q[:2]]), "out": anp.stack([q[2], q[2]])})

    from hessop import minimize

    q = minimize(tied, np.array([1.0, -1.0, 0.5]), tol=1e-10).x
    point = critical_point(loss, {"in": np.stack([q[:2], q[:2]]), "out": np.array([q[2], q[2]])})
    assert point.kind == "saddle"
    # The units part: opposite changes.
    np.testing.assert_allclose(point.escape["in"][0], -point.escape["in"][1], atol=1e-6)


def test_the_verdict_does_not_depend_on_units_of_the_function():
    for factor in (1e-8, 1.0, 1e8):
        assert critical_point(lambda x, f=factor: f * cosines(x), np.zeros(3)).kind == "maximum"
        at = np.full(3, 0.1)
        assert critical_point(lambda x, f=factor: f * cosines(x), at).kind == "not critical"


def test_tolerances_decide_and_are_told():
    def fun(x):
        return x[0] ** 2 + 1e-4 * x[1] ** 2

    x = np.array([1e-4, 0.0])
    point = critical_point(fun, x)
    assert point.kind == "not critical"
    assert point.gradient_norm == pytest.approx(2e-4)
    assert point.gradient_tolerance == pytest.approx(2e-5)
    assert "raise gtol" in point.reason
    assert critical_point(fun, x, gtol=1e-3).kind == "minimum"
    flat = critical_point(fun, x, gtol=1e-3, tol=1e-3)
    assert flat.kind == "degenerate"
    assert flat.curvature_tolerance == pytest.approx(2e-3)


def test_finite_differences_have_a_larger_tolerance():
    def grad(x):
        return np.array([2.0 * x[0], 4.0 * x[1] ** 3])

    point = critical_point(None, np.zeros(2), grad=grad)
    assert point.kind == "degenerate"
    assert np.isnan(point.value)


def test_what_was_not_found_is_undecided():
    scale = np.geomspace(1e-9, 1.0, 2000)

    def fun(x):
        return 0.5 * anp.sum(scale * x**2)

    point = critical_point(fun, np.zeros(2000), n_matvec=40)
    assert point.kind == "undecided"
    assert "Raise n_matvec" in point.reason
    assert point.n_matvec <= 40


@pytest.mark.parametrize("options", [{"gtol": -1.0}, {"tol": np.nan}, {"n_matvec": 1}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        critical_point(cosines, np.zeros(2), **options)


def test_a_hessian_at_hand_is_looked_at():
    def fun(x):
        return anp.sum(anp.cos(x)) + x[0] ** 2

    H = hessian_operator(fun, np.zeros(300))
    dense = H.to_dense()
    point = critical_point(fun, np.zeros(300), A=dense)
    assert (point.kind, point.smallest, point.largest) == ("saddle", -1.0, 1.0)
    assert point.smallest_residual < 1e-12
    with pytest.raises(ValueError, match=r"A has shape \(2, 2\), expected \(300, 300\)"):
        critical_point(fun, np.zeros(300), A=np.eye(2))


def test_an_interruption_is_not_passed_over():
    A = planted(np.r_[-1.0, np.linspace(0.1, 1.0, 249)])
    count = 0

    def product(v):
        nonlocal count
        count += 1
        if count == 30:
            raise KeyboardInterrupt
        return A @ v

    operator = LinearOperator((250, 250), matvec=product, dtype=float)
    with pytest.raises(KeyboardInterrupt):
        inertia(operator, rng=0)
    assert count == 30


def test_a_shift_is_named():
    with pytest.raises(ValueError, match="shift is nan, expected a finite real number"):
        inertia(np.eye(2), shift=np.nan)
