"""Muon with AdamW, a self-tuning entry of AlgoPerf's leaderboard."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from algoperf_lightning.contract import MATRICES, Contract
from algoperf_lightning.optim import Muon as MuonOptimizer
from algoperf_lightning.roles import ParameterRole
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .recipe import USUAL_SYMMETRIES, Recipe


@with_arguments
class Muon(Recipe):
    """Muon for matrices and convolutions, AdamW for embeddings and parameters with one axis; cosine decay to 0.

    The default point is that of the benchmark's PyTorch entry ``muon_torch``, which scored 0.42 on the runs of v1.0.
    The point of the JAX entry, with NadamW, scored 0.28 there: it is ``submissions/muon_jax``. The precision is
    float32, as in JAX.

    Deviations: a convolution's kernel is flattened to output channels by the rest, and scaled by the root of output
    over input channels, as in the entry's PyTorch ports. In JAX its first axis is the kernel's height, so
    the same code produced tiny matrices. Embeddings are recognised by their role, not by "embed" in their name. One of
    the PyTorch ports kept its learning rate at 1e-10 of the peak (warm-up of 0 steps); here it starts at the peak.
    Ranks share the matrices; in the PyTorch ports, each rank orthogonalises all of them, with the same result.

    Args:
        learning_rate: Peak learning rate of AdamW.
        muon_lr_multiplier: Peak learning rate of Muon, as a multiple of AdamW's.
        muon_beta: Decay rate of Muon's momentum.
        muon_nesterov: Whether Muon's momentum looks one step ahead.
        muon_weight_decay: Decoupled weight decay of Muon's parameters.
        one_minus_beta1: 1 minus the decay rate of AdamW's first moment.
        beta2: Decay rate of AdamW's second moment.
        weight_decay: Decoupled weight decay of AdamW's parameters.
        epsilon: Added to the root of AdamW's second moment.
        use_nadam: Whether AdamW's first moment looks one step ahead.
        muon_scale: Rule of the step length of a matrix. ``original`` is at least 1, and the root of outputs over
            inputs; ``match_rms_adamw`` makes steps about as long as AdamW's.
        muon_keep_norm: Whether matrices keep their norm, instead of weight decay ("MuonH").
        muon_split: Which parts of a tensor with queries, keys or values are orthogonalised separately: the ``whole``
            tensor, each of its ``matrices``, or each of their ``heads``.
        newton_schulz_dtype: Precision of the orthogonalisation; ``bfloat16`` is faster on GPUs.
        shard: Whether ranks share the orthogonalisation of matrices, which gives the same result in less time.

    Reference: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; Liu et al. 2025,
    https://arxiv.org/abs/2502.16982.
    """

    contract = Contract(symmetries={"rotation": MATRICES, **USUAL_SYMMETRIES})

    learning_rate: float = 0.01
    muon_lr_multiplier: float = 1.0
    warmup_factor: float = 0.05
    muon_beta: float = 0.9
    muon_nesterov: bool = True
    muon_weight_decay: float = 0.0
    one_minus_beta1: float = 0.1
    beta2: float = 0.999
    weight_decay: float = 0.0
    label_smoothing: float = 0.1
    dropout_rate: float | None = 0.1
    epsilon: float = 1e-8
    use_nadam: bool = False
    muon_scale: Literal["original", "match_rms_adamw"] = "original"
    muon_keep_norm: bool = False
    muon_split: Literal["whole", "matrices", "heads"] = "whole"
    newton_schulz_dtype: Literal["float32", "bfloat16"] = "float32"
    shard: bool = True

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> MuonOptimizer:
        """Return Muon, with a separate group for the parameters that AdamW trains."""
        muon_options = {
            "lr": self.learning_rate * self.muon_lr_multiplier,
            "betas": (self.muon_beta, 0.0),
            "nesterov": self.muon_nesterov,
            "weight_decay": self.muon_weight_decay,
            "newton_schulz_dtype": self.newton_schulz_dtype,
            "scale": self.muon_scale,
            "keep_norm": self.muon_keep_norm,
        }
        others: dict[str, Any] = {"params": [], "orthogonal": False, "nadam": self.use_nadam, **self.adam_options}
        matrices: dict[tuple[int, ...], dict[str, Any]] = {}
        roles = self.parameter_roles(workload)
        for name, parameter in model.named_parameters():
            if roles[name].is_matrix:
                split = self._split(roles[name], len(parameter))
                group = matrices.setdefault(split, {"params": [], "orthogonal": True, "split": split, **muon_options})
            else:
                group = others
            group["params"].append(parameter)
        groups = [*matrices.values(), *([others] if others["params"] else [])]
        return MuonOptimizer(groups, shard=self.shard)

    def _split(self, role: ParameterRole, rows: int) -> tuple[int, ...]:
        if self.muon_split == "whole":
            return ()
        return role.split if self.muon_split == "matrices" else role.rows_by_head(rows)
