"""What one product, one gradient and one factorisation take here, and how much memory is left."""

from __future__ import annotations

import contextlib
import math
import os
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hessop._errors import NoProgramError, NotConvergedWarning
from hessop.differentiate.points import differentiate_at
from hessop.operators.base import BaseOperator
from hessop.operators.diagonal import DiagonalOperator
from hessop.operators.hessian import HessianOperator
from hessop.operators.probing import columns_together
from hessop.operators.recorded import RecordedOperator
from hessop.params import read_tree
from hessop.solvers.linear import solve

__all__ = ["Timings", "available_memory", "dense_seconds", "measure", "seconds_of"]

_BLOCK = 16
# A dense matrix whose factorisation is timed.
_SAMPLE = 256
_ITERATIONS = 30


@dataclass(frozen=True)
class Timings:
    """Seconds that something takes here: medians of a few runs. NaN where it cannot be run.

    Attributes
    ----------
    product : float
        One product with a vector.
    column : float
        A product with a block of 16 columns, each column.
    gradient : float
        The gradient, with the run of the function that it needs.
    function : float
        The function alone.
    iteration : float
        What an iteration of `cg` takes beside the product.
    """

    product: float
    column: float
    gradient: float
    function: float
    iteration: float

    @property
    def product_in_gradients(self) -> float:
        """What a product costs, in gradients."""
        return self.product / self.gradient


def seconds_of(run: Callable[[], Any], budget: float, most: int = 5) -> float:
    """The median of some runs, as many as a time allows; one at least."""
    found: list[float] = []
    while not found or (len(found) < most and sum(found) + found[-1] < budget):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def measure(A: BaseOperator, budget: float, rng: np.random.Generator) -> Timings:
    """Time the products of an operator, and its function.

    Parameters
    ----------
    A : BaseOperator, shape (n, n)
        A recorded one is compiled: this is how the many products of an iteration are made.
    budget : float
        Seconds, for all of it; exceeded where one run takes longer.
    rng : numpy.random.Generator
    """
    if isinstance(A, RecordedOperator):
        with contextlib.suppress(NoProgramError, ValueError):  # no program, or differences
            A.compile()
    n = A.shape[1]
    V = rng.standard_normal((n, min(_BLOCK, n, columns_together(n)))).astype(A.dtype)
    v = V[:, 0].copy()
    A.matvec(v)  # buffers are made
    product = seconds_of(lambda: A.matvec(v), budget / 4)
    column = seconds_of(lambda: A.matmat(V), budget / 4, most=3) / V.shape[1]
    function, gradient = _function_seconds(A, budget / 4)
    return Timings(product, column, gradient, function, _iteration_seconds(n))


def _iteration_seconds(n: int) -> float:
    """One iteration of `cg` with a diagonal matrix, whose products cost next to nothing."""
    A, b = DiagonalOperator(np.linspace(1.0, 1e4, n)), np.ones(n)
    count = min(_ITERATIONS, n)

    def run() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotConvergedWarning)
            solve(A, b, method="cg", maxiter=count)

    return seconds_of(run, 0.1, most=3) / count


def _function_seconds(A: BaseOperator, budget: float) -> tuple[float, float]:
    """A run of the function, and its gradient, where the operator knows of which it is."""
    known: Any = A._remake if isinstance(A, HessianOperator) else None
    if known is None:
        return math.nan, math.nan
    (fun, tree), args, grad = known.args, known.keywords["args"], known.keywords["grad"]
    layout, x = read_tree(tree)

    def gradient() -> Any:
        return differentiate_at(fun, layout, x, args=args, grad=grad).gradient

    alone = math.nan if fun is None else seconds_of(lambda: fun(tree, *args), budget)
    return alone, seconds_of(gradient, budget)


def dense_seconds(n: int) -> tuple[float, float]:
    """Estimated seconds of a solve by a dense factorisation of size n, and of all eigenpairs.

    Measured for a small matrix, and scaled by the cube of the size.
    """
    size = min(n, _SAMPLE)
    A = np.eye(size) + 0.1 * np.cos(np.add.outer(np.arange(size), np.arange(size)))
    b = np.ones(size)
    growth = (n / size) ** 3
    solved = seconds_of(lambda: np.linalg.solve(A, b), 0.05)
    return solved * growth, seconds_of(lambda: np.linalg.eigh(A), 0.05, most=3) * growth


def available_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not tell."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    names = getattr(os, "sysconf_names", {})
    if "SC_PAGE_SIZE" in names:
        for pages in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"):
            if pages in names:
                return int(os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE"))
    return None
