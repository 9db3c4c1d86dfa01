"""The sum of a function over all eigenvalues, by stochastic Lanczos quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hessop._errors import NonFiniteError, NotConvergedWarning, name_of, warn_user
from hessop.operators.base import BaseOperator
from hessop.operators.probing import RunningMean
from hessop.spectrum.all_eigenvalues import eigenvalues_of, few_enough
from hessop.spectrum.estimates import Estimate, exact_estimate, last_of
from hessop.spectrum.quadrature import ProbeBlock, probes_together
from hessop.spectrum.quadrature_limits import DEGREE, MOST_DEGREE, PROBES, Limits

__all__ = ["SpectralSum", "checked_values", "sum_over_spectrum"]

_METHODS = ("auto", "exact", "lanczos")

# Steps from one look at the quadrature to the next.
_STRIDE = 4
# The quadrature may be wrong by this part of the error by the probes.
_PART = 0.1

Function = Callable[[np.ndarray], Any]


@dataclass
class SpectralSum:
    """``Σ f(λ)`` over the eigenvalues of A, by Lanczos quadrature from random probes.

    Attributes
    ----------
    operator : BaseOperator, shape (n, n)
    f : callable
        Of an array of Ritz values, and of finite values.
    limits : Limits
    rng : numpy.random.Generator
    n_matvec : int
        Products so far; those before the first probe to begin with.
    """

    operator: BaseOperator
    f: Function
    limits: Limits
    rng: np.random.Generator
    n_matvec: int = 0
    _samples: list[np.ndarray] = field(default_factory=list)
    _bias: float = 0.0  # of the quadrature, summed over all samples

    @property
    def count(self) -> int:
        """Probes that are done."""
        return sum(map(len, self._samples))

    def estimates(self) -> Iterator[Estimate]:
        """Estimates, each with more products than the one before."""
        expected = self.limits.degree or DEGREE
        while size := self._size_of_block(expected):
            block = ProbeBlock(self.operator, size, self.rng)
            yield from self._with_block(block)
            expected = block.steps
            if self._lacks_degree(expected):
                break

    def is_enough(self, estimate: Estimate) -> bool:
        """Whether an estimate is as accurate as rtol asks, and its error is known well enough."""
        rtol = self.limits.rtol
        return rtol is not None and self.count >= PROBES and estimate.is_within(rtol)

    def _size_of_block(self, expected: int) -> int:
        """Probes to begin with next, each of about that many products; zero at the end."""
        size = probes_together(self.operator.shape[0], self.limits.degree or MOST_DEGREE)
        if self.limits.rtol is not None:
            size = min(max(PROBES, self.count), size)
        if self.limits.n_probes is not None:
            size = min(size, self.limits.n_probes - self.count)
        if self.limits.n_matvec is None:
            return size
        allowed = (self.limits.n_matvec - self.n_matvec) // expected
        # Two at first, be it with less products for each.
        return min(size, allowed if self._samples else max(allowed, 2))

    def _with_block(self, block: ProbeBlock) -> Iterator[Estimate]:
        """Extend a block until its quadrature is accurate, and take it in."""
        most = self._most_steps(block)
        stride = min(_STRIDE, max(1, most // 3))
        means: list[float] = []
        steps = (most - 1) % stride + 1  # so that all others are equal
        while True:
            before = block.n_matvec
            block.extend(steps)
            self.n_matvec += block.n_matvec - before
            steps = stride
            values = self._values(block)
            means.append(float(np.mean(values)))
            bias = 0.0 if block.is_invariant else _quadrature_error(means)
            done = block.is_invariant or block.steps >= most
            if done or (self.limits.degree is None and bias <= self._allowed(values)):
                break
            # What is known of later blocks is worth nothing before they are done.
            yield self._estimate() if self._samples else self._estimate(values, bias)
        self._samples.append(values)
        self._bias += len(values) * bias
        yield self._estimate()

    def _most_steps(self, block: ProbeBlock) -> int:
        most = self.limits.degree or MOST_DEGREE
        if self.limits.n_matvec is None:
            return most
        return max(1, min(most, (self.limits.n_matvec - self.n_matvec) // len(block)))

    def _values(self, block: ProbeBlock) -> np.ndarray:
        """The sum as each probe of a block sees it, shape (k,)."""
        rules = [*block.rules()]
        values = checked_values(self.f, np.concatenate([rule.nodes for rule in rules]))
        ends = np.cumsum([len(rule.nodes) for rule in rules])[:-1]
        parts = zip(rules, np.split(values, ends), strict=True)
        means = np.array([rule.weights @ part for rule, part in parts])
        sums: np.ndarray = self.operator.shape[0] * means
        return sums

    def _allowed(self, values: np.ndarray) -> float:
        """How wrong the quadrature of a block may be."""
        samples = _mean([*self._samples, values])
        size = abs(float(samples.mean))
        rounding = 10.0 * float(np.finfo(self.operator.dtype).eps) * float(np.abs(values).mean())
        if self.limits.rtol is not None:
            return max(_PART * self.limits.rtol * size, rounding)
        deviation = float(samples.deviation)
        if math.isinf(deviation):  # a single probe
            deviation = size
        return max(_PART * deviation / math.sqrt(self.limits.probes), rounding)

    def _lacks_degree(self, degree: int) -> bool:
        """Whether rtol is out of reach for any number of probes: that is told."""
        known = self._estimate()
        bias = self._bias / self.count
        if self.limits.rtol is None or bias <= self.limits.rtol * abs(known.estimate):
            return False
        warn_user(
            f"the quadrature of degree {degree} lacks about {bias:.2g} of {known.estimate:.6g}, "
            "which more probes do not mend. Use a larger degree, or a function that is smoother "
            "on the spectrum, as with a damping.",
            NotConvergedWarning,
        )
        return True

    def _estimate(self, values: np.ndarray | None = None, bias: float = 0.0) -> Estimate:
        """From all probes that are done, or only from those of the first block."""
        if values is None:
            samples, bias = _mean(self._samples), self._bias / self.count
        else:
            samples = _mean([values])
        error = math.hypot(float(samples.standard_error), bias)
        return Estimate(float(samples.mean), error, self.n_matvec, "lanczos")


def _mean(samples: list[np.ndarray]) -> RunningMean:
    mean = RunningMean()
    mean.add(np.concatenate(samples))
    return mean


def _quadrature_error(means: list[float]) -> float:
    """An estimate of what is missing of a limit, from the last three of equally spaced terms.

    Differences of one sign are followed as a geometric series; of those that change sign, as where
    f is not smooth, the larger is taken.
    """
    if len(means) < 3:
        return math.inf
    earlier, last = np.diff(means[-3:])
    if earlier * last <= 0.0 or abs(last) >= abs(earlier):
        return float(max(abs(earlier), abs(last)))
    ratio = min(last / earlier, 0.95)
    return float(abs(last) / (1.0 - ratio))


def checked_values(f: Function, eigenvalues: np.ndarray) -> np.ndarray:
    """Values of f at some eigenvalues: finite real numbers, of the same shape.

    Raises
    ------
    TypeError, ValueError, NonFiniteError
        When it gives something else.
    """
    with np.errstate(all="ignore"):
        values = np.asarray(f(eigenvalues.copy()))
    if values.dtype.kind not in "biuf":
        raise TypeError(f"{name_of(f)} gives {values.dtype}, expected real numbers.")
    if values.shape != eigenvalues.shape:
        raise ValueError(
            f"{name_of(f)} gives shape {values.shape} for eigenvalues of shape "
            f"{eigenvalues.shape}, expected the same: it is called with an array of them."
        )
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise NonFiniteError(
            f"{name_of(f)} is {values[bad]} at {eigenvalues[bad]:.6g}, an eigenvalue of A or "
            "between two of them, expected finite numbers. Use a function that is finite on all "
            "of the spectrum, as with a damping: lambda x: f(x + damping)."
        )
    return values.astype(np.float64)


def sum_over_spectrum(
    name: str,
    operator: BaseOperator,
    f: Function,
    *,
    method: str,
    limits: Limits,
    tested: int,
    rng: Any,
    progress: bool,
    callback: Callable[[Estimate], Any] | None,
    shortcut: Callable[[], Estimate | None] = lambda: None,
) -> Estimate:
    """``Σ f(λ)`` over the eigenvalues of A, exact or estimated.

    Parameters
    ----------
    name : str
        Of what is computed: of the bar and warnings.
    operator : BaseOperator, shape (n, n)
        Symmetric.
    f : callable
    method : str
        ``"exact"``, ``"lanczos"``, or ``"auto"`` for what is exact where that is cheap.
    limits : Limits
    tested : int
        Products that were spent before.
    rng, progress, callback
        As for `trace_of_function`.
    shortcut : callable, optional
        Gives the sum where it is known without the eigenvalues, else None.

    Raises
    ------
    ValueError
        When there is no such method.
    """
    if method not in _METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(map(repr, _METHODS))}.")
    known = None if method == "lanczos" else shortcut()
    if known is not None:
        estimates = iter([known])
    elif method == "exact" or (method == "auto" and few_enough(operator, limits.products)):
        estimates = _by_eigenvalues(operator, f, tested, progress)
    else:
        found = SpectralSum(operator, f, limits, np.random.default_rng(rng), tested)
        return last_of(
            found.estimates(),
            name=name,
            total=tested + limits.products,
            is_enough=None if limits.rtol is None else found.is_enough,
            callback=callback,
            progress=progress,
        )
    return last_of(estimates, name=name, total=None, callback=callback)


def _by_eigenvalues(
    operator: BaseOperator, f: Function, tested: int, progress: bool
) -> Iterator[Estimate]:
    eigenvalues, spent = eigenvalues_of(operator, progress=progress)
    yield exact_estimate(float(np.sum(checked_values(f, eigenvalues))), tested + spent)
