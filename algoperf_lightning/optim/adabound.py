"""AdaBound and AMSBound."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from algoperf_lightning.optim.foreach import Group, Tensors
from algoperf_lightning.optim.tf_adam import TFAdam


class AdaBound(TFAdam):
    """Adam with learning rates clipped to an interval that shrinks around the learning rate of SGD.

    With the moments m and v and the bias factors of :class:`TFAdam` after step t, and ``f = final_lr``::

        rate = lr * sqrt(1 - b2^t) / (1 - b1^t) / (sqrt(v) + eps)
        p <- p - clip(rate, f (1 - 1 / (gamma t + 1)), f (1 + 1 / (gamma t))) * m

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate of Adam.
        final_lr: f, the learning rate of SGD.
        betas: Decay rates of the moments, each in [0, 1).
        gamma: Rate at which the interval shrinks, positive.
        eps: Added to the root of the second moment.
        amsgrad: Whether to use AMSBound, in which v is the element-wise maximum of all v so far.
        follow_schedule: Whether f is scaled by the ratio of the current to the initial learning rate of the group, so
            that a schedule also applies to f. If False, the lower bound of the interval overrides any schedule late in
            a run.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Luo et al. 2019, https://arxiv.org/abs/1902.09843.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        final_lr: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.999),
        gamma: float = 1e-3,
        eps: float = 1e-8,
        amsgrad: bool = False,
        follow_schedule: bool = True,
    ) -> None:
        more: dict[str, Any] = {"final_lr": final_lr, "gamma": gamma, "follow_schedule": follow_schedule}
        super().__init__(params, lr, betas, eps, amsgrad, **more)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group and store its initial learning rate."""
        super().add_param_group(param_group)
        self.param_groups[-1].setdefault("base_lr", self.param_groups[-1]["lr"])

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(options["final_lr"] >= 0, options, "final_lr", "not be negative")
        self.require(options["gamma"] > 0, options, "gamma", "be positive")

    def move(
        self, group: Group, parameters: Tensors, firsts: Tensors, roots: Tensors, rates: list[float], steps: list[int]
    ) -> None:
        """Update the parameters with clipped learning rates."""
        final, gamma = group["final_lr"], group["gamma"]
        if group["follow_schedule"]:
            final *= group["lr"] / group["base_lr"] if group["base_lr"] else 0.0
        torch._foreach_reciprocal_(roots)
        torch._foreach_mul_(roots, rates)
        torch._foreach_clamp_min_(roots, [final * (1 - 1 / (gamma * step + 1)) for step in steps])
        torch._foreach_clamp_max_(roots, [final * (1 + 1 / (gamma * step)) for step in steps])
        torch._foreach_addcmul_(parameters, roots, firsts, -1.0)
