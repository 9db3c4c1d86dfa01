"""From autograd's many primitives to the few instructions of a program."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np

from hessop._errors import NotLinearError, name_of
from hessop.tape.builder import Builder
from hessop.tape.opaque import as_recorded, value_at_zero
from hessop.tape.program import Program
from hessop.tape.recorder import Tape, TapeNode
from hessop.tape.rules import FIRST_ADDEND, OF_PARTS, RULES, Parts
from hessop.tape.views import View, whole

__all__ = ["lower"]


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
    # A value may have a constant added to it (odeint integrates the state beside its adjoint). The
    # linear part is what is lowered; the constant is the value where v is zero.
    at_zero: dict[TapeNode, Any] = {}
    for node in tape.order:
        if _has_constant(node) or not at_zero.keys().isdisjoint(node.parents):
            constant = value_at_zero(node, at_zero)
            # Where it is NaN, it is no constant that is added, but one that multiplies zero.
            if node.shape is None or np.any(np.nan_to_num(constant)):
                at_zero[node] = constant
        value = None
        if node.fun not in opaque and all(parent in lowered for parent in node.parents):
            value = lower_node(build, node, tuple([lowered[parent] for parent in node.parents]))
        if value is None and node.shape is not None:
            value = as_recorded(build, node, lowered, at_zero)
        if value is not None:
            lowered[node] = value
    for output in tape.outputs:
        if output in at_zero:
            raise NotLinearError(name_of(output.fun))
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
    if node.is_complex or any(parent.is_complex for parent in node.parents):
        return None
    if any(isinstance(x, Parts) for x in xs) and node.fun not in OF_PARTS:
        return None
    value = rule(build, node, xs)
    fits = isinstance(value, Parts) or node.shape is None or value.shape == node.shape
    return value if value is None or fits else None


def _has_constant(node: TapeNode) -> bool:
    """Whether something that is not zero, and does not depend on v, is added to what does."""
    first = FIRST_ADDEND.get(node.fun)
    if first is None:
        return False
    return any(arg is not None and np.any(np.nan_to_num(arg)) for arg in node.args[first:])


def _is_complex(arg: Any) -> bool:
    return isinstance(arg, complex | np.ndarray | np.generic) and np.iscomplexobj(arg)
