"""A function at a point, and what was computed of it there and nearby."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hessop._errors import name_of
from hessop._lengths import length
from hessop.diagnostics import causes
from hessop.diagnostics.checked import Unanswerable
from hessop.diagnostics.probed import Probed
from hessop.diagnostics.slopes import Jumps, Quotients, steps
from hessop.differentiate.finite_difference import difference_step
from hessop.differentiate.points import differentiate_at, record_scalar
from hessop.differentiate.recording import Recording
from hessop.params import Layout

__all__ = ["Inspected", "Line", "Subject"]

# Runs of the function with x changed in its last digits.
_NEARBY = 3


@dataclass(frozen=True, eq=False)
class Subject:
    """A function of a parameter tree at a point, or its gradient alone.

    Attributes
    ----------
    fun, grad : callable or None
        One of them at least.
    layout : Layout
    x : ndarray, shape (n,)
    args : tuple
    """

    fun: Callable[..., Any] | None
    grad: Callable[..., Any] | None
    layout: Layout
    x: np.ndarray
    args: tuple[Any, ...]

    @property
    def name(self) -> str:
        """How messages call it."""
        return name_of(self.grad if self.fun is None else self.fun)

    def at(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient at z, in float64; the value is 0.0 where there is no function."""
        point = differentiate_at(self.fun, self.layout, z, args=self.args, grad=self.grad)
        value = 0.0 if self.fun is None else float(point.value)
        return value, np.asarray(point.gradient, dtype=np.float64)

    def record(self) -> Recording | None:
        """The primitives of the function; None where its gradient is the user's own."""
        if self.fun is None or self.grad is not None:
            return None
        return record_scalar(self.fun, self.layout, self.x, self.args)[0]


class Inspected:
    """A function along random directions, and what was computed of it.

    Parameters
    ----------
    subject : Subject
    probed : Probed
        The operator that should be its Hessian; its directions are taken.
    rng : numpy.random.Generator
    """

    def __init__(self, subject: Subject, probed: Probed, rng: np.random.Generator) -> None:
        self.subject = subject
        self.probed = probed
        self.V = probed.V.astype(subject.x.dtype)
        self._rng = rng

    @property
    def eps(self) -> float:
        """Of what the function is computed in: that of float32, where it is cast to that."""
        return float(np.finfo(np.float32 if self.single else self.subject.x.dtype).eps)

    @cached_property
    def single(self) -> str:
        """Where float32 comes in, though x is float64; empty where it does not."""
        return causes.single_precision(self)

    @cached_property
    def first(self) -> tuple[float, np.ndarray]:
        """Value and gradient at x."""
        return self.subject.at(self.subject.x)

    @cached_property
    def here(self) -> tuple[float, np.ndarray]:
        """The same; finite, and equal in a second run."""
        value, gradient = self._usable(self.first)
        if self.changes[0] > self.changes[1]:
            raise Unanswerable("fun is not repeatable: no difference of its values means anything.")
        return value, gradient

    @staticmethod
    def _usable(found: tuple[float, np.ndarray]) -> tuple[float, np.ndarray]:
        if not math.isfinite(found[0]) or not np.isfinite(found[1]).all():
            raise Unanswerable("the value or the gradient at x is not finite.")
        return found

    @cached_property
    def repeats(self) -> list[tuple[float, np.ndarray]]:
        """Value and gradient of further runs at x."""
        return [self.subject.at(self.subject.x) for _ in range(2)]

    @cached_property
    def changes(self) -> tuple[float, float]:
        """By how much these differ, relative to their size, and what rounding allows."""
        value, gradient = self._usable(self.first)
        size = abs(value) + length(gradient) or 1.0
        changes = [abs(one - value) + length(g - gradient) for one, g in self.repeats]
        eps = float(np.finfo(self.subject.x.dtype).eps)
        return max(changes) / size, 10.0 * math.sqrt(gradient.size) * eps

    @cached_property
    def nearby(self) -> list[tuple[float, np.ndarray]]:
        """Value and gradient where x is changed in its last digits."""
        x = self.subject.x
        found = []
        for _ in range(_NEARBY):
            signs = self._rng.choice([-1.0, 1.0], x.size)
            found.append(self.subject.at((x * (1.0 + 2.0 * self.eps * signs)).astype(x.dtype)))
        return found

    @cached_property
    def noise(self) -> tuple[float, float]:
        """What rounding makes of the value, and of the gradient as a length."""
        value, gradient = self.here
        values = [abs(one - value) for one, _ in self.nearby]
        gradients = [length(one - gradient) for _, one in self.nearby]
        return (
            max(np.nanmax(values), self.eps * abs(value)),
            max(np.nanmax(gradients), self.eps * length(gradient)),
        )

    @cached_property
    def lines(self) -> list[Line]:
        """What differences tell along each direction."""
        _ = self.noise
        return [Line(self, v) for v in self.V.T]

    @property
    def kink(self) -> tuple[str, float, float] | None:
        """The first one that was met: see `Line`."""
        return next((line.kink for line in self.lines if line.kink), None)

    @cached_property
    def recording(self) -> Recording | None:
        """The primitives of the function, where autograd differentiates it."""
        return self.subject.record()


class Line:
    """A function along a direction: its differences, the best of them, and its kinks.

    Parameters
    ----------
    inspected : Inspected
    v : ndarray, shape (n,)
    """

    def __init__(self, inspected: Inspected, v: np.ndarray) -> None:
        self.v = v
        self.slope, self.product = Quotients(), Quotients()
        reach = difference_step(inspected.subject.x, v)
        self.of_value, self.of_gradient, self.of_product = (Jumps(reach) for _ in range(3))
        #: The length of the longest gradient nearby.
        self.steepest = 0.0
        value, gradient = inspected.here
        noises = inspected.noise
        x = inspected.subject.x
        for h in steps(x, v):
            sides = [_try(inspected.subject, x, sign * h * v) for sign in (1.0, -1.0)]
            if sides[0] is None or sides[1] is None:
                continue
            (ahead, g_ahead), (behind, g_behind) = sides[0], sides[1]
            self.steepest = max(self.steepest, length(g_ahead))
            self.slope.add(h, np.array([ahead]), np.array([behind]), noises[0])
            self.product.add(h, g_ahead, g_behind, noises[1])
            second = abs(ahead - 2.0 * value + behind) / h
            self.of_value.add(h, second, 4.0 * noises[0] / h)
            if inspected.subject.fun is None:  # it also stays where a gradient oscillates
                self.of_gradient.add(h, length(g_ahead - g_behind), 2.0 * noises[1])
            second = length(g_ahead - 2.0 * gradient + g_behind) / h
            self.of_product.add(h, second, 4.0 * noises[1] / h)

    @property
    def kink(self) -> tuple[str, float, float] | None:
        """What jumps, at which step, and by how much; None where all is smooth."""
        jumps = {
            "the slope of fun": self.of_value,
            "the gradient": self.of_gradient,
            "the Hessian": self.of_product,
        }
        return next(((what, *one.found) for what, one in jumps.items() if one.found), None)


def _try(subject: Subject, x: np.ndarray, step: np.ndarray) -> tuple[float, np.ndarray] | None:
    """Value and gradient a step away; None outside of the domain of the function."""
    try:
        value, gradient = subject.at((x + step).astype(x.dtype))
    except (ArithmeticError, ValueError):  # NonFiniteError and LinAlgError are ValueErrors
        return None
    return (value, gradient) if math.isfinite(value) and np.isfinite(gradient).all() else None
