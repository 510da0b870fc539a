"""Schedule-Free Prodigy, an entry of the AlgoPerf v0.5 leaderboard."""

from __future__ import annotations

from torch import nn

from algoperf_lightning.contract import Contract
from algoperf_lightning.optim import ScheduleFreeProdigy as ScheduleFreeProdigyOptimizer
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .batch_sizes import SCHEDULE_FREE_PRODIGY
from .recipe import NO_FLOAT16, AdamRecipe
from .schedule_free import ScheduleFree
from .search_spaces import points


@with_arguments
class ScheduleFreeProdigy(ScheduleFree, AdamRecipe):
    """Schedule-free averaging over Prodigy, which estimates its own step size; warm-up, no decay, no horizon.

    Evaluated at an average of its weights. The search space is the benchmark entry's list of five weight decays, the
    default its first. The entry scored 0.0.

    Deviations: the entry's step computed loss and gradient twice, first at the average, where the gradient was
    discarded; both passes updated the running statistics of batch norms. Here, only a forward pass at the average
    updates them, and models without batch norm have no such pass. The entry synchronised the device for every tensor;
    ours keeps its estimate on the device.

    Args:
        learning_rate: Factor on the estimated step size.
        warmup_factor: Share of the step hint spent warming up.
        d0: First estimate, which should be far too small.
        epsilon: Added, times the estimate, to the root of the second moment.

    Reference: Mishchenko and Defazio 2024, https://arxiv.org/abs/2306.06101; Defazio et al. 2024,
    https://arxiv.org/abs/2405.15682; the entry "Schedule Free Prodigy" of the AlgoPerf v0.5 leaderboard.
    """

    batch_sizes = SCHEDULE_FREE_PRODIGY
    contract = Contract(exempt=NO_FLOAT16)
    search_space = points("weight_decay", (0.3,), (0.1,), (0.03,), (0.01,), (0.003,))
    statistics_steps = (0, 1, 2)

    learning_rate: float = 1.0
    beta2: float = 0.9955
    warmup_factor: float = 0.075
    weight_decay: float = 0.3
    label_smoothing: float = 0.2
    d0: float = 1e-6

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> ScheduleFreeProdigyOptimizer:
        """Return Schedule-Free Prodigy."""
        return ScheduleFreeProdigyOptimizer(
            model.parameters(),
            lr=self.learning_rate,
            beta1=1 - self.one_minus_beta1,
            beta2=self.beta2,
            eps=self.epsilon,
            weight_decay=self.weight_decay,
            warmup_steps=int(self.warmup_factor * workload.step_hint),
            d0=self.d0,
        )
