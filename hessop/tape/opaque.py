"""Primitives that are run as they were recorded."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import VSpace, sparse_add
from autograd.tracer import isbox
from autograd.util import subvals, toposort

from hessop._errors import name_of
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

    It goes back to the nearest arrays: what lies between is in a container. A complex array is a
    real one with one more axis, for its real and its imaginary part.

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
    nodes = [
        step
        for step in toposort(node, lambda n: () if n in known else n.parents)
        if step not in known
    ]
    nodes.reverse()
    inputs = list(dict.fromkeys(p for step in nodes for p in step.parents if p in known))
    number = {n: i for i, n in enumerate([*inputs, *nodes])}
    function = _Recorded(
        tuple([_Step.of(step, number) for step in nodes]),
        tuple([(n.is_complex, at_zero.get(n)) for n in inputs]),
        (node.is_complex, at_zero.get(node)),
    )
    names = list(dict.fromkeys(name_of(step.fun) for step in nodes))
    name, xs = " ".join(names), [lowered[n] for n in inputs]
    shape = (*node.array_shape, 2) if node.is_complex else node.array_shape
    if _ITERATIVE & set(names):
        return build.opaque(xs, function.scaled, name, shape, key=function.key)
    if len(xs) == 1 and xs[0].size * prod(shape) <= MATRIX_ENTRIES:
        columns = _matrix_of(function, xs[0].shape, build.dtype)
        if columns is not None:
            x = build.reshape(xs[0], (1, 1, xs[0].size))
            product = build.contract(x, columns[None], constant_first=False)
            return build.reshape(product, shape)
    return build.opaque(xs, function, name, shape, key=function.key)


def value_at_zero(node: TapeNode, others: dict[TapeNode, Any]) -> Any:
    """What a primitive gives where v is zero; what is not among the others is zero there."""
    step = _Step.of(node, {parent: i for i, parent in enumerate(node.parents)})
    return step.run(
        [
            others[p]
            if p in others
            else np.zeros(p.array_shape, complex if p.is_complex else float)
            for p in node.parents
        ]
    )


@dataclass(frozen=True, eq=False, slots=True)
class _Step:
    """A primitive, its constants, and where among earlier values it finds the others."""

    fun: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    argnums: tuple[int, ...]
    sources: tuple[int, ...]

    @classmethod
    def of(cls, node: TapeNode, number: dict[TapeNode, int]) -> _Step:
        # Not the node itself, which would keep the whole tape.
        sources = tuple([number[parent] for parent in node.parents])
        return cls(node.fun, node.args, node.kwargs, node.argnums, sources)

    def run(self, values: Sequence[Any]) -> Any:
        given = [values[source] for source in self.sources]
        args = subvals(self.args, zip(self.argnums, given, strict=True))
        if self.fun in (VSpace.mut_add, sparse_add) and args[1] is not None:
            # Without writing into an argument, which may be read again.
            space, previous, new = args
            return VSpace.add(space, previous, self.fun(space, None, new))
        return self.fun(*args, **self.kwargs)

    @property
    def key(self) -> Hashable:
        constants = [*self.args, *(self.kwargs[name] for name in sorted(self.kwargs))]
        return self.fun, self.argnums, self.sources, tuple(map(_identity, constants))


@dataclass(frozen=True, eq=False, slots=True)
class _Recorded:
    """Primitives as a function of real arrays.

    Attributes
    ----------
    steps : tuple of _Step
    inputs : tuple of (bool, value or None)
        For each argument whether it is complex, and the constant that is added to its linear part.
    output : (bool, value or None)
        The same for the result.
    """

    steps: tuple[_Step, ...]
    inputs: tuple[tuple[bool, Any], ...]
    output: tuple[bool, Any]

    def __call__(self, *arrays: Any) -> Any:
        values = []
        for array, (is_complex, constant) in zip(arrays, self.inputs, strict=True):
            value = array[..., 0] + 1j * array[..., 1] if is_complex else array
            values.append(value if constant is None else value + constant)
        with TRACING:  # some primitives trace when they run (odeint)
            for step in self.steps:
                values.append(step.run(values))
        is_complex, constant = self.output
        result = values[-1] if constant is None else values[-1] - constant
        if not is_complex:
            return result
        if isbox(result):
            return anp.stack([anp.real(result), anp.imag(result)], axis=-1)
        return np.stack([np.real(result), np.imag(result)], axis=-1)

    def scaled(self, *arrays: Any) -> Any:
        """The same with arguments whose largest entry is one, as far as tolerances can tell."""
        size = max(float(np.max(np.abs(array), initial=0.0)) for array in arrays)
        if size == 0.0:
            return np.zeros_like(self(*(array + 1.0 for array in arrays)))
        return size * self(*(array / size for array in arrays))

    @property
    def key(self) -> Hashable:
        """Equal for functions that compute the same."""
        ends = [*self.inputs, self.output]
        return (
            tuple([step.key for step in self.steps]),
            tuple([(is_complex, _identity(constant)) for is_complex, constant in ends]),
        )


def _identity(value: Any) -> Hashable:
    if isinstance(value, np.ndarray):
        return value.__array_interface__["data"][0], value.shape, value.strides, value.dtype.str
    if isinstance(value, int | float | complex | str | type(None)):
        return type(value), value
    return id(value)


def _matrix_of(
    function: Callable[..., Any], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> np.ndarray | None:
    """The matrix of a function, transposed; None where it is not linear, up to rounding."""
    size = prod(shape)
    units = np.eye(size, dtype=dtype)
    columns = np.reshape([function(unit.reshape(shape)) for unit in units], (size, -1))
    probe = np.linspace(-1.0, 2.0, size, dtype=dtype)
    expected = np.ravel(function(probe.reshape(shape)))
    rounding = 1e4 * np.finfo(dtype).eps * np.max(np.abs(columns), initial=0.0) * size
    if not np.allclose(probe @ columns, expected, rtol=0.0, atol=rounding, equal_nan=True):
        return None
    return columns
