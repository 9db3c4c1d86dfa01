"""Operators whose products become a linear program."""

from __future__ import annotations

from functools import partial
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array

from hessop._errors import NonFiniteError, NoProgramError
from hessop.operators.base import BaseOperator
from hessop.operators.compiling import Multiplier
from hessop.tape.program import Program
from hessop.tape.sparse import refuse_if_full, sparse_matrix

__all__ = ["RecordedOperator"]

# Nonzeros that to_sparse allows without being told: about 120 MB.
_MOST_NONZEROS = 10_000_000
# A diagonal of no more entries is as quickly multiplied out; beyond, rows with so many nonzeros in
# the mean are still better played sparse.
_FEW_COLUMNS = 64
_SPARSE_ROW = 32


class RecordedOperator(BaseOperator):
    """An operator whose products are recorded, and then played.

    Parameters
    ----------
    dtype, shape, symmetric
        As for `BaseOperator`.
    products : Multiplier
    name : str
        Of the function that it is made of.
    remake : partial, optional
        Makes the operator anew from what can be pickled; without it, it cannot be.
    """

    def __init__(
        self,
        dtype: Any,
        shape: tuple[int, int],
        products: Multiplier,
        name: str,
        remake: partial[Any] | None = None,
        *,
        symmetric: bool,
    ) -> None:
        super().__init__(dtype, shape, symmetric=symmetric)
        self._products = products
        self._name = name
        self._remake = remake

    def _product(self, v: np.ndarray) -> np.ndarray:
        return self._products.product(v)

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        return self._products.block(V)

    @property
    def is_compiled(self) -> bool:
        """Whether products are computed with a linear program by now."""
        return self._products.is_compiled

    @property
    def program(self) -> Program:
        """The linear program that products are computed with, recorded now if it was not before.

        Printed, it has one instruction a line, each with its shape, operations and bytes. Where
        there are no more than 64 columns, it is played as the small matrix that it is.

        Raises
        ------
        NoProgramError
            When the product could not be recorded; products go on as autograd computes them.
        ValueError
            When products are finite differences.

        Examples
        --------
        >>> import autograd.numpy as np
        >>> from hessop import hessian_operator
        >>> H = hessian_operator(lambda x: np.sum(np.sin(x) ** 2), np.array([1.0, 2.0, 3.0]))
        >>> print(H.program)
        linear program 3 -> 3, float64: 1 instruction, 3 flop, 72 B moved, 24 B of constants
        %1  scale  (3,)  3 flop  72 B  c(3,) * %0
        """
        return self._products.compile().program

    def compile(self) -> Self:
        """Record the linear program now, instead of after some products.

        Returns
        -------
        the operator itself
            So that ``H = hessian_operator(fun, x).compile()`` reads well.

        Raises
        ------
        NoProgramError, ValueError
            As `program`.
        """
        self._products.compile()
        return self

    def to_sparse(self, *, max_nnz: int | None = None) -> csr_array:
        """The whole matrix, exact and sparse, by one run of the program on a sparse identity.

        Parameters
        ----------
        max_nnz : int, optional
            The most nonzeros that the matrix, and every value on the way to it, may have; ten
            million, unless the operator has more rows.

        Returns
        -------
        scipy.sparse.csr_array, shape (m, n)
            With sorted indices and no stored zeros. Symmetric up to rounding where the operator is.

        Raises
        ------
        ValueError
            When it fills up, with the count so far; or when a primitive that is not known to be
            sparse depends on many columns, with its name.
        NonFiniteError
            When an entry is NaN or infinite.
        NoProgramError
            When there is no program.

        Notes
        -----
        The time is proportional to the nonzeros that are met, whatever the pattern is: there is no
        colouring, and there are no probes.

        Examples
        --------
        >>> import autograd.numpy as np
        >>> from hessop import hessian_operator
        >>> H = hessian_operator(lambda x: np.sum((x[1:] - x[:-1]) ** 2), np.zeros(1000))
        >>> H.to_sparse().nnz
        2998
        """
        if max_nnz is None:
            max_nnz = max(_MOST_NONZEROS, 10 * max(self.shape))
        try:
            player = self._products.compile()
        except NoProgramError as error:
            raise NoProgramError(f"{error} Use to_dense, or products alone.") from None
        if player.matrix is None:
            matrix = sparse_matrix(player.program, max_nnz)
        else:
            matrix = csr_array(player.matrix)
            refuse_if_full(matrix.nnz, max_nnz)
        if not np.isfinite(matrix.data).all():
            raise NonFiniteError(
                f"{self.symbol}.to_sparse() has entries that are not finite. {self._suspect()}"
            )
        return matrix

    def diagonal(self, *, progress: bool = False) -> np.ndarray:
        """The exact diagonal, shape (min(m, n),).

        By one run of the program where the matrix is sparse, else by a product with each unit
        vector.

        Parameters
        ----------
        progress : bool
            Show a bar where there are products to make; needs tqdm.
        """
        n = min(self.shape)
        if n > _FEW_COLUMNS:
            try:
                diagonal: np.ndarray = self.to_sparse(max_nnz=_SPARSE_ROW * n).diagonal()
                return diagonal
            except (NoProgramError, NonFiniteError, ValueError):
                pass  # differences, no program, or not sparse: by products then
        return super().diagonal(progress=progress)

    def _suspect(self) -> str:
        return f"A derivative of {self._name} does not exist at x, or overflows."

    def _facts(self) -> tuple[str, ...]:
        return (f"of {self._name}", *(["compiled"] if self.is_compiled else []))

    def __reduce__(self) -> Any:
        if self._remake is None:
            raise TypeError(
                f"this {type(self).__name__} of {self._name} cannot be pickled: it belongs to an "
                "optimizer's run. Pickle the function and the point, and make it again."
            )
        return self._remake, ()
