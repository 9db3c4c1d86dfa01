"""The inverse of a Hessian as the derivative of the inverse of the gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from hessop._errors import NotTracedError, name_of
from hessop.differentiate.autograd import jacobian_product
from hessop.differentiate.models import record_model
from hessop.operators.base import is_real_number
from hessop.operators.checks import check_count
from hessop.operators.compiling import Multiplier, Products
from hessop.operators.curvature import CurvatureOperator
from hessop.operators.hessian import HessianOperator, hessian_operator
from hessop.params import as_args
from hessop.solvers.inverse_checks import check_finite, check_point, check_product
from hessop.solvers.local_inverse import InverseDifferences, LocalInverse

__all__ = ["InverseGradientOperator", "inverse_gradient_operator"]


class InverseGradientOperator(CurvatureOperator):
    """The inverse of a Hessian, as the derivative of the inverse gradient.

    Made by `inverse_gradient_operator`, and by `hessop.conjugate_inverse_operator`.

    Attributes
    ----------
    gradient : ndarray, shape (n,)
        ``z = ∇f(x)``, where the inverse gradient is differentiated; a fresh copy each time.
    x : ndarray, shape (n,)
        The flat point; a fresh copy each time.
    mode : str
        ``"inverse-gradient"``, ``"conjugate"``, ``"finite-difference"`` or ``"newton-krylov"``.
    step_error : float
        Estimated relative error of the last product.
    n_matvec : int
        Columns multiplied so far.
    """

    symbol = "H⁻¹"

    def __init__(
        self,
        H: HessianOperator,
        products: Multiplier,
        name: str,
        mode: str,
        remake: partial[Any] | None = None,
    ) -> None:
        super().__init__(H.layout, H.x, products, name, remake)
        self._gradient = H.gradient
        self.mode = mode

    @property
    def gradient(self) -> np.ndarray:
        """The gradient at x, shape (n,): a fresh copy."""
        return self._gradient.copy()

    @property
    def step_error(self) -> float:
        """Estimated relative error of the last product, ``||computed - H⁻¹v|| / ||H⁻¹v||``.

        0.0 for the exact modes. For differences it is found by a second product with twice the
        step, and with Newton-Krylov also from the residuals; before the first product, it is that
        of a product with a constant vector.
        """
        products = self._products
        return products.step_error() if isinstance(products, InverseDifferences) else 0.0

    def _suspect(self) -> str:
        return f"The Hessian of {self._name} is singular at x, or a derivative overflows."

    def _facts(self) -> tuple[str, ...]:
        return (f"of {self._name}", self.mode, *(["compiled"] if self.is_compiled else []))


def inverse_gradient_operator(
    fun: Callable[..., Any],
    x: Any,
    inverse_grad: Callable[[Any], Any] | None = None,
    *,
    args: tuple[Any, ...] = (),
    step: float | None = None,
    rtol: float | None = None,
    maxiter: int | None = None,
) -> InverseGradientOperator:
    """The inverse of the Hessian of ``fun(x, *args)``, as the derivative of the inverse gradient.

    Where the inverse of the gradient is known, a product costs about as much as that inverse, and
    nothing is solved. It is checked: `inverse_grad` must take ∇f(x) to x, and the Hessian must take
    a product back.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args) -> scalar``, written with autograd.numpy.
    x : parameter tree
        The point. Copied.
    inverse_grad : callable, optional
        ``inverse_grad(z) -> x`` for z near ``∇f(x)``; both nested and shaped like x. Written with
        autograd.numpy, unless `step` is given. Where the gradient takes one value at several
        points, it must choose the branch of x, by the signs of x for example. Without it, the
        inverse is found next to x by Newton's method.
    args : tuple
        Further arguments of `fun`, not differentiated.
    step : float, optional
        The length of ``r v``. With `inverse_grad`, a product is then the difference quotient
        ``(inverse_grad(z + r v) - inverse_grad(z)) / r``, which keeps half of the digits at best,
        with a length of about ``1.5e-8 * ||z||``. Without it, the central one; by default x moves
        by ``eps**(1/3) * (1 + ||x||)``.
    rtol : float, optional
        Without `inverse_grad`: the residual of ``∇f(y) = z ± r v``, relative to that of x;
        ``eps**(2/3)`` unless said otherwise.
    maxiter : int, optional
        Without `inverse_grad`: the most products with the Hessian for one linear solve, 10 n unless
        said otherwise.

    Returns
    -------
    InverseGradientOperator
        Shape (n, n), symmetric.

    Raises
    ------
    ValueError
        When `inverse_grad` does not take ∇f(x) to x, with the coordinates that have the wrong sign;
        when its derivative is not the inverse of the Hessian, or that is singular.
    NonFiniteError
        When `inverse_grad` gives NaN or an infinity.
    NotTracedError
        When it leaves autograd's graph, and there is no `step`.
    NotConvergedError
        At a product, when Newton's method does not converge.

    Notes
    -----
    ``H⁻¹ v = d/dr inverse_grad(∇f(x) + r v)`` at r = 0, by the inverse function theorem (H. Lee,
    "J. R. 'Bob' Dobbs Memorial Inverse Hessian-Vector Multiplication Method", 2019, section 3.2).

    Newton's method takes about eight solves with the Hessian for each product, where `solve` takes
    one and is more accurate. It is there to check one by the other.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import inverse_gradient_operator
    >>> x = np.array([1.0, -2.0, 0.5])
    >>> H_inv = inverse_gradient_operator(
    ...     lambda x: np.sum(x**3), x, lambda z: np.sign(x) * np.sqrt(z / 3)
    ... )
    >>> H_inv
    <3x3 InverseGradientOperator of <lambda>, inverse-gradient, float64, 0 products>
    >>> H_inv @ np.array([6.0, 12.0, 3.0])
    array([ 1., -1.,  1.])
    """
    args = as_args(args)
    _check_options(inverse_grad, step, rtol, maxiter)
    H = hessian_operator(fun, x, args=args)
    products: Multiplier
    if inverse_grad is None:
        mode, products = "newton-krylov", _by_newton(H, fun, args, step, rtol, maxiter)
    elif step is None:
        mode, products = "inverse-gradient", _by_derivative(H, inverse_grad)
    else:
        mode, products = "finite-difference", _by_difference(H, inverse_grad, float(step))
    remake = partial(
        inverse_gradient_operator,
        fun,
        H.unflatten(H.x),
        inverse_grad,
        args=args,
        step=step,
        rtol=rtol,
        maxiter=maxiter,
    )
    return InverseGradientOperator(H, products, name_of(fun), mode, remake)


# --- the three ways to a product ------------------------------------------------------------------


def _by_derivative(H: HessianOperator, inverse_grad: Callable[[Any], Any]) -> Products:
    """The derivative of a known inverse gradient."""
    try:
        with np.errstate(all="ignore"):  # what is not finite is named by the checks
            model = record_model(inverse_grad, H.layout, H.gradient, finite=False)
    except NotTracedError as error:
        raise NotTracedError(
            f"inverse_grad, at z = ∇f(x): {error} Or give step=, for products by differences."
        ) from error
    name = f"the inverse gradient {name_of(inverse_grad)}"
    products = Products(partial(jacobian_product, model.recording), name=name)
    found = H.layout.flatten(model.value, "inverse_grad(z)")
    check_point(H.layout, H.x, found, "inverse_grad(∇f(x))")
    with np.errstate(all="ignore"):
        check_product(H, products, "inverse_grad")
    return products


def _by_difference(
    H: HessianOperator, inverse_grad: Callable[[Any], Any], step: float
) -> InverseDifferences:
    """The difference quotient of a known inverse gradient."""
    layout, x, z = H.layout, H.x, H.gradient

    def inverse(z: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            found = layout.flatten(inverse_grad(layout.unflatten(z)), "inverse_grad(z)")
        check_finite(layout, x, found, "inverse_grad near ∇f(x)")
        return found

    at_z = inverse(z)
    check_point(layout, x, at_z, "inverse_grad(∇f(x))")
    products = InverseDifferences(inverse, z, partial(_of_length, step), x, at_z=at_z)
    check_product(H, products, "inverse_grad", products.step_error())
    return products


def _by_newton(
    H: HessianOperator,
    fun: Callable[..., Any],
    args: tuple[Any, ...],
    step: float | None,
    rtol: float | None,
    maxiter: int | None,
) -> InverseDifferences:
    """The central difference quotient of an inverse gradient that is found next to x."""

    def at(y: np.ndarray) -> HessianOperator:
        return hessian_operator(fun, H.unflatten(y), args=args)

    rtol = float(np.finfo(H.dtype).eps) ** (2 / 3) if rtol is None else float(rtol)
    local = LocalInverse(H, at, rtol, maxiter)
    length = local.step if step is None else partial(_of_length, float(step))
    return InverseDifferences(local, H.gradient, length, H.x, unsolved=local.unsolved)


def _of_length(step: float, v: np.ndarray) -> float:
    """The r that makes ``r v`` so long."""
    return step / float(np.linalg.norm(v))


def _check_options(inverse_grad: Any, step: Any, rtol: Any, maxiter: Any) -> None:
    for name, value in (("step", step), ("rtol", rtol)):
        if value is not None and not (is_real_number(value) and 0.0 < value < np.inf):
            raise ValueError(f"{name} is {value!r}, expected a positive number, or None.")
    if maxiter is not None:
        check_count(maxiter, "maxiter")
    if inverse_grad is not None and not (rtol is None and maxiter is None):
        raise ValueError(
            "rtol and maxiter are for Newton's method, and inverse_grad is given. Leave them out."
        )
