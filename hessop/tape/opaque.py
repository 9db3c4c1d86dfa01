"""Primitives that are run as they were recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
from autograd.core import VSpace, sparse_add
from autograd.util import subvals, toposort

from hessop._errors import NotLinearError, name_of
from hessop._tracing import TRACING
from hessop.tape.builder import Builder, Value
from hessop.tape.recorder import TapeNode

__all__ = ["MATRIX_ENTRIES", "as_recorded", "value_at_zero"]

#: A primitive that is not in the table, and whose matrix has no more entries than this, becomes it.
MATRIX_ENTRIES = 4096
# These iterate until a tolerance is met, and so are linear up to that only.
_ITERATIVE = {"odeint", "fixed_point"}


def as_recorded(
    build: Builder, node: TapeNode, lowered: dict[TapeNode, Any], at_zero: dict[TapeNode, Any]
) -> Value:
    """An opaque instruction; or a contraction with the matrix of the primitives, where it is small.

    It goes back to the nearest real arrays: what lies between is complex, or in a container.

    Parameters
    ----------
    build : Builder
    node : TapeNode
    lowered : dict of TapeNode to Value
        The linear parts of what came before.
    at_zero : dict of TapeNode to value
        Their constants, where they have some.
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
    shifted = [n for n in inputs if n in at_zero]

    def function(*arrays: Any) -> Any:
        values = dict(zip(inputs, arrays, strict=True))
        for n in shifted:
            values[n] = values[n] + at_zero[n]
        with TRACING:  # some primitives trace when they run (odeint)
            for step in steps:
                values[step] = _run(step, [values[parent] for parent in step.parents])
        return values[node] - at_zero[node] if node in at_zero else values[node]

    names = list(dict.fromkeys(name_of(step.fun) for step in steps))
    name, xs, shape = " ".join(names), [lowered[n] for n in inputs], node.array_shape
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


def value_at_zero(node: TapeNode, others: dict[TapeNode, Any]) -> Any:
    """What a primitive gives where v is zero; what is not among the others is zero there."""
    return _run(
        node,
        [others[p] if p in others else np.zeros(p.array_shape) for p in node.parents],
    )


def _run(node: TapeNode, values: Sequence[Any]) -> Any:
    args = subvals(node.args, zip(node.argnums, values, strict=True))
    if node.fun in (VSpace.mut_add, sparse_add) and args[1] is not None:
        # Without writing into an argument, which may be read again.
        space, previous, new = args
        return VSpace.add(space, previous, node.fun(space, None, new))
    return node.fun(*args, **node.kwargs)
