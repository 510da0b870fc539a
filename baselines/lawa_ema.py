"""NadamW evaluated at a moving average of its weights, an entry of the AlgoPerf v0.5 leaderboard."""

from __future__ import annotations

from typing import ClassVar

import torch

from .arguments import with_arguments
from .nadamw import POINTS
from .weight_averaging import Snapshot, WeightAveraging

_LAWA = {"lawa_start_factor": 0.02, "lawa_interval_factor": 0.005, "lawa_ema_beta": 0.2}


@with_arguments
class LawaEma(WeightAveraging):
    """NadamW, evaluated at an exponential moving average of snapshots of its weights.

    Evaluations before the first snapshot use the current weights. The search space is the benchmark entry's list:
    NadamW's five points, with one setting of LAWA. The default point is the first. As in the entry, the very first step
    uses the peak learning rate, and running statistics of batch norms are not averaged.

    Deviations: **The entry truncated its decay rate of 0.2 to the integer 0, so it was scored with the latest snapshot
    instead of an average;** ``lawa_ema_beta=0`` **reproduces this.** Its rules had no hook before evaluations, so the
    entry swapped the average in every few hundred steps, whether or not an evaluation followed; here it is swapped in
    for each evaluation only. The learning rate decays to 0, not to 1e-10. ``lawa_interval_factor`` was called an
    interval scaling.

    Args:
        lawa_ema_beta: Decay rate of the average, which is stored in CPU memory.

    Raises:
        BadInputError: If the interval is empty.

    Reference: the entry "LAWA EMA" of the AlgoPerf v0.5 leaderboard; Kaddour 2022, https://arxiv.org/abs/2209.14981.
    """

    search_space: ClassVar[list[dict[str, float]]] = [{**point, **_LAWA} for point in POINTS]

    lawa_ema_beta: float = 0.2

    def take(self, snapshot: Snapshot) -> None:
        """Move the average toward the snapshot; the first snapshot initialises it."""
        if self.snapshots:
            torch._foreach_lerp_(self.snapshots[0], snapshot, 1 - self.lawa_ema_beta)
        else:
            self.snapshots = [snapshot]

    @property
    def is_ready(self) -> bool:
        """Whether there was a snapshot."""
        return bool(self.snapshots)
