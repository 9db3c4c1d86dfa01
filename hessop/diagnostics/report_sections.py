"""The sections of a report, in order of importance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hessop.diagnostics.budgets import Allowance
from hessop.diagnostics.cost_sections import before_flight, cost
from hessop.diagnostics.density_section import density
from hessop.diagnostics.findings import Part
from hessop.diagnostics.point_sections import audit, critical, decrement, size, value
from hessop.diagnostics.spectral_sections import (
    effective_dimensions,
    eigenvalues,
    invariants,
    leaves,
)
from hessop.diagnostics.studies import Study

__all__ = ["PLANS", "Plan"]


@dataclass(frozen=True)
class Plan:
    """A section that is to be computed.

    Attributes
    ----------
    name, title, about : str
    weight : float
        Its share of the budget, in proportion to the others. What has none is always computed.
    compute : callable
        Gives the parts of the section, one after the other.
    """

    name: str
    title: str
    about: str
    weight: float
    compute: Callable[[Study, Allowance], Iterator[Part]]


#: What is computed, and in which order.
PLANS = (
    Plan(
        "size", "Size and structure", "How large the Hessian is, and how it is computed.", 0, size
    ),
    Plan("value", "Value and gradient", "The function at the point.", 0, value),
    Plan("cost", "Cost", "What one product with the Hessian costs.", 1, cost),
    Plan(
        "audit",
        "Audit",
        "Whether products are linear, symmetric, repeatable, and derivatives of the function.",
        2,
        audit,
    ),
    Plan(
        "eigenvalues",
        "Extreme eigenvalues",
        "The largest and the smallest eigenvalues, each as accurate as its residual.",
        5,
        eigenvalues,
    ),
    Plan(
        "critical_point",
        "Critical point",
        "Minimum, saddle or maximum, and how many eigenvalues have which sign.",
        4,
        critical,
    ),
    Plan(
        "decrement",
        "Newton decrement",
        "sqrt(gᵀ H⁻¹ g): the length of the Newton step, measured by the curvature.",
        2,
        decrement,
    ),
    Plan(
        "invariants",
        "Condition, trace, norm and determinant",
        "The matrix in single numbers.",
        4,
        invariants,
    ),
    Plan(
        "effective_dimension",
        "Effective dimension",
        "Σ λ/(λ + damping): how many directions are curved by more than a damping.",
        3,
        effective_dimensions,
    ),
    Plan(
        "preflight",
        "Preflight",
        "What the usual methods would cost here, and which one to use.",
        2,
        before_flight,
    ),
    Plan(
        "leaves",
        "Leaves",
        "The Hessian's diagonal blocks: the curvature of each leaf, the others held fixed.",
        4,
        leaves,
    ),
    Plan(
        "density",
        "Spectral density",
        "How the eigenvalues are distributed.",
        4,
        density,
    ),
)
