"""What an audit consists of: one entry a check, and all of them together."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

__all__ = ["Audit", "Check", "Outcome", "Unanswerable", "run_check"]

_WIDTH = 100


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
    verdict : str
        ``"passed"``, ``"failed"`` or ``"skipped"``.
    discrepancy : float
        By how much two numbers differ that should be equal, relative to their size. NaN where the
        check is not one of numbers.
    allowed : float
        What rounding explains of it, and the error of differences where they were taken.
    cause : str
        Of a failed check the likely cause, of a skipped one the reason.
    """

    name: str
    verdict: str
    discrepancy: float = math.nan
    allowed: float = math.nan
    cause: str = ""

    @property
    def passed(self) -> bool:
        """Whether it was made, and passed."""
        return self.verdict == "passed"

    def __str__(self) -> str:
        figures = ""
        if not math.isnan(self.discrepancy):
            figures = f": {self.discrepancy:.1e}, where {self.allowed:.1e} is allowed"
        return f"{self.name} {self.verdict}{figures}{'. ' if self.cause else ''}{self.cause}"


@dataclass(frozen=True)
class Outcome:
    """What a check has found.

    Attributes
    ----------
    discrepancy, allowed : float
    cause : str or callable
        To be named where the discrepancy is too large; a callable where that is work.
    is_fine : bool, optional
        The verdict, where it is not one of numbers.
    """

    discrepancy: float = math.nan
    allowed: float = math.nan
    cause: str | Callable[[], str] = ""
    is_fine: bool | None = None

    @property
    def passed(self) -> bool:
        """Whether the discrepancy is allowed, unless that was said."""
        if self.is_fine is not None:
            return self.is_fine
        return bool(self.discrepancy <= self.allowed)


def _cause_of(found: Outcome) -> str:
    if isinstance(found.cause, str):
        return found.cause
    try:
        return found.cause()
    except Exception as error:  # the discrepancy is there, whatever the search for its cause met
        return f"no cause was found: the search for one raised {type(error).__name__}: {error}"


class Unanswerable(Exception):
    """A check cannot be made, for the reason that is given."""


def run_check(name: str, find: Callable[[], Outcome]) -> Check:
    """Make a check. An exception of what is checked is a failure, with its message.

    Parameters
    ----------
    name : str
    find : callable
        Takes no argument; may raise `Unanswerable`.
    """
    try:
        with np.errstate(all="ignore"):
            found = find()
            cause = "" if found.passed else _cause_of(found)
    except Unanswerable as reason:
        return Check(name, "skipped", cause=str(reason))
    except Exception as error:  # whatever the operator or the function raises is its fault
        return Check(name, "failed", cause=f"it raised {type(error).__name__}: {error}")
    verdict = "passed" if found.passed else "failed"
    return Check(name, verdict, float(found.discrepancy), float(found.allowed), cause)


@dataclass(frozen=True)
class Audit:
    """What `check_operator` has found.

    Attributes
    ----------
    checks : tuple of Check
    subject : str
        What was looked at, in one line.

    Examples
    --------
    >>> import numpy as np
    >>> from hessop import check_operator
    >>> audit = check_operator(np.diag([1.0, 2.0]))
    >>> audit.passed, audit["linear"].verdict, [check.name for check in audit][:2]
    (True, 'passed', ['finite', 'dtype'])
    """

    checks: tuple[Check, ...]
    subject: str

    @property
    def passed(self) -> bool:
        """Whether no check has failed; some may have been skipped."""
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that have failed."""
        return tuple(check for check in self.checks if check.verdict == "failed")

    def __iter__(self) -> Iterator[Check]:
        return iter(self.checks)

    def __len__(self) -> int:
        return len(self.checks)

    def __getitem__(self, name: str) -> Check:
        for check in self.checks:
            if check.name == name:
                return check
        names = ", ".join(check.name for check in self.checks)
        raise KeyError(f"there is no check {name!r}, expected one of {names}.")

    def to_dict(self) -> dict[str, Any]:
        """The same as plain dictionaries for JSON; NaN is None."""
        return {
            "subject": self.subject,
            "passed": self.passed,
            "checks": [_plain(asdict(check)) for check in self.checks],
        }

    def __repr__(self) -> str:
        counts = dict.fromkeys(("passed", "failed", "skipped"), 0)
        for check in self.checks:
            counts[check.verdict] += 1
        facts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
        failed = f": {', '.join(check.name for check in self.failures)}" if self.failures else ""
        return f"<Audit {facts}{failed}>"

    def __str__(self) -> str:
        width = max(len(check.name) for check in self.checks)
        head = f"{'check':<{width}}  {'verdict':<7}  {'discrepancy':>11}  {'allowed':>8}"
        lines = [*_wrapped(f"audit of {self.subject}", ""), "", head, "-" * len(head)]
        for check in self.checks:
            figures = f"{_figure(check.discrepancy):>11}  {_figure(check.allowed):>8}"
            lines.append(f"{check.name:<{width}}  {check.verdict:<7}  {figures}".rstrip())
        for verdict in ("failed", "skipped"):
            # Checks that have one cause are named together.
            names: dict[str, list[str]] = {}
            for check in self.checks:
                if check.verdict == verdict:
                    names.setdefault(check.cause, []).append(check.name)
            lines += [""] * bool(names)
            for cause, some in names.items():
                lines += _wrapped(f"{', '.join(some)} ({verdict}): {cause}", "    ")
        return "\n".join([*lines, "", "passed" if self.passed else "failed"])


def _figure(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1e}"


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, subsequent_indent=indent, break_long_words=True, break_on_hyphens=False
    )


def _plain(entries: dict[str, Any]) -> dict[str, Any]:
    """Numbers that JSON does not know as None, or as words."""
    return {name: _number(value) for name, value in entries.items()}


def _number(value: Any) -> Any:
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)
