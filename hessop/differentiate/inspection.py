"""What a recording tells of its function, and which of its derivative rules is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import make_vjp, primitive_jvps, primitive_vjps
from autograd.util import subvals

from hessop._errors import name_of
from hessop._tracing import TRACING
from hessop.differentiate.recording import RecordedNode, Recording

__all__ = [
    "first_difference",
    "first_single",
    "kinked_primitives",
    "largest_magnitude",
    "wrong_rule",
]

# Primitives with kinks, or steps, by their names in NumPy.
_KINKED = {
    *("abs", "absolute", "fabs", "maximum", "minimum", "fmax", "fmin", "max", "min", "amax"),
    *("amin", "clip", "sort", "partition", "where", "sign", "floor", "ceil", "round", "mod"),
    *("remainder", "select", "norm", "sqrt", "median"),
}
_KNOWN = ("autograd", "numpy", "scipy")
# A rule is wrong when it is off by more than so much: differences are taken with one step only.
_WRONG = 1e-3
_MOST_NODES = 300


def _nodes(recording: Recording) -> Iterator[RecordedNode]:
    """Primitives in the order in which they ran."""
    return (node for node in reversed(recording.order) if node.parents)


def _name(fun: Any) -> str:
    """Of a primitive; autograd calls some of its own with an underscore."""
    return name_of(fun).lstrip("_")


def kinked_primitives(recording: Recording) -> list[str]:
    """Names of the primitives that may have a kink, or a step, without those of the user's own."""
    return sorted({_name(node.fun) for node in _nodes(recording)} & _KINKED)


def first_single(recording: Recording) -> str | None:
    """The first primitive that made float32 of float64, if there is one."""
    for node in _nodes(recording):
        # A stand-in for values that no rule looks at has their dtype, too.
        entered = [getattr(parent.value, "dtype", None) for parent in node.parents]
        if getattr(node.value, "dtype", None) == np.float32 and np.float32 not in entered:
            return _name(node.fun)
    return None


def first_difference(first: Recording, second: Recording) -> str | None:
    """The first primitive whose result differs between two runs of a function, if one does.

    ``"another path"`` where the runs are not made of the same primitives.
    """
    pairs = [list(_nodes(one)) for one in (first, second)]
    if [node.fun for node in pairs[0]] != [node.fun for node in pairs[1]]:
        return "another path"
    for one, other in zip(*pairs, strict=True):
        if not _same(one.value, other.value) or not _same_constants(one, other):
            return _name(one.fun)
    return None


def _same_constants(one: RecordedNode, other: RecordedNode) -> bool:
    return len(one.args) == len(other.args) and all(
        _same(a, b)
        for i, (a, b) in enumerate(zip(one.args, other.args, strict=True))
        if i not in one.argnums
    )


def _same(a: Any, b: Any) -> bool:
    if not isinstance(a, float | np.ndarray | np.generic):
        return True
    return np.shape(a) == np.shape(b) and bool(np.array_equal(a, b, equal_nan=True))


def wrong_rule(recording: Recording, *, second_order: bool = False) -> str | None:
    """A primitive whose derivative is not that of its values, in words; None where all are right.

    Each primitive of the recording is compared with its own differences where it ran: its VJP; for
    `second_order` also its JVP, and the derivative of its VJP. Those of the user's own come first.

    Parameters
    ----------
    recording : Recording
    second_order : bool
    """
    nodes = sorted(_nodes(recording), key=lambda node: _is_known(node.fun))[:_MOST_NODES]
    looks = [_vjp_error, *([_jvp_error, _second_error] if second_order else [])]
    rng = np.random.default_rng(0)
    with TRACING, np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a rule that does not depend on x is what is looked for
        for node in nodes:
            for look in looks:
                for argnum in _differentiable(node):
                    found = look(node, argnum, rng)
                    if found is not None:
                        return f"the {found} of {_full_name(node.fun)}"
    return None


def _is_known(fun: Any) -> bool:
    return str(getattr(fun, "__module__", "")).split(".")[0] in _KNOWN


