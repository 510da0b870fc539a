"""NadamW evaluated at the mean of its latest weights (LAWA), an entry of the AlgoPerf v0.5 leaderboard."""

from __future__ import annotations

from typing import ClassVar

from .arguments import with_arguments
from .nadamw import POINTS
from .weight_averaging import Snapshot, WeightAveraging

_LAWA = {"lawa_start_factor": 0.02, "lawa_interval_factor": 0.002, "lawa_queue_length": 10}


@with_arguments
class LawaQueue(WeightAveraging):
    """NadamW, evaluated at the mean of the last ten snapshots of its weights.

    Evaluations before the tenth snapshot use the current weights. The search space is the benchmark entry's list:
    NadamW's five points, with one setting of LAWA. The default point is the first. As in the entry, the very first step
    uses the peak learning rate, and running statistics of batch norms are not averaged.

    Deviations: the entry's rules had no hook before evaluations, so the entry swapped the mean in every few hundred
    steps, whether or not an evaluation followed; here it is swapped in for each evaluation only. The learning rate
    decays to 0, not to 1e-10. ``lawa_interval_factor`` was called an interval scaling.

    Args:
        lawa_queue_length: Number of averaged snapshots, which are stored in CPU memory.

    Raises:
        BadInputError: If the interval or the queue is empty.

    Reference: Kaddour 2022, https://arxiv.org/abs/2209.14981; the entry "LAWA Queue" of the AlgoPerf v0.5 leaderboard.
    """

    search_space: ClassVar[list[dict[str, float]]] = [{**point, **_LAWA} for point in POINTS]

    lawa_interval_factor: float = 0.002
    lawa_queue_length: int = 10

    def take(self, snapshot: Snapshot) -> None:
        """Append the snapshot and drop the oldest one beyond the length."""
        self.snapshots = [*self.snapshots, snapshot][-self.lawa_queue_length :]

    @property
    def is_ready(self) -> bool:
        """Whether the queue is full."""
        return len(self.snapshots) == self.lawa_queue_length
