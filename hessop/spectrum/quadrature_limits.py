"""How many probes, steps and products an estimation by quadrature may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hessop.operators.checks import check_count
from hessop.spectrum.estimates import check_rtol

__all__ = ["DEGREE", "MOST_DEGREE", "PROBES", "Limits"]

#: Probes, where nothing is said.
PROBES = 10
#: The degree that is reckoned with before one is known, and the largest that is tried.
DEGREE, MOST_DEGREE = 50, 200

# With rtol, the most products where nothing is said.
_PRODUCTS = 10_000


@dataclass(frozen=True)
class Limits:
    """How far an estimation goes.

    Attributes
    ----------
    n_probes : int or None
        Probes at most; None for as many as `n_matvec` allows.
    degree : int or None
        Steps for each probe; None for as many as the probes' error asks for.
    n_matvec : int or None
        Products at most.
    rtol : float or None
    """

    n_probes: int | None
    degree: int | None
    n_matvec: int | None
    rtol: float | None

    @classmethod
    def read(cls, n_probes: Any, degree: Any, n_matvec: Any, rtol: Any) -> Limits:
        """From the arguments of a user.

        Raises
        ------
        ValueError
            When one of them is not in its range.
        """
        rtol = check_rtol(rtol)
        if n_probes is not None:
            n_probes = check_count(n_probes, "n_probes")
        elif rtol is None and n_matvec is None:
            n_probes = PROBES
        if degree is not None:
            degree = check_count(degree, "degree")
        if n_matvec is not None:
            n_matvec = check_count(n_matvec, "n_matvec", least=2)
        elif rtol is not None:
            n_matvec = _PRODUCTS
        return cls(n_probes, degree, n_matvec, rtol)

    @property
    def probes(self) -> int:
        """Probes at most, or about as many."""
        return self.n_probes or max(PROBES, (self.n_matvec or 0) // (self.degree or DEGREE))

    @property
    def products(self) -> int:
        """Products at most, or about as many where that is found on the way."""
        expected = self.probes * (self.degree or DEGREE)
        return expected if self.n_matvec is None else min(expected, self.n_matvec)
