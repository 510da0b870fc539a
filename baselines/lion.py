"""Lion, a self-tuning entry of AlgoPerf's leaderboard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from algoperf_lightning.submission import Submission
from algoperf_lightning.workload import WorkloadView

from .batch_sizes import USUAL
from .optimizer import ForeachOptimizer, State, values_of
from .ranges import RANGES
from .schedules import warmup_cosine_schedule


class Lion(Submission):
    """Lion with linear warm-up and cosine decay to 0 over the step hint; all parameters are decayed.

    The default point is the benchmark entry's. No deviation from it: the entry named a dropout rate that never reached
    the model, so the workload's own holds.

    Args:
        learning_rate: Peak learning rate.
        beta1: Weight of the momentum in the direction whose sign is taken.
        beta2: Decay rate of the momentum.
        warmup_factor: Share of the step hint spent warming up.
        weight_decay: Decoupled weight decay, multiplied by the learning rate.
        label_smoothing: Label smoothing of the training loss.
        dropout_rate: Dropout of the model; None keeps the workload's own.

    Reference: Chen et al. 2023, https://arxiv.org/abs/2302.06675.
    """

    batch_sizes: ClassVar[Mapping[str, int]] = USUAL
    hyperparameter_ranges: ClassVar[Mapping[str, str]] = RANGES

    def __init__(
        self,
        learning_rate: float = 2e-4,
        beta1: float = 0.95,
        beta2: float = 0.98,
        warmup_factor: float = 0.02,
        weight_decay: float = 0.5,
        label_smoothing: float = 0.0,
        dropout_rate: float | None = None,
    ) -> None:
        self.learning_rate = learning_rate
        self.betas = (beta1, beta2)
        self.warmup_factor = warmup_factor
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.dropout = dropout_rate

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return Lion and its schedule."""
        optimizer = LionOptimizer(
            model.parameters(), lr=self.learning_rate, betas=self.betas, weight_decay=self.weight_decay
        )
        schedule = warmup_cosine_schedule(optimizer, horizon=workload.step_hint, warmup_factor=self.warmup_factor)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class LionOptimizer(ForeachOptimizer):
    """Momentum of which only the sign is used.

    With gradient g and momentum m::

        p <- p (1 - lr * weight_decay)
        p <- p - lr * sign(b1 m + (1 - b1) g)
        m <- b2 m + (1 - b2) g

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Weight of the momentum in the direction, and its decay rate; each in [0, 1).
        weight_decay: Decoupled weight decay.

    Raises:
        BadInputError: If an option is out of its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def init_state(self, parameter: Tensor) -> State:
        """Return a momentum of 0."""
        return {"exp_avg": torch.zeros_like(parameter)}

    def update(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[State]
    ) -> None:
        """Make a step."""
        beta1, beta2 = group["betas"]
        momenta = values_of(states, "exp_avg")
        directions = torch._foreach_lerp(momenta, gradients, 1 - beta1)
        torch._foreach_sign_(directions)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, directions, alpha=-group["lr"])
        torch._foreach_lerp_(momenta, gradients, 1 - beta2)
