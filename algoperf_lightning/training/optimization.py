"""What ``configure_optimizers`` returned, in any of Lightning's forms: read into one optimizer and its schedules."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.spec import nearest_or_raise

_NEVER = sys.maxsize

_FORMS = "Return an optimizer, or a dict with 'optimizer' and 'lr_scheduler'."
_CALL_THE_CLOSURE = (
    "Subclass it with a step(self, closure=None) that calls the closure, then super().step(), and returns the loss."
)
_OPTIMIZER_KEYS = ("optimizer", "lr_scheduler", "monitor")
_SCHEDULE_KEYS = ("scheduler", "interval", "frequency", "monitor", "strict", "name", "reduce_on_plateau")


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule, and when it is stepped."""

    scheduler: LRScheduler
    interval: Literal["step", "evaluation"]
    frequency: int
    """Training steps, or evaluations, from one step of the schedule to the next."""
    monitor: str | None
    """The metric its ``step`` is given; None for a schedule that takes none."""
    name: str | None
    """What ``LearningRateMonitor`` calls it."""


@dataclass(frozen=True)
class Optimization:
    """The optimizer and the schedules of a run."""

    optimizer: Optimizer
    schedules: tuple[Schedule, ...]

    def for_lightning(self) -> tuple[list[Optimizer], list[dict[str, Any]]]:
        """Return it as Lightning takes it: to be stepped after training steps, saved and restored.

        Lightning has no word for evaluations, as its own are tied to epochs; so these schedules are never due there.
        """
        return [self.optimizer], [
            {
                "scheduler": schedule.scheduler,
                "interval": "step",
                "frequency": schedule.frequency if schedule.interval == "step" else _NEVER,
                "reduce_on_plateau": False,
                "name": schedule.name,
            }
            for schedule in self.schedules
        ]

    def check_parameters(self, model: nn.Module, owner: str) -> None:
        """Raise unless the optimizer has parameters of the model.

        Raises:
            BadInputError: If it has none, as one made for a copy of the model.
        """
        given = {id(parameter) for group in self.optimizer.param_groups for parameter in group["params"]}
        if given.isdisjoint(map(id, model.parameters())):
            raise BadInputError(
                f"{owner}.configure_optimizers: the optimizer has none of the model's parameters, so nothing would be "
                "trained. Make it with model.parameters(), of the model that is passed to it."
            )

    def after_evaluation(self, count: int, metrics: Mapping[str, float]) -> None:
        """Step the schedules that are due after an evaluation.

        Args:
            count: Evaluations of this run so far, this one included.
            metrics: Its metrics, by ``split/metric``.
        """
        for schedule in self.schedules:
            if schedule.interval != "evaluation" or count % schedule.frequency:
                continue
            if schedule.monitor is None:
                schedule.scheduler.step()
            else:
                schedule.scheduler.step(metrics[schedule.monitor])  # type: ignore[arg-type]


@dataclass(frozen=True)
class Monitored:
    """The metrics that a plateau schedule may watch."""

    names: Callable[[], Sequence[str]]
    """All of an evaluation, by ``split/metric``; asked for only where there is such a schedule."""
    target: str
    """The one that is watched where none is named."""
    direction: str
    """``max`` if a higher target metric is better, else ``min``."""


def read_optimization(configured: Any, owner: str, monitored: Monitored) -> Optimization:
    """Return what ``configure_optimizers`` returned, in the one form that a run needs.

    Args:
        configured: Any of Lightning's forms: an optimizer, a list of one, ``([optimizer], [schedule, ...])``, a dict,
            or a list of one dict.
        owner: Whose it is, for messages.
        monitored: What plateau schedules may watch.

    Raises:
        BadInputError: If it is none of these forms, names a key or a metric that there is not, or could not do what
            it says: an optimizer or a schedule that is not torch's, several optimizers, an interval in epochs.
    """
    try:
        optimizers, schedules = _parts(configured)
        optimizer = _one_optimizer(optimizers)
        return Optimization(optimizer, tuple(_schedule(given, optimizer, monitored) for given in schedules))
    except BadInputError as error:
        raise BadInputError(f"{owner}.configure_optimizers: {error}") from None


def _parts(configured: Any) -> tuple[list[Any], list[Any]]:
    """Return the optimizers and the schedules, whatever they are."""
    if configured is None:
        raise BadInputError(f"it returned None, so nothing would be trained. {_FORMS}")
    if isinstance(configured, Mapping):
        return _of_dict(configured)
    if not isinstance(configured, (list, tuple)):
        return [configured], []
    if not configured:
        raise BadInputError(f"it returned {configured!r}. {_FORMS}")
    if all(isinstance(part, Mapping) for part in configured):
        parts = [_of_dict(part) for part in configured]
        return [one for optimizers, _ in parts for one in optimizers], [one for _, many in parts for one in many]
    if len(configured) == 2 and isinstance(configured[0], (list, tuple)):
        optimizers, schedules = configured
        return list(optimizers), list(schedules) if isinstance(schedules, (list, tuple)) else [schedules]
    if any(isinstance(part, LRScheduler) for part in configured):
        raise BadInputError(
            "it returned an optimizer and a schedule side by side. Return "
            "{'optimizer': optimizer, 'lr_scheduler': schedule}."
        )
    return list(configured), []


