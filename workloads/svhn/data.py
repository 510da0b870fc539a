"""Data of svhn_wrn164: the two official MATLAB files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DownloadError, Examples, FileData, download
from algoperf_lightning.files import write_atomic
from algoperf_lightning.images.examples import DistortedImages
from algoperf_lightning.images.photographs import photographs

from .reading import read_file
from .spec import FOLDER, TEST_FILE, TRAIN_FILE

COUNTS = {TRAIN_FILE: 73_257, TEST_FILE: 26_032}
"""Images in the official files."""

TINY_COUNTS = {TRAIN_FILE: 840, TEST_FILE: 300}
"""Images in the files of a tiny data set."""

SHARD = 12_800
"""Images in each of the files into which DeepOBS splits the training file; the last one has the rest."""

TINY_SHARD = 150


class SvhnData(FileData):
    """99,289 photographs of house numbers of 32 x 32 pixels, labelled by the digit in the middle.

    Splits: the first 26,032 training images are ``validation``, the other 47,225 ``train``; ``test`` is the 26,032
    images of the test file. ``eval_train`` is 26,032 examples of ``train``, chosen once by the trial's seed and not
    distorted. Training images are distorted as in TensorFlow, not mirrored; each image is standardised. The third
    official file, ``extra``, is not used. In DeepOBS and the variant ``faithful``, validation images are also used for
    training (:func:`~algoperf_lightning.images.photographs.photographs`).

    Source: Y. Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning, 2011,
    http://ufldl.stanford.edu/housenumbers.
    """

    folder_name: ClassVar[str] = FOLDER
    workers: ClassVar[int] = 2
    """Distorting a batch of 128 takes four milliseconds."""

    def open(self, split: str) -> Examples:
        """Return one split; ``train`` is distorted.

        Raises:
            DataNotFoundError: If a file is missing, or is neither official (by its MD5 sum) nor from a tiny data set.
        """
        train, test = self.parts[TRAIN_FILE], self.parts[TEST_FILE]
        size, left = TINY_SHARD if self.is_tiny else SHARD, len(train[1])
        shards = [min(size, left - start) for start in range(0, left, size)]
        return photographs(split, self.spec, train, test, self.seed, DistortedImages, shards)

    # Read once: all splits share them.
    @cached_property
    def parts(self) -> Mapping[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        """Images uint8 ``(N, 3, 32, 32)`` and labels int64 ``(N,)`` of each file."""
        self.require_files()
        counts, sums = (TINY_COUNTS, {}) if self.is_tiny else (COUNTS, self._sums())
        with self.naming_damage():
            return {name: read_file(self.folder / name, count, sums.get(name)) for name, count in counts.items()}

    def _sums(self) -> dict[str, str]:
        return {name: md5 for _, name, md5 in _official().values()}

    def fetch(self, missing: list[Path]) -> None:
        """Download the official files."""
        urls = {name: (url, md5) for url, name, md5 in _official().values()}
        for path in missing:
            url, md5 = urls[path.name]
            try:
                download(url, path, md5=md5)
            except DownloadError as error:
                by_hand = f"copy the official file, {url} (MD5 sum {md5}), to {path}"
                raise self.unavailable(path, error, by_hand) from error

    def write_tiny_files(self, random: np.random.RandomState) -> None:
        """Write 840 training and 300 test images of ten synthetic, learnable scenes.

        Each is the coloured pattern of its class, shifted by up to two pixels, with random brightness and noise.
        """
        from scipy.io import savemat  # type: ignore[import-untyped]

        patterns = np.kron(random.uniform(0, 200, (10, 3, 4, 4)), np.ones((8, 8)))
        for name, count in TINY_COUNTS.items():
            labels = random.permutation(np.arange(count) % 10)
            images = np.empty((count, 3, 32, 32))
            for image, label in zip(images, labels, strict=True):
                image[:] = np.roll(patterns[label], random.randint(-2, 3, 2), (1, 2)) + random.uniform(0, 55)
            images = (images + random.normal(0, 30, images.shape)).clip(0, 255).astype(np.uint8)
            file = io.BytesIO()
            digits = np.where(labels == 0, 10, labels).astype(np.uint8)
            savemat(file, {"X": images.transpose(2, 3, 1, 0), "y": digits[:, None]})
            content = file.getvalue()
            # The header contains the time.
            write_atomic(self.folder / name, b"MATLAB 5.0 MAT-file, tiny data set".ljust(116) + content[116:])


def _official() -> Mapping[str, Any]:
    """Return torchvision's URL, name and MD5 sum of each official file."""
    from torchvision.datasets import SVHN

    return {part: entry for part, entry in SVHN.split_list.items() if part != "extra"}
