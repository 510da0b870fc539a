"""Adam as implemented in TensorFlow, with optional AMSGrad and Nesterov momentum."""

from __future__ import annotations

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
    move_moments,
    values_of,
)


class TFAdam(ForeachOptimizer):
    """Adam with epsilon added to the root of the second moment before the bias correction.

    With gradient g and moments m and v after step t::

        m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
        p <- p - lr * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)

    This is the second form in section 2 of the paper, with "epsilon hat". ``torch.optim.Adam`` adds epsilon after the
    bias correction, which gives epsilon less weight in the first steps.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        betas: Decay rates of the moments, each in [0, 1).
        eps: Added to the root of the second moment.
        amsgrad: Whether the step uses the element-wise maximum of all v so far.
        nesterov: Whether the step uses ``b1 m + (1 - b1) g`` instead of m. The bias factors are unchanged, and b1
            follows no schedule, unlike in ``torch.optim.NAdam``.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Kingma and Ba 2015, https://arxiv.org/abs/1412.6980; Reddi et al. 2018,
    https://arxiv.org/abs/1904.09237; Dozat 2016, "Incorporating Nesterov momentum into Adam".
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        amsgrad: bool = False,
        nesterov: bool = False,
        **more: Any,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "amsgrad": amsgrad, "nesterov": nesterov}
        super().__init__(params, {**options, **more})

    def init_state(self, parameter: Tensor) -> State:
        """Return zero-initialised moments."""
        return {**adam_state(parameter), "max_exp_avg_sq": torch.zeros_like(parameter)}

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        beta1, beta2 = group["betas"]
        steps, firsts, seconds = move_moments(group, gradients, states)
        if group["amsgrad"]:
            maxima = values_of(states, "max_exp_avg_sq")
            torch._foreach_maximum_(maxima, seconds)
            seconds = maxima
        if group["nesterov"]:
            firsts = list(torch._foreach_lerp(firsts, gradients, 1 - beta1))
        roots = list(torch._foreach_sqrt(seconds))
        torch._foreach_add_(roots, group["eps"])
        rates = [group["lr"] * (1 - beta2**step) ** 0.5 / (1 - beta1**step) for step in steps]
        self.move(group, parameters, firsts, roots, rates, steps)

    def move(
        self, group: Group, parameters: Tensors, firsts: Tensors, roots: Tensors, rates: list[float], steps: list[int]
    ) -> None:
        """Update the parameters.

        Args:
            group: Options.
            parameters: Parameters to update.
            firsts: First moments.
            roots: Denominators, which may be overwritten.
            rates: Learning rate of each parameter, including the bias correction.
            steps: Step count of each parameter, including the current step.
        """
        torch._foreach_addcdiv_(parameters, firsts, roots, [-rate for rate in rates])
