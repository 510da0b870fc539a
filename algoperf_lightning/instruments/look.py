"""What instruments see of a training step: before it, after it, and from the batch of the next one."""

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
"""A number; numbers by layer, by a parameter's or a module's name; counts of a histogram."""


@dataclass
class Look:
    """One measured step, which begins at the parameters theta with a batch.

    Everything that is needed later is kept as plain tensors: the graph of a probe does not outlive the parameters it
    was made at.

    Args:
        step: Steps made before it.
        probe: The batch at theta.
        optimizers: Those of the run; their states are read only.
        gradient_clip: Largest norm that a gradient is clipped to; None for no clipping.
        loss_type: Of the workload.
        first: Parameters of the first step, by name.
        averages: Exponential means over measured steps, by name; instruments keep them here.
        wanted: Names of the instruments that measure, for those that share a pass; None for all.
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
        """Return whether an instrument measures."""
        return self.wanted is None or name in self.wanted

    def keep_weights(self) -> None:
        """Copy the parameters, for what is measured after the step."""
        self.weights = copies(self.probe)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the step, which is NaN if it is not one for all parameters."""
        found = set(self.learning_rates.values())
        return found.pop() if len(found) == 1 else math.nan


@dataclass
class Step:
    """A measured step that was made: the look before it, and the same batch at the new parameters."""

    before: Look
    gradient: Tensor
    """Gradient before the step, shape ``(D,)``."""
    loss: float
    """Loss before it."""
    rows: Tensor | None
    """Gradients of this rank's groups before it, shape ``(R, D)``; None unless an instrument asked for them."""
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
        """The same batch at the parameters before the step, with gradients to be taken there."""
        return self.at_start()

    def slopes(self) -> Slope:
        """Return losses and slopes along the step, before it, from groups of examples."""
        if self.rows is None or self.row_losses is None:
            raise UnmeasurableError("the gradients of groups were not taken before the step")
        return slope_along(self.probe, self.rows, self.row_losses, self.update)


@dataclass
class Made:
    """What is kept of a measured step until the next one: small enough for a checkpoint."""

    step: int
    """Steps made before it."""
    gradient: Tensor
    """Before it, shape ``(D,)``."""
    update: Tensor
    """The step itself, shape ``(D,)``."""
    start: Slope | None
    """Losses and slopes along it, before it; None unless groups were measured."""

    @classmethod
    def of(cls, step: Step) -> Made:
        """Return what is kept of a step."""
        start = None if step.rows is None else step.slopes()
        return cls(step.before.step, step.gradient, step.update, start)

    def state_dict(self) -> dict[str, Any]:
        """Return numbers and tensors, for a checkpoint."""
        start = None if self.start is None else list(astuple(self.start))
        return {"step": self.step, "gradient": self.gradient.cpu(), "update": self.update.cpu(), "start": start}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], device: torch.device) -> Made:
        """Return what a checkpoint holds."""
        start = None if state["start"] is None else Slope(*state["start"])
        return cls(state["step"], state["gradient"].to(device), state["update"].to(device), start)


@dataclass
class Following:
    """The step after a measured one: its batch at the parameters that the measured step led to."""

    made: Made
    probe: Probe
    update: Tensor | None = None
    """The following step itself, once it was made."""

    def __post_init__(self) -> None:
        self.start = self.probe.flatten(copies(self.probe))


def slope_along(probe: Probe, rows: Tensor, losses: Tensor, update: Tensor) -> Slope:
    """Return losses and slopes of groups of examples of all ranks along an update.

    Args:
        probe: Of the ranks.
        rows: This rank's gradients of groups, shape ``(R, D)``.
        losses: This rank's losses of groups, shape ``(R,)``.
        update: Shape ``(D,)``.
    """
    direction = update / update.norm().clamp(min=torch.finfo(update.dtype).tiny)
    return Slope.of(probe.gathered(losses.to(rows.dtype)), probe.gathered(rows @ direction))


def copies(probe: Probe) -> dict[str, Tensor]:
    """Return copies of the trained parameters as they are now, by name."""
    return {name: p.detach().clone() for name, p in probe.parameters.items()}


def _learning_rates(probe: Probe, optimizers: Sequence[Optimizer]) -> dict[str, float]:
    """Return the learning rate of each parameter that has one, by name, as it is now."""
    names = {id(p): name for name, p in probe.parameters.items()}
    return {
        names[id(p)]: float(group["lr"])
        for optimizer in optimizers
        for group in optimizer.param_groups
        if "lr" in group
        for p in group["params"]
        if id(p) in names
    }
