"""SciPy's iterative solvers, each run on a `System`.

The algorithms are SciPy's. What is added is what they do not tell: they are run until the true
residual is small, and end at a curvature that they are not made for.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, bicgstab, cg, gmres, lgmres, lsmr, minres

from hessop.solvers.systems import Halt, System

__all__ = ["METHODS", "SYMMETRIC_METHODS", "run"]

# A restart that gains less than this factor will not be followed by another.
_GAIN = 0.5
# Residuals are measured every so many iterations, and then every tenth part of them.
_MEASURED = 10
_GMRES_RESTART = 100
_LSMR_ATTEMPTS = 5


def run(system: System, method: str, M: LinearOperator | None) -> str:
    """Run one of SciPy's methods on a system from its x, and again where it has ended too early.

    Returns
    -------
    str
        The status: of `SolveResult`, or ``"negative curvature"`` for cg.
    """
    for attempt in count():
        if system.is_solved():
            return "converged"
        before = system.residual_norm
        follow = _Follower(system, attempt)
        try:
            with np.errstate(all="ignore"):  # what overflows is seen in the next product
                x = METHODS[method](system, M, follow)
            system.measure(x)
        except Halt as halt:
            status = halt.status
            if follow.x is not None and status != "breakdown":
                system.measure(follow.x)
        except StopIteration:
            status = "stopped"
            if follow.x is not None:
                system.measure(follow.x)
        else:
            status = ""
        if status == "breakdown" and system.residual_norm <= _GAIN * before:
            continue
        if status not in ("", "converged"):
            return "converged" if system.is_solved() else status
        if not system.residual_norm <= _GAIN * before and (
            method != "lsmr" or attempt > _LSMR_ATTEMPTS or system.is_least_squares()
        ):
            break
    if system.is_solved():
        return "converged"
    return "iteration limit" if system.spent >= system.limit - 2 else "stagnated"


class _Follower:
    """The callback of a method: keeps the iterate, and now and then measures its residual."""

    def __init__(self, system: System, attempt: int) -> None:
        self.x: np.ndarray | None = None
        self.measures = True
        self.attempt = attempt
        self._system = system
        self._iterations = 0
        self._next = _MEASURED

    def __call__(self, x: np.ndarray) -> None:
        self.x = x
        self._iterations += 1
        if self._system.callback is not None:
            self._system.callback(x.copy())
        if self.measures and self._iterations >= self._next:
            self._next = self._iterations + max(_MEASURED, self._iterations // 10)
            before = self._system.residual_norm
            after = self._system.measure(x)
            if self._system.is_solved():
                raise Halt("converged")
            # Where least squares is all that is left, it does not go down any more.
            rests = after > 0.999 * before and self._system.symmetric
            if rests and self._system.normal_ratio() <= self._system.eps**0.6:
                raise Halt("stagnated")


# --- the methods ----------------------------------------------------------------------------------

Method = Callable[[System, "LinearOperator | None", _Follower], np.ndarray]


def _cg(system: System, M: LinearOperator | None, follow: _Follower) -> np.ndarray:
    follow.measures = False  # its own residual is good until the end
    first = True

    def preconditioned(r: np.ndarray) -> np.ndarray:
        nonlocal first
        if not first:  # the first is in the history
            system.note(float(np.linalg.norm(r)))
        first = False
        return _preconditioned(M, r)

    x, _ = cg(
        _of_positive_curvature(system),
        system.b,
        system.x,
        rtol=0.0,
        atol=system.target,
        maxiter=system.limit,
        M=_operator(preconditioned, len(system.b)),
        callback=follow,
    )
    return np.asarray(x)


def _minres(system: System, M: LinearOperator | None, follow: _Follower) -> np.ndarray:
    # Its tests are relative to the norms of A and x, so that they are left to the last digit.
    x, _ = minres(
        system.operator,
        system.b,
        system.x if system.x.any() else None,
        rtol=system.eps / 10.0,
        maxiter=system.limit,
        M=_spied(M, len(system.b)),
        callback=follow,
    )
    return np.asarray(x)


def _gmres(system: System, M: LinearOperator | None, follow: _Follower) -> np.ndarray:
    follow.measures = False  # it does, at each restart
    x, _ = gmres(
        system.operator,
        system.b,
        system.x,
        rtol=0.0,
        atol=system.target,
        restart=min(_GMRES_RESTART, len(system.b)),
        maxiter=system.limit,
        M=M,
        callback=follow,
        callback_type="x",
    )
    return np.asarray(x)


def _lgmres(system: System, M: LinearOperator | None, follow: _Follower) -> np.ndarray:
    follow.measures = False
    x, _ = lgmres(
        system.operator,
        system.b,
        system.x,
        rtol=0.0,
        atol=system.target,
        maxiter=system.limit,
        M=M,
        callback=follow,
    )
    return np.asarray(x)


def _bicgstab(system: System, M: LinearOperator | None, follow: _Follower) -> np.ndarray:
    x, _ = bicgstab(
        system.operator,
        system.b,
        system.x,
        rtol=0.0,
        atol=system.target,
        maxiter=system.limit,
        M=M,
        callback=follow,
    )
    return np.asarray(x)


def _lsmr(system: System, M: LinearOperator | None, follow: _Follower) -> np.ndarray:
    # It stops early where A is ill-conditioned, and is then run again with a tighter tolerance.
    rtol = system.target / float(np.linalg.norm(system.b)) * 0.1**follow.attempt
    found: Any = lsmr(
        system.operator,
        system.b,
        damp=float(np.sqrt(system.ridge)),
        x0=system.x if system.x.any() else None,
        atol=max(rtol, system.eps),
        btol=max(rtol, system.eps),
        conlim=0.0,
        maxiter=max(1, (system.limit - system.spent) // 2),
    )
    return np.asarray(found[0])


METHODS: dict[str, Method] = {
    "cg": _cg,
    "minres": _minres,
    "gmres": _gmres,
    "lgmres": _lgmres,
    "bicgstab": _bicgstab,
    "lsmr": _lsmr,
}
SYMMETRIC_METHODS = ("cg", "minres")


# --- what they are run with -----------------------------------------------------------------------


def _of_positive_curvature(system: System) -> LinearOperator:
    """The operator for cg, which ends where its steps would have no meaning."""

    def product(p: np.ndarray) -> np.ndarray:
        Ap = system.limited_product(p)
        curvature, length = float(p @ Ap), float(p @ p)
        if curvature <= 10.0 * system.eps * system.norm * length:
            raise Halt("negative curvature")
        return Ap

    return _operator(product, len(system.b))


def _spied(M: LinearOperator | None, n: int) -> LinearOperator | None:
    return None if M is None else _operator(lambda r: _preconditioned(M, r), n)


def _preconditioned(M: LinearOperator | None, r: np.ndarray) -> np.ndarray:
    if M is None:
        return r
    z = np.asarray(M.matvec(r), dtype=np.float64).reshape(-1)
    form = float(r @ z)
    if not form > 0.0 and r.any():
        raise ValueError(
            f"M is not positive definite: rᵀ M r is {form:.3g} for a residual r. cg and minres "
            "need a preconditioner that is; take the magnitudes of its eigenvalues, or damp it."
        )
    return z


def _operator(product: Callable[[np.ndarray], np.ndarray], n: int) -> LinearOperator:
    return LinearOperator((n, n), matvec=product, dtype=np.float64)
