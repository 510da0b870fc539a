"""Schedule-Free SGD."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from algoperf_lightning.optim.foreach import Group, State, Tensors
from algoperf_lightning.optim.schedule_free import ScheduleFreeOptimizer


class ScheduleFreeSGD(ScheduleFreeOptimizer):
    """Schedule-free averaging over plain SGD; see :class:`ScheduleFreeOptimizer`.

    With the gradient g at y: ``z <- z - r(k) (g + weight_decay y)``, ``w(k) = (largest r so far)^2``. Equivalent to
    ``schedulefree.SGDScheduleFree``, except that the parameters store x between steps.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate after warm-up.
        beta1: Interpolation weight of the average x in y, in (0, 1).
        weight_decay: L2 penalty.
        warmup_steps: Number of warm-up steps.

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

    def weight(self, group: Group, rate: float) -> float:
        """Return the weight of the current step."""
        return float(group["lr_max"] ** 2)

    def directions(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> Tensors:
        """Return the gradients plus weight decay."""
        decay = group["weight_decay"]
        return list(torch._foreach_add(gradients, parameters, alpha=decay)) if decay else gradients

    def move(self, group: Group, fast: Tensors, averages: Tensors, directions: Tensors, rate: float) -> None:
        """Update z."""
        torch._foreach_add_(fast, directions, alpha=-rate)
