"""Criteo 1TB: predict clicks on advertisements with a small DLRM, in AlgoPerf since v0.5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from algoperf_lightning.data import Batch, WorkloadData
from algoperf_lightning.metrics import WeightedMean
from algoperf_lightning.workload import Loss, Workload

from .data import Criteo1TBData
from .model import DLRM, ResidualDLRM
from .spec import CRITEO1TB


class Criteo1TB(Workload):
    """Click-through-rate prediction with a DLRM whose table has 4,194,304 rows of 128.

    Batch: ``inputs`` float32 ``(B, 13)``, the logarithms of the counts; ``ids`` int32 ``(B, 26)``, the hashed
    categories, each below its column's number of buckets; ``targets`` float32 ``(B,)``, 1 for a click.

    Metric: ``loss``, the mean cross-entropy over a split in nats, lower is better. ``label_smoothing`` is ignored, as
    in the benchmark. The table is one parameter with a dense gradient.

    Variants: ``layernorm``, ``embed_init`` (table from U(0, 1)), ``resnet`` (:class:`~.model.ResidualDLRM`).

    Reference: Criteo AI Lab, Criteo 1TB Click Logs (the data); Naumov et al., Deep Learning Recommendation Model, 2019,
    https://arxiv.org/abs/1906.00091 (the model); Dahl et al., Benchmarking Neural Network Training Algorithms, 2023,
    https://arxiv.org/abs/2306.07179 (AlgoPerf).
    """

    spec = CRITEO1TB
    data_class: ClassVar[type[WorkloadData]] = Criteo1TBData
    output_layer: ClassVar[str] = "head"

    def build_model(self) -> nn.Module:
        """Return the network of the variant."""
        options = self.spec.model
        dropout = self.dropout or 0.0
        if options["residual"]:
            return ResidualDLRM(options["vocab_size"], options["embed_dim"], options["residual_width"], dropout)
        names = ("vocab_size", "embed_dim", "bottom", "top", "embedding_scale", "layer_norm")
        return DLRM(**{name: options[name] for name in names}, dropout=dropout)

    def outputs(self, batch: Batch) -> Tensor:
        """Return the logits of a click, ``(B,)``."""
        logits: Tensor = self.network(batch["inputs"], batch["ids"])
        return logits

    def loss_of(self, outputs: Tensor, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return the cross-entropy of each row in nats, float32 ``(B,)``; ``label_smoothing`` is ignored."""
        losses = F.binary_cross_entropy_with_logits(outputs.float(), batch["targets"], reduction="none")
        weights = batch.get("weights")
        return Loss(losses) if weights is None else Loss(losses * weights, weights)

    def build_metrics(self) -> dict[str, Metric]:
        """Return the mean loss, named ``loss``."""
        return {"loss": WeightedMean()}

    def evaluate(self, batch: Batch, metrics: Mapping[str, Any]) -> None:
        """Update the mean loss with the rows of a batch, in nats."""
        metrics["loss"].update(self.loss(batch).per_example, batch["weights"])
