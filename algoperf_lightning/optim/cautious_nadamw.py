"""Cautious NadamW."""

from __future__ import annotations

import torch

from algoperf_lightning.optim.foreach import AdamLike, Group, State, Tensors, corrected_roots, move_moments


class CautiousNadamW(AdamLike):
    """NadamW with the masked numerator ``n k / max(mean(k), 1e-3)``, where k is 1 if ``n g > 0``, else 0.

    The mean is computed per tensor. Weight decay is decoupled and not masked. See :class:`AdamLike` for the arguments.

    Reference: Liang et al. 2024, https://arxiv.org/abs/2411.16085.
    """

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        beta1, beta2 = group["betas"]
        steps, firsts, seconds = move_moments(group, gradients, states)
        numerators = torch._foreach_lerp(firsts, gradients, 1 - beta1)
        masks = torch._foreach_mul(numerators, gradients)
        torch._foreach_sign_(masks)
        torch._foreach_clamp_min_(masks, 0.0)  # 1 where the signs agree
        kept = list(torch._foreach_norm(masks, 1))
        torch._foreach_div_(kept, [p.numel() for p in parameters])
        torch._foreach_clamp_min_(kept, 1e-3)
        torch._foreach_mul_(numerators, masks)
        torch._foreach_div_(numerators, kept)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        roots = corrected_roots(seconds, beta2, steps, group["eps"])
        torch._foreach_addcdiv_(parameters, numerators, roots, [-group["lr"] / (1 - beta1**step) for step in steps])
