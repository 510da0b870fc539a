"""Batches of the ImageNet workloads: images of class folders, prepared for each split as in the benchmark."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from algoperf_lightning.data.damage import Damaged
from algoperf_lightning.data.examples import Batch, Draws, Examples

from .crops import CROP_NUMBERS, evaluation_crop, imagenet_v2_crop, random_box, resized_crop
from .index import Index
from .reading import decode, open_rgb

AN_IMAGE = "a complete JPEG or PNG image"

Augmentation: TypeAlias = Callable[[NDArray[np.uint8], NDArray[np.float64]], NDArray[np.uint8]]
"""Changes an image uint8 ``(H, W, 3)`` according to random numbers in [0, 1)."""


class Images(Examples, ABC):
    """Images ``(B, 3, size, size)``, red, green and blue from 0 to 255, and their labels.

    Args:
        index: Which images there are.
        size: Side of the images in pixels.
        damaged: Creates the error for an image that cannot be read.
        rows: Images of the index that make up the split, shape ``(N,)``. Default: all.
    """

    dtype: ClassVar[type[np.generic]] = np.uint8

    def __init__(self, index: Index, size: int, damaged: Damaged, rows: NDArray[np.int64] | None = None) -> None:
        self.index = index
        self.size = size
        self.rows = np.arange(len(index)) if rows is None else rows
        self.targets = index.labels[self.rows]
        self._damaged = damaged

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return images, in channels-last memory, and their labels."""
        targets = self.targets[indices]
        images = np.empty((len(indices), self.size, self.size, 3), self.dtype)
        numbers = draws.uniform(self.numbers)
        for image, row, label, drawn in zip(
            images, self.rows[indices].tolist(), targets.tolist(), numbers, strict=True
        ):
            path = self.index.path(row, label)
            try:
                data = np.fromfile(path, np.uint8)
                image[:] = self.prepare(data, drawn)
            except OSError as error:
                raise self._damaged(Path(path), AN_IMAGE, f"reading failed ({error})") from error
        return {"inputs": torch.from_numpy(images).permute(0, 3, 1, 2), "targets": torch.from_numpy(targets)}

    @property
    def numbers(self) -> int:
        """Random numbers that :meth:`prepare` uses."""
        return 0

    @abstractmethod
    def prepare(self, data: NDArray[np.uint8], numbers: NDArray[np.float64]) -> NDArray[Any]:
        """Return the image ``(size, size, 3)`` of a file's bytes.

        Raises:
            OSError: If they are not an image.
        """


class TrainingImages(Images):
    """Random crops of images, mirrored with probability 1/2.

    Args:
        index: Which images there are.
        size: Side of the images in pixels.
        damaged: Creates the error for an image that cannot be read.
        augment: Further augmentation of each image.
        augment_numbers: Number of random numbers that it uses.
    """

    def __init__(
        self,
        index: Index,
        size: int,
        damaged: Damaged,
        augment: Augmentation | None = None,
        augment_numbers: int = 0,
    ) -> None:
        super().__init__(index, size, damaged)
        self._augment = augment
        self._augment_numbers = augment_numbers

    @property
    def numbers(self) -> int:
        """Random numbers that :meth:`prepare` uses."""
        return CROP_NUMBERS + 1 + self._augment_numbers

    def prepare(self, data: NDArray[np.uint8], numbers: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return a random crop of the image, possibly mirrored and augmented."""
        whole = decode(data)
        box = random_box(whole.shape[1], whole.shape[2], numbers[:CROP_NUMBERS])
        image: NDArray[np.uint8] = resized_crop(whole, box, self.size).permute(1, 2, 0).numpy()
        if numbers[CROP_NUMBERS] < 0.5:
            image = image[:, ::-1]
        if self._augment is not None:
            image = self._augment(np.ascontiguousarray(image), numbers[CROP_NUMBERS + 1 :])
        return image


class EvaluationImages(Images):
    """The centre crop of images, bit-equal to the benchmark's evaluation."""

    def prepare(self, data: NDArray[np.uint8], numbers: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return the centre crop of the image."""
        return evaluation_crop(open_rgb(data), self.size)


class TestImages(Images):
    """The centre crop of images, as the benchmark prepares ImageNet-v2; float32, because values overshoot 0 and 255."""

    __test__ = False  # pytest must not collect it
    dtype: ClassVar[type[np.generic]] = np.float32

    def prepare(self, data: NDArray[np.uint8], numbers: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the centre crop of the image."""
        return imagenet_v2_crop(np.asarray(open_rgb(data)), self.size)


def eval_train_rows(images: int, count: int, seed: int) -> NDArray[np.int64]:
    """Return the evaluated training images: the first ones of a shuffle by Python's generator.

    Args:
        images: Training images.
        count: Number of images to choose; all if there are fewer.
        seed: Seed of the shuffle.

    Returns:
        Indices of images, int64 ``(min(images, count),)``, in the order of the shuffle.
    """
    order = list(range(images))
    random.Random(seed).shuffle(order)
    return np.array(order[:count], dtype=np.int64)
