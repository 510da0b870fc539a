"""Seconds split into algorithm and machine: steps, seconds a step without noise, and what the machine added.

Each interval between two evaluations gives a number of seconds per step. The fastest intervals measure the cost of an
undisturbed step; the rest of a trial's seconds, including its start, was added by the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.scoring.cells import Cells
from algoperf_lightning.scoring.runs import Runs, Trial, counted

Array = NDArray[np.float64]
Key = tuple[str, str]
"""Submission and workload."""

LOW = 0.1
"""The quantile over intervals that counts as free of noise."""
STEADY = 1.25
"""A trial whose steps took more than this many times what they cost without noise is not steady."""
FEWEST = 3
"""With fewer intervals, a trial is not said to be unsteady: what its steps took is hardly known."""
ODD = 10.0
"""A step that costs this many times what it costs the others is another kind of step."""
_SHOWN = 6


@dataclass(frozen=True)
class TrialCost:
    """What the steps of one trial took, from its first evaluation to its last."""

    trial: Trial
    lowest: float
    """Seconds a step of its fastest interval; NaN without intervals."""
    highest: float
    """Of its slowest one."""
    times: float
    """Seconds of all intervals over what their steps cost without noise; NaN without intervals."""
    intervals: int

    @property
    def steady(self) -> bool:
        """Whether its seconds can be taken for those of the algorithm."""
        return self.intervals < FEWEST or not self.times > STEADY


@dataclass(frozen=True)
class StepCost:
    """What a step of a submission costs on a workload."""

    seconds: float
    """A step without noise; NaN if no trial made steps."""
    intervals: int
    """Over how many."""
    trials: tuple[TrialCost, ...]


@dataclass(frozen=True)
class Split:
    """A time to target as ``steps * step_seconds + added``; each the mean of the trials that are the median."""

    seconds: float
    steps: float
    step_seconds: float
    added: float
    """Seconds that the machine added: start, compilation, whatever held steps up. May be slightly negative."""


def interval_costs(steps: Array, seconds: Array) -> tuple[Array, Array, Array]:
    """Return of each interval between evaluations that has steps these steps, its seconds, and when it ended.

    Args:
        steps: At each evaluation, shape ``(E,)``.
        seconds: Submission time at each evaluation, shape ``(E,)``.

    Returns:
        Steps, seconds, and submission time at the end, each of shape ``(I,)``.

    Example:
        >>> interval_costs(np.array([1.0, 11.0, 11.0, 31.0]), np.array([5.0, 6.0, 6.5, 9.0]))
        (array([10., 20.]), array([1. , 2.5]), array([6., 9.]))
    """
    made, took = np.diff(steps), np.diff(seconds)
    with np.errstate(invalid="ignore"):
        known = (made > 0) & (took > 0)
    return made[known], took[known], seconds[1:][known]


def clean_cost(costs: Array) -> float:
    """Return seconds a step without noise: a low quantile over intervals of seconds a step, shape ``(I,)``.

    Example:
        >>> clean_cost(np.array([0.5, 0.5, 0.5, 9.0])), clean_cost(np.array([]))
        (0.5, nan)
    """
    return float(np.quantile(costs, LOW)) if costs.size else float("nan")


def step_costs(trials: Iterable[Trial]) -> dict[Key, StepCost]:
    """Return what a step costs, by submission and workload, from all their trials.

    The interval up to the first evaluation holds start and compilation, and counts only where there is no other.
    """
    groups: dict[Key, list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.submission, trial.workload), []).append(trial)
    return {key: _step_cost(group) for key, group in groups.items()}


def _step_cost(trials: list[Trial]) -> StepCost:
    made = [interval_costs(trial.steps, trial.seconds)[:2] for trial in trials]
    costs = np.concatenate([seconds / steps for steps, seconds in made])
    if not costs.size:  # one evaluation each
        firsts = [(each.steps[0], each.seconds[0]) for each in trials if each.steps.size and each.steps[0] > 0]
        costs = np.array([seconds / steps for steps, seconds in firsts])
    clean = clean_cost(costs)
    return StepCost(clean, len(costs), tuple(_trial_cost(*each, clean) for each in zip(trials, made, strict=True)))


def _trial_cost(trial: Trial, made: tuple[Array, Array], clean: float) -> TrialCost:
    steps, seconds = made
    if not steps.size:
        return TrialCost(trial, np.nan, np.nan, np.nan, 0)
    costs = seconds / steps
    times = float(seconds.sum() / (steps.sum() * clean))
    return TrialCost(trial, float(costs.min()), float(costs.max()), times, len(costs))


def unsteady(costs: Mapping[Key, StepCost]) -> list[tuple[Key, TrialCost]]:
    """Return the trials whose steps took much more than they cost without noise, the worst first."""
    found = [(key, trial) for key, cost in costs.items() for trial in cost.trials if not trial.steady]
    return sorted(found, key=lambda each: (-each[1].times, each[1].trial.key))


def odd_steps(costs: Mapping[Key, StepCost]) -> list[tuple[Key, float]]:
    """Return where a step is so dear or so cheap that it cannot be what it is for the others, and how many times.

    Some submissions count a group of updates as one step. On a workload with three submissions or more, a step that
    costs more than ``ODD`` times the median, or less than its inverse, is such a one.
    """
    by_workload: dict[str, dict[Key, float]] = {}
    for key, cost in costs.items():
        if np.isfinite(cost.seconds):
            by_workload.setdefault(key[1], {})[key] = cost.seconds
    found = []
    for group in by_workload.values():
        middle = float(np.median(list(group.values())))
        times = {key: seconds / middle for key, seconds in group.items()} if len(group) > 2 else {}
        found += [(key, each) for key, each in times.items() if not 1 / ODD <= each <= ODD]
    return sorted(found)


def split_times(cells: Cells, costs: Mapping[Key, StepCost]) -> dict[Key, Split]:
    """Return each time to target, split; without those that missed, and those whose cost is not known.

    Args:
        cells: Of a leaderboard in measured seconds.
        costs: By :func:`step_costs`.
    """
    found = {}
    for key, cell in cells.items():
        deciding = [(study.used, study.winner) for study in cell.studies if study.decides and study.winner is not None]
        cost = costs.get(key)
        if not np.isfinite(cell.used) or cost is None or not np.isfinite(cost.seconds):
            continue
        # Where two trials are the median, the means of both add up, as their times do.
        steps = float(np.mean([np.interp(used, trial.seconds, trial.steps) for used, trial in deciding]))
        found[key] = Split(cell.used, steps, cost.seconds, cell.used - steps * cost.seconds)
    return found


def note_unsteady(trials: Sequence[Trial], runs: Runs) -> None:
    """Note the trials whose seconds are more the machine's than the algorithm's."""
    found = unsteady(step_costs(trials))
    by_workload: dict[str, list[TrialCost]] = {}
    for key, cost in found:
        by_workload.setdefault(key[1], []).append(cost)
    if not found:
        return
    parts = [
        f"{workload} ({len(costs)}, the worst {costs[0].times:.3g} times: {costs[0].trial.submission}, study "
        f"{costs[0].trial.study}, trial {costs[0].trial.number})"
        for workload, costs in sorted(by_workload.items(), key=lambda each: -len(each[1]))
    ]
    more = f" and {counted(len(parts) - _SHOWN, 'more workload')}" if len(parts) > _SHOWN else ""
    runs.note(
        "unsteady",
        f"Of {counted(len(trials), 'trial')}, {len(found)} did not run steadily: their steps took more than "
        f"{STEADY:g} times what a step of their submission costs without noise. {', '.join(parts[:_SHOWN])}{more}. "
        "`algoperf cost` names all, and shows the scores without it.",
        strict=False,
        about=[key for key, _ in found],
    )
