"""The command ``hessop``, which is also ``python -m hessop``."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from hessop.diagnostics.audits import check_operator
from hessop.diagnostics.budgets import read_budget
from hessop.diagnostics.command_input import InputError, find_function, read_arrays, split_point
from hessop.diagnostics.demo import network_loss, trained_network
from hessop.diagnostics.reports import CurvatureReport, report

__all__ = ["main"]

_POINT = """
The file of --at holds the point, as numpy.savez writes it. One array is the point itself; several
with names are a dict of them, and several without are a list. An array that is called like a
parameter of the function after its first is that argument, and no part of the point; --args names
a file of such arrays only. A .npy file holds one array, the point.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage before it."""
        raise InputError(f"{message}. See {self.prog} --help.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; those of the process unless given.

    Returns
    -------
    int
        The exit code: 0; 1 where `check` finds a fault; 2 where the input cannot be used; 130
        after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show "±" shows "?"
    argv = sys.argv[1:] if argv is None else argv
    try:
        options = _parser().parse_args(argv)
        run: Callable[[argparse.Namespace], int] = options.run
        code = run(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # What reads the output has enough. Python would complain of it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("hessop: interrupted.", file=sys.stderr)
        return 130
    except Exception as error:  # the user's function may raise anything
        if "--traceback" in argv:
            traceback.print_exc()
        print(f"hessop: {_in_one_line(error, argv)}", file=sys.stderr)
        return 2


def _parser() -> _Parser:
    parser = _Parser(
        prog="hessop", description="What the curvature of a function at a point tells."
    )
    parser.add_argument("--version", action="version", version=f"hessop {version('hessop')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    one = commands.add_parser(
        "report", help="everything about a function at a point", epilog=_POINT
    )
    _add_target(one)
    one.add_argument(
        "--eigs", type=int, default=10, metavar="K", help="eigenvalues at each end (default: 10)"
    )
    one.add_argument("--density", action="store_true", help="estimate the spectral density, too")
    _add_output(one)
    one.set_defaults(run=_report)

    one = commands.add_parser(
        "check",
        help="audit the Hessian of a function; exit code 1 where it fails",
        epilog=_POINT,
    )
    _add_target(one)
    one.set_defaults(run=_check)

    one = commands.add_parser("demo", help="the report of a network trained on digits")
    _add_output(one)
    one.set_defaults(run=_demo)
    for one in commands.choices.values():
        one.add_argument("--traceback", action="store_true", help="show where an error came from")
    return parser


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "function",
        metavar="MODULE:FUNCTION",
        help="fun(x, ...) -> scalar, written with autograd.numpy; or path/to/file.py:FUNCTION",
    )
    parser.add_argument("--at", required=True, metavar="POINT.npz", help="the point")
    parser.add_argument("--args", metavar="ARGS.npz", help="further arguments by their names")


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--budget",
        default="30s",
        metavar="LIMIT",
        help="a time (30s, 2m), a number of products (500), or none (default: 30s)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON, too")
    parser.add_argument("--html", metavar="FILE", help="write the report as a page, too")
    parser.add_argument("--progress", action="store_true", help="show progress bars; needs tqdm")


def _report(options: argparse.Namespace) -> int:
    budget = _ready_for_output(options)
    fun, x, args = _read(options)
    found = report(
        fun,
        x,
        args=args,
        eigs=options.eigs,
        density=options.density,
        budget=budget,
        progress=options.progress,
    )
    return _output(found, options)


def _check(options: argparse.Namespace) -> int:
    fun, x, args = _read(options)
    audit = check_operator(None, fun, x, args=args)
    print(audit)
    return 0 if audit.passed else 1


def _demo(options: argparse.Namespace) -> int:
    budget = _ready_for_output(options)
    network = trained_network(progress=options.progress)
    print(
        f"A network trained on scikit-learn's digits, which it tells apart in "
        f"{network.accuracy:.1%} of the images.\n"
    )
    found = report(
        network_loss, network.params, args=network.args, budget=budget, progress=options.progress
    )
    return _output(found, options)


def _read(options: argparse.Namespace) -> tuple[Any, Any, tuple[Any, ...]]:
    fun = find_function(options.function)
    more = None if options.args is None else read_arrays(options.args)
    x, args = split_point(fun, read_arrays(options.at), more, options.at)
    return fun, x, args


def _ready_for_output(options: argparse.Namespace) -> Any:
    """The budget; and an error if it is unreadable, or if there is no place for a file."""
    for path in (options.json, options.html):
        if path is not None and not Path(path).resolve().parent.is_dir():
            raise InputError(f"cannot write {path}: there is no folder {Path(path).parent}.")
    budget = None if options.budget == "none" else options.budget
    read_budget(budget)
    return budget


def _output(found: CurvatureReport, options: argparse.Namespace) -> int:
    for path, write in ((options.json, found.to_json), (options.html, found.to_html)):
        if path is not None:
            try:
                write(path)
            except OSError as error:
                raise InputError(f"cannot write {path}: {error.strerror}.") from None
    print(found)
    return 0


def _in_one_line(error: Exception, argv: Sequence[str]) -> str:
    message = " ".join(str(error).split())
    if isinstance(error, InputError) or _is_our_own(error):
        return message
    said = f"{type(error).__name__}: {message}".removesuffix(": ")
    hint = "" if "--traceback" in argv else " --traceback shows where."
    return f"the function raised {said}.{hint}".replace("..", ".")


def _is_our_own(error: Exception) -> bool:
    """Whether an error was raised by hessop, and not in the user's code."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and str(frame.tb_frame.f_globals.get("__name__")).startswith("hessop.")
