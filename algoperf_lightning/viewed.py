"""The interface that views use: a workload, its outputs and its loss."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from torch import Tensor, nn

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.means import Shared

if TYPE_CHECKING:
    from algoperf_lightning.dropout import DropoutRates
    from algoperf_lightning.spec import WorkloadSpec
    from algoperf_lightning.training.submission_log import SubmissionLog

Outputs: TypeAlias = Any
"""Outputs of a model, from which the loss is computed: a tensor, or a tuple or dict of tensors."""


@dataclass(frozen=True)
class Loss:
    """The loss and the weight of each example."""

    per_example: Tensor
    """Loss of each example, summed over its units, 0 for padding; shape ``(B,)``."""
    weight: Tensor | None = None
    """Valid units (examples, tokens) in each example, shape ``(B,)``; None if each is one valid example."""

    def plus(self, term: Tensor) -> Loss:
        """Return the loss whose mean over the valid units is larger by a scalar; the loss of padding remains 0."""
        return Loss(self.per_example + (term if self.weight is None else term * self.weight), self.weight)


class Viewed(Shared, Protocol):
    """The part of a :class:`~algoperf_lightning.workload.Workload` that a view uses."""

    spec: WorkloadSpec
    batch_size: int
    submission_log: SubmissionLog

    @property
    def output_layer(self) -> str:
        """Name of the output layer."""

    @property
    def network(self) -> nn.Module:
        """The model."""

    @property
    def dropout_rates(self) -> DropoutRates:
        """The model's dropout rates."""

    @property
    def ranks(self) -> int:
        """Processes that share the global batch."""

    def step_seed(self) -> int:
        """Return a seed that is the same on every rank and different at each step."""

    def outputs(self, batch: Batch) -> Outputs:
        """Run the model on a batch and return its outputs."""

    def loss_of(self, outputs: Outputs, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return the loss of each example, given the model's outputs."""

    def regularization(self) -> Tensor | None:
        """Return the workload's regularisation term, a scalar; None if there is none."""

    def run_as_in_training(self, batch: Batch) -> None:
        """Run the model on a batch in the precision of the run."""

    def loss(self, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Run the model on a batch and return the loss of each example."""

    def second_order(self) -> AbstractContextManager[None]:
        """Return a block in which outputs and losses can be differentiated twice."""
