"""Run a function once, and write down what ran.

A `Recording` holds which primitives of autograd ran and what came out, and no derivative yet: those
are read off it later, by `hessop.differentiate.autograd`, to first or to second order as is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from autograd.core import VJPNode, add_outgrads, primitive_vjps
from autograd.tracer import Node, getval, isbox, new_box, notrace_primitives
from autograd.util import toposort

from hessop._errors import MissingDerivativeError, NonFiniteError, NotTracedError, name_of
from hessop._tracing import is_traced, new_trace
from hessop.differentiate.retention import is_large, thin_out
from hessop.params import Layout

__all__ = ["RecordedNode", "Recording", "pull", "record"]


class RecordedNode(Node):
    """A primitive that ran: what it was given and what came out, nothing derived from it yet.

    Arrays that its derivatives will not look at are let go: see `hessop.differentiate.retention`.
    """

    __slots__ = ["argnums", "args", "fun", "kwargs", "parents", "value"]

    def __init__(
        self,
        value: Any,
        fun: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        argnums: tuple[int, ...],
        parents: tuple[RecordedNode, ...],
    ) -> None:
        if fun not in primitive_vjps:
            # Raised here, so that the traceback shows the line of the user's function.
            raise MissingDerivativeError(
                f"autograd has no derivative of {name_of(fun)}. Write it with other functions of "
                "autograd.numpy, define one with autograd.extend.defvjp, or pass grad=."
            )
        if is_large(value) or is_large(args[argnums[0]]):
            value, args = thin_out(fun, value, args, argnums)
        self.value = value
        self.args = args
        self.fun = fun
        self.kwargs = kwargs
        self.argnums = argnums
        self.parents = parents

    def initialize_root(self, value: Any) -> None:
        """Begin a graph with a leaf of the function's argument."""
        self.value = value
        self.parents = ()


# What reverse mode does not trace (size, comparisons, ...) is not recorded either.
notrace_primitives[RecordedNode] = notrace_primitives[VJPNode]


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
    roots: tuple[RecordedNode, ...]
    order: tuple[RecordedNode, ...]


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
    NonFiniteError
        When the result is a plain infinity or NaN.
    MissingDerivativeError
        When autograd has no derivative of a primitive that ran.
    """
    roots = tuple(RecordedNode.new_root(leaf) for leaf in layout.split(x))
    with new_trace() as trace:
        boxes = [new_box(root.value, trace, root) for root in roots]
        try:
            result = fun(layout.build(boxes), *args)
        except Exception as error:
            _add_hint(error, layout)
            raise
        value, end = _traced_result(result, trace)
    return Recording(layout, value, roots, tuple(toposort(end)))


def pull(order: Sequence[Any], rules: Iterable[Any], seed: Any) -> dict[Any, tuple[Any, bool]]:
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


# --- what goes wrong, in words --------------------------------------------------------------------


def _add_hint(error: Exception, layout: Layout) -> None:
    if not isinstance(error, TypeError | ValueError | AttributeError | IndexError) or isinstance(
        error, np.linalg.LinAlgError
    ):
        return
    error.add_note(
        "hessop ran fun on traced values. If it works on plain arrays, look for a function that is "
        "not from autograd.numpy, for float(), or for an assignment to an entry of an array."
    )
    if len(layout.shapes) > 1 and not any(layout.shapes):
        error.add_note("x is a nest of numbers and reaches fun as such: for an array, pass one.")


def _traced_result(result: Any, trace: int) -> tuple[Any, RecordedNode]:
    if not is_traced(result, trace):
        _refuse_result(result)
    if isbox(result._value):
        raise NotTracedError(
            "autograd is differentiating by a value that fun refers to: make the operator outside "
            "of that, or pass the plain value."
        )
    value = getval(result)
    if not isinstance(value, float | np.ndarray | np.floating) or np.iscomplexobj(value):
        _refuse_result(value)
    # A primitive of the user's own may return Python's float, which has no dtype.
    return np.float64(value) if type(value) is float else value, result._node


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
            "fun returned an array of objects, expected numbers: numpy built it from traced "
            "values. Use autograd.numpy in its place."
        )
    if kind not in "biuf":
        raise NotTracedError(f"fun returned a {type(value).__name__}, expected a number.")
    if not np.isfinite(value).all():
        # A branch for points outside the domain may well return a plain infinity.
        raise NonFiniteError(f"fun returned {value}, expected a finite result.")
    shape = f" of shape {np.shape(value)}" if np.ndim(value) else ""
    raise NotTracedError(
        "fun's result does not depend on its argument through autograd.numpy: it is a plain "
        f"{type(value).__name__}{shape}. Compute it from x with autograd.numpy, without float(), "
        "math, rounding, or writing into an array; for points outside of the domain, return inf."
    )
