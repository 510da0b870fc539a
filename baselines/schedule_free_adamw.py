"""Schedule-Free AdamW, winner of AlgoPerf's self-tuning ruleset in v0.5."""

from __future__ import annotations

from torch import nn

from algoperf_lightning.contract import Contract
from algoperf_lightning.optim import ScheduleFreeAdamW as ScheduleFreeAdamWOptimizer
from algoperf_lightning.optim.schedule_free_adamw import Rules
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .batch_sizes import SCHEDULE_FREE
from .recipe import NO_FLOAT16, USUAL_SYMMETRIES, AdamRecipe
from .schedule_free import ScheduleFree
from .search_spaces import points


@with_arguments
class ScheduleFreeAdamW(ScheduleFree, AdamRecipe):
    """Schedule-Free AdamW: warm-up, no decay of the learning rate, no horizon; evaluated at an average of its weights.

    The search space is the second version's list of five points for external tuning, the default its first. Further
    configs: ``submissions/schedule_free_adamw_self_tuning`` (the second version's self-tuning point) and
    ``submissions/schedule_free_adamw_v1``; the first version's five points are
    ``search_spaces/schedule_free_adamw_v1.json``. The entries' points set dropout rates that, in the second version,
    never reached the model; they are left out, and the workload's dropout is used.

    Deviations: the model is in training mode in every step. The second version's entries left it in evaluation mode
    after the first evaluation of workloads that do not set the mode themselves (WMT, which then trained without
    dropout). The first version's self-tuning entry returned to the initial weights and halved its learning rate if the
    first evaluations did not improve; this is not included. Batch sizes are those of the second version under external
    tuning.

    Args:
        warmup_factor: Share of the step hint spent warming up, times 0.75 in the second version.
        version: ``v2`` decays toward the gradient's point and weighs steps by the squared learning rate. ``v1``
            decays toward the average, weighs later steps more, computes second moments in bfloat16, which makes them
            smaller, and updates the statistics of batch norms where the gradient is computed.
        statistics_steps: In which of three steps, counted from 0, ``v2`` updates running statistics of batch norms, in
            a separate forward pass. External tuning has ``[1, 2]``, self-tuning ``[0]``.

    Reference: Defazio et al. 2024, https://arxiv.org/abs/2405.15682; the entries "Schedule Free AdamW" of the AlgoPerf
    v0.5 and v0.6 leaderboards.
    """

    contract = Contract(
        symmetries=USUAL_SYMMETRIES,
        exempt={
            **NO_FLOAT16,
            "zero_learning_rate": "As in the authors' code, the learning rate is at least epsilon.",
        },
    )

    batch_sizes = SCHEDULE_FREE
    search_space = points(
        "label_smoothing learning_rate one_minus_beta1 beta2 weight_decay warmup_factor",
        (0.2, 0.003, 0.1, 0.9955, 0.08, 0.02),
        (0.4, 0.004, 0.1, 0.9955, 0.08, 0.02),
        (0.4, 0.005, 0.1, 0.62918, 0.08, 0.02),
        (0.1, 0.01, 0.075, 0.99, 0.04, 0.02),
        (0.2, 0.002, 0.1, 0.9955, 0.08, 0.02),
    )

    learning_rate: float = 0.003
    beta2: float = 0.9955
    warmup_factor: float = 0.02
    weight_decay: float = 0.08
    label_smoothing: float = 0.2
    version: Rules = "v2"
    statistics_steps: tuple[int, ...] = (1, 2)

    def __post_init__(self) -> None:
        """Choose where running statistics are updated."""
        super().__post_init__()
        self.statistics_steps = tuple(self.statistics_steps)  # YAML has lists
        self.statistics_at_y = self.version == "v1"

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> ScheduleFreeAdamWOptimizer:
        """Return Schedule-Free AdamW."""
        warmup_scale = 0.75 if self.version == "v2" else 1.0
        return ScheduleFreeAdamWOptimizer(
            model.parameters(),
            lr=self.learning_rate,
            beta1=1 - self.one_minus_beta1,
            beta2=self.beta2,
            eps=self.epsilon,
            weight_decay=self.weight_decay,
            warmup_steps=int(self.warmup_factor * workload.step_hint * warmup_scale),
            version=self.version,
        )
