"""Prodigy: AdamW that estimates its own step size."""

from __future__ import annotations

from torch import nn

from algoperf_lightning.contract import Contract
from algoperf_lightning.optim import Prodigy as ProdigyOptimizer
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .recipe import NO_FLOAT16, USUAL_SYMMETRIES, AdamRecipe


@with_arguments
class Prodigy(AdamRecipe):
    """Prodigy on AdamW with cosine decay to 0 over the step hint; the learning rate is a factor on its own estimate.

    Not an entry of the benchmark (its "Schedule-Free Prodigy" is another algorithm). The default point is that of
    the paper, with a warm-up of 10 %, without which noise in the first gradients may make the estimate too large.
    Weight decay, if any, applies to all parameters.

    Args:
        learning_rate: Factor on the estimated step size.
        weight_decay: Decoupled weight decay, multiplied by the step size.
        d0: First estimate, which should be far too small.
        epsilon: Added, times the estimate, to the root of the second moment.

    Reference: Mishchenko and Defazio 2024, https://arxiv.org/abs/2306.06101.
    """

    contract = Contract(
        symmetries=USUAL_SYMMETRIES,
        exempt={**NO_FLOAT16, "compile": "torch.compile does not trace the state that all parameters share."},
    )

    learning_rate: float = 1.0
    warmup_factor: float = 0.1
    weight_decay: float = 0.0
    d0: float = 1e-6

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> ProdigyOptimizer:
        """Return Prodigy."""
        return ProdigyOptimizer(model.parameters(), **self.adam_options, d0=self.d0)
