"""What the structured operators have in common: an inverse, a determinant, and algebra."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator

from hessop.operators.base import BaseOperator, is_real_number
from hessop.operators.checks import float_dtype, matrix_of

__all__ = [
    "Inertia",
    "SignedLogdet",
    "StructuredOperator",
    "check_damping",
    "diagonal_of",
    "exact_logdet",
    "inertia_of",
    "inverted",
    "refuse_indefinite",
    "refuse_singular",
    "roots",
    "signed_logdet",
    "symmetric_array",
]


class SignedLogdet(NamedTuple):
    """A determinant as `numpy.linalg.slogdet` gives it: ``sign * exp(logabsdet)``."""

    sign: float
    logabsdet: float


class Inertia(NamedTuple):
    """How many eigenvalues are negative, zero up to rounding, and positive."""

    negative: int
    zero: int
    positive: int


class StructuredOperator(BaseOperator):
    """A symmetric matrix that is known well enough to be inverted exactly.

    A subclass gives what `BaseOperator` asks for, and `inverse`, `slogdet`, `trace` and
    `inertia`; `sqrt` where there is one; for the algebra, `_scaled` and `_plus`.
    """

    def __init__(self, dtype: Any, n: int) -> None:
        super().__init__(float_dtype(dtype), (n, n), symmetric=True)

    # --- what a subclass says ---------------------------------------------------------------------

    def inverse(self, damping: float = 0.0) -> StructuredOperator:
        """``(A + damping I)⁻¹`` as an operator.

        Raises
        ------
        numpy.linalg.LinAlgError
            When the matrix is singular.
        """
        raise NotImplementedError

    def slogdet(self, damping: float = 0.0) -> SignedLogdet:
        """Sign and logarithm of the determinant of ``A + damping I``."""
        raise NotImplementedError

    def trace(self) -> float:
        """The sum of the diagonal."""
        return float(np.sum(self.diagonal()))

    def inertia(self) -> Inertia:
        """The number of negative, zero and positive eigenvalues."""
        raise NotImplementedError

    def sqrt(self) -> StructuredOperator:
        """The positive semidefinite S with ``S S = A``.

        Raises
        ------
        numpy.linalg.LinAlgError
            When A has a negative eigenvalue.
        TypeError
            When the root has not the structure of A.
        """
        raise TypeError(
            f"a {type(self).__name__} has no square root of a structure of its own. Use its "
            "eigendecomposition, np.linalg.eigh(A.to_dense()), where it is small."
        )

    def _scaled(self, factor: float) -> StructuredOperator:
        raise NotImplementedError

    def _plus(self, other: LinearOperator) -> StructuredOperator | None:
        """The sum with another operator, where it has a structure that is known; else None."""
        return None

    def _made_of(self) -> tuple[Any, ...]:
        """The arguments that it can be made of again."""
        raise NotImplementedError

    # --- what follows -----------------------------------------------------------------------------

    def logdet(self, damping: float = 0.0) -> float:
        """The logarithm of the determinant of ``A + damping I``; -inf where it is zero.

        Raises
        ------
        ValueError
            When the determinant is negative, so that it has no logarithm: `slogdet` has its sign.
        """
        sign, logabsdet = self.slogdet(damping)
        if sign < 0:
            raise ValueError(
                f"the determinant is negative, -exp({logabsdet:.6g}), and has no logarithm: the "
                "matrix is indefinite. Use slogdet, or a damping above its most negative "
                "eigenvalue."
            )
        return logabsdet

    def _multiple(self, factor: float) -> BaseOperator:
        return self._scaled(factor)

    def _sum(self, first: LinearOperator, second: LinearOperator) -> LinearOperator:
        other = second if first is self else first
        total = None
        if other.shape == self.shape and np.dtype(other.dtype).kind in "biuf":
            total = self._plus(other)
            if total is None and isinstance(other, StructuredOperator):
                total = other._plus(self)
        return super()._sum(first, second) if total is None else total

    def _as_diagonal(self) -> np.ndarray | None:
        """The diagonal, where there is nothing else."""
        return None

    def __reduce__(self) -> Any:
        return type(self), self._made_of()


def diagonal_of(operator: LinearOperator) -> np.ndarray | None:
    """The diagonal of an operator that is known to be diagonal; None for any other."""
    if isinstance(operator, StructuredOperator):
        return operator._as_diagonal()
    matrix: Any = matrix_of(operator)
    if not issparse(matrix):
        return None
    entries = matrix.tocoo()
    on_diagonal = entries.coords[0] == entries.coords[1]
    if entries.data[~on_diagonal].any():
        return None
    diagonal: np.ndarray = matrix.diagonal()
    return diagonal


def check_damping(damping: Any, name: str = "damping") -> float:
    """A damping, or a shift, as a float: a real finite number."""
    if not is_real_number(damping) or not np.isfinite(damping):
        raise ValueError(f"{name} is {damping!r}, expected a finite real number.")
    return float(np.asarray(damping))


def inverted(
    eigenvalues: np.ndarray, damping: float, what: str, *, scale: float = 0.0, count: int = 0
) -> np.ndarray:
    """``1 / (eigenvalues + damping)``, or a LinAlgError when one of these sums is zero.

    Parameters
    ----------
    eigenvalues : ndarray
        As computed by orthogonal transformations of a matrix.
    damping : float
    what : str
        How the error calls the matrix.
    scale : float
        The size of what the eigenvalues were computed from, where that is larger than they are.
    count : int
        The size of the decomposition that they come from, where that is another than theirs.
    """
    damped, rounding = _damped(eigenvalues, damping, scale, count)
    if (np.abs(damped) <= rounding).any():
        raise refuse_singular(what, damping)
    inverse: np.ndarray = 1.0 / damped
    return inverse


def roots(eigenvalues: np.ndarray, what: str) -> np.ndarray:
    """Square roots of eigenvalues, those that are negative by rounding taken for zero."""
    least = float(eigenvalues.min())
    if least < -_damped(eigenvalues, 0.0, 0.0)[1]:
        raise refuse_indefinite(what, least)
    root: np.ndarray = np.sqrt(np.maximum(eigenvalues, 0.0))
    return root


def signed_logdet(
    eigenvalues: np.ndarray, damping: float = 0.0, *, scale: float = 0.0, count: int = 0
) -> SignedLogdet:
    """The determinant of a matrix with these eigenvalues, damped; see `inverted`."""
    damped, rounding = _damped(eigenvalues, damping, scale, count)
    return exact_logdet(np.where(np.abs(damped) <= rounding, 0.0, damped))


def exact_logdet(factors: np.ndarray) -> SignedLogdet:
    """The sign and the logarithm of a product of numbers that are exact."""
    if not factors.all():
        return SignedLogdet(0.0, -np.inf)
    sign = -1.0 if np.count_nonzero(factors < 0) % 2 else 1.0
    return SignedLogdet(sign, float(np.sum(np.log(np.abs(factors)))))


def inertia_of(eigenvalues: np.ndarray, *, scale: float = 0.0, count: int = 0) -> Inertia:
    """Signs of eigenvalues, counted; see `inverted`."""
    _, rounding = _damped(eigenvalues, 0.0, scale, count)
    negative = int(np.count_nonzero(eigenvalues < -rounding))
    positive = int(np.count_nonzero(eigenvalues > rounding))
    return Inertia(negative, eigenvalues.size - negative - positive, positive)


def _damped(
    eigenvalues: np.ndarray, damping: float, scale: float, count: int = 0
) -> tuple[np.ndarray, float]:
    """Damped eigenvalues, and what they may be wrong by."""
    damped = eigenvalues + np.asarray(damping, dtype=eigenvalues.dtype)
    largest = max(scale, abs(damping), float(np.abs(eigenvalues).max()))
    eps = float(np.finfo(eigenvalues.dtype).eps)
    return damped, 10.0 * math.sqrt(count or eigenvalues.size) * eps * largest


def refuse_singular(what: str, damping: float) -> np.linalg.LinAlgError:
    """The error of an inverse that does not exist."""
    more = "Use another damping" if damping else "Use a damping, as in inverse(damping=1e-3)"
    return np.linalg.LinAlgError(f"{what} is singular up to rounding. {more}.")


def refuse_indefinite(what: str, least: float) -> np.linalg.LinAlgError:
    """The error of a square root that does not exist."""
    return np.linalg.LinAlgError(
        f"{what} has the negative eigenvalue {least:.3g}, so that it has no real square root. "
        "Add a multiple of the identity first."
    )


def symmetric_array(matrix: Any, what: str) -> np.ndarray:
    """A fresh symmetric float array of a real, finite, square matrix; symmetrized exactly.

    Raises
    ------
    TypeError, ValueError
        When it is not one.
    """
    if isinstance(matrix, StructuredOperator):
        matrix = matrix.to_dense()
    if isinstance(matrix, LinearOperator):
        raise TypeError(
            f"{what} is a {type(matrix).__name__}, expected an array. Use its to_dense(), or "
            "from_operator."
        )
    array = np.array(matrix.toarray() if issparse(matrix) else matrix)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{what} has dtype {array.dtype}, expected real numbers.")
    array = array.astype(float_dtype(array.dtype), copy=False)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.size == 0:
        raise ValueError(f"{what} has shape {array.shape}, expected a square matrix.")
    if not np.isfinite(array).all():
        raise ValueError(f"{what} has entries that are NaN or infinite, expected finite numbers.")
    asymmetry = float(np.abs(array - array.T).max())
    scale = float(np.abs(array).max())
    if asymmetry > float(np.finfo(array.dtype).eps) ** 0.5 * scale:
        raise ValueError(
            f"{what} is not symmetric: entries that should be equal differ by {asymmetry:.3g}, "
            f"where the largest is {scale:.3g}. Use (A + A.T) / 2, or "
            "scipy.sparse.linalg.aslinearoperator for one that is not symmetric."
        )
    symmetric: np.ndarray = (array + array.T) / 2
    return symmetric
