"""Minimize: the right derivatives for every method of scipy.optimize.minimize."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
from scipy.optimize import OptimizeResult

from hessop._errors import NonFiniteError, name_of
from hessop._progress import progress_bar
from hessop.differentiate.points import plain_value
from hessop.optimize.bounds import flat_bounds
from hessop.optimize.guards import BrokenDown, Guard, LineSearchGuard, SubproblemGuard
from hessop.optimize.objectives import Objective
from hessop.optimize.saddles import leave_saddles

__all__ = ["DENSE_LIMIT", "minimize"]

#: Most parameters for which a dense Hessian is formed (trust-exact, dogleg): 32 MB in float64.
DENSE_LIMIT = 2000


@dataclass(frozen=True)
class _Method:
    """What a method of SciPy takes."""

    hessian: str = ""  # "product", "operator" or "dense", if any
    gradient: bool = True
    interpolates: bool = False  # function values, so that an infinity among them does harm
    bounds: bool = False
    constraints: bool = False


_METHODS = {
    "newton-cg": _Method("product", interpolates=True),
    "trust-ncg": _Method("product"),
    "trust-krylov": _Method("product"),
    "trust-constr": _Method("operator", bounds=True, constraints=True),
    "trust-exact": _Method("dense"),
    "dogleg": _Method("dense"),
    "bfgs": _Method(interpolates=True),
    "cg": _Method(interpolates=True),
    "l-bfgs-b": _Method(interpolates=True, bounds=True),
    "tnc": _Method(interpolates=True, bounds=True),
    "slsqp": _Method(interpolates=True, bounds=True, constraints=True),
    "nelder-mead": _Method(gradient=False, bounds=True),
    "powell": _Method(gradient=False, bounds=True),
    "cobyla": _Method(gradient=False, interpolates=True, bounds=True, constraints=True),
    "cobyqa": _Method(gradient=False, interpolates=True, bounds=True, constraints=True),
}


# Their subproblems divide by the gradient's norm: see `SubproblemGuard`.
_WITH_SUBPROBLEM = {"trust-krylov", "trust-ncg"}


def minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    method: str = "trust-krylov",
    *,
    bounds: Any = None,
    constraints: Any = (),
    tol: float | None = None,
    callback: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None,
    progress: bool = False,
    check_saddle: bool = False,
    mode: str = "auto",
    grad: Callable[..., Any] | None = None,
) -> OptimizeResult:
    """Minimize a function of a parameter tree by a method of `scipy.optimize.minimize`.

    The method gets the derivatives that it can use, all of them from one run of the function at a
    point: Hessian products for Newton-CG, trust-ncg and trust-krylov; an operator for trust-constr;
    a dense Hessian for trust-exact and dogleg; the gradient for L-BFGS-B, TNC, SLSQP, BFGS and CG;
    nothing for Nelder-Mead, Powell, COBYLA and COBYQA.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args) -> scalar``, written with autograd.numpy, of a tree nested like x0.
    x0 : parameter tree
        The starting point: an array of any shape, a scalar, or a nest of dicts, lists, tuples and
        namedtuples of them.
    args : tuple
        Further arguments, not differentiated.
    method : str or callable
        A method of SciPy, in any case, or a function as SciPy takes it.
    bounds : scipy.optimize.Bounds or sequence of (low, high), optional
        On the flat vector; Bounds also in the shape of an array x0. For a dict x0 also
        ``(low, high)``, each a number or a dict like it.
    constraints : constraint or list of them, optional
        As SciPy takes them, on the flat vector: see `nonlinear_constraint`.
    tol : float, optional
        The method's own tolerance; see SciPy.
    callback : callable, optional
        ``callback(intermediate_result)``, with ``x``, ``fun`` and ``params``; or ``callback(xk)``;
        for trust-constr also ``callback(xk, state)``. It stops the run by raising StopIteration.
    options : dict, optional
        The method's own options; see SciPy.
    progress : bool
        Show a bar with value, gradient norm and products; needs tqdm.
    check_saddle : bool
        Look at the smallest eigenvalue of the Hessian where the method stopped. If it is negative
        beyond rounding, go on along its eigenvector. Without bounds and constraints only.
    mode : str
        How Hessian products are computed: see `hessian_operator`.
    grad : callable, optional
        ``grad(x, *args)``, a gradient that is not autograd's. `fun` may then be any function, and
        Hessian products are finite differences.

    Returns
    -------
    scipy.optimize.OptimizeResult
        SciPy's, with these besides:

        params : parameter tree
            The solution, nested like x0.
        nfev, njev, nhev, nhessp : int
            Runs of the function, gradients, points with products, and Hessian products: those
            that were made, as `Objective` counts them.
        curvature : HessianOperator
            At the solution; for the second-order methods only.
        min_eigenvalue, escapes : float, int
            With `check_saddle`: the smallest eigenvalue of the Hessian at the solution, and how
            many saddle points were left on the way, ten at most.

    Raises
    ------
    NonFiniteError
        When the function is not finite at x0, or a gradient or product is not finite at a point
        where the function is. Elsewhere, a value that is not finite counts as ``+inf``.
    ValueError
        When the method is unknown, cannot take the bounds or constraints given, or would need a
        dense Hessian of more than 2,000 parameters.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import minimize
    >>> def energy(p):
    ...     return np.sum(np.cosh(p["a"] - 1.0)) + (p["b"] - np.sum(p["a"])) ** 2
    >>> result = minimize(energy, {"a": np.zeros(3), "b": 0.0}, tol=1e-8)
    >>> result.success, round(float(result.params["b"]), 6)
    (True, 3.0)
    >>> result.curvature
    <4x4 HessianOperator of energy, reverse-over-reverse, float64, 0 products>
    """
    what = _method(method, bounds, constraints)
    objective = Objective(fun, x0, args, mode=mode, grad=grad)
    n = objective.x0.size
    if what.hessian == "dense" and n > DENSE_LIMIT:
        raise ValueError(
            f"method {method!r} needs a dense Hessian, {n} x {n}, and is refused above "
            f"{DENSE_LIMIT} parameters. Use 'trust-krylov', 'trust-ncg' or 'Newton-CG', which "
            "need products only."
        )
    constrained = bounds is not None or bool(np.size(constraints))
    if check_saddle and constrained:
        raise ValueError(
            "check_saddle=True looks at the Hessian alone, which says nothing about a minimum on a "
            "bound or constraint. Leave it out here."
        )
    name = str(method).lower()
    guard = _guard(objective, name, what)
    arguments = {
        "method": method,
        "tol": tol,
        "options": None if options is None else dict(options),
        **_derivatives(guard, what),
    }
    if bounds is not None:
        arguments["bounds"] = flat_bounds(bounds, objective.layout)
    if constrained and what.constraints:
        arguments["constraints"] = constraints
    value = guard.fun if what.gradient else _plain(fun, objective, what)

    with progress_bar(progress, None, desc=str(method), unit="step") as bar:
        reporter = _Reporter(objective, guard, value, callback, bar)
        if what.gradient or callback is not None or progress:
            arguments["callback"] = reporter

        def run(start: np.ndarray) -> OptimizeResult:
            return _run(value, start, arguments, objective, reporter)

        result = run(objective.x0.astype(np.float64))
        if check_saddle:
            result = leave_saddles(objective, result, run)
    guard.check(result.x)
    return _finish(result, objective, name, what)


def _run(
    value: Callable[[np.ndarray], float],
    start: np.ndarray,
    arguments: dict[str, Any],
    objective: Objective,
    reporter: _Reporter,
) -> OptimizeResult:
    """One run of SciPy's, with a result also where SciPy would have none."""
    method = str(arguments["method"]).lower()
    before = reporter.steps
    reporter.x = start
    quiet: Any = "ignore" if method in _WITH_SUBPROBLEM else None
    try:
        with np.errstate(invalid=quiet, divide=quiet, over=quiet):
            return scipy.optimize.minimize(value, start, **arguments)
    except StopIteration:  # TNC lets it through, and older SciPy also other methods
        x, success, status = reporter.x, False, 99
        message = "`callback` raised `StopIteration`."
    except BrokenDown as broken:
        gradient = objective.grad(broken.x)
        if gradient.any() and method == "trust-krylov":
            options = {k: v for k, v in (arguments["options"] or {}).items() if k != "inexact"}
            arguments = arguments | {"method": "trust-ncg", "options": options}
            steps = reporter.steps - before
            rest = _run(value, broken.x, arguments, objective, reporter)
            rest.nit += steps
            rest.message += (
                " The last steps were made by trust-ncg, because the subproblem of trust-krylov "
                "breaks down at so small a gradient."
            )
            return rest
        if gradient.any():
            raise NonFiniteError(
                f"{method} broke down: it asked for a product with NaN. Scale the parameters, or "
                "use another method."
            ) from broken
        x, success, status = broken.x, True, 0
        message = "The gradient is zero."
    return OptimizeResult(
        x=x,
        fun=value(x),
        nit=reporter.steps - before,
        success=success,
        status=status,
        message=message,
    )


