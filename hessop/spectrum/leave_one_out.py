"""Means over probes that are each left out of a sketch in turn, and their errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["left_out", "mean_left_out"]


def left_out(coordinates: np.ndarray) -> np.ndarray:
    """What each column alone adds to the range of a matrix R: unit vectors, or zeros.

    Parameters
    ----------
    coordinates : ndarray, shape (r, k)
        R, of full rank r.

    Returns
    -------
    ndarray, shape (r, k)
        Column i is orthogonal to all columns of R but the i-th. It is zero where these have the
        whole range without it.

    Notes
    -----
    E. N. Epperly, J. A. Tropp and R. J. Webber, "XTrace: making the most of every sample in
    stochastic trace estimation", SIAM J. Matrix Anal. Appl. 45, 2024: for a square R, the columns
    of its inverse transposed, of length one. For more columns than rows the pseudoinverse takes its
    place; column i is alone where row i of the pseudoinverse times column i is one.
    """
    r, k = coordinates.shape
    # Rows shrink as the spectrum decays; without that, R is well conditioned.
    sizes = np.linalg.norm(coordinates, axis=1)[:, None]
    even = coordinates / sizes
    inverse = np.linalg.pinv(even)
    alone = np.full(k, r == k) | (np.sum(inverse.T * even, axis=0) > 1.0 - 1e-8)
    normals = inverse.T / sizes
    normals[:, ~alone] = 0.0
    lengths = np.linalg.norm(normals, axis=0)
    unit: np.ndarray = normals / np.where(lengths > 0.0, lengths, 1.0)
    return unit


def mean_left_out(
    samples_without: Callable[..., np.ndarray], normals: np.ndarray
) -> tuple[Any, Any]:
    """The mean of samples that a sketch without one probe and that probe give, and its error.

    Parameters
    ----------
    samples_without : callable
        Of orthonormal directions, each of shape (r, k): for each probe i, what the range without
        the i-th column of all these directions gives, together with probe i; shape (..., k).
    normals : ndarray, shape (r, k)
        `left_out`.

    Returns
    -------
    mean, standard_error : float or ndarray

    Notes
    -----
    The samples ``t_i`` are unbiased and exchangeable, but correlated: for a spectrum that falls
    slowly, their deviation over √k is a fifth less than the error of the mean. Let ``t_i - c_ij``
    be sample i of a sketch without probe j. It does not depend on that probe, and given all others
    ``c_ij`` has mean zero over probe i, as both samples are unbiased. So ``cov(t_i, t_j) =
    E[c_ij c_ji]``, which is taken over pairs of neighbours, and the mean of ``s²/k`` and this
    covariance together is the variance of the mean.
    """
    k = normals.shape[1]
    samples = samples_without(normals)
    with_next = samples - samples_without(normals, _beside(np.roll(normals, -1, axis=1), normals))
    with_last = samples - samples_without(normals, _beside(np.roll(normals, 1, axis=1), normals))
    covariance = np.mean(with_next * np.roll(with_last, -1, axis=-1), axis=-1)
    variance = np.var(samples, axis=-1, ddof=1) / k + np.maximum(covariance, 0.0)
    return np.mean(samples, axis=-1), np.sqrt(variance)


def _beside(others: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Unit vectors that span with each of the normals what it does with another."""
    for _ in range(2):  # once more: they may be nearly parallel
        others = others - normals * np.sum(normals * others, axis=0)
        lengths = np.linalg.norm(others, axis=0)
        others = others / np.where(lengths > 0.0, lengths, 1.0)
    return others
