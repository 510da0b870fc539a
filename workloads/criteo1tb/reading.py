"""Reading of criteo1tb: the memory-mapped files of a day, and the index of their rows and checksums."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .parsing import ROW

_BLOCK = 1 << 13  # rows per update of the checksum, about 1 MB


@dataclass(frozen=True)
class Part:
    """A converted file with consecutive rows of one day."""

    file: str
    rows: int
    crc32: str
    """Checksum of the rows, without the file's header."""


def read_index(path: Path) -> list[Part]:
    """Return the parts of a day from its index, or from the file of :class:`FinishedParts`.

    Raises:
        ValueError: If it is not an index.
    """
    try:
        return [Part(**part) for part in json.loads(path.read_text())["parts"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{error!r}") from error


def checksum(rows: NDArray[np.void]) -> str:
    """Return the CRC-32 of rows ``(N,)`` in hexadecimal."""
    crc32 = 0
    for begin in range(0, len(rows), _BLOCK):
        crc32 = zlib.crc32(rows[begin : begin + _BLOCK].view(np.uint8).data, crc32)
    return f"{crc32:08x}"


def map_rows(path: Path) -> NDArray[np.void]:
    """Map a converted file into memory; shape ``(rows,)``, type :data:`ROW`.

    Raises:
        ValueError: If it is not such a file, or truncated.
    """
    rows: NDArray[np.void] = np.load(path, mmap_mode="r", allow_pickle=False)
    if rows.dtype != ROW or rows.ndim != 1:
        raise ValueError(f"it contains an array {rows.shape} of {rows.dtype.itemsize} bytes per entry, not rows")
    return rows
