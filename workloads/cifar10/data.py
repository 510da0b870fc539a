"""Data of cifar10: the official pickled batches, where torchvision keeps them."""

from __future__ import annotations

import pickle
import tempfile
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import ARCHIVE_ERRORS
from algoperf_lightning.data.examples import Examples
from algoperf_lightning.data.file_data import FileData
from algoperf_lightning.files import write_atomic
from algoperf_lightning.rng import frozen_generator

from .batches import AugmentedImages, NormalisedImages
from .reading import read_file
from .spec import FOLDER, TEST_FILES, TRAIN_FILES

IMAGES_PER_FILE = 10_000
"""Images in each file of the official data set."""

TINY_IMAGES_PER_FILE = 100
"""Images in each file of a tiny data set."""

LABEL_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Cifar10Data(FileData):
    """60,000 photographs of 32 x 32 pixels in red, green and blue, held in memory as bytes.

    Splits, by row of the five training files one after the other: the first 45,000 images are ``train``, the last 5,000
    ``validation``; ``test`` is the 10,000 images of the test file. ``eval_train`` is 5,120 examples of ``train``,
    chosen once by the trial's seed and not augmented.

    Missing files are unpacked from ``cifar-10-python.tar.gz`` in the data directory; torchvision downloads that archive
    if it is missing.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
    https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf.
    """

    # Reading a batch of 128 takes a fraction of a millisecond, less than handing it from one process to another.
    folder_name: ClassVar[str] = FOLDER

    def open(self, split: str) -> Examples:
        """Return one split; ``train`` is augmented.

        Raises:
            DataNotFoundError: If a file is missing, or is not the official one (by its MD5 sum) nor a tiny data set's.
        """
        self.require_files()
        if split == "test":
            return NormalisedImages(*self._test)
        images, targets = self._train
        rows = split_rows(split, len(targets), self.seed)
        return (AugmentedImages if split == "train" else NormalisedImages)(images[rows], targets[rows])

    # Read once: three splits share the training files, and the two that are contiguous then share their memory.
    @cached_property
    def _train(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        return self._read(TRAIN_FILES)

    @cached_property
    def _test(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        return self._read(TEST_FILES)

    def _read(self, names: tuple[str, ...]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        count = TINY_IMAGES_PER_FILE if self.is_tiny else IMAGES_PER_FILE
        with self.naming_damage():
            images, targets = zip(
                *(read_file(self.folder / name, count, official=not self.is_tiny) for name in names), strict=True
            )
        return np.concatenate(images), np.concatenate(targets)

    def fetch(self, missing: list[Path]) -> None:
        """Unpack the official archive; download it first if it is missing."""
        from torchvision.datasets import cifar
        from torchvision.datasets.utils import download_and_extract_archive

        official = cifar.CIFAR10
        archive = self.data_dir / official.filename
        try:
            with tempfile.TemporaryDirectory(dir=self.data_dir) as scratch:
                source = self.data_dir if archive.exists() else Path(scratch)
                download_and_extract_archive(official.url, source, scratch, official.filename, official.tgz_md5)
                for path in (*missing, self.folder / official.meta["filename"]):
                    Path(scratch, FOLDER, path.name).replace(path)
        except (OSError, RuntimeError, HTTPException, *ARCHIVE_ERRORS) as error:
            by_hand = f"copy the official archive to {archive} (MD5 sum {official.tgz_md5})"
            raise self.unavailable(missing[0], error, by_hand) from error

    def write_tiny_files(self, random: np.random.RandomState) -> None:
        """Write five files of 100 training images and one of 100 test images, of ten made-up, learnable scenes.

        Each is the coloured pattern of its class, up to four pixels off, in another light and under noise.
        """
        count = TINY_IMAGES_PER_FILE
        patterns = np.kron(random.uniform(0, 200, (10, 3, 4, 4)), np.ones((8, 8)))
        for number, name in enumerate((*TRAIN_FILES, *TEST_FILES), start=1):
            labels = random.permutation(np.arange(count) % 10)
            images = np.empty((count, 3, 32, 32))
            for image, label in zip(images, labels, strict=True):
                image[:] = np.roll(patterns[label], random.randint(-4, 5, 2), (1, 2)) + random.uniform(0, 55)
            images += random.normal(0, 30, images.shape)
            entry = {
                "batch_label": f"tiny {name}",
                "labels": labels.tolist(),
                "data": images.clip(0, 255).astype(np.uint8).reshape(count, -1),
                "filenames": [f"tiny_{number}_{row:04}.png" for row in range(count)],
            }
            write_atomic(self.folder / name, pickle.dumps(entry, protocol=4))
        meta = {"num_cases_per_batch": count, "label_names": list(LABEL_NAMES), "num_vis": 3 * 32 * 32}
        write_atomic(self.folder / "batches.meta", pickle.dumps(meta, protocol=4))


def split_rows(split: str, images: int, seed: int) -> slice | NDArray[np.int64]:
    """Return the rows of the training files that make up ``train``, ``eval_train`` or ``validation``.

    Args:
        split: The name of the split.
        images: Rows in the files: 50,000, of which the last tenth is ``validation``, as in data sets of any other size.
        seed: Chooses ``eval_train``.
    """
    train = images - images // 10
    if split == "eval_train":
        shuffled = frozen_generator(seed, "eval_train").permutation(train)
        return shuffled[: train * 5_120 // 45_000].astype(np.int64)
    return {"train": slice(train), "validation": slice(train, images)}[split]
