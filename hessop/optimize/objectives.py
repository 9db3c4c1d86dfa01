"""A function with its derivatives, in the form that scipy.optimize asks for them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from hessop._errors import NonFiniteError, name_of
from hessop.differentiate.points import differentiate_at
from hessop.operators.compiling import Point, compiling_point
from hessop.operators.hessian import HessianOperator, check_gradient, hessian_operator
from hessop.optimize.caches import PointCache
from hessop.params import as_args, read_tree

__all__ = ["Counts", "Objective"]


@dataclass(frozen=True)
class Counts:
    """The work that an `Objective` has done.

    Attributes
    ----------
    nfev : int
        Runs of the function.
    njev : int
        Gradients.
    nhev : int
        Points at which products were asked for.
    nhessp : int
        Hessian-vector products.
    nonfinite : int
        Points at which the function was not finite, and was taken for +inf.
    """

    nfev: int = 0
    njev: int = 0
    nhev: int = 0
    nhessp: int = 0
    nonfinite: int = 0


class Objective:
    """A function of a parameter tree, as value, gradient and Hessian products at flat vectors.

    At one x all of them share one run of the function. Two points are remembered, by value.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args) -> scalar``, written with autograd.numpy; with `grad`, any function.
    x0 : parameter tree
        The starting point, which gives the nest and the shapes.
    args : tuple
        Further arguments, not differentiated.
    mode : str
        How Hessian products are computed: see `hessian_operator`.
    grad : callable, optional
        ``grad(x, *args)``, a gradient that is not autograd's: see `hessian_operator`.

    Attributes
    ----------
    x0 : ndarray, shape (n,)
        The starting point as a flat vector; a fresh copy each time.
    counts : Counts
        The work done so far.
    layout : Layout
        How the tree lies in the flat vector.
    args : tuple
        The further arguments of the function.

    Notes
    -----
    A value that is NaN or infinite counts as ``+inf``, so that SciPy rejects the step, and so does
    a `numpy.linalg.LinAlgError` of the function. Only at `x0` either is an error. A gradient or
    product that is not finite where the value is, is an error always.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> import scipy.optimize
    >>> from hessop import Objective
    >>> def rosenbrock(p):
    ...     return (1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2
    >>> obj = Objective(rosenbrock, {"x": -1.2, "y": 1.0})
    >>> result = scipy.optimize.minimize(
    ...     obj.value_and_grad, obj.x0, jac=True, hessp=obj.hessp, method="trust-krylov", tol=1e-8
    ... )
    >>> {name: round(float(value), 4) for name, value in obj.unflatten(result.x).items()}
    {'x': 1.0, 'y': 1.0}
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        x0: Any,
        args: tuple[Any, ...] = (),
        *,
        mode: str = "auto",
        grad: Callable[..., Any] | None = None,
    ) -> None:
        self.layout, self._x0 = read_tree(x0, "x0")
        self._fun = fun
        self.args = as_args(args)
        self._mode = mode
        self._grad = grad
        self._name = name_of(fun)
        self._counts: Counter[str] = Counter()
        self._cache = PointCache(self._evaluate, lambda at_x: at_x.differentiated)

    @property
    def x0(self) -> np.ndarray:
        """The starting point as a flat vector, shape (n,): a fresh copy."""
        return self._x0.copy()

    @property
    def counts(self) -> Counts:
        """The work done so far."""
        return Counts(**self._counts)

    def fun(self, x: Any) -> float:
        """The value at a flat x of shape (n,); ``+inf`` where it is not finite.

        Raises
        ------
        ValueError
            When x has not the shape (n,).
        NonFiniteError
            When the value is not finite at x0.
        """
        return self._at(x).value

    def grad(self, x: Any) -> np.ndarray:
        """The gradient at a flat x, shape (n,): a fresh vector; NaN where the value is not finite.

        Raises
        ------
        NonFiniteError
            When it is not finite although the value is.
        """
        return self.value_and_grad(x)[1]

    def value_and_grad(self, x: Any) -> tuple[float, np.ndarray]:
        """Value and gradient, for ``scipy.optimize.minimize(..., jac=True)``."""
        at_x = self._at(x)
        if at_x.point is None:
            return at_x.value, np.full_like(self._x0, np.nan)
        return at_x.value, at_x.point.gradient.copy()

    def hessp(self, x: Any, v: Any) -> np.ndarray:
        """The Hessian at x times v, both flat and of shape (n,); for ``hessp=``.

        Raises
        ------
        ValueError
            When v has not the shape (n,).
        NonFiniteError
            When v, or the product, is not finite.
        """
        if np.shape(v) != (self.layout.size,):
            raise ValueError(
                f"hessp: v has shape {np.shape(v)}, expected ({self.layout.size},). "
                "For a block of columns use hess(x) @ V."
            )
        product: np.ndarray = self.hess(x).matvec(v)
        return product

    def hess(self, x: Any) -> HessianOperator:
        """The Hessian at a flat x, as an operator; for the ``hess=`` of trust-constr."""
        at_x = self._at(x)
        if at_x.point is None:
            raise NonFiniteError(
                f"{self._name} is not finite at x, so that it has no Hessian there."
            )
        if at_x.hessian is None:
            self._counts["nhev"] += 1
            point = np.array(x, dtype=self.layout.dtype)
            remake = partial(
                hessian_operator,
                self._fun,
                self.layout.unflatten(point),
                args=self.args,
                mode=self._mode,
                grad=self._grad,
            )
            at_x.hessian = HessianOperator(at_x.point, point, self._name, remake)
        return at_x.hessian

    def hess_dense(self, x: Any) -> np.ndarray:
        """The Hessian at a flat x as a symmetric array (n, n), by n products."""
        return self.hess(x).to_dense(symmetrize=True)

    def flatten(self, tree: Any) -> np.ndarray:
        """The flat vector of a tree nested like x0."""
        return self.layout.flatten(tree)

    def unflatten(self, x: Any) -> Any:
        """The tree of a flat vector, nested like x0."""
        return self.layout.unflatten(x)

    def known_gradient_norm(self, x: Any) -> float | None:
        """The gradient's 2-norm at x, if it was computed there and is still remembered."""
        at_x = self._cache.find(np.asarray(x))
        if at_x is None or at_x.point is None or not at_x.differentiated:
            return None
        return float(np.linalg.norm(at_x.point.gradient))

    def _at(self, x: Any) -> _Evaluation:
        x = np.asarray(x)
        if x.dtype.kind not in "biuf":
            raise TypeError(
                f"x has dtype {x.dtype}, expected a real vector. Use flatten for a tree."
            )
        if x.dtype != self.layout.dtype:
            with np.errstate(
                over="ignore"
            ):  # a trial step beyond float32 is infinite, and rejected
                x = x.astype(self.layout.dtype)
        if x.shape != self._x0.shape:
            raise ValueError(
                f"x has shape {x.shape}, expected {self._x0.shape}, the flat size of x0. "
                "Use flatten for a tree."
            )
        return self._cache.at(x)

    def _evaluate(self, x: np.ndarray) -> _Evaluation:
        self._counts["nfev"] += 1
        try:
            point = compiling_point(
                differentiate_at(
                    self._fun, self.layout, x, args=self.args, mode=self._mode, grad=self._grad
                ),
                self._name,
            )
            value = point.value
        except NonFiniteError:  # a plain infinity from a branch of the function
            value = np.inf
        except np.linalg.LinAlgError:  # a matrix that is singular, or not positive definite, here
            if np.array_equal(x, self._x0):
                raise
            value = np.inf
        else:
            if math.isfinite(value):
                return _Evaluation(value, _CountedPoint(point, self._name, self._counts))
        self._counts["nonfinite"] += 1
        if np.array_equal(x, self._x0):
            raise NonFiniteError(
                f"{self._name}(x0) is {value}, expected a finite number. "
                "Start inside the domain of the function."
            )
        return _Evaluation(np.inf, None)

    def __reduce__(self) -> Any:
        start = self.layout.unflatten(self._x0)
        return _objective, (self._fun, start, self.args, self._mode, self._grad)

    def __repr__(self) -> str:
        return f"<Objective {self._name} of {self.layout.size} parameters, {self.counts}>"


