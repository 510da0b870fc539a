"""LAMB, a paper baseline of AlgoPerf."""

from __future__ import annotations

from torch import nn

from algoperf_lightning.contract import Contract
from algoperf_lightning.optim import Lamb as LambOptimizer
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .batch_sizes import WITHOUT_VARIANTS
from .recipe import NO_FLOAT16, USUAL_SYMMETRIES, AdamRecipe
from .search_spaces import paper_space


@with_arguments
class Lamb(AdamRecipe):
    """LAMB with linear warm-up and cosine decay to 0 over the step hint; all parameters are decayed and scaled.

    The search space is that of the benchmark paper with tuned beta1. The default point is a usual one, not the paper's.
    There is no deviation from the benchmark's JAX code. (Its PyTorch code cannot run: it reads a hyperparameter that no
    search space has.)

    Args:
        weight_decay: Weight decay, part of the update whose norm is compared with the parameter's.

    Reference: You et al. 2020, https://arxiv.org/abs/1904.00962; Dahl et al. 2023, https://arxiv.org/abs/2306.07179,
    appendix on baselines.
    """

    contract = Contract(symmetries=USUAL_SYMMETRIES, exempt=NO_FLOAT16)

    batch_sizes = WITHOUT_VARIANTS
    search_space = paper_space(one_minus_beta1=(0.05, 0.3), weight_decay=(0.001, 1.0))

    learning_rate: float = 1e-2
    weight_decay: float = 0.01

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> LambOptimizer:
        """Return LAMB."""
        return LambOptimizer(model.parameters(), **self.adam_options)
