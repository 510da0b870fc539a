"""EMA-Nesterov as a wrapper around another optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.optim.foreach import Tensors


class EMANesterov:
    """Evaluates gradients at a look-ahead point along a moving average of the updates.

    Call :meth:`go_ahead` before each loss computation. The rest happens in the optimizer's step. p are the parameters,
    m is their average update, initially 0, and r is the ratio of the current to the initial learning rate of the group,
    at most 1::

        before the loss, after the first ``start`` steps and before ``end`` of them:  p <- p + beta r m
        the optimizer's step, with the gradient there
        m <- gamma m + (1 - gamma) (p - q), with q the p before both lines

    Between a step and the next :meth:`go_ahead`, the parameters have their values after the step. Evaluate the model
    then.

    Args:
        optimizer: Optimizer to wrap. Call its ``step`` as usual.
        beta: Distance of the look-ahead point, as a multiple of the average update, in [0, inf).
        gamma: Decay rate of the average, in [0, 1).
        start: Number of steps before the first look-ahead, used to initialise the average.
        end: Number of steps after which look-ahead stops; None means never.

    Raises:
        BadInputError: If an option is out of its range.

    Reference: https://arxiv.org/abs/2605.25395.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        beta: float = 0.6,
        gamma: float = 0.99,
        start: int = 500,
        end: float | None = None,
    ) -> None:
        expected = {
            "beta": (beta >= 0, "not be negative", beta),
            "gamma": (0 <= gamma < 1, "be in [0, 1)", gamma),
            "start": (start >= 0, "not be negative", start),
        }
        for name, (fulfilled, what, value) in expected.items():
            if not fulfilled:
                raise BadInputError(f"{type(self).__name__}: {name} must {what}, but got {value!r}.")
        self.beta, self.gamma, self.start, self.end = beta, gamma, start, end
        self.steps = 0
        """Number of optimizer steps so far."""
        self.is_ahead = False
        self._optimizer = optimizer
        self._averages: Tensors = []
        self._starts: Tensors = []
        optimizer.register_step_post_hook(self._after_step)

    @property
    def _parameters(self) -> Tensors:
        return [p for group in self._optimizer.param_groups for p in group["params"]]

    @torch.no_grad()
    def go_ahead(self) -> None:
        """Move the parameters to the look-ahead point, unless they are already there, as after a skipped step."""
        parameters = self._parameters
        if self.is_ahead or not parameters:
            return
        if not self._starts:
            self._starts = [p.detach().clone(memory_format=torch.preserve_format) for p in parameters]
            self._averages = [torch.zeros_like(p) for p in parameters]
        if self.start <= self.steps and (self.end is None or self.steps < self.end):
            torch._foreach_add_(parameters, torch._foreach_mul(self._averages, self._factors()))
        self.is_ahead = True

    @torch.no_grad()
    def go_back(self) -> None:
        """Restore the parameters bit for bit if they are at the look-ahead point."""
        if self.is_ahead and self._starts:
            torch._foreach_copy_(self._parameters, self._starts)
        self.is_ahead = False

    def state_dict(self) -> dict[str, Any]:
        """Return the state needed to resume, in addition to the optimizer's state."""
        return {"steps": self.steps, "is_ahead": self.is_ahead, "averages": self._averages, "starts": self._starts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of :meth:`state_dict`. Tensors are moved to the devices of the parameters."""
        self.steps, self.is_ahead = state["steps"], state["is_ahead"]
        self._averages, self._starts = (
            [value.to(p, copy=True) for value, p in zip(state[name], self._parameters, strict=False)]
            for name in ("averages", "starts")
        )

    def _factors(self) -> list[float]:
        """Return beta * r for each parameter."""
        factors: list[float] = []
        for group in self._optimizer.param_groups:
            rate, peak = float(group["lr"]), float(group.get("initial_lr", group["lr"]))
            factors += [self.beta * (min(1.0, rate / peak) if peak else 0.0)] * len(group["params"])
        return factors

    @torch.no_grad()
    def _after_step(self, *_: Any) -> None:
        if self._starts:
            parameters = self._parameters
            torch._foreach_lerp_(self._averages, torch._foreach_sub(parameters, self._starts), 1 - self.gamma)
            torch._foreach_copy_(self._starts, parameters)
        self.steps += 1
        self.is_ahead = False
