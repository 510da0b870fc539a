"""Data of cifar10: the official pickled batches, where torchvision keeps them."""

from __future__ import annotations

import pickle
import tempfile
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from algoperf_lightning.data import ARCHIVE_ERRORS
from algoperf_lightning.data.examples import Batch, Draws, Examples
from algoperf_lightning.data.file_data import FileData
from algoperf_lightning.files import write_atomic
from algoperf_lightning.rng import frozen_generator

from .spec import FOLDER, TEST_FILES, TRAIN_FILES

IMAGES_PER_FILE = 10_000
"""Images in each file of the official data set."""

TINY_IMAGES_PER_FILE = 100
"""Images in each file of a tiny data set."""

LABEL_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

MEAN = torch.tensor([0.49139968, 0.48215827, 0.44653124]).view(3, 1, 1)
STDDEV = torch.tensor([0.24703233, 0.24348505, 0.26158768]).view(3, 1, 1)

PADDING = 4
"""Black pixels added on each side before a crop."""


class Cifar10Data(FileData):
    """60,000 photographs of 32 x 32 pixels in red, green and blue, held in memory as bytes.

    Splits, by row of the five training files one after the other: the first 45,000 images are ``train``, the last 5,000
    ``validation``; ``test`` is the 10,000 images of the test file. ``eval_train`` is 5,120 examples of ``train``,
    chosen once by the trial's seed and not augmented.

    Files that are missing are fetched with torchvision, or unpacked from ``cifar-10-python.tar.gz`` if that lies in the
    data directory.

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
        images, targets = zip(*(self._read_file(self.folder / name) for name in names), strict=True)
        return np.concatenate(images), np.concatenate(targets)

    def _read_file(self, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        # Not through the class torchvision.datasets.CIFAR10: it refuses any other than the official files, so a tiny
        # data set would need a second reader; it does not say which file is damaged; and it unpickles whatever it is
        # given. Its table of checksums is what tells the official files.
        from torchvision.datasets import cifar
        from torchvision.datasets.utils import check_integrity

        count = TINY_IMAGES_PER_FILE if self.is_tiny else IMAGES_PER_FILE
        expected = f"{count:,} images, pickled as `data` uint8 ({count}, 3072) and `labels` in 0..9"
        if not self.is_tiny:
            sums: dict[str, str] = dict([*cifar.CIFAR10.train_list, *cifar.CIFAR10.test_list])
            if not check_integrity(path, sums[path.name]):
                size = path.stat().st_size
                raise self.damaged(path, f"{expected}, with MD5 sum {sums[path.name]}", f"it differs ({size:,} bytes)")
        try:
            with path.open("rb") as file:
                entry = ArrayUnpickler(file, encoding="latin1").load()
            images, targets = np.ascontiguousarray(entry["data"]), np.asarray(entry["labels"])
        except Exception as error:  # a damaged pickle can raise anything
            raise self.damaged(path, expected, f"reading failed ({error!r})") from error
        if images.dtype != np.uint8 or images.shape != (count, 3 * 32 * 32):
            raise self.damaged(path, expected, f"its `data` are {images.dtype} {images.shape}")
        if targets.shape != (count,) or not np.isin(targets, np.arange(10)).all():
            raise self.damaged(path, expected, f"its `labels` are {targets.shape}, or not all in 0..9")
        return images.reshape(-1, 3, 32, 32), targets.astype(np.int64)

    def fetch(self, missing: list[Path]) -> None:
        """Unpack the official archive, which is downloaded unless it lies in the data directory."""
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


class NormalisedImages(Examples):
    """Images as they are.

    Args:
        images: uint8 ``(N, 3, 32, 32)``.
        targets: int64 ``(N,)``.
    """

    def __init__(self, images: NDArray[np.uint8], targets: NDArray[np.int64]) -> None:
        self.images = images
        self.targets = targets

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.targets)

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return normalised images and their labels."""
        return {"inputs": normalise(self.images[indices]), "targets": torch.from_numpy(self.targets[indices])}


class AugmentedImages(NormalisedImages):
    """Training images, each moved by up to four pixels along both axes, half of them mirrored."""

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return normalised images, cropped and mirrored at random, and their labels."""
        chances = draws.uniform(3)
        corners = (chances[:, :2] * (2 * PADDING + 1)).astype(np.int64)
        images = crop_and_flip(self.images[indices], corners, chances[:, 2] < 0.5)
        return {"inputs": normalise(images), "targets": torch.from_numpy(self.targets[indices])}


def crop_and_flip(images: NDArray[np.uint8], corners: NDArray[np.int64], flips: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pad images with black, cut a window of the old size out of each, and mirror some of the windows.

    Args:
        images: Shape ``(B, C, H, W)``.
        corners: Upper left corner (row, column) of each window in the padded image, each in [0, 8], shape ``(B, 2)``.
        flips: Which windows to mirror left to right, shape ``(B,)``.

    Returns:
        The windows, shape ``(B, C, H, W)``.
    """
    count, channels, height, width = images.shape
    padded = np.zeros((count, channels, height + 2 * PADDING, width + 2 * PADDING), dtype=images.dtype)
    padded[:, :, PADDING:-PADDING, PADDING:-PADDING] = images
    windows = sliding_window_view(padded, (height, width), axis=(2, 3))  # (B, C, 9, 9, H, W), no copy
    cropped: NDArray[np.uint8] = windows[np.arange(count), :, corners[:, 0], corners[:, 1]]
    cropped[flips] = cropped[flips, :, :, ::-1]
    return cropped


def normalise(images: NDArray[np.uint8]) -> Tensor:
    """Return images uint8 ``(B, 3, H, W)`` as float32: scaled to [0, 1], minus mean, over standard deviation."""
    return torch.from_numpy(images).to(torch.float32).div_(255).sub_(MEAN).div_(STDDEV)


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


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of arrays and plain types, and refuses all else: a pickle can name any code to run."""

    # As the array says it itself, because NumPy has renamed the module that holds this function.
    _known: ClassVar[dict[str, Any]] = {
        "_reconstruct": np.empty(0).__reduce__()[0],
        "ndarray": np.ndarray,
        "dtype": np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return one of NumPy's three names that a pickled array consists of."""
        if module.partition(".")[0] == "numpy" and name in self._known:
            return self._known[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of an array")
