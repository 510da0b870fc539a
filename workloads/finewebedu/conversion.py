"""Conversion for finewebedu_lm: writes the ids of a source to a token file, once, resumable after a kill."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError
from algoperf_lightning.data.headers import crc32_of_rest, write_header_last
from algoperf_lightning.utilities.progress import progress

from .reading import HEADER_SIZE, Header


class Source(Protocol):
    """The source of the ids of a split."""

    path: Path
    """File or folder of the source."""
    size: int
    """Bytes of its files; used to distinguish sources."""
    tokens: int
    """Number of ids."""

    def blocks(self) -> Iterator[tuple[Path, NDArray[np.integer]]]:
        """Yield all ids in order, a block ``(N,)`` at a time, with the file of each block.

        Raises:
            DamagedError: If a file is damaged.
        """
        ...


def write_token_file(path: Path, source: Source, vocabulary: int, what: str) -> None:
    """Write the ids of a source; a killed run is resumed from ``<name>.part``.

    Args:
        path: The token file; it is created when it is complete.
        source: The source of the ids.
        vocabulary: All ids must be below it; at most 65,536.
        what: Description for the progress display.

    Raises:
        DamagedError: If the source has no ids, or one is out of range.
    """
    if not source.tokens:
        raise DamagedError(source.path, "tokens", "there are none")
    part = path.with_name(path.name + ".part")
    header = Header(source.tokens, source.size, vocabulary)
    done = _resume(part, header)
    with part.open("r+b") as file, progress(what, 2 * source.tokens, done=2 * done, bytes_=True) as advance:
        file.seek(HEADER_SIZE)
        checksum, seen = crc32_of_rest(file), 0
        for origin, block in source.blocks():
            new = block[max(0, done - seen) :]
            seen += len(block)
            if not len(new):
                continue
            smallest, largest = int(new.min()), int(new.max())
            if smallest < 0 or largest >= vocabulary:
                found = f"one is {smallest if smallest < 0 else largest:,}"
                raise DamagedError(origin, f"ids from 0 to {vocabulary - 1:,}", found)
            data = np.ascontiguousarray(new, "<u2").tobytes()
            file.write(data)
            checksum = zlib.crc32(data, checksum)
            advance(len(data))
        if seen != source.tokens:
            raise DamagedError(source.path, f"{source.tokens:,} tokens", f"reading it gave {seen:,}")
        write_header_last(file, replace(header, checksum=checksum).pack())
    part.replace(path)


def _resume(part: Path, header: Header) -> int:
    """Return the number of ids in an incomplete file; create one if there is none from this source."""
    try:
        if replace(Header.read(part), checksum=0) == header:
            done = min((part.stat().st_size - HEADER_SIZE) // 2, header.tokens)
            os.truncate(part, HEADER_SIZE + 2 * done)
            return done
    except (DamagedError, FileNotFoundError):
        pass
    part.write_bytes(header.pack())
    return 0
