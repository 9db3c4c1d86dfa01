"""Eigenpairs that stand for a symmetric operator, and vectors that stand for a tensor."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import ArpackError, eigsh

from hessop.operators.base import BaseOperator

__all__ = ["METHODS", "eigenpairs", "nystrom", "orthonormal", "rank_one"]

Pairs = tuple[np.ndarray, np.ndarray]


def eigenpairs(
    A: BaseOperator, rank: int, method: str, oversampling: int, rng: np.random.Generator
) -> Pairs:
    """The eigenpairs of an approximation of A of a given rank.

    Parameters
    ----------
    A : BaseOperator
        Symmetric.
    rank : int
        From 1 to n.
    method : str
        One of `METHODS`.
    oversampling : int
    rng : Generator

    Returns
    -------
    s : ndarray, shape (rank,)
        By descending magnitude.
    U : ndarray, shape (n, rank)
        Orthonormal.
    """
    n = A.shape[0]
    # There is nothing to approximate; or Lanczos would take more products than there are columns.
    if rank == n or (method == "lanczos" and 5 * rank >= n):
        s, U = scipy.linalg.eigh(A.to_dense(symmetrize=True))
    else:
        s, U = METHODS[method](A, rank, min(rank + oversampling, n), rng)
    first = np.argsort(-np.abs(s), kind="stable")[:rank]
    return s[first], U[:, first]


def _lanczos(A: BaseOperator, rank: int, columns: int, rng: np.random.Generator) -> Pairs:
    v0 = rng.standard_normal(A.shape[0]).astype(A.dtype)
    try:
        s, U = eigsh(A, k=rank, which="LM", v0=v0)
    except ArpackError:
        if (A @ v0).any():
            raise
        # The zero matrix leaves no starting vector.
        return np.zeros(rank, dtype=A.dtype), np.eye(A.shape[0], rank, dtype=A.dtype)
    return s, U


def _nystrom(A: BaseOperator, rank: int, columns: int, rng: np.random.Generator) -> Pairs:
    Q = orthonormal(rng.standard_normal((A.shape[0], columns)).astype(A.dtype))
    return nystrom(Q, A @ Q, way_out="Use method='randomized' or 'lanczos'.")


def nystrom(Q: np.ndarray, Y: np.ndarray, *, way_out: str) -> Pairs:
    """The eigenpairs of the Nyström approximation of A, of its products ``Y = A @ Q`` alone.

    Parameters
    ----------
    Q : ndarray, shape (n, l)
        Orthonormal.
    Y : ndarray, shape (n, l)
    way_out : str
        What to do instead, for the error.

    Returns
    -------
    s : ndarray, shape (l,)
        Descending, never negative.
    U : ndarray, shape (n, l)
        Orthonormal.

    Raises
    ------
    numpy.linalg.LinAlgError
        When A is found to be indefinite.
    """
    # A tiny shift makes the core positive definite, and is taken off again.
    shift = math.sqrt(len(Q)) * float(np.finfo(Y.dtype).eps) * float(np.linalg.norm(Y))
    Y = Y + Y.dtype.type(shift) * Q
    core = Q.T @ Y
    try:
        C = scipy.linalg.cholesky((core + core.T) / 2)
    except np.linalg.LinAlgError:
        w, V = scipy.linalg.eigh((core + core.T) / 2)
        least = float(w[0]) - shift
        if least < -math.sqrt(float(np.finfo(Y.dtype).eps)) * float(w[-1]):
            raise np.linalg.LinAlgError(
                f"nystrom: A is not positive semidefinite, it has an eigenvalue below {least:.3g}. "
                f"{way_out}"
            ) from None
        # Semidefinite up to the rounding of products.
        C = (V * np.sqrt(np.maximum(w, shift or 1.0))).T
        C = np.linalg.qr(C)[1]
    B = scipy.linalg.solve_triangular(C, Y.T, trans="T").T
    U, sigma, _ = np.linalg.svd(B, full_matrices=False)
    return np.maximum(sigma**2 - Y.dtype.type(shift), 0.0), U


def _randomized(A: BaseOperator, rank: int, columns: int, rng: np.random.Generator) -> Pairs:
    Q = orthonormal(A @ rng.standard_normal((A.shape[0], columns)).astype(A.dtype))
    small = Q.T @ (A @ Q)
    s, V = scipy.linalg.eigh((small + small.T) / 2)
    return s, Q @ V


def orthonormal(Y: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the span of some columns, shape (n, l)."""
    Q: np.ndarray = np.linalg.qr(Y)[0]
    return Q


METHODS: dict[str, Callable[[BaseOperator, int, int, np.random.Generator], Pairs]] = {
    "lanczos": _lanczos,
    "nystrom": _nystrom,
    "randomized": _randomized,
}


def rank_one(T: np.ndarray, maxiter: int) -> list[np.ndarray]:
    """Vectors whose outer product is near to a tensor, the norm in the first.

    Nearest for a matrix; for more axes by alternating least squares, from the leading singular
    vectors along each axis.
    """
    if T.ndim == 1:
        return [T]
    vectors = []
    for axis in range(T.ndim):
        unfolded = np.moveaxis(T, axis, 0).reshape(T.shape[axis], -1)
        U, _, _ = np.linalg.svd(unfolded, full_matrices=False)
        vectors.append(U[:, 0])
    size = 0.0
    for _ in range(maxiter if T.ndim > 2 else 1):
        before = size
        for axis in range(T.ndim):
            rest = T
            for other in reversed(range(T.ndim)):
                if other != axis:
                    rest = np.tensordot(rest, vectors[other], axes=(other, 0))
            size = float(np.linalg.norm(rest))
            vectors[axis] = rest / size if size else rest
        if size - before <= np.finfo(T.dtype).eps * size:
            break
    vectors[0] = vectors[0] * size
    return vectors
