"""Base class of the schedule-free optimizers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from algoperf_lightning.optim.foreach import ForeachOptimizer, Group, State, Tensors, evaluated, values_of


class ScheduleFreeOptimizer(ForeachOptimizer):
    """Base class of schedule-free optimizers, which need a warm-up but no other schedule and no horizon.

    The parameters store the average x. Call :meth:`go_to_y` before computing the gradient to move the parameters to y.
    :meth:`step` then moves them to the new x. z is the fast sequence, r(k) is the learning rate with warm-up, and u is
    a direction computed from the gradient at y::

        y = b1 x + (1 - b1) z
        z <- z - r(k) u;  x <- (1 - c) x + c z,  c = w(k) / (w(1) + ... + w(k))

    x and z of parameters without a gradient are unchanged.

    Args:
        params: Parameters or parameter groups.
        defaults: Default options of the groups, including ``lr``, ``beta1`` and ``warmup_steps``.

    Raises:
        BadInputError: If ``beta1`` is not in (0, 1), or another option is out of its range.

    Reference: Defazio et al. 2024, https://arxiv.org/abs/2405.15682.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        super().__init__(params, {**defaults, "k": 0, "weight_sum": 0.0, "lr_max": 0.0, "at_y": False})

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(0 < options["beta1"] < 1, options, "beta1", "be in (0, 1)")
        self.require(options["warmup_steps"] >= 0, options, "warmup_steps", "not be negative")

    def go_to_y(self) -> None:
        """Move all parameters from x to y, unless they are already there."""
        for group in self.param_groups:
            self._go(group, to_y=True)

    def go_to_x(self) -> None:
        """Move all parameters from y back to x, unless they are already there, as after a step."""
        for group in self.param_groups:
            self._go(group, to_y=False)

    @torch.no_grad()
    def _go(self, group: Group, *, to_y: bool) -> None:
        if group["params"] and group["at_y"] != to_y:
            weight = 1 - group["beta1"] if to_y else 1 - 1 / group["beta1"]
            torch._foreach_lerp_(group["params"], values_of(self.states_of(group["params"]), "z"), weight)
            group["at_y"] = to_y

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one step and return the result of the closure.

        Raises:
            RuntimeError: If the gradient was not computed at y.
        """
        loss = evaluated(closure)
        groups = [group for group in self.param_groups if group["params"]]
        if not all(group["at_y"] for group in groups):
            raise RuntimeError(
                f"{type(self).__name__}: the gradient must be computed at y. Call go_to_y() before the loss."
            )
        for group in groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: Group) -> None:
        moving = [p for p in group["params"] if p.grad is not None]
        rate = self.rate(group)
        group["lr_max"] = max(group["lr_max"], rate)
        weight = self.weight(group, rate)
        group["weight_sum"] += weight
        share = weight / group["weight_sum"] if group["weight_sum"] else 0.0
        directions: Tensors = []
        if moving:
            directions = self.directions(group, moving, [p.grad for p in moving], self.states_of(moving))
        self._go(group, to_y=False)
        if moving:
            fast = values_of(self.states_of(moving), "z")
            self.move(group, fast, moving, directions, rate)
            torch._foreach_lerp_(moving, fast, share)
        group["k"] += 1

    def rate(self, group: Group) -> float:
        """Return the learning rate of the current step, including warm-up."""
        warmup: int = group["warmup_steps"]
        return float(group["lr"] * min(1.0, (group["k"] + 1) / warmup if warmup else 1.0))

    def init_state(self, parameter: Tensor) -> State:
        """Return the initial state of a parameter."""
        return {"z": parameter.detach().clone(memory_format=torch.preserve_format)}

    @abstractmethod
    def weight(self, group: Group, rate: float) -> float:
        """Return the weight w(k) of the current z in the average."""

    @abstractmethod
    def directions(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> Tensors:
        """Return the directions u, or the inputs from which :meth:`move` computes them. Evaluated at y."""

    @abstractmethod
    def move(self, group: Group, fast: Tensors, averages: Tensors, directions: Tensors, rate: float) -> None:
        """Update z. The averages are those from before the current step."""
