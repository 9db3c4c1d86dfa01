"""What must hold for any matrix that is known by its products."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np

from hessop._lengths import length
from hessop.diagnostics.checked import Outcome, Unanswerable
from hessop.diagnostics.probed import Probed, finite_product, has_adjoint
from hessop.operators.base import BaseOperator
from hessop.operators.checks import first_bad

__all__ = ["OPERATOR_CHECKS"]

_SINGLE = float(np.finfo(np.float32).eps)
# An iteration that ends at a tolerance is nearly linear: below this, that is the likely cause.
_NEARLY = 1e-2
# Numbers from here on are not looked at for whether they are whole: most of them are.
_WHOLE = 2.0**40
_SINGLE_CAUSE = (
    "it is as large as the rounding of float32: something that products are made of is cast to "
    "float32. Look for astype, and for arrays made with that dtype."
)


def _finite_products(probed: Probed) -> Outcome:
    bad = [first_bad(one) for one in probed.raw if not np.isfinite(one).all()]
    cause = (
        f"A @ v has {bad[0]}, though v is finite: a derivative that does not exist at the point (a "
        "norm at 0, a branch of where that is not taken), or an overflow."
        if bad
        else ""
    )
    return Outcome(is_fine=not bad, cause=cause)


def _dtype(probed: Probed) -> Outcome:
    cause = _wrong_dtype(probed, np.concatenate([one[one != 0.0] for one in probed.AV]))
    return Outcome(is_fine=not cause, cause=cause)


def _wrong_dtype(probed: Probed, entries: np.ndarray) -> str:
    came, expected = probed.raw[0].dtype, np.result_type(probed.declared, probed.dtype)
    if came != expected:
        why = "what they are made of is float32" if came == np.float32 else "they are cast"
        return (
            f"products have dtype {came}, where that of the operator is {probed.declared}: {why}. "
            "Declare the dtype that products have, or cast neither them nor what they are made of."
        )
    small = entries[np.abs(entries) < _WHOLE]
    if small.size and (small == np.rint(small)).all():
        return "products are whole numbers, for directions that are not: they are rounded."
    if probed.dtype == np.float64 and _is_single(entries):
        return (
            "products are float64, but have the digits of float32 only: something that they are "
            "made of is cast to float32. Look for astype, and for arrays made with that dtype."
        )
    return ""


def _is_single(entries: np.ndarray) -> bool:
    """Whether numbers that are not zero have no more digits than float32 has."""
    return bool(entries.size and (entries == entries.astype(np.float32)).all())


def _repeatable(probed: Probed) -> Outcome:
    first, v, w = probed.AV[0], probed.V[:, 0], probed.other
    once, again = probed.times(v), probed.times(v)
    probed.times(w)
    after = probed.times(v)
    # Threads may add in another order, and a program may take the place of a graph in between.
    allowed = 10.0 * math.sqrt(max(probed.operator.shape)) * probed.eps
    if hasattr(probed.operator, "is_compiled"):
        allowed = max(allowed, probed.rounding)
    at_once = length(once - again) / probed.norm
    later = max(length(once - after), length(once - first)) / probed.norm
    cause = (
        "the same product differs after others: the operator keeps a state between products. "
        "Compute each from v and from what does not change."
        if at_once <= allowed
        else "the same product differs from one time to the next: randomness, as of a dropout mask "
        "or a batch that is drawn anew, or a state that products change. Draw once, and keep that."
    )
    return Outcome(max(at_once, later), allowed, cause)


def _no_side_effects(probed: Probed) -> Outcome:
    _ = probed.AV
    v = probed.V[:, 0].copy()
    product = probed.operator.matvec(v)
    if not np.array_equal(v, probed.V[:, 0]):
        return Outcome(is_fine=False, cause="A @ v changes v. Copy it before.")
    kept = np.array(product)
    probed.operator.matvec(probed.other)
    cause = (
        "a product changes when the next one is computed: the operator returns the same buffer "
        "each time. Return a fresh array, as by copy()."
    )
    return Outcome(is_fine=bool(np.array_equal(kept, product)), cause=cause)


def _linear(probed: Probed) -> Outcome:
    first, last, norm = probed.AV[0], probed.AV[-1], probed.norm
    a, b = (0.7, -1.9) if len(probed.AV) > 1 else (1.7, 0.0)
    combined = probed.times((a * probed.V[:, 0] + b * probed.V[:, -1]).astype(probed.dtype))
    at_zero = length(probed.times(np.zeros_like(probed.V[:, 0]))) / norm
    discrepancy = length(combined - a * first - b * last) / norm / (abs(a) + abs(b))
    if at_zero > probed.rounding:
        cause = (
            "A @ 0 is not zero: the map has a constant part, as a residual or a gradient that was "
            "not subtracted."
        )
    elif _may_be_single(probed, discrepancy):
        cause = _SINGLE_CAUSE
    elif discrepancy < _NEARLY:
        cause = (
            "A @ v is not quite linear: numbers that cancel within, as next to a kink, or an "
            f"iteration that ends at a tolerance of about {discrepancy:.0e}, which is to be "
            "tightened."
        )
    else:
        cause = (
            "A @ (a v + b w) is not a A @ v + b A @ w: the map depends on v by more than a matrix, "
            "as by a norm, a clip or a rounding of it, or by a state."
        )
    return Outcome(max(discrepancy, at_zero), probed.rounding, cause)


def _symmetric(probed: Probed) -> Outcome:
    if not probed.symmetric:
        raise Unanswerable("A does not say that it is symmetric.")
    V, AV = [*probed.V.T, probed.other], [*probed.AV, probed.times(probed.other)]
    forms = [float(V[i] @ AV[j] - V[j] @ AV[i]) for i, j in combinations(range(len(V)), 2)]
    discrepancy = max(map(abs, forms)) / probed.norm
    cause = (
        _SINGLE_CAUSE
        if _may_be_single(probed, discrepancy)
        else "uᵀ A v and vᵀ A u differ: A is not symmetric. Of a Hessian, a derivative rule of "
        "your own is wrong to second order; else use (A + A.T) / 2, or say symmetric=False."
    )
    return Outcome(discrepancy, probed.rounding, cause)


def _adjoint(probed: Probed) -> Outcome:
    _refuse_adjoint(probed)
    AV, AU = probed.AV, probed.AU
    forms = [
        float(u @ Av - v @ Au)
        for u, Au in zip(probed.U.T, AU, strict=True)
        for v, Av in zip(probed.V.T, AV, strict=True)
    ]
    discrepancy = max(map(abs, forms)) / max(probed.norm, *map(length, AU))
    cause = (
        _SINGLE_CAUSE
        if _may_be_single(probed, discrepancy)
        else "uᵀ (A v) and (Aᵀ u)ᵀ v differ: rmatvec is not the transpose of matvec."
    )
    return Outcome(discrepancy, probed.rounding, cause)


def _refuse_adjoint(probed: Probed) -> None:
    if isinstance(probed.operator, BaseOperator) and probed.operator.symmetric:
        raise Unanswerable("A is its own adjoint: see symmetric.")
    if not has_adjoint(probed.operator):
        raise Unanswerable("A has no rmatvec.")


def _may_be_single(probed: Probed, discrepancy: float) -> bool:
    """Whether it is of the size that the rounding of float32 has."""
    size = 10.0 * math.sqrt(max(probed.operator.shape)) * _SINGLE
    return probed.dtype == np.float64 and 0.01 * _SINGLE < discrepancy < size


def _block(probed: Probed) -> Outcome:
    columns = probed.AV
    return _by_columns(probed, probed.operator.matmat(probed.V.copy()), columns, "mat")


def _adjoint_block(probed: Probed) -> Outcome:
    _refuse_adjoint(probed)
    _ = probed.AV
    return _by_columns(probed, probed.operator.rmatmat(probed.U.copy()), probed.AU, "rmat")


def _by_columns(probed: Probed, block: Any, columns: list[np.ndarray], name: str) -> Outcome:
    came, expected = finite_product(block), np.column_stack(columns)
    if came.shape != expected.shape:
        cause = f"{name}mat gives shape {came.shape}, expected {expected.shape}."
        return Outcome(is_fine=False, cause=cause)
    errors = [length(one) for one in (came - expected).T]
    worst = int(np.argmax(errors))
    cause = (
        f"column {worst} of {name}mat is not {name}vec of that column: the product of a block "
        "mixes columns, takes them in another order, or computes something else."
    )
    return Outcome(errors[worst] / max(probed.norm, *map(length, columns)), probed.rounding, cause)


#: Names and functions, in the order in which they are made.
OPERATOR_CHECKS: tuple[tuple[str, Callable[[Probed], Outcome]], ...] = (
    ("finite", _finite_products),
    ("dtype", _dtype),
    ("repeatable", _repeatable),
    ("no side effects", _no_side_effects),
    ("linear", _linear),
    ("symmetric", _symmetric),
    ("adjoint", _adjoint),
    ("block", _block),
    ("adjoint block", _adjoint_block),
)
