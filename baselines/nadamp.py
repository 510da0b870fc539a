"""NadamP, an entry of the AlgoPerf v0.5 leaderboard."""

from __future__ import annotations

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from algoperf_lightning.contract import Contract
from algoperf_lightning.optim import NadamP as NadamPOptimizer
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .recipe import NO_FLOAT16, Recipe
from .schedules import warmup_cosine_schedule
from .search_spaces import points

POINTS = points(
    "learning_rate beta1 beta2 weight_decay warmup_factor power dropout_rate label_smoothing horizon_factor",
    (0.0019622900485451312, 0.8009875258060416, 0.9601975051612083, 0.040896666067943545, 0.05, 2.0, 0.0, 0.1, 1.0),
    (0.0013002412605362058, 0.9603612866058248, 0.9778023204992619, 0.16056758401092633, 0.05, 2.0, 0.1, 0.2, 1.0),
    (0.0023792566965593815, 0.9800966478498105, 0.9632738717172477, 0.3417568278549717, 0.01, 2.0, 0.0, 0.0, 0.75),
    (0.003689112930403633, 0.9762202917508654, 0.995244058350173, 0.061885025693737994, 0.05, 1.5, 0.0, 0.2, 1.0),
    (0.0014271957958295392, 0.9661952124707597, 0.9957304053273589, 0.09153141484048229, 0.01, 2.0, 0.1, 0.1, 1.0),
)


@with_arguments
class NadamP(Recipe):
    """NadamW with a root of any order instead of the square root of the second moment.

    Linear warm-up, cosine decay to 0 over a share of the step hint; all parameters are decayed. The search space is the
    benchmark entry's list of five points, the default its first. Only the fourth has an order other than 2.

    Deviations: names of hyperparameters, as in ``generalized_adam``; one dropout rate for all layers, where point 3 had
    0 and 0.1 of another kind.

    Args:
        beta1: Decay rate of the first moment.
        warmup_factor: Share of the horizon spent warming up.
        power: Order of the root of the second moment.
        horizon_factor: Steps until the learning rate is 0, as a share of the step hint.

    Reference: the entry "NadamP" of the AlgoPerf v0.5 leaderboard; Kasimbeg et al. 2025,
    https://arxiv.org/abs/2502.15015.
    """

    contract = Contract(exempt=NO_FLOAT16)
    search_space = POINTS

    learning_rate: float = 0.0019622900485451312
    beta1: float = 0.8009875258060416
    beta2: float = 0.9601975051612083
    weight_decay: float = 0.040896666067943545
    warmup_factor: float = 0.05
    power: float = 2.0
    dropout_rate: float | None = 0.0
    label_smoothing: float = 0.1
    horizon_factor: float = 1.0
    epsilon: float = 1e-8

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> NadamPOptimizer:
        """Return NadamP."""
        return NadamPOptimizer(
            model.parameters(),
            lr=self.learning_rate,
            betas=(self.beta1, self.beta2),
            eps=self.epsilon,
            weight_decay=self.weight_decay,
            power=self.power,
        )

    def schedule(self, optimizer: Optimizer, step_hint: int) -> LambdaLR:
        """Return the schedule over the share of the step hint."""
        horizon = int(self.horizon_factor * step_hint)
        return warmup_cosine_schedule(optimizer, horizon=horizon, warmup_factor=self.warmup_factor)
