"""Checks of learning rates: every step uses the learning rate of the groups, and a schedule changes it."""

from __future__ import annotations

from typing import Any

from algoperf_lightning.training.optimization import Optimization

from .compare import Failed, NotApplicable, difference, moved, named, require_finite, require_only_decay
from .run import Conduct, Run, Values
from .stage import STEP_HINT
from .subject import Subject

_STEPS = 2 * STEP_HINT
_RESPONSE = 1e-3
"""Minimum relative change of a step when the learning rate is halved."""


def zero_learning_rate(subject: Subject) -> str:
    """With a learning rate of 0, parameters only change by weight decay that does not depend on it."""
    run = Run(subject, conduct=Conduct(rate=lambda step: 0.0))
    _rates_of(run)
    start = run.values()
    return require_only_decay(start, run.steps(6), "with a learning rate of 0")


def schedule(subject: Subject) -> str:
    """Halving the learning rate changes the step, early and late; a schedule decreases the learning rate."""
    run = Run(subject)
    rates = []
    ways: list[Values] = [run.values()]
    for _ in range(_STEPS):
        rates.append(_rates_of(run))
        ways.append(run.steps(1))
    highest = [max(series) for series in zip(*rates, strict=True)]
    usual = [step for step, row in enumerate(rates) if all(r > 0.1 * top for r, top in zip(row, highest, strict=True))]
    if not usual:
        raise Failed(f"the learning rates are 0 in all {_STEPS} steps, twice the step hint")
    moving = [step for step in usual if any(length > 0 for length in moved(ways[step + 1], ways[step]).values())]
    if not moving:
        require_finite(ways[-1], f"after {_STEPS} steps")
        raise Failed(f"no parameter moves in {_STEPS} steps, so the learning rate has no effect")
    ratios = []
    for at in sorted({moving[0], moving[len(moving) // 2], moving[-1]}):
        halved = Run(subject, conduct=Conduct(rate=lambda step, at=at: 0.5 if step == at else 1.0))
        end = halved.steps(at + 1)
        before, after = moved(ways[at + 1], ways[at]), moved(end, ways[at])
        same = [name for name in end if before[name] > 0 and _change(name, end, ways[at + 1], ways[at]) < _RESPONSE]
        if same:
            raise Failed(
                f"step {at + 1} of {named(same)} is the same with half the learning rate in param_groups: "
                "the step does not use that learning rate"
            )
        ratios += [after[name] / before[name] for name in end if before[name] > 0]
    said = f"with half the learning rate, steps are {min(ratios):.2f} to {max(ratios):.2f} times as long"
    return f"{said}; {_schedules(run.optimization, rates)}"


def _change(name: str, ones: Values, others: Values, start: Values) -> float:
    return difference({name: ones[name]}, {name: others[name]}, {name: start[name]})[0]


def _schedules(optimization: Optimization, rates: list[list[float]]) -> str:
    """Describe the effect of the schedules.

    Raises:
        Failed: If a schedule that is stepped after training steps does not change the learning rates of its optimizer.
    """
    place, said = 0, []
    scheduled = {id(each.scheduler.optimizer) for each in optimization.schedules if each.interval == "step"}
    for optimizer in optimization.optimizers:
        series = [row[place : place + len(optimizer.param_groups)] for row in rates]
        place += len(optimizer.param_groups)
        if id(optimizer) not in scheduled:
            continue
        tops = [max(group) for group in zip(*series, strict=True)]
        ends = [min(group[group.index(top) :]) for group, top in zip(zip(*series, strict=True), tops, strict=True)]
        if all(end >= 0.999 * top for end, top in zip(ends, tops, strict=True)):
            raise Failed(
                f"in {_STEPS} steps of a schedule, twice the step hint, the learning rate never decreases below "
                f"its peak of {max(tops):.3g}"
            )
        said.append(f"a schedule decreases it from {max(tops):.3g} to {max(ends):.3g}")
    return "; ".join(said) or "no schedule"


def _rates_of(run: Run) -> list[float]:
    groups: list[dict[str, Any]] = run.optimizer.param_groups
    if not all("lr" in group for group in groups):
        raise NotApplicable("the parameter groups have no learning rate (lr)")
    return [float(group["lr"]) for group in groups]
