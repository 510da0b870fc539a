"""Learning-rate schedules that ``configure_optimizers`` returned, and when they are stepped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.utilities.inputs import nearest_or_raise
from algoperf_lightning.utilities.signatures import accepts

_KEYS = ("scheduler", "interval", "frequency", "monitor", "strict", "name", "reduce_on_plateau")


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule, and when it is stepped."""

    scheduler: LRScheduler
    interval: Literal["step", "evaluation"]
    frequency: int
    """Training steps, or evaluations, from one step of the schedule to the next."""
    monitor: str | None
    """The metric that is passed to ``step``; None for schedules without one."""
    name: str | None
    """Its name in ``LearningRateMonitor``."""


@dataclass(frozen=True)
class Monitored:
    """The metrics that a plateau schedule may monitor."""

    names: Callable[[], Sequence[str]]
    """All metrics of an evaluation, by ``split/metric``; only called if there is such a schedule."""
    target: str
    """The default metric."""
    direction: str
    """``max`` if a higher target metric is better, otherwise ``min``."""


def read_schedule(given: Any, optimizers: Sequence[Optimizer], monitored: Monitored) -> Schedule:
    """Return a schedule, given as itself or as a dict.

    Args:
        given: Schedule in the result of ``configure_optimizers``.
        optimizers: Optimizers, to one of which it must be attached.
        monitored: Metrics for plateau schedules.

    Raises:
        BadInputError: If it is not a torch schedule for one of them, or its settings are not supported.
    """
    options: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {"scheduler": given}
    for key in options:
        nearest_or_raise("key of a schedule", key, dict.fromkeys(_KEYS))
    if "scheduler" not in options:
        raise BadInputError("the schedule's dict has no key 'scheduler', which must contain the schedule itself.")
    scheduler = _torch_schedule(options["scheduler"], optimizers)
    name = type(scheduler).__name__
    plateau = options.get("reduce_on_plateau")
    plateau = isinstance(scheduler, ReduceLROnPlateau) if plateau is None else bool(plateau)
    if not accepts(scheduler.step, *([0.0] if plateau else [])):
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


def _torch_schedule(scheduler: Any, optimizers: Sequence[Optimizer]) -> LRScheduler:
    if not isinstance(scheduler, LRScheduler):
        name = scheduler.__name__ if isinstance(scheduler, type) else type(scheduler).__name__
        raise BadInputError(
            f"expected a schedule of torch.optim.lr_scheduler, but got {name}. Write it as a LambdaLR of the number of "
            "steps, or return the optimizer alone and step the schedule from optimizer.register_step_post_hook, with "
            "its count in state_dict."
        )
    if not any(scheduler.optimizer is optimizer for optimizer in optimizers):
        returned = " and ".join(type(optimizer).__name__ for optimizer in optimizers)
        raise BadInputError(
            f"{type(scheduler).__name__} belongs to another optimizer than the one it was returned with "
            f"({returned}). Create the schedule with the returned optimizer."
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
            f"interval='step' of {name}: its metric changes at evaluations only. Leave out the "
            "interval to step it after every evaluation."
        )
    return "step" if interval == "step" else "evaluation"


def _monitor(monitor: Any, scheduler: LRScheduler, monitored: Monitored, *, plateau: bool) -> str | None:
    name = type(scheduler).__name__
    if not plateau:
        if monitor is not None:
            raise BadInputError(f"monitor={monitor!r}: {name} does not use a metric. Leave it out.")
        return None
    if monitor is None:
        monitor = monitored.target
    nearest_or_raise("metric to monitor", monitor, dict.fromkeys(monitored.names()))
    mode = getattr(scheduler, "mode", monitored.direction)
    if monitor.partition("/")[2] == monitored.target.partition("/")[2] and mode != monitored.direction:
        better = "higher" if monitored.direction == "max" else "lower"
        raise BadInputError(
            f"{name} has mode={mode!r}, but a {better} {monitor} is better. Pass mode=workload.direction."
        )
    return str(monitor)
