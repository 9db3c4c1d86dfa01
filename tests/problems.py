"""Classical unconstrained test problems: published start, published minimum.

MGH is J. J. Moré, B. S. Garbow, K. E. Hillstrom, "Testing unconstrained optimization software",
ACM Transactions on Mathematical Software 7 (1981), 17-41. Toint is Ph. L. Toint, "Test problems
for partially separable optimization and results for the routine PSPMIN", report 83/4, FUNDP
Namur (1983). A number after the name is the problem's number there.

A few functions take a tree instead of the paper's vector; `Problem.x0` shows its form.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import autograd.numpy as np

# The paper prints six digits, hence RTOL. ATOL serves the minima of zero: where the Hessian of a
# quartic is singular, a gradient of 1e-7 leaves fun near 1e-7 ** (4 / 3) = 5e-10.
RTOL = 1e-5
ATOL = 1e-9

# SciPy's largest trust radius of 1000 keeps the minimizer of MGH 4, a million away, out of reach.
TRUST_REGION = {"gtol": 1e-8, "maxiter": 1000, "max_trust_radius": 1e8}

METHOD_OPTIONS: Mapping[str, Mapping[str, float]] = {
    "Newton-CG": {"xtol": 1e-10, "maxiter": 1000},
    "trust-ncg": TRUST_REGION,
    # With a gradient below 1e-8 and a nearly singular Hessian it multiplies by a vector of NaN.
    "trust-krylov": TRUST_REGION | {"gtol": 1e-7},
    "trust-exact": TRUST_REGION,
    "dogleg": TRUST_REGION,
    "trust-constr": {"gtol": 1e-8, "maxiter": 1000},
}

INDEFINITE_START = "indefinite Hessian at the start"
INDEFINITE_ON_THE_WAY = "indefinite Hessian on the way"
TINY_CURVATURE = "stalls: its CG takes a curvature below 3 eps for zero"
DENSE = dict.fromkeys(("trust-exact", "dogleg"), "needs a dense Hessian")


# Compared by identity: arrays have no single truth value.
@dataclass(frozen=True, eq=False)
class Problem:
    """A function, its published start and its published minima.

    minimum : the published value, or the values of several local minima
    minimizer : in the form of x0, where known exactly and unique
    residuals : where fun is the sum of their squares
    unreached : minimize methods that do not reliably converge to a minimum from x0 under
        METHOD_OPTIONS -> reason
    """

    name: str
    fun: Callable[[Any], Any]
    x0: Any
    minimum: float | tuple[float, ...]
    source: str
    minimizer: Any = None
    residuals: Callable[[Any], Any] | None = None
    unreached: Mapping[str, str] = field(default_factory=dict)

    def is_minimum(self, value: float) -> bool:
        """Whether value agrees with one of the published minima."""
        minima = np.atleast_1d(self.minimum)
        return bool(np.any(np.abs(value - minima) <= RTOL * np.abs(minima) + ATOL))


def sum_of_squares(residuals: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function x -> sum of residuals(x) ** 2."""

    def fun(x):
        return np.sum(residuals(x) ** 2)

    return fun


def least_squares_problem(name: str, residuals: Callable[[Any], Any], **fields: Any) -> Problem:
    """A problem that minimizes the sum of squares of residuals."""
    return Problem(name=name, fun=sum_of_squares(residuals), residuals=residuals, **fields)


def with_zero_ends(x):
    """The vector x between two zeros: the boundary values of a chain."""
    return np.concatenate([np.zeros(1), x, np.zeros(1)])


def rosenbrock(x):
    """MGH 1 with two variables, MGH 21 with more."""
    odd, even = x[::2], x[1::2]
    return np.concatenate([10 * (even - odd**2), 1 - odd])


def freudenstein_roth(x):
    """MGH 2."""
    a, b = x
    return np.array([-13 + a + ((5 - b) * b - 2) * b, -29 + a + ((b + 1) * b - 14) * b])


def brown_badly_scaled(x):
    """MGH 4."""
    return np.array([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2])


def beale(x):
    """MGH 5."""
    return np.array([1.5, 2.25, 2.625]) - x[0] * (1 - x[1] ** np.arange(1, 4))


def jennrich_sampson(x):
    """MGH 6, with ten residuals."""
    i = np.arange(1, 11)
    return 2 + 2 * i - np.exp(i * x[0]) - np.exp(i * x[1])


