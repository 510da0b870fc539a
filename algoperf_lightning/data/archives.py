"""Streaming extraction of archives, resumable after a kill."""

from __future__ import annotations

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeAlias

from algoperf_lightning.data.damage import DamagedError
from algoperf_lightning.files import is_left_by_system, written_aside
from algoperf_lightning.utilities.progress import Advance, progress

ARCHIVE_ERRORS = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError)
"""Exceptions raised by the standard library for damaged or truncated archives."""

_CHUNK = 1 << 20
_STREAM = 1 << 15  # bytes per read; streams copy the rest of a block for every file header

Place: TypeAlias = Callable[[str], Path | None]
"""Maps the name of a file in an archive (without a leading ``./``) to its destination; None skips the file."""


def unpack(archive: Path, place: Place, *, count: int | None = None) -> int:
    """Extract files from a zip archive (``.zip``) or from a tar archive, compressed or not.

    Each file is written to a temporary file and moved when it is complete. Existing files of the expected size are not
    extracted again. System files of macOS and Windows in the archive are ignored.

    Args:
        archive: Path of the archive.
        place: Function that returns the destination of each file. Folders are created as needed.
        count: Number of files to extract, after which reading stops. Default: unknown.

    Returns:
        Number of requested files that exist at their destinations.

    Raises:
        DamagedError: If the archive is damaged or truncated. Files extracted before the error are kept.
        OSError: If the archive cannot be read, or a file cannot be written.
    """
    done = 0
    read = _zip_files if archive.suffix == ".zip" else _tar_files
    try:
        for name, size, content in read(archive):
            path = None if is_left_by_system(name) else place(name.removeprefix("./"))
            if path is None:
                continue
            if not (path.exists() and path.stat().st_size == size):
                path.parent.mkdir(parents=True, exist_ok=True)
                # No fsync: for hundreds of thousands of files, it would take longer than the extraction.
                with content, written_aside(path, durable=False) as file:
                    shutil.copyfileobj(content, file, _CHUNK)
                    if file.tell() != size:
                        raise EOFError(f"{name} is truncated")
            done += 1
            if done == count:
                break
    except ARCHIVE_ERRORS as error:
        raise DamagedError(archive, "a complete archive", f"reading failed ({error})") from error
    return done


def read_gzip(path: Path) -> bytes:
    """Return the content of a small gzip file.

    Raises:
        DamagedError: If it is damaged or truncated.
    """
    try:
        return gzip.decompress(path.read_bytes())
    except ARCHIVE_ERRORS as error:
        raise DamagedError(path, "a complete gzip file", f"unpacking failed ({error})") from error


def files_of(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """Yield the regular files of an open tar archive with their contents, without system files."""
    for member in tar:
        content = tar.extractfile(member) if member.isfile() and not is_left_by_system(member.name) else None
        if content is not None:
            yield member, content


_Files: TypeAlias = Iterator[tuple[str, int, IO[bytes]]]
"""Name, size in bytes, and content of each file of an archive."""


def _tar_files(archive: Path) -> _Files:
    with _counted(archive) as stream, tarfile.open(fileobj=stream, mode="r|*", bufsize=_STREAM) as tar:
        for member, content in files_of(tar):
            yield member.name, member.size, content


def _zip_files(archive: Path) -> _Files:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            if not member.is_dir():
                yield member.filename, member.file_size, file.open(member)


class _Counted:
    """A file wrapper that reports the number of bytes read."""

    def __init__(self, file: IO[bytes], advance: Advance) -> None:
        self._file = file
        self._advance = advance

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._advance(len(data))
        return data


@contextmanager
def _counted(archive: Path) -> Iterator[IO[bytes]]:
    size = archive.stat().st_size
    with archive.open("rb") as file, progress(f"{archive.name}: unpacking", size, bytes_=True) as advance:
        yield _Counted(file, advance)
