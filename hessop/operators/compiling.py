"""When a linear map becomes a program, and what it is played with.

The first products are computed as autograd does it, by a walk through its graph. Once so many were
asked for that a program pays, the closure is recorded, lowered, optimized, and from then on played.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Protocol

import numpy as np

from hessop._errors import NotLinearError, ProgramWarning
from hessop._tracing import TRACING
from hessop.differentiate.linear_map import LinearMap
from hessop.differentiate.points import AutogradPoint, DifferencePoint
from hessop.operators.checks import by_columns
from hessop.params import Layout
from hessop.tape.adjoint import adjoint
from hessop.tape.lowering import lower
from hessop.tape.passes import optimize
from hessop.tape.player import Player
from hessop.tape.program import Program
from hessop.tape.recorder import record
from hessop.tape.verifying import disagreement

__all__ = ["RECORD_AFTER", "Point", "Products", "compiling"]

#: Products that are computed as autograd does it before they are made a program. Recording costs
#: about as much as this many of them, so that it never more than doubles what a product costs.
RECORD_AFTER = 10


class Products:
    """Products with a linear map and its adjoint, by closures at first and by a program later.

    Parameters
    ----------
    closure : callable
        Makes the `LinearMap`; called when it is first needed.
    adjoint_closure : callable, optional
        The same for the adjoint; none for a symmetric map, which is its own.
    name : str
        How warnings call the map.
    release : callable
        Called when a program has taken the place of the closures.
    """

    def __init__(
        self,
        closure: Callable[[], LinearMap],
        adjoint_closure: Callable[[], LinearMap] | None = None,
        *,
        name: str,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._release = release
        self._closures = [_Once(closure)]
        if adjoint_closure is not None:
            self._closures.append(_Once(adjoint_closure))
        self._players: list[Player] = []
        self._asked = 0
        self._refused = False
        self._compiling = threading.RLock()

    def product(self, v: np.ndarray, *, of_adjoint: bool = False) -> np.ndarray:
        """The product with one vector, as a fresh one."""
        players = self._players
        if not players and not self._refused:
            self._asked += 1
            if self._asked > RECORD_AFTER:
                self.compile()
                players = self._players
        if players:
            return players[of_adjoint and len(players) - 1](v)
        return self._closures[of_adjoint and len(self._closures) - 1]()(v)

    def block(self, V: np.ndarray, *, of_adjoint: bool = False) -> np.ndarray:
        """The product with a block of columns, which is worth a program at once."""
        if V.shape[1] > 1:
            self.compile()
        players = self._players
        if players:
            return players[of_adjoint and len(players) - 1].block(V)
        rows = self._closures[of_adjoint and len(self._closures) - 1]().target.size
        return by_columns(lambda v: self.product(v, of_adjoint=of_adjoint), V, rows)

    def compile(self) -> Program | None:
        """Make the program now; None where that failed, after a warning."""
        with self._compiling:
            if not self._players and not self._refused:
                self._compile()
        return self._players[0].program if self._players else None

    def _compile(self) -> None:
        closures = [once() for once in self._closures]
        try:
            programs = [optimize(_program_of(closures[0]))]
            programs += [optimize(adjoint(programs[0])) for _ in closures[1:]]
            players = [Player(program) for program in programs]
            for closure, player in zip(closures, players, strict=True):
                culprit = disagreement(closure, player)
                if culprit is not None:
                    raise NotLinearError(culprit)
        except NotLinearError as error:
            self._refused = True
            warnings.warn(
                f"{self._name}: {error}, so products are computed as autograd does it.",
                ProgramWarning,
                stacklevel=2,
            )
            return
        self._players = players
        self._closures = []
        self._release()


class _Once:
    """A closure, made when it is first called for."""

    def __init__(self, make: Callable[[], LinearMap]) -> None:
        self._make = make
        self._made: LinearMap | None = None

    def __call__(self) -> LinearMap:
        with TRACING:
            if self._made is None:
                self._made = self._make()
            return self._made


def _program_of(closure: LinearMap) -> Program:
    source = closure.source
    # Without zeros, at which some primitives drop terms; always the same, for reproducible programs.
    rng = np.random.default_rng(0)
    v = rng.choice([-1.0, 1.0], source.size) * rng.uniform(0.5, 1.5, source.size)
    tape = record(closure.on_leaves, source, closure.target, v.astype(source.dtype))
    return lower(tape)


# --- points ---------------------------------------------------------------------------------------


class Point(Protocol):
    """What a Hessian operator needs of a function at a point."""

    layout: Layout
    mode: str

    @property
    def value(self) -> float:
        """The function's value."""
        ...

    @property
    def gradient(self) -> np.ndarray:
        """The gradient, shape (n,)."""
        ...

    def product(self, v: np.ndarray) -> np.ndarray:
        """Hv, a fresh vector of shape (n,)."""
        ...

    def block(self, V: np.ndarray) -> np.ndarray:
        """HV, a fresh array of shape (n, k)."""
        ...

    def compile(self) -> Program | None:
        """The program that products are computed with from now on; None where there is none."""
        ...

    def step_error(self) -> float:
        """Estimated relative error of the last product; 0.0 where products are exact."""
        ...


def compiling(point: AutogradPoint | DifferencePoint, name: str) -> Point:
    """A point whose products become a program, where they are exact.

    Parameters
    ----------
    point : AutogradPoint or DifferencePoint
    name : str
        How warnings call the function.
    """
    return point if isinstance(point, DifferencePoint) else _CompilingPoint(point, name)


class _CompilingPoint:
    def __init__(self, point: AutogradPoint, name: str) -> None:
        self.layout = point.layout
        self.mode = point.mode
        self.value = point.value
        self._point = point
        self._products = Products(
            point.linear_map, name=f"the Hessian of {name}", release=point.release
        )
        self.product = self._products.product
        self.block = self._products.block
        self.compile = self._products.compile

    @property
    def gradient(self) -> np.ndarray:
        return self._point.gradient

    def step_error(self) -> float:
        return 0.0
