"""The contract with SciPy, kept in one place for every operator of hessop.

SciPy's `LinearOperator` hands over whatever it was given: integers, complex numbers, columns of
shape (n, 1), probes of zeros; and SciPy 1.18 asks other things of a subclass than 1.17 did. Here
all of it is brought to one form, so that an operator has to say only what its product is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator

from hessop._errors import NonFiniteError
from hessop._progress import progress_bar
from hessop.operators.checks import (
    all_finite,
    as_block,
    as_vector,
    by_columns,
    first_bad,
)

__all__ = ["ContractOperator"]

# Columns of an identity matrix multiplied at once where a whole matrix is asked for.
_BLOCK_COLUMNS = 64


class ContractOperator(LinearOperator):
    """A real matrix known by its products with vectors.

    A subclass gives `_product`, and where the matrix is not symmetric `_adjoint_product`; where a
    block of columns can be multiplied faster than one by one, also `_block_product` and
    `_adjoint_block_product`. Each gets finite real arrays of the operator's dtype, must not change
    or keep them, and returns a fresh array.

    Parameters
    ----------
    dtype : dtype
        float64 or float32; products are returned in it.
    shape : (int, int)
    symmetric : bool
        A symmetric operator is its own transpose and adjoint.
    """

    #: How error messages call it.
    symbol = "A"

    def __init__(self, dtype: Any, shape: tuple[int, int], *, symmetric: bool) -> None:
        super().__init__(np.dtype(dtype), shape)
        self.symmetric = symmetric
        self._n_matvec = 0
        self._counting = threading.Lock()

    # --- what a subclass says ---------------------------------------------------------------------

    def _product(self, v: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _adjoint_product(self, u: np.ndarray) -> np.ndarray:
        if not self.symmetric:
            raise NotImplementedError
        return self._product(u)

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        return by_columns(self._product, V, self.shape[0])

    def _adjoint_block_product(self, U: np.ndarray) -> np.ndarray:
        return by_columns(self._adjoint_product, U, self.shape[1])

    # --- what SciPy asks --------------------------------------------------------------------------

    def _matvec(self, x: Any) -> np.ndarray:
        return self._multiply(self._product, as_vector(x), self.shape[0])

    def _rmatvec(self, x: Any) -> np.ndarray:
        return self._multiply(self._adjoint_product, as_vector(x), self.shape[1])

    def _matmat(self, X: Any) -> np.ndarray:
        return self._multiply(self._block_product, as_block(X), self.shape[0])

    def _rmatmat(self, X: Any) -> np.ndarray:
        return self._multiply(self._adjoint_block_product, as_block(X), self.shape[1])

    def _adjoint(self) -> LinearOperator:
        return self if self.symmetric else super()._adjoint()

    def _transpose(self) -> LinearOperator:
        return self if self.symmetric else super()._transpose()

    def _multiply(
        self, product: Callable[[np.ndarray], np.ndarray], V: np.ndarray, rows: int
    ) -> np.ndarray:
        if V.dtype.kind == "c":
            real, imaginary = (self._multiply(product, part, rows) for part in (V.real, V.imag))
            result: np.ndarray = real + imaginary * np.array(1j, dtype=np.complex64)
            return result
        if V.dtype.kind not in "biuf":
            raise TypeError(
                f"{self.symbol} @ v: v has dtype {V.dtype}, expected real or complex numbers."
            )
        if V.dtype.kind != "f" and not V.any():  # SciPy probes with integer zeros for a dtype
            return np.zeros((rows, *V.shape[1:]), dtype=self.dtype)
        V = V.astype(self.dtype, copy=False)
        if not all_finite(V):
            raise NonFiniteError(
                f"{self.symbol} @ v: v has {first_bad(V)}, expected finite numbers. Look at what "
                "v was computed from; in a solver, it has broken down or diverged."
            )
        result = product(V)
        self._count(1 if V.ndim == 1 else V.shape[1])
        if not all_finite(result):
            raise NonFiniteError(
                f"{self.symbol} @ v has {first_bad(result)}, though v is finite. {self._suspect()}"
            )
        return result

    def _suspect(self) -> str:
        return "The operator itself is not finite."

    def _count(self, columns: int) -> None:
        with self._counting:
            self._n_matvec += columns

    # --- shapes, refused in words -----------------------------------------------------------------

    def matvec(self, x: Any) -> Any:
        """``A @ x`` for x of shape (n,), or one column (n, 1). See `scipy.sparse.linalg`."""
        if type(x) is np.ndarray and x.shape == (self.shape[1],):
            return self._matvec(x)  # what SciPy would come to, in a tenth of the time
        return super().matvec(self._of_length(x, self.shape[1], block=False))

    def rmatvec(self, x: Any) -> Any:
        """``A.T @ x`` for x of shape (m,), or one column (m, 1). See `scipy.sparse.linalg`."""
        return super().rmatvec(self._of_length(x, self.shape[0], block=False))

    def matmat(self, X: Any) -> Any:
        """``A @ X`` for a block X of k columns, shape (n, k). See `scipy.sparse.linalg`."""
        return super().matmat(self._of_length(X, self.shape[1], block=True))

    def rmatmat(self, X: Any) -> Any:
        """``A.T @ X`` for a block X of k columns, shape (m, k). See `scipy.sparse.linalg`."""
        return super().rmatmat(self._of_length(X, self.shape[0], block=True))

    def __matmul__(self, x: Any) -> Any:
        if type(x) is np.ndarray and x.shape == (self.shape[1],):
            return self._matvec(x)  # what SciPy would come to, in a tenth of the time
        return super().__matmul__(x)

    def dot(self, x: Any) -> Any:
        """``A @ x`` with a vector, a block of columns, an operator or a number."""
        if np.isscalar(x) or isinstance(x, LinearOperator):
            return super().dot(x)
        return super().dot(self._of_length(x, self.shape[1]))

    def _of_length(self, x: Any, n: int, *, block: bool | None = None) -> Any:
        """Any vector or block of n rows; with `block`, only a block, or only one column."""
        if isinstance(x, dict):
            way_out = "matvec_tree" if hasattr(self, "matvec_tree") else "flatten"
            raise TypeError(f"{self.symbol} @ v: v is a dict, expected an array. Use {way_out}.")
        if issparse(x):
            raise TypeError(
                f"{self.symbol} @ X: X is sparse, expected a dense vector or block. Use "
                "X.toarray(), or compose operators with scipy.sparse.linalg.aslinearoperator(X)."
            )
        x = np.asanyarray(x)
        if x.ndim in (1, 2) and x.shape[0] == n:
            column = x.ndim == 1 or x.shape[1] == 1
            if block is None or (x.ndim == 2 if block else column):
                return x
        came = f"{x.shape[0]} entries" if x.ndim == 1 and len(x) != n else f"shape {x.shape}"
        way_out = " Transpose it." if x.ndim == 2 and x.shape[1] == n != x.shape[0] else ""
        raise ValueError(
            f"{self.symbol} @ v: v has {came}, expected {n}{self._meaning_of(n)}, "
            f"as shape ({n},) or, for k columns, ({n}, k).{way_out}"
        )

    def _meaning_of(self, n: int) -> str:
        return ""

    # --- what every operator answers to -----------------------------------------------------------

    def quadratic_form(self, v: Any) -> Any:
        """The curvature along v: ``vᵀ A v``.

        Parameters
        ----------
        v : array_like, shape (n,) or (n, k)
            One direction, or a block of them. Conjugated on the left where complex.

        Returns
        -------
        float or ndarray, shape (k,)

        Raises
        ------
        ValueError
            When the operator is not square, or v has not n rows.

        Examples
        --------
        >>> import autograd.numpy as np
        >>> from hessop import hessian_operator
        >>> H = hessian_operator(lambda x: np.sum(x**3), np.array([1.0, 2.0]))
        >>> H.quadratic_form([1.0, 1.0])
        18.0
        """
        if self.shape[0] != self.shape[1]:
            raise ValueError(f"quadratic_form needs a square operator; this one is {self.shape}.")
        v = self._of_length(v, self.shape[1])
        form = np.sum(np.conj(v) * (self @ v), axis=0)
        # vᴴ A v is real for a symmetric A, up to rounding.
        form = form.real if self.symmetric else form
        return form.item() if form.ndim == 0 else form

    def diagonal(self, *, progress: bool = False) -> np.ndarray:
        """The exact diagonal, by one product with each unit vector.

        Parameters
        ----------
        progress : bool
            Show a bar; needs tqdm.

        Returns
        -------
        ndarray, shape (min(m, n),)
        """
        result = np.empty(min(self.shape), dtype=self.dtype)
        for start, stop, columns in self._columns(result.size, progress, "diagonal"):
            result[start:stop] = np.diagonal(columns[start:stop])
        return result

    def to_dense(self, *, symmetrize: bool = False, progress: bool = False) -> np.ndarray:
        """The whole matrix, by one product with each unit vector.

        Parameters
        ----------
        symmetrize : bool
            Return ``(A + Aᵀ) / 2``: without it, a Hessian is symmetric only up to rounding.
        progress : bool
            Show a bar; needs tqdm.

        Returns
        -------
        ndarray, shape (m, n)
        """
        result = np.empty(self.shape, dtype=self.dtype)
        for start, stop, columns in self._columns(self.shape[1], progress, "to_dense"):
            result[:, start:stop] = columns
        if symmetrize and self.shape[0] != self.shape[1]:
            raise ValueError(f"symmetrize needs a square operator; this one is {self.shape}.")
        return (result + result.T) / 2 if symmetrize else result

    def _columns(
        self, count: int, progress: bool, name: str, *, transposed: bool = False
    ) -> Iterator[tuple[int, int, np.ndarray]]:
        """The first `count` columns, of the transpose where asked, in blocks with their ends."""
        multiply, rows = (self.rmatmat if transposed else self.matmat), self.shape[not transposed]
        with progress_bar(progress, count, desc=name, unit="product") as bar:
            for start in range(0, count, _BLOCK_COLUMNS):
                stop = min(start + _BLOCK_COLUMNS, count)
                units = np.zeros((rows, stop - start), dtype=self.dtype)
                units[np.arange(start, stop), np.arange(stop - start)] = 1.0
                yield start, stop, multiply(units)
                if bar is not None:
                    bar.update(stop - start)

    # --- counting, copies, its line in print ------------------------------------------------------

    @property
    def n_matvec(self) -> int:
        """How many columns were multiplied so far; a complex column counts as two."""
        return self._n_matvec

    def __copy__(self) -> Self:
        # What an operator has computed stays true, so that a copy shares all but the counter.
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__, _n_matvec=0, _counting=threading.Lock())
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()

    def __repr__(self) -> str:
        m, n = self.shape
        facts = ", ".join([*self._facts(), str(self.dtype), f"{self.n_matvec} products"])
        return f"<{m}x{n} {type(self).__name__} {facts}>"

    def _facts(self) -> tuple[str, ...]:
        return ()
