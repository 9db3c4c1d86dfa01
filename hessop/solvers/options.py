"""What solvers are given: operators, preconditioners, tolerances and limits, read and refused."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from hessop.operators.base import BaseOperator, is_real_number
from hessop.operators.checks import check_count
from hessop.operators.foreign import is_symmetric, real_operator
from hessop.operators.structured import StructuredOperator
from hessop.solvers.iterations import METHODS
from hessop.solvers.runs import SYMMETRIC_METHODS

__all__ = [
    "check_method",
    "exact_inverse",
    "read_accuracy",
    "read_limit",
    "read_preconditioner",
    "read_symmetry",
]

# Products for each unknown when nothing else is said: what SciPy's cg allows.
_PRODUCTS = 10


def check_method(method: str) -> None:
    """Raise a ValueError for a method that is not known."""
    if method not in ("auto", *METHODS):
        raise ValueError(
            f"method is {method!r}, expected one of auto, {', '.join(METHODS)}. For another, call "
            "it from scipy.sparse.linalg."
        )


def read_symmetry(operator: LinearOperator, method: str) -> tuple[bool, int]:
    """Whether an operator is taken for symmetric, and how many products it has cost to know."""
    if operator.shape[0] != operator.shape[1]:
        if method not in ("auto", "lsmr"):
            raise ValueError(
                f"A has shape {operator.shape}, and {method} needs a square one. Use 'lsmr', which "
                "gives the least-squares solution."
            )
        return False, 0
    if isinstance(operator, BaseOperator):
        if not operator.symmetric and method in SYMMETRIC_METHODS:
            raise ValueError(
                f"A is not symmetric, as {method} needs it to be. Use 'gmres' or 'lsmr'."
            )
        return operator.symmetric, 0
    if method in SYMMETRIC_METHODS:
        return True, 0
    if method != "auto":
        return False, 0
    with np.errstate(all="ignore"):  # what is not finite is found by the first product of a solve
        return is_symmetric(operator), 2


def read_preconditioner(
    M: Any, operator: LinearOperator, method: str = "auto"
) -> LinearOperator | None:
    """A preconditioner for an operator and a method."""
    if M is None:
        return None
    if operator.shape[0] != operator.shape[1] or method == "lsmr":
        raise ValueError("M is given, and lsmr takes no preconditioner. Scale the columns of A.")
    M = real_operator(M, "M")
    if M.shape != operator.shape:
        raise ValueError(f"M has shape {M.shape}, expected {operator.shape}, that of A.")
    return M


def read_accuracy(rtol: Any, atol: Any = 0.0, operator: LinearOperator | None = None) -> float:
    """The relative tolerance: for float32 operators at least ten units in the last place."""
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not (is_real_number(value) and np.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value!r}, expected a number from 0.")
    single = operator is not None and operator.dtype == np.float32
    return max(float(rtol), 10.0 * float(np.finfo(np.float32).eps)) if single else float(rtol)


def read_limit(maxiter: Any, n: int) -> int:
    """The most products for n unknowns."""
    if maxiter is None:
        return _PRODUCTS * n
    return check_count(maxiter, "maxiter", least=0)


def exact_inverse(operator: LinearOperator, damping: float) -> LinearOperator | None:
    """The inverse of a structured operator, where there is one."""
    if not isinstance(operator, StructuredOperator):
        return None
    try:
        return operator.inverse(damping)
    except (np.linalg.LinAlgError, TypeError, ValueError):  # singular, or no damped inverse
        return None
