"""Base of the two LAWA submissions: NadamW, snapshots of its weights, and evaluations at their average."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .batch_sizes import CYCLIC
from .nadamw import NadamWRecipe
from .schedules import cycles_schedule

Snapshot = list[Tensor]
"""The parameters at some step, in the order of ``model.parameters()``, on the CPU."""


@with_arguments
class WeightAveraging(NadamWRecipe):
    """NadamW that takes a snapshot of its weights every few steps, and is evaluated at their average.

    The average does not affect training. Running statistics of batch norms are those of the last step, not averaged.
    Snapshots are copied to CPU memory; that step waits until the GPU has finished.

    Args:
        lawa_start_factor: Steps before the step with the first snapshot, as a share of the step hint, rounded up.
        lawa_interval_factor: Steps between snapshots, as a share of the step hint, rounded up.
    """

    batch_sizes = CYCLIC

    lawa_start_factor: float = 0.02
    lawa_interval_factor: float = 0.005

    def __post_init__(self) -> None:
        """Start without snapshots."""
        super().__post_init__()
        self.step = 0
        """Completed steps."""
        self.snapshots: list[Snapshot] = []
        self._trained: Snapshot | None = None

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return NadamW, which takes the snapshots, and its schedule."""
        configured = super().configure_optimizers(model, workload)
        start = math.ceil(self.lawa_start_factor * workload.step_hint)
        interval = math.ceil(self.lawa_interval_factor * workload.step_hint)

        def after_step(*_: Any) -> None:
            # The entries compared the step before they counted it, so a snapshot is due before the step is counted.
            if self.step >= start and (self.step - start) % interval == 0:
                self.take([p.detach().to("cpu", copy=True) for p in model.parameters()])
            self.step += 1

        configured["optimizer"].register_step_post_hook(after_step)
        return configured

    def schedule(self, optimizer: Optimizer, step_hint: int) -> LambdaLR:
        """Return the schedule; its first step uses the peak learning rate."""
        return cycles_schedule(optimizer, horizon=step_hint, warmup_factor=self.warmup_factor)

    @abstractmethod
    def take(self, snapshot: Snapshot) -> None:
        """Include a snapshot in the average."""

    @property
    @abstractmethod
    def is_ready(self) -> bool:
        """Whether there are enough snapshots to average."""

    @torch.no_grad()
    def before_evaluation(self, model: nn.Module) -> None:
        """Replace the weights by the average of the snapshots."""
        if not self.is_ready:
            return
        parameters = list(model.parameters())
        self._trained = [p.detach().clone() for p in parameters]
        for parameter, *values in zip(parameters, *self.snapshots, strict=True):
            parameter.copy_(values[0])
            for value in values[1:]:
                parameter.add_(value.to(parameter.device))
            parameter.div_(len(values))

    @torch.no_grad()
    def after_evaluation(self, model: nn.Module) -> None:
        """Restore the trained weights bit for bit."""
        if self._trained is not None:
            torch._foreach_copy_(list(model.parameters()), self._trained)
            self._trained = None

    def state_dict(self) -> dict[str, Any]:
        """Return the step and the snapshots."""
        return {"step": self.step, "snapshots": self.snapshots}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the step and the snapshots."""
        self.step = state["step"]
        self.snapshots = [[value.cpu() for value in snapshot] for snapshot in state["snapshots"]]
