"""Likelihoods, Fisher matrices and gradients of single examples."""

import copy
import pickle
from dataclasses import dataclass
from itertools import product
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from autograd import grad
from networks import (
    CURVLINOPS,
    REFERENCES,
    Curvlinops,
    MeanAndSpread,
    cross_entropy,
    dense_gauss_newton,
    dense_hessian,
    dense_jacobian,
    flat,
    layers,
    mean_network,
    network,
    normal,
)
from tapes import error

from hessop import (
    FisherOperator,
    NonFiniteError,
    NotTracedError,
    fisher_operator,
    gauss_newton_operator,
    hessian_operator,
)
from hessop.likelihoods import Bernoulli, Categorical, Gaussian, Likelihood, Poisson
from hessop.operators.scores import output_scores

KINDS = ("exact", "monte-carlo", "empirical")


class Geometric(Likelihood):
    """Failures before a success; the outputs are logits of the success. No Fisher matrix."""

    def nll(self, outputs, targets):
        return anp.sum(anp.logaddexp(0.0, -outputs) + targets * anp.logaddexp(0.0, outputs))

    def sample(self, outputs, rng):
        return rng.geometric(scipy.special.expit(outputs)) - 1


def softmax(z):
    return scipy.special.softmax(z, axis=-1)


def drawn(likelihood, outputs, seed=0):
    return likelihood.sample(np.asarray(outputs), np.random.default_rng(seed))


# --- likelihoods ----------------------------------------------------------------------------------

# Each with the sum of scipy's log-probabilities.
DENSITIES = {
    "gaussian": (Gaussian(), lambda o, y: scipy.stats.norm.logpdf(y, o, 1.0)),
    "gaussian-scale": (Gaussian(0.3), lambda o, y: scipy.stats.norm.logpdf(y, o, 0.3)),
    "bernoulli": (
        Bernoulli(),
        lambda o, y: scipy.stats.bernoulli.logpmf(y, scipy.special.expit(o)),
    ),
    "poisson": (Poisson(), lambda o, y: scipy.stats.poisson.logpmf(y, np.exp(o))),
    "categorical": (
        Categorical(),
        lambda o, y: scipy.stats.multinomial.logpmf(np.eye(o.shape[-1])[y], 1, softmax(o)),
    ),
    "mean-and-spread": (
        MeanAndSpread(),
        lambda o, y: scipy.stats.norm.logpdf(y, o[..., 0], np.exp(o[..., 1])),
    ),
}
SHAPES = {0: [(), (7,), (4, 3), (3, 2, 2)], 1: [(2,), (5, 2), (3, 4, 2)]}
WITH_SHAPES = [
    (name, shape)
    for name, (likelihood, _) in DENSITIES.items()
    for shape in SHAPES[likelihood.event_dims]
]
every_shape = pytest.mark.parametrize(("name", "shape"), WITH_SHAPES)


@every_shape
def test_the_negative_log_likelihood_is_scipys(name, shape):
    likelihood, log_density = DENSITIES[name]
    outputs = normal(1, *shape)
    targets = drawn(likelihood, outputs)
    assert np.shape(targets) == shape[: len(shape) - likelihood.event_dims]
    expected = -np.sum(log_density(outputs, targets))
    assert float(likelihood.nll(outputs, targets)) == pytest.approx(expected, rel=1e-12)
    checked = likelihood.check(outputs, np.asarray(targets).tolist())
    np.testing.assert_array_equal(checked, targets)


def test_scales_that_broadcast():
    outputs, targets, scale = normal(2, 6, 3), normal(3, 6, 3), np.array([0.5, 1.0, 4.0])
    expected = -scipy.stats.norm.logpdf(targets, outputs, scale).sum()
    likelihood = Gaussian(scale)
    assert float(likelihood.nll(outputs, targets)) == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(
        likelihood.fisher_product(outputs, np.ones((6, 3))), np.tile(scale**-2, (6, 1))
    )
    draws = drawn(likelihood, np.zeros((20_000, 3)))
    np.testing.assert_allclose(draws.std(axis=0), scale, rtol=0.03)
    of_rows = Gaussian(np.arange(1.0, 7.0)[:, None])
    np.testing.assert_allclose(
        of_rows.fisher_roots(outputs)[0], np.tile(1.0 / np.arange(1.0, 7.0)[:, None], (1, 3))
    )


def test_likelihoods_far_out_stay_finite():
    far = np.array([-800.0, 800.0])
    ones = np.ones(2)
    assert float(Bernoulli().nll(far, ones)) == 800.0
    assert np.isfinite(Bernoulli().fisher_product(far, ones)).all()
    assert float(Categorical().nll(far, np.array(0))) == 1600.0
    np.testing.assert_allclose(Categorical().fisher_product(far, ones), [0.0, 0.0])
    assert drawn(Categorical(), far) == 1
    np.testing.assert_array_equal(drawn(Bernoulli(), far), [0.0, 1.0])


@pytest.mark.parametrize("name", DENSITIES)
def test_samples_have_the_right_moments(name):
    likelihood, _ = DENSITIES[name]
    count, outputs = 40_000, normal(4, *SHAPES[likelihood.event_dims][1])
    samples = drawn(likelihood, np.broadcast_to(outputs, (count, *outputs.shape)), seed=5)
    mean, variance = {
        "gaussian": (outputs, np.ones_like(outputs)),
        "gaussian-scale": (outputs, np.full_like(outputs, 0.09)),
        "bernoulli": (
            scipy.special.expit(outputs),
            scipy.special.expit(outputs) * scipy.special.expit(-outputs),
        ),
        "poisson": (np.exp(outputs), np.exp(outputs)),
        "categorical": (softmax(outputs), softmax(outputs) * (1.0 - softmax(outputs))),
        "mean-and-spread": (outputs[..., 0], np.exp(2.0 * outputs[..., 1])),
    }[name]
    if name == "categorical":
        samples = np.eye(2)[samples]
    centred = samples - mean
    of_mean = np.sqrt(variance / count)
    assert (np.abs(centred.mean(axis=0)) < 5.0 * of_mean).all()
    of_variance = np.sqrt(((centred**2 - variance) ** 2).mean(axis=0) / count)
    assert (np.abs((centred**2).mean(axis=0) - variance) < 5.0 * of_variance + 1e-12).all()


