"""The trace of an operator, from products with random vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from hessop.operators.base import BaseOperator
from hessop.operators.foreign import as_square
from hessop.operators.structured import StructuredOperator
from hessop.spectrum.basis_sums import BasisSum, hutch_plus_plus, hutchinson
from hessop.spectrum.estimates import Estimate, exact_estimate
from hessop.spectrum.estimators import Method, given_matrix, run_estimator
from hessop.spectrum.leave_one_out import left_out, mean_left_out
from hessop.spectrum.products import Products
from hessop.spectrum.sketches import Sketch, stages

__all__ = ["trace"]


def trace(
    A: Any,
    *,
    method: str = "auto",
    n_matvec: int | None = None,
    rtol: float | None = None,
    rng: Any = None,
    progress: bool = False,
    callback: Callable[[Estimate], Any] | None = None,
) -> Estimate:
    """The trace: the sum of the diagonal, and of the eigenvalues.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (n, n)
        It need not be symmetric.
    method : {"auto", "exact", "xtrace", "hutch++", "hutchinson"}
        ``"exact"`` sums the diagonal. It costs nothing for a matrix or a structured operator, one
        run of the program of a sparse Hessian, and otherwise n products. ``"xtrace"`` and
        ``"hutch++"`` compute the trace on a sketched range exactly, and estimate the rest: the
        error falls as fast as the eigenvalues, and at least with the number of products.
        ``"hutchinson"`` has an error that falls with its root only, and keeps nothing in memory.
        ``"auto"`` is exact where that costs nothing, and else XTrace.
    n_matvec : int, optional
        The most products: 128 by default. From n on the result is exact. With `rtol`, 2n by
        default: where n of them were not enough, n more make it exact.
    rtol : float, optional
        End as soon as the standard error is as small, relative to the estimate.
    rng : None, int or numpy.random.Generator
    progress : bool
        Show a bar; needs tqdm.
    callback : callable, optional
        Called with each `Estimate` on the way. It may raise StopIteration to end with that one.

    Returns
    -------
    Estimate
        Unbiased. After Ctrl-C it is the last one that there was.

    Warns
    -----
    NotConvergedWarning
        When the products are spent before the error is as small as `rtol`.

    Raises
    ------
    TypeError, ValueError
        When A is no square real matrix, or `n_matvec` too small for the method.
    NonFiniteError
        When a product is not finite.

    Notes
    -----
    E. N. Epperly, J. A. Tropp and R. J. Webber, "XTrace: making the most of every sample in
    stochastic trace estimation", SIAM J. Matrix Anal. Appl. 45, 2024: probes uniform on a sphere,
    brought to their mean length off the sketch, as there. To the standard error of the paper is
    added what comes from the correlation of the samples.

    R. A. Meyer, C. Musco, C. Musco and D. P. Woodruff, "Hutch++: optimal stochastic trace
    estimation", SOSA 2021: a third of the products for the sketch, for the trace on it, and for
    random signs each. The standard error is that of the mean over these.

    XTrace keeps 3/2 vectors for each product, and Hutch++ 5/3; beside the products there are
    ``O(n n_matvec²)`` operations.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import hessian_operator, trace
    >>> H = hessian_operator(lambda x: np.sum(x**4) + np.sum(x) ** 2, np.linspace(0.0, 1.0, 1000))
    >>> found = trace(H, n_matvec=100, rng=0)
    >>> exact = np.sum(12 * np.linspace(0.0, 1.0, 1000) ** 2) + 2000
    >>> bool(abs(found.estimate - exact) < 3 * found.standard_error < 0.05 * exact)
    True
    >>> trace(H, rtol=1e-3, rng=0).converged
    True
    """
    return run_estimator(
        "trace",
        as_square(A),
        exact=_exact_trace,
        at_hand=lambda A: isinstance(A, StructuredOperator) or given_matrix(A) is not None,
        methods=_METHODS,
        method=method,
        n_matvec=n_matvec,
        rtol=rtol,
        rng=rng,
        progress=progress,
        callback=callback,
    )


def _exact_trace(operator: BaseOperator, progress: bool) -> float:
    if isinstance(operator, StructuredOperator):
        return operator.trace()
    return float(np.sum(operator.diagonal(progress=progress), dtype=np.float64))


def _xtrace(products: Products, limit: int, rng: np.random.Generator) -> Iterator[Estimate]:
    """XTrace: each probe in turn is left out of the sketch, and estimates what that misses."""
    n = products.shape[0]
    sketch = Sketch(products, products, (n, n, n), dtype=products.dtype, kind="sphere", rng=rng)
    for count in stages(limit // 2):
        sketch.extend_to(count)
        if sketch.is_complete:
            found = _TRACE.value(_TRACE.over(sketch.basis, sketch.products), products)
            yield exact_estimate(found, products.n_matvec, "xtrace")
            return
        mean, error = mean_left_out(_samples_without(sketch), left_out(sketch.coordinates))
        yield _TRACE.estimate(mean, error, products, "xtrace")


def _samples_without(sketch: Sketch) -> Callable[..., np.ndarray]:
    """Traces on the range without some directions, with what each probe tells of the rest.

    With ``P = Q (I - Σ s sᵀ) Qᵀ``, the sum over directions s in the basis Q, these are the trace of
    ``P A P`` and the quadratic form of A at ``u = (I - P) z``, brought to the mean length that the
    probe z has off the range.
    """
    Q, AQ, probes = sketch.basis, sketch.products, sketch.probes
    n, r = Q.shape
    H, along = Q.T @ AQ, Q.T @ probes
    off = probes - Q @ along
    A_off = Q @ sketch.coordinates - AQ @ along
    # u = off + Q p, where p is the part of Qᵀ z along the directions.
    constant, linear = _TRACE.terms(off, A_off), AQ.T @ off + Q.T @ A_off
    size = np.sum(off**2, axis=0)

    def samples(*directions: np.ndarray) -> np.ndarray:
        inside = np.trace(H) - sum(_TRACE.terms(S, H @ S) for S in directions)
        p = sum(S * np.sum(S * along, axis=0) for S in directions)
        forms = constant + np.sum(p * (linear + H @ p), axis=0)
        dimension = n - (r - len(directions))
        found: np.ndarray = inside + dimension * forms / (size + np.sum(p**2, axis=0))
        return found

    return samples


_TRACE = BasisSum(lambda V, AV: np.sum(V * AV, axis=0))

_XTRACE = Method(_xtrace, least=4)
_METHODS = {
    "auto": _XTRACE,
    "xtrace": _XTRACE,
    "hutch++": Method(partial(hutch_plus_plus, _TRACE), least=4),
    "hutchinson": Method(partial(hutchinson, _TRACE), least=2),
}
