"""Metrics that several workloads share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class WeightedMean(Metric):
    """Weighted mean of one value per example over a split, in float64, over all ranks.

    ``update(value, weight)`` takes two tensors of shape ``(B,)``; examples with weight 0 (padding) are ignored. If a
    value is NaN, so is the mean: a diverged model has no mean loss. (``MeanMetric`` of torchmetrics drops either the
    NaN or, if it is set to keep NaN, the weights.)
    """

    full_state_update = False
    total: Tensor
    weight: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("total", "weight"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, value: Tensor, weight: Tensor) -> None:
        """Add a batch."""
        weight = weight.double()
        self.total += (torch.where(weight > 0, value.double(), 0) * weight).sum()
        self.weight += weight.sum()

    def compute(self) -> Tensor:
        """Return the mean; NaN if there are no examples."""
        return self.total / self.weight
