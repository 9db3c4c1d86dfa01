"""The neural tangent kernel of a model at a point."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from hessop._errors import name_of
from hessop.differentiate.autograd import jacobian_adjoint_product, jacobian_product
from hessop.differentiate.linear_map import compose
from hessop.differentiate.models import Model, record_model
from hessop.operators.compiling import Products
from hessop.operators.recorded import RecordedOperator
from hessop.params import as_args, read_tree

__all__ = ["NTKOperator", "ntk_operator"]


class NTKOperator(RecordedOperator):
    """``J Jᵀ`` for the Jacobian of a model. Made by `ntk_operator`; symmetric.

    Attributes
    ----------
    value : ndarray or tree
        What the model returned at x, nested and shaped as it was; a fresh copy each time.
    n_matvec : int
        Columns multiplied so far.
    """

    symbol = "K"

    def __init__(self, model: Model, name: str, remake: partial[Any]) -> None:
        recording = model.recording
        products = Products(
            lambda: compose(jacobian_product(recording), jacobian_adjoint_product(recording)),
            name=f"the tangent kernel of {name}",
        )
        m = model.outputs.size
        super().__init__(recording.layout.dtype, (m, m), products, name, remake, symmetric=True)
        self._model = model

    @property
    def value(self) -> Any:
        """What the model returned at x, nested and shaped as it was: a fresh copy."""
        return self._model.value

    def _meaning_of(self, n: int) -> str:
        return " (the number of outputs)"


def ntk_operator(model: Callable[..., Any], x: Any, *, args: tuple[Any, ...] = ()) -> NTKOperator:
    """The (empirical) neural tangent kernel ``J Jᵀ`` of ``model(x, *args)``.

    Its eigenvalues that are not zero are those of JᵀJ; it is the smaller matrix where there are
    fewer outputs than parameters.

    Parameters
    ----------
    model : callable
        ``model(x, *args)``, written with autograd.numpy, returns an array of any shape or a nest of
        them: m entries in all.
    x : parameter tree
        The point. Copied.
    args : tuple
        Further arguments, not differentiated.

    Returns
    -------
    NTKOperator
        Shape (m, m), with the outputs raveled.

    Raises
    ------
    TypeError, NonFiniteError
        As `jacobian_operator`.

    Notes
    -----
    A. Jacot, F. Gabriel and C. Hongler, "Neural tangent kernel", NeurIPS 31, 2018.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import ntk_operator
    >>> K = ntk_operator(lambda w: np.array([w[0] + w[1], w[0] * w[1]]), np.array([2.0, 3.0]))
    >>> K.to_dense()
    array([[ 2.,  5.],
           [ 5., 13.]])
    """
    layout, point = read_tree(x)
    args = as_args(args)
    at_x = record_model(model, layout, point, args)
    remake = partial(ntk_operator, model, layout.unflatten(point), args=args)
    return NTKOperator(at_x, name_of(model), remake)
