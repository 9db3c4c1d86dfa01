"""The Jacobian of a function at a point, as an operator with its adjoint."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from hessop._errors import NonFiniteError, name_of
from hessop.differentiate.autograd import jacobian_adjoint_product, jacobian_product
from hessop.differentiate.recording import Recording, record
from hessop.operators.compiling import Products
from hessop.operators.recorded import RecordedOperator
from hessop.params import as_args, read_tree
from hessop.tape.player import Player

__all__ = ["JacobianOperator", "jacobian_operator"]


class JacobianOperator(RecordedOperator):
    """The Jacobian of a function at a point. Made by `jacobian_operator`.

    Attributes
    ----------
    value : ndarray
        What the function returned at x, in its own shape; a fresh copy each time.
    n_matvec : int
        Columns multiplied so far, by J and by its transpose.
    """

    symbol = "J"

    def __init__(
        self, recording: Recording, name: str, remake: tuple[Any, ...] | None = None
    ) -> None:
        layout = recording.layout
        shape = (int(np.size(recording.value)), layout.size)
        super().__init__(layout.dtype, shape, symmetric=False)
        self._value = recording.value
        self._layout = layout
        self._name = name
        self._remake = remake
        self._products = Products(
            partial(jacobian_product, recording),
            partial(jacobian_adjoint_product, recording),
            name=f"the Jacobian of {name}",
        )

    def _product(self, v: np.ndarray) -> np.ndarray:
        return self._products.product(v)

    def _adjoint_product(self, u: np.ndarray) -> np.ndarray:
        return self._products.product(u, of_adjoint=True)

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        return self._products.block(V)

    def _adjoint_block_product(self, U: np.ndarray) -> np.ndarray:
        return self._products.block(U, of_adjoint=True)

    def _player(self) -> Player:
        return self._products.compile()

    @property
    def is_compiled(self) -> bool:
        """Whether products are computed with a linear program by now."""
        return self._products.is_compiled

    @property
    def value(self) -> np.ndarray:
        """The function at x, in its own shape: a fresh copy."""
        return np.array(self._value)

    def unflatten(self, v: Any) -> Any:
        """The parameter tree of a flat vector of n entries, nested like x."""
        return self._layout.unflatten(v)

    def to_dense(self, *, symmetrize: bool = False, progress: bool = False) -> np.ndarray:
        """The whole matrix, by columns, or by rows where there are fewer of them."""
        if self.shape[0] < self.shape[1] and not symmetrize:
            columns = self._columns(self.shape[0], progress, "to_dense", transposed=True)
            return np.concatenate([block.T for _, _, block in columns])
        return super().to_dense(symmetrize=symmetrize, progress=progress)

    def _suspect(self) -> str:
        return f"A derivative of {self._name} does not exist at x, or overflows."

    def _facts(self) -> tuple[str, ...]:
        return (f"of {self._name}", *(["compiled"] if self.is_compiled else []))

    def __reduce__(self) -> Any:
        if self._remake is None:
            raise TypeError(
                f"this Jacobian of {self._name} cannot be pickled: it belongs to an optimizer's "
                "run. Make it again with jacobian_operator."
            )
        return _jacobian_operator, self._remake


def jacobian_operator(
    model: Callable[..., Any], x: Any, *, args: tuple[Any, ...] = ()
) -> JacobianOperator:
    """The Jacobian of ``model(x, *args)`` with respect to x, as a SciPy LinearOperator.

    Parameters
    ----------
    model : callable
        ``model(x, *args)``, written with autograd.numpy, returns an array of any shape: m entries.
    x : parameter tree
        The point, of n entries in all. Copied.
    args : tuple
        Further arguments, not differentiated.

    Returns
    -------
    JacobianOperator
        Shape (m, n). ``J @ v`` and ``J.T @ u`` each cost about as much as a gradient.

    Raises
    ------
    TypeError
        When x has a leaf that is not real, or `model` does not return a real array that depends on
        x through autograd (`NotTracedError`).
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
    recording = record(model, layout, point, args)
    if np.size(recording.value) == 0:
        raise ValueError(f"{name}(x) is empty, expected at least one entry to differentiate.")
    if not np.isfinite(recording.value).all():
        raise NonFiniteError(
            f"{name}(x) is not finite, expected finite numbers. Choose a point inside the domain."
        )
    return JacobianOperator(recording, name, (model, layout.unflatten(point), args))


def _jacobian_operator(model: Any, x: Any, args: tuple[Any, ...]) -> JacobianOperator:
    # Unpickling calls with positions only.
    return jacobian_operator(model, x, args=args)
