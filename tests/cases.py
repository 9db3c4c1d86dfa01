"""The table of test functions: a name, a function, a point, and the exact Hessian at that point.

Each Hessian comes from a route that shares no code with the library under test: a formula written
in plain NumPy (tag "closed-form") or ``autograd.hessian`` of the function of the flat vector.
The flat vector is optree's leaves in order (dict keys sorted), each raveled in C order.

Tags
----
closed-form        the Hessian is a formula in plain NumPy
linear             the Hessian is zero
no-jvp             forward-over-reverse is not available: autograd lacks a JVP on the way
positive-definite  the smallest eigenvalue is above a thousandth of the largest
tree               x is a container, not an array or a scalar
"""

from collections import namedtuple
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import autograd.numpy as anp
import autograd.scipy.linalg as asl
import autograd.scipy.special as asp
import autograd.scipy.stats as astats
import case_functions as functions
import numpy as np
import optree
import scipy.linalg
import scipy.special
import scipy.stats
from autograd import hessian
from autograd.scipy.signal import convolve


# Compared by identity: comparing the arrays inside would have no single truth value.
@dataclass(frozen=True, eq=False)
class Case:
    """A function of (x, *args), a point x, and the exact Hessian of shape (n, n) there."""

    name: str
    fun: Callable[..., Any]
    x: Any
    hessian: Callable[[], np.ndarray]
    args: tuple = ()
    tags: frozenset[str] = frozenset()


# Trees and flat vectors


def flat(tree: Any) -> np.ndarray:
    """Leaves of the tree, raveled and concatenated: shape (n,)."""
    return np.concatenate([np.ravel(leaf) for leaf in optree.tree_leaves(tree)]).astype(float)


def flat_function(fun: Callable, x: Any, args: tuple = ()) -> Callable:
    """The function of the flat vector of shape (n,) that equals fun(tree, *args)."""
    leaves, structure = optree.tree_flatten(x)
    shapes = [np.shape(leaf) for leaf in leaves]
    ends = np.cumsum([np.size(leaf) for leaf in leaves])

    def of_vector(vector):
        parts = [
            anp.reshape(vector[end - int(np.prod(shape)) : end], shape)
            for shape, end in zip(shapes, ends, strict=True)
        ]
        return fun(optree.tree_unflatten(structure, parts), *args)

    return of_vector


def dense_hessian(fun: Callable, x: Any, args: tuple = ()) -> np.ndarray:
    """The Hessian of shape (n, n) by ``autograd.hessian`` of the flat function."""
    vector = flat(x)
    # A result of shape (1, 1) gives a Hessian of shape (1, 1, n, n).
    return np.reshape(hessian(flat_function(fun, x, args))(vector), (vector.size, vector.size))


def closed_form(name, fun, x, formula, *, args: tuple = (), tags: Iterable[str] = ()) -> Case:
    """A case whose Hessian is formula(x, *args)."""
    return Case(name, fun, x, partial(formula, x, *args), args, all_tags(x, {"closed-form", *tags}))


def separable(
    name, fun, x, second_derivative, *, args: tuple = (), tags: Iterable[str] = ()
) -> Case:
    """A sum over the entries of x: a diagonal Hessian, from the second derivative of each entry."""

    def formula(x, *args):
        return np.diag(np.ravel(second_derivative(x, *args)))

    return closed_form(name, fun, x, formula, args=args, tags=tags)


def by_autograd(name, fun, x, *, args: tuple = (), tags: Iterable[str] = ()) -> Case:
    """A case whose Hessian comes from ``autograd.hessian``."""
    return Case(name, fun, x, partial(dense_hessian, fun, x, args), args, all_tags(x, tags))


def all_tags(x: Any, tags: Iterable[str]) -> frozenset[str]:
    is_tree = isinstance(x, dict | list | tuple)
    return frozenset(tags) | (frozenset({"tree"}) if is_tree else frozenset())


# Fixed data: each array has a seed of its own, so that a new case changes no other


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def uniform(seed, low, high, *shape):
    return np.random.default_rng(seed).uniform(low, high, shape)


