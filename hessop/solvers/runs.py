"""One run of an iterative solver of SciPy on a `System`: what it gets, and what is seen of it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from hessop._errors import NonFiniteError
from hessop._lengths import length, power_of_two
from hessop.operators.checks import all_finite, first_bad
from hessop.solvers.systems import Halt, System

__all__ = ["SYMMETRIC_METHODS", "Products", "Run", "not_positive_definite"]

SYMMETRIC_METHODS = ("cg", "minres")
# cg carries a residual along that is good until the end; the others end often, or soon.
_MEASURED_METHODS = ("minres", "bicgstab")
# Their residuals are measured every so many iterations, and then every tenth part of them.
_MEASURED = 10
# Iterates that are kept, to look back on.
_RECENT = 4
# An iterate that is so many times as long as the one before goes along a null space.
_JUMP = 30.0


class Run:
    """One run of a method: for the d with ``A d = r``, where r is the residual at its start.

    Some of SciPy's thresholds are absolute, and the squares of its numbers may overflow. So it gets
    ``A / unit``, ``M / unit`` and ``r / ||r||``, where the first products tell the units.

    Parameters
    ----------
    system : System
    method : str
    M : LinearOperator or None
    number : int
        Of the run, from zero.

    Attributes
    ----------
    b : ndarray, shape (m,)
        The residual, of length one.
    target : float
        The length of what is to be left of it.
    y : ndarray, shape (n,), or None
        The last iterate: SciPy's own array.
    """

    def __init__(self, system: System, method: str, M: LinearOperator | None, number: int) -> None:
        self.system = system
        self.method = method
        self.number = number
        self.b = system.residual / system.residual_norm
        # Beyond the rounding of its own numbers, a run gains nothing: another will.
        self.target = max(system.target / system.residual_norm, system.eps)
        self.y: np.ndarray | None = None
        self._start, self._size = system.x, system.residual_norm
        self._M = M
        self._unit = self._unit_of_M = 0.0
        self._iterations, self._next = 0, _MEASURED
        self._recent: deque[np.ndarray] = deque(maxlen=_RECENT)
        self._length = math.inf

    @property
    def left(self) -> int:
        """Products that may still be spent."""
        return max(self.system.limit - self.system.spent, 0)

    def x(self, y: np.ndarray) -> np.ndarray:
        """The x of an iterate: a fresh array."""
        x: np.ndarray = self._start + self._size / (self._unit or 1.0) * y
        return x

    # --- after an iteration -----------------------------------------------------------------------

    def __call__(self, y: np.ndarray) -> None:
        """Keep an iterate, and now and then measure its residual."""
        last, self.y = self.y, y
        self._iterations += 1
        if self.system.callback is not None:
            self.system.callback(self.x(y))
        if self.method == "minres":  # whose iterates are fresh arrays
            self._recent.append(y)
            before, self._length = self._length, length(y)
            if last is not None and self._length > _JUMP * before:
                self._measure(last)
        if self.method in _MEASURED_METHODS and self._iterations >= self._next:
            self._next = self._iterations + max(_MEASURED, self._iterations // 10)
            self._measure(y)

    def _measure(self, y: np.ndarray) -> None:
        self.system.measure(self.x(y))
        if self.system.is_solved():
            raise Halt("converged")

    def look_back(self) -> None:
        """Measure the last iterates backwards, as long as they are better.

        Where minres has done all that it can, its next steps lead far away along a null space, or
        to what is rounding only.
        """
        after = math.inf
        while self._recent and not self.system.is_solved():
            norm = self.system.measure(self.x(self._recent.pop()))
            if not norm <= after:
                break
            after = norm

    def note(self, r: np.ndarray) -> None:
        """Write the residual that a method carries along into the history."""
        if self._iterations:  # the first is there
            self.system.note(self._size * length(r))

    # --- what SciPy gets --------------------------------------------------------------------------

    def operator(self, *, limited: bool = True, positive: bool = False) -> LinearOperator:
        """The matrix in its unit.

        Parameters
        ----------
        limited : bool
            Whether it ends a run that would spend more products than there are.
        positive : bool
            Whether it ends a run that meets a direction along which it is not positive.
        """
        system = self.system
        multiply = system.limited_product if limited else system.product

        def product(v: np.ndarray) -> np.ndarray:
            Av = self._in_unit(multiply(v))
            if positive and system.curvature <= system.rounding:
                raise Halt("not positive definite")
            return Av

        def adjoint(u: np.ndarray) -> np.ndarray:
            return self._in_unit(system.adjoint_product(u))

        return Products(system.A.shape, product, adjoint)

    def _in_unit(self, product: np.ndarray) -> np.ndarray:
        if not self._unit:
            self._unit = power_of_two(self.system.norm)
        product *= 1.0 / (self._unit or 1.0)
        return product

    def preconditioner(self) -> LinearOperator | None:
        """M in its unit."""
        return None if self._M is None else Products(self._M.shape, self.preconditioned)

    def preconditioned(self, r: np.ndarray) -> np.ndarray:
        """``M r`` in the unit of M; without M, r."""
        if self._M is None:
            return r
        size = length(r)
        if not math.isfinite(size):
            raise Halt("breakdown")
        z = np.array(self._M.matvec(r), dtype=np.float64).reshape(-1)
        if not all_finite(z):
            raise NonFiniteError(f"M @ r has {first_bad(z)}, though r is finite.")
        if not self._unit_of_M and size:
            self._unit_of_M = power_of_two(length(z) / size)
        z *= 1.0 / (self._unit_of_M or 1.0)
        if self.method in SYMMETRIC_METHODS:
            self._check_positive(float(r @ z), size * size)
        elif size and not z.any():
            raise Halt("breakdown")
        return z

    def _check_positive(self, form: float, squared: float) -> None:
        if form > 0.0 or not squared:
            return
        if self._iterations and form >= -(self.system.eps**0.5) * squared:
            raise Halt("breakdown")  # it may be rounding
        raise not_positive_definite(form * self._unit_of_M)


def not_positive_definite(form: float) -> ValueError:
    """The error of a preconditioner with ``rᵀ M r`` not above zero."""
    return ValueError(
        f"M is not positive definite: rᵀ M r is {form:.3g} for a residual r. cg, minres and the "
        "norm of a trust region need a preconditioner that is; take the magnitudes of its "
        "eigenvalues, or damp it."
    )


class Products(LinearOperator):
    """Products as they are: SciPy's care for each takes longer than a small one."""

    def __init__(
        self,
        shape: tuple[int, int],
        product: Callable[[np.ndarray], np.ndarray],
        adjoint: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        super().__init__(np.dtype(np.float64), shape)
        self._product = product
        self._adjoint_product = adjoint

    def matvec(self, x: Any) -> Any:
        """The product with a vector of shape (n,)."""
        return self._product(x)

    def rmatvec(self, x: Any) -> Any:
        """The product of the transpose with a vector of shape (m,)."""
        return self._adjoint_product(x) if self._adjoint_product else super().rmatvec(x)

    def _matvec(self, x: Any) -> Any:
        return self._product(x)
