"""Random sketches of a matrix, that grow: a basis of its range, and the products with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hessop.operators.probing import probe_blocks

__all__ = ["Sketch", "stages"]

# Probes before the first error bar that may end the work: of fewer it is rough itself.
_FIRST = 10


def stages(most: int) -> Iterator[int]:
    """Numbers of probes after which there is an estimate: each a half more than the one before."""
    count = min(_FIRST, most)
    while count < most:
        yield count
        count = min(most, count + max(_FIRST, count // 2))
    yield most


class Sketch:
    """An orthonormal basis Q of the range of ``B Ω``, Ω random, and the products ``C Q``.

    It grows by blocks, and nothing is multiplied twice. Columns that are in the span of others up
    to rounding add nothing to the basis.

    Parameters
    ----------
    image, product : callable
        Multiply a block with B, shape (m, n), and with C, shape (p, m).
    sizes : (int, int, int)
        n, m and p.
    dtype : dtype
        The precision of the products.
    kind : str
        That of the probes, one of `hessop.operators.probing.PROBES`.
    rng : numpy.random.Generator

    Attributes
    ----------
    probes : ndarray, shape (n, k)
        Ω.
    basis : ndarray, shape (m, r)
        Q, with ``r <= k``.
    coordinates : ndarray, shape (r, k)
        R, with ``B Ω = Q R``.
    products : ndarray, shape (p, r)
        ``C Q``.
    """

    def __init__(
        self,
        image: Callable[[np.ndarray], np.ndarray],
        product: Callable[[np.ndarray], np.ndarray],
        sizes: tuple[int, int, int],
        *,
        dtype: Any,
        kind: str,
        rng: np.random.Generator,
    ) -> None:
        self._image, self._product = image, product
        self._dtype, self._kind, self._rng = dtype, kind, rng
        self._size = 0.0
        self.probes, self.basis, self.products = (np.empty((size, 0)) for size in sizes)
        self.coordinates = np.empty((0, 0))

    @property
    def is_complete(self) -> bool:
        """Whether Q spans the whole range of B: columns have become dependent.

        That follows for probes of a continuous distribution, with probability one, and not for
        signs.
        """
        return self.basis.shape[1] < self.probes.shape[1]

    def extend_to(self, count: int) -> None:
        """Take so many probes in all."""
        n, have = self.probes.shape
        for block in probe_blocks(n, count - have, self._rng, self._dtype, kind=self._kind):
            self._add(block)

    def _add(self, block: np.ndarray) -> None:
        image = self._image(block)
        self._size = max(self._size, float(np.linalg.norm(image, axis=0).max()))
        along, rest = self._split(image)
        # The same as the SVD of `rest`, in a fraction of the time.
        Q, R = np.linalg.qr(rest)
        U, s, Vt = np.linalg.svd(R, full_matrices=False)
        kept = s > 10.0 * float(np.finfo(self._dtype).eps) * self._size
        new, beside = Q @ U[:, kept], s[kept, None] * Vt[kept]
        below = np.zeros((beside.shape[0], self.probes.shape[1]))
        self.coordinates = np.block([[self.coordinates, along], [below, beside]])
        self.probes = np.concatenate([self.probes, block], axis=1)
        if kept.any():
            self.basis = np.concatenate([self.basis, new], axis=1)
            self.products = np.concatenate([self.products, self._product(new)], axis=1)

    def _split(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates in the basis, and what is orthogonal to it."""
        along = self.basis.T @ image
        rest = image - self.basis @ along
        again = self.basis.T @ rest  # once more: rounding of the first time is as large as it was
        return along + again, rest - self.basis @ again
