"""Data of the workloads on ImageNet: photographs in class folders."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from algoperf_lightning.data import DataNotFoundError
from algoperf_lightning.data.examples import Batch, Examples
from algoperf_lightning.data.file_data import FileData
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.rng import derive_seed, frozen_generator
from algoperf_lightning.utilities.progress import progress

from .archives import ARCHIVES, Archive, unpack
from .batches import AN_IMAGE, EvaluationImages, TestImages, TrainingImages, eval_train_rows
from .encoded import Decoder, EncodedImages, decoded_ahead
from .index import Index, index_images, is_hidden
from .reading import verify
from .small import write_small_images
from .spec import (
    CLASSES,
    FOLDER,
    IMAGES,
    SMALL_CLASSES,
    SMALL_IMAGES,
    TEST_FOLDER,
    TRAIN_FOLDER,
    VALIDATION_FOLDER,
)
from .tiny import TINY_CLASSES, TINY_IMAGES, write_tiny_images

_CHUNK = 256
"""Number of images that are verified at a time."""


class ImageNetData(FileData):
    """1,281,167 photographs to train on, 50,000 for validation, and the 10,000 of ImageNet-v2 to test on.

    The images are in class folders: ``train/<wnid>/*.JPEG``, ``val/<wnid>/*.JPEG``, and
    ``imagenetv2-matched-frequency-format-val/<label>/*.jpeg``. A class's label is its position among the sorted WordNet
    ids. Missing folders are unpacked from the official archives, if these are in the data directory.

    ``train`` is augmented: a random crop of each image, mirrored with probability 1/2, and RandAugment if ``spec.data``
    selects it. ``eval_train`` is a subset of the training images, drawn once by the trial's seed and not augmented.
    Images are transferred as bytes (those of ``test`` as float32) and normalised on the model's device.

    Source: O. Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, 2015,
    https://arxiv.org/abs/1409.0575; B. Recht et al., Do ImageNet Classifiers Generalize to ImageNet?, 2019,
    https://arxiv.org/abs/1902.10811.
    """

    # Four as in the benchmark's own code, but at most one per core.
    workers = min(4, os.cpu_count() or 1)

    folder_name: ClassVar[str] = FOLDER
    tiny_seed_name: ClassVar[str] = "imagenet_vit"
    small_edition: ClassVar[int] = 2

    decode_on_device: bool = False
    """Whether training images are decoded on :attr:`device` instead of in the reading processes."""
    device: torch.device = torch.device("cpu")
    """The device of the model."""

    def open(self, split: str) -> Examples:
        """Return one split.

        Raises:
            DataNotFoundError: If a class folder or an image is missing, or there are too many.
            BadInputError: If the data are the real ones and the workload has its tiny size.
        """
        self.require_files()
        index = self._index({"validation": VALIDATION_FOLDER, "test": TEST_FOLDER}.get(split, TRAIN_FOLDER))
        size = self.spec.data["image_size"]
        if split == "test":
            return TestImages(index, size, self.damaged)
        if split == "validation":
            return EvaluationImages(index, size, self.damaged)
        if split == "eval_train":
            seed = derive_seed(self.seed, "eval_train")
            rows = eval_train_rows(len(index), self.spec.splits["eval_train"], seed)
            return EvaluationImages(index, size, self.damaged, rows)
        if self.decode_on_device:
            return EncodedImages(index, size, self.damaged)
        if not self.spec.data["rand_augment"]:
            return TrainingImages(index, size, self.damaged)
        from .rand_augment import NUMBERS, rand_augment

        return TrainingImages(index, size, self.damaged, rand_augment, NUMBERS)

    def finish(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Return training batches from those of the reading processes, decoded if this is done on the device."""
        if not self.decode_on_device:
            return batches
        index = self._index(TRAIN_FOLDER)
        return decoded_ahead(batches, Decoder(index, self.spec.data["image_size"], self.device, self.damaged))

    def settings(self) -> dict[str, Any]:
        """Return the device on which training images are decoded."""
        return {"decode_on_device": self.decode_on_device}

    @property
    def _counts(self) -> tuple[int, dict[str, int]]:
        """Number of classes, and of images in each folder."""
        if self.spec.size == "small":
            return SMALL_CLASSES, SMALL_IMAGES
        return (TINY_CLASSES, TINY_IMAGES) if self.is_tiny else (CLASSES, IMAGES)

    def _index(self, name: str) -> Index:
        """List the images of a folder, and check their number."""
        folder = self.data_dir / name
        classes, images = self._counts
        if classes > self.spec.data["classes"]:
            raise BadInputError(
                f"{self.spec.full_name} is for tiny data, and {self.folder} contains the real ones. Leave out tiny, or "
                f"choose another directory: `algoperf data tiny {self.spec.name} --data-dir OTHER`."
            )
        index = index_images(folder, self.folder / ".index" / f"{folder.name}.npz")
        expected = f"{images[name]:,} images in {classes:,} class folders"
        if len(index.classes) != classes:
            raise self.damaged(folder, expected, f"it has {len(index.classes):,} class folders{self._lacking(index)}")
        if name == TEST_FOLDER and index.classes != tuple(str(label) for label in range(classes)):
            raise self.damaged(folder, f"class folders 0 to {classes - 1}", "they have other names")
        if name == VALIDATION_FOLDER and (lacking := self._lacking(index)):
            raise self.damaged(folder, "the class folders of train", f"they differ{lacking}")
        share = images[name] // classes
        wrong = index.counts == 0 if name == TRAIN_FOLDER else index.counts != share
        if wrong.any():  # training images are spread unevenly
            label = int(wrong.argmax())
            wanted = "images" if name == TRAIN_FOLDER else f"{share} images"
            raise self.damaged(folder / index.classes[label], wanted, f"it has {index.counts[label]}")
        if len(index) != images[name]:
            raise self.damaged(folder, expected, f"it has {len(index):,} images")
        return index

    def _lacking(self, index: Index) -> str:
        """Describe how the class folders of a folder differ from those of its counterpart (train or val)."""
        twin = {"train": VALIDATION_FOLDER, "val": TRAIN_FOLDER}.get(index.folder.name)
        if twin is None or not (folder := self.data_dir / twin).is_dir():
            return ""
        there = {entry.name for entry in os.scandir(folder) if entry.is_dir() and not is_hidden(entry.name)}
        lacking, besides = sorted(there - set(index.classes)), sorted(set(index.classes) - there)
        words = [("does not have", lacking), ("additionally has", besides)]
        return "".join(
            f"; compared with {folder.name}, it {verb} {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
            for verb, names in words
            if names
        )

    def prepare_data(self) -> None:
        """Unpack missing folders, and list their images once for all processes."""
        with self.naming_files():
            super().prepare_data()
            for name in self.spec.files:
                self._index(name)

    def fetch(self, missing: list[Path]) -> None:
        """Unpack the official archives, which the user must provide: their licence requires registration."""
        names = [f"{FOLDER}/{path.name}" for path in missing]
        wanted = [archive for name in names for archive in ARCHIVES[name]]
        found = {archive: path for archive in wanted if (path := self._find(archive)) is not None}
        if absent := [f"{archive.name} ({archive.source})" for archive in wanted if archive not in found]:
            raise DataNotFoundError(
                f"{self.spec.name}: {missing[0]} is missing, and ImageNet's licence forbids automatic download. "
                f"Download these files (register at https://image-net.org/download-images) into {self.data_dir}: "
                f"{'; '.join(absent)}. Then run `{self.command('prepare')}`. Or put unpacked folders there: "
                f"{', '.join(f'{path}/{_CLASS_FOLDERS[path.name]}' for path in missing)}. "
                f"To try the code on a tiny data set: `{self.command('tiny')}`."
            )
        for name, path in zip(names, missing, strict=True):
            unpack(name, path, {archive: found[archive] for archive in ARCHIVES[name]})

    def _find(self, archive: Archive) -> Path | None:
        places = (self.data_dir / archive.name, self.folder / archive.name)
        return next((path for path in places if path.exists()), None)

    def write_tiny_files(self, random: np.random.RandomState) -> None:
        """Write photographs of ten synthetic, learnable fabrics."""
        write_tiny_images(self.data_dir, random)

    def write_small_files(self) -> None:
        """Write composed images of real digits."""
        write_small_images(self.data_dir, frozen_generator(0, "small", self.tiny_seed_name))

    def check(self) -> None:
        """Read every image completely.

        Raises:
            DataNotFoundError: If a folder is incomplete or images are damaged; the message names them.
        """
        super().check()
        for name in self.spec.files:
            if bad := self._unreadable(self._index(name)):
                (path, error), *others = bad
                more = f"; the same with {', '.join(other for other, _ in others)}" if others else ""
                raise self.damaged(Path(path), AN_IMAGE, f"reading failed ({error}){more}")

    def _unreadable(self, index: Index) -> list[tuple[str, str]]:
        """Return the images that cannot be read, each with the reason."""
        labels, found = index.labels, []

        def read(rows: NDArray[np.int64]) -> int:
            for row in rows.tolist():
                path = index.path(row, labels[row])
                try:
                    verify(np.fromfile(path, np.uint8))
                except OSError as error:
                    found.append((path, str(error)))
            return len(rows)

        chunks = np.array_split(np.arange(len(index)), -(-len(index) // _CHUNK))
        with (
            warnings.catch_warnings(action="ignore"),
            ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool,
            progress(f"{self.spec.name}: reading all of {index.folder.name}", len(index)) as advance,
        ):
            for done in pool.map(read, chunks):
                advance(done)
        return sorted(found)

    def damaged(self, path: Path, expected: str, found: str) -> DataNotFoundError:
        """Return the error for a damaged file or folder."""
        if self.is_tiny or self.spec.size == "small":
            return super().damaged(path, expected, found)
        split = self.folder / path.relative_to(self.folder).parts[0]
        return DataNotFoundError(
            f"{self.spec.name}: {path} is damaged: expected {expected}, but {found}. Copy it again from its "
            f"source, or delete {split} and unpack it again with `{self.command('prepare')}`."
        )


_CLASS_FOLDERS = {
    "train": "<wnid>/*.JPEG",
    "val": "<wnid>/*.JPEG",
    Path(TEST_FOLDER).name: "<label>/*.jpeg",
}
