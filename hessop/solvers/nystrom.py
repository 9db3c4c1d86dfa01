"""The randomized Nyström preconditioner, of a rank that is given or found on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from hessop.operators.approximations import nystrom, orthonormal
from hessop.operators.base import BaseOperator
from hessop.operators.checks import check_count
from hessop.operators.foreign import as_symmetric
from hessop.operators.low_rank import LowRankOperator
from hessop.operators.structured import check_damping

__all__ = ["NystromPreconditioner", "nystrom_preconditioner"]

# Products of the first sketch, and the most that are spent where no rank is asked for.
_FIRST, _MOST = 10, 256
# The relative residual to which cg is thought to solve.
_RTOL = 1e-8
_WAY_OUT = (
    "Use a positive definite jacobi_preconditioner or block_jacobi_preconditioner, and minres in "
    "place of cg; or add a damping to A itself."
)


class NystromPreconditioner(LowRankOperator):
    """An approximate inverse of low rank and shift, and what was measured when it was made.

    Made by `nystrom_preconditioner`.

    Parameters
    ----------
    U, s, shift
        As for `LowRankOperator`.
    damping : float
    condition_estimate : float

    Attributes
    ----------
    rank : int
        The number of eigenvectors that are kept.
    damping : float
        As given; where none was, a guess of the smallest eigenvalue of A; zero without one.
    condition_estimate : float
        Of the preconditioned matrix: a bound, where a damping was given. Infinite, where nothing is
        known of the smallest eigenvalue.
    """

    symbol = "M"

    def __init__(
        self,
        U: Any,
        s: Any,
        shift: Any = 0.0,
        *,
        damping: float = 0.0,
        condition_estimate: float = math.inf,
    ) -> None:
        super().__init__(U, s, shift)
        self.damping = damping
        self.condition_estimate = condition_estimate

    def __reduce__(self) -> Any:
        known = {"damping": self.damping, "condition_estimate": self.condition_estimate}
        return partial(NystromPreconditioner, **known), (self.U, self.s, self.shift)

    def _facts(self) -> tuple[str, ...]:
        known = (f"damping {self.damping:.3g}", f"condition about {self.condition_estimate:.2g}")
        return (f"rank {self.rank}", *known)


def nystrom_preconditioner(
    A: Any,
    rank: int | None = None,
    *,
    damping: float | None = None,
    max_rank: int | None = None,
    rng: Any = None,
) -> NystromPreconditioner:
    """An approximate inverse of ``A + damping I`` that is right for the largest eigenvalues.

    Helps where many orders of magnitude lie between a few hundred large eigenvalues and the rest,
    as in regressions with a small penalty and in the curvature of networks. Where `cg` takes no
    more than a few dozen products without it, or where eigenvalues fall slowly, it does not pay.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (n, n)
        Symmetric positive semidefinite.
    rank : int, optional
        From 1 to n: as many products are spent, and eigenvalues kept. By default 10 products are
        spent, then as many again, and so on: until all eigenvalues are found, `max_rank` is
        reached, or as many again would spare `cg` less than half their number.
    damping : float, optional
        That of the system which is to be solved, ``(A + damping I) x = b``, not negative. By
        default there is none but what is in A, such as a penalty: then it is chosen from the
        measured spectrum: see the notes.
    max_rank : int, optional
        The most products that are spent; by default 256, or n.
    rng : None, int or numpy.random.Generator

    Returns
    -------
    NystromPreconditioner
        A `LowRankOperator`, positive definite, with `rank`, `damping` and `condition_estimate`.

    Raises
    ------
    numpy.linalg.LinAlgError
        When A is found to be indefinite.
    ValueError
        When `rank`, `max_rank` or `damping` is out of range.

    Notes
    -----
    With l eigenvalues λ of the sketch, their vectors U and the damping μ it is

        U (Λ + μ)⁻¹ Uᵀ + (I - U Uᵀ) / (λ_l + μ),

    equation 5.3 of Z. Frangella, J. A. Tropp and M. Udell, "Randomized Nyström preconditioning",
    SIAM J. Matrix Anal. Appl. 44, 2023, but for a factor that makes it an approximate inverse. For
    a damping within A, λ stands for λ + μ.

    With the norm e of the rest that the sketch leaves, the condition is at most
    ``(λ_l + μ + e) / μ`` (proposition 5.3 there). e is estimated without further products: each
    column of the sketch is a random probe of what the others leave (E. N. Epperly and J. A. Tropp,
    "Efficient error and variance estimation for randomized matrix computations", SIAM J. Sci.
    Comput. 46, 2024). With the condition κ, `cg` takes about ``√κ log(2 / ε) / 2`` products to
    ε = 1e-8.

    To judge the next doubling, the eigenvalues are followed further as the last one made them fall:
    as an exponential, or, once they level off, as a power law. They do when a doubling takes less
    than half off the last of them, and less than the doubling before. So the smallest eigenvalue of
    A, which adds to μ, is guessed, too. Without a damping this guess is reported as the damping,
    and the condition is estimated with it. Eigenvalues that fall late, after a plateau, deceive it.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse.linalg import cg
    >>> from hessop import nystrom_preconditioner
    >>> A = np.diag(np.geomspace(1e6, 1.0, 400))
    >>> M = nystrom_preconditioner(A, 100, damping=1.0, rng=0)
    >>> M.rank, M.condition_estimate < 1e6
    (100, True)
    >>> x, info = cg(A + np.eye(400), np.ones(400), M=M, rtol=1e-8)
    >>> info
    0
    """
    operator = as_symmetric(A)
    n = operator.shape[0]
    mu = 0.0 if damping is None else check_damping(damping)
    if mu < 0.0:
        raise ValueError(
            f"damping is {mu:.3g}, expected none or one that is not negative. Use minres with "
            "block_jacobi_preconditioner for a matrix that is shifted the other way."
        )
    if rank is not None:
        check_count(rank, "rank", most=n)
    if max_rank is not None:
        check_count(max_rank, "max_rank")
    if rank is not None and max_rank is not None:
        raise ValueError(
            "both rank and max_rank are given: rank is the one to be taken, max_rank a limit "
            "where none is given. Leave out one of them."
        )
    if rank is None:
        sizes = _doublings(_FIRST, int(min(max_rank or _MOST, n)))
    else:
        # Also in three stages: how its eigenvalues fall is judged by fewer columns.
        sizes = sorted({-(-int(rank) // parts) for parts in (4, 2, 1)})
    for sketch in _stages(operator, sizes, mu, np.random.default_rng(rng)):
        if rank is None and not sketch.doubling_pays:
            break
    damped = sketch.s.astype(np.float64) + mu
    inverse = 1.0 / damped if damped[-1] else np.ones(1)  # A is zero, and there is no damping
    weights, shift = inverse - inverse[-1], inverse[-1]
    return NystromPreconditioner(
        sketch.U,
        weights.astype(operator.dtype),
        shift.astype(operator.dtype),
        damping=sketch.tail if damping is None else mu,
        condition_estimate=sketch.condition,
    )


def _doublings(first: int, last: int) -> list[int]:
    sizes = [min(first, last)]
    while sizes[-1] < last:
        sizes.append(min(2 * sizes[-1], last))
    return sizes


def _stages(
    A: BaseOperator, sizes: list[int], mu: float, rng: np.random.Generator
) -> Iterator[_Sketch]:
    """Larger and larger sketches, each going on with the products of the one before."""
    Q = np.empty((A.shape[0], 0), dtype=A.dtype)
    Y, sketch = Q, None
    for size in sizes:
        more = rng.standard_normal((A.shape[0], size - Q.shape[1])).astype(A.dtype)
        more = orthonormal(more - Q @ (Q.T @ more))
        Q, Y = np.hstack([Q, more]), np.hstack([Y, A.matmat(more)])
        sketch = _judge(Q, *nystrom(Q, Y, way_out=_WAY_OUT), mu, sketch)
        yield sketch


@dataclass(frozen=True, eq=False)
class _Sketch:
    """What some products tell of A, and of ``A + mu I``."""

    s: np.ndarray  # eigenvalues of A, but those that are rounding next to the largest, damped
    U: np.ndarray  # their vectors
    mu: float
    products: int
    rest: float = 0.0  # the norm of what the sketch leaves
    level: float = math.nan  # where the last of the eigenvalues are
    drop: float = math.nan  # of the level, since half the products
    tail: float = 0.0  # a guess of the smallest eigenvalue of A
    fall: float = 0.0  # a guess of what twice the products would leave of the last eigenvalue
    is_complete: bool = False

    @property
    def last(self) -> float:
        """The smallest eigenvalue of A that was found."""
        return float(self.s[-1])

    @property
    def condition(self) -> float:
        """Of the preconditioned matrix, at most; about, where there is no damping beside A."""
        return self._condition(self.mu or self.tail)

    def _condition(self, least: float) -> float:
        n, found = self.U.shape
        if found == n:
            return 1.0
        return (self.last + self.mu + self.rest) / least if least else math.inf

    @property
    def doubling_pays(self) -> bool:
        """Whether cg would be spared half the products, at least, that it takes."""
        if self.is_complete:
            return False
        left = 0.5 * math.sqrt(self._condition(self.mu + self.tail)) * math.log(2.0 / _RTOL)
        fall = (self.fall * self.last + self.mu) / (self.last + self.mu)
        return left * (1.0 - math.sqrt(fall)) > 0.5 * self.products


def _judge(
    Q: np.ndarray, s: np.ndarray, U: np.ndarray, mu: float, earlier: _Sketch | None
) -> _Sketch:
    """Judge a sketch by its eigenpairs, and by what was found with fewer of its columns."""
    n, products = Q.shape
    rounding = 10.0 * math.sqrt(n) * float(np.finfo(s.dtype).eps)
    found = max(1, int(np.count_nonzero(s + mu > rounding * (s[0] + mu))))
    sketch = _Sketch(s[:found], U[:, :found], mu, products)
    last = sketch.last
    if s[-1] <= rounding * s[0]:
        return replace(sketch, is_complete=True)
    if products == n:
        return replace(sketch, tail=last, is_complete=True)
    # The last eigenvalue alone is noise.
    level = float(np.exp(np.mean(np.log(s[-max(1, products // 4) :].astype(np.float64)))))
    sketch = replace(sketch, rest=_norm_of_rest(Q, s, U), level=level)
    if earlier is None:
        return sketch
    ratio = min(1.0, level / earlier.level)
    power = -math.log(ratio) / math.log(products / earlier.products)
    drop = earlier.level - level
    # The drops of an exponential grow, by 1.2 at least, as long as they do not halve it.
    if power < 1.0 and drop <= 0.9 * earlier.drop + 1e-3 * level:
        tail, fall = last * (products / n) ** power, ratio
    else:
        per_column = ratio ** (1.0 / (products - earlier.products))
        tail, fall = last * per_column ** (n - products), per_column**products
    return replace(sketch, drop=drop, tail=tail, fall=fall)


def _norm_of_rest(Q: np.ndarray, s: np.ndarray, U: np.ndarray) -> float:
    """The norm of ``A - U diag(s) Uᵀ``, as each column of Q sees it when it is left out.

    Without column q_i the approximation is smaller by ``r_i r_iᵀ / d_i``, where ``r_i = d_i U G
    e_i`` is what it then leaves of ``A q_i``, G is the inverse of ``Qᵀ U``, and ``1 / d_i`` the
    i-th diagonal entry of the inverse of ``Qᵀ A Q``. And q_i is a random unit vector in the
    n - l + 1 dimensions that the others leave.
    """
    n, products = Q.shape
    G = np.linalg.inv((Q.T @ U).astype(np.float64))
    d = 1.0 / np.sum(G**2 / s.astype(np.float64)[:, None], axis=0)
    return math.sqrt((n - products + 1) / products) * float(np.linalg.norm(G * d, 2))
