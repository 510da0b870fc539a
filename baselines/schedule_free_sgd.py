"""Schedule-Free SGD."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from algoperf_lightning.workload import WorkloadView

from .batch_sizes import USUAL
from .optimizer import State
from .schedule_free import ScheduleFree, ScheduleFreeOptimizer


class ScheduleFreeSGD(ScheduleFree):
    """Schedule-Free SGD: warm-up, no decay of the learning rate, no horizon; evaluated at an average of its weights.

    Not an entry of the benchmark: the default point is ours, running statistics of batch norms are treated as in its
    Schedule-Free AdamW, and weight decay falls on all parameters.

    Args:
        learning_rate: Learning rate after warm-up.
        one_minus_beta1: Share of the fast weights in the point whose gradient is taken; 1 minus a momentum.
        warmup_factor: Share of the step hint spent warming up.
        weight_decay: L2 penalty.
        label_smoothing: Label smoothing of the training loss.
        dropout_rate: Dropout of the model; None keeps the workload's own.

    Reference: Defazio et al. 2024, https://arxiv.org/abs/2405.15682.
    """

    batch_sizes: ClassVar[Mapping[str, int]] = USUAL

    def __init__(
        self,
        learning_rate: float = 1.0,
        one_minus_beta1: float = 0.1,
        warmup_factor: float = 0.05,
        weight_decay: float = 1e-5,
        label_smoothing: float = 0.1,
        dropout_rate: float | None = None,
    ) -> None:
        self.learning_rate = learning_rate
        self.beta1 = 1 - one_minus_beta1
        self.warmup_factor = warmup_factor
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.dropout = dropout_rate

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return Schedule-Free SGD."""
        self.optimizer = ScheduleFreeSGDOptimizer(
            model.parameters(),
            lr=self.learning_rate,
            beta1=self.beta1,
            weight_decay=self.weight_decay,
            warmup_steps=int(self.warmup_factor * workload.step_hint),
        )
        return self.optimizer


class ScheduleFreeSGDOptimizer(ScheduleFreeOptimizer):
    """Schedule-free averaging over plain SGD; see :class:`ScheduleFreeOptimizer`.

    With the gradient g at y: ``z <- z - r(k) (g + weight_decay y)``, ``w(k) = (largest r so far)^2``. The same as
    ``schedulefree.SGDScheduleFree``, but the parameters hold x between steps.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate after warm-up.
        beta1: Share of the average in y, in (0, 1).
        weight_decay: L2 penalty.
        warmup_steps: Steps until the learning rate is reached.

    Raises:
        BadInputError: If an option is out of its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        beta1: float = 0.9,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__(params, {"lr": lr, "beta1": beta1, "weight_decay": weight_decay, "warmup_steps": warmup_steps})

    def weight(self, group: dict[str, Any], rate: float) -> float:
        """Return the weight of this step."""
        return float(group["lr_max"] ** 2)

    def directions(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[State]
    ) -> list[Tensor]:
        """Return the gradients with weight decay."""
        return list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))

    def move(
        self,
        group: dict[str, Any],
        fast: list[Tensor],
        averages: list[Tensor],
        directions: list[Tensor],
        rate: float,
    ) -> None:
        """Move z."""
        torch._foreach_add_(fast, directions, alpha=-rate)
