"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner."""

from __future__ import annotations

from torch import nn

from algoperf_lightning.contract import Contract
from algoperf_lightning.optim import Soap as SoapOptimizer
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .recipe import Recipe


@with_arguments
class Soap(Recipe):
    """SOAP with linear warm-up and cosine decay to 0 over the step hint; all parameters are decayed.

    Not an entry of the benchmark: the default point is that of the paper, with a warm-up of 5 %.

    Args:
        beta2: Decay rate of the second moment and of the preconditioners.
        precondition_frequency: Steps between updates of the eigenbasis.
        max_preconditioner_dim: Longer axes are not rotated.
        shard: Whether ranks share the computation of bases, which gives the same result in less time.

    Reference: Vyas et al. 2025, https://arxiv.org/abs/2409.11321.
    """

    contract = Contract(
        # The first factor of a longer axis has less than full rank here, so rounding decides its basis.
        options={"precondition_frequency": 2, "max_preconditioner_dim": 4},
    )

    learning_rate: float = 3e-3
    one_minus_beta1: float = 0.05
    beta2: float = 0.95
    warmup_factor: float = 0.05
    weight_decay: float = 0.01
    precondition_frequency: int = 10
    max_preconditioner_dim: int = 10_000
    label_smoothing: float = 0.1
    dropout_rate: float | None = None
    epsilon: float = 1e-8
    shard: bool = True

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> SoapOptimizer:
        """Return SOAP."""
        return SoapOptimizer(
            model.parameters(),
            **self.adam_options,
            precondition_frequency=self.precondition_frequency,
            max_preconditioner_dim=self.max_preconditioner_dim,
            shard=self.shard,
        )
