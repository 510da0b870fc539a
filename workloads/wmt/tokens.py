"""Token files: all sentence pairs of a split as ids, tokenised once, then only mapped into memory.

A file is a header of 64 bytes, where each pair's source and target end in the stream of ids (int64), how many ids of
each are not 0 (uint32), and the ids (uint16): source, target, source, target, ...; all little-endian.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError
from algoperf_lightning.data.headers import crc32_of_rest, read_header, require_checksum, write_header_last
from algoperf_lightning.files import sync
from algoperf_lightning.utilities.progress import progress

from .packing import lay_out

_MAGIC = b"wmt-tok1"
_HEADER = struct.Struct("<8sQQI32sI")
HEADER_SIZE = _HEADER.size
_CHUNK = 10_000
"""Pairs that are tokenised at once; a run that is killed loses no more."""
_BYTES_A_PAIR = 2 * 8 + 2 * 4
_READ = 1 << 24


class Encoder(Protocol):
    """What makes ids of sentences."""

    size: int
    """Ids there are."""
    fingerprint: bytes
    """32 bytes that tell one from another."""

    def encode(self, sentences: list[str]) -> list[list[int]]:
        """Return the ids of each sentence, its end included."""
        ...


@dataclass(frozen=True)
class Header:
    """What a token file says about itself."""

    pairs: int
    text_size: int
    """Bytes of the text it was made from."""
    vocabulary: int
    fingerprint: bytes
    """The tokenizer's."""
    checksum: int = 0
    """CRC-32 of everything behind the header."""

    def pack(self) -> bytes:
        """Return the header as bytes."""
        return _HEADER.pack(_MAGIC, self.pairs, self.text_size, self.vocabulary, self.fingerprint, self.checksum)

    @classmethod
    def read(cls, path: Path) -> Header:
        """Read it from a file.

        Raises:
            DamagedError: If there is none.
        """
        return cls(*read_header(path, _HEADER, _MAGIC, "a token file"))


