"""Evaluations of a trial: the measurements, and ``evaluations.csv``."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from algoperf_lightning.files import append_line, write_atomic
from algoperf_lightning.records.checks import RecordError

EVALUATIONS_FILE = "evaluations.csv"
_COLUMNS = ("step", "submission_seconds", "wall_seconds", "loss")


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of all splits."""

    step: int
    """Training steps made before it."""
    submission_seconds: float
    """Submission time before it: the time that is scored."""
    wall_seconds: float
    """Wall time since the start of the trial, including evaluations, without downtime between a kill and a resume."""
    loss: float
    """Training loss of the last step, on the first rank."""
    metrics: Mapping[str, float]
    """Every metric, by ``split/name``."""

    def copy(self) -> Evaluation:
        """Return a copy whose metrics cannot be changed."""
        return dataclasses.replace(self, metrics=MappingProxyType(dict(self.metrics)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Support copying and pickling, which Python does not for read-only metrics."""
        fixed = (getattr(self, name) for name in _COLUMNS)
        return type(self), (*fixed, dict(self.metrics))

    def to_row(self) -> dict[str, float]:
        """Return one flat row."""
        fixed = {name: getattr(self, name) for name in _COLUMNS}
        return {**fixed, **self.metrics}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Evaluation:
        """Return the evaluation of a row made by :meth:`to_row`, or read from a file.

        Raises:
            ValueError, KeyError: If a column is missing or not a number.
        """
        metrics = {name: float(value) for name, value in row.items() if name not in _COLUMNS}
        seconds, wall, loss = (float(row[name]) for name in _COLUMNS[1:])
        return cls(int(row["step"]), seconds, wall, loss, metrics)


def check_evaluations(
    evaluations: Sequence[Evaluation], metric: str, bounds: tuple[float | None, float | None], where: Path | str
) -> None:
    """Raise unless evaluations are valid: increasing steps and seconds, metrics within their bounds.

    Args:
        evaluations: The evaluations in order.
        metric: Name of the target metric.
        bounds: Its smallest and largest possible value; NaN is always possible.
        where: Name of the file in errors.

    Raises:
        RecordError: Naming the first invalid evaluation.
    """
    low, high = (-math.inf if bounds[0] is None else bounds[0]), (math.inf if bounds[1] is None else bounds[1])
    before = Evaluation(-1, 0.0, 0.0, 0.0, {})
    for number, each in enumerate(evaluations, start=1):
        name = f"{where}: evaluation {number}"
        if each.step <= before.step:
            raise RecordError(f"{name} has step {each.step} after step {before.step}.")
        for column in ("submission_seconds", "wall_seconds"):
            seconds, last = getattr(each, column), getattr(before, column)
            if not math.isfinite(seconds) or seconds < last:
                raise RecordError(f"{name} has {column} {seconds!r} after {last!r}; seconds never decrease.")
        for split, value in each.metrics.items():
            if split.endswith(f"/{metric}") and not (math.isnan(value) or low <= value <= high):
                raise RecordError(
                    f"{name} has {split} {value!r}, which is impossible: its range is [{low:g}, {high:g}]."
                )
        before = each


def write_evaluations(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """Write the complete ``evaluations.csv``."""
    header = _header(evaluations)
    rows = [_csv_line(header), *(_csv_row(evaluation, header) for evaluation in evaluations)]
    write_atomic(path, "\n".join(rows) + "\n" if evaluations else "")


def append_evaluation(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """Append the last of some evaluations to ``evaluations.csv``; the header too if it is the first.

    Raises:
        OSError: If the disk is full; previous rows are not affected.
    """
    header = _header(evaluations)
    if len(evaluations) == 1:
        append_line(path, _csv_line(header))
    append_line(path, _csv_row(evaluations[-1], header))


def read_evaluations(path: Path) -> list[Evaluation]:
    """Read ``evaluations.csv``; empty without a file. A last line that was truncated by a kill is skipped.

    Raises:
        RecordError: If the file cannot be read, its header is missing, or a row is damaged.
    """
    if not os.path.lexists(path):
        return []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        lines.pop()  # empty after a complete last line; otherwise a line that was truncated by a kill
        rows = csv.DictReader(lines, strict=True)
        if lines and (missing := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]):
            raise RecordError(f"{path} has no header with {', '.join(missing)}.")
        return [Evaluation.from_row(row) for row in rows]
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, OverflowError, csv.Error) as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError(f"{path} has a damaged row: {error!r}.") from error


def _header(evaluations: Sequence[Evaluation]) -> list[str]:
    return list(evaluations[0].to_row()) if evaluations else []


def _csv_row(evaluation: Evaluation, header: Sequence[str]) -> str:
    row = evaluation.to_row()
    return _csv_line([row["step"], *(float(row.get(name, math.nan)) for name in header[1:])])


def _csv_line(values: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([repr(v) if isinstance(v, float) else v for v in values])
    return line.getvalue()
