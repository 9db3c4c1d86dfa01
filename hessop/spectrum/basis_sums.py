"""Sums over an orthonormal basis that do not depend on it: estimated with random probes.

The trace of A is the sum of ``vᵀ A v`` over the vectors v of any orthonormal basis, its squared
Frobenius norm that of ``||A v||²``, its diagonal that of ``v * A v``, and its squared row norms
that of ``(A v)²``. Each is also the mean over random probes v with ``E[v vᵀ] = I``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hessop._progress import progress_bar
from hessop.operators.probing import RunningMean, columns_together, probe_blocks
from hessop.spectrum.estimates import Estimate, exact_estimate
from hessop.spectrum.products import Products
from hessop.spectrum.sketches import Sketch, stages

__all__ = ["BasisSum", "exact_sum", "hutch_plus_plus", "hutchinson"]


@dataclass(frozen=True)
class BasisSum:
    """What is summed, and what is made of the sum.

    Attributes
    ----------
    terms : callable
        ``terms(V, A V)`` for blocks of columns, shapes (n, k) and (m, k), with one term along each
        last index: shape (..., k).
    is_square : bool
        Whether the root of the sum is wanted.
    """

    terms: Callable[[np.ndarray, np.ndarray], np.ndarray]
    is_square: bool = False

    def over(self, V: np.ndarray, AV: np.ndarray) -> Any:
        """The sum over the columns of a block."""
        return self.terms(V, AV).sum(axis=-1)

    def value(self, total: Any, products: Products) -> Any:
        """What is wanted, of the sum over a basis."""
        return _plain(products.scale * (np.sqrt(total) if self.is_square else total))

    def estimate(self, total: Any, error: Any, products: Products, method: str) -> Estimate:
        """The same of a sum that has a standard error."""
        if self.is_square:  # the error of a root, to first order
            error = error / (2.0 * np.sqrt(np.where(total > 0.0, total, 1.0)))
        value, error = self.value(total, products), _plain(products.scale * error)
        return Estimate(value, error, products.n_matvec, method)


def _plain(value: Any) -> Any:
    """A float of an array without axes."""
    return value if np.ndim(value) else float(value)


def exact_sum(quantity: BasisSum, products: Products, *, progress: bool, name: str) -> Any:
    """By a product with every unit vector."""
    n = products.shape[1]
    together = columns_together(max(products.shape))
    total: Any = 0.0
    with progress_bar(progress, n, desc=name, unit=" products") as bar:
        for start in range(0, n, together):
            units = np.zeros((n, min(together, n - start)))
            units[np.arange(start, start + units.shape[1]), np.arange(units.shape[1])] = 1.0
            total = total + quantity.over(units, products(units))
            if bar is not None:
                bar.update(units.shape[1])
    return quantity.value(total, products)


def hutchinson(
    quantity: BasisSum, products: Products, limit: int, rng: np.random.Generator
) -> Iterator[Estimate]:
    """The mean over random signs, a product for each.

    Parameters
    ----------
    quantity : BasisSum
    products : Products
    limit : int
        The most products.
    rng : numpy.random.Generator

    Notes
    -----
    M. F. Hutchinson, "A stochastic estimator of the trace of the influence matrix for Laplacian
    smoothing splines", Communications in Statistics 18, 1989.
    """
    samples = RunningMean()
    for count in stages(limit - products.n_matvec):
        for V in probe_blocks(products.shape[1], count - samples.count, rng, products.dtype):
            samples.add(quantity.terms(V, products(V)))
        yield quantity.estimate(samples.mean, samples.standard_error, products, "hutchinson")


def hutch_plus_plus(
    quantity: BasisSum,
    products: Products,
    limit: int,
    rng: np.random.Generator,
    *,
    of_rows: bool = False,
) -> Iterator[Estimate]:
    """The sum over a basis of the sketched range, and the mean over random signs off it.

    Parameters
    ----------
    quantity, products, limit, rng
        As for `hutchinson`.
    of_rows : bool
        Sketch the range of the transpose, which is what norms of A are about.

    Notes
    -----
    R. A. Meyer, C. Musco, C. Musco and D. P. Woodruff, "Hutch++: optimal stochastic trace
    estimation", SOSA 2021, algorithm 1: a third of the products for the sketch, for its basis Q,
    and for the probes each. The sketch is of normal probes. The probes do not depend on it, so that
    the mean is unbiased given Q, and its sample deviation is the error of the whole: what is summed
    over Q is exact. When the sketch grows, ``A (I - Q Qᵀ) g = A g - (A Q) Qᵀ g`` makes anew what
    the probes tell, without a product.
    """
    m, n = products.shape
    image, sizes = (products.adjoint, (m, n, m)) if of_rows else (products, (n, m, m))
    sketch = Sketch(image, products, sizes, dtype=products.dtype, kind="normal", rng=rng)
    G, AG = np.empty((n, 0)), np.empty((m, 0))
    limit -= products.n_matvec
    for count in stages(limit // 3):
        sketch.extend_to(count)
        Q, AQ = sketch.basis, sketch.products
        known = quantity.over(Q, AQ)
        if sketch.is_complete:
            yield exact_estimate(quantity.value(known, products), products.n_matvec, "hutch++")
            return
        wanted = limit - 2 * count if count == limit // 3 else count
        for V in probe_blocks(n, wanted - G.shape[1], rng, products.dtype):
            G, AG = np.append(G, V, axis=1), np.append(AG, products(V), axis=1)
        along = Q.T @ G
        samples = RunningMean()
        samples.add(quantity.terms(G - Q @ along, AG - AQ @ along))
        error = samples.standard_error
        yield quantity.estimate(known + samples.mean, error, products, "hutch++")
