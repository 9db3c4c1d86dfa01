"""The inverse of a Hessian as the Hessian of the convex conjugate."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from hessop._errors import name_of
from hessop.differentiate.points import differentiate_at
from hessop.operators.compiling import compiling_point
from hessop.operators.hessian import hessian_operator
from hessop.params import as_args
from hessop.solvers.inverse_checks import check_point, check_product
from hessop.solvers.inverse_gradient import InverseGradientOperator

__all__ = ["conjugate_inverse_operator"]


def conjugate_inverse_operator(
    conjugate: Callable[[Any], Any],
    x: Any,
    fun: Callable[..., Any],
    *,
    args: tuple[Any, ...] = (),
) -> InverseGradientOperator:
    """The inverse of the Hessian of a convex function, as the Hessian of its conjugate.

    Parameters
    ----------
    conjugate : callable
        ``conjugate(z) -> scalar``, the convex conjugate ``f*(z) = sup_x zᵀx - f(x)``, written with
        autograd.numpy; z is nested like x.
    x : parameter tree
        The point. Copied.
    fun : callable
        ``fun(x, *args) -> scalar``, written with autograd.numpy.
    args : tuple
        Further arguments of `fun`, not differentiated.

    Returns
    -------
    InverseGradientOperator
        Shape (n, n), symmetric.

    Raises
    ------
    ValueError
        When the gradient of `conjugate` does not take ∇f(x) to x, or its Hessian there is not the
        inverse.
    NonFiniteError
        When it is not finite at ∇f(x).

    Notes
    -----
    The gradients of conjugates are inverse to each other, so that ``H⁻¹ = ∇²f*(∇f(x))`` (R. T.
    Rockafellar, "Convex Analysis", 1970, theorem 26.5).

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import conjugate_inverse_operator
    >>> H_inv = conjugate_inverse_operator(
    ...     lambda z: np.sum(z * np.log(z) - z), np.array([0.0, 1.0]), lambda x: np.sum(np.exp(x))
    ... )
    >>> H_inv @ np.array([1.0, np.e])
    array([1., 1.])
    """
    args = as_args(args)
    H = hessian_operator(fun, x, args=args)
    z, name = H.gradient, name_of(conjugate)

    def remark() -> str:
        left, right = H.value + point.value, float(H.x @ z)
        close = np.isclose(left, right, rtol=np.finfo(H.dtype).eps ** 0.5)
        verdict = "so it is a conjugate by its value" if close else "so it is not the conjugate"
        return f"f(x) + f*(∇f(x)) is {left:.6g} and xᵀ∇f(x) is {right:.6g}, {verdict}."

    with np.errstate(all="ignore"):  # what is not finite is named by the checks
        point = compiling_point(differentiate_at(conjugate, H.layout, z), name)
        check_point(H.layout, H.x, point.gradient, f"∇{name}(∇f(x))", remark)
        check_product(H, point, f"∇{name}")
    remake = partial(conjugate_inverse_operator, conjugate, H.unflatten(H.x), fun, args=args)
    return InverseGradientOperator(H, point, name_of(fun), "conjugate", remake)
