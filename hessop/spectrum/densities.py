"""The spectral density of a symmetric operator, by Lanczos quadrature or kernel polynomials."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from hessop.operators.base import BaseOperator
from hessop.operators.checks import check_count
from hessop.operators.foreign import as_symmetric
from hessop.spectrum.all_eigenvalues import eigenvalues_of, few_enough
from hessop.spectrum.density_results import SpectralDensity
from hessop.spectrum.eigen_problems import rounding_of
from hessop.spectrum.estimates import last_of
from hessop.spectrum.kernel_polynomials import Interval, kernel_rules
from hessop.spectrum.products import symmetry_test_cost
from hessop.spectrum.quadrature import GaussRule, ProbeBlock, probes_together
from hessop.spectrum.smoothing import check_width, default_width

__all__ = ["spectral_density"]

_METHODS = ("auto", "exact", "lanczos", "kernel-polynomial")
_SCALES = ("linear", "log")
# Partial results of the first block of probes.
_PARTS = 10


def spectral_density(
    A: Any,
    *,
    method: str = "auto",
    n_probes: int = 10,
    degree: int = 100,
    scale: str = "linear",
    width: float | None = None,
    rng: Any = None,
    progress: bool = False,
    callback: Callable[[SpectralDensity], Any] | None = None,
) -> SpectralDensity:
    """How the eigenvalues of a symmetric operator are distributed.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (n, n)
        Symmetric. One that is not hessop's is tested with two products.
    method : {"auto", "exact", "lanczos", "kernel-polynomial"}
        ``"lanczos"`` finds outliers, clusters and gaps to many digits; it keeps ``degree + 1``
        vectors for each probe. ``"kernel-polynomial"`` keeps four and takes half the products, and
        has the same resolution everywhere. ``"exact"`` computes all eigenvalues. ``"auto"`` is
        exact for diagonal matrices, and for n up to 2000 where the entries are known or n is at
        most ``n_probes * degree``; else ``"lanczos"``.
    n_probes : int
        Random probes, for the error: it falls with their root, and with that of n.
    degree : int
        Steps for each probe, or moments: for the resolution. For ``"lanczos"`` n at most.
    scale : {"linear", "log"}
        ``"log"`` is for eigenvalues over many orders of magnitude: the density of ``log10 |λ|``,
        of each sign.
    width : float, optional
        The smoothing width: the standard deviation of the normal distribution that stands for a
        node; on the logarithmic scale in decades, and 0.2 by default. By default the range of the
        middle 98 in 100 over the degree. Kernel polynomials smooth by themselves, with about
        ``π / degree`` of half their interval in its middle, and less at its ends.
    rng : None, int or numpy.random.Generator
    progress : bool
        Show a bar of products; needs tqdm.
    callback : callable, optional
        ``callback(density)`` with each partial result: of lower degree in the first block of
        probes, of less probes then. It may raise StopIteration, which ends the work.

    Returns
    -------
    SpectralDensity

    Warns
    -----
    NotConvergedWarning
        When Ctrl-C has ended the work: the result is what there was.

    Raises
    ------
    ValueError
        When an argument is not one of those, or out of its range; for kernel polynomials on a
        logarithmic scale, where they resolve nothing.
    TypeError, ValueError
        When A is no real symmetric operator.

    Notes
    -----
    L. Lin, Y. Saad and C. Yang, "Approximating spectral densities of large matrices", SIAM Review
    58, 2016, compare both methods. Lanczos': S. Ubaru, J. Chen and Y. Saad, "Fast estimation of
    tr(f(A)) via stochastic Lanczos quadrature", SIAM J. Matrix Anal. Appl. 38, 2017; for networks
    B. Ghorbani, S. Krishnan and Y. Xiao, "An investigation into neural net optimization via Hessian
    eigenvalue density", ICML 2019. Kernel polynomials: A. Weiße, G. Wellein, A. Alvermann and H.
    Fehske, "The kernel polynomial method", Rev. Mod. Phys. 78, 2006.

    In the Wasserstein distance a rule of degree k is within about ``range / k`` of the spectrum,
    and the probes add about ``range / √(n n_probes)`` (T. Chen, T. Trogdon and S. Ubaru, "Analysis
    of stochastic Lanczos quadrature for spectrum approximation", ICML 2021).

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import diags_array
    >>> from hessop import spectral_density
    >>> A = diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(5000, 5000))
    >>> found = spectral_density(A, rng=0)
    >>> np.round(found.support, 3)
    array([0., 4.])
    >>> found.count(0.0, 1.0)  # a third of them
    <Estimate 1666.56 ± 14, lanczos, 1002 products, done>
    >>> lower, upper = found.bands(2.0)
    >>> bool(lower < 1 / (2 * np.pi) < upper)
    True
    """
    for name, value, known in (("method", method, _METHODS), ("scale", scale, _SCALES)):
        if value not in known:
            raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, known))}.")
    if scale == "log" and method == "kernel-polynomial":
        raise ValueError(
            "method='kernel-polynomial' has the same resolution everywhere, and none near zero on "
            "scale='log'. Use method='lanczos'."
        )
    if width is not None:
        width = check_width(width)
    n_probes, degree = check_count(n_probes, "n_probes"), check_count(degree, "degree")
    operator = as_symmetric(A)
    tested = symmetry_test_cost(operator)
    products = n_probes * degree
    if method == "auto":
        method = "exact" if few_enough(operator, products) else "lanczos"
    made = partial(_made, operator, method, degree, scale, width)
    rng = np.random.default_rng(rng)
    if method == "exact":
        results = _exact(made, operator, progress)
    elif method == "lanczos":
        results = _by_lanczos(made, operator, n_probes, degree, rng)
    else:
        products = n_probes * -(-degree // 2)
        results = _by_kernel_polynomials(made, operator, n_probes, degree, rng)
    return last_of(
        (replace(result, n_matvec=result.n_matvec + tested) for result in results),
        name="spectral_density",
        total=tested + products,
        callback=callback,
        progress=progress and method != "exact",
    )


# Of nodes and weights, shape (p, k), the products spent, and what else there is to say.
_Maker = Callable[..., SpectralDensity]


def _made(
    operator: BaseOperator,
    method: str,
    degree: int,
    scale: str,
    width: float | None,
    nodes: np.ndarray,
    weights: np.ndarray,
    n_matvec: int,
    interval: Interval | None = None,
    status: str = "product limit",
) -> SpectralDensity:
    zero_tolerance = rounding_of(operator, float(np.abs(nodes).max()))
    if interval is not None:
        kernel = math.pi / degree * interval.half_width
        zero_tolerance = 2.0 * kernel
        # Those of another width are made smooth as nodes.
        width, interval = (kernel, interval) if width is None else (width, None)
    elif width is None:
        width = default_width(nodes, weights, degree, scale)
    return SpectralDensity(
        n=operator.shape[0],
        nodes=nodes,
        weights=weights,
        width=width,
        zero_tolerance=zero_tolerance,
        scale=scale,
        method=method,
        n_matvec=n_matvec,
        status=status,
        interval=interval,
    )


def _exact(made: _Maker, operator: BaseOperator, progress: bool) -> Iterator[SpectralDensity]:
    eigenvalues, spent = eigenvalues_of(operator, progress=progress)
    weights = np.full((1, eigenvalues.size), 1.0 / eigenvalues.size)
    yield made(eigenvalues[None], weights, spent, status="exact")


def _by_lanczos(
    made: _Maker, operator: BaseOperator, n_probes: int, degree: int, rng: np.random.Generator
) -> Iterator[SpectralDensity]:
    """By blocks of probes, the first of them with more and more steps."""
    done: list[GaussRule] = []
    spent = 0
    together = probes_together(operator.shape[0], degree)
    stride = -(-degree // _PARTS)
    for start in range(0, n_probes, together):
        block = ProbeBlock(operator, min(together, n_probes - start), rng)
        while block.steps < degree and not block.is_invariant:
            block.extend(min(stride, degree - block.steps))
            rules = done or [*block.rules()]
            yield made(*_stacked(rules), spent + block.n_matvec)
        spent += block.n_matvec
        done.extend(block.rules())
        yield made(*_stacked(done), spent)


def _by_kernel_polynomials(
    made: _Maker, operator: BaseOperator, n_probes: int, degree: int, rng: np.random.Generator
) -> Iterator[SpectralDensity]:
    for nodes, weights, interval, spent in kernel_rules(operator, n_probes, degree, rng):
        repeated = np.broadcast_to(nodes, weights.shape)
        yield made(repeated, weights, spent, interval)


def _stacked(rules: list[GaussRule]) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights as arrays: where a space was invariant, the last node with no mass."""
    most = max(len(rule.nodes) for rule in rules)
    nodes = [np.pad(rule.nodes, (0, most - len(rule.nodes)), mode="edge") for rule in rules]
    weights = [np.pad(rule.weights, (0, most - len(rule.weights))) for rule in rules]
    return np.array(nodes), np.array(weights)
