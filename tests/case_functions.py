"""Test functions written with ``autograd.numpy``, and their Hessians in plain NumPy.

A formula takes the arguments of its function and gives the Hessian of shape (n, n).
"""

from functools import partial

import autograd.numpy as anp
import autograd.scipy.linalg as asl
import autograd.scipy.special as asp
import autograd.scipy.stats as astats
import numpy as np
import scipy.linalg
import scipy.special
import scipy.stats
from autograd import grad
from autograd.extend import defvjp, primitive
from autograd.scipy.signal import convolve


def as_matrix(tensor):
    """A Hessian tensor of shape (*s, *s) as a matrix."""
    n = int(np.sqrt(tensor.size))
    return tensor.reshape(n, n)


# Polynomials and elementwise functions


def quadratic(x, matrix, vector):
    return 0.5 * anp.dot(x, anp.dot(matrix, x)) - anp.dot(vector, x)


def rosenbrock(x):
    return anp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def rosenbrock_hessian(x):
    diagonal = np.zeros(x.size)
    diagonal[:-1] = 1200.0 * x[:-1] ** 2 - 400.0 * x[1:] + 2.0
    diagonal[1:] += 200.0
    return np.diag(diagonal) + np.diag(-400.0 * x[:-1], 1) + np.diag(-400.0 * x[:-1], -1)


def pearlmutter(x):
    return x[0] ** 2 * x[1] + anp.sin(x[1])


def pearlmutter_hessian(x):
    return np.array([[2 * x[1], 2 * x[0]], [2 * x[0], -np.sin(x[1])]])


def product_hessian(x):
    off_diagonal = np.prod(x) / np.outer(x, x)
    return off_diagonal - np.diag(np.diag(off_diagonal))


def norm_hessian(x):
    length = np.linalg.norm(x)
    return np.eye(x.size) / length - np.outer(x, x) / length**3


def column_norms_hessian(x):
    lengths = np.linalg.norm(x, axis=0)
    same_column, same_row = np.eye(x.shape[1]), np.eye(x.shape[0])
    return as_matrix(
        np.einsum("jl,ik,j->ijkl", same_column, same_row, 1 / lengths)
        - np.einsum("jl,ij,kj,j->ijkl", same_column, x, x, lengths**-3)
    )


def powers(x):
    return anp.sum(x["base"] ** x["exponent"])


def powers_hessian(x):
    base, exponent = x["base"], x["exponent"]
    base_base = exponent * (exponent - 1) * base ** (exponent - 2)
    mixed = base ** (exponent - 1) * (1 + exponent * np.log(base))
    exponent_exponent = base**exponent * np.log(base) ** 2
    return np.block(
        [[np.diag(base_base), np.diag(mixed)], [np.diag(mixed), np.diag(exponent_exponent)]]
    )


def elementary_functions(x):
    return anp.sum(anp.sin(x) + anp.cosh(x) + anp.arctan(x) + anp.log1p(x**2) + anp.exp(-x))


def elementary_second_derivative(x):
    arctan = -2 * x / (1 + x**2) ** 2
    log1p = 2 * (1 - x**2) / (1 + x**2) ** 2
    return -np.sin(x) + np.cosh(x) + arctan + log1p + np.exp(-x)


def huber(x):
    return anp.sum(anp.where(anp.abs(x) < 1.0, 0.5 * x**2, anp.abs(x) - 0.5))


def lattice_energy(x):
    bonds = (anp.roll(x, 1, axis=0) - x) ** 2 + (anp.roll(x, 1, axis=1) - x) ** 2
    return anp.sum(0.5 * bonds + 0.25 * (x**2 - 1.0) ** 2)


def lattice_hessian(x):
    def periodic_laplacian(n):
        shift = np.roll(np.eye(n), 1, axis=0)
        return 2 * np.eye(n) - shift - shift.T

    rows, columns = x.shape
    return (
        np.kron(periodic_laplacian(rows), np.eye(columns))
        + np.kron(np.eye(rows), periodic_laplacian(columns))
        + np.diag(np.ravel(3 * x**2 - 1))
    )