def positive_definite(seed, n):
    factor = normal(seed, n, n)
    return factor @ factor.T / n + np.eye(n)


# Polynomials and elementwise functions

AWAY_FROM_KINKS = np.array([-2.1, -0.6, -0.3, 0.2, 0.7, 1.6, 2.4])

ELEMENTWISE = (
    closed_form(
        "quadratic",
        functions.quadratic,
        normal(1, 8),
        lambda x, matrix, vector: matrix,
        args=(positive_definite(2, 8), normal(3, 8)),
        tags={"positive-definite"},
    ),
    closed_form(
        "linear",
        lambda x, slopes: anp.dot(slopes, x),
        normal(4, 6),
        lambda x, slopes: np.zeros((x.size, x.size)),
        args=(normal(5, 6),),
        tags={"linear"},
    ),
    closed_form(
        "one-by-one-result",
        lambda x, matrix: x.T @ matrix @ x,
        normal(6, 5, 1),
        lambda x, matrix: matrix + matrix.T,
        args=(normal(7, 5, 5),),
    ),
    separable("sum-of-cubes", lambda x: anp.sum(x**3), normal(8, 7), lambda x: 6 * x),
    closed_form(
        "scalar-fourth-power",
        lambda x: x**4,
        1.3,
        lambda x: np.array([[12 * x**2]]),
        tags={"positive-definite"},
    ),
    separable(
        "single-entry",
        lambda x: anp.sum(anp.exp(2 * x)),
        np.array([0.7]),
        lambda x: 4 * np.exp(2 * x),
        tags={"positive-definite"},
    ),
    closed_form(
        "rosenbrock", functions.rosenbrock, uniform(9, -1.5, 1.5, 10), functions.rosenbrock_hessian
    ),
    closed_form(
        "pearlmutter", functions.pearlmutter, np.array([0.8, -1.7]), functions.pearlmutter_hessian
    ),
    closed_form("product", anp.prod, uniform(10, 0.5, 1.5, 6), functions.product_hessian),
    closed_form("euclidean-norm", anp.linalg.norm, normal(11, 6), functions.norm_hessian),
    closed_form(
        "column-norms",
        lambda x: anp.sum(anp.linalg.norm(x, axis=0)),
        normal(12, 4, 3),
        functions.column_norms_hessian,
    ),
    separable(
        "negative-entropy",
        lambda x: anp.sum(x * anp.log(x)),
        uniform(13, 0.2, 2.0, 6),
        lambda x: 1 / x,
        tags={"positive-definite"},
    ),
    closed_form(
        "powers",
        functions.powers,
        {"exponent": uniform(14, 1.5, 3.0, 4), "base": uniform(15, 0.5, 2.0, 4)},
        functions.powers_hessian,
    ),
    separable(
        "elementary-functions",
        functions.elementary_functions,
        normal(16, 3, 3),
        functions.elementary_second_derivative,
        tags={"positive-definite"},
    ),
    separable("huber", functions.huber, AWAY_FROM_KINKS, lambda x: (np.abs(x) < 1.0).astype(float)),
    separable(
        "cubed-hinge",
        lambda x: anp.sum(anp.maximum(x, 0.0) ** 3),
        AWAY_FROM_KINKS,
        lambda x: 6 * np.maximum(x, 0.0),
    ),
    separable(
        "clipped-square",
        lambda x: anp.sum(anp.clip(x, -1.0, 1.0) * x**2),
        AWAY_FROM_KINKS,
        lambda x: np.where(np.abs(x) < 1.0, 6 * x, 2 * np.sign(x)),
    ),
    closed_form(
        "lattice-energy",
        functions.lattice_energy,
        normal(17, 4, 5),
        functions.lattice_hessian,
        tags={"positive-definite"},
    ),
    closed_form(
        "interference", functions.interference, normal(18, 6), functions.interference_hessian
    ),
    by_autograd(
        "polar-coordinates",
        functions.polar_coordinates,
        uniform(19, 0.5, 2.0, 4, 2),
        tags={"no-jvp"},
    ),
)


