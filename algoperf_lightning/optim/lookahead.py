"""Lookahead as a wrapper around another optimizer."""

from __future__ import annotations

import torch
from torch import Tensor

from algoperf_lightning.optim.foreach import ForeachOptimizer, Group, State, Tensors, values_of


class Lookahead(ForeachOptimizer):
    """Slow weights that track the weights of an inner optimizer, which is reset to them every k steps.

    After every k-th step of the inner optimizer, with weights p and slow weights s, initialised to p::

        s <- s + alpha (p - s);  p <- s

    The state of the inner optimizer is not reset. Evaluations use p.

    Args:
        inner: Optimizer with the methods ``init_state`` and ``update`` that performs the fast steps. Its parameters,
            states and group options are taken over by this optimizer.
        k: Number of steps between updates of the slow weights.
        alpha: Step size of the slow weights, in [0, 1].
        discard: Whether the update of the slow weights *replaces* the inner step at steps 0, k, 2k, .... The gradients
            of these steps are then not used. With k = 1, all inner steps are replaced. A public wrapper for TensorFlow
            behaves this way.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Zhang et al. 2019, https://arxiv.org/abs/1907.08610.
    """

    def __init__(self, inner: ForeachOptimizer, k: int = 5, alpha: float = 0.5, discard: bool = False) -> None:
        self.inner = inner
        super().__init__(inner.param_groups, {"k": k, "alpha": alpha, "discard": discard, "lookahead_step": 0})
        inner.param_groups = []  # a checkpoint is loaded into the groups of the wrapper only

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(options["k"] >= 1, options, "k", "be 1 or more")
        self.require(0 <= options["alpha"] <= 1, options, "alpha", "be in [0, 1]")

    def init_state(self, parameter: Tensor) -> State:
        """Return the state of the inner optimizer and a copy of the parameter."""
        slow = parameter.detach().clone(memory_format=torch.preserve_format)
        return {**self.inner.init_state(parameter), "slow": slow}

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        step = group["lookahead_step"]
        group["lookahead_step"] = step + 1
        synchronises = (step if group["discard"] else step + 1) % group["k"] == 0
        if not (group["discard"] and synchronises):
            self.inner.update(group, parameters, gradients, states)
        if synchronises:
            slow = values_of(states, "slow")
            torch._foreach_lerp_(slow, parameters, group["alpha"])
            torch._foreach_copy_(parameters, slow)
