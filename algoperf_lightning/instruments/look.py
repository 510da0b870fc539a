"""The inputs of instruments: a training step before and after it is made, and the batch of the following step."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer

from algoperf_lightning.instruments.probe import Probe, UnmeasurableError
from algoperf_lightning.instruments.steps import Slope

Value: TypeAlias = "float | dict[str, float] | list[int] | list[list[int]]"
"""A number; numbers by the names of layers, parameters or modules; counts of a histogram."""


@dataclass
class Look:
    """A measured step before it is made, at the parameters theta with its batch.

    Data that are needed later are stored as plain tensors, because the graph of a probe is only valid for the
    parameters at which it was built.

    Args:
        step: Steps made before it.
        probe: The batch at theta.
        optimizers: The optimizers of the run; their states are only read.
        gradient_clip: Largest norm to which a gradient is clipped; None for no clipping.
        loss_type: Type of the workload's loss.
        first: Initial parameters, by name.
        averages: Exponential means over measured steps, by name; updated by instruments.
        wanted: Names of the selected instruments, for those that share a pass; None for all.
    """

    step: int
    probe: Probe
    optimizers: Sequence[Optimizer] = ()
    gradient_clip: float | None = None
    loss_type: str = ""
    first: Mapping[str, Tensor] = field(default_factory=dict)
    averages: dict[str, float] = field(default_factory=dict)
    wanted: Collection[str] | None = None

    def __post_init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self.learning_rates = _learning_rates(self.probe, self.optimizers)

    def wants(self, name: str) -> bool:
        """Return whether an instrument is selected."""
        return self.wanted is None or name in self.wanted

    def keep_weights(self) -> None:
        """Copy the parameters, for measurements after the step."""
        self.weights = copies(self.probe)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the step; NaN if it differs between parameters."""
        found = set(self.learning_rates.values())
        return found.pop() if len(found) == 1 else math.nan


@dataclass
class Step:
    """A measured step after it was made: the inputs before it, and the same batch at the new parameters."""

    before: Look
    gradient: Tensor
    """Gradient before the step, shape ``(D,)``."""
    loss: float
    """Loss before it."""
    rows: Tensor | None
    """Gradients of this rank's groups before it, shape ``(R, D)``; None unless an instrument requires them."""
    row_losses: Tensor | None
    probe: Probe
    """The same batch after the step."""
    at_start: Callable[[], Probe]
    """Makes a probe of the same batch at the parameters before the step."""
    # The parameters after it are ``after``, by name; the step itself is ``update``, of shape ``(D,)``.

    def __post_init__(self) -> None:
        self.after = copies(self.probe)
        self.update = self.probe.flatten(self.after) - self.probe.flatten(self.before.weights)

    @cached_property
    def start(self) -> Probe:
        """The same batch at the parameters before the step, where gradients can be computed."""
        return self.at_start()

    def slopes(self) -> Slope:
        """Return loss and slope along the step before it, from groups of examples."""
        if self.rows is None or self.row_losses is None:
            raise UnmeasurableError("the gradients of groups were not taken before the step")
        return slope_along(self.probe, self.rows, self.row_losses, self.update)


@dataclass
class Made:
    """Data of a measured step that are kept until the following one, small enough for a checkpoint."""

    step: int
    """Steps made before it."""
    gradient: Tensor
    """Gradient before it, shape ``(D,)``."""
    update: Tensor
    """The step itself, shape ``(D,)``."""
    start: Slope | None
    """Loss and slope along it, before it; None unless groups were measured."""

    @classmethod
    def of(cls, step: Step) -> Made:
        """Return the data that are kept of a step."""
        start = None if step.rows is None else step.slopes()
        return cls(step.before.step, step.gradient, step.update, start)

    def state_dict(self) -> dict[str, Any]:
        """Return numbers and tensors, for a checkpoint."""
        start = None if self.start is None else list(astuple(self.start))
        return {"step": self.step, "gradient": self.gradient.cpu(), "update": self.update.cpu(), "start": start}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], device: torch.device) -> Made:
        """Return the data in a checkpoint."""
        start = None if state["start"] is None else Slope(*state["start"])
        return cls(state["step"], state["gradient"].to(device), state["update"].to(device), start)


@dataclass
class Following:
    """The step after a measured one: its batch at the parameters after the measured step."""

    made: Made
    probe: Probe
    update: Tensor | None = None
    """The following step itself, once it was made."""

    def __post_init__(self) -> None:
        self.start = self.probe.flatten(copies(self.probe))


def slope_along(probe: Probe, rows: Tensor, losses: Tensor, update: Tensor) -> Slope:
    """Return loss and slope along an update, from groups of examples of all ranks.

    Args:
        probe: The probe, which has the number of ranks.
        rows: This rank's gradients of groups, shape ``(R, D)``.
        losses: This rank's losses of groups, shape ``(R,)``.
        update: Shape ``(D,)``.
    """
    direction = update / update.norm().clamp(min=torch.finfo(update.dtype).tiny)
    return Slope.of(probe.gathered(losses.to(rows.dtype)), probe.gathered(rows @ direction))


def copies(probe: Probe) -> dict[str, Tensor]:
    """Return copies of the trained parameters, by name."""
    return {name: p.detach().clone() for name, p in probe.parameters.items()}


def _learning_rates(probe: Probe, optimizers: Sequence[Optimizer]) -> dict[str, float]:
    """Return the current learning rate of each parameter that has one, by name."""
    names = {id(p): name for name, p in probe.parameters.items()}
    return {
        names[id(p)]: float(group["lr"])
        for optimizer in optimizers
        for group in optimizer.param_groups
        if "lr" in group
        for p in group["params"]
        if id(p) in names
    }
