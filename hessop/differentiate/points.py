"""A scalar function at a point: its value, gradient and Hessian product, each computed once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NoReturn

import numpy as np

from hessop._errors import NonFiniteError, NotTracedError
from hessop._tracing import TRACING
from hessop.differentiate.autograd import (
    forward_over_reverse,
    gradient,
    reverse_over_forward,
    reverse_over_reverse,
)
from hessop.differentiate.finite_difference import (
    difference_error,
    difference_product,
    difference_step,
)
from hessop.differentiate.linear_map import LinearMap
from hessop.differentiate.recording import Recording, record
from hessop.params import Layout

__all__ = [
    "MODES",
    "AutogradPoint",
    "DifferencePoint",
    "differentiate_at",
    "plain_value",
    "record_scalar",
]

MODES = (
    "auto",
    "reverse-over-reverse",
    "forward-over-reverse",
    "reverse-over-forward",
    "finite-difference",
    "finite-difference-forward",
)


class AutogradPoint:
    """A recorded function at a point, contracted with a seed: ``f(x) = <seed, fun(x)>``.

    Parameters
    ----------
    recording : Recording
    seed : ndarray
        Shaped like the function's result; one for a scalar function.
    value : float
        ``<seed, fun(x)>``.
    mode : str
        One of the exact modes.
    """

    def __init__(self, recording: Recording, seed: np.ndarray, value: float, mode: str) -> None:
        self.layout = recording.layout
        self.mode = "reverse-over-reverse" if mode == "auto" else mode
        self.value = value
        self._recording: Recording | None = recording
        self._seed = seed
        self._gradient: np.ndarray | None = None
        self._find_gradient: Callable[[], np.ndarray] | None = partial(gradient, recording, seed)
        self._linear_map: LinearMap | None = None

    @property
    def gradient(self) -> np.ndarray:
        """The gradient, shape (n,): of the Hessian's linearisation where that was made already."""
        with TRACING:
            if self._gradient is None:
                assert self._find_gradient is not None
                self._gradient = self._find_gradient()
            return self._gradient

    def linear_map(self) -> LinearMap:
        """The Hessian product; the first call linearises the gradient."""
        with TRACING:
            if self._linear_map is None:
                self._linear_map = self._linearize()
            return self._linear_map

    def release(self) -> None:
        """Let go of what products need, because something else computes them from now on."""
        with TRACING:
            self._gradient = self.gradient
            self._recording = self._find_gradient = self._linear_map = None

    def _linearize(self) -> LinearMap:
        assert self._recording is not None
        if self.mode == "forward-over-reverse":
            return forward_over_reverse(self._recording, self._seed)
        if self.mode == "reverse-over-forward":
            return reverse_over_forward(self._recording, self._seed)
        self._find_gradient, product = reverse_over_reverse(self._recording, self._seed)
        self._recording = None  # its values live on in the graph as far as they are needed
        return product


class DifferencePoint:
    """A point where Hessian products are differences of gradients.

    Parameters
    ----------
    layout : Layout
    x : ndarray, shape (n,)
    value, gradient : callable
        Take no argument, give the function's value and gradient at x.
    grad : callable
        The gradient at a flat vector, as a fresh flat vector.
    mode : {"finite-difference", "finite-difference-forward"}
    """

    is_compiled = False

    def __init__(
        self,
        layout: Layout,
        x: np.ndarray,
        value: Callable[[], float],
        gradient: Callable[[], np.ndarray],
        grad: Callable[[np.ndarray], np.ndarray],
        mode: str,
    ) -> None:
        self.layout = layout
        self.mode = mode
        self._x = x
        self._value = value
        self._gradient = gradient
        self._grad = grad
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    @cached_property
    def value(self) -> float:
        """The function's value."""
        return self._value()

    @cached_property
    def gradient(self) -> np.ndarray:
        """The gradient, shape (n,)."""
        return self._gradient()

    def product(self, v: np.ndarray) -> np.ndarray:
        """Hv by two gradients, or by one and the gradient at x."""
        if not v.any():
            return np.zeros_like(self._x)
        product = self._difference(v)
        self._last = v.copy(), product.copy()
        return product

    def block(self, V: np.ndarray) -> np.ndarray:
        """HV, for V of shape (n, k), column by column."""
        return np.column_stack([self.product(v) for v in np.ascontiguousarray(V.T)])

    def compile(self) -> NoReturn:
        """Refuse: a difference is not linear in v, so that there is nothing to record."""
        raise ValueError(
            f"mode is {self.mode!r}: differences of a gradient cannot be compiled. "
            "Use an exact mode, with a function written with autograd.numpy."
        )

    def step_error(self) -> float:
        """Estimated relative error of the last product, or before any, of one with a constant v."""
        if self._last is None:
            v = np.ones_like(self._x)
            self._last = v, self._difference(v)
        v, product = self._last
        return difference_error(self._grad, self._x, v, self._step(v), product, at_x=self._at_x())

    def _difference(self, v: np.ndarray) -> np.ndarray:
        return difference_product(self._grad, self._x, v, self._step(v), at_x=self._at_x())

    def _step(self, v: np.ndarray) -> float:
        return difference_step(self._x, v, central=self.mode == "finite-difference")

    def _at_x(self) -> np.ndarray | None:
        return None if self.mode == "finite-difference" else self.gradient


