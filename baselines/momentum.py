"""SGD with heavy-ball and with Nesterov momentum, two paper baselines of AlgoPerf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import ClassVar

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from algoperf_lightning.contract import EVERY_ROLE, Contract
from algoperf_lightning.optim.momentum import begin_momentum
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .recipe import MomentumRecipe
from .schedules import warmup_linear_schedule
from .search_spaces import paper_space


@with_arguments
class Momentum(MomentumRecipe):
    """SGD with heavy-ball momentum: linear warm-up, linear decay, then a constant learning rate.

    Weight decay is coupled (added to the gradient before momentum) and applies to all parameters. The search space is
    that of the benchmark paper with tuned beta1. The default point is a usual one, not the paper's. The points that set
    the benchmark's targets are ``submissions/target_setting_<workload or variant>``: ``imagenet_resnet`` and two of its
    variants with heavy-ball momentum, ``fastmri`` and ``ogbg`` with Nesterov's.

    Args:
        one_minus_beta1: 1 minus the momentum.
        weight_decay: L2 penalty.
        decay_steps_factor: Share of the steps after warm-up in which the learning rate falls.
        end_factor: Factor on the peak learning rate at the end.
        horizon_steps: Total number of steps of warm-up and decay; None is the step hint.

    Reference: Dahl et al. 2023, https://arxiv.org/abs/2306.07179, appendix on baselines.
    """

    contract = Contract(symmetries={"rotation": EVERY_ROLE, "sign": EVERY_ROLE})

    search_space = paper_space(
        learning_rate=(0.02, 5.0),
        one_minus_beta1=(0.005, 0.3),
        weight_decay=(1e-7, 5e-5),
        beta2=None,
        decay_steps_factor=[0.9],
        end_factor=[0.001, 0.01],
    )
    nesterov: ClassVar[bool] = False

    learning_rate: float = 0.1
    weight_decay: float = 1e-5
    decay_steps_factor: float = 0.9
    end_factor: float = 0.001
    _: KW_ONLY
    warmup_steps: int | None = None
    horizon_steps: int | None = None

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> torch.optim.SGD:
        """Return torch's SGD."""
        optimizer = torch.optim.SGD(
            model.parameters(),
            lr=self.learning_rate,
            momentum=self.beta1,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
            fused=True,
        )
        begin_momentum(optimizer)
        return optimizer

    def schedule(self, optimizer: Optimizer, step_hint: int) -> LambdaLR:
        """Return the linear schedule."""
        return warmup_linear_schedule(
            optimizer,
            horizon=self.horizon_steps or step_hint,
            warmup_factor=self.warmup_factor,
            warmup_steps=self.warmup_steps,
            decay_steps_factor=self.decay_steps_factor,
            end_factor=self.end_factor,
        )


@with_arguments
class Nesterov(Momentum):
    """SGD with Nesterov momentum; schedule, weight decay and search space as with heavy-ball momentum."""

    hyperparameter_ranges: ClassVar[Mapping[str, str]] = {"one_minus_beta1": "(0, 1)"}
    nesterov: ClassVar[bool] = True
