"""An operator, and what trials within a budget tell of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator

from hessop._errors import NoProgramError
from hessop.diagnostics.forecasts import Quadrature, lanczos_quadrature
from hessop.diagnostics.measuring import Timings
from hessop.operators.base import BaseOperator, sparse_of
from hessop.operators.foreign import ForeignOperator
from hessop.operators.recorded import RecordedOperator
from hessop.operators.structured import StructuredOperator
from hessop.tape.entries import count_entries
from hessop.tape.instructions import Opaque

__all__ = ["Surroundings"]

# A sparse matrix of more nonzeros is not formed to be looked at, nor one whose program has more
# entries.
_MOST_NONZEROS = 2_000_000
# Of the budget, what one trial may take.
_A_SHARE = 0.2


class Surroundings:
    """An operator, what was measured of it, and how much may be tried.

    Parameters
    ----------
    operator : BaseOperator, shape (n, n)
        Symmetric.
    timings : Timings
    rtol : float
    steps : int
    budget : float
    rng : numpy.random.Generator
    """

    def __init__(
        self,
        operator: BaseOperator,
        timings: Timings,
        rtol: float,
        steps: int,
        budget: float,
        rng: np.random.Generator,
    ) -> None:
        self.operator = operator
        self.n: int = operator.shape[0]
        self.itemsize: int = operator.dtype.itemsize
        self.timings = timings
        self.rtol = rtol
        self.rng = rng
        #: Seconds that the sparse matrix took.
        self.forming = 0.0
        #: Products that the diagonal took.
        self.diagonal_products = 0
        #: Seconds that one trial may take.
        self.trial = _A_SHARE * budget
        affordable = self.trial / max(timings.product, 1e-9)
        self.vector = 8 * self.n
        self.steps = int(max(2, min(steps, affordable)))

    @cached_property
    def quadrature(self) -> Quadrature:
        """What some products tell of the spectrum."""
        return lanczos_quadrature(self.operator, self.steps, self.rng)

    def preconditioned(self, root: Callable[[np.ndarray], np.ndarray]) -> Quadrature:
        """The same for the spectrum that `cg` sees with the square of `root` for M."""
        A = self.operator

        def product(v: np.ndarray) -> np.ndarray:
            inner = np.asarray(root(np.ravel(v).astype(A.dtype, copy=False)))
            return np.asarray(root(np.asarray(A.matvec(inner.astype(A.dtype, copy=False)))))

        scaled = LinearOperator(A.shape, matvec=product, dtype=A.dtype)
        return lanczos_quadrature(scaled, self.steps, self.rng)

    @cached_property
    def sparse(self) -> csr_array | str:
        """The sparse matrix, or why there is none."""
        began = time.perf_counter()
        try:
            return _sparse_of(self.operator, min(_MOST_NONZEROS, self.n**2))
        except (NoProgramError, TypeError, ValueError) as error:
            return str(error).split(", more than")[0].split(". ")[0]
        finally:
            self.forming = time.perf_counter() - began

    @cached_property
    def diagonal(self) -> np.ndarray | None:
        """The diagonal, where it can be had within a share of the budget."""
        if not isinstance(self.sparse, str):
            sparse: np.ndarray = self.sparse.diagonal()
            return sparse
        A = self.operator
        is_known = isinstance(A, StructuredOperator | ForeignOperator)
        if not is_known and self.n * self.timings.column > self.trial:
            return None
        before = A.n_matvec
        diagonal = A.diagonal()
        self.diagonal_products = A.n_matvec - before
        return diagonal


def _sparse_of(A: BaseOperator, limit: int) -> csr_array:
    if not isinstance(A, RecordedOperator):
        matrix = sparse_of(A.operator if isinstance(A, ForeignOperator) else A)
        if matrix.nnz > A.shape[0] ** 2 // 4:
            raise ValueError(f"it is full: {matrix.nnz:,} nonzeros")
        return matrix
    instructions = A.program.instructions
    entries = sum(count_entries(one) for one in instructions if not isinstance(one, Opaque))
    if entries > limit:
        raise ValueError(f"its program has {entries:,} entries")
    return A.to_sparse(max_nnz=limit)
