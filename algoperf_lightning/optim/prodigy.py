"""Prodigy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from algoperf_lightning.optim.foreach import (
    ForeachOptimizer,
    Group,
    State,
    Tensors,
    average_squares_,
    evaluated,
    values_of,
)

_SHARED = "estimate"


class Prodigy(ForeachOptimizer):
    """Adam with a step size d that is a non-decreasing lower bound on the distance to the solution.

    With gradient g, initial parameters p0, and ``b3 = sqrt(b2)``, and with n and s computed over all parameters::

        n <- b3 n + (d / d0) d lr <g, p0 - p>;  s <- b3 s + (d / d0) d lr g
        m <- b1 m + (1 - b1) d g;  v <- b2 v + (1 - b2) d^2 g^2
        d <- max(d, n / |s|_1)
        p <- p - d' lr weight_decay p - d' lr m / (sqrt(v) + d eps),  where d' is the previous d

    Equivalent to ``prodigyopt.Prodigy`` with its defaults, but without a device synchronisation per tensor, because d
    is a tensor.

    Args:
        params: Parameters or parameter groups; all must have the same learning rate.
        lr: Factor applied to the estimate d.
        betas: Decay rates of the moments, each in [0, 1).
        eps: Multiplied by d and added to the root of the second moment.
        weight_decay: Decoupled weight decay.
        d0: Initial estimate, positive.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Mishchenko and Defazio 2024, https://arxiv.org/abs/2306.06101.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        d0: float = 1e-6,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "d0": d0})

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(options["d0"] > 0, options, "d0", "be positive")

    def init_state(self, parameter: Tensor) -> State:
        """Return zero-initialised moments and a copy of the initial parameter."""
        names = ("exp_avg", "exp_avg_sq", "s")
        start = parameter.detach().clone(memory_format=torch.preserve_format)
        return {**{name: torch.zeros_like(parameter) for name in names}, "p0": start}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one step and return the result of the closure."""
        loss = evaluated(closure)
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        group = self.param_groups[0]
        if parameters and group["lr"] > 0:
            gradients: Tensors = [p.grad for p in parameters]
            states = self.states_of(parameters)
            old, new = self._grow_estimate(group, parameters, gradients, states)
            _move(group, parameters, states, old, new)
        else:
            self.states_of(parameters)  # copies the initial parameters
        return loss

    def _grow_estimate(
        self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]
    ) -> tuple[Tensor, Tensor]:
        """Update all averages and the estimate. Return the old and the new estimate."""
        beta1, beta2 = group["betas"]
        beta3 = math.sqrt(beta2)
        states_by_key: dict[Any, Any] = self.state
        if _SHARED not in states_by_key:
            first = parameters[0]
            dtype = torch.float64 if first.dtype is torch.float64 else torch.float32
            d = torch.full((), group["d0"], dtype=dtype, device=first.device)
            states_by_key[_SHARED] = {"d": d, "numerator": torch.zeros_like(d)}
        shared: dict[str, Tensor] = states_by_key[_SHARED]
        old = shared["d"]
        scaled = list(torch._foreach_mul(gradients, old.to(parameters[0].dtype)))
        firsts, seconds, sums = (values_of(states, name) for name in ("exp_avg", "exp_avg_sq", "s"))
        torch._foreach_lerp_(firsts, scaled, 1 - beta1)
        average_squares_(seconds, scaled, beta2)
        # With (d / d0) d lr g / (1 - b3), s is a moving average, which needs one pass over the elements less than a
        # sum.
        torch._foreach_mul_(scaled, old * (group["lr"] / group["d0"] / (1 - beta3)))
        torch._foreach_lerp_(sums, scaled, 1 - beta3)
        moved = torch._foreach_sub(values_of(states, "p0"), parameters)
        products = [torch.tensordot(way, each, way.ndim) for way, each in zip(moved, scaled, strict=True)]
        gained = torch.stack(products).sum() * (1 - beta3)
        numerator = shared["numerator"] * beta3 + gained
        denominator = torch.stack(torch._foreach_norm(sums, 1)).sum()
        estimate = torch.where(denominator > 0, numerator / denominator, old)
        shared["d"], shared["numerator"] = torch.maximum(old, estimate), numerator
        return old, shared["d"]


def _move(group: Group, parameters: Tensors, states: list[State], old: Tensor, new: Tensor) -> None:
    size = old * group["lr"]
    roots = list(torch._foreach_sqrt(values_of(states, "exp_avg_sq")))
    torch._foreach_add_(roots, new * group["eps"], alpha=1)  # alpha avoids a synchronising conversion to a number
    torch._foreach_mul_(roots, 1 / size)
    if decay := group["weight_decay"]:
        torch._foreach_mul_(parameters, 1 - size * decay)
    torch._foreach_addcdiv_(parameters, values_of(states, "exp_avg"), roots, -1.0)
