"""``instruments.jsonl``: what instruments measured in a trial, one line for each place of a measured step."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeAlias

from algoperf_lightning.files import append_line, to_plain, written_aside
from algoperf_lightning.records.checks import RecordError

INSTRUMENTS_FILE = "instruments.jsonl"

Row: TypeAlias = dict[str, Any]
"""A measured step: ``step`` (steps made before it), ``submission_seconds`` before it, and values by name. A value is a
number, numbers by layer, or counts of a histogram. ``unmeasurable`` holds reasons by instrument."""


def append_row(folder: Path, row: Mapping[str, Any]) -> None:
    """Append a row, whole or not at all; it is on the disk then. One of the same step adds to it.

    Raises:
        OSError: If the disk is full; the rows before are unharmed.
    """
    append_line(folder / INSTRUMENTS_FILE, json.dumps(to_plain(row)))


def continue_rows(folder: Path, step: int, resumed: Path | None = None) -> None:
    """Keep the rows of steps before the one at which a trial resumes: later ones are measured again.

    Args:
        folder: The trial's.
        step: Steps made; 0 for a new trial.
        resumed: Folder of the checkpoint, if that is another one: its rows are copied.

    Raises:
        OSError: If the file cannot be written.
    """
    path, source = folder / INSTRUMENTS_FILE, (resumed or folder) / INSTRUMENTS_FILE
    if not source.is_file() and not os.path.lexists(path):
        return
    if step == 0 or not source.is_file():
        path.unlink(missing_ok=True)
        return
    with written_aside(path) as kept, source.open("rb") as lines:
        _copy_before(step, lines, kept)


def _copy_before(step: int, lines: IO[bytes], kept: IO[bytes]) -> None:
    for line in lines:
        try:
            row = _row(line)
        except (ValueError, KeyError, TypeError):
            continue
        if row["step"] < step and line.endswith(b"\n"):
            kept.write(line)


def read_rows(folder: str | Path) -> list[Row]:
    """Return the measurements of a trial, one row per step, also while it runs; empty if nothing was measured.

    Args:
        folder: The trial's.

    Raises:
        RecordError: If a row is damaged.
    """
    path = Path(folder) / INSTRUMENTS_FILE
    rows: dict[int, Row] = {}
    try:
        for row in _rows(path):
            reasons = {**rows.get(row["step"], {}).get("unmeasurable", {}), **row.get("unmeasurable", {})}
            rows.setdefault(row["step"], {}).update(row)
            if reasons:
                rows[row["step"]]["unmeasurable"] = reasons
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}.") from error
    return [rows[step] for step in sorted(rows)]


def _rows(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):  # it is being written, or a kill has cut it off
                return
            try:
                yield _row(line)
            except (ValueError, KeyError, TypeError) as error:
                raise RecordError(f"{path} has a damaged row, line {number}: {error!r}. Delete that line.") from error


def _row(line: bytes) -> Row:
    row = json.loads(line.decode())
    if not isinstance(row, dict) or not isinstance(row["step"], int) or isinstance(row["step"], bool):
        raise ValueError("there is no whole number of steps in it")
    reasons = row.pop("unmeasurable", None)
    found: Row = {name: _numbers(value) for name, value in row.items()}
    return found if reasons is None else {**found, "unmeasurable": dict(reasons)}


def _numbers(value: Any) -> Any:
    """Return a value with numbers in place of the words for those that are not finite."""
    if isinstance(value, dict):
        return {name: _numbers(each) for name, each in value.items()}
    return float(value) if isinstance(value, str) else value


def series(rows: list[Row], name: str) -> tuple[list[int], list[float]]:
    """Return the steps at which a number was measured, and its values.

    Example:
        >>> series([{"step": 0, "loss": 2.0}, {"step": 5}, {"step": 9, "loss": 1.0}], "loss")
        ([0, 9], [2.0, 1.0])
    """
    known = [row for row in rows if isinstance(row.get(name), (int, float))]
    return [row["step"] for row in known], [float(row[name]) for row in known]


def unmeasurable(rows: list[Row]) -> dict[str, str]:
    """Return the reasons why instruments could not measure, by their names."""
    return {name: reason for row in rows for name, reason in row.get("unmeasurable", {}).items()}
