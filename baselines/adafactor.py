"""Adafactor, a paper baseline of AlgoPerf."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import Optimizer

from algoperf_lightning.contract import EVERY_ROLE, Contract
from algoperf_lightning.optim import Adafactor as AdafactorOptimizer
from algoperf_lightning.parameters import ParameterKind
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .batch_sizes import WITHOUT_VARIANTS
from .recipe import MomentumRecipe
from .search_spaces import paper_space


@with_arguments
class Adafactor(MomentumRecipe):
    """Adafactor with momentum, linear warm-up and cosine decay to 0 over the step hint; all parameters are decayed.

    The search space is that of the benchmark paper with tuned beta1. The default point is a usual one, not the paper's.

    The two factored axes of a convolution's kernel are its input and output channels, as in the benchmark's JAX code,
    where these are the last two. In its PyTorch code the last two axes are the kernel's height and width, so the same
    code is another algorithm there. (Neither runs unchanged: each passes a hyperparameter wrongly.)

    Deviation: the momentum is in the precision of the parameters. The JAX code stores it in 8-bit integers, which
    changes the final weights by 6.7e-3 of the distance that they move.

    Args:
        one_minus_beta1: 1 minus the decay rate of the momentum.

    Reference: Shazeer and Stern 2018, https://arxiv.org/abs/1804.04235; Zhai et al. 2022,
    https://arxiv.org/abs/2106.04560, section 3.4; Dahl et al. 2023, https://arxiv.org/abs/2306.07179, appendix on
    baselines.
    """

    contract = Contract(symmetries={"sign": EVERY_ROLE, "scale": EVERY_ROLE})

    batch_sizes = WITHOUT_VARIANTS
    search_space = paper_space(one_minus_beta1=(0.01, 0.45), weight_decay=(0.001, 1.0), beta2=None)

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> Optimizer:
        """Return Adafactor, with a separate group for convolutions."""
        kinds = workload.parameter_kinds
        convolutions = [p for n, p in model.named_parameters() if kinds[n] is ParameterKind.CONV_WEIGHT]
        others = [p for n, p in model.named_parameters() if kinds[n] is not ParameterKind.CONV_WEIGHT]
        groups: list[dict[str, Any]] = [{"params": others}, {"params": convolutions, "factored_axes": (0, 1)}]
        return AdafactorOptimizer(
            [group for group in groups if group["params"]],
            lr=self.learning_rate,
            beta1=self.beta1,
            weight_decay=self.weight_decay,
        )