# Indexing and shapes

MASK = np.array([True, False, True, True, False, True])
REPEATED = np.array([0, 2, 2, 1, 0, -1])

INDEXING_AND_SHAPES = (
    by_autograd("reversed-slices", functions.reversed_slices, normal(20, 8)),
    separable(
        "repeated-indices",
        lambda x: anp.sum(x[REPEATED] ** 3),
        normal(21, 5),
        lambda x: 6 * x * np.bincount(REPEATED % x.size, minlength=x.size),
    ),
    separable(
        "boolean-mask",
        lambda x: anp.sum(anp.exp(x[MASK])),
        normal(22, 6),
        lambda x: MASK * np.exp(x),
    ),
    by_autograd("ellipsis-and-newaxis", functions.ellipsis_and_newaxis, normal(23, 2, 3, 4)),
    by_autograd("matrix-entries", functions.matrix_entries, normal(24, 3, 4)),
    by_autograd("triangles-and-diagonals", functions.triangles_and_diagonals, normal(25, 4, 4)),
    by_autograd(
        "broadcasting",
        lambda x: anp.sum(anp.exp(x["column"] * x["row"] + x["offset"]) / (2 + x["row"] ** 2)),
        {"column": normal(26, 4, 1), "row": normal(27, 3), "offset": 0.3},
    ),
    by_autograd("rearranged-axes", functions.rearranged_axes, normal(28, 2, 3, 4)),
    by_autograd("joined-pieces", functions.joined_pieces, normal(29, 8)),
    by_autograd("tiled-and-repeated", functions.tiled_and_repeated, normal(30, 6)),
    by_autograd("padded-and-flipped", functions.padded_and_flipped, normal(31, 3, 4)),
    closed_form(
        "cumulative-cubes",
        lambda x: anp.sum(anp.cumsum(x) ** 3) / 6,
        normal(32, 7),
        functions.cumulative_cubes_hessian,
    ),
    closed_form(
        "second-differences",
        lambda x: 0.5 * anp.sum(anp.diff(x, n=2) ** 2),
        normal(33, 8),
        functions.second_differences_hessian,
    ),
)


# Reductions

REDUCTIONS = (
    closed_form(
        "weighted-variance",
        lambda x, weights: anp.dot(anp.var(x, axis=0), weights),
        normal(34, 4, 3),
        functions.weighted_variance_hessian,
        args=(uniform(35, 0.5, 2.0, 3),),
    ),
    by_autograd(
        "mean-over-two-axes",
        lambda x: anp.sum(anp.exp(anp.mean(x**2, axis=(0, 2)))) + anp.sum(anp.mean(x, axis=1) ** 3),
        normal(36, 2, 3, 3),
    ),
    by_autograd("layer-normalisation", functions.layer_normalisation, normal(37, 3, 5)),
    by_autograd(
        "product-over-an-axis",
        lambda x: anp.sum(anp.prod(x, axis=1) ** 2),
        uniform(38, 0.5, 1.5, 3, 4),
    ),
    separable(
        "row-maxima",
        lambda x: anp.sum(anp.max(x, axis=1) ** 3),
        normal(39, 4, 4),
        functions.row_maxima_second_derivative,
    ),
    separable(
        "sorted-squares",
        lambda x, weights: anp.dot(weights, anp.sort(x) ** 2),
        normal(40, 6),
        lambda x, weights: 2 * weights[np.argsort(np.argsort(x))],
        args=(np.arange(1.0, 7.0),),
        tags={"positive-definite"},
    ),
    closed_form("log-sum-exp", asp.logsumexp, normal(41, 7), functions.log_sum_exp_hessian),
    by_autograd(
        "log-sum-exp-over-axes",
        lambda x: (
            anp.sum(asp.logsumexp(x, axis=0) ** 2)
            + anp.sum(asp.logsumexp(x, axis=1, keepdims=True) * x)
        ),
        normal(42, 3, 4),
    ),
)


# Contractions

