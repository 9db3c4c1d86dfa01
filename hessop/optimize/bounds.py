"""Bounds given in the shape of the parameters, brought to the flat vector."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import Bounds

from hessop.params import Layout

__all__ = ["flat_bounds", "flat_side"]


def flat_bounds(bounds: Any, layout: Layout) -> Any:
    """What `scipy.optimize.minimize` takes, of Bounds, pairs, or a pair of trees.

    Parameters
    ----------
    bounds : scipy.optimize.Bounds, sequence of (low, high), or (low, high) of trees
    layout : Layout

    Returns
    -------
    Bounds, or a list of n pairs

    Raises
    ------
    ValueError
        When it is none of these.
    """
    if isinstance(bounds, Bounds):
        feasible = bounds.keep_feasible
        flat_feasible = np.ravel(feasible) if np.ndim(feasible) > 1 else feasible
        low, high = flat_side(bounds.lb, layout), flat_side(bounds.ub, layout)
        return Bounds(low, high, keep_feasible=flat_feasible)
    if isinstance(bounds, tuple) and len(bounds) == 2 and any(isinstance(b, dict) for b in bounds):
        low, high = (flat_side(side, layout) for side in bounds)
        return Bounds(low, high)
    try:
        pairs = [(low, high) for low, high in bounds]
        sides = np.array([[np.nan if side is None else side for side in pair] for pair in pairs])
    except (TypeError, ValueError):
        sides = np.zeros(0)
    if sides.shape != (layout.size, 2) or sides.dtype.kind not in "iuf":
        raise ValueError(
            f"bounds is {bounds!r}, expected scipy.optimize.Bounds(low, high), a pair (low, high) "
            f"of numbers or None for each of the {layout.size} parameters, or for a dict x0 a "
            "tuple (low, high) of dicts or numbers."
        )
    return pairs


def flat_side(side: Any, layout: Layout) -> Any:
    """One side of the bounds as a number or a flat vector.

    Parameters
    ----------
    side : float, array_like, or parameter tree
        One number for all, a flat vector, or something nested and shaped like x0.
    layout : Layout

    Returns
    -------
    float or ndarray, shape (n,)
    """
    try:
        array = np.asarray(side, dtype=np.float64)
    except (TypeError, ValueError):  # a dict, or a list of arrays of several shapes
        return layout.flatten(side, "bounds")
    if array.size in (1, layout.size):
        return array.ravel() if array.ndim else array.item()
    return layout.flatten(side, "bounds")
