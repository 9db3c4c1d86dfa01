"""Random probes, their running mean, and how long work ends."""

from dataclasses import dataclass, replace

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.sparse import random_array
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from hessop import NotConvergedWarning, hessian_operator
from hessop.operators.foreign import as_operator, as_square, as_symmetric
from hessop.operators.probing import PROBES, RunningMean, columns_together, probe_blocks
from hessop.spectrum.estimates import Estimate, check_rtol, exact_estimate, last_of

# --- probes and their mean ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(PROBES))
def test_probes_have_the_identity_for_their_covariance(kind):
    blocks = list(probe_blocks(5, 20_000, np.random.default_rng(0), np.float64, kind=kind))
    assert max(block.shape[1] for block in blocks) <= 64
    Z = np.concatenate(blocks, axis=1)
    assert Z.shape == (5, 20_000)
    assert np.abs(Z @ Z.T / 20_000 - np.eye(5)).max() < 0.05
    if kind != "normal":
        assert (Z**2).sum(axis=0) == pytest.approx(5.0)


def test_wide_blocks_are_cut_to_the_memory():
    assert columns_together(100) == 64
    assert columns_together(1_000_000) == 4
    assert columns_together(1_000_000, per_column=30) == 1


@pytest.mark.parametrize("shape", [(), (3,)])
@pytest.mark.parametrize("cuts", [[7], [1, 2, 4], [1] * 7])
def test_running_mean_is_that_of_all_samples(shape, cuts):
    # The spread is small beside the mean: a sum of squares would have lost it.
    samples = 1e8 + np.random.default_rng(1).standard_normal((*shape, 7))
    running = RunningMean()
    for part in np.split(samples, np.cumsum(cuts)[:-1], axis=-1):
        running.add(part)
    assert running.count == 7
    np.testing.assert_allclose(running.mean, samples.mean(axis=-1), rtol=1e-15)
    np.testing.assert_allclose(running.deviation, samples.std(axis=-1, ddof=1), rtol=1e-6)
    np.testing.assert_allclose(running.standard_error, running.deviation / 7**0.5)


def test_one_sample_has_no_error_that_is_known():
    running = RunningMean()
    running.add(np.array([2.0]))
    assert running.mean == 2.0
    assert running.standard_error == np.inf


# --- operators that are not ours ------------------------------------------------------------------


def test_a_foreign_operator_has_blocks_and_an_adjoint():
    matrix = random_array((6, 4), density=0.7, rng=0).toarray()
    A = as_operator(aslinearoperator(matrix))
    assert not A.symmetric
    U, V = np.ones((6, 2)), np.ones((4, 3))
    np.testing.assert_allclose(A @ V, matrix @ V)
    np.testing.assert_allclose(A.T @ U, matrix.T @ U)
    np.testing.assert_allclose(A.rmatmat(U), matrix.T @ U)
    np.testing.assert_array_equal(A.to_dense(), matrix)
    assert repr(A) == "<6x4 ForeignOperator of MatrixLinearOperator, float64, 7 products>"
    with pytest.raises(ValueError, match=r"A has shape \(6, 4\), expected a square operator"):
        as_square(matrix)
    with pytest.raises(ValueError, match="A is not symmetric"):
        as_symmetric(matrix[:4])


def test_a_transpose_of_scipys_has_its_own_entries():
    matrix = np.array([[1.0, 2.0], [3.0, 4.0]])
    A = as_operator(aslinearoperator(matrix).T)
    np.testing.assert_array_equal(A.to_dense(), matrix.T)
    np.testing.assert_array_equal(A.diagonal(), [1.0, 4.0])
    zero = hessian_operator(lambda x: 0.0 * anp.sum(x), np.zeros(2)) + A.operator
    np.testing.assert_array_equal(zero.to_dense(), matrix.T)
    np.testing.assert_array_equal(zero.diagonal(), [1.0, 4.0])


def test_an_operator_without_an_adjoint_says_so():
    A = as_operator(LinearOperator((2, 2), matvec=lambda v: 2 * v, dtype=float))
    for product in (lambda: A.T @ np.ones(2), lambda: A.T @ np.ones((2, 2))):
        with pytest.raises(NotImplementedError, match="rmatvec is not defined"):
            product()


# --- how long work ends ---------------------------------------------------------------------------


def halving(interrupt_at=None):
    """Estimates of 1 whose error is halved with every ten products."""
    for i in range(1, 6):
        if i == interrupt_at:
            raise KeyboardInterrupt
        yield Estimate(1.0, 2.0**-i, 10 * i, "halving")


def test_without_a_tolerance_the_last_is_taken():
    seen = []
    result = last_of(halving(), name="test", total=50, callback=seen.append)
    assert result.status == "done"
    assert not result.converged
    assert [one.n_matvec for one in seen] == [10, 20, 30, 40, 50]
    assert float(result) == 1.0


def test_the_first_that_is_good_enough_ends_it():
    result = last_of(halving(), name="test", total=50, is_enough=lambda one: one.is_within(0.13))
    assert (result.status, result.n_matvec) == ("converged", 30)
    assert result.converged


def test_a_tolerance_that_is_not_met_is_told():
    with pytest.warns(NotConvergedWarning, match="test did not converge in 50 products"):
        result = last_of(
            halving(), name="test", total=50, is_enough=lambda one: one.is_within(1e-9)
        )
    assert result.status == "product limit"


def test_callback_may_stop_it():
    def stop(estimate):
        if estimate.n_matvec == 20:
            raise StopIteration

    assert last_of(halving(), name="test", total=50, callback=stop).status == "stopped"


def test_an_interruption_leaves_what_is_known():
    with pytest.warns(NotConvergedWarning, match="test was interrupted after 20 products"):
        result = last_of(halving(interrupt_at=3), name="test", total=50)
    assert (result.status, result.n_matvec) == ("interrupted", 20)
    with pytest.raises(KeyboardInterrupt):
        last_of(halving(interrupt_at=1), name="test", total=50)


def test_a_bar_counts_products(capsys):
    last_of(halving(), name="test", total=50, progress=True)
    assert "50/50" in capsys.readouterr().err


def test_other_results_may_end_it_too():
    @dataclass(frozen=True)
    class Other:
        n_matvec: int
        status: str = "product limit"

        def ended(self, status):
            return replace(self, status=status)

    results = iter([Other(1), Other(2)])
    enough = last_of(results, name="test", total=None, is_enough=lambda one: one.n_matvec == 2)
    assert enough == Other(2, "converged")


def test_estimates_tell_what_they_are():
    assert repr(Estimate(2.5, 0.125, 9, "xtrace")) == (
        "<Estimate 2.5 ± 0.12, xtrace, 9 products, product limit>"
    )
    exact = exact_estimate(np.array([3.0, 4.0]), 2)
    assert exact.converged
    assert repr(exact) == "<Estimate (2,) entries, norm 5, exact, 2 products, exact>"
    np.testing.assert_array_equal(exact.standard_error, 0.0)
    assert exact_estimate(1.0, 0).standard_error == 0.0


@pytest.mark.parametrize("rtol", [0.0, -1.0, np.nan, np.inf, "small", [0.1]])
def test_a_tolerance_is_a_positive_number(rtol):
    with pytest.raises(ValueError, match=r"rtol is .*, expected a positive number"):
        check_rtol(rtol)
