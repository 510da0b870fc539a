"""Evaluation at the mean of the last weights, around any submission."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn
from torch.optim import Optimizer

from algoperf_lightning.optim import TailAverage
from algoperf_lightning.submission import Submission
from algoperf_lightning.view import WorkloadView

from .ranges import RANGES
from .wrapper import Wrapper


class TailAveraging(Wrapper):
    """Any submission, evaluated at the mean of its weights over the last part of the steps; training is unchanged.

    That part grows with the number of steps, so no horizon is needed. It consists of windows, each with the mean of
    several consecutive steps. More windows take more memory, and come closer to the requested share. Running statistics
    of batch norms are averaged in the same way. The average is swapped in for each evaluation; the weights are restored
    bit for bit.
    Not an entry of the benchmark: the default point is ours.

    Args:
        base: The wrapped submission: a registered name, an import path, or a class. Several, from the outside to the
            inside, are separated by slashes: ``ema_nesterov/muon``.
        tail_share: Approximate share of all steps in the mean.
        tail_windows: Number of windows, each with a copy of the weights on the device.
        options: Hyperparameters of the wrapped submission.

    Raises:
        BadInputError: If there is no such submission, or a hyperparameter is unknown or out of its range.

    Reference: Le Roux 2019, https://arxiv.org/abs/1902.05083; Jain et al. 2018, https://arxiv.org/abs/1610.03774.
    """

    hyperparameter_ranges: ClassVar[Mapping[str, str]] = RANGES
    search_space: ClassVar[dict[str, Any]] = {
        "tail_share": {"min": 0.01, "max": 0.3, "scaling": "log"},
        "tail_windows": {"feasible_points": [2, 3]},
    }

    def __init__(
        self,
        base: str | type[Submission] = "nadamw",
        tail_share: float = 0.05,
        tail_windows: int = 2,
        **options: Any,
    ) -> None:
        super().__init__(base, **options)
        self.tail_share = tail_share
        self.tail_windows = tail_windows
        self._average: TailAverage | None = None
        self._saved: dict[str, Any] = {}

    def wrap(self, optimizers: list[Optimizer], model: nn.Module, workload: WorkloadView) -> None:
        """Add the weights to the average after each step, that is, after the last optimizer's step."""
        averaged = [*model.parameters(), *(buffer for buffer in model.buffers() if buffer.is_floating_point())]
        average = TailAverage(averaged, self.tail_share, self.tail_windows)
        if self._saved:
            average.load_state_dict(self._saved)
        self._average, self._saved = average, {}
        optimizers[-1].register_step_post_hook(lambda *_: average.update())

    def before_evaluation(self, model: nn.Module) -> None:
        """Replace the weights by the average."""
        super().before_evaluation(model)
        if self._average is not None:
            self._average.swap_in()

    def after_evaluation(self, model: nn.Module) -> None:
        """Restore the weights."""
        if self._average is not None:
            self._average.swap_out()
        super().after_evaluation(model)

    def state_dict(self) -> dict[str, Any]:
        """Return the windows and the wrapped submission's state."""
        return {**super().state_dict(), "average": {} if self._average is None else self._average.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the wrapped submission's state now, and the windows when the model exists."""
        super().load_state_dict(state)
        self._saved = state["average"]
