"""Derivatives along a line by differences, with what they may be wrong by."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hessop._lengths import length

__all__ = ["Jumps", "Quotients", "steps"]

# Steps fall by this factor, so that what falls with the step, or its square, is told from rounding.
_FACTOR = 16.0
# A kink that is met at one step is met at the next, too, and looks as large; what is smooth shrinks
# with the step.
_KINK = (1.0 / 3.0, 3.0)
# What rounding makes has to be exceeded by so much to be seen as something else.
_CLEAR = 20.0


def steps(x: np.ndarray, v: np.ndarray) -> Iterator[float]:
    """Steps h for ``x + h v``, from large to small.

    From 2⁻⁸ of the scale of x, ``1 + ||x||``, to where x + h v keeps but a few digits of h v; and
    then, where x is tiny, the same for ``||x||``.

    Parameters
    ----------
    x, v : ndarray, shape (n,)
    """
    eps = float(np.finfo(x.dtype).eps)
    size = length(x)
    scales = [1.0 + size, *([size] if 0.0 < size < 1e-3 else [])]
    least = math.inf
    for scale in scales:
        h = scale / length(v) / _FACTOR**2
        for _ in range(6):
            if h < least and h * length(v) > 64.0 * eps * scale:
                least = h
                yield h
            h /= _FACTOR


@dataclass
class Quotients:
    """Central differences with smaller and smaller steps, of which the best is kept.

    Attributes
    ----------
    best : ndarray or None
        The derivative.
    """

    best: np.ndarray | None = None
    _error: float = math.inf
    _step: float = math.inf
    _seen: float = 0.0
    _last: np.ndarray | None = None
    _change: float = math.inf

    @property
    def error(self) -> float:
        """What it may be wrong by, as a length.

        With smaller steps than the best one, quotients change by what rounding makes of values.
        That may be more than was told, where large sums cancel on the way.
        """
        return self._error + self._seen / self._step

    def add(self, h: float, ahead: np.ndarray, behind: np.ndarray, noise: float) -> None:
        """Take in the values at ``x + h v`` and ``x - h v``, each wrong by `noise`.

        The formula's error falls with the square of the step, by 256 from one step to the next. If
        the change from the last quotient fell by 16 at least, this one is taken to be wrong by a
        16th of it; else by all of it, since it is rounding, or something that is not smooth.
        """
        quotient = (ahead - behind) / (2.0 * h)
        if self._last is not None:
            change = length(quotient - self._last)
            converges = change <= self._change / _FACTOR and not math.isinf(self._change)
            error = (change / _FACTOR if converges else change) + noise / h
            # The first quotients of what oscillates may agree with each other, and with no other.
            is_refuted = self.best is not None and (
                length(quotient - self.best) > _CLEAR * (self._error + error)
            )
            if error < self._error or is_refuted:
                self.best, self._error, self._step, self._seen = quotient, error, h, 0.0
            else:
                self._seen = max(self._seen, change * h)
            self._change = change
        self._last = quotient


@dataclass
class Jumps:
    """What should vanish with the step, and does not at a kink.

    Attributes
    ----------
    reach : float
        The largest step at which one counts.
    found : tuple of float or None
        The step at which one was met, and its size.
    """

    reach: float
    found: tuple[float, float] | None = None
    _before: float = 0.0
    _alike: int = 0

    def add(self, h: float, size: float, noise: float) -> None:
        """Take in what is proportional to the step where all is smooth, wrong by `noise`."""
        clear = size if size > _CLEAR * noise else 0.0
        is_alike = bool(self._before) and _KINK[0] < clear / self._before < _KINK[1]
        self._alike = self._alike + 1 if is_alike else 0
        self._before = clear
        # Twice, and until rounding hides it, because what oscillates may look alike by chance. At
        # larger steps there is many a kink that no difference needs to cross.
        if self._alike >= 2 and h <= self.reach:
            self.found = h, size
        elif clear:
            self.found = None
