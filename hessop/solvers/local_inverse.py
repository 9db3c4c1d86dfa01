"""The inverse of a gradient next to a point, and the derivative of one by differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, NoReturn

import numpy as np

from hessop._errors import NonFiniteError, NotConvergedError
from hessop._lengths import length
from hessop.differentiate.finite_difference import difference_error, difference_product
from hessop.operators.checks import by_columns
from hessop.operators.hessian import HessianOperator
from hessop.solvers.linear import solve

__all__ = ["InverseDifferences", "LocalInverse", "Solution"]

Gradient = Callable[[np.ndarray], np.ndarray]

_MOST_STEPS = 50
# A step that leaves more of the residual than this takes the Hessian anew.
_SLOW = 0.1
# One that leaves more than this with the Hessian at hand has met rounding, or does not converge.
_STALLED = 0.5
# What may be left of ∇f(y) = z at the most: two digits are then right.
_UNSOLVED = 0.01
# Relative residuals of the linear solves: of a step that is itself an approximation, and of the
# solve that only finds a scale.
_CORRECTION_RTOL = 1e-6
_SCALE_RTOL = 0.1


class Solution(NamedTuple):
    """Where Newton's method has ended.

    Attributes
    ----------
    y : ndarray, shape (n,)
    residual : ndarray, shape (n,)
        ``z - ∇f(y)``.
    """

    y: np.ndarray
    residual: np.ndarray


class LocalInverse:
    """``z -> y`` with ``∇f(y) = z`` for z near ``∇f(x)``, by Newton's method from x.

    The Hessian at x is kept as long as its steps are good: next to x, they nearly are Newton's, and
    its program is recorded once.

    Parameters
    ----------
    hessian : HessianOperator
        At x.
    at : callable
        Takes a flat vector y to the `HessianOperator` at y.
    rtol : float
        Of the equation: ``||z - ∇f(y)|| <= rtol ||z - ∇f(x)||``. Where rounding allows no more than
        two digits of it, that is an error; in between, `unsolved` tells.
    maxiter : int, optional
        The most products for one linear solve; 10 n unless said otherwise.
    """

    def __init__(
        self,
        hessian: HessianOperator,
        at: Callable[[np.ndarray], HessianOperator],
        rtol: float,
        maxiter: int | None,
    ) -> None:
        self._hessian = hessian
        self._at = at
        self._rtol = rtol
        self._maxiter = maxiter
        self._last: Solution | None = None

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """The y next to x with ``∇f(y) = z``.

        Raises
        ------
        NotConvergedError
            When there is none, or it is not found.
        """
        here = A = self._hessian
        distance = residual = z - here.gradient
        for _ in range(_MOST_STEPS):
            if length(residual) <= self._rtol * length(distance):
                break
            correction = _newton_correction(A, residual, _CORRECTION_RTOL, self._maxiter)
            trial = self._step(here.x + correction)
            left = z - trial.gradient
            gain = length(left) / length(residual)
            if gain > _STALLED and A is here:
                break
            if gain < 1.0:
                here, residual = trial, left
            if gain > _SLOW:
                A = here
        self._last = Solution(here.x, residual)
        if length(residual) > max(_UNSOLVED, self._rtol) * length(distance):
            self._refuse(length(residual), length(distance))
        return self._last.y

    def step(self, v: np.ndarray) -> float:
        """The r at which x moves by ``eps**(1/3)`` of its scale when ∇f moves by ``r v``."""
        eps = float(np.finfo(v.dtype).eps)
        motion = length(_newton_correction(self._hessian, v, _SCALE_RTOL, self._maxiter))
        if motion == 0.0:
            self._refuse(1.0, 1.0)
        step: float = eps ** (1 / 3) * (1.0 + length(self._hessian.x)) / motion
        return step

    def unsolved(self) -> float:
        """How far the last y is from where it should be: one more correction, in length."""
        if self._last is None or not self._last.residual.any():
            return 0.0
        residual = self._last.residual
        return length(_newton_correction(self._hessian, residual, _SCALE_RTOL, self._maxiter))

    def _step(self, y: np.ndarray) -> HessianOperator:
        try:
            with np.errstate(all="ignore"):  # what is not finite is an error below
                trial = self._at(y)
                _ = trial.gradient
        except NonFiniteError as error:
            raise NonFiniteError(
                f"Newton's method for ∇f(y) = ∇f(x) ± r v has left the domain: {error} Give a "
                "smaller step=, or use solve(H, v)."
            ) from error
        return trial

    def _refuse(self, left: float, distance: float) -> NoReturn:
        raise NotConvergedError(
            "Newton's method for ∇f(y) = ∇f(x) ± r v did not converge from x: its residual is "
            f"{left / distance:.1e} of r v, expected at most {max(_UNSOLVED, self._rtol)}. The "
            "Hessian is singular or nearly so at x, ∇f does not take this value near x, or maxiter "
            "is too small. Give a smaller step=, or solve with the Hessian itself: solve(H, v), "
            "factorized_inverse(H).",
            self._last,
        )


def _newton_correction(
    A: HessianOperator, residual: np.ndarray, rtol: float, maxiter: int | None
) -> np.ndarray:
    """``A⁻¹ residual`` up to rtol, or as well as it can be had."""
    try:
        result = solve(A, residual, rtol=rtol, maxiter=maxiter, strict=True)
    except NotConvergedError as error:
        result = error.result  # what it is worth is seen in the next residual
    correction: np.ndarray = result.x.astype(A.dtype)
    return correction


class InverseDifferences:
    """The derivative of an inverse gradient at z, by differences along v.

    Parameters
    ----------
    inverse : callable
        ``inverse(z) -> x`` on flat vectors.
    z : ndarray, shape (n,)
    step : callable
        Takes v to the r at which ``z + r v`` is differenced.
    x : ndarray, shape (n,)
        About ``inverse(z)``, whose rounding is divided by r, too.
    at_z : ndarray, shape (n,), optional
        ``inverse(z)``: then differences are one sided, else central.
    unsolved : callable
        How far the last result of `inverse` is from the true one.
    """

    is_compiled = False

    def __init__(
        self,
        inverse: Gradient,
        z: np.ndarray,
        step: Callable[[np.ndarray], float],
        x: np.ndarray,
        *,
        at_z: np.ndarray | None = None,
        unsolved: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._inverse = inverse
        self._z = z
        self._step = step
        self._x = x
        self._at_z = at_z
        self._unsolved = unsolved
        self._last: tuple[np.ndarray, float, np.ndarray] | None = None

    def product(self, v: np.ndarray) -> np.ndarray:
        """The product with one vector."""
        size = np.abs(v).max(initial=0.0)
        if size == 0.0:
            return np.zeros_like(self._z)
        self._last = self._difference(v / size)
        product: np.ndarray = size * self._last[-1]
        return product

    def block(self, V: np.ndarray) -> np.ndarray:
        """The product with a block of columns, one by one."""
        return by_columns(self.product, V, len(V))

    def compile(self) -> NoReturn:
        """Refuse: a difference is not linear in v, so that there is nothing to record."""
        raise ValueError(
            "differences of an inverse gradient cannot be compiled. Give inverse_grad, written "
            "with autograd.numpy, and no step."
        )

    def step_error(self) -> float:
        """Estimated relative error of the last product, or before any, of one with a constant v."""
        if self._last is None:
            self._last = self._difference(np.ones_like(self._z))
        v, r, product = self._last
        error = difference_error(self._inverse, self._z, v, r, product, at_x=self._at_z, unit=0.0)
        moved = r * length(product)
        if not moved:
            return error
        rounding = float(np.finfo(v.dtype).eps) * length(self._x)
        return error + (rounding + self._unsolved()) / moved

    def _difference(self, v: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        r = self._step(v)
        return v, r, difference_product(self._inverse, self._z, v, r, at_x=self._at_z)