def _method(method: Any, bounds: Any, constraints: Any) -> _Method:
    if callable(method):
        return _Method("product", bounds=True, constraints=True)
    what = _METHODS.get(str(method).lower())
    if what is None:
        raise ValueError(
            f"method is {method!r}, expected one of {', '.join(_METHODS)}, or a callable."
        )
    # SciPy only warns and then ignores them, which is an answer to another problem.
    for name, given, taken in (
        ("bounds", bounds is not None, what.bounds),
        ("constraints", bool(np.size(constraints)), what.constraints),
    ):
        if given and not taken:
            able = [key for key, other in _METHODS.items() if getattr(other, name)]
            raise ValueError(f"method {method!r} takes no {name}. Use one of {', '.join(able)}.")
    return what


def _guard(objective: Objective, method: str, what: _Method) -> Guard:
    if method in _WITH_SUBPROBLEM:
        return SubproblemGuard(objective)
    if what.gradient and what.interpolates:
        return LineSearchGuard(objective)
    return Guard(objective)


def _derivatives(guard: Guard, what: _Method) -> dict[str, Any]:
    hessians: dict[str, dict[str, Any]] = {
        "product": {"hessp": guard.hessp},
        "operator": {"hess": guard.hess},
        "dense": {"hess": guard.hess_dense},
        "": {},
    }
    gradient = {"jac": guard.grad} if what.gradient else {}
    return gradient | hessians[what.hessian]


