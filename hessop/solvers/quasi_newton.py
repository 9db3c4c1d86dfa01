"""What L-BFGS has gathered in a minimisation, as a preconditioner."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.optimize import LbfgsInvHessProduct, OptimizeResult

from hessop.operators.diagonal import real_vector
from hessop.operators.low_rank import LowRankOperator

__all__ = ["lbfgs_preconditioner"]


def lbfgs_preconditioner(result: Any, *, rescale: bool = True) -> LowRankOperator:
    """The inverse Hessian that a past minimisation by L-BFGS has gathered.

    Helps where there was such a minimisation of the same function, or of a similar one, and its
    last steps were near the point of interest: it takes no products. A history of 10 steps, SciPy's
    default, knows little: ask for ``options={"maxcor": 50}`` or more.

    Parameters
    ----------
    result : OptimizeResult, LbfgsInvHessProduct, or (S, Y), arrays of shape (n, m)
        Of ``minimize(..., method="L-BFGS-B")``; or its ``hess_inv``; or steps and the changes of
        the gradient along them as columns, the latest last, such as directions of an earlier solve
        and ``Y = A @ S``. Pairs without positive curvature, ``sᵀy <= 0``, are left out.
    rescale : bool
        Start the updates from ``γ I``, with ``γ = sᵀy / yᵀy`` of the latest pair, rather than from
        the identity, from which SciPy's ``hess_inv`` starts. It is better where curvatures are far
        from 1.

    Returns
    -------
    LowRankOperator
        Positive definite: a multiple of the identity, and at most two columns for each pair.

    Raises
    ------
    TypeError
        When the result has no history of L-BFGS.
    ValueError
        When S and Y are no such arrays, or no pair has positive curvature.

    Notes
    -----
    J. L. Morales and J. Nocedal, "Automatic preconditioning by limited memory quasi-Newton
    updating", SIAM J. Optim. 10, 2000; γ is equation 7.20 of J. Nocedal and S. J. Wright,
    "Numerical Optimization", 2nd edition, 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.optimize import minimize, rosen, rosen_der
    >>> from hessop import lbfgs_preconditioner
    >>> result = minimize(rosen, np.zeros(4), jac=rosen_der, method="L-BFGS-B")
    >>> M = lbfgs_preconditioner(result)
    >>> M.shape, M.inertia().positive
    ((4, 4), 4)
    """
    S, Y = _pairs(result)
    count, dtype = S.shape[1], np.result_type(S, Y)
    eps = float(np.finfo(dtype).eps)
    S, Y = S.astype(np.float64), Y.astype(np.float64)
    lengths = np.linalg.norm(S, axis=0) * np.linalg.norm(Y, axis=0)
    curved = np.sum(S * Y, axis=0) > eps * lengths
    if count and not curved.any():
        raise ValueError(
            f"none of the {count} pairs has positive curvature, sᵀy > 0. Use pairs from nearer to "
            "a minimum, or block_jacobi_preconditioner with minres."
        )
    S, Y = S[:, curved], Y[:, curved]
    gamma = 1.0
    if rescale and count:
        gamma = float(S[:, -1] @ Y[:, -1] / (Y[:, -1] @ Y[:, -1]))
    # Updates of γ I with (s, y) are γ times updates of I with (s / √γ, √γ y).
    root = math.sqrt(gamma)
    L = LowRankOperator.from_lbfgs(LbfgsInvHessProduct((S / root).T, (root * Y).T))
    # Rounding must not take an eigenvalue 1 + t of the updated identity to zero, or below.
    least = 10.0 * math.sqrt(2.0 * S.shape[1]) * eps * max(1.0, 1.0 + float(L.s.max()))
    t = np.maximum(L.s, least - 1.0)
    return LowRankOperator(L.U.astype(dtype), (gamma * t).astype(dtype), dtype.type(gamma))


def _pairs(result: Any) -> tuple[np.ndarray, np.ndarray]:
    """Steps and changes of the gradient as columns, (n, m) each."""
    found = result.get("hess_inv") if isinstance(result, OptimizeResult) else result
    if isinstance(found, LbfgsInvHessProduct):
        n = found.shape[0]
        return np.reshape(found.sk, (-1, n)).T, np.reshape(found.yk, (-1, n)).T
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise TypeError(
            f"there is no history of L-BFGS in a {type(result).__name__}. Expected a result of "
            "minimize(..., method='L-BFGS-B'), its hess_inv, or arrays (S, Y)."
        )
    S, Y = (_columns(given, name) for given, name in zip(found, "SY", strict=True))
    if S.shape != Y.shape:
        raise ValueError(f"S has shape {S.shape} and Y {Y.shape}, expected the same.")
    return S, Y


def _columns(given: Any, name: str) -> np.ndarray:
    if np.ndim(given) != 2 or np.size(given) == 0:
        raise ValueError(
            f"{name} has shape {np.shape(given)}, expected (n, m): a column for each pair."
        )
    array = np.asarray(given)
    return real_vector(array.ravel(), name).reshape(array.shape)
