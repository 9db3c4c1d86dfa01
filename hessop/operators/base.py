"""Every operator of hessop, with its algebra: sums, multiples, products, transposes and parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from hessop.operators.checks import indices, matrix_of
from hessop.operators.contract import ContractOperator
from hessop.params import Layout

__all__ = [
    "BaseOperator",
    "CombinedOperator",
    "ProductOperator",
    "SubmatrixOperator",
    "TransposedOperator",
    "is_real_number",
    "sparse_of",
]


class BaseOperator(ContractOperator):
    """A real matrix known by its products with vectors; see `ContractOperator` for what to give."""

    #: How the parameters lie in the flat vector, for an operator in parameters.
    layout: Layout | None = None

    # --- algebra ----------------------------------------------------------------------------------

    def __mul__(self, x: Any) -> Any:
        return self._times(float(x)) if is_real_number(x) else super().__mul__(x)

    def __rmul__(self, x: Any) -> Any:
        return self._times(float(x)) if is_real_number(x) else super().__rmul__(x)

    def dot(self, x: Any) -> Any:
        """``A @ x`` with a vector, a block of columns, an operator or a number."""
        if is_real_number(x):
            return self._times(float(x))
        if isinstance(x, BaseOperator) and self.shape[1] == x.shape[0]:
            return ProductOperator(self, x)
        return super().dot(x)

    def _adjoint(self) -> LinearOperator:
        return self if self.symmetric else TransposedOperator(self)

    def _transpose(self) -> LinearOperator:
        return self._adjoint()

    def __truediv__(self, x: Any) -> Any:
        one: Any = 1.0
        return self * (one / x) if np.ndim(x) == 0 else super().__truediv__(x)

    def __neg__(self) -> LinearOperator:
        return self._times(-1.0)

    def __add__(self, x: Any) -> Any:
        return self._sum(self, self._as_operator(x))

    def __radd__(self, x: Any) -> Any:
        return self._sum(self._as_operator(x), self)

    def __sub__(self, x: Any) -> Any:
        if isinstance(x, LinearOperator):
            matrix = matrix_of(x)  # SciPy's operator of a matrix
            return self + (-1.0 * x if matrix is None else aslinearoperator(-1.0 * matrix))
        self._as_operator(x)  # or its error
        return self + -1.0 * (x if issparse(x) else np.asarray(x))

    def __rsub__(self, x: Any) -> Any:
        return x + -self

    def _times(self, factor: float) -> BaseOperator:
        """A multiple of the operator."""
        if not np.isfinite(factor):
            raise ValueError(f"{self.symbol} * x: x is {factor}, expected a finite number.")
        return self._multiple(factor)

    def _multiple(self, factor: float) -> BaseOperator:
        return CombinedOperator([(factor, self)])

    def _sum(self, first: LinearOperator, second: LinearOperator) -> LinearOperator:
        """The sum of this operator and another, in either order."""
        other = second if first is self else first
        if other.shape != self.shape or np.dtype(other.dtype).kind not in "biuf":
            return LinearOperator.__add__(first, second)  # SciPy's, or SciPy's error
        return CombinedOperator([(1.0, first), (1.0, second)])

    def _as_operator(self, x: Any) -> LinearOperator:
        if isinstance(x, LinearOperator):
            return x
        if np.ndim(x) != 2 and not issparse(x):
            raise TypeError(
                f"{self.symbol} + x: x is a {type(x).__name__}, expected an operator or a matrix. "
                f"For a shift, add x * scipy.sparse.eye_array({self.shape[0]})."
            )
        return aslinearoperator(x if issparse(x) else np.asarray(x))

    def block(self, rows: Any, cols: Any) -> SubmatrixOperator:
        """The submatrix ``A[rows][:, cols]`` as an operator.

        Parameters
        ----------
        rows, cols : slice, array_like of int, or array_like of bool
            Each entry at most once.

        Returns
        -------
        SubmatrixOperator

        Examples
        --------
        >>> import autograd.numpy as np
        >>> from hessop import hessian_operator
        >>> H = hessian_operator(lambda x: x[0] * x[1] ** 2, np.array([1.0, 3.0]))
        >>> H.block([0], [1]).to_dense()
        array([[6.]])
        """
        return SubmatrixOperator(self, rows, cols)


class CombinedOperator(BaseOperator):
    """A sum of multiples of operators; each product is one of every term.

    Parameters
    ----------
    terms : sequence of (float, LinearOperator)
        Of one shape. Those that are sums themselves are taken apart, and those that are the same
        joined.

    Attributes
    ----------
    terms : tuple of (float, LinearOperator)
    """

    def __init__(self, terms: Sequence[tuple[float, LinearOperator]]) -> None:
        factors: dict[LinearOperator, float] = {}
        for factor, term in terms:
            inner = term.terms if isinstance(term, CombinedOperator) else ((1.0, term),)
            for own, operator in inner:
                factors[operator] = factors.get(operator, 0.0) + factor * own
        self.terms: tuple[tuple[float, LinearOperator], ...] = tuple(
            (factor, operator) for operator, factor in factors.items()
        )
        operators = [*factors]
        dtype = np.result_type(np.float32, *(operator.dtype for operator in operators))
        symmetric = all(map(_is_symmetric, operators))
        super().__init__(dtype, operators[0].shape, symmetric=symmetric)
        layouts = (getattr(operator, "layout", None) for operator in operators)
        self.layout = next((one for one in layouts if one is not None), None)

    def _combined(self, parts: Iterator[Any]) -> np.ndarray:
        factors = [self.dtype.type(factor) for factor, _ in self.terms]
        first, *others = (factor * part for factor, part in zip(factors, parts, strict=True))
        total: np.ndarray = np.asarray(sum(others, start=first), dtype=self.dtype)
        return total

    def _product(self, v: np.ndarray) -> np.ndarray:
        return self._combined(term.matvec(v) for _, term in self.terms)

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        return self._combined(term.matmat(V) for _, term in self.terms)

    def _adjoint_product(self, u: np.ndarray) -> np.ndarray:
        return self._combined(term.rmatvec(u) for _, term in self.terms)

    def _adjoint_block_product(self, U: np.ndarray) -> np.ndarray:
        return self._combined(term.rmatmat(U) for _, term in self.terms)

    def diagonal(self, *, progress: bool = False) -> np.ndarray:
        """The exact diagonal, shape (min(m, n),): the sum of those of the terms."""
        if not all(_has_entries(term) for _, term in self.terms):
            return super().diagonal(progress=progress)
        return self._combined(
            term.diagonal(progress=progress)
            if isinstance(term, BaseOperator)
            else np.asarray(term.A.diagonal())
            for _, term in self.terms
        )

    def to_sparse(self) -> csr_array:
        """The whole matrix, where every term has a sparse one.

        Raises
        ------
        TypeError
            When a term is known by products only.
        """
        total = csr_array(self.shape, dtype=self.dtype)
        for factor, term in self.terms:
            total = total + self.dtype.type(factor) * sparse_of(term)
        return total

    def _facts(self) -> tuple[str, ...]:
        terms = (f"{factor:.3g} {type(term).__name__}" for factor, term in self.terms)
        return (" + ".join(terms),)

    def __reduce__(self) -> Any:
        return CombinedOperator, (self.terms,)


class TransposedOperator(BaseOperator):
    """The transpose of an operator that is not symmetric.

    Parameters
    ----------
    original : BaseOperator
    """

    symbol = "Aᵀ"

    def __init__(self, original: BaseOperator) -> None:
        m, n = original.shape
        super().__init__(original.dtype, (n, m), symmetric=False)
        self.original = original

    def _product(self, v: np.ndarray) -> np.ndarray:
        return np.asarray(self.original.rmatvec(v))

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        return np.asarray(self.original.rmatmat(V))

    def _adjoint_product(self, u: np.ndarray) -> np.ndarray:
        return np.asarray(self.original.matvec(u))

    def _adjoint_block_product(self, U: np.ndarray) -> np.ndarray:
        return np.asarray(self.original.matmat(U))

    def _adjoint(self) -> LinearOperator:
        return self.original

    def _meaning_of(self, n: int) -> str:
        return self.original._meaning_of(n)

    def _facts(self) -> tuple[str, ...]:
        return (f"of {self.original!r}",)

    def __reduce__(self) -> Any:
        return TransposedOperator, (self.original,)


class ProductOperator(BaseOperator):
    """The product of two operators; each product is one of each, the second first.

    Parameters
    ----------
    first, second : BaseOperator
    """

    def __init__(self, first: BaseOperator, second: BaseOperator) -> None:
        # AᵀA and A² are symmetric; that other products are cannot be known.
        symmetric = first.T is second or (first is second and first.symmetric)
        symmetric |= isinstance(second, TransposedOperator) and second.original is first
        dtype = np.result_type(first.dtype, second.dtype)
        super().__init__(dtype, (first.shape[0], second.shape[1]), symmetric=symmetric)
        self.factors = (first, second)
        self.layout = second.layout

    def _product(self, v: np.ndarray) -> np.ndarray:
        first, second = self.factors
        return np.asarray(first @ (second @ v))

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        return self._product(V)

    def _adjoint_product(self, u: np.ndarray) -> np.ndarray:
        first, second = self.factors
        return np.asarray(second.T @ (first.T @ u))

    def _adjoint_block_product(self, U: np.ndarray) -> np.ndarray:
        return self._adjoint_product(U)

    def _facts(self) -> tuple[str, ...]:
        first, second = self.factors
        return (f"{type(first).__name__} @ {type(second).__name__}",)

    def __reduce__(self) -> Any:
        return ProductOperator, self.factors


def sparse_of(operator: LinearOperator) -> csr_array:
    """The sparse matrix of an operator whose entries are known.

    Raises
    ------
    TypeError
        When it is known by products only.
    """
    if isinstance(operator, BaseOperator) and hasattr(operator, "to_sparse"):
        return operator.to_sparse()
    matrix = matrix_of(operator)
    if matrix is None:
        raise TypeError(
            f"a {type(operator).__name__} is known by its products only, expected an operator with "
            "to_sparse, or of a matrix. Use csr_array(A @ np.eye(n)) where it is small."
        )
    return csr_array(matrix)


def _has_entries(operator: LinearOperator) -> bool:
    return isinstance(operator, BaseOperator) or matrix_of(operator) is not None


def _is_symmetric(operator: LinearOperator) -> bool:
    """Whether an operator is known to be symmetric, up to the last digit."""
    if isinstance(operator, BaseOperator):
        return operator.symmetric
    matrix: Any = matrix_of(operator)
    if matrix is None or matrix.shape[0] != matrix.shape[1]:
        return False
    different = matrix != matrix.T
    return different.nnz == 0 if issparse(matrix) else not np.any(different)


def is_real_number(x: Any) -> bool:
    """Whether x is a real number, or an array of no axes that holds one."""
    return np.ndim(x) == 0 and np.asarray(x).dtype.kind in "biuf"


class SubmatrixOperator(BaseOperator):
    """Some rows and columns of another operator; each product is one of the whole.

    Parameters
    ----------
    parent : BaseOperator
    rows, cols : slice, array_like of int, or array_like of bool
    """

    symbol = "block"

    def __init__(self, parent: BaseOperator, rows: Any, cols: Any) -> None:
        self.parent = parent
        self.rows = indices(rows, parent.shape[0], "rows")
        self.cols = indices(cols, parent.shape[1], "cols")
        symmetric = parent.symmetric and np.array_equal(self.rows, self.cols)
        super().__init__(parent.dtype, (self.rows.size, self.cols.size), symmetric=symmetric)

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        whole = np.zeros((self.parent.shape[1], *V.shape[1:]), dtype=self.dtype)
        whole[self.cols] = V
        product: np.ndarray = self.parent.dot(whole)[self.rows]
        return product

    def _adjoint_block_product(self, U: np.ndarray) -> np.ndarray:
        whole = np.zeros((self.parent.shape[0], *U.shape[1:]), dtype=self.dtype)
        whole[self.rows] = U
        product: np.ndarray = self.parent.T.dot(whole)[self.cols]
        return product

    def _product(self, v: np.ndarray) -> np.ndarray:
        return self._block_product(v)

    def _adjoint_product(self, u: np.ndarray) -> np.ndarray:
        return self._adjoint_block_product(u)

    def _facts(self) -> tuple[str, ...]:
        return (f"of {self.parent!r}",)

    def __reduce__(self) -> Any:
        return SubmatrixOperator, (self.parent, self.rows, self.cols)
