"""How many eigenvalues are negative, zero and positive."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy.sparse import eye_array

from hessop._errors import NotConvergedWarning
from hessop.operators.base import BaseOperator, is_real_number
from hessop.operators.checks import check_count
from hessop.operators.foreign import as_symmetric
from hessop.operators.probing import RunningMean
from hessop.operators.structured import StructuredOperator, check_damping
from hessop.spectrum.all_eigenvalues import eigenvalues_of, few_enough
from hessop.spectrum.eigen import extreme_eigenpairs
from hessop.spectrum.eigen_problems import rounding_of
from hessop.spectrum.estimates import last_of
from hessop.spectrum.intervals import spectral_interval
from hessop.spectrum.quadrature import ProbeBlock, probes_together
from hessop.spectrum.shifted_inverses import sparse_form

__all__ = ["SignCounts", "inertia"]

_METHODS = ("auto", "exact", "lanczos")
# All eigenvalues are computed of matrices up to this size.
_DENSE = 2000
# Of an estimate: probes, products for each, and steps from one result to the next.
_PROBES, _DEGREE, _STRIDE = 10, 80, 10
# Eigenpairs of each end that may settle it, their accuracy, and what is spent on them at most.
_PAIRS, _RTOL, _PRODUCTS = 10, 1e-2, 300
_NORM_STEPS = 10


@dataclass(frozen=True, eq=False)
class SignCounts:
    """How many eigenvalues lie below zero, next to it, and above: the inertia of a matrix.

    Attributes
    ----------
    negative, zero, positive : int
        Their sum is n. Where they are estimated, rounded.
    standard_error : float
        Of `negative` and of `positive`, the larger; 0.0 where they are exact.
    tolerance : float
        Eigenvalues of at most this magnitude count as zero.
    n_matvec : int
        Columns multiplied.
    method : str
        ``"factors"``, ``"dense"``, ``"extreme eigenpairs"`` or ``"lanczos"``.
    status : str
        ``"exact"``; ``"converged"``, of extreme eigenpairs; or that of an estimate, as in
        `Estimate`.
    """

    negative: int
    zero: int
    positive: int
    standard_error: float
    tolerance: float
    n_matvec: int
    method: str
    status: str

    @property
    def converged(self) -> bool:
        """Whether these are no estimates."""
        return self.status in ("exact", "converged")

    def ended(self, status: str) -> Self:
        """The same with another status."""
        return replace(self, status=status)

    def __repr__(self) -> str:
        error = "" if self.converged else f" ± {self.standard_error:.2g}"
        return (
            f"<SignCounts {self.negative} negative, {self.zero} zero, {self.positive} positive"
            f"{error}, {self.method}, {self.n_matvec} products, {self.status}>"
        )


def inertia(
    A: Any,
    *,
    method: str = "auto",
    tol: float | None = None,
    shift: float = 0.0,
    n_probes: int = _PROBES,
    degree: int = _DEGREE,
    rng: Any = None,
    progress: bool = False,
    callback: Callable[[SignCounts], Any] | None = None,
) -> SignCounts:
    """The number of negative, zero and positive eigenvalues of a symmetric matrix.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (n, n)
        Symmetric. One that is not hessop's is tested with two products.
    method : {"auto", "exact", "lanczos"}
        ``"exact"``: by the signs of pivots, of structured operators and of sparse matrices; else by
        all eigenvalues, from n products. ``"lanczos"``: an estimate by stochastic quadrature.
        ``"auto"`` is exact where there are factors, or n is at most 2000; else it looks at ten
        eigenpairs of each end, which settle it where few eigenvalues are on one side; else it
        estimates.
    tol : float, optional
        Eigenvalues of at most this magnitude count as zero. By default it is what rounding may
        leave of zero: ``10 √n ε ||A||``, with the rounding unit ε of A's dtype.
    shift : float
        Count the eigenvalues below and above this number, instead of zero.
    n_probes, degree : int
        Of an estimate: random probes, and products for each at most.
    rng : None, int or numpy.random.Generator
    progress : bool
        Show a bar of the products of an estimate; needs tqdm.
    callback : callable, optional
        ``callback(counts)`` with each partial result. It may raise StopIteration.

    Returns
    -------
    SignCounts

    Warns
    -----
    NotConvergedWarning
        When Ctrl-C has ended the work.

    Raises
    ------
    TypeError, ValueError
        When A is not symmetric, or an argument is out of range.

    Notes
    -----
    Factors have the inertia of the matrix, by Sylvester's law. What extreme eigenpairs say is
    certain but for the small probability that a random start misses an eigenvector.

    The estimate is that of E. Di Napoli, E. Polizzi and Y. Saad, "Efficient estimation of
    eigenvalue counts in an interval", Numer. Linear Algebra Appl. 23, 2016. Its error holds that of
    the mean over probes, and half of the weight of the Ritz values on both sides of a boundary: by
    the separation theorem of Chebyshev, Markov and Stieltjes a count is known up to that.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import hessian_operator, inertia
    >>> H = hessian_operator(lambda x: x[0] ** 2 - x[1] ** 2 + x[2] ** 4, np.zeros(3))
    >>> inertia(H)
    <SignCounts 1 negative, 1 zero, 1 positive, factors, 3 products, exact>
    """
    if method not in _METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(_METHODS)}.")
    operator = as_symmetric(A)
    before = operator.n_matvec - (0 if isinstance(A, BaseOperator) else 2)
    shift = check_damping(shift, "shift")
    n_probes, degree = check_count(n_probes, "n_probes", least=2), check_count(degree, "degree")
    rng = np.random.default_rng(rng)
    count = _Counting(operator, before, _read_tolerance(tol, operator, shift, rng), shift)
    exact = None if method == "lanczos" else count.exactly(method, rng, progress)
    if exact is not None:
        return exact
    return last_of(
        count.estimates(n_probes, degree, rng),
        name="inertia",
        total=operator.n_matvec - before + n_probes * degree,
        callback=callback,
        progress=progress,
    )


def _read_tolerance(tol: Any, A: BaseOperator, shift: float, rng: np.random.Generator) -> float:
    if tol is None:
        ends = spectral_interval(A, steps=_NORM_STEPS, rng=rng)
        return rounding_of(A, max(abs(ends.least), abs(ends.largest), abs(shift)))
    if not is_real_number(tol) or not np.isfinite(tol) or tol < 0:
        raise ValueError(f"tol is {tol!r}, expected a number from 0, or None for rounding.")
    return float(tol)


@dataclass(frozen=True, eq=False)
class _Counting:
    """The ways to count the eigenvalues of A on both sides of a shift."""

    A: BaseOperator
    before: int
    tolerance: float
    shift: float

    def _result(
        self, negative: float, positive: float, method: str, status: str, error: float = 0.0
    ) -> SignCounts:
        n = self.A.shape[0]
        below = min(max(round(negative), 0), n)
        above = min(max(round(positive), 0), n - below)
        spent = self.A.n_matvec - self.before
        return SignCounts(
            below, n - below - above, above, error, self.tolerance, spent, method, status
        )

    def _of_values(self, values: np.ndarray) -> tuple[int, int]:
        """How many of some values are below, and above."""
        below = np.count_nonzero(values < self.shift - self.tolerance)
        return int(below), int(np.count_nonzero(values > self.shift + self.tolerance))

    def exactly(self, method: str, rng: np.random.Generator, progress: bool) -> SignCounts | None:
        """By factors, by all eigenvalues, or by those at the ends."""
        found = self._by_factors()
        if found is not None:
            return self._result(*found, "factors", "exact")
        if method == "exact" or few_enough(self.A, _DENSE):
            values, _ = eigenvalues_of(self.A, progress=progress)
            return self._result(*self._of_values(values), "dense", "exact")
        found = self._by_extremes(rng)
        return None if found is None else self._result(*found, "extreme eigenpairs", "converged")

    def _by_factors(self) -> tuple[int, int] | None:
        """By the inertia of ``A ± tolerance``, whose factors are never those of a singular one."""
        factored = self.A if isinstance(self.A, StructuredOperator) else sparse_form(self.A)
        if factored is None:
            return None
        unit = eye_array(self.A.shape[0], dtype=self.A.dtype)
        try:
            below = (factored + (self.tolerance - self.shift) * unit).inertia().negative
            above = (factored - (self.tolerance + self.shift) * unit).inertia().positive
        except (AttributeError, NotImplementedError, TypeError, ValueError):
            return None  # the sum has no structure, or its pivots are not to be trusted
        return below, above

    def _by_extremes(self, rng: np.random.Generator) -> tuple[int, int] | None:
        """By the pairs of one end, where those beyond the shift are all among them."""
        n, k = self.A.shape[0], min(_PAIRS, self.A.shape[0] - 1)
        for which in ("SA", "LA"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotConvergedWarning)
                pairs = extreme_eigenpairs(
                    self.A,
                    k,
                    which=which,
                    method="lanczos",
                    n_matvec=_PRODUCTS,
                    rtol=_RTOL,
                    atol=0.1 * self.tolerance,
                    rng=rng,
                )
            if pairs.status == "interrupted":
                raise KeyboardInterrupt  # no count is known yet
            distance = np.abs(pairs.eigenvalues - self.shift)
            known = np.maximum(distance - self.tolerance, self.tolerance - distance)
            if not pairs.converged or (known < pairs.residuals).any():
                continue
            below, above = self._of_values(pairs.eigenvalues)
            if which == "SA" and above:
                return below, above + n - k
            if which == "LA" and below:
                return below + n - k, above
        return None

    def estimates(
        self, n_probes: int, degree: int, rng: np.random.Generator
    ) -> Iterator[SignCounts]:
        """By the quadrature that Lanczos' process gives for each of some probes."""
        n, done = self.A.shape[0], np.empty((2, 0))
        doubt = 0.0
        while done.shape[1] < n_probes:
            size = min(n_probes - done.shape[1], probes_together(n, degree))
            block = ProbeBlock(self.A, size, rng)
            while block.steps < min(degree, n) and not block.is_invariant:
                block.extend(min(_STRIDE, degree - block.steps))
                samples, doubt = self._of_block(block)
                mean = RunningMean()
                mean.add(np.concatenate([done, samples], axis=1))
                error = math.hypot(float(np.max(mean.standard_error)), doubt)
                below, above = mean.mean
                yield self._result(below, above, "lanczos", "product limit", error)
            done = np.concatenate([done, samples], axis=1)

    def _of_block(self, block: ProbeBlock) -> tuple[np.ndarray, float]:
        """Counts below and above as each probe sees them, shape (2, k), and their doubt."""
        n, low, high = self.A.shape[0], self.shift - self.tolerance, self.shift + self.tolerance
        counts, doubts = [], []
        for rule in block.rules():
            below, above = rule.nodes < low, rule.nodes > high
            counts.append((n * rule.weights[below].sum(), n * rule.weights[above].sum()))
            last, first = np.count_nonzero(below), rule.nodes.size - np.count_nonzero(above)
            beside = {i for i in (last - 1, last, first - 1, first) if 0 <= i < rule.nodes.size}
            # A Ritz value at zero itself, as that of a null space, is not in doubt.
            unsure = [i for i in beside if below[i] or above[i]]
            doubts.append(0.0 if block.is_invariant else n * rule.weights[unsure].sum() / 2)
        return np.array(counts).T, float(np.mean(doubts))
