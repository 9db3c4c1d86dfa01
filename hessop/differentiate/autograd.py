"""Gradient, Hessian and Jacobian products with HIPS autograd.

A function is run once per point, under a tracer that only writes down which primitives ran and what
came out: a `Recording`. Everything else is read off it. The gradient pulls a seed back through it.
A Hessian product *lifts* it first: the recorded values are put in boxes of an outer trace, without
running a primitive again, and the pull-back is then itself differentiated. So a point where only the
value and the gradient are asked for never pays for second order, and one where products follow does
not run the function twice.

Every closure returned here takes and gives flat vectors, and may be called from several threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from autograd.core import JVPNode, VJPNode, add_outgrads, primitive_jvps, primitive_vjps
from autograd.tracer import Node, getval, isbox, new_box, notrace_primitives, trace_stack
from autograd.util import subvals, toposort

from hessop._errors import MissingDerivativeError, NotTracedError
from hessop.params import Layout

__all__ = [
    "Product",
    "Recording",
    "forward_over_reverse",
    "gradient",
    "jacobian_adjoint_product",
    "jacobian_product",
    "record",
    "reverse_over_forward",
    "reverse_over_reverse",
]

Product = Callable[[np.ndarray], np.ndarray]

# autograd counts its nested traces in one process-wide variable.
_TRACING = threading.RLock()


class _RecordedNode(Node):
    """A primitive that ran: what it was given and what came out, nothing derived from it yet."""

    __slots__ = ["argnums", "args", "fun", "kwargs", "parents", "value"]

    def __init__(
        self,
        value: Any,
        fun: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        argnums: tuple[int, ...],
        parents: tuple[_RecordedNode, ...],
    ) -> None:
        if fun not in primitive_vjps:
            # Raised here, so that the traceback shows the line of the user's function.
            raise MissingDerivativeError(
                f"autograd has no derivative of {_name(fun)}. Write it with other functions of "
                "autograd.numpy, define one with autograd.extend.defvjp, or pass grad=."
            )
        self.value = value
        self.fun = fun
        self.args = args
        self.kwargs = kwargs
        self.argnums = argnums
        self.parents = parents

    def initialize_root(self, value: Any) -> None:
        self.value = value
        self.parents = ()


# What reverse mode does not trace (size, comparisons, ...) is not recorded either.
notrace_primitives[_RecordedNode] = notrace_primitives[VJPNode]


@dataclass(frozen=True, eq=False, slots=True)
class Recording:
    """One run of a function at a point.

    Attributes
    ----------
    layout : Layout
        How the function's argument lies in the flat vector.
    value : float or ndarray
        What the function returned.
    roots : tuple of nodes
        One for each leaf of the argument.
    order : tuple of nodes
        The primitives from the result back to the leaves: every node before its parents.
    """

    layout: Layout
    value: Any
    roots: tuple[_RecordedNode, ...]
    order: tuple[_RecordedNode, ...]


def record(
    fun: Callable[..., Any], layout: Layout, x: np.ndarray, args: tuple[Any, ...] = ()
) -> Recording:
    """Run ``fun(tree of x, *args)`` once and write down its primitives.

    Parameters
    ----------
    fun : callable
        Written with autograd.numpy; returns a real number or an array of them.
    layout : Layout
    x : ndarray, shape (n,)
        Not copied: the caller must not change it afterwards.
    args : tuple

    Returns
    -------
    Recording

    Raises
    ------
    NotTracedError
        When the result is not a real number or array, or does not depend on x through autograd.
    MissingDerivativeError
        When autograd has no derivative of a primitive that ran.
    """
    roots = tuple(_RecordedNode.new_root(leaf) for leaf in layout.split(x))
    with _new_trace() as trace:
        boxes = [new_box(root.value, trace, root) for root in roots]
        try:
            result = fun(layout.build(boxes), *args)
        except Exception as error:
            _add_hint(error, layout)
            raise
        value, end = _traced_result(result, trace)
    return Recording(layout, value, roots, tuple(toposort(end)))


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
    with _TRACING, _named_rules():
        found = _pull(recording.order, _vjp_rules(recording), seed)
    return _at_leaves(recording, found)


def reverse_over_reverse(recording: Recording, seed: Any) -> tuple[np.ndarray, Product]:
    """Gradient and Hessian product of ``<seed, fun(x)>`` by two nested reverse passes.

    The graph of the gradient is kept: a product is one walk back through it, 2 to 4 gradients' work.

    Returns
    -------
    gradient : ndarray, shape (n,)
    product : callable
        ``product(v)``, v of shape (n,) and the layout's dtype, gives the fresh vector H v.
    """
    layout = recording.layout
    with _new_trace() as trace, _named_rules("mode='finite-difference'"):
        roots = [VJPNode.new_root() for _ in recording.roots]
        found = _pull(*_lifted_vjp_rules(recording, roots, VJPNode, trace), seed)
    outputs = [found[root][0] if root in found else None for root in recording.roots]
    pull_back = _pull_back(outputs, roots, trace)

    def product(v: np.ndarray) -> np.ndarray:
        return layout.join(pull_back(layout.split(v)))

    return layout.join([getval(output) for output in outputs]), product


def forward_over_reverse(recording: Recording, seed: Any) -> Product:
    """Hessian product of ``<seed, fun(x)>``: the derivative of the gradient's computation along v.

    Pearlmutter's R operator (Neural Computation 6, 1994). The reverse pass is run anew for every
    product, so that nothing of it is kept in between.
    """
    layout = recording.layout

    def product(v: np.ndarray) -> np.ndarray:
        with _new_trace() as trace, _named_rules("mode='reverse-over-reverse'"):
            roots = [JVPNode.new_root(leaf) for leaf in layout.split(v)]
            found = _pull(*_lifted_vjp_rules(recording, roots, JVPNode, trace), seed)
        tangents = [
            output._node.g if _is_traced(output, trace) else None
            for output in (found.get(root, (None,))[0] for root in recording.roots)
        ]
        return layout.join(tangents)

    return product


def reverse_over_forward(recording: Recording, seed: Any) -> Product:
    """Hessian product of ``<seed, fun(x)>``: the gradient of its derivative along v."""
    layout = recording.layout

    def product(v: np.ndarray) -> np.ndarray:
        with _new_trace() as trace, _named_rules("mode='reverse-over-reverse'"):
            roots = [VJPNode.new_root() for _ in recording.roots]
            boxes = _lift(recording, roots, VJPNode, trace)
            tangents: dict[Any, Any] = dict(zip(recording.roots, layout.split(v), strict=True))
            for node in reversed(recording.order):
                if node.parents:
                    tangents[node] = _rule(primitive_jvps, "JVP", node)(
                        node.argnums,
                        [tangents[parent] for parent in node.parents],
                        boxes[node],
                        _lifted_args(node, boxes),
                        node.kwargs,
                    )
            slope = tangents[recording.order[0]]
        pull_back = _pull_back([slope], roots, trace)
        return layout.join(pull_back([seed]))

    return product


def jacobian_adjoint_product(recording: Recording) -> Product:
    """``u -> Jᵀ u``, u of shape (m,): one walk back through the recorded primitives."""
    with _TRACING, _named_rules():
        rules = list(_vjp_rules(recording))

    def product(u: np.ndarray) -> np.ndarray:
        seed = np.reshape(u, np.shape(recording.value))
        return _at_leaves(recording, _pull(recording.order, rules, seed))

    return product


def jacobian_product(recording: Recording) -> Product:
    """``v -> J v``, v of shape (n,), as the adjoint of the adjoint.

    ``u -> Jᵀ u`` is linear, so the pull-back of *it* is J. It needs no JVP of any primitive.
    """
    layout = recording.layout
    size = np.size(recording.value)
    root = VJPNode.new_root()
    with _new_trace() as trace, _named_rules("mode='finite-difference'"):
        # At ones: some rules (eigh) look at their argument, and drop terms where it is zero.
        ones = new_box(np.ones_like(recording.value), trace, root)
        found = _pull(recording.order, _vjp_rules(recording), ones)
    outputs = [found[leaf][0] if leaf in found else None for leaf in recording.roots]
    pull_back = _pull_back(outputs, [root], trace)

    def product(v: np.ndarray) -> np.ndarray:
        (tangent,) = pull_back(layout.split(v))
        result = np.empty(size, dtype=layout.dtype)
        result[:] = 0.0 if tangent is None else np.ravel(tangent)
        return result

    return product


# --- walking a graph ------------------------------------------------------------------------------


@contextmanager
def _new_trace() -> Iterator[int]:
    """Open one more of autograd's traces, and close it also when an exception passes through."""
    with _TRACING:
        outer = trace_stack.top
        trace_stack.top = outer + 1
        try:
            yield outer + 1
        finally:
            trace_stack.top = outer


