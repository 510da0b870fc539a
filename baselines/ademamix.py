"""AdEMAMix, a self-tuning entry of AlgoPerf's leaderboard."""

from __future__ import annotations

from torch import nn

from algoperf_lightning.contract import Contract
from algoperf_lightning.optim import AdEMAMix as AdEMAMixOptimizer
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .recipe import NO_FLOAT16, USUAL_SYMMETRIES, Recipe


@with_arguments
class AdEMAMix(Recipe):
    """AdEMAMix with clipping, linear warm-up and cosine decay to 0 over the step hint; all parameters are decayed.

    The default point is the benchmark entry's. It phases in the slow average over 500,000 steps, longer than any run of
    the benchmark, so that average never reaches its full weight. No deviation from the entry: it set a dropout rate
    that was not passed to the model, so the workload's rate is used.

    Args:
        beta1: Decay rate of the fast first moment.
        beta3: Decay rate of the slow first moment at the end of the ramp.
        alpha: Weight of the slow first moment at the end of the ramp.
        ramp_steps: Steps until ``beta3`` and ``alpha`` are reached.
        gradient_clip: Largest norm of the gradient; None does not clip.

    Reference: Pagliardini et al. 2024, https://arxiv.org/abs/2409.03137.
    """

    contract = Contract(symmetries=USUAL_SYMMETRIES, exempt=NO_FLOAT16)

    learning_rate: float = 2e-3
    beta1: float = 0.8
    beta2: float = 0.995
    beta3: float = 0.9995
    alpha: float = 8.0
    ramp_steps: int = 500_000
    warmup_factor: float = 0.02
    weight_decay: float = 0.1
    gradient_clip: float | None = 0.5
    label_smoothing: float = 0.0
    dropout_rate: float | None = None
    epsilon: float = 1e-8

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> AdEMAMixOptimizer:
        """Return AdEMAMix."""
        return AdEMAMixOptimizer(
            model.parameters(),
            lr=self.learning_rate,
            betas=(self.beta1, self.beta2, self.beta3),
            alpha=self.alpha,
            ramp_steps=self.ramp_steps,
            eps=self.epsilon,
            weight_decay=self.weight_decay,
        )
