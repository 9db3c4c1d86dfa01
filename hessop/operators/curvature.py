"""Operators of a function's curvature at a point of its parameter space."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from hessop.operators.compiling import Multiplier
from hessop.operators.recorded import RecordedOperator
from hessop.params import Layout

__all__ = ["CurvatureOperator"]


class CurvatureOperator(RecordedOperator):
    """A symmetric matrix in the parameters x, which may be a tree.

    Parameters
    ----------
    layout : Layout
        How the parameters lie in the flat vector.
    x : ndarray, shape (n,)
        Not copied.
    products, name, remake
        As for `RecordedOperator`.
    """

    def __init__(
        self,
        layout: Layout,
        x: np.ndarray,
        products: Multiplier,
        name: str,
        remake: partial[Any] | None = None,
    ) -> None:
        n = layout.size
        super().__init__(layout.dtype, (n, n), products, name, remake, symmetric=True)
        self._x = x
        self.layout: Layout = layout

    @property
    def x(self) -> np.ndarray:
        """The point as a flat vector, shape (n,): a fresh copy."""
        return self._x.copy()

    def unflatten(self, v: Any) -> Any:
        """The parameter tree of a flat vector, nested like x; see `hessop.params`."""
        return self.layout.unflatten(v)

    def flatten(self, tree: Any) -> np.ndarray:
        """The flat vector of a tree nested like x."""
        return self.layout.flatten(tree)

    def matvec_tree(self, v: Any) -> Any:
        """``A v`` for a tree v nested like x, as such a tree.

        Parameters
        ----------
        v : parameter tree
            With the nest and the shapes of x.

        Returns
        -------
        parameter tree

        Examples
        --------
        >>> import autograd.numpy as np
        >>> from hessop import hessian_operator
        >>> H = hessian_operator(lambda p: p["a"] ** 2 * p["b"], {"a": 1.0, "b": 2.0})
        >>> product = H.matvec_tree({"a": 1.0, "b": 0.0})
        >>> float(product["a"]), float(product["b"])
        (4.0, 2.0)
        """
        return self.unflatten(self @ self.layout.flatten(v, "v"))

    def _meaning_of(self, n: int) -> str:
        return " (the flat size of x)"
