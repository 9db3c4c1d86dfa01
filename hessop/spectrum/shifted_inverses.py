"""``(A - σ I)⁻¹`` for a search: exact where factors are cheap, else by MINRES."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_array, eye_array, issparse
from scipy.sparse.linalg import LinearOperator

from hessop._errors import NoProgramError, NotConvergedError
from hessop.operators.base import BaseOperator, CombinedOperator
from hessop.operators.fill_in import estimated_fill
from hessop.operators.foreign import ForeignOperator
from hessop.operators.recorded import RecordedOperator
from hessop.operators.sparse import SparseOperator
from hessop.operators.structured import StructuredOperator
from hessop.solvers.factorized import factorized_inverse
from hessop.solvers.inverse_products import inverse_operator
from hessop.spectrum.eigen_problems import EigenProblem
from hessop.spectrum.searches import RitzPairs

__all__ = ["Shifted", "ShiftedInverses", "SolvedInverse", "sparse_form"]

#: The most nonzeros of factors that are made without being asked for.
_MOST_NONZEROS = 10_000_000
# How far a shift is moved from an eigenvalue that it has met, in powers of the rounding unit: what
# factors bear, and what a solver does.
_AWAY_EXACT, _AWAY_SOLVED = 0.5, 0.3
# The accuracy of a solve, as a part of that of the eigenpairs; and where a shift had to be moved.
_INNER, _INNER_NEAR = 1e-2, 1e-5
# Products of a solve at most, for each unknown.
_PRODUCTS = 10


class SolvedInverse(BaseOperator):
    """``(A - σ I)⁻¹ v``, each by MINRES; one that fails is given as far as it came.

    Parameters
    ----------
    problem : EigenProblem
        Its limit is kept, but for the products that a last measurement takes.
    sigma, rtol : float
    M : LinearOperator or None
        A preconditioner.

    Attributes
    ----------
    failures : int
        Solves that have not reached rtol.
    """

    def __init__(
        self, problem: EigenProblem, sigma: float, rtol: float, M: LinearOperator | None
    ) -> None:
        super().__init__(problem.A.dtype, problem.A.shape, symmetric=True)
        self._problem, self._sigma, self._rtol, self._M = problem, sigma, rtol, M
        self.failures = 0

    def _product(self, v: np.ndarray) -> np.ndarray:
        problem, n = self._problem, self.shape[0]
        # strict, so that a failure is seen here, and not warned of at each product.
        inverse = inverse_operator(
            problem.A,
            method="minres",
            M=self._M,
            damping=-self._sigma,
            rtol=self._rtol,
            maxiter=max(min(_PRODUCTS * n, problem.left), 1),
            strict=True,
        )
        try:
            return np.asarray(inverse.matvec(v))
        except NotConvergedError as error:
            self.failures += 1
            return np.asarray(error.result.x, dtype=self.dtype)


class Shifted:
    """The inverse of ``A - σ I``, and the pairs of A that its own stand for.

    Parameters
    ----------
    problem : EigenProblem
    inverse : LinearOperator
    sigma, norm : float
    """

    def __init__(
        self, problem: EigenProblem, inverse: BaseOperator, sigma: float, norm: float
    ) -> None:
        self._problem, self.inverse, self.sigma, self._norm = problem, inverse, sigma, norm
        exact = not isinstance(inverse, SolvedInverse)
        self.method = f"shift-invert, {'exact' if exact else 'minres'}"

    def values(self, inverted: np.ndarray) -> np.ndarray:
        """``σ + 1 / θ``; infinite for zero."""
        with np.errstate(divide="ignore"):
            values: np.ndarray = self.sigma + 1.0 / inverted
        return values

    def allowed(self, inverted: np.ndarray, _: float) -> np.ndarray:
        """The residuals of the inverse that are small enough for A."""
        finite = np.where(inverted == 0.0, np.inf, inverted)
        of_A = self._problem.allowed(self.values(finite), self._norm)
        allowed: np.ndarray = 0.5 * of_A * inverted**2
        return allowed

    def pairs(self, found: RitzPairs) -> RitzPairs:
        """Pairs of A, with the residuals that follow from those of the inverse.

        With ``A⁻¹ u = θ u + r`` the vector ``A⁻¹ u`` is the better one: A times it is u exactly, so
        that its residual is ``r / θ``, and ``r / θ²`` of its length.
        """
        usable = found.values != 0.0
        theta = found.values[usable]
        vectors = found.images[:, usable] / theta
        residuals = found.residuals[usable] / theta**2
        return RitzPairs(self.values(theta), vectors, found.vectors[:, usable], residuals)


class ShiftedInverses:
    """``(A - σ I)⁻¹`` for one shift after the other.

    Exact where it is cheap: of a structured operator; of a sparse matrix whose factors do not fill
    up; of the program of a recorded operator. Else each product is a solve by MINRES.

    Parameters
    ----------
    problem : EigenProblem
    norm : float
        About that of A.
    M : LinearOperator or None
        A preconditioner for MINRES.
    """

    def __init__(self, problem: EigenProblem, norm: float, M: LinearOperator | None) -> None:
        self._problem, self.norm, self._M = problem, norm, M
        self._exact = True  # as far as is known

    def are_exact(self, sigma: float) -> bool:
        """Whether there is an exact inverse next to sigma."""
        return self._exactly(sigma) is not None

    def at(self, sigma: float) -> Shifted:
        """That of the shift, or of one next to it where A - σ I is singular."""
        exact = self._exactly(sigma)
        return self._solved(sigma) if exact is None else exact

    def _exactly(self, sigma: float) -> Shifted | None:
        for shift in (sigma, sigma - self._away(_AWAY_EXACT)):
            try:
                inverse = self._exact_inverse(shift) if self._exact else None
            except np.linalg.LinAlgError:
                continue
            self._exact = inverse is not None
            return None if inverse is None else Shifted(self._problem, inverse, shift, self.norm)
        return None

    def _exact_inverse(self, sigma: float) -> Any:
        A = self._problem.A
        if isinstance(A, StructuredOperator):
            return _if_possible(A.inverse, -sigma)
        if self._sparse is not None:
            return self._sparse.inverse(-sigma)
        if isinstance(A, RecordedOperator):
            return _if_possible(factorized_inverse, A, damping=-sigma, max_nnz=_MOST_NONZEROS)
        return None

    @cached_property
    def _sparse(self) -> SparseOperator | None:
        return sparse_form(self._problem.A)

    def _solved(self, sigma: float) -> Shifted:
        problem = self._problem
        least = 10.0 * float(np.finfo(problem.A.dtype).eps)
        # Next to an eigenvalue, what a solve leaves is enlarged along its vector.
        for shift, part in ((sigma, _INNER), (sigma - self._away(_AWAY_SOLVED), _INNER_NEAR)):
            rtol = max(part * problem.rtol, least)
            inverse = SolvedInverse(problem, shift, rtol, self._M)
            # A singular system has no solution for a random side; one of the wanted vectors may.
            inverse.matvec(problem.rng.standard_normal(problem.A.shape[0]))
            if not inverse.failures:
                break
        return Shifted(problem, inverse, shift, self.norm)

    def _away(self, power: float) -> float:
        return float(np.finfo(self._problem.A.dtype).eps ** power * self.norm)


def sparse_form(A: BaseOperator) -> SparseOperator | None:
    """An operator as a sparse matrix whose factors are sparse; None where there is none."""
    original = A.operator if isinstance(A, ForeignOperator) else A
    if not isinstance(original, RecordedOperator | CombinedOperator):
        original = getattr(original, "A", original)  # SciPy's operator of a matrix
        if not (issparse(original) or isinstance(original, SparseOperator)):
            return None
    options = {"max_nnz": _MOST_NONZEROS} if isinstance(original, RecordedOperator) else {}
    sparse: SparseOperator | None = _if_possible(SparseOperator.from_operator, original, **options)
    if sparse is None or 4 * sparse.nnz > sparse.shape[0] ** 2:
        return None
    pattern = csr_array(sparse.to_sparse() + eye_array(sparse.shape[0]))
    return sparse if estimated_fill(pattern, _MOST_NONZEROS) <= _MOST_NONZEROS else None


def _if_possible(make: Any, *args: Any, **options: Any) -> Any:
    """What a constructor makes, or None where it refuses; that a matrix is singular is raised."""
    try:
        return make(*args, **options)
    except np.linalg.LinAlgError:
        raise
    except (NoProgramError, TypeError, ValueError, NotImplementedError):
        return None
