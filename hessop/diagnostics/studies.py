"""What a report studies: a function at a point, its Hessian, and what is known of it so far."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from hessop._errors import NonFiniteError, NoProgramError
from hessop.diagnostics.budgets import Allowance, Budget, Limit
from hessop.diagnostics.measuring import dense_seconds
from hessop.operators.base import BaseOperator
from hessop.operators.dense import DenseOperator
from hessop.operators.hessian import HessianOperator
from hessop.operators.sparse import SparseOperator

__all__ = ["NotAskedFor", "Study"]

# Rows of a matrix that is kept whole at most, and those from which its eigenvalues take a while.
_SMALL, _SLOW = 2000, 500
# Mean nonzeros of a row up to which a matrix is kept sparse.
_SPARSE_ROW = 32
# Products with a small matrix that are made without thinking.
_FEW = 1000
# The share of the budget for n products that spare all further ones.
_SHARE_FOR_ALL = 0.4


class NotAskedFor(Exception):
    """A section is left out; the message says why."""


class Study:
    """A function at a point, and what sections tell each other.

    Parameters
    ----------
    fun, x, args, grad, eigs, density, rng
        As for `report`.
    operator : callable
        Makes the Hessian operator.
    limit : Limit

    Attributes
    ----------
    H : HessianOperator
    budget : Budget
    interrupted : bool
        Whether Ctrl-C came.
    largest : float or None
        The largest magnitude of an eigenvalue, where it was found.
    smallest : float or None
        An upper bound of the least eigenvalue, where it was found.
    """

    def __init__(
        self,
        fun: Any,
        x: Any,
        args: Any,
        grad: Any,
        *,
        operator: Callable[[], HessianOperator],
        eigs: int,
        density: bool,
        rng: Any,
        limit: Limit,
    ) -> None:
        self.fun, self.x, self.args, self.grad = fun, x, args, grad
        self.operator = operator
        self.eigs, self.density, self.rng = eigs, density, rng
        self.H = operator()
        self.budget = Budget(limit, lambda: self.n_matvec)
        self.interrupted = False
        self.largest: float | None = None
        self.smallest: float | None = None

    @property
    def n(self) -> int:
        """Parameters."""
        return self.H.layout.size

    @cached_property
    def gradient(self) -> np.ndarray:
        """At x, shape (n,)."""
        return self.H.gradient

    @cached_property
    def sparse(self) -> csr_array | None:
        """The whole matrix, where its program shows that it is sparse."""
        if self.n <= _SPARSE_ROW:
            return None
        try:
            return self.H.to_sparse(max_nnz=_SPARSE_ROW * self.n)
        except (NoProgramError, NonFiniteError, ValueError):
            return None

    @cached_property
    def matrix(self) -> BaseOperator:
        """What spectra are computed of: the matrix itself where it is cheap, else the operator."""
        sparse = self.sparse
        if self.n <= _SMALL and self._affords_all(0 if sparse is not None else self.n):
            dense = self.H.to_dense() if sparse is None else sparse.toarray()
            return DenseOperator((dense + dense.T) / 2)
        return self.H if sparse is None else SparseOperator((sparse + sparse.T) / 2)

    def _affords_all(self, products: int) -> bool:
        """Whether so many products, and then all eigenvalues, are a fair part of the budget."""
        allowed = self.budget.share(_SHARE_FOR_ALL)
        if allowed.products is not None and products > allowed.products:
            return False
        return self.n < _SLOW or dense_seconds(self.n)[1] < allowed.seconds_left

    @property
    def method(self) -> str:
        """Of estimators: exact where the matrix is small."""
        return "exact" if isinstance(self.matrix, DenseOperator) else "auto"

    def products(self, allowed: Allowance, part: float = 1.0) -> int | None:
        """The most products for an estimator, of a part of what a section may take.

        Those with a matrix that is at hand cost little, and n of them make estimates exact.
        """
        if self.matrix is not self.H:
            return max(self.n, _FEW) if isinstance(self.matrix, DenseOperator) else None
        return None if allowed.products is None else max(int(part * allowed.products), 1)

    @property
    def n_matvec(self) -> int:
        """Products with the Hessian so far."""
        return self.H.n_matvec

    def run(self, work: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """What long work gives.

        Estimators catch Ctrl-C by themselves, and give what they have. That is the last: nothing
        is run after it.

        Raises
        ------
        KeyboardInterrupt
            When earlier work was interrupted.
        """
        if self.interrupted:
            raise KeyboardInterrupt
        result = work(*args, **options)
        self.interrupted = getattr(result, "status", "") == "interrupted"
        return result
