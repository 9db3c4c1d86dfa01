"""Discrete distributions of eigenvalues, made smooth or cut at quantiles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hessop.operators.base import is_real_number

__all__ = ["check_width", "default_width", "points_around", "quantiles", "smooth", "smooth_log"]

# The smoothing width on the logarithmic scale, in decades.
_DECADES = 0.2
# The part of the mass that the smoothing width is chosen for; the rest may be outliers.
_BULK = 0.98
# A width for a single point, as part of it.
_POINT = 1e-3


def smooth(x: np.ndarray, nodes: np.ndarray, weights: np.ndarray, width: float) -> np.ndarray:
    """The density at x of nodes that are normal distributions of that standard deviation.

    Parameters
    ----------
    x : ndarray, shape (m,)
    nodes, weights : ndarray, shape (k,)
    width : float

    Returns
    -------
    ndarray, shape (m,)
    """
    z = (x[:, None] - nodes) / width
    density: np.ndarray = np.exp(-0.5 * z**2) @ weights / (width * math.sqrt(2.0 * math.pi))
    return density


def smooth_log(
    x: np.ndarray, nodes: np.ndarray, weights: np.ndarray, width: float, zero: float
) -> np.ndarray:
    """The same on the axis of ``log10 |λ|``, for the nodes with the sign of x.

    Parameters
    ----------
    x : ndarray, shape (m,)
    nodes, weights : ndarray, shape (k,)
    width : float
        In decades.
    zero : float
        Nodes of at most this magnitude have no place on the axis.

    Raises
    ------
    ValueError
        When an x is zero.
    """
    if not x.all():
        raise ValueError("x has a zero, which has no place on a logarithmic scale: leave it out.")
    density = np.zeros_like(x)
    for sign in (-1.0, 1.0):
        there, counted = sign * x > 0.0, sign * nodes > zero
        sizes = np.log10(sign * nodes[counted])
        density[there] = smooth(np.log10(sign * x[there]), sizes, weights[counted], width)
    return density


def points_around(nodes: np.ndarray, width: float, count: int) -> np.ndarray:
    """Points on which a smoothed density can be drawn and integrated, ascending.

    Evenly from end to end, and a half width apart within six widths of each node.

    Parameters
    ----------
    nodes : ndarray, shape (k,)
    width : float
    count : int
        Of those from end to end.
    """
    step = width / 2.0
    cells = np.unique(np.round(nodes / step))
    near = step * np.unique(cells[:, None] + np.arange(-12.0, 13.0))
    return np.union1d(near, np.linspace(near[0], near[-1], count))


def quantiles(nodes: np.ndarray, weights: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The least nodes up to which there are the parts q of the mean distribution.

    Parameters
    ----------
    nodes, weights : ndarray, shape (p, k)
    q : ndarray

    Returns
    -------
    ndarray, of the shape of q
    """
    there = weights > 0.0
    order = np.argsort(nodes[there], kind="stable")
    sorted_nodes, masses = nodes[there][order], np.cumsum(weights[there][order])
    # Up to rounding: the sum of equal weights is not quite what it should be.
    wanted = q * masses[-1] * (1.0 - 1e-12)
    found: np.ndarray = sorted_nodes[np.searchsorted(masses, wanted)]
    return found


def check_width(width: Any) -> float:
    """A smoothing width: a positive number.

    Raises
    ------
    ValueError
        When it is not one.
    """
    if not is_real_number(width) or not 0.0 < width < math.inf:
        raise ValueError(f"width is {width!r}, expected a positive number.")
    return float(width)


def default_width(nodes: np.ndarray, weights: np.ndarray, degree: int, scale: str) -> float:
    """A smoothing width that the degree can resolve.

    0.2 decades on a logarithmic scale. Else the range of the middle 98 in 100, over the degree:
    outliers do not blur the bulk. Where that is a point, the whole range over the degree; where
    that is one too, a thousandth of it.

    Parameters
    ----------
    nodes, weights : ndarray, shape (p, k)
    degree : int
    scale : str
    """
    if scale == "log":
        return _DECADES
    ends = np.array([0.0, (1.0 - _BULK) / 2.0, (1.0 + _BULK) / 2.0, 1.0])
    least, low, high, largest = quantiles(nodes, weights, ends)
    size = max(abs(least), abs(largest))
    for span in (high - low, largest - least):
        if span > _POINT * size / degree:
            return float(span / degree)
    return float(_POINT * size) or _POINT
