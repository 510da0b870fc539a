"""AdamW as part of other optimizers: torch's kernel on our states."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from algoperf_lightning.optim.foreach import Group, State, Tensors, values_of

_FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")


def adamw_state(parameter: Tensor) -> State:
    """Return the state of a parameter before its first step; the step count lies where the fused kernel expects it."""
    return {
        "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }


def adamw_update(
    group: Group, parameters: Tensors, gradients: Tensors, states: list[State], firsts: Tensors | None = None
) -> None:
    """Make a step of AdamW, fused where the device has such a kernel.

    A group needs ``"fused": True`` among its options, so that torch leaves step counts on the device when it loads a
    checkpoint.

    Args:
        group: Options, as of ``torch.optim.AdamW``.
        parameters: Parameters.
        gradients: Their gradients.
        states: As made by :func:`adamw_state`.
        firsts: First moments, which are moved; None are those of the states.
    """
    fused = all(p.device.type in _FUSED_DEVICES for p in parameters)
    beta1, beta2 = group["betas"]
    adamw(
        parameters,
        gradients,
        values_of(states, "exp_avg") if firsts is None else firsts,
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
