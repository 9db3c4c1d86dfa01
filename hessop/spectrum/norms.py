"""The Frobenius norm of an operator, and the norms of its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse

from hessop._lengths import length, power_of_two
from hessop.operators.base import BaseOperator, sparse_of
from hessop.operators.foreign import as_operator
from hessop.operators.structured import StructuredOperator
from hessop.spectrum.basis_sums import BasisSum, exact_sum, hutch_plus_plus, hutchinson
from hessop.spectrum.estimates import Estimate
from hessop.spectrum.estimators import Method, given_matrix, run_estimator
from hessop.spectrum.products import MissingAdjointError, Products

__all__ = ["frobenius_norm", "row_norms"]


def frobenius_norm(
    A: Any,
    *,
    method: str = "auto",
    n_matvec: int | None = None,
    rtol: float | None = None,
    rng: Any = None,
    progress: bool = False,
    callback: Callable[[Estimate], Any] | None = None,
) -> Estimate:
    """The Frobenius norm: the root of the sum of all squared entries, or singular values.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (m, n)
    method : {"auto", "exact", "hutch++", "hutchinson"}
        ``"exact"`` costs nothing where the entries are at hand, and else n products. ``"hutch++"``
        computes ``||A Q||`` for a basis Q of sketched rows exactly, and estimates the rest; it
        takes products with the transpose, too. ``"hutchinson"`` takes the mean of ``||A z||²`` over
        random signs z. ``"auto"`` is exact where that costs nothing, and else Hutch++; Hutchinson
        where A is neither symmetric nor has an adjoint.
    n_matvec, rtol, rng, progress, callback
        As for `trace`.

    Returns
    -------
    Estimate
        Its square is unbiased, and its standard error is half that of the square over the norm, to
        first order. After Ctrl-C it is the last one that there was.

    Warns
    -----
    NotConvergedWarning
        When the products are spent before the error is as small as `rtol`.

    Raises
    ------
    TypeError, ValueError
        When A is no real matrix; `n_matvec` is too small for the method; or, for Hutch++, A is
        neither symmetric nor has an adjoint.
    NonFiniteError
        When a product is not finite.

    Notes
    -----
    The squared norm is the trace of ``AᵀA``, and ``||A||² = ||A Q||² + ||A (I - Q Qᵀ)||²``. R. A.
    Meyer, C. Musco, C. Musco and D. P. Woodruff, "Hutch++: optimal stochastic trace estimation",
    SOSA 2021.

    Two products are spent on a test of symmetry where A is square and not an operator of hessop.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse.linalg import aslinearoperator
    >>> from hessop import frobenius_norm
    >>> frobenius_norm(np.array([[3.0, 0.0], [0.0, 4.0]])).estimate
    5.0
    >>> A = np.random.default_rng(0).standard_normal((500, 300))
    >>> found = frobenius_norm(A, method="hutch++", n_matvec=90, rng=0)
    >>> bool(abs(found.estimate - np.linalg.norm(A)) < 3 * found.standard_error < 10.0)
    True
    """
    return _norm(
        "frobenius_norm",
        A,
        _FROBENIUS,
        length,
        method=method,
        n_matvec=n_matvec,
        rtol=rtol,
        rng=rng,
        progress=progress,
        callback=callback,
    )


def row_norms(
    A: Any,
    *,
    method: str = "auto",
    n_matvec: int | None = None,
    rtol: float | None = None,
    rng: Any = None,
    progress: bool = False,
    callback: Callable[[Estimate], Any] | None = None,
) -> Estimate:
    """The Euclidean norms of all rows; of a symmetric matrix also those of its columns.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (m, n)
        For the norms of columns, give ``A.T``.
    method : {"auto", "exact", "hutch++", "hutchinson"}
        As for `frobenius_norm`, row by row: ``"hutchinson"`` takes the mean of ``(A z)²`` over
        random signs z, and an entry is within a share ``√(1 / 2 n_matvec)`` of its norm, whatever A
        is.
    n_matvec, rng, progress, callback
        As for `trace`.
    rtol : float, optional
        End as soon as the norm of the standard errors is as small, relative to that of the
        estimate.

    Returns
    -------
    Estimate
        Of shape (m,), as is its standard error. The squares are unbiased, and their errors taken
        over to first order. After Ctrl-C it is the last one that there was.

    Warns
    -----
    NotConvergedWarning
        When the products are spent before the error is as small as `rtol`.

    Raises
    ------
    TypeError, ValueError
        When A is no real matrix; `n_matvec` is too small for the method; or, for Hutch++, A is
        neither symmetric nor has an adjoint.
    NonFiniteError
        When a product is not finite.

    Notes
    -----
    Squared row norms are the diagonal of ``A Aᵀ``, which is ``(A Q) (A Q)ᵀ`` and the mean of
    ``(A u) (A u)ᵀ`` over ``u = (I - Q Qᵀ) z``, with Q as in `frobenius_norm`.

    Two products are spent on a test of symmetry where A is square and not an operator of hessop.

    Examples
    --------
    >>> import numpy as np
    >>> from hessop import row_norms
    >>> row_norms(np.array([[3.0, 4.0], [0.0, 2.0]])).estimate
    array([5., 2.])
    """
    return _norm(
        "row_norms",
        A,
        _ROWS,
        np.copy,
        method=method,
        n_matvec=n_matvec,
        rtol=rtol,
        rng=rng,
        progress=progress,
        callback=callback,
    )


_FROBENIUS = BasisSum(lambda V, AV: np.sum(AV**2, axis=0), is_square=True)
_ROWS = BasisSum(lambda V, AV: AV**2, is_square=True)


def _norm(
    name: str,
    A: Any,
    squares: BasisSum,
    of_row_norms: Callable[[np.ndarray], Any],
    *,
    method: str,
    **options: Any,
) -> Estimate:
    """The root of a sum of squares, which the norms of rows would also give."""

    def exact(operator: BaseOperator, progress: bool) -> Any:
        entries = _entries(operator)
        if entries is None:
            rows = exact_sum(_ROWS, Products(operator), progress=progress, name=name)
        else:
            rows = _row_norms_of(entries)
        return of_row_norms(rows)

    plus_plus = partial(hutch_plus_plus, squares, of_rows=True)

    def best(products: Products, limit: int, rng: np.random.Generator) -> Iterator[Estimate]:
        try:
            yield from plus_plus(products, limit, rng)
        except MissingAdjointError:  # known by the first block, before it was multiplied
            yield from hutchinson(squares, products, limit, rng)

    return run_estimator(
        name,
        as_operator(A),
        exact=exact,
        at_hand=lambda operator: _entries(operator) is not None,
        methods={
            "auto": Method(best, least=4, needs_adjoint=True),
            "hutch++": Method(plus_plus, least=4, needs_adjoint=True),
            "hutchinson": Method(partial(hutchinson, squares), least=2),
        },
        method=method,
        **options,
    )


def _entries(operator: BaseOperator) -> Any:
    """The matrix, dense or sparse, where that takes no products; else None."""
    if not isinstance(operator, StructuredOperator):
        return given_matrix(operator)
    try:
        return sparse_of(operator)
    except TypeError:
        return None


def _row_norms_of(entries: Any) -> np.ndarray:
    """Of a dense or a sparse matrix."""
    entries = csr_array(entries) if issparse(entries) else np.asarray(entries)
    largest = float(abs(entries).max())
    scale = power_of_two(largest) or 1.0
    scaled = entries.astype(np.float64) / scale
    squares = scaled.multiply(scaled) if issparse(scaled) else scaled**2
    norms: np.ndarray = scale * np.sqrt(np.asarray(squares.sum(axis=1)).reshape(-1))
    return norms
