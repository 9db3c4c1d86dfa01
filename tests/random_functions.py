"""Random smooth functions written with ``autograd.numpy``, drawn by hypothesis.

A function keeps a pool of arrays p0, p1, …, where p0 is its argument. Each step takes one or two
arrays of the pool and appends a new one; the value is a nonlinear sum of arrays of the pool. So
subterms are shared, and autograd's backward pass has to accumulate.

An operation takes its operands and a small number k that chooses an axis, an index, a constant.
To add one is to add one row to a table: it must accept operands of any shape, depend on each of
its operands (or on one, by `one_constant`), and be smooth and finite for modest entries. The
tables at the end say whose results are scaled back afterwards.

    @given(functions())
    @settings(max_examples=300, deadline=None)
    def test_something(function):
        x = function.point()
        value = function(x)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import Any, NamedTuple

import autograd.numpy as anp
import autograd.scipy.linalg as asl
import autograd.scipy.special as asp
import numpy as np
from autograd.scipy.signal import convolve
from hypothesis import strategies as st

LARGEST_SIZE = 200
LARGEST_NDIM = 4
K = range(24)


# Operands made to fit


def fit(a, shape):
    """The first entries of a, again from the start if there are too few, in this shape."""
    size = math.prod(shape)
    if np.shape(a) == shape:
        return a
    entries = anp.ravel(a)
    if entries.size < size:
        entries = anp.tile(entries, -(-size // entries.size))
    if entries.size > size:
        entries = entries[:size]
    return anp.reshape(entries, shape)


def few(a):
    """The array itself, or its first 12 entries."""
    return a if a.size <= 12 else anp.ravel(a)[:12]


def vector(a):
    """At most 12 entries."""
    return anp.ravel(few(a))


def matrix(a):
    if a.ndim == 2:
        return a
    rows = next(n for n in range(math.isqrt(a.size), 0, -1) if a.size % n == 0)
    return anp.reshape(a, (rows, -1))


def square(a):
    """A matrix of shape (2, 2) or (3, 3)."""
    n = 3 if a.size >= 9 else 2
    return fit(a, (n, n))


def like(b, a, k):
    """The array b in a shape that broadcasts against a."""
    last = a.shape[-1:]
    first = a.shape[:1] + (1,) * (a.ndim - 1)
    shapes = [a.shape, (), last, first, (2, *a.shape), (1,) * a.ndim]
    shape = shapes[k % len(shapes)]
    return fit(b, shape if math.prod(shape) <= LARGEST_SIZE else last)


def constant(shape, k=0):
    """Distinct entries in [-1, 1]."""
    return np.reshape(np.cos(1.3 * np.arange(math.prod(shape)) + k + 0.7), shape)


def one_constant(a, b, k):
    """The operands, or one of them replaced by a constant."""
    return [(a, b), (a, constant(b.shape)), (constant(a.shape), b)][k % 3]


def spread(shape):
    """Constants at least 3 from each other, in mixed order."""
    size = math.prod(shape)
    modulus = size + (size % 7 == 0)
    return np.reshape(3.0 * (7 * np.arange(size) % modulus), shape)


def dominant(a):
    """A well conditioned matrix."""
    return square(a) + 4.0 * np.eye(square(a).shape[0])


def definite(a):
    """A well conditioned symmetric positive definite matrix."""
    return anp.dot(square(a), square(a).T) + 3.0 * np.eye(square(a).shape[0])


def separated(a):
    """A symmetric matrix with eigenvalues apart from each other and from 0."""
    m = square(a)
    return 0.2 * (m + m.T) + np.diag(3.0 * np.arange(1, m.shape[0] + 1))


# Pieces of rows


def spread_out(fun):
    """A row: fun of the array with its entries spread out, so that they stay in their order."""

    def operation(a, k):
        constants = spread(a.shape)
        return fun(a + constants) - fun(constants)

    return operation


def bilinear(fun, *shapes):
    """A row: fun of the operands in these shapes, perhaps one of them a constant."""

    def operation(a, b, k):
        return fun(*one_constant(*map(fit, (a, b), shapes), k))

    return operation


def einsum(subscripts, *shapes):
    """A row: a third operand is a again."""

    def operation(a, b, k):
        operands = one_constant(*map(fit, (a, b), shapes), k)
        if len(shapes) == 3:
            operands = *operands, fit(a, shapes[2])
        return anp.einsum(subscripts, *operands)

    return operation


def triangular(trans, lower, columns):
    """A row: the half of the matrix that is not read is not zero."""

    def operation(a, b, k):
        n = dominant(a).shape[0]
        left, right = one_constant(dominant(a), fit(b, (n, *columns)), k)
        return asl.solve_triangular(left + 4.0 * np.eye(n), right, trans=trans, lower=lower)

    return operation


def squared(z):
    return (anp.real(z) ** 2 + anp.imag(z) ** 2) / z.size


# Choices made by k


def axis_of(a, k):
    """An axis, counted from the front or from the back."""
    return k % (2 * a.ndim) - a.ndim


def axes_of(a, k):
    """None, an axis, or a tuple of axes."""
    choices = [None, axis_of(a, k // 4), (0,), (0, -1) if a.ndim > 1 else (-1,)]
    return choices[k % 4]


def rows_of(a, k):
    """Indices into the first axis, some of them repeated, some of them negative."""
    n = a.shape[0]
    return np.array([0, k % n, -1, 0, k % n])


def mask_of(shape, k):
    """A mask that is true somewhere."""
    mask = constant(shape, k) > 0.2
    mask.flat[k % mask.size] = True
    return mask


# Tables of operations: name -> function of (a, k), where a has at least one axis

INDEXING = {
    "a[i:]": lambda a, k: a[k % len(a) :],
    "a[:i]": lambda a, k: a[: 1 + k % len(a)],
    "a[-i:]": lambda a, k: a[-1 - k % len(a) :],
    "a[::2]": lambda a, k: a[::2],
    "a[::-1]": lambda a, k: a[::-1],
    "a[i::-2]": lambda a, k: a[k % len(a) :: -2],
    "a[..., ::-2]": lambda a, k: a[..., ::-2],
    "a[i]": lambda a, k: a[k % len(a)],
    "a[-1]": lambda a, k: a[-1],
    "a[..., 0]": lambda a, k: a[..., 0],
    "a[i, j, …]": lambda a, k: a[tuple(k % n for n in a.shape)],
    "a[...]": lambda a, k: a[...],
    "a[None]": lambda a, k: a[None],
    "a[:, None]": lambda a, k: a[:, None],
    "a[None, ..., None, ::2]": lambda a, k: a[None, ..., None, ::2],
    "m[0, None, ::-1]": lambda a, k: matrix(a)[0, None, ::-1],
    "a[rows]": lambda a, k: a[rows_of(a, k)],
    "a[list]": lambda a, k: a[[0, 0, -1]],
    "a[table]": lambda a, k: a[np.reshape(rows_of(a, k)[:4], (2, 2))],
    "a[rows] twice": lambda a, k: a[rows_of(a, k)][[1, 1, 0]],
    "m[rows, columns]": lambda a, k: matrix(a)[rows_of(matrix(a), k), rows_of(matrix(a).T, k + 1)],
    "m[ix_]": lambda a, k: matrix(a)[np.ix_(rows_of(matrix(a), k)[:3], rows_of(matrix(a).T, k))],
    "m[rows, ::2]": lambda a, k: matrix(a)[rows_of(matrix(a), k), ::2],
    "m[::-1, rows]": lambda a, k: matrix(a)[::-1, rows_of(matrix(a).T, k)],
    "m[0, rows]": lambda a, k: matrix(a)[0, rows_of(matrix(a).T, k)],
    "t[rows, :, rows]": lambda a, k: fit(a, (2, 3, 2))[[0, 1, 0], :, [1, 1, 1]],
    "t[:, rows, None]": lambda a, k: fit(a, (2, 3, 2))[:, [2, 0, 2], None],
    "a[mask]": lambda a, k: a[mask_of(a.shape, k)],
    "a[row mask]": lambda a, k: a[mask_of(a.shape[:1], k)],
    "m[mask, ::-1]": lambda a, k: matrix(a)[mask_of(matrix(a).shape[:1], k), ::-1],
    "m[:, mask]": lambda a, k: matrix(a)[:, mask_of(matrix(a).shape[1:], k)],
    "array of entries": lambda a, k: anp.array([a[i] for i in rows_of(a, k)[:2]]),
    "products of entries": lambda a, k: anp.array(
        [[anp.ravel(a)[0], 0.5], [anp.ravel(a)[-1] * anp.ravel(a)[0], anp.ravel(a)[-1]]]
    ),
    "sum of rows": lambda a, k: sum(row * row for row in few(a)) / len(few(a)),
}

SHAPING = {
    "reshape": lambda a, k: anp.reshape(a, a.shape[::-1]),
    "reshape (1, -1)": lambda a, k: a.reshape((1, -1)),
    "ravel": lambda a, k: anp.ravel(a),
    "flatten": lambda a, k: a.flatten(),
    "matrix": lambda a, k: matrix(a),
    "tensor": lambda a, k: fit(a, (2, 1, 3, 2)),
    ".T": lambda a, k: a.T,
    "transpose": lambda a, k: anp.transpose(
        a, list(permutations(range(a.ndim)))[k % math.factorial(a.ndim)]
    ),
    "swapaxes": lambda a, k: anp.swapaxes(a, axis_of(a, k), axis_of(a, k // 4)),
    "moveaxis": lambda a, k: anp.moveaxis(a, axis_of(a, k), axis_of(a, k // 4)),
    "rollaxis": lambda a, k: anp.rollaxis(a, k % a.ndim),
    "expand_dims": lambda a, k: anp.expand_dims(a, axis_of(a, k)),
    "squeeze": lambda a, k: anp.squeeze(a),
    "squeeze axis": lambda a, k: anp.squeeze(a[..., None, :], axis=-2),
    "repeat": lambda a, k: anp.repeat(a, 1 + k % 3),
    "repeat axis": lambda a, k: anp.repeat(a, 1 + k % 3, axis=k // 3 % a.ndim),
    "tile": lambda a, k: anp.tile(
        a, [(2,) * a.ndim, (1 + k % 3, *(1,) * (a.ndim - 1)), (2, *(1,) * a.ndim)][k % 3]
    ),
    "roll": lambda a, k: anp.roll(a, k - 3),
    "roll axis": lambda a, k: anp.roll(a, k - 3, axis=axis_of(a, k)),
    "broadcast_to": lambda a, k: anp.broadcast_to(a[None], (3, *a.shape)),
    "broadcast_to column": lambda a, k: anp.broadcast_to(few(a)[..., None], (*few(a).shape, 3)),
    "tril": lambda a, k: anp.tril(matrix(a), k % 4 - 2),
    "triu": lambda a, k: anp.triu(matrix(a), k % 4 - 2),
    "diag of matrix": lambda a, k: anp.diag(square(a), k % 3 - 1),
    "diag of vector": lambda a, k: anp.diag(vector(a)),
    "diagonal": lambda a, k: anp.diagonal(square(a), axis1=-1, axis2=-2),
    "diagonal of a batch": lambda a, k: anp.diagonal(fit(a, (3, 2, 2)), axis1=-1, axis2=-2),
    "make_diagonal": lambda a, k: anp.make_diagonal(few(a), axis1=-1, axis2=-2),
    "flipud": lambda a, k: anp.flipud(a),
    "fliplr": lambda a, k: anp.fliplr(matrix(a)),
    "rot90": lambda a, k: anp.rot90(matrix(a), k % 4),
    "split": lambda a, k: anp.array_split(a, 2)[0],
    "pad": lambda a, k: anp.pad(few(a), [(k % 3, 1)] * few(a).ndim, "constant"),
    "sort": lambda a, k: spread_out(anp.sort)(anp.ravel(a), k),
    "astype": lambda a, k: a.astype(float),
}

REDUCTIONS = {
    "mean": lambda a, k: anp.mean(a, axis=axes_of(a, k), keepdims=k % 5 < 2),
    "var": lambda a, k: anp.var(a, axis=axes_of(a, k), keepdims=k % 5 < 2),
    "std": lambda a, k: spread_out(partial(anp.std, axis=axes_of(a, k), keepdims=k % 5 < 2))(a, k),
    "prod": lambda a, k: anp.prod(
        1 + a / (1 + a.size), axis=[None, axis_of(a, k)][k % 2], keepdims=k % 5 < 2
    ),
    "max": lambda a, k: spread_out(partial(anp.max, axis=axes_of(a, k), keepdims=k % 5 < 2))(a, k),
    "min": lambda a, k: spread_out(partial(anp.min, axis=axes_of(a, k), keepdims=k % 5 < 2))(a, k),
    "logsumexp": lambda a, k: asp.logsumexp(a, axis=axes_of(a, k), keepdims=k % 5 < 2),
    "sum": lambda a, k: anp.sum(a, axis=axes_of(a, k), keepdims=k % 5 < 2),
    "trace": lambda a, k: anp.trace(square(a), offset=k % 3 - 1),
    "cumsum": lambda a, k: anp.cumsum(a),
    "cumsum axis": lambda a, k: anp.cumsum(a, axis=axis_of(a, k)),
    "diff": lambda a, k: anp.diff(anp.append(a, 0.5)),
}

ELEMENTWISE = {
    "sin": lambda a, k: anp.sin(a),
    "cos": lambda a, k: anp.cos(a),
    "tanh": lambda a, k: anp.tanh(a),
    "arctan": lambda a, k: anp.arctan(a),
    "square": lambda a, k: anp.square(a),
    "cube": lambda a, k: a**3,
    "negative": lambda a, k: -a,
    "expit": lambda a, k: asp.expit(a),
    "erf": lambda a, k: asp.erf(a),
    "exp": lambda a, k: anp.exp(anp.tanh(a)) / 3,
    "log": lambda a, k: anp.log(2 + a**2) / 2,
    "sqrt": lambda a, k: anp.sqrt(1 + a * a) / 2,
    "reciprocal": lambda a, k: anp.reciprocal(2 + anp.tanh(a)),
    "constant - a": lambda a, k: (constant(a.shape, k) - a) / 2,
    "a - constant": lambda a, k: (a - constant(a.shape[-1:], k)) / 2,
    "constant * a": lambda a, k: constant((2, 1), k) * vector(a),
    "a / constant": lambda a, k: a / (2 + constant(a.shape, k)),
    "constant / a": lambda a, k: constant(a.shape, k) / (2 + anp.tanh(a)),
    "constant ** a": lambda a, k: (2 + constant(a.shape, k)) ** a / 3,
    "a ** constant": lambda a, k: (2 + anp.tanh(a)) ** constant(a.shape, k) / 3,
    "abs": lambda a, k: anp.abs(a + 2) / 3,
    "clip": lambda a, k: anp.clip(a, -3, 3),
    "maximum": lambda a, k: anp.maximum(a, constant(a.shape, k) + [-3, 3][k % 2]) / 4,
    "real and imaginary": lambda a, k: anp.real(a * (1 + 2j)) / 4 - anp.imag(a * (1 + 2j)) / 4,
}

FOURIER = {
    "power spectrum": lambda a, k: (
        anp.abs(anp.fft.fft(few(a) + 2 + constant(few(a).shape))) ** 2 / 9
    ),
    "fft axis": lambda a, k: squared(anp.fft.fft(a, axis=axis_of(a, k))),
    "fft n": lambda a, k: squared(anp.fft.fft(a, n=5)),
    "ifft": lambda a, k: squared(anp.fft.ifft(a)),
    "fft2": lambda a, k: squared(anp.fft.fft2(matrix(a))),
    "fftn": lambda a, k: squared(anp.fft.fftn(a)),
    "rfft": lambda a, k: squared(anp.fft.rfft(anp.concatenate([anp.ravel(a), anp.ravel(a)]))),
    "fft and back": lambda a, k: anp.real(anp.fft.ifft(constant(a.shape) * anp.fft.fft(a))),
    "fftshift": lambda a, k: anp.fft.fftshift(a),
}

LINALG = {
    "inv": lambda a, k: anp.linalg.inv(dominant(a)),
    "inv of a batch": lambda a, k: anp.linalg.inv(fit(a, (2, 2, 2)) + 4 * np.eye(2)),
    "cholesky": lambda a, k: anp.linalg.cholesky(definite(a)),
    "det": lambda a, k: anp.linalg.det(dominant(a)) / 100,
    "slogdet": lambda a, k: anp.linalg.slogdet(dominant(a))[1],
    "slogdet of a batch": lambda a, k: anp.linalg.slogdet(fit(a, (2, 2, 2)) + 4 * np.eye(2))[1],
    "eigenvalues": lambda a, k: anp.linalg.eigh(separated(a))[0] / 10,
    "sqrtm": lambda a, k: asl.sqrtm(definite(a)),
    "pinv": lambda a, k: anp.linalg.pinv(dominant(a)),
    "svd": lambda a, k: anp.linalg.svd(separated(a), compute_uv=False) / 10,
    "norm": lambda a, k: anp.linalg.norm(2 + a),
    "norm ord": lambda a, k: anp.linalg.norm(2 + anp.ravel(a), [2, 3, 4][k % 3]),
    "norm axis": lambda a, k: anp.linalg.norm(2 + a, axis=axis_of(a, k)),
    "frobenius": lambda a, k: anp.linalg.norm(2 + matrix(a), "fro"),
}


# Tables of operations: name -> function of (a, b, k), where a has at least one axis

ARITHMETIC = {
    "add": lambda a, b, k: (a + like(b, a, k)) / 2,
    "add to": lambda a, b, k: (like(b, a, k) + a) / 2,
    "subtract": lambda a, b, k: (a - like(b, a, k)) / 2,
    "subtract from": lambda a, b, k: (like(b, a, k) - a) / 2,
    "multiply": lambda a, b, k: a * like(b, a, k),
    "multiply by": lambda a, b, k: like(b, a, k) * a,
    "divide": lambda a, b, k: a / (2 + anp.tanh(like(b, a, k))),
    "divide by": lambda a, b, k: like(b, a, k) / (2 + anp.tanh(a)),
    "power": lambda a, b, k: (2 + anp.tanh(a)) ** like(b, a, k) / 3,
    "power of": lambda a, b, k: (2 + anp.tanh(like(b, a, k))) ** a / 3,
    "column * row": lambda a, b, k: vector(a)[:, None] * vector(b)[None, :],
    "row - column": lambda a, b, k: (vector(a) - vector(b)[:, None]) / 2,
    "column / row": lambda a, b, k: vector(a)[:, None] / (2 + anp.tanh(vector(b))),
    "logaddexp": lambda a, b, k: anp.logaddexp(a, like(b, a, k)) / 4,
    "arctan2": lambda a, b, k: anp.arctan2(a, 2 + anp.tanh(like(b, a, k))),
    "maximum of two": lambda a, b, k: anp.maximum(a + 3, like(b, a, k)) / 4,
    "where constant": lambda a, b, k: anp.where(mask_of(a.shape, k), a, fit(b, a.shape)),
    "where scalar": lambda a, b, k: anp.where(mask_of(a.shape, k), fit(b, a.shape) * a, 0.5),
    # Smooth enough where the mask changes, even for differences.
    "where positive": lambda a, b, k: anp.where(a > 0, a**5 * fit(b, a.shape), a**6),
}

JOINING = {
    "concatenate": lambda a, b, k: anp.concatenate([anp.ravel(a), anp.ravel(b)]),
    "concatenate twice": lambda a, b, k: anp.concatenate([few(a), fit(b, few(a).shape), few(a)]),
    "concatenate axis": lambda a, b, k: anp.concatenate(
        (a, fit(b, a.shape), constant(a.shape)), axis=axis_of(a, k)
    ),
    "concatenate empty": lambda a, b, k: anp.concatenate(
        [anp.ravel(a)[:0], anp.ravel(b), anp.ravel(a)]
    ),
    "stack": lambda a, b, k: anp.stack([a, fit(b, a.shape)], axis=k % (a.ndim + 1)),
    "stack twice": lambda a, b, k: anp.stack([few(a), fit(b, few(a).shape), few(a)]),
    "hstack": lambda a, b, k: anp.hstack([a, fit(b, a.shape)]),
    "vstack": lambda a, b, k: anp.vstack([a, fit(b, a.shape), constant(a.shape, k)]),
    "append": lambda a, b, k: anp.append(a, b),
    "array of arrays": lambda a, b, k: anp.array([few(a), fit(b, few(a).shape)]),
    "array of numbers": lambda a, b, k: anp.array([anp.sum(a) / a.size, anp.ravel(b)[0], 0.5]),
}

SOLVING = {
    "solve": lambda a, b, k: anp.linalg.solve(dominant(a), fit(b, dominant(a).shape)),
    "solve vector": lambda a, b, k: anp.linalg.solve(dominant(a), fit(b, dominant(a).shape[:1])),
    "solve constant matrix": lambda a, b, k: (
        anp.linalg.solve(dominant(constant((3, 3), k)), fit(a, (3,))) * fit(b, (3,))
    ),
    "solve constant vector": lambda a, b, k: anp.linalg.solve(
        dominant(a * fit(b, a.shape)), constant(dominant(a).shape[:1], k)
    ),
    **{
        f"solve_triangular {'lower' if lower else 'upper'} {trans} {columns}": triangular(
            trans, lower, columns
        )
        for trans in (0, 1, "T")
        for lower in (False, True)
        for columns in ((), (2,))
    },
    "solve batch": lambda a, b, k: anp.linalg.solve(
        fit(a, (2, 2, 2)) + 4 * np.eye(2), fit(b, (2, 2, 3))
    ),
}


# Shapes are written as their digits: "23" is (2, 3), and "-" is ().
PRODUCTS = {
    f"{name} {pair}": bilinear(
        fun, *(tuple(int(n) for n in digits.strip("-")) for digits in pair.split())
    )
    for name, fun, pairs in [
        ("dot", anp.dot, "- -, - 23, 23 -, 3 3, 3 32, 23 3, 23 32"),
        ("dot", anp.dot, "3 232, 23 232, 223 3, 223 32, 223 232"),
        ("matmul", anp.matmul, "3 3, 3 32, 23 3, 23 32, 3 232, 223 3, 223 32"),
        ("matmul", anp.matmul, "23 232, 223 232, 123 231, 2123 332"),
        ("inner", anp.inner, "- 3, 23 -, 3 3, 23 3, 3 23, 23 43, 223 23"),
        ("outer", anp.outer, "1 3, 3 4"),
        ("kron", anp.kron, "3 2, 22 23, 13 21, 3 22, 22 3"),
        ("cross", anp.cross, "3 3, 23 23"),
        ("convolve", convolve, "4 2, 3 3"),
        ("convolve valid", partial(convolve, mode="valid"), "5 2, 33 22"),
        ("tensordot 0", partial(anp.tensordot, axes=0), "3 2, 22 3"),
        ("tensordot 1", partial(anp.tensordot, axes=1), "23 32, 223 32"),
        ("tensordot 2", partial(anp.tensordot, axes=2), "23 23, 223 232"),
        ("tensordot pair", partial(anp.tensordot, axes=(0, 1)), "32 23"),
        ("tensordot pairs", partial(anp.tensordot, axes=([0, 2], [1, 0])), "322 23, 312 232"),
        ("tensordot from the back", partial(anp.tensordot, axes=([-1], [0])), "23 32, 3 32"),
        ("einsum lists", lambda a, b: anp.einsum(a, [0, 1], b, [1, 2], [2, 0]), "23 32"),
        (
            "einsum lists, ellipsis",
            lambda a, b: anp.einsum(a, [..., 0, 1], b, [..., 1, 2], [..., 0, 2]),
            "223 232, 23 32",
        ),
        ("einsum one list", lambda a, b: anp.einsum(a, [0, 1], [1, 0]) + b, "23 32"),
    ]
    for pair in pairs.split(", ")
}

EINSUM = {
    f"einsum {subscripts} {' '.join(map(str, shapes))}": einsum(subscripts, *shapes)
    for subscripts, *shapes in [
        ("i,i", (3,), (3,)),
        ("i,i->i", (3,), (3,)),
        ("i,j->ji", (3,), (2,)),
        ("ij,jk->ik", (2, 3), (3, 2)),
        ("ij,kj->ik", (2, 3), (4, 3)),
        ("ji,jk->ki", (3, 2), (3, 2)),
        ("ij,ij->", (2, 3), (2, 3)),
        ("ij,ij->ij", (2, 3), (2, 3)),
        ("ij,i->ji", (2, 3), (2,)),
        ("ij,jk", (2, 3), (3, 2)),
        ("ba,ca", (2, 3), (2, 3)),
        ("ij,k->k", (2, 3), (2,)),
        ("ij,->j", (2, 3), ()),
        ("bij,bjk->bik", (2, 2, 3), (2, 3, 2)),
        ("bij,bj->bi", (2, 2, 3), (2, 3)),
        ("bij,jk->bk", (2, 2, 3), (3, 2)),
        ("bij,kj->kbi", (2, 2, 3), (3, 3)),
        ("...ij,jk->...ik", (2, 2, 3), (3, 2)),
        ("...i,...i->...", (2, 3), (2, 3)),
        ("...i,...i->...", (2, 3), (3,)),
        ("...ij,...jk", (2, 2, 3), (3, 2)),
        ("i...,i...->...i", (2, 3), (2, 3)),
        ("ij,jk,kl->il", (2, 3), (3, 2), (2, 3)),
        ("i,ij,j->", (3,), (3, 2), (2,)),
        ("ai,bi,ci->abc", (2, 3), (2, 3), (2, 3)),
        ("ij,jk,ki", (2, 3), (3, 2), (2, 2)),
    ]
}


# autograd differentiates with respect to operands without repeated labels only.
EINSUM |= {
    "einsum ii,i->i": lambda a, b, k: (
        anp.einsum("ii,i->i", constant((3, 3), k), fit(a, (3,))) * fit(b, (3,))
    ),
    "einsum ji,kk->ij": lambda a, b, k: (
        anp.einsum("ji,kk->ij", fit(a, (2, 3)), constant((2, 2), k)) * fit(b, (3, 2))
    ),
    "einsum ij,jj->i": lambda a, b, k: (
        anp.einsum("ij,jj->i", fit(a, (2, 3)), constant((3, 3), k)) * fit(b, (2,))
    ),
}

# Results are as modest as their operands (BOUNDED), or they grow and are scaled back (GROWING).
UNARY_BOUNDED = {"indexing": INDEXING, "shaping": SHAPING, "elementwise": ELEMENTWISE}
UNARY_GROWING = {"reductions": REDUCTIONS, "fourier": FOURIER, "linalg": LINALG}
BINARY_BOUNDED = {"arithmetic": ARITHMETIC, "joining": JOINING}
BINARY_GROWING = {"products": PRODUCTS, "einsum": EINSUM, "solving": SOLVING}

GROUPS = UNARY_BOUNDED | UNARY_GROWING | BINARY_BOUNDED | BINARY_GROWING
OPERATIONS = {name: row for rows in GROUPS.values() for name, row in rows.items()}
BINARY = {name for rows in (BINARY_BOUNDED | BINARY_GROWING).values() for name in rows}
GROWING = {name for rows in (UNARY_GROWING | BINARY_GROWING).values() for name in rows}


class Step(NamedTuple):
    """An operation on arrays of the pool, given by their positions."""

    operation: str
    operands: tuple[int, ...]
    k: int = 0

    def __call__(self, pool: list[Any]) -> Any:
        operands = [pool[i] if pool[i].ndim else anp.reshape(pool[i], (1,)) for i in self.operands]
        result = OPERATIONS[self.operation](*operands, self.k)
        if self.operation in GROWING:
            scale = 1 + max(12, operands[0].size)
            result = anp.tanh(result) if self.k < max(K) / 2 else result / scale
        if result.size > LARGEST_SIZE or result.ndim > LARGEST_NDIM:
            result = anp.ravel(result)[:LARGEST_SIZE]
        return result


@dataclass(frozen=True)
class RandomFunction:
    """A scalar function of a vector of this size, smooth and finite for entries in [-1, 1].

    The value sums up the arrays that no step takes, or with keep_all every array.
    """

    size: int
    steps: tuple[Step, ...]
    keep_all: bool = False

    def __call__(self, x: Any) -> Any:
        taken = {i for step in self.steps for i in step.operands}
        value = 0.0
        for i, array in enumerate(self.pool(x)):
            if self.keep_all or i not in taken:
                value = value + anp.mean(anp.sin(array + 0.3 * i + 0.2) * (1.0 + array))
        return value

    def pool(self, x: Any) -> list[Any]:
        """The argument and the result of each step."""
        pool = [x]
        for step in self.steps:
            pool.append(step(pool))
        return pool

    def point(self, seed: int = 0) -> np.ndarray:
        """A point in [-1, 1]."""
        return np.random.default_rng(seed).uniform(-1.0, 1.0, self.size)

    def __repr__(self) -> str:
        lines = [
            f"        Step{tuple(step)!r},  # p{i} {array.shape}\n"
            for i, (step, array) in enumerate(
                zip(self.steps, self.pool(self.point())[1:], strict=True), 1
            )
        ]
        steps = "".join(["(\n", *lines, "    )"]) if lines else "()"
        return f"RandomFunction(\n    {self.size},\n    {steps},\n    {self.keep_all},\n)"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # hypothesis would print the fields


def function_of(
    size: int, steps: list[tuple[str, int, int, int]], keep_all: bool
) -> RandomFunction:
    """The function of steps (name, i, j, k), where i and j are taken modulo the pool's length."""
    return RandomFunction(
        size,
        tuple(
            Step(name, (i % length, j % length) if name in BINARY else (i % length,), k)
            for length, (name, i, j, k) in enumerate(steps, 1)
        ),
        keep_all,
    )


NAMES = st.one_of([st.sampled_from(list(rows)) for rows in GROUPS.values()])
SIZES = st.integers(2, 12)
POSITIONS = st.integers(0, 59)
STEPS = st.lists(st.tuples(NAMES, POSITIONS, POSITIONS, st.sampled_from(K)), min_size=1, max_size=8)


@st.composite
def functions(draw: Callable[..., Any]) -> RandomFunction:
    """Random functions of vectors; each has a point and a printable program."""
    return function_of(draw(SIZES), draw(STEPS), draw(st.booleans()))
