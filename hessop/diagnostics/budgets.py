"""How much time, or how many products, a report may take, and who gets which share."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Allowance", "Budget", "Limit", "read_budget"]

_SECONDS = {"ms": 1e-3, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Limit:
    """What a report may take.

    Attributes
    ----------
    seconds : float or None
    products : int or None
    """

    seconds: float | None = None
    products: int | None = None

    def __str__(self) -> str:
        if self.products is not None:
            return f"{self.products:,} products"
        return "no limit" if self.seconds is None else f"{self.seconds:g} s"


@dataclass(frozen=True)
class Allowance:
    """What one section may take.

    Attributes
    ----------
    products : int or None
        The most columns that it may multiply.
    deadline : float or None
        When it should end, by `time.perf_counter`.
    """

    products: int | None = None
    deadline: float | None = None

    @property
    def is_late(self) -> bool:
        """Whether the time is over."""
        return self.seconds_left < 0.0

    @property
    def seconds_left(self) -> float:
        """Until the deadline; infinite without one."""
        return math.inf if self.deadline is None else self.deadline - time.perf_counter()

    def stop_when_late(self, _: Any) -> None:
        """A callback of estimators: raises StopIteration when the time is over."""
        if self.is_late:
            raise StopIteration


class Budget:
    """A limit, and what has been taken of it.

    Parameters
    ----------
    limit : Limit
    spent : callable
        Products so far.
    """

    def __init__(self, limit: Limit, spent: Callable[[], int]) -> None:
        self.limit = limit
        self._spent = spent
        self._began = time.perf_counter()
        self._products_before = spent()
        #: Measured by the report; turns a share of time into products.
        self.seconds_per_product = math.nan

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left."""
        seconds, products = self._left()
        return seconds <= 0.0 or products < 1

    @property
    def seconds_left(self) -> float:
        """Infinite without a limit."""
        return self._left()[0]

    def share(self, part: float) -> Allowance:
        """A part of what is left, from 0 to 1."""
        seconds, products = self._left()
        deadline = None
        if self.limit.seconds is not None:
            deadline = time.perf_counter() + part * seconds
            if self.seconds_per_product > 0.0:
                products = min(products, seconds / self.seconds_per_product)
        return Allowance(None if math.isinf(products) else max(int(part * products), 1), deadline)

    def _left(self) -> tuple[float, float]:
        seconds, products = self.limit.seconds, self.limit.products
        spent = self._spent() - self._products_before
        return (
            math.inf if seconds is None else seconds - (time.perf_counter() - self._began),
            math.inf if products is None else products - spent,
        )


def read_budget(budget: Any) -> Limit:
    """What a user gives for a budget.

    Parameters
    ----------
    budget : str, int or None
        A time, as ``"30s"``, ``"2m"``, ``"1.5h"`` or ``"500ms"``; a number of products; or None.

    Raises
    ------
    ValueError
        When it is none of these, or not positive.

    Examples
    --------
    >>> read_budget("2m")
    Limit(seconds=120.0, products=None)
    >>> read_budget(500)
    Limit(seconds=None, products=500)
    """
    if budget is None:
        return Limit()
    if isinstance(budget, int | np.integer) and not isinstance(budget, bool) and budget > 0:
        return Limit(products=int(budget))
    if isinstance(budget, str):
        text = budget.strip().lower()
        if re.fullmatch(r"\d+", text) and int(text) > 0:
            return Limit(products=int(text))
        time_of = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(ms|s|sec|m|min|h)", text)
        if time_of and float(time_of[1]) > 0.0:
            return Limit(seconds=float(time_of[1]) * _SECONDS[time_of[2]])
    raise ValueError(
        f"budget is {budget!r}, expected a time such as '30s', '2m' or '500ms', a number of "
        "products such as 500, or None for no limit."
    )
