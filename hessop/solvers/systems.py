"""A linear system on the way to its solution: what is spent on it and what is seen of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from hessop._errors import NonFiniteError
from hessop._lengths import length, power_of_two
from hessop.operators.base import BaseOperator
from hessop.operators.checks import all_finite, first_bad
from hessop.solvers.results import NegativeCurvature

__all__ = ["Halt", "System"]


# A product is taken to be better than this.
_LARGEST_ERROR = 0.01


class Halt(Exception):
    """Raised inside of a solver of SciPy to end it."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class System:
    """``(A + damping I) x = b`` and the best x so far.

    Every product with A passes through here. So products are counted and limited, directions of
    negative curvature are noticed, whatever the method is, and residuals are true ones.

    Parameters
    ----------
    A : LinearOperator, shape (m, n)
    b : ndarray, shape (m,)
    damping : float
        Zero where A is not square.
    symmetric : bool
    x0 : ndarray, shape (n,)
    target : float
        The norm of the residual to be reached.
    limit : int
        Products at most.
    callback : callable, optional
        ``callback(x)`` after each iteration; StopIteration ends the run.
    bar
        A progress bar, or None.

    Attributes
    ----------
    x : ndarray, shape (n,)
        The iterate of smallest measured residual.
    residual : ndarray, shape (m,)
        ``b - (A + damping I) x``.
    residual_norm : float
    spent : int
        Products with A and its transpose so far.
    eps : float
        The relative error of a product.
    norm : float
        The largest ``||(A + damping I) v|| / ||v||`` met, a lower bound of the norm.
    curvature : float
        ``vᵀ (A + damping I) v / vᵀ v`` for the last v, where the matrix is symmetric.
    history : list of (int, float)
    """

    def __init__(
        self,
        A: LinearOperator,
        b: np.ndarray,
        *,
        damping: float,
        symmetric: bool,
        x0: np.ndarray,
        target: float,
        limit: int,
        callback: Callable[[np.ndarray], Any] | None = None,
        bar: Any = None,
    ) -> None:
        self.A = A
        self.b = b
        self.damping = damping
        self.symmetric = symmetric
        self.target = target
        self.limit = limit
        self.eps = _relative_error(A)
        self.callback = callback
        self._bar = bar
        self.spent = 0
        self.norm = 0.0
        self.history: list[tuple[int, float]] = []
        self.curvature = 0.0
        self._most_negative: NegativeCurvature | None = None
        self._has_probed = False
        self._ratio: float | None = None
        self.x = x0
        self.residual = self._residual(x0)
        self.residual_norm = length(self.residual)
        self.note(self.residual_norm)

    # --- products ---------------------------------------------------------------------------------

    def product(self, v: np.ndarray) -> np.ndarray:
        """``(A + damping I) v``: a fresh array."""
        size = length(v)
        if not math.isfinite(size):
            raise Halt("breakdown")
        product = self._counted(self.A.matvec(v), v, size)
        if self.symmetric and size:
            self._look_at(v, product, size)
        return product

    def limited_product(self, v: np.ndarray) -> np.ndarray:
        """A product that is refused, by `Halt`, when there are none left."""
        if self.spent >= self.limit:
            raise Halt("iteration limit")
        return self.product(v)

    def adjoint_product(self, u: np.ndarray) -> np.ndarray:
        """``(Aᵀ + damping I) u``.

        Raises
        ------
        TypeError
            When A has no adjoint.
        """
        if self.symmetric:
            return self.product(u)
        try:
            product = self.A.rmatvec(u)
        except NotImplementedError:
            raise TypeError(
                f"A is a {type(self.A).__name__} without an adjoint, which lsmr needs. Give its "
                "rmatvec, or where A is square, use method='gmres'."
            ) from None
        return self._counted(product, u, length(u))

    def _counted(self, given: Any, v: np.ndarray, size: float) -> np.ndarray:
        # Other operators may give the same array again, or the vector itself.
        copy = None if isinstance(self.A, BaseOperator) else True
        product: np.ndarray = np.array(given, dtype=np.float64, copy=copy).reshape(-1)
        self.spent += 1
        if self._bar is not None:
            self._bar.update(1)
        if self.damping:
            product += self.damping * v
        grown = length(product)
        if not math.isfinite(grown) and not all_finite(product):
            raise NonFiniteError(
                f"A @ v has {first_bad(product)}, though v is finite. The operator itself is not "
                "finite."
            )
        if size:
            self.norm = max(self.norm, grown / size)
        return product

    # --- curvature --------------------------------------------------------------------------------

    @property
    def rounding(self) -> float:
        """What a curvature ``vᵀ (A + damping I) v / vᵀ v`` may be wrong by, for the norm met."""
        scale = self.norm + abs(self.damping)
        return 10.0 * math.sqrt(self.b.size) * self.eps * scale

    @property
    def negative_curvature(self) -> NegativeCurvature | None:
        """The direction of most negative curvature so far, if that is more than rounding."""
        found = self._most_negative
        return found if found is not None and found.value < -self.rounding else None

    def probe(self) -> None:
        """Multiply a random vector, once: what was met may have been small by its direction."""
        if not self._has_probed:
            self._has_probed = True
            v = np.random.default_rng(0).standard_normal(self.x.size)
            self._counted(self.A.matvec(v), v, length(v))

    def _look_at(self, v: np.ndarray, product: np.ndarray, size: float) -> None:
        with np.errstate(over="ignore"):
            self.curvature = float(v @ product) / size / size
        known = self._most_negative.value if self._most_negative else 0.0
        if self.curvature < min(known, -self.rounding):
            self._most_negative = NegativeCurvature(v / size, self.curvature)

    # --- residuals --------------------------------------------------------------------------------

    def note(self, norm: float) -> None:
        """Write the norm of a residual into the history."""
        self.history.append((self.spent, norm))

    def measure(self, x: np.ndarray, *, keep: bool = False) -> float:
        """The norm of the true residual of x, which is kept if it is the best so far.

        Parameters
        ----------
        x : ndarray, shape (n,)
            A fresh array.
        keep : bool
            Whether x is kept if it is not the best, too.
        """
        if not all_finite(x):
            return math.inf
        residual = self._residual(x)
        norm = length(residual)
        self.note(norm)
        if keep or self._is_better(x, residual, norm):
            self.x, self.residual, self.residual_norm = x, residual, norm
            self._ratio = None
        return norm

    def _is_better(self, x: np.ndarray, residual: np.ndarray, norm: float) -> bool:
        if norm <= self.target:
            return True
        if self.symmetric and abs(norm - self.residual_norm) < 1e-3 * self.residual_norm:
            # Least squares may be all that is left, where an x goes on to grow in a null space.
            return self._normal_ratio_of(residual, norm) < self.normal_ratio()
        return norm + self.eps * self.norm * length(x) < self.residual_norm

    def _residual(self, x: np.ndarray) -> np.ndarray:
        size = power_of_two(float(np.abs(x).max()))
        if not size:
            return self.b.copy()
        with np.errstate(over="ignore", under="ignore"):
            # An x that is huge or tiny may be beyond the range of float32.
            return self.b - self.product(x / size) * size

    def is_solved(self) -> bool:
        """Whether the best residual is small enough."""
        return self.residual_norm <= self.target

    def is_least_squares(self) -> bool:
        """Whether the best residual is orthogonal to the range of A, up to the tolerance."""
        return self.normal_ratio() <= self.target / length(self.b)

    def normal_ratio(self) -> float:
        """``||Aᵀ r|| / (||A|| ||r||)`` for the residual r: zero for a least-squares solution."""
        if self._ratio is None:
            self._ratio = self._normal_ratio_of(self.residual, self.residual_norm)
        return self._ratio

    def _normal_ratio_of(self, residual: np.ndarray, norm: float) -> float:
        normal = length(self.adjoint_product(residual / norm)) if norm else 0.0
        return normal / self.norm if normal else 0.0


def _relative_error(A: LinearOperator) -> float:
    """Of its products: that of its numbers, or of the differences that they are made of."""
    eps = np.finfo(np.float32 if A.dtype == np.float32 else np.float64).eps
    return float(max(eps, min(getattr(A, "step_error", 0.0), _LARGEST_ERROR)))