def _is_traced(value: Any, trace: int) -> bool:
    return isbox(value) and value._trace == trace


def _pull(order: Sequence[Any], rules: Iterable[Any], seed: Any) -> dict[Any, tuple[Any, bool]]:
    """Walk back along `order`, each node's rule taking its cotangent to those of its parents.

    A node without parents has the rule None. Its cotangent stays: the result maps each such node to
    a pair of its cotangent and a flag of autograd's.
    """
    outgrads = {order[0]: (seed, False)}
    for node, rule in zip(order, rules, strict=True):
        if rule is not None:
            cotangent = outgrads.pop(node)[0]
            for parent, ingrad in zip(node.parents, rule(cotangent), strict=False):
                outgrads[parent] = add_outgrads(outgrads.get(parent), ingrad)
    return outgrads


def _at_leaves(recording: Recording, found: dict[Any, tuple[Any, bool]]) -> np.ndarray:
    return recording.layout.join([found.get(root, (None,))[0] for root in recording.roots])


def _pull_back(
    outputs: Sequence[Any], roots: Sequence[Any], trace: int
) -> Callable[[Sequence[Any]], list[Any]]:
    """The adjoint of the traced map from `roots` to `outputs`.

    It takes a cotangent for every output to one for every root; None stands for zero. Outputs that
    are not in the trace do not depend on the roots.
    """
    traced = [i for i, output in enumerate(outputs) if _is_traced(output, trace)]
    if not traced:
        return lambda cotangents: [None] * len(roots)
    joint = VJPNode.new_root()  # one node above all outputs, so that one walk serves them together
    joint.parents = [outputs[i]._node for i in traced]
    joint.vjp = lambda cotangents: cotangents
    order = tuple(toposort(joint))
    rules = tuple(node.vjp if node.parents else None for node in order)

    def pull_back(cotangents: Sequence[Any]) -> list[Any]:
        found = _pull(order, rules, [cotangents[i] for i in traced])
        return [found[root][0] if root in found else None for root in roots]

    return pull_back


