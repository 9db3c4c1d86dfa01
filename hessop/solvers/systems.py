"""A linear system on the way to its solution: what is spent on it and what is seen of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from hessop._errors import NonFiniteError
from hessop.operators.checks import all_finite, first_bad
from hessop.solvers.results import NegativeCurvature

__all__ = ["Halt", "System"]


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
        Added to a square A; for another one, the penalty of least squares, ``damping ||x||²``.
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
    watch : callable, optional
        Gets every vector and its product.

    Attributes
    ----------
    x : ndarray, shape (n,)
        The iterate of smallest measured residual.
    residual : ndarray, shape (m,)
        ``b - (A + damping I) x``.
    residual_norm : float
    spent : int
        Products with A and its transpose so far.
    norm : float
        The largest ``||A v|| / ||v||`` met, a lower bound of the norm.
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
        watch: Callable[[np.ndarray, np.ndarray], None] | None = None,
    ) -> None:
        self.A = A
        self.b = b
        self.is_square = A.shape[0] == A.shape[1]
        self.damping = damping if self.is_square else 0.0
        self.ridge = 0.0 if self.is_square else damping
        self.symmetric = symmetric
        self.target = target
        self.limit = limit
        self.eps = float(np.finfo(A.dtype if A.dtype == np.float32 else np.float64).eps)
        self.callback = callback
        self._bar = bar
        self._watch = watch
        self.spent = 0
        self.norm = 0.0
        self.history: list[tuple[int, float]] = []
        self.negative_curvature: NegativeCurvature | None = None
        self.x = x0
        self.residual = b - self.product(x0) if x0.any() else b.copy()
        self.residual_norm = float(np.linalg.norm(self.residual))
        self.note(self.residual_norm)

    @property
    def operator(self) -> LinearOperator:
        """The damped matrix for a solver of SciPy, ended by `Halt` when products run out."""
        shape = self.A.shape
        return LinearOperator(
            shape, matvec=self.limited_product, rmatvec=self._adjoint_product, dtype=np.float64
        )

    def limited_product(self, v: np.ndarray) -> np.ndarray:
        """A product that is counted, and refused when there are none left."""
        if self.spent >= self.limit:
            raise Halt("iteration limit")
        return self.product(v)

    def product(self, v: np.ndarray) -> np.ndarray:
        """``(A + damping I) v``."""
        if not all_finite(v):
            raise Halt("breakdown")
        v = v.reshape(-1)
        product = np.asarray(self.A.matvec(v), dtype=np.float64).reshape(-1)
        if self._watch is not None:
            self._watch(v, product)
        self._spend(product)
        if self.damping:
            product = product + self.damping * v
        self._look_at(v, product)
        return product

    def _adjoint_product(self, u: np.ndarray) -> np.ndarray:
        if self.spent >= self.limit:
            raise Halt("iteration limit")
        return self._adjoint(u) + self.damping * u.reshape(-1) if self.damping else self._adjoint(u)

    def _adjoint(self, u: np.ndarray) -> np.ndarray:
        product = np.asarray(self.A.rmatvec(u.reshape(-1)), dtype=np.float64).reshape(-1)
        self._spend(product)
        return product

    def _spend(self, product: np.ndarray) -> None:
        self.spent += 1
        if self._bar is not None:
            self._bar.update(1)
        if not all_finite(product):
            raise NonFiniteError(
                f"A @ v has {first_bad(product)}, though v is finite. The operator itself is not "
                "finite."
            )

    def _look_at(self, v: np.ndarray, product: np.ndarray) -> None:
        length = float(np.linalg.norm(v))
        if length == 0.0:
            return
        self.norm = max(self.norm, float(np.linalg.norm(product)) / length)
        if not self.symmetric:
            return
        curvature = float((v / length) @ (product / length))
        known = self.negative_curvature.value if self.negative_curvature else 0.0
        # Below the rounding of the product, a sign says nothing.
        if curvature < min(known, -10.0 * self.eps * self.norm):
            self.negative_curvature = NegativeCurvature(v / length, curvature)

    def note(self, norm: float) -> None:
        """Write the norm of a residual into the history."""
        self.history.append((self.spent, norm))

    def measure(self, x: np.ndarray) -> float:
        """The norm of the true residual of x, which is kept if it is the best so far."""
        residual = self.b - self.product(x)
        norm = float(np.linalg.norm(residual))
        self.note(norm)
        # Where a residual hardly goes down, x may be growing in a null space.
        grows = float(np.linalg.norm(x)) > 2.0 * float(np.linalg.norm(self.x))
        if norm < (0.999 if grows else 1.0) * self.residual_norm:
            self.x, self.residual, self.residual_norm = x.copy(), residual, norm
        return norm

    def is_solved(self) -> bool:
        """Whether the best residual is small enough."""
        return self.residual_norm <= self.target

    def is_least_squares(self) -> bool:
        """Whether the best residual is orthogonal to the range of A, up to the tolerance."""
        size = float(np.linalg.norm(self.b))
        return self.normal_ratio() <= max(self.target / size, 10.0 * self.eps)

    def normal_ratio(self) -> float:
        """``||Aᵀ r|| / (||A|| ||r||)`` for the residual r: zero for a least-squares solution."""
        if self.symmetric:
            normal = self.product(self.residual)
        else:
            normal = self._adjoint(self.residual)
            shift = self.damping * self.residual if self.is_square else -self.ridge * self.x
            normal = normal + shift
        scale = self.norm * self.residual_norm
        return float(np.linalg.norm(normal)) / scale if scale else 0.0
