"""The common part of the ImageNet workloads: pixels are transferred as bytes and normalised on the device."""

from __future__ import annotations

from abc import ABC
from typing import Any, ClassVar

from torch import Tensor

from algoperf_lightning.classification import ClassificationWorkload
from algoperf_lightning.data import Batch, WorkloadData
from algoperf_lightning.data.streams import TrainingBatches
from algoperf_lightning.errors import BadInputError

from .data import ImageNetData
from .normalise import normalised


class ImageNetWorkload(ClassificationWorkload, ABC):
    """Classify photographs.

    Batch: ``inputs`` ``(B, 3, size, size)``, red, green and blue from 0 to 255: uint8, but float32 in the test split,
    whose bicubic interpolation overshoots; ``targets`` int64 ``(B,)``. The model gets normalised float32 images.

    Args:
        args: Arguments of :class:`~algoperf_lightning.Workload`.
        decode_on_device: Decode, crop and resize training images on the model's device, on a GPU with nvJPEG, whose
            pixels differ slightly from those of libjpeg-turbo; the record says so. Evaluation is the same.
        workers: Reading processes of each rank. Default: 4, but at most one per core.
        kwargs: Keyword arguments of :class:`~algoperf_lightning.Workload`.

    Raises:
        BadInputError: If ``decode_on_device`` is set and training images have further augmentation, which is done on
            the CPU, or if the number of workers is not a non-negative integer.
    """

    data: ImageNetData
    data_class: ClassVar[type[WorkloadData]] = ImageNetData

    def __init__(self, *args: Any, decode_on_device: bool = False, workers: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if decode_on_device and self.spec.data["rand_augment"]:
            raise BadInputError(
                f"{self.spec.full_name} cannot decode on the device, because RandAugment works on the CPU. Leave out "
                "decode_on_device."
            )
        self.data.decode_on_device = decode_on_device
        if workers is not None:
            if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
                raise BadInputError(
                    f"{self.spec.full_name}: workers must be an integer from 0 on, but got {workers!r}."
                )
            self.data.workers = workers

    def train_dataloader(self) -> TrainingBatches:
        """Return the endless training batches."""
        self.data.device = self.trainer.strategy.root_device
        return super().train_dataloader()

    def outputs(self, batch: Batch) -> Tensor:
        """Return the logits, ``(B, classes)``."""
        return super().outputs(normalised(batch))
