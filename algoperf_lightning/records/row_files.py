"""Files of a trial to which rows are appended, each of which is a line of JSON and belongs to a step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from algoperf_lightning.files import written_aside
from algoperf_lightning.records.checks import RecordError

_Row = TypeVar("_Row")

_DAMAGE = (ValueError, KeyError, TypeError, AttributeError)
"""Exceptions of parsing an invalid line."""


def read_rows_of(path: Path, parse: Callable[[bytes], _Row]) -> Iterator[_Row]:
    """Yield the rows of a file, which may still be written; none if there is no file.

    Args:
        path: The file.
        parse: Converts a line to a row, or raises if it is invalid.

    Raises:
        RecordError: If a row is damaged, or the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):  # it is being written, or was truncated by a kill
                    return
                try:
                    row = parse(line)
                except _DAMAGE as error:
                    raise RecordError(
                        f"{path} has a damaged row, line {number}: {error!r}. Delete that line."
                    ) from error
                yield row
    except FileNotFoundError:
        return
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}.") from error


def continue_rows_of(path: Path, source: Path, parse: Callable[[bytes], _Row], keeps: Callable[[_Row], bool]) -> None:
    """Keep the rows of a resumed trial, and drop those that will be written again or are invalid.

    Args:
        path: The trial's file.
        source: The file next to the checkpoint from which it resumes; it may be the same one, or missing.
        parse: Converts a line to a row, or raises if it is invalid.
        keeps: Whether a row was written before the checkpoint.

    Raises:
        OSError: If the file cannot be written.
    """
    if not source.is_file():
        if os.path.lexists(path):
            path.unlink()
        return
    with written_aside(path) as kept, source.open("rb") as lines:
        for line in lines:
            try:
                row = parse(line)
            except _DAMAGE:
                continue
            if line.endswith(b"\n") and keeps(row):
                kept.write(line)
