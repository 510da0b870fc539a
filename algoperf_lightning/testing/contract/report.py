"""Results of the checks as rows of a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["passed", "failed", "not applicable"]


@dataclass(frozen=True)
class Row:
    """The outcome of one check."""

    check: str
    status: Status
    found: str
    """Measurement, or reason why the check does not apply."""
    meaning: str = ""
    """Meaning of the failure; empty if the check did not fail."""
    seconds: float = 0.0
    """Duration in seconds."""


@dataclass(frozen=True)
class Report:
    """The outcomes of all checks."""

    subject: str
    """Name of the checked subject."""
    rows: tuple[Row, ...]
    seconds: float
    """Duration in seconds."""

    @property
    def failed(self) -> list[Row]:
        """The failed checks."""
        return [row for row in self.rows if row.status == "failed"]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    def __getitem__(self, check: str) -> Row:
        """Return the outcome of a check by name."""
        return next(row for row in self.rows if row.check == check)

    def __str__(self) -> str:
        width = max((len(row.check) for row in self.rows), default=0)
        lines = [f"{row.check:<{width}}  {row.status:<14}  {row.found}" for row in self.rows]
        return "\n".join([f"{self.subject}: {self.summary}", *lines, *(row.meaning for row in self.failed)])

    @property
    def summary(self) -> str:
        """Numbers of checks that passed, failed and did not apply, as text."""
        counts = {status: sum(row.status == status for row in self.rows) for status in ("passed", "failed")}
        others = len(self.rows) - sum(counts.values())
        return f"{counts['passed']} passed, {counts['failed']} failed, {others} not applicable ({self.seconds:.1f} s)"

    def raise_if_failed(self) -> Report:
        """Raise an error if a check failed; otherwise, return the report.

        Raises:
            AssertionError: If a check failed. The message lists all failed checks and their meanings.
        """
        if self.failed:
            lines = [f"{row.check}: {row.found}. {row.meaning}" for row in self.failed]
            raise AssertionError("\n".join([f"{self.subject}: {self.summary}", *lines]))
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain types for JSON."""
        rows = [{**asdict(row), "seconds": round(row.seconds, 3)} for row in self.rows]
        return {"subject": self.subject, "passed": self.passed, "seconds": round(self.seconds, 3), "checks": rows}
