"""AdEMAMix."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from algoperf_lightning.optim.foreach import (
    ForeachOptimizer,
    Group,
    State,
    Tensors,
    adam_state,
    corrected_roots,
    move_moments,
    values_of,
)


class AdEMAMix(ForeachOptimizer):
    """AdamW with a second, slow average of gradients.

    With gradient g, fast and slow moments m and n, second moment v::

        m <- b1 m + (1 - b1) g;  n <- b3(t) n + (1 - b3(t)) g;  v <- b2 v + (1 - b2) g^2
        p <- p - lr * { [m / (1 - b1^t) + alpha(t) n] / [sqrt(v / (1 - b2^t)) + eps] + weight_decay p }

    n has no bias correction. alpha(t) and the half-life of n, which sets b3(t), increase linearly.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        betas: Decay rates of m, v and n, each in [0, 1).
        alpha: Weight of n at the end of the ramp.
        ramp_steps: Length of the ramp in steps.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled weight decay.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Pagliardini et al. 2024, https://arxiv.org/abs/2409.03137.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
        alpha: float = 5.0,
        ramp_steps: int = 500_000,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "alpha": alpha, "ramp_steps": ramp_steps, "eps": eps, "step": 0}
        super().__init__(params, {**defaults, "weight_decay": weight_decay})

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(options["ramp_steps"] >= 1, options, "ramp_steps", "be 1 or more")

    def init_state(self, parameter: Tensor) -> State:
        """Return zero-initialised moments."""
        return {**adam_state(parameter), "exp_avg_slow": torch.zeros_like(parameter)}

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        beta1, beta2, beta3 = group["betas"]
        group["step"] += 1
        progress = min(1.0, group["step"] / group["ramp_steps"])
        steps, fast, seconds = move_moments(group, gradients, states)
        slow = values_of(states, "exp_avg_slow")
        torch._foreach_lerp_(slow, gradients, 1 - ramped_beta(beta1, beta3, progress))
        numerators = torch._foreach_div(fast, [1 - beta1**step for step in steps])
        torch._foreach_add_(numerators, slow, alpha=group["alpha"] * progress)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        roots = corrected_roots(seconds, beta2, steps, group["eps"])
        torch._foreach_addcdiv_(parameters, numerators, roots, -group["lr"])


def ramped_beta(start: float, end: float, progress: float) -> float:
    """Interpolate between two decay rates so that the half-life changes linearly.

    Args:
        start: Decay rate at progress 0.
        end: Decay rate at progress 1.
        progress: Progress of the ramp, in [0, 1].

    Example:
        >>> [round(ramped_beta(0.5, 0.5**0.1, share), 4) for share in (0.0, 0.5, 1.0)]
        [0.5, 0.8816, 0.933]
    """
    from_, to = (math.log(0.5) / math.log(beta + 1e-8) - 1 for beta in (start, end))
    return float(0.5 ** (1 / ((1 - progress) * from_ + progress * to + 1)))
