"""Reading of wmt: memory-mapped token files with all sentence pairs of a split as ids.

A file contains a header of 64 bytes, the ends of each pair's source and target in the stream of ids (int64), the number
of ids of each that are not 0 (uint32), and the ids (uint16): source, target, source, target, ...; all little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError
from algoperf_lightning.data.headers import crc32_of_rest, read_header, require_checksum
from algoperf_lightning.utilities.progress import progress

from .packing import lay_out

_MAGIC = b"wmt-tok1"
_HEADER = struct.Struct("<8sQQI32sI")
HEADER_SIZE = _HEADER.size
BYTES_A_PAIR = 2 * 8 + 2 * 4
_READ = 1 << 24


@dataclass(frozen=True)
class Header:
    """The header of a token file."""

    pairs: int
    text_size: int
    """Bytes of the source text."""
    vocabulary: int
    fingerprint: bytes
    """Fingerprint of the tokenizer."""
    checksum: int = 0
    """CRC-32 of everything after the header."""

    def pack(self) -> bytes:
        """Return the header as bytes."""
        return _HEADER.pack(_MAGIC, self.pairs, self.text_size, self.vocabulary, self.fingerprint, self.checksum)

    @classmethod
    def read(cls, path: Path) -> Header:
        """Read the header from a file.

        Raises:
            DamagedError: If the file does not have one.
        """
        return cls(*read_header(path, _HEADER, _MAGIC, "a token file"))


class TokenFile:
    """The pairs of a token file, mapped into memory.

    Args:
        path: The file.

    Raises:
        DamagedError: If its size differs from its header, or it has no pairs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = Header.read(path)
        pairs, size = self.header.pairs, path.stat().st_size
        tables = HEADER_SIZE + pairs * BYTES_A_PAIR
        if not pairs:
            raise DamagedError(path, "sentence pairs", "there are none")
        if size < tables:
            raise DamagedError(path, f"at least {tables:,} bytes for {pairs:,} pairs", f"it has {size:,}")
        self.ends = np.memmap(path, "<i8", "r", HEADER_SIZE, (pairs, 2))
        """Ends of source and target of each pair in :attr:`ids`, int64 ``(N, 2)``."""
        self.known = np.memmap(path, "<u4", "r", HEADER_SIZE + pairs * 16, (pairs, 2))
        """Number of ids of source and target that are not 0, uint32 ``(N, 2)``."""
        total = int(self.ends[-1, 1])
        if size != tables + 2 * total:
            expected = f"{tables + 2 * total:,} bytes for {pairs:,} pairs of {total:,} ids"
            raise DamagedError(path, expected, f"it has {size:,}")
        self.ids = np.memmap(path, "<u2", "r", tables, (total,))

    def __len__(self) -> int:
        """Return the number of pairs."""
        return self.header.pairs

    def lengths(self) -> NDArray[np.int32]:
        """Return the number of ids of source and target of each pair, ``(N, 2)``."""
        ends = self.ends.reshape(-1)
        return np.diff(ends, prepend=0).astype(np.int32).reshape(-1, 2)

    def starts(self, pairs: NDArray[np.int64], side: int) -> NDArray[np.int64]:
        """Return the starts of the sources (side 0) or targets (side 1) of some pairs in :attr:`ids`."""
        before = 2 * pairs + side - 1
        starts = self.ends.reshape(-1)[np.maximum(before, 0)]
        starts[before < 0] = 0
        return np.asarray(starts)

    def padded(self, pairs: NDArray[np.int64], side: int, width: int) -> NDArray[np.int64]:
        """Return the sources (side 0) or targets (side 1) of some pairs, padded with 0: int64 ``(B, width)``."""
        starts = self.starts(pairs, side)
        return lay_out(self.ids, starts, self.ends[pairs, side] - starts, np.arange(len(pairs)), width)[0]

    def check(self, what: str) -> None:
        """Read the whole file, with a progress display that shows ``what``.

        Raises:
            DamagedError: If its content does not match its header, or an id is out of range.
        """
        with self.path.open("rb") as file, progress(what, self.path.stat().st_size, bytes_=True) as advance:
            file.seek(HEADER_SIZE)
            checksum = crc32_of_rest(file, advance)
        largest = max(int(self.ids[i : i + _READ].max()) for i in range(0, len(self.ids), _READ))
        if largest >= self.header.vocabulary:
            raise DamagedError(self.path, f"ids below {self.header.vocabulary:,}", f"one is {largest:,}")
        require_checksum(self.path, self.header.checksum, checksum)
