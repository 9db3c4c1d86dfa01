"""Run a linear closure once under a tracer, and write down its primitives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from autograd.core import VJPNode, VSpace, sparse_add
from autograd.tracer import Node, getval, new_box, notrace_primitives
from autograd.util import toposort

from hessop._errors import NotLinearError
from hessop._tracing import is_traced, new_trace
from hessop.params import Leaves

__all__ = ["ACCUMULATORS", "Tape", "TapeNode", "record"]

# They write into their second argument.
ACCUMULATORS = {sparse_add, VSpace.mut_add}


class TapeNode(Node):
    """A primitive that ran on values that depend on v, with the constants that it was given.

    Attributes
    ----------
    fun : primitive of autograd
    args, kwargs : tuple, dict
        As given; None in the places of what depends on v.
    argnums : tuple of int
        These places.
    parents : tuple of TapeNode
        What came there.
    shape : tuple of int
        Of the result; None where that is not a number or an array.
    is_complex : bool
        Whether the result is complex.
    """

    __slots__ = ["argnums", "args", "fun", "is_complex", "kwargs", "parents", "shape"]

    def __init__(
        self,
        value: Any,
        fun: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        argnums: tuple[int, ...],
        parents: tuple[TapeNode, ...],
    ) -> None:
        given = list(args)
        for i in argnums:
            given[i] = None
        if fun in ACCUMULATORS and 1 not in argnums:
            # Zeros that do not depend on v, and that this very call has written into.
            given[1] = None
        self.fun = fun
        self.args = tuple(given)
        self.kwargs = kwargs
        self.argnums = argnums
        self.parents = parents
        kind = _kind(value)
        self.shape = np.shape(value) if kind in ("f", "c") else None
        self.is_complex = kind == "c"

    @property
    def array_shape(self) -> tuple[int, ...]:
        """The shape of a result that is known to be a number or an array."""
        shape: tuple[int, ...] | None = self.shape
        assert shape is not None
        return shape

    def initialize_root(self, value: Any) -> None:
        """Begin a tape with a leaf of v."""
        self.parents = ()
        self.shape = np.shape(value)
        self.is_complex = False


# What reverse mode does not trace (size, comparisons, ...) is not recorded either.
notrace_primitives[TapeNode] = notrace_primitives[VJPNode]


@dataclass(frozen=True, eq=False, slots=True)
class Tape:
    """One run of a linear closure.

    Attributes
    ----------
    source, target : Leaves
    roots : tuple of TapeNode
        One for each leaf of the argument.
    outputs : tuple of TapeNode or None
        One for each leaf of the result; None where that is zero whatever v is.
    order : tuple of TapeNode
        Every node after its parents; without the roots.
    """

    source: Leaves
    target: Leaves
    roots: tuple[TapeNode, ...]
    outputs: tuple[TapeNode | None, ...]
    order: tuple[TapeNode, ...]


def record(
    on_leaves: Callable[[Sequence[Any]], Sequence[Any]],
    source: Leaves,
    target: Leaves,
    v: np.ndarray,
) -> Tape:
    """Run a linear closure at v and write down its primitives.

    Parameters
    ----------
    on_leaves : callable
        Takes arrays in the shapes of `source` to arrays in the shapes of `target`, None for zeros.
    source, target : Leaves
    v : ndarray, shape (n,)
        Random and without zeros: some primitives drop terms where their argument is zero.

    Returns
    -------
    Tape

    Raises
    ------
    NotLinearError
        When a result is a constant that is not zero.
    """
    with new_trace() as trace:
        leaves = source.split(v)
        roots = tuple(TapeNode.new_root(leaf) for leaf in leaves)
        boxes = [new_box(leaf, trace, root) for leaf, root in zip(leaves, roots, strict=True)]
        results = on_leaves(boxes)
    outputs = tuple([_output(result, trace) for result in results])
    joint = TapeNode.new_root(v)
    joint.parents = tuple([node for node in outputs if node is not None])
    order = [node for node in toposort(joint) if node.parents and node is not joint]
    return Tape(source, target, roots, outputs, tuple(reversed(order)))


def _output(result: Any, trace: int) -> TapeNode | None:
    if is_traced(result, trace):
        node: TapeNode = result._node
        return node
    if result is not None and np.any(getval(result)):
        raise NotLinearError("the result")
    return None


def _kind(value: Any) -> str:
    if isinstance(value, float | complex | np.generic | np.ndarray):
        return np.asarray(value).dtype.kind
    return ""
