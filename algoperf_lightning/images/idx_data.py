"""Data sets in the four-file format of MNIST: MNIST itself and its drop-in replacements."""

from __future__ import annotations

import hashlib
import tempfile
from abc import ABC
from collections.abc import Mapping
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from algoperf_lightning.data.archives import ARCHIVE_ERRORS, read_gzip
from algoperf_lightning.data.file_data import FileData
from algoperf_lightning.files import write_atomic

from .idx import read_part, to_idx


class IdxData(FileData, ABC):
    """70,000 images of 28 x 28 pixels in ten classes, in the four files used by torchvision.

    Missing files are downloaded with torchvision or extracted from the official ``.gz`` files in the same folder.
    Subclasses define :meth:`open`.
    """

    counts: ClassVar[Mapping[str, int]] = {"train": 60_000, "t10k": 10_000}
    """Number of images in each part of the official data set."""
    tiny_counts: ClassVar[Mapping[str, int]] = {"train": 1_200, "t10k": 200}
    """Number of images in each part of a tiny data set."""
    md5: ClassVar[Mapping[str, str]] = {}
    """MD5 checksums of the extracted official files. If unknown, torchvision's checksums of the archives are used."""

    @property
    def official(self) -> Any:
        """Class of this data set in torchvision. It has the name of the folder."""
        from torchvision import datasets

        return getattr(datasets, self.folder_name.partition("/")[0])

    # Cached, because three splits share the training files.
    @cached_property
    def train_part(self) -> tuple[Tensor, Tensor]:
        """Images uint8 ``(N, 28, 28)`` and labels int64 ``(N,)`` of the training files."""
        return self._read("train")

    @cached_property
    def test_part(self) -> tuple[Tensor, Tensor]:
        """Images and labels of the test files."""
        return self._read("t10k")

    def _read(self, part: str) -> tuple[Tensor, Tensor]:
        self.require_files()
        with self.naming_damage():
            return read_part(self.folder, part, None if self.is_tiny else self.counts[part])

    def check(self) -> None:
        """Open every split, and verify the official checksums where they are known.

        Raises:
            DataNotFoundError: If files are missing, or are neither the official ones nor those of a tiny data set.
        """
        super().check()
        if self.is_tiny:
            return
        for name, expected in self.md5.items():
            path = self.folder / name
            if (found := _md5(path.read_bytes())) != expected:
                raise self.damaged(path, f"the official file, with MD5 sum {expected}", f"it has {found}")

    def fetch(self, missing: list[Path]) -> None:
        """Extract the official ``.gz`` files in the same folder, and download missing ones."""
        for path in missing:
            archive = path.with_name(f"{path.name}.gz")
            if archive.exists():
                self._check_packed(archive)
                with self.naming_damage():
                    write_atomic(path, read_gzip(archive))
        if missing := self.missing_files():
            self._download(missing)

    def _check_packed(self, archive: Path) -> None:
        if archive.stem in self.md5:  # the extracted file has its own checksum
            return
        expected = dict(self.official.resources)[archive.name]
        if (found := _md5(archive.read_bytes())) != expected:
            raise self.damaged(archive, f"the official file, with MD5 sum {expected}", f"it has {found}")

    def _download(self, missing: list[Path]) -> None:
        try:
            with tempfile.TemporaryDirectory(dir=self.data_dir) as scratch:
                self.official(scratch, download=True)
                for path in missing:
                    Path(scratch, self.folder_name, path.name).replace(path)
        except (OSError, RuntimeError, HTTPException, *ARCHIVE_ERRORS) as error:
            archives = ", ".join(f"{Path(name).name}.gz" for name in self.spec.files)
            raise self.unavailable(missing[0], error, f"copy the official files {archives} to {self.folder}") from error

    def write_tiny_files(self, random: np.random.RandomState) -> None:
        """Write 1,200 training and 200 test images of ten synthetic, learnable symbols.

        Each image is the pattern of its class, shifted by up to two pixels, dimmed, and with added noise.
        """
        patterns = np.kron(random.rand(10, 7, 7) > 0.65, np.ones((4, 4)))
        for part, count in self.tiny_counts.items():
            labels = random.permutation(np.arange(count) % 10)
            images = np.empty((count, 28, 28))
            for image, label in zip(images, labels, strict=True):
                image[:] = np.roll(patterns[label], random.randint(-2, 3, 2), (0, 1)) * random.uniform(0.5, 1)
            images = images * 255 + random.normal(0, 40, images.shape)
            write_atomic(self.folder / f"{part}-images-idx3-ubyte", to_idx(images.clip(0, 255).astype(np.uint8)))
            write_atomic(self.folder / f"{part}-labels-idx1-ubyte", to_idx(labels.astype(np.uint8)))


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
