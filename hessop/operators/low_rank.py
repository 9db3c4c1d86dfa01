"""Matrices of low rank, with a multiple of the identity or a diagonal added."""

from __future__ import annotations

import math
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
import scipy.linalg
from scipy.optimize import LbfgsInvHessProduct
from scipy.sparse.linalg import LinearOperator

from hessop.operators.approximations import METHODS, eigenpairs
from hessop.operators.checks import check_count
from hessop.operators.condensed import condense
from hessop.operators.diagonal import real_vector
from hessop.operators.foreign import as_symmetric
from hessop.operators.inverses import InverseOperator
from hessop.operators.structured import (
    Inertia,
    SignedLogdet,
    StructuredOperator,
    check_damping,
    diagonal_of,
    exact_logdet,
    inertia_of,
    inverted,
    refuse_singular,
    roots,
    signed_logdet,
)

__all__ = ["LowRankOperator"]


class LowRankOperator(StructuredOperator):
    """``U diag(s) Uᵀ + shift``.

    Parameters
    ----------
    U : array_like, shape (n, r)
        Its columns need not be orthonormal. Copied.
    s : array_like, shape (r,)
        Of any sign. Copied.
    shift : float or array_like, shape (n,)
        A multiple of the identity, or a diagonal.
    error_estimate : float, optional
        What is known of the distance to the matrix that it stands for.

    Attributes
    ----------
    U, s, shift
        As given: fresh copies.
    rank : int
        r, the number of columns of U.
    error_estimate : float or None
        For an operator made by `from_operator`: an estimate of its distance to the original in the
        Frobenius norm, which is never below that in the spectral norm.

    Notes
    -----
    Inverse and determinant are those of Sherman, Morrison and Woodbury, but nothing is divided by
    s, which may be zero. For a scalar shift they go through the eigenvalues t of the part of low
    rank, and the factors ``t / (shift (shift + t))``, which lose nothing to cancellation; for a
    diagonal one see `hessop.operators.condensed`.

    Examples
    --------
    >>> import numpy as np
    >>> from hessop import LowRankOperator
    >>> A = LowRankOperator(np.ones((3, 1)), [2.0], shift=1.0)
    >>> A.inverse() @ (A @ np.array([1.0, 2.0, 3.0]))
    array([1., 2., 3.])
    >>> round(float(np.exp(A.logdet())), 12)
    7.0
    """

    symbol = "L"

    def __init__(
        self, U: Any, s: Any, shift: Any = 0.0, *, error_estimate: float | None = None
    ) -> None:
        s = real_vector(s, "s")
        U = np.array(U)
        if U.ndim != 2 or U.shape[1] != s.size or U.size == 0:
            raise ValueError(
                f"U has shape {U.shape}, expected (n, {s.size}): a column for each entry of s."
            )
        columns = real_vector(U.ravel(), "U").reshape(U.shape)
        n = len(columns)
        shift = real_vector(np.atleast_1d(shift), "shift")
        if shift.size not in (1, n):
            raise ValueError(f"shift has {shift.size} entries, expected one or {n}.")
        dtype = np.result_type(columns, s) if shift.size == 1 else np.result_type(columns, s, shift)
        self._U: np.ndarray = columns.astype(dtype)
        self._s: np.ndarray = s.astype(dtype)
        # A diagonal that is a multiple of the identity has the simpler algebra.
        self._is_scalar = bool((shift == shift[0]).all())
        self._shift: Any = dtype.type(shift[0]) if self._is_scalar else shift.astype(dtype)
        self.error_estimate = error_estimate
        super().__init__(dtype, n)

    @property
    def U(self) -> np.ndarray:
        """The columns, shape (n, r): a fresh copy."""
        return self._U.copy()

    @property
    def s(self) -> np.ndarray:
        """Their weights, shape (r,): a fresh copy."""
        return self._s.copy()

    @property
    def shift(self) -> Any:
        """A float, or the diagonal, shape (n,): a fresh copy."""
        shift: Any = float(self._shift) if self._is_scalar else self._shift.copy()
        return shift

    @property
    def rank(self) -> int:
        """The number of columns of U."""
        return int(self._s.size)

    @classmethod
    def from_operator(
        cls,
        A: Any,
        rank: int,
        *,
        method: str = "lanczos",
        oversampling: int = 10,
        error_probes: int = 5,
        rng: Any = None,
    ) -> Self:
        """An approximation of a symmetric operator by eigenpairs.

        Parameters
        ----------
        A : LinearOperator or matrix, shape (n, n)
        rank : int
            From 1 to n.
        method : {"lanczos", "nystrom", "randomized"}
            ``"lanczos"``: the eigenpairs of largest magnitude, by SciPy's ``eigsh``: the best
            approximation of this rank, in a number of products that is not known before.
            ``"nystrom"``: for a positive semidefinite A, in ``rank + oversampling`` products, all
            at once. ``"randomized"``: for any A, in twice as many.
        oversampling : int
            Further columns, for the latter two.
        error_probes : int
            Products spent on `error_estimate`; none with 0. With k of them its relative standard
            error is below ``1 / √(2k)``.
        rng : None, int or numpy.random.Generator

        Returns
        -------
        LowRankOperator
            With orthonormal U, s by descending magnitude, and shift 0.

        Raises
        ------
        numpy.linalg.LinAlgError
            When A is found to be indefinite by ``"nystrom"``.

        Notes
        -----
        The methods are ``eigsh`` of ARPACK; J. A. Tropp, A. Yurtsever, M. Udell and V. Cevher,
        "Fixed-rank approximation of a positive-semidefinite matrix from streaming data", NeurIPS
        30, 2017, algorithm 3; N. Halko, P. G. Martinsson and J. A. Tropp, "Finding structure with
        randomness", SIAM Review 53, 2011, algorithms 4.1 and 5.3. The error is estimated as the
        root mean square of its products with Gaussian vectors.

        Examples
        --------
        >>> import numpy as np
        >>> from hessop import LowRankOperator
        >>> A = np.diag([5.0, 3.0, 0.01, 0.0])
        >>> L = LowRankOperator.from_operator(A, 2, method="nystrom", rng=0)
        >>> np.round(L.s, 6)
        array([5., 3.])
        >>> 0.001 < L.error_estimate < 0.03
        True
        """
        operator = as_symmetric(A)
        n = operator.shape[0]
        if method not in METHODS:
            raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}.")
        rank = check_count(rank, "rank", most=n)
        oversampling = check_count(oversampling, "oversampling", least=0)
        error_probes = check_count(error_probes, "error_probes", least=0)
        rng = np.random.default_rng(rng)
        s, U = eigenpairs(operator, rank, method, oversampling, rng)
        found = cls(U, s)
        if error_probes:
            probes = rng.standard_normal((n, error_probes)).astype(operator.dtype)
            missing = operator @ probes - found._block_product(probes)
            found.error_estimate = float(np.linalg.norm(missing)) / math.sqrt(error_probes)
        return found

    @classmethod
    def from_lbfgs(cls, hess_inv: LbfgsInvHessProduct) -> Self:
        """The inverse Hessian that L-BFGS has gathered, as an operator that can be inverted.

        Parameters
        ----------
        hess_inv : scipy.optimize.LbfgsInvHessProduct
            ``result.hess_inv`` of ``minimize(..., method="L-BFGS-B")``.

        Returns
        -------
        LowRankOperator
            Equal to it: the identity plus at most two columns for each pair of the history.

        Examples
        --------
        >>> import numpy as np
        >>> from scipy.optimize import minimize, rosen, rosen_der
        >>> from hessop import LowRankOperator
        >>> result = minimize(rosen, np.zeros(4), jac=rosen_der, method="L-BFGS-B")
        >>> L = LowRankOperator.from_lbfgs(result.hess_inv)
        >>> bool(np.allclose(L @ np.ones(4), result.hess_inv @ np.ones(4)))
        True
        """
        if not isinstance(hess_inv, LbfgsInvHessProduct):
            raise TypeError(
                f"hess_inv is a {type(hess_inv).__name__}, expected a "
                "scipy.optimize.LbfgsInvHessProduct. Use from_operator for another operator."
            )
        if len(hess_inv.sk) == 0:
            return cls(np.zeros((hess_inv.shape[0], 1)), [0.0], 1.0)
        # What is not the identity acts in the span of the steps and of the gradients' changes.
        Q, _ = np.linalg.qr(np.concatenate([hess_inv.sk, hess_inv.yk]).T)
        inside = Q.T @ (hess_inv.matmat(Q) - Q)
        t, V = scipy.linalg.eigh((inside + inside.T) / 2)
        return cls(Q @ V, t, 1.0)

    def _product(self, v: np.ndarray) -> np.ndarray:
        product: np.ndarray = self._U @ (self._s * (self._U.T @ v)) + self._shift * v
        return product

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        shift = self._shift if self._is_scalar else self._shift[:, None]
        product: np.ndarray = self._U @ (self._s[:, None] * (self._U.T @ V)) + shift * V
        return product

    @cached_property
    def _eigen(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues t and orthonormal vectors Q of the part of low rank, for a scalar shift."""
        Q, R = np.linalg.qr(self._U)
        t, V = scipy.linalg.eigh((R * self._s) @ R.T)
        return t, Q @ V

    def _shifted(self, damping: float) -> tuple[Any, float]:
        """The shift with a damping added, and the size of the terms of the part of low rank."""
        shift = self._shift + self.dtype.type(check_damping(damping))
        scale = float(np.abs(self._s) @ np.sum(self._U**2, axis=0))
        if self._is_scalar:
            # What the damping leaves of the shift may be rounding.
            largest = max(abs(float(self._shift)), abs(damping))
            if abs(float(shift)) <= 10.0 * float(np.finfo(self.dtype).eps) * largest:
                shift = self.dtype.type(0.0)
            scale = max(scale, largest)
        return shift, scale

    def inverse(self, damping: float = 0.0) -> StructuredOperator:
        """``(A + damping I)⁻¹``: a matrix of the same form.

        Where digits would cancel in that form, as with a diagonal whose entries differ by orders of
        magnitude, it is an `InverseOperator`, whose products are refined.

        Raises
        ------
        numpy.linalg.LinAlgError
            When it is singular up to rounding.
        """
        what = "the matrix of low rank and shift"
        shift, scale = self._shifted(damping)
        if not self._is_scalar:
            return self._inverse_by_condensing(shift, what)
        t, Q = self._eigen
        if len(t) == self.shape[0]:  # no direction is left to the shift alone
            return LowRankOperator(Q, inverted(shift + t, 0.0, what, scale=scale))
        if shift == 0.0:
            raise refuse_singular(f"a matrix of rank {len(t)} with no shift", damping)
        inverted(shift + t, 0.0, what, scale=scale)
        return LowRankOperator(Q, -t / (shift * (shift + t)), 1.0 / shift)

    def _inverse_by_condensing(self, shift: np.ndarray, what: str) -> StructuredOperator:
        # In double precision, for there are several steps to it.
        U, diagonal = self._U.astype(np.float64), shift.astype(np.float64)
        condensed = condense(U, self._s.astype(np.float64), diagonal)
        w, V = scipy.linalg.eigh(condensed.inside)
        inverse = (V * inverted(w, 0.0, what, scale=condensed.scale)) @ V.T
        # Outside the span of P the matrix is its own inverse.
        t, V = scipy.linalg.eigh(inverse - np.diag(condensed.signs))
        U = (condensed.P @ V) / condensed.root[:, None]
        parts = (U, t, condensed.own / condensed.root**2)
        found = LowRankOperator(*(part.astype(self.dtype) for part in parts))
        # Large entries of 1 / shift may cancel. Where they do, products are refined.
        damped = LowRankOperator(self._U, self._s, shift)
        v = np.random.default_rng(0).standard_normal(self.shape[0]).astype(self.dtype)
        lost = float(np.abs(damped._product(found._product(v)) - v).max())
        if lost <= float(np.finfo(self.dtype).eps) ** 0.7:
            return found
        return InverseOperator(damped, found._block_product, refinements=5)

    def slogdet(self, damping: float = 0.0) -> SignedLogdet:
        """Sign and logarithm of the determinant of ``A + damping I``."""
        shift, scale = self._shifted(damping)
        if self._is_scalar:
            t, _ = self._eigen
            inner = signed_logdet(shift + t, scale=scale)
            outer = exact_logdet(np.full(self.shape[0] - len(t), shift))
        else:
            condensed = condense(self._U, self._s, shift)
            w = np.linalg.eigvalsh(condensed.inside)
            inner = signed_logdet(w, scale=condensed.scale)
            rest = exact_logdet(np.repeat([-1.0, 1.0], condensed.outside))
            size = 2.0 * float(np.sum(np.log(condensed.root)))
            outer = SignedLogdet(rest.sign, size)
        return SignedLogdet(inner.sign * outer.sign, inner.logabsdet + outer.logabsdet)

    def inertia(self) -> Inertia:
        """The number of negative, zero and positive eigenvalues, up to rounding."""
        shift, scale = self._shifted(0.0)
        if self._is_scalar:
            t, _ = self._eigen
            inner, count = inertia_of(shift + t, scale=scale), self.shape[0] - len(t)
            outside = [count if np.sign(shift) == sign else 0 for sign in (-1, 0, 1)]
        else:
            # What is condensed is congruent to this matrix, and has its inertia (Sylvester).
            condensed = condense(self._U, self._s, shift)
            inner = inertia_of(np.linalg.eigvalsh(condensed.inside), scale=condensed.scale)
            negative, positive = condensed.outside
            outside = [negative, 0, positive]
        return Inertia(*(a + b for a, b in zip(inner, outside, strict=True)))

    def sqrt(self) -> StructuredOperator:
        """The positive semidefinite root, for a scalar shift.

        Raises
        ------
        numpy.linalg.LinAlgError
            When an eigenvalue is negative.
        TypeError
            When the shift is a diagonal: the root is then no matrix of this form.
        """
        if not self._is_scalar:
            return super().sqrt()
        t, Q = self._eigen
        what = "the matrix of low rank and shift"
        if len(t) == self.shape[0]:
            return LowRankOperator(Q, roots(self._shift + t, what))
        root = roots(np.append(self._shift + t, self._shift), what)
        return LowRankOperator(Q, root[:-1] - root[-1], root[-1])

    def trace(self) -> float:
        """The sum of the diagonal."""
        shift = self.shape[0] * self._shift if self._is_scalar else self._shift.sum()
        return float(np.einsum("ir,r,ir->", self._U, self._s, self._U) + shift)

    def diagonal(self, *, progress: bool = False) -> np.ndarray:
        """The diagonal, shape (n,)."""
        diagonal: np.ndarray = np.einsum("ir,r,ir->i", self._U, self._s, self._U) + self._shift
        return diagonal

    def to_dense(self, *, symmetrize: bool = False, progress: bool = False) -> np.ndarray:
        """The whole matrix, shape (n, n)."""
        dense: np.ndarray = (self._U * self._s) @ self._U.T
        dense = (dense + dense.T) / 2 if symmetrize else dense
        dense[np.diag_indices_from(dense)] += self._shift
        return dense

    def _scaled(self, factor: float) -> LowRankOperator:
        error = None if self.error_estimate is None else abs(factor) * self.error_estimate
        factor = self.dtype.type(factor)
        return LowRankOperator(
            self._U, factor * self._s, factor * self._shift, error_estimate=error
        )

    def _plus(self, other: LinearOperator) -> LowRankOperator | None:
        if isinstance(other, LowRankOperator):
            U = np.concatenate([self._U, other._U], axis=1)
            s = np.concatenate([self._s, other._s])
            return LowRankOperator(U, s, self._shift + other._shift)
        d = diagonal_of(other)
        if d is None:
            return None
        return LowRankOperator(
            self._U, self._s, self._shift + d, error_estimate=self.error_estimate
        )

    def __reduce__(self) -> Any:
        made_of = (self._U, self._s, self._shift)
        return partial(type(self), error_estimate=self.error_estimate), made_of

    def _facts(self) -> tuple[str, ...]:
        shift = f"shift {self._shift:.3g}" if self._is_scalar else "diagonal shift"
        return (f"rank {self.rank}", shift)
