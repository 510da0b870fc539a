"""EMA-Nesterov around any submission."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.optim import EMANesterov as EMANesterovOptimizer
from algoperf_lightning.submission import Submission
from algoperf_lightning.view import WorkloadView

from .ranges import RANGES
from .wrapper import Wrapper


class EMANesterov(Wrapper):
    """Any submission with gradients at a look-ahead point, along a moving average of the last updates.

    Before each gradient, the parameters move by ``look_ahead`` times that average, in proportion to the learning rate;
    the wrapped submission then makes its step from there. Evaluations use the parameters after the step. Not
    an entry of the benchmark: the default point is that of runs of a language model with Muon, on a public leaderboard
    of steps to a target loss.

    A skipped step leaves the parameters at the look-ahead point. They are moved back before the next evaluation.

    Args:
        base: The wrapped submission: a registered name, an import path, or a class. Several, from the outside to the
            inside, are separated by slashes: ``cautious_decay/muon``.
        look_ahead: Distance of the look-ahead point, as a multiple of the average update.
        look_ahead_gamma: Decay rate of the average of updates.
        look_ahead_start: Steps before the first look-ahead.
        look_ahead_end_factor: Share of the step hint after which there is no look-ahead.
        options: Hyperparameters of the wrapped submission.

    Raises:
        BadInputError: If there is no such submission, or a hyperparameter is unknown or out of its range.

    Reference: EMA-Nesterov 2026, https://arxiv.org/abs/2605.25395.
    """

    hyperparameter_ranges: ClassVar[Mapping[str, str]] = RANGES
    search_space: ClassVar[dict[str, Any]] = {
        "look_ahead": {"feasible_points": [0.3, 0.45, 0.6, 0.9]},
        "look_ahead_gamma": {"feasible_points": [0.95, 0.98, 0.99]},
        "look_ahead_start": {"feasible_points": [100, 500]},
    }

    def __init__(
        self,
        base: str | type[Submission] = "muon",
        look_ahead: float = 0.6,
        look_ahead_gamma: float = 0.99,
        look_ahead_start: int = 500,
        look_ahead_end_factor: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(base, **options)
        self.look_ahead = look_ahead
        self.look_ahead_gamma = look_ahead_gamma
        self.look_ahead_start = look_ahead_start
        self.look_ahead_end_factor = look_ahead_end_factor
        self._ahead: list[EMANesterovOptimizer] = []
        self._saved: list[dict[str, Any]] = []

    def wrap(self, optimizers: list[Optimizer], model: nn.Module, workload: WorkloadView) -> None:
        """Track the updates of each optimizer."""
        self._ahead = [
            EMANesterovOptimizer(
                optimizer,
                self.look_ahead,
                self.look_ahead_gamma,
                self.look_ahead_start,
                self.look_ahead_end_factor * workload.step_hint,
            )
            for optimizer in optimizers
        ]
        for ahead, state in zip(self._ahead, self._saved, strict=False):
            ahead.load_state_dict(state)
        self._saved = []

    def training_step(self, workload: WorkloadView, batch: Batch) -> Tensor:
        """Return the loss of the wrapped submission at the look-ahead point."""
        for ahead in self._ahead:
            ahead.go_ahead()
        return self.wrapped.training_step(workload, batch)

    def before_evaluation(self, model: nn.Module) -> None:
        """Move the parameters back if a skipped step has left them at the look-ahead point."""
        for ahead in self._ahead:
            ahead.go_back()
        super().before_evaluation(model)

    def state_dict(self) -> dict[str, Any]:
        """Return the averages and the wrapped submission's state."""
        return {**super().state_dict(), "ahead": [ahead.state_dict() for ahead in self._ahead]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the wrapped submission's state now, and the averages when the optimizers exist."""
        super().load_state_dict(state)
        self._saved = state["ahead"]
