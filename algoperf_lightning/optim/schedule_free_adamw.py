"""Schedule-Free AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from algoperf_lightning.optim.foreach import Group, State, Tensors, average_squares_, values_of
from algoperf_lightning.optim.schedule_free import ScheduleFreeOptimizer

Rules = Literal["v1", "v2"]


class ScheduleFreeAdamW(ScheduleFreeOptimizer):
    """Schedule-free averaging over AdamW without a first moment; see :class:`ScheduleFreeOptimizer`.

    With the gradient g at y, k = 1, 2, ... and ``s = r(k) sqrt(1 - b2^k)``::

        v <- b2 v + (1 - b2) g^2
        v2:  z <- z - s (g / (sqrt(v) + eps) + weight_decay y),  w(k) = r(k)^2
        v1:  z <- z - s (g / (sqrt(v) + eps) + weight_decay x),  w(k) = k^0.75 (largest r so far)^2

    v1 stores v in bfloat16 and rounds after the decay, the addition and the root, as in the leaderboard entries. Due to
    the rounding, v underestimates the average of the squares, for example by a quarter with ``b2 = 0.9955`` after 501
    gradients of unit variance (mean 0.676, compared with 0.894 in exact arithmetic).

    ``schedulefree.AdamWScheduleFree`` differs from v2 in two points: its weight decay does not have the factor ``sqrt(1
    - b2^k)``, and eps is added at a different place.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate after warm-up.
        beta1: Interpolation weight of the average x in y, in (0, 1).
        beta2: Decay rate of the second moment, in [0, 1).
        eps: Added to the root of the second moment.
        weight_decay: Weight decay.
        warmup_steps: Number of warm-up steps.
        version: ``v1`` or ``v2``.

    Raises:
        BadInputError: If an option is out of its range, or the version is unknown.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2.5e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        version: Rules = "v2",
    ) -> None:
        defaults = {"lr": lr, "beta1": beta1, "betas": (beta2,), "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "warmup_steps": warmup_steps, "version": version})

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(options["version"] in ("v1", "v2"), options, "version", "be 'v1' or 'v2'")

    def init_state(self, parameter: Tensor) -> State:
        """Return z, initialised to the parameter, and a zero-initialised second moment."""
        dtype = torch.bfloat16 if self.defaults["version"] == "v1" else parameter.dtype
        return {**super().init_state(parameter), "exp_avg_sq": torch.zeros_like(parameter, dtype=dtype)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a checkpoint. PyTorch casts states to the dtype of the parameters, so v1 casts its state back."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            if self.defaults["version"] == "v1":
                state["exp_avg_sq"] = state["exp_avg_sq"].bfloat16()

    def rate(self, group: Group) -> float:
        """Return the learning rate of the current step, at least eps."""
        return max(super().rate(group), float(group["eps"]))

    def weight(self, group: Group, rate: float) -> float:
        """Return the weight of the current step."""
        if group["version"] == "v2":
            return float(rate**2)
        return float((group["k"] + 1) ** 0.75 * group["lr_max"] ** 2)

    def directions(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> Tensors:
        """Update the second moments. Return the directions, or their divisors if they contain no weight decay."""
        (beta2,) = group["betas"]
        seconds = values_of(states, "exp_avg_sq")
        if group["version"] == "v1":
            # One tensor at a time, because PyTorch's list operations also round beta2 to bfloat16 on the CPU.
            for second, gradient in zip(seconds, gradients, strict=True):
                second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        else:
            average_squares_(seconds, gradients, beta2)
        roots = list(torch._foreach_sqrt(seconds))
        torch._foreach_add_(roots, group["eps"])
        if not _decays_at_y(group):
            return roots
        directions = list(torch._foreach_div(gradients, roots))
        torch._foreach_add_(directions, parameters, alpha=group["weight_decay"])
        return directions

    def move(self, group: Group, fast: Tensors, averages: Tensors, directions: Tensors, rate: float) -> None:
        """Update z."""
        size = rate * (1 - group["betas"][0] ** (group["k"] + 1)) ** 0.5
        if _decays_at_y(group):
            torch._foreach_add_(fast, directions, alpha=-size)
            return
        torch._foreach_addcdiv_(fast, [p.grad for p in averages], directions, -size)
        if decay := group["weight_decay"]:
            torch._foreach_add_(fast, averages, alpha=-size * decay)


def _decays_at_y(group: Group) -> bool:
    """Return whether the weight decay is part of the direction. Otherwise, directions are stored as divisors."""
    return bool(group["version"] == "v2" and group["weight_decay"])
