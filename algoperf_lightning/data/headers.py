"""Binary files of this package: a header with format name and checksum, followed by memory-mappable numbers."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from algoperf_lightning.data.damage import DamagedError
from algoperf_lightning.files import sync

_READ = 1 << 24


def read_header(path: Path, layout: struct.Struct, magic: bytes, what: str) -> tuple[Any, ...]:
    """Return the fields of a file header after the first one, which is ``magic``.

    Args:
        path: Path of the file.
        layout: Layout of the header.
        magic: Bytes at the beginning of files of this format.
        what: Description of the expected file for messages, such as ``a token file``.

    Raises:
        DamagedError: If the file has another beginning or is shorter than a header.
    """
    with path.open("rb") as file:
        data = file.read(layout.size)
    if len(data) < layout.size or not data.startswith(magic):
        found = f"it starts with {data[:8]!r}" if data else "it is empty"
        raise DamagedError(path, f"{what}, which starts with {magic.decode()!r}", found)
    return layout.unpack(data)[1:]


def crc32_of_rest(file: IO[bytes], advance: Callable[[int], None] = lambda _: None) -> int:
    """Return the CRC-32 checksum of the rest of a file; ``advance`` is called with the number of bytes read."""
    checksum = 0
    while data := file.read(_READ):
        checksum = zlib.crc32(data, checksum)
        advance(len(data))
    return checksum


def write_header_last(file: IO[bytes], header: bytes) -> None:
    """Write the header after the rest of the file is on the disk, so that partial files are never valid."""
    sync(file)
    file.seek(0)
    file.write(header)
    sync(file)


def require_checksum(path: Path, expected: int, found: int) -> None:
    """Raise an error unless the CRC-32 checksums are equal.

    Raises:
        DamagedError: If the checksums differ. The message contains both.
    """
    if found != expected:
        raise DamagedError(path, f"content with CRC-32 sum {expected:08x}", f"it has {found:08x}")
