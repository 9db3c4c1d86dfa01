"""The Newton step of a function at a point, damped where its curvature needs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hessop.operators.base import is_real_number
from hessop.operators.structured import check_damping
from hessop.solvers.damped import DampedSolution, Damping, solve_damped
from hessop.solvers.linear import solve
from hessop.solvers.options import read_accuracy, read_limit, read_preconditioner
from hessop.solvers.quadratic_models import Form, QuadraticModel, quadratic_model
from hessop.solvers.results import NegativeCurvature, SolveResult
from hessop.solvers.truncated import steihaug
from hessop.spectrum.intervals import SpectralInterval, spectral_interval

__all__ = ["NewtonStep", "newton_step"]

# How `steihaug` ends without having solved the system.
_ON_BOUNDARY = ("boundary", "negative curvature")


@dataclass(frozen=True, eq=False)
class NewtonStep:
    """A Newton step, and what is known of it.

    Attributes
    ----------
    step : tree
        In the form of x.
    value : float
        The function at x.
    gradient_norm : float
    slope : float
        ``gᵀ step``, the derivative along the step.
    predicted_decrease : float
        ``-gᵀ step - stepᵀ A step / 2``: by how much the quadratic model, without damping, is lower
        after the step.
    decrement : float
        Newton's decrement ``sqrt(gᵀ (A + damping I)⁻¹ g)``; half its square is about the height
        above the minimum. NaN where the step does not go down, or does not solve the system.
    damping : float
    damping_reason : str
        Why so much, in a sentence with figures.
    spectrum : SpectralInterval or None
        The ends of the spectrum, as far as they were measured.
    negative_curvature : NegativeCurvature or None
        The direction of most negative curvature that was met, of A without damping; in the form of
        x, and not uphill.
    n_matvec : int
        Products with A.
    solution : SolveResult
        How the system was solved, in flat vectors.
    on_boundary : bool
        Whether the step ends at the boundary of the trust region.
    """

    step: Any
    value: float
    gradient_norm: float
    slope: float
    predicted_decrease: float
    decrement: float
    damping: float
    damping_reason: str
    spectrum: SpectralInterval | None
    negative_curvature: NegativeCurvature | None
    n_matvec: int
    solution: SolveResult
    on_boundary: bool
    _x: np.ndarray = field(repr=False)
    _form: Form = field(repr=False)

    @property
    def is_descent(self) -> bool:
        """Whether the function goes down along the step, at first."""
        return self.slope < 0.0

    def moved(self, t: float = 1.0) -> Any:
        """The point ``x + t step``, in the form of x."""
        return self._form(self._x + t * self.solution.x)

    def __repr__(self) -> str:
        facts = [
            *([] if math.isnan(self.decrement) else [f"decrement {self.decrement:.3g}"]),
            f"predicted decrease {self.predicted_decrease:.3g}",
            f"damping {self.damping:.3g}",
            *(["on the boundary"] if self.on_boundary else []),
            *([] if self.negative_curvature is None else ["negative curvature"]),
            f"{self.n_matvec} products",
        ]
        return f"<NewtonStep in {self._x.size} parameters: {', '.join(facts)}>"


def newton_step(
    fun: Any,
    x: Any,
    *,
    args: tuple[Any, ...] = (),
    curvature: Any = "hessian",
    damping: float | str = "auto",
    max_condition: float = 1e8,
    trust_radius: float | None = None,
    M: Any = None,
    rtol: float = 1e-8,
    maxiter: int | None = None,
    rng: Any = 0,
    callback: Callable[[np.ndarray], Any] | None = None,
    progress: bool = False,
) -> NewtonStep:
    """The step to the minimum of the quadratic model, ``-(A + damping I)⁻¹ g``.

    Parameters
    ----------
    fun : callable, Objective, or (model, loss)
        ``fun(x, *args) -> scalar``, written with autograd.numpy; or a pair of a model and a loss,
        for ``loss(model(x, *args))``.
    x : parameter tree
        The point; for an Objective also a flat vector.
    args : tuple
        Further arguments, not differentiated; an Objective has its own.
    curvature : {"hessian", "gauss-newton"}, LinearOperator or matrix
        What is taken for A; ``"gauss-newton"`` needs a pair. A structured operator is inverted
        exactly.
    damping : "auto" or float
        ``"auto"`` measures both ends of the spectrum with 30 products, and takes none where these
        see neither negative curvature nor a condition above `max_condition`. A number is taken as
        it is; where the system is not positive definite, it is solved by minres.
    max_condition : float
        What ``"auto"`` takes for acceptable.
    trust_radius : float, optional
        The step is not to be longer; with M, in the norm ``sᵀ M⁻¹ s``. ``"auto"`` is zero then, and
        conjugate gradients end at the boundary or at negative curvature: see Notes.
    M : LinearOperator or matrix, optional
        Preconditioner: an approximation of the inverse of A, positive definite.
    rtol : float
        Solved when ``||g + A s|| <= rtol ||g||``.
    maxiter : int, optional
        The most products for one solve, 10 n unless said otherwise.
    rng : None, int or numpy.random.Generator
        Of the vector that the measurement starts from; the same each time unless said otherwise.
    callback : callable, optional
        ``callback(s)`` with a flat iterate, after each iteration; StopIteration ends the solve.
    progress : bool
        Show a bar of the products; needs tqdm.

    Returns
    -------
    NewtonStep

    Warns
    -----
    NotConvergedWarning
        When the system was not solved to `rtol`.

    Raises
    ------
    NonFiniteError
        When x, the value, the gradient or a product is not finite.
    TypeError, ValueError
        When something has another shape or kind than is expected, when M is not positive definite,
        or when the curvature is zero and there is neither a damping nor a trust radius.

    Notes
    -----
    Where a direction of negative curvature is measured, the damping is twice its magnitude: made
    barely positive, it would give a step as long as one likes. What the measurement has missed, cg
    may meet; then the damping is raised, and the system solved again.

    With a trust radius the method is that of T. Steihaug, "The conjugate gradient method and trust
    regions in large scale optimization", SIAM J. Numer. Anal. 20, 1983.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import newton_step
    >>> def fun(x):
    ...     return np.sum(np.cosh(x)) + 0.5 * np.sum(x) ** 2
    >>> newton = newton_step(fun, np.array([0.3, -0.2, 0.1]))
    >>> newton
    <NewtonStep in 3 parameters: decrement 0.422, predicted decrease 0.0892, damping 0, 8 products>
    >>> newton.damping_reason
    '3 products saw eigenvalues from 1.01 to 4.02, a condition of 4: none is needed.'
    >>> bool(fun(newton.moved()) < newton.value)
    True

    On a saddle's slope the damped step leads down, and not to the saddle:

    >>> newton = newton_step(lambda x: x[0] ** 2 - x[1] ** 2, np.array([1.0, 0.1]))
    >>> newton.damping_reason
    '2 products saw eigenvalues from -2 to 2: 4 turns the least into its magnitude.'
    >>> newton.moved()
    array([0.66666667, 0.2       ])
    """
    model = quadratic_model(fun, x, args, curvature)
    A, g = model.curvature, model.gradient
    given = _given(damping, trust_radius)
    if not (is_real_number(max_condition) and 1.0 < max_condition < np.inf):
        raise ValueError(f"max_condition is {max_condition!r}, expected a finite number above 1.")
    read_limit(maxiter, g.size)
    options: dict[str, Any] = {
        "M": read_preconditioner(M, A),
        "rtol": read_accuracy(rtol),
        "maxiter": maxiter,
        "callback": callback,
        "progress": progress,
    }
    ends = spectral_interval(A, rng=rng) if given is None else None
    if not model.gradient_norm > 0.0:
        given = given or Damping(0.0, "the gradient is zero: there is no step to be damped.")
        solution = solve(A, np.zeros_like(g), **options)
    elif given is None:
        assert ends is not None
        damped = solve_damped(A, -g, ends, max_condition, model.rounding, **options)
        return _result(model, damped)
    elif trust_radius is None:
        solution = solve(A, -g, damping=given.value, **options)
    else:
        solution = steihaug(A, -g, trust_radius, damping=given.value, **options)
    spent = solution.n_matvec + (0 if ends is None else ends.n_matvec)
    return _result(model, DampedSolution(solution, given, ends, spent))


def _given(damping: float | str, trust_radius: float | None) -> Damping | None:
    """The damping, where it does not depend on a measurement."""
    if trust_radius is not None and not (
        is_real_number(trust_radius) and 0.0 < trust_radius < np.inf
    ):
        raise ValueError(f"trust_radius is {trust_radius!r}, expected a positive finite number.")
    if not isinstance(damping, str):
        return Damping(check_damping(damping), "as given.")
    if damping != "auto":
        raise ValueError(f"damping is {damping!r}, expected 'auto' or a finite real number.")
    if trust_radius is None:
        return None
    return Damping(0.0, "none is needed: the trust radius bounds the step.")


def _result(model: QuadraticModel, damped: DampedSolution) -> NewtonStep:
    solution, g = damped.solution, model.gradient
    s = solution.x
    slope = float(g @ s) + 0.0  # not -0.0
    bend = float(s @ model.curvature.matvec(s))
    on_boundary = solution.status in _ON_BOUNDARY
    return NewtonStep(
        step=model.form(s),
        value=model.value,
        gradient_norm=model.gradient_norm,
        slope=slope,
        predicted_decrease=0.0 - slope - 0.5 * bend,
        decrement=math.sqrt(abs(slope)) if slope <= 0.0 and not on_boundary else math.nan,
        damping=damped.damping.value,
        damping_reason=damped.damping.reason,
        spectrum=damped.ends,
        negative_curvature=_negative_curvature(model, damped),
        n_matvec=model.spent + damped.n_matvec + 1,
        solution=solution,
        on_boundary=on_boundary,
        _x=model.x,
        _form=model.form,
    )


def _negative_curvature(model: QuadraticModel, damped: DampedSolution) -> NegativeCurvature | None:
    """The most negative curvature of A itself that was met, its direction in the form of x."""
    found = []
    ends, met = damped.ends, damped.solution.negative_curvature
    if ends is not None and ends.least < -model.rounding * ends.norm_bound:
        found.append((ends.least, ends.direction))
    if met is not None and met.value < damped.damping.value:
        found.append((met.value - damped.damping.value, met.direction))
    if not found:
        return None
    value, direction = min(found, key=lambda pair: pair[0])
    downhill = -direction if model.gradient @ direction > 0.0 else direction
    return NegativeCurvature(model.form(downhill), value)
