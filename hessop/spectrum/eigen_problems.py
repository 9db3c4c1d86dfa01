"""What is asked of the eigenpairs of an operator, and results of what is found."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from hessop.operators.base import BaseOperator
from hessop.spectrum.eigen_results import Eigenpairs
from hessop.spectrum.searches import ENDS, RitzPairs

__all__ = ["EigenProblem", "rounding_of"]


def rounding_of(A: BaseOperator, norm: float) -> float:
    """What eigenvalues of a matrix of that norm may be off by, as products are rounded."""
    return 10.0 * math.sqrt(A.shape[0]) * float(np.finfo(A.dtype).eps) * norm


@dataclass(frozen=True, eq=False)
class EigenProblem:
    """Which eigenpairs of an operator are wanted, how accurate they are to be, and at what price.

    Attributes
    ----------
    A : BaseOperator, shape (n, n)
        Symmetric.
    k : int
    which : str
        One of `ENDS`, or ``"nearest"`` to sigma.
    sigma : float
    rtol, atol : float
    limit : int
        Products at most.
    rng : numpy.random.Generator
    start : ndarray, shape (n, j)
    before : int
        What the counter of A stood at, less the products that were spent before.
    """

    A: BaseOperator
    k: int
    which: str
    sigma: float
    rtol: float
    atol: float
    limit: int
    rng: np.random.Generator
    start: np.ndarray
    before: int

    @property
    def spent(self) -> int:
        """Products so far."""
        return self.A.n_matvec - self.before

    @property
    def left(self) -> int:
        """Products that may still be spent, but for those of a last measurement."""
        return self.limit - self.spent - self.k

    def rounding(self, norm: float) -> float:
        """What eigenvalues may be off by, when A has that norm."""
        return rounding_of(self.A, norm)

    def allowed(self, values: np.ndarray, norm: float) -> np.ndarray:
        """How large residuals may be: rtol of the eigenvalue, atol, or what rounding leaves."""
        least = max(self.atol, self.rounding(norm))
        sizes = np.abs(values)
        if self.which == "nearest":  # zero may be among them, and is not known better than others
            sizes = np.maximum(sizes, np.abs(values - self.sigma))
        allowed: np.ndarray = np.maximum(self.rtol * sizes, least)
        return allowed

    def chosen(self, values: np.ndarray) -> np.ndarray:
        """Indices of the wanted ones of some eigenvalues, in ascending order of these."""
        if self.which == "nearest":
            order = np.argsort(np.abs(values - self.sigma), kind="stable")[: self.k]
        else:
            order = ENDS[self.which](values, self.k)
        ascending: np.ndarray = order[np.argsort(values[order], kind="stable")]
        return ascending

    def result(
        self, pairs: RitzPairs, norm: float, method: str, status: str = "product limit"
    ) -> Eigenpairs:
        """The wanted ones of some pairs, as they are."""
        chosen = self.chosen(pairs.values)
        values = pairs.values[chosen]
        norm = max(norm, float(np.abs(values).max(initial=0.0)))
        return Eigenpairs(
            eigenvalues=values,
            eigenvectors=pairs.vectors[:, chosen].astype(self.A.dtype, copy=False),
            residuals=pairs.residuals[chosen],
            tolerances=self.allowed(values, norm),
            norm=norm,
            n_matvec=self.spent,
            method=method,
            status=status,
            wanted=self.k,
            layout=self.A.layout,
        )

    def measured(self, vectors: np.ndarray) -> RitzPairs:
        """The Ritz pairs of a space, by one block of products."""
        Q = np.linalg.qr(vectors)[0]
        images = np.asarray(self.A.matmat(Q.astype(self.A.dtype)), dtype=np.float64)
        T = Q.T @ images
        values, coordinates = scipy.linalg.eigh((T + T.T) / 2)
        vectors, images = Q @ coordinates, images @ coordinates
        residuals = np.linalg.norm(images - values * vectors, axis=0)
        return RitzPairs(values, vectors, images, residuals)

    def final(self, vectors: np.ndarray, norm: float, method: str) -> Eigenpairs:
        """The pairs of a space, measured, and converged if their residuals say so."""
        found = self.result(self.measured(vectors), norm, method)
        return found.ended("converged") if found.converged else found
