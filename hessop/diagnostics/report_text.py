"""Sections of a report as text of at most 100 columns, for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np

from hessop.diagnostics.findings import Curve, Part, Row, Table, aligned, groups, is_number, shown

__all__ = ["section_lines"]

_WIDTH = 100
_INDENT = "  "
_GAP = "  "
_BAR = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def section_lines(title: str, parts: Sequence[Part], remarks: Sequence[str]) -> list[str]:
    """A section as lines.

    Parameters
    ----------
    title : str
    parts : sequence of Row, Table and Curve
        Curves are left out.
    remarks : sequence of str
        What went wrong.
    """
    lines = [title, "-" * len(title)]
    for group in groups(parts):
        if isinstance(group, Table):
            lines += _table(group)
        elif not isinstance(group, Curve):
            lines += _rows(group)
    for remark in remarks:
        lines += _wrapped(f"! {remark}", _INDENT)
    return lines


def _rows(rows: list[Row]) -> list[str]:
    """Labels, values that line up at the point, and notes that wrap."""
    labels = _left([row.label for row in rows])
    numbers = [row for row in rows if is_number(row.value)]
    values = dict(
        zip(map(id, numbers), aligned([shown(row.value) for row in numbers]), strict=True)
    )
    errors = dict(zip(map(id, numbers), _left([_error(row) for row in numbers]), strict=True))
    lines = []
    for label, row in zip(labels, rows, strict=True):
        if id(row) in values:
            head = f"{_INDENT}{label}{_GAP}{values[id(row)]}{errors[id(row)]}{_GAP}"
            lines += _wrapped(row.note, head)
        else:
            value = f"{shown(row.value)} {row.unit}".strip()
            note = f"{value}{_GAP}({row.note})" if row.note else value
            lines += _wrapped(note, f"{_INDENT}{label}{_GAP}")
    return lines


def _error(row: Row) -> str:
    error = "" if row.error is None else f" ± {row.error:.2g}"
    return f"{error} {row.unit}" if row.unit else error


def _table(table: Table) -> list[str]:
    if not table.rows:
        return []
    columns = [_left([name, *table.shown_column(name)]) for name in table.columns]
    if table.bars is not None:
        columns.append(_left(["", *_bars(table.lengths())]))
    lines = [] if not table.title else ["", f"{_INDENT}{table.title}"]
    widths = _fitting([len(column[0]) for column in columns])
    for cells in zip(*columns, strict=True):
        pieces = [
            textwrap.wrap(cell.rstrip(), width) or [""] if len(cell.rstrip()) > width else [cell]
            for cell, width in zip(cells, widths, strict=True)
        ]
        for i in range(max(map(len, pieces))):
            line = [
                (piece[i] if i < len(piece) else "").ljust(width)
                for piece, width in zip(pieces, widths, strict=True)
            ]
            lines.append(f"{_INDENT * 2}{_GAP.join(line)}".rstrip())
    return lines


def _fitting(widths: list[int]) -> list[int]:
    """Widths that fit into a line: the widest give way."""
    room = _WIDTH - 2 * len(_INDENT) - len(_GAP) * (len(widths) - 1)
    while sum(widths) > room and max(widths) > 8:
        widest = int(np.argmax(widths))
        widths = [width - (j == widest) for j, width in enumerate(widths)]
    return widths


def _left(cells: list[str]) -> list[str]:
    width = max(map(len, cells), default=0)
    return [cell.ljust(width) for cell in cells]


def _bars(lengths: list[float]) -> list[str]:
    # What is there is seen, however small.
    eighths = [max(round(8 * _BAR * length), int(length > 0.0)) for length in lengths]
    return _left(["█" * (k // 8) + _EIGHTHS[k % 8].strip() for k in eighths])


def _wrapped(content: str, head: str) -> list[str]:
    """Lines that begin with a head, and go on below its end; or below its begin, if it is long."""
    indent = len(head) if len(head) < 0.6 * _WIDTH else 2 * len(_INDENT)
    room = textwrap.wrap(
        content,
        _WIDTH,
        initial_indent=head,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    return [line.rstrip() for line in room] or [head.rstrip()]
