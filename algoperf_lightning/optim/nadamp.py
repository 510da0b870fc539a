"""NadamP."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from algoperf_lightning.optim.foreach import ForeachOptimizer, Group, State, Tensors, adam_state, move_moments


class NadamP(ForeachOptimizer):
    """NadamW with the denominator ``v^(1 / power)`` instead of ``sqrt(v)``.

    The second moment v is bias-corrected before the root is computed, and eps is added to the root. ``power=2`` is
    equivalent to :class:`~algoperf_lightning.optim.NadamW`.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        betas: Decay rates of the moments, each in [0, 1).
        eps: Added to the root of the second moment.
        weight_decay: Decoupled weight decay.
        power: Order of the root, positive.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: the entry "NadamP" of the AlgoPerf v0.5 leaderboard.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        power: float = 2.0,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "power": power}
        super().__init__(params, options)

    def init_state(self, parameter: Tensor) -> State:
        """Return zero-initialised moments."""
        return adam_state(parameter)

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(options["power"] > 0, options, "power", "be positive")

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        beta1, beta2 = group["betas"]
        steps, firsts, seconds = move_moments(group, gradients, states)
        numerators = torch._foreach_lerp(firsts, gradients, 1 - beta1)
        roots = torch._foreach_div(seconds, [1 - beta2**step for step in steps])
        torch._foreach_pow_(roots, 1 / group["power"])
        torch._foreach_add_(roots, group["eps"])
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_addcdiv_(parameters, numerators, roots, [-group["lr"] / (1 - beta1**step) for step in steps])
