"""Diagonal matrices, and what stands in for a Hessian as one."""

from __future__ import annotations

from functools import partial
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import LinearOperator

from hessop._progress import progress_bar
from hessop.operators.checks import check_count
from hessop.operators.foreign import as_symmetric
from hessop.operators.probing import RunningMean, probe_blocks
from hessop.operators.structured import (
    Inertia,
    SignedLogdet,
    StructuredOperator,
    check_damping,
    diagonal_of,
    exact_logdet,
    refuse_indefinite,
    refuse_singular,
)

__all__ = ["DiagonalOperator", "real_vector"]


class DiagonalOperator(StructuredOperator):
    """A diagonal matrix.

    Parameters
    ----------
    d : array_like, shape (n,)
        Real and finite. Copied.

    Attributes
    ----------
    standard_error : ndarray, shape (n,), or None
        Of each entry, where the diagonal was estimated by probing.

    Examples
    --------
    >>> import numpy as np
    >>> from hessop import DiagonalOperator
    >>> D = DiagonalOperator([1.0, 2.0, 4.0])
    >>> D.inverse(damping=1.0) @ np.ones(3)
    array([0.5       , 0.33333333, 0.2       ])
    >>> round(float(np.exp(D.logdet())), 12)
    8.0
    """

    symbol = "D"

    def __init__(self, d: Any, *, standard_error: np.ndarray | None = None) -> None:
        self._d = real_vector(d, "d")
        self._standard_error = None
        if standard_error is not None:
            self._standard_error = real_vector(standard_error, "standard_error")
        super().__init__(self._d.dtype, self._d.size)

    @property
    def standard_error(self) -> np.ndarray | None:
        """Of each entry, shape (n,), where the diagonal was estimated: a fresh copy."""
        return None if self._standard_error is None else self._standard_error.copy()

    @classmethod
    def from_operator(
        cls,
        A: Any,
        *,
        method: str = "exact",
        num_probes: int = 64,
        rng: Any = None,
        progress: bool = False,
    ) -> Self:
        """The diagonal of a symmetric operator.

        Parameters
        ----------
        A : LinearOperator or matrix, shape (n, n)
        method : {"exact", "probing"}
            ``"exact"`` takes a product with every unit vector, or, where the program of A is
            sparse, one run of it. ``"probing"`` takes the mean of ``z * (A @ z)`` over random signs
            z; the error of an entry falls with the root of the number of probes, and is as large as
            the rest of its row.
        num_probes : int
            For ``"probing"``, at least 2.
        rng : None, int or numpy.random.Generator
            For ``"probing"``.
        progress : bool
            Show a bar; needs tqdm.

        Returns
        -------
        DiagonalOperator
            With `standard_error`, when probed.

        Notes
        -----
        C. Bekas, E. Kokiopoulou and Y. Saad, "An estimator for the diagonal of a matrix", Applied
        Numerical Mathematics 57, 2007.

        Examples
        --------
        >>> import autograd.numpy as np
        >>> from hessop import DiagonalOperator, hessian_operator
        >>> H = hessian_operator(lambda x: x[0] ** 2 * x[1], np.array([1.0, 3.0]))
        >>> DiagonalOperator.from_operator(H).diagonal()
        array([6., 0.])
        """
        operator = as_symmetric(A)
        if method == "exact":
            return cls(operator.diagonal(progress=progress))
        if method != "probing":
            raise ValueError(f"method is {method!r}, expected 'exact' or 'probing'.")
        check_count(num_probes, "num_probes", least=2)
        samples, rng = RunningMean(), np.random.default_rng(rng)
        with progress_bar(progress, num_probes, desc="diagonal", unit="product") as bar:
            for Z in probe_blocks(operator.shape[0], num_probes, rng, operator.dtype):
                samples.add(Z * operator.matmat(Z))
                if bar is not None:
                    bar.update(Z.shape[1])
        return cls(samples.mean.astype(operator.dtype), standard_error=samples.standard_error)

    def _product(self, v: np.ndarray) -> np.ndarray:
        product: np.ndarray = self._d * v
        return product

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        product: np.ndarray = self._d[:, None] * V
        return product

    def inverse(self, damping: float = 0.0) -> DiagonalOperator:
        """``(D + damping I)⁻¹``.

        Raises
        ------
        numpy.linalg.LinAlgError
            When an entry is zero with the damping added.
        """
        damping = check_damping(damping)
        damped = self._d + self.dtype.type(damping)
        with np.errstate(divide="ignore", over="ignore"):
            inverse = 1.0 / damped
        if not np.isfinite(inverse).all():
            entry = int(np.flatnonzero(~np.isfinite(inverse))[0])
            raise refuse_singular(f"the diagonal matrix, at entry {entry},", damping)
        return DiagonalOperator(inverse)

    def slogdet(self, damping: float = 0.0) -> SignedLogdet:
        """Sign and logarithm of the determinant of ``D + damping I``."""
        return exact_logdet(self._d + check_damping(damping))

    def inertia(self) -> Inertia:
        """The number of negative, zero and positive entries."""
        signs = [int(np.count_nonzero(np.sign(self._d) == sign)) for sign in (-1, 0, 1)]
        return Inertia(*signs)

    def sqrt(self) -> DiagonalOperator:
        """The roots of the entries.

        Raises
        ------
        numpy.linalg.LinAlgError
            When an entry is negative.
        """
        if (self._d < 0.0).any():
            raise refuse_indefinite("the diagonal matrix", float(self._d.min()))
        return DiagonalOperator(np.sqrt(self._d))

    def diagonal(self, *, progress: bool = False) -> np.ndarray:
        """The entries, shape (n,): a fresh copy."""
        return self._d.copy()

    def to_dense(self, *, symmetrize: bool = False, progress: bool = False) -> np.ndarray:
        """The whole matrix, shape (n, n)."""
        return np.diag(self._d)

    def to_sparse(self) -> csr_array:
        """The matrix, with n entries."""
        return csr_array(diags_array(self._d))

    def _as_diagonal(self) -> np.ndarray:
        return self._d

    def _scaled(self, factor: float) -> DiagonalOperator:
        error = None if self._standard_error is None else abs(factor) * self._standard_error
        return DiagonalOperator(self.dtype.type(factor) * self._d, standard_error=error)

    def _plus(self, other: LinearOperator) -> DiagonalOperator | None:
        d = diagonal_of(other)
        return None if d is None else DiagonalOperator(self._d + d)

    def __reduce__(self) -> Any:
        return partial(type(self), standard_error=self._standard_error), (self._d,)


def real_vector(d: Any, name: str) -> np.ndarray:
    """A fresh vector of finite real numbers, float64 or float32.

    Raises
    ------
    TypeError, ValueError
        When it is not one.
    """
    if isinstance(d, LinearOperator):
        raise TypeError(f"{name} is a {type(d).__name__}, expected a vector. Use from_operator.")
    d = np.array(d)
    if d.ndim != 1 or d.size == 0:
        raise ValueError(f"{name} has shape {d.shape}, expected a vector of at least one entry.")
    if d.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {d.dtype}, expected real numbers.")
    if not np.isfinite(d).all():
        raise ValueError(f"{name} has entries that are NaN or infinite, expected finite numbers.")
    vector: np.ndarray = d.astype(np.float32 if d.dtype == np.float32 else np.float64)
    return vector
