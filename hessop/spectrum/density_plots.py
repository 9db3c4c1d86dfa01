"""Curves of a spectral density with their bands, drawn by matplotlib."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["DensityPlot"]


@dataclass(frozen=True)
class DensityPlot:
    """What is drawn, and how wide and how sure.

    Attributes
    ----------
    found
        A `SpectralDensity`.
    confidence : float
        Of the bands.
    width : float or None
        Of the smoothing; None for that of the density.
    """

    found: Any
    confidence: float
    width: float | None

    def draw(self, ax: Any) -> None:
        """On some axes of matplotlib."""
        x = self.found.grid(width=self.width)
        if self.found.scale == "linear":
            # A tenth of the peak of a single eigenvalue: less is between them.
            floor = 0.04 / (self.found.n * (self.width or self.found.width))
            self._curve(ax, x, x, floor)
            ax.set(xlabel="eigenvalue λ", ylabel="density", yscale="log")
            return
        for sign, label in ((1.0, "positive"), (-1.0, "negative")):
            part = x[sign * x > 0.0]
            if part.size:
                self._curve(ax, np.abs(part), part, label=label)
        ax.set(xlabel="|λ|", ylabel="density of log10 |λ|", xscale="log")
        zero = f"near zero: {float(self.found.mass_near_zero()):.3g}"
        if x.size:
            ax.legend(title=zero)
        else:
            ax.set_title(zero)

    def _curve(
        self, ax: Any, at: np.ndarray, x: np.ndarray, floor: float = 0.0, label: str | None = None
    ) -> None:
        density = self.found.density(x, width=self.width)
        (line,) = ax.plot(at, np.where(density < floor, np.nan, density), label=label)
        if self.found.n_probes > 1:
            bands = self.found.bands(x, self.confidence, width=self.width)
            lower, upper = (np.maximum(edge, floor) for edge in bands)
            ax.fill_between(at, lower, upper, color=line.get_color(), alpha=0.3, linewidth=0.0)
