"""Sharpness-aware minimisation with AdamW, a paper baseline of AlgoPerf."""

from __future__ import annotations

from torch import Tensor, nn

from algoperf_lightning.contract import Contract
from algoperf_lightning.data.examples import Batch
from algoperf_lightning.optim import Sam as SamOptimizer
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .batch_sizes import WITHOUT_VARIANTS
from .recipe import USUAL_SYMMETRIES, AdamRecipe
from .search_spaces import paper_space


@with_arguments
class Sam(AdamRecipe):
    """AdamW with the gradient at the worst point nearby; linear warm-up and cosine decay to 0 over the step hint.

    A step makes two passes over its batch and counts as one step. Batch norms update their statistics in the
    first pass only. The search space is that of the benchmark paper with tuned beta1. The default point is a usual
    one, not the paper's.

    Deviations: with gradient clipping (no search space has it), Lightning clips the first gradient too; only its
    direction is used, which does not change. The displayed loss is that of the second pass. As in the benchmark's
    PyTorch code, the two passes draw different dropout masks; in its JAX code they use the same.

    Args:
        rho: Distance to the point at which the gradient is computed.

    Reference: Foret et al. 2021, https://arxiv.org/abs/2010.01412; Dahl et al. 2023, https://arxiv.org/abs/2306.07179,
    appendix on baselines.
    """

    contract = Contract(symmetries=USUAL_SYMMETRIES, closure_calls=2)

    batch_sizes = WITHOUT_VARIANTS
    search_space = paper_space(one_minus_beta1=(0.05, 0.43), weight_decay=(0.01, 0.2), rho=[0.01, 0.02, 0.05])

    rho: float = 0.05

    def __post_init__(self) -> None:
        """Start before the first step."""
        super().__post_init__()
        self._optimizer: SamOptimizer | None = None

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> SamOptimizer:
        """Return SAM."""
        self._optimizer = SamOptimizer(model.parameters(), rho=self.rho, **self.adam_options, fused=True)
        return self._optimizer

    def training_step(self, workload: WorkloadView, batch: Batch) -> Tensor:
        """Return the mean loss; the second pass of a step does not update running statistics."""
        first_pass = self._optimizer is None or not self._optimizer.at_worst_point
        loss = workload.loss(
            batch, label_smoothing=self.label_smoothing, update_batch_norm=first_pass, dropout=self.dropout
        )
        return workload.mean(loss)
