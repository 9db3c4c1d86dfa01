"""A linear map as a function of leaves, and of flat vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np

from hessop._tracing import TRACING
from hessop.params import Leaves

__all__ = ["LinearMap", "compose", "outer_products"]


@dataclass(frozen=True, eq=False, slots=True)
class LinearMap:
    """A linear map made of autograd primitives.

    Attributes
    ----------
    source, target : Leaves
        How the argument and the result lie in flat vectors.
    on_leaves : callable
        Takes arrays in the shapes of `source` to arrays in the shapes of `target`, or None for
        zeros. The arrays may be autograd's boxes, so that the map can be recorded.
    """

    source: Leaves
    target: Leaves
    on_leaves: Callable[[Sequence[Any]], Sequence[Any]]

    def __call__(self, v: np.ndarray) -> np.ndarray:
        """The product with a flat vector, as a fresh flat vector."""
        with TRACING:  # some primitives trace when they are pulled back (odeint, checkpoint)
            return self.target.join(self.on_leaves(self.source.split(v)))


def compose(*maps: LinearMap) -> LinearMap:
    """The product of linear maps, the last one applied first, as for matrices.

    The result of one may be the next one's argument in other leaves, as long as the flat vectors
    are of one length.
    """
    last, *others = reversed(maps)

    def on_leaves(leaves: Sequence[Any]) -> Sequence[Any]:
        result, shapes = last.on_leaves(leaves), last.target.shapes
        for one in others:
            if all(leaf is None for leaf in result):
                return [None] * len(maps[0].target.shapes)
            result = one.on_leaves(_other_leaves(result, shapes, one.source))
            shapes = one.target.shapes
        return result

    return LinearMap(maps[-1].source, maps[0].target, on_leaves)


def _other_leaves(
    leaves: Sequence[Any], shapes: Sequence[tuple[int, ...]], wanted: Leaves
) -> Sequence[Any]:
    """The leaves of the same flat vector in other shapes; boxes stay boxes."""
    filled = [
        np.zeros(shape) if leaf is None else leaf
        for leaf, shape in zip(leaves, shapes, strict=True)
    ]
    if tuple(shapes) == wanted.shapes:
        return filled
    flat = [anp.reshape(leaf, (-1,)) for leaf in filled]
    split: Sequence[Any] = wanted.split(flat[0] if len(flat) == 1 else anp.concatenate(flat))
    return split


def outer_products(vectors: np.ndarray, groups: int, u: Any) -> Any:
    """``Σ_s r_s <r_s, u>``, for each of some groups of entries by itself.

    Parameters
    ----------
    vectors : ndarray, shape (s, *u.shape)
    groups : int
        How many equal parts u has, along its first axes.
    u : ndarray, or a box of it
    """
    vectors = vectors.reshape(len(vectors), groups, -1)
    along = anp.sum(vectors * anp.reshape(u, (1, groups, -1)), axis=2, keepdims=True)
    return anp.reshape(anp.sum(vectors * along, axis=0), anp.shape(u))
