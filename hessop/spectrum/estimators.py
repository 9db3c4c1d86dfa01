"""How an estimator is run: the exact value where that is as cheap, else one of its methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hessop._errors import NonFiniteError
from hessop.operators.base import BaseOperator, CombinedOperator
from hessop.operators.checks import check_count, matrix_of
from hessop.operators.foreign import ForeignOperator
from hessop.spectrum.estimates import Estimate, check_rtol, exact_estimate, last_of
from hessop.spectrum.products import Products, symmetry_test_cost

__all__ = [
    "DEFAULT_PRODUCTS",
    "Method",
    "check_limit",
    "check_method",
    "exact_result",
    "given_matrix",
    "run_estimator",
]

#: The most products where neither n_matvec nor rtol is given.
DEFAULT_PRODUCTS = 128


@dataclass(frozen=True)
class Method:
    """One way to estimate.

    Attributes
    ----------
    estimates : callable
        ``estimates(products, limit, rng)`` gives better and better estimates, until limit products
        are spent.
    least : int
        The products that the first one takes.
    needs_adjoint : bool
        Whether it matters that A is symmetric.
    """

    estimates: Callable[[Products, int, np.random.Generator], Iterator[Estimate]]
    least: int
    needs_adjoint: bool = False

    def least_for(self, operator: BaseOperator) -> int:
        """The same with a test of symmetry, where there has to be one."""
        return self.least + (symmetry_test_cost(operator) if self.needs_adjoint else 0)

    def run(self, products: Products, limit: int, rng: Any) -> Iterator[Estimate]:
        """The estimates."""
        if self.needs_adjoint:
            products.test_symmetry()
        yield from self.estimates(products, limit, np.random.default_rng(rng))


def run_estimator(
    name: str,
    operator: BaseOperator,
    *,
    exact: Callable[[BaseOperator, bool], Any],
    at_hand: Callable[[BaseOperator], bool],
    methods: Mapping[str, Method],
    method: str,
    n_matvec: int | None,
    rtol: float | None,
    rng: Any,
    progress: bool,
    callback: Callable[[Estimate], Any] | None,
) -> Estimate:
    """The exact value where it takes no more products than are allowed, else an estimate.

    Parameters
    ----------
    name : str
        How bars and warnings call it.
    operator : BaseOperator, shape (m, n)
    exact : callable
        ``exact(operator, progress)``, with n products at most.
    at_hand : callable
        Whether the exact value of an operator takes none.
    methods : mapping
        By name, also ``"auto"``.
    method, n_matvec, rtol, rng, progress, callback
        Of the public function.

    Notes
    -----
    With rtol, an estimate may get there in far fewer products than n. So it is tried first where
    the exact value can still be paid for afterwards.
    """
    check_method(method, [*methods, "exact"])
    rtol, n = check_rtol(rtol), operator.shape[1]
    chosen = methods.get(method, methods["auto"])
    least = chosen.least_for(operator)
    free = method in ("auto", "exact") and at_hand(operator)
    check_limit(n_matvec, 0 if free else n if method == "exact" else min(n, least), method)
    limit = n_matvec or (DEFAULT_PRODUCTS if rtol is None else 2 * n)
    reserve = n if rtol is not None and n > DEFAULT_PRODUCTS and limit >= n + least else 0
    is_exact = free or method == "exact" or (limit >= n and not reserve)
    products = Products(operator)

    def results() -> Iterator[Estimate]:
        if not is_exact:
            yield from chosen.run(products, limit - reserve, rng)
        if is_exact or reserve:
            yield exact_result(operator, lambda: exact(operator, progress), products.n_matvec)

    return last_of(
        results(),
        name=name,
        total=limit,
        is_enough=None if rtol is None else lambda result: result.is_within(rtol),
        callback=callback,
        progress=progress and not is_exact,  # which has a bar of its own
    )


def check_method(method: Any, known: list[str]) -> None:
    """Refuse a method that there is not."""
    if method not in known:
        expected = ", ".join(map(repr, known[:-1])) + f" or {known[-1]!r}"
        raise ValueError(f"method is {method!r}, expected {expected}.")


def check_limit(n_matvec: Any, least: int, method: str) -> None:
    """Refuse a limit of products that is none, or less than a method takes."""
    if n_matvec is not None and check_count(n_matvec, "n_matvec") < least:
        raise ValueError(
            f"n_matvec is {n_matvec}, expected a whole number from {least}: method={method!r} "
            "takes as many products at least."
        )


def exact_result(operator: BaseOperator, compute: Callable[[], Any], spent: int = 0) -> Estimate:
    """What is computed of an operator, exact, with the products that this takes.

    Raises
    ------
    NonFiniteError
        When it is not finite.
    """
    counted = [operator]
    if isinstance(operator, CombinedOperator):  # whose diagonal is that of its terms
        counted += [term for _, term in operator.terms if isinstance(term, BaseOperator)]
    before = [one.n_matvec for one in counted]
    value = np.asarray(compute(), dtype=np.float64)
    if not np.isfinite(value).all():
        raise NonFiniteError("A has entries that are not finite, expected finite numbers.")
    made = max(one.n_matvec - earlier for one, earlier in zip(counted, before, strict=True))
    return exact_estimate(value if value.ndim else float(value), spent + made)


def given_matrix(operator: BaseOperator) -> Any:
    """The array, or sparse one, that was passed for an operator; None for any other."""
    return matrix_of(operator.operator) if isinstance(operator, ForeignOperator) else None
