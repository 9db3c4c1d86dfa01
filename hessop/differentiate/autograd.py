"""Gradient, Hessian and Jacobian products with HIPS autograd.

All of them are read off a `Recording` of the function at a point. The gradient pulls a seed back
through it. A Hessian product *lifts* it first: the recorded values are put in boxes of an outer
trace, without running a primitive again, and the pull-back is then itself differentiated. So a
point where only the value and the gradient are asked for never pays for second order, and one where
products follow does not run the function twice.

Every product returned here is a `LinearMap`. It may be called from several threads, which then take
turns: a primitive may trace when it is pulled back, and autograd counts traces in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from autograd.core import JVPNode, VJPNode, primitive_jvps, primitive_vjps
from autograd.tracer import Node, getval, new_box
from autograd.util import toposort

from hessop._errors import MissingDerivativeError, name_of
from hessop._tracing import TRACING, is_traced, new_trace
from hessop.differentiate.linear_map import LinearMap
from hessop.differentiate.recording import RecordedNode, Recording, pull
from hessop.params import Leaves

__all__ = [
    "forward_over_reverse",
    "gradient",
    "jacobian_adjoint_product",
    "jacobian_product",
    "reverse_over_forward",
    "reverse_over_reverse",
]


def gradient(recording: Recording, seed: Any) -> np.ndarray:
    """The gradient of ``<seed, fun(x)>``: one reverse pass.

    Parameters
    ----------
    recording : Recording
    seed : ndarray
        Shaped like the function's result.

    Returns
    -------
    ndarray, shape (n,)
    """
    with TRACING, _named_rules():
        found = pull(recording.order, _vjp_rules(recording), seed)
    return recording.layout.join(_at_roots(recording.roots, found))


def reverse_over_reverse(
    recording: Recording, seed: Any
) -> tuple[Callable[[], np.ndarray], LinearMap]:
    """Gradient and Hessian product of ``<seed, fun(x)>`` by two nested reverse passes.

    The graph of the gradient is kept: a product is one walk back through it.

    Returns
    -------
    gradient : callable
        Takes no argument, gives the gradient, shape (n,), as a fresh vector.
    product : LinearMap
        ``product(v)``, v of shape (n,) and the layout's dtype, gives the fresh vector H v.
    """
    layout = recording.layout
    with new_trace() as trace, _named_rules("mode='finite-difference'"):
        roots = [VJPNode.new_root() for _ in recording.roots]
        found = pull(*_lifted_vjp_rules(recording, roots, VJPNode, trace), seed)
    outputs = _at_roots(recording.roots, found)
    leaves = [getval(output) for output in outputs]
    product = LinearMap(layout, layout, _pull_back(outputs, roots, trace))
    return lambda: layout.join(leaves), product


def forward_over_reverse(recording: Recording, seed: Any) -> LinearMap:
    """Hessian product of ``<seed, fun(x)>``: the derivative of the gradient's computation along v.

    Pearlmutter's R operator (Neural Computation 6, 1994). The reverse pass is run anew for every
    product, so that nothing of it is kept in between.
    """

    def push_forward(tangents: Sequence[Any]) -> list[Any]:
        with new_trace() as trace, _named_rules("mode='reverse-over-reverse'"):
            roots = [JVPNode.new_root(tangent) for tangent in tangents]
            found = pull(*_lifted_vjp_rules(recording, roots, JVPNode, trace), seed)
        return [
            output._node.g if is_traced(output, trace) else None
            for output in _at_roots(recording.roots, found)
        ]

    return LinearMap(recording.layout, recording.layout, push_forward)


def reverse_over_forward(recording: Recording, seed: Any) -> LinearMap:
    """Hessian product of ``<seed, fun(x)>``: the gradient of its derivative along v."""

    def product(directions: Sequence[Any]) -> list[Any]:
        with new_trace() as trace, _named_rules("mode='reverse-over-reverse'"):
            roots = [VJPNode.new_root() for _ in recording.roots]
            boxes = _lift(recording, roots, VJPNode, trace)
            tangents: dict[Any, Any] = dict(zip(recording.roots, directions, strict=True))
            for node in reversed(recording.order):
                if node.parents:
                    tangents[node] = _jvp_rule(node)(
                        node.argnums,
                        [tangents[parent] for parent in node.parents],
                        boxes[node],
                        _lifted_args(node, boxes),
                        node.kwargs,
                    )
            slope = tangents[recording.order[0]]
            return _pull_back([slope], roots, trace)([seed])

    return LinearMap(recording.layout, recording.layout, product)


def jacobian_adjoint_product(recording: Recording) -> LinearMap:
    """``u -> Jᵀ u``, u of shape (m,): one walk back through the recorded primitives."""
    with TRACING, _named_rules():
        rules = list(_vjp_rules(recording))

    def pull_back(cotangents: Sequence[Any]) -> list[Any]:
        return _at_roots(recording.roots, pull(recording.order, rules, cotangents[0]))

    return LinearMap(_result_of(recording), recording.layout, pull_back)


def jacobian_product(recording: Recording) -> LinearMap:
    """``v -> J v``, v of shape (n,), as the adjoint of the adjoint.

    ``u -> Jᵀ u`` is linear, so the pull-back of *it* is J. It needs no JVP of any primitive.
    """
    root = VJPNode.new_root()
    with new_trace() as trace, _named_rules("mode='finite-difference'"):
        # At ones: some rules (eigh) look at their argument, and drop terms where it is zero.
        ones = new_box(np.ones_like(recording.value), trace, root)
        found = pull(recording.order, _vjp_rules(recording), ones)
    pull_back = _pull_back(_at_roots(recording.roots, found), [root], trace)
    return LinearMap(recording.layout, _result_of(recording), pull_back)


def _result_of(recording: Recording) -> Leaves:
    return Leaves((np.shape(recording.value),), recording.layout.dtype)


def _at_roots(roots: Sequence[Any], found: dict[Any, tuple[Any, bool]]) -> list[Any]:
    """What a walk left at the roots; None where it never came."""
    return [found[root][0] if root in found else None for root in roots]


def _pull_back(
    outputs: Sequence[Any], roots: Sequence[Any], trace: int
) -> Callable[[Sequence[Any]], list[Any]]:
    """The adjoint of the traced map from `roots` to `outputs`.

    It takes a cotangent for every output to one for every root; None stands for zero. Outputs that
    are not in the trace do not depend on the roots.
    """
    traced = [i for i, output in enumerate(outputs) if is_traced(output, trace)]
    if not traced:
        return lambda cotangents: [None] * len(roots)
    joint = VJPNode.new_root()  # one node above all outputs, so that one walk serves them together
    joint.parents = [outputs[i]._node for i in traced]
    joint.vjp = lambda cotangents: cotangents
    order = tuple(toposort(joint))
    rules = tuple(node.vjp if node.parents else None for node in order)

    def pull_back(cotangents: Sequence[Any]) -> list[Any]:
        found = pull(order, rules, [cotangents[i] for i in traced])
        return _at_roots(roots, found)

    return pull_back


# --- lifting a recording into an outer trace ------------------------------------------------------


def _lift(
    recording: Recording, roots: Sequence[Node], node_type: type[Node], trace: int
) -> dict[RecordedNode, Any]:
    """Box every recorded value as the outer trace would have, had it been open at the time."""
    boxes = {
        leaf: new_box(leaf.value, trace, root)
        for leaf, root in zip(recording.roots, roots, strict=True)
    }
    for node in reversed(recording.order):
        if node.parents:
            parents = tuple([boxes[parent]._node for parent in node.parents])
            outer = node_type(node.value, node.fun, node.args, node.kwargs, node.argnums, parents)
            boxes[node] = new_box(node.value, trace, outer)
    return boxes


def _lifted_args(node: RecordedNode, boxes: dict[RecordedNode, Any]) -> tuple[Any, ...]:
    args = list(node.args)
    for i, parent in zip(node.argnums, node.parents, strict=True):
        box = boxes[parent]
        # A node may have let go of its value where the next one, which was given it, has not.
        args[i] = box if box._value is args[i] else new_box(args[i], box._trace, box._node)
    return tuple(args)


def _lifted_vjp_rules(
    recording: Recording, roots: Sequence[Node], node_type: type[Node], trace: int
) -> tuple[tuple[RecordedNode, ...], Iterator[Any]]:
    boxes = _lift(recording, roots, node_type, trace)
    rules = (
        primitive_vjps[node.fun](node.argnums, boxes[node], _lifted_args(node, boxes), node.kwargs)
        if node.parents
        else None
        for node in recording.order
    )
    return recording.order, rules


def _vjp_rules(recording: Recording) -> Iterator[Any]:
    return (
        primitive_vjps[node.fun](node.argnums, node.value, node.args, node.kwargs)
        if node.parents
        else None
        for node in recording.order
    )


def _jvp_rule(node: RecordedNode) -> Any:
    try:
        return primitive_jvps[node.fun]
    except KeyError:
        raise NotImplementedError(f"JVP of {name_of(node.fun)} not defined") from None


@contextmanager
def _named_rules(instead: str = "other functions, or pass grad=") -> Iterator[None]:
    """Say what to do where autograd only says which rule it lacks."""
    try:
        yield
    except NotImplementedError as error:
        raise MissingDerivativeError(f"autograd: {error}. Use {instead}.") from error
