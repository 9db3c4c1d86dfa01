"""Whether what is said to be the inverse of a gradient is one, next to a point."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hessop._errors import NonFiniteError
from hessop.operators.compiling import Multiplier
from hessop.operators.hessian import HessianOperator
from hessop.params import Layout

__all__ = ["check_finite", "check_point", "check_product"]

# Of differences that have lost nearly all digits: with more, nothing is left to be checked.
_MOST_RESIDUAL = 0.5
# Entries that an error lists.
_LISTED = 5


def check_finite(layout: Layout, x: np.ndarray, found: np.ndarray, name: str) -> None:
    """Refuse a result of an inverse gradient that is not finite.

    Parameters
    ----------
    layout : Layout
    x, found : ndarray, shape (n,)
        The point, and what came.
    name : str
        How to call it: ``"inverse_grad(∇f(x))"``.

    Raises
    ------
    NonFiniteError
        With the entry.
    """
    bad = np.flatnonzero(~np.isfinite(found))
    if bad.size:
        i = int(bad[0])
        raise NonFiniteError(
            f"{name} is {found[i]} at {layout.where(i)}, where x is {x[i]:.6g}; expected finite "
            "numbers. This is outside of where it is defined, or it overflows. Take roots and "
            "logarithms of what is positive, and store the signs of x."
        )


def check_point(
    layout: Layout,
    x: np.ndarray,
    found: np.ndarray,
    name: str,
    remark: Callable[[], str] = lambda: "",
) -> None:
    """Refuse an inverse gradient that does not give x back.

    Parameters
    ----------
    layout, x, found, name
        As for `check_finite`.
    remark : callable
        What else is to be said of it.

    Raises
    ------
    ValueError
        With the entries that have the wrong sign, and those that are different altogether.
    """
    check_finite(layout, x, found, name)
    # Double precision also for float32, so that sizes do not overflow.
    x, found = x.astype(np.float64), found.astype(np.float64)
    tolerance = float(np.finfo(layout.dtype).eps) ** 0.5
    # Relative to the entry: also a tiny one must have its sign.
    wrong_sign = (np.abs(found + x) <= tolerance * np.abs(x)) & (x != 0.0)
    different = ~wrong_sign & (np.abs(found - x) > tolerance * (1.0 + np.abs(x)))
    said = []
    if wrong_sign.any():
        said.append(
            f"{name} has the wrong sign at {_entries(layout, wrong_sign)}: it is another branch of "
            "the inverse. Store the sign: inverse_grad = lambda z: np.sign(x) * ..."
        )
    if different.any():
        i = int(np.flatnonzero(different)[0])
        said.append(
            f"{name} differs from x at {_entries(layout, different)}: it is {found[i]:.6g} at "
            f"{layout.where(i)}, expected {x[i]:.6g}. It is not the inverse of the gradient there, "
            "or has lost all its digits."
        )
    if said:
        raise ValueError(" ".join([*said, *filter(None, [remark()])]))


def check_product(H: HessianOperator, products: Multiplier, name: str, error: float = 0.0) -> None:
    """Refuse products that are not those of the inverse: ``H (H⁻¹ v) = v`` for a random v.

    Parameters
    ----------
    H : HessianOperator
    products : Multiplier
        With the inverse.
    name : str
        What they are made of: ``"inverse_grad"``.
    error : float
        What is known of the relative error of the first of them, which is asked for here.

    Raises
    ------
    ValueError
    """
    v = np.random.default_rng(0).standard_normal(H.shape[0]).astype(H.dtype)
    w = products.product(v)
    if not np.isfinite(w).all():
        i = int(np.flatnonzero(~np.isfinite(w))[0])
        raise NonFiniteError(
            f"the derivative of {name} is not finite: a product is {w[i]} at {H.layout.where(i)}. "
            "The Hessian is singular at x, so that it has no inverse there."
        )
    size = float(np.linalg.norm(v))
    residual = float(np.linalg.norm(H @ w - v)) / size
    allowed = float(np.finfo(H.dtype).eps) ** 0.25
    if error:
        norm = float(np.linalg.norm(H @ v)) / size
        allowed += 10.0 * error * norm * float(np.linalg.norm(w)) / size
        allowed = min(allowed, _MOST_RESIDUAL)
    if not residual <= allowed:
        raise ValueError(
            f"H (H⁻¹ v) differs from v by {residual:.1e} of its norm, for a random v, expected at "
            f"most {allowed:.1e}. So the derivative of {name} at ∇f(x) is not the inverse of the "
            "Hessian, or the Hessian is singular or nearly so at x."
        )


def _entries(layout: Layout, mask: np.ndarray) -> str:
    """The entries that a mask selects, as a user would write them."""
    which = np.flatnonzero(mask)
    named = ", ".join(layout.where(int(i)) for i in which[:_LISTED])
    return named if which.size <= _LISTED else f"{named} and {which.size - _LISTED} more"
