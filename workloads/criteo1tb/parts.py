"""Parts of a day during the conversion: bookkeeping of finished parts, and atomic writing of a part."""

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
    """Write the index of a day, which marks the day as completely converted."""
    index = {
        "day": day,
        "rows": sum(part.rows for part in parts),
        "bytes_per_row": ROW.itemsize,
        "made_from": [source.name for source in sources],
        "parts": [asdict(part) for part in parts],
    }
    write_atomic(folder / f"day_{day}.json", json.dumps(index, indent=1) + "\n")


class FinishedParts:
    """The finished parts of a day with their checksums, which survive a kill of the conversion.

    Args:
        folder: The folder of the parts.
        day: In [0, 24).
    """

    def __init__(self, folder: Path, day: int) -> None:
        self._folder = folder
        self._path = folder / f"day_{day}.unfinished"
        self._parts: dict[str, Part] = {}
        for path in (folder / f"day_{day}.json", self._path):  # the index exists if a part was deleted later
            try:
                self._parts |= {part.file: part for part in read_index(path)}
            except (FileNotFoundError, ValueError):  # missing or unreadable: its parts are written again
                continue

    def find(self, file: str, rows: int) -> Part | None:
        """Return a part if its file exists with this number of rows and an unchanged checksum, otherwise None."""
        part = self._parts.get(file)
        if part is None or part.rows != rows:
            return None
        try:
            mapped = map_rows(self._folder / file)
        except (OSError, ValueError, EOFError):  # a damaged part is written again
            return None
        return part if len(mapped) == rows and checksum(mapped) == part.crc32 else None

    def add(self, part: Part) -> None:
        """Record a part that is complete."""
        self._parts[part.file] = part
        content = {"parts": [asdict(part) for part in self._parts.values()]}
        write_atomic(self._path, json.dumps(content, indent=1) + "\n")

    def discard(self) -> None:
        """Delete the records, which the index replaces."""
        self._path.unlink(missing_ok=True)


class PartWriter:
    """A part that is written to a temporary file, which is renamed when it is complete.

    Args:
        path: The final path.
        number: Number of the part within the day.
    """

    def __init__(self, path: Path, number: int) -> None:
        self.path, self.number = path, number
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}")
        self._file = self._temporary.open("wb")
        self._rows = 0
        self._crc32 = 0
        self._write_header()

    def _write_header(self) -> None:
        """Write NumPy's header, which has space for the digits of any number of rows."""
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
        """Rename the file to its final path."""
        self._file.seek(0)
        self._write_header()
        sync(self._file)
        self._file.close()
        self._temporary.replace(self.path)
        return Part(self.path.name, self._rows, f"{self._crc32:08x}")

    def discard(self) -> None:
        """Delete the temporary file."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)
