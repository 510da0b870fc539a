"""Token files: the ids of a split as one stream, written once, then only mapped into memory.

A file is a header of 32 bytes and the ids (uint16), all little-endian.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError
from algoperf_lightning.data.headers import crc32_of_rest, read_header, require_checksum, write_header_last
from algoperf_lightning.utilities.progress import progress

_MAGIC = b"fwe-tok1"
_HEADER = struct.Struct("<8sQQII")
HEADER_SIZE = _HEADER.size
_READ = 1 << 24


class Source(Protocol):
    """Where the ids of a split come from."""

    path: Path
    """A file or folder that names it."""
    size: int
    """Bytes of its files; what tells one source from another."""
    tokens: int
    """How many ids there are."""

    def blocks(self) -> Iterator[tuple[Path, NDArray[np.integer]]]:
        """Yield all ids in order, a block ``(N,)`` at a time, with the file that each comes from.

        Raises:
            DamagedError: If a file is not what it should be.
        """
        ...


@dataclass(frozen=True)
class Header:
    """What a token file says about itself."""

    tokens: int
    source_size: int
    """Bytes of what it was made from."""
    vocabulary: int
    """All ids are below it."""
    checksum: int = 0
    """CRC-32 of the ids; 0 while the file is being written."""

    def pack(self) -> bytes:
        """Return the header as bytes."""
        return _HEADER.pack(_MAGIC, self.tokens, self.source_size, self.vocabulary, self.checksum)

    @classmethod
    def read(cls, path: Path) -> Header:
        """Read it from a file.

        Raises:
            DamagedError: If there is none.
        """
        return cls(*read_header(path, _HEADER, _MAGIC, "a token file"))


class TokenFile:
    """The ids of a token file, mapped into memory.

    Args:
        path: The file.

    Raises:
        DamagedError: If it has another size than it says, or no ids.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = Header.read(path)
        tokens, size = self.header.tokens, path.stat().st_size
        if not tokens:
            raise DamagedError(path, "tokens", "there are none")
        if size != HEADER_SIZE + 2 * tokens:
            raise DamagedError(path, f"{HEADER_SIZE + 2 * tokens:,} bytes for {tokens:,} tokens", f"it has {size:,}")
        self.ids: NDArray[np.uint16] = np.memmap(path, "<u2", "r", HEADER_SIZE, (tokens,))

    def windows(self, size: int) -> NDArray[np.uint16]:
        """Return consecutive windows of ``size`` ids, uint16 ``(N, size)``, without the remainder; no copy."""
        count = len(self.ids) // size
        return self.ids[: count * size].reshape(count, size)

    def check(self, what: str) -> None:
        """Go through the whole file; ``what`` is said while it takes.

        Raises:
            DamagedError: If its content is not what its header says, or an id is out of range.
        """
        checksum, largest = 0, 0
        with progress(what, 2 * len(self.ids), bytes_=True) as advance:
            for begin in range(0, len(self.ids), _READ):
                ids = self.ids[begin : begin + _READ]
                checksum = zlib.crc32(ids.data, checksum)
                largest = max(largest, int(ids.max()))
                advance(2 * len(ids))
        if largest >= self.header.vocabulary:
            raise DamagedError(self.path, f"ids below {self.header.vocabulary:,}", f"one is {largest:,}")
        require_checksum(self.path, self.header.checksum, checksum)


def write_token_file(path: Path, source: Source, vocabulary: int, what: str) -> None:
    """Write the ids of a source. What a run that was killed has written is kept, in ``<name>.part``.

    Args:
        path: Where to; nothing is there before all is written.
        source: Where the ids come from.
        vocabulary: All ids must be below it; at most 65,536.
        what: Said while it takes.

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
    """Return how many ids a file that was begun has; begin it, if there is none from this source."""
    try:
        if replace(Header.read(part), checksum=0) == header:
            done = min((part.stat().st_size - HEADER_SIZE) // 2, header.tokens)
            os.truncate(part, HEADER_SIZE + 2 * done)
            return done
    except (DamagedError, FileNotFoundError):
        pass
    part.write_bytes(header.pack())
    return 0
