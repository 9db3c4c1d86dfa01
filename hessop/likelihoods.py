"""Distributions of observed targets, given a model's outputs: what a Fisher matrix needs to know.

The first axis of the outputs counts the examples, which are independent. Everything is summed over
them: ``nll`` is the negative log-likelihood of all targets together, and a Fisher matrix that is
made of it is that of all examples. For the mean, divide by their number.

A likelihood of your own is a subclass of `Likelihood`.
"""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
from scipy.special import expit, gammaln

__all__ = ["Bernoulli", "Categorical", "Gaussian", "Likelihood", "Poisson"]


class Likelihood:
    """A distribution of targets, given outputs. Subclass it for one of your own.

    Attributes
    ----------
    event_dims : int
        How many of the last axes of the outputs belong to one observation: 1 for `Categorical`,
        else 0.
    """

    event_dims = 0

    def nll(self, outputs: Any, targets: Any) -> Any:
        """The negative log-likelihood, summed over everything; written with autograd.numpy.

        Parameters
        ----------
        outputs : ndarray
        targets : ndarray

        Returns
        -------
        float

        Raises
        ------
        ValueError
            When the targets have another shape, or are not possible: see `check`.
        """
        raise self._missing("nll")

    def sample(self, outputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Targets drawn from the distribution that the outputs give."""
        raise self._missing("sample")

    def fisher_product(self, outputs: np.ndarray, v: Any) -> Any:
        """The Fisher matrix of the outputs themselves times v, both shaped like the outputs.

        It is the expected Hessian of `nll` in the outputs; written with autograd.numpy.
        """
        raise self._missing("fisher_product")

    def fisher_roots(self, outputs: np.ndarray) -> np.ndarray:
        """Vectors whose outer products add up to the Fisher matrix of one observation.

        Returns
        -------
        ndarray, shape ``(r, *outputs.shape)``
            For every observation, r vectors over its last `event_dims` axes.
        """
        raise self._missing("fisher_roots")

    def check_outputs(self, outputs: Any) -> None:
        """Raise a ValueError when the distribution is not that of such outputs."""

    def target_shapes(self, outputs: Any) -> tuple[tuple[int, ...], ...]:
        """The shapes that targets may have: that of the outputs, or one number an observation."""
        return outputs.shape, outputs.shape[: outputs.ndim - self.event_dims]

    def _way_out(self, targets: np.ndarray, outputs: Any) -> str:
        return "Reshape one of them."

    def check(self, outputs: Any, observed: Any) -> np.ndarray:
        """The targets as an array, or a ValueError that says what is wrong with them."""
        targets: np.ndarray = np.asarray(observed)
        expected = self.target_shapes(outputs)
        name = type(self).__name__
        if targets.shape not in expected:
            raise ValueError(
                f"{name}: targets have shape {targets.shape}, expected "
                f"{' or '.join(map(str, dict.fromkeys(expected)))} for outputs of "
                f"shape {outputs.shape}. {self._way_out(targets, outputs)}"
            )
        if targets.dtype.kind not in "biuf" or not np.isfinite(targets).all():
            raise ValueError(f"{name}: targets are not finite real numbers. Remove what is not.")
        if not self._allows(targets, outputs):
            raise ValueError(f"{name}: targets are expected to be {self._allowed}.")
        return targets

    def _missing(self, method: str) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} has no {method}, which is needed here.")

    _allowed = ""

    def _allows(self, targets: np.ndarray, outputs: Any) -> bool:
        return True

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class _Separable(Likelihood):
    """Every output is an observation of its own."""

    def _variance(self, outputs: np.ndarray) -> Any:
        """The second derivative of the negative log-likelihood, or its expectation."""
        raise NotImplementedError

    def fisher_product(self, outputs: np.ndarray, v: Any) -> Any:
        """See `Likelihood.fisher_product`."""
        return self._variance(outputs) * v

    def fisher_roots(self, outputs: np.ndarray) -> np.ndarray:
        """See `Likelihood.fisher_roots`: one root, the standard deviation of the gradient."""
        roots: np.ndarray = np.broadcast_to(np.sqrt(self._variance(outputs)), outputs.shape)[None]
        return roots


class Gaussian(_Separable):
    """Real targets, normal around the outputs with a known standard deviation.

    Parameters
    ----------
    scale : float or array_like
        The standard deviation, positive; an array that broadcasts to the outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from hessop import likelihoods
    >>> nll = likelihoods.Gaussian(scale=2.0).nll(np.zeros(1), np.array([2.0]))
    >>> round(float(nll - 0.5 * np.log(2 * np.pi * 4.0)), 12)
    0.5
    """

    def __init__(self, scale: Any = 1.0) -> None:
        self.scale = np.asarray(scale, dtype=float)
        if not (np.isfinite(self.scale).all() and (self.scale > 0.0).all()):
            raise ValueError(f"Gaussian: scale is {scale}, expected positive finite numbers.")

    def nll(self, outputs: Any, targets: Any) -> Any:
        """``Σ (y - o)² / 2 scale² + log(2π scale²) / 2``."""
        targets, scale = self.check(outputs, targets), self._scale(outputs)
        z = (outputs - targets) / scale
        return anp.sum(0.5 * z**2 + 0.5 * np.log(2.0 * np.pi * scale**2))

    def sample(self, outputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """See `Likelihood.sample`."""
        return rng.normal(outputs, self._scale(outputs))

    def check_outputs(self, outputs: Any) -> None:
        """See `Likelihood.check_outputs`."""
        self._scale(outputs)

    def _variance(self, outputs: np.ndarray) -> Any:
        return self._scale(outputs) ** -2.0

    def _scale(self, outputs: Any) -> np.ndarray:
        try:
            return np.broadcast_to(self.scale, outputs.shape)
        except ValueError:
            raise ValueError(
                f"Gaussian: scale has shape {self.scale.shape}, expected one that broadcasts to "
                f"the outputs of shape {outputs.shape}."
            ) from None

    def __repr__(self) -> str:
        return f"Gaussian(scale={self.scale.tolist()})" if self.scale.size < 5 else "Gaussian(...)"


class Bernoulli(_Separable):
    """Targets 0 or 1; the outputs are logits, ``log p / (1 - p)``."""

    _allowed = "between 0 and 1"

    def nll(self, outputs: Any, targets: Any) -> Any:
        """``Σ log(1 + exp o) - y o``."""
        targets = self.check(outputs, targets)
        return anp.sum(anp.logaddexp(0.0, outputs) - targets * outputs)

    def sample(self, outputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """See `Likelihood.sample`."""
        draws: np.ndarray = rng.uniform(size=outputs.shape) < expit(outputs)
        return draws.astype(float)

    def _variance(self, outputs: np.ndarray) -> Any:
        return expit(outputs) * expit(-outputs)

    def _allows(self, targets: np.ndarray, outputs: Any) -> bool:
        return bool(((targets >= 0) & (targets <= 1)).all())


class Poisson(_Separable):
    """Counts; the outputs are the logarithms of the rates."""

    _allowed = "counts: whole numbers from 0"

    def nll(self, outputs: Any, targets: Any) -> Any:
        """``Σ exp o - y o + log y!``."""
        targets = self.check(outputs, targets)
        return anp.sum(anp.exp(outputs) - targets * outputs + gammaln(targets + 1.0))

    def sample(self, outputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """See `Likelihood.sample`."""
        counts = np.asarray(rng.poisson(np.exp(outputs)))
        return counts.astype(float)

    def _variance(self, outputs: np.ndarray) -> Any:
        return np.exp(outputs)

    def _allows(self, targets: np.ndarray, outputs: Any) -> bool:
        return bool(((targets >= 0) & (targets == np.round(targets))).all())


class Categorical(Likelihood):
    """Targets are classes 0, ..., c - 1; the outputs are logits, classes along the last axis."""

    event_dims = 1
    _allowed = "classes: whole numbers from 0, below the number of outputs along the last axis"

    def nll(self, outputs: Any, targets: Any) -> Any:
        """``Σ logsumexp(o) - o[y]``."""
        # autograd.scipy takes as long to import as all the rest, so only who needs it waits for it.
        from autograd.scipy.special import logsumexp

        chosen = self.check(outputs, targets)[..., None] == np.arange(outputs.shape[-1])
        return anp.sum(logsumexp(outputs, axis=-1)) - anp.sum(outputs * chosen)

    def sample(self, outputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """See `Likelihood.sample`."""
        # The largest of logits with Gumbel noise is one drawn from their softmax.
        classes: np.ndarray = np.argmax(outputs + rng.gumbel(size=outputs.shape), axis=-1)
        return classes

    def fisher_product(self, outputs: np.ndarray, v: Any) -> Any:
        """See `Likelihood.fisher_product`: ``p ∘ (v - <p, v>)``."""
        p = _softmax(outputs)
        return p * (v - anp.sum(p * v, axis=-1, keepdims=True))

    def fisher_roots(self, outputs: np.ndarray) -> np.ndarray:
        """See `Likelihood.fisher_roots`: ``√p_i (e_i - p)`` for every class i."""
        p = _softmax(outputs)
        classes = np.eye(p.shape[-1], dtype=p.dtype)
        roots = np.sqrt(p)[..., None, :] * (classes - p[..., :, None])  # (..., entry, root)
        return np.moveaxis(roots, -1, 0)

    def check_outputs(self, outputs: Any) -> None:
        """See `Likelihood.check_outputs`."""
        if outputs.ndim < 2 or outputs.shape[-1] < 2:
            raise ValueError(
                f"Categorical: outputs have shape {outputs.shape}, expected examples along the "
                "first axis and at least two classes along the last. For two classes and one "
                "logit use Bernoulli; for a single example add an axis, as outputs[None]."
            )

    def target_shapes(self, outputs: Any) -> tuple[tuple[int, ...], ...]:
        """See `Likelihood.target_shapes`: the classes are numbers."""
        return (outputs.shape[:-1],)

    def _way_out(self, targets: np.ndarray, outputs: Any) -> str:
        if targets.shape == outputs.shape:
            return "Give the numbers of the classes: targets.argmax(axis=-1)."
        return super()._way_out(targets, outputs)

    def check(self, outputs: Any, observed: Any) -> np.ndarray:
        """See `Likelihood.check`."""
        if outputs.ndim == 0:
            self.check_outputs(outputs)
        return super().check(outputs, observed).astype(int)

    def _allows(self, targets: np.ndarray, outputs: Any) -> bool:
        whole = targets == np.round(targets)
        return bool((whole & (targets >= 0) & (targets < outputs.shape[-1])).all())


def _softmax(outputs: np.ndarray) -> np.ndarray:
    weights = np.exp(outputs - np.max(outputs, axis=-1, keepdims=True))
    softmax: np.ndarray = weights / np.sum(weights, axis=-1, keepdims=True)
    return softmax
