"""Converts the result of ``configure_optimizers``, in any of Lightning's forms, to optimizers and their schedules."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.utilities.inputs import nearest_or_raise
from algoperf_lightning.utilities.signatures import accepts

from .joint_optimizer import JointOptimizer, Unscheduled
from .schedules import Monitored, Schedule, read_schedule

_NEVER = sys.maxsize

_FORMS = "Return an optimizer, a dict with 'optimizer' and 'lr_scheduler', or a list of either."
_CALL_THE_CLOSURE = (
    "Subclass it with a step(self, closure=None) that calls the closure, then super().step(), and returns the loss."
)
_OPTIMIZER_KEYS = ("optimizer", "lr_scheduler", "monitor")


@dataclass(frozen=True)
class Optimization:
    """The optimizers and the schedules of a run."""

    optimizer: Optimizer
    """The optimizer that Lightning steps; several ones are combined."""
    schedules: tuple[Schedule, ...]

    @property
    def optimizers(self) -> tuple[Optimizer, ...]:
        """The optimizers that ``configure_optimizers`` returned, in their order."""
        return self.optimizer.optimizers if isinstance(self.optimizer, JointOptimizer) else (self.optimizer,)

    def for_lightning(self) -> tuple[list[Optimizer], list[dict[str, Any]]]:
        """Return the form for Lightning, which steps after training steps, saves and restores.

        Lightning's evaluations are tied to epochs, so schedules that are stepped after evaluations are never due there.
        """
        configs: list[dict[str, Any]] = [
            {
                "scheduler": schedule.scheduler,
                "interval": "step",
                "frequency": schedule.frequency if schedule.interval == "step" else _NEVER,
                "reduce_on_plateau": False,
                "name": schedule.name,
            }
            for schedule in self.schedules
        ]
        if isinstance(self.optimizer, JointOptimizer):
            scheduled = {id(schedule.scheduler.optimizer) for schedule in self.schedules}
            configs += [
                {"scheduler": Unscheduled(optimizer), "interval": "step", "frequency": _NEVER}
                for optimizer in self.optimizers
                if id(optimizer) not in scheduled
            ]
        return [self.optimizer], configs

    def check_parameters(self, model: nn.Module, owner: str) -> None:
        """Raise unless each optimizer has parameters of the model, and each parameter is in one of them.

        Raises:
            BadInputError: If an optimizer has none, for example because it was made for a copy of the model, or a
                parameter is in two optimizers.
        """
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        holders: dict[int, Optimizer] = {}
        for optimizer in self.optimizers:
            given = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
            if names.keys().isdisjoint(given):
                which, nothing = "the optimizer", "nothing would be trained"
                if len(self.optimizers) > 1:
                    which, nothing = type(optimizer).__name__, "it would train nothing of the model"
                raise BadInputError(
                    f"{owner}.configure_optimizers: {which} has none of the model's parameters, so {nothing}. Create "
                    "it with model.parameters() of the model passed to configure_optimizers. Your own parameters "
                    "go into another group of such an optimizer."
                )
            for parameter in given:
                if parameter in holders:
                    both = f"{type(holders[parameter]).__name__} and {type(optimizer).__name__}"
                    name = names.get(parameter, "a tensor that is not the model's")
                    raise BadInputError(
                        f"{owner}.configure_optimizers: {name} is in two optimizers, {both}. Pass it to one of them "
                        "only."
                    )
            holders |= dict.fromkeys(given, optimizer)

    def after_evaluation(self, count: int, metrics: Mapping[str, float]) -> None:
        """Step the schedules that are due after an evaluation.

        Args:
            count: Evaluations of this run so far, including this one.
            metrics: Its metrics, by ``split/metric``.
        """
        for schedule in self.schedules:
            if schedule.interval != "evaluation" or count % schedule.frequency:
                continue
            if schedule.monitor is None:
                schedule.scheduler.step()
            else:
                schedule.scheduler.step(metrics[schedule.monitor])  # type: ignore[arg-type]


def read_optimization(configured: Any, owner: str, monitored: Monitored, *, before_step: bool) -> Optimization:
    """Return the result of ``configure_optimizers`` in the form that a run needs.

    Args:
        configured: Any of Lightning's forms: an optimizer, a list of them, ``([optimizer, ...], [schedule, ...])``, a
            dict, or a list of dicts.
        owner: Name of the submission, for messages.
        monitored: Metrics for plateau schedules.
        before_step: Whether the submission has a hook between gradient and step, which may skip the step.

    Raises:
        BadInputError: If it has none of these forms, an unknown key or metric, or something unsupported: an optimizer
            or a schedule that is not torch's, one optimizer twice, an interval in epochs.
    """
    try:
        optimizers, schedules = _parts(configured)
        _check_optimizers(optimizers)
        read = tuple(read_schedule(given, attached or optimizers, monitored) for given, attached in schedules)
    except BadInputError as error:
        raise BadInputError(f"{owner}.configure_optimizers: {error}") from None
    alone = len(optimizers) == 1 and not before_step
    return Optimization(optimizers[0] if alone else JointOptimizer(optimizers), read)


def optimizers_in(configured: Any) -> list[Optimizer]:
    """Return the optimizers in the result of ``configure_optimizers``, in their order.

    Args:
        configured: Any of the forms that :func:`read_optimization` takes.

    Raises:
        BadInputError: If it has none of these forms.
    """
    return [each for each in _parts(configured)[0] if isinstance(each, Optimizer)]


_Parts = tuple[list[Any], list[tuple[Any, list[Any]]]]
"""Optimizers, and schedules with the optimizers to which they may belong; an empty list means any of them."""


def _parts(configured: Any) -> _Parts:
    """Return the optimizers and the schedules without checking them."""
    if configured is None:
        raise BadInputError(f"it returned None, so nothing would be trained. {_FORMS}")
    if isinstance(configured, Mapping):
        return _of_dict(configured)
    if not isinstance(configured, (list, tuple)):
        return [configured], []
    if not configured:
        raise BadInputError(f"it returned {configured!r}. {_FORMS}")
    if any(isinstance(part, Mapping) for part in configured):
        parts: list[_Parts] = [_of_dict(part) if isinstance(part, Mapping) else ([part], []) for part in configured]
        return [one for optimizers, _ in parts for one in optimizers], [one for _, many in parts for one in many]
    if len(configured) == 2 and isinstance(configured[0], (list, tuple)):
        optimizers, schedules = configured
        return list(optimizers), [
            (schedule, []) for schedule in (schedules if isinstance(schedules, (list, tuple)) else [schedules])
        ]
    if any(isinstance(part, LRScheduler) for part in configured):
        raise BadInputError(
            "it returned an optimizer and a schedule in one tuple. Return "
            "{'optimizer': optimizer, 'lr_scheduler': schedule}."
        )
    return list(configured), []


def _of_dict(configured: Mapping[str, Any]) -> _Parts:
    for key in configured:
        nearest_or_raise("key", key, dict.fromkeys(_OPTIMIZER_KEYS))
    if "optimizer" not in configured:
        raise BadInputError(f"the dict has no key 'optimizer'. {_FORMS}")
    given, monitor = configured.get("lr_scheduler"), configured.get("monitor")
    if given is None:
        if monitor is not None:
            raise BadInputError(f"monitor={monitor!r} is for a plateau schedule, and there is none. Leave it out.")
        return [configured["optimizer"]], []
    if monitor is not None:
        given = (
            {"monitor": monitor, **given} if isinstance(given, Mapping) else {"scheduler": given, "monitor": monitor}
        )
    return [configured["optimizer"]], [(given, [configured["optimizer"]])]


def _check_optimizers(optimizers: Sequence[Any]) -> None:
    if not optimizers:
        raise BadInputError(f"it returned no optimizer, so nothing would be trained. {_FORMS}")
    for optimizer in optimizers:
        if not isinstance(optimizer, Optimizer):
            what = f"the class {optimizer.__name__}" if isinstance(optimizer, type) else type(optimizer).__name__
            raise BadInputError(
                f"expected a torch.optim.Optimizer, but got {what}. {_FORMS} Wrap an optimizer of another kind in a "
                "subclass of torch.optim.Optimizer whose step(closure) calls the closure and then its step."
            )
        name = type(optimizer).__name__
        if not accepts(type(optimizer).step, optimizer, closure=None):
            raise BadInputError(
                f"{name}.step takes no closure, which computes the loss and its gradient. {_CALL_THE_CLOSURE}"
            )
        if sum(optimizer is other for other in optimizers) > 1:
            raise BadInputError(
                f"one {name} was returned twice. Return it once; several schedules of one optimizer are returned as "
                "([optimizer], [schedule, ...])."
            )


def step_without_closure(optimizer: Any) -> BadInputError:
    """Return the error of an optimizer that made a step without calling its closure."""
    name = type(getattr(optimizer, "optimizer", optimizer)).__name__  # Lightning may wrap it
    return BadInputError(
        f"{name}.step did not call its closure, which computes the loss and its gradient. {_CALL_THE_CLOSURE}"
    )


def step_without_loss(optimizer: Any, owner: str) -> BadInputError:
    """Return the error of an optimizer that needs the loss, in a step that ``training_step`` skipped with None."""
    name = type(getattr(optimizer, "optimizer", optimizer)).__name__
    return BadInputError(
        f"{owner}.training_step returned None to skip the step, but {name}.step needs the loss that its "
        "closure returns. Return a loss, or skip the step with a before_step that returns False."
    )
