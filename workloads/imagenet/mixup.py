"""Mixup: a training batch is blended with itself, moved on by one example.

Reference: Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018, https://arxiv.org/abs/1710.09412.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.distributions import Beta

from algoperf_lightning.data import Batch
from algoperf_lightning.data.streams import TrainingBatches

from .data import ImageNetData

ALPHA = 0.2
"""Both parameters of the Beta distribution that the weight is drawn from: mostly near 0 or near 1."""

# On the CPU whatever the default device is: nobody waits for a GPU then.
_PARAMETER = torch.tensor(ALPHA, dtype=torch.float64, device="cpu")
_WEIGHT = Beta(_PARAMETER, _PARAMETER)


class MixedImageNetData(ImageNetData):
    """ImageNet whose training batches are mixed on the device, each before the submission sees it.

    So what is mixed belongs to the batch: a submission that goes over a batch twice, or keeps it, has the same mixture
    again. There is one weight for each batch of each process, as in AlgoPerf's PyTorch code, and an example is mixed
    with one of the same process.
    """

    def training_batches(
        self,
        batch_size: int,
        rank: int,
        ranks: int,
        select: Callable[[Iterator[Batch]], Batch],
        to_device: Callable[[Batch], Batch] | None,
    ) -> TrainingBatches:
        """Return this rank's endless training batches, mixed."""

        def move_and_mix(batch: Batch) -> Batch:
            moved = batch if to_device is None else to_device(batch)
            return mixup(moved, draw_weight(), self.spec.data["classes"])

        return super().training_batches(batch_size, rank, ranks, select, move_and_mix)


def draw_weight() -> float:
    """Return a weight in [0, 1] from torch's generator of the CPU, whose state is part of a checkpoint."""
    return float(_WEIGHT.sample())


def mixup(batch: Batch, weight: float, classes: int) -> Batch:
    """Return ``weight`` of every example and ``1 - weight`` of the one before it; before the first comes the last.

    Nothing here makes the host wait for the device.

    Args:
        batch: ``inputs`` of shape ``(B, ...)``, ``targets`` int64 ``(B,)``.
        weight: In [0, 1].
        classes: How many there are.

    Returns:
        The batch with ``inputs`` float32 ``(B, ...)``, on the scale they had, and ``targets`` float32 ``(B, classes)``,
        the probabilities of the classes.
    """
    inputs, targets = batch["inputs"], batch["targets"]
    dense = torch.zeros(len(targets), classes, device=targets.device).scatter_(1, targets[:, None], 1.0)
    return {**batch, "inputs": _mix(inputs, weight), "targets": _mix(dense, weight)}


def _mix(rows: Tensor, weight: float) -> Tensor:
    return torch.lerp(rows.roll(1, 0).float(), rows.float(), weight)
