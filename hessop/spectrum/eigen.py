"""Eigenvalues of a symmetric operator at the ends of its spectrum, or next to a shift."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from hessop.operators.base import BaseOperator, is_real_number
from hessop.operators.checks import check_count
from hessop.operators.foreign import as_symmetric
from hessop.solvers.options import read_accuracy, read_preconditioner
from hessop.spectrum.all_eigenvalues import has_entries
from hessop.spectrum.eigen_methods import (
    by_any_means,
    by_decomposition,
    by_lanczos,
    by_lobpcg,
    by_shift,
)
from hessop.spectrum.eigen_problems import EigenProblem
from hessop.spectrum.eigen_results import Eigenpairs
from hessop.spectrum.estimates import last_of
from hessop.spectrum.searches import ENDS

__all__ = ["extreme_eigenpairs"]

_METHODS = ("auto", "lanczos", "shift-invert", "lobpcg", "dense")
# Up to these sizes a matrix is decomposed as a whole: one known by products, one by its entries.
_DENSE, _DENSE_ENTRIES = 200, 1000
# Products at most, for each unknown.
_PRODUCTS = 100


def extreme_eigenpairs(
    A: Any,
    k: int = 6,
    *,
    which: str | None = None,
    sigma: float | None = None,
    method: str = "auto",
    M: Any = None,
    n_matvec: int | None = None,
    rtol: float = 1e-6,
    atol: float = 0.0,
    v0: Any = None,
    rng: Any = None,
    progress: bool = False,
    callback: Callable[[Eigenpairs], Any] | None = None,
) -> Eigenpairs:
    """Some eigenvalues of a symmetric matrix and their vectors, at an end or next to a number.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (n, n)
        Symmetric. One that is not hessop's is tested with two products.
    k : int
        How many, from 1 to n.
    which : {"LA", "SA", "LM", "BE", "SM"}, optional
        As for `scipy.sparse.linalg.eigsh`: the largest (the default), the smallest, the largest
        magnitudes, both ends (one more of the largest where k is odd), or the nearest to zero.
    sigma : float, optional
        The k eigenvalues nearest to this number, instead of `which`.
    method : {"auto", "lanczos", "shift-invert", "lobpcg", "dense"}
        ``"lanczos"``: products alone. ``"shift-invert"``: Lanczos on ``(A - sigma I)⁻¹``, exact
        where the operator is structured, sparse, or has a program with sparse factors, else by
        MINRES; for an end, with a shift beyond it that is found on the way. ``"lobpcg"``: SciPy's,
        for one end. ``"dense"``: all eigenvalues of the matrix, from n products. ``"auto"`` is
        dense for small matrices, lobpcg for ``"SA"`` with M, and else Lanczos; where the smallest
        or largest are crowded and Lanczos is slow, it goes on by shift-invert.
    M : LinearOperator or matrix, shape (n, n), optional
        A preconditioner, symmetric positive definite: of lobpcg, and of MINRES.
    n_matvec : int, optional
        The most products, or steps with an exact inverse: 100 for each unknown by default.
    rtol, atol : float
        A pair has converged when ``||A u - λ u||`` is at most ``rtol |λ|``, or atol, or what
        rounding may leave of zero: ``10 √n ε ||A||`` with the rounding unit ε of A's dtype. With
        sigma, ``rtol |λ - sigma|`` will do.
    v0 : array_like, shape (n,) or (n, j), optional
        Where to start: a random vector by default.
    rng : None, int or numpy.random.Generator
    progress : bool
        Show a bar of products; needs tqdm.
    callback : callable, optional
        ``callback(pairs)`` with each partial result. It may raise StopIteration.

    Returns
    -------
    Eigenpairs
        With the residuals of all, measured by a block of k products at the end, the tolerances, and
        whether they have ``converged``. After Ctrl-C: what was found until then.

    Warns
    -----
    NotConvergedWarning
        When a pair has not converged, or Ctrl-C has ended the work.

    Raises
    ------
    TypeError, ValueError
        When A is not symmetric, M not positive definite, or an argument out of range.

    Notes
    -----
    Lanczos' process is restarted with Ritz vectors of both ends (K. Wu and H. Simon, SIAM J. Matrix
    Anal. Appl. 22, 2000), and takes fewer products than ``eigsh``, most where eigenvalues are
    crowded. At the end, it looks beside the vectors that are found, from another random start and
    for half as many products, for a second copy of a multiple eigenvalue. What this does not see, a
    result does not tell either.

    For shift-invert see T. Ericsson and A. Ruhe, "The spectral transformation Lanczos method",
    Math. Comp. 35, 1980; for lobpcg A. V. Knyazev, SIAM J. Sci. Comput. 23, 2001.

    Where A - sigma I is singular, sigma is moved by a little: ``1e-8 ||A||`` with factors, and
    ``2e-5 ||A||`` with MINRES. Then the nearest are those to the moved one.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import extreme_eigenpairs, hessian_operator
    >>> def energy(x):
    ...     return 0.5 * np.sum((x[1:] - x[:-1]) ** 2) + 0.5 * x[0] ** 2 + 0.5 * x[-1] ** 2
    >>> H = hessian_operator(energy, np.zeros(2000))
    >>> pairs = extreme_eigenpairs(H, 3, which="SA", rng=0)
    >>> pairs.converged, pairs.method
    (True, 'shift-invert, exact')
    >>> exact = 2 - 2 * np.cos(np.pi * np.arange(1, 4) / 2001)
    >>> bool(np.allclose(pairs.eigenvalues, exact, rtol=1e-6))
    True
    """
    operator = as_symmetric(A)
    n = operator.shape[0]
    spent = 0 if isinstance(A, BaseOperator) else 2
    k = check_count(k, "k", most=n)
    which, sigma = _read_which(which, sigma)
    rtol, atol = read_accuracy(rtol, atol), float(atol)
    limit = _PRODUCTS * n + 100 if n_matvec is None else check_count(n_matvec, "n_matvec")
    M = read_preconditioner(M, operator)
    method = _read_method(method, which, operator, k, M, limit - spent)
    rng = np.random.default_rng(rng)
    problem = EigenProblem(
        A=operator,
        k=k,
        which=which,
        sigma=sigma,
        rtol=rtol,
        atol=atol,
        limit=limit,
        rng=rng,
        start=_read_start(v0, n, rng),
        before=operator.n_matvec - spent,
    )
    return last_of(
        _results(problem, method, M, progress),
        name="extreme_eigenpairs",
        total=n if method == "dense" else None,
        is_enough=lambda pairs: pairs.status == "converged",
        callback=callback,
        progress=progress and method != "dense",
    )


def _results(
    problem: EigenProblem, method: str, M: LinearOperator | None, progress: bool
) -> Iterator[Eigenpairs]:
    if method == "dense":
        return by_decomposition(problem, progress=progress)
    if method == "lanczos":
        return by_lanczos(problem)
    if method == "lobpcg":
        return by_lobpcg(problem, M)
    if problem.which == "nearest":
        return by_shift(problem, M, by_sign=method == "auto" and problem.sigma == 0.0)
    return by_shift(problem, M) if method == "shift-invert" else by_any_means(problem, M)


def _read_which(which: str | None, sigma: float | None) -> tuple[str, float]:
    """One of `ENDS` or ``"nearest"``, and the shift that it is nearest to."""
    if which not in (None, "SM", *ENDS):
        raise ValueError(
            f"which is {which!r}, expected one of {', '.join(ENDS)}, SM; or leave it out and give "
            "sigma."
        )
    if sigma is None:
        return ("nearest", 0.0) if which == "SM" else (which or "LA", 0.0)
    if not is_real_number(sigma) or not np.isfinite(sigma):
        raise ValueError(f"sigma is {sigma!r}, expected a finite real number.")
    if which not in (None, "LM"):  # LM is what eigsh calls the nearest
        raise ValueError(
            f"both sigma={sigma!r} and which={which!r} are given: with sigma, the eigenvalues "
            "nearest to it are found. Leave out one of them."
        )
    return "nearest", float(sigma)


def _read_method(
    method: str, which: str, A: BaseOperator, k: int, M: LinearOperator | None, limit: int
) -> str:
    if method not in _METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(_METHODS)}.")
    n = A.shape[0]
    if method == "auto":
        at_hand = has_entries(A)
        small = n <= (_DENSE_ENTRIES if at_hand else _DENSE) or 5 * k >= n
        if small and (at_hand or n <= limit):
            return "dense"
        return "lobpcg" if M is not None and which == "SA" else "auto"
    if which == "nearest" and method in ("lanczos", "lobpcg"):
        raise ValueError(
            f"method is {method!r}, which finds the ends of a spectrum only. For eigenvalues next "
            "to a shift, or to zero, use method='shift-invert'."
        )
    if method == "lobpcg" and (which not in ("LA", "SA") or 5 * k > n):
        raise ValueError(
            f"method is 'lobpcg', with which={which!r}, k={k} and n={n}: it finds pairs of one end "
            "('LA' or 'SA'), a fifth of all at most. Use 'lanczos' or 'dense'."
        )
    return method


def _read_start(v0: Any, n: int, rng: np.random.Generator) -> np.ndarray:
    """What a search begins with, shape (n, j)."""
    if v0 is None:
        return rng.standard_normal((n, 1))
    start = np.array(v0, dtype=np.float64)
    if start.shape == (n,):
        start = start[:, None]
    if start.ndim != 2 or len(start) != n or not np.isfinite(start).all() or not start.any():
        raise ValueError(
            f"v0 has shape {np.shape(v0)}, expected ({n},) or ({n}, j), finite and not zero."
        )
    return start
