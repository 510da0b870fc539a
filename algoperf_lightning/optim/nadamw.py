"""NadamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from algoperf_lightning.optim.foreach import AdamLike, Group, State, Tensors, values_of

_FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")


class NadamW(AdamLike):
    """AdamW whose first moment looks one step ahead (Nesterov), with Adam's plain bias correction.

    With gradient g and moments m, v after step t::

        p <- p (1 - lr * weight_decay)
        m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
        p <- p - lr * [(b1 m + (1 - b1) g) / (1 - b1^t)] / [sqrt(v / (1 - b2^t)) + eps]

    ``torch.optim.NAdam`` is another algorithm: its momentum follows a schedule of its own. Arguments as in
    :class:`AdamLike`.

    Reference: Dozat 2016, "Incorporating Nesterov momentum into Adam".
    """

    # torch then keeps step counts on the device when it loads a checkpoint.
    fixed_options: ClassVar[Mapping[str, Any]] = {"fused": True}

    def init_state(self, parameter: Tensor) -> State:
        """Return moments of 0."""
        return nadamw_state(parameter)

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Make a step."""
        nadamw_update(group, parameters, gradients, states)


def nadamw_state(parameter: Tensor) -> State:
    """Return the state of a parameter before its first step; the step count lies where the fused kernel expects it."""
    return {
        "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }


def nadamw_update(group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
    """Make a step of :class:`NadamW` with torch's fused AdamW.

    NadamW's numerator is the first moment, averaged with the gradient once more. AdamW averages its first moment with
    the gradient before it divides, so it is called with a copy of ours, which it moves one step ahead.
    """
    beta1, beta2 = group["betas"]
    firsts = values_of(states, "exp_avg")
    torch._foreach_lerp_(firsts, gradients, 1 - beta1)
    fused = all(p.device.type in _FUSED_DEVICES for p in parameters)
    adamw(
        parameters,
        gradients,
        [first.clone() for first in firsts],
        values_of(states, "exp_avg_sq"),
        [],
        values_of(states, "step"),
        fused=fused,
        foreach=not fused,
        amsgrad=False,
        maximize=False,
        beta1=beta1,
        beta2=beta2,
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
    )
