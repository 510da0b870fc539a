"""Lion, a self-tuning entry of AlgoPerf's leaderboard."""

from __future__ import annotations

from torch import nn

from algoperf_lightning.contract import Contract
from algoperf_lightning.optim import Lion as LionOptimizer
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .recipe import USUAL_SYMMETRIES, Recipe


@with_arguments
class Lion(Recipe):
    """Lion with linear warm-up and cosine decay to 0 over the step hint; all parameters are decayed.

    The default point is the benchmark entry's, without deviations. The entry set a dropout rate that was not passed to
    the model, so the workload's rate is used.

    Args:
        beta1: Weight of the momentum in the direction whose sign is taken.
        beta2: Decay rate of the momentum.

    Reference: Chen et al. 2023, https://arxiv.org/abs/2302.06675.
    """

    contract = Contract(symmetries=USUAL_SYMMETRIES)

    learning_rate: float = 2e-4
    beta1: float = 0.95
    beta2: float = 0.98
    warmup_factor: float = 0.02
    weight_decay: float = 0.5
    label_smoothing: float = 0.0
    dropout_rate: float | None = None

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> LionOptimizer:
        """Return Lion."""
        betas = (self.beta1, self.beta2)
        return LionOptimizer(model.parameters(), lr=self.learning_rate, betas=betas, weight_decay=self.weight_decay)
