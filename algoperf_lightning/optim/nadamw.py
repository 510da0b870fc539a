"""NadamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from algoperf_lightning.optim.adamw import adamw_state, adamw_update
from algoperf_lightning.optim.foreach import AdamLike, Group, State, Tensors, copies, values_of


class NadamW(AdamLike):
    """AdamW with a Nesterov first moment and the standard bias correction of Adam.

    With gradient g and moments m and v after step t::

        p <- p (1 - lr * weight_decay)
        m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
        p <- p - lr * [(b1 m + (1 - b1) g) / (1 - b1^t)] / [sqrt(v / (1 - b2^t)) + eps]

    ``torch.optim.NAdam`` is a different algorithm, in which the momentum follows a schedule. See :class:`AdamLike` for
    the arguments.

    Reference: Dozat 2016, "Incorporating Nesterov momentum into Adam".
    """

    # With this option, PyTorch keeps step counts on the device when it loads a checkpoint.
    fixed_options: ClassVar[Mapping[str, Any]] = {"fused": True}

    def init_state(self, parameter: Tensor) -> State:
        """Return zero-initialised moments."""
        return adamw_state(parameter)

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        nadamw_update(group, parameters, gradients, states)


def nadamw_update(group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
    """Perform one step of :class:`NadamW` with PyTorch's fused AdamW.

    The numerator of NadamW is the first moment, averaged with the gradient a second time. AdamW averages its first
    moment with the gradient before the division. It is therefore called with a copy of the updated first moment.
    """
    beta1 = group["betas"][0]
    firsts = values_of(states, "exp_avg")
    torch._foreach_lerp_(firsts, gradients, 1 - beta1)
    adamw_update(group, parameters, gradients, states, copies(firsts))
