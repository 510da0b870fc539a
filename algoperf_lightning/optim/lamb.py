"""LAMB."""

from __future__ import annotations

import torch

from algoperf_lightning.optim.foreach import AdamLike, Group, State, Tensors, corrected_roots, move_moments


class Lamb(AdamLike):
    """Adam with a trust ratio: the step norm of each tensor is its own norm times the learning rate.

    With the bias-corrected moments of Adam::

        u = mhat / (sqrt(vhat) + eps) + weight_decay p
        p <- p - lr * r * u,  r = |p| / |u|, or 1 if either norm is 0

    The ratio is not clamped and the gradient is not normalised. See :class:`AdamLike` for the arguments.

    Reference: You et al. 2020, https://arxiv.org/abs/1904.00962.
    """

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        beta1, beta2 = group["betas"]
        steps, firsts, seconds = move_moments(group, gradients, states)
        updates = torch._foreach_div(firsts, corrected_roots(seconds, beta2, steps, group["eps"]))
        torch._foreach_div_(updates, [1 - beta1**step for step in steps])
        torch._foreach_add_(updates, parameters, alpha=group["weight_decay"])
        sizes = torch.stack(torch._foreach_norm(parameters))
        lengths = torch.stack(torch._foreach_norm(updates))
        ratios = torch.where((sizes > 0) & (lengths > 0), sizes / lengths, 1.0)
        torch._foreach_mul_(updates, list(ratios.unbind()))
        torch._foreach_add_(parameters, updates, alpha=-group["lr"])
