"""Adafactor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from algoperf_lightning.optim.foreach import ForeachOptimizer, Group, State, Tensors, count_step, values_of

_TINY = 1e-30


class Adafactor(ForeachOptimizer):
    """Adam that stores only row and column means of the second moment of a matrix.

    With gradient g, q = g^2 + 1e-30 and the decay rate b(t) = b2 (1 - b2^(t-1)) / (1 - b2^t), which is 0 at t = 1::

        two axes or more:  R <- b(t) R + (1 - b(t)) mean of q over the second factored axis,  C likewise over the first
                           D = R C / mean(R)
        fewer:             D <- b(t) D + (1 - b(t)) q
        u = g / sqrt(D);  u <- u / max(1, RMS(u))
        m <- b1 m + (1 - b1) lr u;  p <- p - lr * weight_decay p - m

    The learning rate is part of the momentum. Steps are not relative to the magnitude of the parameter, and matrices of
    any size are factored. Infinite values become NaN, which makes divergence visible.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        beta1: Decay rate of the momentum, in [0, 1).
        beta2: Decay rate of the second moment, in [0, 1).
        weight_decay: Decoupled weight decay.
        factored_axes: The two axes to factor in tensors with two or more axes.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Shazeer and Stern 2018, https://arxiv.org/abs/1804.04235; Zhai et al. 2022,
    https://arxiv.org/abs/2106.04560, section 3.4.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.99,
        weight_decay: float = 0.0,
        factored_axes: tuple[int, int] = (-2, -1),
    ) -> None:
        defaults = {"lr": lr, "betas": (beta1, beta2), "weight_decay": weight_decay, "factored_axes": factored_axes}
        super().__init__(params, defaults)
        for group in self.param_groups:
            for parameter in group["params"]:  # eager: the axes depend on the group
                self.state[parameter] = self.state[parameter] or _init(parameter, group["factored_axes"])

    def init_state(self, parameter: Tensor) -> State:
        """Return the state of a parameter in a later group, with the same factored axes as in the first group."""
        return _init(parameter, self.param_groups[0]["factored_axes"])

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        (beta1, beta2), lr = group["betas"], group["lr"]
        rates = [beta2 * (1 - beta2 ** (step - 1)) / (1 - beta2**step) for step in count_step(states)]
        updates = _normalised(gradients, states, rates, group["factored_axes"])
        rms = list(torch._foreach_norm(updates))
        torch._foreach_div_(rms, [p.numel() ** 0.5 for p in parameters])
        torch._foreach_clamp_min_(rms, 1.0)  # inf * (1 / inf) is NaN
        torch._foreach_reciprocal_(rms)
        torch._foreach_mul_(rms, lr)
        torch._foreach_mul_(updates, rms)
        momenta = values_of(states, "exp_avg")
        torch._foreach_lerp_(momenta, updates, 1 - beta1)
        torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
        torch._foreach_sub_(parameters, momenta)


def _init(parameter: Tensor, axes: tuple[int, int]) -> State:
    state = {"step": 0, "exp_avg": torch.zeros_like(parameter)}
    if parameter.ndim < 2:
        return {**state, "second": torch.zeros_like(parameter)}
    first, second = axes
    rows, columns = (
        torch.zeros_like(parameter.detach().select(axis, 0).unsqueeze(axis), memory_format=torch.contiguous_format)
        for axis in (second, first)
    )
    return {**state, "rows": rows, "columns": columns}


def _normalised(gradients: Tensors, states: list[State], rates: list[float], axes: tuple[int, int]) -> Tensors:
    """Update the second moments and return the gradients divided by their roots."""
    squares = torch._foreach_mul(gradients, gradients)
    factors: dict[int, Tensor] = {}
    if vectors := [index for index, gradient in enumerate(gradients) if gradient.ndim < 2]:
        seconds = _moved("second", vectors, [squares[index] for index in vectors], states, rates)
        factors |= zip(vectors, torch._foreach_rsqrt(seconds), strict=True)
    if matrices := [index for index, gradient in enumerate(gradients) if gradient.ndim >= 2]:
        first, second = axes
        rows = _moved("rows", matrices, [squares[i].mean(second, keepdim=True) for i in matrices], states, rates)
        columns = _moved("columns", matrices, [squares[i].mean(first, keepdim=True) for i in matrices], states, rates)
        shares = torch._foreach_rsqrt([row / row.mean(first, keepdim=True) for row in rows])
        pairs = zip(shares, torch._foreach_rsqrt(columns), strict=True)
        factors |= zip(matrices, [share * root for share, root in pairs], strict=True)
    updates = [factors[index] for index in range(len(gradients))]
    torch._foreach_mul_(updates, gradients)
    return updates


def _moved(name: str, indices: list[int], means: Tensors, states: list[State], rates: list[float]) -> Tensors:
    """Update moving averages with means and return the averages. Adds 1e-30 to the means in place."""
    averages = values_of((states[index] for index in indices), name)
    torch._foreach_add_(means, _TINY)
    torch._foreach_lerp_(averages, means, [1 - rates[index] for index in indices])
    return averages
