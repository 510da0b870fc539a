"""Tail averaging without a fixed horizon."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.optim.foreach import Tensors


class TailAverage:
    """Tracks the mean of tensors over approximately the last ``share`` of all steps, without a fixed horizon.

    The tail consists of up to ``windows`` windows, each with an arithmetic mean. A step extends the last window. If the
    last window has at least ``share * t / (windows - 1)`` steps, where t is the number of previous steps, a new window
    starts instead, and the oldest one is dropped if there are more than ``windows``. Windows therefore become longer
    with t. The tail contains about ``share`` of all steps, and at most ``windows / (windows - 1)`` times that. The
    means of the windows are weighted by their lengths.

    Args:
        tensors: Tensors to average, such as the parameters of a model. Integer tensors are not supported.
        share: Fraction of all steps in the tail, in (0, 1].
        windows: Maximum number of windows, at least 2. Each needs as much memory as the tensors.

    Raises:
        BadInputError: If an option is out of its range.

    Example:
        >>> weight = torch.zeros(1)
        >>> average = TailAverage([weight], share=0.5)
        >>> for step in range(1, 9):
        ...     average.update()
        ...     _ = weight.fill_(step)
        >>> average.counts, [mean.item() for mean in average.average()]
        ([2, 4], [4.5])

    Reference: Le Roux 2019, https://arxiv.org/abs/1902.05083, for the growing windows. The weights are specific to this
    implementation.
    """

    def __init__(self, tensors: Iterable[Tensor], share: float = 0.25, windows: int = 2) -> None:
        for name, fulfilled, what, value in (
            ("share", 0 < share <= 1, "be in (0, 1]", share),
            ("windows", windows >= 2, "be 2 or more", windows),
        ):
            if not fulfilled:
                raise BadInputError(f"{type(self).__name__}: {name} must {what}, but got {value!r}.")
        self.tensors = list(tensors)
        self.share, self.windows = share, windows
        self.steps = 0
        """Number of steps so far."""
        self.counts: list[int] = []
        """Number of steps in each window, oldest first."""
        self._means: list[Tensors] = []
        self._kept: Tensors = []

    @torch.no_grad()
    def update(self) -> None:
        """Add the current values of the tensors. Call this after each step."""
        full = not self.counts or self.counts[-1] >= self.share * self.steps / (self.windows - 1)
        self.steps += 1
        if full:
            self.counts = [*self.counts[1 - self.windows :], 1]
            reused = self._means.pop(0) if len(self._means) == self.windows else None
            if reused is None:
                reused = [tensor.detach().clone(memory_format=torch.preserve_format) for tensor in self.tensors]
            elif self.tensors:
                torch._foreach_copy_(reused, self.tensors)
            self._means.append(reused)
        elif self.tensors:
            self.counts[-1] += 1
            torch._foreach_lerp_(self._means[-1], [tensor.detach() for tensor in self.tensors], 1 / self.counts[-1])

    def average(self) -> Tensors:
        """Return the average, or copies of the tensors before the first update."""
        if not self.counts:
            return [tensor.detach().clone() for tensor in self.tensors]
        seen = self.counts[0]
        mean = [tensor.clone() for tensor in self._means[0]]
        for count, window in zip(self.counts[1:], self._means[1:], strict=True):
            seen += count
            torch._foreach_lerp_(mean, window, count / seen)
        return mean

    @torch.no_grad()
    def swap_in(self) -> None:
        """Replace the values of the tensors with the average until :meth:`swap_out`."""
        if not self._kept and self.tensors:
            self._kept = [tensor.detach().clone() for tensor in self.tensors]
            torch._foreach_copy_(self.tensors, self.average())

    @torch.no_grad()
    def swap_out(self) -> None:
        """Restore the original values bit for bit."""
        if self._kept:
            torch._foreach_copy_(self.tensors, self._kept)
            self._kept = []

    def state_dict(self) -> dict[str, Any]:
        """Return the state needed to resume."""
        return {"steps": self.steps, "counts": self.counts, "means": self._means}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of :meth:`state_dict`. Its tensors are moved to the devices of the averaged tensors."""
        self.steps, self.counts = state["steps"], list(state["counts"])
        self._means = [
            [value.to(tensor, copy=True) for value, tensor in zip(mean, self.tensors, strict=True)]
            for mean in state["means"]
        ]
