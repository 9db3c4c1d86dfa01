"""Lanczos' process as a value: it can be looked at, saved to a file, and gone on with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from hessop.operators.base import BaseOperator
from hessop.operators.checks import check_count
from hessop.operators.foreign import as_symmetric
from hessop.spectrum.estimates import last_of
from hessop.spectrum.krylov import KrylovSpace, tridiagonal_pairs, tridiagonal_values

__all__ = ["LanczosState", "lanczos"]

_FORMAT = "hessop LanczosState 1"


@dataclass(frozen=True, eq=False)
class LanczosState:
    """Some steps of Lanczos' process. Made by `lanczos`.

    With the vectors as the columns of V, T symmetric and tridiagonal, and e the last unit vector,
    ``A V = V T + residual_norm * next_vector eᵀ``.

    Attributes
    ----------
    rows : ndarray, shape (k + 1, n)
        The vectors and the next one, as rows; shape (k, n) where the space is invariant.
    diagonal : ndarray, shape (k,)
        Of T.
    beside : ndarray, shape (k,)
        Beside the diagonal of T, and last what is outside of it: `residual_norm`.
    norm : float
        The length of the vector that it has started from.
    n_matvec : int
        Products spent, of tests too.
    status : str
        ``"done"`` (all steps), ``"exact"`` (the space is invariant, before that
        or then), ``"stopped"`` (by callback) or ``"interrupted"`` (by Ctrl-C).
    """

    rows: np.ndarray
    diagonal: np.ndarray
    beside: np.ndarray
    norm: float
    n_matvec: int
    status: str = "done"

    @property
    def steps(self) -> int:
        """The dimension k of the space."""
        return len(self.diagonal)

    @property
    def vectors(self) -> np.ndarray:
        """V, shape (n, k): orthonormal columns. A view."""
        return self.rows[: self.steps].T

    @property
    def off_diagonal(self) -> np.ndarray:
        """Beside the diagonal of T, shape (k - 1,)."""
        return self.beside[:-1]

    @property
    def residual_norm(self) -> float:
        """The length of what A makes of the last vector beyond the space; 0.0 if invariant."""
        return float(self.beside[-1])

    @property
    def next_vector(self) -> np.ndarray:
        """The direction of it, shape (n,): zeros where the space is invariant."""
        return np.zeros(self.rows.shape[1]) if self.is_invariant else self.rows[self.steps]

    @property
    def is_invariant(self) -> bool:
        """Whether A maps the space into itself, so that all Ritz values are eigenvalues."""
        return self.residual_norm == 0.0

    def ritz_values(self) -> np.ndarray:
        """The eigenvalues of T, ascending, shape (k,): approximate ones of A."""
        return tridiagonal_values(self.diagonal, self.beside)

    def ritz_pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Approximate eigenpairs of A, with their errors.

        Returns
        -------
        values : ndarray, shape (k,)
            Ascending.
        vectors : ndarray, shape (n, k)
            Orthonormal columns.
        residuals : ndarray, shape (k,)
            ``||A u - θ u||``: an eigenvalue of A lies as near to each θ.
        """
        values, coordinates, residuals = tridiagonal_pairs(self.diagonal, self.beside)
        return values, self.vectors @ coordinates, residuals

    def ended(self, status: str) -> LanczosState:
        """The same with another status."""
        return replace(self, status=status)

    def save(self, path: Any) -> None:
        """Write it to a file, which `load` reads: an npz archive of ``8 n (k + 1)`` bytes.

        Parameters
        ----------
        path : str or path
            Written as it is: no suffix is added.
        """
        with Path(path).open("wb") as file:
            np.savez(
                file,
                format=_FORMAT,
                rows=self.rows,
                diagonal=self.diagonal,
                beside=self.beside,
                norm=self.norm,
                n_matvec=self.n_matvec,
                status=self.status,
            )

    @classmethod
    def load(cls, path: Any) -> LanczosState:
        """Read what `save` has written.

        Raises
        ------
        ValueError
            When the file holds something else.
        """
        try:
            with Path(path).open("rb") as file:
                read: Any = np.load(file, allow_pickle=False)
                known = dict(read) if isinstance(read, np.lib.npyio.NpzFile) else {}
        except (ValueError, EOFError, BadZipFile):
            known = {}
        if str(known.get("format")) != _FORMAT:
            raise ValueError(f"{path} holds no LanczosState, expected a file that `save` has made.")
        return cls(
            _frozen(known["rows"]),
            _frozen(known["diagonal"]),
            _frozen(known["beside"]),
            float(known["norm"]),
            int(known["n_matvec"]),
            str(known["status"]),
        )

    def __repr__(self) -> str:
        values = self.ritz_values()
        return (
            f"<LanczosState {self.steps} steps in {self.rows.shape[1]} dimensions, Ritz values "
            f"from {values[0]:.4g} to {values[-1]:.4g}, {self.n_matvec} products, {self.status}>"
        )


