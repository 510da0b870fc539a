"""AdamW, the paper baseline of AlgoPerf."""

from __future__ import annotations

from dataclasses import KW_ONLY

import torch
from torch import nn

from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .recipe import AdamRecipe
from .search_spaces import paper_space


@with_arguments
class AdamW(AdamRecipe):
    """AdamW with linear warm-up and cosine decay to 0 over the step hint; all parameters are decayed.

    The search space is that of the benchmark paper with tuned beta1. The default point is a usual one, not the paper's.
    The point that set the targets of ``librispeech_conformer`` is ``submissions/target_setting_librispeech_conformer``.

    Deviations: the warm-up is a whole number of steps (not necessarily in the PyTorch code), and past the horizon the
    learning rate stays 0, as in the scored JAX code.

    Reference: Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101; Dahl et al. 2023,
    https://arxiv.org/abs/2306.07179, appendix on baselines.
    """

    search_space = paper_space(one_minus_beta1=(0.02, 0.5), weight_decay=(0.005, 1.0))

    _: KW_ONLY
    warmup_steps: int | None = None
    horizon_steps: int | None = None

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> torch.optim.AdamW:
        """Return torch's AdamW."""
        return torch.optim.AdamW(model.parameters(), **self.adam_options, fused=True)
