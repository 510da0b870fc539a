"""Binary files of our own: a header with the format's name and a checksum, then numbers to map into memory."""

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
    """Return the fields of a file's header, without the first, which is ``magic``.

    Args:
        path: The file.
        layout: Layout of the header.
        magic: The bytes that such files begin with.
        what: What the file should be, for messages: ``a token file``.

    Raises:
        DamagedError: If the file begins otherwise, or is shorter than a header.
    """
    with path.open("rb") as file:
        data = file.read(layout.size)
    if len(data) < layout.size or not data.startswith(magic):
        found = f"it starts with {data[:8]!r}" if data else "it is empty"
        raise DamagedError(path, f"{what}, which starts with {magic.decode()!r}", found)
    return layout.unpack(data)[1:]


def crc32_of_rest(file: IO[bytes], advance: Callable[[int], None] = lambda _: None) -> int:
    """Return the CRC-32 sum of a file from its current position to its end; ``advance`` is called with bytes read."""
    checksum = 0
    while data := file.read(_READ):
        checksum = zlib.crc32(data, checksum)
        advance(len(data))
    return checksum


def write_header_last(file: IO[bytes], header: bytes) -> None:
    """Write the header of a file once everything behind it is on the disk, so that a kill leaves no valid half."""
    sync(file)
    file.seek(0)
    file.write(header)
    sync(file)


def require_checksum(path: Path, expected: int, found: int) -> None:
    """Raise unless the CRC-32 sums are equal.

    Raises:
        DamagedError: Naming both.
    """
    if found != expected:
        raise DamagedError(path, f"content with CRC-32 sum {expected:08x}", f"it has {found:08x}")
