"""The diagonal of an operator, from products with random vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from hessop.operators.foreign import as_square
from hessop.operators.structured import StructuredOperator
from hessop.spectrum.basis_sums import BasisSum, hutchinson
from hessop.spectrum.estimates import Estimate
from hessop.spectrum.estimators import Method, given_matrix, run_estimator
from hessop.spectrum.leave_one_out import left_out, mean_left_out
from hessop.spectrum.products import Products
from hessop.spectrum.sketches import Sketch, stages

__all__ = ["diagonal"]


def diagonal(
    A: Any,
    *,
    method: str = "auto",
    n_matvec: int | None = None,
    rtol: float | None = None,
    rng: Any = None,
    progress: bool = False,
    callback: Callable[[Estimate], Any] | None = None,
) -> Estimate:
    """The diagonal of a square matrix.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (n, n)
        It need not be symmetric; XDiag then takes products with its transpose, too.
    method : {"auto", "exact", "xdiag", "hutchinson"}
        ``"exact"`` costs nothing for a matrix or a structured operator, one run of the program of a
        sparse Hessian, and otherwise n products. ``"xdiag"`` computes what comes from a sketched
        range exactly, and estimates the rest: its error falls as fast as the eigenvalues.
        ``"hutchinson"`` takes the mean of ``z * (A @ z)`` over random signs z; an entry is as wrong
        as the rest of its row is large, over the root of the number of products.
        ``"auto"`` is exact where that costs nothing, and else XDiag.
    n_matvec, rng, progress, callback
        As for `trace`.
    rtol : float, optional
        End as soon as the norm of the standard errors is as small, relative to that of the
        estimate.

    Returns
    -------
    Estimate
        Of shape (n,), as is its standard error. Unbiased. After Ctrl-C it is the last one that
        there was.

    Warns
    -----
    NotConvergedWarning
        When the products are spent before the error is as small as `rtol`.

    Raises
    ------
    TypeError, ValueError
        When A is no square real matrix; `n_matvec` is too small for the method; or, for XDiag, A is
        neither symmetric nor has an adjoint.
    NonFiniteError
        When a product is not finite.

    Notes
    -----
    E. N. Epperly, J. A. Tropp and R. J. Webber, "XTrace: making the most of every sample in
    stochastic trace estimation", SIAM J. Matrix Anal. Appl. 45, 2024, with random signs.

    C. Bekas, E. Kokiopoulou and Y. Saad, "An estimator for the diagonal of a matrix", Applied
    Numerical Mathematics 57, 2007.

    Two products are spent on a test of symmetry where A is not an operator of hessop.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import diagonal, hessian_operator
    >>> H = hessian_operator(lambda x: np.sum(x**4) + np.sum(x) ** 2, np.linspace(1.0, 2.0, 1000))
    >>> found = diagonal(H, n_matvec=100, rng=0)
    >>> exact = 12 * np.linspace(1.0, 2.0, 1000) ** 2 + 2
    >>> error = np.linalg.norm(found.estimate - exact)
    >>> bool(error < 1.2 * np.linalg.norm(found.standard_error) < 0.1 * np.linalg.norm(exact))
    True
    """
    return run_estimator(
        "diagonal",
        as_square(A),
        exact=lambda operator, progress: operator.diagonal(progress=progress),
        at_hand=lambda A: isinstance(A, StructuredOperator) or given_matrix(A) is not None,
        methods=_METHODS,
        method=method,
        n_matvec=n_matvec,
        rtol=rtol,
        rng=rng,
        progress=progress,
        callback=callback,
    )


def _xdiag(products: Products, limit: int, rng: np.random.Generator) -> Iterator[Estimate]:
    """XDiag: each probe in turn is left out of the sketch, and estimates what that misses."""
    n, most = products.shape[0], (limit - products.n_matvec) // 2
    sketch = Sketch(
        products, products.adjoint, (n, n, n), dtype=products.dtype, kind="signs", rng=rng
    )
    for count in stages(most):
        sketch.extend_to(count)
        mean, error = mean_left_out(_samples_without(sketch), left_out(sketch.coordinates))
        yield _DIAGONAL.estimate(mean, error, products, "xdiag")


def _samples_without(sketch: Sketch) -> Callable[..., np.ndarray]:
    """Diagonals from the range without some directions, with what each probe tells of the rest.

    With ``P = Q (I - Σ s sᵀ) Qᵀ``, the sum over directions s in the basis Q, these are the diagonal
    of ``P A`` and ``z * (I - P) A z`` for the probe z; ``A z`` is in the range of Q.
    """
    Q, AtQ, R = sketch.basis, sketch.products, sketch.coordinates
    whole = _DIAGONAL.over(Q, AtQ)[:, None]

    def samples(*directions: np.ndarray) -> np.ndarray:
        missing = sum(
            (Q @ S) * (sketch.probes * np.sum(S * R, axis=0) - AtQ @ S) for S in directions
        )
        return np.asarray(whole + missing)

    return samples


_DIAGONAL = BasisSum(lambda V, AV: V * AV)

_XDIAG = Method(_xdiag, least=4, needs_adjoint=True)
_METHODS = {
    "auto": _XDIAG,
    "xdiag": _XDIAG,
    "hutchinson": Method(partial(hutchinson, _DIAGONAL), least=2),
}
