"""Data of mnist: the four official IDX files, where torchvision keeps them."""

from __future__ import annotations

import hashlib
import tempfile
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from algoperf_lightning.data import ARCHIVE_ERRORS, read_gzip
from algoperf_lightning.data.examples import Examples, TensorExamples
from algoperf_lightning.data.file_data import FileData
from algoperf_lightning.files import write_atomic
from algoperf_lightning.rng import frozen_generator

from .batches import normalise
from .reading import read_part, to_idx
from .spec import FOLDER

IMAGES = {"train": 60_000, "t10k": 10_000}
"""Images in each part of the official data set."""

MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""Of the official files, unpacked."""

TINY_IMAGES = {"train": 1_200, "t10k": 200}
"""Images in each part of a tiny data set."""


class MnistData(FileData):
    """70,000 handwritten digits of 28 x 28 pixels, held in memory as they go into the model.

    Splits, by row of the files: the first 50,000 training images are ``train``, the last 10,000 ``validation``;
    ``test`` is the 10,000 images of the test files. ``eval_train`` is 10,000 examples of ``train``, chosen once by the
    trial's seed. AlgoPerf cuts at the same sizes, but in the order of TensorFlow Datasets, which shuffled the rows when
    it converted the files: its validation images are others than these, and which ones is not known here. Its
    eval_train is drawn afresh for each evaluation, with possible repeats.

    Files that are missing are fetched with torchvision, or unpacked where the official ``.gz`` files lie beside.

    Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-Based Learning Applied to Document Recognition, 1998,
    doi:10.1109/5.726791.
    """

    folder_name: ClassVar[str] = FOLDER

    def open(self, split: str) -> Examples:
        """Return one split.

        Raises:
            DataNotFoundError: If a file is missing, has another size than it should, or holds something else.
        """
        self.require_files()
        inputs, targets = self._test if split == "test" else self._train
        if split != "test":
            rows = split_rows(split, len(targets), self.seed)
            inputs, targets = inputs[rows], targets[rows]
        return TensorExamples(inputs=inputs, targets=targets)

    # Read once: three splits share the training files, and the two that are contiguous then share their memory.
    @cached_property
    def _train(self) -> tuple[Tensor, Tensor]:
        return self._read("train")

    @cached_property
    def _test(self) -> tuple[Tensor, Tensor]:
        return self._read("t10k")

    def _read(self, part: str) -> tuple[Tensor, Tensor]:
        with self.naming_damage():
            images, targets = read_part(self.folder, part, None if self.is_tiny else IMAGES[part])
        return normalise(images), targets

    def check(self) -> None:
        """Open every split, and compare the files with the checksums of the official ones.

        Raises:
            DataNotFoundError: If files are missing, or not the official ones nor a tiny data set's.
        """
        super().check()
        if self.is_tiny:
            return
        for name, expected in MD5.items():
            path = self.folder / name
            found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            if found != expected:
                raise self.damaged(path, f"the official file, with MD5 sum {expected}", f"it has {found}")

    def fetch(self, missing: list[Path]) -> None:
        """Unpack the official ``.gz`` files that lie beside; download the rest."""
        for path in missing:
            archive = path.with_name(f"{path.name}.gz")
            if archive.exists():
                with self.naming_damage():
                    write_atomic(path, read_gzip(archive))
        if missing := self.missing_files():
            self._download(missing)

    def _download(self, missing: list[Path]) -> None:
        from torchvision.datasets import mnist

        try:
            with tempfile.TemporaryDirectory(dir=self.data_dir) as scratch:
                mnist.MNIST(scratch, download=True)
                for path in missing:
                    Path(scratch, FOLDER, path.name).replace(path)
        except (OSError, RuntimeError, HTTPException, *ARCHIVE_ERRORS) as error:
            archives = ", ".join(f"{Path(name).name}.gz" for name in self.spec.files)
            raise self.unavailable(missing[0], error, f"copy the official files {archives} to {self.folder}") from error

    def write_tiny_files(self, random: np.random.RandomState) -> None:
        """Write 1,200 training and 200 test images of ten made-up, learnable symbols.

        Each is the pattern of its class, up to two pixels off, dimmed and under noise.
        """
        patterns = np.kron(random.rand(10, 7, 7) > 0.65, np.ones((4, 4)))
        for part, count in TINY_IMAGES.items():
            labels = random.permutation(np.arange(count) % 10)
            images = np.empty((count, 28, 28))
            for image, label in zip(images, labels, strict=True):
                image[:] = np.roll(patterns[label], random.randint(-2, 3, 2), (0, 1)) * random.uniform(0.5, 1)
            images = images * 255 + random.normal(0, 40, images.shape)
            write_atomic(self.folder / f"{part}-images-idx3-ubyte", to_idx(images.clip(0, 255).astype(np.uint8)))
            write_atomic(self.folder / f"{part}-labels-idx1-ubyte", to_idx(labels.astype(np.uint8)))


def split_rows(split: str, images: int, seed: int) -> slice | NDArray[np.int64]:
    """Return the rows of the training files that make up ``train``, ``eval_train`` or ``validation``.

    Args:
        split: The name of the split.
        images: Rows in the files: 60,000, of which the last sixth is ``validation``, as in data sets of any other size.
        seed: Chooses ``eval_train``.
    """
    held_out = images // 6
    train = images - held_out
    if split == "eval_train":
        shuffled = frozen_generator(seed, "eval_train").permutation(train)
        return shuffled[:held_out].astype(np.int64)
    return {"train": slice(train), "validation": slice(train, images)}[split]
