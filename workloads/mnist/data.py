"""Data of mnist: the four official IDX files, where torchvision keeps them."""

from __future__ import annotations

import hashlib
import math
import tempfile
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algoperf_lightning.data import ARCHIVE_ERRORS, read_gzip
from algoperf_lightning.data.examples import Examples, TensorExamples
from algoperf_lightning.data.file_data import FileData
from algoperf_lightning.files import write_atomic
from algoperf_lightning.rng import frozen_generator

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

MEAN = 0.1307
STDDEV = 0.3081


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
        # Not the class torchvision.datasets.MNIST, only its readers: the class prefers a "processed" folder that old
        # versions of it left, over the files that are checked here.
        from torchvision.datasets.mnist import read_image_file, read_label_file

        images, labels = self.folder / f"{part}-images-idx3-ubyte", self.folder / f"{part}-labels-idx1-ubyte"
        count = self._check(images, None if self.is_tiny else IMAGES[part], "images of 28 x 28 pixels", 28, 28)
        self._check(labels, count, "labels")
        targets: Tensor = read_label_file(str(labels))
        if targets.max() > 9:
            raise self.damaged(labels, "labels in 0..9", f"it has a label {int(targets.max())}")
        return normalise(read_image_file(str(images))), targets

    def _check(self, path: Path, count: int | None, what: str, *shape: int) -> int:
        """Check the header and size of an IDX file, and return how many items it holds."""
        header = np.fromfile(path, dtype=">i4", count=2 + len(shape)).tolist()
        if count is None:
            count = max([1, *header[1:2]])
        magic = 0x0800 | (1 + len(shape))  # unsigned bytes, number of axes
        header_bytes = 4 * (2 + len(shape))
        expected, size = header_bytes + count * math.prod(shape), path.stat().st_size
        if size != expected or header != [magic, count, *shape]:
            raise self.damaged(
                path,
                f"{count:,} {what} in {expected:,} bytes (IDX header {[magic, count, *shape]})",
                f"it has {size:,} bytes (header {header})",
            )
        return count

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
            write_atomic(self.folder / f"{part}-images-idx3-ubyte", _idx(images.clip(0, 255).astype(np.uint8)))
            write_atomic(self.folder / f"{part}-labels-idx1-ubyte", _idx(labels.astype(np.uint8)))


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


def normalise(images: Tensor) -> Tensor:
    """Return images uint8 ``(N, 28, 28)`` as float32 ``(N, 1, 28, 28)``, from -0.42 (black) to 827.2 (white).

    A quirk of AlgoPerf that is kept: mean and standard deviation are those of pixels in [0, 1], but they are applied to
    pixels in 0..255. The targets were stated for inputs of that scale; with any other this would be another workload.
    """
    return images.unsqueeze(1).to(torch.float32).sub_(MEAN).div_(STDDEV)


def _idx(values: NDArray[np.uint8]) -> bytes:
    return np.array([0x0800 | values.ndim, *values.shape], dtype=">i4").tobytes() + values.tobytes()
