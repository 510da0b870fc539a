"""Reading of finewebedu_lm: memory-mapped token files with the ids of a split as one stream.

A file consists of a header of 32 bytes and the ids (uint16), all little-endian.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError
from algoperf_lightning.data.headers import read_header, require_checksum
from algoperf_lightning.utilities.progress import progress

_MAGIC = b"fwe-tok1"
_HEADER = struct.Struct("<8sQQII")
HEADER_SIZE = _HEADER.size
_READ = 1 << 24


@dataclass(frozen=True)
class Header:
    """The header of a token file."""

    tokens: int
    source_size: int
    """Bytes of the source."""
    vocabulary: int
    """All ids are below it."""
    checksum: int = 0
    """CRC-32 of the ids; 0 while the file is being written."""

    def pack(self) -> bytes:
        """Return the header as bytes."""
        return _HEADER.pack(_MAGIC, self.tokens, self.source_size, self.vocabulary, self.checksum)

    @classmethod
    def read(cls, path: Path) -> Header:
        """Read the header from a file.

        Raises:
            DamagedError: If the file does not have one.
        """
        return cls(*read_header(path, _HEADER, _MAGIC, "a token file"))


class TokenFile:
    """The ids of a token file, mapped into memory.

    Args:
        path: The file.

    Raises:
        DamagedError: If its size differs from its header, or it has no ids.
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
        """Read the whole file, with a progress display that shows ``what``.

        Raises:
            DamagedError: If its content does not match its header, or an id is out of range.
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
