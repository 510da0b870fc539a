"""LionMuon."""

from __future__ import annotations

from typing import Literal

from torch import nn

from algoperf_lightning.contract import Contract
from algoperf_lightning.optim import LionMuon as LionMuonOptimizer
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .matrix_groups import hidden_and_others
from .recipe import USUAL_SYMMETRIES, Recipe
from .search_spaces import paper_space


@with_arguments
class LionMuon(Recipe):
    """LionMuon for the matrices and convolutions of hidden layers, AdamW for the rest; clipping, cosine decay to 0.

    By default, steps of Muon and Lion alternate, with one momentum: half of AdamW's state for matrices, and half of
    Muon's computation. Not an entry of the benchmark: the default point is that of the paper's runs with 124 million
    parameters, with a warm-up of 5 %.

    Deviations: hidden layers are recognised by the roles of their parameters. The authors' code trains tensors with
    10,000 rows or more, and those with one axis, with AdamW, and adds AdamW's epsilon before the bias correction; ours
    is torch's AdamW.

    Args:
        learning_rate: Peak learning rate of Muon's steps and of AdamW.
        one_minus_beta1: 1 minus the share of the momentum in the direction of a step; in AdamW, of the first moment.
        beta2: Decay rate of the momentum.
        adamw_beta2: Decay rate of AdamW's second moment.
        lion_ratio: Learning rate of Lion's steps, as a multiple of ``learning_rate``.
        period: Number of steps from one step of Muon to the next.
        newton_schulz_steps: Iterations of the orthogonalisation.
        newton_schulz_dtype: Precision of the orthogonalisation; ``bfloat16`` is faster on GPUs.
        epsilon: Added to the root of AdamW's second moment.
        gradient_clip: Largest norm of the whole gradient.
        shard: Whether ranks share the orthogonalisation of matrices, which gives the same result in less time.

    Reference: LionMuon 2026, https://arxiv.org/abs/2605.19811.
    """

    contract = Contract(symmetries=USUAL_SYMMETRIES)

    search_space = paper_space(
        learning_rate=(3e-4, 1e-2),
        one_minus_beta1=(0.05, 0.2),
        beta2=0.99,
        weight_decay=(0.01, 0.5),
        lion_ratio=(0.02, 0.05, 0.1),
        period=(2, 5),
    )

    learning_rate: float = 1e-3
    one_minus_beta1: float = 0.1
    beta2: float = 0.99
    adamw_beta2: float = 0.95
    warmup_factor: float = 0.05
    weight_decay: float = 0.1
    lion_ratio: float = 0.05
    period: int = 2
    newton_schulz_steps: int = 5
    newton_schulz_dtype: Literal["float32", "bfloat16"] = "float32"
    label_smoothing: float = 0.0
    dropout_rate: float | None = None
    epsilon: float = 1e-8
    gradient_clip: float | None = 0.5
    shard: bool = True

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> LionMuonOptimizer:
        """Return LionMuon, with a separate group for the parameters that AdamW trains."""
        others = {"matrices": False, "betas": (1 - self.one_minus_beta1, self.adamw_beta2)}
        return LionMuonOptimizer(
            hidden_and_others(model, self.parameter_roles(workload), {"matrices": True}, others),
            **self.adam_options,
            lion_ratio=self.lion_ratio,
            period=self.period,
            newton_schulz_steps=self.newton_schulz_steps,
            newton_schulz_dtype=self.newton_schulz_dtype,
            shard=self.shard,
        )
