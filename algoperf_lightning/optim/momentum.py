"""Variants of PyTorch's SGD with momentum."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.optim.foreach import ForeachOptimizer, Group, State, Tensors, evaluated, values_of


class HeavyBall(ForeachOptimizer):
    """PyTorch's SGD with momentum, for use in :class:`~algoperf_lightning.optim.lookahead.Lookahead`.

    With gradient g and momentum b: ``b <- mu b + g;  p <- p - lr * b``.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        momentum: mu, in [0, 1).

    Raises:
        BadInputError: If an option is out of its range.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(0 <= options["momentum"] < 1, options, "momentum", "be in [0, 1)")

    def init_state(self, parameter: Tensor) -> State:
        """Return a zero-initialised momentum buffer."""
        return {"momentum_buffer": torch.zeros_like(parameter)}

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        momenta = values_of(states, "momentum_buffer")
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, gradients)
        torch._foreach_add_(parameters, momenta, alpha=-group["lr"])


class DecoupledNesterov(torch.optim.SGD):
    """PyTorch's SGD with Nesterov momentum and weight decay decoupled from the momentum.

    With gradient g and momentum b: ``b <- g + mu b;  p <- p - lr * (g + mu b + decoupled_decay p)``.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        momentum: mu.
        decoupled_decay: Weight decay.

    Raises:
        BadInputError: If the weight decay is negative.
        ValueError: If an option of SGD is out of its range.
    """

    def __init__(self, params: Any, lr: float, momentum: float, decoupled_decay: float) -> None:
        super().__init__(params, lr=lr, momentum=momentum, nesterov=True, fused=True)
        for group in self.param_groups:
            if not group.setdefault("decoupled_decay", decoupled_decay) >= 0:
                raise BadInputError(
                    f"{type(self).__name__}: decoupled_decay must not be negative, but got {group['decoupled_decay']}."
                )
        begin_momentum(self)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one step and return the result of the closure."""
        loss = evaluated(closure)
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["decoupled_decay"])
        super().step()
        return loss


def begin_momentum(optimizer: torch.optim.SGD) -> None:
    """Initialise the momentum of every parameter to 0, which does not change its first step.

    PyTorch's fused SGD fails if some parameters have a momentum and others have none because they had no gradient so
    far.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
