"""The exceptions of hessop. Each message says what came, what was expected and the way out."""

from __future__ import annotations

import sys
import warnings
from typing import Any

__all__ = [
    "MissingDerivativeError",
    "NoProgramError",
    "NonFiniteError",
    "NotConvergedError",
    "NotConvergedWarning",
    "NotConvexWarning",
    "NotLinearError",
    "NotTracedError",
    "ProgramWarning",
    "name_of",
    "warn_user",
]


class NonFiniteError(ValueError):
    """A NaN or an infinity where only finite numbers make sense.

    Raised for a value, a gradient, a product or a vector that is not finite. The message names the
    place where it appeared first. It is not a `numpy.linalg.LinAlgError`, which some of SciPy's
    optimizers swallow.
    """


class NotTracedError(TypeError):
    """The function's result cannot be differentiated: it left the graph, or is not a number."""


class MissingDerivativeError(RuntimeError):
    """autograd has no rule to differentiate a primitive in the mode that was asked for.

    It is not a `NotImplementedError`, as autograd's own: one that is raised below a NumPy function
    which autograd takes over is turned into a TypeError that names no reason.
    """


class NoProgramError(RuntimeError):
    """A product cannot be made a linear program: there is nothing to show or to make sparse.

    Products themselves go on, as autograd computes them.
    """


class NotLinearError(NoProgramError):
    """A primitive of a product is not linear in v."""

    def __init__(self, primitive: str) -> None:
        super().__init__(f"{primitive} is not linear in v")


class NotConvexWarning(RuntimeWarning):
    """A Gauss-Newton matrix is not positive semidefinite, because the loss is not convex."""


class NotConvergedWarning(RuntimeWarning):
    """An iteration ended before it reached the accuracy that was asked for."""


class NotConvergedError(RuntimeError):
    """The same as an exception, where that was asked for.

    Attributes
    ----------
    result
        What the iteration ended with.
    """

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> Any:
        return type(self), (self.args[0], self.result)


class ProgramWarning(RuntimeWarning):
    """Products go on as autograd computes them, because they could not be made a program."""


def warn_user(message: str, category: type[Warning]) -> None:
    """Give a warning at the line of the user's own code."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in _NOT_THE_USERS:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


_NOT_THE_USERS = {"hessop", "scipy"}


def name_of(fun: Any) -> str:
    """How messages call a function: by its name, or that of its type (a partial, an instance)."""
    return str(getattr(fun, "__name__", type(fun).__name__))