def interference(x):
    amplitude = anp.sum(anp.exp(1j * x))
    return anp.real(amplitude * anp.conj(amplitude))


def interference_hessian(x):
    cosines = np.cos(x[:, None] - x[None, :])
    return 2 * cosines - np.diag(2 * np.sum(cosines, axis=1))


def polar_coordinates(x):
    radius = anp.hypot(x[:, 0], x[:, 1])
    angle = anp.arctan2(x[:, 1], x[:, 0])
    return anp.sum(radius**3 * anp.cos(3 * angle)) + anp.prod(angle)


# Indexing and shapes


def reversed_slices(x):
    return anp.dot(x[::-2] ** 2, x[1::2]) + x[-1] * anp.sum(x[5:1:-1] ** 3)


def ellipsis_and_newaxis(x):
    return anp.sum(anp.sin(x[..., 0, None] * x[:, -1, None, :3]))


def matrix_entries(x):
    rows, columns = np.array([0, 2, 2, 1, 0]), np.array([1, 3, 3, 0, 1])
    return anp.sum(anp.exp(x[rows, columns])) * anp.sum(x[[0, 0, 2]] ** 2)


def triangles_and_diagonals(x):
    return anp.sum(anp.sin(anp.tril(x) @ anp.triu(x, 1))) + anp.trace(x @ x) * anp.sum(
        anp.diag(x) ** 2
    )


def rearranged_axes(x):
    wide = anp.reshape(anp.transpose(x, (2, 0, 1)), (4, 6))
    back = anp.reshape(anp.swapaxes(wide, 0, 1), (3, 2, 4))
    return anp.sum(anp.moveaxis(back, 0, 1) * x**2) + anp.sum(anp.tanh(wide) ** 2)


def joined_pieces(x):
    first, second = anp.split(x, 2)
    joined = anp.concatenate([first**2, anp.sin(second), first * second])
    stacked = anp.stack([first, second, first], axis=1)
    return (
        anp.sum(joined[1:] * joined[:-1])
        + anp.sum(anp.hstack([first, x]) ** 3 / 3)
        + anp.sum(stacked @ stacked.T)
    )


def tiled_and_repeated(x):
    return anp.sum(anp.tile(x, 3) ** 2 * anp.repeat(x, 3)) + anp.sum(
        anp.repeat(anp.reshape(x, (2, 3)), 2, axis=1) ** 3
    )


def padded_and_flipped(x):
    padded = anp.pad(x, ((1, 1), (0, 2)), mode="constant")
    return anp.sum(padded[1:] * padded[:-1] * padded[1:, ::-1]) + anp.sum(
        anp.exp(anp.flipud(x) * x)
    )


def cumulative_cubes_hessian(x):
    ones_below = np.tril(np.ones((x.size, x.size)))
    return ones_below.T @ np.diag(np.cumsum(x)) @ ones_below


def second_differences_hessian(x):
    differences = np.diff(np.eye(x.size), n=2, axis=0)
    return differences.T @ differences


# Reductions


def weighted_variance_hessian(x, weights):
    rows = x.shape[0]
    centering = np.eye(rows) - np.ones((rows, rows)) / rows
    return np.kron(2 * centering / rows, np.diag(weights))


def log_sum_exp_hessian(x):
    p = scipy.special.softmax(x)
    return np.diag(p) - np.outer(p, p)


def layer_normalisation(x):
    centred = x - anp.mean(x, axis=1, keepdims=True)
    return anp.sum((centred / anp.std(x, axis=1, keepdims=True)) ** 3)


def row_maxima_second_derivative(x):
    return np.where(x == np.max(x, axis=1, keepdims=True), 6 * x, 0.0)


# Contractions


def cubic_form_hessian(x, tensor):
    return np.einsum("ijk,k->ij", sum_over_permutations(tensor), x)


def sum_over_permutations(tensor):
    orders = ("ijk", "ikj", "jik", "jki", "kij", "kji")
    return sum(np.einsum(f"{order}->ijk", tensor) for order in orders)