# --- lifting a recording into an outer trace ------------------------------------------------------


def _lift(
    recording: Recording, roots: Sequence[Node], node_type: type[Node], trace: int
) -> dict[_RecordedNode, Any]:
    """Box every recorded value as the outer trace would have, had it been open at the time."""
    boxes = {
        leaf: new_box(leaf.value, trace, root)
        for leaf, root in zip(recording.roots, roots, strict=True)
    }
    for node in reversed(recording.order):
        if node.parents:
            parents = tuple(boxes[parent]._node for parent in node.parents)
            outer = node_type(node.value, node.fun, node.args, node.kwargs, node.argnums, parents)
            boxes[node] = new_box(node.value, trace, outer)
    return boxes


def _lifted_args(node: _RecordedNode, boxes: dict[_RecordedNode, Any]) -> tuple[Any, ...]:
    lifted = (boxes[parent] for parent in node.parents)
    return subvals(node.args, zip(node.argnums, lifted, strict=True))  # type: ignore[no-any-return]


def _lifted_vjp_rules(
    recording: Recording, roots: Sequence[Node], node_type: type[Node], trace: int
) -> tuple[tuple[_RecordedNode, ...], Iterator[Any]]:
    boxes = _lift(recording, roots, node_type, trace)
    rules = (
        _vjp_rule(node, boxes[node], _lifted_args(node, boxes)) if node.parents else None
        for node in recording.order
    )
    return recording.order, rules


