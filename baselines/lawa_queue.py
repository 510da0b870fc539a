"""NadamW evaluated at the mean of its latest weights (LAWA), an entry of the AlgoPerf v0.5 leaderboard."""

from __future__ import annotations

from typing import ClassVar

from .nadamw import NadamW
from .weight_averaging import Snapshot, WeightAveraging

_LAWA = {"lawa_start_factor": 0.02, "lawa_interval_factor": 0.002, "lawa_queue_length": 10}


class LawaQueue(WeightAveraging):
    """NadamW, evaluated at the mean of its last ten snapshots once there are ten, before that at its weights.

    The search space is the benchmark entry's list: NadamW's five points, with one setting of LAWA. The default point is
    the first. As in the entry, the very first step is made at the peak learning rate, and running statistics of batch
    norms are not those of the mean.

    Deviations: the entry was written for rules without a preparation of evaluations, and so put the mean in place every
    few hundred steps, evaluation or not, and counted these as one; here it is swapped in for each evaluation and out
    again. The learning rate falls to 0, not to 1e-10. Names: ``lawa_interval_factor`` was an interval scaling.

    Args:
        learning_rate: Peak learning rate.
        one_minus_beta1: 1 minus the decay rate of the first moment.
        beta2: Decay rate of the second moment.
        warmup_factor: Share of the step hint spent warming up.
        weight_decay: Decoupled weight decay, multiplied by the learning rate.
        label_smoothing: Label smoothing of the training loss.
        dropout_rate: Dropout of the model; None keeps the workload's own.
        lawa_start_factor: Share of the step hint, rounded up, before the step after which the first snapshot is taken.
        lawa_interval_factor: Steps from one snapshot to the next, as a share of the step hint, rounded up.
        lawa_queue_length: Number of snapshots that are averaged. They lie in the memory of the CPU.
        epsilon: Added to the root of the second moment.

    Raises:
        BadInputError: If the interval or the queue is empty.

    Reference: Kaddour 2022, https://arxiv.org/abs/2209.14981; the entry "LAWA Queue" of the AlgoPerf v0.5 leaderboard.
    """

    search_space: ClassVar[list[dict[str, float]]] = [{**point, **_LAWA} for point in NadamW.search_space]

    def __init__(
        self,
        learning_rate: float = 0.001308209823469072,
        one_minus_beta1: float = 0.02686663061,
        beta2: float = 0.9981232922116359,
        warmup_factor: float = 0.1,
        weight_decay: float = 0.16375311233774334,
        label_smoothing: float = 0.1,
        dropout_rate: float | None = 0.0,
        lawa_start_factor: float = 0.02,
        lawa_interval_factor: float = 0.002,
        lawa_queue_length: int = 10,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(
            lawa_start_factor,
            lawa_interval_factor,
            learning_rate=learning_rate,
            one_minus_beta1=one_minus_beta1,
            beta2=beta2,
            warmup_factor=warmup_factor,
            weight_decay=weight_decay,
            label_smoothing=label_smoothing,
            dropout_rate=dropout_rate,
            epsilon=epsilon,
        )
        self.queue_length = lawa_queue_length

    def take(self, snapshot: Snapshot) -> None:
        """Let the oldest go when there are too many."""
        self.snapshots = [*self.snapshots, snapshot][-self.queue_length :]

    @property
    def is_ready(self) -> bool:
        """Whether the queue is full."""
        return len(self.snapshots) == self.queue_length
