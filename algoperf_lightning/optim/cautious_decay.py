"""Cautious weight decay for any optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.optim.foreach import Group, Tensors, copies


class CautiousDecay:
    """Restricts weight decay to parameter elements that the step moves toward 0 or leaves unchanged.

    The optimizer's own weight decay is set to 0 during each step. p and q are a parameter before and after the step, w
    is the weight decay, and lr is the learning rate of the group. For each element::

        q <- q - lr w p   where (p - q) p >= 0

    Parameters without a gradient are not decayed. Additional copies of the parameters, as stored by schedule-free
    optimizers, are not decayed.

    Args:
        optimizer: Optimizer to modify. Call its ``step`` as usual.
        weight_decay: w for all groups. None uses the current option ``weight_decay`` of each group at each step.

    Raises:
        BadInputError: If the weight decay is negative, or None and a group has no such option.

    Reference: Chen et al. 2025, https://arxiv.org/abs/2510.12402.
    """

    def __init__(self, optimizer: Optimizer, weight_decay: float | None = None) -> None:
        if weight_decay is not None and not weight_decay >= 0:
            raise BadInputError(f"{type(self).__name__}: weight_decay must not be negative, but got {weight_decay!r}.")
        if weight_decay is None and not all("weight_decay" in group for group in optimizer.param_groups):
            raise BadInputError(
                f"{type(self).__name__}: a group of {type(optimizer).__name__} has no option 'weight_decay' to take "
                "over. Give a weight decay."
            )
        self.weight_decay = weight_decay
        self._optimizer = optimizer
        self._own: list[float | None] = []
        self._starts: list[Tensors] = []
        optimizer.register_step_pre_hook(self._before_step)
        optimizer.register_step_post_hook(self._after_step)

    @torch.no_grad()
    def _before_step(self, *_: Any) -> None:
        self._give_back()  # not restored if the last step failed
        self._own = [group.get("weight_decay") for group in self._optimizer.param_groups]
        for group in self._optimizer.param_groups:
            if "weight_decay" in group:
                group["weight_decay"] = 0.0
        self._starts = [copies(group["params"]) for group in self._optimizer.param_groups]

    @torch.no_grad()
    def _after_step(self, *_: Any) -> None:
        own, starts = self._own, self._starts
        self._give_back()
        for group, mine, before in zip(self._optimizer.param_groups, own, starts, strict=True):
            decay = mine if self.weight_decay is None else self.weight_decay
            if decay:
                _decay(group, before, group["lr"] * decay)

    def _give_back(self) -> None:
        for group, decay in zip(self._optimizer.param_groups, self._own, strict=False):
            if decay is not None:
                group["weight_decay"] = decay
        self._own, self._starts = [], []


def _decay(group: Group, before: Tensors, size: float) -> None:
    pairs = [(p, start) for p, start in zip(group["params"], before, strict=True) if p.grad is not None]
    if not pairs:
        return
    parameters, starts = [p for p, _ in pairs], [start for _, start in pairs]
    masks = list(torch._foreach_sub(starts, parameters))
    torch._foreach_mul_(masks, starts)
    torch._foreach_sign_(masks)
    torch._foreach_add_(masks, 1.0)
    torch._foreach_clamp_max_(masks, 1.0)  # 1 where the product is non-negative, else 0
    torch._foreach_mul_(masks, starts)
    torch._foreach_add_(parameters, masks, alpha=-size)
