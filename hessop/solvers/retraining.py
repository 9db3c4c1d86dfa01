"""The fit to changed data, by one Newton step from the old one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hessop._errors import NonFiniteError
from hessop.operators.base import is_real_number
from hessop.operators.structured import check_damping
from hessop.optimize.objectives import Objective
from hessop.solvers.linear import solve
from hessop.solvers.options import read_accuracy, read_limit
from hessop.solvers.quadratic_models import QuadraticModel, quadratic_model
from hessop.solvers.results import SolveResult

__all__ = ["Retrained", "newton_retrain"]

# Of the gradient: with more left of it, the second step says nothing of the error.
_RESIDUAL = 0.1


@dataclass(frozen=True, eq=False)
class Retrained:
    """Parameters after one Newton step, and how far they are from the new minimum.

    Attributes
    ----------
    params : tree
        ``x + step``, in the form of x.
    step : tree
    corrected : tree
        `params` with the next step, which the error estimate is made of.
    value, gradient_norm : float
        Of the function of the changed data, at `params`.
    initial_gradient_norm : float
        At x.
    step_norm : float
    contraction : float
        The length of the next step, in that of the first. For a quadratic function it is zero.
    error_estimate : float
        Of the distance from `params` to the minimum; infinite where steps do not get shorter, or
        there is no minimum near.
    excess : float
        ``gᵀ A⁻¹ g / 2`` at `params`, the estimated height above the minimum.
    initial_error : float or None
        With `old_args`: the distance of x itself from the old minimum.
    is_enough : bool
        Whether the estimated error is small beside the step.
    reason : str
        The same in words and figures.
    n_matvec : int
        Products with the curvature, at both points.
    """

    params: Any
    step: Any
    corrected: Any
    value: float
    gradient_norm: float
    initial_gradient_norm: float
    step_norm: float
    contraction: float
    error_estimate: float
    excess: float
    initial_error: float | None
    is_enough: bool
    reason: str
    n_matvec: int

    def __repr__(self) -> str:
        verdict = "one step is enough" if self.is_enough else "one step is not enough"
        return (
            f"<Retrained by a step of {self.step_norm:.3g}, estimated error "
            f"{self.error_estimate:.1e}: {verdict}, {self.n_matvec} products>"
        )


def newton_retrain(
    fun: Any,
    x: Any,
    args: tuple[Any, ...] = (),
    *,
    old_args: tuple[Any, ...] | None = None,
    curvature: Any = "hessian",
    damping: float = 0.0,
    M: Any = None,
    rtol: float = 1e-6,
    maxiter: int | None = None,
    accuracy: float = 0.1,
    progress: bool = False,
) -> Retrained:
    """Fit changed data by one Newton step from the fit to the old ones.

    The data may have lost examples, or gained some, or have other weights: all that counts is the
    function of the new data. A second step is computed at the new parameters. Its length says how
    far the first one is from the minimum, and so whether one is enough.

    Parameters
    ----------
    fun : callable, Objective, or (model, loss)
        ``fun(x, *args)``, written with autograd.numpy, as for `newton_step`.
    x : parameter tree
        What minimizes the function of the old data.
    args : tuple
        Further arguments: the changed data.
    old_args : tuple, optional
        The old data. They show how far x was from their minimum.
    curvature : {"hessian", "gauss-newton"}, LinearOperator or matrix
        Of the function of the new data; an operator serves at both points.
    damping : float
        Added to the curvature.
    M : LinearOperator or matrix, optional
        Preconditioner: an approximation of the inverse.
    rtol : float
        Of the step: see `solve`. What only measures, as the second step, is solved to its root.
    maxiter : int, optional
        The most products for one solve.
    accuracy : float
        What is enough: an estimated error of this part of the step.
    progress : bool
        Show a bar of the products; needs tqdm.

    Returns
    -------
    Retrained

    Warns
    -----
    NotConvergedWarning
        When a system was not solved.

    Raises
    ------
    NonFiniteError, TypeError, ValueError
        As `newton_step`.

    Notes
    -----
    The error is estimated as ``||Δ₁|| / (1 - θ)``, where Δ₀ and Δ₁ are both steps and
    ``θ = ||Δ₁|| / ||Δ₀||``: as if further steps got shorter at the same rate. With the Hessian they
    get so faster near the minimum, and the estimate is too large by the order of θ; where one step
    is far from enough, it may be too small. See P. Deuflhard, Newton Methods for Nonlinear
    Problems, 2004, section 2.1, for the contraction of successive corrections as a measure of
    nonlinearity.

    Examples
    --------
    Ridge regression is quadratic, so that one step is exact:

    >>> import autograd.numpy as np
    >>> from hessop import newton_retrain
    >>> def loss(w, X, y):
    ...     return np.sum((X @ w - y) ** 2) + 0.1 * np.sum(w**2)
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.standard_normal((20, 3)), rng.standard_normal(20)
    >>> w = np.linalg.solve(X.T @ X + 0.1 * np.eye(3), X.T @ y)
    >>> X, y = X[2:], y[2:]
    >>> again = newton_retrain(loss, w, args=(X, y))
    >>> np.allclose(again.params, np.linalg.solve(X.T @ X + 0.1 * np.eye(3), X.T @ y))
    True
    >>> again.is_enough, again.error_estimate < 1e-10
    (True, True)
    """
    damping = check_damping(damping)
    read_accuracy(rtol)
    read_limit(maxiter, 1)
    if not (is_real_number(accuracy) and 0.0 < accuracy < np.inf):
        raise ValueError(f"accuracy is {accuracy!r}, expected a positive finite number.")
    if old_args is not None and isinstance(fun, Objective):
        raise ValueError(
            "old_args is given, but an Objective has its own arguments. Give the function itself, "
            "with args and old_args."
        )

    def solved(model: QuadraticModel, gradient: np.ndarray, rtol: float) -> SolveResult:
        return solve(
            model.curvature,
            -gradient,
            M=M,
            damping=damping,
            rtol=rtol,
            maxiter=maxiter,
            progress=progress,
        )

    roughly = min(math.sqrt(rtol), _RESIDUAL / 10.0)
    before = quadratic_model(fun, x, args, curvature)
    first = solved(before, before.gradient, rtol)
    initial_error, spent = None, before.spent + first.n_matvec
    if old_args is not None:
        old = quadratic_model(fun, x, old_args, "hessian")
        away = solved(before, old.gradient, roughly)
        initial_error = float(np.linalg.norm(away.x))
        spent += away.n_matvec
    params = before.form(before.x + first.x)
    try:
        after = quadratic_model(fun, params, args, curvature)
    except (NonFiniteError, np.linalg.LinAlgError) as error:
        error.add_note(
            "newton_retrain met it after its step: the data have changed too much for one. Give a "
            "damping, or train again."
        )
        raise
    second = solved(after, after.gradient, roughly)
    lengths = float(np.linalg.norm(first.x)), float(np.linalg.norm(second.x))
    contraction = lengths[1] / lengths[0] if lengths[0] else 0.0
    rounding = before.eps**0.75 * float(np.linalg.norm(before.x))
    obstacle = _obstacle(first, second, after)
    left = lengths[1]
    if obstacle or (contraction >= 1.0 and left > rounding):
        left = math.inf
    elif left > rounding:
        left = left / (1.0 - contraction)
    is_enough = left <= max(accuracy * lengths[0], rounding)
    reason = obstacle or _measured(lengths[0], contraction, left, is_enough)
    if initial_error is not None and initial_error > accuracy * lengths[0]:
        reason += (
            f" x itself was about {initial_error:.2g} away from the minimum for the old data: the "
            "step is not all due to the change."
        )
    return Retrained(
        params=params,
        step=before.form(first.x),
        corrected=before.form(after.x + second.x),
        value=after.value,
        gradient_norm=after.gradient_norm,
        initial_gradient_norm=before.gradient_norm,
        step_norm=lengths[0],
        contraction=contraction,
        error_estimate=left,
        excess=-0.5 * float(after.gradient @ second.x),
        initial_error=initial_error,
        is_enough=is_enough,
        reason=reason,
        n_matvec=spent + after.spent + second.n_matvec,
    )


def _obstacle(first: SolveResult, second: SolveResult, after: QuadraticModel) -> str:
    """What forbids to trust the length of the second step, if anything."""
    for solution in (first, second):
        curvature = solution.negative_curvature
        if curvature is not None or "minres" in solution.method:  # it follows on a cg that met it
            value = 0.0 if curvature is None else curvature.value
            return (
                f"the curvature is {value:.3g} along a direction, so that there is no minimum "
                "near. Train again, or give a damping."
            )
    # What the first solve has left is in the gradient that the second one starts from.
    if second.residual_norm > _RESIDUAL * after.gradient_norm:
        return f"the next step was not found: {second.reason}"
    return ""


def _measured(step: float, contraction: float, error: float, is_enough: bool) -> str:
    seen = f"the next step would be {contraction:.2g} times as long as this one"
    if math.isinf(error):
        return f"{seen}: it leads nowhere. Train again from x."
    left = f"{seen}, which leaves an error of about {error:.2g}"
    if is_enough:
        return f"{left}."
    return (
        f"{left}, {error / step:.0%} of the step. Call newton_retrain again, from corrected, or "
        "train again."
    )
