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
    """NadamW, evaluated at an exponential moving average of its snapshots, before the first of them at its weights.

    The search space is the benchmark entry's list: NadamW's five points, with one setting of LAWA. The default point is
    the first. As in the entry, the very first step is made at the peak learning rate, and running statistics of batch
    norms are not those of the average.

    Deviations: **the entry truncated its decay rate of 0.2 to the integer 0, so what was scored is the latest snapshot
    and no average, which is** ``lawa_ema_beta=0`` **here.** The entry was written for rules without a call before
    evaluations, and so put the average in place every few hundred steps, evaluation or not, and counted these as one;
    here it is swapped in for each evaluation and out again. The learning rate falls to 0, not to 1e-10. Names:
    ``lawa_interval_factor`` was an interval scaling.

    Args:
        lawa_ema_beta: Decay rate of the average, which is kept in CPU memory.

    Raises:
        BadInputError: If the interval is empty.

    Reference: the entry "LAWA EMA" of the AlgoPerf v0.5 leaderboard; Kaddour 2022, https://arxiv.org/abs/2209.14981.
    """

    search_space: ClassVar[list[dict[str, float]]] = [{**point, **_LAWA} for point in POINTS]

    lawa_ema_beta: float = 0.2

    def take(self, snapshot: Snapshot) -> None:
        """Move the average toward the snapshot; the first one starts it."""
        if self.snapshots:
            torch._foreach_lerp_(self.snapshots[0], snapshot, 1 - self.lawa_ema_beta)
        else:
            self.snapshots = [snapshot]

    @property
    def is_ready(self) -> bool:
        """Whether there was a snapshot."""
        return bool(self.snapshots)
