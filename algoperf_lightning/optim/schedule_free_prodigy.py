"""Schedule-Free Prodigy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from algoperf_lightning.optim.foreach import Group, State, Tensors
from algoperf_lightning.optim.schedule_free import ScheduleFreeOptimizer


class ScheduleFreeProdigy(ScheduleFreeOptimizer):
    """Schedule-free averaging over Prodigy without a first moment; see :class:`ScheduleFreeOptimizer`.

    g is the gradient at y, p0 are the initial parameters, ``b3 = sqrt(b2)``, r(k) is the learning rate with warm-up,
    and d is the estimate of the step size, computed over all parameters of a group::

        n <- b3 n + d^2 r(k) <g, p0 - z>;  s <- b3 s + d^2 r(k) g;  v <- b2 v + (1 - b2) d^2 g^2
        d' = max(d, n / |s|_1)
        z <- z - d r(k) (d' g / (sqrt(v) + d' eps) + weight_decay x),  w(k) = k^0.75

    Like the leaderboard entry, this class stores v, s and p0 in bfloat16, which rounds after every operation.

    Args:
        params: Parameters or parameter groups.
        lr: Factor applied to the estimate after warm-up.
        beta1: Interpolation weight of the average x in y, in (0, 1).
        beta2: Decay rate of the second moment, in [0, 1).
        eps: Multiplied by the estimate and added to the root of the second moment.
        weight_decay: Weight decay.
        warmup_steps: Number of warm-up steps.
        d0: Initial estimate, positive.
        low_precision: Whether v, s and p0 are stored in bfloat16 instead of the dtype of the parameters.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: the entry "Schedule Free Prodigy" of the AlgoPerf v0.5 leaderboard; Mishchenko and Defazio 2024,
    https://arxiv.org/abs/2306.06101.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        beta1: float = 0.9,
        beta2: float = 0.9955,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        d0: float = 1e-6,
        low_precision: bool = True,
    ) -> None:
        defaults = {"lr": lr, "beta1": beta1, "betas": (beta2,), "eps": eps, "weight_decay": weight_decay, "d0": d0}
        self.low_precision = low_precision
        super().__init__(params, {**defaults, "warmup_steps": warmup_steps})

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(options["d0"] > 0, options, "d0", "be positive")

    def init_state(self, parameter: Tensor) -> State:
        """Return z, initialised to the parameter, zero-initialised averages, and a copy of the parameter."""
        dtype = self._dtype(parameter)
        averages = {name: torch.zeros_like(parameter, dtype=dtype) for name in ("exp_avg_sq", "s")}
        return {**super().init_state(parameter), **averages, "p0": parameter.detach().to(dtype, copy=True)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a checkpoint. PyTorch casts states to the dtype of the parameters, so they are cast back."""
        super().load_state_dict(state_dict)
        for parameter, state in self.state.items():
            for name in ("exp_avg_sq", "s", "p0"):
                state[name] = state[name].to(self._dtype(parameter))

    def weight(self, group: Group, rate: float) -> float:
        """Return the weight of the current step."""
        return float((group["k"] + 1) ** 0.75)

    def directions(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> Tensors:
        """Update the averages and the estimate, and return d' g / (sqrt(v) + d' eps)."""
        rate, (beta2,) = self.rate(group), group["betas"]
        beta3 = beta2**0.5
        if "d" not in group:
            dtype = torch.promote_types(parameters[0].dtype, torch.float32)
            group["d"] = torch.full((), group["d0"], dtype=dtype, device=parameters[0].device)
            group["numerator"] = torch.zeros_like(group["d"])
        d, numerator = (group[name].to(parameters[0].device) for name in ("d", "numerator"))
        gained, size = torch.zeros_like(d), torch.zeros_like(d)
        weight, step = d * d * rate, d * rate
        # One tensor at a time, because PyTorch's list operations also round their factors to bfloat16 on the CPU.
        for gradient, scaled, state in zip(gradients, torch._foreach_mul(gradients, d), states, strict=True):
            gained += (gradient * (state["p0"] - state["z"])).sum() * weight
            state["exp_avg_sq"].mul_(beta2).addcmul_(scaled, scaled, value=1 - beta2)
            state["s"].mul_(beta3).add_(scaled * step)
            size += state["s"].abs().sum()
        group["numerator"] = numerator * beta3 + gained
        group["d"] = torch.maximum(d, torch.where(size > 0, group["numerator"] / size, d))
        group["last_d"] = d
        roots = [state["exp_avg_sq"].sqrt().add_(group["d"] * group["eps"]) for state in states]
        directions = list(torch._foreach_div(gradients, [root.to(g) for root, g in zip(roots, gradients, strict=True)]))
        torch._foreach_mul_(directions, group["d"])
        return directions

    def move(self, group: Group, fast: Tensors, averages: Tensors, directions: Tensors, rate: float) -> None:
        """Update z."""
        size = group["last_d"] * rate
        torch._foreach_sub_(fast, torch._foreach_mul(averages, size * group["weight_decay"]))
        torch._foreach_sub_(fast, torch._foreach_mul(directions, size))

    def _dtype(self, parameter: Tensor) -> torch.dtype:
        return torch.bfloat16 if self.low_precision else parameter.dtype
