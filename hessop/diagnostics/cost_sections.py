"""The sections of a report about time and memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from hessop.diagnostics.budgets import Allowance
from hessop.diagnostics.findings import Part, Row, Table, known
from hessop.diagnostics.measuring import seconds_of
from hessop.diagnostics.preflights import preflight
from hessop.diagnostics.studies import NotAskedFor, Study
from hessop.operators.dense import DenseOperator
from hessop.operators.sparse import SparseOperator
from hessop.params import as_args

__all__ = ["before_flight", "cost"]

# Seconds for each of the measurements of times, and columns of the block that is timed.
_MEASURING, _COLUMNS = 0.2, 16
# Seconds for the preflight, and products that it takes at least.
_FLIGHT, _TRIALS = 5.0, 300


def cost(study: Study, allowed: Allowance) -> Iterator[Part]:
    """What one product takes, and a gradient."""
    H, fun, seconds = study.H, study.fun, _MEASURING
    if not math.isinf(study.budget.seconds_left):
        seconds = min(seconds, 0.05 * study.budget.seconds_left)
    # Two single products and a block, of so many columns as are allowed.
    most = _COLUMNS if allowed.products is None else max(allowed.products - 2, 1)
    columns = min(_COLUMNS, study.n, most)
    V = np.random.default_rng(0).standard_normal((study.n, columns)).astype(H.dtype)
    v = V[:, 0].copy()
    H.matvec(v)  # what is made once is made now
    product = seconds_of(lambda: H.matvec(v), seconds, most=1 if allowed.products else 5)
    column = seconds_of(lambda: H.matmat(V), seconds, most=1) / columns
    study.budget.seconds_per_product = column
    gradient = seconds_of(lambda: study.operator().gradient, seconds)
    if fun is not None:
        x = H.unflatten(H.x)  # integers are floats here
        alone = seconds_of(lambda: fun(x, *as_args(study.args)), seconds)
        yield Row("function", *_time(alone))
    yield Row("gradient", *_time(gradient), note="with a run of the function")
    yield Row("product", *_time(product), note=f"{product / gradient:.2g} gradients")
    note = f"of a block of {columns}: {column / gradient:.2g} gradients"
    yield Row("product in a block", *_time(column), note=note)
    yield Row("product / gradient", product / gradient)
    yield Row("matrix", _kept(study), note="of which the spectrum is computed")


def _kept(study: Study) -> str:
    if isinstance(study.matrix, DenseOperator):
        return "kept whole"
    return "kept sparse" if isinstance(study.matrix, SparseOperator) else "known by products"


def before_flight(study: Study, allowed: Allowance) -> Iterator[Part]:
    """What the usual methods would cost."""
    if allowed.products is not None and study.budget.limit.products and allowed.products < _TRIALS:
        raise NotAskedFor(
            f"it takes about {_TRIALS} products, and {allowed.products} are left for it."
        )
    seconds = max(min(_FLIGHT, allowed.seconds_left), 0.01)
    found = preflight(study.H, budget=seconds, rng=study.rng)
    for purpose, advice in found.recommended.items():
        yield Row(f"for a {purpose}", advice.option, note=advice.reason)
    yield Row("memory available", *_memory(found.available_memory))
    yield Table(
        "What the ways would take",
        ("way", "products", "seconds", "MB", "remark"),
        tuple(
            (
                row.name,
                known(row.products),
                known(row.seconds),
                known(row.memory / 1e6),
                row.remark,
            )
            for row in found.rows
        ),
        brief=("products", "seconds", "MB"),
    )


def _time(seconds: float) -> tuple[float, None, str]:
    """A time with a unit, as the fields of a row: value, no error, unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1.0:
            return _rounded(seconds * factor), None, unit
    return _rounded(seconds * 1e6), None, "µs"


def _memory(size: int | None) -> tuple[float | None, None, str]:
    return (None, None, "") if size is None else (_rounded(size / 1e9), None, "GB")


def _rounded(figure: float) -> float:
    return float(f"{figure:.3g}")
