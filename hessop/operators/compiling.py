"""When a linear map becomes a program, and what it is played with.

The first products are computed as autograd does it, by a walk through its graph. Once so many were
asked for that a program pays, the closure is recorded, lowered, optimized, and from then on played.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np

from hessop._errors import NoProgramError, ProgramWarning, warn_user
from hessop._tracing import TRACING
from hessop.differentiate.linear_map import LinearMap
from hessop.differentiate.points import AutogradPoint, DifferencePoint
from hessop.operators.checks import by_columns
from hessop.params import Layout
from hessop.tape.adjoint import adjoint_program
from hessop.tape.passes import optimize
from hessop.tape.player import Player
from hessop.tape.verifying import agrees, compiled, is_slower

__all__ = ["RECORD_AFTER", "Multiplier", "Point", "Products", "compiling_point"]

#: Products that are computed as autograd does it before they are made a program. Recording costs
#: about as much (``tests/benchmarks/when_to_record.py``: 19 in the median, quartiles at 17 and 23).
#: So in the worst case, of one product more, twice of what was needed is paid; for many, little.
RECORD_AFTER = 20


class Multiplier(Protocol):
    """What products are computed with: `Products`, or a point."""

    def product(self, v: np.ndarray) -> np.ndarray:
        """The product with one vector, as a fresh one."""
        ...

    def block(self, V: np.ndarray) -> np.ndarray:
        """The product with a block of columns."""
        ...

    def compile(self) -> Player:
        """The program that products are computed with from now on, ready to be played."""
        ...

    @property
    def is_compiled(self) -> bool:
        """Whether products are computed with a program by now."""
        ...


class Products:
    """Products with a linear map and its adjoint, by closures at first and by a program later.

    A program with primitives that it cannot lower may be slower than autograd. Then it is there to
    be looked at and to be made sparse, but products go on by the closure.

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
        self._closures = [_Once(make) for make in (closure, adjoint_closure) if make is not None]
        # How products are computed, and those of the adjoint. It is replaced in one go, because
        # other threads look.
        self._ways: list[Player | _Once] = [*self._closures]
        self._player: Player | None = None
        self._asked = 0
        self._reason = ""

    def product(self, v: np.ndarray, *, of_adjoint: bool = False) -> np.ndarray:
        """The product with one vector, as a fresh one."""
        self._count(1)
        product: np.ndarray = self._way(of_adjoint)(v)
        return product

    def block(self, V: np.ndarray, *, of_adjoint: bool = False) -> np.ndarray:
        """The product with a block of k columns, which counts as k products."""
        self._count(V.shape[1])
        way = self._way(of_adjoint)
        return way.block(V) if isinstance(way, Player) else by_columns(way, V, way.target.size)

    def compile(self) -> Player:
        """The program, ready to be played; made now if it is not there.

        Raises
        ------
        NoProgramError
        """
        self._compile()
        if self._player is None:
            raise NoProgramError(f"{self._name} has no program: {self._reason}.")
        return self._player

    @property
    def is_compiled(self) -> bool:
        """Whether products are computed with a program by now."""
        return isinstance(self._ways[0], Player)

    def _count(self, columns: int) -> None:
        if self._player is None and not self._reason:
            self._asked += columns
            if self._asked > RECORD_AFTER:
                self._compile()

    def _way(self, of_adjoint: bool) -> Player | LinearMap:
        way = self._ways[-1 if of_adjoint else 0]
        return way if isinstance(way, Player) else way()

    def _compile(self) -> None:
        # No lock of its own: a function that is being traced may ask for products, too.
        with TRACING:
            if self._player is not None or self._reason:
                return
            first, *others = [once() for once in self._closures]
            player = self._attempt(self._name, lambda: _player(first))
            if player is None:
                return
            players: list[Player | None] = [player]
            for other in others:
                name = f"the adjoint of {self._name}"
                players.append(self._attempt(name, partial(_adjoint_player, player, other)))
            self._ways = [
                once if one is None or is_slower(one, once()) else one
                for one, once in zip(players, self._closures, strict=True)
            ]
            self._player = player
            if not any(isinstance(way, _Once) for way in self._ways):
                self._closures = []
                self._release()

    def _attempt(self, name: str, make: Callable[[], Player]) -> Player | None:
        try:
            return make()
        except Exception as error:  # whatever it is, products have to go on
            kind = "" if isinstance(error, NoProgramError) else f"{type(error).__name__}: "
            self._reason = f"{kind}{error}"
            message = f"{name}: {self._reason}, so products go on as autograd computes them."
            warn_user(message, ProgramWarning)
            return None


def _player(closure: LinearMap) -> Player:
    return compiled(closure.on_leaves, closure.source, closure.target, closure)


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


class Point(Multiplier, Protocol):
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
    def is_compiled(self) -> bool:
        return self._products.is_compiled

    @property
    def gradient(self) -> np.ndarray:
        return self._point.gradient

    def step_error(self) -> float:
        return 0.0
