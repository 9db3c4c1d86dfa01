"""The inverse of a recorded operator, by a factorisation of its linear program."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import structural_rank

from hessop._errors import NoProgramError
from hessop.operators.base import BaseOperator
from hessop.operators.fill_in import estimated_fill
from hessop.operators.inverses import refined
from hessop.operators.lu_factors import ScaledFactors, one_norm
from hessop.operators.recorded import RecordedOperator
from hessop.operators.structured import (
    SignedLogdet,
    StructuredOperator,
    check_damping,
)
from hessop.params import Layout
from hessop.tape.elimination import LinearSystem, linear_system

__all__ = ["FactorizedInverse", "factorized_inverse"]

_BY_PRODUCTS = "Solve with products alone: solve(A, b), or inverse_operator(A)."
# Nonzeros of the factors that are allowed without being told: about 2.4 GB.
_MOST_NONZEROS = 200_000_000
# Numbers of a right-hand side in all unknowns that is solved for at once.
_BLOCK_ENTRIES = 2**22
_REFINEMENTS = 3


class FactorizedInverse(BaseOperator):
    """``(A + damping I)⁻¹`` by sparse factors of A's program. Made by `factorized_inverse`.

    Attributes
    ----------
    unknowns : int
        N, the size of the sparse system: all values of the program.
    nnz : int
        Entries of its factors.
    fill : float
        The same, in entries of the system itself.
    condition : float
        An estimate of the condition number of ``A + damping I`` in the 1-norm.
    sign : float
        Of the determinant, 1.0 or -1.0: that of A and of its inverse.
    original : RecordedOperator
        A.
    damping : float
    """

    symbol = "A⁻¹"

    def __init__(
        self,
        original: RecordedOperator,
        damping: float,
        system: LinearSystem,
        factors: ScaledFactors,
    ) -> None:
        super().__init__(original.dtype, original.shape, symmetric=True)
        self.original = original
        self.damping = damping
        self.layout: Layout | None = original.layout
        self._system = system
        self._factors = factors
        n = self.shape[0]
        inverse = one_norm(self._backward, n)
        self.condition = one_norm(self._forward, n) * inverse if np.isfinite(inverse) else np.inf

    @property
    def unknowns(self) -> int:
        """The size of the sparse system."""
        return int(self._system.matrix.shape[0])

    @property
    def nnz(self) -> int:
        """Entries of its factors."""
        return self._factors.nnz

    @property
    def fill(self) -> float:
        """How many times the entries of the system these are."""
        return self.nnz / int(self._system.matrix.nnz)

    @property
    def sign(self) -> float:
        """The sign of the determinant, of A and of its inverse."""
        return self.slogdet().sign

    def slogdet(self) -> SignedLogdet:
        """Sign and logarithm of the determinant of this inverse; see `logdet`."""
        sign, logabsdet = self._factors.slogdet()
        return SignedLogdet(sign * self._system.sign, -logabsdet)

    def logdet(self) -> float:
        """``log |det|`` of this inverse; that of ``A + damping I`` is the negative of it.

        Examples
        --------
        >>> import autograd.numpy as np
        >>> from hessop import factorized_inverse, hessian_operator
        >>> H = hessian_operator(lambda x: np.sum(x**2) - x[0] * x[1], np.ones(2))  # [[2, -1], ...
        >>> F = factorized_inverse(H)
        >>> round(float(np.exp(-F.logdet())), 12), F.sign
        (3.0, 1.0)
        """
        return self.slogdet().logabsdet

    def matvec_tree(self, v: Any) -> Any:
        """``A⁻¹ v`` for a tree v nested like the parameters of A, as such a tree."""
        if self.layout is None:
            raise TypeError("A does not know a tree of parameters. Use F @ v with a flat vector.")
        return self.layout.unflatten(self @ self.layout.flatten(v, "v"))

    def _product(self, v: np.ndarray) -> np.ndarray:
        return self._block_product(v[:, None])[:, 0]

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        together = max(1, _BLOCK_ENTRIES // self.unknowns)
        parts = [V[:, start : start + together] for start in range(0, V.shape[1], together)]
        found = [refined(self._backward, self._forward, part, _REFINEMENTS)[0] for part in parts]
        inverse = np.concatenate(found, axis=1) if found else np.empty_like(V)
        return inverse.astype(self.dtype, copy=False)

    def _backward(self, B: np.ndarray) -> np.ndarray:
        return self._system.argument(self._factors.solve(self._system.right_side(B)))

    def _forward(self, V: np.ndarray) -> np.ndarray:
        product: np.ndarray = np.asarray(self.original.matmat(V))
        return product + self.damping * V if self.damping else product

    def is_accurate(self) -> bool:
        """Whether what comes out for random vectors solves the system to half of the digits."""
        B = np.random.default_rng(0).standard_normal((self.shape[0], 2))
        with np.errstate(all="ignore"):
            _, residuals = refined(self._backward, self._forward, B, _REFINEMENTS)
        return bool((residuals <= float(np.finfo(self.dtype).eps) ** 0.5).all())

    def _meaning_of(self, n: int) -> str:
        return self.original._meaning_of(n)

    def _facts(self) -> tuple[str, ...]:
        return (
            f"of {type(self.original).__name__} {self.original._name}",
            *([f"damping {self.damping:.3g}"] if self.damping else []),
            f"{self.unknowns:,} unknowns",
            f"{self.nnz:,} nonzeros in the factors",
            f"condition {self.condition:.1e}",
        )

    def __reduce__(self) -> Any:
        return _remade, (self.original, self.damping)


def _remade(original: RecordedOperator, damping: float) -> FactorizedInverse:
    # What could be made once can be made again, however many nonzeros were allowed.
    return factorized_inverse(original, damping=damping, max_nnz=np.iinfo(np.int64).max)


def factorized_inverse(
    A: RecordedOperator, *, damping: float = 0.0, max_nnz: int = _MOST_NONZEROS
) -> FactorizedInverse:
    """``(A + damping I)⁻¹`` by a direct method, for any recorded operator: A is never formed.

    The program of A computes one value after the other; its equations with all the values as
    unknowns, and the demand that the last be b, are one sparse linear system, whose factors by
    SuperLU give ``A⁻¹ b`` for any b. A may be dense: what counts is that its program is sparse. For
    deep narrow networks the cost grows linearly with depth. Where A is full and its program holds
    large full constants, as in a regression on many features, `numpy.linalg` on ``A.to_dense()`` is
    faster.

    Parameters
    ----------
    A : RecordedOperator, shape (n, n)
        Symmetric: made by `hessian_operator`, `gauss_newton_operator`, `fisher_operator`, ...
    damping : float
    max_nnz : int
        The most nonzeros that the system, and by estimate its factors, may have; each takes twelve
        bytes.

    Returns
    -------
    FactorizedInverse
        ``F @ b`` for vectors and blocks, each refined with products with A, ``F.logdet()`` and
        ``F.sign``.

    Raises
    ------
    numpy.linalg.LinAlgError
        When ``A + damping I`` is singular up to rounding.
    ValueError
        When the system, or the estimate of its factors, has more than `max_nnz` nonzeros: before
        they are made, and with their number. When a primitive that is not known to be sparse reads
        too many numbers, with its name.
    TypeError
        When A is not recorded, or not symmetric.
    NoProgramError
        When it has no program.

    Notes
    -----
    It resolves the loop of dependencies at which H. Lee, "J. R. 'Bob' Dobbs memorial inverse
    Hessian-vector multiplication method", 2019, section 5, stops: nobody has to order the
    equations. For layered networks the same system is derived by hand in "The Hessian of
    tall-skinny networks is easy to invert", arXiv:2601.06096.

    The determinant follows from that of the system, whose Schur complement is ``A + damping I``.

    Examples
    --------
    A dense Hessian of a million entries, by factors with a few thousand:

    >>> import autograd.numpy as np
    >>> from hessop import factorized_inverse, hessian_operator
    >>> def fun(x):
    ...     return np.log(np.sum(np.exp(x))) + 0.5 * np.sum(x**2)
    >>> H = hessian_operator(fun, np.linspace(-1.0, 1.0, 1000))
    >>> F = factorized_inverse(H)
    >>> x = F @ np.ones(1000)
    >>> bool(np.allclose(H @ x, 1.0, rtol=1e-12)), F.nnz < 30_000
    (True, True)
    """
    if isinstance(A, StructuredOperator):
        raise TypeError(f"A is a {type(A).__name__}, which has an exact inverse: A.inverse().")
    if not isinstance(A, RecordedOperator):
        raise TypeError(
            f"A is a {type(A).__name__}, expected an operator made of a function, as by "
            "hessian_operator. For a sum with a multiple of the identity use damping=; for others, "
            "solve(A, b) or inverse_operator(A)."
        )
    if not A.symmetric:
        raise TypeError(f"A is a {type(A).__name__} of shape {A.shape}, expected a symmetric one.")
    damping = check_damping(damping)
    try:
        program = A.program
    except NoProgramError as error:
        raise NoProgramError(f"{error} {_BY_PRODUCTS}") from None
    system = linear_system(program, damping, max_nnz)
    _refuse_fill(system, max_nnz)
    # SuperLU may crash on a pattern that is singular whatever the entries are.
    regular = structural_rank(system.matrix) == system.matrix.shape[0]
    factors = ScaledFactors(system.matrix) if regular else None
    if factors is None or factors.is_singular():
        raise _singular(A, damping, np.inf)
    inverse = FactorizedInverse(A, damping, system, factors)
    # Variables of different units may make a condition number as large as one likes.
    is_regular = inverse.condition * float(np.finfo(A.dtype).eps) < 1.0
    if not is_regular and not inverse.is_accurate():
        raise _singular(A, damping, inverse.condition)
    return inverse


def _refuse_fill(system: LinearSystem, max_nnz: int) -> None:
    """Raise a ValueError where the factors are likely to have too many nonzeros."""
    size = int(system.matrix.shape[0])
    # The rows of the demand lie beside the columns of v, each instruction beside its value.
    order = np.roll(np.arange(size), system.columns)
    estimate = estimated_fill(csr_array(system.matrix.tocsr()[order]), max_nnz)
    if estimate > max_nnz:
        raise ValueError(
            f"factorized_inverse: the factors of the {size:,} equations would have about "
            f"{estimate:,} nonzeros ({12e-9 * estimate:,.1f} GB), more than max_nnz={max_nnz:,}. "
            f"Allow more if they fit in memory. {_BY_PRODUCTS}"
        )


def _singular(A: RecordedOperator, damping: float, condition: float) -> np.linalg.LinAlgError:
    """The error of an inverse that does not exist."""
    known = f"its condition number is {condition:.1e}"
    if condition == np.inf:
        known = "a pivot of its factors is zero, or below their rounding"
    damped = f" with damping={damping:.3g}" if damping else ""
    way_out = "another damping" if damping else "a damping, as factorized_inverse(A, damping=1e-3)"
    return np.linalg.LinAlgError(
        f"factorized_inverse: {A!r}{damped} is singular up to rounding: {known}. Use {way_out}; or "
        "solve(A, b), which ends at a least-squares solution and says so."
    )
