"""The compact table of evaluations: one CSV file, plain or gzipped, with one row per evaluation."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.runs import Runs, Trial

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
_NUMBERS = (7, 8, 10, 11)
_HEADER = ",".join(COLUMNS)


def read_compact(path: Path) -> Runs:
    """Read a compact table.

    Columns may be in any order, and additional ones are ignored; the rows of a trial are contiguous. An empty number is
    NaN.

    Raises:
        BadInputError: If the file is truncated or not gzip, a column is missing, a row has too few fields, a number is
            invalid, a name is empty, or a trial's rows are not contiguous.
    """
    text = _read_text(path)
    header = text.partition("\n")[0]
    if header != _HEADER or '"' in text or ",," in text or ",\n" in text:
        text = _normalise(path, text)
    numbers = _numbers(path, text)
    runs = Runs()
    for key, metric, first, last in _blocks(text):
        version, ruleset, submission, study, workload, framework, number = key.split(",")
        if not (submission.strip() and workload.strip()):
            missing = "workload" if submission.strip() else "submission"
            raise BadInputError(f"{path}, line {first + 2}: the {missing} is empty; expected its name.")
        block = numbers[first:last]
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
            )
        )
    if not runs.trials:
        raise BadInputError(f"{path} holds no evaluations.")
    return runs


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
        compressed = data[:2] == b"\x1f\x8b"  # which has a checksum, so it is not truncated
        if compressed:
            data = gzip.decompress(data)
        text = data.decode("utf-8").replace("\r\n", "\n")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInputError(f"{path} is damaged or cut off ({error}). Fetch it again.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} cannot be read as a table of evaluations: {error}.") from error
    lines = text.rstrip("\n")
    if not lines or (lines == text and not compressed and _may_be_cut(lines)):
        raise BadInputError(f"{path} is empty, or cut off in its last line. Fetch it again.")
    return lines + "\n"


def _may_be_cut(lines: str) -> bool:
    """Return whether a last line without line break may be truncated in a way that affects a score."""
    header, last = lines.split("\n", 1)[0], lines.rsplit("\n", 1)[-1]
    scored = header.endswith(("accumulated_submission_time", "validation_value"))
    return scored or last.count(",") != header.count(",")


def _normalise(path: Path, text: str) -> str:
    """Return the table with the columns in our order, without quotes, and with ``nan`` for an empty number."""
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        header = next(reader)
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise BadInputError(f"{path} lacks the columns {', '.join(missing)}: it is not a table of evaluations.")
        order = [header.index(name) for name in COLUMNS]
        lines = [_HEADER]
        for number, row in enumerate(reader, start=2):
            if len(row) != len(header):
                raise BadInputError(f"{path}, line {number}: expected {len(header)} fields, but got {len(row)}.")
            fields = [row[place] for place in order]
            if any("," in item or "\n" in item for item in fields):
                raise BadInputError(f"{path}, line {number}: a name holds a comma or a line break.")
            for place in _NUMBERS:
                fields[place] = fields[place] or "nan"
            lines.append(",".join(fields))
    except csv.Error as error:
        raise BadInputError(f"{path} is not a CSV file: {error}.") from error
    return "\n".join(lines) + "\n"


def _numbers(path: Path, text: str) -> NDArray[np.float64]:
    """Return step, seconds, validation and test value of each row, shape ``(rows, 4)``."""
    if text.count("\n") < 2:
        raise BadInputError(f"{path} holds no evaluations.")
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