class TokenFile:
    """The pairs of a token file, mapped into memory.

    Args:
        path: The file.

    Raises:
        DamagedError: If it has another size than it says, or no pairs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = Header.read(path)
        pairs, size = self.header.pairs, path.stat().st_size
        tables = HEADER_SIZE + pairs * _BYTES_A_PAIR
        if not pairs:
            raise DamagedError(path, "sentence pairs", "there are none")
        if size < tables:
            raise DamagedError(path, f"at least {tables:,} bytes for {pairs:,} pairs", f"it has {size:,}")
        self.ends = np.memmap(path, "<i8", "r", HEADER_SIZE, (pairs, 2))
        """Where source and target of each pair end in :attr:`ids`, int64 ``(N, 2)``."""
        self.known = np.memmap(path, "<u4", "r", HEADER_SIZE + pairs * 16, (pairs, 2))
        """Ids of source and target that are not 0, uint32 ``(N, 2)``."""
        total = int(self.ends[-1, 1])
        if size != tables + 2 * total:
            expected = f"{tables + 2 * total:,} bytes for {pairs:,} pairs of {total:,} ids"
            raise DamagedError(path, expected, f"it has {size:,}")
        self.ids = np.memmap(path, "<u2", "r", tables, (total,))

    def __len__(self) -> int:
        """Return the number of pairs."""
        return self.header.pairs

    def lengths(self) -> NDArray[np.int32]:
        """Return the ids of source and target of each pair, ``(N, 2)``."""
        ends = self.ends.reshape(-1)
        return np.diff(ends, prepend=0).astype(np.int32).reshape(-1, 2)

    def starts(self, pairs: NDArray[np.int64], side: int) -> NDArray[np.int64]:
        """Return where the sources (side 0) or targets (side 1) of some pairs begin in :attr:`ids`."""
        before = 2 * pairs + side - 1
        starts = self.ends.reshape(-1)[np.maximum(before, 0)]
        starts[before < 0] = 0
        return np.asarray(starts)

    def padded(self, pairs: NDArray[np.int64], side: int, width: int) -> NDArray[np.int64]:
        """Return the sources (side 0) or targets (side 1) of some pairs, filled up with 0: int64 ``(B, width)``."""
        starts = self.starts(pairs, side)
        return lay_out(self.ids, starts, self.ends[pairs, side] - starts, np.arange(len(pairs)), width)[0]

    def check(self, what: str) -> None:
        """Go through the whole file; ``what`` is said while it takes.

        Raises:
            DamagedError: If its content is not what its header says, or an id is out of range.
        """
        with self.path.open("rb") as file, progress(what, self.path.stat().st_size, bytes_=True) as advance:
            file.seek(HEADER_SIZE)
            checksum = crc32_of_rest(file, advance)
        largest = max(int(self.ids[i : i + _READ].max()) for i in range(0, len(self.ids), _READ))
        if largest >= self.header.vocabulary:
            raise DamagedError(self.path, f"ids below {self.header.vocabulary:,}", f"one is {largest:,}")
        require_checksum(self.path, self.header.checksum, checksum)


def write_token_file(
    path: Path,
    pairs: Callable[[], Iterator[tuple[str, str]]],
    count: int,
    text_size: int,
    encoder: Encoder,
    what: str,
) -> None:
    """Tokenise sentence pairs. What a run that was killed has done is kept, in ``<name>.part``.

    Args:
        path: Where to; nothing is there before all is done.
        pairs: Source and target sentences, from the first on.
        count: How many they are.
        text_size: Bytes of their text; other text is not taken for the same.
        encoder: What makes ids of them.
        what: Said while it takes.
    """
    part = path.with_name(path.name + ".part")
    header = Header(count, text_size, encoder.size, encoder.fingerprint)
    done = _resume(part, header)
    with part.open("r+b") as file, progress(what, count, done=done) as advance:
        tables = _Tables(file, count)
        remaining = islice(pairs(), done, None)
        while chunk := list(islice(remaining, _CHUNK)):
            tables.append(done, encoder.encode([sentence for pair in chunk for sentence in pair]))
            done += len(chunk)
            advance(len(chunk))
        tables.flush()
        file.seek(HEADER_SIZE)
        write_header_last(file, replace(header, checksum=crc32_of_rest(file)).pack())
    part.replace(path)


class _Tables:
    """The tables of a token file that is being written, and the ids behind them.

    Args:
        file: The file, which has room for the tables.
        pairs: How many pairs it is for.
    """

    def __init__(self, file: IO[bytes], pairs: int) -> None:
        self._file = file
        self._first_id = HEADER_SIZE + pairs * _BYTES_A_PAIR
        self._ends = np.memmap(file, "<i8", "r+", HEADER_SIZE, (pairs, 2))
        self._known = np.memmap(file, "<u4", "r+", HEADER_SIZE + pairs * 16, (pairs, 2))

    def append(self, done: int, encoded: list[list[int]]) -> None:
        """Write the ids of some sentences, source and target in turns, behind those of the first ``done`` pairs."""
        total = int(self._ends[done - 1, 1]) if done else 0
        lengths = np.fromiter((len(ids) for ids in encoded), np.int64, len(encoded))
        ids = np.fromiter((token for tokens in encoded for token in tokens), "<u2", int(lengths.sum()))
        self._file.seek(self._first_id + 2 * total)
        self._file.write(ids.tobytes())
        sync(self._file)
        rows = slice(done, done + len(encoded) // 2)
        limits = np.cumsum(lengths)
        filled = np.append(0, np.cumsum(ids != 0))
        self._known[rows] = np.diff(filled[np.append(0, limits)]).reshape(-1, 2)
        self._ends[rows] = (total + limits).reshape(-1, 2)  # last: these say how many pairs are done

    def flush(self) -> None:
        """Write the tables to the file."""
        self._ends.flush()
        self._known.flush()


def _resume(part: Path, header: Header) -> int:
    """Return how many pairs a file that was begun has; begin it, if there is none for this text and tokenizer."""
    tables = HEADER_SIZE + header.pairs * _BYTES_A_PAIR
    try:
        if replace(Header.read(part), checksum=0) == header and part.stat().st_size >= tables:
            ends = np.memmap(part, "<i8", "r", HEADER_SIZE, (header.pairs, 2))
            done = int(np.count_nonzero(ends[:, 1]))  # each target has an end at least, so none ends at 0
            size = tables + 2 * (int(ends[done - 1, 1]) if done else 0)
            if part.stat().st_size >= size:
                os.truncate(part, size)
                return done
    except (DamagedError, FileNotFoundError):
        pass
    with part.open("wb") as file:
        file.write(header.pack())
        file.truncate(tables)
    return 0
