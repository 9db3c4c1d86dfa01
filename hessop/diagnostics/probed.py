"""An operator, and what it makes of a few random directions."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from hessop._lengths import length
from hessop.diagnostics.checked import Unanswerable
from hessop.operators.checks import first_bad, float_dtype

__all__ = ["Probed", "finite_product", "has_adjoint"]

# What is never put down to rounding, or to the error of differences.
_MOST_ALLOWED = 1e-2


class Probed:
    """An operator, random directions, and its products with them.

    Parameters
    ----------
    operator : LinearOperator, shape (m, n)
        Real.
    symmetric : bool
        Whether it should be.
    n_probes : int
    rng : numpy.random.Generator

    Attributes
    ----------
    V, U : ndarray, shape (n, k) and (m, k)
        Random directions, of lengths a little below one.
    """

    def __init__(
        self, operator: LinearOperator, symmetric: bool, n_probes: int, rng: np.random.Generator
    ) -> None:
        self.operator = operator
        self.symmetric = symmetric
        self.declared = np.dtype(operator.dtype or float)
        self.dtype = float_dtype(self.declared)
        self.eps = float(np.finfo(self.dtype).eps)
        self.rng = rng
        m, n = operator.shape
        self.V = self._directions(n, n_probes)
        self.U = self.V if symmetric else self._directions(m, n_probes)

    def _directions(self, n: int, k: int) -> np.ndarray:
        V = self.rng.standard_normal((n, k))
        # Not exactly one: a product of whole numbers should not be one.
        lengths = self.rng.uniform(0.7, 1.0, k)
        directions: np.ndarray = (V * (lengths / np.linalg.norm(V, axis=0))).astype(self.dtype)
        return directions

    def times(self, v: np.ndarray) -> np.ndarray:
        """A finite product with a copy of v, as a fresh vector in float64."""
        return finite_product(self.operator.matvec(v.copy()))

    @cached_property
    def other(self) -> np.ndarray:
        """Another direction, shape (n,)."""
        return self._directions(self.operator.shape[1], 1)[:, 0]

    @cached_property
    def raw(self) -> list[Any]:
        """Copies of the products with V, as they came."""
        return [np.array(self.operator.matvec(v.copy())) for v in self.V.T]

    @cached_property
    def AV(self) -> list[np.ndarray]:
        """The products with V, in float64; finite."""
        try:
            return [finite_product(one) for one in self.raw]
        except Exception:
            raise Unanswerable("there are no finite products to look at.") from None

    @cached_property
    def AU(self) -> list[np.ndarray]:
        """The products of the adjoint with U, in float64; finite."""
        return [finite_product(self.operator.rmatvec(u.copy())) for u in self.U.T]

    @cached_property
    def norm(self) -> float:
        """The length of the longest product: that of A v for a typical v of length one."""
        return max(length(one) for one in self.AV) or 1.0

    @cached_property
    def rounding(self) -> float:
        """What a product may be wrong by, relative to `norm`.

        Ten times the rounding of √n sums, as of a dense matrix; ten times what a change of v in
        its last digit makes, which is more where numbers cancel on the way; and the error of
        differences, where products are made of them. One part in a hundred at most.
        """
        changes = []
        for v, Av in zip(self.V.T, self.AV, strict=True):
            near = v * (1.0 + 2.0 * self.eps * self.rng.choice([-1.0, 1.0], v.size))
            changes.append(length(self.times(near.astype(self.dtype)) - Av) / self.norm)
        change = max(changes)
        spread = 10.0 * math.sqrt(max(self.operator.shape)) * self.eps
        return min(spread + 10.0 * (change + _step_error(self.operator)), _MOST_ALLOWED)


def finite_product(product: Any) -> np.ndarray:
    """A product, or a block of them, as a fresh array in float64.

    Raises
    ------
    ArithmeticError
        When an entry is not finite.
    """
    found = np.array(np.real(product), dtype=np.float64)
    if not np.isfinite(found).all():
        raise ArithmeticError(f"A @ v has {first_bad(found)}, though v is finite.")
    return found


def _step_error(operator: Any) -> float:
    """Of differences that an operator, or a part of a sum or product, computes products by."""
    terms = [term for _, term in getattr(operator, "terms", ())]
    # SciPy's sums, multiples and products keep their parts as args.
    parts = [*terms, *getattr(operator, "factors", ()), *getattr(operator, "args", ())]
    errors = [_step_error(part) for part in parts if isinstance(part, LinearOperator)]
    return max([float(getattr(operator, "step_error", 0.0)), *errors])


def has_adjoint(operator: LinearOperator) -> bool:
    """Whether an operator can be multiplied with its transpose, as far as can be seen."""
    try:
        operator.rmatvec(np.zeros(operator.shape[0], dtype=float_dtype(operator.dtype)))
    except (NotImplementedError, TypeError, AttributeError):
        return False
    except Exception:  # there is one, and it fails: that is found when it is checked
        return True
    return True
