"""SGD with heavy-ball and with Nesterov momentum, two paper baselines of AlgoPerf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from algoperf_lightning.submission import Submission
from algoperf_lightning.workload import WorkloadView

from .batch_sizes import USUAL
from .ranges import RANGES
from .schedules import warmup_linear_schedule


class Momentum(Submission):
    """SGD with heavy-ball momentum: linear warm-up, linear decay, then a constant learning rate.

    Weight decay is coupled (added to the gradient before momentum) and falls on all parameters. The search space is
    that of the benchmark paper with tuned beta1. The default point is a usual one, not the paper's. The points that set
    the benchmark's targets are ``submissions/target_setting_<workload or variant>``: ``imagenet_resnet`` and two of its
    variants with heavy-ball momentum, ``fastmri`` and ``ogbg`` with Nesterov's.

    Args:
        learning_rate: Peak learning rate.
        one_minus_beta1: 1 minus the momentum.
        warmup_factor: Share of the step hint spent warming up.
        weight_decay: L2 penalty.
        label_smoothing: Label smoothing of the training loss.
        dropout_rate: Dropout of the model; None keeps the workload's own.
        decay_steps_factor: Share of the steps after warm-up in which the learning rate falls.
        end_factor: Factor on the peak learning rate at the end.
        warmup_steps: Steps of warm-up, in place of ``warmup_factor``.
        horizon_steps: Steps that warm-up and decay may take together; None is the step hint.

    Reference: Dahl et al. 2023, https://arxiv.org/abs/2306.07179, appendix on baselines.
    """

    batch_sizes: ClassVar[Mapping[str, int]] = USUAL
    hyperparameter_ranges: ClassVar[Mapping[str, str]] = RANGES
    search_space: ClassVar[dict[str, Any]] = {
        "learning_rate": {"min": 0.02, "max": 5.0, "scaling": "log"},
        "one_minus_beta1": {"min": 0.005, "max": 0.3, "scaling": "log"},
        "warmup_factor": {"feasible_points": [0.05]},
        "weight_decay": {"min": 1e-7, "max": 5e-5, "scaling": "log"},
        "label_smoothing": {"feasible_points": [0.1, 0.2]},
        "dropout_rate": {"feasible_points": [0.0, 0.1]},
        "decay_steps_factor": {"feasible_points": [0.9]},
        "end_factor": {"feasible_points": [0.001, 0.01]},
    }
    nesterov: ClassVar[bool] = False

    def __init__(
        self,
        learning_rate: float = 0.1,
        one_minus_beta1: float = 0.1,
        warmup_factor: float = 0.05,
        weight_decay: float = 1e-5,
        label_smoothing: float = 0.1,
        dropout_rate: float | None = None,
        decay_steps_factor: float = 0.9,
        end_factor: float = 0.001,
        warmup_steps: int | None = None,
        horizon_steps: int | None = None,
    ) -> None:
        self.learning_rate = learning_rate
        self.momentum = 1 - one_minus_beta1
        self.warmup_factor = warmup_factor
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.dropout = dropout_rate
        self.decay_steps_factor = decay_steps_factor
        self.end_factor = end_factor
        self.warmup_steps = warmup_steps
        self.horizon_steps = horizon_steps

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return SGD and its schedule."""
        optimizer = torch.optim.SGD(
            model.parameters(),
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
            fused=True,
        )
        begin_momentum(optimizer)
        schedule = warmup_linear_schedule(
            optimizer,
            horizon=self.horizon_steps or workload.step_hint,
            warmup_factor=self.warmup_factor,
            warmup_steps=self.warmup_steps,
            decay_steps_factor=self.decay_steps_factor,
            end_factor=self.end_factor,
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class Nesterov(Momentum):
    """SGD with Nesterov momentum; schedule, weight decay and search space as with heavy-ball momentum."""

    hyperparameter_ranges: ClassVar[Mapping[str, str]] = {"one_minus_beta1": "(0, 1)"}
    nesterov: ClassVar[bool] = True


def begin_momentum(optimizer: torch.optim.SGD) -> None:
    """Give every parameter a momentum of 0, which the first gradient makes what torch makes of none.

    torch's fused SGD fails where some parameters have a momentum and others, without a gradient so far, have none.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