def expected_hessian(likelihood, outputs):
    """The Hessian of nll in the outputs, averaged over all targets with their probabilities."""
    events = outputs.shape[: outputs.ndim - likelihood.event_dims]
    if isinstance(likelihood, Bernoulli | Categorical):
        classes = outputs.shape[-1] if likelihood.event_dims else 2
        total = 0.0
        for targets in product(range(classes), repeat=int(np.prod(events))):
            y = np.array(targets).reshape(events)
            probability = np.exp(-likelihood.nll(outputs, y))
            total = total + probability * dense_hessian(
                lambda z, y=y: likelihood.nll(z, y), outputs
            )
        return total
    if isinstance(likelihood, MeanAndSpread):  # quadratic in the target: a rule of two points
        means, spreads = outputs[..., 0], np.exp(outputs[..., 1])
        return sum(
            0.5 * dense_hessian(lambda z, y=y: likelihood.nll(z, y), outputs)
            for y in (means - spreads, means + spreads)
        )
    # The Hessian does not depend on the target.
    return dense_hessian(lambda z: likelihood.nll(z, np.zeros(events)), outputs)


SMALL = [(name, shape) for name, shape in WITH_SHAPES if np.prod(shape) <= 8]


@pytest.mark.parametrize(("name", "shape"), SMALL)
def test_the_fisher_matrix_is_the_expected_hessian(name, shape):
    likelihood, _ = DENSITIES[name]
    outputs = normal(6, *shape)
    expected = expected_hessian(likelihood, outputs)
    units = np.eye(outputs.size).reshape(-1, *shape)
    products = [np.ravel(likelihood.fisher_product(outputs, unit)) for unit in units]
    assert error(np.array(products), expected) < 1e-12

    roots = likelihood.fisher_roots(outputs)
    assert roots.shape[1:] == shape
    events = int(np.prod(shape[: len(shape) - likelihood.event_dims]))
    by_events = roots.reshape(len(roots), events, -1)
    blocks = np.einsum("rei,rej->eij", by_events, by_events)
    dense = np.zeros((events, blocks.shape[1], events, blocks.shape[1]))
    dense[np.arange(events), :, np.arange(events)] = blocks
    assert error(dense.reshape(expected.shape), expected) < 1e-12

    # Outer products of scores are taken example by example.
    scores = output_scores(outputs, likelihood, "exact", None, 1, np.random.default_rng(0))
    examples = shape[0] if len(shape) > likelihood.event_dims else 1
    split = scores.reshape(len(scores), examples, -1)
    for i, part in enumerate(np.split(np.arange(outputs.size), examples)):
        block = split[:, i].T @ split[:, i]
        assert error(block, expected[np.ix_(part, part)]) < 1e-12


@pytest.mark.parametrize(
    ("likelihood", "outputs", "targets", "words"),
    [
        (Gaussian(), np.zeros(3), np.zeros(4), r"have shape \(4,\), expected \(3,\)"),
        (Gaussian(), np.zeros((3, 1)), np.zeros(3), r"shape \(3,\), expected \(3, 1\)"),
        (Gaussian(), np.zeros(3), [0.0, np.nan, 1.0], "not finite real numbers"),
        (Gaussian(), np.zeros(2), [0.0, np.inf], "not finite real numbers"),
        (Gaussian(), np.zeros(2), ["a", "b"], "not finite real numbers"),
        (Gaussian(), np.zeros(2), [1j, 0.0], "not finite real numbers"),
        (Gaussian(), np.zeros(2), [None, 0.0], "not finite real numbers"),
        (Bernoulli(), np.zeros(2), [0, 2], "Bernoulli: targets are expected to be between 0 and"),
        (Bernoulli(), np.zeros(2), [-1, 1], "between 0 and 1"),
        (Poisson(), np.zeros(2), [-1, 2], "Poisson: .* counts: whole numbers from 0"),
        (Poisson(), np.zeros(2), [0.5, 2], "counts"),
        (Categorical(), np.zeros((2, 3)), [0, 3], "Categorical: .* classes: whole numbers from 0"),
        (Categorical(), np.zeros((2, 3)), [0, -1], "classes"),
        (Categorical(), np.zeros((2, 3)), [0, 1.5], "classes"),
        (Categorical(), np.zeros((2, 3)), np.eye(3)[:2], r"\(2, 3\), expected \(2,\) for outputs"),
        (Categorical(), np.zeros((2, 3)), [[0], [1]], r"shape \(2, 1\), expected \(2,\)"),
    ],
)
def test_targets_are_checked(likelihood, outputs, targets, words):
    with pytest.raises(ValueError, match=words):
        likelihood.check(outputs, targets)
    with pytest.raises(ValueError, match=words):
        fisher_operator(
            lambda x: outputs + x, likelihood, np.float64(0.0), kind="empirical", targets=targets
        )


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf, [1.0, 0.0]])
def test_a_scale_is_positive(scale):
    with pytest.raises(ValueError, match="expected positive finite numbers"):
        Gaussian(scale)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [np.ones(3), np.ones((4, 1)), np.ones((2, 4))])
