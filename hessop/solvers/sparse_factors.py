"""Complete and incomplete sparse factors as preconditioners."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csc_array, eye_array
from scipy.sparse.linalg import spilu

from hessop.operators.base import BaseOperator, is_real_number
from hessop.operators.inverses import InverseOperator
from hessop.operators.sparse import SparseOperator
from hessop.operators.structured import check_damping

__all__ = ["IncompleteFactors", "sparse_preconditioner"]

# Random vectors along which a preconditioner has to be positive.
_PROBES = 10


class IncompleteFactors(BaseOperator):
    """The mean of ``(L U)⁻¹`` and its transpose, for incomplete factors L and U of a matrix.

    Made by `sparse_preconditioner`.

    Parameters
    ----------
    matrix : csc_array, shape (n, n)
        float64 or float32, symmetric.
    drop_tol, fill_factor : float
        As for `scipy.sparse.linalg.spilu`.

    Attributes
    ----------
    nnz : int
        Entries of the factors.
    """

    symbol = "M"

    def __init__(self, matrix: csc_array, drop_tol: float, fill_factor: float) -> None:
        super().__init__(matrix.dtype, matrix.shape, symmetric=True)
        self._made_of = (matrix, drop_tol, fill_factor)
        # With pivots on the diagonal U is nearly a scaled Lᵀ, and the mean near to both.
        self._factors = spilu(
            matrix,
            drop_tol=drop_tol,
            fill_factor=fill_factor,
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )

    @property
    def nnz(self) -> int:
        """Entries of the factors."""
        return int(self._factors.nnz)

    def _product(self, v: np.ndarray) -> np.ndarray:
        mean: np.ndarray = (self._factors.solve(v) + self._factors.solve(v, trans="T")) / 2
        return mean

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        return self._product(np.asfortranarray(V))

    def _facts(self) -> tuple[str, ...]:
        return (f"{self.nnz} entries",)

    def __reduce__(self) -> Any:
        return IncompleteFactors, self._made_of


def sparse_preconditioner(
    A: Any, *, damping: float = 0.0, drop_tol: float | None = None, fill_factor: float = 10.0
) -> InverseOperator | IncompleteFactors:
    """The inverse of ``A + damping I`` by sparse factors, complete or incomplete.

    Helps where the Hessian is sparse, as that of energies and of chains. With complete factors,
    which are exact, `cg` ends at once; what they pay for is a system that differs a little from
    theirs, such as that at the next point. Incomplete ones are for factors that would fill up.

    Parameters
    ----------
    A : operator with `to_sparse`, such as a HessianOperator or a sum of them, or a matrix
        Symmetric, and positive definite with the damping.
    damping : float
        That of the system which is to be solved, ``(A + damping I) x = b``.
    drop_tol : float, optional
        From 0 to 1: entries of the factors are dropped that are smaller than this, relative to
        their column. By default none are, and the factors are complete.
    fill_factor : float
        The most entries of incomplete factors, as a multiple of those of the matrix; at least 1.

    Returns
    -------
    InverseOperator or IncompleteFactors
        Positive definite. Incomplete factors ``L U`` are not symmetric: the preconditioner is the
        mean of their inverse and of its transpose.

    Raises
    ------
    TypeError
        When A, or a part of it, is known by products only.
    numpy.linalg.LinAlgError
        When the damped matrix is singular or not positive definite, or its incomplete factors are
        found not to be: complete ones by the signs of pivots, incomplete ones along random vectors.
    ValueError
        When it has more than ten million nonzeros, or `drop_tol` or `fill_factor` is out of range.

    Notes
    -----
    Incomplete factors are those of SuperLU: X. S. Li and M. Shao, "A supernodal approach to
    incomplete LU factorization with partial pivoting", ACM Trans. Math. Softw. 37, 2011.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from scipy.sparse.linalg import cg
    >>> from hessop import hessian_operator, sparse_preconditioner
    >>> def energy(x):
    ...     return np.sum((x[1:] - x[:-1]) ** 2) + np.sum(x**4)
    >>> H = hessian_operator(energy, np.ones(1000))
    >>> M = sparse_preconditioner(H, drop_tol=1e-3)
    >>> x, info = cg(H, np.ones(1000), M=M)
    >>> info
    0
    """
    damping = check_damping(damping)
    for name, value, least, most in (
        ("drop_tol", drop_tol, 0.0, 1.0),
        ("fill_factor", fill_factor, 1.0, np.inf),
    ):
        if value is not None and not (is_real_number(value) and least <= value <= most):
            raise ValueError(f"{name} is {value!r}, expected a number from {least:g} to {most:g}.")
    S = SparseOperator.from_operator(A)
    if damping:
        S = S + damping * eye_array(S.shape[0], dtype=S.dtype)
    if drop_tol is None:
        M = S.inverse()
        if _negative(S):
            raise _refuse("A with its damping is not positive definite", "a larger damping")
        return M
    try:
        factors = IncompleteFactors(csc_array(S.to_sparse()), float(drop_tol), float(fill_factor))
    except RuntimeError as error:  # of SuperLU
        raise _refuse(f"there are no incomplete factors ({error})", _LESS_DROPPED) from None
    if not _is_positive(factors, S):
        raise _refuse("the incomplete factors are not positive definite", _LESS_DROPPED)
    return factors


_LESS_DROPPED = "a smaller drop_tol, a larger fill_factor, a larger damping, or drop_tol=None"


def _refuse(what: str, way_out: str) -> np.linalg.LinAlgError:
    return np.linalg.LinAlgError(
        f"sparse_preconditioner: {what}, which a preconditioner has to be. Use {way_out}; or, for "
        "an indefinite A, solve with SparseOperator.from_operator(A).inverse(damping) itself."
    )


def _negative(S: SparseOperator) -> bool:
    """Whether there is a negative eigenvalue, as far as can be said."""
    try:
        return S.inertia().negative > 0
    except ValueError:  # pivots are not to be trusted
        return not _is_positive(S, S)


def _is_positive(M: BaseOperator, S: SparseOperator) -> bool:
    """Whether M is positive along random vectors, and along their products with S.

    The latter are where a small eigenvalue of an inverse, which is a large one of S, would show.
    """
    V = np.random.default_rng(0).standard_normal((S.shape[0], _PROBES)).astype(S.dtype)
    V = np.hstack([V, S @ V])
    return bool(np.all(np.sum(V * M._block_product(V), axis=0) > 0.0))
