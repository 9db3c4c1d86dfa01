"""The sections of a report that are about the spectrum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hessop.diagnostics.budgets import Allowance
from hessop.diagnostics.findings import Part, Row, Table
from hessop.diagnostics.studies import NotAskedFor, Study
from hessop.operators.base import BaseOperator
from hessop.operators.dense import DenseOperator
from hessop.operators.sparse import SparseOperator
from hessop.spectrum.conditions import condition_number
from hessop.spectrum.eigen import extreme_eigenpairs
from hessop.spectrum.eigen_results import Eigenpairs
from hessop.spectrum.functions import effective_dimension
from hessop.spectrum.logdets import logdet
from hessop.spectrum.norms import frobenius_norm
from hessop.spectrum.traces import trace

__all__ = ["effective_dimensions", "eigenvalues", "estimated", "invariants", "leaves"]

#: Dampings of effective dimensions, relative to the largest eigenvalue.
DAMPINGS = (1e-1, 1e-2, 1e-4, 1e-6)

# Why there are leaves that were not reached.
_ENDED = {False: "the budget was spent", True: "it was interrupted"}


def eigenvalues(study: Study, allowed: Allowance) -> Iterator[Part]:
    """Both ends of the spectrum, each eigenvalue with its residual."""
    k = min(study.n, 2 * study.eigs)
    pairs = _ends(study, study.matrix, k, study.products(allowed), allowed)
    values, residuals = pairs.eigenvalues, pairs.residuals
    yield Row("largest", float(values[-1]), float(residuals[-1]), note="± residual")
    yield Row("smallest", float(values[0]), float(residuals[0]), note="± residual")
    study.largest = float(np.abs(values).max())
    study.smallest = float(values[0] + residuals[0])
    found = f"{pairs.method}, {pairs.n_matvec} products, {pairs.status}"
    yield Row("converged", pairs.converged, note=found)
    rows = zip(values, residuals, pairs.accurate, strict=True)
    yield Table(
        "Extreme eigenvalues",
        ("eigenvalue", "residual", "converged"),
        tuple((float(value), float(residual), bool(good)) for value, residual, good in rows)[::-1],
        brief=("residual",),
    )


def invariants(study: Study, allowed: Allowance) -> Iterator[Part]:
    """What sums a matrix up in one number."""
    options: dict[str, Any] = {
        "method": study.method,
        "n_matvec": study.products(allowed, 1 / 4),
        "rng": study.rng,
        "callback": allowed.stop_when_late,
    }
    yield estimated(study, "condition number", condition_number, **options)
    yield estimated(study, "trace", trace, **options)
    yield estimated(study, "Frobenius norm", frobenius_norm, **options)
    yield estimated(study, "log-determinant", logdet, **options)


def effective_dimensions(study: Study, allowed: Allowance) -> Iterator[Part]:
    """How many directions are determined, at some dampings."""
    if study.largest is None:
        raise NotAskedFor("the largest eigenvalue is not known, by which dampings are measured.")
    for relative in DAMPINGS:
        damping = float(f"{relative * study.largest:.1g}")
        row = estimated(
            study,
            f"at damping {damping:g}",
            effective_dimension,
            damping,
            method=study.method,
            n_matvec=study.products(allowed, 1 / len(DAMPINGS)),
            rng=study.rng,
            callback=allowed.stop_when_late,
        )
        yield row
        if row.value is None:
            return  # with less damping there is none either


def leaves(study: Study, allowed: Allowance) -> Iterator[Part]:
    """The curvature within each leaf of the parameters, the others held."""
    layout = study.H.layout
    if layout.is_array:
        raise NotAskedFor("x is a single array, without leaves.")
    rows: list[tuple[Any, ...]] = []
    names, parts = layout.names(), layout.partition()
    for name, indices in zip(names, parts, strict=True):
        if study.interrupted or allowed.is_late or study.budget.is_spent:
            break
        try:
            rows.append((name, *_of_block(study, indices, allowed, 1 / (2 * len(parts)))))
        except KeyboardInterrupt:  # those before it are known
            study.interrupted = True
    columns = ("leaf", "trace", "±", "smallest", "largest", "residual")
    yield Table("Curvature by leaf", columns, tuple(rows), brief=("±", "residual"))
    if len(rows) < len(names):
        yield Row("leaves not reached", len(names) - len(rows), note=_ENDED[study.interrupted])


def _of_block(
    study: Study, indices: np.ndarray, allowed: Allowance, part: float
) -> tuple[Any, ...]:
    """Trace, its error, both ends of the spectrum, and the larger of their residuals."""
    block, products = _block(study.matrix, indices), study.products(allowed, part)
    total = study.run(
        trace, block, n_matvec=products, rng=study.rng, callback=allowed.stop_when_late
    )
    pairs = _ends(study, block, min(2, indices.size), products, allowed)
    values = pairs.eigenvalues
    return (
        float(total.estimate),
        float(total.standard_error),
        float(values[0]),
        float(values[-1]),
        float(pairs.residuals.max()),
    )


def _ends(
    study: Study, A: BaseOperator, k: int, products: int | None, allowed: Allowance
) -> Eigenpairs:
    pairs: Eigenpairs = study.run(
        extreme_eigenpairs,
        A,
        k,
        which="BE",
        method="dense" if isinstance(A, DenseOperator) else "auto",
        n_matvec=products,
        rng=study.rng,
        callback=allowed.stop_when_late,
    )
    return pairs


def _block(A: BaseOperator, indices: np.ndarray) -> BaseOperator:
    """The diagonal block of some rows, of the kind of the whole."""
    if isinstance(A, DenseOperator):
        return DenseOperator(A.to_dense()[np.ix_(indices, indices)])
    if isinstance(A, SparseOperator):
        return SparseOperator(A.to_sparse()[indices][:, indices])
    return A.block(indices, indices)


def estimated(
    study: Study, label: str, estimator: Callable[..., Any], *args: Any, **options: Any
) -> Row:
    """A figure with its error; or, where there is none, the reason."""
    try:
        result = study.run(estimator, study.matrix, *args, **options)
    except Exception as error:  # the other figures go on
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        return Row(label, None, note=f"{kind}{error}")
    if result.status == "exact":
        return Row(label, float(result.estimate), note="exact")
    note = f"{result.method}, {result.n_matvec} products, {result.status}"
    return Row(label, float(result.estimate), float(result.standard_error), note=note)
