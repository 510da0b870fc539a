"""FineWeb-Edu: predict the next token of English web text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from algoperf_lightning.data import Batch, WorkloadData
from algoperf_lightning.metrics import WeightedMean
from algoperf_lightning.workload import Loss, Workload

from .data import FineWebEduData
from .model import LanguageModel
from .spec import FINEWEBEDU_LM

EVALUATED_ROWS = 16
"""Windows that are evaluated at a time, which limits the memory of an evaluation and the size of its compiled graph."""


class Perplexity(WeightedMean):
    """The exponential of the mean loss of all tokens, over all ranks."""

    def compute(self) -> Tensor:
        """Return the perplexity, a scalar; NaN without tokens."""
        return super().compute().exp()


class FineWebEduLM(Workload):
    """A causal language model of 252.8 million parameters, on 10 billion tokens of educational web pages.

    Batch: ``inputs`` int32 and ``targets`` int64, both ``(B, 1024)``, ids of the GPT-2 vocabulary of 50,257; a target
    is the token after its input. Windows extend over the ends of documents, which are tokens too.

    The loss is the cross-entropy in nats of each token given those before it in its window. Metrics: ``ppl``, the
    exponential of the mean loss of all tokens, and ``loss``, the mean itself.

    There is no test split and no test target. The model has no dropout; a submission's ``dropout`` changes nothing.

    Reference: G. Penedo et al., The FineWeb Datasets, 2024, https://arxiv.org/abs/2406.17557 (the data); A. Radford et
    al., Language Models are Unsupervised Multitask Learners, 2019 (the vocabulary); AlgoPerf version 1.0.
    """

    spec = FINEWEBEDU_LM
    data_class: ClassVar[type[WorkloadData]] = FineWebEduData
    output_layer: ClassVar[str] = "embedding"
    _holds_outputs = False

    def build_model(self) -> nn.Module:
        """Return the network."""
        return LanguageModel(**self.spec.model, length=self.spec.data["length"])

    def outputs(self, batch: Batch) -> Tensor:
        """Return the logits of the next tokens, ``(B, T, vocabulary)``: 13.2 GB for a batch in float32."""
        logits: Tensor = self.network(batch["inputs"])
        return logits

    def loss_of(self, outputs: Tensor, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return the cross-entropy in nats of each window, summed over its tokens, and their number.

        Both are float32 ``(B,)``. With smoothing a, the target distribution is (1 - a) one-hot + a / vocabulary.
        """
        losses = F.cross_entropy(
            outputs.float().flatten(0, 1), batch["targets"].flatten(), reduction="none", label_smoothing=label_smoothing
        )
        return _of_windows(losses.view_as(batch["targets"]), batch)

    def loss(self, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return :meth:`loss_of` the :meth:`outputs`; only blocks of :meth:`second_order` store all outputs."""
        if self._holds_outputs:
            return super().loss(batch, label_smoothing=label_smoothing)
        losses: Tensor = self.network(batch["inputs"], batch["targets"], label_smoothing)
        return self.regularized(_of_windows(losses, batch))

    def count_units(self, batch: Batch) -> Tensor:
        """Return the number of tokens of each window."""
        targets: Tensor = batch["targets"]
        weights: Tensor = batch.get("weights", targets.new_ones(1, 1)).float()
        return weights.view(len(weights), -1).expand(targets.shape).sum(1)

    @contextmanager
    def second_order(self) -> Iterator[None]:
        """Make a block that keeps the logits, because ``torch.func`` does not support the loss without them."""
        usual, self._holds_outputs = self._holds_outputs, True
        try:
            with super().second_order():
                yield
        finally:
            self._holds_outputs = usual

    def build_metrics(self) -> dict[str, Metric]:
        """Return perplexity and mean loss of all tokens."""
        return {"ppl": Perplexity(), "loss": WeightedMean()}

    def evaluate(self, batch: Batch, metrics: Mapping[str, Any]) -> None:
        """Update both with a batch, some windows at a time."""
        pieces = {name: values.split(EVALUATED_ROWS) for name, values in batch.items()}
        for rows in zip(*pieces.values(), strict=True):
            part = dict(zip(pieces, rows, strict=True))
            losses: Tensor = self.network(part["inputs"], part["targets"])
            weights = _token_weights(losses, part)
            for metric in metrics.values():
                metric.update(losses.flatten(), weights.flatten())


def _of_windows(losses: Tensor, batch: Batch) -> Loss:
    """Return the loss of windows, given that of their tokens ``(B, T)``."""
    weights = _token_weights(losses, batch)
    return Loss((losses * weights).sum(1), weights.sum(1))


def _token_weights(losses: Tensor, batch: Batch) -> Tensor:
    """Return the weight of each token, of the shape and type of their losses ``(B, T)``."""
    weights = torch.ones_like(losses)
    return weights * batch["weights"].view(len(losses), -1) if "weights" in batch else weights