def factorisation(x, target):
    residual = anp.einsum("ia,aj->ij", x["left"], x["right"]) - target
    return 0.5 * anp.einsum("ij,ij->", residual, residual)


def factorisation_hessian(x, target):
    left, right = x["left"], x["right"]
    rank = np.eye(left.shape[1])
    left_left = np.kron(np.eye(left.shape[0]), right @ right.T)
    right_right = np.kron(left.T @ left, np.eye(right.shape[1]))
    mixed = np.einsum("ib,aj->iabj", left, right)
    mixed += np.einsum("ij,ab->iabj", left @ right - target, rank)
    mixed = mixed.reshape(left.size, right.size)
    return np.block([[left_left, mixed], [mixed.T, right_right]])


def inner_and_outer(x):
    return anp.sum(anp.inner(x, x[:2]) ** 2) + anp.sum(anp.sin(anp.outer(x[0], x[1])))


# Linear algebra


def log_determinant_hessian(x):
    inverse = np.linalg.inv(x)
    return as_matrix(-np.einsum("jk,li->ijkl", inverse, inverse))


def determinant_hessian(x):
    inverse = np.linalg.inv(x)
    minors = np.einsum("ji,lk->ijkl", inverse, inverse) - np.einsum("jk,li->ijkl", inverse, inverse)
    return as_matrix(np.linalg.det(x) * minors)


def trace_of_inverse_hessian(x, matrix):
    inverse = np.linalg.inv(x)
    sandwich = inverse @ matrix @ inverse
    return as_matrix(
        np.einsum("jk,li->ijkl", inverse, sandwich) + np.einsum("li,jk->ijkl", inverse, sandwich)
    )


def fourth_powers_of_singular_values_hessian(x):
    # Their sum is tr((x.T x)^2), a polynomial.
    rows, columns = np.eye(x.shape[0]), np.eye(x.shape[1])
    return 4 * as_matrix(
        np.einsum("ik,jl->ijkl", x @ x.T, columns)
        + np.einsum("il,kj->ijkl", x, x)
        + np.einsum("ik,jl->ijkl", rows, x.T @ x)
    )


def symmetric(x):
    return 0.5 * (x + x.T)


def gram(x):
    return x @ x.T + anp.eye(x.shape[0])


def cholesky_entries(x):
    factor = anp.linalg.cholesky(gram(x))
    return anp.sum(anp.log(anp.diag(factor))) + anp.sum(anp.tanh(factor))


def symmetric_eigenvectors(x):
    values, vectors = anp.linalg.eigh(symmetric(x))
    # Even powers, since the sign of an eigenvector is arbitrary.
    return anp.sum(vectors[:, 0] ** 4 * anp.arange(1.0, 5.0)) + values[0] * values[-1]


def triangular_solution(x, vector):
    factor = anp.tril(x) + 3.0 * anp.eye(x.shape[0])
    forward = asl.solve_triangular(factor, vector, lower=True)
    return anp.sum(forward**2) + anp.sum(
        asl.solve_triangular(factor, forward, trans="T", lower=True)
    )


# Special functions


def beta_hessian(x):
    a, b = x["a"], x["b"]
    both = scipy.special.polygamma(1, a + b)
    return np.block(
        [
            [np.diag(scipy.special.polygamma(1, a) - both), np.diag(-both)],
            [np.diag(-both), np.diag(scipy.special.polygamma(1, b) - both)],
        ]
    )


def expit_second_derivative(x):
    p = scipy.special.expit(x)
    return p * (1 - p) * (1 - 2 * p)


# Likelihoods


def regression_formula(weight_of_row):
    """X^T diag(w) X for a loss that is a sum over the rows of X @ x."""
    return lambda x, features, *rest: (features.T * weight_of_row(features @ x, *rest)) @ features


def logistic_weight(scores, labels):
    p = scipy.special.expit(scores)
    return p * (1 - p)


def logistic_loss(x, features, labels):
    scores = anp.dot(features, x)
    return anp.sum(anp.logaddexp(0.0, scores) - labels * scores)


