"""Where a model's parameters enter, read off its recording: there are no layer classes.

A parameter, or any part of one that is sliced, reshaped or transposed, *enters* a primitive. Where
that is a product with activations (dot, matmul, tensordot, inner, einsum), or an addition, the
gradient in it is an outer product of what came in and of the cotangent of what went out, summed
over rows. Kronecker-factored curvature and per-example gradients are made of these two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import primitive_vjps
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.util import subvals

from hessop._errors import name_of
from hessop._tracing import TRACING
from hessop.differentiate.recording import RecordedNode, Recording, pull

__all__ = ["Elsewhere", "Layer", "cotangents", "entries", "joint_layers"]

# A part of a parameter stays one when these are applied to it.
_VIEWS = {
    anp.reshape,
    anp.ravel,
    anp.squeeze,
    anp.expand_dims,
    anp.transpose,
    anp.swapaxes,
    anp.moveaxis,
    ArrayBox.__getitem__,
}


@dataclass(frozen=True, eq=False, slots=True)
class Layer:
    """A product of activations and parameters, ``outputs = inputs @ x[positions]`` row by row.

    Attributes
    ----------
    part : ndarray of int
        The positions of the parameters in the shape in which they entered; of the weights, where a
        bias was joined to them.
    argnum : int
        Which argument of the primitive they were.
    positions : ndarray of int, shape (inputs, outputs)
        Where each parameter is in the flat vector.
    inputs : ndarray, shape ``(*rows, inputs)``
        The activations; ones, for a bias.
    node : RecordedNode
        Whose cotangent is that of the outputs.
    by_rows : callable
        Brings that cotangent to the shape ``(*rows, outputs)``.
    """

    part: np.ndarray
    argnum: int
    positions: np.ndarray
    inputs: np.ndarray
    node: RecordedNode
    by_rows: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False, slots=True)
class Elsewhere:
    """Parameters that enter in another way.

    Attributes
    ----------
    positions : ndarray of int
    reason : str
    """

    positions: np.ndarray
    reason: str


def entries(recording: Recording) -> tuple[list[Layer], list[Elsewhere]]:
    """All places where parameters enter, in the order in which they ran."""
    parts = _parts_of_parameters(recording)
    layers: list[Layer] = []
    others: list[Elsewhere] = []
    for node in reversed(recording.order):
        if node in parts:
            continue
        entering = [i for i, p in zip(node.argnums, node.parents, strict=True) if p in parts]
        for i in entering:
            positions = parts[node.parents[node.argnums.index(i)]]
            found = None
            if len(entering) == 1:
                rule = _RULES.get(node.fun)
                found = None if rule is None else rule(node, i, positions)
            if found is None:
                others.append(Elsewhere(positions, f"enters {name_of(node.fun)}"))
            else:
                layers.append(found)
    if recording.order[0] in parts:
        others.append(Elsewhere(parts[recording.order[0]], "is an output itself"))
    return layers, others


def joint_layers(recording: Recording) -> tuple[list[Layer], list[Elsewhere]]:
    """Layers that share no parameter, a bias joined to the weights that it is added to.

    What enters twice, or otherwise, or not at all, is named with the reason.
    """
    layers, others = entries(recording)
    count = np.zeros(recording.layout.size, dtype=int)
    for positions in [one.positions for one in layers] + [one.positions for one in others]:
        np.add.at(count, positions.ravel(), 1)
    once: list[Layer] = []
    repeated: dict[bytes, Elsewhere] = {}
    for layer in layers:
        if count[layer.positions].max() == 1:
            once.append(layer)
        else:
            positions = np.unique(layer.positions)
            repeated[positions.tobytes()] = Elsewhere(positions, "enters more than once")
    others.extend(repeated.values())
    unused = np.flatnonzero(count == 0)
    if unused.size:
        others.append(Elsewhere(unused, "does not enter the outputs"))
    return _with_biases(once, recording), others


def cotangents(
    recording: Recording, nodes: Sequence[RecordedNode], seeds: Iterable[np.ndarray]
) -> Iterator[list[np.ndarray]]:
    """For each seed, the cotangents of some nodes: reverse passes that spare the parameters.

    Parameters
    ----------
    recording : Recording
    nodes : sequence of RecordedNode
    seeds : iterable of ndarray
        Cotangents of the result, shaped like it.

    Yields
    ------
    list of ndarray
        In the order of `nodes`.
    """
    parts = _parts_of_parameters(recording)
    if recording.order[0] in parts:
        yield from ([] for _ in seeds)
        return
    found: dict[RecordedNode, Any] = {}
    spared: dict[RecordedNode, _Spared] = {}
    rules = []
    for node in reversed(recording.order):
        if node in parts:
            continue
        kept = [(i, p) for i, p in zip(node.argnums, node.parents, strict=True) if p not in parts]
        spared[node] = _Spared(tuple([spared[parent] for _, parent in kept]))
        argnums = tuple([i for i, _ in kept])
        rules.append(_noting(node, argnums, found if node in nodes else None))
    order = tuple(reversed(spared.values()))
    for seed in seeds:
        with TRACING:
            pull(order, reversed(rules), seed)
        yield [found.pop(node) for node in nodes]


@dataclass(frozen=True, eq=False, slots=True)
class _Spared:
    """A node without its parameters."""

    parents: tuple[_Spared, ...]


def _noting(
    node: RecordedNode, argnums: tuple[int, ...], found: dict[RecordedNode, Any] | None
) -> Callable[[Any], Sequence[Any]]:
    """The node's rule for some of its arguments, which writes down the cotangent that comes."""
    rule = (
        primitive_vjps[node.fun](argnums, node.value, node.args, node.kwargs) if argnums else None
    )

    def pull_back(cotangent: Any) -> Sequence[Any]:
        if found is not None:
            found[node] = cotangent
        return rule(cotangent) if rule else ()

    return pull_back


