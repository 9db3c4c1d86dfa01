"""What became of a linear system, as a result with its reason in words."""

from __future__ import annotations

import numpy as np

from hessop._lengths import length
from hessop.operators.base import BaseOperator
from hessop.operators.foreign import is_symmetric
from hessop.solvers.results import SolveResult
from hessop.solvers.systems import System

__all__ = ["result_of"]

_REASONS = {
    "iteration limit": (
        ", after {spent:,} products.{symmetry} Give a preconditioner M, such as "
        "nystrom_preconditioner(A), a damping, or a larger maxiter."
    ),
    "inconsistent": (
        ", and A shrinks what is left of b to {ratio:.1e} of its norm: A is singular or nearly so, "
        "and that part of b is not in its range. Up to this, x is a least-squares solution, not "
        "the shortest: that is method='lsmr'. A damping makes the system regular."
    ),
    "stagnated": (
        ", and it does not go down any more: for a matrix of norm {norm:.1e} and an x of norm "
        "{x:.1e}, this is all that rounding allows, or all that {method} achieves.{symmetry} Use a "
        "damping, a preconditioner M, or a larger rtol; for a singular A, method='lsmr'."
    ),
    "not positive definite": (
        ", and cg has met a direction along which A is not positive: it does not apply. Use "
        "method='auto' or 'minres', or a damping above the most negative eigenvalue."
    ),
    "breakdown": (
        ", when {method} has broken down. Use another method, a preconditioner M or a damping."
    ),
    "stopped": "; callback has stopped it.",
}


def result_of(system: System, status: str, method: str) -> SolveResult:
    """The result of a system that has been worked on.

    Parameters
    ----------
    system : System
    status : str
        As the method has ended, from `hessop.solvers.iterations`.
    method : str
    """
    if system.negative_curvature is not None:
        system.probe()  # by the norm that this finds, it may be rounding
    status, reason = _verdict(system, status, method)
    if system.history[-1][1] != system.residual_norm:
        system.note(system.residual_norm)
    return SolveResult(
        x=system.x,
        converged=status == "converged",
        status=status,
        reason=reason,
        residual_norm=system.residual_norm,
        n_matvec=system.spent,
        history=np.array(system.history),
        negative_curvature=system.negative_curvature,
        method=method,
    )


def _verdict(system: System, status: str, method: str) -> tuple[str, str]:
    size = length(system.b)
    residual = f"the residual is {system.residual_norm / size if size else 0.0:.1e} of b"
    if status == "converged":
        return status, f"{residual}."
    if status == "least squares":
        return "converged", (
            f"{residual}, and orthogonal to the range of A: x is a least-squares solution."
        )
    ratio = 1.0
    if status == "stagnated" and system.symmetric:
        ratio = system.normal_ratio()
        if ratio <= system.eps**0.4:
            status = "inconsistent"
    return status, f"{residual}, asked for were {system.target / size:.1e}" + _REASONS[
        status
    ].format(
        method=method,
        symmetry=_remark_on_symmetry(system),
        spent=min(system.spent, system.limit),
        ratio=ratio,
        norm=system.norm,
        x=length(system.x),
    )


def _remark_on_symmetry(system: System) -> str:
    """What is to be said of an operator that was taken for symmetric, and is not."""
    if not system.symmetric or isinstance(system.A, BaseOperator) or is_symmetric(system.A):
        return ""
    return " A is not symmetric, as cg and minres need it to be: use method='auto' or 'gmres'."
