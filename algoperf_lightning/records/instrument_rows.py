"""``instruments.jsonl``: measurements of instruments in a trial, one or more lines for each measured step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from algoperf_lightning.files import append_line, to_plain
from algoperf_lightning.records.row_files import continue_rows_of, read_rows_of

INSTRUMENTS_FILE = "instruments.jsonl"

Row: TypeAlias = dict[str, Any]
"""A measured step: ``step`` (steps made before it), ``submission_seconds`` before it, and values by name. A value is a
number, numbers by layer, or counts of a histogram. ``unmeasurable`` contains reasons by instrument."""


def append_row(folder: Path, row: Mapping[str, Any]) -> None:
    """Append a row completely, or not at all. Several rows of one step are merged when they are read.

    Rows survive a kill. The first rows of a step, with the submission's seconds, are synced to the disk, which takes a
    few milliseconds; the others are synced together with the first row of the next measured step.

    Raises:
        OSError: If the disk is full; previous rows are not affected.
    """
    append_line(folder / INSTRUMENTS_FILE, json.dumps(to_plain(row)), durable="submission_seconds" in row)


def continue_rows(folder: Path, step: int, resumed: Path | None = None) -> None:
    """Remove the rows after the step at which a trial resumes: those steps are measured again.

    Args:
        folder: Folder of the trial.
        step: Steps made; 0 for a new trial.
        resumed: Folder of the checkpoint if it is another one; its rows are copied.

    Raises:
        OSError: If the file cannot be written.
    """
    path = folder / INSTRUMENTS_FILE
    if step == 0:
        path.unlink(missing_ok=True)
    else:
        continue_rows_of(path, (resumed or folder) / INSTRUMENTS_FILE, _row, lambda row: row["step"] < step)


def read_rows(folder: str | Path) -> list[Row]:
    """Return the measurements of a trial, which may still run, one row per step; empty if nothing was measured.

    Args:
        folder: Folder of the trial.

    Raises:
        RecordError: If a row is damaged.
    """
    rows: dict[int, Row] = {}
    for row in read_rows_of(Path(folder) / INSTRUMENTS_FILE, _row):
        reasons = {**rows.get(row["step"], {}).get("unmeasurable", {}), **row.get("unmeasurable", {})}
        rows.setdefault(row["step"], {}).update(row)
        if reasons:
            rows[row["step"]]["unmeasurable"] = reasons
    return [rows[step] for step in sorted(rows)]


def _row(line: bytes) -> Row:
    row = json.loads(line.decode())
    if not isinstance(row, dict) or not isinstance(row["step"], int) or isinstance(row["step"], bool):
        raise ValueError("it has no integer number of steps")
    reasons = row.pop("unmeasurable", None)
    found: Row = {name: _numbers(value) for name, value in row.items()}
    return found if reasons is None else {**found, "unmeasurable": dict(reasons)}


def _numbers(value: Any) -> Any:
    """Return a value with numbers instead of the strings for numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _numbers(each) for name, each in value.items()}
    return float(value) if isinstance(value, str) else value


def series(rows: Sequence[Row], name: str) -> tuple[list[int], list[float]]:
    """Return the steps at which a number was measured, and its values.

    Example:
        >>> series([{"step": 0, "loss": 2.0}, {"step": 5}, {"step": 9, "loss": 1.0}], "loss")
        ([0, 9], [2.0, 1.0])
    """
    known = [row for row in rows if isinstance(row.get(name), (int, float))]
    return [row["step"] for row in known], [float(row[name]) for row in known]


def unmeasurable(rows: Sequence[Row]) -> dict[str, str]:
    """Return the reasons why instruments could not measure, by their names."""
    return {name: reason for row in rows for name, reason in row.get("unmeasurable", {}).items()}
