"""Which numbers of a recorded primitive its derivatives will look at, and which they will not.

A recording would otherwise keep every intermediate array alive. autograd's closures keep only what
they refer to; a recording has no closures yet, so that the same has to be said here.
"""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.util import subvals

__all__ = ["is_large", "thin_out"]

#: Arrays below this size are kept as they are: they cost less than to replace them.
LEAST_SIZE = 4096

# The rules, in either mode, look at no number at all: only at shapes and dtypes.
_NOTHING = {
    anp.add,
    anp.subtract,
    anp.negative,
    anp.sum,
    anp.reshape,
    anp.ravel,
    anp.squeeze,
    anp.expand_dims,
    anp.transpose,
    anp.swapaxes,
    anp.moveaxis,
    anp.broadcast_to,
    anp.repeat,
    anp.tile,
    anp.roll,
    anp.tril,
    anp.triu,
    anp.concatenate_args,
    ArrayBox.__getitem__,
}
# The rule for one argument looks at the others, never at that one, nor at the result.
_OTHERS = {anp.multiply, anp.dot, anp.matmul, anp.tensordot, anp.einsum, anp.inner, anp.outer}
# The rules look at the arguments, never at the result. (So does that for the base of a power.)
_ARGUMENTS = {
    anp.divide,
    anp.true_divide,
    anp.reciprocal,
    anp.square,
    anp.sqrt,
    anp.log,
    anp.log1p,
    anp.sin,
    anp.cos,
    anp.sinh,
    anp.cosh,
    anp.tanh,
    anp.arctan,
}


def is_large(value: Any) -> bool:
    """Whether a value is an array that is worth to be replaced."""
    return type(value) is np.ndarray and value.size >= LEAST_SIZE


def thin_out(
    fun: Any, value: Any, args: tuple[Any, ...], argnums: tuple[int, ...]
) -> tuple[Any, tuple[Any, ...]]:
    """Replace the arrays that no derivative rule will look at by stand-ins of the same shape.

    Parameters
    ----------
    fun : primitive of autograd
    value : Any
        What it returned.
    args : tuple
        What it was given.
    argnums : tuple of int
        Which of the arguments are traced.

    Returns
    -------
    value, args
        The same, or stand-ins. A stand-in is NaN throughout, so that a rule that did look at it
        would give NaN, and not a wrong number.
    """
    if is_large(value) and _ignores_result(fun, argnums):
        value = _stand_in(value)
    if fun in _NOTHING or (len(argnums) == 1 and fun in _OTHERS):
        for i in argnums:
            if is_large(args[i]):
                args = subvals(args, [(i, _stand_in(args[i]))])
    return value, args


def _ignores_result(fun: Any, argnums: tuple[int, ...]) -> bool:
    if fun is anp.power:
        return argnums == (0,)
    return fun in _NOTHING or fun in _OTHERS or fun in _ARGUMENTS


def _stand_in(value: np.ndarray) -> np.ndarray:
    if value.dtype.kind != "f":
        return value
    # One number in memory, read again and again.
    one = np.full((), np.nan, dtype=value.dtype)
    return np.ndarray(value.shape, value.dtype, buffer=one, strides=(0,) * value.ndim)