def test_a_scale_broadcasts_to_the_outputs_and_not_beyond(scale, kind):
    X, y = normal(7, 4, 2), normal(8, 4)
    with pytest.raises(ValueError, match=r"scale has shape .*, expected one that broadcasts"):
        fisher_operator(
            lambda w: X @ w, Gaussian(scale), np.ones(2), kind=kind, targets=y
        ) @ np.ones(2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_number_has_no_classes(kind):
    with pytest.raises(
        ValueError, match=r"outputs have shape \(\), .* For two classes and one logit use Bernoulli"
    ):
        fisher_operator(
            lambda x: anp.sum(x), Categorical(), np.ones(2), kind=kind, targets=0
        ) @ np.ones(2)


def test_repr_of_likelihoods():
    assert repr(Gaussian(2.0)) == "Gaussian(scale=2.0)"
    assert repr(Gaussian([1.0, 2.0])) == "Gaussian(scale=[1.0, 2.0])"
    assert repr(Gaussian(np.ones(100))) == "Gaussian(...)"
    assert repr(Categorical()) == "Categorical()"


# --- Fisher matrices ------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Problem:
    """A model(x, X) and a likelihood; examples along the first axis of X."""

    likelihood: Likelihood
    model: Any
    x: Any
    X: np.ndarray

    @property
    def outputs(self):
        return np.asarray(self.model(self.x, self.X))

    @property
    def targets(self):
        return drawn(self.likelihood, self.outputs, seed=9)

    def operator(self, kind="exact", **options):
        return fisher_operator(
            self.model,
            self.likelihood,
            self.x,
            kind=kind,
            targets=self.targets,
            args=(self.X,),
            **options,
        )

    def exact(self):
        return dense_gauss_newton(
            self.model, lambda z: self.likelihood.nll(z, self.targets), self.x, (self.X,)
        )

    def gradients(self):
        """Row by row, of the negative log-likelihood of one example."""
        rows = []
        for i, target in enumerate(self.targets):
            X, y = self.X[i : i + 1], np.asarray(target)[None]
            rows.append(
                flat(grad(lambda p, X=X, y=y: self.likelihood.nll(self.model(p, X), y))(self.x))
            )
        return np.array(rows)


def scores_of_one(p, X):
    return network(p, X)[..., 0]


X = normal(10, 8, 4)
PROBLEMS = {
    "gaussian": Problem(Gaussian(0.7), network, layers(11, 4, 3, 2), X),
    "gaussian-of-one": Problem(Gaussian(), scores_of_one, layers(11, 4, 3, 1), X),
    "gaussian-scales": Problem(Gaussian([0.5, 2.0]), network, layers(11, 4, 3, 2), X),
    "bernoulli": Problem(Bernoulli(), scores_of_one, layers(12, 4, 3, 1), X),
    "bernoulli-of-two": Problem(Bernoulli(), network, layers(12, 4, 3, 2), X),
    "poisson": Problem(Poisson(), scores_of_one, layers(13, 4, 3, 1), X),
    "categorical": Problem(Categorical(), network, layers(14, 4, 3, 3), X),
    "gaussian-sequence": Problem(Gaussian(), network, layers(15, 2, 3, 2), normal(16, 5, 3, 2)),
    "categorical-sequence": Problem(
        Categorical(), network, layers(15, 2, 3, 3), normal(16, 5, 3, 2)
    ),
    "poisson-sequence": Problem(Poisson(), scores_of_one, layers(15, 2, 3, 1), normal(16, 5, 3, 2)),
}
every_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


@every_problem
def test_exact_is_gauss_newton(problem):
    expected = problem.exact()
    F = problem.operator()
    assert F.shape == expected.shape
    assert F.T is F
    V = normal(17, len(expected), 3)
    assert error(F @ V[:, 0], expected @ V[:, 0]) < 1e-11
    assert error(F @ V, expected @ V) < 1e-11
    assert error(F.compile() @ V, expected @ V) < 1e-11
    assert error(F.to_dense(), expected) < 1e-11
    assert error(F.diagonal(), np.diag(expected)) < 1e-11
    targets = problem.targets
    G = gauss_newton_operator(
        problem.model, lambda z: problem.likelihood.nll(z, targets), problem.x, args=(problem.X,)
    )
    assert error(F @ V, G @ V) < 1e-11
    assert F.value == pytest.approx(G.value, rel=1e-14)
    assert error(F.gradient, G.gradient) < 1e-12
    without = fisher_operator(problem.model, problem.likelihood, problem.x, args=(problem.X,))
    with pytest.raises(ValueError, match="no targets were given"):
        _ = without.gradient
    rows = F.gradients()
    assert error(rows.T @ rows, expected) < 1e-11
    np.testing.assert_allclose(F.outputs, problem.outputs, rtol=1e-14)
    eigenvalues = np.linalg.eigvalsh(F.to_dense(symmetrize=True))
    assert eigenvalues[0] > -1e-13 * eigenvalues[-1]


@every_problem
def test_empirical_is_the_sum_of_outer_products(problem):
    expected = problem.gradients()
    F = problem.operator("empirical")
    assert error(F.to_dense(), expected.T @ expected) < 1e-11
    assert error(F.compile().to_dense(), expected.T @ expected) < 1e-11
    assert error(F.diagonal(), np.sum(expected**2, axis=0)) < 1e-11
    assert error(F.gradients(), expected) < 1e-11


@every_problem
def test_monte_carlo_is_made_of_gradients_at_draws(problem):
    """By hand, with the same draws."""
    rng, draws = np.random.default_rng(18), 3
    total = 0.0
    J = dense_jacobian(problem.model, problem.x, (problem.X,))
    examples = np.split(J, len(problem.X))
    for _ in range(draws):
        targets = problem.likelihood.sample(problem.outputs, rng)
        scores = grad(problem.likelihood.nll)(problem.outputs, targets)
        gradients = [J_i.T @ np.ravel(score) for J_i, score in zip(examples, scores, strict=True)]
        total = total + np.array(gradients).T @ np.array(gradients) / draws
    F = problem.operator("monte-carlo", num_samples=draws, rng=18)
    assert error(F.to_dense(), total) < 1e-11
    assert error(F.diagonal(), np.diag(total)) < 1e-11
    rows = F.gradients()
    assert rows.shape == (draws * len(problem.X), F.shape[0])
    assert error(rows.T @ rows, total) < 1e-11


@pytest.mark.parametrize("name", ["gaussian", "bernoulli", "poisson", "categorical-sequence"])
def test_monte_carlo_is_unbiased(name):
    problem, draws = PROBLEMS[name], 2000
    F = problem.operator("monte-carlo", num_samples=draws, rng=19)
    rows = np.sqrt(draws) * F.gradients().reshape(draws, len(problem.X), -1)
    matrices = np.einsum("sni,snj->sij", rows, rows)
    assert error(matrices.mean(axis=0), F.to_dense()) < 1e-11
    standard_error = matrices.std(axis=0) / np.sqrt(draws)
    off = np.abs(matrices.mean(axis=0) - problem.exact())
    assert (off <= 5.0 * standard_error + 1e-12).all()


@pytest.mark.parametrize("name", ["gaussian", "bernoulli", "poisson", "categorical"])
def test_monte_carlo_converges_as_the_root_of_the_draws(name):
    problem = PROBLEMS[name]
    exact, sizes = problem.exact(), np.array([4, 16, 64, 256])
    errors = [
        [
            np.linalg.norm(
                problem.operator("monte-carlo", num_samples=int(size), rng=seed).to_dense() - exact
            )
            for seed in range(10)
        ]
        for size in sizes
    ]
    means = np.sqrt(np.mean(np.square(errors), axis=1))
    slope = np.polyfit(np.log(sizes), np.log(means), 1)[0]
    assert -0.6 < slope < -0.4


def test_empirical_differs_from_exact():
    problem = PROBLEMS["categorical"]
    assert error(problem.operator("empirical").to_dense(), problem.exact()) > 0.1


def test_draws_are_made_once_and_come_from_rng():
    problem = PROBLEMS["categorical"]

    def dense(rng):
        return problem.operator("monte-carlo", num_samples=5, rng=rng).to_dense()

    np.testing.assert_array_equal(dense(3), dense(3))
    np.testing.assert_array_equal(dense(3), dense(np.random.default_rng(3)))
    assert error(dense(3), dense(4)) > 0.01
    rng = np.random.default_rng(3)
    first, second = dense(rng), dense(rng)
    assert error(first, second) > 0.01
    F = problem.operator("monte-carlo", num_samples=5)
    np.testing.assert_allclose(F @ np.ones(27), F @ np.ones(27), rtol=1e-12)


@pytest.mark.parametrize(
    "again", [lambda A: pickle.loads(pickle.dumps(A)), copy.copy, copy.deepcopy]
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make_rng", [lambda: 5, lambda: None, lambda: np.random.default_rng(6)])
def test_pickling_and_copying(again, kind, make_rng):
    problem = PROBLEMS["categorical"]
    F = problem.operator(kind, num_samples=3, rng=make_rng())
    dense = F.to_dense()
    twin = again(F)
    assert (twin.kind, twin.n_matvec) == (kind, 0)
    assert isinstance(twin.likelihood, Categorical)
    assert error(twin.to_dense(), dense) < 1e-13
    assert error(again(twin).to_dense(), dense) < 1e-13
    assert error(twin.gradients(), F.gradients()) < 1e-13
    assert error(again(2.0 * F) @ np.ones(27), 2.0 * dense.sum(axis=1)) < 1e-12
    assert error(again(F.block([0, 1], [2])).to_dense(), dense[:2, 2:3]) < 1e-13


def test_targets_do_not_matter_unless_empirical():
    problem = PROBLEMS["bernoulli"]
    for kind in ("exact", "monte-carlo"):
        F = fisher_operator(
            problem.model, problem.likelihood, problem.x, kind=kind, args=(X,), rng=0
        )
        np.testing.assert_array_equal(F.to_dense(), problem.operator(kind, rng=0).to_dense())


def test_changing_targets_and_x_afterwards_changes_nothing():
    w, y = np.array([0.5, -0.2, 0.1, 1.0]), normal(20, 8)
    F = fisher_operator(lambda w: X @ w, Gaussian(), w, kind="empirical", targets=y)
    expected = X.T * (X @ w - y) ** 2 @ X
    w[:] = y[:] = np.nan
    assert error(F.to_dense(), expected) < 1e-12
    assert error(F.gradients().T @ F.gradients(), expected) < 1e-12
    y[:] = 0.0
    assert error(copy.deepcopy(F).to_dense(), expected) < 1e-12


def module_model(w, X):
    return X @ w


def test_a_pickle_keeps_the_targets_of_its_time():
    y = normal(20, 8)
    expected = X.T * (X.sum(axis=1) - y) ** 2 @ X
    F = fisher_operator(
        module_model, Gaussian(), np.ones(4), kind="empirical", targets=y, args=(X,)
    )
    y[:] = 0.0
    assert error(pickle.loads(pickle.dumps(F)).to_dense(), expected) < 1e-12


# Outputs of other shapes


def test_one_output_of_one_example():
    w = normal(21, 4)
    for likelihood, curvature, y in (
        (Gaussian(2.0), 0.25, 1.5),
        (Bernoulli(), scipy.special.expit(X[0] @ w) * scipy.special.expit(-X[0] @ w), 1),
        (Poisson(), np.exp(X[0] @ w), 3),
    ):
        for model in (lambda w: X[0] @ w, lambda w: X[:1] @ w):
            F = fisher_operator(model, likelihood, w)
            assert error(F.to_dense(), curvature * np.outer(X[0], X[0])) < 1e-12
            rows = F.gradients()
            assert rows.shape == (1, 4)
            assert error(rows.T @ rows, F.to_dense()) < 1e-12
            targets = np.full(np.shape(F.outputs), y)
            F = fisher_operator(model, likelihood, w, kind="empirical", targets=targets)
            g = grad(lambda w, m=model, lik=likelihood, t=targets: lik.nll(m(w), t))(w)
            assert error(F.to_dense(), np.outer(g, g)) < 1e-12
            assert error(F.gradients(), g[None]) < 1e-12
            assert error(F.diagonal(), g**2) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_the_parameters_are_the_outputs(kind):
    x, y = normal(89, 5), drawn(Poisson(), np.zeros(5))
    F = fisher_operator(lambda x: x, Poisson(), x, kind=kind, targets=y, rng=0)
    expected = {
        "exact": np.exp(x),
        "empirical": (np.exp(x) - y) ** 2,
        "monte-carlo": (np.exp(x) - drawn(Poisson(), x)) ** 2,
    }[kind]
    assert error(F.to_dense(), np.diag(expected)) < 1e-12
    assert error(F.diagonal(), expected) < 1e-12
    assert error(F.gradients().T @ F.gradients(), np.diag(expected)) < 1e-12


@pytest.mark.parametrize("likelihood", [Gaussian(), Bernoulli(), Poisson(), MeanAndSpread()])
def test_draws_for_one_number(likelihood):
    w = normal(21, 4)
    W = w if likelihood.event_dims == 0 else np.column_stack([w, 0.1 * w])
    F = fisher_operator(lambda w: X[0] @ w, likelihood, W, kind="monte-carlo", rng=0)
    y = drawn(likelihood, np.asarray(X[0] @ W))
    g = flat(grad(lambda w: likelihood.nll(X[0] @ w, y))(W))
    assert error(F.to_dense(), np.outer(g, g)) < 1e-12


@pytest.mark.parametrize("shape", [(200,), (200, 1)])
def test_outputs_that_are_no_logits_of_classes(shape):
    X = normal(23, 200, 3)
    with pytest.raises(ValueError, match="at least two classes along the last"):
        fisher_operator(lambda w: anp.reshape(X @ w, shape), Categorical(), np.ones(3))


@pytest.mark.parametrize(
    ("likelihood", "targets"),
    [
        (Gaussian(), np.zeros((5, 1))),
        (Bernoulli(), np.zeros((5, 1))),
        (Poisson(), np.zeros((5, 1))),
        (Bernoulli(), np.full(5, 2.0)),
        (Poisson(), np.full(5, 0.5)),
    ],
)
def test_a_likelihood_of_impossible_targets_is_refused(likelihood, targets):
    with pytest.raises(ValueError, match="targets"):
        likelihood.nll(np.zeros(5), targets)


@pytest.mark.parametrize("targets", [[1, 2, 3], [0.5, 1, 1], [[0], [1], [2]], [np.nan, 0, 1]])
def test_a_likelihood_of_impossible_classes_is_refused(targets):
    with pytest.raises(ValueError, match="targets"):
        Categorical().nll(np.zeros((3, 3)), np.asarray(targets))
    with pytest.raises(ValueError, match=r"argmax\(axis=-1\)"):
        Categorical().nll(np.zeros((3, 3)), np.eye(3))


def test_the_classes_of_one_example():
    W = normal(22, 4, 3)
    F = fisher_operator(lambda W: X[:1] @ W, Categorical(), W)
    p = softmax(X[0] @ W)
    expected = np.kron(np.outer(X[0], X[0]), np.diag(p) - np.outer(p, p))
    assert error(F.to_dense(), expected) < 1e-12
    assert error(F.diagonal(), np.diag(expected)) < 1e-12
    assert F.gradients().shape == (3, 12)
    F = fisher_operator(lambda W: X[:1] @ W, Categorical(), W, kind="empirical", targets=[2])
    g = np.outer(X[0], p - np.eye(3)[2]).ravel()
    assert error(F.to_dense(), np.outer(g, g)) < 1e-12
    assert error(F.gradients(), g[None]) < 1e-12


# --- gradients of single examples -----------------------------------------------------------------


def sequences(x, X):
    return anp.tanh(X @ x["W"] + x["b"])


def over_positions(p, X):
    """X of shape (n, t, d): the positions, first, share W and V, and are then averaged."""
    first = anp.swapaxes(X, 0, 1)
    hidden = anp.tanh(first @ p["W"])
    return anp.mean(hidden @ p["V"], axis=0)


def columns(p, X):
    """Examples are columns throughout."""
    hidden = anp.tanh(p["W"] @ X.T + p["b"][:, None])
    return anp.transpose(anp.dot(p["V"], hidden) + p["c"][:, None])


def by_einsum(p, X):
    hidden = anp.tanh(anp.einsum("ni, oi -> no", X, p["W"]) + p["b"])
    return anp.einsum("ab,ca", p["A"], hidden).T if "A" in p else hidden


def sliced(x, X):
    W, b, V = anp.reshape(x[:12], (4, 3)), x[12:15], anp.reshape(x[15:21], (2, 3))
    return anp.tanh(X @ W + b) @ V.T - x[21:]


def used_twice(p, X):
    hidden = anp.tanh(X @ p["W"] + p["b"])
    return anp.tanh(hidden @ p["W"] + p["b"]) @ p["V"]


def autoencoder(p, X):
    return anp.tanh(X @ p["W"]) @ p["W"].T


def scaled(p, X):
    hidden = anp.tanh(X @ p["W"])
    return (p["scale"] * hidden + p["shift"]) @ p["V"]


def embedded(p, X):
    words, features = X[:, 0].astype(int), X[:, 1:]
    return anp.tanh(p["table"][words] + features @ p["W"]) @ p["V"]


def bag_of_words(p, X):
    return anp.sum(anp.tanh(p["table"][X.astype(int)]), axis=1) @ p["V"]


def attention(p, X):
    q, k, v = X @ p["Q"], X @ p["K"], X @ p["V"]
    scores = anp.einsum("nti,nsi->nts", q, k)
    weights = anp.exp(scores)
    weights = weights / anp.sum(weights, axis=-1, keepdims=True)
    return anp.einsum("nts,nso->nto", weights, v) + p["at"]


def one_hot(p, X):
    return anp.tensordot(np.eye(5)[X.astype(int)], p["table"], axes=([1], [0])) @ p["V"]


def residual(p, X):
    hidden = anp.inner(X, p["W"])
    return anp.ravel(hidden + anp.dot(anp.tanh(hidden), p["V"])[:, None] - p["b"])


def per_position_bias(p, X):
    return X @ p["W"] + p["c"] + p["d"][:, None]


def heads(p, X):
    mixed = anp.einsum("nd,hdo->nho", X, p["W"])
    stacked = anp.matmul(X, anp.swapaxes(p["V"], 0, 1).T[:2].reshape((2, 4, 3)))
    return anp.tanh(mixed + anp.swapaxes(stacked, 0, 1))


def summed(p, X):
    """An einsum of one operand."""
    return X @ p["w"] + anp.einsum("ij->", p["S"])


def three_operands(p, X):
    return anp.einsum("ni,io,o->n", X, p["W"], np.array([1.0, -2.0, 0.5]))


WORDS = np.column_stack([np.arange(7) % 5, normal(30, 7, 2)])
# In the second column, whether the rows are expected without a product for each.
EXAMPLES = {
    "two-layers": (Problem(Gaussian(), network, layers(31, 4, 3, 2), X), True),
    "shared-positions": (
        Problem(
            Gaussian(), sequences, {"W": normal(32, 2, 3), "b": normal(33, 3)}, normal(34, 6, 4, 2)
        ),
        True,
    ),
    "sequence-classes": (PROBLEMS["categorical-sequence"], True),
    "columns": (
        Problem(
            Categorical(),
            columns,
            {"W": normal(35, 3, 4), "b": normal(36, 3), "V": normal(37, 2, 3), "c": normal(38, 2)},
            X,
        ),
        True,
    ),
    "einsum": (
        Problem(
            Gaussian(),
            by_einsum,
            {"W": normal(39, 3, 4), "b": normal(40, 3), "A": normal(41, 3, 2)},
            X,
        ),
        True,
    ),
    "flat-vector": (Problem(Gaussian(), sliced, normal(42, 23), X), True),
    "used-twice": (
        Problem(
            Gaussian(),
            used_twice,
            {"W": normal(43, 4, 4), "b": normal(44, 4), "V": normal(45, 4, 2)},
            X,
        ),
        True,
    ),
    "autoencoder": (Problem(Gaussian(), autoencoder, {"W": normal(46, 4, 2)}, X), True),
    "scale": (
        Problem(
            Gaussian(),
            scaled,
            {
                "W": normal(47, 4, 3),
                "scale": normal(48, 3),
                "shift": normal(49, 3),
                "V": normal(50, 3, 2),
            },
            X,
        ),
        False,
    ),
    "embedding": (
        Problem(
            Gaussian(),
            embedded,
            {"table": normal(51, 5, 3), "W": normal(52, 2, 3), "V": normal(53, 3, 2)},
            WORDS,
        ),
        False,
    ),
    "bag-of-words": (
        Problem(
            Bernoulli(),
            bag_of_words,
            {"table": normal(54, 5, 3), "V": normal(55, 3)},
            np.random.default_rng(56).integers(0, 5, (6, 3)),
        ),
        False,
    ),
    "one-hot": (
        Problem(
            Poisson(), one_hot, {"table": normal(57, 5, 3) / 3, "V": normal(58, 3)}, WORDS[:, 0]
        ),
        True,
    ),
    "attention": (
        Problem(
            Gaussian(),
            attention,
            {key: normal(i, 2, 2) for i, key in enumerate("QKV", 59)} | {"at": normal(62, 3, 2)},
            normal(63, 5, 3, 2),
        ),
        True,
    ),
    "residual": (
        Problem(Bernoulli(), residual, {"W": normal(64, 1, 4), "V": normal(65, 1), "b": 0.3}, X),
        True,
    ),
    "one-operand": (
        Problem(Gaussian(), summed, {"w": normal(86, 4), "S": normal(87, 3, 3)}, X),
        False,
    ),
    "three-operands": (Problem(Gaussian(), three_operands, {"W": normal(88, 4, 3)}, X), False),
    "one-weight-vector": (Problem(Poisson(), module_model, normal(66, 4) / 2, X), True),
    "heads": (
        Problem(Gaussian(), heads, {"W": normal(67, 2, 4, 3), "V": normal(68, 4, 3, 2)}, X),
        True,
    ),
    # The features come first, or the positions: an axis that may be as long as the examples are.
    **{
        f"positions-first-{n}-{t}": (
            Problem(
                Gaussian(),
                over_positions,
                {"W": normal(69, 2, 3), "V": normal(70, 3, 2)},
                normal(71, n, t, 2),
            ),
            False,
        )
        for n, t in ((4, 3), (3, 3), (2, 2))
    },
    **{
        f"a-bias-for-each-position-{n}-{t}": (
            Problem(
                Gaussian(),
                per_position_bias,
                {"W": normal(72, 2, 3), "c": normal(73, t, 3), "d": normal(74, t)},
                normal(75, n, t, 2),
            ),
            True,
        )
        for n, t in ((4, 2), (2, 2), (3, 3))
    },
    "one-example": (Problem(Categorical(), network, layers(76, 4, 3, 3), X[:1]), True),
    "one-example-positions-first": (
        Problem(
            Gaussian(),
            over_positions,
            {"W": normal(69, 2, 3), "V": normal(70, 3, 2)},
            normal(71, 1, 3, 2),
        ),
        True,
    ),
}
every_example = pytest.mark.parametrize(
    ("problem", "by_layers"), EXAMPLES.values(), ids=EXAMPLES.keys()
)


@every_example
def test_rows_are_the_gradients_of_single_examples(problem, by_layers, monkeypatch):
    by_products = []
    original = FisherOperator._by_products
    monkeypatch.setattr(
        FisherOperator,
        "_by_products",
        lambda self, *args: by_products.append(1) or original(self, *args),
    )
    expected = problem.gradients()
    F = problem.operator("empirical")
    rows = F.gradients()
    assert rows.shape == expected.shape
    assert error(rows, expected) < 1e-11
    assert bool(by_products) != by_layers
    assert error(F.to_dense(), expected.T @ expected) < 1e-11
    assert error(F.diagonal(), np.sum(expected**2, axis=0)) < 1e-11
    rows[:] = np.nan
    assert error(F.gradients(), expected) < 1e-11


@every_example
def test_rows_make_the_matrix_of_every_kind(problem, by_layers):
    for kind in KINDS:
        F = problem.operator(kind, num_samples=3, rng=1)
        dense, rows = F.to_dense(), F.gradients()
        assert error(rows.T @ rows, dense) < 1e-11
        assert error(F.diagonal(), np.diag(dense)) < 1e-11
    assert error(problem.operator().to_dense(), problem.exact()) < 1e-11


@pytest.mark.parametrize("width", [2, 11, 20, 29])
def test_no_parameter_escapes_the_check(width):
    """Few weights whose rows are positions, as many as examples, beside many that are right."""
    n = t = 4
    inputs = normal(77, n, t, 2)

    def model(p, X):
        hidden = anp.tanh(anp.swapaxes(X, 0, 1) @ p["W"])
        hidden = anp.reshape(anp.swapaxes(hidden, 0, 1), (len(X), 4 * 3))
        return anp.tanh(hidden @ p["U"]) @ p["V"]

    x = {"W": normal(78, 2, 3), "U": normal(79, 12, width), "V": normal(80, width, 2)}
    problem = Problem(Gaussian(), model, x, inputs)
    expected = problem.gradients()
    F = problem.operator("empirical")
    assert error(F.gradients(), expected) < 1e-11
    assert error(F.diagonal(), np.sum(expected**2, axis=0)) < 1e-11


def test_rows_of_large_layers():
    """Above the size from which a recording lets go of arrays."""
    inputs = normal(81, 70, 80)
    problem = Problem(Categorical(), network, layers(82, 80, 90, 3), inputs)
    F = problem.operator("empirical")
    rows = F.gradients()
    for i in (0, 33, 69):
        one = Problem(Categorical(), network, problem.x, inputs[i : i + 1])
        target = problem.targets[i : i + 1]
        expected = grad(lambda p, X=one.X, y=target: cross_entropy(network(p, X), y))(problem.x)
        assert error(rows[i], flat(expected)) < 1e-11
    assert error(F.diagonal(), np.sum(rows**2, axis=0)) < 1e-11
    v = normal(83, F.shape[0])
    assert error(rows.T @ (rows @ v), F @ v) < 1e-11


def test_progress_bars():
    pytest.importorskip("tqdm")
    for name in ("two-layers", "scale"):
        problem, _ = EXAMPLES[name]
        F = problem.operator("empirical")
        assert error(F.gradients(progress=True), problem.gradients()) < 1e-11
        assert error(F.diagonal(progress=True), np.diag(F.to_dense())) < 1e-11


def test_single_precision():
    for name in ("two-layers", "scale", "shared-positions"):
        problem, _ = EXAMPLES[name]
        x = {key: value.astype(np.float32) for key, value in problem.x.items()}
        for data in (problem.X, problem.X.astype(np.float32)):
            single = Problem(problem.likelihood, problem.model, x, data)
            for kind in KINDS:
                F = single.operator(kind, rng=2)
                assert F.dtype == F.to_dense().dtype == F.gradients().dtype == np.float32
                assert F.diagonal().dtype == np.float32
                dense = F.to_dense().astype(float)
                if kind == "exact":
                    assert error(dense, problem.exact()) < 1e-5
                rows = F.gradients().astype(float)
                assert error(rows.T @ rows, dense) < 1e-5
                assert error(F.diagonal(), np.diag(dense)) < 1e-5


# --- likelihoods of one's own ---------------------------------------------------------------------

OWN = Problem(MeanAndSpread(), network, layers(84, 4, 3, 2), X)


def test_an_own_likelihood():
    outputs = OWN.outputs
    J = dense_jacobian(network, OWN.x, (X,))
    expected = J.T @ expected_hessian(OWN.likelihood, outputs) @ J
    F = OWN.operator()
    assert error(F.to_dense(), expected) < 1e-11
    rows = F.gradients()
    assert rows.shape == (2 * len(X), 23)
    assert error(rows.T @ rows, expected) < 1e-11
    assert error(F.diagonal(), np.diag(expected)) < 1e-11
    assert error(OWN.operator("empirical").gradients(), OWN.gradients()) < 1e-11
    # The Hessian of the loss is not its expectation here.
    targets = OWN.targets
    H = dense_hessian(lambda z: OWN.likelihood.nll(z, targets), outputs)
    assert error(J.T @ H @ J, expected) > 0.1
    sampled = OWN.operator("monte-carlo", num_samples=2000, rng=3)
    assert error(sampled.to_dense(), expected) < 0.1
    assert "MeanAndSpread" in repr(F.likelihood)
    with pytest.raises(ValueError, match=r"MeanAndSpread: targets have shape \(8, 3\), expected"):
        fisher_operator(
            network, OWN.likelihood, OWN.x, kind="empirical", targets=np.ones((8, 3)), args=(X,)
        )


def test_a_likelihood_with_a_density_and_draws_alone():
    problem = Problem(Geometric(), scores_of_one, layers(85, 4, 3, 1), X)
    expected = problem.gradients()
    F = problem.operator("empirical")
    assert error(F.to_dense(), expected.T @ expected) < 1e-11
    assert error(F.gradients(), expected) < 1e-11
    outputs = problem.outputs
    J = dense_jacobian(scores_of_one, problem.x, (X,))
    exact = J.T * scipy.special.expit(-outputs) @ J  # of the logit of a success
    sampled = problem.operator("monte-carlo", num_samples=2000, rng=4)
    assert error(sampled.to_dense(), exact) < 0.1
    with pytest.raises(NotImplementedError):
        problem.operator("exact") @ np.ones(F.shape[0])


class Rootless(Gaussian):
    def fisher_roots(self, outputs):
        raise NotImplementedError


def test_a_likelihood_without_roots():
    """Only the rows of an exact matrix need them."""
    F = fisher_operator(module_model, Rootless(), np.ones(4), args=(X,))
    assert error(F.to_dense(), X.T @ X) < 1e-12
    with pytest.raises(NotImplementedError):
        F.gradients()
    assert error(F.diagonal(), np.diag(X.T @ X)) < 1e-12


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"likelihood": "gaussian"}, TypeError, "likelihood is 'gaussian', expected one of hessop"),
        ({"likelihood": Gaussian}, TypeError, "expected one of hessop.likelihoods, such as"),
        ({"likelihood": None}, TypeError, "likelihood is None"),
        ({"kind": "mc"}, ValueError, "kind is 'mc', expected one of 'exact', 'monte-carlo', 'emp"),
        ({"kind": "empirical"}, ValueError, "no targets were given. Pass the observed ones"),
        ({"num_samples": 0}, ValueError, "num_samples is 0, expected a whole number from 1"),
        ({"num_samples": 2.5}, ValueError, "num_samples is 2.5"),
        ({"model": lambda w: {"z": X @ w}}, NotTracedError, r"is a tree of outputs, expected one"),
        ({"model": lambda w: [X @ w]}, NotTracedError, r"Return the outputs of one likelihood"),
        ({"model": lambda w: None}, NotTracedError, "returned None"),
        ({"model": lambda w: np.ones(3)}, NotTracedError, "does not depend on its argument"),
        ({"model": lambda w: 1j * (X @ w)}, NotTracedError, "complex"),
        ({"model": lambda w: X @ w * np.nan}, NonFiniteError, r"<lambda>\(x\) is not finite"),
        ({"model": lambda w: (X @ w)[:0]}, ValueError, r"<lambda>\(x\) is empty"),
        ({"model": 3}, TypeError, "model is 3, expected a function"),
        ({"x": np.array([1j] * 4)}, TypeError, "real and imaginary parts"),
        ({"x": np.full(4, np.nan)}, NonFiniteError, r"x\[0\] is nan"),
    ],
)
def test_errors_in_words(change, kind, words):
    arguments = {"model": lambda w: X @ w, "likelihood": Gaussian(), "x": np.ones(4)} | change
    with pytest.raises(kind, match=words):
        fisher_operator(**arguments)


