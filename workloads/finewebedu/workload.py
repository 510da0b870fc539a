"""FineWeb-Edu: predict the next token of English web text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from algoperf_lightning.data import Batch, WorkloadData
from algoperf_lightning.metrics import WeightedMean
from algoperf_lightning.workload import Loss, Workload

from .data import FineWebEduData
from .model import LanguageModel
from .spec import FINEWEBEDU_LM

EVALUATED_ROWS = 16
"""Windows that are evaluated at once, which bounds the memory of an evaluation and the size of its compiled graph."""


class Perplexity(WeightedMean):
    """The exponential of the mean loss of all tokens, over all ranks."""

    def compute(self) -> Tensor:
        """Return the perplexity, a scalar; NaN of nothing."""
        return super().compute().exp()


class FineWebEduLM(Workload):
    """A causal language model of 252.8 million parameters, on 10 billion tokens of educational web pages.

    Batch: ``inputs`` int32 and ``targets`` int64, both ``(B, 1024)``, ids of the GPT-2 vocabulary of 50,257; a target
    is the token behind its input. Windows run over the ends of documents, which are tokens too.

    The loss is the cross-entropy in nats of each token given those before it in its window. Metrics: ``ppl``, the
    exponential of the mean loss of all tokens, and ``loss``, the mean itself.

    There is no test split and no test target. The model has no dropout; a submission's ``dropout`` changes nothing.

    Reference: G. Penedo et al., The FineWeb Datasets, 2024, https://arxiv.org/abs/2406.17557 (the data); A. Radford et
    al., Language Models are Unsupervised Multitask Learners, 2019 (the vocabulary); AlgoPerf version 1.0.
    """

    spec = FINEWEBEDU_LM
    data_class: ClassVar[type[WorkloadData]] = FineWebEduData
    output_layer: ClassVar[str] = "embedding"

    def build_model(self) -> nn.Module:
        """Return the network."""
        return LanguageModel(**self.spec.model, length=self.spec.data["length"])

    def loss(self, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return the cross-entropy in nats of each window, summed over its tokens, and how many these are.

        Both are float32 ``(B,)``. With smoothing a, the target distribution is (1 - a) one-hot + a / vocabulary.
        """
        losses, weights = self._tokens(batch, label_smoothing)
        return Loss((losses * weights).sum(1), weights.sum(1))

    def _tokens(self, batch: Batch, label_smoothing: float) -> tuple[Tensor, Tensor]:
        """Return loss and weight of each token, float32 ``(B, T)``."""
        targets: Tensor = batch["targets"]
        losses: Tensor = self.network(batch["inputs"], targets, label_smoothing)
        weights = torch.ones_like(losses)
        if "weights" in batch:
            weights = weights * batch["weights"].view(len(targets), -1)
        return losses, weights

    def build_metrics(self) -> dict[str, Metric]:
        """Return perplexity and mean loss of all tokens."""
        return {"ppl": Perplexity(), "loss": WeightedMean()}

    def evaluate(self, batch: Batch, metrics: Mapping[str, Any]) -> None:
        """Update both with a batch, some windows at a time."""
        pieces = {name: values.split(EVALUATED_ROWS) for name, values in batch.items()}
        for rows in zip(*pieces.values(), strict=True):
            losses, weights = self._tokens(dict(zip(pieces, rows, strict=True)), 0.0)
            for metric in metrics.values():
                metric.update(losses.flatten(), weights.flatten())
