"""The table of operators: how to make each, and the same matrix by another route.

A new operator is one row here, and inherits every law of ``test_structured_operators.py``. Most
rows are there twice, in double and in single precision: `real` casts the numbers that the operator
is made of.

Tags
----
positive-definite  every eigenvalue is positive
indefinite         some eigenvalue is negative
singular           some eigenvalue is zero
ill-conditioned    the condition is between 1e5 and 1e6; below 1e3 without this tag
no-root            a square root would have another structure
no-damping         the inverse and the determinant take no damping
float32            single precision
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import autograd.numpy as anp
import case_functions as functions
import numpy as np
from cases import normal, uniform
from module_level import cubes
from scipy.linalg import block_diag
from scipy.optimize import LbfgsInvHessProduct
from scipy.sparse import coo_array, csr_array, eye_array
from scipy.special import expit, softmax

from hessop import (
    BlockDiagonalOperator,
    DenseOperator,
    DiagonalOperator,
    FisherOperator,
    GaussNewtonOperator,
    HessianOperator,
    JacobianOperator,
    KroneckerOperator,
    LowRankOperator,
    NTKOperator,
    SparseOperator,
    fisher_operator,
    gauss_newton_operator,
    hessian_operator,
    jacobian_operator,
    kfac_operator,
    likelihoods,
    ntk_operator,
)
from hessop.operators.base import CombinedOperator
from hessop.operators.inverses import InverseOperator
from hessop.operators.kronecker import KroneckerEigenOperator
from hessop.operators.structured import StructuredOperator


# Compared by identity: comparing the arrays inside would have no single truth value.
@dataclass(frozen=True, eq=False)
class Structure:
    """An operator of a known class, and its matrix of shape (m, n) by an independent route."""

    name: str
    kind: type
    make: Callable[[], Any]
    dense: Callable[[], np.ndarray]
    tags: frozenset[str] = frozenset()

    @property
    def is_structured(self) -> bool:
        return issubclass(self.kind, StructuredOperator)

    @property
    def dtype(self) -> Any:
        return np.dtype(np.float32 if "float32" in self.tags else np.float64)


# How rows are made


def double(array):
    return np.array(array, dtype=np.float64)


def single(array):
    return np.array(array, dtype=np.float32)


def in_double(name, kind, make, dense, *tags) -> tuple[Structure, ...]:
    """A row for ``make(real)`` in double precision."""
    return (Structure(name, kind, partial(make, double), dense, frozenset(tags)),)


def in_both(name, kind, make, dense, *tags) -> tuple[Structure, ...]:
    """A row in double precision and one in single."""
    tags_of_other = frozenset({*tags, "float32"})
    other = Structure(f"{name}-float32", kind, partial(make, single), dense, tags_of_other)
    return (*in_double(name, kind, make, dense, *tags), other)


def diagonal(name, d, *tags, rows=in_both):
    return rows(
        name,
        DiagonalOperator,
        lambda real: DiagonalOperator(real(d)),
        lambda: np.diag(d),
        *tags,
    )


def dense(name, matrix, *tags, rows=in_both):
    return rows(
        name, DenseOperator, lambda real: DenseOperator(real(matrix)), lambda: matrix, *tags
    )


def low_rank(name, U, s, shift, *tags, rows=in_both):
    return rows(
        name,
        LowRankOperator,
        lambda real: LowRankOperator(real(U), real(s), real(shift)),
        lambda: outer_sum(U, s, shift),
        *tags,
    )


def kronecker(name, factors, *tags, rows=in_both):
    """A Kronecker product, and the same by its eigendecomposition."""

    def make(real):
        return KroneckerOperator([real(factor) for factor in factors])

    def product():
        return reduce(np.kron, factors)

    return (
        *rows(name, KroneckerOperator, make, product, *tags),
        *rows(
            f"{name}-eigen",
            KroneckerEigenOperator,
            lambda real: make(real).eigen(),
            product,
            *tags,
        ),
    )


def sparse(name, matrix, *tags, rows=in_both):
    return rows(
        name,
        SparseOperator,
        lambda real: SparseOperator(csr_array(real(matrix))),
        lambda: matrix,
        *tags,
        "no-root",
    )


def sparse_inverse(name, matrix, *tags, rows=in_both):
    return rows(
        name,
        InverseOperator,
        lambda real: SparseOperator(csr_array(real(matrix))).inverse(),
        lambda: np.linalg.inv(matrix),
        *tags,
        "no-root",
        "no-damping",
    )


def blocks(name, arrays, partition, *tags, rows=in_both):
    return rows(
        name,
        BlockDiagonalOperator,
        lambda real: BlockDiagonalOperator([real(array) for array in arrays], partition),
        lambda: scattered(arrays, partition),
        *tags,
    )


# The numbers that operators are made of: each array has a seed of its own


def symmetric(seed, *eigenvalues):
    """A symmetric matrix with these eigenvalues."""
    Q = orthonormal(normal(seed, len(eigenvalues), len(eigenvalues)))
    A = (Q * np.array(eigenvalues)) @ Q.T
    return (A + A.T) / 2


def orthonormal(columns):
    return np.linalg.qr(columns)[0]


def outer_sum(U, s, shift):
    """``Σ s_i u_i u_iᵀ`` plus a multiple of the identity, or a diagonal."""
    low_rank = sum(weight * np.outer(u, u) for u, weight in zip(np.transpose(U), s, strict=True))
    return low_rank + np.diag(np.broadcast_to(shift, len(U)))


def scattered(arrays, partition=None):
    """Blocks on the rows and columns of a partition; one after the other without one."""
    whole = block_diag(*arrays)
    order = np.arange(len(whole)) if partition is None else np.argsort(np.concatenate(partition))
    return whole[np.ix_(order, order)]


def tridiagonal(d, beside):
    return np.diag(d) + np.diag(beside, 1) + np.diag(beside, -1)


def path_laplacian(n):
    return tridiagonal(np.r_[1.0, np.full(n - 2, 2.0), 1.0], -np.ones(n - 1))


POSITIVE2, POSITIVE3 = symmetric(1, 0.7, 2.0), symmetric(2, 0.5, 1.0, 3.0)
POSITIVE4 = symmetric(3, 0.4, 1.0, 2.0, 5.0)
INDEFINITE2, INDEFINITE3 = symmetric(4, -1.0, 2.0), symmetric(5, -2.0, 0.6, 1.5)
INDEFINITE4 = symmetric(6, -3.0, -0.5, 0.8, 2.0)
SINGULAR3 = np.outer([1.0, -2.0, 0.5], [1.0, -2.0, 0.5])
D6, BOTH_SIGNS6 = uniform(7, 0.5, 3.0, 6), np.array([-2.0, 0.5, 1.5, -0.7, 3.0, 1.0])
U62, U63, U66, U69 = (normal(8 + r, 6, r) for r in (2, 3, 6, 9))
S2, S3, S6, S9 = [2.0, 0.7], [1.5, -0.8, 0.4], uniform(18, 0.5, 2.0, 6), uniform(19, 0.5, 2.0, 9)
BOTH_SIGNS9 = S9 * [1, 1, -1, 1, -1, 1, 1, -1, 1]
TRIDIAGONAL = tridiagonal(uniform(20, 2.0, 3.0, 7), uniform(21, -1.0, 1.0, 6))
GRID = np.kron(path_laplacian(6), np.eye(6)) + np.kron(np.eye(6), path_laplacian(6))
SWAPS = block_diag(*(np.array([[0.0, a], [a, 0.0]]) for a in (1.0, -3.0, 0.5)))
SADDLE = np.block([[POSITIVE4, normal(22, 4, 2)], [normal(22, 4, 2).T, np.zeros((2, 2))]])

SPREAD6 = np.logspace(0.0, -5.9, 6)
SCALES = np.diag(np.logspace(0.0, -2.5, 7))


# --- one structure each ---------------------------------------------------------------------------

SIMPLE = (
    *diagonal("diagonal", D6, "positive-definite"),
    *diagonal("diagonal-of-both-signs", BOTH_SIGNS6, "indefinite"),
    *diagonal("diagonal-with-zeros", [0.0, 2.0, 0.0, 1.0], "singular"),
    *diagonal("diagonal-of-one-entry", [-2.5], "indefinite"),
    *in_double(
        "diagonal-of-integers",
        DiagonalOperator,
        lambda real: DiagonalOperator([3, -1, 2]),
        lambda: np.diag([3.0, -1.0, 2.0]),
        "indefinite",
    ),
    *dense("dense", POSITIVE4, "positive-definite"),
    *dense("dense-indefinite", INDEFINITE4, "indefinite"),
    *dense("dense-singular", SINGULAR3, "singular"),
    *dense("dense-of-zeros", np.zeros((3, 3)), "singular"),
    *dense("dense-of-one-entry", np.array([[0.5]]), "positive-definite"),
)

LOW_RANK = (
    *low_rank("low-rank", U62, S2, 0.0, "singular"),
    *low_rank("low-rank-indefinite", U63, S3, 0.0, "singular", "indefinite"),
    *low_rank("low-rank-of-n-columns", U66, S6, 0.0, "positive-definite"),
    *low_rank("low-rank-of-more-columns", U69, S9, 0.0, "positive-definite"),
    *low_rank("low-rank-of-more-columns-indefinite", U69, BOTH_SIGNS9, 0.0, "indefinite"),
    *low_rank("low-rank-of-more-columns-shifted", U69, BOTH_SIGNS9, 0.4, "indefinite"),
    *low_rank("low-rank-of-dependent-columns", U63[:, [0, 1, 1, 0]], np.ones(4), 0.0, "singular"),
    *low_rank("low-rank-orthonormal", orthonormal(U63), S3, 1.0, "positive-definite"),
    *low_rank("low-rank-of-zeros", U62, [0.0, 0.0], 0.6, "positive-definite"),
    *low_rank("low-rank-of-one-entry", [[2.0]], [1.0], -1.0, "positive-definite"),
    *low_rank("low-rank-shifted", U62, S2, 0.7, "positive-definite"),
    *low_rank("low-rank-shifted-below", U62, S2, -0.7, "indefinite"),
    *low_rank("low-rank-indefinite-shifted", U63, S3, 0.5, "indefinite"),
    *low_rank("low-rank-indefinite-shifted-below", U63, S3, -0.5, "indefinite"),
    *low_rank("low-rank-with-zeros-shifted", U63, [2.0, 0.0, -0.5], 0.6, "indefinite"),
    *low_rank("low-rank-of-dependent-columns-shifted", U63[:, [0, 1, 1]], np.ones(3), 0.6,
              "positive-definite"),
)  # fmt: skip

DIAGONAL_SHIFTS = tuple(
    row
    for name, U, s, shift, *tags in (
        ("constant", U62, S2, np.full(6, 0.7), "positive-definite"),
        ("positive", U62, S2, D6, "positive-definite", "no-root"),
        ("negative", U62, S2, -D6, "indefinite", "no-root"),
        ("of-both-signs", U62, S2, BOTH_SIGNS6, "indefinite", "no-root"),
        ("positive-indefinite", U63, S3, D6, "indefinite", "no-root"),
        ("negative-indefinite", U63, S3, -D6, "indefinite", "no-root"),
        ("of-both-signs-indefinite", U63, S3, BOTH_SIGNS6, "indefinite", "no-root"),
        ("positive-more-columns", U69, BOTH_SIGNS9, D6, "indefinite", "no-root"),
        ("of-both-signs-more-columns", U69, BOTH_SIGNS9, BOTH_SIGNS6, "indefinite", "no-root"),
        ("positive-zero-weights", U63, [2.0, 0.0, -2.0], D6, "indefinite", "no-root"),
        ("of-both-signs-zero-weights", U63, [2.0, 0.0, 0.5], BOTH_SIGNS6, "indefinite", "no-root"),
        ("singular", np.eye(6)[:, :1], [-2.0], [2.0, 1.1, 3.0, 4.0, 5.0, 6.0], "singular",
         "no-root"),
    )
    for row in low_rank(f"low-rank-diagonal-shift-{name}", U, s, shift, *tags)
)  # fmt: skip

# Regular and well-conditioned, though one of the parts is as good as singular.
DELICATE = (
    *low_rank(
        "low-rank-diagonal-shift-tiny-weight",
        orthonormal(U62),
        [1e-14, -200.0],
        D6,
        "indefinite",
        "no-root",
        rows=in_double,
    ),
    *low_rank(
        "low-rank-diagonal-shift-tiny-entry",
        U62,
        S2,
        np.r_[1e-13, D6[1:]],
        "positive-definite",
        "no-root",
        rows=in_double,
    ),
    *low_rank(
        "low-rank-diagonal-shift-zero-entry",
        U62,
        S2,
        np.r_[0.0, D6[1:]],
        "positive-definite",
        "no-root",
        rows=in_double,
    ),
    *low_rank(
        "low-rank-diagonal-shift-all-tiny",
        U69,
        S9,
        1e-10 * D6,
        "positive-definite",
        "no-root",
        rows=in_double,
    ),
    *low_rank(
        "low-rank-diagonal-shift-small-entries",
        np.vstack([orthonormal(normal(23, 4, 4)), np.zeros((2, 4))]),
        [1.0, 1.5, -0.5, 2.0],
        np.r_[1e-7 * D6[:4], D6[4:]],
        "indefinite",
        "no-root",
        rows=in_double,
    ),
    # Entries that should be equal differ by rounding, as those of a computed Hessian may.
    *in_double(
        "dense-symmetric-up-to-rounding",
        DenseOperator,
        lambda real: DenseOperator(POSITIVE4 * (1.0 + 2e-9 * np.tri(4))),
        lambda: POSITIVE4 * (1.0 + 1e-9 * (np.tri(4) + np.tri(4).T)),
        "positive-definite",
    ),
    *in_double(
        "sparse-symmetric-up-to-rounding",
        SparseOperator,
        lambda real: SparseOperator(csr_array(real(TRIDIAGONAL * (1.0 + 2e-9 * np.tri(7))))),
        lambda: TRIDIAGONAL * (1.0 + 1e-9 * (np.tri(7) + np.tri(7).T)),
        "positive-definite",
        "no-root",
    ),
)

KRONECKER = (
    *kronecker("kronecker-of-one", [POSITIVE3], "positive-definite"),
    *kronecker("kronecker", [POSITIVE2, POSITIVE3], "positive-definite"),
    *kronecker("kronecker-of-three", [POSITIVE2, POSITIVE3, POSITIVE2], "positive-definite"),
    *kronecker("kronecker-of-numbers", [[[2.0]], POSITIVE2, [[-0.5]]], "indefinite"),
    *kronecker("kronecker-indefinite", [INDEFINITE3, POSITIVE2], "indefinite"),
    *kronecker("kronecker-all-indefinite", [INDEFINITE2, INDEFINITE3, INDEFINITE2], "indefinite"),
    *kronecker("kronecker-of-two-negative", [-POSITIVE2, -POSITIVE3], "positive-definite"),
    *kronecker("kronecker-of-three-negative", [-POSITIVE2, -POSITIVE3, -POSITIVE2], "indefinite"),
    *kronecker("kronecker-singular", [POSITIVE2, SINGULAR3], "singular"),
    *kronecker("kronecker-singular-indefinite", [SINGULAR3, INDEFINITE2], "singular", "indefinite"),
)

SPARSE = (
    *sparse("sparse", TRIDIAGONAL, "positive-definite"),
    *sparse("sparse-grid", GRID + 0.3 * np.eye(36), "positive-definite"),
    *sparse("sparse-indefinite", TRIDIAGONAL - 2.4 * np.eye(7), "indefinite"),
    # Its diagonal says nothing of the signs of its eigenvalues.
    *sparse(
        "sparse-indefinite-positive-diagonal",
        tridiagonal(np.linspace(0.8, 1.3, 6), np.array([2.0, 0.3, -2.0, 0.5, 2.0])),
        "indefinite",
    ),
    *sparse("sparse-indefinite-grid", GRID - 2.3 * np.eye(36), "indefinite"),
    *sparse("sparse-negative", -TRIDIAGONAL, "indefinite"),
    *sparse("sparse-zero-diagonal", SWAPS, "indefinite"),
    *sparse("sparse-saddle", SADDLE, "indefinite"),
    *sparse("sparse-diagonal", np.diag(BOTH_SIGNS6), "indefinite"),
    *sparse("sparse-of-one-entry", np.array([[2.5]]), "positive-definite"),
    *sparse("sparse-full", INDEFINITE4, "indefinite"),
    *sparse("sparse-singular", path_laplacian(7), "singular"),
    *sparse("sparse-singular-grid", GRID, "singular"),
    *sparse("sparse-singular-indefinite", block_diag(SWAPS, SINGULAR3), "singular", "indefinite"),
    *sparse("sparse-of-zeros", np.zeros((3, 3)), "singular"),
    *in_both(
        "sparse-with-duplicates",
        SparseOperator,
        # (0, 0) is stored twice, and (0, 1) as a zero.
        lambda real: SparseOperator(
            csr_array((real([1.0, 0.0, 2.0, 0.0, 4.0]), [0, 1, 0, 0, 1], [0, 3, 5]))
        ),
        lambda: np.diag([3.0, 4.0]),
        "positive-definite",
        "no-root",
    ),
    *sparse_inverse("sparse-inverse", TRIDIAGONAL, "positive-definite"),
    *sparse_inverse("sparse-inverse-indefinite", TRIDIAGONAL - 2.4 * np.eye(7), "indefinite"),
    *sparse_inverse("sparse-inverse-zero-diagonal", SWAPS, "indefinite"),
    *sparse_inverse("sparse-inverse-saddle", SADDLE, "indefinite"),
)

# --- made of others -------------------------------------------------------------------------------


def mixed_blocks(real):
    parts = [
        DiagonalOperator(real(D6)),
        LowRankOperator(real(U62), real(S2), real(0.7)),
        SparseOperator(csr_array(real(TRIDIAGONAL))),
        KroneckerOperator([real(POSITIVE2), real(POSITIVE2)]),
        real(POSITIVE3),
    ]
    return BlockDiagonalOperator(parts)


def mixed_dense():
    return block_diag(
        np.diag(D6),
        outer_sum(U62, S2, 0.7),
        TRIDIAGONAL,
        np.kron(POSITIVE2, POSITIVE2),
        POSITIVE3,
    )


def nested_blocks(real):
    inner = BlockDiagonalOperator([real(POSITIVE2), real(INDEFINITE3)], [[3, 0], [1, 4, 2]])
    return BlockDiagonalOperator([real(POSITIVE2), inner], [[5, 2], [6, 0, 1, 4, 3]])


def nested_dense():
    inner = scattered([POSITIVE2, INDEFINITE3], [[3, 0], [1, 4, 2]])
    return scattered([POSITIVE2, inner], [[5, 2], [6, 0, 1, 4, 3]])


BLOCKS = (
    *blocks("blocks", [POSITIVE2, POSITIVE3, POSITIVE4], None, "positive-definite"),
    *blocks("blocks-of-one", [POSITIVE3], None, "positive-definite"),
    *blocks(
        "blocks-scattered",
        [POSITIVE2, np.array([[1.5]]), POSITIVE3],
        [[4, 0], [2], [5, 1, 3]],
        "positive-definite",
    ),
    *blocks("blocks-indefinite", [POSITIVE2, INDEFINITE4], None, "indefinite"),
    *blocks("blocks-singular", [POSITIVE2, SINGULAR3], [[0, 4], [3, 2, 1]], "singular"),
    *in_both(
        "blocks-of-kronecker-products",
        BlockDiagonalOperator,
        lambda real: BlockDiagonalOperator(
            [
                KroneckerOperator([real(POSITIVE2), real(POSITIVE3)]),
                KroneckerOperator([real(-POSITIVE2), real(-POSITIVE2)]).eigen(),
            ],
            [[9, 1, 3, 0, 7, 4], [2, 5, 8, 6]],
            names=["first layer", "second layer"],
        ),
        lambda: scattered(
            [np.kron(POSITIVE2, POSITIVE3), np.kron(POSITIVE2, POSITIVE2)],
            [[9, 1, 3, 0, 7, 4], [2, 5, 8, 6]],
        ),
        "positive-definite",
    ),
    *in_both(
        "blocks-of-all-kinds",
        BlockDiagonalOperator,
        mixed_blocks,
        mixed_dense,
        "positive-definite",
        "no-root",
    ),
    *in_both("blocks-nested", BlockDiagonalOperator, nested_blocks, nested_dense, "indefinite"),
    *in_both(
        "blocks-of-kfac",
        BlockDiagonalOperator,
        lambda real: kfac_operator(
            linear_model, likelihoods.Gaussian(), {"W": real(WEIGHTS)}, args=(real(FEATURES),)
        ),
        lambda: np.kron(FEATURES.T @ FEATURES, np.eye(3)),
        "positive-definite",
    ),
)

SUMS = (
    *in_both(
        "diagonal-plus-diagonal",
        DiagonalOperator,
        lambda real: DiagonalOperator(real(D6)) + DiagonalOperator(real(BOTH_SIGNS6)),
        lambda: np.diag(D6 + BOTH_SIGNS6),
        "positive-definite",
    ),
    *in_both(
        "diagonal-plus-low-rank",
        LowRankOperator,
        lambda real: DiagonalOperator(real(D6)) + LowRankOperator(real(U62), real(S2)),
        lambda: outer_sum(U62, S2, D6),
        "positive-definite",
        "no-root",
    ),
    *in_both(
        "low-rank-minus-diagonal",
        LowRankOperator,
        lambda real: LowRankOperator(real(U63), real(S3), real(0.2)) - DiagonalOperator(real(D6)),
        lambda: outer_sum(U63, S3, 0.2 - D6),
        "indefinite",
        "no-root",
    ),
    *in_both(
        "low-rank-plus-low-rank",
        LowRankOperator,
        lambda real: (
            LowRankOperator(real(U62), real(S2), real(0.2))
            + LowRankOperator(real(U63), real(S3), real(0.3))
        ),
        lambda: outer_sum(U62, S2, 0.2) + outer_sum(U63, S3, 0.3),
        "indefinite",
    ),
    *in_both(
        "low-rank-plus-low-rank-and-diagonal",
        LowRankOperator,
        lambda real: (
            LowRankOperator(real(U62), real(S2), real(0.2))
            + LowRankOperator(real(U63), real(S3), real(D6))
        ),
        lambda: outer_sum(U62, S2, 0.2) + outer_sum(U63, S3, D6),
        "indefinite",
        "no-root",
    ),
    *in_both(
        "kronecker-shifted",
        KroneckerEigenOperator,
        lambda real: (
            KroneckerOperator([real(POSITIVE2), real(INDEFINITE3)])
            + csr_array(real(0.3 * np.eye(6)))
        ),
        lambda: np.kron(POSITIVE2, INDEFINITE3) + 0.3 * np.eye(6),
        "indefinite",
    ),
    *in_both(
        "kronecker-shifted-below",
        KroneckerEigenOperator,
        lambda real: (
            DiagonalOperator(real(np.full(6, -0.6)))
            + KroneckerOperator([real(POSITIVE2), real(POSITIVE3)])
        ),
        lambda: np.kron(POSITIVE2, POSITIVE3) - 0.6 * np.eye(6),
        "indefinite",
    ),
    *in_double(
        "kronecker-shifted-twice-and-inverted",
        KroneckerEigenOperator,
        lambda real: (
            0.5 * eye_array(6) + KroneckerOperator([POSITIVE2, POSITIVE3]) + 2.0 * eye_array(6)
        ).inverse(damping=0.1),
        lambda: np.linalg.inv(np.kron(POSITIVE2, POSITIVE3) + 2.6 * np.eye(6)),
        "positive-definite",
    ),
    *in_both(
        "blocks-plus-diagonal",
        BlockDiagonalOperator,
        lambda real: (
            BlockDiagonalOperator(
                [real(POSITIVE2), LowRankOperator(real(U63[:4]), real(S3), real(1.0))],
                [[3, 0], [1, 2, 5, 4]],
            )
            + DiagonalOperator(real(D6))
        ),
        lambda: (
            scattered([POSITIVE2, outer_sum(U63[:4], S3, 1.0)], [[3, 0], [1, 2, 5, 4]])
            + np.diag(D6)
        ),
        "positive-definite",
        "no-root",
    ),
    *in_both(
        "blocks-plus-blocks",
        BlockDiagonalOperator,
        lambda real: (
            BlockDiagonalOperator([real(POSITIVE2), real(POSITIVE3)])
            - BlockDiagonalOperator([real(INDEFINITE2), DiagonalOperator(real(D6[:3]))])
        ),
        lambda: block_diag(POSITIVE2 - INDEFINITE2, POSITIVE3 - np.diag(D6[:3])),
        "indefinite",
    ),
    *in_both(
        "dense-plus-diagonal-plus-dense",
        DenseOperator,
        lambda real: (
            DenseOperator(real(POSITIVE4))
            + DiagonalOperator(real(D6[:4]))
            + DenseOperator(real(INDEFINITE4))
        ),
        lambda: POSITIVE4 + np.diag(D6[:4]) + INDEFINITE4,
        "positive-definite",
    ),
    *in_both(
        "diagonal-plus-sparse",
        SparseOperator,
        lambda real: DiagonalOperator(real(BOTH_SIGNS6)) + SparseOperator(csr_array(real(SWAPS))),
        lambda: np.diag(BOTH_SIGNS6) + SWAPS,
        "indefinite",
        "no-root",
    ),
    *in_both(
        "sparse-plus-sparse",
        SparseOperator,
        lambda real: (
            SparseOperator(csr_array(real(TRIDIAGONAL)))
            + SparseOperator(csr_array(real(np.eye(7)[::-1])))
        ),
        lambda: TRIDIAGONAL + np.eye(7)[::-1],
        "positive-definite",
        "no-root",
    ),
    *in_both(
        "sparse-plus-a-matrix-of-scipy",
        SparseOperator,
        lambda real: (
            coo_array(real(np.eye(7)[::-1])) + SparseOperator(csr_array(real(TRIDIAGONAL)))
        ),
        lambda: TRIDIAGONAL + np.eye(7)[::-1],
        "positive-definite",
        "no-root",
    ),
)

ILL = ("positive-definite", "ill-conditioned")

ILL_CONDITIONED = (
    *diagonal("diagonal-spread", SPREAD6, *ILL, rows=in_double),
    *dense("dense-spread", symmetric(30, *SPREAD6), *ILL, rows=in_double),
    *blocks(
        "blocks-spread",
        [symmetric(31, 1.0, 1e-2, 1e-4), symmetric(32, 1e-1, 1e-6)],
        [[0, 4, 2], [3, 1]],
        *ILL,
        rows=in_double,
    ),
    *low_rank("low-rank-spread", orthonormal(U66), SPREAD6, 0.0, *ILL, rows=in_double),
    *low_rank("low-rank-spread-shifted", U62, [2e-2, 0.1], 1e-6, *ILL, rows=in_double),
    *low_rank(
        "low-rank-nearly-cancelled", orthonormal(U62), [1e-6 - 1, -0.5], 1.0, *ILL, rows=in_double
    ),
    *low_rank(
        "low-rank-diagonal-shift-spread",
        0.1 * np.sqrt(SPREAD6)[:, None] * U62,
        S2,
        SPREAD6,
        *ILL,
        "no-root",
        rows=in_double,
    ),
    *kronecker(
        "kronecker-spread",
        [symmetric(33, 1.0, 1e-3), symmetric(34, 1.0, 1e-1, 1e-3)],
        *ILL,
        rows=in_double,
    ),
    *sparse("sparse-spread", SCALES @ TRIDIAGONAL @ SCALES, *ILL, rows=in_double),
    *sparse(
        "sparse-spread-upwards",
        SCALES[::-1, ::-1] @ TRIDIAGONAL @ SCALES[::-1, ::-1],
        *ILL,
        rows=in_double,
    ),
    *sparse_inverse("sparse-inverse-spread", SCALES @ TRIDIAGONAL @ SCALES, *ILL, rows=in_double),
)


def bfgs_updates(steps, changes):
    """The inverse Hessian after updates of the identity, by the recursion of BFGS."""
    H = np.eye(steps.shape[1])
    for s, y in zip(steps, changes, strict=True):
        V = np.eye(len(s)) - np.outer(y, s) / (y @ s)
        H = V.T @ H @ V + np.outer(s, s) / (y @ s)
    return H


def from_lbfgs(name, pairs):
    steps = normal(40 + pairs, pairs, 5)
    changes = steps @ symmetric(50, 0.5, 0.8, 1.0, 1.5, 3.0)
    return in_double(
        name,
        LowRankOperator,
        lambda real: LowRankOperator.from_lbfgs(LbfgsInvHessProduct(steps, changes)),
        lambda: bfgs_updates(steps, changes),
        "positive-definite",
    )


LBFGS = (
    *from_lbfgs("lbfgs-of-no-pairs", 0),
    *from_lbfgs("lbfgs-of-two-pairs", 2),
    *from_lbfgs("lbfgs-of-more-pairs", 7),
)

# --- derived from functions -----------------------------------------------------------------------

FEATURES, SLOPES, WEIGHTS = normal(60, 6, 4), 0.5 * normal(61, 4), 0.5 * normal(62, 4, 3)
OBSERVED = np.array([0.0, 1.0, 1.0, 0.0, 1.0, 0.0])


def curved_model(w, features):
    return anp.tanh(anp.dot(features, w))


def linear_model(p, features):
    return anp.dot(features, p["W"])


def half_squares(outputs):
    return 0.5 * anp.sum((outputs - OBSERVED) ** 2)


def slopes_of_curved():
    """The Jacobian of the curved model, shape (6, 4)."""
    return (1.0 - np.tanh(FEATURES @ SLOPES) ** 2)[:, None] * FEATURES


def weighted(weights):
    J = slopes_of_curved()
    return (J.T * weights) @ J


def probabilities():
    return expit(np.tanh(FEATURES @ SLOPES))


def squares_of_draws():
    """Mean squares of the gradients in the outputs, over three draws of targets."""
    rng, p = np.random.default_rng(5), probabilities()
    return np.mean([(p - (rng.uniform(size=6) < p)) ** 2 for _ in range(3)], axis=0)


def categorical_fisher():
    p = softmax(FEATURES @ WEIGHTS, axis=1)
    return sum(
        np.kron(np.outer(x, x), np.diag(q) - np.outer(q, q))
        for x, q in zip(FEATURES, p, strict=True)
    )


def fisher(name, kind, dense, **options):
    return in_both(
        name,
        FisherOperator,
        lambda real: fisher_operator(
            curved_model,
            likelihoods.Bernoulli(),
            real(SLOPES),
            kind=kind,
            args=(real(FEATURES),),
            **options,
        ),
        dense,
    )


DERIVED = (
    *in_both(
        "hessian",
        HessianOperator,
        lambda real: hessian_operator(functions.rosenbrock, real(D6)),
        lambda: functions.rosenbrock_hessian(D6),
    ),
    *in_both(
        "hessian-of-a-tree",
        HessianOperator,
        lambda real: hessian_operator(
            cubes, {"a": real(U62), "b": real(1.5)}, args=(2.0,), mode="forward-over-reverse"
        ),
        lambda: np.diag([*12.0 * U62.ravel(), 2.0]),
    ),
    *in_both(
        "jacobian",
        JacobianOperator,
        lambda real: jacobian_operator(curved_model, real(SLOPES), args=(real(FEATURES),)),
        slopes_of_curved,
    ),
    *in_both(
        "gauss-newton",
        GaussNewtonOperator,
        lambda real: gauss_newton_operator(
            curved_model, half_squares, real(SLOPES), args=(real(FEATURES),)
        ),
        lambda: weighted(np.ones(6)),
    ),
    *in_both(
        "ntk",
        NTKOperator,
        lambda real: ntk_operator(curved_model, real(SLOPES), args=(real(FEATURES),)),
        lambda: slopes_of_curved() @ slopes_of_curved().T,
    ),
    *fisher("fisher", "exact", lambda: weighted(probabilities() * (1.0 - probabilities()))),
    *fisher(
        "fisher-empirical",
        "empirical",
        lambda: weighted((probabilities() - OBSERVED) ** 2),
        targets=OBSERVED,
    ),
    *fisher(
        "fisher-monte-carlo",
        "monte-carlo",
        lambda: weighted(squares_of_draws()),
        num_samples=3,
        rng=5,
    ),
    *in_both(
        "fisher-categorical",
        FisherOperator,
        lambda real: fisher_operator(
            linear_model, likelihoods.Categorical(), {"W": real(WEIGHTS)}, args=(real(FEATURES),)
        ),
        categorical_fisher,
    ),
)

# --- sums without a structure ---------------------------------------------------------------------

COMBINED = (
    *in_both(
        "kronecker-plus-diagonal",
        CombinedOperator,
        lambda real: (
            KroneckerOperator([real(POSITIVE2), real(POSITIVE3)]) + DiagonalOperator(real(D6))
        ),
        lambda: np.kron(POSITIVE2, POSITIVE3) + np.diag(D6),
    ),
    *in_both(
        "hessian-damped",
        CombinedOperator,
        lambda real: (
            0.5 * eye_array(6, dtype=real(0.0).dtype)
            - hessian_operator(functions.rosenbrock, real(D6)) / 2
        ),
        lambda: 0.5 * np.eye(6) - functions.rosenbrock_hessian(D6) / 2,
    ),
    *in_both(
        "jacobian-minus-a-matrix",
        CombinedOperator,
        lambda real: (
            2.0 * jacobian_operator(curved_model, real(SLOPES), args=(real(FEATURES),))
            - real(normal(63, 6, 4))
        ),
        lambda: 2.0 * slopes_of_curved() - normal(63, 6, 4),
    ),
)

STRUCTURES: tuple[Structure, ...] = (
    *SIMPLE,
    *LOW_RANK,
    *DIAGONAL_SHIFTS,
    *DELICATE,
    *KRONECKER,
    *SPARSE,
    *BLOCKS,
    *SUMS,
    *ILL_CONDITIONED,
    *LBFGS,
    *DERIVED,
    *COMBINED,
)
