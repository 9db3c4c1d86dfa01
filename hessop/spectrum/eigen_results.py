"""Eigenpairs, with what is known of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from hessop.params import Layout

__all__ = ["Eigenpairs"]


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """Some eigenvalues of a symmetric matrix, with their vectors, and how accurate they are.

    Attributes
    ----------
    eigenvalues : ndarray, shape (k,)
        Ascending. Fewer than were asked for, where the work was ended early.
    eigenvectors : ndarray, shape (n, k)
        The columns, orthonormal.
    residuals : ndarray, shape (k,)
        ``||A u - λ u||``, of products: an eigenvalue of A lies as near to each λ.
    tolerances : ndarray, shape (k,)
        How large they may be: see `extreme_eigenpairs`.
    norm : float
        The largest magnitude that was seen of an eigenvalue of A: its norm, or less.
    n_matvec : int
        Columns multiplied, those in the solves of inner systems included.
    method : str
        What has found them.
    status : str
        ``"exact"`` (of the whole matrix), ``"converged"``, ``"product limit"``, ``"stopped"`` (by
        callback) or ``"interrupted"`` (by Ctrl-C).
    wanted : int
        How many were asked for.
    layout : Layout or None
        How the parameters lie in the rows of the eigenvectors.
    """

    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    residuals: np.ndarray
    tolerances: np.ndarray
    norm: float
    n_matvec: int
    method: str
    status: str
    wanted: int
    layout: Layout | None = None

    @property
    def converged(self) -> bool:
        """Whether all that were asked for are there, and their residuals within the tolerances."""
        return self.eigenvalues.size == self.wanted and bool(self.accurate.all())

    @property
    def accurate(self) -> np.ndarray:
        """Which of the residuals are within their tolerances, shape (k,)."""
        return np.asarray(self.residuals <= self.tolerances)

    @property
    def excess(self) -> float:
        """The largest ratio of a residual and its tolerance; infinite where a pair is missing."""
        if self.eigenvalues.size < self.wanted:
            return float("inf")
        ratios = self.residuals / np.where(self.tolerances > 0.0, self.tolerances, 1e-300)
        return float(ratios.max())

    def eigenvector_tree(self, i: int) -> Any:
        """The i-th eigenvector as a tree that is nested like the parameters.

        Raises
        ------
        TypeError
            When the operator does not know a tree of parameters.
        """
        if self.layout is None:
            raise TypeError(
                "the operator does not know a tree of parameters. Use eigenvectors[:, i]."
            )
        return self.layout.unflatten(self.eigenvectors[:, i])

    def ended(self, status: str) -> Self:
        """The same with another status."""
        return replace(self, status=status)

    def __len__(self) -> int:
        return int(self.eigenvalues.size)

    def __repr__(self) -> str:
        values = ", ".join(f"{value:.6g}" for value in self.eigenvalues[:3])
        more = ", ..." if len(self) > 3 else ""
        good = int(np.count_nonzero(self.accurate))
        facts = f"{good} of {self.wanted} accurate, {self.method}, {self.n_matvec} products"
        return f"<Eigenpairs [{values}{more}], {facts}, {self.status}>"

    def __str__(self) -> str:
        """A table: each eigenvalue with its residual."""
        lines = [f"{'eigenvalue':>14} {'residual':>10} {'tolerance':>10}"]
        rows = zip(self.eigenvalues, self.residuals, self.tolerances, strict=True)
        for value, residual, tolerance in rows:
            remark = "" if residual <= tolerance else "  not converged"
            lines.append(f"{value:14.6g} {residual:10.1e} {tolerance:10.1e}{remark}")
        missing = self.wanted - len(self)
        if missing:
            lines.append(f"{missing} more were not found")
        lines.append(f"{self.method}, {self.n_matvec} products, {self.status}")
        return "\n".join(lines)
