"""NadamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from algoperf_lightning.optim.adamw import adamw_state, adamw_update
from algoperf_lightning.optim.foreach import AdamLike, Group, State, Tensors, copies, values_of


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
        """Return zero-initialised moments."""
        return adamw_state(parameter)

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        nadamw_update(group, parameters, gradients, states)


def nadamw_update(group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
    """Make a step of :class:`NadamW` with torch's fused AdamW.

    NadamW's numerator is the first moment, averaged with the gradient once more. AdamW averages its first moment with
    the gradient before it divides, so it is called with a copy of ours, which it moves one step ahead.
    """
    beta1 = group["betas"][0]
    firsts = values_of(states, "exp_avg")
    torch._foreach_lerp_(firsts, gradients, 1 - beta1)
    adamw_update(group, parameters, gradients, states, copies(firsts))
