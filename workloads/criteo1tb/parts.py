"""Parts of a day while they are written: what is finished already, and how a part gets into its place."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.files import sync, write_atomic

from .parsing import ROW
from .reading import Part, checksum, map_rows, read_index


def write_index(folder: Path, day: int, parts: Sequence[Part], sources: Sequence[Path]) -> None:
    """Write the index of a day, which says that all of the day is converted."""
    index = {
        "day": day,
        "rows": sum(part.rows for part in parts),
        "bytes_per_row": ROW.itemsize,
        "made_from": [source.name for source in sources],
        "parts": [asdict(part) for part in parts],
    }
    write_atomic(folder / f"day_{day}.json", json.dumps(index, indent=1) + "\n")


class FinishedParts:
    """The parts of a day that were finished, with the checksums they had then, whatever killed the conversion.

    Args:
        folder: Where the parts lie.
        day: In [0, 24).
    """

    def __init__(self, folder: Path, day: int) -> None:
        self._folder = folder
        self._path = folder / f"day_{day}.unfinished"
        self._parts: dict[str, Part] = {}
        for path in (folder / f"day_{day}.json", self._path):  # the index is there if a part was deleted later
            try:
                self._parts |= {part.file: part for part in read_index(path)}
            except (FileNotFoundError, ValueError):  # none, or none that can be read: its parts are written again
                continue

    def find(self, file: str, rows: int) -> Part | None:
        """Return a part if it is there with so many rows, and they are those that were written; else None."""
        part = self._parts.get(file)
        if part is None or part.rows != rows:
            return None
        try:
            mapped = map_rows(self._folder / file)
        except (OSError, ValueError, EOFError):  # whatever spoilt it, it is written again
            return None
        return part if len(mapped) == rows and checksum(mapped) == part.crc32 else None

    def add(self, part: Part) -> None:
        """Write down a part that is in its place."""
        self._parts[part.file] = part
        content = {"parts": [asdict(part) for part in self._parts.values()]}
        write_atomic(self._path, json.dumps(content, indent=1) + "\n")

    def discard(self) -> None:
        """Delete what was written down; the index says it all."""
        self._path.unlink(missing_ok=True)


class PartWriter:
    """A part being written beside its place, which it takes when it is whole.

    Args:
        path: Its place.
        number: Which part of the day it is.
    """

    def __init__(self, path: Path, number: int) -> None:
        self.path, self.number = path, number
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}")
        self._file = self._temporary.open("wb")
        self._rows = 0
        self._crc32 = 0
        self._write_header()

    def _write_header(self) -> None:
        """Write NumPy's header, which leaves room for the digits of any number of rows."""
        descr = np.lib.format.dtype_to_descr(ROW)
        header = {"descr": descr, "fortran_order": False, "shape": (self._rows,)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def write(self, rows: NDArray[np.void]) -> None:
        """Append rows ``(N,)`` of type :data:`~.parsing.ROW`."""
        data = rows.view(np.uint8).data
        self._file.write(data)
        self._crc32 = zlib.crc32(data, self._crc32)
        self._rows += len(rows)

    def finish(self) -> Part:
        """Move the file to its place."""
        self._file.seek(0)
        self._write_header()
        sync(self._file)
        self._file.close()
        self._temporary.replace(self.path)
        return Part(self.path.name, self._rows, f"{self._crc32:08x}")

    def discard(self) -> None:
        """Delete what was written."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)
