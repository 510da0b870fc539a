"""Data in the files of a folder: fetching missing files, reporting damaged files, tiny data sets."""

from __future__ import annotations

import errno
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np

from algoperf_lightning.data.damage import naming_damage
from algoperf_lightning.data.workload_data import (
    DataExistError,
    DataNotFoundError,
    WorkloadData,
    dead_link,
    describe_dead_link,
)
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import is_left_by_system, make_folder, write_atomic
from algoperf_lightning.rng import frozen_generator

TINY_MARKER, SMALL_MARKER = "TINY", "SMALL"
"""Names of the files that mark a data set as tiny or small and contain the checksums of its files."""


class FileData(WorkloadData, ABC):
    """Data in the files of one folder under the data directory. The ``files`` of the spec are required.

    Data modules of workloads define :meth:`open`, :meth:`fetch` and :meth:`write_tiny_files`.
    """

    folder_name: ClassVar[str]
    """Folder of the files, relative to the data directory."""

    tiny_seed_name: ClassVar[str] = ""
    """Name from which :meth:`write_tiny` derives its random numbers. Workloads that share a folder set it, so that they
    all write the same data. Empty means the name of the workload."""

    @property
    def folder(self) -> Path:
        """Folder of the files."""
        return self.data_dir / self.folder_name

    @property
    def is_tiny(self) -> bool:
        """Whether the data set was written by :meth:`write_tiny`."""
        return (self.folder / TINY_MARKER).exists()

    small_edition: ClassVar[int] = 1
    """Version of the data written by :meth:`write_small_files`. Incremented whenever they change."""

    @abstractmethod
    def fetch(self, missing: list[Path]) -> None:
        """Fetch the missing files: extract, download, convert.

        Existing files must be complete even if this method is killed: write to a temporary file and move it.

        Raises:
            DataNotFoundError: If the files cannot be fetched. The message explains how to obtain them manually.
        """

    @abstractmethod
    def write_tiny_files(self, random: np.random.RandomState) -> None:
        """Write a small, learnable data set in the real format to :attr:`folder` with :func:`write_atomic`."""

    def write_small_files(self) -> None:
        """Write the small-size data set to :attr:`folder`, as in :meth:`write_tiny_files`.

        The seed is fixed, so the data are the same for everyone.

        Raises:
            BadInputError: If the workload has no small size.
        """
        raise BadInputError(f"{self.spec.name} has no small data set.")

    @property
    def _written_by(self) -> str:
        """Action of ``algoperf data`` that creates these data."""
        if self.spec.size == "small":
            return "small"
        return "tiny" if self.is_tiny else "prepare"

    def prepare_data(self) -> None:
        """Fetch missing files. Does nothing if all files exist.

        Raises:
            DataNotFoundError: If files are still missing, because they could not be fetched.
        """
        with self.naming_files():
            self._prepare()

    def _prepare(self) -> None:
        missing = self.missing_files()
        if not missing:
            return
        for path in missing:  # avoids downloads into the mount point of an unmounted disk
            if link := dead_link(path, self.data_dir):
                raise DataNotFoundError(f"{self.spec.name}: {describe_dead_link(link)}")
        if self.spec.size == "small":
            self.require_files()
        if self.is_tiny:  # and incomplete: mixed with real files, it would be treated as tiny
            name = self.spec.name
            raise DataNotFoundError(
                f"{name}: {missing[0]} is missing from a tiny data set. Write it again with "
                f"`{self.command('tiny')}`, or delete the folder {self.folder} and download the real one with "
                f"`{self.command('prepare')}`."
            )
        make_folder(self.folder)
        self.fetch(missing)
        self.require_files()

    def write_tiny(self, seed: int = 0) -> None:
        """Write a small, learnable data set in the real on-disk format.

        Raises:
            DataExistError: If the folder contains files that are not a tiny data set.
        """
        random = frozen_generator(seed, "tiny", self.tiny_seed_name or self.spec.name)
        text = f"Written by `algoperf data tiny {self.spec.name}`. These are not the real data.\n"
        self._write_marked("tiny", TINY_MARKER, text, lambda: self.write_tiny_files(random))

    def write_small(self) -> None:
        """Write the small-size data set in the real on-disk format. Does nothing if it is complete.

        Raises:
            BadInputError: If the workload has no small size.
            DataExistError: If the folder contains files that are not a small data set.
        """
        text = (
            f"Edition {self.small_edition} of the small data, by `algoperf data small`. These are not the real data.\n"
        )
        if self.missing_files() or not self._marked_sums(SMALL_MARKER) or not self._marker_begins(text):
            self._write_marked("small", SMALL_MARKER, text, self.write_small_files)

    def _marker_begins(self, text: str) -> bool:
        return (self.folder / SMALL_MARKER).read_text("utf-8", "replace").startswith(text)

    def _write_marked(self, action: str, mark: str, text: str, write: Callable[[], None]) -> None:
        """Write a data set and its marker file, unless the folder contains other files."""
        there = self.folder.iterdir() if self.folder.is_dir() else ()
        marker = self.folder / mark
        if not marker.exists() and not all(is_left_by_system(path.name) for path in there):
            raise DataExistError(
                f"{self.spec.name}: {self.folder} contains files that are not a {action} data set, which are not "
                f"changed. Choose another directory: `algoperf data {action} {self.spec.name} --data-dir OTHER`."
            )
        if link := dead_link(self.folder, self.data_dir):
            raise DataNotFoundError(f"{self.spec.name}: {describe_dead_link(link)}")
        with self.naming_files():
            make_folder(self.folder)
            # Written first, so that partial data after a kill are marked.
            write_atomic(marker, text)
            write()
            files = sorted(path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
            # Hidden files are caches, which are recreated if they do not match.
            kept = [path for path in files if not (path.name == mark or "/." in f"/{path.as_posix()}")]
            write_atomic(marker, text + "".join(f"{_checksum(self.folder / path)} {path}\n" for path in kept))

    def _marked_sums(self, mark: str) -> dict[str, str]:
        """Return the checksums in a marker by file; empty if there is no marker or the data are incomplete."""
        marker = self.folder / mark
        lines = marker.read_text("utf-8", "replace").splitlines()[1:] if marker.exists() else []
        return {name: checksum for checksum, _, name in (line.partition(" ") for line in lines)}

    def verify(self) -> None:
        """Run all checks. For tiny and small data sets, also check that the files are unchanged.

        Raises:
            DataNotFoundError: If files are missing or damaged.
        """
        super().verify()
        mark = SMALL_MARKER if self.spec.size == "small" else TINY_MARKER
        with self.naming_files():
            for name, checksum in self._marked_sums(mark).items():
                path = self.folder / name
                if path.is_file() and (found := _checksum(path)) != checksum:
                    expected = f"the content that was written, with CRC-32 sum {checksum}"
                    raise self.damaged(path, expected, f"it has {found}")

    @contextmanager
    def naming_files(self) -> Iterator[None]:
        """Convert reader and system errors about files in the data directory to errors with instructions.

        Errors due to a full disk are handled by the code that writes.
        """
        try:
            with self.naming_damage():
                yield
        except BadInputError:
            raise
        except OSError as error:
            path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes, os.PathLike)) else None
            inside = path is not None and (path == self.data_dir or self.data_dir in path.parents)
            if path is None or not inside or error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DataNotFoundError(f"{self.spec.name}: {self._unusable(path, error)}") from error

    def _unusable(self, path: Path, error: OSError) -> str:
        """Describe the problem with a file that cannot be accessed, and its solution."""
        if error.errno == errno.EACCES:
            return f"{path} is not accessible ({error.strerror}). Change its permissions."
        if link := dead_link(path, self.data_dir):
            return describe_dead_link(link)
        found = {
            errno.EISDIR: "is a folder where a file was expected",
            errno.ENOTDIR: "has a file in its path where a folder was expected",
        }.get(error.errno or 0, f"cannot be used ({error.strerror})")
        command = self.command(self._written_by)
        return f"{path} {found}. Move it away, then run `{command}`."

    def naming_damage(self) -> AbstractContextManager[None]:
        """Return a context that converts a :class:`~.damage.DamagedError` to the error of :meth:`damaged`."""
        return naming_damage(self.damaged)

    def damaged(self, path: Path, expected: str, found: str) -> DataNotFoundError:
        """Return the error for a file that exists but has unexpected content."""
        found = " ".join(found.split())  # messages of libraries may have several lines
        return DataNotFoundError(
            f"{self.spec.name}: {path} is damaged: expected {expected}, but {found}. Delete this file, then run "
            f"`{self.command(self._written_by)}`."
        )

    def unavailable(self, path: Path, error: Exception, by_hand: str) -> DataNotFoundError:
        """Return the error for a file that could not be fetched; ``by_hand`` explains how to copy it manually."""
        return DataNotFoundError(
            f"{self.spec.name}: {path} is missing and could not be downloaded ({error}). With internet access, run "
            f"`{self.command('prepare')}`; without, {by_hand} and run the same command. To try the code on a tiny "
            f"data set: `{self.command('tiny')}`."
        )


def _checksum(path: Path) -> str:
    """Return the CRC-32 checksum of a small file."""
    return f"{zlib.crc32(path.read_bytes()):08x}"