def differentiate_at(
    fun: Callable[..., Any] | None,
    layout: Layout,
    x: np.ndarray,
    *,
    args: tuple[Any, ...] = (),
    mode: str = "auto",
    grad: Callable[..., Any] | None = None,
) -> AutogradPoint | DifferencePoint:
    """A scalar function at a point, ready for Hessian products.

    Parameters
    ----------
    fun : callable or None
        ``fun(tree, *args)``, written with autograd.numpy; or, with `grad`, anything that returns
        the value, or None.
    layout : Layout
    x : ndarray, shape (n,)
        Not copied.
    args : tuple
    mode : str
        One of `MODES`.
    grad : callable, optional
        ``grad(tree, *args)``, a gradient that is not autograd's.

    Returns
    -------
    AutogradPoint or DifferencePoint

    Raises
    ------
    ValueError
        For an unknown mode, or an exact one together with `grad`.
    TypeError
        When neither `fun` nor `grad` is callable.
    NotTracedError
        When `fun` does not return one real number that depends on x.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}, expected one of {', '.join(map(repr, MODES))}.")
    if grad is not None:
        return _point_of_gradient(fun, grad, layout, x, args, mode)
    if not callable(fun):
        raise TypeError(
            f"fun is {fun!r}, expected a function. Give one written with autograd.numpy, "
            "or a gradient of your own as grad=."
        )
    function = fun
    recording, seed = record_scalar(function, layout, x, args)
    result = recording.value
    value = float(result if isinstance(result, float) else result.item())
    if not mode.startswith("finite-difference"):
        return AutogradPoint(recording, seed, value, mode)
    exact = AutogradPoint(recording, seed, value, "auto")
    return DifferencePoint(
        layout,
        x,
        lambda: exact.value,
        lambda: exact.gradient,
        lambda z: _gradient_near(function, layout, z, args),
        mode,
    )


def _gradient_near(
    fun: Callable[..., Any], layout: Layout, x: np.ndarray, args: tuple[Any, ...]
) -> np.ndarray:
    recording, seed = record_scalar(fun, layout, x, args)
    if not np.isfinite(recording.value).all():
        # Its derivative may well be finite, as that of log is at a negative number, and be wrong.
        raise NonFiniteError(
            "fun is not finite a small step away from x, so its gradient cannot be differenced. "
            "Move x away from the edge of the domain, or use an exact mode."
        )
    return gradient(recording, seed)


def record_scalar(
    fun: Callable[..., Any], layout: Layout, x: np.ndarray, args: tuple[Any, ...]
) -> tuple[Recording, np.ndarray]:
    """The recording of a scalar function, and the cotangent 1 in the shape of its value.

    Raises
    ------
    NotTracedError
        When it does not return one real number.
    """
    recording = record(fun, layout, x, args)
    value = recording.value
    if not isinstance(value, float) and np.size(value) != 1:
        raise NotTracedError(
            f"fun returned an array of shape {np.shape(value)}, expected a scalar. "
            "Sum it, or use jacobian_operator."
        )
    return recording, np.ones(np.shape(value), dtype=value.dtype)


def _point_of_gradient(
    fun: Callable[..., Any] | None,
    grad: Callable[..., Any],
    layout: Layout,
    x: np.ndarray,
    args: tuple[Any, ...],
    mode: str,
) -> DifferencePoint:
    if not callable(grad):
        raise TypeError(f"grad is {grad!r}, expected a function that returns the gradient at x.")
    if mode == "auto":
        mode = "finite-difference"
    if not mode.startswith("finite-difference"):
        raise ValueError(
            f"mode is {mode!r}, but a gradient of your own can only be differenced. "
            "Leave grad out, or use 'finite-difference' or 'finite-difference-forward'."
        )

    def value() -> float:
        if fun is None:
            raise ValueError("there is no value: no fun was given. Pass fun together with grad.")
        return plain_value(fun(layout.unflatten(x), *args))

    def flat_gradient(z: np.ndarray) -> np.ndarray:
        return layout.flatten(grad(layout.unflatten(z), *args), "grad(x)")

    return DifferencePoint(layout, x, value, lambda: flat_gradient(x), flat_gradient, mode)


def plain_value(result: Any) -> float:
    """The float that a function returned when run on plain arrays, without autograd.

    Raises
    ------
    TypeError
        When it is not one real number.
    """
    value = np.asarray(result)
    if value.size != 1 or value.dtype.kind not in "biuf":
        raise TypeError(
            f"fun returned {type(result).__name__} of shape {value.shape} and dtype "
            f"{value.dtype}, expected one real number."
        )
    return float(value.item())
