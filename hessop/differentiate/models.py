"""A model at a point: a function with many outputs, in one array or in a tree of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np
import optree
from autograd.tracer import getval

from hessop._errors import NonFiniteError, NotTracedError, name_of
from hessop.differentiate.recording import Recording, record
from hessop.params import Layout

__all__ = ["Model", "record_model"]

_ONE_ARRAY = optree.treespec_leaf(none_is_leaf=True)


@dataclass(frozen=True, eq=False, slots=True)
class Model:
    """One run of a model.

    Attributes
    ----------
    recording : Recording
        Of its outputs; where they are a tree, of the flat vector that they were joined to.
    layout : Layout
        How the outputs lie in a flat vector of m entries.
    outputs : ndarray, shape (m,)
    """

    recording: Recording
    layout: Layout
    outputs: np.ndarray

    @property
    def value(self) -> Any:
        """The outputs as the model returned them, a fresh copy."""
        return self.layout.unflatten(self.outputs)


def record_model(
    model: Callable[..., Any],
    layout: Layout,
    x: np.ndarray,
    args: tuple[Any, ...] = (),
    *,
    finite: bool = True,
) -> Model:
    """Run ``model(tree of x, *args)`` once and write down its primitives.

    Parameters
    ----------
    model : callable
        Written with autograd.numpy; returns an array, or a tree of arrays and numbers.
    layout : Layout
    x : ndarray, shape (n,)
        Not copied: the caller must not change it afterwards.
    args : tuple
    finite : bool
        Refuse outputs that are not finite.

    Returns
    -------
    Model

    Raises
    ------
    NotTracedError
        When the outputs are not real numbers, or none depends on x through autograd.
    NonFiniteError
        When an output is not finite.
    ValueError
        When there is no output.
    """
    if not callable(model):
        raise TypeError(f"model is {model!r}, expected a function written with autograd.numpy.")
    name, found = name_of(model), []

    def joined(tree: Any, *args: Any) -> Any:
        outputs = model(tree, *args)
        leaves, spec = optree.tree_flatten(outputs, none_is_leaf=True)
        if optree.treespec_is_leaf(spec):
            return outputs
        if not leaves:
            raise ValueError(f"{name}(x) is empty, expected at least one output.")
        for i, leaf in enumerate(leaves):
            _check_output(leaf, spec.accessors()[i].codify(f"{name}(x)"))
        found.append((tuple(np.shape(getval(leaf)) for leaf in leaves), spec))
        return anp.concatenate([anp.reshape(leaf, (-1,)) for leaf in leaves])

    recording = record(joined, layout, x, args)
    value = recording.value
    if np.size(value) == 0:
        raise ValueError(f"{name}(x) is empty, expected at least one entry to differentiate.")
    if finite and not np.isfinite(value).all():
        raise NonFiniteError(
            f"{name}(x) is not finite, expected finite numbers. Choose a point inside the domain."
        )
    shapes, spec = found[0] if found else ((np.shape(value),), _ONE_ARRAY)
    dtype = np.dtype(np.float32 if value.dtype == np.float32 else np.float64)
    return Model(recording, Layout(shapes, dtype, spec), np.ravel(value).astype(dtype))


def _check_output(leaf: Any, path: str) -> None:
    value = getval(leaf)
    kind = "O" if isinstance(value, tuple | list | dict) else np.asarray(value).dtype.kind
    if kind not in "biuf":
        came = "complex number" if kind == "c" else type(value).__name__
        raise NotTracedError(
            f"{path} is a {came}, expected a real number or an array of them. Return real outputs "
            "alone, nested in plain dicts, lists and tuples."
        )
