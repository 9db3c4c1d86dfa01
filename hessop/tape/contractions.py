"""The labels of dot, matmul, tensordot, inner and einsum, and of their adjoints.

All of them are one thing: entries of two arrays are multiplied, labelled axis by labelled axis, and
summed over the labels that the result does not have. The adjoint in either argument only permutes
the three sets of labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from autograd.numpy import numpy_wrapper as anp
from autograd.util import subvals

from hessop._errors import NotLinearError, name_of
from hessop.tape.builder import Builder, Value
from hessop.tape.recorder import TapeNode
from hessop.tape.views import View

__all__ = [
    "adjoint_product",
    "contract",
    "dims_given",
    "dims_of_meta",
    "dot_labels",
    "einsum",
    "inner_labels",
    "matmul_labels",
    "outer_labels",
    "product",
    "tensordot_labels",
]

Labels = tuple[int, ...]
Triple = tuple[Labels, Labels, Labels]


def dot_labels(a: int, b: int) -> Triple:
    """Labels of A, B and the result of ``dot(A, B)``, for arrays of these dimensions."""
    A = tuple(range(a))
    B = tuple(range(a, a + b))
    if a == 0 or b == 0:
        return A, B, A + B
    summed = -2 if b > 1 else -1
    B = (*B[:summed], A[-1], *B[len(B) + summed + 1 :])
    return A, B, A[:-1] + tuple([label for label in B if label >= a])


def inner_labels(a: int, b: int) -> Triple:
    """Labels of A, B and the result of ``inner(A, B)``."""
    A, B = tuple(range(a)), tuple(range(a, a + b))
    if a == 0 or b == 0:
        return A, B, A + B
    return A, B[:-1] + A[-1:], A[:-1] + B[:-1]


def outer_labels(a: int, b: int) -> Triple:
    """Labels of A, B and the result of ``outer(A, B)`` with vectors."""
    return (0,), (1,), (0, 1)


def matmul_labels(a: int, b: int) -> Triple:
    """Labels of A, B and the result of ``matmul(A, B)``; leading axes are a batch."""
    row, inner, column = 0, 1, 2
    batch = tuple(range(3, 3 + max(a, b, 2) - 2))
    A = (inner,) if a == 1 else (*batch[len(batch) - (a - 2) :], row, inner)
    B = (inner,) if b == 1 else (*batch[len(batch) - (b - 2) :], inner, column)
    rows = () if a == 1 else (row,)
    columns = () if b == 1 else (column,)
    return A, B, batch + rows + columns


def tensordot_labels(a: int, b: int, axes: Any = 2) -> Triple:
    """Labels of A, B and the result of ``tensordot(A, B, axes)``."""
    A = list(range(a))
    B = list(range(a, a + b))
    if np.ndim(axes) == 0:
        count = max(int(axes), 0)
        pairs = list(zip(A[a - count :], range(count), strict=True))
    else:
        first, second = (np.atleast_1d(np.asarray(which, dtype=int)) for which in axes)
        pairs = [(int(i) % a, int(j) % b) for i, j in zip(first, second, strict=True)]
    for i, j in pairs:
        B[j] = A[i]
    summed = {A[i] for i, _ in pairs}
    result = [label for label in A if label not in summed]
    return tuple(A), tuple(B), tuple(result + [label for label in B if label >= a])


def einsum_labels(inputs: str, output: str) -> tuple[list[Labels], Labels]:
    """Labels of the operands and of the result, for subscripts without an ellipsis."""
    return [tuple(map(ord, part)) for part in inputs.split(",")], tuple(map(ord, output))


def contract(
    build: Builder, x: Value, labels: Labels, constant: np.ndarray, others: Labels, result: Labels
) -> Value:
    """``result = sum of x[labels] * constant[others]`` over the labels that the result lacks.

    Parameters
    ----------
    build : Builder
    x : Value
    constant : ndarray
    labels, others, result : tuple of int
        The labels of the axes of x, of the constant and of the result. Axes of one entry broadcast.
    """
    x, labels = _diagonal(build, x, labels)
    constant, others = _diagonal_of_constant(constant, others)
    extent = dict(zip(labels, x.shape, strict=True))
    for label, n in zip(others, constant.shape, strict=True):
        lengths = (n, extent.get(label, n))
        extent[label] = max(lengths) if all(lengths) else 0
    if not all(extent.values()):
        return build.place([], tuple([extent[label] for label in result]))
    # An axis of one entry that is longer in the other array repeats itself there.
    x, labels = _drop(build, x, labels, extent, [a for a in labels if a in others])
    short = [i for i, a in enumerate(others) if constant.shape[i] < extent[a]]
    constant = constant.reshape([n for i, n in enumerate(constant.shape) if i not in short])
    others = tuple([a for i, a in enumerate(others) if i not in short])
    # What only one of the two has, and the result has not, is summed before.
    alone = tuple([i for i, a in enumerate(labels) if a not in others and a not in result])
    x = build.reduce(x, alone)
    labels = tuple([a for i, a in enumerate(labels) if i not in alone])
    alone = tuple([i for i, a in enumerate(others) if a not in labels and a not in result])
    constant = constant.sum(axis=alone) if alone else constant
    others = tuple([a for i, a in enumerate(others) if i not in alone])

    inner = [a for a in labels if a in others and a not in result]
    if not inner:
        return _elementwise(build, x, labels, constant, others, result, extent)
    batch = [a for a in result if a in labels and a in others]
    rows = [a for a in result if a in labels and a not in others]
    columns = [a for a in result if a in others and a not in labels]

    def size(of: Sequence[int]) -> int:
        return prod(extent[a] for a in of)

    x = _permute(build, x, labels, [*batch, *rows, *inner])
    x = build.reshape(x, (size(batch), size(rows), size(inner)))
    constant = np.transpose(constant, [others.index(a) for a in [*batch, *inner, *columns]])
    constant = constant.reshape(size(batch), size(inner), size(columns))
    # In the order in which the result is wanted, so that it need not be transposed.
    constant_first = bool(columns) and list(result) == [*batch, *columns, *rows]
    product = build.contract(x, constant, constant_first=constant_first)
    order = [*batch, *columns, *rows] if constant_first else [*batch, *rows, *columns]
    product = build.reshape(product, tuple([extent[a] for a in order]))
    return _permute(build, product, tuple(order), result)


def _elementwise(
    build: Builder,
    x: Value,
    labels: Labels,
    constant: np.ndarray,
    others: Labels,
    result: Labels,
    extent: dict[int, int],
) -> Value:
    x = _permute(build, x, labels, [a for a in result if a in labels])
    x = build.reshape(x, tuple([extent[a] if a in labels else 1 for a in result]))
    constant = np.transpose(constant, [others.index(a) for a in result if a in others])
    constant = constant.reshape([extent[a] if a in others else 1 for a in result])
    return build.scale(x, constant, tuple([extent[a] for a in result]))


def _permute(build: Builder, x: Value, labels: Labels, order: Sequence[int]) -> Value:
    axes = [labels.index(a) for a in order]
    return build.rearrange(x, lambda array: np.transpose(array, axes))


def _drop(
    build: Builder, x: Value, labels: Labels, extent: dict[int, int], shared: list[int]
) -> tuple[Value, Labels]:
    kept = [
        i for i, a in enumerate(labels) if not (a in shared and x.shape[i] == 1 and extent[a] > 1)
    ]
    x = build.reshape(x, tuple([x.shape[i] for i in kept]))
    return x, tuple([labels[i] for i in kept])


def _diagonal(build: Builder, x: Value, labels: Labels) -> tuple[Value, Labels]:
    distinct = tuple(dict.fromkeys(labels))
    if distinct == labels:
        return x, labels
    strides = dict.fromkeys(distinct, 0)
    step = 1
    for label, n in reversed(list(zip(labels, x.shape, strict=True))):
        strides[label] += step
        step *= n
    extent = dict(zip(labels, x.shape, strict=True))
    view = View((), ()).with_axes(*((extent[a], strides[a]) for a in distinct))
    return build.view(x, view), distinct


def _diagonal_of_constant(constant: np.ndarray, labels: Labels) -> tuple[np.ndarray, Labels]:
    distinct = tuple(dict.fromkeys(labels))
    if distinct != labels:
        number = {label: i for i, label in enumerate(distinct)}
        constant = np.einsum(constant, [number[a] for a in labels], [number[a] for a in distinct])
    return constant, distinct


# --- rules ----------------------------------------------------------------------------------------


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


def dims_of_meta(args: tuple[Any, ...]) -> tuple[int, int]:
    """The dimensions of A and B where an adjoint is given their metadata."""
    return args[2][1], args[3][1]


def dims_given(args: tuple[Any, ...]) -> tuple[int, int]:
    """The dimensions of A and B where an adjoint is given them."""
    return args[3], args[4]
