"""The losses of the steps between two readings of the clock."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class RecentLosses:
    """Stores the loss of each step on the device until the next synchronisation."""

    def __init__(self) -> None:
        self.last = math.nan
        """The loss of the last step that had one, at the last synchronisation."""
        self._losses: list[Tensor] = []
        self._steps: list[int] = []
        self._nonfinite: int | None = None

    def add(self, step: int, outputs: Any) -> None:
        """Store the output of a training step; nothing if the submission skipped it."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor):
            self._losses.append(loss)
            self._steps.append(step)

    def drain(self) -> list[tuple[int, float]]:
        """Return the steps since the last call and their losses; waits for the device."""
        if not self._losses:
            return []
        values = torch.stack([loss.detach() for loss in self._losses]).tolist()
        steps, self._losses, self._steps = self._steps, [], []
        self.last = values[-1]
        drained = list(zip(steps, values, strict=True))
        if self._nonfinite is None:
            self._nonfinite = next((step for step, value in drained if not math.isfinite(value)), None)
        return drained

    def first_nonfinite(self) -> int | None:
        """Return the first synchronised step since the last call with a NaN or infinite loss, None if there is none."""
        first, self._nonfinite = self._nonfinite, None
        return first
