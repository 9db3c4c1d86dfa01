"""What a linear solve ends with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hessop._errors import NotConvergedError, NotConvergedWarning, warn_user

__all__ = ["NegativeCurvature", "SolveResult", "joined", "report_failure"]


@dataclass(frozen=True)
class NegativeCurvature:
    """A direction along which a symmetric matrix is negative: it is not positive semidefinite.

    Attributes
    ----------
    direction : ndarray, shape (n,), or tree
        Of length one, in the form of the solution.
    value : float
        ``directionᵀ A direction``, below zero: at least as large as the least eigenvalue.
    """

    direction: Any
    value: float


@dataclass(frozen=True, eq=False)
class SolveResult:
    """The solution of a linear system, and what is known of it.

    Attributes
    ----------
    x : ndarray, shape (n,) or (n, k), or tree
        In the form of b. The iterate of smallest residual; or the last one, where cg has met its
        limit (its residuals may go up on the way) or callback has ended the solve.
    converged : bool
        Whether the residual is as small as was asked for; with several columns, all of them.
    status : str
        ``"converged"``, ``"iteration limit"``, ``"inconsistent"``, ``"stagnated"``,
        ``"not positive definite"`` (cg), ``"breakdown"`` or ``"stopped"`` (by callback); with
        several columns, that of the worst.
    reason : str
        The same in words, with figures and what to try.
    residual_norm : float, or ndarray of shape (k,)
        ``||b - A x||``, computed from x at the end. A is the damped one, and for a penalty that is
        ``(||b - A x||² + damping ||x||²) ** 0.5``.
    n_matvec : int
        Products with A, and with its transpose, those included that have measured residuals.
    history : ndarray, shape (i, 2)
        Products spent, and the norm of the residual then. For cg it is the one that cg goes by,
        for the others it is measured, about every tenth iteration. The last is ``residual_norm``.
    negative_curvature : NegativeCurvature or None
        The direction of most negative curvature that was met, of A with its damping. None where
        that is zero up to rounding.
    method : str
        What was run: ``"cg"``, ``"cg, minres"``, ``"inverse"``... Of a block, all that were, with a
        semicolon between.
    columns : tuple of SolveResult
        One for each column of a block; empty otherwise.
    """

    x: Any
    converged: bool
    status: str
    reason: str
    residual_norm: Any
    n_matvec: int
    history: np.ndarray
    negative_curvature: NegativeCurvature | None
    method: str
    columns: tuple[SolveResult, ...] = ()

    def __repr__(self) -> str:
        facts = [
            f"{self.status} by {self.method}",
            *([f"{len(self.columns)} columns"] if self.columns else []),
            f"residual {np.max(self.residual_norm):.1e}",
            *([] if self.negative_curvature is None else ["negative curvature"]),
            f"{self.n_matvec} products",
        ]
        return f"<SolveResult {', '.join(facts)}>"


def joined(columns: tuple[SolveResult, ...]) -> SolveResult:
    """The results of the columns of a block as one."""
    failed = [column for column in columns if not column.converged]
    stopped = [column for column in failed if column.status == "stopped"]
    worst = max(stopped or failed or columns, key=lambda column: float(column.residual_norm))
    curved = [c.negative_curvature for c in columns if c.negative_curvature is not None]
    spent = np.cumsum([0, *(column.n_matvec for column in columns)])
    histories = [
        column.history + np.array([before, 0.0])
        for column, before in zip(columns, spent, strict=False)
    ]
    count = f"{len(failed)} of {len(columns)} columns did not converge; the worst: "
    return SolveResult(
        x=np.stack([column.x for column in columns], axis=1),
        converged=not failed,
        status=worst.status,
        reason=(count if failed else "every column: the worst: ") + worst.reason,
        residual_norm=np.array([column.residual_norm for column in columns]),
        n_matvec=int(spent[-1]),
        history=np.concatenate(histories),
        negative_curvature=min(curved, key=lambda one: one.value) if curved else None,
        method="; ".join(dict.fromkeys(column.method for column in columns)),
        columns=columns,
    )


def report_failure(result: SolveResult, *, strict: bool) -> None:
    """Warn of a solve that did not converge, or raise.

    Raises
    ------
    NotConvergedError
        With `strict`; it carries the result.
    """
    if result.converged or result.status == "stopped":
        return
    message = f"solve ({result.method}) did not converge: {result.reason}"
    if strict:
        raise NotConvergedError(message, result)
    warn_user(message, NotConvergedWarning)
