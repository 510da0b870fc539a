"""The common part of the ImageNet workloads: pixels are transferred as bytes and normalised on the device."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from torch import Tensor

from algoperf_lightning.classification import ClassificationWorkload
from algoperf_lightning.data import Batch, WorkloadData

from .data import ImageNetData
from .normalise import normalised


class ImageNetWorkload(ClassificationWorkload, ABC):
    """Classify photographs.

    Batch: ``inputs`` ``(B, 3, size, size)``, red, green and blue from 0 to 255: uint8, but float32 in the test split,
    whose bicubic interpolation overshoots; ``targets`` int64 ``(B,)``. The model gets normalised float32 images.
    """

    data_class: ClassVar[type[WorkloadData]] = ImageNetData

    def outputs(self, batch: Batch) -> Tensor:
        """Return the logits, ``(B, classes)``."""
        return super().outputs(normalised(batch))
