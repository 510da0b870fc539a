"""Data of digits, which come with the package."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from algoperf_lightning.data import Batch, Draws, Examples, TensorExamples, WorkloadData
from algoperf_lightning.packaged_data import read_digits

_SPLITS = {
    "train": slice(0, 597),
    "eval_train": slice(0, 597),
    "validation": slice(597, 1_197),
    "test": slice(1_197, 1_797),
}


class DigitsData(WorkloadData):
    """1,797 digits of 13 people (:func:`~algoperf_lightning.packaged_data.read_digits`).

    Splits: one fixed permutation, then 597 examples for training, 600 for validation, 600 for test. Training images are
    augmented (:class:`SpoiledDigits`), so that the small training set suffices for thousands of steps.
    """

    def open(self, split: str) -> Examples:
        """Return one split."""
        images, labels = read_digits()
        rows = np.random.RandomState(0).permutation(len(images))[_SPLITS[split]]
        inputs, targets = torch.from_numpy(images[rows, None]).float().div(16), torch.from_numpy(labels[rows]).long()
        return (SpoiledDigits if split == "train" else TensorExamples)(inputs=inputs, targets=targets)


class SpoiledDigits(TensorExamples):
    """Digits moved by up to a pixel along each axis, with Gaussian noise, and a fifth of their pixels blanked."""

    noise: ClassVar[float] = 0.3
    """Standard deviation; ink is 1."""
    blanked: ClassVar[float] = 0.2

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return augmented copies of the rows."""
        batch = super().read(indices, draws)
        pixels = 64
        numbers = draws.uniform(1 + 2 * pixels)
        padded = torch.nn.functional.pad(batch["inputs"], (1, 1, 1, 1))
        windows = padded.unfold(2, 8, 1).unfold(3, 8, 1).reshape(len(indices), 9, 1, 8, 8)
        moved = windows[torch.arange(len(indices)), torch.from_numpy((numbers[:, 0] * 9).astype(np.int64))]
        uniform = torch.from_numpy(numbers[:, 1:].astype(np.float32)).view(-1, 2, 1, 8, 8)
        gaussian = torch.special.ndtri(uniform[:, 0].clamp(1e-6, 1 - 1e-6))
        batch["inputs"] = (moved + self.noise * gaussian) * (uniform[:, 1] >= self.blanked)
        return batch
