"""What a probe needs of a workload, and the error that says what it cannot have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.viewed import Loss, Outputs


class UnmeasurableError(RuntimeError):
    """Something cannot be measured on a workload; the message says why."""


class Probed(Protocol):
    """What a probe needs of a workload: a :class:`~algoperf_lightning.view.WorkloadView` has it."""

    @property
    def model(self) -> nn.Module:
        """The model."""

    def loss(
        self,
        batch: Batch,
        *,
        label_smoothing: float = 0.0,
        update_batch_norm: bool = True,
        dropout: float | None = None,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> Loss:
        """Run the model on a batch and return the loss of each example."""

    def outputs(self, batch: Batch, *, update_batch_norm: bool = True) -> Outputs:
        """Run the model on a batch and return what the loss needs of it."""

    def loss_of(self, outputs: Outputs, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return the loss of each example, given the model's outputs."""
