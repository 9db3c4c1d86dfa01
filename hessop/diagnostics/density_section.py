"""The section of a report that shows how eigenvalues are distributed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from hessop.diagnostics.budgets import Allowance
from hessop.diagnostics.findings import Curve, Part, Row, Table
from hessop.diagnostics.studies import NotAskedFor, Study
from hessop.operators.dense import DenseOperator
from hessop.spectrum.densities import spectral_density
from hessop.spectrum.density_results import SpectralDensity

__all__ = ["density"]

# Of the estimate, where the budget allows.
_PROBES, _DEGREE = 10, 100
# Points of the curve, at least.
_POINTS = 300
# Bins are decades where eigenvalues of one sign differ by more, else of equal width.
_WIDE, _DECADES, _BINS = 30.0, 6, 10


def density(study: Study, allowed: Allowance) -> Iterator[Part]:
    """How the eigenvalues are distributed."""
    if not study.density:
        raise NotAskedFor("it was not asked for (density=True, or --density).")
    exact = isinstance(study.matrix, DenseOperator)
    n_probes, degree = _size(None if exact else study.products(allowed), study.n)
    found: SpectralDensity = study.run(
        spectral_density,
        study.matrix,
        method="exact" if exact else "lanczos",
        n_probes=n_probes,
        degree=degree,
        rng=study.rng,
        callback=allowed.stop_when_late,
    )
    how = (
        "exact" if exact else f"{found.method}, {found.n_probes} probes, {found.n_matvec} products"
    )
    yield Row("mean", float(found.mean), None if exact else found.mean.standard_error, note=how)
    for name, q in (("lower quartile", 0.25), ("median", 0.5), ("upper quartile", 0.75)):
        yield Row(name, float(found.quantile(q)))
    zero = found.mass_near_zero()
    note = f"up to {found.zero_tolerance:.1g} in magnitude, which is rounding"
    yield Row("share at zero", float(zero), None if exact else zero.standard_error, note=note)
    yield _histogram(found)
    x = found.grid(_POINTS)
    low, high = found.bands(x) if found.n_probes > 1 else (found.density(x),) * 2
    yield Curve("Spectral density", x, found.density(x), low, high)


def _size(products: int | None, n: int) -> tuple[int, int]:
    """Probes and degree for so many products: two probes at least, for the error."""
    if products is None:
        return _PROBES, min(_DEGREE, n)
    if products < 2:
        raise NotAskedFor("the budget does not suffice for two probes.")
    degree = min(_DEGREE, n, max(products // 5, 1))
    return min(_PROBES, max(products // degree, 2)), degree


def _histogram(found: SpectralDensity) -> Table:
    edges = _edges(*found.support)
    counts, errors = [], []
    for low, high in pairwise(edges):
        # Each edge belongs to the bin above it, the last one to the last.
        end = high if high == edges[-1] else np.nextafter(high, low)
        count = found.count(low, end)
        counts.append(float(count))
        errors.append(float(count.standard_error))
    shares = [count / found.n for count in counts]
    rows = zip(pairwise(edges), counts, errors, shares, strict=True)
    return Table(
        "Eigenvalues by size",
        ("from", "to", "count", "±", "share"),
        tuple((*ends, count, error, share) for ends, count, error, share in rows),
        brief=("±",),
        bars="share",
    )


def _edges(low: float, high: float) -> list[float]:
    """Of bins: decades below the largest magnitude on both sides of zero; or of equal width."""
    size = max(abs(low), abs(high))
    if size == 0.0:
        return [-1.0, 1.0]
    if low == high or (low * high > 0.0 and size < _WIDE * min(abs(low), abs(high))):
        margin = 0.0 if low < high else 0.5 * size
        return [float(edge) for edge in np.linspace(low - margin, high + margin, _BINS + 1)]
    top = 10.0 ** np.ceil(np.log10(size))
    decades = top * 10.0 ** -np.arange(_DECADES + 1.0)
    edges = [*-decades, *decades[::-1]]
    # Bins beyond the ends are left out.
    first = max(i for i, edge in enumerate(edges) if edge <= low)
    last = min(i for i, edge in enumerate(edges) if edge >= high)
    return [float(f"{edge:.6g}") for edge in edges[first : last + 1]]
