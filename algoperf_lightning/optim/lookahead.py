"""Lookahead, around another optimizer."""

from __future__ import annotations

import torch
from torch import Tensor

from algoperf_lightning.optim.foreach import ForeachOptimizer, Group, State, Tensors, values_of


class Lookahead(ForeachOptimizer):
    """Slow weights that follow the weights of another optimizer, which starts from them again every few steps.

    After every k-th step of the inner optimizer, with weights p and slow weights s, which start at p::

        s <- s + alpha (p - s);  p <- s

    The state of the inner optimizer is kept. Evaluations see p.

    Args:
        inner: Makes the steps in between. Its class defines ``init_state`` and ``update``; parameters, their state and
            the options of their groups belong to this optimizer from now on.
        k: Period of the slow weights, in steps.
        alpha: Step size of the slow weights, in [0, 1].
        discard: Whether the slow weights move *in place of* the inner step at steps 0, k, 2k, ..., whose gradients are
            not used. With k = 1 there is then no other step. A public wrapper for TensorFlow has this.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: Zhang et al. 2019, https://arxiv.org/abs/1907.08610.
    """

    def __init__(self, inner: ForeachOptimizer, k: int = 5, alpha: float = 0.5, discard: bool = False) -> None:
        self.inner = inner
        super().__init__(inner.param_groups, {"k": k, "alpha": alpha, "discard": discard, "lookahead_step": 0})
        inner.param_groups = []  # a checkpoint is loaded into the groups here, and would leave others behind

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(options["k"] >= 1, options, "k", "be 1 or more")
        self.require(0 <= options["alpha"] <= 1, options, "alpha", "be in [0, 1]")

    def init_state(self, parameter: Tensor) -> State:
        """Return the inner optimizer's state, and a copy of the parameter."""
        slow = parameter.detach().clone(memory_format=torch.preserve_format)
        return {**self.inner.init_state(parameter), "slow": slow}

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Make a step."""
        step = group["lookahead_step"]
        group["lookahead_step"] = step + 1
        synchronises = (step if group["discard"] else step + 1) % group["k"] == 0
        if not (group["discard"] and synchronises):
            self.inner.update(group, parameters, gradients, states)
        if synchronises:
            slow = values_of(states, "slow")
            torch._foreach_lerp_(slow, parameters, group["alpha"])
            torch._foreach_copy_(parameters, slow)
