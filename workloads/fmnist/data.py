"""Data of fmnist_2c2d and fmnist_vae: the four official IDX files, in torchvision's folder."""

from __future__ import annotations

from typing import ClassVar

from algoperf_lightning.data.examples import Examples
from algoperf_lightning.images.examples import NoisyImages, PixelImages
from algoperf_lightning.images.idx_data import IdxData
from algoperf_lightning.images.splits import held_out_first

from .spec import FOLDER


class FashionMnistData(IdxData):
    """70,000 images of clothing in ten classes, 28 x 28 pixels in [0, 1].

    Splits, by row of the files, as in DeepOBS: the first 10,000 training images are ``validation``, the others
    ``train``; ``test`` is the 10,000 images of the test files. ``eval_train`` is 10,000 examples of ``train``, chosen
    once by the trial's seed.

    Source: H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms, 2017, https://arxiv.org/abs/1708.07747, licence MIT.
    """

    folder_name: ClassVar[str] = FOLDER
    tiny_seed_name: ClassVar[str] = "fmnist"

    def open(self, split: str) -> Examples:
        """Return one split.

        Raises:
            DataNotFoundError: If a file is missing, or has an unexpected size or content.
        """
        images, targets = self.test_part if split == "test" else self.train_part
        rows = held_out_first(split, self.spec, len(self.train_part[0]), len(self.test_part[0]), self.seed)
        return PixelImages(images[rows], targets[rows])


class FashionMnistVaeData(FashionMnistData):
    """The images without labels, each with the noise of its latent variables."""

    def open(self, split: str) -> Examples:
        """Return one split.

        Raises:
            DataNotFoundError: If a file is missing, or has an unexpected size or content.
        """
        examples = super().open(split)
        assert isinstance(examples, PixelImages)
        return NoisyImages(examples.images)