CONTRACTIONS = (
    closed_form(
        "einsum-quadratic-form",
        lambda x, matrix: anp.einsum("i,ij,j->", x, matrix, x),
        normal(43, 6),
        lambda x, matrix: matrix + matrix.T,
        args=(normal(44, 6, 6),),
    ),
    closed_form(
        "tensordot-cubic-form",
        lambda x, tensor: anp.dot(x, anp.tensordot(anp.tensordot(tensor, x, 1), x, 1)),
        normal(45, 4),
        functions.cubic_form_hessian,
        args=(normal(46, 4, 4, 4),),
    ),
    closed_form(
        "matrix-factorisation",
        functions.factorisation,
        {"right": normal(47, 2, 5), "left": normal(48, 4, 2)},
        functions.factorisation_hessian,
        args=(normal(49, 4, 5),),
    ),
    closed_form(
        "outer-square",
        lambda x: anp.sum(anp.outer(x, x) ** 2),
        normal(50, 5),
        lambda x: 4 * (x @ x) * np.eye(x.size) + 8 * np.outer(x, x),
        tags={"positive-definite"},
    ),
    by_autograd("inner-and-outer", functions.inner_and_outer, normal(51, 3, 4)),
    by_autograd(
        "batched-matmul",
        lambda x: anp.sum(anp.tanh(anp.matmul(x, anp.swapaxes(x, 1, 2)))),
        normal(52, 2, 3, 4),
    ),
    by_autograd(
        "kronecker-product",
        lambda x: anp.sum(anp.sin(anp.kron(x[0], x[1]))),
        (normal(53, 2, 2), normal(54, 2, 3)),
    ),
    by_autograd(
        "triple-product",
        lambda x: anp.dot(x[0], anp.cross(x[1], x[2])) ** 2,
        [normal(55, 3), normal(56, 3), normal(57, 3)],
    ),
)


# Linear algebra

WELL_SEPARATED = np.diag([-2.0, -0.5, 1.0, 3.0]) + 0.3 * normal(58, 4, 4)

LINEAR_ALGEBRA = (
    closed_form(
        "log-determinant",
        lambda x: anp.linalg.slogdet(x)[1],
        positive_definite(59, 4),
        functions.log_determinant_hessian,
        tags={"no-jvp"},
    ),
    closed_form(
        "determinant",
        anp.linalg.det,
        normal(60, 4, 4),
        functions.determinant_hessian,
        tags={"no-jvp"},
    ),
    closed_form(
        "trace-of-inverse",
        lambda x, matrix: anp.trace(anp.linalg.inv(x) @ matrix),
        positive_definite(61, 4),
        functions.trace_of_inverse_hessian,
        args=(normal(62, 4, 4),),
        tags={"no-jvp"},
    ),
    closed_form(
        "singular-values",
        lambda x: anp.sum(anp.linalg.svd(x, compute_uv=False) ** 4),
        normal(63, 3, 4),
        functions.fourth_powers_of_singular_values_hessian,
        tags={"no-jvp", "positive-definite"},
    ),
    by_autograd(
        "linear-solve",
        lambda x, matrix, vector: anp.sum(
            anp.linalg.solve(matrix + anp.diag(anp.exp(x)), vector * x) ** 2
        ),
        normal(64, 5),
        args=(positive_definite(65, 5), normal(66, 5)),
        tags={"no-jvp"},
    ),
    by_autograd("cholesky", functions.cholesky_entries, normal(67, 4, 3), tags={"no-jvp"}),
    by_autograd(
        "symmetric-eigenvalues",
        lambda x: anp.sum(anp.exp(anp.linalg.eigh(functions.symmetric(x))[0])),
        WELL_SEPARATED,
        tags={"no-jvp"},
    ),
    by_autograd(
        "symmetric-eigenvectors", functions.symmetric_eigenvectors, WELL_SEPARATED, tags={"no-jvp"}
    ),
    by_autograd(
        "triangular-solve",
        functions.triangular_solution,
        normal(68, 4, 4),
        args=(normal(69, 4),),
        tags={"no-jvp"},
    ),
    by_autograd(
        "matrix-square-root",
        lambda x: anp.sum(asl.sqrtm(functions.gram(x)) ** 3),
        normal(70, 3, 3),
        tags={"positive-definite"},
    ),
)


