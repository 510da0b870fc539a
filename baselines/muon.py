"""Muon with NadamW, a self-tuning entry of AlgoPerf's leaderboard."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from algoperf_lightning.optim import Muon as MuonOptimizer
from algoperf_lightning.workload import WorkloadView

from .arguments import with_arguments
from .recipe import Recipe


@with_arguments
class Muon(Recipe):
    """Muon for matrices and convolutions, NadamW for embeddings and all that has one axis; cosine decay to 0.

    The default point is that of the benchmark's JAX entry, which was scored, and so is the precision, float32.

    Deviations: a convolution's kernel is flattened to output channels by the rest, and scaled by the root of output
    over input channels, as in the entry's PyTorch ports. In JAX its first axis is the kernel's height, so that
    the same code made tiny matrices. Embeddings are known by their role, not by "embed" in their name. One of the
    PyTorch ports kept its learning rate at 1e-10 of the peak (warm-up of 0 steps); here it starts at the peak.
    Ranks share the matrices; in the PyTorch ports each rank makes all of them orthogonal, with the same result.

    Args:
        learning_rate: Peak learning rate of NadamW.
        muon_lr_multiplier: Peak learning rate of Muon, as a multiple of NadamW's.
        muon_beta: Decay rate of Muon's momentum.
        muon_nesterov: Whether Muon's momentum looks one step ahead.
        muon_weight_decay: Decoupled weight decay of Muon's parameters.
        one_minus_beta1: 1 minus the decay rate of NadamW's first moment.
        beta2: Decay rate of NadamW's second moment.
        weight_decay: Decoupled weight decay of NadamW's parameters.
        epsilon: Added to the root of NadamW's second moment.
        newton_schulz_dtype: Precision in which matrices are made orthogonal; ``bfloat16`` is faster on GPUs.
        shard: Whether ranks share the orthogonalisation of matrices, which gives the same result in less time.

    Reference: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; Liu et al. 2025,
    https://arxiv.org/abs/2502.16982.
    """

    learning_rate: float = 0.0001357495179
    muon_lr_multiplier: float = 28.61130298
    warmup_factor: float = 0.0
    muon_beta: float = 0.9560745273
    muon_nesterov: bool = False
    muon_weight_decay: float = 0.02397563985
    one_minus_beta1: float = 0.03413256
    beta2: float = 0.8629173173
    weight_decay: float = 0.01275028385
    label_smoothing: float = 0.0
    dropout_rate: float | None = 0.0
    epsilon: float = 1e-8
    newton_schulz_dtype: Literal["float32", "bfloat16"] = "float32"
    shard: bool = True

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> MuonOptimizer:
        """Return Muon, with a group of its own for what NadamW trains."""
        muon_options = {
            "lr": self.learning_rate * self.muon_lr_multiplier,
            "betas": (self.muon_beta, 0.0),
            "nesterov": self.muon_nesterov,
            "weight_decay": self.muon_weight_decay,
            "newton_schulz_dtype": self.newton_schulz_dtype,
        }
        groups: list[dict[str, Any]] = [
            {"params": [], "orthogonal": True, **muon_options},
            {"params": [], "orthogonal": False, **self.adam_options},
        ]
        roles = self.parameter_roles(workload)
        for name, parameter in model.named_parameters():
            groups[0 if roles[name].is_matrix else 1]["params"].append(parameter)
        return MuonOptimizer([group for group in groups if group["params"]], shard=self.shard)
