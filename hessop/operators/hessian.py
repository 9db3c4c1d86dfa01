"""The exact Hessian of a function at a point, as an operator."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from hessop._errors import NonFiniteError, name_of
from hessop.differentiate.points import differentiate_at
from hessop.operators.compiling import Point, compiling_point
from hessop.operators.curvature import CurvatureOperator
from hessop.params import as_args, read_tree

__all__ = ["HessianOperator", "hessian_operator"]


class HessianOperator(CurvatureOperator):
    """The Hessian of a function at a point. Made by `hessian_operator`.

    It has the methods of `scipy.sparse.linalg.LinearOperator`, and is its own transpose.

    Attributes
    ----------
    value : float
        The function at x.
    gradient : ndarray, shape (n,)
        Its gradient at x; a fresh copy each time.
    x : ndarray, shape (n,)
        The flat point; a fresh copy each time.
    mode : str
        How products are computed.
    step_error : float
        Estimated relative error of the last product.
    n_matvec : int
        Columns multiplied so far.
    """

    symbol = "H"

    def __init__(
        self, point: Point, x: np.ndarray, name: str, remake: partial[Any] | None = None
    ) -> None:
        super().__init__(point.layout, x, point, name, remake)
        self._point = point

    @property
    def value(self) -> float:
        """The function's value at x."""
        return self._point.value

    @property
    def gradient(self) -> np.ndarray:
        """The gradient at x, shape (n,): a fresh copy.

        Raises
        ------
        NonFiniteError
            When an entry is NaN or infinite, though the value is finite.
        """
        gradient = self._point.gradient
        check_gradient(gradient, self._point, f"the gradient of {self._name}")
        return gradient.copy()

    @property
    def mode(self) -> str:
        """How products are computed; never ``"auto"``."""
        return self._point.mode

    @property
    def step_error(self) -> float:
        """Estimated relative error of the last product, ``||computed - Hv|| / ||Hv||``.

        0.0 for the exact modes. For finite differences it is found by a second product with twice
        the step; before the first product, it is that of a product with a constant vector.
        """
        return self._point.step_error()

    def _suspect(self) -> str:
        return (
            f"The second derivative of {self._name} does not exist at x (as for a norm at 0, or a "
            "branch of where that is not taken), or it overflows."
        )

    def _facts(self) -> tuple[str, ...]:
        return (f"of {self._name}", self.mode, *(["compiled"] if self.is_compiled else []))


def hessian_operator(
    fun: Callable[..., Any] | None,
    x: Any,
    *,
    args: tuple[Any, ...] = (),
    mode: str = "auto",
    grad: Callable[..., Any] | None = None,
) -> HessianOperator:
    """The Hessian of ``fun(x, *args)`` with respect to x, as a SciPy LinearOperator.

    The function is run once, here. The first product differentiates its gradient, and keeps what
    the further ones need. x is copied; other arrays that the function refers to are not, and must
    stay as they are while the operator is in use.

    Parameters
    ----------
    fun : callable or None
        ``fun(x, *args) -> scalar``, written with autograd.numpy. With `grad` it is only asked for
        its value and may be any function, or None.
    x : parameter tree
        The point: an array of any shape, a scalar, or a nest of dicts, lists, tuples and
        namedtuples of them. Copied. Integers are cast to float.
    args : tuple
        Further arguments, not differentiated; what is not a tuple is one argument.
    mode : str
        ``"reverse-over-reverse"`` (what ``"auto"`` picks), ``"forward-over-reverse"``,
        ``"reverse-over-forward"``, ``"finite-difference"`` (central) or
        ``"finite-difference-forward"`` of the gradient.
    grad : callable, optional
        ``grad(x, *args)``, a gradient that is not autograd's, nested and shaped like x. Products
        are then finite differences of it.

    Returns
    -------
    HessianOperator
        Shape (n, n), where n is the number of entries of x; float64, or float32 when all of x is.

    Raises
    ------
    TypeError
        When x has a leaf that is not real, or `fun` does not return a real number that depends on x
        through autograd (`NotTracedError`).
    ValueError
        When x is empty, or the mode unknown; when x or ``fun(x)`` is not finite (`NonFiniteError`).
    MissingDerivativeError
        When autograd cannot differentiate a primitive, here or at the first product.

    Notes
    -----
    ``H v = d/dε ∇f(x + ε v)`` at ε = 0: the product costs a few gradients, whatever n is (B. A.
    Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6, 1994).

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from scipy.sparse.linalg import cg
    >>> from hessop import hessian_operator
    >>> def fun(x):
    ...     return x[0] ** 2 * x[1] + np.sin(x[1])
    >>> H = hessian_operator(fun, np.array([1.0, 2.0]))
    >>> H
    <2x2 HessianOperator of fun, reverse-over-reverse, float64, 0 products>
    >>> H @ np.array([1.0, 0.0])
    array([4., 2.])
    >>> H.gradient
    array([4.        , 0.58385316])
    """
    layout, point = read_tree(x)
    args = as_args(args)
    name = name_of(grad if fun is None else fun)
    at_x = compiling_point(
        differentiate_at(fun, layout, point, args=args, mode=mode, grad=grad), name
    )
    if fun is not None and not math.isfinite(at_x.value):
        raise NonFiniteError(
            f"{name}(x) is {at_x.value}, expected a finite number. "
            "Choose a point inside the domain, or scale what overflows."
        )
    tree = layout.unflatten(point)
    remake = partial(hessian_operator, fun, tree, args=args, mode=mode, grad=grad)
    return HessianOperator(at_x, point, name, remake)


def check_gradient(gradient: np.ndarray, point: Point, what: str) -> None:
    """Raise a NonFiniteError that names the first entry of a gradient that is not finite."""
    if not np.isfinite(gradient).all():
        first = int(np.flatnonzero(~np.isfinite(gradient))[0])
        raise NonFiniteError(
            f"{what} is {gradient[first]} at {point.layout.where(first)}, expected a finite "
            "number. The derivative does not exist there (as for a norm at 0, or a branch of where "
            "that is not taken), or it overflows."
        )
