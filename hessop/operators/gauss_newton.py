"""The Gauss-Newton matrix of a loss of a model: the Hessian without the model's own curvature."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np

from hessop._errors import NonFiniteError, NotConvexWarning, name_of, warn_user
from hessop.differentiate.autograd import (
    gradient,
    jacobian_adjoint_product,
    jacobian_product,
)
from hessop.differentiate.linear_map import LinearMap, compose
from hessop.differentiate.models import Model, record_model
from hessop.differentiate.points import AutogradPoint, differentiate_at, plain_value
from hessop.operators.compiling import Products
from hessop.operators.curvature import CurvatureOperator
from hessop.params import Layout, as_args, read_tree

__all__ = ["GaussNewtonOperator", "gauss_newton_operator", "sandwiched"]

# Of the direction along which a loss is probed; not one that data are often made with.
_SEED = 1_903_551


class GaussNewtonOperator(CurvatureOperator):
    """The Gauss-Newton matrix of a loss at a point. Made by `gauss_newton_operator`.

    It is symmetric, and its own transpose.

    Attributes
    ----------
    value : float
        The loss at x.
    gradient : ndarray, shape (n,)
        The gradient of the loss in the parameters at x; a fresh copy each time.
    x : ndarray, shape (n,)
        The flat point; a fresh copy each time.
    layout : Layout
        How the parameters lie in the flat vector.
    n_matvec : int
        Columns multiplied so far.
    """

    symbol = "G"

    def __init__(
        self, model: Model, loss: AutogradPoint, x: np.ndarray, name: str, remake: partial[Any]
    ) -> None:
        products = Products(
            lambda: sandwiched(model, loss.linear_map()),
            name=f"the Gauss-Newton matrix of {name}",
            release=self._release,
        )
        super().__init__(model.recording.layout, x, products, name, remake)
        self.value = loss.value
        self._find_gradient: Callable[[], np.ndarray] | None = lambda: gradient(
            model.recording, np.reshape(loss.gradient, np.shape(model.recording.value))
        )

    def _release(self) -> None:
        # A program needs neither the model's values nor its graph any more.
        _ = self._gradient
        self._find_gradient = None

    @property
    def gradient(self) -> np.ndarray:
        """The gradient of the loss in the parameters, shape (n,): a fresh copy.

        Raises
        ------
        NonFiniteError
            When an entry is NaN or infinite, though the value is finite.
        """
        if not np.isfinite(self._gradient).all():
            raise NonFiniteError(f"the gradient of {self._name} is not finite. {self._suspect()}")
        return self._gradient.copy()

    @cached_property
    def _gradient(self) -> np.ndarray:
        assert self._find_gradient is not None
        return self._find_gradient()


def sandwiched(model: Model, of_outputs: LinearMap) -> LinearMap:
    """``Jᵀ A J`` for a matrix A in the outputs of a model."""
    recording = model.recording
    return compose(jacobian_adjoint_product(recording), of_outputs, jacobian_product(recording))


def gauss_newton_operator(
    model: Callable[..., Any],
    loss: Callable[[Any], Any],
    x: Any,
    *,
    args: tuple[Any, ...] = (),
) -> GaussNewtonOperator:
    """The (generalized) Gauss-Newton matrix of ``loss(model(x, *args))``, ``Jᵀ H J``.

    J is the Jacobian of the model and H the Hessian of the loss in the model's outputs. What is
    left out of the Hessian is the curvature of the model itself, which vanishes where the model is
    linear or the loss flat. The result is positive semidefinite whenever the loss is convex in the
    outputs, whatever the model. For half a sum of squares it is JᵀJ, the matrix of Levenberg and
    Marquardt.

    Parameters
    ----------
    model : callable
        ``model(x, *args)``, written with autograd.numpy, returns outputs: an array of any shape or
        a nest of them.
    loss : callable
        ``loss(outputs) -> scalar``, written with autograd.numpy. What it sums or averages over is
        yours to say: the matrix is scaled as the loss is.
    x : parameter tree
        The point. Copied.
    args : tuple
        Further arguments of the model, not differentiated.

    Returns
    -------
    GaussNewtonOperator
        Shape (n, n), where n is the number of entries of x.

    Raises
    ------
    TypeError
        When x has a leaf that is not real, or the model or the loss does not return real numbers
        that depend on their argument through autograd (`NotTracedError`).
    NonFiniteError
        When x, an output or the loss is not finite.

    Warns
    -----
    NotConvexWarning
        When a direction in the outputs was found along which the loss is concave, by its Hessian
        and by its values. A random one is tried, and then its part in that example, that place of
        the last axis, or that leaf of a tree, for which it looks worst.

    Notes
    -----
    N. N. Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent",
    Neural Computation 14, 2002; J. Martens, "New insights and perspectives on the natural gradient
    method", JMLR 21, 2020.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import gauss_newton_operator
    >>> t, y = np.array([0.0, 1.0, 2.0]), np.array([1.0, 0.5, 0.1])
    >>> def decay(rate):
    ...     return np.exp(-rate * t)
    >>> G = gauss_newton_operator(decay, lambda z: 0.5 * np.sum((z - y) ** 2), np.array([0.0]))
    >>> G.to_dense()
    array([[5.]])
    >>> G
    <1x1 GaussNewtonOperator of decay, float64, 1 products>
    """
    layout, point = read_tree(x)
    args = as_args(args)
    name, name_of_loss = name_of(model), name_of(loss)
    at_x = record_model(model, layout, point, args)
    try:
        at_outputs = differentiate_at(loss, at_x.layout, at_x.outputs)
    except Exception as error:
        error.add_note(f"hessop ran {name_of_loss} as the loss, fun, on the outputs of {name}.")
        raise
    assert isinstance(at_outputs, AutogradPoint)
    if not np.isfinite(at_outputs.value):
        raise NonFiniteError(
            f"{name_of_loss} of the outputs of {name} is {at_outputs.value}, expected a finite "
            "number. Choose a point inside the domain."
        )
    _warn_of_concavity(loss, at_outputs.linear_map(), at_x.layout, at_x.outputs, name_of_loss)
    remake = partial(gauss_newton_operator, model, loss, layout.unflatten(point), args=args)
    return GaussNewtonOperator(at_x, at_outputs, point, name, remake)


def _warn_of_concavity(
    loss: Callable[[Any], Any], hessian: LinearMap, outputs: Layout, z: np.ndarray, name: str
) -> None:
    u = np.random.default_rng(_SEED).standard_normal(z.size).astype(z.dtype)
    product = hessian(u)
    curvature = float(u @ product)
    whole = u
    for groups in _groups(outputs):
        if curvature >= 0.0:
            of_groups = np.bincount(groups, whole * product)
            u = np.where(groups == np.argmin(of_groups), whole, 0.0).astype(z.dtype)
            curvature = float(u @ hessian(u))
    if curvature < 0.0 and _bends_down(lambda z: loss(outputs.unflatten(z)), z, u):
        warn_user(
            f"{name} is not convex: its curvature along a direction in the outputs is "
            f"{curvature / float(u @ u):.3g}, so the Gauss-Newton matrix may be indefinite. Use a "
            "convex loss for a matrix that is positive semidefinite, or minres in place of cg.",
            NotConvexWarning,
        )


def _groups(outputs: Layout) -> list[np.ndarray]:
    """Numbers of groups of outputs in which a loss is most often a sum.

    They are examples, and what lies at one place of the last axis; or leaves. The Hessian is then
    made of blocks, and each has a curvature along its own part of a vector.
    """
    shape = outputs.shapes[0]
    if outputs.is_array and shape:
        places = np.arange(outputs.size)
        return [places // (outputs.size // shape[0]), places % shape[-1]]
    sizes = np.diff(outputs.offsets)
    return [np.repeat(np.arange(len(sizes)), sizes)]


def _bends_down(loss: Callable[[np.ndarray], Any], z: np.ndarray, u: np.ndarray) -> bool:
    """Whether the values of a function themselves show that it is not convex along u.

    A curvature of a few ulps below zero is rounding: no value is changed by it.
    """
    scale = (1.0 + float(np.abs(z).max())) / float(np.abs(u).max())
    at_z = plain_value(loss(z))
    for size in (1e-1, 1e-2, 1e-3):
        step = (size * scale * u).astype(z.dtype)
        try:
            with np.errstate(all="ignore"):
                ahead, behind = plain_value(loss(z + step)), plain_value(loss(z - step))
        except (ValueError, ArithmeticError):  # outside of the loss's domain
            continue
        rounding = 100 * float(np.finfo(z.dtype).eps) * (abs(ahead) + abs(behind) + 2 * abs(at_z))
        if ahead + behind - 2.0 * at_z < -rounding:  # never where one is NaN
            return True
    return False
