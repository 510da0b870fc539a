"""Base of all image classification workloads: softmax cross-entropy and accuracy."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from algoperf_lightning.data import Batch
from algoperf_lightning.label_smoothing import cross_entropy
from algoperf_lightning.metrics import WeightedMean
from algoperf_lightning.workload import Loss, Workload


def _cross_entropy(logits: Tensor, batch: Batch, label_smoothing: float) -> Loss:
    losses = cross_entropy(logits.float(), batch["targets"], label_smoothing)
    weights = batch.get("weights")
    return Loss(losses) if weights is None else Loss(losses * weights, weights)


class ClassificationWorkload(Workload, ABC):
    """Classify ``inputs`` ``(B, ...)`` into integer ``targets`` ``(B,)``; the model returns logits ``(B, classes)``.

    Metrics: ``accuracy``, the share of examples whose largest logit (the first one in case of ties) is the label's,
    and ``loss``, the mean cross-entropy in nats without label smoothing, plus the workload's own
    :meth:`regularization` if it has one.
    """

    loss_function = staticmethod(_cross_entropy)

    def outputs(self, batch: Batch) -> Tensor:
        """Return the logits, ``(B, classes)``."""
        logits: Tensor = self.network(batch["inputs"])
        return logits

    def loss_of(self, outputs: Tensor, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return the cross-entropy of each example in nats; target = (1 - a) one-hot + a / classes for smoothing a."""
        loss: Loss = self.loss_function(outputs, batch, label_smoothing)
        return loss

    def build_metrics(self) -> dict[str, Metric]:
        """Return the mean accuracy and the mean loss."""
        return {"accuracy": WeightedMean(), "loss": WeightedMean()}

    def evaluate(self, batch: Batch, metrics: Mapping[str, Any]) -> None:
        """Update both with a batch."""
        logits = self.outputs(batch)
        metrics["accuracy"].update((logits.argmax(-1) == batch["targets"]).float(), batch["weights"])
        loss = self.regularized(self.loss_of(logits, batch))
        metrics["loss"].update(loss.per_example, batch["weights"])