def _full_name(fun: Any) -> str:
    own = "" if _is_known(fun) else ", a primitive that autograd does not come with"
    return f"{_name(fun)}{own}"


def _differentiable(node: RecordedNode) -> list[int]:
    """Arguments that are traced, where all of them are finite real numbers."""
    arrays = [node.value, *(node.args[i] for i in node.argnums)]
    if _name(node.fun) in _KINKED or not all(_is_real(one) for one in arrays):
        return []
    return list(node.argnums)


def _is_real(value: Any) -> bool:
    return (
        isinstance(value, float | np.ndarray | np.floating)
        and np.asarray(value).dtype.kind == "f"
        and bool(np.isfinite(value).all())
    )


def _vjp_error(node: RecordedNode, argnum: int, rng: np.random.Generator) -> str | None:
    a, d, c = _at(node, argnum, rng)
    rule = primitive_vjps[node.fun]((argnum,), node.value, node.args, node.kwargs)
    pulled = next(iter(rule(c)))
    if not isinstance(pulled, float | np.ndarray | np.floating):
        return None  # a stand-in for an array that is zero but for some entries
    claimed = np.sum(pulled * d)
    return _compared(claimed, lambda z: np.sum(c * _run(node, argnum, z)), a, d, "VJP")


def _jvp_error(node: RecordedNode, argnum: int, rng: np.random.Generator) -> str | None:
    if node.fun not in primitive_jvps:
        return None
    a, d, c = _at(node, argnum, rng)
    slope = primitive_jvps[node.fun]((argnum,), [d], node.value, node.args, node.kwargs)
    return _compared(np.sum(c * slope), lambda z: np.sum(c * _run(node, argnum, z)), a, d, "JVP")


def _second_error(node: RecordedNode, argnum: int, rng: np.random.Generator) -> str | None:
    """Of the derivative of ``<VJP(c), d>`` along another direction."""
    a, d, c = _at(node, argnum, rng)
    e = rng.standard_normal(np.shape(a))

    def slope(z: Any) -> Any:
        pull_back, _ = make_vjp(lambda y: _run(node, argnum, y), z)
        return anp.sum(pull_back(c) * d)

    pull_back, _ = make_vjp(slope, a)
    claimed = np.sum(np.asarray(pull_back(1.0)) * e)
    return _compared(claimed, slope, a, e, "derivative of the VJP")


def _at(
    node: RecordedNode, argnum: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The argument, a direction, and a cotangent, in double precision."""
    a = np.asarray(node.args[argnum], dtype=np.float64)
    return a, rng.standard_normal(a.shape), rng.standard_normal(np.shape(node.value))


def _run(node: RecordedNode, argnum: int, argument: Any) -> Any:
    return node.fun(*subvals(node.args, [(argnum, argument)]), **node.kwargs)


def _compared(
    claimed: Any, fun: Callable[[Any], Any], a: np.ndarray, d: np.ndarray, rule: str
) -> str | None:
    """The name of a rule that disagrees with differences which agree with each other."""
    scale = (1.0 + float(np.abs(a).max(initial=0.0))) / (1.0 + float(np.abs(d).max(initial=0.0)))
    coarse, fine = (
        float(np.asarray((fun(a + h * d) - fun(a - h * d)) / (2.0 * h)))
        for h in (3e-5 * scale, 3e-6 * scale)
    )
    size = max(abs(float(claimed)), abs(fine))
    if not np.isfinite(coarse + fine) or abs(coarse - fine) > 0.1 * _WRONG * size:
        return None
    if abs(float(claimed) - fine) <= _WRONG * size:
        return None
    return f"{rule} ({float(claimed):.4g} along a direction, where differences give {fine:.4g})"


def largest_magnitude(recording: Recording) -> float:
    """Of all numbers that were computed, and kept."""
    sizes = [
        float(np.abs(node.value).max())
        for node in recording.order
        if isinstance(node.value, float | np.ndarray | np.floating) and np.size(node.value)
    ]
    return max((size for size in sizes if np.isfinite(size)), default=0.0)
