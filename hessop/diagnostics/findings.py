"""What a report consists of: sections of rows, tables and curves, as plain values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "Curve",
    "Part",
    "Row",
    "Table",
    "aligned",
    "groups",
    "is_number",
    "known",
    "plain",
    "shown",
]

# Where numbers line up: before the point, or before the exponent.
_POINT = re.compile(r"(?=[.e])")


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes
    ----------
    label : str
    value : float, int, str, bool or None
        None where there is none; the note says why.
    error : float, optional
        Standard error, or a bound of the error: the note says which.
    unit : str
    note : str
        How it was found, what it means, or why it is missing.
    """

    label: str
    value: Any
    error: float | None = None
    unit: str = ""
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Without the label, in types that JSON knows."""
        return {
            "value": plain(self.value),
            "error": plain(self.error),
            "unit": self.unit,
            "note": self.note,
        }


@dataclass(frozen=True)
class Table:
    """Figures in columns.

    Attributes
    ----------
    title : str
    columns : tuple of str
    rows : tuple of tuple
        Each as long as there are columns.
    brief : tuple of str
        Columns of which two digits are shown: errors.
    bars : str, optional
        The column of shares from 0 to 1 that are shown as bars, too.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    brief: tuple[str, ...] = ()
    bars: str | None = None

    def column(self, name: str) -> list[Any]:
        """The values of a column."""
        j = self.columns.index(name)
        return [row[j] for row in self.rows]

    def shown_column(self, name: str) -> list[str]:
        """The same as they stand in a terminal and on a page."""
        digits = 2 if name in self.brief else 6
        cells = [shown(value, digits) for value in self.column(name)]
        return aligned(cells) if any(map(is_number, self.column(name))) else cells

    def lengths(self) -> list[float]:
        """Of the bars, relative to the longest; empty where there are none."""
        if self.bars is None:
            return []
        shares = self.column(self.bars)
        most = max(shares, default=0.0) or 1.0
        return [share / most for share in shares]

    def to_dict(self) -> dict[str, Any]:
        """In types that JSON knows."""
        return {"title": self.title, "columns": list(self.columns), "rows": plain(self.rows)}


@dataclass(frozen=True, eq=False)
class Curve:
    """A function of one variable, with a band.

    Attributes
    ----------
    title : str
    x, y, low, high : ndarray, shape (m,)
    """

    title: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """In types that JSON knows."""
        figures = {"x": self.x, "y": self.y, "low": self.low, "high": self.high}
        return {"title": self.title, **{name: plain(one) for name, one in figures.items()}}


Part = Row | Table | Curve


def plain(value: Any) -> Any:
    """The same in types that strict JSON knows.

    JSON has no number that is not finite: ``"NaN"``, ``"Infinity"`` and ``"-Infinity"`` are text
    then, which ``float`` reads.
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def shown(value: Any, digits: int = 6) -> str:
    """A value as it stands in a terminal and on a page."""
    if value is None:
        return "—"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        number = float(value)
        has_many_digits = 10**digits <= abs(number) < 1e6
        return f"{number:,.0f}" if has_many_digits else f"{number:.{digits}g}"
    return str(value)


def groups(parts: Sequence[Part]) -> Iterator[list[Row] | Table | Curve]:
    """Parts in order, rows that follow one another together."""
    rows: list[Row] = []
    for part in parts:
        if isinstance(part, Row):
            rows.append(part)
            continue
        if rows:
            yield rows
            rows = []
        yield part
    if rows:
        yield rows


def is_number(value: Any) -> bool:
    """Whether a value is a number, and no truth value."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def aligned(cells: list[str]) -> list[str]:
    """Numbers one below the other, their points, too: texts of one length."""
    parts = [_POINT.split(cell, maxsplit=1) for cell in cells]
    before = max((len(whole) for whole, *_ in parts), default=0)
    lines = [whole.rjust(before) + "".join(rest) for whole, *rest in parts]
    width = max(map(len, lines), default=0)
    return [line.ljust(width) for line in lines]


def known(figure: float) -> float | None:
    """A figure, or None for NaN."""
    return None if math.isnan(figure) else figure
