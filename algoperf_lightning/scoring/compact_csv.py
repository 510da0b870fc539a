"""The compact table of evaluations: one CSV file, plain or gzipped, with one row per evaluation.

An optional column ``record`` has, in the first row of a trial, a JSON object with the fields of its ``trial.json`` that
scoring uses: unit and budget, metric and targets, seed and hyperparameters.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.runs import Runs, Trial, check_record

COLUMNS = (
    "version",
    "ruleset",
    "submission",
    "study",
    "workload",
    "framework",
    "trial",
    "global_step",
    "accumulated_submission_time",
    "metric_name",
    "validation_value",
    "test_value",
)
RECORD = "record"
RECORDED = (
    "unit",
    "budget",
    "scale",
    "metric",
    "direction",
    "validation_target",
    "test_target",
    "seed",
    "hyperparameters",
)
"""Fields of a record that the table keeps."""
_NUMBERS = (7, 8, 10, 11)
_HEADER = ",".join(COLUMNS)


def read_compact(path: Path) -> Runs:
    """Read a compact table.

    Columns may be in any order, and additional ones are ignored, except ``record``; the rows of a trial are contiguous.
    An empty number is NaN.

    Raises:
        BadInputError: If the file is truncated or not gzip, a column is missing, a row has too few fields, a number is
            invalid, a name is empty, a record is not a JSON object or has an invalid budget, or a trial's rows are not
            contiguous.
    """
    text = _read_text(path)
    header = text.partition("\n")[0]
    records: Mapping[int, dict[str, Any]] = {}
    if header != _HEADER or '"' in text or ",," in text or ",\n" in text:
        text, records = _normalise(path, text)
    numbers = _numbers(path, text)
    runs = Runs()
    for key, metric, first, last in _blocks(text):
        version, ruleset, submission, study, workload, framework, number = key.split(",")
        if not (submission.strip() and workload.strip()):
            missing = "workload" if submission.strip() else "submission"
            raise BadInputError(f"{path}, line {first + 2}: the {missing} is empty; expected its name.")
        block, record = numbers[first:last], records.get(first, {})
        runs.trials.append(
            Trial(
                submission=submission,
                study=study,
                workload=workload,
                number=number,
                framework=framework,
                steps=block[:, 0],
                seconds=block[:, 1],
                metrics={f"validation/{metric}": block[:, 2], f"test/{metric}": block[:, 3]},
                source=f"{path}, lines {first + 2}-{last + 1}",
                version=version or None,
                ruleset=ruleset.replace("_", "-") or None,
                unit=record.get("unit", "seconds"),
                scale=record.get("scale", 1.0),
                record=record,
            )
        )
    if not runs.trials:
        raise BadInputError(f"{path} contains no evaluations.")
    return runs


def write_compact(runs: Runs, path: Path) -> None:
    """Write runs as a compact table with records, gzipped if the name ends with ``.gz``.

    Values have nine significant digits, seconds two decimals. A trial without evaluations has one row without values at
    step 0, which meets no target.

    Args:
        runs: Runs of this library; only the metric of the target is written.
        path: The file, ``.csv`` or ``.csv.gz``. The same runs give the same bytes.

    Raises:
        BadInputError: If the record of a trial does not name its metric.
    """
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow([*COLUMNS, RECORD])
    for trial in sorted(runs.trials, key=lambda each: each.key):
        if "metric" not in trial.record:
            raise BadInputError(f"{trial.label} has no record with its metric. Expected runs of this library.")
        metric = trial.record["metric"]
        record = json.dumps({name: trial.record[name] for name in RECORDED if name in trial.record})
        names = (trial.version, trial.ruleset, trial.submission, trial.study, trial.workload, trial.framework)
        for row in _rows_of(trial, metric):
            table.writerow([*names, trial.number, *row[:2], metric, *row[2:], record])
            record = ""
    data = file.getvalue().encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def _rows_of(trial: Trial, metric: str) -> Iterator[tuple[str, ...]]:
    none = np.full(len(trial.steps), np.nan)
    values = [trial.metrics.get(f"{split}/{metric}", none) for split in ("validation", "test")]
    for step, seconds, *row in zip(trial.steps, trial.seconds, *values, strict=True):
        yield (f"{step:.0f}", f"{seconds:.2f}", *("" if np.isnan(value) else f"{value:.9g}" for value in row))
    if not len(trial.steps):
        yield "0", "0", "", ""


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
        compressed = data[:2] == b"\x1f\x8b"  # which has a checksum, so it is not truncated
        if compressed:
            data = gzip.decompress(data)
        text = data.decode("utf-8").replace("\r\n", "\n")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInputError(f"{path} is damaged or truncated ({error}). Download it again.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} cannot be read as a table of evaluations: {error}.") from error
    lines = text.rstrip("\n")
    if not lines or (lines == text and not compressed and _may_be_cut(lines)):
        raise BadInputError(f"{path} is empty, or its last line is truncated. Download it again.")
    return lines + "\n"


def _may_be_cut(lines: str) -> bool:
    """Return whether a last line without line break may be truncated in a way that affects a score."""
    header, last = lines.split("\n", 1)[0], lines.rsplit("\n", 1)[-1]
    scored = header.endswith(("accumulated_submission_time", "validation_value"))
    return scored or last.count(",") != header.count(",")


def _normalise(path: Path, text: str) -> tuple[str, dict[int, dict[str, Any]]]:
    """Return the table with the columns in our order, without quotes, and with ``nan`` for an empty number.

    Also return the records by the row that they are in.
    """
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        header = next(reader)
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise BadInputError(
                f"{path} does not have the columns {', '.join(missing)}: it is not a table of evaluations."
            )
        order = [header.index(name) for name in COLUMNS]
        lines, records = [_HEADER], {}
        for number, row in enumerate(reader, start=2):
            if len(row) != len(header):
                raise BadInputError(f"{path}, line {number}: expected {len(header)} fields, but got {len(row)}.")
            fields = [row[place] for place in order]
            if any("," in item or "\n" in item for item in fields):
                raise BadInputError(f"{path}, line {number}: a name contains a comma or a line break.")
            for place in _NUMBERS:
                fields[place] = fields[place] or "nan"
            if RECORD in header and row[header.index(RECORD)]:
                records[number - 2] = _record(row[header.index(RECORD)], f"{path}, line {number}")
            lines.append(",".join(fields))
    except csv.Error as error:
        raise BadInputError(f"{path} is not a CSV file: {error}.") from error
    return "\n".join(lines) + "\n", records


def _record(text: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
        if not isinstance(record, dict):
            raise BadInputError(f"expected a JSON object, but got {text[:60]}.")
        check_record(record)
    except ValueError as error:
        raise BadInputError(f"{where}: the record is invalid: {error}") from error
    return record


def _numbers(path: Path, text: str) -> NDArray[np.float64]:
    """Return step, seconds, validation and test value of each row, shape ``(rows, 4)``."""
    if text.count("\n") < 2:
        raise BadInputError(f"{path} contains no evaluations.")
    if text.count(",") != text.count("\n") * (len(COLUMNS) - 1):
        _explain(path, text)  # a long row, or an empty line, which loadtxt would skip
    try:
        return np.loadtxt(io.StringIO(text), delimiter=",", usecols=_NUMBERS, skiprows=1, ndmin=2, comments=None)
    except ValueError as error:
        _explain(path, text)
        raise BadInputError(f"{path} cannot be read as a table of evaluations: {error}") from error


def _explain(path: Path, text: str) -> None:
    for number, line in enumerate(text.splitlines()[1:], start=2):
        fields = line.split(",")
        if len(fields) != len(COLUMNS):
            raise BadInputError(f"{path}, line {number}: expected {len(COLUMNS)} fields, but got {len(fields)}.")
        for place in _NUMBERS:
            try:
                float(fields[place])
            except ValueError:
                raise BadInputError(
                    f"{path}, line {number}: {COLUMNS[place]} must be a number, but got {fields[place]!r}."
                ) from None


def _blocks(text: str) -> Iterator[tuple[str, str, int, int]]:
    """Yield key, metric, first and last row of each trial's block; a trial in two places is found by Runs.check."""
    before, first, row = ("", ""), 0, -1
    for row, line in enumerate(text.splitlines()[1:]):
        key, _, _, metric, _, _ = line.rsplit(",", 5)
        if (key, metric) != before:
            if row:
                yield *before, first, row
            before, first = (key, metric), row
    if row >= 0:
        yield *before, first, row + 1