def helical_valley(x):
    """MGH 7."""
    # Not arctan2: the paper cuts the angle at x[0] = 0, so that the start is no point of the cut.
    turns = np.arctan(x[1] / x[0]) / (2 * np.pi) + np.where(x[0] < 0, 0.5, 0.0)
    radius = np.sqrt(x[0] ** 2 + x[1] ** 2)
    return np.array([10 * (x[2] - 10 * turns), 10 * (radius - 1), x[2]])


def bard(x):
    """MGH 8."""
    # fmt: off
    y = np.array([0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34,
                  2.10, 4.39])
    # fmt: on
    u = np.arange(1, 16)
    v = 16 - u
    return y - x[0] - u / (v * x[1] + np.minimum(u, v) * x[2])


def gaussian(x):
    """MGH 9; each of the paper's x1, x2, x3 a leaf without dimensions."""
    half = np.array([0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521, 0.3989])
    y = np.concatenate([half, half[-2::-1]])
    t = (8 - np.arange(1, 16)) / 2
    return x["height"] * np.exp(-x["precision"] * (t - x["center"]) ** 2 / 2) - y


def box(x):
    """MGH 12, with ten residuals."""
    t = 0.1 * np.arange(1, 11)
    return np.exp(-t * x[0]) - np.exp(-t * x[1]) - x[2] * (np.exp(-t) - np.exp(-10 * t))


def powell_singular(x):
    """MGH 13 with four variables, MGH 22 with more."""
    a, b, c, d = np.reshape(x, (-1, 4)).T
    return np.concatenate(
        [a + 10 * b, np.sqrt(5) * (c - d), (b - 2 * c) ** 2, np.sqrt(10) * (a - d) ** 2]
    )


def wood(x):
    """MGH 14."""
    a, b, c, d = x
    return np.array(
        [
            10 * (b - a**2),
            1 - a,
            np.sqrt(90) * (d - c**2),
            1 - c,
            np.sqrt(10) * (b + d - 2),
            (b - d) / np.sqrt(10),
        ]
    )


def kowalik_osborne(x):
    """MGH 15."""
    # fmt: off
    y = np.array([0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235,
                  0.0246])
    u = np.array([4, 2, 1, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])
    # fmt: on
    return y - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])


def brown_dennis(x):
    """MGH 16, with twenty residuals; the parameters of the exponential and of the wave apart."""
    t = np.arange(1, 21) / 5
    line, wave = x["line"], x["wave"]
    return (line[0] + t * line[1] - np.exp(t)) ** 2 + (
        wave[0] + wave[1] * np.sin(t) - np.cos(t)
    ) ** 2


def biggs_exp6(x):
    """MGH 18, with thirteen residuals; rates are the paper's x1, x2, x5, weights x3, x4, x6."""
    t = 0.1 * np.arange(1, 14)
    y = np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t)
    return np.exp(-np.outer(t, x["rates"])) @ (x["weights"] * np.array([1, -1, 1])) - y


def osborne_2(x):
    """MGH 19; weights are the paper's x1 to x4, rates x5 to x8, centers x9 to x11."""
    # fmt: off
    y = np.array([1.366, 1.191, 1.112, 1.013, 0.991, 0.885, 0.831, 0.847, 0.786, 0.725, 0.746,
                  0.679, 0.608, 0.655, 0.616, 0.606, 0.602, 0.626, 0.651, 0.724, 0.649, 0.649,
                  0.694, 0.644, 0.624, 0.661, 0.612, 0.558, 0.533, 0.495, 0.500, 0.423, 0.395,
                  0.375, 0.372, 0.391, 0.396, 0.405, 0.428, 0.429, 0.523, 0.562, 0.607, 0.653,
                  0.672, 0.708, 0.633, 0.668, 0.645, 0.632, 0.591, 0.559, 0.597, 0.625, 0.739,
                  0.710, 0.729, 0.720, 0.636, 0.581, 0.428, 0.292, 0.162, 0.098, 0.054])
    # fmt: on
    t = np.arange(65) / 10
    distances = np.concatenate([t[:, None], (t[:, None] - x["centers"]) ** 2], axis=1)
    return y - np.exp(-distances * x["rates"]) @ x["weights"]


