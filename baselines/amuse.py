"""AMUSE, Muon without a schedule."""

from __future__ import annotations

from typing import Literal

from torch import nn

from algoperf_lightning.contract import Contract
from algoperf_lightning.optim import Amuse as AmuseOptimizer
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .matrix_groups import hidden_and_others
from .recipe import NO_FLOAT16, USUAL_SYMMETRIES
from .schedule_free import ScheduleFree
from .search_spaces import paper_space


@with_arguments
class Amuse(ScheduleFree):
    """Schedule-free Muon for hidden layers, schedule-free AdamW for the rest; warm-up, no decay, no fixed horizon.

    Evaluated at an average of its weights. Not an entry of the benchmark: the default point is that of the authors'
    language model with 124 million parameters, with a warm-up of 5 %, as in their run on ImageNet.

    Deviations: the average is exact; the authors' code uses the wrong one of two factors, so its average is slightly
    off. Running statistics of batch norms are treated as in the benchmark's Schedule-Free AdamW; the authors recompute
    them before each evaluation.

    Args:
        learning_rate: Learning rate after warm-up, of Muon and AdamW.
        one_minus_beta1: Share of the fast weights in the point of the gradient during warm-up; decreases afterwards.
        muon_beta: Decay rate of Muon's momentum.
        beta2: Decay rate of the second moment, for the parameters that Muon does not train.
        rho: How fast the share of the fast weights decreases; with 0 it is constant.
        gradient_clip: Largest norm of the whole gradient.
        newton_schulz_dtype: Precision of the orthogonalisation; ``bfloat16`` is faster on GPUs.
        shard: Whether ranks share the orthogonalisation of matrices, which gives the same result in less time.

    Reference: AMUSE 2026, https://arxiv.org/abs/2605.22432.
    """

    contract = Contract(symmetries=USUAL_SYMMETRIES, exempt=NO_FLOAT16)

    search_space = paper_space(
        learning_rate=(1e-3, 3e-2), one_minus_beta1=(0.1, 0.4), weight_decay=(0.01, 0.5), rho=(0.5, 0.8)
    )

    learning_rate: float = 0.01
    one_minus_beta1: float = 0.4
    beta2: float = 0.999
    warmup_factor: float = 0.05
    weight_decay: float = 0.05
    muon_beta: float = 0.95
    rho: float = 0.8
    label_smoothing: float = 0.0
    dropout_rate: float | None = None
    epsilon: float = 1e-10
    gradient_clip: float | None = 0.5
    newton_schulz_dtype: Literal["float32", "bfloat16"] = "float32"
    shard: bool = True

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> AmuseOptimizer:
        """Return AMUSE, with a separate group for the parameters that Muon does not train."""
        return AmuseOptimizer(
            hidden_and_others(model, self.parameter_roles(workload), {"matrices": True}, {"matrices": False}),
            lr=self.learning_rate,
            beta1=1 - self.one_minus_beta1,
            betas=(self.muon_beta, self.beta2),
            rho=self.rho,
            eps=self.epsilon,
            weight_decay=self.weight_decay,
            warmup_steps=max(2, self.warmup_steps or int(self.warmup_factor * workload.step_hint)),
            newton_schulz_dtype=self.newton_schulz_dtype,
            shard=self.shard,
        )