def _objective(fun: Any, x0: Any, args: Any, mode: str, grad: Any) -> Objective:
    # Unpickling calls with positions only.
    return Objective(fun, x0, args, mode=mode, grad=grad)


class _Evaluation:
    """An objective at one point. Without a `Point`, the value was not finite there."""

    def __init__(self, value: float, point: _CountedPoint | None) -> None:
        self.value = value
        self.point = point
        self.hessian: HessianOperator | None = None

    @property
    def differentiated(self) -> bool:
        return self.hessian is not None or (self.point is not None and self.point.checked)


class _CountedPoint:
    """A `Point` that counts what is asked of it, and refuses a gradient that is not finite."""

    def __init__(self, point: Point, name: str, counts: Counter[str]) -> None:
        self.layout = point.layout
        self.mode = point.mode
        self.value = point.value
        self.checked = False
        self._point = point
        self._name = name
        self._counts = counts

    @property
    def gradient(self) -> np.ndarray:
        gradient = self._point.gradient
        if not self.checked:
            self._counts["njev"] += 1
            check_gradient(gradient, self._point, f"the gradient of {self._name}")
            self.checked = True
        return gradient

    def product(self, v: np.ndarray) -> np.ndarray:
        self._counts["nhessp"] += 1
        return self._point.product(v)

    def block(self, V: np.ndarray) -> np.ndarray:
        self._counts["nhessp"] += V.shape[1]
        return self._point.block(V)

    def compile(self) -> Any:
        return self._point.compile()

    @property
    def is_compiled(self) -> bool:
        return self._point.is_compiled

    def step_error(self) -> float:
        return self._point.step_error()
