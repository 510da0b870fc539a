"""Data of cifar10 and cifar10_3c3d: the official pickled batches, in torchvision's folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data.examples import Examples
from algoperf_lightning.images.examples import MirroredImages
from algoperf_lightning.images.photographs import photographs
from algoperf_lightning.images.pickled_data import PickledData
from algoperf_lightning.rng import frozen_generator

from .batches import AugmentedImages, NormalisedImages
from .spec import FOLDER, TEST_FILES, TRAIN_FILES

LABEL_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Cifar10Files(PickledData):
    """60,000 RGB photographs of 32 x 32 pixels, stored in memory as bytes.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
    https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf.
    """

    folder_name: ClassVar[str] = FOLDER
    tiny_seed_name: ClassVar[str] = "cifar10"
    torchvision_name: ClassVar[str] = "CIFAR10"
    counts: ClassVar[Mapping[str, int]] = dict.fromkeys((*TRAIN_FILES, *TEST_FILES), 10_000)
    tiny_counts: ClassVar[Mapping[str, int]] = dict.fromkeys((*TRAIN_FILES, *TEST_FILES), 100)
    label_names: ClassVar[tuple[str, ...]] = LABEL_NAMES


class Cifar10Data(Cifar10Files):
    """The photographs as in AlgoPerf.

    Splits, in the order of the five training files: the first 45,000 images are ``train``, the last 5,000
    ``validation``; ``test`` is the 10,000 images of the test file. ``eval_train`` is 5,120 examples of ``train``,
    chosen once by the trial's seed and not augmented.
    """

    # Reading a batch of 128 takes a fraction of a millisecond, less than passing it between processes.

    def open(self, split: str) -> Examples:
        """Return one split; ``train`` is augmented.

        Raises:
            DataNotFoundError: If a file is missing, or is not the official one (by its MD5 sum) nor a tiny data set's.
        """
        if split == "test":
            return NormalisedImages(*self.test_part)
        images, targets = self.train_part
        rows = split_rows(split, len(targets), self.seed)
        return (AugmentedImages if split == "train" else NormalisedImages)(images[rows], targets[rows])


class Cifar10DeepObsData(Cifar10Files):
    """The photographs as in DeepOBS: distorted as in TensorFlow, and standardised.

    Splits: the 10,000 images of the first training file are ``validation``, those of the other four ``train``; ``test``
    is the 10,000 images of the test file. ``eval_train`` is 10,000 examples of ``train``, chosen once by the trial's
    seed and not distorted. DeepOBS does all of this differently; the variant ``faithful`` follows it
    (:func:`~algoperf_lightning.images.photographs.photographs`).
    """

    workers: ClassVar[int] = 2
    """Distorting a batch of 128 takes four milliseconds."""

    def open(self, split: str) -> Examples:
        """Return one split; ``train`` is distorted.

        Raises:
            DataNotFoundError: If a file is missing, or is not the official one (by its MD5 sum) nor a tiny data set's.
        """
        files = list(self.file_sizes.values())[:-1]
        return photographs(split, self.spec, self.train_part, self.test_part, self.seed, MirroredImages, files)


def split_rows(split: str, images: int, seed: int) -> slice | NDArray[np.int64]:
    """Return the rows of the training files that make up ``train``, ``eval_train`` or ``validation``.

    Args:
        split: The name of the split.
        images: Rows in the files, of which the last tenth is ``validation``; 50,000 in the official files.
        seed: Chooses ``eval_train``.
    """
    train = images - images // 10
    if split == "eval_train":
        shuffled = frozen_generator(seed, "eval_train").permutation(train)
        return shuffled[: train * 5_120 // 45_000].astype(np.int64)
    return {"train": slice(train), "validation": slice(train, images)}[split]
