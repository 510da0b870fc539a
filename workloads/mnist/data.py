"""Data of mnist and mnist_vae: the four official IDX files, in torchvision's folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from algoperf_lightning.data.examples import Examples, TensorExamples
from algoperf_lightning.images.examples import NoisyImages
from algoperf_lightning.images.idx_data import IdxData
from algoperf_lightning.images.splits import held_out_first
from algoperf_lightning.rng import frozen_generator

from .batches import normalise
from .spec import FOLDER

MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""Sizes of the official files after unpacking."""


class MnistFiles(IdxData):
    """70,000 handwritten digits of 28 x 28 pixels.

    Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-Based Learning Applied to Document Recognition, 1998,
    doi:10.1109/5.726791.
    """

    folder_name: ClassVar[str] = FOLDER
    tiny_seed_name: ClassVar[str] = "mnist"
    md5: ClassVar[Mapping[str, str]] = MD5


class MnistData(MnistFiles):
    """The digits, stored in memory as the model of mnist receives them.

    Splits, by row of the files: the first 50,000 training images are ``train``, the last 10,000 ``validation``;
    ``test`` is the 10,000 images of the test files. ``eval_train`` is 10,000 examples of ``train``, chosen once by the
    trial's seed. AlgoPerf's splits have the same sizes, but the order of TensorFlow Datasets, which shuffles the rows
    when it converts the files: its validation images differ from these, and we do not know which ones they are. Its
    eval_train is drawn again for each evaluation, with replacement.
    """

    def open(self, split: str) -> Examples:
        """Return one split.

        Raises:
            DataNotFoundError: If a file is missing, or has an unexpected size or content.
        """
        inputs, targets = self._normalised_test if split == "test" else self._normalised_train
        if split != "test":
            rows = split_rows(split, len(targets), self.seed)
            inputs, targets = inputs[rows], targets[rows]
        return TensorExamples(inputs=inputs, targets=targets)

    # Only once, so that the two contiguous splits share memory.
    @cached_property
    def _normalised_train(self) -> tuple[Tensor, Tensor]:
        images, targets = self.train_part
        return normalise(images), targets

    @cached_property
    def _normalised_test(self) -> tuple[Tensor, Tensor]:
        images, targets = self.test_part
        return normalise(images), targets


class MnistVaeData(MnistFiles):
    """The digits in [0, 1], each with the noise of its latent variables.

    Splits, by row of the files, as in DeepOBS: the first 10,000 training images are ``validation``, the others
    ``train``; ``test`` is the 10,000 images of the test files. ``eval_train`` is 10,000 examples of ``train``, chosen
    once by the trial's seed.
    """

    def open(self, split: str) -> Examples:
        """Return one split.

        Raises:
            DataNotFoundError: If a file is missing, or has an unexpected size or content.
        """
        images, _ = self.test_part if split == "test" else self.train_part
        rows = held_out_first(split, self.spec, len(self.train_part[0]), len(self.test_part[0]), self.seed)
        return NoisyImages(images[rows])


def split_rows(split: str, images: int, seed: int) -> slice | NDArray[np.int64]:
    """Return the rows of the training files that make up ``train``, ``eval_train`` or ``validation``.

    Args:
        split: The name of the split.
        images: Rows in the files, of which the last sixth is ``validation``; 60,000 in the official files.
        seed: Chooses ``eval_train``.
    """
    held_out = images // 6
    train = images - held_out
    if split == "eval_train":
        shuffled = frozen_generator(seed, "eval_train").permutation(train)
        return shuffled[:held_out].astype(np.int64)
    return {"train": slice(train), "validation": slice(train, images)}[split]
