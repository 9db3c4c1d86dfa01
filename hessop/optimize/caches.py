"""What was computed at the last points, found again by value."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

__all__ = ["PointCache"]

T = TypeVar("T")


class PointCache(Generic[T]):
    """Makes something at a point, and keeps it for two of them.

    SciPy's optimizers pass the same array changed in place, or a fresh copy with every call, so a
    point is recognised by its values against a copy of our own. After a rejected step, products are
    asked for at the older point again, perhaps after several trial points. So of the two, one is
    the newest, and the other the latest that was `worth_keeping`.

    Parameters
    ----------
    make : callable
        ``make(x)``; it may keep its x, which nobody changes.
    worth_keeping : callable
        Whether something made earlier is likely to be asked for again.
    """

    def __init__(
        self, make: Callable[[np.ndarray], T], worth_keeping: Callable[[T], bool] = lambda _: True
    ) -> None:
        self._make = make
        self._worth_keeping = worth_keeping
        self._made: list[tuple[np.ndarray, T]] = []
        self._lock = threading.RLock()

    def find(self, x: np.ndarray) -> T | None:
        """What was made at x, if it is still there."""
        for point, made in self._made:
            # The first entry alone tells most points apart, at a fraction of the cost.
            if point[0] == x[0] and np.array_equal(point, x):
                return made
        return None

    def at(self, x: np.ndarray) -> T:
        """What belongs to x, made now if it is not there."""
        with self._lock:
            made = self.find(x)
            if made is None:
                x = x.copy()
                # The one that goes is let go first: two recordings at a time are enough memory.
                kept = [pair for pair in self._made if self._worth_keeping(pair[1])]
                self._made = (kept or self._made)[-1:]
                made = self._make(x)
                self._made.append((x, made))
            else:
                # In the order of use, so that [-1:] above finds the latest.
                self._made.sort(key=lambda pair: pair[1] is made)
            return made