def softmax_loss(x, features, classes):
    scores = anp.dot(features, x)
    chosen = scores[anp.arange(len(classes)), classes]
    return anp.sum(asp.logsumexp(scores, axis=1) - chosen)


def softmax_hessian(x, features, classes):
    p = scipy.special.softmax(features @ x, axis=1)
    covariance = np.einsum("mp,pq->mpq", p, np.eye(x.shape[1])) - np.einsum("mp,mq->mpq", p, p)
    return as_matrix(np.einsum("ma,mb,mpq->apbq", features, features, covariance))


def normal_loss(x, data):
    return -anp.sum(astats.norm.logpdf(data, x["mean"], anp.exp(x["log_scale"])))


def normal_loss_hessian(x, data):
    precision = np.exp(-2 * x["log_scale"])
    residual = data - x["mean"]
    mixed = 2 * np.sum(residual) * precision
    return np.array([[2 * np.sum(residual**2) * precision, mixed], [mixed, data.size * precision]])


def probit_weight(scores):
    ratio = np.exp(scipy.stats.norm.logpdf(scores) - scipy.stats.norm.logcdf(scores))
    return ratio * (ratio + scores)


def student_weight(scores, targets):
    squared = (targets - scores) ** 2
    return 5.0 * (4.0 - squared) / (4.0 + squared) ** 2


def beta_loss(x, data):
    return -anp.sum(astats.beta.logpdf(data, x["a"], x["b"]))


def beta_loss_hessian(x, data):
    return data.size * beta_hessian({name: np.reshape(value, 1) for name, value in x.items()})


def gamma_loss_hessian(x):
    shape, y = x["shape"], x["y"]
    shape_shape, mixed = np.diag(scipy.special.polygamma(1, shape)), np.diag(-1 / y)
    return np.block([[shape_shape, mixed], [mixed, np.diag((shape - 1) / y**2)]])


def dirichlet_hessian(x, proportions):
    trigamma = partial(scipy.special.polygamma, 1)
    return np.diag(trigamma(x)) - trigamma(np.sum(x))


def multivariate_normal_loss(x, data):
    factor = anp.tril(x["factor"])
    covariance = factor @ factor.T + anp.eye(factor.shape[0])
    return -anp.sum(astats.multivariate_normal.logpdf(data, x["mean"], covariance))


def gaussian_mixture(x, data):
    scales = anp.exp(x["log_scales"])
    weights = x["logits"] - asp.logsumexp(x["logits"])
    distances = (data[:, None] - x["means"]) / scales
    return -anp.sum(asp.logsumexp(weights - anp.log(scales) - 0.5 * distances**2, axis=1))


def squared_exponential(x, points):
    scaled = points / anp.exp(x["log_lengthscales"])
    squared = anp.sum((scaled[:, None] - scaled[None, :]) ** 2, axis=-1)
    noise = anp.exp(x["log_noise"]) * anp.eye(len(points))
    return anp.exp(x["log_amplitude"] - 0.5 * squared) + noise


def evidence_by_determinant(x, points, targets):
    covariance = squared_exponential(x, points)
    fit = anp.dot(targets, anp.linalg.solve(covariance, targets))
    return 0.5 * (fit + anp.linalg.slogdet(covariance)[1])


def evidence_by_cholesky(x, points, targets):
    factor = anp.linalg.cholesky(squared_exponential(x, points))
    whitened = asl.solve_triangular(factor, targets, lower=True)
    return 0.5 * anp.dot(whitened, whitened) + anp.sum(anp.log(anp.diag(factor)))


# Fourier transforms and convolutions


def circular_convolution_loss(x, kernel, target):
    convolved = anp.real(anp.fft.ifft(anp.fft.fft(kernel) * anp.fft.fft(x)))
    return 0.5 * anp.sum((convolved - target) ** 2)


def circular_convolution_hessian(x, kernel, target):
    circulant = scipy.linalg.circulant(kernel)
    return circulant.T @ circulant


def log_power_spectrum(x):
    spectrum = anp.fft.rfft(x)
    return anp.sum(anp.log(1.0 + anp.real(spectrum) ** 2 + anp.imag(spectrum) ** 2))


