"""NadamW evaluated at the mean of its latest weights (LAWA), an entry of the AlgoPerf v0.5 leaderboard."""

from __future__ import annotations

from typing import ClassVar

from .arguments import with_arguments
from .nadamw import POINTS
from .weight_averaging import Snapshot, WeightAveraging

_LAWA = {"lawa_start_factor": 0.02, "lawa_interval_factor": 0.002, "lawa_queue_length": 10}


@with_arguments
class LawaQueue(WeightAveraging):
    """NadamW, evaluated at the mean of its last ten snapshots once there are ten, before that at its weights.

    The search space is the benchmark entry's list: NadamW's five points, with one setting of LAWA. The default point is
    the first. As in the entry, the very first step is made at the peak learning rate, and running statistics of batch
    norms are not those of the mean.

    Deviations: the entry was written for rules without a call before evaluations, and so put the mean in place every
    few hundred steps, evaluation or not, and counted these as one; here it is swapped in for each evaluation and out
    again. The learning rate falls to 0, not to 1e-10. Names: ``lawa_interval_factor`` was an interval scaling.

    Args:
        lawa_queue_length: Number of snapshots that are averaged, which are kept in CPU memory.

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
