"""What keeps SciPy's optimizers from going wrong where a function is not finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hessop._errors import NonFiniteError
from hessop.optimize.objectives import Objective

__all__ = ["BrokenDown", "KrylovGuard", "LineSearchGuard", "TrustRegionGuard"]


class BrokenDown(Exception):
    """The subproblem of trust-krylov produced a NaN of its own; the iterate is still good."""

    def __init__(self, x: np.ndarray) -> None:
        super().__init__()
        self.x = x


class TrustRegionGuard:
    """An objective for trust-region methods, which compare values and so can be given ``+inf``.

    Parameters
    ----------
    objective : Objective
    """

    def __init__(self, objective: Objective) -> None:
        self.fun = objective.fun
        self.grad = objective.grad
        self.hess = objective.hess
        self.hessp = objective.hessp
        self._objective = objective

    def accept(self, x: np.ndarray) -> None:
        """Nothing: values are compared by SciPy itself."""

    def hess_dense(self, x: np.ndarray) -> np.ndarray:
        """The dense Hessian; zeros where the function is not finite.

        trust-exact asks for the Hessian of a trial step before it compares the values.
        """
        if not np.isfinite(self._objective.fun(x)):
            return np.zeros((x.size, x.size))
        return self._objective.hess_dense(x)


class KrylovGuard(TrustRegionGuard):
    """An objective for trust-krylov, whose subproblem breaks down where the gradient is tiny.

    A squared norm below the machine's epsilon, so a gradient below 1.5e-8, counts as zero there.
    Then it divides by it, asks for a product with NaN, and would spin for 200 n iterations.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__(objective)
        # The division is silenced around the run; the function keeps the user's own settings.
        self.fun = self._with_settings(objective.fun)
        self.grad = self._with_settings(objective.grad)
        self.hessp = self._with_settings(self._product)

    @staticmethod
    def _with_settings(function: Callable[..., Any]) -> Callable[..., Any]:
        settings = np.geterr()

        def restored(*args: Any) -> Any:
            with np.errstate(**settings):
                return function(*args)

        return restored

    def _product(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        if not np.isfinite(v).all():
            raise BrokenDown(np.copy(x))
        return self._objective.hessp(x, v)


class LineSearchGuard(TrustRegionGuard):
    """An objective for line searches, which interpolate values.

    An infinity among them ends L-BFGS-B with a false success, and TNC with a failure. A finite wall
    is put in its place: higher than the point that the search started from, by as much as makes the
    interpolation take a fraction of the step.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__(objective)
        self.fun = self._walled
        self.grad = self._walled_gradient
        self._start: tuple[np.ndarray, float, np.ndarray] | None = None

    def accept(self, x: np.ndarray) -> None:
        """Take x for the point that the next search starts from."""
        self._start = np.copy(x), self._objective.fun(x), self._objective.grad(x)

    def _walled(self, x: np.ndarray) -> float:
        value = self._objective.fun(x)
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

    def _walled_gradient(self, x: np.ndarray) -> np.ndarray:
        if np.isfinite(self._objective.fun(x)):
            return self._objective.grad(x)
        return np.zeros_like(x)
