"""Parameter trees and the flat vectors that SciPy sees.

A parameter tree is an array, a scalar, or any nest of dicts, lists, tuples and namedtuples of them.
A `Layout` says how the leaves of such a tree lie in one flat float vector: raveled in C order, one
after the other, dictionary keys sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
import optree

from hessop._errors import NonFiniteError

__all__ = ["Layout", "Leaves", "as_args", "read_tree"]

_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


@dataclass(frozen=True)
class Leaves:
    """Arrays that lie one after the other in a flat vector.

    Attributes
    ----------
    shapes : tuple of tuple of int
        The shape of each array; ``()`` for a scalar.
    dtype : numpy.dtype
        float64, or float32 when every array is float32.
    """

    shapes: tuple[tuple[int, ...], ...]
    dtype: np.dtype[Any]

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each leaf begins, and the end of the last: one more than there are leaves."""
        return tuple(accumulate((prod(shape) for shape in self.shapes), initial=0))

    @property
    def size(self) -> int:
        """The length n of the flat vector."""
        return self.offsets[-1]

    def split(self, x: Any) -> list[Any]:
        """Cut a flat vector into the leaves: views of `x`, and NumPy scalars for scalar leaves."""
        if len(self.shapes) == 1 and self.shapes[0] == x.shape:
            return [x]
        return [
            x[start:end].reshape(shape) if shape else x[start]
            for start, end, shape in zip(self.offsets, self.offsets[1:], self.shapes, strict=False)
        ]

    def join(self, leaves: Sequence[Any]) -> np.ndarray:
        """Write leaves into one fresh flat vector of this layout's dtype; None counts as zeros."""
        if len(leaves) == 1 and leaves[0] is not None:
            return np.array(leaves[0], dtype=self.dtype, order="C").reshape(-1)
        x = np.empty(self.size, dtype=self.dtype)
        for start, end, leaf in zip(self.offsets, self.offsets[1:], leaves, strict=False):
            # order="C" flattens negative strides and broadcast views the same way for all.
            x[start:end] = 0.0 if leaf is None else np.ravel(leaf, order="C")
        return x


@dataclass(frozen=True)
class Layout(Leaves):
    """Where each leaf of a parameter tree lies in the flat vector.

    Attributes
    ----------
    shapes : tuple of tuple of int
        The shape of each leaf; ``()`` for a scalar.
    dtype : numpy.dtype
        float64, or float32 when every leaf of the tree is float32.
    spec : optree.PyTreeSpec
        The nest, without its leaves.

    Examples
    --------
    >>> import numpy as np
    >>> layout, x = read_tree({"w": np.ones((2, 2)), "b": 0.5})
    >>> x
    array([0.5, 1. , 1. , 1. , 1. ])
    >>> layout.size
    5
    >>> layout.flatten({"w": [[1, 2], [3, 4]], "b": 0})
    Traceback (most recent call last):
        ...
    ValueError: tree has the structure {'b': *, 'w': [[*, *], [*, *]]}, expected {'b': *, 'w': *}. \
Give a tree nested like x, with arrays for its leaves.
    >>> layout.flatten({"w": np.array([[1, 2], [3, 4]]), "b": 0})
    array([0., 1., 2., 3., 4.])
    >>> layout.unflatten(np.arange(5.0))["w"]
    array([[1., 2.],
           [3., 4.]])
    """

    spec: optree.PyTreeSpec

    @property
    def is_array(self) -> bool:
        """Whether the tree is a single array or number."""
        return optree.treespec_is_leaf(self.spec)

    def build(self, leaves: Sequence[Any]) -> Any:
        """The tree that has these leaves."""
        return self.spec.unflatten(leaves)

    def unflatten(self, x: Any) -> Any:
        """The tree of a flat vector.

        Parameters
        ----------
        x : array_like, shape (n,)

        Returns
        -------
        tree
            Nested like the tree that the layout was made of; it shares no memory with `x`.

        Raises
        ------
        ValueError
            When `x` does not have n entries in one dimension.
        TypeError
            When `x` is complex.
        """
        if np.iscomplexobj(x):
            raise TypeError(
                "unflatten: x is complex, expected real numbers. Unflatten its real and imaginary "
                "parts one after the other."
            )
        x = np.array(x, dtype=self.dtype)
        if x.shape != (self.size,):
            raise ValueError(
                f"unflatten: x has shape {x.shape}, expected ({self.size},). "
                "Give the flat vector, as flatten returns it."
            )
        return self.build(self.split(x))

    def flatten(self, tree: Any, name: str = "tree") -> np.ndarray:
        """The flat vector of a tree nested like the one that the layout was made of.

        Parameters
        ----------
        tree : parameter tree
            Same nest and same shapes as the original.
        name : str
            What errors call it.

        Returns
        -------
        ndarray, shape (n,)
            A fresh vector.

        Raises
        ------
        ValueError
            When the nest or the shape of a leaf differs.
        TypeError
            When a leaf is not a real number or an array of them.
        """
        leaves, spec = _tree_leaves(tree)
        if spec != self.spec:
            raise ValueError(
                f"{name} has the structure {_nest(spec)}, expected {_nest(self.spec)}. "
                "Give a tree nested like x, with arrays for its leaves."
            )
        arrays = _float_leaves(leaves, spec, name)
        for index, (array, shape) in enumerate(zip(arrays, self.shapes, strict=True)):
            if array.shape != shape:
                raise ValueError(
                    f"{_path(spec, index, name)} has shape {array.shape}, expected {shape}, "
                    "the shape that it has in x."
                )
        return self.join(arrays)

    def names(self, name: str = "x") -> list[str]:
        """How a user would write each leaf: ``x['w']``."""
        return [accessor.codify(name) for accessor in self.spec.accessors()]

    def partition(self) -> list[np.ndarray]:
        """The indices of each leaf in the flat vector."""
        ends = zip(self.offsets, self.offsets[1:], strict=False)
        return [np.arange(start, end) for start, end in ends]

    def where(self, index: int, name: str = "x") -> str:
        """How a user would write the entry `index` of the flat vector: ``x['w'][0, 1]``."""
        leaf = int(np.searchsorted(self.offsets, index, side="right")) - 1
        path = _path(self.spec, leaf, name)
        shape = self.shapes[leaf]
        if not shape:
            return path
        entry = np.unravel_index(index - self.offsets[leaf], shape)
        return f"{path}[{', '.join(str(int(i)) for i in entry)}]"


