"""What our own optimizers share: one step is a few operations on lists of tensors, so it costs few kernel launches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from algoperf_lightning.errors import BadInputError

State = dict[str, Any]


class ForeachOptimizer(Optimizer):
    """Base of an optimizer that updates all parameters of a group together.

    A subclass defines :meth:`init_state` and :meth:`update`, and what more its options must be in
    :meth:`check_options`. Parameters without a gradient keep value and state.

    Args:
        params: Parameters, or groups of them.
        defaults: Options of a group that names none of its own.

    Raises:
        BadInputError: If an option of a group is out of its range.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, if its options can be used; torch hands over every group here, the first ones too."""
        self.check_options({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def check_options(self, options: dict[str, Any]) -> None:
        """Check the options of a group, defaults included.

        Raises:
            BadInputError: If a learning rate, ``eps`` or weight decay is negative, or a decay rate is not in [0, 1).
        """
        for name in ("lr", "eps", "weight_decay"):
            self.require(options.get(name, 0) >= 0, options, name, "not be negative")
        self.require(all(0 <= beta < 1 for beta in options.get("betas", ())), options, "betas", "be in [0, 1)")

    def require(self, fulfilled: bool, options: dict[str, Any], name: str, expected: str) -> None:
        """Raise ``BadInputError`` unless what an option must is fulfilled."""
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
        """Return the state of each parameter, made when it is asked for first."""
        states: list[State] = []
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] = self.init_state(parameter)
            states.append(self.state[parameter])
        return states

    @abstractmethod
    def init_state(self, parameter: Tensor) -> State:
        """Return the state of a parameter that has seen no gradient yet."""

    def update(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[State]
    ) -> None:
        """Make one step with the parameters of a group that have a gradient; there is at least one.

        A subclass whose :meth:`step` is its own needs none.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update.")


def evaluated(closure: Callable[[], Any] | None) -> Any:
    """Return what a closure returns, called with gradients switched on; None without a closure."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def adam_state(parameter: Tensor) -> State:
    """Return a step count and two moments, under the names that torch's Adam has for them."""
    return {"step": 0, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}


def values_of(states: Iterable[State], name: str) -> list[Tensor]:
    """Return one entry of every state."""
    return [state[name] for state in states]


def count_step(states: Iterable[State]) -> list[int]:
    """Count a step in every state; return how many each has made, this one included."""
    steps = []
    for state in states:
        state["step"] += 1
        steps.append(state["step"])
    return steps


def average_squares_(averages: list[Tensor], values: list[Tensor], beta: float) -> None:
    """Move moving averages toward the squares of values: ``v <- beta v + (1 - beta) x^2``."""
    torch._foreach_mul_(averages, beta)
    torch._foreach_addcmul_(averages, values, values, 1 - beta)


def corrected_roots(seconds: list[Tensor], beta: float, steps: Sequence[int], eps: float) -> list[Tensor]:
    """Return Adam's denominators, ``sqrt(v / (1 - beta^t)) + eps``."""
    roots = list(torch._foreach_sqrt(seconds))
    torch._foreach_div_(roots, [(1 - beta**step) ** 0.5 for step in steps])
    torch._foreach_add_(roots, eps)
    return roots
