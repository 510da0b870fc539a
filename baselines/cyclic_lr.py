"""NadamW with a cyclic learning rate, an entry of the AlgoPerf v0.5 leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch.optim.lr_scheduler import LambdaLR

from .batch_sizes import CYCLIC
from .nadamw import NadamW, NadamWOptimizer
from .schedules import cycles_schedule

_POINTS_AND_CYCLES = ((2, 1), (3, 1), (5, 1), (1, 2), (5, 2))
"""Number of NadamW's point, number of cycles."""


class CyclicLR(NadamW):
    """NadamW whose learning rate warms up and decays to 0 once or twice within the step hint; all is decayed.

    The search space is the benchmark entry's list of five points, the default point its first. As in the entry, the
    very first step is made at the peak learning rate.

    Deviation: the learning rate falls to 0, where the entry's fell to 1e-10.

    Args:
        learning_rate: Peak learning rate.
        one_minus_beta1: 1 minus the decay rate of the first moment.
        beta2: Decay rate of the second moment.
        warmup_factor: Warm-up of each cycle, as a share of the whole step hint.
        weight_decay: Decoupled weight decay, multiplied by the learning rate.
        label_smoothing: Label smoothing of the training loss.
        dropout_rate: Dropout of the model; None keeps the workload's own.
        num_cycles: Number of cycles.
        epsilon: Added to the root of the second moment.

    Raises:
        BadInputError: If there is no cycle.

    Reference: the entry "Cyclic LR" of the AlgoPerf v0.5 leaderboard; Kasimbeg et al. 2025,
    https://arxiv.org/abs/2502.15015.
    """

    batch_sizes: ClassVar[Mapping[str, int]] = CYCLIC
    search_space: ClassVar[list[dict[str, float]]] = [
        {**NadamW.search_space[number - 1], "num_cycles": count} for number, count in _POINTS_AND_CYCLES
    ]

    def __init__(
        self,
        learning_rate: float = 0.0008445074561975979,
        one_minus_beta1: float = 0.11042418465,
        beta2: float = 0.9978504782314613,
        warmup_factor: float = 0.05,
        weight_decay: float = 0.08135402759553023,
        label_smoothing: float = 0.2,
        dropout_rate: float | None = 0.0,
        num_cycles: int = 1,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(
            learning_rate,
            one_minus_beta1,
            beta2,
            warmup_factor,
            weight_decay,
            label_smoothing,
            dropout_rate,
            epsilon,
        )
        self.num_cycles = num_cycles

    def schedule(self, optimizer: NadamWOptimizer, step_hint: int) -> LambdaLR:
        """Return the cyclic schedule."""
        return cycles_schedule(optimizer, horizon=step_hint, warmup_factor=self.warmup_factor, count=self.num_cycles)
