"""Traces of functions of a matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hessop.operators.foreign import as_symmetric
from hessop.operators.structured import check_damping
from hessop.spectrum.eigen_problems import rounding_of
from hessop.spectrum.estimates import Estimate
from hessop.spectrum.products import symmetry_test_cost
from hessop.spectrum.quadrature_limits import Limits
from hessop.spectrum.spectral_sums import sum_over_spectrum

__all__ = ["effective_dimension", "trace_of_function"]


def trace_of_function(
    A: Any,
    f: Callable[[np.ndarray], Any],
    *,
    method: str = "auto",
    n_probes: int | None = None,
    degree: int | None = None,
    n_matvec: int | None = None,
    rtol: float | None = None,
    rng: Any = None,
    progress: bool = False,
    callback: Callable[[Estimate], Any] | None = None,
) -> Estimate:
    """The trace of f(A): the sum of f over all eigenvalues of a symmetric matrix.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (n, n)
        Symmetric. One that is not hessop's is tested with two products.
    f : callable
        Called with an array of eigenvalues; gives an array of the same shape, of finite numbers.
    method : {"auto", "exact", "lanczos"}
        ``"exact"`` computes all eigenvalues, from n products and with the memory of the dense
        matrix. ``"lanczos"`` is stochastic Lanczos quadrature. ``"auto"`` is exact for diagonal
        matrices, and for n up to 2000 where that takes no more products than an estimate, or none
        as the entries are known.
    n_probes : int, optional
        The most random probes: 10, or with `n_matvec` or `rtol` as many as that allows.
    degree : int, optional
        Products for each probe. By default it is raised until that changes the result by much less
        than the probes' error, and to 200 at most.
    n_matvec : int, optional
        The most products, of which all are spent where `n_probes` is not given. By default probes
        and degree are the only limits; with `rtol`, 10,000.
    rtol : float, optional
        Go on until the standard error is at most ``rtol`` times the estimate.
    rng : None, int or numpy.random.Generator
    progress : bool
        Show a bar of products; needs tqdm.
    callback : callable, optional
        ``callback(estimate)`` with each partial result. It may raise StopIteration.

    Returns
    -------
    Estimate
        Its standard error is that of the mean over probes, and what the quadrature is judged to
        lack, as the root of the sum of their squares. It is infinite for one probe, or a degree
        below three.

    Warns
    -----
    NotConvergedWarning
        When rtol is not reached, or Ctrl-C has ended the work.

    Raises
    ------
    NonFiniteError
        When f is not finite at an eigenvalue, or at a Ritz value between two of them.
    TypeError, ValueError
        When A is not symmetric, f gives another shape, or an argument is out of range.

    Notes
    -----
    S. Ubaru, J. Chen and Y. Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature",
    SIAM J. Matrix Anal. Appl. 38, 2017. With signs as probes, the estimate is unbiased up to the
    quadrature, whose error falls exponentially with the degree where f is analytic on the spectrum:
    by a factor of about ``exp(-4 / √κ)`` a step for the logarithm and the condition number κ. From
    the results of three degrees, the rest is judged as that of a geometric series.

    For polynomials of degree below twice that of the quadrature it is exact. For ``f(x) = x`` use
    `trace`, which needs less probes.

    Examples
    --------
    The nuclear norm, ``Σ |λ|``:

    >>> import numpy as np
    >>> from hessop import trace_of_function
    >>> trace_of_function(np.diag([1.0, -2.0, 3.0]), np.abs)
    <Estimate 6, exact, 2 products, exact>

    A large matrix:

    >>> from scipy.sparse import diags_array
    >>> A = diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(10_000, 10_000))
    >>> estimate = trace_of_function(A, np.sqrt, rng=0)  # Σ √λ, nearly 4 n / π = 12732.4
    >>> estimate
    <Estimate 12741.1 ± 27, lanczos, 242 products, done>
    >>> abs(float(estimate) - 40_000 / np.pi) < 3 * estimate.standard_error
    True
    """
    if not callable(f):
        raise TypeError(f"f is {f!r}, expected a function of an array of eigenvalues.")
    operator = as_symmetric(A)
    return sum_over_spectrum(
        "trace_of_function",
        operator,
        f,
        method=method,
        limits=Limits.read(n_probes, degree, n_matvec, rtol),
        tested=symmetry_test_cost(operator),
        rng=rng,
        progress=progress,
        callback=callback,
    )


def effective_dimension(
    A: Any,
    damping: float,
    *,
    method: str = "auto",
    n_probes: int | None = None,
    degree: int | None = None,
    n_matvec: int | None = None,
    rtol: float | None = None,
    rng: Any = None,
    progress: bool = False,
    callback: Callable[[Estimate], Any] | None = None,
) -> Estimate:
    """``Σ λ / (λ + damping)``: how many directions are determined against the damping.

    Each eigenvalue counts for nearly one where it is far above the damping, and for nearly none
    where it is far below.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (n, n)
        Symmetric positive semidefinite.
    damping : float
        Positive: as of a ridge regression, or the precision of a prior.
    method : {"auto", "exact", "lanczos"}
        As for `trace_of_function`.
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
    ValueError
        When damping is not positive, or A has a negative eigenvalue.
    TypeError, ValueError
        When A is not symmetric, or an argument is out of range.

    Notes
    -----
    The effective number of parameters of S. F. Gull and of D. J. C. MacKay, "Bayesian
    interpolation", Neural Computation 4, 1992; the degrees of freedom of a ridge regression.

    Examples
    --------
    >>> import numpy as np
    >>> from hessop import effective_dimension
    >>> effective_dimension(np.diag([100.0, 1.0, 0.0]), 1.0)
    <Estimate 1.4901, exact, 2 products, exact>
    """
    damping = check_damping(damping)
    if damping <= 0.0:
        raise ValueError(
            f"damping is {damping:.3g}, expected a positive number. For the number of eigenvalues "
            "that are not zero use inertia(A)."
        )
    operator = as_symmetric(A)

    def shares(eigenvalues: np.ndarray) -> np.ndarray:
        least = float(eigenvalues.min())
        if least < -rounding_of(operator, float(np.abs(eigenvalues).max())):
            raise ValueError(
                f"A has an eigenvalue of {least:.6g}, or below, expected none that is negative. "
                "Use a matrix that is positive semidefinite, as of gauss_newton_operator or "
                "fisher_operator; or say what a negative eigenvalue counts for, with "
                "trace_of_function."
            )
        positive = np.maximum(eigenvalues, 0.0)
        found: np.ndarray = positive / (positive + damping)
        return found

    return sum_over_spectrum(
        "effective_dimension",
        operator,
        shares,
        method=method,
        limits=Limits.read(n_probes, degree, n_matvec, rtol),
        tested=symmetry_test_cost(operator),
        rng=rng,
        progress=progress,
        callback=callback,
    )
