"""Data sets in the pickle format of CIFAR."""

from __future__ import annotations

import pickle
import tempfile
from abc import ABC
from collections.abc import Mapping
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data.archives import ARCHIVE_ERRORS
from algoperf_lightning.data.file_data import FileData
from algoperf_lightning.files import write_atomic

from .pickles import read_file


class PickledData(FileData, ABC):
    """RGB photographs of 32 x 32 pixels, stored in memory as bytes.

    Missing files are extracted from the official archive in the data directory. torchvision downloads the archive if it
    is missing. Subclasses define :meth:`open`.
    """

    torchvision_name: ClassVar[str]
    """Name of the class of this data set in torchvision."""
    labels: ClassVar[str] = "labels"
    """Key of the labels in a file."""
    classes: ClassVar[int] = 10
    counts: ClassVar[Mapping[str, int]]
    """Number of images in each official file, with the test file last."""
    tiny_counts: ClassVar[Mapping[str, int]]
    """Number of images in each file of a tiny data set."""
    label_names: ClassVar[tuple[str, ...]]

    @property
    def official(self) -> Any:
        """Class of this data set in torchvision."""
        from torchvision import datasets

        return getattr(datasets, self.torchvision_name)

    # Cached, because three splits share the training files. Contiguous splits also share memory.
    @cached_property
    def train_part(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Images uint8 ``(N, 3, 32, 32)`` and labels int64 ``(N,)`` of the concatenated training files."""
        return self._read(list(self.counts)[:-1])

    @cached_property
    def test_part(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Images and labels of the test file."""
        return self._read(list(self.counts)[-1:])

    @property
    def file_sizes(self) -> dict[str, int]:
        """Number of images in each file, with the test file last."""
        return dict(self.tiny_counts if self.is_tiny else self.counts)

    def _read(self, names: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        self.require_files()
        sums = None if self.is_tiny else dict([*self.official.train_list, *self.official.test_list])
        with self.naming_damage():
            parts = (
                read_file(self.folder / name, self.file_sizes[name], sums, labels=self.labels, classes=self.classes)
                for name in names
            )
            images, targets = zip(*parts, strict=True)
        return np.concatenate(images), np.concatenate(targets)

    def fetch(self, missing: list[Path]) -> None:
        """Extract the official archive, and download it first if it is missing."""
        from torchvision.datasets.utils import download_and_extract_archive

        official = self.official
        archive = self.data_dir / official.filename
        try:
            with tempfile.TemporaryDirectory(dir=self.data_dir) as scratch:
                source = self.data_dir if archive.exists() else Path(scratch)
                download_and_extract_archive(official.url, source, scratch, official.filename, official.tgz_md5)
                for path in (*missing, self.folder / official.meta["filename"]):
                    Path(scratch, self.folder_name, path.name).replace(path)
        except (OSError, RuntimeError, HTTPException, *ARCHIVE_ERRORS) as error:
            by_hand = f"copy the official archive to {archive} (MD5 sum {official.tgz_md5})"
            raise self.unavailable(missing[0], error, by_hand) from error

    def write_tiny_files(self, random: np.random.RandomState) -> None:
        """Write a few hundred images of synthetic, learnable scenes.

        Each image is the coloured pattern of its class, shifted by up to four pixels, with changed lighting and added
        noise.
        """
        patterns = np.kron(random.uniform(0, 200, (self.classes, 3, 4, 4)), np.ones((8, 8)))
        for number, (name, count) in enumerate(self.tiny_counts.items(), start=1):
            labels = random.permutation(np.arange(count) % self.classes)
            images = np.empty((count, 3, 32, 32))
            for image, label in zip(images, labels, strict=True):
                image[:] = np.roll(patterns[label], random.randint(-4, 5, 2), (1, 2)) + random.uniform(0, 55)
            images += random.normal(0, 30, images.shape)
            entry = {
                "batch_label": f"tiny {name}",
                self.labels: labels.tolist(),
                "data": images.clip(0, 255).astype(np.uint8).reshape(count, -1),
                "filenames": [f"tiny_{number}_{row:04}.png" for row in range(count)],
            }
            write_atomic(self.folder / name, pickle.dumps(entry, protocol=4))
        meta = self.official.meta
        names = {"num_cases_per_batch": count, meta["key"]: list(self.label_names), "num_vis": 3 * 32 * 32}
        write_atomic(self.folder / meta["filename"], pickle.dumps(names, protocol=4))
