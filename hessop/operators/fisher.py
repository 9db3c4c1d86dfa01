"""Fisher information matrices of a model with a likelihood, at a point."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np

from hessop._errors import name_of
from hessop._progress import progress_bar
from hessop.differentiate.autograd import gradient, jacobian_adjoint_product
from hessop.differentiate.linear_map import LinearMap, outer_products
from hessop.differentiate.models import Model, record_model
from hessop.differentiate.points import AutogradPoint
from hessop.likelihoods import Likelihood
from hessop.operators.compiling import Products
from hessop.operators.curvature import CurvatureOperator
from hessop.operators.gauss_newton import sandwiched
from hessop.operators.per_example import gradient_rows, sums_of_squares
from hessop.operators.scores import (
    by_examples,
    check_likelihood,
    observed,
    output_scores,
    single_output,
)
from hessop.params import as_args, read_tree

__all__ = ["FisherOperator", "fisher_operator"]

# Rows that are multiplied at once.
_TOGETHER = 64


class FisherOperator(CurvatureOperator):
    """A Fisher information matrix at a point. Made by `fisher_operator`.

    It is symmetric, positive semidefinite, and its own transpose.

    Attributes
    ----------
    kind : {"exact", "monte-carlo", "empirical"}
    likelihood : Likelihood
    outputs : ndarray
        The outputs of the model at x; a fresh copy each time.
    value : float
        The negative log-likelihood of the targets, where they were given.
    gradient : ndarray, shape (n,)
        Its gradient in the parameters; a fresh copy each time.
    x : ndarray, shape (n,)
        The flat point; a fresh copy each time.
    layout : Layout
        How the parameters lie in the flat vector.
    n_matvec : int
        Columns multiplied so far.
    """

    symbol = "F"

    def __init__(
        self,
        model: Model,
        likelihood: Likelihood,
        kind: str,
        scores: Callable[[], np.ndarray],
        at_outputs: AutogradPoint | None,
        x: np.ndarray,
        name: str,
        remake: partial[Any],
    ) -> None:
        outputs = single_output(model, name)
        self.kind = kind
        self.likelihood = likelihood
        self._model = model
        self._scores = scores
        self._at_outputs = at_outputs
        self._examples, _ = by_examples(outputs, likelihood.event_dims)
        if kind == "exact":
            product = partial(likelihood.fisher_product, outputs)
            _check_product(product(np.ones_like(outputs)), outputs, likelihood)
        else:
            product = partial(outer_products, scores(), self._examples)
        of_outputs = LinearMap(model.layout, model.layout, lambda leaves: [product(leaves[0])])
        products = Products(
            lambda: sandwiched(model, of_outputs), name=f"the Fisher matrix of {name}"
        )
        super().__init__(model.recording.layout, x, products, name, remake)

    @property
    def outputs(self) -> Any:
        """The outputs of the model at x: a fresh copy."""
        return self._model.value

    @property
    def value(self) -> float:
        """The negative log-likelihood of the targets.

        Raises
        ------
        ValueError
            When no targets were given.
        """
        return self._observed().value

    @property
    def gradient(self) -> np.ndarray:
        """The gradient of the negative log-likelihood in the parameters, shape (n,).

        Raises
        ------
        ValueError
            When no targets were given.
        """
        recording = self._model.recording
        return gradient(recording, self._observed().gradient.reshape(np.shape(recording.value)))

    def _observed(self) -> AutogradPoint:
        if self._at_outputs is None:
            raise ValueError(
                "no targets were given, so that there is no likelihood of them. Pass targets."
            )
        return self._at_outputs

    def gradients(self, *, progress: bool = False) -> np.ndarray:
        """Rows whose outer products add up to the matrix: ``F = GᵀG``.

        For ``"empirical"``, row i is the gradient of the negative log-likelihood of example i. For
        ``"monte-carlo"`` there is such a row for every example and draw, over the root of the
        number of draws; for ``"exact"``, for every example and root of the likelihood's own Fisher
        matrix.

        Where parameters enter by products with activations and by addition only, all rows are
        made together from the activations and the cotangents of the layers, without a loop over
        examples. Otherwise each row is a product with the adjoint of the Jacobian.

        Parameters
        ----------
        progress : bool
            Show a bar where there are products to make; needs tqdm.

        Returns
        -------
        ndarray, shape (k, n)
            k is the number of examples times that of draws or roots.

        Examples
        --------
        >>> import numpy as np
        >>> from hessop import fisher_operator, likelihoods
        >>> X, y = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0.0, 1.0])
        >>> normal = likelihoods.Gaussian()
        >>> F = fisher_operator(lambda w: X @ w, normal, np.zeros(2), kind="empirical", targets=y)
        >>> F.gradients() + 0.0
        array([[ 0.,  0.],
               [-3., -4.]])
        """
        scores = self._scores()
        rows = gradient_rows(self._model.recording, scores, self._examples)
        if rows is not None:
            return rows.reshape(-1, self.shape[0])
        return np.concatenate([*self._by_products(scores, progress)])

    def diagonal(self, *, progress: bool = False) -> np.ndarray:
        """The exact diagonal, shape (n,).

        From the activations and the cotangents of the layers, as `gradients`; or by a product for
        each example and root, or with each unit vector, whichever are fewer.

        Parameters
        ----------
        progress : bool
            Show a bar where there are products to make; needs tqdm.
        """
        try:
            scores = self._scores()
        except NotImplementedError:  # a likelihood without roots: products do without them
            return super().diagonal(progress=progress)
        found = sums_of_squares(self._model.recording, scores, self._examples)
        if found is not None:
            return found
        if len(scores) * self._examples >= self.shape[0]:
            return super().diagonal(progress=progress)
        total = np.zeros(self.shape[0], dtype=self.dtype)
        for rows in self._by_products(scores, progress):
            total += np.sum(rows**2, axis=0)
        return total

    def _by_products(self, scores: np.ndarray, progress: bool) -> Iterator[np.ndarray]:
        """The rows of `gradients`, in pieces, by products with the adjoint of the Jacobian."""
        pull_back = jacobian_adjoint_product(self._model.recording)
        products = Products(lambda: pull_back, name=f"the adjoint Jacobian of {self._name}")
        split = scores.reshape(len(scores), self._examples, -1)
        total = len(scores) * self._examples
        with progress_bar(progress, total, desc="gradients", unit="product") as bar:
            for score in split:
                for start in range(0, self._examples, _TOGETHER):
                    some = np.arange(start, min(start + _TOGETHER, self._examples))
                    seeds = np.zeros((some.size, *score.shape), dtype=self.dtype)
                    seeds[np.arange(some.size), some] = score[some]
                    yield products.block(seeds.reshape(some.size, -1).T).T
                    if bar is not None:
                        bar.update(some.size)

    def _facts(self) -> tuple[str, ...]:
        return (self.kind, *super()._facts())


def _check_product(product: Any, outputs: np.ndarray, likelihood: Likelihood) -> None:
    if np.shape(product) != outputs.shape:
        raise ValueError(
            f"{type(likelihood).__name__}.fisher_product returned shape {np.shape(product)}, "
            f"expected {outputs.shape}, that of the outputs."
        )


def fisher_operator(
    model: Callable[..., Any],
    likelihood: Likelihood,
    x: Any,
    *,
    kind: str = "exact",
    targets: Any = None,
    num_samples: int = 1,
    rng: Any = None,
    args: tuple[Any, ...] = (),
) -> FisherOperator:
    """The Fisher information matrix of a model whose outputs say how targets are distributed.

    With J_i the Jacobian of the outputs of example i, ``F = Σ_i J_iᵀ Λ_i J_i``, where Λ_i is the
    Fisher matrix of the likelihood in its outputs (``"exact"``), or an average of ``r rᵀ`` over
    gradients r of the negative log-likelihood in the outputs: at targets drawn from the likelihood
    (``"monte-carlo"``), or at those observed (``"empirical"``).

    Exact is what `gauss_newton_operator` gives for the same negative log-likelihood. Monte Carlo
    converges to it, with an error that falls with the root of the number of draws. Empirical is
    another matrix, the sum of outer products of the gradients of single examples.

    Parameters
    ----------
    model : callable
        ``model(x, *args)``, written with autograd.numpy, returns one array of outputs; examples lie
        along its first axis. It must not mix them (as batch normalisation does).
    likelihood : Likelihood
        ``likelihoods.Gaussian(scale)``, ``Bernoulli()``, ``Categorical()``, ``Poisson()``, or your
        own.
    x : parameter tree
        The point. Copied.
    kind : {"exact", "monte-carlo", "empirical"}
    targets : array_like, optional
        The observed targets, for ``"empirical"``. The other kinds do not depend on them, but have
        `value` and `gradient` with them.
    num_samples : int
        Draws for each example, for ``"monte-carlo"``.
    rng : None, int or numpy.random.Generator
        For ``"monte-carlo"``. All draws are made here, once.
    args : tuple
        Further arguments of the model, not differentiated.

    Returns
    -------
    FisherOperator
        Shape (n, n). The sum over examples, as the negative log-likelihood is: for the mean, divide
        it by their number.

    Raises
    ------
    TypeError
        When x has a leaf that is not real, the likelihood is none, or the model does not return one
        real array that depends on x through autograd (`NotTracedError`).
    ValueError
        For an unknown kind, and for targets that are missing, have another shape or are impossible.
    NonFiniteError
        When x or an output is not finite.

    Notes
    -----
    J. Martens, "New insights and perspectives on the natural gradient method", JMLR 21, 2020;
    F. Kunstner, L. Balles and P. Hennig, "Limitations of the empirical Fisher approximation",
    NeurIPS 32, 2019.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import fisher_operator, likelihoods
    >>> X = np.array([[1.0, 0.0], [1.0, 2.0]])
    >>> F = fisher_operator(lambda w: X @ w, likelihoods.Bernoulli(), np.zeros(2))
    >>> F.to_dense()
    array([[0.5, 0.5],
           [0.5, 1. ]])
    >>> (F / len(X)) @ np.array([1.0, 0.0])  # of the mean
    array([0.25, 0.25])
    """
    layout, point = read_tree(x)
    args = as_args(args)
    name = name_of(model)
    check_likelihood(likelihood, kind, targets, num_samples)
    rng = np.random.default_rng(rng)
    targets = None if targets is None else np.array(targets)
    remake = partial(
        fisher_operator,
        model,
        likelihood,
        layout.unflatten(point),
        kind=kind,
        targets=targets,
        num_samples=num_samples,
        rng=copy.deepcopy(rng),  # so that a pickle makes the same draws
        args=args,
    )
    at_x = record_model(model, layout, point, args)
    outputs = single_output(at_x, name)
    likelihood.check_outputs(outputs)
    at_outputs = None if targets is None else observed(likelihood, outputs, targets)
    scores = cache(partial(output_scores, outputs, likelihood, kind, targets, num_samples, rng))
    return FisherOperator(at_x, likelihood, kind, scores, at_outputs, point, name, remake)
