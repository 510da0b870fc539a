"""Schedule-Free SGD."""

from __future__ import annotations

from torch import nn

from algoperf_lightning.optim import ScheduleFreeSGD as ScheduleFreeSGDOptimizer
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .recipe import MomentumRecipe
from .schedule_free import ScheduleFree


@with_arguments
class ScheduleFreeSGD(ScheduleFree, MomentumRecipe):
    """Schedule-Free SGD: warm-up, no decay of the learning rate, no horizon; evaluated at an average of its weights.

    Not an entry of the benchmark: the default point is ours, running statistics of batch norms are treated as in its
    Schedule-Free AdamW, and weight decay applies to all parameters.

    Args:
        one_minus_beta1: Share of the fast weights in the point at which gradients are computed; 1 minus a momentum.
        weight_decay: L2 penalty.

    Reference: Defazio et al. 2024, https://arxiv.org/abs/2405.15682.
    """

    learning_rate: float = 1.0
    weight_decay: float = 1e-5

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> ScheduleFreeSGDOptimizer:
        """Return Schedule-Free SGD."""
        return ScheduleFreeSGDOptimizer(
            model.parameters(),
            lr=self.learning_rate,
            beta1=self.beta1,
            weight_decay=self.weight_decay,
            warmup_steps=int(self.warmup_factor * workload.step_hint),
        )
