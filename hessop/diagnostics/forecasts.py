"""How many products an iteration will take, from some steps of Lanczos' process."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import LinearOperator, minres

from hessop._lengths import length
from hessop.spectrum.krylov import KrylovSpace

__all__ = [
    "Quadrature",
    "eigenpair_products",
    "krylov_space",
    "lanczos_quadrature",
    "solver_products",
]

# Eigenvalues that a spectrum is modelled with, and iterations that are tried with them.
_MOST_VALUES, _MOST_ITERATIONS = 2000, 30_000
# Of them, those at either end that stand for fewer than the others.
_AT_ENDS = 20
# A Ritz value with a residual of more than so much of it is not an eigenvalue yet.
_REACHED = 0.1
# Residuals that fall by this much of what they fell by before are thought to go on like that.
_STEADY = 0.95


@dataclass(frozen=True, eq=False)
class Quadrature:
    """Some eigenvalues, with the shares of a random vector that lie near them.

    Attributes
    ----------
    values : ndarray, shape (k,)
        Ritz values, ascending.
    weights : ndarray, shape (k,)
        Of sum one.
    residual : float
        Of the smallest: an eigenvalue lies as near.
    n : int
        The size of the operator.
    """

    values: np.ndarray
    weights: np.ndarray
    residual: float
    n: int

    @property
    def is_positive(self) -> bool:
        """Whether no negative eigenvalue was seen."""
        return bool(self.values[0] > 0.0)

    def model(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues that are spread like those of the operator, and the share of each.

        The quantiles of the spectrum are known at as many places as there are weights, and are
        interpolated in between: by logarithms where all values are positive.
        """
        known = np.cumsum(self.weights) - 0.5 * self.weights
        edges = _edges(self.n)
        shares, wanted = np.diff(edges), 0.5 * (edges[1:] + edges[:-1])
        if not self.is_positive:
            return np.interp(wanted, known, self.values), shares
        logarithms = np.log(self.values)
        if self.residual > _REACHED * self.values[0] and known.size > 1:
            # The smallest eigenvalues lie below what was reached: they go on as those above do.
            slope = (logarithms[1] - logarithms[0]) / (known[1] - known[0])
            logarithms = np.r_[logarithms[0] - slope * known[0], logarithms]
            known = np.r_[0.0, known]
        return np.exp(np.interp(wanted, known, logarithms)), shares


def _edges(n: int) -> np.ndarray:
    """Where the shares of a model begin and end: equal ones, and at either end smaller ones."""
    count = min(n, _MOST_VALUES)
    edges = np.linspace(0.0, 1.0, count + 1)
    if n > count:
        ends = np.geomspace(1.0 / n, 1.0 / count, _AT_ENDS, endpoint=False)
        edges = np.unique(np.r_[edges, ends, 1.0 - ends])
    return edges


def lanczos_quadrature(A: LinearOperator, steps: int, rng: np.random.Generator) -> Quadrature:
    """What some steps of Lanczos' process from a random vector tell of a spectrum.

    No vector is kept, and none made orthogonal to earlier ones: eigenvalues that are found twice
    share their weight.

    Notes
    -----
    G. H. Golub and G. Meurant, "Matrices, Moments and Quadrature with Applications", 2010.
    """
    n = A.shape[0]
    v = rng.standard_normal(n)
    v, before = v / length(v), np.zeros(n)
    diagonal: list[float] = []
    beside: list[float] = []
    beta = 0.0
    for _ in range(steps):
        w = np.array(A.matvec(v.astype(A.dtype, copy=False)), dtype=np.float64) - beta * before
        alpha = float(v @ w)
        w -= alpha * v
        beta = length(w)
        diagonal.append(alpha)
        beside.append(beta)
        if beta <= np.finfo(A.dtype).eps * max(map(abs, diagonal)):
            break
        before, v = v, w / beta
    # The QR algorithm, as eigenvalues that are found twice may be too close for the default.
    values, vectors = scipy.linalg.eigh_tridiagonal(diagonal, beside[:-1], lapack_driver="stev")
    return Quadrature(values, vectors[0] ** 2, beside[-1] * abs(vectors[-1, 0]), n)


