"""Hessian products from a gradient callable alone, by differences along v."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hessop._errors import NonFiniteError
from hessop._lengths import length

__all__ = ["difference_error", "difference_product", "difference_step"]

Gradient = Callable[[np.ndarray], np.ndarray]


def difference_step(x: np.ndarray, v: np.ndarray, *, central: bool = True) -> float:
    """The h at which ``x + h v`` is differenced.

    Rounding errors of a gradient are about ``eps / h``; the error of the formula grows with h (one
    sided) or h squared (central). Both are balanced where ``h ||v||`` is ``eps**(1/2)`` or
    ``eps**(1/3)``, times the scale of x (Nocedal and Wright, Numerical Optimization, section 8.1).

    Parameters
    ----------
    x, v : ndarray, shape (n,)
        v is not zero.
    central : bool

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> f"{difference_step(np.zeros(2), np.array([0.0, 2.0])):.1e}"
    '3.0e-06'
    """
    eps = float(np.finfo(x.dtype).eps)
    scale = 1.0 + float(np.linalg.norm(x))
    balanced: float = eps ** (1 / 3 if central else 1 / 2)
    return scale * balanced / length(v)


def difference_product(
    grad: Gradient, x: np.ndarray, v: np.ndarray, h: float, *, at_x: np.ndarray | None = None
) -> np.ndarray:
    """Hv by a difference of gradients with the step h.

    Central, ``(g(x + h v) - g(x - h v)) / 2h``, with an error of order h squared; or, when `at_x`
    gives the gradient at x, one sided, ``(g(x + h v) - g(x)) / h``, with an error of order h and
    half of the gradients.

    Parameters
    ----------
    grad : callable
        Takes and gives vectors of shape (n,).
    x, v : ndarray, shape (n,)
    h : float
    at_x : ndarray, shape (n,), optional

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    NonFiniteError
        When a gradient is not finite.
    """
    step = (h * v.astype(np.float64)).astype(x.dtype)
    ahead = _finite_gradient(grad, x + step)
    if at_x is None:
        behind, width = _finite_gradient(grad, x - step), 2 * h
    else:
        behind, width = _finite(at_x), h
    slope: np.ndarray = (ahead - behind) / width
    return slope.astype(x.dtype, copy=False)


def difference_error(
    grad: Gradient,
    x: np.ndarray,
    v: np.ndarray,
    h: float,
    product: np.ndarray,
    *,
    at_x: np.ndarray | None = None,
    unit: float = 1.0,
) -> float:
    """An estimate of the error of a product by `difference_product`, relative to its size.

    The product with twice the step differs from it by a multiple of the formula's error (three
    times for a central difference, once for a one-sided one) and by the rounding of both, so the
    size of that difference bounds either. A floor is set by the rounding of ``x + h v``.

    Parameters
    ----------
    grad, x, v, h, at_x
        As given to `difference_product`.
    product : ndarray, shape (n,)
        What it returned.
    unit : float
        The size that an x of zero is thought to have.

    Returns
    -------
    float
        It costs one further product.
    """
    coarser = difference_product(grad, x, v, 2 * h, at_x=at_x)
    eps = float(np.finfo(x.dtype).eps)
    floor = eps * (unit + length(x)) / (h * length(v))
    size = length(product)
    error = length(coarser - product)
    return error / size + floor if size else error + floor


def _finite_gradient(grad: Gradient, x: np.ndarray) -> np.ndarray:
    return _finite(grad(x))


def _finite(g: np.ndarray) -> np.ndarray:
    if not np.isfinite(g).all():
        raise NonFiniteError(
            "the gradient is not finite at x or a small step away, so it cannot be differenced. "
            "Move x away from the edge of the domain, or use an exact mode."
        )
    return g
