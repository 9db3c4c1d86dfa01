"""Matrices whose eigenvalues are known."""

import numpy as np
from scipy.sparse import csr_array, diags_array, eye_array, kron
from scipy.sparse.linalg import LinearOperator


def planted(eigenvalues, seed=0):
    """A symmetric matrix with these eigenvalues, and random eigenvectors."""
    eigenvalues = np.asarray(eigenvalues, dtype=float)
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((eigenvalues.size, eigenvalues.size)))[0]
    A = (Q * eigenvalues) @ Q.T
    return (A + A.T) / 2


def by_products(A):
    """The same matrix, known by its products only."""
    return LinearOperator(A.shape, matvec=lambda v: A @ v, matmat=lambda V: A @ V, dtype=A.dtype)


def laplacian(n):
    """Of a path, held at both ends."""
    return diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)).tocsr()


def laplacian_eigenvalues(n):
    """Ascending."""
    return 2.0 - 2.0 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1))


def grid_laplacian(a, b):
    """Of a grid, held at its rim."""
    return csr_array(kron(laplacian(a), eye_array(b)) + kron(eye_array(a), laplacian(b)))


def grid_eigenvalues(a, b):
    """Ascending."""
    return np.sort(np.add.outer(laplacian_eigenvalues(a), laplacian_eigenvalues(b)).ravel())
