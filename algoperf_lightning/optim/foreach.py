"""Base classes of the optimizers. Steps use operations on lists of tensors, which launch few kernels."""

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
    """Base class for optimizers that update all parameters of a group together.

    Subclasses define :meth:`init_state` and :meth:`update`, and check their additional options in
    :meth:`check_options`. Parameters without a gradient keep their values and states.

    Args:
        params: Parameters or parameter groups.
        defaults: Default options of the groups.

    Raises:
        BadInputError: If an option of a group is out of its range.
    """

    def __init__(self, params: Iterable[Any], defaults: Group) -> None:
        super().__init__(params, defaults)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group after checking its options. PyTorch calls this for every group, including the first ones."""
        self.check_options({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a saved state. Options that a checkpoint does not contain are set to their defaults."""
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def check_options(self, options: Group) -> None:
        """Check the options of a group, including the defaults.

        Raises:
            BadInputError: If a learning rate, ``eps`` or weight decay is negative, or a decay rate is not in [0, 1).
        """
        for name in ("lr", "eps", "weight_decay"):
            self.require(options.get(name, 0) >= 0, options, name, "not be negative")
        self.require(all(0 <= beta < 1 for beta in options.get("betas", ())), options, "betas", "be in [0, 1)")

    def require(self, fulfilled: bool, options: Group, name: str, expected: str) -> None:
        """Raise ``BadInputError`` with the expected value of an option unless the condition is fulfilled."""
        if not fulfilled:
            raise BadInputError(f"{type(self).__name__}: {name} must {expected}, but got {options[name]!r}.")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one step and return the result of the closure."""
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
        """Return the initial state of a parameter."""

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group that have a gradient. The lists are never empty.

        Not needed by subclasses that override :meth:`step`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update.")


class AdamLike(ForeachOptimizer):
    """Base class for optimizers with the options and the two moments of Adam.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        betas: Decay rates of the moments, each in [0, 1).
        eps: Added to the root of the second moment.
        weight_decay: Weight decay.

    Raises:
        BadInputError: If an option is out of its range.
    """

    fixed_options: ClassVar[Mapping[str, Any]] = {}
    """Options of every group that are not arguments."""

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
        """Return zero-initialised moments."""
        return adam_state(parameter)


def evaluated(closure: Callable[[], Any] | None) -> Any:
    """Call a closure with gradients enabled and return its result, or None without a closure."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def copies(tensors: Tensors) -> Tensors:
    """Return bitwise copies with few kernel launches. PyTorch has no clone operation for lists."""
    return list(torch._foreach_mul(tensors, 1)) if tensors else []


def adam_state(parameter: Tensor) -> State:
    """Return a step count of 0 and two zero-initialised moments, with the names used by PyTorch's Adam."""
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
    """Increment the step counts and update both moments; return step counts, first and second moments."""
    beta1, beta2, *_ = group["betas"]
    firsts, seconds = values_of(states, "exp_avg"), values_of(states, "exp_avg_sq")
    torch._foreach_lerp_(firsts, gradients, 1 - beta1)
    average_squares_(seconds, gradients, beta2)
    return count_step(states), firsts, seconds


def average_squares_(averages: Tensors, values: Tensors, beta: float) -> None:
    """Update moving averages of squares in place: ``v <- beta v + (1 - beta) x^2``."""
    torch._foreach_mul_(averages, beta)
    torch._foreach_addcmul_(averages, values, values, 1 - beta)


def corrected_roots(seconds: Tensors, beta: float, steps: Sequence[int], eps: float) -> Tensors:
    """Return the denominators of Adam, ``sqrt(v / (1 - beta^t)) + eps``."""
    roots = list(torch._foreach_sqrt(seconds))
    torch._foreach_div_(roots, [(1 - beta**step) ** 0.5 for step in steps])
    torch._foreach_add_(roots, eps)
    return roots
