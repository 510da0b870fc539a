"""What the schedule-free submissions share: an averaged and a fast sequence of weights, and gradients between them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.submission import Submission
from algoperf_lightning.workload import WorkloadView

from .optimizer import ForeachOptimizer, State, evaluated, values_of
from .ranges import RANGES


class ScheduleFree(Submission):
    """A submission with a :class:`ScheduleFreeOptimizer`, which it must keep as ``self.optimizer``.

    The model holds the average x between steps, so that evaluations and checkpoints see it and nothing need be swapped.
    Gradients are taken at y, which moves no running statistics of batch norms: these belong to x, and are brought there
    by a forward pass of their own, without gradient, on the batch of the step, in some of every three steps.

    A step that is skipped, as under precision ``16-mixed`` where a gradient overflows, leaves the model at y. It goes
    back to x before its next evaluation or step; a checkpoint in between says where it is.

    Attributes:
        statistics_steps: In which of three steps, counted from 0, running statistics are moved; on the clock. None:
            they move in the pass at y.
    """

    hyperparameter_ranges: ClassVar[Mapping[str, str]] = {**RANGES, "one_minus_beta1": "(0, 1)"}
    optimizer: ScheduleFreeOptimizer
    statistics_steps: tuple[int, ...] | None = (1, 2)

    def training_step(self, workload: WorkloadView, batch: Batch) -> Tensor:
        """Return the mean loss at y."""
        self.optimizer.go_to_x()
        at_y = self.statistics_steps is None
        if self.statistics_steps is not None and self._is_due(workload.model):
            with torch.no_grad():
                workload.loss(batch, dropout=self.dropout)
        self.optimizer.go_to_y()
        loss = workload.loss(batch, label_smoothing=self.label_smoothing, update_batch_norm=at_y, dropout=self.dropout)
        return workload.mean(loss)

    def before_evaluation(self, model: nn.Module) -> None:
        """Put the average in place, which is not there after a skipped step only."""
        self.optimizer.go_to_x()

    def _is_due(self, model: nn.Module) -> bool:
        if self.optimizer.param_groups[0]["k"] % 3 not in (self.statistics_steps or ()):
            return False
        return any(getattr(module, "running_mean", None) is not None for module in model.modules())


class ScheduleFreeOptimizer(ForeachOptimizer):
    """Base of the schedule-free optimizers: no schedule but warm-up, and no horizon.

    Parameters hold the average x. Before a gradient is computed, :meth:`go_to_y` moves them to y; :meth:`step` brings
    them back to a new x. With the fast sequence z, a learning rate r(k) with warm-up and a direction u, made of the
    gradient at y::

        y = b1 x + (1 - b1) z
        z <- z - r(k) u;  x <- (1 - c) x + c z,  c = w(k) / (w(1) + ... + w(k))

    Parameters without a gradient keep x and z.

    Args:
        params: Parameters, or groups of them.
        defaults: Options of a group; among them ``lr``, ``beta1`` and ``warmup_steps``.

    Raises:
        BadInputError: If ``beta1`` is not in (0, 1), or another option is out of its range.

    Reference: Defazio et al. 2024, https://arxiv.org/abs/2405.15682.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        super().__init__(params, {**defaults, "k": 0, "weight_sum": 0.0, "lr_max": 0.0, "at_y": False})

    def check_options(self, options: dict[str, Any]) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(0 < options["beta1"] < 1, options, "beta1", "be in (0, 1)")
        self.require(options["warmup_steps"] >= 0, options, "warmup_steps", "not be negative")

    def go_to_y(self) -> None:
        """Move all parameters from x to y; nothing if they are there."""
        for group in self.param_groups:
            self._go(group, to_y=True)

    def go_to_x(self) -> None:
        """Move all parameters back from y to x; nothing if they are there, as after a step."""
        for group in self.param_groups:
            self._go(group, to_y=False)

    @torch.no_grad()
    def _go(self, group: dict[str, Any], *, to_y: bool) -> None:
        if group["params"] and group["at_y"] != to_y:
            weight = 1 - group["beta1"] if to_y else 1 - 1 / group["beta1"]
            torch._foreach_lerp_(group["params"], values_of(self.states_of(group["params"]), "z"), weight)
            group["at_y"] = to_y

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step, and return what the closure returned.

        Raises:
            RuntimeError: If the gradient was not computed at y.
        """
        loss = evaluated(closure)
        groups = [group for group in self.param_groups if group["params"]]
        if not all(group["at_y"] for group in groups):
            raise RuntimeError(
                f"{type(self).__name__}: the gradient must be computed at y. Call go_to_y() before the loss."
            )
        for group in groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        moving = [p for p in group["params"] if p.grad is not None]
        rate = self.rate(group)
        group["lr_max"] = max(group["lr_max"], rate)
        weight = self.weight(group, rate)
        group["weight_sum"] += weight
        share = weight / group["weight_sum"] if group["weight_sum"] else 0.0
        directions: list[Tensor] = []
        if moving:
            directions = self.directions(group, moving, [p.grad for p in moving], self.states_of(moving))
        self._go(group, to_y=False)
        if moving:
            fast = values_of(self.states_of(moving), "z")
            self.move(group, fast, moving, directions, rate)
            torch._foreach_lerp_(moving, fast, share)
        group["k"] += 1

    def rate(self, group: dict[str, Any]) -> float:
        """Return the learning rate of this step, with warm-up."""
        warmup: int = group["warmup_steps"]
        return float(group["lr"] * min(1.0, (group["k"] + 1) / warmup if warmup else 1.0))

    def init_state(self, parameter: Tensor) -> State:
        """Return the state of a parameter before its first step."""
        return {"z": parameter.detach().clone(memory_format=torch.preserve_format)}

    @abstractmethod
    def weight(self, group: dict[str, Any], rate: float) -> float:
        """Return the weight w(k) of this step's z in the average."""

    @abstractmethod
    def directions(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[State]
    ) -> list[Tensor]:
        """Return the directions u; parameters and gradients are at y."""

    @abstractmethod
    def move(
        self,
        group: dict[str, Any],
        fast: list[Tensor],
        averages: list[Tensor],
        directions: list[Tensor],
        rate: float,
    ) -> None:
        """Move z; the averages are those before this step."""
