"""Whether a function, its gradient and the product with its Hessian are what they say."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from hessop._lengths import length
from hessop.diagnostics import causes
from hessop.diagnostics.checked import Outcome, Unanswerable
from hessop.diagnostics.inspected import Inspected
from hessop.diagnostics.slopes import Quotients

__all__ = ["FUNCTION_CHECKS"]

# Differences that leave less than this of a number say nothing about it.
_POWERLESS = 0.05


def _finite(inspected: Inspected) -> Outcome:
    value, gradient = inspected.first
    if math.isfinite(value) and np.isfinite(gradient).all():
        return Outcome(is_fine=True)
    return Outcome(is_fine=False, cause=causes.not_finite(inspected.subject, value, gradient))


def _repeatable(inspected: Inspected) -> Outcome:
    return Outcome(*inspected.changes, lambda: causes.not_repeatable(inspected.subject))


def _precise(inspected: Inspected) -> Outcome:
    """Whether values carry the digits that x has."""
    _, gradient = inspected.here
    if inspected.subject.x.dtype == np.float32:
        raise Unanswerable("x is float32, and so is all that is computed from it.")
    single, noise = inspected.single, inspected.noise
    # At a minimum the gradient itself is nothing but rounding.
    steepest = max((line.steepest for line in inspected.lines), default=0.0)
    sizes = causes.largest_value(inspected), max(length(gradient), steepest)
    relative = [one / size for one, size in zip(noise, sizes, strict=True) if size]
    return Outcome(
        max(relative, default=0.0),
        math.sqrt(float(np.finfo(inspected.subject.x.dtype).eps)),
        single or causes.NOISE,
        is_fine=False if single else None,
    )


def _smooth(inspected: Inspected) -> Outcome:
    found = inspected.kink
    return Outcome(is_fine=not found, cause=causes.kink(inspected, *found) if found else "")


def _gradient(inspected: Inspected) -> Outcome:
    if inspected.subject.fun is None:
        raise Unanswerable("there is no fun to be differenced, only its gradient.")
    _, gradient = inspected.here
    noise = inspected.noise[1]
    found = []
    for line in inspected.lines:
        size = max(length(gradient), line.steepest) or 1.0
        claimed = np.atleast_1d(float(gradient @ line.v))
        allowed = noise + 10.0 * math.sqrt(gradient.size) * inspected.eps * length(gradient)
        found.append((line.slope, claimed, allowed, size))
    worst = _worst(inspected, found)
    return Outcome(*worst[:2], lambda: causes.wrong_gradient(inspected, *worst[2:]))


def _product(inspected: Inspected) -> Outcome:
    probed = inspected.probed
    products = probed.AV
    found = []
    for line, claimed in zip(inspected.lines, products, strict=False):
        size = max(length(claimed), _length_of(line.product)) or 1.0
        found.append((line.product, claimed, probed.rounding * probed.norm, size))
    worst = _worst(inspected, found)
    return Outcome(
        *worst[:2],
        lambda: causes.wrong_product(inspected, _passes(_gradient, inspected), *worst[2:]),
    )


def _passes(check: Callable[[Inspected], Outcome], inspected: Inspected) -> bool:
    """Whether a check passes, or cannot be made."""
    try:
        return check(inspected).passed
    except Unanswerable:
        return True


def _length_of(quotients: Quotients) -> float:
    return 0.0 if quotients.best is None else length(quotients.best)


def _worst(
    inspected: Inspected, found: list[tuple[Quotients, np.ndarray, float, float]]
) -> tuple[float, float, np.ndarray, np.ndarray]:
    """The discrepancy that exceeds what is allowed the most, that, and the two numbers."""
    compared = []
    for quotients, claimed, rounding, size in found:
        if quotients.best is None:
            continue
        allowed = (10.0 * quotients.error + rounding) / size
        discrepancy = length(claimed - quotients.best) / size
        if allowed < _POWERLESS:
            compared.append((discrepancy, allowed, claimed, quotients.best))
    if not compared:
        raise Unanswerable(causes.no_difference(inspected))
    return max(compared, key=lambda one: one[0] / one[1])


#: Names and functions, in the order in which they are made.
FUNCTION_CHECKS: tuple[tuple[str, Callable[[Inspected], Outcome]], ...] = (
    ("finite fun", _finite),
    ("repeatable fun", _repeatable),
    ("digits of fun", _precise),
    ("smooth fun", _smooth),
    ("gradient", _gradient),
    ("product", _product),
)
