"""The interface of workloads for probes, and the error for quantities that cannot be measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.viewed import Loss, Outputs


class UnmeasurableError(RuntimeError):
    """A quantity cannot be measured on a workload; the message contains the reason."""


class Probed(Protocol):
    """The part of a :class:`~algoperf_lightning.view.WorkloadView` that a probe uses."""

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
        """Run the model on a batch and return its outputs."""

    def loss_of(self, outputs: Outputs, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return the loss of each example, given the model's outputs."""
