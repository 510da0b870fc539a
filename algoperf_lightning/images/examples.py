"""Examples of images of 28 x 28 and 32 x 32 pixels, as DeepOBS hands them to its models."""

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
"""Black pixels added on each side before a crop."""
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
    """Images in [0, 1] and standard normal noise for an autoencoder, which draws none itself.

    So losses depend neither on the number of ranks nor on what was evaluated before: an example that is evaluated has
    the same noise each time.

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
    """Return images uint8 ``(B, 28, 28)`` as float32 ``(B, 1, 28, 28)`` in [0, 1]."""
    return images.unsqueeze(1).float().div_(255)


class StandardisedImages(Examples):
    """Images, each with mean 0 and standard deviation 1.

    Batch: ``inputs`` float32 ``(B, 3, 32, 32)``; ``targets`` int64 ``(B,)``.

    Args:
        images: uint8 ``(N, 3, 32, 32)``.
        targets: int64 ``(N,)``.
        order: Of training, where it is none of permutations of all images.
    """

    def __init__(self, images: NDArray[np.uint8], targets: NDArray[np.int64], order: LeakyFiles | None = None) -> None:
        self.images = images
        self.targets = targets
        self._order = order

    def __len__(self) -> int:
        """Return the number of images in a pass."""
        return len(self.targets if self._order is None else self._order)

    def order(self, seed: int) -> Order:
        """Return the order to train in."""
        return Permutations(len(self), seed) if self._order is None else self._order

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return images and labels."""
        images = self._distorted(self.images[indices].astype(np.float32), draws)
        return {"inputs": torch.from_numpy(standardise(images)), "targets": torch.from_numpy(self.targets[indices])}

    def _distorted(self, images: NDArray[np.float32], draws: Draws) -> NDArray[np.float32]:
        return images


class DistortedImages(StandardisedImages):
    """Training images: moved by up to two pixels, in other colours, then standardised.

    The brightness of DeepOBS changes by at most a quarter of a grey level of 255: it was meant for pixels in [0, 1].
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
    """Distorted images, half of them mirrored left to right."""

    def _mirrored(self, images: NDArray[np.float32], numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where((numbers < 0.5)[:, None, None, None], images[..., ::-1], images)


def between(low: float, high: float, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return numbers from [0, 1) as numbers from [low, high)."""
    return np.float32(low) + np.float32(high - low) * numbers
