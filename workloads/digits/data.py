"""Data of digits: a file in this folder."""

from __future__ import annotations

import gzip
from importlib.resources import files
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from algoperf_lightning.data import Batch, Draws, Examples, TensorExamples, WorkloadData

DATA_FILE = "optdigits.csv.gz"


class DigitsData(WorkloadData):
    """1,797 digits of 13 people: rows of 64 pixels in 0..16 and a label.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998,
    https://doi.org/10.24432/C50P49 (the test part), licence CC BY 4.0.

    Splits: one fixed permutation, then 1,197 for training, 300 for validation, 300 for test. The first 300 of the training
    examples are the part that is evaluated. Training images are shifted by up to one pixel in each direction.
    """

    workers: ClassVar[int] = 0

    def open(self, split: str) -> Examples:
        """Return one split."""
        raw = gzip.decompress(files(__package__).joinpath(DATA_FILE).read_bytes())
        rows = np.loadtxt(raw.decode().splitlines(), delimiter=",", dtype=np.uint8)
        rows = rows[np.random.RandomState(0).permutation(len(rows))]
        rows = rows[{"train": slice(1197), "eval_train": slice(300), "validation": slice(1197, 1497)}.get(split, slice(1497, None))]
        images = torch.from_numpy(rows[:, :64]).float().div(16).view(-1, 1, 8, 8)
        labels = torch.from_numpy(rows[:, 64]).long()
        return (ShiftedDigits if split == "train" else TensorExamples)(inputs=images, targets=labels)


class ShiftedDigits(TensorExamples):
    """Training digits, each moved by -1, 0 or 1 pixels along both axes; what comes in is blank."""

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return shifted copies of the rows."""
        return super().read(indices, draws)
