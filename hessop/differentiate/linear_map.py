"""A linear map as a function of leaves, and of flat vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hessop._tracing import TRACING
from hessop.params import Leaves

__all__ = ["LinearMap"]


@dataclass(frozen=True, eq=False, slots=True)
class LinearMap:
    """A linear map made of autograd primitives.

    Attributes
    ----------
    source, target : Leaves
        How the argument and the result lie in flat vectors.
    on_leaves : callable
        Takes arrays in the shapes of `source` to arrays in the shapes of `target`; None stands for
        zeros. The arrays may be autograd's boxes, so that the map can be recorded.
    """

    source: Leaves
    target: Leaves
    on_leaves: Callable[[Sequence[Any]], Sequence[Any]]

    def __call__(self, v: np.ndarray) -> np.ndarray:
        """The product with a flat vector, as a fresh flat vector."""
        with TRACING:  # some primitives trace when they are pulled back (odeint, checkpoint)
            return self.target.join(self.on_leaves(self.source.split(v)))
