"""When a linear map becomes a program, and what it is played with.

The first products are computed as autograd does it, by a walk through its graph. Once so many were
asked for that a program pays, the closure is recorded, lowered, optimized, and from then on played.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Protocol

import numpy as np

from hessop._errors import NoProgramError, ProgramWarning
from hessop._tracing import TRACING
from hessop.differentiate.linear_map import LinearMap
from hessop.differentiate.points import AutogradPoint, DifferencePoint
from hessop.operators.checks import by_columns
from hessop.params import Layout
from hessop.tape.adjoint import adjoint_program
from hessop.tape.passes import optimize
from hessop.tape.player import Player
from hessop.tape.program import Program
from hessop.tape.verifying import agrees, compiled

__all__ = ["RECORD_AFTER", "Point", "Products", "compiling_point"]

#: Products that are computed as autograd does it before they are made a program. Recording costs
#: about as much as 20 of them (``tests/benchmarks/when_to_record.py``), so that in the worst case,
#: of one product more, it costs twice of what was needed; for many products it costs little.
RECORD_AFTER = 20


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
        self._reason = ""

    def product(self, v: np.ndarray, *, of_adjoint: bool = False) -> np.ndarray:
        """The product with one vector, as a fresh one."""
        if not self._players and not self._reason:
            self._asked += 1
            if self._asked > RECORD_AFTER:
                self._compile()
        return self._way(of_adjoint)(v)

    def block(self, V: np.ndarray, *, of_adjoint: bool = False) -> np.ndarray:
        """The product with a block of columns, which is worth a program at once."""
        if V.shape[1] > 1:
            self._compile()
        way = self._way(of_adjoint)
        return way.block(V) if isinstance(way, Player) else by_columns(way, V, way.target.size)

    def compile(self) -> Program:
        """The program, made now if it is not there.

        Raises
        ------
        NoProgramError
        """
        self._compile()
        if self._reason:
            raise NoProgramError(f"{self._name} has no program: {self._reason}.")
        return self._players[0].program

    def _way(self, of_adjoint: bool) -> Player | LinearMap:
        players = self._players  # another thread may be about to set them
        if players:
            return players[of_adjoint and len(players) - 1]
        closures = self._closures
        return closures[of_adjoint and len(closures) - 1]()

    def _compile(self) -> None:
        # No lock of its own: a function that is being traced may ask for products, too.
        with TRACING:
            if self._players or self._reason:
                return
            try:
                self._players = self._make_players()
            except Exception as error:  # whatever it is, products have to go on
                kind = "" if isinstance(error, NoProgramError) else f"{type(error).__name__}: "
                self._reason = f"{kind}{error}"
                warnings.warn(
                    f"{self._name}: {self._reason}, so products go on as autograd computes them.",
                    ProgramWarning,
                    stacklevel=2,
                )
                return
            self._closures = []
            self._release()

    def _make_players(self) -> list[Player]:
        first, *others = [once() for once in self._closures]
        player = compiled(first.on_leaves, first.source, first.target, first)
        return [player, *(_adjoint_player(player, other) for other in others)]


def _adjoint_player(player: Player, closure: LinearMap) -> Player:
    adjoint_player = Player(optimize(adjoint_program(player.program)))
    v = np.random.default_rng(2).standard_normal(closure.source.size)
    v = v.astype(closure.source.dtype)
    if not agrees(adjoint_player.program, adjoint_player(v), closure(v)):
        raise NoProgramError("the adjoint of its program disagrees with autograd")
    return adjoint_player


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

    def compile(self) -> Program:
        """The program that products are computed with from now on."""
        ...

    def step_error(self) -> float:
        """Estimated relative error of the last product; 0.0 where products are exact."""
        ...


def compiling_point(point: AutogradPoint | DifferencePoint, name: str) -> Point:
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
