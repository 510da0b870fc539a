"""The mean of the last part of all steps, at any time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.optim.foreach import Tensors


class TailAverage:
    """Keeps the mean of tensors over about the last ``share`` of all steps, without a horizon.

    The tail consists of a few windows, each with a plain mean. A step extends the last window, unless that is
    ``share * t / (windows - 1)`` steps long or more, t being the number of earlier steps: then a new window begins, and
    of more than ``windows``, the oldest is dropped. So windows become longer with t, and the tail is about ``share`` of
    all steps, and at most ``windows / (windows - 1)`` times that. Windows are averaged by their lengths.

    Args:
        tensors: What is averaged, such as the parameters of a model; integers must not be among them.
        share: Share of all steps in the tail, in (0, 1].
        windows: Number of windows, each as large as the tensors; at least 2.

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

    Reference: Le Roux 2019, https://arxiv.org/abs/1902.05083, which has the growing windows; the weights are ours.
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
        """Steps so far."""
        self.counts: list[int] = []
        """Steps in each window, the oldest first."""
        self._means: list[Tensors] = []
        self._kept: Tensors = []

    @torch.no_grad()
    def update(self) -> None:
        """Add the tensors as they are now; call it after each step."""
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
        """Return the average; before the first update, copies of the tensors."""
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
        """Put the average in place of the tensors' values, until :meth:`swap_out`."""
        if not self._kept and self.tensors:
            self._kept = [tensor.detach().clone() for tensor in self.tensors]
            torch._foreach_copy_(self.tensors, self.average())

    @torch.no_grad()
    def swap_out(self) -> None:
        """Put the values back, bit for bit."""
        if self._kept:
            torch._foreach_copy_(self.tensors, self._kept)
            self._kept = []

    def state_dict(self) -> dict[str, Any]:
        """Return the state needed to resume."""
        return {"steps": self.steps, "counts": self.counts, "means": self._means}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; tensors go to the devices of those that are averaged."""
        self.steps, self.counts = state["steps"], list(state["counts"])
        self._means = [
            [value.to(tensor, copy=True) for value, tensor in zip(mean, self.tensors, strict=True)]
            for mean in state["means"]
        ]
