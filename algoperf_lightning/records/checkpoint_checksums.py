"""The checksum that lies beside each checkpoint, through which a damaged one is found."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from pathlib import Path

from algoperf_lightning.files import write_atomic
from algoperf_lightning.records.checks import RecordError


def checksum_path(path: Path) -> Path:
    """Return where the checksum of a checkpoint is kept."""
    return path.with_name(f"{path.name}.sha256")


def put_in_place(new: Path, path: Path) -> None:
    """Let a new checkpoint take the place of the old one, and keep its checksum beside it.

    The checksums of both are written before the one replaces the other, so that a kill at any moment leaves a
    checkpoint whose checksum is there.

    Raises:
        OSError: If it cannot be written; the old checkpoint is still there then.
    """
    with new.open("rb") as file:
        os.fsync(file.fileno())
    line = f"{digest(new)}  {path.name}"
    write_atomic(checksum_path(path), "\n".join([line, *checksums(path)]) + "\n")
    new.replace(path)
    write_atomic(checksum_path(path), f"{line}\n")


def renew_checksum(path: Path) -> None:
    """Write the checksum of a checkpoint anew, if the checkpoint is sound by the checksums that its archive has inside.

    Those find no byte that was changed in the archive's own tables, so they are no replacement; but where the file of
    the checksum was damaged itself, nothing else can tell.
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
    """Return the lines beside a checkpoint, each a checksum and a name; none if there is no such file.

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
