"""Generalized Adam, an entry of the AlgoPerf v0.5 leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from algoperf_lightning.optim import DecoupledNesterov
from algoperf_lightning.optim import NadamW as NadamWOptimizer
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .ranges import RANGES
from .recipe import Recipe
from .schedules import warmup_cosine_schedule
from .search_spaces import points

POINTS = points(
    "learning_rate beta1 beta2 weight_decay warmup_factor disable_preconditioning dropout_rate label_smoothing "
    "horizon_factor",
    (1.9487942250159782, 0.9721703824185486, 0.0, 0.00024022723093685417, 0.1, True, 0.1, 0.2, 1.0),
    (0.0023792566965593815, 0.9800966478498105, 0.9632738717172477, 0.3417568278549717, 0.01, False, 0.0, 0.0, 0.75),
    (0.003705201967500061, 0.9735338788784104, 0.9785557586542197, 0.022670946869370066, 0.1, False, 0.1, 0.2, 0.75),
    (0.0014271957958295392, 0.9661952124707597, 0.9957304053273589, 0.09153141484048229, 0.01, False, 0.1, 0.1, 1.0),
    (0.001768509931943289, 0.9414979138541995, 0.9768053375036079, 0.0279513959224539, 0.02, False, 0.0, 0.2, 1.0),
)


@with_arguments
class GeneralizedAdam(Recipe):
    """NadamW or, without preconditioning, Nesterov momentum with decoupled decay, depending on the point.

    Linear warm-up, cosine decay to 0 over a share of the step hint; all parameters are decayed. The search space is the
    benchmark entry's list of five points, the default its third: the first is momentum with a learning rate at which
    small workloads diverge.

    Deviations: names of hyperparameters (``horizon_factor`` was ``cosine_decay_fraction``, ``warmup_factor`` was
    ``warmup_steps_fraction``); one dropout rate for all layers, where point 5 had 0 and 0.1 of another kind.

    Args:
        beta1: Decay rate of the first moment, or the momentum.
        warmup_factor: Share of the horizon spent warming up.
        disable_preconditioning: Momentum in place of NadamW.
        horizon_factor: Steps until the learning rate is 0, as a share of the step hint.

    Reference: the entry "Generalized Adam" of the AlgoPerf v0.5 leaderboard; Kasimbeg et al. 2025,
    https://arxiv.org/abs/2502.15015.
    """

    hyperparameter_ranges: ClassVar[Mapping[str, str]] = {**RANGES, "beta1": "(0, 1)"}  # as Nesterov's momentum
    search_space = POINTS

    learning_rate: float = 0.003705201967500061
    beta1: float = 0.9735338788784104
    beta2: float = 0.9785557586542197
    weight_decay: float = 0.022670946869370066
    warmup_factor: float = 0.1
    disable_preconditioning: bool = False
    dropout_rate: float | None = 0.1
    label_smoothing: float = 0.2
    horizon_factor: float = 0.75
    epsilon: float = 1e-8

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> Optimizer:
        """Return NadamW or momentum."""
        parameters, lr = model.parameters(), self.learning_rate
        if self.disable_preconditioning:
            return DecoupledNesterov(parameters, lr=lr, momentum=self.beta1, decoupled_decay=self.weight_decay)
        betas = (self.beta1, self.beta2)
        return NadamWOptimizer(parameters, lr=lr, betas=betas, eps=self.epsilon, weight_decay=self.weight_decay)

    def schedule(self, optimizer: Optimizer, step_hint: int) -> LambdaLR:
        """Return the schedule over the share of the step hint."""
        horizon = int(self.horizon_factor * step_hint)
        return warmup_cosine_schedule(optimizer, horizon=horizon, warmup_factor=self.warmup_factor)
