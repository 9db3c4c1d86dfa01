"""SciPy's iterative solvers on a `System`.

The algorithms are SciPy's. What is added is what they do not tell: they are run until the true
residual is small, and end at a curvature that they are not made for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, bicgstab, cg, gmres, lgmres, lsmr, minres

from hessop._errors import NonFiniteError
from hessop.solvers.runs import Products, Run
from hessop.solvers.systems import Halt, System

__all__ = ["METHODS", "refine", "run"]

# A run that gains less than this factor is not followed by another.
_GAIN = 0.5
_GMRES_RESTART, _LGMRES_RESTART = 100, 30
_LSMR_RUNS = 5
# How lsmr says that it has met its limit.
_LSMR_LIMIT = 7


def run(system: System, method: str, M: LinearOperator | None) -> str:
    """Run one of SciPy's methods on a system from its x, and again where it has ended too early.

    Returns
    -------
    str
        The status: of `SolveResult`, or ``"least squares"`` for lsmr.
    """
    number = 0
    while not system.is_solved():
        if system.spent >= system.limit:
            return "iteration limit"
        before = system.residual_norm
        status = _run_once(Run(system, method, M, number))
        number += 1
        if system.is_solved():
            break
        gains = system.residual_norm <= _GAIN * before
        if method == "lsmr":
            if system.is_least_squares():
                return "least squares"
            gains |= number <= _LSMR_RUNS
        if status not in ("stagnated", "breakdown") or not gains:
            return status
    return "converged"


def refine(system: System, inverse: LinearOperator) -> str:
    """Solve a system by its exact inverse, and correct the solution as long as that gains.

    Returns
    -------
    str
        ``"converged"``; ``"stagnated"`` where rounding is in the way; ``"breakdown"`` where numbers
        are too large.
    """
    before = math.inf
    while not system.is_solved():
        if not system.residual_norm <= _GAIN * before:
            return "stagnated"
        before = system.residual_norm
        with np.errstate(all="ignore"):
            try:
                correction = inverse.matvec(system.residual)
            except NonFiniteError:
                return "breakdown"
            system.measure(system.x + correction)
    return "converged"


def _run_once(run: Run) -> str:
    """Run the method, measure what it has found, and tell how it ended."""
    keep = False
    with np.errstate(all="ignore"):  # what overflows is seen in the next product
        try:
            run.y = METHODS[run.method](run)
            status = "stagnated"
        except Halt as halt:
            status = halt.status
            # The residual of cg may go up on the way; the error in x does not.
            keep = run.method == "cg" and status == "iteration limit"
        except StopIteration:
            status, keep = "stopped", True
        if run.y is not None and status != "converged":
            run.system.measure(run.x(run.y), keep=keep)
        if status == "stagnated":
            run.look_back()
    return status


# --- the methods ----------------------------------------------------------------------------------


def _cg(run: Run) -> np.ndarray:
    def preconditioned(r: np.ndarray) -> np.ndarray:
        run.note(r)
        return run.preconditioned(r)

    y, _ = cg(
        run.operator(positive=True),
        run.b,
        rtol=0.0,
        atol=run.target,
        maxiter=run.left + 1,
        M=Products((run.b.size, run.b.size), preconditioned),
        callback=run,
    )
    return np.asarray(y)


def _minres(run: Run) -> np.ndarray:
    # Its tests are relative to the norms of A and x, so that they are left to the last digit.
    y, _ = minres(
        run.operator(),
        run.b,
        rtol=run.system.eps / 10.0,
        maxiter=run.left + 1,
        M=run.preconditioner(),
        callback=run,
    )
    return np.asarray(y)


def _gmres(run: Run) -> np.ndarray:
    # As many products as there are: what is found is given out at the end of a cycle only.
    restart = max(1, min(_GMRES_RESTART, run.b.size, run.left - 1))
    y, info = gmres(
        run.operator(limited=False),
        run.b,
        rtol=0.0,
        atol=run.target,
        restart=restart,
        maxiter=max(1, run.left // (restart + 1)),
        M=run.preconditioner(),
        callback=run,
        callback_type="x",
    )
    if info and run.left <= restart:
        raise Halt("iteration limit")
    return np.asarray(y)


def _lgmres(run: Run) -> np.ndarray:
    y, _ = _to_target(lgmres, run, inner_m=max(1, min(_LGMRES_RESTART, run.left - 1)))
    return y


def _bicgstab(run: Run) -> np.ndarray:
    y, info = _to_target(bicgstab, run)
    if info < 0:
        raise Halt("breakdown")
    return y


def _to_target(method: Callable[..., Any], run: Run, **options: Any) -> tuple[np.ndarray, int]:
    """A method that ends by the length of its residual, and takes one M."""
    y, info = method(
        run.operator(),
        run.b,
        rtol=0.0,
        atol=run.target,
        maxiter=run.left + 1,
        M=run.preconditioner(),
        callback=run,
        **options,
    )
    return np.asarray(y), info


def _lsmr(run: Run) -> np.ndarray:
    # It stops early where A is ill-conditioned, and is then run again with a tighter tolerance.
    tolerance = max(run.target * 0.1 ** (run.number + 1), run.system.eps)
    found: Any = lsmr(
        run.operator(limited=False),
        run.b,
        atol=tolerance,
        btol=tolerance,
        conlim=0.0,
        maxiter=(run.left - 1) // 2,
    )
    if found[1] == _LSMR_LIMIT:
        run.y = found[0]
        raise Halt("iteration limit")
    return np.asarray(found[0])


METHODS: dict[str, Callable[[Run], np.ndarray]] = {
    "cg": _cg,
    "minres": _minres,
    "gmres": _gmres,
    "lgmres": _lgmres,
    "bicgstab": _bicgstab,
    "lsmr": _lsmr,
}