def watson(x):
    """MGH 20."""
    t = np.arange(1, 30)[:, None] / 29
    j = np.arange(x.size)
    slope = (j[1:] * t ** j[:-1]) @ x[1:]
    ends = np.array([x[0], x[1] - x[0] ** 2 - 1])
    return np.concatenate([slope - (t**j @ x) ** 2 - 1, ends])


def penalty_1(x):
    """MGH 23."""
    return np.append(np.sqrt(1e-5) * (x - 1), np.dot(x, x) - 0.25)


def penalty_2(x):
    """MGH 24."""
    n = x.size
    grown = np.exp(np.arange(1, n + 1) / 10)
    e = np.exp(x / 10)
    pairs = np.sqrt(1e-5) * (e[1:] + e[:-1] - (grown[1:] + grown[:-1]))
    singles = np.sqrt(1e-5) * (e[1:] - np.exp(-0.1))
    ends = np.array([x[0] - 0.2, np.dot(np.arange(n, 0, -1), x**2) - 1])
    return np.concatenate([pairs, singles, ends])


def variably_dimensioned(x):
    """MGH 25."""
    moment = np.dot(np.arange(1, x.size + 1), x - 1)
    return np.concatenate([x - 1, np.array([moment, moment**2])])


def trigonometric(x):
    """MGH 26."""
    i = np.arange(1, x.size + 1)
    return x.size - np.sum(np.cos(x)) + i * (1 - np.cos(x)) - np.sin(x)


def brown_almost_linear(x):
    """MGH 27."""
    return np.append(x[:-1] + np.sum(x) - (x.size + 1), np.prod(x) - 1)


def discrete_boundary_value(x):
    """MGH 28."""
    h = 1 / (x.size + 1)
    t = h * np.arange(1, x.size + 1)
    return -np.diff(with_zero_ends(x), 2) + h**2 * (x + t + 1) ** 3 / 2


def discrete_integral_equation(x):
    """MGH 29."""
    h = 1 / (x.size + 1)
    t = h * np.arange(1, x.size + 1)
    kernel = np.minimum(t, t[:, None]) * (1 - np.maximum(t, t[:, None]))
    return x + h / 2 * kernel @ (x + t + 1) ** 3


def broyden_tridiagonal(x):
    """MGH 30."""
    chain = with_zero_ends(x)
    return (3 - 2 * x) * x - chain[:-2] - 2 * chain[2:] + 1


def broyden_banded(x):
    """MGH 31, with five subdiagonals and one superdiagonal."""
    below = np.arange(x.size)[:, None] - np.arange(x.size)
    band = (below >= -1) & (below <= 5) & (below != 0)
    return x * (2 + 5 * x**2) + 1 - band @ (x * (1 + x))


def linear_full_rank(x):
    """MGH 32, with ten residuals."""
    mean = 2 / 10 * np.sum(x)
    return np.concatenate([x, np.zeros(10 - x.size)]) - mean - 1


def linear_rank_one(x):
    """MGH 33, with ten residuals."""
    return np.arange(1, 11) * np.dot(np.arange(1, x.size + 1), x) - 1


def chebyquad(x):
    """MGH 35."""
    y = 2 * x - 1
    chebyshev = [np.ones(x.size), y]
    for _ in range(x.size - 1):
        chebyshev.append(2 * y * chebyshev[-1] - chebyshev[-2])
    i = np.arange(1, x.size + 1)
    integrals = np.where(i % 2 == 0, -1 / np.maximum(i**2 - 1, 1), 0.0)
    return np.mean(np.stack(chebyshev[1:]), axis=1) - integrals


def tridia(x):
    """Problem 8 of Toint (1983), a convex quadratic chain."""
    i = np.arange(2, x.size + 1)
    return np.append(x[0] - 1, np.sqrt(i) * (2 * x[1:] - x[:-1]))


