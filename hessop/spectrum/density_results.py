"""A spectral density, and what can be asked of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.stats

from hessop.operators.base import is_real_number
from hessop.operators.checks import check_count
from hessop.operators.probing import RunningMean
from hessop.spectrum.density_plots import DensityPlot
from hessop.spectrum.estimates import Estimate
from hessop.spectrum.kernel_polynomials import Interval, chebyshev_density
from hessop.spectrum.smoothing import check_width, points_around, quantiles, smooth, smooth_log

__all__ = ["SpectralDensity"]


@dataclass(frozen=True, eq=False)
class SpectralDensity:
    """How the eigenvalues of a symmetric matrix are distributed. Made by `spectral_density`.

    Each probe gives a discrete distribution; what is told is its mean over probes, and how it
    differs from probe to probe is the error.

    Attributes
    ----------
    n : int
        Rows of the matrix.
    nodes : ndarray, shape (p, k)
        Where the distribution of each probe has its mass, ascending.
    weights : ndarray, shape (p, k)
        The mass, not negative: each row has the sum one.
    width : float
        The standard deviation of the normal distribution by which nodes are made a density: in
        eigenvalues, or in decades where the scale is logarithmic. Of ``"kernel-polynomial"``, the
        width of its kernel in the middle of the interval.
    zero_tolerance : float
        Up to this magnitude, an eigenvalue is zero for all that is known: ``10 √n eps`` of the
        largest, for rounding. Of ``"kernel-polynomial"``, twice the width of its kernel,
        ``2 π / degree`` of half the interval.
    scale : str
        ``"linear"`` or ``"log"``.
    method : str
        ``"exact"``, ``"lanczos"`` or ``"kernel-polynomial"``.
    n_matvec : int
        Columns multiplied.
    status : str
        As of `Estimate`.
    interval : Interval or None
        Of the kernel polynomials.
    """

    n: int
    nodes: np.ndarray
    weights: np.ndarray
    width: float
    zero_tolerance: float
    scale: str
    method: str
    n_matvec: int
    status: str = "product limit"
    interval: Interval | None = None

    @property
    def n_probes(self) -> int:
        """Probes; for the exact distribution 1."""
        return len(self.nodes)

    @property
    def support(self) -> tuple[float, float]:
        """The least and the largest node that have mass: of ``"lanczos"``, within the spectrum."""
        found = self.nodes[self.weights > 0.0]
        return float(found.min()), float(found.max())

    def ended(self, status: str) -> SpectralDensity:
        """The same with another status."""
        return replace(self, status=status)

    # --- the density ------------------------------------------------------------------------------

    def density(self, x: Any, *, width: float | None = None) -> np.ndarray:
        """The density at x: its integral is one.

        Parameters
        ----------
        x : array_like
            Eigenvalues. On the logarithmic scale they are not zero, and the density is that of
            ``log10 |λ|``, for those with the sign of x alone: its integrals over both signs and the
            mass near zero have the sum one.
        width : float, optional
            Another smoothing width than `width`.

        Returns
        -------
        ndarray, of the shape of x
        """
        return np.asarray(self._mean(self._densities(x, width)).estimate)

    def bands(
        self, x: Any, confidence: float = 0.95, *, width: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Between what the density lies at each x, with the confidence that is asked for.

        From the differences of the probes, by Student's distribution: of the smoothed density, at
        each x by itself. The same as the density where that is exact, and unbounded for one probe.

        Parameters
        ----------
        x : array_like
        confidence : float
            Between 0 and 1.
        width : float, optional
            As for `density`.

        Returns
        -------
        lower, upper : ndarray, of the shape of x
        """
        if not is_real_number(confidence) or not 0.0 < confidence < 1.0:
            raise ValueError(f"confidence is {confidence!r}, expected a number between 0 and 1.")
        mean = self._mean(self._densities(x, width))
        freedom = max(self.n_probes - 1, 1)
        reach = scipy.stats.t.ppf((1.0 + confidence) / 2.0, freedom) * mean.standard_error
        return np.maximum(mean.estimate - reach, 0.0), np.asarray(mean.estimate + reach)

    def _densities(self, x: Any, width: float | None) -> np.ndarray:
        """Of each probe, shape (..., p)."""
        x = np.asarray(x, dtype=np.float64)
        points = np.atleast_1d(x).ravel()
        if self.interval is not None and width is None:
            found = [*chebyshev_density(points, self.weights, self.interval)]
        else:
            sigma = self.width if width is None else check_width(width)
            rules = zip(self.nodes, self.weights, strict=True)
            if self.scale == "log":
                found = [smooth_log(points, *rule, sigma, self.zero_tolerance) for rule in rules]
            else:
                found = [smooth(points, *rule, sigma) for rule in rules]
        return np.array(found).T.reshape(*x.shape, self.n_probes)

    # --- masses and moments -----------------------------------------------------------------------

    def cdf(self, x: Any) -> np.ndarray:
        """The part of the eigenvalues up to x, not smoothed: of the shape of x."""
        return np.asarray(self._mean(self._masses(-np.inf, x)).estimate)

    def count(self, low: Any = -np.inf, high: Any = np.inf) -> Estimate:
        """How many eigenvalues there are from low to high, both included.

        Its error is that of the probes: beside it, eigenvalues near the ends may be counted on the
        wrong side, within the resolution of the method.

        Parameters
        ----------
        low, high : float or array_like
        """
        if np.any(np.asarray(low) > np.asarray(high)):
            raise ValueError(f"low is {low} and high is {high}, expected low to be the less.")
        return self._mean(self.n * self._masses(low, high))

    def mass_near_zero(self, tol: float | None = None) -> Estimate:
        """The part of the eigenvalues that are zero, or at most `tol` in magnitude.

        Parameters
        ----------
        tol : float, optional
            By default `zero_tolerance`. That is right where a gap separates what is zero from the
            rest, or for the exact eigenvalues; where they come near to zero gradually, say what is
            near.
        """
        tol = self.zero_tolerance if tol is None else tol
        if not is_real_number(tol) or not 0.0 <= tol < np.inf:
            raise ValueError(f"tol is {tol!r}, expected a number that is not negative.")
        return self._mean(self._masses(-tol, tol))

    def moment(self, k: int) -> Estimate:
        """The mean of the k-th powers of the eigenvalues, ``trace(A^k) / n``.

        Without an error by the quadrature for k below twice the degree of ``"lanczos"``; of
        ``"kernel-polynomial"``, that of the damped density.
        """
        k = check_count(k, "k", least=0)
        return self._mean(np.sum(self.weights * self.nodes**k, axis=1))

    @property
    def mean(self) -> Estimate:
        """The mean of the eigenvalues, ``trace(A) / n``."""
        return self.moment(1)

    def quantile(self, q: Any) -> Any:
        """The least node that has at least the part q of the mass up to it.

        Parameters
        ----------
        q : float or array_like
            From 0 to 1.

        Returns
        -------
        float or ndarray, of the shape of q
        """
        q = np.asarray(q, dtype=np.float64)
        if not ((q >= 0.0) & (q <= 1.0)).all():
            raise ValueError(f"q is {q}, expected numbers from 0 to 1.")
        found = quantiles(self.nodes, self.weights, q)
        return float(found) if q.ndim == 0 else found

    def _masses(self, low: Any, high: Any) -> np.ndarray:
        """Of each probe from low to high, shape (..., p)."""
        low, high = (np.asarray(end, dtype=np.float64)[..., None] for end in (low, high))
        rules = zip(self.nodes, self.weights, strict=True)
        masses = [
            np.sum(weights * ((nodes >= low) & (nodes <= high)), axis=-1)
            for nodes, weights in rules
        ]
        return np.stack(masses, axis=-1)

    def _mean(self, samples: np.ndarray) -> Estimate:
        """Over probes, the last axis."""
        mean = RunningMean()
        mean.add(samples)
        value, error = mean.mean, mean.standard_error
        if self.method == "exact":
            error = np.zeros_like(value)
        if np.ndim(value) == 0:
            value, error = float(value), float(error)
        return Estimate(value, error, self.n_matvec, self.method, self.status)

    # --- how it looks -----------------------------------------------------------------------------

    def grid(self, count: int = 400, *, width: float | None = None) -> np.ndarray:
        """Points that show all of the density, ascending, at least so many.

        Parameters
        ----------
        count : int
        width : float, optional
            As for `density`.

        Returns
        -------
        ndarray, shape (m,)
            From end to end, and near to each other where there are nodes. On the logarithmic scale
            for each sign that there is.
        """
        if self.interval is not None and width is None:
            center, half_width = self.interval
            angles = np.pi * (np.arange(count) + 0.5) / count
            return np.asarray(center - half_width * np.cos(angles))
        nodes = self.nodes[self.weights > 0.0]
        sigma = self.width if width is None else check_width(width)
        if self.scale == "linear":
            return points_around(nodes, sigma, count)
        parts = [
            sign * 10.0 ** points_around(np.log10(sizes), sigma, count)
            for sign in (-1.0, 1.0)
            if (sizes := sign * nodes[sign * nodes > self.zero_tolerance]).size
        ]
        return np.sort(np.concatenate(parts)) if parts else np.empty(0)

    def plot(self, ax: Any = None, *, confidence: float = 0.95, width: float | None = None) -> Any:
        """Draw the density with its bands.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            A new one by default.
        confidence : float
            Of the bands.
        width : float, optional
            As for `density`.

        Returns
        -------
        matplotlib.axes.Axes
        """
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots()
        DensityPlot(self, confidence, width).draw(ax)
        return ax

    def __repr__(self) -> str:
        low, high = self.support
        probes = "" if self.method == "exact" else f", {self.n_probes} probes"
        return (
            f"<SpectralDensity of {self.n} eigenvalues from {low:.4g} to {high:.4g}, median "
            f"{self.quantile(0.5):.4g}, near zero {float(self.mass_near_zero()):.2g}, "
            f"{self.method}{probes}, {self.n_matvec} products, {self.status}>"
        )
