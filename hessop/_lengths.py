"""Lengths of vectors, also where their squares are beyond the range of numbers."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["length", "power_of_two"]

_SAFE = (1e-140, 1e140)


def length(v: np.ndarray) -> float:
    """The Euclidean norm; also where squares would be beyond the range of numbers."""
    with np.errstate(over="ignore", invalid="ignore"):
        size = math.sqrt(v @ v)
    if _SAFE[0] < size < _SAFE[1]:
        return size
    largest = float(np.abs(v).max())
    if not 0.0 < largest < math.inf:
        return largest
    return largest * float(np.linalg.norm(v / largest))


def power_of_two(size: float) -> float:
    """The power of two next below a size, by which numbers are scaled without rounding."""
    if not 0.0 < size < math.inf:
        return 0.0
    return math.ldexp(1.0, max(min(math.frexp(size)[1] - 1, 1000), -1000))
