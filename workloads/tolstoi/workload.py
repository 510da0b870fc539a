"""tolstoi_char_rnn: predict the next character of War and Peace with a recurrent network; a problem of DeepOBS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from algoperf_lightning.data import Batch, WorkloadData
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.metrics import WeightedMean
from algoperf_lightning.workload import Loss, Workload

from .carried_state import CarriedState
from .data import TolstoiData
from .model import CharRnn
from .spec import TOLSTOI_CHAR_RNN


class TolstoiCharRnn(Workload):
    """Prediction of the next character of War and Peace with two LSTM layers.

    Batch: ``inputs`` and ``targets`` int64 ``(B, 50)``, numbers of characters in 0..82; ``rows`` and ``blocks`` int64
    ``(B,)``: the text is arranged in 50 rows, and each batch continues all of them, always in the order of the text.
    The network starts each block from its final state of the previous block in that row, and each pass, in training
    and in evaluations, from zero.

    The loss is the mean cross-entropy in nats of the characters of a block. Metrics: ``accuracy``, the share of
    correctly predicted characters, and ``loss``. Label smoothing is that of softmax cross-entropy.

    Reference: F. Schneider, L. Balles, P. Hennig, DeepOBS: A Deep Learning Optimizer Benchmark Suite, 2019,
    https://arxiv.org/abs/1903.05499.

    Raises:
        BadInputError: If a batch is larger than the number of rows, because it would contain two blocks of a row.
    """

    spec = TOLSTOI_CHAR_RNN
    data_class: ClassVar[type[WorkloadData]] = TolstoiData
    output_layer: ClassVar[str] = "dense"
    recurrent: ClassVar[bool] = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows, shape = self.spec.data["rows"], (4, self.spec.model["width"])
        if self.batch_size > rows:
            raise BadInputError(
                f"{self.spec.full_name}: batch_size is {self.batch_size}, but the text has {rows} rows, each of "
                f"which a batch continues at most once. Use a batch size that divides {rows}."
            )
        self.trained = CarriedState(rows, shape, persistent=True)
        self.evaluated = CarriedState(rows, shape, persistent=False)

    def build_model(self) -> nn.Module:
        """Return the network."""
        return CharRnn(**self.spec.model, dropout=self.dropout or 0.0)

    def outputs(self, batch: Batch) -> Tensor:
        """Return the logits of the next characters, ``(B, 50, 83)``, and store the states for the next blocks."""
        carried = self.trained if self.network.training else self.evaluated
        rows, blocks = batch["rows"], batch["blocks"]
        start = carried.start(rows, blocks)
        logits, end = self.network(batch["inputs"], start)
        carried.keep(rows, blocks, start, end)
        result: Tensor = logits
        return result

    def loss_of(self, outputs: Tensor, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return the mean cross-entropy in nats of the characters of each block, ``(B,)``.

        With smoothing a, the target distribution is (1 - a) one-hot + a / vocabulary.
        """
        losses = F.cross_entropy(
            outputs.float().mT, batch["targets"], reduction="none", label_smoothing=label_smoothing
        ).mean(1)
        weights = batch.get("weights")
        return Loss(losses) if weights is None else Loss(losses * weights, weights)

    def build_metrics(self) -> dict[str, Metric]:
        """Return the mean accuracy and the mean loss of all characters."""
        return {"accuracy": WeightedMean(), "loss": WeightedMean()}

    def evaluate(self, batch: Batch, metrics: Mapping[str, Any]) -> None:
        """Update both with a batch."""
        logits = self.outputs(batch)
        right = (logits.argmax(-1) == batch["targets"]).float().mean(1)
        metrics["accuracy"].update(right, batch["weights"])
        metrics["loss"].update(self.regularized(self.loss_of(logits, batch)).per_example, batch["weights"])
