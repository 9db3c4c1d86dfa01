"""The sections that a report consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hessop.diagnostics.findings import Curve, Part, Row, Table
from hessop.diagnostics.report_text import section_lines

__all__ = ["Section"]


@dataclass(frozen=True, eq=False)
class Section:
    """One part of a report.

    Attributes
    ----------
    name : str
        Its key in the report and in JSON.
    title : str
    about : str
        What its figures mean, in a sentence.
    status : str
        ``"done"``, ``"failed"``, ``"skipped"`` or ``"interrupted"``.
    reason : str
        Why it is not done.
    parts : tuple of Row, Table and Curve
        What is known, in order; of a section that failed, what came before.
    warnings : tuple of str
    seconds : float
    n_matvec : int
        Columns multiplied with the Hessian.
    """

    name: str
    title: str
    about: str
    status: str = "done"
    reason: str = ""
    parts: tuple[Part, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    n_matvec: int = 0

    @property
    def rows(self) -> dict[str, Row]:
        """Its rows by their labels."""
        return {part.label: part for part in self.parts if isinstance(part, Row)}

    @property
    def tables(self) -> tuple[Table, ...]:
        """Its tables."""
        return tuple(part for part in self.parts if isinstance(part, Table))

    @property
    def curves(self) -> tuple[Curve, ...]:
        """Its curves."""
        return tuple(part for part in self.parts if isinstance(part, Curve))

    def __getitem__(self, label: str) -> Any:
        """The value of a row, by its label."""
        try:
            return self.rows[label].value
        except KeyError:
            known = ", ".join(map(repr, self.rows)) or "none"
            raise KeyError(f"{self.name} has no row {label!r}, expected one of: {known}.") from None

    @property
    def remarks(self) -> list[str]:
        """Why it is not done, and what was warned of."""
        reason = [] if self.status == "done" else [f"{self.status}: {self.reason}"]
        return [*reason, *self.warnings]

    def __str__(self) -> str:
        return "\n".join(section_lines(self.title, self.parts, self.remarks))

    def to_dict(self) -> dict[str, Any]:
        """In types that JSON knows."""
        return {
            "title": self.title,
            "status": self.status,
            "reason": self.reason,
            "rows": {label: row.to_dict() for label, row in self.rows.items()},
            "tables": [table.to_dict() for table in self.tables],
            "curves": [curve.to_dict() for curve in self.curves],
            "warnings": list(self.warnings),
            "seconds": self.seconds,
            "n_matvec": self.n_matvec,
        }
