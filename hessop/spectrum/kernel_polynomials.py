"""The kernel polynomial method: a spectrum by its Chebyshev moments, damped."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.fft

from hessop.operators.base import BaseOperator
from hessop.operators.probing import PROBES, columns_together
from hessop.spectrum.intervals import spectral_interval

__all__ = ["Interval", "KernelRules", "chebyshev_density", "kernel_rules"]

# The interval is wider than the eigenvalues that were found by this part; it is widened by the
# next, at least, where one lies outside; and its half is this part of the largest eigenvalue.
_MARGIN, _WIDER, _SMALLEST = 0.01, 0.1, 0.05
# Vectors of the length of a probe, beside it, that a moment needs.
_VECTORS = 4


class Interval(NamedTuple):
    """Where the eigenvalues are thought to be: ``center ± half_width``."""

    center: float
    half_width: float

    @classmethod
    def around(cls, least: float, largest: float) -> Interval:
        """With a margin, and of a length that is not zero."""
        center, half_width = (least + largest) / 2.0, (largest - least) / 2.0
        smallest = _SMALLEST * max(abs(least), abs(largest)) or 1.0
        return cls(center, (1.0 + _MARGIN) * max(half_width, smallest))

    def scaled(self, x: np.ndarray) -> np.ndarray:
        """Points brought to [-1, 1]."""
        t: np.ndarray = (x - self.center) / self.half_width
        return t


class KernelRules(NamedTuple):
    """Damped moments of some probes, as discrete distributions.

    Attributes
    ----------
    nodes : ndarray, shape (k,)
        Chebyshev points of the interval, ascending.
    weights : ndarray, shape (p, k)
        Not negative; each row has the sum one.
    interval : Interval
    n_matvec : int
        Products so far.
    """

    nodes: np.ndarray
    weights: np.ndarray
    interval: Interval
    n_matvec: int


class _OutsideError(Exception):
    """An eigenvalue lies outside of the interval: the recurrence grows in this direction."""

    def __init__(self, vector: np.ndarray) -> None:
        super().__init__()
        self.vector = vector


def kernel_rules(
    A: BaseOperator, n_probes: int, degree: int, rng: np.random.Generator
) -> Iterator[KernelRules]:
    """Rules of more and more moments for the first block of probes, then for more and more probes.

    Parameters
    ----------
    A : BaseOperator, shape (n, n)
        Symmetric.
    n_probes, degree : int
        Moments up to the degree take half as many products for each probe.
    rng : numpy.random.Generator

    Notes
    -----
    A. Weiße, G. Wellein, A. Alvermann and H. Fehske, "The kernel polynomial method", Rev. Mod.
    Phys. 78, 2006: the moments, two for each product, and Jackson's kernel, by which a density
    never becomes negative.

    The interval comes from some steps of Lanczos' process. Polynomials of an eigenvalue outside
    would grow exponentially. Where a vector becomes longer than its probe, or the density negative,
    all starts again with an interval that has the Ritz values of that vector.
    """
    found = spectral_interval(A, rng=rng)
    interval, spent = Interval.around(found.least_bound, found.largest_bound), found.n_matvec
    while True:
        B = _Scaled(A, interval, spent)
        try:
            yield from _rules_in(B, n_probes, degree, rng)
        except _OutsideError as outside:
            found = spectral_interval(A, v0=outside.vector)
            spent = B.n_matvec + found.n_matvec
            reach = (1.0 + _WIDER) * interval.half_width
            least = min(found.least_bound, interval.center - reach)
            largest = max(found.largest_bound, interval.center + reach)
            interval = Interval.around(least, largest)
        else:
            return


class _Scaled:
    """A with the interval brought to [-1, 1], and the products spent."""

    def __init__(self, A: BaseOperator, interval: Interval, n_matvec: int) -> None:
        self.A = A
        self.interval = interval
        self.n_matvec = n_matvec
        # What rounding may add to numbers of size one.
        self.rounding = math.sqrt(float(np.finfo(A.dtype).eps))

    def __call__(self, V: np.ndarray) -> np.ndarray:
        self.n_matvec += V.shape[1]
        product = np.asarray(self.A.matmat(V), dtype=np.float64)
        scaled: np.ndarray = (product - self.interval.center * V) / self.interval.half_width
        return scaled


def _rules_in(
    B: _Scaled, n_probes: int, degree: int, rng: np.random.Generator
) -> Iterator[KernelRules]:
    n = B.A.shape[0]
    done: list[np.ndarray] = []
    together = columns_together(n, _VECTORS)
    for start in range(0, n_probes, together):
        Z = PROBES["signs"](rng, (n, min(together, n_probes - start)))
        for moments in _moments(B, Z, degree):
            if not done and moments.shape[1] <= degree:
                yield _rules(B, moments)
        done.append(moments)
        yield _rules(B, np.concatenate(done))


def _moments(B: _Scaled, Z: np.ndarray, degree: int) -> Iterator[np.ndarray]:
    """``zᵀ T_m(B) z / zᵀ z`` with Chebyshev polynomials T, more at each time: shape (p, m)."""
    squares = np.sum(Z**2, axis=0)
    before, last = Z, B(Z)
    moments = [np.ones(Z.shape[1]), np.sum(Z * last, axis=0) / squares]
    while True:
        lengths = np.sum(last**2, axis=0) / squares
        worst = int(np.argmax(lengths))
        if lengths[worst] > 1.0 + B.rounding:
            raise _OutsideError(last[:, worst])
        moments.append(2.0 * lengths - moments[0])
        found = np.stack(moments[: degree + 1], axis=1)
        least = _damped(found).min(axis=1)
        if least.min() < -B.rounding:
            raise _OutsideError(last[:, int(np.argmin(least))])
        yield found
        if found.shape[1] > degree:
            return
        before, last = last, 2.0 * B(last) - before
        moments.append(2.0 * np.sum(before * last, axis=0) / squares - moments[1])


def _jackson(count: int) -> np.ndarray:
    """Factors for the first moments that make the density positive, shape (count,)."""
    m, step = np.arange(count), math.pi / (count + 1)
    factors: np.ndarray = (
        (count + 1 - m) * np.cos(m * step) + np.sin(m * step) / math.tan(step)
    ) / (count + 1)
    return factors


def _damped(moments: np.ndarray) -> np.ndarray:
    """Weights at twice as many Chebyshev points, ascending, as there are moments: (p, 2 m)."""
    count = moments.shape[1]
    damped = np.zeros((len(moments), 2 * count))
    damped[:, :count] = moments * _jackson(count)
    weights: np.ndarray = scipy.fft.dct(damped, type=3, axis=1)[:, ::-1] / (2 * count)
    return weights


def _rules(B: _Scaled, moments: np.ndarray) -> KernelRules:
    weights = np.maximum(_damped(moments), 0.0)
    count = weights.shape[1]
    points = -np.cos(np.pi * (np.arange(count) + 0.5) / count)
    nodes = B.interval.center + B.interval.half_width * points
    weights /= weights.sum(axis=1, keepdims=True)
    return KernelRules(nodes, weights, B.interval, B.n_matvec)


def chebyshev_density(x: np.ndarray, weights: np.ndarray, interval: Interval) -> np.ndarray:
    """The damped density of each probe at x, shape (p, m); zero outside of the interval.

    Parameters
    ----------
    x : ndarray, shape (m,)
    weights : ndarray, shape (p, k)
        As of `KernelRules`.
    interval : Interval
    """
    t = interval.scaled(x)
    inside = np.abs(t) < 1.0
    # The damped moments again: the upper half of them is zero.
    k = weights.shape[1]
    moments = scipy.fft.dct(weights[:, ::-1], type=2, axis=1)[:, : k // 2]
    moments[:, 0] /= 2.0
    density = np.zeros((len(weights), len(t)))
    series = np.polynomial.chebyshev.chebval(t[inside], moments.T)
    density[:, inside] = series / (np.pi * interval.half_width * np.sqrt(1.0 - t[inside] ** 2))
    return density
