"""Data of cifar100_allcnnc: the official pickled files, in torchvision's folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from algoperf_lightning.data.examples import Examples
from algoperf_lightning.images.examples import MirroredImages
from algoperf_lightning.images.photographs import photographs
from algoperf_lightning.images.pickled_data import PickledData

from .spec import FOLDER

LABEL_NAMES = tuple(f"class_{number}" for number in range(100))
"""Names of the classes of a tiny data set; the official file of names is not read."""


class Cifar100Data(PickledData):
    """60,000 photographs of 32 x 32 pixels in 100 classes, distorted as in TensorFlow, and standardised.

    Splits: the first 10,000 training images are ``validation``, the others ``train``; ``test`` is the 10,000 images of
    the test file. ``eval_train`` is 10,000 examples of ``train``, chosen once by the trial's seed and not distorted.
    The variant ``faithful`` distorts these and omits incomplete batches, as in DeepOBS.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
    https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf.
    """

    workers: ClassVar[int] = 2
    """Distorting a batch of 256 takes eight milliseconds."""
    folder_name: ClassVar[str] = FOLDER
    torchvision_name: ClassVar[str] = "CIFAR100"
    labels: ClassVar[str] = "fine_labels"
    classes: ClassVar[int] = 100
    counts: ClassVar[Mapping[str, int]] = {"train": 50_000, "test": 10_000}
    tiny_counts: ClassVar[Mapping[str, int]] = {"train": 2_000, "test": 400}
    label_names: ClassVar[tuple[str, ...]] = LABEL_NAMES

    def open(self, split: str) -> Examples:
        """Return one split; ``train`` is distorted.

        Raises:
            DataNotFoundError: If a file is missing, or is not the official one (by its MD5 sum) nor a tiny data set's.
        """
        train, test = self.train_part, self.test_part
        # With only one file, shuffling files has no effect, and its first images are never used for training.
        return photographs(split, self.spec, train, test, self.seed, MirroredImages, [len(train[1])])