def _vjp_rules(recording: Recording) -> Iterator[Any]:
    return (
        _vjp_rule(node, node.value, node.args) if node.parents else None
        for node in recording.order
    )


def _vjp_rule(node: _RecordedNode, value: Any, args: tuple[Any, ...]) -> Any:
    return _rule(primitive_vjps, "VJP", node)(node.argnums, value, args, node.kwargs)


def _rule(table: dict[Any, Any], kind: str, node: _RecordedNode) -> Any:
    try:
        return table[node.fun]
    except KeyError:
        raise NotImplementedError(f"{kind} of {_name(node.fun)} not defined") from None


# --- what goes wrong, in words --------------------------------------------------------------------


def _name(fun: Any) -> str:
    return getattr(fun, "__name__", repr(fun))


@contextmanager
def _named_rules(instead: str = "other functions, or pass grad=") -> Iterator[None]:
    """Say what to do where autograd only says which rule it lacks."""
    try:
        yield
    except NotImplementedError as error:
        raise MissingDerivativeError(f"autograd: {error}. Use {instead}.") from error


def _add_hint(error: Exception, layout: Layout) -> None:
    if not isinstance(error, TypeError | ValueError | AttributeError | IndexError):
        return
    error.add_note(
        "hessop ran fun on traced values. If it works on plain arrays, look for a function that is "
        "not from autograd.numpy, for float(), or for an assignment to an entry of an array."
    )
    if len(layout.shapes) > 1 and not any(layout.shapes):
        error.add_note("x is a nest of numbers and reaches fun as such: for an array, pass one.")


def _traced_result(result: Any, trace: int) -> tuple[Any, _RecordedNode]:
    if not _is_traced(result, trace):
        _refuse_result(result)
    value = getval(result)
    if not isinstance(value, float | np.ndarray | np.floating) or np.iscomplexobj(value):
        _refuse_result(value)
    return value, result._node


def _refuse_result(result: Any) -> NoReturn:
    if result is None:
        raise NotTracedError("fun returned None, expected a number. Add a return statement.")
    value = getval(result)
    if isinstance(value, list | tuple | dict):
        raise NotTracedError(
            f"fun returned a {type(value).__name__}, expected a number or one array. "
            "Join its entries with autograd.numpy.array or concatenate."
        )
    kind = np.asarray(value).dtype.kind
    if kind == "c":
        raise NotTracedError(
            "fun returned a complex result, expected a real one. "
            "Take its real part, or the square of its modulus."
        )
    if kind == "O" and isinstance(value, np.ndarray):
        raise NotTracedError(
            "fun returned an array of objects, expected numbers: numpy built it from traced values. "
            "Use autograd.numpy in its place."
        )
    if kind not in "biuf":
        raise NotTracedError(f"fun returned a {type(value).__name__}, expected a number.")
    shape = f" of shape {np.shape(value)}" if np.ndim(value) else ""
    raise NotTracedError(
        "fun's result does not depend on its argument through autograd.numpy: it is a plain "
        f"{type(value).__name__}{shape}. Compute it from x with autograd.numpy, without float(), "
        "math, or writing into an array."
    )
