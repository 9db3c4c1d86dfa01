"""The quadratic model of a function at a point: what a Newton step minimizes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse.linalg import aslinearoperator

from hessop._errors import NonFiniteError, name_of
from hessop._lengths import length
from hessop.operators.base import BaseOperator
from hessop.operators.checks import all_finite, first_bad
from hessop.operators.foreign import as_symmetric
from hessop.operators.gauss_newton import gauss_newton_operator
from hessop.optimize.objectives import Objective
from hessop.params import Layout, as_args

__all__ = ["Form", "QuadraticModel", "quadratic_model"]


@dataclass(frozen=True)
class Form:
    """The form in which a point was given: a tree of a layout, or its flat vector.

    Attributes
    ----------
    layout : Layout
    is_flat : bool
    """

    layout: Layout
    is_flat: bool

    def __call__(self, v: np.ndarray) -> Any:
        """A flat vector in this form; it shares no memory."""
        if self.is_flat:
            return np.array(v, dtype=self.layout.dtype)
        return self.layout.unflatten(v)


@dataclass(frozen=True)
class QuadraticModel:
    """``value + gradientᵀ s + sᵀ A s / 2``.

    Attributes
    ----------
    objective : Objective
        The function, for its values and gradients elsewhere.
    x : ndarray, shape (n,)
        The point, flat.
    form : Form
        That in which x was given.
    value : float
    gradient : ndarray, shape (n,)
        float64.
    curvature : BaseOperator, shape (n, n)
        A, symmetric.
    spent : int
        Products with A so far, to see that it is symmetric.
    """

    objective: Objective
    x: np.ndarray
    form: Form
    value: float
    gradient: np.ndarray
    curvature: BaseOperator
    spent: int = 0

    @property
    def gradient_norm(self) -> float:
        """The Euclidean norm of the gradient."""
        return length(self.gradient)

    @property
    def eps(self) -> float:
        """The unit in the last place of what is computed with."""
        single = np.float32 in (self.curvature.dtype, self.x.dtype)
        return float(np.finfo(np.float32 if single else np.float64).eps)

    @property
    def rounding(self) -> float:
        """What a curvature along a direction may be wrong by, in parts of the norm of A."""
        differences = float(getattr(self.curvature, "step_error", 0.0))
        return 10.0 * max(math.sqrt(self.x.size) * self.eps, differences)


def quadratic_model(fun: Any, x: Any, args: tuple[Any, ...], curvature: Any) -> QuadraticModel:
    """Read a function, a point and what is to be taken for the curvature.

    Parameters
    ----------
    fun : callable, Objective, or (model, loss)
    x : parameter tree
        For an Objective also a flat vector.
    args : tuple
        Further arguments of a function or a model; none of an Objective.
    curvature : {"hessian", "gauss-newton"}, LinearOperator or matrix

    Raises
    ------
    TypeError, ValueError
        When one of them is of another kind or shape than is expected.
    NonFiniteError
        When x, the value or the gradient is not finite.
    """
    objective, flat, form = _objective(fun, x, as_args(args))
    spent = 0
    if not isinstance(curvature, str):
        operator = _given(curvature, objective.layout.size)
        spent = 0 if operator is curvature else operator.n_matvec
        hessian = objective.hess(flat)
        value, gradient = hessian.value, hessian.gradient
    elif curvature == "hessian":
        operator = hessian = objective.hess(flat)
        value, gradient = hessian.value, hessian.gradient
    elif curvature == "gauss-newton":
        if not _is_pair(fun):
            raise ValueError(
                "curvature='gauss-newton' needs to know what is the model and what the loss: give "
                "fun as a pair (model, loss), for loss(model(x, *args))."
            )
        (model, loss), tree = fun, objective.layout.unflatten(flat)
        operator = matrix = gauss_newton_operator(model, loss, tree, args=objective.args)
        value, gradient = matrix.value, matrix.gradient
    else:
        raise ValueError(
            f"curvature is {curvature!r}, expected 'hessian', 'gauss-newton', or a symmetric "
            "operator of shape (n, n)."
        )
    gradient = gradient.astype(np.float64)
    return QuadraticModel(objective, flat, form, value, gradient, operator, spent)


def _objective(fun: Any, x: Any, args: tuple[Any, ...]) -> tuple[Objective, np.ndarray, Form]:
    if not isinstance(fun, Objective):
        objective = Objective(_composed(*fun) if _is_pair(fun) else fun, x, args)
        return objective, objective.x0, Form(objective.layout, is_flat=False)
    if args:
        raise ValueError("args is given, but an Objective has its own. Make another Objective.")
    layout = fun.layout
    is_flat = isinstance(x, np.ndarray) and x.shape == (layout.size,)
    flat = np.array(x, dtype=layout.dtype) if is_flat else layout.flatten(x, "x")
    if not all_finite(flat):
        raise NonFiniteError(f"x has {first_bad(flat)}, expected finite numbers.")
    return fun, flat, Form(layout, is_flat)


def _is_pair(fun: Any) -> bool:
    return isinstance(fun, tuple) and len(fun) == 2 and all(map(callable, fun))


def _composed(model: Callable[..., Any], loss: Callable[[Any], Any]) -> Callable[..., Any]:
    def composed(x: Any, *args: Any) -> Any:
        return loss(model(x, *args))

    composed.__name__ = f"{name_of(loss)} of {name_of(model)}"
    return composed


def _given(curvature: Any, n: int) -> BaseOperator:
    try:
        shape = aslinearoperator(curvature).shape
    except TypeError:
        raise TypeError(
            f"curvature is a {type(curvature).__name__}, expected 'hessian', 'gauss-newton', or a "
            "symmetric operator or matrix."
        ) from None
    if shape != (n, n):
        raise ValueError(
            f"curvature has shape {shape}, expected ({n}, {n}), the flat size of x twice."
        )
    return as_symmetric(curvature)
