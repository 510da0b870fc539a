"""Three points of NadamW one after the other, a self-tuning entry of the AlgoPerf v0.5 leaderboard."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.optim import NadamW as NadamWOptimizer
from algoperf_lightning.submission import Submission
from algoperf_lightning.view import WorkloadView

from .batch_sizes import USUAL
from .ranges import RANGES
from .schedules import restarts


@dataclass(frozen=True)
class Run:
    """One of the runs; numbers as in :class:`~algoperf_lightning.baselines.NadamW`."""

    learning_rate: float
    one_minus_beta1: float
    beta2: float
    weight_decay: float
    warmup_factor: float
    horizon_factor: float
    """Length of the run as a share of the step hint, rounded up to whole steps."""


class NadamWSequential(Submission):
    """NadamW with three points in sequence, each from the initial weights; all runs count on the clock.

    A run ends after its share of the step hint, and the next one starts from the initial weights, with new moments.
    Training ends after the last run. When this was submitted, the self-tuning budget was three times the external one;
    with the current factor of 1.5, the budget ends in the second run. The workload's dropout is used, without label
    smoothing: the entry's points define both, but its code read them from the wrong place, so all three runs trained
    without smoothing.

    Deviation: each run resets the running statistics of batch norms.

    Args:
        epsilon: Added to the root of the second moment.

    Reference: the entry "NadamW Sequential" of the AlgoPerf v0.5 leaderboard; Kasimbeg et al. 2025,
    https://arxiv.org/abs/2502.15015.
    """

    batch_sizes: ClassVar[Mapping[str, int]] = USUAL
    hyperparameter_ranges: ClassVar[Mapping[str, str]] = RANGES
    runs: ClassVar[tuple[Run, ...]] = (
        Run(0.0014271957958295392, 0.03380478752, 0.9957304053273589, 0.09153141484048229, 0.01, 1.0),
        Run(0.001768509931943289, 0.05850208614, 0.9768053375036079, 0.0279513959224539, 0.02, 1.0),
        Run(0.0023792566965593815, 0.01990335215, 0.9632738717172477, 0.3417568278549717, 0.01, 0.75),
    )

    def __init__(self, epsilon: float = 1e-8) -> None:
        self.epsilon = epsilon
        self._step = 0  # completed steps of all runs
        self._run = 0
        self._initial: dict[str, Tensor] = {}  # weights and running statistics, until the last run has started
        self._ends: list[int] = []
        self._optimizer: NadamWOptimizer | None = None

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return NadamW and the schedule of all runs."""
        if not self._initial and self._run == 0:
            self._initial = {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}
        horizons = [math.ceil(run.horizon_factor * workload.step_hint) for run in self.runs]
        self._ends = list(accumulate(horizons))
        # The schedule gives the learning rate itself, so the peak is 1.
        optimizer = NadamWOptimizer(model.parameters(), lr=1.0, eps=self.epsilon, **self._options())
        optimizer.register_step_post_hook(self._count)
        self._optimizer = optimizer
        rate = partial(
            restarts,
            horizons=horizons,
            warmups=[int(run.warmup_factor * steps) for run, steps in zip(self.runs, horizons, strict=True)],
            peaks=[run.learning_rate for run in self.runs],
        )
        return {"optimizer": optimizer, "lr_scheduler": LambdaLR(optimizer, rate)}

    def training_step(self, workload: WorkloadView, batch: Batch) -> Tensor:
        """Return the mean loss; start the next run first if one is over."""
        if self._step >= self._ends[-1]:
            workload.stop()
        elif self._step >= self._ends[self._run]:
            self._run += 1
            self._start_anew(workload.model)
        return super().training_step(workload, batch)

    def _start_anew(self, model: nn.Module) -> None:
        assert self._optimizer is not None
        model.load_state_dict(self._initial)
        self._optimizer.state.clear()
        for group in self._optimizer.param_groups:
            group.update(self._options())
        if self._run == len(self.runs) - 1:
            self._initial = {}

    def _options(self) -> dict[str, Any]:
        run = self.runs[self._run]
        return {"betas": (1 - run.one_minus_beta1, run.beta2), "weight_decay": run.weight_decay}

    def _count(self, *_: Any) -> None:
        self._step += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the step, the run, and the initial weights."""
        return {"step": self._step, "run": self._run, "initial": self._initial}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the step, the run and the initial weights."""
        self._step, self._run = state["step"], state["run"]
        self._initial = {name: value.cpu() for name, value in state["initial"].items()}
