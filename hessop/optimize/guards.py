"""What keeps SciPy's optimizers from going wrong where a function is not finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hessop._errors import NonFiniteError
from hessop.optimize.objectives import Objective

__all__ = ["BrokenDown", "Guard", "LineSearchGuard", "SubproblemGuard"]


class BrokenDown(Exception):
    """A subproblem asked for a product with NaN; the iterate is still good."""

    def __init__(self, x: np.ndarray) -> None:
        super().__init__("the subproblem of a trust-region method asked for a product with NaN")
        self.x = x


class Guard:
    """An objective as SciPy's methods want it.

    Gradients are float64. One that is not finite is an error where the point is accepted; some
    methods ask for it at trial points too, where the step may still be rejected for its value.

    Parameters
    ----------
    objective : Objective
    """

    def __init__(self, objective: Objective) -> None:
        self.hess = objective.hess
        self._objective = objective
        self._started = False
        self._trap: tuple[np.ndarray, NonFiniteError] | None = None

    def accept(self, x: np.ndarray) -> None:
        """Take note that x is the new iterate; see `check`."""
        self.check(x)

    def check(self, x: np.ndarray) -> None:
        """Raise the NonFiniteError of a derivative at x that was passed over as of a trial step."""
        if self._trap is not None and np.array_equal(self._trap[0], x):
            raise self._trap[1]

    def _unless_trapped(self, x: np.ndarray, derivative: Callable[[Any], Any], shape: Any) -> Any:
        try:
            found = derivative(x).astype(np.float64, copy=False)
        except NonFiniteError as error:
            if not self._started:
                raise
            self._trap = np.copy(x), error
            return np.zeros(shape)
        self._started = True
        return found

    def fun(self, x: np.ndarray) -> float:
        """The value."""
        return self._objective.fun(x)

    def grad(self, x: np.ndarray) -> np.ndarray:
        """The gradient; SLSQP and TNC refuse any other dtype than float64."""
        gradient: np.ndarray = self._unless_trapped(x, self._objective.grad, x.shape)
        return gradient

    def hessp(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """The Hessian product."""
        return self._objective.hessp(x, v)

    def hess_dense(self, x: np.ndarray) -> np.ndarray:
        """The dense Hessian; zeros where the function is not finite.

        trust-exact asks for the Hessian of a trial step before it compares the values.
        """
        shape = (x.size, x.size)
        if not np.isfinite(self._objective.fun(x)):
            return np.zeros(shape)
        hessian: np.ndarray = self._unless_trapped(x, self._objective.hess_dense, shape)
        return hessian


class SubproblemGuard(Guard):
    """An objective for trust-krylov and trust-ncg, whose subproblems break down at tiny gradients.

    trust-krylov takes a squared norm below the machine's epsilon for zero, so a gradient below
    1.5e-8; trust-ncg one that is zero. Either then divides by it, and asks for a product with NaN;
    the former would spin for 200 n iterations. The division is to be silenced around the run; the
    function keeps the settings of the user.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__(objective)
        self._settings: dict[str, Any] = dict(np.geterr())

    def _restored(self, function: Callable[..., Any], *args: Any) -> Any:
        with np.errstate(**self._settings):
            return function(*args)

    def fun(self, x: np.ndarray) -> float:
        """The value."""
        value: float = self._restored(super().fun, x)
        return value

    def grad(self, x: np.ndarray) -> np.ndarray:
        """The gradient."""
        gradient: np.ndarray = self._restored(super().grad, x)
        return gradient

    def hessp(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """The Hessian product; ends the run if v is not finite."""
        if not np.isfinite(v).all():
            raise BrokenDown(np.copy(x))
        product: np.ndarray = self._restored(super().hessp, x, v)
        return product


class LineSearchGuard(Guard):
    """An objective for line searches, which interpolate values.

    An infinity among them ends L-BFGS-B with a false success, and TNC with a failure. A finite wall
    is put in its place: higher than the point that the search started from, by as much as makes the
    interpolation take a fraction of the step.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__(objective)
        self._start: tuple[np.ndarray, float, np.ndarray] | None = None

    def accept(self, x: np.ndarray) -> None:
        """Take x for the point that the next search starts from."""
        self.check(x)
        self._start = np.copy(x), super().fun(x), super().grad(x)

    def fun(self, x: np.ndarray) -> float:
        """The value, or the wall."""
        value = super().fun(x)
        if np.isfinite(value):
            if self._start is None:
                self.accept(x)
            return value
        if self._start is None:  # x0, moved into the bounds
            raise NonFiniteError(
                f"the function is not finite at the starting point within the bounds, {x}. "
                "Start inside the domain of the function."
            )
        start, base, gradient = self._start
        return base + 4.0 * abs(float(gradient @ (x - start))) + 1e-3 * (1.0 + abs(base))

    def grad(self, x: np.ndarray) -> np.ndarray:
        """The gradient, or zeros on the wall."""
        if np.isfinite(super().fun(x)):
            return super().grad(x)
        return np.zeros_like(x)
