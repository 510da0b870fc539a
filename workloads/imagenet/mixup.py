"""Mixup: a training batch is blended with itself, shifted by one example.

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

# Always on the CPU, so that drawing does not wait for a GPU.
_PARAMETER = torch.tensor(ALPHA, dtype=torch.float64, device="cpu")
_WEIGHT = Beta(_PARAMETER, _PARAMETER)


class MixedImageNetData(ImageNetData):
    """ImageNet whose training batches are mixed on the device before the submission receives them.

    The mixture is part of the batch: a submission that uses a batch twice, or keeps it, has the same mixture. Each
    batch of each process has one weight, as in AlgoPerf's PyTorch code, and examples are mixed within the process.
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
    """Return ``weight`` times every example plus ``1 - weight`` times the previous one; the last precedes the first.

    The host does not wait for the device.

    Args:
        batch: ``inputs`` of shape ``(B, ...)``, ``targets`` int64 ``(B,)``.
        weight: In [0, 1].
        classes: Number of classes.

    Returns:
        The batch with ``inputs`` float32 ``(B, ...)`` on their original scale, and ``targets`` float32
        ``(B, classes)``, the probabilities of the classes.
    """
    inputs, targets = batch["inputs"], batch["targets"]
    dense = torch.zeros(len(targets), classes, device=targets.device).scatter_(1, targets[:, None], 1.0)
    return {**batch, "inputs": _mix(inputs, weight), "targets": _mix(dense, weight)}


def _mix(rows: Tensor, weight: float) -> Tensor:
    return torch.lerp(rows.roll(1, 0).float(), rows.float(), weight)
