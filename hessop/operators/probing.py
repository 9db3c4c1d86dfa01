"""Random test vectors, and the mean of what they tell with its error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

__all__ = ["PROBES", "RunningMean", "columns_together", "probe_blocks"]

# Columns that are multiplied at once, and the most entries that they have.
_TOGETHER, _MOST_ENTRIES = 64, 4_000_000


def _signs(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.choice([-1.0, 1.0], shape)


def _normal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.standard_normal(shape)


def _sphere(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    Z = rng.standard_normal(shape)
    scaled: np.ndarray = Z * (np.sqrt(shape[0]) / np.linalg.norm(Z, axis=0))
    return scaled


#: Distributions of columns z with ``E[z zᵀ] = I``: random signs; normal; uniform on the sphere of
#: radius √n.
PROBES: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "signs": _signs,
    "normal": _normal,
    "sphere": _sphere,
}


def columns_together(n: int, per_column: int = 1) -> int:
    """How many columns of n entries are handled at once, when each needs so many of its length."""
    return int(max(1, min(_TOGETHER, _MOST_ENTRIES // (n * per_column))))


def probe_blocks(
    n: int, count: int, rng: np.random.Generator, dtype: Any, *, kind: str = "signs"
) -> Iterator[np.ndarray]:
    """Random columns, in blocks of shape (n, k) that together are `count` of them.

    Parameters
    ----------
    n, count : int
    rng : numpy.random.Generator
    dtype : dtype
    kind : str
        One of `PROBES`.
    """
    together = columns_together(n)
    for start in range(0, count, together):
        yield PROBES[kind](rng, (n, min(together, count - start))).astype(dtype)


class RunningMean:
    """The mean of samples that come in blocks, and its standard error.

    Attributes
    ----------
    count : int
        Samples so far.
    mean : ndarray
        Of the shape of one sample.

    Notes
    -----
    T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms for computing the sample variance", The
    American Statistician 37, 1983: squares are summed about the mean, as their own sum would lose
    what is small beside it.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0.0
        self._squares: Any = 0.0

    def add(self, samples: np.ndarray) -> None:
        """Take in a block of samples, one along each last index: shape (..., k)."""
        samples = np.asarray(samples, dtype=np.float64)
        k = samples.shape[-1]
        mean = samples.mean(axis=-1)
        squares = ((samples - mean[..., None]) ** 2).sum(axis=-1)
        total = self.count + k
        change = mean - self.mean
        self.mean = self.mean + change * (k / total)
        self._squares = self._squares + squares + change**2 * (self.count * k / total)
        self.count = total

    @property
    def deviation(self) -> Any:
        """The standard deviation of one sample; infinite where there is only one."""
        if self.count < 2:
            return np.full_like(self.mean, np.inf) if np.ndim(self.mean) else np.inf
        return np.sqrt(self._squares / (self.count - 1))

    @property
    def standard_error(self) -> Any:
        """Of the mean: the deviation over the root of the number of samples."""
        return self.deviation / np.sqrt(max(self.count, 1))
