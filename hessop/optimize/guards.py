"""What keeps SciPy's optimizers from going wrong where a function is not finite."""

from __future__ import annotations

import numpy as np

from hessop._errors import NonFiniteError
from hessop.optimize.objectives import Objective

__all__ = ["BrokenDown", "LineSearchGuard", "TrustRegionGuard"]


class BrokenDown(Exception):
    """A trust-region subproblem produced a NaN of its own; the iterate is still good."""

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
        self._objective = objective

    def accept(self, x: np.ndarray) -> None:
        """Nothing: values are compared by SciPy itself."""

    def hessp(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """The product; ends the run when the solver asks for one with NaN.

        trust-krylov does so where the gradient is tiny and the Hessian nearly singular, and then
        spins for 200 n iterations.
        """
        if not np.isfinite(v).all():
            raise BrokenDown(np.copy(x))
        return self._objective.hessp(x, v)

    def hess_dense(self, x: np.ndarray) -> np.ndarray:
        """The dense Hessian; zeros where the function is not finite.

        trust-exact asks for the Hessian of a trial step before it compares the values.
        """
        if not np.isfinite(self._objective.fun(x)):
            return np.zeros((x.size, x.size))
        return self._objective.hess_dense(x)


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