# Special functions

SPECIAL_FUNCTIONS = (
    separable(
        "log-gamma",
        lambda x: anp.sum(asp.gammaln(x)),
        uniform(71, 0.5, 4.0, 5),
        lambda x: scipy.special.polygamma(1, x),
        tags={"no-jvp", "positive-definite"},
    ),
    separable(
        "digamma",
        lambda x: anp.sum(asp.digamma(x)),
        uniform(72, 0.5, 4.0, 2, 3),
        lambda x: scipy.special.polygamma(2, x),
        tags={"no-jvp"},
    ),
    separable(
        "polygamma",
        lambda x: anp.sum(asp.polygamma(1, x)),
        uniform(73, 0.5, 4.0, 5),
        lambda x: scipy.special.polygamma(3, x),
        tags={"no-jvp", "positive-definite"},
    ),
    closed_form(
        "log-beta",
        lambda x: anp.sum(asp.betaln(x["a"], x["b"])),
        {"a": uniform(74, 0.5, 4.0, 4), "b": uniform(75, 0.5, 4.0, 4)},
        functions.beta_hessian,
        tags={"no-jvp", "positive-definite"},
    ),
    closed_form(
        "multivariate-log-gamma",
        lambda x: asp.multigammaln(x, 3),
        2.7,
        lambda x: np.array([[np.sum(scipy.special.polygamma(1, x - np.arange(3) / 2))]]),
        tags={"no-jvp", "positive-definite"},
    ),
    separable(
        "error-function",
        lambda x: anp.sum(asp.erf(x)),
        normal(76, 6),
        lambda x: -4 * x * np.exp(-(x**2)) / np.sqrt(np.pi),
        tags={"no-jvp"},
    ),
    separable(
        "expit",
        lambda x: anp.sum(asp.expit(x)),
        normal(77, 6),
        functions.expit_second_derivative,
        tags={"no-jvp"},
    ),
    separable(
        "logit",
        lambda x: anp.sum(asp.logit(x)),
        uniform(78, 0.1, 0.9, 6),
        lambda x: (2 * x - 1) / (x * (1 - x)) ** 2,
        tags={"no-jvp"},
    ),
    separable(
        "bessel",
        lambda x: anp.sum(asp.j0(x)),
        uniform(79, 0.5, 5.0, 5),
        lambda x: 0.5 * (scipy.special.jv(2, x) - scipy.special.j0(x)),
        tags={"no-jvp"},
    ),
)


# Likelihoods

FEATURES = normal(80, 12, 4)
KERNEL_PARAMETERS = {
    "log_amplitude": 0.2,
    "log_lengthscales": np.array([0.3, -0.4]),
    "log_noise": np.array(-1.5),
}

