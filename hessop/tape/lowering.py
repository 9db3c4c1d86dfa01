"""From autograd's many primitives to the few instructions of a program.

One table says which rule lowers which primitive: to add one is to add a row. What is not in the table,
and what passes through complex numbers or containers, becomes an opaque instruction: the recorded
primitives themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
from autograd import builtins
from autograd.builtins import SequenceVSpace, container_take, container_untake
from autograd.core import VSpace, sparse_add
from autograd.numpy import numpy_vjps as vjps
from autograd.numpy import numpy_wrapper as anp
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_vspaces import ArrayVSpace
from autograd.tracer import trace_primitives_map
from autograd.util import subvals, toposort

from hessop._errors import NotLinearError, name_of
from hessop.tape.builder import Builder, Value, broadcast
from hessop.tape.contractions import (
    Labels,
    contract,
    dot_labels,
    einsum_labels,
    inner_labels,
    matmul_labels,
    outer_labels,
    tensordot_labels,
)
from hessop.tape.program import Program
from hessop.tape.recorder import Tape, TapeNode
from hessop.tape.views import View, view_of, whole

__all__ = ["RULES", "lower"]

# A rule adds the instructions of a primitive. It may give None: the primitive stays opaque.
Rule = Callable[[Builder, TapeNode, tuple[Any, ...]], Any]


def lower(tape: Tape, opaque: Container[Any] = ()) -> Program:
    """The program of a tape, one group of instructions for each primitive.

    Parameters
    ----------
    tape : Tape
    opaque : container of primitives
        Not to be lowered, whatever the table says.

    Raises
    ------
    NotLinearError
        When a primitive was given two values that depend on v, or a constant to add.
    """
    source, target = tape.source, tape.target
    build = Builder(source.size, source.dtype)
    lowered: dict[TapeNode, Any] = {}
    for root, start, shape in zip(tape.roots, source.offsets, source.shapes, strict=False):
        lowered[root] = build.view(build.argument, View(shape, whole(shape).strides, start))
    for node in tape.order:
        value = None
        if node.fun not in opaque and all(parent in lowered for parent in node.parents):
            value = lower_node(build, node, tuple([lowered[parent] for parent in node.parents]))
        if value is None and node.shape is not None:
            value = as_recorded(build, node, lowered)
        if value is not None:
            lowered[node] = value
    parts = [
        (lowered[node], View(shape, whole(shape).strides, start))
        for node, start, shape in zip(tape.outputs, target.offsets, target.shapes, strict=False)
        if node is not None
    ]
    # A rule of autograd may give a result in another shape of the same size.
    parts = [(build.reshape(value, region.shape), region) for value, region in parts]
    build.place(parts, (target.size,))
    return build.finish()


def lower_node(build: Builder, node: TapeNode, xs: tuple[Any, ...]) -> Any:
    """The value of a primitive; None where it has no rule, or its rule does not apply."""
    rule = RULES.get(node.fun)
    if rule is None or any(map(_is_complex, node.args)):
        return None
    if any(isinstance(x, Parts) for x in xs) and node.fun not in OF_PARTS:
        return None
    value = rule(build, node, xs)
    fits = isinstance(value, Parts) or node.shape is None or value.shape == node.shape
    return value if value is None or fits else None


# --- primitives as they were recorded -------------------------------------------------------------

#: A primitive that is not in the table, and whose matrix has no more entries than this, becomes it.
MATRIX_ENTRIES = 4096
# These iterate until a tolerance is met, and so are linear up to that only.
_ITERATIVE = {"odeint", "fixed_point"}


def as_recorded(build: Builder, node: TapeNode, lowered: dict[TapeNode, Any]) -> Value:
    """An opaque instruction; or a contraction with the matrix of the primitives, where it is small.

    It goes back to the nearest real arrays: what lies between is complex, or in a container.
    """
    known = {n for n, value in lowered.items() if isinstance(value, Value)}
    steps = [
        step
        for step in toposort(node, lambda n: () if n in known else n.parents)
        if step not in known
    ]
    inputs = list(
        dict.fromkeys(parent for step in steps for parent in step.parents if parent in known)
    )
    steps.reverse()

    def function(*arrays: Any) -> Any:
        values = dict(zip(inputs, arrays, strict=True))
        for step in steps:
            values[step] = _run(step, [values[parent] for parent in step.parents])
        return values[node]

    names = list(dict.fromkeys(name_of(step.fun) for step in steps))
    name, xs, shape = " ".join(names), [lowered[n] for n in inputs], _shape(node)
    if _ITERATIVE & set(names):
        return build.opaque(xs, partial(_at_unit_length, function), name, shape)
    if sum(x.size for x in xs) * prod(shape) <= MATRIX_ENTRIES and len(xs) == 1:
        return _by_matrix(build, xs[0], function, name, shape)
    return build.opaque(xs, function, name, shape)


def _by_matrix(
    build: Builder, x: Value, function: Callable[..., Any], name: str, shape: tuple[int, ...]
) -> Value:
    units = np.eye(x.size, dtype=build.dtype)
    columns = np.reshape([function(unit.reshape(x.shape)) for unit in units], (x.size, -1))
    probe = np.linspace(-1.0, 2.0, x.size, dtype=build.dtype)
    expected = np.ravel(function(probe.reshape(x.shape)))
    rounding = 1e4 * np.finfo(build.dtype).eps * np.max(np.abs(columns), initial=0.0) * x.size
    if not np.allclose(probe @ columns, expected, rtol=0.0, atol=rounding, equal_nan=True):
        raise NotLinearError(name)
    x = build.reshape(x, (1, 1, x.size))
    return build.reshape(build.contract(x, columns[None], constant_first=False), shape)


def _at_unit_length(function: Callable[..., Any], *arrays: np.ndarray) -> Any:
    length = max(float(np.max(np.abs(array), initial=0.0)) for array in arrays)
    if length == 0.0:
        return np.zeros_like(function(*(array + 1.0 for array in arrays)))
    return length * function(*(array / length for array in arrays))


def _run(node: TapeNode, values: Sequence[Any]) -> Any:
    args = subvals(node.args, zip(node.argnums, values, strict=True))
    if node.fun in (VSpace.mut_add, sparse_add) and args[1] is not None:
        # Without writing into an argument, which may be read again.
        space, previous, new = args
        return VSpace.add(space, previous, node.fun(space, None, new))
    return node.fun(*args, **node.kwargs)


# --- rules ----------------------------------------------------------------------------------------


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
    return build.scale(xs[0], other, _shape(node))


def divide(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value:
    """The divisor is a constant."""
    if node.argnums != (0,):
        raise NotLinearError(name_of(node.fun))
    reciprocal = 1.0 / np.asarray(node.args[1], dtype=build.dtype)
    return build.scale(xs[0], reciprocal, _shape(node))


def negative(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value:
    """Times minus one."""
    return build.scale(xs[0], -1.0, _shape(node))


def add(
    build: Builder,
    node: TapeNode,
    xs: tuple[Any, ...],
    *,
    first: int = 0,
    signs: tuple[float, float] = (1.0, 1.0),
) -> Any:
    """A sum; an addend that does not depend on v is zero, there to broadcast."""
    if any(isinstance(x, Parts) for x in xs):
        return _add_parts(build, xs)
    for arg in node.args[first:]:
        if arg is not None and np.any(arg):
            raise NotLinearError(f"{name_of(node.fun)} with a constant")
    parts = [(x, signs[i - first]) for x, i in zip(xs, node.argnums, strict=True)]
    return build.add(parts, _shape(node))


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
    count = len(fun(np.empty(xs[0].shape, dtype=np.int8)))
    return Parts(build.rearrange(xs[0], lambda array, i=i: fun(array)[i]) for i in range(count))


def take_part(build: Builder, node: TapeNode, xs: tuple[Any, ...]) -> Value | Parts | None:
    """One of several values."""
    (parts,) = xs
    if not isinstance(parts, Parts) or not isinstance(node.args[1], int):
        return None
    part = parts[node.args[1]]
    return build.place([], _shape(node)) if part is None and node.shape is not None else part


def untake_part(build: Builder, node: TapeNode, xs: tuple[Any, ...]) -> Parts | None:
    """Zeros, but for one of several values."""
    _, index, space = node.args
    if not isinstance(index, int) or not isinstance(space, SequenceVSpace):
        return None
    return Parts(xs[0] if i == index % len(space.shape) else None for i in range(len(space.shape)))


def make_sequence(build: Builder, node: TapeNode, xs: tuple[Any, ...]) -> Parts | None:
    """A tuple or a list; what does not depend on v is zero."""
    if any(arg is not None and np.any(arg) for arg in node.args[1:]):
        return None
    values = dict(zip(node.argnums, xs, strict=True))
    return Parts(values.get(i) for i in range(1, len(node.args)))


def difference(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value | None:
    """``diff(x, n, axis)``."""

    def order_of(a: Any, n: int = 1, axis: int = -1) -> tuple[int, int]:
        return n, axis

    n, axis = order_of(*node.args, **node.kwargs)
    x = xs[0]
    for _ in range(n):
        last = axis % len(x.shape)
        lead = (slice(None),) * last
        after = build.rearrange(x, lambda a, lead=lead: a[(*lead, slice(1, None))])
        before = build.rearrange(x, lambda a, lead=lead: a[(*lead, slice(None, -1))])
        x = build.add([(after, 1.0), (before, -1.0)], after.shape)
    return x


def where(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value | None:
    """Two masks, complements of each other."""
    condition, *choices = node.args
    if 0 in node.argnums or any(arg is not None and np.any(arg) for arg in choices):
        return None
    masks = {1: np.not_equal(condition, 0), 2: np.equal(condition, 0)}
    return build.add([(x, masks[i]) for x, i in zip(xs, node.argnums, strict=True)], _shape(node))


def concatenate(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value | None:
    """Each part has a region of its own."""
    shape = _shape(node)
    axis, *parts = node.args
    values = dict(zip(node.argnums, xs, strict=True))
    if any(part is not None and np.any(part) for part in parts):
        raise NotLinearError("concatenate with a constant")
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
    shape = _shape(node)
    if any(part is not None and np.any(part) for part in node.args[2:]):
        raise NotLinearError("array with a constant")
    if shape[:1] != (len(node.args) - 2,) or any(x.shape != shape[1:] for x in xs):
        return None
    placed = []
    for x, i in zip(xs, node.argnums, strict=True):
        slab = _slab(shape, 0, i - 2, i - 1)
        placed.append((x, View(slab.shape[1:], slab.strides[1:], slab.offset)))
    return build.place(placed, shape)


def as_array(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value:
    """``array(x)``, perhaps with more axes."""
    return build.reshape(xs[0], _shape(node))


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
    total = build.reshape(total, _shape(node))
    return build.scale(total, total.size / xs[0].size, total.shape) if mean else total


def trace(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value:
    """The sum of a diagonal."""
    diagonal = build.rearrange(xs[0], lambda a: np.diagonal(a, *node.args[1:], **node.kwargs))
    return build.reduce(diagonal, (len(diagonal.shape) - 1,))


def product(
    build: Builder,
    node: TapeNode,
    xs: tuple[Value, ...],
    *,
    labels: Callable[..., tuple[Labels, Labels, Labels]],
) -> Value | None:
    """``dot(A, B)`` and its like."""
    if len(xs) != 1:
        raise NotLinearError(name_of(node.fun))
    (i,) = node.argnums
    (x,), constant = xs, np.asarray(node.args[1 - i])
    dims = [len(x.shape), constant.ndim]
    triple = labels(*(dims if i == 0 else reversed(dims)), *node.args[2:], **node.kwargs)
    if labels is outer_labels:
        x, constant = build.reshape(x, (x.size,)), constant.ravel()
    return contract(build, x, triple[i], constant, triple[1 - i], triple[2])


def adjoint_product(
    build: Builder,
    node: TapeNode,
    xs: tuple[Value, ...],
    *,
    labels: Callable[..., tuple[Labels, Labels, Labels]],
    wrt: int,
    dims: Callable[[tuple[Any, ...]], tuple[int, int]],
) -> Value | None:
    """The adjoint of ``dot(A, B)`` and its like in A or B, a function of the other and of G."""
    if len(xs) != 1:
        raise NotLinearError(name_of(node.fun))
    (i,) = node.argnums
    (x,), constant = xs, np.asarray(node.args[1 - i])
    triple = labels(*dims(node.args), *((node.args[2],) if labels is tensordot_labels else ()))
    given = (triple[1 - wrt], triple[2])
    return contract(build, x, given[i], constant, given[1 - i], triple[wrt])


def einsum(build: Builder, node: TapeNode, xs: tuple[Value, ...]) -> Value | None:
    """The constants are contracted with x one after the other."""
    if len(xs) != 1:
        raise NotLinearError("einsum")
    (i,) = node.argnums
    (x,) = xs
    stand_in = np.broadcast_to(np.zeros((), dtype=build.dtype), x.shape)
    inputs, output, operands = anp.parse_einsum_input(*subvals(node.args, [(i, stand_in)]))
    position = i - 1 if isinstance(node.args[0], str) else i // 2
    sets, result = einsum_labels(inputs, output)
    labels = sets.pop(position)
    constants = [np.asarray(a) for j, a in enumerate(operands) if j != position]
    if not constants:
        constants, sets = [np.ones(())], [()]
    while len(constants) > 1:
        # With the operand that shares most with x, which then shares its labels with the others.
        j = max(range(len(sets)), key=lambda j: len(set(sets[j]) & set(labels)))
        constant, others = constants.pop(j), sets.pop(j)
        wanted = {*result, *(a for rest in sets for a in rest)}
        kept = tuple(dict.fromkeys(a for a in labels + others if a in wanted))
        x = contract(build, x, labels, constant, others, kept)
        labels = kept
    return contract(build, x, labels, constants[0], sets[0], result)


def _is_complex(arg: Any) -> bool:
    return isinstance(arg, complex | np.ndarray | np.generic) and np.iscomplexobj(arg)


def _shape(node: TapeNode) -> tuple[int, ...]:
    assert node.shape is not None
    return node.shape


def _slab(shape: tuple[int, ...], axis: int, start: int, stop: int) -> View:
    axis %= len(shape)
    steps = [1] * len(shape)
    for i in reversed(range(len(shape) - 1)):
        steps[i] = steps[i + 1] * shape[i + 1]
    extents = [stop - start if i == axis else n for i, n in enumerate(shape)]
    offset = start * steps[axis]
    return View((), (), offset).with_axes(*zip(extents, steps, strict=True))


def _dims_of_meta(args: tuple[Any, ...]) -> tuple[int, int]:
    return args[2][1], args[3][1]


def _dims_given(args: tuple[Any, ...]) -> tuple[int, int]:
    return args[3], args[4]


_MOVES = [
    "reshape",
    "ravel",
    "squeeze",
    "expand_dims",
    "transpose",
    "swapaxes",
    "moveaxis",
    "rollaxis",
    "broadcast_to",
    "repeat",
    "tile",
    "roll",
    "flip",
    "flipud",
    "fliplr",
    "rot90",
    "diag",
    "diagonal",
    "make_diagonal",
    "tril",
    "triu",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "pad",
    "take",
]
_IDENTITIES = ["real", "conj", "conjugate", "real_if_close", "positive", "_astype"]

#: What each primitive is lowered by.
RULES: dict[Any, Rule] = {
    **{getattr(anp, name): rearrange for name in _MOVES},
    ArrayBox.__getitem__: rearrange,
    **{getattr(anp, name): same for name in _IDENTITIES if hasattr(anp, name)},
    VSpace.covector: lambda build, node, xs: xs[0],
    anp.multiply: multiply,
    VSpace.scalar_mul: multiply,
    anp.divide: divide,
    anp.true_divide: divide,
    anp.negative: negative,
    # Where a wrapper stands before the primitive, it is known by what it wraps.
    trace_primitives_map[np.where]: where,
    anp.add: add,
    anp.subtract: partial(add, signs=(1.0, -1.0)),
    VSpace.add: partial(add, first=1),
    VSpace.mut_add: partial(add, first=1),
    sparse_add: partial(add, first=1),
    vjps.untake: untake,
    **{
        getattr(anp, name): split for name in ("split", "array_split", "vsplit", "hsplit", "dsplit")
    },
    container_take: take_part,
    container_untake: untake_part,
    builtins.make_sequence: make_sequence,
    anp.diff: difference,
    anp.concatenate_args: concatenate,
    anp.array_from_args: stack_entries,
    anp._array_from_scalar_or_array: as_array,
    anp.sum: reduce,
    anp.mean: partial(reduce, mean=True),
    anp.trace: trace,
    anp.einsum: einsum,
    anp.dot: partial(product, labels=dot_labels),
    anp.matmul: partial(product, labels=matmul_labels),
    anp.tensordot: partial(product, labels=tensordot_labels),
    anp.inner: partial(product, labels=inner_labels),
    anp.outer: partial(product, labels=outer_labels),
    vjps.dot_adjoint_0: partial(adjoint_product, labels=dot_labels, wrt=0, dims=_dims_of_meta),
    vjps.dot_adjoint_1: partial(adjoint_product, labels=dot_labels, wrt=1, dims=_dims_of_meta),
    vjps.tensordot_adjoint_0: partial(
        adjoint_product, labels=tensordot_labels, wrt=0, dims=_dims_given
    ),
    vjps.tensordot_adjoint_1: partial(
        adjoint_product, labels=tensordot_labels, wrt=1, dims=_dims_given
    ),
}

# The rules that know what to do with several values.
OF_PARTS = {VSpace.add, VSpace.mut_add, sparse_add, container_take, container_untake}
