"""Batches of cifar10: normalised images, cropped and mirrored for training."""

from __future__ import annotations

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from algoperf_lightning.data.examples import Batch, Draws, Examples

MEAN = torch.tensor([0.49139968, 0.48215827, 0.44653124]).view(3, 1, 1)
STDDEV = torch.tensor([0.24703233, 0.24348505, 0.26158768]).view(3, 1, 1)

PADDING = 4
"""Black pixels added on each side before a crop."""


class NormalisedImages(Examples):
    """Images without augmentation.

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
    """Training images, shifted by up to four pixels along both axes, and mirrored with probability 1/2."""

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return normalised images, cropped and mirrored at random, and their labels."""
        chances = draws.uniform(3)
        corners = (chances[:, :2] * (2 * PADDING + 1)).astype(np.int64)
        images = crop_and_flip(self.images[indices], corners, chances[:, 2] < 0.5)
        return {"inputs": normalise(images), "targets": torch.from_numpy(self.targets[indices])}


def crop_and_flip(images: NDArray[np.uint8], corners: NDArray[np.int64], flips: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pad images with black, crop a window of the original size out of each, and mirror some of the windows.

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
    """Return images uint8 ``(B, 3, H, W)`` as float32: scaled to [0, 1], minus mean, divided by standard deviation."""
    return torch.from_numpy(images).to(torch.float32).div_(255).sub_(MEAN).div_(STDDEV)
