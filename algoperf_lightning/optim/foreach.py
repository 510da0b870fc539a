"""Base classes of our optimizers: a step is a few operations on lists of tensors, so it launches few kernels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from algoperf_lightning.errors import BadInputError

Group = dict[str, Any]
"""Options of a parameter group."""
State = dict[str, Any]
"""State of one parameter."""
Tensors = list[Tensor]


class ForeachOptimizer(Optimizer):
    """Base of an optimizer that updates all parameters of a group together.

    A subclass defines :meth:`init_state` and :meth:`update`; options beyond the usual ones are checked in
    :meth:`check_options`. Parameters without a gradient keep their value and state.

    Args:
        params: Parameters, or groups of them.
        defaults: Options of groups that do not set their own.

    Raises:
        BadInputError: If an option of a group is out of its range.
    """

    def __init__(self, params: Iterable[Any], defaults: Group) -> None:
        super().__init__(params, defaults)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group after checking its options. torch calls this for every group, the first ones included."""
        self.check_options({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a saved state; options that are newer than a checkpoint have their defaults."""
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def check_options(self, options: Group) -> None:
        """Check the options of a group, defaults included.

        Raises:
            BadInputError: If a learning rate, ``eps`` or weight decay is negative, or a decay rate is not in [0, 1).
        """
        for name in ("lr", "eps", "weight_decay"):
            self.require(options.get(name, 0) >= 0, options, name, "not be negative")
        self.require(all(0 <= beta < 1 for beta in options.get("betas", ())), options, "betas", "be in [0, 1)")

    def require(self, fulfilled: bool, options: Group, name: str, expected: str) -> None:
        """Raise ``BadInputError`` with what an option must be, unless the condition is fulfilled."""
        if not fulfilled:
            raise BadInputError(f"{type(self).__name__}: {name} must {expected}, but got {options[name]!r}.")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step and return what the closure returned."""
        loss = evaluated(closure)
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self.update(group, parameters, [p.grad for p in parameters], self.states_of(parameters))
        return loss

    def states_of(self, parameters: Iterable[Tensor]) -> list[State]:
        """Return the state of each parameter, initialised on first use."""
        states: list[State] = []
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] = self.init_state(parameter)
            states.append(self.state[parameter])
        return states

    @abstractmethod
    def init_state(self, parameter: Tensor) -> State:
        """Return the state of a parameter before its first step."""

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group that have a gradient; there is at least one.

        A subclass that overrides :meth:`step` does not need it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update.")


class AdamLike(ForeachOptimizer):
    """Base of optimizers that have the options and the two moments of Adam.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Decay rates of the moments, each in [0, 1).
        eps: Added to the root of the second moment.
        weight_decay: Weight decay.

    Raises:
        BadInputError: If an option is out of its range.
    """

    fixed_options: ClassVar[Mapping[str, Any]] = {}
    """Options of every group that are no arguments."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, **self.fixed_options})

    def init_state(self, parameter: Tensor) -> State:
        """Return moments of 0."""
        return adam_state(parameter)


def evaluated(closure: Callable[[], Any] | None) -> Any:
    """Call a closure with gradients enabled and return its result; None without a closure."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def copies(tensors: Tensors) -> Tensors:
    """Return copies, bit for bit; with few kernels, as torch cannot clone a list."""
    return list(torch._foreach_mul(tensors, 1)) if tensors else []


def adam_state(parameter: Tensor) -> State:
    """Return a step count of 0 and two moments of 0, under the names that torch's Adam uses."""
    return {"step": 0, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}


def values_of(states: Iterable[State], name: str) -> Tensors:
    """Return one entry of every state."""
    return [state[name] for state in states]


def count_step(states: Iterable[State]) -> list[int]:
    """Increment the step count of every state and return the new counts."""
    steps = []
    for state in states:
        state["step"] += 1
        steps.append(state["step"])
    return steps


def move_moments(group: Group, gradients: Tensors, states: list[State]) -> tuple[list[int], Tensors, Tensors]:
    """Count a step and move both moments of Adam; return step counts, first and second moments."""
    beta1, beta2, *_ = group["betas"]
    firsts, seconds = values_of(states, "exp_avg"), values_of(states, "exp_avg_sq")
    torch._foreach_lerp_(firsts, gradients, 1 - beta1)
    average_squares_(seconds, gradients, beta2)
    return count_step(states), firsts, seconds


def average_squares_(averages: Tensors, values: Tensors, beta: float) -> None:
    """Move moving averages toward the squares of values: ``v <- beta v + (1 - beta) x^2``."""
    torch._foreach_mul_(averages, beta)
    torch._foreach_addcmul_(averages, values, values, 1 - beta)


def corrected_roots(seconds: Tensors, beta: float, steps: Sequence[int], eps: float) -> Tensors:
    """Return Adam's denominators, ``sqrt(v / (1 - beta^t)) + eps``."""
    roots = list(torch._foreach_sqrt(seconds))
    torch._foreach_div_(roots, [(1 - beta**step) ** 0.5 for step in steps])
    torch._foreach_add_(roots, eps)
    return roots
