"""Sums of sums become one sum: the pass that shortens programs most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from hessop.tape.builder import simple_factor
from hessop.tape.instructions import Factor, Instruction, Sum, Term, distinct_entries
from hessop.tape.program import Program
from hessop.tape.views import View, compose, view_of_array, whole

__all__ = ["fold_sums"]

#: Arrays of more entries do not stay in the fast cache from one instruction to the next.
LARGE = 2**15


def fold_sums(program: Program) -> Program:
    """Put sums into the sums that they are part of: factors multiply, terms that agree become one.

    A sum that is used once is always worth it, unless that made more constants or more
    multiplications than it saves. One that is used more often only where nothing is computed twice.
    """
    old = program.instructions
    uses = Counter(read.value for instruction in old for read in instruction.reads)
    new: list[Instruction] = list(old)
    needed = {len(old)}
    for value in range(len(old), 0, -1):
        instruction = old[value - 1]
        if value not in needed:
            continue
        if isinstance(instruction, Sum):
            instruction = Sum(instruction.shape, _merged(_expanded(instruction.terms, old, uses)))
            new[value - 1] = instruction
        needed.update([read.value for read in instruction.reads])
    return replace(program, instructions=tuple(new))


# --- sums -----------------------------------------------------------------------------------------


def _expanded(
    terms: Iterable[Term], old: Sequence[Instruction], uses: Counter[int]
) -> Iterable[Term]:
    """Terms with the sums among them replaced by their own terms, again and again."""
    stack = [(term, True) for term in reversed(tuple(terms))]
    while stack:
        term, alone = stack.pop()
        if isinstance(term.factor, float) and term.factor == 0.0:
            continue
        inner = old[term.value - 1] if term.value else None
        if isinstance(inner, Sum):
            # Within a sum that stays for others, nothing is used once any more.
            alone = alone and uses[term.value] == 1
            within = _put_into(term, inner, alone)
            if within is not None:
                stack.extend((one, alone) for one in reversed(within))
                continue
        yield term


def _put_into(term: Term, inner: Sum, alone: bool) -> list[Term] | None:
    """The terms of a sum as terms of the sum that a term of it is part of."""
    if not _is_worth_it(term, inner, alone):
        return None
    size = prod(inner.shape)
    all_of_it = term.view.is_whole(size)
    within = []
    for one in inner.terms:
        view: View | None = one.view
        region: View | None = term.region
        first: Factor | None = term.factor
        second: Factor | None = one.factor
        if one.region.is_whole(size):
            view, second = compose(term.view, one.view), _viewed(one.factor, term.view)
        elif all_of_it:
            region, first = compose(one.region, term.region), _viewed(term.factor, one.region)
        else:
            return None
        factor = None if first is None or second is None else _times(first, second)
        if view is None or region is None or factor is None:
            return None
        within.append(Term(one.value, view, factor, region))
    return within


def _is_worth_it(term: Term, inner: Sum, alone: bool) -> bool:
    if not inner.terms:
        return True
    if len(inner.terms) == 1:
        own = inner.terms[0].factor
        if _is_sign(own):
            return True
        if term.view.size > whole(inner.shape).size:  # it is repeated: scale it before
            return (
                isinstance(term.factor, np.ndarray)
                and distinct_entries(term.factor) == term.view.size
            )
        if alone:
            return True
        # The multiplication is there anyway, and no array is made that was not there.
        return not _is_sign(term.factor) and (
            isinstance(own, float) or isinstance(term.factor, np.ndarray)
        )
    if not alone or term.view.size > whole(inner.shape).size:
        return False
    factors = [one.factor for one in inner.terms]
    if _is_sign(term.factor):
        return True
    if isinstance(term.factor, float):
        return sum(map(_is_sign, factors)) <= 1
    # The same array serves for all terms with the factor 1. On large arrays, to multiply once more
    # is cheaper than to write the sum down and to read it again.
    if term.view.size >= LARGE and all(isinstance(f, float) and f == 1.0 for f in factors):
        return True
    return sum(isinstance(factor, float) for factor in factors) <= 1


def _merged(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Terms that read the same into the same region as one."""
    merged: dict[Hashable, Term] = {}
    for term in terms:
        term = _flattened(term)
        key = (term.value, term.view, term.region)
        if key in merged:
            total = _plus(merged[key].factor, term.factor)
            term = Term(term.value, term.view, total, term.region)
        merged[key] = term
    return tuple(
        [t for t in merged.values() if isinstance(t.factor, np.ndarray) or t.factor != 0.0]
    )


def _flattened(term: Term) -> Term:
    """The same term with as few axes as can be: neighbours that are one run everywhere merge."""
    factor = term.factor
    own = factor.strides if isinstance(factor, np.ndarray) else (0,) * len(term.view.shape)
    merged: list[tuple[int, ...]] = []
    for extent, *steps in zip(
        term.view.shape, term.view.strides, term.region.strides, own, strict=True
    ):
        if extent > 1 and merged and [step * extent for step in steps] == list(merged[-1][1:]):
            merged.append((merged.pop()[0] * extent, *steps))
        elif extent > 1:
            merged.append((extent, *steps))
    if len(merged) == len(term.view.shape):
        return term
    shape = tuple([extent for extent, *_ in merged])
    return Term(
        term.value,
        View(shape, tuple([axis[1] for axis in merged]), term.view.offset),
        factor.reshape(shape) if isinstance(factor, np.ndarray) else factor,
        View(shape, tuple([axis[2] for axis in merged]), term.region.offset),
    )


def _is_sign(factor: Factor) -> bool:
    return isinstance(factor, float) and abs(factor) == 1.0


def _viewed(factor: Factor, view: View) -> Factor | None:
    """What a view reads of a factor in the shape of what it reads."""
    if isinstance(factor, float) or view == whole(factor.shape):
        return factor
    own, memory = view_of_array(factor)
    view_of_memory = compose(view, own)
    return None if view_of_memory is None else simple_factor(_read_strided(view_of_memory, memory))


def _read_strided(view: View, memory: np.ndarray) -> np.ndarray:
    """`read` of memory that lies within another array."""
    item = memory.itemsize
    return np.lib.stride_tricks.as_strided(
        memory[view.offset :], view.shape, [step * item for step in view.strides], writeable=False
    )


def _times(a: Factor, b: Factor) -> Factor | None:
    """The product of two factors; None where it would be larger than both."""
    if isinstance(a, float) or isinstance(b, float):
        if isinstance(a, float) and a == 1.0:
            return b
        if isinstance(b, float) and b == 1.0:
            return a
        if isinstance(a, float) and isinstance(b, float):
            return a * b
        return _compactly(np.multiply, a, b)
    if distinct_entries(a, b) > max(distinct_entries(a), distinct_entries(b)):
        return None
    return _compactly(np.multiply, a, b)


def _plus(a: Factor, b: Factor) -> Factor:
    if isinstance(a, float) and isinstance(b, float):
        return a + b
    return _compactly(np.add, a, b)


def _compactly(ufunc: Callable[..., np.ndarray], a: Factor, b: Factor) -> Factor:
    """``ufunc(a, b)``, where axes along which nothing changes are computed once."""
    arrays = [factor for factor in (a, b) if isinstance(factor, np.ndarray)]
    shape = arrays[0].shape
    still = tuple([not any(array.strides[i] for array in arrays) for i in range(len(shape))])
    once = tuple([slice(0, 1) if axis else slice(None) for axis in still])
    result = ufunc(*(f if isinstance(f, float) else f[once] for f in (a, b)))
    return simple_factor(np.broadcast_to(result, shape) if any(still) else result)
