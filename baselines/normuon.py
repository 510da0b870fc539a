"""NorMuon."""

from __future__ import annotations

from typing import Literal

from torch import nn

from algoperf_lightning.contract import Contract
from algoperf_lightning.optim import NorMuon as NorMuonOptimizer
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .matrix_groups import hidden_and_others
from .recipe import USUAL_SYMMETRIES, Recipe
from .search_spaces import paper_space


@with_arguments
class NorMuon(Recipe):
    """NorMuon for the matrices and convolutions of hidden layers, AdamW for the rest; warm-up, cosine decay to 0.

    Muon with orthogonal matrices that are scaled row by row, so that all rows have about equal length over time. Not an
    entry of the benchmark: the default point is that of the authors' code, with a warm-up of 5 %.

    Deviations: the rows of a convolution's kernel are output channels; the authors' code uses the last two axes, the
    sides of the kernel, as the matrix. Hidden layers are recognised by the roles of their parameters.

    Args:
        learning_rate: Peak learning rate of AdamW.
        muon_lr_multiplier: Peak learning rate of NorMuon, as a multiple of AdamW's.
        muon_beta: Decay rate of NorMuon's momentum.
        muon_beta2: Decay rate of the average of squared rows.
        muon_weight_decay: Decoupled weight decay of NorMuon's parameters.
        one_minus_beta1: 1 minus the decay rate of AdamW's first moment.
        beta2: Decay rate of AdamW's second moment.
        weight_decay: Decoupled weight decay of AdamW's parameters.
        epsilon: Added to the root of AdamW's second moment.
        newton_schulz_dtype: Precision of the orthogonalisation; ``bfloat16`` is faster on GPUs.
        shard: Whether ranks share the orthogonalisation of matrices, which gives the same result in less time.

    Reference: Li et al. 2025, https://arxiv.org/abs/2510.05491.
    """

    contract = Contract(symmetries=USUAL_SYMMETRIES)

    search_space = paper_space(
        learning_rate=(1e-4, 3e-3),
        one_minus_beta1=(0.05, 0.2),
        beta2=0.95,
        weight_decay=(0.001, 0.5),
        muon_lr_multiplier=(5.0, 20.0, 70.0),
        muon_weight_decay=(0.0, 0.01, 0.1),
    )

    learning_rate: float = 3e-4
    muon_lr_multiplier: float = 0.02 / 3e-4
    one_minus_beta1: float = 0.1
    beta2: float = 0.95
    warmup_factor: float = 0.05
    weight_decay: float = 0.0
    muon_beta: float = 0.95
    muon_beta2: float = 0.95
    muon_weight_decay: float = 0.0
    label_smoothing: float = 0.0
    dropout_rate: float | None = None
    epsilon: float = 1e-10
    newton_schulz_dtype: Literal["float32", "bfloat16"] = "float32"
    shard: bool = True

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> NorMuonOptimizer:
        """Return NorMuon, with a separate group for the parameters that AdamW trains."""
        hidden = {
            "lr": self.learning_rate * self.muon_lr_multiplier,
            "betas": (self.muon_beta, self.muon_beta2),
            "weight_decay": self.muon_weight_decay,
            "newton_schulz_dtype": self.newton_schulz_dtype,
        }
        others = {"orthogonal": False, "nadam": False, **self.adam_options}
        groups = hidden_and_others(model, self.parameter_roles(workload), hidden, others)
        return NorMuonOptimizer(groups, shard=self.shard)
