"""What the command line is given: a function by its name, and arrays from a file."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hessop._errors import name_of

__all__ = ["InputError", "find_function", "read_arrays", "split_point"]

Arrays = dict[str, np.ndarray]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class InputError(Exception):
    """What was given cannot be used; the message is one line for the user."""


def find_function(target: str) -> Callable[..., Any]:
    """The function that is meant by ``module:function`` or ``path/to/file.py:function``.

    Modules are looked for in the current directory, too.

    Raises
    ------
    InputError
        When there is no such module, file or function, or when importing it fails.
    """
    place, colon, name = target.rpartition(":")
    if not (place and colon and name):
        raise InputError(
            f"{target!r} names no function, expected MODULE:FUNCTION or path/to/file.py:FUNCTION."
        )
    found = _load(place)
    for part in name.split("."):
        if not hasattr(found, part):
            known = [k for k, one in vars(found).items() if callable(one) and k[0] != "_"]
            near = f" It has {', '.join(known[:12])}." if known else ""
            raise InputError(f"{place} has no function {name!r}.{near}")
        found = getattr(found, part)
    if not callable(found):
        raise InputError(f"{target} is a {type(found).__name__}, expected a function.")
    function: Callable[..., Any] = found
    return function


def _load(place: str) -> Any:
    try:
        return _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a module may do anything when it is imported
        raise InputError(f"importing {place} raised {type(error).__name__}: {error}") from error


def _load_module(name: str) -> Any:
    if not all(part.isidentifier() for part in name.split(".")):
        raise InputError(f"{name!r} is no name of a module; a file is given with its ending .py.")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise InputError(
                f"there is no module {error.name!r}, neither in {Path.cwd()} nor installed."
            ) from None
        raise


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"there is no file {path}.")
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def read_arrays(path: str) -> Arrays:
    """The arrays of an npz file by their names; the one of an npy file is called x.

    Raises
    ------
    InputError
        When there is no such file, or when it does not hold arrays, but objects for instance.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        return {"x": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except FileNotFoundError:
        raise InputError(
            f"there is no file {path}. Make it by numpy.savez({path!r}, x=...)."
        ) from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        if "Object arrays" in str(error):
            raise InputError(
                f"{path} holds arrays of Python objects, which are not read because they may run "
                "code. Save arrays of numbers."
            ) from None
        reason = "it is not one" if "pickle" in str(error) else error
        raise InputError(f"{path} cannot be read as an npz file: {reason}.") from None


def split_point(
    fun: Callable[..., Any], arrays: Arrays, more: Arrays | None = None, source: str = "the file"
) -> tuple[Any, tuple[Any, ...]]:
    """The point and the further arguments of a function, of the arrays of a file.

    Arrays that are called like a parameter of the function after its first are arguments. What
    remains is the point: one array is the point itself; arrays that ``numpy.savez`` was given
    without names are a list; and others are a dict by their names.

    Parameters
    ----------
    fun : callable
    arrays : dict
        Of the point, and maybe of arguments.
    more : dict, optional
        Of arguments only.
    source : str
        How messages call the file of the point.

    Raises
    ------
    InputError
        When an argument is missing, when `more` has one that the function does not take, or when
        no array is left for the point.

    Examples
    --------
    >>> import numpy as np
    >>> def loss(x, data): ...
    >>> split_point(loss, {"x": np.ones(2), "data": np.zeros(1)})
    (array([1., 1.]), (array([0.]),))
    """
    parameters = _further(fun)
    unknown = sorted(set(more or {}) - {parameter.name for parameter in parameters})
    if unknown:
        names = ", ".join(parameter.name for parameter in parameters) or "none"
        raise InputError(
            f"{name_of(fun)} takes no argument {unknown[0]!r}; those after its first are: {names}."
        )
    given = {**arrays, **(more or {})}
    args = _arguments(fun, parameters, given, source)
    taken = {parameter.name for parameter in parameters}
    point = {name: array for name, array in arrays.items() if name not in taken}
    if not point:
        raise InputError(f"{source} has no array for the point: all are further arguments.")
    if len(point) == 1:
        return next(iter(point.values())), args
    if all(re.fullmatch(r"arr_\d+", name) for name in point):
        return [point[f"arr_{i}"] for i in range(len(point))], args
    return point, args


def _further(fun: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters after the first."""
    try:
        parameters = list(inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):  # written in C
        return []
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            raise InputError(
                f"{name_of(fun)} needs {parameter.name!r} by keyword, which cannot be given here. "
                "Give it a default, or write a function around it."
            )
    positional = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    if not positional and not any(one.kind is one.VAR_POSITIONAL for one in parameters):
        raise InputError(f"{name_of(fun)} takes no argument, expected the point as its first.")
    return positional[1:]


def _arguments(
    fun: Callable[..., Any], parameters: list[inspect.Parameter], given: Arrays, source: str
) -> tuple[Any, ...]:
    last = max((i for i, one in enumerate(parameters) if one.name in given), default=-1)
    missing = [one.name for one in parameters if one.default is one.empty and one.name not in given]
    if missing:
        names = ", ".join(map(repr, missing))
        raise InputError(
            f"{name_of(fun)} needs more arguments: {names}. Add arrays of these names to {source}, "
            "or give a file of them with --args."
        )
    return tuple(
        _unpacked(given[one.name]) if one.name in given else one.default
        for one in parameters[: last + 1]
    )


def _unpacked(array: np.ndarray) -> Any:
    """An array; a number where it has no axes, since that is what was saved."""
    return array if array.ndim else array.item()