def read_tree(tree: Any, name: str = "x") -> tuple[Layout, np.ndarray]:
    """Read a parameter tree: its layout, and a fresh flat vector of its values.

    Parameters
    ----------
    tree : parameter tree
        An array, a scalar, or a nest of dicts, lists, tuples and namedtuples of them. Integers are
        cast to float64.
    name : str
        What errors call it.

    Returns
    -------
    layout : Layout
    x : ndarray, shape (n,)
        float64, or float32 when every leaf is float32.

    Raises
    ------
    TypeError
        When a leaf is complex, a string, None, bool or an object, with the path of that leaf.
    ValueError
        When there is no entry at all.
    NonFiniteError
        When an entry is NaN or infinite.
    """
    leaves, spec = _tree_leaves(tree)
    arrays = _float_leaves(leaves, spec, name)
    single = bool(arrays) and all(array.dtype == _SINGLE for array in arrays)
    shapes = tuple(array.shape for array in arrays)
    layout = Layout(shapes, _SINGLE if single else _DOUBLE, spec)
    if layout.size == 0:
        raise ValueError(f"{name} is empty, expected at least one entry to differentiate by.")
    x = layout.join(arrays)
    if not np.isfinite(x).all():
        first = int(np.flatnonzero(~np.isfinite(x))[0])
        raise NonFiniteError(
            f"{layout.where(first, name)} is {x[first]}, expected a finite number. "
            "Start from a point where every parameter is finite."
        )
    return layout, x


def as_args(args: Any) -> tuple[Any, ...]:
    """SciPy's rule for ``args``: what is not a tuple is one argument."""
    return args if isinstance(args, tuple) else (args,)


def _tree_leaves(tree: Any) -> tuple[list[Any], optree.PyTreeSpec]:
    # None is a leaf here, so that it can be refused by its path instead of vanishing.
    return optree.tree_flatten(tree, none_is_leaf=True)


def _float_leaves(leaves: Sequence[Any], spec: optree.PyTreeSpec, name: str) -> list[np.ndarray]:
    return [_float_leaf(leaf, spec, index, name) for index, leaf in enumerate(leaves)]


def _float_leaf(leaf: Any, spec: optree.PyTreeSpec, index: int, name: str) -> np.ndarray:
    if type(leaf) is np.ndarray and leaf.dtype == _DOUBLE:
        return leaf
    array: np.ndarray = np.asarray(leaf)
    if array.dtype.kind not in "iuf" or isinstance(leaf, np.ma.MaskedArray):
        kind = f"array of dtype {array.dtype}" if array.ndim else type(leaf).__name__
        raise TypeError(
            f"{_path(spec, index, name)} is {_article(kind)}, expected a real number or an array "
            f"of real numbers. {_way_out(array, leaf)}"
        )
    # By its size, because a float of the other byte order has another dtype.
    single = array.dtype.kind == "f" and array.dtype.itemsize == 4
    return array.astype(_SINGLE if single else _DOUBLE, copy=False)


def _way_out(array: np.ndarray, leaf: Any) -> str:
    if isinstance(leaf, np.ma.MaskedArray):
        return "Fill the masked entries first."
    if array.dtype.kind == "c":
        return "Give its real and imaginary parts as two leaves."
    if type(leaf).__name__ == "ArrayBox":
        return "autograd is differentiating by it: make the operator outside of that."
    if array.dtype.kind == "b":
        return "Cast it to float if it is meant as a parameter."
    return "Pass what is not a parameter through args."


def _article(kind: str) -> str:
    return kind if kind == "NoneType" else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _path(spec: optree.PyTreeSpec, index: int, name: str) -> str:
    return spec.accessors()[index].codify(name)


def _nest(spec: optree.PyTreeSpec) -> str:
    return str(spec).removeprefix("PyTreeSpec(").removesuffix(", NoneIsLeaf)")
