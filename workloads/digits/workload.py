"""Digits: classify 8 x 8 images with a small network. A run takes seconds on any machine, without a download."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from algoperf_lightning.classification import ClassificationWorkload
from algoperf_lightning.data import WorkloadData

from .data import DigitsData
from .model import DigitsNet
from .spec import DIGITS


class Digits(ClassificationWorkload):
    """10-class classification of 8 x 8 handwritten digits.

    Batch: ``inputs`` float32 ``(B, 1, 8, 8)`` in [0, 1]; ``targets`` int64 ``(B,)`` in [0, 9].

    Not a workload of AlgoPerf, but a small one for trying submissions and testing this library. Target and budget are
    ours; ``docs/digits.md`` describes how they were chosen.
    """

    spec = DIGITS
    data_class: ClassVar[type[WorkloadData]] = DigitsData
    output_layer: ClassVar[str] = "head"

    def build_model(self) -> nn.Module:
        """Return the network."""
        return DigitsNet()