def _parts_of_parameters(recording: Recording) -> dict[RecordedNode, np.ndarray]:
    """For each node that is a part of a parameter, where its entries are in the flat vector."""
    layout = recording.layout
    positions = layout.split(np.arange(layout.size))
    parts = dict(zip(recording.roots, map(np.asarray, positions), strict=True))
    for node in reversed(recording.order):
        is_view = node.parents and node.fun in _VIEWS and node.argnums == (0,)
        if is_view and node.parents[0] in parts:
            args = subvals(node.args, [(0, parts[node.parents[0]])])
            parts[node] = np.asarray(node.fun(*args, **node.kwargs))
    return parts


# --- how a parameter enters -----------------------------------------------------------------------


def _product(node: RecordedNode, argnum: int, positions: np.ndarray) -> Layer | None:
    """A product of a parameter and activations, as an einsum of the two."""
    operands = _operands(node)
    if len(operands) != 2:
        return None
    (i, first), (_, second) = operands
    labels = _LABELS[node.fun](node, np.ndim(first), np.ndim(second))
    if labels is None:
        return None
    *of_operands, of_result = labels
    which = 0 if argnum == i else 1
    activations = second if argnum == i else first
    of_part, of_activations = of_operands[which], of_operands[1 - which]
    inner = [a for a in of_part if a in of_activations and a not in of_result]
    outer = [a for a in of_part if a in of_result and a not in of_activations]
    rows = [a for a in of_activations if a in of_result and a not in of_part]
    if len(inner) + len(outer) != len(of_part) or len(inner) + len(rows) != len(of_activations):
        return None  # an axis that is shared by all three, or summed in one
    rows.sort(key=of_result.index)
    outer.sort(key=of_result.index)

    def arrange(array: np.ndarray, have: Sequence[int], *groups: Sequence[int]) -> np.ndarray:
        axes = [have.index(a) for group in groups for a in group]
        return array.transpose(axes)

    def merged(array: np.ndarray, count: int) -> np.ndarray:
        return array.reshape(*array.shape[: array.ndim - count], -1)

    part = arrange(positions, of_part, inner, outer)
    inputs = merged(arrange(np.asarray(activations), of_activations, rows, inner), len(inner))

    def by_rows(cotangent: np.ndarray) -> np.ndarray:
        return merged(arrange(np.asarray(cotangent), of_result, rows, outer), len(outer))

    width = prod(part.shape[: len(inner)])
    return Layer(positions, argnum, part.reshape(width, -1), inputs, node, by_rows)


def _operands(node: RecordedNode) -> list[tuple[int, Any]]:
    """The factors of a product, with their places among the arguments."""
    places: Sequence[int] = (0, 1)
    if node.fun is anp.einsum:
        # Subscripts come first, in one string, or after each operand, in a list.
        is_string = isinstance(node.args[0], str)
        places = range(1, len(node.args)) if is_string else range(0, len(node.args) - 1, 2)
    return [(i, node.args[i]) for i in places]


def _bias(node: RecordedNode, argnum: int, positions: np.ndarray) -> Layer | None:
    """A parameter that is added to something: repeated along axes of the result, or not."""
    shape = np.shape(node.value)
    lead = len(shape) - positions.ndim
    same = [a for a in range(len(shape)) if a < lead or positions.shape[a - lead] < shape[a]]
    rest = [a for a in range(len(shape)) if a not in same]

    def by_rows(cotangent: np.ndarray) -> np.ndarray:
        rows = np.asarray(cotangent).transpose(*same, *rest)
        return rows.reshape(*rows.shape[: len(same)], -1)

    inputs = np.full((*(shape[a] for a in same), 1), _sign(node, argnum))
    return Layer(positions, argnum, positions.reshape(1, -1), inputs, node, by_rows)


