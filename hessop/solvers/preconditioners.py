"""Approximate inverses that are symmetric positive definite: SciPy's `M`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hessop.likelihoods import Likelihood
from hessop.operators.base import is_real_number
from hessop.operators.block_diagonal import BlockDiagonalOperator
from hessop.operators.checks import check_count
from hessop.operators.dense import DenseOperator
from hessop.operators.diagonal import DiagonalOperator, real_vector
from hessop.operators.foreign import as_symmetric
from hessop.operators.kfac import kfac_operator
from hessop.operators.structured import check_damping

__all__ = [
    "block_jacobi_preconditioner",
    "jacobi_preconditioner",
    "kfac_preconditioner",
]

# Of more rows, a single block is hardly what was meant.
_LARGE_BLOCK = 2000


def jacobi_preconditioner(
    A: Any,
    *,
    damping: float = 0.0,
    diagonal: Any = None,
    probes: int | None = None,
    rng: Any = None,
    progress: bool = False,
) -> DiagonalOperator:
    """The inverse of the diagonal of ``A + damping I``.

    Helps where parameters are scaled differently, as features in units of their own, or weights of
    layers of different sizes. It does not see what parameters have to do with each other, and may
    do harm where that is all there is: compare it with no preconditioner.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (n, n)
        Symmetric.
    damping : float
        That of the system which is to be solved, ``(A + damping I) x = b``.
    diagonal : array_like, shape (n,), or DiagonalOperator, optional
        The diagonal of A, where it is known, or an approximation of it such as `backprop_diagonal`.
        By default the exact one, which takes n products, or one run of a sparse program.
    probes : int, optional
        Estimate the diagonal by so many products with random signs, at least 2.
    rng : None, int or numpy.random.Generator
        For `probes`.
    progress : bool
        Show a bar; needs tqdm.

    Returns
    -------
    DiagonalOperator
        Positive definite: of the damped entries, their magnitudes are taken. One that was estimated
        and is smaller than its standard error counts as large as that. One that is zero up to
        rounding says nothing of its direction, and counts as large as the largest.

    Raises
    ------
    ValueError
        When both `diagonal` and `probes` are given, or one of them is no such thing.

    Notes
    -----
    For `probes`: C. Bekas, E. Kokiopoulou and Y. Saad, "An estimator for the diagonal of a matrix",
    Applied Numerical Mathematics 57, 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from hessop import jacobi_preconditioner
    >>> M = jacobi_preconditioner(np.diag([4.0, -2.0, 0.0]))
    >>> M.diagonal()
    array([0.25, 0.5 , 0.25])
    """
    operator = as_symmetric(A)
    n, damping = operator.shape[0], check_damping(damping)
    if diagonal is not None and probes is not None:
        raise ValueError("both diagonal and probes are given, expected one of them at most.")
    if probes is not None:
        check_count(probes, "probes", least=2)
        diagonal = DiagonalOperator.from_operator(
            operator, method="probing", num_probes=probes, rng=rng, progress=progress
        )
    elif diagonal is None:
        diagonal = operator.diagonal(progress=progress)
    d, error = diagonal, None
    if isinstance(diagonal, DiagonalOperator):
        d, error = diagonal.diagonal(), diagonal.standard_error
    d = real_vector(d, "diagonal")
    if d.size != n:
        raise ValueError(f"diagonal has {d.size} entries, expected {n}, the size of A.")
    sizes = np.abs(d.astype(operator.dtype) + operator.dtype.type(damping))
    if error is not None:
        sizes = np.maximum(sizes, error.astype(sizes.dtype))
    return DiagonalOperator(1.0 / _positive(sizes, 1.0))


def block_jacobi_preconditioner(
    A: Any,
    *,
    damping: float = 0.0,
    partition: Sequence[Any] | None = None,
    progress: bool = False,
) -> BlockDiagonalOperator:
    """The inverse of the diagonal blocks of ``A + damping I``, by default one for each leaf.

    Helps where parameters of a block act together and blocks do not, and where many systems are
    solved at one point: there are n products to be paid back, or, where blocks do not mix, as many
    as the largest block has columns. With `minres` it also serves an indefinite A.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (n, n)
        Symmetric.
    damping : float
        That of the system which is to be solved, ``(A + damping I) x = b``.
    partition : sequence of array_like of int, optional
        The rows and columns of each block. By default one block for each leaf of the parameters
        that A is in.
    progress : bool
        Show a bar; needs tqdm.

    Returns
    -------
    BlockDiagonalOperator
        Positive definite: of the damped eigenvalues of a block, their magnitudes are taken, and one
        that is zero up to rounding counts as large as the largest of its block.

    Raises
    ------
    ValueError
        When no partition is given and A is not in parameters, or in a single array of more than
        2,000; or the partition is not one.

    Examples
    --------
    >>> import numpy as np
    >>> from hessop import block_jacobi_preconditioner
    >>> A = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, -4.0]])
    >>> M = block_jacobi_preconditioner(A, partition=[[0, 1], [2]])
    >>> np.round(M @ A, 12) + 0.0
    array([[ 1.,  0.,  0.],
           [ 0.,  1.,  0.],
           [ 0.,  0., -1.]])
    """
    damping = check_damping(damping)
    if partition is None:
        _refuse_one_large_block(A)
    B = BlockDiagonalOperator.from_operator(A, partition, progress=progress)
    inverses = [_inverse_of_size(block, damping) for block in B.blocks]
    return BlockDiagonalOperator(inverses, B.partition, names=B.names)


def kfac_preconditioner(
    model: Callable[..., Any],
    likelihood: Likelihood,
    x: Any,
    *,
    damping: float,
    scale: float = 1.0,
    factored: bool = False,
    kind: str = "exact",
    targets: Any = None,
    num_samples: int = 1,
    rng: Any = None,
    other: str = "error",
    args: tuple[Any, ...] = (),
) -> BlockDiagonalOperator:
    """The inverse of ``scale K + damping I``, with K the Kronecker factors of a network (KFAC).

    Helps with the Hessian, the Gauss-Newton or the Fisher matrix of a network of many parameters:
    it takes no products, only the time of a gradient for each output, or for each draw.

    Parameters
    ----------
    model, likelihood, x, kind, targets, num_samples, rng, other, args
        As for `kfac_operator`.
    damping : float
        That of the system which is to be solved, and positive. Add the factor of a quadratic
        penalty, which likelihoods do not know.
    scale : float
        What the sum over examples is multiplied by: 1 / N where the loss is a mean over N.
    factored : bool
        Split the damping over the factors: see `KroneckerOperator.inverse`. Where it is small that
        may be the better preconditioner.

    Returns
    -------
    BlockDiagonalOperator
        Positive definite.

    Raises
    ------
    ValueError
        When `damping` or `scale` is not positive, or as `kfac_operator`.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from scipy.sparse import eye_array
    >>> from scipy.sparse.linalg import cg
    >>> from hessop import fisher_operator, kfac_preconditioner, likelihoods
    >>> X = np.array([[1.0, 2.0], [0.0, 1.0], [1.0, 1.0]])
    >>> def model(p):
    ...     return np.tanh(X @ p["W"] + p["b"]) @ p["V"]
    >>> x = {"W": np.ones((2, 2)), "b": np.zeros(2), "V": np.ones((2, 1))}
    >>> F = fisher_operator(model, likelihoods.Gaussian(), x)
    >>> M = kfac_preconditioner(model, likelihoods.Gaussian(), x, damping=0.1)
    >>> step, info = cg(F + 0.1 * eye_array(8), np.ones(8), M=M)
    >>> info
    0
    """
    for name, value in (("damping", damping), ("scale", scale)):
        if not is_real_number(value) or not 0.0 < value < np.inf:
            raise ValueError(f"{name} is {value!r}, expected a positive number.")
    K = kfac_operator(
        model,
        likelihood,
        x,
        kind=kind,
        targets=targets,
        num_samples=num_samples,
        rng=rng,
        other=other,
        args=args,
    )
    inverse: BlockDiagonalOperator = (K * scale).inverse(damping, factored=factored)
    return inverse


def _refuse_one_large_block(A: Any) -> None:
    layout = getattr(A, "layout", None)
    if layout is not None and len(layout.shapes) == 1 and layout.size > _LARGE_BLOCK:
        n = layout.size
        raise ValueError(
            f"the parameters are one array, so that there is one block: all of the {n} x {n} "
            "matrix. Give a partition of it, or use jacobi_preconditioner or "
            "nystrom_preconditioner. If you want that block, give partition=[np.arange(n)]."
        )


def _positive(sizes: np.ndarray, rounding: float) -> np.ndarray:
    """Magnitudes, those of rounding taken for the largest; ones, when all are zero."""
    largest = sizes.max()
    rounding *= 10.0 * float(np.finfo(sizes.dtype).eps)
    positive: np.ndarray = np.where(sizes > rounding * largest, sizes, largest or 1.0)
    return positive.astype(sizes.dtype)


def _inverse_of_size(block: DenseOperator, damping: float) -> DenseOperator:
    """The inverse of ``|block + damping I|``, the matrix of magnitudes of eigenvalues."""
    w, Q = block.eigh
    sizes = np.abs(w + w.dtype.type(damping))
    return DenseOperator((Q / _positive(sizes, math.sqrt(sizes.size))) @ Q.T)
