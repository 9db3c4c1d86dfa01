"""The logarithm of the determinant, exact where a matrix can be factorized."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import csr_array, eye_array, issparse

from hessop._errors import NoProgramError
from hessop.operators.base import BaseOperator
from hessop.operators.checks import matrix_of
from hessop.operators.fill_in import estimated_fill
from hessop.operators.foreign import ForeignOperator, as_symmetric
from hessop.operators.recorded import RecordedOperator
from hessop.operators.sparse import SparseOperator
from hessop.operators.structured import SignedLogdet, StructuredOperator, check_damping
from hessop.solvers.factorized import factorized_inverse
from hessop.spectrum.all_eigenvalues import few_enough
from hessop.spectrum.eigen_problems import rounding_of
from hessop.spectrum.estimates import Estimate, exact_estimate
from hessop.spectrum.intervals import spectral_interval
from hessop.spectrum.products import symmetry_test_cost
from hessop.spectrum.quadrature_limits import Limits
from hessop.spectrum.spectral_sums import sum_over_spectrum

__all__ = ["logdet"]

# Nonzeros of factors that are made without being told, in about a second, and at most.
_QUICK, _MOST = 2_000_000, 200_000_000


def logdet(
    A: Any,
    *,
    damping: float = 0.0,
    method: str = "auto",
    n_probes: int | None = None,
    degree: int | None = None,
    n_matvec: int | None = None,
    rtol: float | None = None,
    rng: Any = None,
    progress: bool = False,
    callback: Callable[[Estimate], Any] | None = None,
) -> Estimate:
    """The logarithm of the determinant of ``A + damping I``.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (n, n)
        Symmetric, and with its damping positive definite.
    damping : float
    method : {"auto", "exact", "lanczos"}
        ``"exact"`` asks a structured operator, factorizes a sparse matrix or the linear program of
        a derived operator, and computes all eigenvalues where there is none. ``"lanczos"``
        estimates the sum of their logarithms. ``"auto"`` is exact where that is cheap: for
        structured operators, for factors of at most two million nonzeros, and for n up to 2000
        where that takes no more products than an estimate.
    n_probes, degree, n_matvec, rtol, rng, progress, callback
        As for `trace_of_function`.

    Returns
    -------
    Estimate

    Warns
    -----
    NotConvergedWarning
        When rtol is not reached, or Ctrl-C has ended the work.

    Raises
    ------
    numpy.linalg.LinAlgError
        When the matrix is singular up to rounding: by eigenvalues, when the least is below
        ``10 √n eps`` of the largest.
    ValueError
        When a negative eigenvalue is found. Structured matrices know of theirs; where there are
        factors, it is looked for with 30 products.
    TypeError, ValueError
        When A is no real symmetric operator, or an argument is out of range.

    Notes
    -----
    S. Ubaru, J. Chen and Y. Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature",
    SIAM J. Matrix Anal. Appl. 38, 2017. The quadrature is too large at any degree, as all even
    derivatives of the logarithm are negative; the rest is judged from three degrees, and is part
    of the standard error. The degree that is needed grows like √κ: a damping helps.

    A Ritz value lies between the least and the largest eigenvalue, so that one below zero proves
    that A is indefinite. An eigenvalue of which the probes see nothing can be missed.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import diags_array
    >>> from hessop import logdet
    >>> A = diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(5000, 5000))
    >>> logdet(A)  # log(5001)
    <Estimate 8.51739, exact, 32 products, exact>
    >>> logdet(A, damping=0.1)
    <Estimate 1575.38, exact, 32 products, exact>
    >>> logdet(A, damping=0.1, method="lanczos", rng=0)
    <Estimate 1555.82 ± 38, lanczos, 162 products, done>
    """
    damping = check_damping(damping)
    operator = as_symmetric(A)
    limits = Limits.read(n_probes, degree, n_matvec, rtol)
    tested = symmetry_test_cost(operator)

    def logarithms(eigenvalues: np.ndarray) -> np.ndarray:
        damped = eigenvalues + damping
        largest = max(float(np.abs(eigenvalues).max()), abs(damping))
        _refuse(float(damped.min()), rounding_of(operator, largest), damping)
        found: np.ndarray = np.log(damped)
        return found

    def by_factors() -> Estimate | None:
        before = operator.n_matvec
        known = _slogdet(operator, damping, limits.products, is_forced=method == "exact")
        if known is None:
            return None
        value = _logarithm(known, damping)
        if _is_indefinite(operator, damping):  # two negative eigenvalues have a positive product
            raise _indefinite(damping)
        return exact_estimate(value, tested + operator.n_matvec - before)

    return sum_over_spectrum(
        "logdet",
        operator,
        logarithms,
        method=method,
        limits=limits,
        tested=tested,
        rng=rng,
        progress=progress,
        callback=callback,
        shortcut=by_factors,
    )


def _slogdet(
    operator: BaseOperator, damping: float, products: int, *, is_forced: bool
) -> SignedLogdet | None:
    """The determinant by factors; None where there are none, or, unless forced, not quickly."""
    if isinstance(operator, StructuredOperator):
        return operator.slogdet(damping)
    max_nnz = _MOST if is_forced else _QUICK
    matrix = matrix_of(operator.operator) if isinstance(operator, ForeignOperator) else None
    if issparse(matrix) and estimated_fill(csr_array(matrix), max_nnz) <= max_nnz:
        return SparseOperator(matrix).slogdet(damping)
    if few_enough(operator, operator.shape[0] if is_forced else products):
        return None
    if isinstance(operator, RecordedOperator):
        try:
            inverse = factorized_inverse(operator, damping=damping, max_nnz=max_nnz)
        except np.linalg.LinAlgError:
            return SignedLogdet(0.0, -np.inf)
        except (ValueError, NoProgramError):
            return None
        sign, logabsdet = inverse.slogdet()
        return SignedLogdet(sign, -logabsdet)
    return None


def _logarithm(determinant: SignedLogdet, damping: float) -> float:
    sign, logabsdet = determinant
    if not sign:
        raise _singular(damping)
    if sign < 0:
        raise _indefinite(damping)
    return logabsdet


def _is_indefinite(operator: BaseOperator, damping: float) -> bool:
    """By the inertia of a structured matrix; of others, where a Ritz value is negative."""
    if isinstance(operator, StructuredOperator):
        unit = eye_array(operator.shape[0], dtype=operator.dtype)
        damped = operator + damping * unit if damping else operator
        try:
            return bool(damped.inertia().negative)
        except (AttributeError, ValueError):
            pass  # the sum has no structure, or its pivots are not to be trusted
    ends = spectral_interval(operator, rng=0)
    return ends.least + damping < -rounding_of(operator, ends.norm_bound)


def _indefinite(damping: float) -> ValueError:
    return ValueError(
        f"A{_with(damping)} is indefinite, and the logarithm of its determinant is not that of a "
        "positive definite matrix. Use a damping above its most negative eigenvalue; or for the "
        "sign and the logarithm, factorized_inverse(A).slogdet() or a SparseOperator."
    )


def _refuse(least: float, rounding: float, damping: float) -> None:
    """Raise an error where the least eigenvalue is not positive."""
    if least < -rounding:
        raise ValueError(
            f"A{_with(damping)} has an eigenvalue of {least:.6g}, or below, expected a positive "
            f"definite matrix. Use a damping above {damping - least:.4g}; or for the sign and the "
            "logarithm of the determinant, factorized_inverse(A).slogdet() or a SparseOperator."
        )
    if least <= rounding:
        raise _singular(damping)


def _singular(damping: float) -> np.linalg.LinAlgError:
    return np.linalg.LinAlgError(
        f"A{_with(damping)} is singular up to rounding, and the logarithm of its determinant is "
        f"-inf, or what rounding has made of it. Use a {'larger ' if damping else ''}damping, as "
        "logdet(A, damping=1e-3)."
    )


def _with(damping: float) -> str:
    return f" + {damping:.4g} I" if damping else ""
