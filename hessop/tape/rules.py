"""How every primitive of autograd is lowered: one rule each, and the table that says which.

To add a primitive is to add a row at the end. What is not in the table stays opaque.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from autograd import builtins
from autograd.builtins import SequenceVSpace, container_take, container_untake
from autograd.core import VSpace, primitive_vjps, sparse_add
from autograd.numpy import numpy_vjps as vjps
from autograd.numpy import numpy_wrapper as anp
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_vspaces import ArrayVSpace
from autograd.util import subvals

from hessop._errors import NotLinearError, name_of
from hessop.tape.builder import Builder, Value, broadcast
from hessop.tape.contractions import (
    adjoint_product,
    dims_given,
    dims_of_meta,
    dot_labels,
    einsum,
    inner_labels,
    matmul_labels,
    outer_labels,
    product,
    tensordot_labels,
)
from hessop.tape.recorder import TapeNode
from hessop.tape.views import View, view_of, whole

__all__ = ["FIRST_ADDEND", "OF_PARTS", "RULES", "Parts", "Rule"]

# A rule adds the instructions of a primitive. It may give None: the primitive stays opaque.
Rule = Callable[[Builder, TapeNode, tuple[Any, ...]], Any]


def _plain(node: TapeNode) -> Callable[[Any], Any]:
    """The primitive without autograd, as a function of its one argument that depends on v."""
    (i,) = node.argnums

    def fun(array: Any) -> Any:
        return node.fun.fun(*subvals(node.args, [(i, array)]), **node.kwargs)

    return fun


def rearrange(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value | None:
    """The primitive moves entries, and fills in zeros."""
    if len(xs) != 1:
        return None
    return build.rearrange(xs[0], _plain(node))


def same(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value:
    """The primitive does nothing to real numbers."""
    return xs[0]


def multiply(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value:
    """One factor is a constant."""
    if len(xs) != 1:
        raise NotLinearError(name_of(node.fun))
    (i,) = node.argnums
    other = node.args[i - 1 if i == len(node.args) - 1 else i + 1]
    return build.scale(xs[0], other, node.array_shape)


def divide(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value:
    """The divisor is a constant."""
    if node.argnums != (0,):
        raise NotLinearError(name_of(node.fun))
    reciprocal = 1.0 / np.asarray(node.args[1], dtype=build.dtype)
    return build.scale(xs[0], reciprocal, node.array_shape)


def negative(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value:
    """Times minus one."""
    return build.scale(xs[0], -1.0, node.array_shape)


def add(
    build: Builder,
    node: TapeNode,
    xs: tuple[Any, ...],
    *,
    first: int = 0,
    signs: tuple[float, float] = (1.0, 1.0),
) -> Any:
    """A sum; an addend that does not depend on v is no part of it, but it may broadcast."""
    if any(isinstance(x, Parts) for x in xs):
        return _add_parts(build, xs)
    parts = [(x, signs[i - first]) for x, i in zip(xs, node.argnums, strict=True)]
    return build.add(parts, node.array_shape)


# Where autograd has a tuple or a list: a value for each entry, None for zeros.
class Parts(tuple[Any, ...]):
    """Values that are not one array."""

    __slots__ = ()


def _add_parts(build: Builder, xs: tuple[Parts, ...]) -> Parts:
    def total(entries: Sequence[Value | None]) -> Value | None:
        present = [entry for entry in entries if entry is not None]
        if len(present) < 2:
            return present[0] if present else None
        return build.add([(entry, 1.0) for entry in present], present[0].shape)

    return Parts(total(entries) for entries in zip(*xs, strict=True))


def split(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Parts:
    """A list of views."""
    fun = _plain(node)

    def part(i: int) -> Callable[[Any], Any]:
        return lambda array: fun(array)[i]

    count = len(fun(np.empty(xs[0].shape, dtype=np.int8)))
    return Parts(build.rearrange(xs[0], part(i)) for i in range(count))


def take_part(build: Builder, node: TapeNode, xs: tuple[Any, ...]) -> Value | Parts | None:
    """One of several values."""
    (parts,) = xs
    if not isinstance(parts, Parts) or not isinstance(node.args[1], int):
        return None
    part = parts[node.args[1]]
    return build.place([], node.array_shape) if part is None and node.shape is not None else part


def untake_part(build: Builder, node: TapeNode, xs: tuple[Any, ...]) -> Parts | None:
    """Zeros, but for one of several values."""
    _, index, space = node.args
    if not isinstance(index, int) or not isinstance(space, SequenceVSpace):
        return None
    return Parts(xs[0] if i == index % len(space.shape) else None for i in range(len(space.shape)))


def make_sequence(build: Builder, node: TapeNode, xs: tuple[Any, ...]) -> Parts | None:
    """A tuple or a list; what does not depend on v is zero."""
    values = dict(zip(node.argnums, xs, strict=True))
    return Parts(values.get(i) for i in range(1, len(node.args)))


def difference(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value | None:
    """``diff(x, n, axis)``."""

    def order_of(a: Any, n: int = 1, axis: int = -1) -> tuple[int, int]:
        return n, axis

    def within(entries: slice) -> Callable[[Any], Any]:
        return lambda array: array[(*lead, entries)]

    n, axis = order_of(*node.args, **node.kwargs)
    x = xs[0]
    lead = (slice(None),) * (axis % len(x.shape))
    for _ in range(n):
        after = build.rearrange(x, within(slice(1, None)))
        before = build.rearrange(x, within(slice(None, -1)))
        x = build.add([(after, 1.0), (before, -1.0)], after.shape)
    return x


def where(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value | None:
    """Two masks, complements of each other."""
    condition = node.args[0]
    if 0 in node.argnums:
        raise NotLinearError("where")
    masks = {1: np.not_equal(condition, 0), 2: np.equal(condition, 0)}
    return build.add(
        [(x, masks[i]) for x, i in zip(xs, node.argnums, strict=True)], node.array_shape
    )


def concatenate(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value | None:
    """Each part has a region of its own."""
    shape = node.array_shape
    axis, *parts = node.args
    values = dict(zip(node.argnums, xs, strict=True))
    placed, start = [], 0
    for i, part in enumerate(parts, 1):
        extents = values[i].shape if i in values else np.shape(part)
        stop = start + extents[axis]
        if i in values:
            placed.append((values[i], _slab(shape, axis, start, stop)))
        start = stop
    return build.place(placed, shape)


def stack_entries(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value | None:
    """``array([...])``: each entry has a place of its own."""
    shape = node.array_shape
    if shape[:1] != (len(node.args) - 2,) or any(x.shape != shape[1:] for x in xs):
        return None
    placed = []
    for x, i in zip(xs, node.argnums, strict=True):
        slab = _slab(shape, 0, i - 2, i - 1)
        placed.append((x, View(slab.shape[1:], slab.strides[1:], slab.offset)))
    return build.place(placed, shape)


def as_array(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value:
    """``array(x)``, perhaps with more axes."""
    return build.reshape(xs[0], node.array_shape)


def untake(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value | None:
    """Into zeros at an index: what the adjoint of an indexing is, with repeated entries added."""
    _, index, space = node.args
    if not isinstance(space, ArrayVSpace) or space.iscomplex or node.argnums != (0,):
        return None
    if isinstance(index, list) and (not index or not isinstance(index[0], slice)):
        index = np.array(index, dtype=np.int64)
    region = view_of(lambda array: array[index], space.shape)
    if region is not None:
        x = build.view(xs[0], broadcast(whole(xs[0].shape), region.shape))
        return build.place([(x, region)], space.shape)
    positions = np.asarray(np.arange(space.size).reshape(space.shape)[index])
    x = build.view(xs[0], broadcast(whole(xs[0].shape), positions.shape))
    return build.scatter(x, positions, space.shape)


def reduce(build: Builder, node: TapeNode, xs: tuple[Value, ...], *, mean: bool = False) -> Value:
    """A sum over axes, or their mean."""

    def axes_of(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: Any = False,
        **_: Any,
    ) -> tuple[int, ...]:
        if axis is None:
            return tuple(range(len(xs[0].shape)))
        return tuple([int(i) % len(xs[0].shape) for i in np.atleast_1d(axis)])

    total = build.reduce(xs[0], axes_of(*node.args, **node.kwargs))
    total = build.reshape(total, node.array_shape)
    return build.scale(total, total.size / xs[0].size, total.shape) if mean else total


def trace(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value:
    """The sum of a diagonal."""
    diagonal = build.rearrange(xs[0], lambda a: np.diagonal(a, *node.args[1:], **node.kwargs))
    return build.reduce(diagonal, (len(diagonal.shape) - 1,))


def _slab(shape: tuple[int, ...], axis: int, start: int, stop: int) -> View:
    axis %= len(shape)
    steps = [1] * len(shape)
    for i in reversed(range(len(shape) - 1)):
        steps[i] = steps[i + 1] * shape[i + 1]
    extents = [stop - start if i == axis else n for i, n in enumerate(shape)]
    offset = start * steps[axis]
    return View((), (), offset).with_axes(*zip(extents, steps, strict=True))


def _named(names: str) -> list[Any]:
    # Releases of NumPy differ in what they have.
    return [getattr(anp, name) for name in names.split() if hasattr(anp, name)]


_MOVES = _named(
    "reshape ravel squeeze expand_dims transpose swapaxes moveaxis rollaxis broadcast_to "
    "repeat tile roll flip flipud fliplr rot90 diag diagonal make_diagonal tril triu "
    "atleast_1d atleast_2d atleast_3d pad take"
)
_IDENTITIES = _named("real conj conjugate real_if_close positive _astype")
_SPLITS = _named("split array_split vsplit hsplit dsplit")
# Later releases of autograd have functions around these primitives, under their names.
_WHERE, _MEAN = (
    next(fun for fun in primitive_vjps if getattr(fun, "__name__", "") == name)
    for name in ("where", "mean")
)

#: What each primitive is lowered by.
RULES: dict[Any, Rule] = {
    **dict.fromkeys(_MOVES, rearrange),
    ArrayBox.__getitem__: rearrange,
    **dict.fromkeys(_IDENTITIES, same),
    VSpace.covector: same,
    anp.multiply: multiply,
    VSpace.scalar_mul: multiply,
    anp.divide: divide,
    anp.true_divide: divide,
    anp.negative: negative,
    _WHERE: where,
    anp.add: add,
    anp.subtract: partial(add, signs=(1.0, -1.0)),
    VSpace.add: partial(add, first=1),
    VSpace.mut_add: partial(add, first=1),
    sparse_add: partial(add, first=1),
    vjps.untake: untake,
    **dict.fromkeys(_SPLITS, split),
    container_take: take_part,
    container_untake: untake_part,
    builtins.make_sequence: make_sequence,
    anp.diff: difference,
    anp.concatenate_args: concatenate,
    anp.array_from_args: stack_entries,
    anp._array_from_scalar_or_array: as_array,
    anp.sum: reduce,
    _MEAN: partial(reduce, mean=True),
    anp.trace: trace,
    anp.einsum: einsum,
    anp.dot: partial(product, labels=dot_labels),
    anp.matmul: partial(product, labels=matmul_labels),
    anp.tensordot: partial(product, labels=tensordot_labels),
    anp.inner: partial(product, labels=inner_labels),
    anp.outer: partial(product, labels=outer_labels),
    vjps.dot_adjoint_0: partial(adjoint_product, labels=dot_labels, wrt=0, dims=dims_of_meta),
    vjps.dot_adjoint_1: partial(adjoint_product, labels=dot_labels, wrt=1, dims=dims_of_meta),
    vjps.tensordot_adjoint_0: partial(
        adjoint_product, labels=tensordot_labels, wrt=0, dims=dims_given
    ),
    vjps.tensordot_adjoint_1: partial(
        adjoint_product, labels=tensordot_labels, wrt=1, dims=dims_given
    ),
}

# The rules that know what to do with several values.
OF_PARTS = {VSpace.add, VSpace.mut_add, sparse_add, container_take, container_untake}

# Where the addends of a primitive begin among its arguments; the others are settings.
FIRST_ADDEND = {
    anp.add: 0,
    anp.subtract: 0,
    VSpace.add: 1,
    VSpace.mut_add: 1,
    sparse_add: 1,
    _WHERE: 1,
    anp.concatenate_args: 1,
    anp.array_from_args: 2,
}
