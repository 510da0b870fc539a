"""RMSProp as implemented in TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from algoperf_lightning.optim.foreach import (
    ForeachOptimizer,
    Group,
    State,
    Tensors,
    average_squares_,
    values_of,
)


class TFRMSprop(ForeachOptimizer):
    """SGD with the gradient divided by the root of a moving average of its squares, with epsilon inside the root.

    With gradient g and second moment v, initialised to ``initial_second_moment``::

        v <- b v + (1 - b) g^2;  p <- p - lr * g / sqrt(v + eps)

    ``torch.optim.RMSprop`` adds epsilon to the root and initialises v to 0.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        decay: b, in [0, 1).
        eps: Added to the second moment.
        initial_second_moment: v before the first step. TensorFlow 1 uses 1.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Tieleman and Hinton 2012, lecture 6e of "Neural networks for machine learning".
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        decay: float = 0.9,
        eps: float = 1e-10,
        initial_second_moment: float = 1.0,
    ) -> None:
        options = {"lr": lr, "decay": decay, "eps": eps, "initial_second_moment": initial_second_moment}
        super().__init__(params, options)
        self._initial = initial_second_moment

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(0 <= options["decay"] < 1, options, "decay", "be in [0, 1)")
        self.require(options["initial_second_moment"] >= 0, options, "initial_second_moment", "not be negative")

    def init_state(self, parameter: Tensor) -> State:
        """Return the initial second moment."""
        return {"exp_avg_sq": torch.full_like(parameter, self._initial)}

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        seconds = values_of(states, "exp_avg_sq")
        average_squares_(seconds, gradients, group["decay"])
        roots = torch._foreach_add(seconds, group["eps"])
        torch._foreach_sqrt_(roots)
        torch._foreach_addcdiv_(parameters, gradients, roots, -group["lr"])
