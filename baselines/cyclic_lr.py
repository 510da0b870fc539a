"""NadamW with a cyclic learning rate, an entry of the AlgoPerf v0.5 leaderboard."""

from __future__ import annotations

from typing import ClassVar

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from .arguments import with_arguments
from .batch_sizes import CYCLIC
from .nadamw import POINTS, NadamWRecipe
from .schedules import cycles_schedule

_POINTS_AND_CYCLES = ((2, 1), (3, 1), (5, 1), (1, 2), (5, 2))
"""Number of NadamW's point, number of cycles."""


@with_arguments
class CyclicLR(NadamWRecipe):
    """NadamW whose learning rate warms up and decays to 0 once or twice in the step hint; all parameters are decayed.

    The search space is the benchmark entry's list of five points, the default point its first. As in the entry, the
    very first step uses the peak learning rate.

    Deviation: the learning rate falls to 0, where the entry's fell to 1e-10.

    Args:
        warmup_factor: Warm-up of each cycle, as a share of the whole step hint.
        num_cycles: Number of cycles.

    Raises:
        BadInputError: If there is no cycle.

    Reference: the entry "Cyclic LR" of the AlgoPerf v0.5 leaderboard; Kasimbeg et al. 2025,
    https://arxiv.org/abs/2502.15015.
    """

    batch_sizes = CYCLIC
    search_space: ClassVar[list[dict[str, float]]] = [
        {**POINTS[number - 1], "num_cycles": count} for number, count in _POINTS_AND_CYCLES
    ]

    learning_rate: float = 0.0008445074561975979
    one_minus_beta1: float = 0.11042418465
    beta2: float = 0.9978504782314613
    warmup_factor: float = 0.05
    weight_decay: float = 0.08135402759553023
    label_smoothing: float = 0.2
    num_cycles: int = 1

    def schedule(self, optimizer: Optimizer, step_hint: int) -> LambdaLR:
        """Return the cyclic schedule."""
        return cycles_schedule(optimizer, horizon=step_hint, warmup_factor=self.warmup_factor, count=self.num_cycles)
