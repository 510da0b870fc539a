"""The common part of the LibriSpeech workloads: data, CTC loss, word error rates."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from torch import Tensor
from torchmetrics import Metric

from algoperf_lightning.data import Batch, WorkloadData
from algoperf_lightning.metrics import WeightedMean
from algoperf_lightning.workload import Loss, Workload

from .ctc import ctc_loss, smooth_ctc_loss
from .data import LibriSpeechData
from .decoding import greedy_decode
from .metric import WordErrorRate


class SpeechWorkload(Workload, ABC):
    """Speech recognition.

    Batch: ``inputs`` int16 ``(B, 320000)``, samples at 16 kHz; ``input_lengths`` int64 ``(B,)``; ``targets`` int64
    ``(B, 256)``, word pieces with the end; ``target_lengths`` int64 ``(B,)``. Values beyond the lengths are padding.

    The model maps ``inputs`` and ``input_lengths`` to logits ``(B, T, 1024)`` and the number of valid frames ``(B,)``.

    Metrics: ``wer``, the word error rate on printed tensors, which AlgoPerf computes and uses for its targets;
    ``plain_wer``, the usual word error rate; ``loss``, CTC in nats per target token, including the end. Transcripts are
    decoded greedily.
    """

    data_class: ClassVar[type[WorkloadData]] = LibriSpeechData
    output_layer: ClassVar[str] = "head"
    loss_function = staticmethod(ctc_loss)
    data: LibriSpeechData

    def outputs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits ``(B, T, 1024)``, label 0 the blank, and the valid frames of each utterance, ``(B,)``."""
        logits, lengths = self.network(batch["inputs"], batch["input_lengths"])
        return logits, lengths

    def loss_of(self, outputs: tuple[Tensor, Tensor], batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return the CTC loss of each utterance in nats, and its number of target tokens as weight.

        It is infinite if an utterance has fewer frames than its target requires. Label smoothing is ignored.
        """
        loss: Loss = self.loss_function(*outputs, batch)
        return loss

    def count_units(self, batch: Batch) -> Tensor:
        """Return the number of target tokens of each utterance."""
        tokens: Tensor = batch["target_lengths"].float()
        return tokens * batch["weights"] if "weights" in batch else tokens

    @contextmanager
    def second_order(self) -> Iterator[None]:
        """Make a block with a CTC loss that is twice differentiable; torch's is not."""
        usual = vars(self).get("loss_function")  # a compiled one
        self.loss_function = smooth_ctc_loss
        try:
            with super().second_order():
                yield
        finally:
            del self.loss_function
            if usual is not None:
                self.loss_function = usual

    def build_metrics(self) -> dict[str, Metric]:
        """Return both word error rates and the loss per token."""
        return {
            "wer": WordErrorRate(as_printed=True),
            "plain_wer": WordErrorRate(as_printed=False),
            "loss": WeightedMean(),
        }

    def evaluate(self, batch: Batch, metrics: Mapping[str, Any]) -> None:
        """Update them with a batch."""
        logits, lengths = outputs = self.outputs(batch)
        loss = self.regularized(self.loss_of(outputs, batch))
        assert loss.weight is not None
        metrics["loss"].update(loss.per_example / loss.weight.clamp(min=1), loss.weight)
        valid = batch["weights"].cpu() > 0
        references = self._texts(batch["targets"], batch["target_lengths"], valid)
        hypotheses = self._texts(*greedy_decode(logits, lengths), valid)
        for name in ("wer", "plain_wer"):
            metrics[name].update(references, hypotheses)

    def _texts(self, pieces: Tensor, lengths: Tensor, valid: Tensor) -> list[str]:
        """Return the texts of those sequences of word pieces, ``(B, S)``, that are valid."""
        rows = zip(pieces[valid].tolist(), lengths[valid].tolist(), strict=True)
        return self.data.tokenizer.decode([row[:length] for row, length in rows])
