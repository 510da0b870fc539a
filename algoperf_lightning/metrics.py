"""Metrics that several workloads share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import MeanMetric


class WeightedMean(MeanMetric):
    """Mean of a value per example over a whole split, in float64, over all ranks.

    ``update(value, weight)`` takes two tensors of shape ``(B,)``; an example of weight 0 (padding) counts nothing. A
    NaN is kept, where torchmetrics' own default would leave it out: a diverged model has no mean loss.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(nan_strategy="disable", **kwargs)
        self.set_dtype(torch.float64)

    def update(self, value: Tensor, weight: Tensor) -> None:  # type: ignore[override]
        """Add a batch."""
        counted = weight > 0
        value = torch.where(counted, value, 0).double()
        super().update(value, torch.where(counted, weight, 0).double())