def _plain(
    fun: Callable[..., Any], objective: Objective, what: _Method
) -> Callable[[np.ndarray], float]:
    """The value without a trace, for methods that never ask for a derivative."""
    worst: float | None = None

    def value(x: np.ndarray) -> float:
        nonlocal worst
        result = plain_value(fun(objective.unflatten(x), *objective.args))
        if np.isfinite(result):
            worst = result if worst is None else max(worst, result)
            return result
        if worst is None:
            raise NonFiniteError(
                f"{name_of(fun)}(x0) is {result}, expected a finite number. "
                "Start inside the domain of the function."
            )
        return worst + 0.1 * (1.0 + abs(worst)) if what.interpolates else np.inf

    return value


class _Reporter:
    """SciPy's callback: moves the bar, and hands on to the user's callback in the form it takes."""

    def __init__(
        self,
        objective: Objective,
        guard: Guard,
        value: Callable[[np.ndarray], float],
        callback: Callable[..., Any] | None,
        bar: Any,
    ) -> None:
        self.steps = 0
        self.x = objective.x0
        self._value = value
        self._objective = objective
        self._guard = guard
        self._callback = callback
        self._bar = bar
        names = [] if callback is None else _positional(callback)
        self._wants_result = names == ["intermediate_result"]
        self._wants_state = len(names) == 2
        self._takes_value = bar is not None or self._wants_result or self._wants_state
        self._takes_gradient = value == guard.fun

    # SciPy looks at the name of the argument to decide what to pass.
    def __call__(self, intermediate_result: Any) -> Any:
        state = intermediate_result
        if not isinstance(state, OptimizeResult):  # TNC, COBYLA and COBYQA pass the point alone
            state = OptimizeResult(x=np.copy(state))
        if self._takes_value and "fun" not in state:
            state.fun = self._value(state.x)
        self.steps += 1
        self.x = np.copy(state.x)
        if self._takes_gradient:
            self._guard.accept(state.x)
        if self._bar is not None:
            self._show(state)
        if self._callback is None:
            return None
        if self._wants_result:
            state.params = self._objective.unflatten(state.x)
            return self._callback(intermediate_result=state)
        if self._wants_state:
            return self._callback(np.copy(state.x), state)
        return self._callback(np.copy(state.x))

    def _show(self, state: OptimizeResult) -> None:
        norm = self._objective.known_gradient_norm(state.x)
        facts = {"value": f"{state.fun:.6g}", "products": self._objective.counts.nhessp}
        if norm is not None:
            facts["gradient"] = f"{norm:.2e}"
        self._bar.set_postfix(facts, refresh=False)
        self._bar.update(1)


def _positional(callback: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(callback).parameters.values()
    except ValueError:  # some builtins have none
        return []
    return [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]


def _stands_still(result: OptimizeResult, objective: Objective) -> bool:
    """Whether Newton-CG calls it a success that it found no curvature, and so took no step."""
    gradient = objective.grad(result.x)
    norm = float(np.linalg.norm(gradient))
    if norm < 1e-8:
        return False
    curvature = float(gradient @ objective.hessp(result.x, gradient)) / norm**2
    return bool(abs(curvature) <= 3 * np.finfo(np.float64).eps)


def _finish(
    result: OptimizeResult, objective: Objective, method: str, what: _Method
) -> OptimizeResult:
    if method == "newton-cg" and result.success and _stands_still(result, objective):
        result.success = False
        result.message = (
            "Newton-CG found no curvature along the gradient, and took no step, at a point that is "
            "not stationary. Use a trust-region method."
        )
    result.params = objective.unflatten(result.x)
    if what.hessian:
        result.curvature = objective.hess(result.x)
    counts = objective.counts
    result.nhessp = counts.nhessp
    if what.gradient:  # SciPy counts calls, and of some methods something else
        result.nfev, result.njev, result.nhev = counts.nfev, counts.njev, counts.nhev
    return result
