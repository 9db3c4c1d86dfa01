"""Nonlinear constraints with exact derivatives, for trust-constr and SLSQP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import NonlinearConstraint

from hessop._errors import name_of
from hessop.differentiate.models import Model, record_model
from hessop.differentiate.points import AutogradPoint
from hessop.operators.compiling import compiling_point
from hessop.operators.hessian import HessianOperator
from hessop.operators.jacobian import JacobianOperator
from hessop.optimize.caches import PointCache
from hessop.params import as_args, read_tree

__all__ = ["nonlinear_constraint"]


def nonlinear_constraint(
    fun: Callable[..., Any], lb: Any, ub: Any, x0: Any, args: tuple[Any, ...] = ()
) -> NonlinearConstraint:
    """The constraint ``lb <= fun(x, *args) <= ub`` with its derivatives, for `minimize`.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)``, written with autograd.numpy, of a tree nested like x0: a number, or an
        array of m of them.
    lb, ub : float or array_like, shape (m,)
        Equal where the constraint is an equality; infinite where there is none.
    x0 : parameter tree
        Gives the nest and the shapes.
    args : tuple
        Further arguments, not differentiated.

    Returns
    -------
    scipy.optimize.NonlinearConstraint
        On the flat vector; its Jacobian is an array (m, n), as SciPy needs it, and its Hessian, of
        ``vᵀ fun(x)``, a `HessianOperator`.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import minimize, nonlinear_constraint
    >>> x0 = np.array([1.0, 0.5])
    >>> disk = nonlinear_constraint(lambda x: np.sum(x**2), -np.inf, 2.0, x0)
    >>> result = minimize(lambda x: -np.sum(x), x0, method="trust-constr", constraints=disk)
    >>> np.round(result.params, 3)
    array([1., 1.])
    """
    layout, _ = read_tree(x0, "x0")
    args = as_args(args)
    name = name_of(fun)
    cache = PointCache(lambda x: record_model(fun, layout, x, args, finite=False))

    def at(x: Any) -> Model:
        return cache.at(np.asarray(x, dtype=layout.dtype))

    def values(x: np.ndarray) -> np.ndarray:
        return at(x).outputs.astype(np.float64)

    def jacobian(x: np.ndarray) -> np.ndarray:
        return JacobianOperator(at(x), name).to_dense().astype(np.float64, copy=False)

    def hessian(x: np.ndarray, v: np.ndarray) -> HessianOperator:
        recording = at(x).recording
        weights = np.reshape(np.asarray(v, dtype=layout.dtype), np.shape(recording.value))
        value = float(np.vdot(weights, recording.value))
        point = compiling_point(AutogradPoint(recording, weights, value, "auto"), f"vᵀ{name}")
        return HessianOperator(point, np.array(x, dtype=layout.dtype), f"vᵀ{name}")

    return NonlinearConstraint(values, lb, ub, jac=jacobian, hess=hessian)
