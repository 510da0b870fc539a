"""Split of seconds into algorithm and machine: steps, seconds per step without noise, and seconds added by the machine.

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
"""A trial is unsteady if its steps took more than this many times their cost without noise."""
FEWEST = 3
"""With fewer intervals, a trial is not called unsteady, because the cost of its steps is too uncertain."""
ODD = 10.0
"""A step that costs this many times as much as those of others is a different kind of step."""
_SHOWN = 6


@dataclass(frozen=True)
class TrialCost:
    """Cost of the steps of one trial, from its first evaluation to its last."""

    trial: Trial
    lowest: float
    """Seconds per step of its fastest interval; NaN without intervals."""
    highest: float
    """Seconds per step of its slowest interval."""
    times: float
    """Seconds of all intervals, divided by the cost of their steps without noise; NaN without intervals."""
    intervals: int

    @property
    def steady(self) -> bool:
        """Whether its seconds are mostly those of the algorithm."""
        return self.intervals < FEWEST or not self.times > STEADY


@dataclass(frozen=True)
class StepCost:
    """Cost of a submission's steps on a workload."""

    seconds: float
    """Seconds per step without noise; NaN if no trial made steps."""
    intervals: int
    """Number of trials."""
    trials: tuple[TrialCost, ...]


@dataclass(frozen=True)
class Split:
    """A time to target as ``steps * step_seconds + added``; each is the mean of the trials that form the median."""

    seconds: float
    steps: float
    step_seconds: float
    added: float
    """Seconds that the machine added: start, compilation, delays. May be slightly negative."""


def interval_costs(steps: Array, seconds: Array) -> tuple[Array, Array, Array]:
    """Return steps, seconds and end of each interval between evaluations that contains steps.

    Args:
        steps: Steps at each evaluation, shape ``(E,)``.
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
    """Return seconds per step without noise: a low quantile of the seconds per step of intervals, shape ``(I,)``.

    Example:
        >>> clean_cost(np.array([0.5, 0.5, 0.5, 9.0])), clean_cost(np.array([]))
        (0.5, nan)
    """
    return float(np.quantile(costs, LOW)) if costs.size else float("nan")


def step_costs(trials: Iterable[Trial]) -> dict[Key, StepCost]:
    """Return the cost of a step by submission and workload, from all their trials.

    The interval up to the first evaluation contains start and compilation, and is only used if there is no other.
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
    """Return the trials whose steps took much longer than without noise, the worst first."""
    found = [(key, trial) for key, cost in costs.items() for trial in cost.trials if not trial.steady]
    return sorted(found, key=lambda each: (-each[1].times, each[1].trial.key))


def odd_steps(costs: Mapping[Key, StepCost]) -> list[tuple[Key, float]]:
    """Return submissions and workloads whose steps must be of a different kind, with the ratio of their cost.

    Some submissions count several updates as one step. On a workload with at least three submissions, this is assumed
    if a step costs more than ``ODD`` times the median, or less than its inverse.
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
    """Return the split of each time to target, except for missed targets and unknown costs.

    Args:
        cells: Cells of a leaderboard in measured seconds.
        costs: Result of :func:`step_costs`.
    """
    found = {}
    for key, cell in cells.items():
        deciding = [(study.used, study.winner) for study in cell.studies if study.decides and study.winner is not None]
        cost = costs.get(key)
        if not np.isfinite(cell.used) or cost is None or not np.isfinite(cost.seconds):
            continue
        # If the median is the mean of two trials, so are its parts.
        steps = float(np.mean([np.interp(used, trial.seconds, trial.steps) for used, trial in deciding]))
        found[key] = Split(cell.used, steps, cost.seconds, cell.used - steps * cost.seconds)
    return found


def note_unsteady(trials: Sequence[Trial], runs: Runs) -> None:
    """Note the trials with more seconds from the machine than from the algorithm."""
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