def _of_dict(configured: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    for key in configured:
        nearest_or_raise("key", key, dict.fromkeys(_OPTIMIZER_KEYS))
    if "optimizer" not in configured:
        raise BadInputError(f"the dict lacks the key 'optimizer'. {_FORMS}")
    given, monitor = configured.get("lr_scheduler"), configured.get("monitor")
    if given is None:
        if monitor is not None:
            raise BadInputError(f"monitor={monitor!r} is for a plateau schedule, and there is none. Leave it out.")
        return [configured["optimizer"]], []
    if monitor is not None:
        given = (
            {"monitor": monitor, **given} if isinstance(given, Mapping) else {"scheduler": given, "monitor": monitor}
        )
    return [configured["optimizer"]], [given]


def _one_optimizer(optimizers: list[Any]) -> Optimizer:
    for optimizer in optimizers:
        if not isinstance(optimizer, Optimizer):
            what = f"the class {optimizer.__name__}" if isinstance(optimizer, type) else type(optimizer).__name__
            raise BadInputError(
                f"expected a torch.optim.Optimizer, but got {what}. {_FORMS} An optimizer of another kind goes into a "
                "subclass of torch.optim.Optimizer whose step(closure) calls the closure, then it."
            )
    if len(optimizers) != 1:
        names = ", ".join(type(optimizer).__name__ for optimizer in optimizers) or "none"
        raise BadInputError(
            f"a run has one optimizer, but {len(optimizers)} were returned ({names}). Return one with several "
            "parameter groups, or write one subclass of torch.optim.Optimizer that treats its groups differently, as "
            "baselines/muon.py does."
        )
    one: Optimizer = optimizers[0]
    if not _takes(type(one).step, one, closure=None):
        raise BadInputError(
            f"{type(one).__name__}.step takes no closure, which computes the loss and its gradient. {_CALL_THE_CLOSURE}"
        )
    return one


def _schedule(given: Any, optimizer: Optimizer, monitored: Monitored) -> Schedule:
    options: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {"scheduler": given}
    for key in options:
        nearest_or_raise("key of a schedule", key, dict.fromkeys(_SCHEDULE_KEYS))
    if "scheduler" not in options:
        raise BadInputError("the schedule's dict lacks the key 'scheduler', which holds the schedule itself.")
    scheduler = _torch_schedule(options["scheduler"], optimizer)
    name = type(scheduler).__name__
    plateau = options.get("reduce_on_plateau")
    plateau = isinstance(scheduler, ReduceLROnPlateau) if plateau is None else bool(plateau)
    if not _takes(scheduler.step, *([0.0] if plateau else [])):
        raise BadInputError(
            f"{name}.step cannot be called {'with a metric' if plateau else 'without arguments'}"
            f"{'' if plateau else '; if it takes a metric, add reduce_on_plateau=True'}."
        )
    interval = options.get("interval")
    if interval is None:
        interval = "evaluation" if plateau else "step"
    frequency = options.get("frequency", 1)
    if not isinstance(frequency, int) or isinstance(frequency, bool) or frequency < 1:
        raise BadInputError(f"frequency must be a positive integer, but got {frequency!r}.")
    return Schedule(
        scheduler,
        _interval(interval, name, plateau=plateau),
        frequency,
        _monitor(options.get("monitor"), scheduler, monitored, plateau=plateau),
        options.get("name"),
    )


def _torch_schedule(scheduler: Any, optimizer: Optimizer) -> LRScheduler:
    if not isinstance(scheduler, LRScheduler):
        name = scheduler.__name__ if isinstance(scheduler, type) else type(scheduler).__name__
        raise BadInputError(
            f"expected a schedule of torch.optim.lr_scheduler, but got {name}. Write it as a LambdaLR of the number of "
            "steps, or return the optimizer alone and step the schedule from optimizer.register_step_post_hook, with "
            "its count in state_dict."
        )
    if scheduler.optimizer is not optimizer:
        raise BadInputError(
            f"{type(scheduler).__name__} is attached to another optimizer than the one that was returned."
        )
    return scheduler


def _interval(interval: Any, name: str, *, plateau: bool) -> Literal["step", "evaluation"]:
    if interval == "epoch":
        raise BadInputError(
            f"interval='epoch' of {name}: training data are one endless stream, so there are no epochs. Use "
            f"{'' if plateau else repr('step') + ' (after every training step) or '}'evaluation' (after every "
            "evaluation)."
        )
    nearest_or_raise("interval of a schedule", interval, {"step": None, "evaluation": None})
    if plateau and interval == "step":
        raise BadInputError(
            f"interval='step' of {name}: the metric it is given changes at evaluations only. Leave the interval out, "
            "and it is stepped after every evaluation."
        )
    return "step" if interval == "step" else "evaluation"


def _monitor(monitor: Any, scheduler: LRScheduler, monitored: Monitored, *, plateau: bool) -> str | None:
    name = type(scheduler).__name__
    if not plateau:
        if monitor is not None:
            raise BadInputError(f"monitor={monitor!r}: {name} is given no metric. Leave it out.")
        return None
    if monitor is None:
        monitor = monitored.target
    nearest_or_raise("metric to monitor", monitor, dict.fromkeys(monitored.names()))
    mode = getattr(scheduler, "mode", monitored.direction)
    if monitor.partition("/")[2] == monitored.target.partition("/")[2] and mode != monitored.direction:
        better = "higher" if monitored.direction == "max" else "lower"
        raise BadInputError(
            f"{name} has mode={mode!r}, but {monitor} is better the {better} it is. Pass mode=workload.direction."
        )
    return str(monitor)


def step_without_closure(optimizer: Any) -> BadInputError:
    """Return the error of an optimizer that made a step without calling its closure."""
    name = type(getattr(optimizer, "optimizer", optimizer)).__name__  # Lightning may have wrapped it
    return BadInputError(
        f"{name}.step did not call its closure, which computes the loss and its gradient. {_CALL_THE_CLOSURE}"
    )


def _takes(function: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Return whether a function can be called so, as far as its signature says."""
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    except ValueError:  # it has no signature to ask
        return True
    return True