def test_repr():
    F = PROBLEMS["categorical"].operator("monte-carlo")
    F @ np.ones(27)
    assert repr(F) == "<27x27 FisherOperator monte-carlo, of network, float64, 1 products>"
    assert repr(F.compile()) == (
        "<27x27 FisherOperator monte-carlo, of network, compiled, float64, 1 products>"
    )
    assert F.kind == "monte-carlo"
    with pytest.raises(ValueError, match=r"expected 27 \(the flat size of x\)"):
        F @ np.ones(3)
    tree = F.matvec_tree({key: np.ones_like(leaf) for key, leaf in layers(14, 4, 3, 3).items()})
    np.testing.assert_allclose(flat(tree), F @ np.ones(27), rtol=1e-12)


# --- figures of other packages --------------------------------------------------------------------


def test_statsmodels_figures():
    figures = np.load(REFERENCES / "statsmodels_figures.npz")
    for name, likelihood, at in (
        ("logit/hessian", Bernoulli(), "logit/params"),
        ("logit/fit_hessian", Bernoulli(), "logit/fit"),
        ("poisson/hessian", Poisson(), "poisson/params"),
    ):
        model = name.split("/")[0]
        F = fisher_operator(module_model, likelihood, figures[at], args=(figures[f"{model}/X"],))
        assert error(F.to_dense(), -figures[name]) < 1e-12
        y = figures[f"{model}/y"]
        H = hessian_operator(
            lambda w, X, lik=likelihood, y=y: lik.nll(X @ w, y),
            figures[at],
            args=(figures[f"{model}/X"],),
        )
        assert error(H.to_dense(), -figures[name]) < 1e-12


