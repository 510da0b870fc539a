"""AdamW as part of other optimizers: PyTorch's kernel applied to the states of this package."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from algoperf_lightning.optim.foreach import Group, State, Tensors, values_of

_FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")


def adamw_state(parameter: Tensor) -> State:
    """Return the initial state of a parameter, with the step count on the device that the fused kernel expects."""
    return {
        "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }


def adamw_update(
    group: Group, parameters: Tensors, gradients: Tensors, states: list[State], firsts: Tensors | None = None
) -> None:
    """Perform one step of AdamW, with the fused kernel if the device supports it.

    A group needs the option ``"fused": True``, so that PyTorch keeps step counts on the device when it loads a
    checkpoint.

    Args:
        group: Options of ``torch.optim.AdamW``.
        parameters: Parameters.
        gradients: Their gradients.
        states: States created by :func:`adamw_state`.
        firsts: First moments, updated in place; None means those of the states.
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
