"""Parsing of ogbg: compressed tables of integers, at tens of millions of numbers per second."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import ARCHIVE_ERRORS
from algoperf_lightning.utilities.progress import progress

_CHUNK = 1 << 22
_COMMA, _NEWLINE, _POINT, _ZERO, _NINE = b",\n.09"
_FIELD = re.compile(rb"\d{1,18}(\.0)?")


class BadTableError(ValueError):
    """A table is damaged; the message names place and content: ``line 17 is '3,x'``."""


def read_table(
    path: Path, columns: int, dtype: type[np.integer], *, empty: int | None = None, largest: int | None = None
) -> NDArray[np.integer]:
    """Read a gzip-compressed table of comma-separated integers without header.

    A number may end in ``.0``, as tables of floats do.

    Args:
        path: The file.
        columns: Fields in each line.
        dtype: Type of the array.
        empty: Value of empty fields; None if no field may be empty.
        largest: Maximum value. Default: that of the type.

    Returns:
        Numbers of type ``dtype``, shape ``(lines, columns)``.

    Raises:
        BadTableError: If the file is truncated or not gzip, a line has wrong fields, or a number is too large.
        OSError: If the file cannot be read.
    """
    largest = int(np.iinfo(dtype).max) if largest is None else largest
    pieces: list[NDArray[np.integer]] = []
    lines = read = 0
    size = path.stat().st_size
    with (
        path.open("rb") as compressed,
        gzip.open(compressed) as file,
        progress(f"{path.name}: reading", size, bytes_=True) as advance,
    ):
        rest, chunk = b"", b"-"
        while chunk:
            try:
                chunk = file.read(_CHUNK)
            except ARCHIVE_ERRORS as error:
                raise BadTableError(f"it is truncated or damaged after line {lines} ({error})") from error
            advance(compressed.tell() - read)
            read = compressed.tell()
            text = rest + chunk
            if not chunk and text and not text.endswith(b"\n"):
                text += b"\n"
            end = text.rfind(b"\n") + 1
            rest = text[end:]
            if end:
                numbers = _parse(text[:end], columns, lines, empty)
                _check_largest(numbers, largest, lines)
                pieces.append(numbers.astype(dtype))
                lines += len(numbers)
    return np.concatenate(pieces) if pieces else np.empty((0, columns), dtype)


def _parse(text: bytes, columns: int, lines: int, empty: int | None) -> NDArray[np.int64]:
    """Return the numbers of complete lines, which follow ``lines`` others."""
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    bytes_ = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero((bytes_ == _COMMA) | (bytes_ == _NEWLINE))
    is_line_end = bytes_[ends] == _NEWLINE
    rows = len(ends) // columns
    if is_line_end.sum() != rows or len(ends) != rows * columns or not is_line_end[columns - 1 :: columns].all():
        raise _bad_line(text, columns, lines, empty)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts
    points = 0
    if b"." in text:  # skip the ".0" of numbers that are written as floats
        decimal = (lengths >= 3) & (bytes_[ends - 2] == _POINT) & (bytes_[ends - 1] == _ZERO)
        points = int(decimal.sum())
        ends = ends - 2 * decimal
        lengths = lengths - 2 * decimal
    digits = int(((bytes_ >= _ZERO) & (bytes_ <= _NINE)).sum())
    longest = int(lengths.max())
    # Every byte is part of a separator, of one of those ".0", or a digit of a number.
    if digits != lengths.sum() + points or len(ends) + digits + points != len(text) or longest > 18:
        raise _bad_line(text, columns, lines, empty)
    numbers = np.zeros(len(ends), np.int64)
    for place in range(longest):
        has = np.flatnonzero(lengths > place) if place else slice(None)
        numbers[has] += (bytes_[ends[has] - 1 - place].astype(np.int64) - _ZERO) * 10**place
    if not lengths.all():
        if empty is None:
            raise _bad_line(text, columns, lines, empty)
        numbers[lengths == 0] = empty
    return numbers.reshape(rows, columns)


def _check_largest(numbers: NDArray[np.int64], largest: int, lines: int) -> None:
    """Raise if a number is too large; the numbers follow ``lines`` other lines."""
    if numbers.max(initial=0) > largest:
        line = int(np.argmax((numbers > largest).any(1)))
        raise BadTableError(f"line {lines + line + 1} contains {numbers[line].max()}")


def _bad_line(text: bytes, columns: int, lines: int, empty: int | None) -> BadTableError:
    """Return the error that names the first bad line."""
    for number, line in enumerate(text.removesuffix(b"\n").split(b"\n"), start=lines + 1):
        fields = line.split(b",")
        if len(fields) != columns:
            return BadTableError(f"line {number} has {len(fields)} fields")
        for field in fields:
            if not (_FIELD.fullmatch(field) or (not field and empty is not None)):
                return BadTableError(f"line {number} contains {field[:40].decode(errors='replace')!r}")
    raise AssertionError("the fast and the slow reading disagree")