def lanczos(
    A: Any,
    v0: Any = None,
    steps: int = 100,
    *,
    rng: Any = None,
    progress: bool = False,
    callback: Callable[[LanczosState], Any] | None = None,
) -> LanczosState:
    """Lanczos' process with full reorthogonalisation, one product a step.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (n, n)
        Symmetric. One that is not hessop's is tested with two products.
    v0 : array_like, shape (n,), or LanczosState, optional
        Where to start: a random vector by default. A state is gone on with, as if there had been
        no pause: the result is the same to the last bit. One product tests that it belongs to A.
    steps : int
        Steps to be done now, at most: there are less where the space becomes invariant, and n in
        all at most.
    rng : None, int or numpy.random.Generator
        For a random start.
    progress : bool
        Show a bar of products; needs tqdm.
    callback : callable, optional
        ``callback(state)`` after each step. It may raise StopIteration, which ends the work.

    Returns
    -------
    LanczosState

    Warns
    -----
    NotConvergedWarning
        When Ctrl-C has ended it; the steps until then are returned.

    Raises
    ------
    ValueError
        When v0 has the wrong shape, is zero or not finite, or is the state of another operator.
    TypeError, ValueError
        When A is no real symmetric operator, or steps no whole number from 1.

    Notes
    -----
    C. Lanczos, "An iteration method for the solution of the eigenvalue problem", 1950. Each vector
    is made orthogonal to all before it, so that no eigenvalue is found twice. The memory is that of
    k + 1 vectors in double precision, and the time for k steps about ``4 n k²`` operations beside
    the products.

    Examples
    --------
    >>> import numpy as np
    >>> from hessop import lanczos
    >>> A = np.diag([1.0, 2.0, 3.0, 10.0])
    >>> state = lanczos(A, np.ones(4), steps=2)
    >>> state.ritz_values().round(3)
    array([1.833, 9.767])
    >>> state = lanczos(A, state, steps=10)
    >>> state.is_invariant, state.ritz_values().round(12)
    (True, array([ 1.,  2.,  3., 10.]))
    """
    steps = check_count(steps, "steps")
    operator = as_symmetric(A)
    spent = 0 if isinstance(A, BaseOperator) else 2
    if isinstance(v0, LanczosState):
        space = _resumed(operator, v0)
        spent += v0.n_matvec + 1 - space.steps
    else:
        space = KrylovSpace(operator, _start(operator.shape[0], v0, rng))
    return last_of(
        _states(space, steps, spent),
        name="lanczos",
        total=spent + space.steps + steps,
        callback=callback,
        progress=progress,
    )


def _states(space: KrylovSpace, steps: int, other: int) -> Iterator[LanczosState]:
    """The state after each step; `other` products were spent beside the steps."""
    if space.is_invariant:
        yield _state_of(space, other)
    for _ in range(steps):
        if space.is_invariant:
            break
        space.extend()
        yield _state_of(space, other)


def _state_of(space: KrylovSpace, other: int) -> LanczosState:
    return LanczosState(
        space.rows,
        _frozen(space.diagonal),
        _frozen(space.off_diagonal),
        space.norm,
        space.steps + other,
        "exact" if space.is_invariant else "done",
    )


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _start(n: int, v0: Any, rng: Any) -> np.ndarray:
    """The vector to start from."""
    if v0 is None:
        return np.random.default_rng(rng).standard_normal(n)
    start = np.asarray(v0)
    if start.dtype.kind not in "biuf" or start.shape != (n,):
        raise ValueError(
            f"v0 is {start.dtype} of shape {start.shape}, expected real numbers of shape ({n},)."
        )
    if not np.isfinite(start).all() or not start.any():
        what = "zero" if not start.any() else "not finite"
        raise ValueError(f"v0 is {what}, expected a finite vector that is not zero.")
    return start.astype(np.float64)


def _resumed(operator: BaseOperator, state: LanczosState) -> KrylovSpace:
    """The space of a state, once a product has shown that it is one of this operator."""
    n = state.rows.shape[1]
    if operator.shape[0] != n:
        raise ValueError(
            f"v0 is a LanczosState in {n} dimensions, expected {operator.shape[0]}, as A has: it "
            "belongs to another operator. Start anew with a vector."
        )
    k = state.steps - 1
    expected = state.diagonal[k] * state.rows[k] + state.residual_norm * state.next_vector
    if k:
        expected = expected + state.beside[k - 1] * state.rows[k - 1]
    product = np.asarray(operator.matvec(state.rows[k]), dtype=np.float64)
    size = max(np.linalg.norm(product), np.abs(state.diagonal).max(), state.beside.max())
    eps = float(np.finfo(operator.dtype).eps)
    difference = float(np.linalg.norm(product - expected))
    if difference > eps**0.5 * size:
        raise ValueError(
            f"v0 is a LanczosState of another operator: the product with its last vector differs "
            f"by {difference / size:.1e}, relatively. Use the operator that it was made with, or "
            "start anew with a vector."
        )
    return KrylovSpace.resumed(operator, state.rows, state.diagonal, state.beside, state.norm)
