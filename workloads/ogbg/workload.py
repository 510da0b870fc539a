"""ogbg: predict 128 properties of molecules with a graph network; one of AlgoPerf's base workloads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from algoperf_lightning.data import Batch, WorkloadData
from algoperf_lightning.metrics import WeightedMean
from algoperf_lightning.workload import Loss, Workload

from .data import OGBGData
from .metric import MeanAveragePrecision
from .model import GraphNetwork
from .spec import OGBG as SPEC
from .splitting import cut_graphs, split_graphs


def _cross_entropy(logits: Tensor, batch: Batch, label_smoothing: float) -> Tensor:
    """Return the loss of each entry, 0 where the label is missing, shape ``(B, tasks)``."""
    tasks = logits.shape[1]
    targets = (1 - label_smoothing) * batch["targets"] + label_smoothing / tasks
    return F.binary_cross_entropy_with_logits(logits, targets, weight=batch["weights"], reduction="none")


class OGBG(Workload):
    """Prediction of 128 binary properties of molecules (ogbg-molpcba), many of them not measured, from their graphs.

    Batch of B molecules, combined into one graph with N nodes and M directed edges, the last of which are padding:
    ``nodes`` float32 ``(N, 9)``, ``edges`` float32 ``(M, 3)``, ``senders`` and ``receivers`` int64 ``(M,)`` in [0, N),
    ``node_graphs`` int64 ``(N,)``, the molecule of each node, B for padding; ``targets`` float32 ``(B, 128)``, 0 or 1;
    ``weights`` float32 ``(B, 128)``, 0 where a property was not measured.

    Metrics: ``mean_average_precision`` over the tasks that have a positive example, ``accuracy`` and ``loss`` over the
    labelled entries.

    Reference: W. Hu et al., Open Graph Benchmark: Datasets for Machine Learning on Graphs, 2020,
    https://arxiv.org/abs/2005.00687 (the data); P. Battaglia et al., Relational inductive biases, deep learning, and
    graph networks, 2018, https://arxiv.org/abs/1806.01261 (the model); Dahl et al., Benchmarking Neural Network
    Training Algorithms, 2023, https://arxiv.org/abs/2306.07179 (AlgoPerf).
    """

    spec = SPEC
    data_class: ClassVar[type[WorkloadData]] = OGBGData
    output_layer: ClassVar[str] = "decoder"
    loss_function = staticmethod(_cross_entropy)

    def build_model(self) -> nn.Module:
        """Return the network."""
        options = self.spec.model
        return GraphNetwork(
            latent=options["latent"] // options["narrower"],
            hidden=[width // options["narrower"] for width in options["hidden"]],
            rounds=options["rounds"],
            activation=options["activation"],
            dropout=self.dropout or 0.0,
        )

    def outputs(self, batch: Batch) -> Tensor:
        """Return the logits of the molecules, float32 ``(B, 128)``, without those of the padding graph."""
        graphs = [batch[name] for name in ("nodes", "edges", "senders", "receivers", "node_graphs")]
        logits: Tensor = self.network(*graphs, len(batch["targets"]) + 1)
        return logits[:-1].float()

    def loss_of(self, outputs: Tensor, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return the sum of the binary cross-entropies of each molecule's labels in nats, and its number of labels.

        Both are float32 ``(B,)``. With smoothing a, label y becomes (1 - a) y + a / 128: the benchmark divides by the
        number of tasks, although a / 2 would be usual for two classes.
        """
        losses: Tensor = self.loss_function(outputs, batch, label_smoothing)
        return Loss(losses.sum(1), batch["weights"].sum(1))

    def split_batch(self, batch: Batch, parts: int) -> list[Batch]:
        """Return the molecules in parts, each with its own nodes and edges and without padding."""
        return split_graphs(batch, parts)

    def first_examples(self, batch: Batch, number: int) -> Batch:
        """Return the first molecules, with their nodes and edges and without padding."""
        return cut_graphs(batch, [number])[0]

    def build_metrics(self) -> dict[str, Metric]:
        """Return the mean average precision, and accuracy and loss per labelled entry."""
        return {"mean_average_precision": MeanAveragePrecision(), "accuracy": WeightedMean(), "loss": WeightedMean()}

    def evaluate(self, batch: Batch, metrics: Mapping[str, Any]) -> None:
        """Update all three with a batch."""
        logits, targets, weights = self.outputs(batch), batch["targets"], batch["weights"]
        metrics["mean_average_precision"].update(logits, targets, weights)
        metrics["accuracy"].update(((logits > 0) == (targets > 0)).float(), weights)
        metrics["loss"].update(self.loss_function(logits, batch, 0.0), weights)