LIKELIHOODS = (
    closed_form(
        "logistic-regression",
        functions.logistic_loss,
        normal(81, 4),
        functions.regression_formula(functions.logistic_weight),
        args=(FEATURES, (normal(82, 12) > 0).astype(float)),
        tags={"positive-definite"},
    ),
    closed_form(
        "softmax-cross-entropy",
        functions.softmax_loss,
        np.asfortranarray(normal(83, 4, 3)),
        functions.softmax_hessian,
        args=(FEATURES, np.arange(12) % 3),
    ),
    closed_form(
        "normal",
        functions.normal_loss,
        {"mean": 0.4, "log_scale": np.array(-0.3)},
        functions.normal_loss_hessian,
        args=(normal(84, 9),),
        tags={"no-jvp", "positive-definite"},
    ),
    closed_form(
        "probit-regression",
        lambda x, features: -anp.sum(astats.norm.logcdf(anp.dot(features, x))),
        0.5 * normal(85, 4),
        functions.regression_formula(functions.probit_weight),
        args=(FEATURES,),
        tags={"no-jvp", "positive-definite"},
    ),
    closed_form(
        "student-regression",
        lambda x, features, y: -anp.sum(astats.t.logpdf(y, 4.0, anp.dot(features, x), 1.0)),
        normal(86, 4),
        functions.regression_formula(functions.student_weight),
        args=(FEATURES, normal(87, 12)),
        tags={"no-jvp"},
    ),
    closed_form(
        "poisson-regression",
        lambda x, features, counts: (
            -anp.sum(astats.poisson.logpmf(counts, anp.exp(anp.dot(features, x))))
        ),
        0.3 * normal(88, 4),
        functions.regression_formula(lambda scores, counts: np.exp(scores)),
        args=(FEATURES, np.arange(12) % 4),
        tags={"no-jvp", "positive-definite"},
    ),
    closed_form(
        "beta-scalar-leaves",
        functions.beta_loss,
        {"b": 1.5, "a": np.array(2.5)},
        functions.beta_loss_hessian,
        args=(uniform(89, 0.1, 0.9, 8),),
        tags={"no-jvp", "positive-definite"},
    ),
    closed_form(
        "gamma",
        lambda x: -anp.sum(astats.gamma.logpdf(x["y"], x["shape"])),
        {"y": uniform(90, 0.5, 3.0, 4), "shape": uniform(91, 1.5, 4.0, 4)},
        functions.gamma_loss_hessian,
        tags={"no-jvp"},
    ),
    closed_form(
        "dirichlet",
        lambda x, proportions: -astats.dirichlet.logpdf(proportions, x),
        uniform(92, 0.5, 3.0, 4),
        functions.dirichlet_hessian,
        args=(np.array([0.125, 0.25, 0.5, 0.125]),),
        tags={"no-jvp", "positive-definite"},
    ),
    by_autograd(
        "multivariate-normal",
        functions.multivariate_normal_loss,
        {"mean": normal(93, 3), "factor": normal(94, 3, 3)},
        args=(normal(95, 6, 3),),
        tags={"no-jvp"},
    ),
    by_autograd(
        "gaussian-mixture",
        functions.gaussian_mixture,
        {
            "logits": normal(96, 3),
            "means": np.array([-2.0, 0.1, 1.7]),
            "log_scales": 0.3 * normal(97, 3),
        },
        args=(2 * normal(98, 15),),
    ),
    by_autograd(
        "gaussian-process-evidence",
        functions.evidence_by_determinant,
        KERNEL_PARAMETERS,
        args=(normal(99, 7, 2), normal(100, 7)),
        tags={"no-jvp"},
    ),
    by_autograd(
        "gaussian-process-cholesky",
        functions.evidence_by_cholesky,
        KERNEL_PARAMETERS,
        args=(normal(101, 7, 2), normal(102, 7)),
        tags={"no-jvp", "positive-definite"},
    ),
)


# Fourier transforms and convolutions

FOURIER_AND_CONVOLUTION = (
    closed_form(
        "circular-convolution",
        functions.circular_convolution_loss,
        normal(103, 8),
        functions.circular_convolution_hessian,
        args=(normal(104, 8), normal(105, 8)),
        tags={"no-jvp", "positive-definite"},
    ),
    by_autograd(
        "log-power-spectrum", functions.log_power_spectrum, normal(106, 8), tags={"no-jvp"}
    ),
    by_autograd(
        "two-dimensional-spectrum",
        lambda x: anp.sum(anp.abs(anp.fft.fft2(x)) ** 3),
        normal(107, 3, 4),
        tags={"no-jvp", "positive-definite"},
    ),
    closed_form(
        "convolution-least-squares",
        functions.convolution_loss,
        normal(108, 6),
        functions.convolution_hessian,
        args=(normal(109, 4), normal(110, 9)),
        tags={"no-jvp", "positive-definite"},
    ),
    by_autograd(
        "autocorrelation",
        lambda x: anp.sum(anp.sin(convolve(x, x[::-1]))),
        normal(111, 6),
        tags={"no-jvp"},
    ),
    by_autograd(
        "filtered-image",
        functions.filtered_image,
        {"filter": normal(112, 3, 3), "bias": -0.2},
        args=(normal(113, 6, 6),),
        tags={"no-jvp"},
    ),
)


