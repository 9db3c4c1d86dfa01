"""The inverse of a matrix as an operator, each product of which is a linear solve."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from scipy.sparse.linalg import LinearOperator

from hessop._lengths import length
from hessop._progress import progress_bar
from hessop.operators.base import BaseOperator
from hessop.operators.foreign import real_operator
from hessop.operators.structured import check_damping
from hessop.solvers.linear import solve_vector
from hessop.solvers.options import (
    check_method,
    exact_inverse,
    read_accuracy,
    read_limit,
    read_preconditioner,
    read_symmetry,
)
from hessop.solvers.recycling import Recycler, WatchedOperator
from hessop.solvers.results import SolveResult, report_failure
from hessop.solvers.right_sides import read_right_side
from hessop.solvers.systems import System

__all__ = ["InverseStatistics", "SolverInverse", "inverse_operator"]

_RANK = 20


@dataclass(frozen=True)
class InverseStatistics:
    """What the products of an inverse have cost, and how good they are.

    Attributes
    ----------
    solves : int
        Products with the inverse, and with its transpose.
    n_matvec : int
        Products with the matrix itself, and with its transpose.
    not_converged : int
        Solves that have not reached the accuracy that was asked for.
    worst_residual : float
        The largest ``||v - A x|| / ||v||`` of all solves, measured.
    """

    solves: int = 0
    n_matvec: int = 0
    not_converged: int = 0
    worst_residual: float = 0.0

    def plus(self, result: SolveResult, size: float) -> InverseStatistics:
        """With one solve more, for a vector of that length."""
        residual = float(result.residual_norm) / size if size else 0.0
        return InverseStatistics(
            self.solves + 1,
            self.n_matvec + result.n_matvec,
            self.not_converged + (not result.converged),
            max(self.worst_residual, residual),
        )


class SolverInverse(BaseOperator):
    """The inverse of a matrix that is known by its products. Made by `inverse_operator`.

    Attributes
    ----------
    original : LinearOperator, shape (n, n)
        The matrix, without its damping.
    damping : float
    method : str
        With ``"auto"``, it becomes ``"minres"`` when A is found not to be positive definite.
    statistics : InverseStatistics
        Of all products so far.
    last : SolveResult or None
        Of the last product: its x is flat.
    n_matvec : int
        Columns multiplied so far: of the inverse, not of the matrix.
    """

    symbol = "A⁻¹"

    def __init__(
        self,
        A: Any,
        *,
        method: str = "auto",
        M: Any = None,
        damping: float = 0.0,
        rtol: float = 1e-8,
        atol: float = 0.0,
        maxiter: int | None = None,
        recycle: bool | int = False,
        strict: bool = False,
        progress: bool = False,
    ) -> None:
        self.original = operator = _square_operator(A)
        check_method(method)
        symmetric, spent = read_symmetry(operator, method)
        dtype = np.float32 if operator.dtype == np.float32 else np.float64
        super().__init__(dtype, operator.shape, symmetric=symmetric)
        self.layout = getattr(operator, "layout", None) if symmetric else None
        self.method = method
        self.damping = check_damping(damping)
        self.statistics = InverseStatistics(n_matvec=spent)
        self.last: SolveResult | None = None
        self._M = read_preconditioner(M, operator, method)
        self._rtol, self._atol = read_accuracy(rtol, atol, operator), atol
        self._limit = read_limit(maxiter, self.shape[0])
        self._strict = bool(strict)
        self._progress = bool(progress)
        self._rank = _rank(recycle, symmetric, method)
        self._exact = exact_inverse(operator, self.damping) if method == "auto" else None
        self._recycler: Recycler | None = None
        if self._rank and self._exact is None:
            self._recycler = Recycler(self._rank, self._M, float(np.finfo(dtype).eps))

    def matvec_tree(self, v: Any) -> Any:
        """``A⁻¹ v`` for a tree v nested like the parameters of A, as such a tree.

        Parameters
        ----------
        v : parameter tree

        Returns
        -------
        parameter tree

        Raises
        ------
        TypeError
            When A does not know a tree of parameters.
        """
        side = read_right_side(self.original, v)
        return side.solution(self @ side.columns)

    def _product(self, v: np.ndarray) -> np.ndarray:
        A, b, M, x0 = self.original, v.astype(np.float64), self._M, np.zeros(v.size)
        if self._recycler is not None:
            A = WatchedOperator(A, self.dtype, partial(_watch, self._recycler, self.damping))
            deflation = self._recycler.deflation()
            if deflation is not None:
                M, x0 = deflation.preconditioner(M), deflation.start(b)
        result = self._solved(A, b, M, x0)
        if result.method == "cg, minres":
            # cg will not do for any other vector either.
            self.method, self._recycler = "minres", None
        return np.asarray(result.x, dtype=self.dtype)

    def _adjoint_product(self, u: np.ndarray) -> np.ndarray:
        if self.symmetric:
            return self._product(u)
        M = None if self._M is None else self._M.T
        try:
            result = self._solved(self.original.T, u.astype(np.float64), M, np.zeros(u.size))
        except NotImplementedError:
            raise TypeError(
                f"A is a {type(self.original).__name__} without an adjoint, which the transpose of "
                "its inverse is solved with. Give its rmatvec."
            ) from None
        return np.asarray(result.x, dtype=self.dtype)

    def _solved(
        self, A: LinearOperator, b: np.ndarray, M: LinearOperator | None, x0: np.ndarray
    ) -> SolveResult:
        size = length(b)
        with progress_bar(self._progress, None, desc="A⁻¹ @ v", unit=" products") as bar:
            system = System(
                A,
                b,
                damping=self.damping,
                symmetric=self.symmetric,
                x0=x0,
                target=max(self._rtol * size, self._atol),
                limit=self._limit,
                bar=bar,
            )
            result = solve_vector(system, self.method, M, inverse=self._exact)
        with self._counting:
            self.last = result
            self.statistics = self.statistics.plus(result, size)
        report_failure(result, strict=self._strict)
        return result

    def __copy__(self) -> Self:
        twin = super().__copy__()
        twin.last, twin.statistics = None, InverseStatistics()
        twin._recycler = None if self._recycler is None else self._recycler.copy()
        return twin

    def __reduce__(self) -> Any:
        options: dict[str, Any] = {
            "method": self.method,
            "M": self._M,
            "damping": self.damping,
            "rtol": self._rtol,
            "atol": self._atol,
            "maxiter": self._limit,
            "recycle": 0 if self._recycler is None else self._rank,
            "strict": self._strict,
            "progress": self._progress,
        }
        return partial(inverse_operator, **options), (self.original,)

    def _meaning_of(self, n: int) -> str:
        return "" if self.layout is None else " (the flat size of x)"

    def _facts(self) -> tuple[str, ...]:
        damping = (f"damping {self.damping:.3g}",) if self.damping else ()
        how = "exact" if self._exact is not None else self.method
        return (f"of {type(self.original).__name__}", *damping, how)


def inverse_operator(
    A: Any,
    *,
    method: str = "auto",
    M: Any = None,
    damping: float = 0.0,
    rtol: float = 1e-8,
    atol: float = 0.0,
    maxiter: int | None = None,
    recycle: bool | int = False,
    strict: bool = False,
    progress: bool = False,
) -> SolverInverse:
    """The inverse of ``A + damping I`` as an operator: each product is a linear solve.

    For `scipy.sparse.linalg.eigsh` as ``OPinv``, for influence functions and natural gradients.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (n, n)
        A structured operator is inverted exactly, once. One that is not hessop's is tested for
        symmetry, with two products, unless the method needs it to be symmetric.
    method, M, damping, rtol, atol, maxiter
        Of each product, as for `solve`. Where ``"auto"`` has found A to be indefinite, later
        products begin with minres.
    recycle : bool or int
        Whether later solves use what earlier ones have learnt of A: the Ritz vectors at both ends
        of its spectrum are deflated, so many at each end, 20 with True. For a positive definite A:
        it is given up where a negative curvature is met. For each of them it takes the memory of
        ten vectors, and at each product with A the time of about 30 inner products.
    strict : bool
        Raise, instead of a warning, when a product does not converge.
    progress : bool
        Show a bar of the products with A, for each solve; needs tqdm.

    Returns
    -------
    SolverInverse
        Shape (n, n), symmetric where A is. For another A its transpose is solved with that of A.

    Warns
    -----
    NotConvergedWarning
        At a product.

    Raises
    ------
    ValueError, TypeError
        When A is not square, or an option has another kind than is expected.
    NotConvergedError
        At a product, with `strict`.

    Notes
    -----
    An iterative solution is linear in v only up to its accuracy. A solver around it cannot be more
    accurate than rtol.

    For recycling see A. Stathopoulos and K. Orginos, "Computing and deflating eigenvalues while
    solving multiple right-hand side linear systems with an application to quantum chromodynamics",
    SIAM J. Sci. Comput. 32, 2010.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import hessian_operator, inverse_operator
    >>> H = hessian_operator(lambda x: np.sum(x**4), np.array([1.0, 2.0, -1.0]))
    >>> H_inv = inverse_operator(H)
    >>> H_inv @ np.array([12.0, 48.0, 24.0])
    array([1., 1., 2.])
    >>> H_inv.statistics.solves, H_inv.last.method
    (1, 'cg')

    Eigenvalues in the middle of a spectrum, those next to -3:

    >>> from scipy.sparse.linalg import eigsh
    >>> H = hessian_operator(lambda x: np.sum(np.arange(-9.5, 10) * x**2) / 2, np.zeros(20))
    >>> H_inv = inverse_operator(H, damping=3.0)
    >>> values, vectors = eigsh(H, k=2, sigma=-3.0, OPinv=H_inv, v0=np.ones(20))
    >>> np.sort(values)
    array([-3.5, -2.5])
    """
    return SolverInverse(
        A,
        method=method,
        M=M,
        damping=damping,
        rtol=rtol,
        atol=atol,
        maxiter=maxiter,
        recycle=recycle,
        strict=strict,
        progress=progress,
    )


def _square_operator(A: Any) -> LinearOperator:
    operator = real_operator(A)
    if operator.shape[0] != operator.shape[1]:
        raise ValueError(
            f"A has shape {operator.shape}, expected a square operator. Use solve(A, b), which "
            "gives the least-squares solution."
        )
    return operator


def _rank(recycle: Any, symmetric: bool, method: str) -> int:
    if isinstance(recycle, bool | np.bool_):
        rank = _RANK if recycle else 0
    elif isinstance(recycle, int | np.integer) and recycle >= 0:
        rank = int(recycle)
    else:
        raise ValueError(
            f"recycle is {recycle!r}, expected True, False or a whole number: how many Ritz "
            "vectors are kept at each end of the spectrum."
        )
    if rank and (not symmetric or method not in ("auto", "cg")):
        what = f"method is {method!r}" if symmetric else "A is not symmetric"
        raise ValueError(
            f"recycle is {recycle!r} and {what}: it is for cg with a symmetric A. Leave it out."
        )
    return rank


def _watch(recycler: Recycler, damping: float, v: np.ndarray, Av: np.ndarray) -> None:
    v, Av = v.astype(np.float64, copy=False), Av.astype(np.float64, copy=False)
    recycler.watch(v, Av + damping * v if damping else Av)
