"""``submission_log.jsonl``: values logged by a submission in a trial, with training losses and learning rates."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from algoperf_lightning.files import append_line, to_plain
from algoperf_lightning.records.row_files import continue_rows_of, read_rows_of

LOG_FILE = "submission_log.jsonl"


@dataclass
class LoggedStep:
    """Values logged in one training step, or in the evaluation after it."""

    step: int
    """Number of the step, starting at 1; 0 for values logged before the first step."""
    submission_seconds: float
    """Submission seconds at the next reading of the clock, usually within a second; steps are not timed."""
    loss: float | None = None
    """Training loss on the first rank; None if it was not logged at this step."""
    learning_rates: list[float] = field(default_factory=list)
    """Learning rates of the parameter groups, in the order of the optimizers; empty if not logged at this step."""
    values: dict[str, float] = field(default_factory=dict)
    """Values logged by the submission, by name."""

    def add(self, other: LoggedStep) -> None:
        """Add values that were logged later in the same step; the later one of two values with the same name counts."""
        self.loss = self.loss if other.loss is None else other.loss
        self.learning_rates = other.learning_rates or self.learning_rates
        self.values |= other.values

    def to_metrics(self) -> dict[str, float]:
        """Return all numbers with their names in loggers: ``training/loss``, ``submission/<name>``."""
        metrics = {} if self.loss is None else {"training/loss": self.loss}
        for group, rate in enumerate(self.learning_rates):
            metrics[f"training/learning_rate{f'/{group}' if group else ''}"] = rate
        return metrics | {f"submission/{name}": value for name, value in self.values.items()}

    def to_line(self) -> str:
        """Return one line of JSON with the logged values."""
        row = {name: value for name, value in vars(self).items() if value not in (None, [], {})}
        return json.dumps(to_plain(row))

    @classmethod
    def from_line(cls, line: str) -> LoggedStep:
        """Return the content of a line that :meth:`to_line` has written.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: If it is not such a line.
        """
        row: dict[str, Any] = json.loads(line)
        step, loss = row["step"], row.get("loss")
        if not isinstance(step, int) or isinstance(step, bool) or step < 0:
            raise ValueError(f"step is {step!r}")
        rates = [float(rate) for rate in row.get("learning_rates", [])]
        values = {name: float(value) for name, value in row.get("values", {}).items()}
        return cls(step, float(row["submission_seconds"]), None if loss is None else float(loss), rates, values)


def append_log(folder: Path, rows: Sequence[LoggedStep]) -> None:
    """Append rows to the log of a trial, all or none, and wait until they are on the disk.

    Raises:
        OSError: If the disk is full; previous rows are not affected.
    """
    if rows:
        append_line(folder / LOG_FILE, "\n".join(row.to_line() for row in rows))


def continue_log(folder: Path, step: int, resumed: Path | None = None) -> None:
    """Remove the rows after the step at which a trial resumes from its log.

    Rows of later steps were written after the checkpoint, and are logged again. A truncated row is dropped too.

    Args:
        folder: Folder of the trial.
        step: Steps made; 0 for a new trial.
        resumed: Folder of the checkpoint if it is another one; its log is copied.

    Raises:
        OSError: If the log cannot be written.
    """
    path = folder / LOG_FILE
    if step == 0:
        path.unlink(missing_ok=True)
    else:
        continue_rows_of(path, (resumed or folder) / LOG_FILE, _row, lambda row: row.step <= step)


def read_log(folder: str | Path) -> list[LoggedStep]:
    """Return the logged values of a trial, which may still run; empty for a trial without a log.

    Args:
        folder: Folder of the trial.

    Raises:
        RecordError: If a row is damaged.
    """
    rows: list[LoggedStep] = []
    for row in read_rows_of(Path(folder) / LOG_FILE, _row):
        if rows and rows[-1].step == row.step:
            rows[-1].add(row)
        else:
            rows.append(row)
    return rows


def _row(line: bytes) -> LoggedStep:
    return LoggedStep.from_line(line.decode())


def log_columns(rows: Sequence[LoggedStep]) -> dict[str, list[float]]:
    """Return a log as columns of one length, named as in :meth:`LoggedStep.to_metrics`; missing values are NaN.

    Example:
        >>> log_columns([LoggedStep(1, 0.5, values={"norm": 2.0}), LoggedStep(2, 0.5, loss=0.25)])
        {'step': [1, 2], 'submission_seconds': [0.5, 0.5], 'submission/norm': [2.0, nan], 'training/loss': [nan, 0.25]}
    """
    fixed: list[Mapping[str, float]] = [
        {"step": row.step, "submission_seconds": row.submission_seconds, **row.to_metrics()} for row in rows
    ]
    return {name: [row.get(name, math.nan) for row in fixed] for name in dict.fromkeys(n for row in fixed for n in row)}