def convolution_loss(x, kernel, target):
    return 0.5 * anp.sum((convolve(x, kernel) - target) ** 2)


def convolution_hessian(x, kernel, target):
    columns = [np.convolve(unit, kernel) for unit in np.eye(x.size)]
    return np.inner(columns, columns)


def filtered_image(x, image):
    return anp.sum(anp.tanh(convolve(image, x["filter"], mode="valid") + x["bias"]) ** 2)


# Networks and parameter trees


def tanh_network(x, inputs, targets):
    hidden = anp.tanh(anp.dot(inputs, x["hidden"]["weights"]) + x["hidden"]["bias"])
    outputs = anp.dot(hidden, x["output"]["weights"]) + x["output"]["bias"]
    return anp.mean((outputs - targets) ** 2)


def layered_network(x, inputs, classes):
    activations = inputs
    for weights, bias in x[:-1]:
        activations = anp.tanh(activations @ weights + bias)
    weights, bias = x[-1]
    return softmax_loss(weights, activations, classes) + anp.sum(bias**2)


def noisy_regression(x, inputs, targets):
    residual = (inputs @ x.weights + x.bias - targets) / anp.exp(x.log_noise)
    return 0.5 * anp.sum(residual**2) + len(targets) * x.log_noise


def recurrent_network(x, inputs):
    state = anp.zeros(3)
    total = 0.0
    for entry in inputs:
        cell = x["cell"]
        state = anp.tanh(cell["state"] @ state + cell["input"] @ entry + cell["bias"])
        total = total + (anp.dot(x["readout"], state) - entry[0]) ** 2
    return total


def attention(x, tokens):
    scores = (tokens @ x["query"]) @ (tokens @ x["key"]).T / anp.sqrt(3.0)
    weights = anp.exp(scores - asp.logsumexp(scores, axis=1, keepdims=True))
    return anp.sum(anp.tanh(weights @ tokens @ x["value"]) ** 2)


def with_unused_leaf(x):
    return anp.sum(anp.exp(x["used"])) * x["scale"] ** 2


def unused_leaf_hessian(x):
    exponentials, scale = np.exp(x["used"]), x["scale"]
    result = np.zeros((6, 6))
    result[0, 0] = 2 * np.sum(exponentials)
    result[0, 3:] = result[3:, 0] = 2 * scale * exponentials
    result[3:, 3:] = np.diag(scale**2 * exponentials)
    return result


def mixed_tree(x):
    (first, second), third = x["pair"], x["list"][0]["deep"]
    return anp.sum(anp.sin(first * second)) * x["scalar"] + anp.sum(third**3) * x["list"][1]


# Programs: loops, branches, derivatives and primitives inside the function


def predator_prey_fit(x, observed, step):
    def slope(state):
        prey, predator = state
        a, b, c, d = anp.exp(x["log_rates"])
        return anp.array([a * prey - b * prey * predator, c * prey * predator - d * predator])

    state = anp.exp(x["log_start"])
    misfit = 0.0
    for target in observed:
        k1 = slope(state)
        k2 = slope(state + 0.5 * step * k1)
        k3 = slope(state + 0.5 * step * k2)
        k4 = slope(state + step * k3)
        state = state + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        misfit = misfit + anp.sum((anp.log(state) - target) ** 2)
    return misfit


def babylonian_root(x):
    root = x
    for _ in range(8):
        root = 0.5 * (root + x / root)
    return anp.sum(root)


def branching(x):
    if x[0] > 0:
        return anp.sum(x**4)
    return anp.sum(x**2)


def squared_gradient(x):
    slopes = grad(lambda y: anp.sum(y**4))(x)
    return 0.5 * anp.sum(slopes**2)


def gradient_step(x):
    def loss(y):
        return anp.sum(anp.log(anp.cosh(y))) + anp.prod(y)

    return loss(x - 0.3 * grad(loss)(x))


@primitive
def softplus(x):
    return np.logaddexp(0.0, x)


defvjp(softplus, lambda ans, x: lambda g: g / (1.0 + anp.exp(-x)))
