"""Nonlinear least squares with the exact Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize
from scipy.optimize import OptimizeResult

from hessop._errors import NonFiniteError, name_of
from hessop.differentiate.models import record_model
from hessop.operators.jacobian import JacobianOperator
from hessop.optimize.bounds import flat_side
from hessop.optimize.caches import PointCache
from hessop.params import as_args, read_tree

__all__ = ["DENSE_JACOBIAN", "least_squares"]

#: Up to this many parameters the Jacobian is formed, and the step solved for directly.
DENSE_JACOBIAN = 100


def least_squares(
    residuals: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    *,
    bounds: Any = (-np.inf, np.inf),
    method: str = "trf",
    tr_solver: str | None = None,
    **kwargs: Any,
) -> OptimizeResult:
    """Minimize half the sum of squares of ``residuals(x, *args)``, as SciPy's function does.

    The Jacobian is exact. Up to 100 parameters it is an array; above, an operator that is never
    formed, with ``tr_solver="lsmr"``.

    Parameters
    ----------
    residuals : callable
        ``residuals(x, *args)``, written with autograd.numpy, returns an array of any shape.
    x0 : parameter tree
        The starting point.
    args : tuple
        Further arguments, not differentiated.
    bounds : (lb, ub)
        Numbers, flat vectors, or trees nested like x0.
    method : {"trf", "dogbox", "lm"}
        ``"lm"`` always forms the Jacobian.
    tr_solver : {None, "exact", "lsmr"}
        ``"exact"`` forms the Jacobian, ``"lsmr"`` does not; None decides by the size.
    **kwargs
        Whatever else SciPy's function takes: ``ftol``, ``xtol``, ``gtol``, ``x_scale``, ``loss``,
        ``f_scale``, ``max_nfev``, ``tr_options``, ``verbose``, ...

    Returns
    -------
    scipy.optimize.OptimizeResult
        SciPy's, with ``params``, the solution nested like x0. ``jac`` is an array or a
        `JacobianOperator`, whose ``to_dense()`` forms it.

    Raises
    ------
    NonFiniteError
        When a residual is not finite at x0, or a Jacobian product where the residuals are.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import least_squares
    >>> t = np.linspace(0.0, 1.0, 20)
    >>> y = 2.0 * np.exp(-3.0 * t)
    >>> def misfit(p):
    ...     return p["scale"] * np.exp(-p["rate"] * t) - y
    >>> result = least_squares(misfit, {"scale": 1.0, "rate": 1.0})
    >>> round(float(result.params["rate"]), 6)
    3.0
    """
    layout, x = read_tree(x0, "x0")
    args = as_args(args)
    name = name_of(residuals)

    def jacobian_at(z: np.ndarray) -> JacobianOperator:
        return JacobianOperator(record_model(residuals, layout, z, args, finite=False), name)

    cache = PointCache(jacobian_at)

    def values(z: np.ndarray) -> np.ndarray:
        try:
            return cache.at(np.asarray(z, dtype=layout.dtype)).outputs
        except NonFiniteError:  # a plain infinity from a branch of the function
            return np.full(first.size, np.inf)

    def jacobian(z: np.ndarray) -> Any:
        J = cache.at(np.asarray(z, dtype=layout.dtype))
        return J.to_dense() if dense else J

    first = cache.at(x).outputs
    if not np.isfinite(first).all():
        raise NonFiniteError(
            f"{name}(x0) is not finite, expected finite residuals. Start inside the domain."
        )
    if layout.size == 1:
        tr_solver = None  # SciPy's lsmr steps fail with a single parameter
    dense = method == "lm" or tr_solver == "exact" or isinstance(kwargs.get("x_scale"), str)
    if not dense and tr_solver is None:
        dense = layout.size <= DENSE_JACOBIAN
        tr_solver = None if dense else "lsmr"
    low, high = (flat_side(side, layout) for side in _two(bounds))
    result = scipy.optimize.least_squares(
        values, x, jac=jacobian, bounds=(low, high), method=method, tr_solver=tr_solver, **kwargs
    )
    result.params = layout.unflatten(result.x)
    return result


def _two(bounds: Any) -> tuple[Any, Any]:
    if isinstance(bounds, scipy.optimize.Bounds):
        return bounds.lb, bounds.ub
    low, high = bounds
    return low, high
