"""The checksum next to each checkpoint, with which damage is detected."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from pathlib import Path

from algoperf_lightning.files import write_atomic
from algoperf_lightning.records.checks import RecordError


def checksum_path(path: Path) -> Path:
    """Return the path of a checkpoint's checksum."""
    return path.with_name(f"{path.name}.sha256")


def put_in_place(new: Path, path: Path) -> None:
    """Replace the old checkpoint by a new one, and write its checksum next to it.

    The checksums of both are written before the replacement, so that a kill at any moment leaves a checkpoint with its
    checksum.

    Raises:
        OSError: If it cannot be written; the old checkpoint then remains.
    """
    with new.open("rb") as file:
        os.fsync(file.fileno())
    line = f"{digest(new)}  {path.name}"
    write_atomic(checksum_path(path), "\n".join([line, *checksums(path)]) + "\n")
    new.replace(path)
    write_atomic(checksum_path(path), f"{line}\n")


def renew_checksum(path: Path) -> None:
    """Write the checksum of a checkpoint again, if the checkpoint is valid according to checksums inside its archive.

    These do not detect changes in the archive's own tables, so they are not a replacement; but if the file of the
    checksum itself was damaged, nothing else is available.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sound = archive.testzip() is None
    except (OSError, ValueError, RuntimeError, NotImplementedError, EOFError, zipfile.BadZipFile, zlib.error):
        return
    if sound and not _is_known(path):
        write_atomic(checksum_path(path), f"{digest(path)}  {path.name}\n")


def _is_known(path: Path) -> bool:
    try:
        return digest(path) in {line.partition(" ")[0] for line in checksums(path)}
    except RecordError:
        return False


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(path: Path) -> list[str]:
    """Return the lines in a checkpoint's file of checksums, each a checksum and a name; none without the file.

    Raises:
        RecordError: If it cannot be read.
    """
    try:
        return checksum_path(path).read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise RecordError(
            f"{checksum_path(path)} cannot be read ({error}). Delete it to read the checkpoint without one."
        ) from error
