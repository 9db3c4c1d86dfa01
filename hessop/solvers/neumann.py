"""The inverse of a matrix as a Neumann series, of one matrix or of random batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hessop.operators.base import BaseOperator, CombinedOperator, is_real_number
from hessop.operators.checks import check_count
from hessop.operators.foreign import as_symmetric
from hessop.operators.structured import check_damping
from hessop.solvers.right_sides import read_right_side
from hessop.spectrum.intervals import SpectralInterval, spectral_interval

__all__ = ["NeumannOperator", "neumann_inverse"]


class NeumannOperator(BaseOperator):
    """A truncated Neumann series for the inverse of a matrix. Made by `neumann_inverse`.

    Parameters
    ----------
    operators : sequence of BaseOperator
        The matrix, or those of the batches.
    scale, damping : float
    draws : ndarray of int, shape (repeats, terms - 1)
        Which operator each factor of the series is made of.
    interval : SpectralInterval
        That of the matrix, or of the mean of the batches, with the damping.

    Attributes
    ----------
    scale : float
    damping : float
    terms : int
    repeats : int
    rate : float
        The factor by which a term more shrinks the error in the worst direction: the largest
        ``|1 - scale λ|`` over the eigenvalues λ, estimated. 1.0 where the least eigenvalue could
        not be told from zero.
    error_bound : float
        ``rate ** terms``: the relative error in the worst direction. Of batches, that of the mean
        over all drawings.
    interval : SpectralInterval
    """

    symbol = "A⁻¹"

    def __init__(
        self,
        operators: Sequence[BaseOperator],
        scale: float,
        damping: float,
        draws: np.ndarray,
        interval: SpectralInterval,
    ) -> None:
        self._operators = tuple(operators)
        dtype = np.result_type(*(operator.dtype for operator in operators))
        super().__init__(dtype, operators[0].shape, symmetric=len(operators) == 1)
        self.layout = operators[0].layout
        self.scale = scale
        self.damping = damping
        self.interval = interval
        self._draws = draws

    @property
    def terms(self) -> int:
        """How many terms of the series are summed."""
        return int(self._draws.shape[1]) + 1

    @property
    def repeats(self) -> int:
        """How many drawings are averaged."""
        return len(self._draws)

    @property
    def rate(self) -> float:
        """The factor by which a term more shrinks the error in the worst direction."""
        least, largest = max(self.interval.least_bound, 0.0), self.interval.largest_bound
        return max(abs(1.0 - self.scale * least), abs(1.0 - self.scale * largest))

    @property
    def error_bound(self) -> float:
        """The relative error of the series in the worst direction."""
        return float(self.rate**self.terms)

    def matvec_tree(self, v: Any) -> Any:
        """The product with a tree v nested like the parameters, as such a tree.

        Raises
        ------
        TypeError
            When A does not know a tree of parameters.
        """
        side = read_right_side(self._operators[0], v)
        return side.solution(self @ side.columns)

    def standard_error(self, v: Any) -> np.ndarray:
        """The standard error of the product with v, by its drawing: from that of the drawings.

        Parameters
        ----------
        v : array_like, shape (n,) or (n, k)

        Returns
        -------
        ndarray, of the same shape
            Zeros for a single matrix, of which nothing is drawn.

        Raises
        ------
        ValueError
            When there is one drawing of batches, which has nothing to be compared with.
        """
        v = np.asarray(v, dtype=self.dtype)
        if self.symmetric:
            return np.zeros_like(v)
        if self.repeats == 1:
            raise ValueError("there is one drawing of batches, expected two at least: use repeats.")
        parts = np.stack([*self._by_drawing(v)])
        error: np.ndarray = np.std(parts, axis=0, ddof=1) / np.sqrt(self.repeats)
        return error

    def _product(self, v: np.ndarray) -> np.ndarray:
        return self._mean(self._by_drawing(v))

    def _adjoint_product(self, u: np.ndarray) -> np.ndarray:
        return self._mean(self._adjoint_by_drawing(u))

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        return self._product(V)

    def _adjoint_block_product(self, U: np.ndarray) -> np.ndarray:
        return self._adjoint_product(U)

    def _mean(self, parts: Iterator[np.ndarray]) -> np.ndarray:
        mean: np.ndarray = sum(parts) / self.dtype.type(self.repeats)
        return mean

    def _by_drawing(self, v: np.ndarray) -> Iterator[np.ndarray]:
        for draw in self._draws:
            y = v
            for i in draw:
                y = v + self._contracted(i, y)
            yield self.dtype.type(self.scale) * y

    def _adjoint_by_drawing(self, u: np.ndarray) -> Iterator[np.ndarray]:
        for draw in self._draws:
            y = total = u
            for i in reversed(draw):
                y = self._contracted(i, y)
                total = total + y
            yield self.dtype.type(self.scale) * total

    def _contracted(self, i: int, y: np.ndarray) -> np.ndarray:
        """``(I - scale (Aᵢ + damping I)) y``."""
        kept = self.dtype.type(1.0 - self.scale * self.damping) * y
        product: np.ndarray = kept - self.dtype.type(self.scale) * self._operators[i].dot(y)
        return product

    def __reduce__(self) -> Any:
        made_of = (self._operators, self.scale, self.damping, self._draws, self.interval)
        return type(self), made_of

    def _meaning_of(self, n: int) -> str:
        return "" if self.layout is None else " (the flat size of x)"

    def _facts(self) -> tuple[str, ...]:
        count = len(self._operators)
        batches = (f"{count} batches, {self.repeats} drawings",) if count > 1 else ()
        return (
            f"{self.terms} terms",
            f"scale {self.scale:.3g}",
            *batches,
            f"error below {self.error_bound:.1e}",
        )


def neumann_inverse(
    A: Any,
    scale: float | None = None,
    terms: int = 100,
    *,
    damping: float = 0.0,
    rng: Any = None,
    repeats: int = 1,
    steps: int = 30,
) -> NeumannOperator:
    """The inverse of ``A + damping I`` as a Neumann series; of batches, as LiSSA.

    The product with v is ``scale Σ (I - scale (A + damping I))ʲ v`` over j below `terms`. It takes
    a product less than there are terms, always; `solve` and `inverse_operator` take as many as the
    accuracy asks for, which is about the root of that. What the series has is that it is linear in
    v to the last digit, and that it can be made of batches.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (n, n), or sequence of them
        Symmetric, and with its damping positive definite. The matrices of a sequence are those of
        batches, and their mean is meant: each factor of the series has one of them, drawn at
        random. The drawing is done once, so that the operator is the same at each product.
    scale : float, optional
        Below ``2 / λ`` for the largest eigenvalue λ. By default ``1 / λ``.
    terms : int
    damping : float
    rng : None, int or numpy.random.Generator
        For the drawing, and for the start of the check.
    repeats : int
        Drawings that are averaged, for batches.
    steps : int
        Products at most for the check of each matrix, and of the mean of the batches.

    Returns
    -------
    NeumannOperator
        Symmetric for one matrix. For batches, the transpose has the factors in reversed order.

    Raises
    ------
    ValueError
        When the series diverges: with the largest scale, or the least damping, for which it
        converges. For batches also when one of them is indefinite, or too large for the scale: it
        would grow each time that it is drawn.
    TypeError
        When A is no operator or matrix of real numbers.

    Notes
    -----
    The ends of the spectrum are estimated by some steps of Lanczos' process, see `interval`. An
    outlying eigenvalue can be missed if a random vector has next to no part in its direction.

    N. Agarwal, B. Bullins and E. Hazan, "Second-order stochastic optimization for machine learning
    in linear time", JMLR 18, 2017; for influence functions P. W. Koh and P. Liang, "Understanding
    black-box predictions via influence functions", ICML 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from hessop import neumann_inverse
    >>> A_inv = neumann_inverse(np.diag([1.0, 2.0, 4.0]), terms=60, rng=0)
    >>> A_inv
    <3x3 NeumannOperator 60 terms, scale 0.25, error below 3.2e-08, float64, 0 products>
    >>> A_inv @ np.array([1.0, 2.0, 4.0])
    array([0.99999997, 1.        , 1.        ])

    Batches:

    >>> batches = [np.diag([1.0, 2.0]), np.diag([3.0, 2.0])]
    >>> A_inv = neumann_inverse(batches, terms=60, repeats=100, rng=0)
    >>> (A_inv @ np.ones(2)).round(3), A_inv.standard_error(np.ones(2)).round(3)
    (array([0.5, 0.5]), array([0.019, 0.   ]))
    """
    operators = _read_operators(A)
    for name, value in (("terms", terms), ("repeats", repeats), ("steps", steps)):
        check_count(value, name)
    if repeats > 1 and len(operators) == 1:
        raise ValueError(
            f"repeats is {repeats}, and there is one matrix: nothing is drawn. Leave it out."
        )
    if scale is not None and not (is_real_number(scale) and 0 < scale < np.inf):
        raise ValueError(f"scale is {scale!r}, expected a positive number, or None.")
    damping = check_damping(damping)
    rng = np.random.default_rng(rng)

    def interval_of(operator: BaseOperator, name: str, *, batch: bool = False) -> SpectralInterval:
        interval = _damped(spectral_interval(operator, steps=int(steps), rng=rng), damping)
        _refuse_indefinite(interval, name, operator, damping, singular=not batch)
        return interval

    mean, largest = operators[0], 0.0
    if len(operators) > 1:
        mean = CombinedOperator([(1.0 / len(operators), operator) for operator in operators])
        batches = [
            interval_of(operator, f"A[{i}]", batch=True) for i, operator in enumerate(operators)
        ]
        largest = max(interval.largest_bound for interval in batches)
    interval = interval_of(mean, "A")
    largest = max(largest, interval.largest_bound)
    if scale is not None and not scale < 2.0 / largest:
        raise ValueError(
            f"scale is {scale:.3g}, expected less than {2.0 / largest:.3g}: the series diverges "
            f"from 2 / λ, for the largest eigenvalue λ, which is about {largest:.3g} with the "
            f"damping. Leave it out for {1.0 / largest:.3g}."
        )
    draws = rng.integers(len(operators), size=(int(repeats), int(terms) - 1))
    scale = 1.0 / largest if scale is None else float(scale)
    return NeumannOperator(operators, scale, damping, draws, interval)


def _read_operators(A: Any) -> list[BaseOperator]:
    if isinstance(A, list | tuple):
        operators = [as_symmetric(one, f"A[{i}]") for i, one in enumerate(A)]
    else:
        operators = [as_symmetric(A)]
    if not operators:
        raise ValueError("A is an empty sequence, expected operators.")
    if len({operator.shape for operator in operators}) > 1:
        shapes = ", ".join(str(operator.shape) for operator in operators)
        raise ValueError(f"A has operators of shapes {shapes}, expected one shape.")
    return operators


def _damped(interval: SpectralInterval, damping: float) -> SpectralInterval:
    return replace(interval, least=interval.least + damping, largest=interval.largest + damping)


def _refuse_indefinite(
    interval: SpectralInterval, name: str, operator: BaseOperator, damping: float, *, singular: bool
) -> None:
    """Refuse a matrix with an eigenvalue that is negative; with `singular`, or zero."""
    eps = float(np.finfo(operator.dtype).eps)
    rounding = 10.0 * eps * operator.shape[0] ** 0.5 * max(interval.norm_bound, abs(damping))
    least, enough = interval.least, damping - interval.least_bound
    if least < -rounding:
        raise ValueError(
            f"{name} has an eigenvalue of {least:.3g}, or below, with the damping {damping:.3g}, "
            f"and the series diverges. Use a damping above {max(enough, 0.0):.3g}, or solve, which "
            "takes indefinite matrices."
        )
    if singular and least <= rounding:
        raise ValueError(
            f"{name} is singular with the damping {damping:.3g}, and the series diverges in its "
            "null space. Use a larger damping, or solve."
        )
