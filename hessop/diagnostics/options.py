"""The ways to solve with a matrix, or to its spectrum, each with what it would take."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from hessop.diagnostics.forecasts import (
    eigenpair_products,
    krylov_space,
    solver_products,
)
from hessop.diagnostics.measuring import dense_seconds, seconds_of
from hessop.diagnostics.surroundings import Surroundings
from hessop.operators.fill_in import estimated_fill
from hessop.operators.structured import StructuredOperator
from hessop.solvers.nystrom import nystrom_preconditioner

__all__ = [
    "Option",
    "cg_option",
    "dense_options",
    "jacobi_option",
    "lanczos_option",
    "nystrom_option",
    "sparse_option",
    "structure_option",
]

# Eigenpairs that are asked for, and to which residual.
_PAIRS, _PAIR_RTOL = 10, 1e-6
# An index and a number.
_ENTRY = 12
# Operations that SuperLU makes in a second: about, as processors differ.
_FACTOR_RATE = 1e9
# What it takes beside that, for each nonzero of the matrix and of its factors.
_ENTRY_SECONDS = 1e-7
_MOST_FILL = 10**9
# Vectors that are kept for eigenpairs, and the operations with them in a second.
_MOST_VECTORS, _VECTOR_RATE = 200, 4e9
# Bytes that the vectors of Lanczos' process, or of a sketch, may take here.
_MOST_BYTES = 10**9
_MOST_RANK = 256


@dataclass(frozen=True)
class Option:
    """A way, and what it would take.

    Attributes
    ----------
    name : str
    purpose : str
        ``"solve"`` or ``"spectrum"``.
    products : float
        Columns to be multiplied, those included that make a preconditioner.
    seconds : float
    memory : float
        Bytes, beside the operator's own.
    remark : str
    is_exact_for_free : bool
        Whether there is no reason to look further.
    """

    name: str
    purpose: str
    products: float = math.nan
    seconds: float = math.nan
    memory: float = math.nan
    remark: str = ""
    is_exact_for_free: bool = False

    @property
    def is_known(self) -> bool:
        """Whether anything was predicted."""
        return self.is_exact_for_free or math.isfinite(self.seconds)


# --- direct ways ----------------------------------------------------------------------------------


def structure_option(here: Surroundings) -> list[Option]:
    """The inverse of an operator that knows its structure."""
    if not isinstance(here.operator, StructuredOperator):
        return []
    remark = f"a {type(here.operator).__name__} has an exact inverse: solve(A, b) takes it."
    return [Option("structure", "solve", 0.0, remark=remark, memory=0.0, is_exact_for_free=True)]


def dense_options(here: Surroundings) -> list[Option]:
    """All columns, and then LAPACK: a solve, and all eigenpairs."""
    n, matrix = here.n, here.itemsize * here.n**2
    formed = n * here.timings.column
    solve, eigenpairs = dense_seconds(n)
    return [
        # The factors take a second matrix.
        Option("dense", "solve", n, formed + solve, 2 * matrix),
        # The eigenvectors, and twice as much for LAPACK (syevd).
        Option("dense + eigh", "spectrum", n, formed + eigenpairs, 4 * matrix, "all eigenpairs"),
    ]


def sparse_option(here: Surroundings) -> Option:
    """The sparse matrix, and its factors."""
    matrix = here.sparse
    if isinstance(matrix, str):
        return Option(
            "sparse + factors", "solve", remark=f"no: {shorten(matrix, 42, placeholder=' ...')}"
        )
    fill = _fill(matrix)
    # Each column of L with its row of U: about the square of their mean length.
    operations = 2.0 * here.n * (fill / here.n / 2.0) ** 2
    seconds = here.forming + operations / _FACTOR_RATE + _ENTRY_SECONDS * (matrix.nnz + fill)
    remark = f"{matrix.nnz:,} nonzeros, about {fill:,} in the factors"
    memory = _ENTRY * (matrix.nnz + fill)
    return Option("sparse + factors", "solve", 0.0, seconds, memory, remark)


def _fill(matrix: csr_array) -> int:
    """Nonzeros of the factors: with a limit that grows, as below it there may be a bound only."""
    limit, fill = 2 * matrix.nnz + matrix.shape[0], 0
    while limit < _MOST_FILL:
        fill = estimated_fill(matrix, limit)
        if fill <= limit:
            return fill
        limit *= 4
    return fill or int(matrix.nnz)


# --- iterations -----------------------------------------------------------------------------------


def cg_option(here: Surroundings) -> Option:
    """`cg` without a preconditioner."""
    products = solver_products(here.quadrature, here.rtol, here.rng)
    remark = f"from {here.quadrature.values.size} products"
    if not here.quadrature.is_positive:
        remark = f"minres, A is not positive; {remark}"
    return _iteration(here, "cg", products, 0.0, here.timings.product, 6 * here.vector, remark)


def jacobi_option(here: Surroundings) -> Option:
    """`cg` with the inverse of the diagonal."""
    d, name = here.diagonal, "cg + Jacobi"
    if d is None:
        return Option(name, "solve", remark=f"not tried: the diagonal takes {here.n:,} products")
    made = float(here.diagonal_products)
    root = np.sqrt(np.maximum(np.abs(d.astype(float)), 1e-300 + np.abs(d).max() * 1e-14))
    found = here.preconditioned(lambda v: v / root)
    if not found.is_positive:
        return Option(name, "solve", remark="no: A is not positive definite")
    products = solver_products(found, here.rtol, here.rng)
    memory = 8 * here.vector
    return _iteration(here, name, products, made, here.timings.product, memory)


def nystrom_option(here: Surroundings) -> Option:
    """`cg` with a randomized Nyström preconditioner."""
    name, A = "cg + Nystrom", here.operator
    affordable = int(here.trial / max(here.timings.column, 1e-9))
    most = min(_MOST_RANK, here.n, affordable, _MOST_BYTES // (3 * here.vector))
    if most < 1:
        return Option(name, "solve", remark="not tried: products take too long")
    before, began = A.n_matvec, time.perf_counter()
    try:
        M = nystrom_preconditioner(A, max_rank=most, rng=here.rng)
    except np.linalg.LinAlgError:
        return Option(name, "solve", remark="no: A is not positive semidefinite")
    made, built = float(A.n_matvec - before), time.perf_counter() - began
    root: Any = M.sqrt()
    found = here.preconditioned(root.matvec)
    if not found.is_positive:
        return Option(name, "solve", remark="no: A is not positive definite")
    products = solver_products(found, here.rtol, here.rng)
    # The sketch and its products, and an iteration that multiplies with the factors, too.
    v = np.ones(here.n, dtype=A.dtype)
    each = here.timings.product + seconds_of(lambda: M.matvec(v), 0.05)
    # The sketch, its products, and the eigenvectors.
    memory = (3 * M.rank + 6) * here.vector
    return _iteration(here, name, products, made, each, memory, f"rank {M.rank}", built)


def _iteration(
    here: Surroundings,
    name: str,
    products: float,
    made: float,
    each: float,
    memory: float,
    remark: str = "",
    built: float | None = None,
) -> Option:
    if not math.isfinite(products):
        return Option(name, "solve", remark="no: it is not expected to converge")
    if made:
        more = f"{made:,.0f} of them to make M"
        remark = f"{remark}; {more}" if remark else more
    built = made * here.timings.column if built is None else built
    seconds = products * (each + here.timings.iteration) + built
    return Option(name, "solve", products + made, seconds, memory, remark)


def lanczos_option(here: Surroundings) -> Option:
    """Lanczos' process for some of the largest eigenpairs."""
    k = min(_PAIRS, here.n)
    space = krylov_space(here.operator, _room(here), here.rng)
    products = eigenpair_products(space, here.n, k, _PAIR_RTOL)
    # Each vector is made orthogonal to those before it, twice, that there is room for.
    room = min(products, _MOST_VECTORS)
    seconds = products * (here.timings.product + 8.0 * here.n * room / _VECTOR_RATE)
    remark = f"{k} largest eigenpairs; from {space.steps} products"
    return Option("Lanczos", "spectrum", products, seconds, (room + k) * here.vector, remark)


def _room(here: Surroundings) -> int:
    """Steps with all vectors kept."""
    return int(min(here.steps, 100, max(2, _MOST_BYTES // here.vector)))
