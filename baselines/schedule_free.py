"""Base of the schedule-free submissions: averaged weights, fast weights, and gradients between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.optim import ScheduleFreeOptimizer as ScheduleFreeOptimizer
from algoperf_lightning.view import WorkloadView

from .recipe import Recipe


class ScheduleFree(Recipe):
    """A submission whose optimizer is a :class:`~algoperf_lightning.optim.ScheduleFreeOptimizer`.

    The model holds the average x between steps, so that evaluations and checkpoints see it without a swap. Gradients
    are computed at y. That pass does not update running statistics of batch norms, since these belong to x: a separate
    forward pass without gradient updates them at x, on the batch of the step, in some of every three steps.

    A skipped step, for example after an overflow with precision ``16-mixed``, leaves the model at y. The model returns
    to x before the next evaluation or step; a checkpoint in between records that it is at y.

    Args:
        learning_rate: Learning rate after warm-up.
        one_minus_beta1: Share of the fast weights in the point at which gradients are computed.

    Attributes:
        statistics_steps: In which of three steps, counted from 0, that forward pass is made; it counts on the clock.
        statistics_at_y: Whether running statistics are updated in the pass at y instead.
    """

    hyperparameter_ranges: ClassVar[Mapping[str, str]] = {"one_minus_beta1": "(0, 1)"}
    optimizer: ScheduleFreeOptimizer
    statistics_steps: tuple[int, ...] = (1, 2)
    statistics_at_y: bool = False

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return the optimizer, which needs no schedule."""
        self.optimizer = self.make_optimizer(model, workload)
        return self.optimizer

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> ScheduleFreeOptimizer:
        """Return the optimizer."""
        raise NotImplementedError(f"{type(self).__name__} must define make_optimizer(self, model, workload).")

    def training_step(self, workload: WorkloadView, batch: Batch) -> Tensor:
        """Return the mean loss at y."""
        self.optimizer.go_to_x()
        if self._is_due(workload.model):
            with torch.no_grad():
                workload.loss(batch, dropout=self.dropout)
        self.optimizer.go_to_y()
        loss = workload.loss(
            batch,
            label_smoothing=self.label_smoothing,
            update_batch_norm=self.statistics_at_y,
            dropout=self.dropout,
        )
        return workload.mean(loss)

    def before_evaluation(self, model: nn.Module) -> None:
        """Move the model to the average if a skipped step has left it at y."""
        self.optimizer.go_to_x()

    def _is_due(self, model: nn.Module) -> bool:
        if self.statistics_at_y or self.optimizer.param_groups[0]["k"] % 3 not in self.statistics_steps:
            return False
        return any(getattr(module, "running_mean", None) is not None for module in model.modules())
