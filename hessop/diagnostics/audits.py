"""Whether an operator is what it says: a matrix, symmetric, and the Hessian of its function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from hessop.diagnostics.checked import Audit, Check, Outcome, run_check
from hessop.diagnostics.function_checks import FUNCTION_CHECKS
from hessop.diagnostics.inspected import Inspected, Subject
from hessop.diagnostics.operator_checks import OPERATOR_CHECKS
from hessop.diagnostics.probed import Probed, has_adjoint
from hessop.operators.base import BaseOperator
from hessop.operators.checks import check_count
from hessop.operators.curvature import CurvatureOperator
from hessop.operators.foreign import real_operator
from hessop.operators.hessian import HessianOperator, hessian_operator
from hessop.params import as_args, read_tree

__all__ = ["Audit", "Check", "check_operator"]


def check_operator(
    A: Any = None,
    fun: Callable[..., Any] | None = None,
    x: Any = None,
    *,
    args: Any = (),
    grad: Callable[..., Any] | None = None,
    symmetric: bool | None = None,
    n_probes: int = 3,
    rng: Any = 0,
) -> Audit:
    """Whether A is a matrix, and the Hessian of `fun` at x; and if not, what the cause may be.

    Parameters
    ----------
    A : LinearOperator or matrix, shape (m, n), optional
        Without it, the Hessian of `fun` at x by `hessian_operator`.
    fun : callable, optional
        ``fun(x, *args) -> scalar``, whose Hessian A should be. Without it, that which a
        `HessianOperator` was made of; for others, what has to do with a function is skipped.
    x : parameter tree, optional
        The point; by default that of A, where it has one.
    args : tuple
        Further arguments of `fun`.
    grad : callable, optional
        ``grad(x, *args)``, a gradient that is not autograd's.
    symmetric : bool, optional
        Whether A should be symmetric. By default: where it says so, where there is a `fun`, and
        where it is square and has no `rmatvec` to be compared with.
    n_probes : int
        Random directions. For each there are about four products with A, and twelve gradients.
    rng : None, int or numpy.random.Generator

    Returns
    -------
    Audit
        ``passed``; one `Check` for each law, by ``audit[name]`` and by iteration; ``failures``;
        a table, when it is printed.

    Raises
    ------
    TypeError, ValueError
        When A is no real matrix, or does not fit x; when there is neither A nor `fun`. What A or
        `fun` raise when they are run is a failed check instead.

    Notes
    -----
    What is allowed of a product is ten times ``√n ε ||A v||``, and ten times what a change of v in
    its last digits makes. Derivatives are compared with central differences of step after step,
    each a 16th of the last. Their error is estimated from how they converge (L. F. Richardson, "The
    approximate arithmetical solution by finite differences", Phil. Trans. A 210, 1911), and from
    how values change with the last digits of x: rounding (J. J. Moré and S. M. Wild, "Estimating
    derivatives of noisy functions", ACM Trans. Math. Software 38, 2012). At a kink, second
    differences do not vanish with the step, which is how it is told from both. Where a derivative
    is wrong, each primitive of `fun` is compared with its own differences: a rule that is wrong is
    named, and if there is none, values have left the graph.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import check_operator, hessian_operator
    >>> H = hessian_operator(lambda x: np.sum(np.cosh(x)) * np.sum(x**2), np.array([0.3, -0.5]))
    >>> check_operator(H).passed
    True
    >>> audit = check_operator(fun=lambda x: np.sum(np.abs(x)), x=np.array([0.0, 1.0]))
    >>> audit.passed, [check.name for check in audit.failures]
    (False, ['smooth fun'])
    """
    n_probes = check_count(n_probes, "n_probes")
    generator = np.random.default_rng(rng)
    operator = None if A is None else real_operator(A)
    subject = _read_subject(operator, fun, x, as_args(args), grad)
    refused: list[Check] = []
    if operator is None:
        if subject is None:
            raise ValueError("there is neither A nor fun, expected one of them. Give fun and x.")
        operator, refused = _made_of(subject)
    probed = None
    if operator is not None:
        expected = _expect_symmetry(operator, symmetric, subject is not None)
        probed = Probed(operator, expected, n_probes, generator)
    inspected = None
    if subject is not None and not refused:
        assert probed is not None
        inspected = Inspected(subject, probed, generator)
    checks = [
        *refused,
        *_all_of(OPERATOR_CHECKS, probed, "there is no operator."),
        *_all_of(FUNCTION_CHECKS, inspected, "there is no fun, or it cannot be differentiated."),
    ]
    return Audit(tuple(checks), _describe(operator, subject))


def _all_of(table: Any, about: Any, why_not: str) -> list[Check]:
    if about is None:
        return [Check(name, "skipped", cause=why_not) for name, _ in table]
    return [run_check(name, partial(find, about)) for name, find in table]


def _made_of(subject: Subject) -> tuple[LinearOperator | None, list[Check]]:
    """The Hessian of a function, or the failed check that there is none."""
    made: list[LinearOperator] = []

    def make() -> Outcome:
        made.append(
            hessian_operator(
                subject.fun,
                subject.layout.unflatten(subject.x),
                args=subject.args,
                grad=subject.grad,
            )
        )
        return Outcome(is_fine=True)

    check = run_check("operator", make)
    return (made[0], []) if made else (None, [check])


def _read_subject(
    A: LinearOperator | None,
    fun: Callable[..., Any] | None,
    x: Any,
    args: tuple[Any, ...],
    grad: Callable[..., Any] | None,
) -> Subject | None:
    """The function that A is about, as given, or as known to A."""
    if fun is None and grad is None:
        known = getattr(A, "_remake", None) if isinstance(A, HessianOperator) else None
        if known is None or x is not None:
            if x is not None:
                raise ValueError("there is an x, but no fun or grad to look at there. Give fun=.")
            return None
        (fun, x), args, grad = known.args, known.keywords["args"], known.keywords["grad"]
    if x is None:
        if not isinstance(A, CurvatureOperator):
            raise ValueError("there is a fun, but no x to look at it. Give x=.")
        x = A.unflatten(A.x)
    layout, point = read_tree(x)
    if A is not None and A.shape != (layout.size, layout.size):
        raise ValueError(
            f"A has shape {A.shape}, expected {(layout.size, layout.size)}, for the entries of x."
        )
    return Subject(fun, grad, layout, point, args)


def _expect_symmetry(A: LinearOperator, symmetric: bool | None, has_fun: bool) -> bool:
    square = A.shape[0] == A.shape[1]
    if symmetric is not None:
        if symmetric and not square:
            raise ValueError(f"A has shape {A.shape}: it is not square, and cannot be symmetric.")
        return bool(symmetric)
    if isinstance(A, BaseOperator):
        return A.symmetric
    return square and (has_fun or not has_adjoint(A))


def _describe(A: LinearOperator | None, subject: Subject | None) -> str:
    what = []
    if A is not None:
        what.append(
            repr(A)
            if isinstance(A, BaseOperator)
            else f"a {A.shape[0]} x {A.shape[1]} {type(A).__name__}"
        )
    if subject is not None:
        what.append(f"of {subject.name} at x of {subject.layout.size:,} entries")
    return " ".join(what)