def solver_products(found: Quadrature, rtol: float, rng: np.random.Generator) -> float:
    """Products that `cg` takes, or `minres` where an eigenvalue is negative: infinite for never.

    `cg` on the Ritz values does what it does on the operator, for as many iterations as there were
    steps. Where these are too few, it is run with the model of the spectrum, so that outliers,
    clusters, and the delay by rounding count as they do.

    Parameters
    ----------
    found : Quadrature
    rtol : float
        The relative residual to be reached.
    rng : numpy.random.Generator
    """
    if found.is_positive:
        seen = _cg_iterations(found.values, np.sqrt(found.weights), rtol)
        if seen < found.values.size:
            return seen
    values, shares = found.model()
    b = np.sqrt(shares) * rng.standard_normal(shares.size)
    return (_cg_iterations if found.is_positive else _minres_iterations)(values, b, rtol)


def _cg_iterations(d: np.ndarray, b: np.ndarray, rtol: float) -> float:
    r, p, rho, target = b.copy(), b.copy(), float(b @ b), rtol * length(b)
    for count in range(1, _MOST_ITERATIONS):
        Ap = d * p
        r -= rho / float(p @ Ap) * Ap
        rho, before = float(r @ r), rho
        if math.sqrt(rho) <= target:
            return count
        p = r + rho / before * p
    return math.inf


def _minres_iterations(d: np.ndarray, b: np.ndarray, rtol: float) -> float:
    iterations = 0

    def count(_: np.ndarray) -> None:
        nonlocal iterations
        iterations += 1

    A = LinearOperator((d.size, d.size), matvec=lambda v: d * np.ravel(v), dtype=float)
    x, _ = minres(A, b, rtol=rtol, maxiter=_MOST_ITERATIONS, callback=count)
    # Its own test is relative to ||A|| ||x||, which is not what is asked for.
    residual = length(b - d * x) / length(b)
    if residual >= 1.0:
        return math.inf
    return iterations * max(1.0, math.log(rtol) / math.log(max(residual, rtol)))


def krylov_space(A: LinearOperator, steps: int, rng: np.random.Generator) -> KrylovSpace:
    """Some steps of Lanczos' process from a random vector, with all vectors kept."""
    space = KrylovSpace(A, rng.standard_normal(A.shape[0]))
    for _ in range(min(steps, A.shape[0])):
        space.extend()
        if space.is_invariant:
            break
    return space


def eigenpair_products(space: KrylovSpace, n: int, k: int, rtol: float) -> float:
    """Products until Lanczos' process has the k largest eigenpairs, in magnitude.

    Where that is within the steps that were made, they are counted. Else residuals are followed
    further: as an exponential, if they fall by as much in the last quarter of the steps as in the
    one before; and if by less, by the geometric mean of what that gives and of what a power of the
    number of steps would.

    Parameters
    ----------
    space : KrylovSpace
    n, k : int
    rtol : float
        Residuals, relative to the largest eigenvalue.
    """
    steps, k = space.steps, min(k, n)
    if n <= k or space.is_invariant:
        return min(steps, n)
    middle, late = max(k, steps // 2), max(k, 3 * steps // 4)
    if not middle < late < steps:
        return n
    now = _residual(space, steps, k)
    if now <= rtol:
        return bisect_left(range(steps), True, k, key=lambda j: _residual(space, j, k) <= rtol)
    earlier, later = _residual(space, middle, k), _residual(space, late, k)
    falls = math.log(earlier / later), math.log(later / now)
    if falls[1] <= 0.0:
        return n
    missing = math.log(now / rtol)
    exponential = steps + missing * (steps - late) / falls[1]
    if falls[1] >= _STEADY * falls[0]:
        return min(n, exponential)
    power = steps * math.exp(min(missing * math.log(steps / late) / falls[1], 50.0))
    return min(n, math.sqrt(exponential * power))


def _residual(space: KrylovSpace, steps: int, k: int) -> float:
    """The largest residual of the k largest Ritz values after some steps, relative to the first."""
    values, vectors = scipy.linalg.eigh_tridiagonal(
        space.diagonal[:steps], space.off_diagonal[: steps - 1]
    )
    largest = np.argsort(-np.abs(values))[:k]
    size = float(np.abs(values[largest[0]])) or 1.0
    return float(space.off_diagonal[steps - 1] * np.abs(vectors[-1, largest]).max()) / size
