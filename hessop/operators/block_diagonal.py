"""Block-diagonal matrices: by default, a block for each leaf of the parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from scipy.sparse import block_diag, csr_array
from scipy.sparse.linalg import LinearOperator

from hessop._errors import NoProgramError
from hessop._progress import progress_bar
from hessop.operators.base import BaseOperator, sparse_of
from hessop.operators.checks import indices
from hessop.operators.dense import DenseOperator
from hessop.operators.diagonal import DiagonalOperator
from hessop.operators.foreign import ForeignOperator, as_symmetric
from hessop.operators.kronecker import KroneckerOperator
from hessop.operators.recorded import RecordedOperator
from hessop.operators.structured import (
    Inertia,
    SignedLogdet,
    StructuredOperator,
    check_damping,
    diagonal_of,
)
from hessop.tape.mixing import depends_on

__all__ = ["BlockDiagonalOperator"]

# Columns that are multiplied at once.
_TOGETHER = 64


class BlockDiagonalOperator(StructuredOperator):
    """Symmetric blocks on the diagonal, zero elsewhere.

    Parameters
    ----------
    blocks : sequence of array_like or operators
        Square and symmetric. An operator without an `inverse` of its own, such as a
        `HessianOperator`, can be a block, but has then to be inverted by a solver.
    partition : sequence of array_like of int, optional
        For each block the rows and columns that it takes, as indices, a slice or a mask: all from 0
        to n - 1 once. By default they follow one another.
    names : sequence of str, optional
        What each block is called.

    Attributes
    ----------
    blocks : tuple of operators
    partition : tuple of ndarray of int
    names : tuple of str

    Examples
    --------
    >>> import numpy as np
    >>> from hessop import BlockDiagonalOperator
    >>> B = BlockDiagonalOperator([[[2.0]], [[2.0, 1.0], [1.0, 2.0]]])
    >>> B @ np.ones(3)
    array([2., 3., 3.])
    >>> round(float(np.exp(B.logdet())), 12)
    6.0
    """

    symbol = "B"

    def __init__(
        self,
        blocks: Sequence[Any],
        partition: Sequence[Any] | None = None,
        *,
        names: Sequence[str] | None = None,
    ) -> None:
        if len(blocks) == 0:
            raise ValueError("blocks is empty, expected at least one block.")
        self.blocks = tuple(
            as_symmetric(block) if isinstance(block, LinearOperator) else DenseOperator(block)
            for block in blocks
        )
        sizes = [block.shape[0] for block in self.blocks]
        n = sum(sizes)
        if partition is None:
            partition = np.split(np.arange(n), np.cumsum(sizes)[:-1])
        self._partition = _as_partition(partition, n)
        if [part.size for part in self._partition] != sizes:
            raise ValueError(
                f"partition has parts of {[part.size for part in self._partition]} entries, "
                f"expected {sizes}, the sizes of the blocks."
            )
        self.names = tuple(names or [f"block {i}" for i in range(len(sizes))])
        if len(self.names) != len(sizes):
            raise ValueError(f"there are {len(self.names)} names for {len(sizes)} blocks.")
        super().__init__(np.result_type(*(block.dtype for block in self.blocks)), n)

    @property
    def partition(self) -> tuple[np.ndarray, ...]:
        """For each block the rows and columns that it takes: fresh copies."""
        return tuple(part.copy() for part in self._partition)

    @classmethod
    def from_operator(
        cls,
        A: Any,
        partition: Sequence[Any] | None = None,
        *,
        names: Sequence[str] | None = None,
        progress: bool = False,
    ) -> Self:
        """The diagonal blocks of a symmetric operator, exactly.

        By products with unit vectors, n in all; but where the program of A shows that the blocks do
        not mix, one product serves all blocks at once, so that as many are enough as the largest
        block has columns.

        Parameters
        ----------
        A : LinearOperator or matrix, shape (n, n)
        partition : sequence of array_like of int, optional
            The rows and columns of each block. By default one block for each leaf of the parameters
            that A is in.
        names : sequence of str, optional
            What each block is called; by default, as the leaf.
        progress : bool
            Show a bar; needs tqdm.

        Returns
        -------
        BlockDiagonalOperator
            Its blocks are dense.

        Raises
        ------
        ValueError
            When no partition is given and A is not in parameters.

        Examples
        --------
        >>> import autograd.numpy as np
        >>> from hessop import BlockDiagonalOperator, hessian_operator
        >>> x = {"a": np.array([1.0, 2.0]), "b": 3.0}
        >>> H = hessian_operator(lambda x: x["a"][0] * x["a"][1] ** 2 * x["b"] ** 2, x)
        >>> B = BlockDiagonalOperator.from_operator(H)
        >>> B.names
        ("x['a']", "x['b']")
        >>> B.to_dense()
        array([[ 0., 36.,  0.],
               [36., 18.,  0.],
               [ 0.,  0.,  8.]])
        """
        operator = as_symmetric(A)
        if partition is None:
            layout = operator.layout
            if layout is None:
                raise ValueError(
                    f"partition is missing, and {type(A).__name__} has no parameters whose leaves "
                    "could be the blocks. Pass the indices of each block."
                )
            leaves = zip(layout.partition(), layout.names(), strict=True)
            found = [(part, name) for part, name in leaves if part.size]
            partition = [part for part, _ in found]
            names = names or [name for _, name in found]
        parts = _as_partition(partition, operator.shape[0])
        return cls(_diagonal_blocks(operator, parts, progress), parts, names=names)

    def _product(self, v: np.ndarray) -> np.ndarray:
        return self._blockwise(lambda block, part: block @ part, v)

    def _block_product(self, V: np.ndarray) -> np.ndarray:
        return self._product(V)

    def _blockwise(self, product: Callable[[Any, np.ndarray], Any], V: np.ndarray) -> np.ndarray:
        result = np.empty(V.shape, dtype=self.dtype)
        for block, part in zip(self.blocks, self._partition, strict=True):
            result[part] = product(block, V[part])
        return result

    def _with(self, blocks: Sequence[Any]) -> BlockDiagonalOperator:
        return BlockDiagonalOperator(blocks, self._partition, names=self.names)

    def _structured(self, to_do: str) -> list[StructuredOperator]:
        for block, name in zip(self.blocks, self.names, strict=True):
            if not isinstance(block, StructuredOperator):
                kind = type(block.operator if isinstance(block, ForeignOperator) else block)
                raise TypeError(
                    f"{name} is a {kind.__name__}, which has no {to_do} of its own. Use "
                    "DenseOperator.from_operator or another structure for it, or a solver."
                )
        return [block for block in self.blocks if isinstance(block, StructuredOperator)]

    def inverse(self, damping: float = 0.0, *, factored: bool = False) -> BlockDiagonalOperator:
        """``(B + damping I)⁻¹``, block by block.

        Parameters
        ----------
        damping : float
        factored : bool
            For blocks that are Kronecker products: see `KroneckerOperator.inverse`.

        Raises
        ------
        numpy.linalg.LinAlgError
            When a block is singular, with its name.
        TypeError
            When a block has no inverse of its own.
        """
        damping = check_damping(damping)
        inverses = []
        for block, name in zip(self._structured("inverse"), self.names, strict=True):
            takes_factored = isinstance(block, KroneckerOperator | BlockDiagonalOperator)
            options = {"factored": True} if factored and takes_factored else {}
            try:
                inverses.append(block.inverse(damping, **options))
            except np.linalg.LinAlgError as error:
                raise np.linalg.LinAlgError(f"{name}: {error}") from None
        return self._with(inverses)

    def slogdet(self, damping: float = 0.0) -> SignedLogdet:
        """Sign and logarithm of the determinant of ``B + damping I``."""
        parts = [block.slogdet(damping) for block in self._structured("determinant")]
        return SignedLogdet(
            float(np.prod([part.sign for part in parts])),
            float(np.sum([part.logabsdet for part in parts])),
        )

    def inertia(self) -> Inertia:
        """The number of negative, zero and positive eigenvalues, up to rounding in each block."""
        counts = [block.inertia() for block in self._structured("inertia")]
        return Inertia(*(int(sum(column)) for column in zip(*counts, strict=True)))

    def sqrt(self) -> BlockDiagonalOperator:
        """The positive semidefinite root, block by block."""
        return self._with([block.sqrt() for block in self._structured("square root")])

    def trace(self) -> float:
        """The sum of the traces of the blocks."""
        return sum(
            block.trace() if isinstance(block, StructuredOperator) else float(sum(block.diagonal()))
            for block in self.blocks
        )

    def diagonal(self, *, progress: bool = False) -> np.ndarray:
        """The diagonal, shape (n,)."""
        result = np.empty(self.shape[0], dtype=self.dtype)
        for block, part in zip(self.blocks, self._partition, strict=True):
            result[part] = block.diagonal(progress=progress)
        return result

    def to_dense(self, *, symmetrize: bool = False, progress: bool = False) -> np.ndarray:
        """The whole matrix, shape (n, n)."""
        result = np.zeros(self.shape, dtype=self.dtype)
        for block, part in zip(self.blocks, self._partition, strict=True):
            result[np.ix_(part, part)] = block.to_dense(symmetrize=symmetrize, progress=progress)
        return result

    def to_sparse(self) -> csr_array:
        """The matrix, where each block is one that can be sparse, or is dense.

        Raises
        ------
        TypeError
            When a block is known by products only.
        """
        order = np.argsort(np.concatenate(self._partition))
        blocks = block_diag([sparse_of(block) for block in self.blocks], format="csr")
        return csr_array(blocks[order][:, order])

    def _scaled(self, factor: float) -> BlockDiagonalOperator:
        return self._with([factor * block for block in self.blocks])

    def _plus(self, other: LinearOperator) -> BlockDiagonalOperator | None:
        if isinstance(other, BlockDiagonalOperator):
            pairs = zip(self._partition, other._partition, strict=False)
            same = len(self.blocks) == len(other.blocks) and all(
                np.array_equal(a, b) for a, b in pairs
            )
            parts = [*other.blocks] if same else None
        else:
            d = diagonal_of(other)
            parts = None if d is None else [DiagonalOperator(d[part]) for part in self._partition]
        if parts is None:
            return None
        sums = [block + part for block, part in zip(self.blocks, parts, strict=True)]
        # A sum that lost its structure would lose the inverse.
        kept = zip(self.blocks, sums, strict=True)
        lost = any(
            isinstance(a, StructuredOperator) and not isinstance(b, StructuredOperator)
            for a, b in kept
        )
        return None if lost else self._with(sums)

    def __reduce__(self) -> Any:
        return partial(type(self), names=self.names), (self.blocks, self._partition)

    def _facts(self) -> tuple[str, ...]:
        count = len(self.blocks)
        kinds = {type(getattr(block, "operator", block)).__name__ for block in self.blocks}
        kinds = {kind.removesuffix("Operator").lower() for kind in kinds}
        return (f"{count} block{'s' * (count != 1)} ({', '.join(sorted(kinds))})",)


def _as_partition(partition: Sequence[Any], n: int) -> tuple[np.ndarray, ...]:
    parts = tuple(
        indices(part, n, "partition")
        if isinstance(part, slice) or np.asarray(part).dtype == bool
        else np.atleast_1d(np.asarray(part))
        for part in partition
    )
    if any(part.dtype.kind not in "iu" or part.ndim != 1 for part in parts):
        raise ValueError("partition: expected vectors of whole numbers, one for each block.")
    if not parts or not np.array_equal(np.sort(np.concatenate(parts)), np.arange(n)):
        raise ValueError(f"partition: expected every index from 0 to {n - 1} once, in some block.")
    return tuple(part.astype(np.intp) for part in parts)


def _diagonal_blocks(
    operator: BaseOperator, parts: Sequence[np.ndarray], progress: bool
) -> list[np.ndarray]:
    sizes = [part.size for part in parts]
    blocks = [np.empty((size, size), dtype=operator.dtype) for size in sizes]
    together = _do_not_mix(operator, parts)
    # Each column of a block is asked for once: its number, and the products that it shares.
    if together:
        rounds = [[(i, j) for i, size in enumerate(sizes) if j < size] for j in range(max(sizes))]
    else:
        rounds = [[(i, j)] for i, size in enumerate(sizes) for j in range(size)]
    with progress_bar(progress, len(rounds), desc="blocks", unit="product") as bar:
        for start in range(0, len(rounds), _TOGETHER):
            some = rounds[start : start + _TOGETHER]
            units = np.zeros((operator.shape[0], len(some)), dtype=operator.dtype)
            for column, pairs in enumerate(some):
                for i, j in pairs:
                    units[parts[i][j], column] = 1.0
            products = operator.matmat(units)
            for column, pairs in enumerate(some):
                for i, j in pairs:
                    blocks[i][:, j] = products[parts[i], column]
            if bar is not None:
                bar.update(len(some))
    return [(block + block.T) / 2 for block in blocks]


def _do_not_mix(operator: BaseOperator, parts: Sequence[np.ndarray]) -> bool:
    """Whether the program shows that each block of a product depends on its own block alone."""
    if not isinstance(operator, RecordedOperator) or len(parts) == 1:
        return False
    try:
        program = operator.program
    except (NoProgramError, ValueError):
        return False
    groups = np.empty(operator.shape[0], dtype=np.intp)
    for number, part in enumerate(parts):
        groups[part] = number
    least, largest = depends_on(program, groups)
    nothing = largest < least
    return bool((nothing | ((least == groups) & (largest == groups))).all())
