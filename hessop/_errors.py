"""The exceptions of hessop. Each message says what came, what was expected and the way out."""

from __future__ import annotations

from typing import Any

__all__ = ["MissingDerivativeError", "NonFiniteError", "NotTracedError", "name_of"]


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


def name_of(fun: Any) -> str:
    """How messages call a function: by its name, or that of its type (a partial, an instance)."""
    return str(getattr(fun, "__name__", type(fun).__name__))
