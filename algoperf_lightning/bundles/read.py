"""Reading a run bundle: its list of members, checked before anything is used, and safe unpacking.

A bundle is a ``.tar.xz`` archive. Its first member, ``bundle.json``, lists all others with their SHA-256:

- ``runs/...``: ``trial.json``, ``evaluations.csv`` and other records of each trial, in their original folders, and the
  ``plan.json`` of a planned study;
- ``source/...``: source files of submissions and workloads that are not part of this library.

No code of a bundle runs when it is read.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.records.checks import RecordError, check_fields, check_format

ENDING = ".tar.xz"
MANIFEST_FILE = "bundle.json"
RUNS, SOURCE = "runs", "source"
FORMAT = 1
"""Version of the bundle's format."""

_DAMAGED = (tarfile.TarError, lzma.LZMAError, EOFError, OSError)


@dataclass(frozen=True)
class Manifest:
    """The list of members of a bundle."""

    made: str
    """Time, and version of this library."""
    members: Mapping[str, str]
    """SHA-256 of each other member, by name."""

    @property
    def trials(self) -> list[str]:
        """Folders of trials in the bundle, from ``runs`` on."""
        return [name.rpartition("/")[0] for name in self.members if name.endswith("/trial.json")]


def read_manifest(path: Path) -> Manifest | None:
    """Return a bundle's list of members; None if a readable archive does not start with one.

    Raises:
        BadInputError: If it is not a ``.tar.xz`` archive, is damaged, or its list is invalid or has a newer format.
    """
    try:
        with tarfile.open(path, "r|xz") as archive:
            first = archive.next()
            file = archive.extractfile(first) if first is not None and first.name == MANIFEST_FILE else None
            content = None if file is None else file.read()
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    if content is None:
        return None
    where = f"{path}/{MANIFEST_FILE}"
    try:
        record = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{where} is not JSON: {error}. Get the bundle again from its source.") from error
    try:
        check_fields(record, {"made": str, "members": dict[str, str]}, ("format", "made", "members"), where)
        check_format(record, FORMAT, where)
    except RecordError as error:
        raise BadInputError(str(error)) from error
    return Manifest(record["made"], record["members"])


def unpack(path: Path, folder: Path) -> Manifest:
    """Unpack a bundle into a folder, and check every member.

    Links, absolute paths, paths out of the folder and members that are not in the list are refused.

    Raises:
        BadInputError: If it is not a bundle, is damaged, or a member is missing, unknown or changed.
    """
    manifest = read_manifest(path)
    if manifest is None:
        raise BadInputError(
            f"{path} is not a run bundle: its first member must be {MANIFEST_FILE}. `algoperf pack RUNS "
            f"--output NAME{ENDING}` creates one."
        )
    found = set()
    try:
        with tarfile.open(path, "r|xz") as archive:
            for member in archive:
                if member.name == MANIFEST_FILE:
                    continue
                _check_listed(member, manifest, path)
                archive.extract(member, folder, filter="data")
                found.add(member.name)
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    if missing := sorted(set(manifest.members) - found):
        raise BadInputError(f"{path} does not contain {missing[0]}, which {MANIFEST_FILE} lists. {_REMEDY}")
    for name, checksum in manifest.members.items():
        if checksum_of(folder / name) != checksum:
            raise BadInputError(f"{path}: {name} has changed since it was packed: its SHA-256 differs. {_REMEDY}")
    return manifest


def _check_listed(member: tarfile.TarInfo, manifest: Manifest, path: Path) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise BadInputError(
            f"{path}: {member.name} points outside of the folder into which a bundle is unpacked. {_REMEDY}"
        )
    if not member.isfile() or member.name not in manifest.members:
        kind = "a file that" if member.isfile() else "not a regular file, or is one that"
        raise BadInputError(f"{path}: {member.name} is {kind} {MANIFEST_FILE} does not list. {_REMEDY}")


def checksum_of(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


_REMEDY = "Get the bundle again from its source. Nothing in it was executed."


def _damaged(path: Path, error: Exception) -> BadInputError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return BadInputError(f"{path} is not a run bundle ({ENDING}), or is damaged: {reason}. {_REMEDY}")
