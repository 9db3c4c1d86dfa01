"""The sections of a report that tell what kind of point it is, and whether to trust them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from hessop.diagnostics.audits import check_operator
from hessop.diagnostics.budgets import Allowance
from hessop.diagnostics.findings import Part, Row, Table, known
from hessop.diagnostics.studies import Study
from hessop.operators.structured import StructuredOperator
from hessop.solvers.linear import solve
from hessop.spectrum.critical_points import critical_point
from hessop.spectrum.inertias import SignCounts, inertia

__all__ = ["audit", "critical", "decrement", "size", "value"]

# Products that `inertia` may take, where it chooses; and probes of a smaller estimate.
_INERTIA_PRODUCTS, _PROBES = 1200, 10
# Products for the two eigenvalues that a verdict needs.
_VERDICT_PRODUCTS = 400


def size(study: Study, _: Allowance) -> Iterator[Part]:
    """How large the matrix is, and what it is made of."""
    H = study.H
    yield Row("parameters", H.shape[0])
    yield Row("leaves", len(H.layout.shapes))
    yield Row("dtype", str(H.dtype))
    yield Row("mode", H.mode, note="how products are computed")
    sparse = study.sparse
    if sparse is not None:
        share = sparse.nnz / (H.shape[0] * H.shape[1])
        yield Row("nonzeros", int(sparse.nnz), note=f"{share:.2%} of all entries")
    else:
        yield Row("nonzeros", None, note="not known to be sparse")
    yield Row("compiled", H.is_compiled, note="whether products are played as a linear program")
    if not H.layout.is_array:
        sizes = np.diff(H.layout.offsets)
        rows = zip(H.layout.names(), map(str, H.layout.shapes), map(int, sizes), strict=True)
        yield Table("Leaves of x", ("leaf", "shape", "entries"), tuple(rows))


def value(study: Study, _: Allowance) -> Iterator[Part]:
    """The function and its gradient."""
    H = study.H
    if study.fun is None:
        yield Row("value", None, note="only the gradient was given")
    else:
        yield Row("value", H.value)
    g = study.gradient.astype(np.float64)
    yield Row("gradient norm", float(np.linalg.norm(g)))
    largest = int(np.argmax(np.abs(g)))
    yield Row("largest entry", float(g[largest]), note=f"at {H.layout.where(largest)}")


def audit(study: Study, _: Allowance) -> Iterator[Part]:
    """Whether the operator is the Hessian of the function."""
    found = check_operator(study.H, rng=study.rng)
    yield Row("passed", found.passed)
    yield Table(
        "Checks",
        ("check", "verdict", "discrepancy", "allowed", "cause"),
        tuple(
            (
                check.name,
                check.verdict,
                known(check.discrepancy),
                known(check.allowed),
                check.cause,
            )
            for check in found
        ),
        brief=("discrepancy", "allowed"),
    )


def critical(study: Study, allowed: Allowance) -> Iterator[Part]:
    """How many eigenvalues have which sign, and what kind of point it is."""
    counts = study.run(_inertia, study, allowed)
    error = None if counts.converged else counts.standard_error
    for name in ("negative", "zero", "positive"):
        yield Row(f"{name} eigenvalues", getattr(counts, name), error)
        error = error if name != "negative" else None
    note = f"of eigenvalues that count as zero here; {counts.method}, {counts.status}"
    yield Row("tolerance", counts.tolerance, note=note)
    most = _VERDICT_PRODUCTS
    if allowed.products is not None:
        most = min(most, max(allowed.products // 2, 2))
    point = study.run(
        critical_point,
        study.fun,
        study.x,
        args=study.args,
        grad=study.grad,
        A=study.matrix,
        n_matvec=most,
        rng=study.rng,
    )
    yield Row("kind", point.kind, note=point.reason)
    yield Row("gradient tolerance", point.gradient_tolerance, note="up to which it is critical")
    yield Row("curvature tolerance", point.curvature_tolerance, note="up to which it is flat")
    if point.escape is not None:
        yield Row("escape curvature", point.smallest, note="along the direction that leads down")


def _inertia(study: Study, allowed: Allowance) -> SignCounts:
    options: dict[str, Any] = {"rng": study.rng, "callback": allowed.stop_when_late}
    most = None if study.matrix is not study.H else allowed.products
    if most is not None and most < max(study.n, _INERTIA_PRODUCTS):
        n_probes = min(_PROBES, max(most // 20, 2))
        degree = max(most // (2 * n_probes), 1)
        options |= {"method": "lanczos", "n_probes": n_probes, "degree": degree}
    return inertia(study.matrix, **options)


def decrement(study: Study, allowed: Allowance) -> Iterator[Part]:
    """How far the function is above its minimum, by a quadratic model."""
    label = "Newton decrement"
    reason = _why_not_definite(study)
    if reason:
        yield Row(label, None, note=reason)
        return
    solution = solve(
        study.matrix,
        study.gradient,
        maxiter=study.products(allowed),
        callback=allowed.stop_when_late,
    )
    if solution.negative_curvature is not None:
        curvature = solution.negative_curvature.value
        yield Row(label, None, note=f"H is indefinite: a direction has curvature {curvature:.3g}")
    elif not solution.converged:
        yield Row(label, None, note=f"H s = g was not solved: {solution.reason}")
    else:
        square = float(study.gradient @ solution.x)
        yield Row(label, math.sqrt(square), note=f"by {solution.method}")
        yield Row("half its square", square / 2, note="about the height above the minimum")


def _why_not_definite(study: Study) -> str:
    """Why there is no Newton decrement, as far as it is known; else nothing."""
    if isinstance(study.matrix, StructuredOperator):
        negative, zero, _ = study.matrix.inertia()
        if negative or zero:
            return f"H is not positive definite: {negative} negative and {zero} zero eigenvalues"
    if study.smallest is not None and study.smallest < 0.0:
        return f"H is indefinite: it has an eigenvalue of {study.smallest:.3g}"
    return ""