def _with_biases(layers: Sequence[Layer], recording: Recording) -> list[Layer]:
    """Join a bias to the product that it is added to, where nothing else uses that product."""
    uses = Counter(parent for node in recording.order for parent in node.parents)
    products = {layer.node: layer for layer in layers if layer.node.fun in _LABELS}
    joint: list[Layer] = []
    for layer in layers:
        added_to = None if layer.node in products else _sole_use(layer.node, products, uses)
        row = None if added_to is None else _same_in_every_row(layer, products[added_to])
        if added_to is None or row is None:
            joint.append(layer)
            continue
        weights = products.pop(added_to)
        joint.remove(weights)
        # The cotangent is that of the product, which may itself be subtracted.
        sign = _sign(layer.node, layer.argnum) * _sign(layer.node, 1 - layer.argnum)
        ones = np.full((*weights.inputs.shape[:-1], 1), sign)
        inputs = np.concatenate([weights.inputs, ones], axis=-1)
        positions = np.concatenate([weights.positions, row[None]])
        joint.append(replace(weights, positions=positions, inputs=inputs))
    return joint


def _sole_use(
    node: RecordedNode, products: dict[RecordedNode, Layer], uses: Counter[RecordedNode]
) -> RecordedNode | None:
    return next((p for p in node.parents if p in products and uses[p] == 1), None)


def _same_in_every_row(bias: Layer, weights: Layer) -> np.ndarray | None:
    """The positions of a bias for each output of a product, where all rows have the same ones."""
    shape = np.shape(bias.node.value)
    if shape != np.shape(weights.node.value):
        return None
    rows = weights.by_rows(np.broadcast_to(bias.part, shape))
    rows = rows.reshape(-1, rows.shape[-1])
    row: np.ndarray = rows[0]
    fits = (rows == row).all() and np.unique(row).size == row.size == bias.part.size
    return row if fits else None


def _sign(node: RecordedNode, argnum: int) -> float:
    return -1.0 if node.fun is anp.subtract and argnum == 1 else 1.0


# --- products as einsums: the axes of both operands and of the result, as numbers -----------------

Labels = tuple[list[int], list[int], list[int]] | None


def _dot(node: RecordedNode, p: int, q: int) -> Labels:
    if p == 0 or q == 0:
        return None
    return _contracted(p, q, [(p - 1, max(q - 2, 0))])


def _inner(node: RecordedNode, p: int, q: int) -> Labels:
    return None if p == 0 or q == 0 else _contracted(p, q, [(p - 1, q - 1)])


def _matmul(node: RecordedNode, p: int, q: int) -> Labels:
    if p > 2 and q > 2:
        return None  # a stack of products
    first, second, result = _contracted(p, q, [(p - 1, max(q - 2, 0))])
    if q > 2:  # the stack comes first in the result
        rows = [a for a in second[:-2] if a in result]
        result = rows + [a for a in result if a not in rows]
    return first, second, result


def _tensordot(node: RecordedNode, p: int, q: int) -> Labels:
    axes = node.args[2] if len(node.args) > 2 else node.kwargs.get("axes", 2)
    if isinstance(axes, int):
        pairs = [(p - axes + i, i) for i in range(axes)]
    else:
        left, right = (np.atleast_1d(side) for side in axes)
        pairs = [(int(i) % p, int(j) % q) for i, j in zip(left, right, strict=True)]
    return _contracted(p, q, pairs)


def _einsum(node: RecordedNode, p: int, q: int) -> Labels:
    operands, result, _ = anp.parse_einsum_input(*node.args)
    first, second = operands.split(",")
    if any(len(set(labels)) != len(labels) for labels in (first, second)):
        return None  # a diagonal
    return list(map(ord, first)), list(map(ord, second)), list(map(ord, result))


def _outer(node: RecordedNode, p: int, q: int) -> Labels:
    return _contracted(p, q, []) if p == q == 1 else None


def _contracted(
    p: int, q: int, pairs: Sequence[tuple[int, int]]
) -> tuple[list[int], list[int], list[int]]:
    first, second = list(range(p)), list(range(p, p + q))
    for i, j in pairs:
        second[j] = first[i]
    summed = {first[i] for i, _ in pairs}
    return first, second, [a for a in (*first, *second) if a not in summed]


_LABELS: dict[Any, Callable[[RecordedNode, int, int], Labels]] = {
    anp.dot: _dot,
    anp.inner: _inner,
    anp.outer: _outer,
    anp.matmul: _matmul,
    anp.tensordot: _tensordot,
    anp.einsum: _einsum,
}
_RULES: dict[Any, Callable[[RecordedNode, int, np.ndarray], Layer | None]] = {
    **dict.fromkeys(_LABELS, _product),
    anp.add: _bias,
    anp.subtract: _bias,
}
