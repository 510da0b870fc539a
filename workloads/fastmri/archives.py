"""Unpacking the official archives of fastMRI, resumable after an interruption."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from algoperf_lightning.files import is_left_by_system
from algoperf_lightning.utilities.progress import Advance, progress

_CHUNK = 1 << 20


def archive_names(folder: str) -> tuple[str, ...]:
    """Return the names under which an archive may lie: as it is given out now, and as it was."""
    older = folder.removeprefix("knee_")
    return tuple(f"{name}{ending}" for ending in (".tar.xz", ".tar.gz") for name in (folder, older))


def unpack_volumes(archive: Path, folder: Path) -> None:
    """Unpack every ``.h5`` file of an archive into one folder.

    Each file is written aside and moved when it is whole, and a file that is there already is not written again; the
    archive has to be decompressed from its beginning all the same. Names of folders in the archive count nothing.

    Raises:
        OSError: If the disk is full, say.
        EOFError, tarfile.TarError, lzma.LZMAError, zlib.error: If the archive is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _counted(archive) as stream, tarfile.open(fileobj=stream, mode="r|*", bufsize=_CHUNK) as tar:
        for member in tar:
            name = PurePosixPath(member.name).name
            path = folder / name
            if (
                not member.isfile()
                or not name.endswith(".h5")
                or name.startswith(".")
                or is_left_by_system(member.name)
            ):
                continue
            if path.exists() and path.stat().st_size == member.size:
                continue
            source = tar.extractfile(member)
            assert source is not None
            part = folder / f"{name}.part"
            with source, part.open("wb") as file:
                shutil.copyfileobj(source, file, _CHUNK)
            if part.stat().st_size != member.size:
                raise EOFError(f"{name} ends early")
            part.replace(path)


class _Counted:
    """A file that reports how far it has been read."""

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
