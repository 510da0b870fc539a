"""Data of fastmri: the official HDF5 volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError, DataNotFoundError, unpack
from algoperf_lightning.data.examples import Examples
from algoperf_lightning.data.file_data import FileData
from algoperf_lightning.files import write_atomic
from algoperf_lightning.rng import derive_seed, frozen_generator
from algoperf_lightning.utilities.progress import Advance, progress

from .batches import Slices
from .phantoms import SLICES, SMALL, TINY, Scan, volume_bytes
from .reading import SliceReader, Volume, is_volume, read_header, read_index, volume_paths
from .spec import FASTMRI, FOLDER, TRAIN_FOLDER, VALIDATION_FOLDER

VOLUMES = {TRAIN_FOLDER: 973, VALIDATION_FOLDER: 199}
"""Files of the official data set. Its test files have no targets and are not used."""

TINY_VOLUMES = {TRAIN_FOLDER: 24, VALIDATION_FOLDER: 8}
"""Files of a tiny data set."""

SMALL_VOLUMES = {TRAIN_FOLDER: 300, VALIDATION_FOLDER: 66}
"""Files of the small data set."""

SIDE = 320
"""Rows and columns of the official targets."""


class FastMRIData(FileData):
    """973 + 199 volumes of single-coil knee scans with about 36 slices each, in HDF5 files.

    Splits: ``train`` is all slices of the training files. Of the validation files, sorted by name, the first 100 are
    ``validation``, the other 99 ``test``. ``eval_train`` is 3,584 slices of ``train``, chosen once by the trial's seed.

    Masks: all slices of ``validation`` and ``test`` of one width have the same mask. Each slice of ``train`` has its
    own mask, which depends on the trial's seed and is the same in every pass; in ``eval_train`` it has another one.

    Undersampling and normalisation are done by the reading processes (see ``docs/workloads/fastmri.md`` for the
    reason).

    Source: F. Knoll et al., fastMRI: A Publicly Available Raw k-Space and DICOM Dataset of Knee Images, 2020,
    https://doi.org/10.1148/ryai.2020190007.
    """

    workers = 2

    folder_name: ClassVar[str] = FOLDER
    small_edition: ClassVar[int] = 2

    def open(self, split: str) -> Examples:
        """Return one split.

        Raises:
            DataNotFoundError: If volumes are missing, or the header of one is wrong.
        """
        self.require_files()
        if split in ("train", "eval_train"):
            slices = self._reader(TRAIN_FOLDER, self._train)
            rows = np.arange(len(slices))
            if split == "eval_train":
                count = self.spec.splits["eval_train"] if self.spec.size == "small" else None
                rows = evaluated_rows(len(slices), self.seed, count)
            return Slices(slices, rows, derive_seed(self.seed, "masks", split), self.damaged)
        half = -(-len(self._validation) // 2)  # 100 of 199
        if self.spec.size == "small":
            half = self.spec.splits["validation"] // SLICES
        volumes = self._validation[:half] if split == "validation" else self._validation[half:]
        slices = self._reader(VALIDATION_FOLDER, volumes)
        return Slices(slices, np.arange(len(slices)), None, self.damaged)

    # Read once: the splits share them.
    @cached_property
    def _train(self) -> list[Volume]:
        return self._index(TRAIN_FOLDER)

    @cached_property
    def _validation(self) -> list[Volume]:
        return self._index(VALIDATION_FOLDER)

    def _reader(self, name: str, volumes: Sequence[Volume]) -> SliceReader:
        return SliceReader(self.folder / name, volumes)

    def _index(self, name: str) -> list[Volume]:
        folder = self.folder / name
        with self.naming_damage():
            volumes = read_index(folder, self.folder / f"{name}.index.json")
        shape = volumes[0].target[1:] if self.is_tiny or self.spec.size else (SIDE, SIDE)
        for volume in volumes:
            if volume.target[1:] != shape:
                raise self.damaged(folder / volume.name, f"targets of {shape} pixels", f"they are {volume.target[1:]}")
        slices = sum(volume.slices for volume in volumes)
        splits = ("train",) if name == TRAIN_FOLDER else ("validation", "test")
        sizes = self.spec.splits if self.spec.size == "small" else FASTMRI.splits
        expected = sum(sizes[split] for split in splits)
        if not self.is_tiny and slices != expected:
            raise DataNotFoundError(
                f"fastmri: the volumes in {folder} have {slices:,} slices, but expected {expected:,}: they are not the "
                f"official ones. Move the folder away, then run `{self.command('prepare')}`."
            )
        return volumes

    def check(self) -> None:
        """Do the checks at the start of a run, then read all slices of all volumes.

        Raises:
            DataNotFoundError: If files are missing, or one is damaged.
        """
        super().check()
        volumes = [(name, volume) for name, index in self._indexes() for volume in index]
        with progress("fastmri: checking slices", sum(volume.slices for _, volume in volumes)) as advance:
            for name, volume in volumes:
                with self.naming_damage():
                    self._check_volume(name, volume, advance)

    def _check_volume(self, name: str, volume: Volume, advance: Advance) -> None:
        path = self.folder / name / volume.name
        if read_header(path) != volume:
            raise DamagedError(path, "the header that was indexed", "it changed while it was read")
        reader = self._reader(name, [volume])
        for number in range(volume.slices):
            kspace, target = reader.read(volume, number)
            if not (np.isfinite(kspace).all() and np.isfinite(target).all() and kspace.any()):
                raise DamagedError(path, "finite values, not all 0", f"slice {number} has others")
            advance()

    def _indexes(self) -> list[tuple[str, list[Volume]]]:
        return [(TRAIN_FOLDER, self._train), (VALIDATION_FOLDER, self._validation)]

    def missing_files(self) -> list[Path]:
        """Return the missing or incomplete folders."""
        return [self.folder / name for name, found, expected in self._counts() if found < expected]

    def _counts(self) -> list[tuple[str, int, int]]:
        expected = TINY_VOLUMES if self.is_tiny else VOLUMES
        if self.spec.size == "small":
            expected = SMALL_VOLUMES
        return [(name, len(volume_paths(self.folder / name)), count) for name, count in expected.items()]

    def require_files(self) -> None:
        """Raise unless both folders contain the expected number of volumes.

        Raises:
            DataNotFoundError: Naming the folder, and the command that completes it.
        """
        for name, found, expected in self._counts():
            if found == expected:
                continue
            repair = (
                "Move away those that are not part of the data set."
                if found > expected
                else f"Write them again with `{self.command(self._written_by)}`."
                if self._written_by != "prepare"
                else f"Get the others with `{self.command('prepare')}`, or try the code on a tiny data set: "
                f"`{self.command('tiny')}`."
            )
            raise DataNotFoundError(
                f"fastmri: {self.folder / name} contains {found:,} volumes (*.h5), but expected {expected:,}. {repair}"
            )

    def prepare_data(self) -> None:
        """Unpack the archives if volumes are missing, and index the volumes.

        Raises:
            DataNotFoundError: If both volumes and archives are missing, or if something is damaged.
        """
        with self.naming_files():
            super().prepare_data()
            self._indexes()

    def fetch(self, missing: list[Path]) -> None:
        """Use folders that were unpacked by hand, or unpack the official archives; they cannot be downloaded."""
        for folder in missing:
            places = (self.folder, self.data_dir)
            by_hand = (place / folder.name.removeprefix("knee_") for place in places)
            whole = [path for path in by_hand if len(volume_paths(path)) == VOLUMES[folder.name]]
            archives = (place / name for place in places for name in archive_names(folder.name))
            if whole and not folder.exists():
                whole[0].replace(folder)
            elif archive := next(filter(Path.exists, archives), None):
                self._unpack(archive, folder)
            else:
                raise self._not_fetched(folder)

    def _unpack(self, archive: Path, folder: Path) -> None:
        def place(name: str) -> Path | None:  # folders in the archive do not matter
            path = folder / PurePosixPath(name).name
            return path if is_volume(path) else None

        folder.mkdir(parents=True, exist_ok=True)
        try:
            unpack(archive, place)
        except (OSError, DamagedError) as error:
            reason = error.found if isinstance(error, DamagedError) else error
            raise DataNotFoundError(
                f"fastmri: {archive} could not be unpacked: {reason}. Complete volumes in {folder} are kept. If "
                f"the archive is damaged, download it again from https://fastmri.med.nyu.edu; then run "
                f"`{self.command('prepare')}`."
            ) from error

    def _not_fetched(self, folder: Path) -> DataNotFoundError:
        archives = " and ".join(archive_names(name)[0] for name in VOLUMES)
        return DataNotFoundError(
            f"fastmri: {folder} is incomplete, and the licence of the data forbids automatic download. Request "
            f"access at https://fastmri.med.nyu.edu (links come by e-mail), download {archives} (not the test "
            f"archive: it has no targets), put both into {self.folder}, and run `{self.command('prepare')}`, which "
            f"unpacks them. To try the code on a tiny data set: `{self.command('tiny')}`."
        )

    def write_tiny_files(self, random: np.random.RandomState) -> None:
        """Write synthetic volumes of ellipsoids, 8 slices of 64 x 64 pixels each."""
        self._write_volumes(TINY_VOLUMES, random, TINY)

    def write_small_files(self) -> None:
        """Write synthetic volumes of ellipsoids with texture, 8 slices of 24 x 24 pixels each."""
        self._write_volumes(SMALL_VOLUMES, frozen_generator(0, "small", self.spec.name), SMALL)

    def _write_volumes(self, counts: Mapping[str, int], random: np.random.RandomState, scan: Scan) -> None:
        for name, count in counts.items():
            folder = self.folder / name
            folder.mkdir(exist_ok=True)
            for number in range(count):
                write_atomic(folder / f"file{number + 1:07}.h5", volume_bytes(random, f"made up {number + 1}", scan))


def archive_names(folder: str) -> tuple[str, ...]:
    """Return the possible names of an archive: the current published name, and the previous one."""
    older = folder.removeprefix("knee_")
    return tuple(f"{name}{ending}" for ending in (".tar.xz", ".tar.gz") for name in (folder, older))


def evaluated_rows(slices: int, seed: int, count: int | None = None) -> NDArray[np.int64]:
    """Return which training slices are ``eval_train``: ``count``, else 3,584 of 34,742, sorted, int64 ``(N,)``."""
    if count is None:
        count = max(1, slices * FASTMRI.splits["eval_train"] // FASTMRI.splits["train"])
    shuffled = frozen_generator(seed, "eval_train").permutation(slices)
    return np.sort(shuffled[:count]).astype(np.int64)
