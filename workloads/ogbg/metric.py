"""The metric of ogbg: mean average precision over tasks, with missing labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

_MISSING = -1


class MeanAveragePrecision(Metric):
    """Mean over tasks of the average precision of a split's examples, over all ranks.

    ``update(logits, targets, weights)`` takes three tensors of shape ``(B, tasks)``; entries of weight 0 (missing
    labels, padding) are ignored. Scores are the logits' sigmoids in float32, as in the benchmark, so logits may become
    ties. Tasks without positives are ignored. The result is NaN if no task has positives, or if the score of any entry
    is NaN, because a diverged model has no precision.
    """

    full_state_update = False
    scores: list[Tensor]
    labels: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("scores", "labels"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Add a batch: logits, targets of 0 or 1, and weights, each ``(B, tasks)``."""
        self.scores.append(logits.float().sigmoid())
        self.labels.append(torch.where(weights > 0, targets, _MISSING).to(torch.int8))

    def compute(self) -> Tensor:
        """Return the mean, a float64 scalar."""
        scores, labels = dim_zero_cat(self.scores), dim_zero_cat(self.labels)
        valid = labels != _MISSING
        mean = average_precision(scores, labels == 1, valid).nanmean()
        return torch.where((scores.isnan() & valid).any(), torch.nan, mean)


def average_precision(scores: Tensor, positive: Tensor, valid: Tensor) -> Tensor:
    """Return the average precision of each task: the mean of the precision at each positive, ties taken together.

    This is the sum over thresholds of (increase of recall) x precision, without interpolation, as defined by
    scikit-learn's ``average_precision_score``.

    Args:
        scores: Shape ``(N, tasks)``, without NaN.
        positive: Which entries are positive, bool ``(N, tasks)``.
        valid: Which entries count, bool ``(N, tasks)``.

    Returns:
        float64 ``(tasks,)``; NaN for a task without positives.
    """
    hits = positive & valid
    hit_counts, valid_counts = hits.sum(0)[:, None], valid.sum(0)[:, None]
    most = int(hit_counts.max())
    ranked = torch.where(valid, scores, -torch.inf).T.contiguous().sort().values
    thresholds = torch.where(hits, scores, -torch.inf).T.topk(most).values  # of each task, its positives come first
    # Numbers of examples with at least the score of each positive, among all examples and among the positives.
    above = (len(scores) - torch.searchsorted(ranked, thresholds)).minimum(valid_counts)
    hits_above = (most - torch.searchsorted(thresholds.flip(1), thresholds)).minimum(hit_counts)
    precision = hits_above.double() / above
    is_hit = torch.arange(most, device=scores.device) < hit_counts
    return torch.where(is_hit, precision, 0).sum(1) / hit_counts[:, 0]
