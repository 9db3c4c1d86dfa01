"""Gradients of a likelihood in the outputs: observed, sampled, or standing for all targets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hessop._errors import NotTracedError
from hessop.differentiate.models import Model
from hessop.differentiate.points import AutogradPoint, differentiate_at
from hessop.likelihoods import Likelihood
from hessop.operators.checks import check_count
from hessop.params import read_tree

__all__ = ["by_examples", "check_likelihood", "observed", "output_scores", "single_output"]

_KINDS = ("exact", "monte-carlo", "empirical")


def output_scores(
    outputs: np.ndarray,
    likelihood: Likelihood,
    kind: str,
    targets: Any,
    num_samples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Vectors in the outputs whose outer products add up to a Fisher matrix of the outputs.

    Outer products are taken example by example: between examples the matrix is zero.

    Returns
    -------
    ndarray, shape ``(s, *outputs.shape)``
        ``"exact"``: roots of the likelihood's own Fisher matrix. ``"monte-carlo"``: gradients for s
        draws of the targets, over √s. ``"empirical"``: the gradient for the targets given, s = 1.
    """
    if kind == "exact":
        return _apart(likelihood.fisher_roots(outputs), outputs, likelihood.event_dims)
    if kind == "empirical":
        return _gradient(likelihood, outputs, targets)[None]
    draws = [likelihood.sample(outputs, rng) for _ in range(num_samples)]
    scores = np.stack([_gradient(likelihood, outputs, draw) for draw in draws])
    scores /= math.sqrt(num_samples)
    return scores


def observed(likelihood: Likelihood, outputs: np.ndarray, targets: Any) -> AutogradPoint:
    """The negative log-likelihood of targets as a function of the outputs, at these outputs."""
    checked = likelihood.check(outputs, targets)
    layout, flat = read_tree(outputs)
    at_outputs = differentiate_at(lambda z: likelihood.nll(z, checked), layout, flat)
    assert isinstance(at_outputs, AutogradPoint)
    return at_outputs


def _gradient(likelihood: Likelihood, outputs: np.ndarray, targets: Any) -> np.ndarray:
    found: np.ndarray = observed(likelihood, outputs, targets).gradient.reshape(outputs.shape)
    return found


def _apart(roots: np.ndarray, outputs: np.ndarray, event_dims: int) -> np.ndarray:
    """Where an example has several observations, a root for each, zero in the others.

    Else their outer products would mix what is independent.
    """
    shape = outputs.shape[: outputs.ndim - event_dims]
    inner = int(np.prod(shape[1:]))
    if inner == 1:
        return roots
    # (root, example, observation, event) -> (root and observation, example, observation, event)
    split = roots.reshape(len(roots), shape[0], inner, -1)
    one = np.eye(inner, dtype=roots.dtype)[None, :, None, :, None]
    apart: np.ndarray = (split[:, None] * one).reshape(-1, *outputs.shape)
    return apart


def by_examples(outputs: np.ndarray, event_dims: int) -> tuple[int, int]:
    """The number of examples, and that of outputs of each; one example where there is no axis."""
    examples = outputs.shape[0] if outputs.ndim > event_dims else 1
    return examples, outputs.size // examples


def single_output(model: Model, name: str) -> np.ndarray:
    """The outputs of a model that returns one array, as a likelihood needs it."""
    if not model.layout.is_array:
        raise NotTracedError(
            f"{name}(x) is a tree of outputs, expected one array, examples along its first axis. "
            "Return the outputs of one likelihood alone, or use gauss_newton_operator."
        )
    outputs: np.ndarray = model.layout.split(model.outputs)[0]
    return np.asarray(outputs)


def check_likelihood(likelihood: Any, kind: str, targets: Any, num_samples: Any) -> None:
    """Refuse what a Fisher matrix cannot be made of."""
    if not isinstance(likelihood, Likelihood):
        raise TypeError(
            f"likelihood is {likelihood!r}, expected one of hessop.likelihoods, such as "
            "likelihoods.Categorical(), or an instance of your own subclass of Likelihood."
        )
    if kind not in _KINDS:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(map(repr, _KINDS))}.")
    if targets is None and kind == "empirical":
        raise ValueError("kind is 'empirical', but no targets were given. Pass the observed ones.")
    check_count(num_samples, "num_samples")
