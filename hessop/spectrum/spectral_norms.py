"""The spectral norm of an operator, by Lanczos' process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from hessop.operators.base import BaseOperator
from hessop.operators.diagonal import DiagonalOperator
from hessop.operators.foreign import as_operator
from hessop.operators.structured import StructuredOperator
from hessop.spectrum.estimates import Estimate, check_rtol, exact_estimate, last_of
from hessop.spectrum.estimators import (
    DEFAULT_PRODUCTS,
    check_limit,
    check_method,
    exact_result,
    given_matrix,
)
from hessop.spectrum.krylov import KrylovSpace
from hessop.spectrum.products import Products, symmetry_test_cost

__all__ = ["spectral_norm"]

# Steps of Lanczos' process between two looks at its Ritz values, at least.
_MORE = 5


def spectral_norm(
    A: Any,
    *,
    method: str = "auto",
    n_matvec: int | None = None,
    rtol: float | None = 1e-2,
    rng: Any = None,
    progress: bool = False,
    callback: Callable[[Estimate], Any] | None = None,
) -> Estimate:
    """The spectral norm: the largest singular value; of a symmetric A the largest ``|λ|``.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (m, n)
        With an adjoint, unless it is symmetric.
    method : {"auto", "exact", "lanczos"}
        ``"exact"`` decomposes the dense matrix. ``"lanczos"`` works on A where it is symmetric, and
        on ``AᵀA`` or ``A Aᵀ`` where not, with two products a step. ``"auto"`` is exact where a
        matrix of at most 128 rows or columns is given, and else Lanczos.
    n_matvec : int, optional
        The most products. By default Lanczos goes on until `rtol` is met, at most to the whole
        space, where its result is exact.
    rtol : float, optional
        End as soon as the error bound is as small, relative to the estimate. With None all of
        n_matvec are spent.
    rng : None, int or numpy.random.Generator
        Of the start.
    progress : bool
        Show a bar; needs tqdm.
    callback : callable, optional
        Called with each `Estimate` on the way. It may raise StopIteration to end with that one.

    Returns
    -------
    Estimate
        Never above the norm, up to rounding. Its `standard_error` is no deviation but a bound: a
        singular value lies as near. Mostly it lies far nearer; and it is the largest, unless the
        start was nearly orthogonal to that one's vector.

    Warns
    -----
    NotConvergedWarning
        When the products are spent before the bound is as small as `rtol`.

    Raises
    ------
    TypeError, ValueError
        When A is no real matrix, or neither symmetric nor has an adjoint; `n_matvec` is too small.
    NonFiniteError
        When a product is not finite.

    Notes
    -----
    The bound is the norm of the residual, ``||A u - θ u||`` for a symmetric A, and
    ``||AᵀA u - σ² u|| / σ`` for others; where the other end of a symmetric spectrum may reach
    farther, with its own residual, it is as much larger. It might be small at another singular
    value while the largest has not been seen. So there are at least
    ``k = (1 + √10 ln(165 √n)) / 2`` steps: then a random start misses by a tenth of the width of
    the spectrum with a probability of 0.01 at most (J. Kuczyński and H. Woźniakowski, "Estimating
    the largest eigenvalue by the power and Lanczos algorithms with a random start", SIAM J. Matrix
    Anal. Appl. 13, 1992).

    Two products are spent on a test of symmetry where A is square and not an operator of hessop.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import hessian_operator, spectral_norm
    >>> H = hessian_operator(lambda x: np.sum(x**4) + np.sum(x) ** 2, np.zeros(500))
    >>> found = spectral_norm(H, rng=0)
    >>> round(found.estimate, 6), found.status
    (1000.0, 'exact')
    """
    operator = as_operator(A)
    check_method(method, ["auto", "exact", "lanczos"])
    rtol = check_rtol(rtol)
    if n_matvec is None and rtol is None:
        raise ValueError("n_matvec and rtol are both None, expected one of them at least.")
    if method == "exact" or (method == "auto" and _is_small(operator)):
        free = given_matrix(operator) is not None or isinstance(operator, StructuredOperator)
        check_limit(n_matvec, 0 if free else operator.shape[1], method)
        result = exact_result(operator, lambda: _of_dense(operator, progress))
        return last_of(iter([result]), name="spectral_norm", total=None, callback=callback)
    tested = symmetry_test_cost(operator)
    check_limit(n_matvec, tested + (1 if operator.symmetric else 2), "lanczos")
    products = Products(operator)
    products.test_symmetry()
    per_step, side = (1 if products.symmetric else 2), min(operator.shape)
    steps = side if n_matvec is None else min(side, (n_matvec - tested) // per_step)
    sure = min(_sure_steps(side), side)

    def is_enough(found: Estimate) -> bool:
        return found.n_matvec >= tested + per_step * sure and found.is_within(rtol or 0.0)

    return last_of(
        _lanczos(products, sure, steps, np.random.default_rng(rng)),
        name="spectral_norm",
        total=tested + per_step * steps,
        is_enough=is_enough if rtol is not None else None,
        callback=callback,
        progress=progress,
    )


def _is_small(operator: BaseOperator) -> bool:
    """Whether the norm is read off, or a small matrix is at hand."""
    at_hand = given_matrix(operator) is not None
    return isinstance(operator, DiagonalOperator) or (
        at_hand and min(operator.shape) <= DEFAULT_PRODUCTS
    )


def _of_dense(operator: BaseOperator, progress: bool) -> float:
    if isinstance(operator, DiagonalOperator):
        return float(np.abs(operator.diagonal()).max())
    dense = operator.to_dense(progress=progress).astype(np.float64, copy=False)
    if not np.isfinite(dense).all():  # of which LAPACK would say that it does not converge
        return math.nan
    return float(np.linalg.norm(dense, 2))


def _sure_steps(n: int) -> int:
    """The steps after which a random start has hardly missed a tenth of the spectrum's width.

    With k steps that has a probability of ``1.648 √n exp(-√ε (2k - 1))`` at most, for a share ε.
    """
    return math.ceil((1.0 + math.log(1.648 * math.sqrt(n) / 0.01) / math.sqrt(0.1)) / 2.0)


def _lanczos(
    products: Products, first: int, most: int, rng: np.random.Generator
) -> Iterator[Estimate]:
    """Estimates from Lanczos' process, from the first that may be enough."""
    side = min(products.shape)
    space = KrylovSpace(_squared(products), rng.standard_normal(side))
    count = min(first, most)
    while True:
        while space.steps < count and not space.is_invariant:
            space.extend()
        values, _, residuals = space.ritz_pairs()
        ends = np.abs(values[[0, -1]])
        size = float(ends.max())
        error = float((ends + residuals[[0, -1]]).max()) - size
        if not products.symmetric:
            size = math.sqrt(size)
            error = error / size if size else 0.0
        size, error = products.scale * size, products.scale * error
        if space.is_invariant:
            yield exact_estimate(size, products.n_matvec, "lanczos")
            return
        yield Estimate(size, error, products.n_matvec, "lanczos")
        if count == most:
            return
        count = min(most, count + max(_MORE, count // 5))


def _squared(products: Products) -> LinearOperator:
    """A where it is symmetric; else ``AᵀA`` or ``A Aᵀ``, whichever is smaller."""
    m, n = products.shape
    factors: list[Callable[[np.ndarray], np.ndarray]] = [products]
    if not products.symmetric:
        factors = [products, products.adjoint] if n <= m else [products.adjoint, products]

    def product(v: np.ndarray) -> np.ndarray:
        V = v[:, None]
        for factor in factors:
            V = factor(V)
        return V[:, 0]

    return LinearOperator((min(m, n),) * 2, matvec=product, dtype=products.dtype)
