"""The metrics of all splits during one evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torchmetrics import Metric

from algoperf_lightning.rng import get_rng_state, set_rng_state


class SplitMetrics:
    """New metrics of each split; the random state of training is saved until :meth:`end`.

    Args:
        splits: Prefix of the metrics of each data loader, in order.
        build: Returns the metrics of one split, by name.
        device: Device of the model.
    """

    def __init__(self, splits: Sequence[str], build: Callable[[], dict[str, Metric]], device: torch.device) -> None:
        self._rng_state = get_rng_state()  # before metrics are created, which may draw random numbers
        self._computed: dict[str, float] = {}
        self._splits = [(prefix, {name: metric.to(device) for name, metric in build().items()}) for prefix in splits]

    def of(self, loader: int) -> Mapping[str, Metric]:
        """Return the metrics of a data loader, by name."""
        return self._splits[loader][1]

    def compute(self, loader: int) -> dict[str, float]:
        """Return the metrics of a data loader over all ranks, by ``split/metric``, after all its batches."""
        prefix, metrics = self._splits[loader]
        computed = {f"{prefix}/{name}": float(metric.compute()) for name, metric in metrics.items()}
        self._computed |= computed
        return computed

    def end(self) -> dict[str, float]:
        """Restore the random state of training, and return the metrics of all splits."""
        set_rng_state(self._rng_state)
        return self._computed