@pytest.mark.parametrize("problem", CURVLINOPS)
def test_curvlinops_figures(problem):
    figures = Curvlinops(problem)
    X, targets, p = figures.X, figures.targets, figures.p
    likelihood = Gaussian() if problem == "squared" else Categorical()
    exact = fisher_operator(mean_network, likelihood, p, args=(X,))
    assert error(exact.to_dense(), figures["fisher_exact"]) < 1e-12
    empirical = fisher_operator(
        mean_network, likelihood, p, kind="empirical", targets=targets, args=(X,)
    )
    assert error(empirical.to_dense(), figures["fisher_empirical"]) < 1e-12
    rows = empirical.gradients()
    assert error(rows.T @ rows, figures["fisher_empirical"]) < 1e-12
    G = gauss_newton_operator(mean_network, lambda z: likelihood.nll(z, targets), p, args=(X,))
    assert error(G.to_dense(), figures["ggn"]) < 1e-12
    H = hessian_operator(lambda p: likelihood.nll(mean_network(p, X), targets), p)
    assert error(H.to_dense(), figures["hessian"]) < 1e-12


def test_a_product_of_another_shape_is_refused():
    class Careless(Gaussian):
        def fisher_product(self, outputs, v):
            return anp.sum(v)

    with pytest.raises(ValueError, match=r"Careless.fisher_product returned shape \(\), expected"):
        fisher_operator(lambda w: X @ w, Careless(), normal(91, X.shape[1]))