PROBLEMS: tuple[Problem, ...] = (
    least_squares_problem(
        "rosenbrock",
        rosenbrock,
        x0=np.array([-1.2, 1.0]),
        minimum=0.0,
        minimizer=np.ones(2),
        source="MGH 1",
    ),
    least_squares_problem(
        "freudenstein-roth",
        freudenstein_roth,
        x0=np.array([0.5, -2.0]),
        minimum=(0.0, 48.9842),
        source="MGH 2",
    ),
    least_squares_problem(
        "brown-badly-scaled",
        brown_badly_scaled,
        x0=np.ones(2),
        minimum=0.0,
        minimizer=np.array([1e6, 2e-6]),
        source="MGH 4",
        unreached={"dogleg": INDEFINITE_ON_THE_WAY},
    ),
    least_squares_problem(
        "beale",
        beale,
        x0=np.ones(2),
        minimum=0.0,
        minimizer=np.array([3.0, 0.5]),
        source="MGH 5",
        unreached={"dogleg": INDEFINITE_START},
    ),
    least_squares_problem(
        "jennrich-sampson",
        jennrich_sampson,
        x0=np.array([0.3, 0.4]),
        minimum=124.362,
        source="MGH 6",
    ),
    least_squares_problem(
        "helical-valley",
        helical_valley,
        x0=np.array([-1.0, 0.0, 0.0]),
        minimum=0.0,
        minimizer=np.array([1.0, 0.0, 0.0]),
        source="MGH 7",
        unreached={"dogleg": INDEFINITE_START},
    ),
    least_squares_problem(
        "bard",
        bard,
        x0=np.ones(3),
        # The second is the limit as x[1] and x[2] go to -inf.
        minimum=(8.21487e-3, 17.4286),
        source="MGH 8",
    ),
    least_squares_problem(
        "gaussian",
        gaussian,
        x0={"height": np.array(0.4), "precision": np.array(1.0), "center": np.array(0.0)},
        minimum=1.12793e-8,
        source="MGH 9",
    ),
    least_squares_problem(
        "box-3d",
        box,
        x0=np.array([0.0, 10.0, 20.0]),
        minimum=0.0,
        source="MGH 12",
        unreached={"dogleg": INDEFINITE_START},
    ),
    least_squares_problem(
        "powell-singular",
        powell_singular,
        x0=np.array([3.0, -1.0, 0.0, 1.0]),
        minimum=0.0,
        minimizer=np.zeros(4),
        source="MGH 13",
        unreached={"Newton-CG": TINY_CURVATURE},
    ),
    least_squares_problem(
        "wood",
        wood,
        x0=np.array([-3.0, -1.0, -3.0, -1.0]),
        minimum=0.0,
        minimizer=np.ones(4),
        source="MGH 14",
        unreached={
            "Newton-CG": "may stay at the saddle where fun is 7.876",
            "dogleg": INDEFINITE_ON_THE_WAY,
        },
    ),
    least_squares_problem(
        "kowalik-osborne",
        kowalik_osborne,
        x0=np.array([0.25, 0.39, 0.415, 0.39]),
        # The second is the limit as x[0], x[2] and x[3] go to infinity.
        minimum=(3.07505e-4, 1.02734e-3),
        source="MGH 15",
        unreached={"dogleg": INDEFINITE_START},
    ),
    least_squares_problem(
        "brown-dennis",
        brown_dennis,
        x0={"line": np.array([25.0, 5.0]), "wave": np.array([-5.0, -1.0])},
        minimum=85822.2,
        source="MGH 16",
    ),
    least_squares_problem(
        "biggs-exp6",
        biggs_exp6,
        x0={"rates": np.array([1.0, 2.0, 1.0]), "weights": np.ones(3)},
        minimum=(0.0, 5.65565e-3),
        source="MGH 18",
        unreached={
            "Newton-CG": "may stop in a flat valley where fun is 3e-9",
            "trust-exact": "runs away to a valley where fun is 0.2427",
            "dogleg": INDEFINITE_START,
        },
    ),
    least_squares_problem(
        "osborne-2",
        osborne_2,
        x0={
            "weights": np.array([1.3, 0.65, 0.65, 0.7]),
            "rates": np.array([0.6, 3.0, 5.0, 7.0]),
            "centers": np.array([2.0, 4.5, 5.5]),
        },
        minimum=4.01377e-2,
        source="MGH 19",
        unreached={"dogleg": INDEFINITE_START},
    ),
    least_squares_problem(
        "watson",
        watson,
        x0=np.zeros(6),
        minimum=2.28767e-3,
        source="MGH 20",
    ),
    least_squares_problem(
        "penalty-1",
        penalty_1,
        x0=np.arange(1.0, 11.0),
        minimum=7.08765e-5,
        source="MGH 23",
        unreached={
            "Newton-CG": TINY_CURVATURE,
            "trust-krylov": "stops early: no further decrease predicted",
        },
    ),
    least_squares_problem(
        "penalty-2",
        penalty_2,
        x0=np.full(10, 0.5),
        minimum=2.93660e-4,
        source="MGH 24",
        unreached={"Newton-CG": TINY_CURVATURE},
    ),
    least_squares_problem(
        "variably-dimensioned",
        variably_dimensioned,
        x0=1 - np.arange(1, 11) / 10,
        minimum=0.0,
        minimizer=np.ones(10),
        source="MGH 25",
    ),
    least_squares_problem(
        "trigonometric",
        trigonometric,
        x0=np.full(10, 1 / 10),
        # The paper prints only the zero; the other is the local minimum below this start.
        minimum=(0.0, 2.79506e-5),
        source="MGH 26",
        unreached={"dogleg": INDEFINITE_START},
    ),
    least_squares_problem(
        "brown-almost-linear",
        brown_almost_linear,
        x0=np.full(10, 0.5),
        minimum=(0.0, 1.0),
        source="MGH 27",
        unreached={"dogleg": INDEFINITE_ON_THE_WAY},
    ),
    least_squares_problem(
        "discrete-boundary-value",
        discrete_boundary_value,
        x0=np.arange(1, 11) / 11 * (np.arange(1, 11) / 11 - 1),
        minimum=0.0,
        source="MGH 28",
    ),
    least_squares_problem(
        "discrete-integral-equation",
        discrete_integral_equation,
        x0=np.arange(1, 11) / 11 * (np.arange(1, 11) / 11 - 1),
        minimum=0.0,
        source="MGH 29",
    ),
    least_squares_problem(
        "broyden-tridiagonal",
        broyden_tridiagonal,
        x0=np.full(10, -1.0),
        minimum=0.0,
        source="MGH 30",
    ),
    least_squares_problem(
        "broyden-banded",
        broyden_banded,
        x0=np.full(10, -1.0),
        minimum=0.0,
        source="MGH 31",
    ),
    least_squares_problem(
        "linear-full-rank",
        linear_full_rank,
        x0=np.ones(5),
        minimum=5.0,
        minimizer=np.full(5, -1.0),
        source="MGH 32",
    ),
    least_squares_problem(
        "linear-rank-one",
        linear_rank_one,
        x0=np.ones(5),
        minimum=15 / 7,
        source="MGH 33",
        unreached={"dogleg": "singular Hessian"},
    ),
    least_squares_problem(
        "chebyquad-8",
        chebyquad,
        x0=np.arange(1, 9) / 9,
        minimum=3.51687e-3,
        source="MGH 35",
        unreached={"dogleg": INDEFINITE_START},
    ),
    least_squares_problem(
        "chebyquad-9",
        chebyquad,
        x0=np.arange(1, 10) / 10,
        minimum=0.0,
        source="MGH 35",
        unreached={"dogleg": INDEFINITE_START},
    ),
)

LARGE: tuple[Problem, ...] = (
    least_squares_problem(
        "extended-rosenbrock-10000",
        rosenbrock,
        x0=np.tile([-1.2, 1.0], 5000),
        minimum=0.0,
        minimizer=np.ones(10000),
        source="MGH 21",
        unreached=DENSE,
    ),
    least_squares_problem(
        "extended-powell-singular-10000",
        powell_singular,
        x0=np.tile([3.0, -1.0, 0.0, 1.0], 2500),
        minimum=0.0,
        minimizer=np.zeros(10000),
        source="MGH 22",
        unreached={"Newton-CG": TINY_CURVATURE, "trust-constr": "may meet gtol at fun near 4e-9"}
        | DENSE,
    ),
    least_squares_problem(
        "broyden-tridiagonal-10000",
        broyden_tridiagonal,
        x0=np.full(10000, -1.0),
        minimum=0.0,
        source="MGH 30",
        unreached=DENSE,
    ),
    least_squares_problem(
        "tridia-10000",
        tridia,
        x0=np.ones(10000),
        minimum=0.0,
        minimizer=0.5 ** np.arange(10000),
        source="Toint 8",
        unreached=DENSE,
    ),
)
