"""Cautious NadamW, a self-tuning entry of AlgoPerf's leaderboard."""

from __future__ import annotations

from torch import nn

from algoperf_lightning.contract import Contract
from algoperf_lightning.optim import CautiousNadamW as CautiousNadamWOptimizer
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .recipe import NO_FLOAT16, USUAL_SYMMETRIES, AdamRecipe


@with_arguments
class CautiousNadamW(AdamRecipe):
    """NadamW that leaves out the elements whose update and gradient differ in sign; schedule and decay as in NadamW.

    The default point is the benchmark entry's: the self-tuning point of NadamW, without deviations.

    Reference: Liang et al. 2024, https://arxiv.org/abs/2411.16085.
    """

    contract = Contract(symmetries=USUAL_SYMMETRIES, exempt=NO_FLOAT16)

    learning_rate: float = 0.0017486387539278373
    one_minus_beta1: float = 0.06733926164
    beta2: float = 0.9955159689799007
    warmup_factor: float = 0.02
    weight_decay: float = 0.08121616522670176
    label_smoothing: float = 0.0
    dropout_rate: float | None = 0.1

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> CautiousNadamWOptimizer:
        """Return cautious NadamW."""
        return CautiousNadamWOptimizer(model.parameters(), **self.adam_options)
