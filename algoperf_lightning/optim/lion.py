"""Lion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from algoperf_lightning.optim.foreach import ForeachOptimizer, Group, State, Tensors, values_of


class Lion(ForeachOptimizer):
    """Updates in the direction of the sign of the momentum.

    With gradient g and momentum m::

        p <- p (1 - lr * weight_decay)
        p <- p - lr * sign(b1 m + (1 - b1) g)
        m <- b2 m + (1 - b2) g

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        betas: Weight of the momentum in the direction, and decay rate of the momentum, each in [0, 1).
        weight_decay: Decoupled weight decay.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Chen et al. 2023, https://arxiv.org/abs/2302.06675.
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
        """Return a zero-initialised momentum buffer."""
        return {"exp_avg": torch.zeros_like(parameter)}

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        beta1, beta2 = group["betas"]
        momenta = values_of(states, "exp_avg")
        directions = torch._foreach_lerp(momenta, gradients, 1 - beta1)
        torch._foreach_sign_(directions)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, directions, alpha=-group["lr"])
        torch._foreach_lerp_(momenta, gradients, 1 - beta2)