# Networks and parameter trees

Regression = namedtuple("Regression", ["weights", "bias", "log_noise"])

NETWORKS_AND_TREES = (
    by_autograd(
        "tanh-network",
        functions.tanh_network,
        {
            "output": {"weights": normal(114, 4, 2), "bias": normal(115, 2)},
            "hidden": {"weights": normal(116, 3, 4), "bias": normal(117, 4)},
        },
        args=(normal(118, 8, 3), normal(119, 8, 2)),
    ),
    by_autograd(
        "layered-network",
        functions.layered_network,
        [(normal(120, 2, 3), normal(121, 3)), (normal(122, 3, 3), normal(123, 3))],
        args=(normal(124, 7, 2), np.arange(7) % 3),
    ),
    by_autograd(
        "regression-namedtuple",
        functions.noisy_regression,
        Regression(normal(125, 3), 0.5, np.array(-0.2)),
        args=(normal(126, 8, 3), normal(127, 8)),
    ),
    by_autograd(
        "recurrent-network",
        functions.recurrent_network,
        {
            "readout": normal(128, 3),
            "cell": {
                "state": 0.5 * normal(129, 3, 3),
                "input": normal(130, 3, 2),
                "bias": normal(131, 3),
            },
        },
        args=(normal(132, 5, 2),),
    ),
    by_autograd(
        "attention",
        functions.attention,
        {"query": normal(133, 3, 3), "key": normal(134, 3, 3), "value": normal(135, 3, 3)},
        args=(normal(136, 4, 3),),
    ),
    closed_form(
        "unused-leaf",
        functions.with_unused_leaf,
        {"used": normal(137, 3), "spare": normal(138, 2), "scale": 1.4},
        functions.unused_leaf_hessian,
    ),
    by_autograd(
        "mixed-tree",
        functions.mixed_tree,
        {
            "scalar": 0.8,
            "pair": (normal(139, 3), normal(140, 2, 3)),
            "list": [{"deep": normal(141, 2, 2)}, np.array(-1.1)],
        },
    ),
)


# Programs: loops, branches, derivatives and primitives inside the function

PROGRAMS = (
    by_autograd(
        "runge-kutta-fit",
        functions.predator_prey_fit,
        {"log_rates": np.log([1.1, 0.4, 0.1, 0.4]), "log_start": np.log([2.0, 1.5])},
        args=(0.5 * normal(142, 6, 2) + 0.8, 0.4),
    ),
    separable(
        "babylonian-root",
        functions.babylonian_root,
        uniform(143, 0.5, 3.0, 5),
        lambda x: -0.25 * x**-1.5,
    ),
    separable(
        "branching",
        functions.branching,
        uniform(144, 0.2, 1.0, 5),
        lambda x: 12 * x**2,
        tags={"positive-definite"},
    ),
    separable(
        "squared-gradient",
        functions.squared_gradient,
        uniform(145, 0.5, 1.5, 5),
        lambda x: 240 * x**4,
        tags={"positive-definite"},
    ),
    by_autograd("gradient-step", functions.gradient_step, uniform(146, 0.5, 1.5, 4)),
    separable(
        "user-primitive",
        lambda x: anp.sum(functions.softplus(x)),
        normal(147, 6),
        lambda x: scipy.special.expit(x) * scipy.special.expit(-x),
        tags={"no-jvp", "positive-definite"},
    ),
)

CASES: tuple[Case, ...] = (
    *ELEMENTWISE,
    *INDEXING_AND_SHAPES,
    *REDUCTIONS,
    *CONTRACTIONS,
    *LINEAR_ALGEBRA,
    *SPECIAL_FUNCTIONS,
    *LIKELIHOODS,
    *FOURIER_AND_CONVOLUTION,
    *NETWORKS_AND_TREES,
    *PROGRAMS,
)
