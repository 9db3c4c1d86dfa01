"""Why a function, its gradient and its Hessian disagree, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hessop._lengths import length
from hessop.differentiate.inspection import (
    first_difference,
    first_single,
    kinked_primitives,
    largest_magnitude,
    wrong_rule,
)
from hessop.operators.hessian import hessian_operator

if TYPE_CHECKING:
    from hessop.diagnostics.inspected import Inspected, Subject

__all__ = [
    "NOISE",
    "kink",
    "largest_value",
    "no_difference",
    "not_finite",
    "not_repeatable",
    "single_precision",
    "wrong_gradient",
    "wrong_product",
]

# A relative step that float32 does not see, and two that it does; and the first in terms of the
# last.
_STEPS_ABOUT_SINGLE = 2.0**-36, 2.0**-16, 2.0**-12
_SHARE = 2.0**-24
_AT_KINK = "differences cross a kink: see smooth fun."
NOISE = (
    "values, or gradients, change by more than rounding when x changes in its last digits: numbers "
    "of float32 within, large numbers that cancel, or an iteration that ends at a tolerance."
)


def not_finite(subject: Subject, value: float, gradient: np.ndarray) -> str:
    """Where a value or a gradient is not finite."""
    if not np.isfinite(value):
        return f"{subject.name}(x) is {value}: x is outside of its domain, or it overflows."
    first = int(np.flatnonzero(~np.isfinite(gradient))[0])
    return (
        f"the gradient is {gradient[first]} at {subject.layout.where(first)}: the derivative does "
        "not exist there (a norm at 0, a branch of where that is not taken), or it overflows."
    )


def not_repeatable(subject: Subject) -> str:
    """Why two runs of a function differ."""
    where = ""
    recordings = [subject.record(), subject.record()]
    if recordings[0] is not None and recordings[1] is not None:
        name = first_difference(recordings[0], recordings[1])
        if name is not None:
            where = f" The first value that differs is that of {name}."
    return (
        "two runs at the same x differ: randomness in fun, as of a dropout mask or a batch that is "
        f"drawn anew, or a state that it changes.{where} Draw once, and pass the draw in args."
    )


def single_precision(inspected: Inspected) -> str:
    """Where float32 comes in, though x is float64; empty where it does not."""
    subject = inspected.subject
    if subject.x.dtype == np.float32:
        return ""
    recording = inspected.recording
    name = None if recording is None else first_single(recording)
    if name is not None:
        return (
            f"float32: x is float64, but {name} makes float32 of it, so that nine digits are lost. "
            "Leave out the cast, or give x as float32."
        )
    if recording is None and _ignores_digits(inspected):
        return "float32: digits of x beyond those of float32 make no difference. Look for astype."
    return ""


def _ignores_digits(inspected: Inspected) -> bool:
    """Whether tiny steps leave a gradient as it is, where larger ones change it in proportion."""
    subject, (_, here) = inspected.subject, inspected.first
    scale, eps = 1.0 + length(subject.x), float(np.finfo(float).eps)

    def change(relative: float, v: np.ndarray) -> float:
        return length(subject.at(subject.x + relative * scale * v)[1] - here)

    for v in inspected.V.T:
        tiny, large, larger = (change(relative, v) for relative in _STEPS_ABOUT_SINGLE)
        is_smooth = large < larger / 4.0  # and no kink was crossed
        if tiny == 0.0 and is_smooth and larger * _SHARE > 1e3 * eps * length(here):
            return True
    return False


def largest_value(inspected: Inspected) -> float:
    """The magnitude of the largest number that the value was computed from."""
    known = abs(inspected.here[0])
    if inspected.recording is None:
        return known
    return max(known, largest_magnitude(inspected.recording))


def kink(inspected: Inspected, what: str, h: float, size: float) -> str:
    """Of which derivative there is a jump, how near, and what may have made it."""
    recording = inspected.recording
    names = [] if recording is None else kinked_primitives(recording)
    made_by = f" fun is made with {', '.join(names)}." if names else ""
    reach = h * length(inspected.V[:, 0])
    return (
        f"a kink: {what} jumps by {size:.2g} at x, or within {reach:.0e} of it.{made_by} There is "
        "no Hessian at a kink: products give that of one side. Move x, or smooth fun."
    )


def no_difference(inspected: Inspected) -> str:
    """Why differences tell nothing."""
    if inspected.kink:
        return "differences do not converge at a kink."
    return (
        "differences carry no digit here: rounding is too large, or fun is not finite a step away "
        "from x."
    )


def wrong_gradient(inspected: Inspected, claimed: np.ndarray, found: np.ndarray) -> str:
    """Why a gradient is not that of the function."""
    if inspected.kink:
        return _AT_KINK
    times = _ratio(claimed, found)
    if inspected.recording is None:
        return f"grad is not the gradient of fun{times}: look at its signs, factors and terms."
    rule = wrong_rule(inspected.recording)
    if rule is not None:
        return f"a wrong custom derivative: {rule}. See autograd.extend.defvjp."
    return (
        f"values left the graph: the gradient lacks a part of fun{times}. Look for float(), "
        "np.array() of a value that depends on x, getval, item(), or a function of numpy in place "
        "of autograd.numpy."
    )


def wrong_product(
    inspected: Inspected, gradient_is_right: bool, claimed: np.ndarray, found: np.ndarray
) -> str:
    """Why a product is not that with the Hessian of the function."""
    if inspected.kink:
        return _AT_KINK
    if not gradient_is_right:
        return "the gradient is wrong already: see there."
    times = _ratio(claimed, found)
    operator: Any = inspected.probed.operator
    if getattr(operator, "step_error", 0.0):
        return (
            f"products are differences{times}, whose step is too large or too small for fun, or "
            "crosses a kink. Use an exact mode."
        )
    if inspected.recording is not None:
        rule = wrong_rule(inspected.recording, second_order=True)
        if rule is not None:
            return (
                f"a wrong custom derivative: {rule}. The gradient is right, but not the derivative "
                "of that. Write the rule with autograd.numpy, as a function of what it is given."
            )
        if _own_products_agree(inspected, found):
            return f"A is not the Hessian of fun at x{times}: hessian_operator(fun, x) is."
    return (
        f"A @ v is not the derivative of the gradient along v{times}: A belongs to another point "
        "or function, a derivative rule is wrong to second order, or values left the graph in one."
    )


def _ratio(claimed: np.ndarray, found: np.ndarray) -> str:
    """By which factor two vectors differ, where they differ by one."""
    size = float(found @ found)
    factor = float(claimed @ found) / size if size else 1.0
    if abs(factor - 1.0) < 1e-3 or length(claimed - factor * found) > 1e-3 * length(claimed):
        return ""
    return f" (it is {factor:.4g} times what differences give)"


def _own_products_agree(inspected: Inspected, found: np.ndarray) -> bool:
    """Whether the Hessian that autograd gives has this product with one of the directions."""
    subject = inspected.subject
    H = hessian_operator(subject.fun, subject.layout.unflatten(subject.x), args=subject.args)
    return any(length(H @ v - found) <= 1e-3 * length(found) for v in inspected.V.T)
