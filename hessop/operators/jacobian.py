"""The Jacobian of a function at a point, as an operator with its adjoint."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from hessop._errors import name_of
from hessop.differentiate.autograd import jacobian_adjoint_product, jacobian_product
from hessop.differentiate.models import Model, record_model
from hessop.operators.compiling import Products
from hessop.operators.recorded import RecordedOperator
from hessop.params import Layout, as_args, read_tree

__all__ = ["JacobianOperator", "jacobian_operator"]


class JacobianOperator(RecordedOperator):
    """The Jacobian of a function at a point. Made by `jacobian_operator`.

    Attributes
    ----------
    value : ndarray or tree
        What the model returned at x, nested and shaped as it was; a fresh copy each time.
    outputs : ndarray, shape (m,)
        The same as a flat vector.
    layout : Layout
        How the parameters lie in the flat vector.
    n_matvec : int
        Columns multiplied so far, by J and by its transpose.
    """

    symbol = "J"

    def __init__(self, model: Model, name: str, remake: partial[Any] | None = None) -> None:
        recording = model.recording
        layout = recording.layout
        products = Products(
            partial(jacobian_product, recording),
            partial(jacobian_adjoint_product, recording),
            name=f"the Jacobian of {name}",
        )
        shape = (model.outputs.size, layout.size)
        super().__init__(layout.dtype, shape, products, name, remake, symmetric=False)
        self.layout: Layout = layout
        self._adjoint_products = products
        self._model = model

    def _adjoint_product(self, u: np.ndarray) -> np.ndarray:
        return self._adjoint_products.product(u, of_adjoint=True)

    def _adjoint_block_product(self, U: np.ndarray) -> np.ndarray:
        return self._adjoint_products.block(U, of_adjoint=True)

    @property
    def value(self) -> Any:
        """What the model returned at x, nested and shaped as it was: a fresh copy."""
        return self._model.value

    @property
    def outputs(self) -> np.ndarray:
        """The same as a flat vector, shape (m,): the leaves raveled, one after the other."""
        return self._model.outputs.copy()

    def unflatten(self, v: Any) -> Any:
        """The parameter tree of a flat vector of n entries, nested like x."""
        return self.layout.unflatten(v)

    def flatten(self, tree: Any) -> np.ndarray:
        """The flat vector of n entries of a tree nested like x."""
        return self.layout.flatten(tree)

    def flatten_outputs(self, tree: Any) -> np.ndarray:
        """The flat vector of m entries of a tree nested like the outputs: of targets, say."""
        return self._model.layout.flatten(tree, "outputs")

    def to_dense(self, *, symmetrize: bool = False, progress: bool = False) -> np.ndarray:
        """The whole matrix, by columns, or by rows where there are fewer of them."""
        if self.shape[0] < self.shape[1] and not symmetrize:
            columns = self._columns(self.shape[0], progress, "to_dense", transposed=True)
            return np.concatenate([block.T for _, _, block in columns])
        return super().to_dense(symmetrize=symmetrize, progress=progress)


def jacobian_operator(
    model: Callable[..., Any], x: Any, *, args: tuple[Any, ...] = ()
) -> JacobianOperator:
    """The Jacobian of ``model(x, *args)`` with respect to x, as a SciPy LinearOperator.

    Parameters
    ----------
    model : callable
        ``model(x, *args)``, written with autograd.numpy, returns an array of any shape, or a nest
        of dicts, lists, tuples and namedtuples of arrays: m entries in all.
    x : parameter tree
        The point, of n entries in all. Copied.
    args : tuple
        Further arguments, not differentiated.

    Returns
    -------
    JacobianOperator
        Shape (m, n), with the outputs raveled. ``J @ v`` and ``J.T @ u`` each cost about as much as
        a gradient; both are there for blocks, too.

    Raises
    ------
    TypeError
        When x has a leaf that is not real, or `model` does not return real numbers that depend on x
        through autograd (`NotTracedError`).
    NonFiniteError
        When x or ``model(x)`` is not finite.

    Notes
    -----
    ``J v`` is the adjoint of the linear map ``u -> Jᵀ u``, differentiated in reverse, so that it
    needs no forward-mode rule (J. Townsend, "A new trick for calculating Jacobian vector products",
    2017).

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import jacobian_operator
    >>> J = jacobian_operator(lambda x: np.array([x[0] * x[1], x[1] ** 2]), np.array([2.0, 3.0]))
    >>> J @ np.array([1.0, 0.0])
    array([3., 0.])
    >>> J.T @ np.array([0.0, 1.0])
    array([0., 6.])
    """
    layout, point = read_tree(x)
    args = as_args(args)
    name = name_of(model)
    at_x = record_model(model, layout, point, args)
    remake = partial(jacobian_operator, model, layout.unflatten(point), args=args)
    return JacobianOperator(at_x, name, remake)
