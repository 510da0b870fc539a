"""Examples with images of 28 x 28 and 32 x 32 pixels, preprocessed as in DeepOBS."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algoperf_lightning.data.examples import Batch, Draws, Examples, Order, Permutations

from .autoencoder import LATENTS
from .distortions import adjust_contrast, adjust_saturation, crop, standardise
from .splits import LeakyFiles

CROP_PADDING = 2
"""Padding with black pixels on each side before a crop."""
BRIGHTNESS = 63 / 255
SATURATION = (0.5, 1.5)
CONTRAST = (0.2, 1.8)


class PixelImages(Examples):
    """Images in [0, 1].

    Batch: ``inputs`` float32 ``(B, 1, 28, 28)``; ``targets`` int64 ``(B,)``.

    Args:
        images: uint8 ``(N, 28, 28)``.
        targets: int64 ``(N,)``.
    """

    def __init__(self, images: Tensor, targets: Tensor) -> None:
        self.images = images
        self.targets = targets

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return images and labels."""
        rows = torch.from_numpy(indices)
        return {"inputs": to_unit(self.images[rows]), "targets": self.targets[rows]}


class NoisyImages(Examples):
    """Images in [0, 1], and standard normal noise for an autoencoder.

    The noise is part of the example, so losses depend neither on the number of ranks nor on previous evaluations. The
    noise of an evaluated example is the same in every evaluation.

    Batch: ``inputs`` float32 ``(B, 1, 28, 28)``; ``noise`` float32 ``(B, 8)``.

    Args:
        images: uint8 ``(N, 28, 28)``.
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return images and noise."""
        uniform = torch.from_numpy(draws.uniform(LATENTS)).clamp(min=2.0**-54)
        noise = torch.special.ndtri(uniform).float()
        return {"inputs": to_unit(self.images[torch.from_numpy(indices)]), "noise": noise}


def to_unit(images: Tensor) -> Tensor:
    """Convert uint8 images ``(B, 28, 28)`` to float32 ``(B, 1, 28, 28)`` in [0, 1]."""
    return images.unsqueeze(1).float().div_(255)


class StandardisedImages(Examples):
    """Images standardised to mean 0 and standard deviation 1.

    Batch: ``inputs`` float32 ``(B, 3, 32, 32)``; ``targets`` int64 ``(B,)``.

    Args:
        images: uint8 ``(N, 3, 32, 32)``.
        targets: int64 ``(N,)``.
        order: Training order, if it does not consist of permutations of all images.
    """

    def __init__(self, images: NDArray[np.uint8], targets: NDArray[np.int64], order: LeakyFiles | None = None) -> None:
        self.images = images
        self.targets = targets
        self._order = order

    def __len__(self) -> int:
        """Return the number of images in a pass."""
        return len(self.targets if self._order is None else self._order)

    def order(self, seed: int) -> Order:
        """Return the training order."""
        return Permutations(len(self), seed) if self._order is None else self._order

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return images and labels."""
        images = self._distorted(self.images[indices].astype(np.float32), draws)
        return {"inputs": torch.from_numpy(standardise(images)), "targets": torch.from_numpy(self.targets[indices])}

    def _distorted(self, images: NDArray[np.float32], draws: Draws) -> NDArray[np.float32]:
        return images


class DistortedImages(StandardisedImages):
    """Training images, shifted by up to two pixels, with colour distortions, and standardised.

    As in DeepOBS, the brightness changes by at most a quarter of a grey level of 255. The range was intended for pixels
    in [0, 1].
    """

    def _distorted(self, images: NDArray[np.float32], draws: Draws) -> NDArray[np.float32]:
        numbers = draws.uniform(6).astype(np.float32)
        images = crop(images, (numbers[:, :2] * (2 * CROP_PADDING + 1)).astype(np.int64), CROP_PADDING)
        images = self._mirrored(images, numbers[:, 2])
        images = images + between(-BRIGHTNESS, BRIGHTNESS, numbers[:, 3])[:, None, None, None]
        images = adjust_saturation(images, between(*SATURATION, numbers[:, 4]))
        return adjust_contrast(images, between(*CONTRAST, numbers[:, 5]))

    def _mirrored(self, images: NDArray[np.float32], numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        return images


class MirroredImages(DistortedImages):
    """Distorted images, half of which are flipped horizontally."""

    def _mirrored(self, images: NDArray[np.float32], numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where((numbers < 0.5)[:, None, None, None], images[..., ::-1], images)


def between(low: float, high: float, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map numbers from [0, 1) to [low, high)."""
    return np.float32(low) + np.float32(high - low) * numbers
