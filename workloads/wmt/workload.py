"""WMT: translate German into English with a Transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from algoperf_lightning.data import Batch, WorkloadData
from algoperf_lightning.label_smoothing import cross_entropy
from algoperf_lightning.metrics import WeightedMean
from algoperf_lightning.workload import Loss, Workload

from .data import WmtData
from .decoding import beam_search
from .metric import Bleu
from .model import Transformer
from .spec import WMT_SPEC
from .tokenizer import END


def token_losses(logits: Tensor, batch: Batch, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Return cross-entropy in nats and weight of each target token ``(B, T)``; both are 0 for padding.

    With smoothing a, the target distribution is (1 - a) one-hot + a / vocabulary.
    """
    targets: Tensor = batch["targets"]
    losses = cross_entropy(logits.float().flatten(0, 1), targets.flatten(), label_smoothing).view_as(targets)
    weights = token_weights(batch)
    return losses * weights, weights


def token_weights(batch: Batch) -> Tensor:
    """Return the weight of each target token, float32 ``(B, T)``."""
    weights: Tensor = (batch["targets"] > 0).float()
    return weights * batch["weights"].view(len(weights), -1) if "weights" in batch else weights


class WMT(Workload):
    """Translation from German into English with a Transformer of 133.5 million parameters.

    Batch: ``inputs`` (German) and ``targets`` (English) int64 ``(B, 256)``, ids of a shared vocabulary, 2 at the end of
    a sentence and 0 for padding. Training rows contain several sentences, and have ``inputs_position``,
    ``inputs_segmentation``, ``targets_position`` and ``targets_segmentation`` of the same shape.

    The loss is the cross-entropy in nats of each target token given the source and the tokens before it, averaged over
    all target tokens of the global batch. Metrics: ``bleu`` in [0, 100] of translations by beam search with four beams;
    ``loss`` and ``accuracy`` per token, given the correct tokens before it.

    Variants: ``post_ln``, layer norms after the blocks and none at the ends; ``attention_temp``, queries times 4;
    ``glu_tanh``, gated feed-forward blocks with tanh.

    Reference: A. Vaswani et al., Attention Is All You Need, 2017, https://arxiv.org/abs/1706.03762 (the model);
    O. Bojar et al., Findings of the 2017 Conference on Machine Translation, 2017, https://aclanthology.org/W17-4717
    (the data); Dahl et al., Benchmarking Neural Network Training Algorithms, 2023, https://arxiv.org/abs/2306.07179.
    """

    spec = WMT_SPEC
    data_class: ClassVar[type[WorkloadData]] = WmtData
    output_layer: ClassVar[str] = "shared_embedding"
    loss_function = staticmethod(token_losses)

    def build_model(self) -> nn.Module:
        """Return the network."""
        return Transformer(**self.spec.model, length=self.spec.data["length"], dropout=self.dropout or 0.0)

    def outputs(self, batch: Batch) -> Tensor:
        """Return the logits of each target token given those before it, ``(B, T, vocabulary)``."""
        packed = [
            batch.get(f"{side}_{what}") for what in ("position", "segmentation") for side in ("inputs", "targets")
        ]
        logits: Tensor = self.network(batch["inputs"], batch["targets"], *packed)
        return logits

    def loss_of(self, outputs: Tensor, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return the cross-entropy in nats of each row, summed over its target tokens, and their number.

        With smoothing a, the target distribution is (1 - a) one-hot + a / vocabulary.
        """
        losses, weights = self.loss_function(outputs, batch, label_smoothing)
        return Loss(losses.sum(1), weights.sum(1))

    def count_units(self, batch: Batch) -> Tensor:
        """Return the number of target tokens of each row."""
        return token_weights(batch).sum(1)

    def build_metrics(self) -> dict[str, Metric]:
        """Return BLEU, and the mean loss and accuracy of all target tokens."""
        return {"bleu": Bleu(), "loss": WeightedMean(), "accuracy": WeightedMean()}

    def evaluate(self, batch: Batch, metrics: Mapping[str, Any]) -> None:
        """Update all three; sentences of weight 0 are not translated."""
        logits, targets = self.outputs(batch), batch["targets"]
        losses, weights = self.loss_function(logits, batch, 0.0)
        metrics["loss"].update(losses.flatten(), weights.flatten())
        metrics["accuracy"].update((logits.argmax(-1) == targets).flatten(), weights.flatten())
        del logits  # free this large tensor: beam search needs memory too
        real = weights.any(1)
        translations = self.translate(batch["inputs"][real])
        metrics["bleu"].update(translations, self._text(targets[real]))

    def translate(self, inputs: Tensor) -> list[str]:
        """Return English for German ids ``(B, S)``."""
        if not len(inputs):
            return []
        longest = int((inputs > 0).nonzero()[:, 1].max()) + 1  # trailing padding changes nothing
        found = beam_search(cast(Transformer, self.network), inputs[:, :longest], end=END)
        return self._text(found.sequences[:, -1, 1:])

    def _text(self, ids: Tensor) -> list[str]:
        """Return sentences for ids ``(B, T)``, each up to its first end token."""
        ended = ids == END
        # As in the benchmark: without an end token, only the first token is kept.
        lengths = torch.where(ended.any(1), ended.int().argmax(1), 0) + 1
        tokenizer = cast(WmtData, self.data).tokenizer
        return tokenizer.decode([row[:n] for row, n in zip(ids.tolist(), lengths.tolist(), strict=True)])
