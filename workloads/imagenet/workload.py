"""The common part of the ImageNet workloads: pixels are transferred as bytes and normalised on the device."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar

from algoperf_lightning.classification import ClassificationWorkload
from algoperf_lightning.data import Batch, WorkloadData
from algoperf_lightning.workload import Loss

from .data import ImageNetData
from .normalise import normalised


class ImageNetWorkload(ClassificationWorkload, ABC):
    """Classify photographs.

    Batch: ``inputs`` ``(B, 3, size, size)``, red, green and blue from 0 to 255: uint8, but float32 in the test split,
    whose bicubic interpolation overshoots; ``targets`` int64 ``(B,)``. The model gets normalised float32 images.
    """

    data_class: ClassVar[type[WorkloadData]] = ImageNetData

    def loss(self, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return the cross-entropy of each example in nats; target = (1 - a) one-hot + a / classes for smoothing a."""
        return super().loss(normalised(batch), label_smoothing=label_smoothing)

    def evaluate(self, batch: Batch, metrics: Mapping[str, Any]) -> None:
        """Update accuracy and loss with a batch."""
        super().evaluate(normalised(batch), metrics)
