"""The same runs in other units: steps, seconds without noise, seconds of another machine.

The trials and their ends are not changed: a trial that ended at its budget of seconds has missed its target in every
unit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.registry import find_workload
from algoperf_lightning.scoring.cost import Key, odd_steps, step_costs
from algoperf_lightning.scoring.runs import Price, Runs, Trial, some_of
from algoperf_lightning.spec import LATEST_VERSION, TRIALS, Unit

Count = Literal["steps", "clean-seconds"]
COUNTS: tuple[Count, ...] = ("steps", "clean-seconds")


def counted_in(runs: Runs, count: Count) -> Runs:
    """Return the runs in steps or in seconds without noise; a finding describes the unit.

    Raises:
        BadInputError: If a trial's steps are unknown.
    """
    return by_steps(runs) if count == "steps" else by_clean_seconds(runs)


def by_steps(runs: Runs) -> Runs:
    """Return the runs in steps, including those with a budget in seconds.

    Raises:
        BadInputError: If a trial's steps are unknown.
    """
    _check_steps(runs.trials, "steps")
    found = _in_unit(_same_steps(runs), "steps")
    if others := [trial for trial in found.trials if trial.made_in is not None]:
        found.note(
            "counted otherwise",
            f"Runs budgeted in seconds are counted in steps: {some_of(trial.submission for trial in others)}. The "
            "cost of a step is ignored. A trial that ended at its budget of seconds counts as missed.",
        )
    return found


def _same_steps(runs: Runs) -> Runs:
    """Return the runs without those with a different kind of steps, which would be the fastest in steps."""
    odd = dict(odd_steps(step_costs(runs.trials)))
    found = Runs([trial for trial in runs.trials if (trial.submission, trial.workload) not in odd], runs.findings[:])
    for submission in sorted({submission for submission, _ in odd}):
        times = {workload: each for (name, workload), each in odd.items() if name == submission}
        found.note(
            "other steps",
            f"{submission} is left out on {some_of(times)}: one of its steps costs {min(times.values()):,.3g} to "
            f"{max(times.values()):,.3g} times the median of the submissions, so its steps are of another kind.",
            about=[(submission, workload) for workload in times],
        )
    return found


def by_clean_seconds(runs: Runs) -> Runs:
    """Return the runs in steps multiplied by the cost of their submission's step without noise.

    Raises:
        BadInputError: If a trial's steps are unknown.
    """
    _check_steps(runs.trials, "seconds without noise")
    costs = {key: cost.seconds for key, cost in step_costs(runs.trials).items()}
    found = _in_unit(runs, "seconds")
    for trial in runs.trials:
        if trial.steps.size and not np.isfinite(costs[trial.submission, trial.workload]):
            raise BadInputError(
                f"{trial.source}: the cost of a step of {trial.submission} on {trial.workload} is unknown, because "
                f"none of its trials made steps between two evaluations. Leave it out: --exclude {trial.submission}."
            )
    found.trials = [_priced(trial, costs[trial.submission, trial.workload], "clean") for trial in found.trials]
    found.note(
        "counted otherwise",
        "Seconds are steps times the cost of an undisturbed step of each submission (a low quantile over its trials): "
        "estimates, without start, compilation and noise. A trial that ended at its budget of seconds counts as "
        "missed.",
    )
    return found


def on_machine(runs: Runs, prices: Mapping[Key, float], machine: str) -> Runs:
    """Return the runs in seconds of another machine: steps multiplied by their cost there.

    Args:
        runs: The runs.
        prices: Seconds per step by submission and workload, for all in ``runs``.
        machine: Name of the machine in messages.

    Raises:
        BadInputError: If a trial's steps are unknown.
    """
    _check_steps(runs.trials, "seconds of another machine")
    found = _in_unit(runs, "seconds")
    found.trials = [
        dataclasses.replace(
            _priced(trial, prices[trial.submission, trial.workload], "repriced"), scale=1.0, rescaled=False
        )
        for trial in found.trials
    ]
    found.note(
        "counted otherwise",
        f"Seconds are steps times the cost of a step of each submission on {machine}: estimates, without start, "
        "compilation and noise. A trial that ended at its budget of seconds counts as missed.",
    )
    return found


def _priced(trial: Trial, seconds: float, kind: str) -> Trial:
    return dataclasses.replace(trial, price=Price(seconds, kind))


def _check_steps(trials: Iterable[Trial], count: str) -> None:
    for trial in trials:
        bad = ~(np.isfinite(trial.steps) & (trial.steps >= 0))
        if bad.any():
            row = int(bad.argmax())
            raise BadInputError(
                f"{trial.source}: the step of evaluation {row} of {trial.label} is {trial.steps[row]:g}, so it cannot "
                f"be counted in {count}. Its log must contain the training step of each evaluation. Or leave "
                f"it out: --exclude {trial.submission}."
            )


def _in_unit(runs: Runs, unit: Unit) -> Runs:
    """Return the runs with budgets in a unit: those of the workload's spec, or the maximum that any trial used."""
    most: dict[str, float] = {}
    for trial in runs.trials:
        used = trial.steps if unit == "steps" else trial.seconds
        most[trial.workload] = max(most.get(trial.workload, 1.0), *used.tolist(), 1.0)
    trials = []
    for trial in runs.trials:
        if trial.unit != unit:
            record = dict(trial.record)
            if "budget" in record:
                record["budget"] = _budget(trial, unit, most[trial.workload])
            trial = dataclasses.replace(trial, unit=unit, made_in=trial.unit, scale=1.0, rescaled=False, record=record)
        trials.append(trial)
    return Runs(trials, list(runs.findings))


def _budget(trial: Trial, unit: Unit, otherwise: float) -> float:
    try:
        spec = find_workload(trial.workload, trial.version or LATEST_VERSION)
    except BadInputError:
        return otherwise
    ruleset = trial.ruleset if trial.ruleset in TRIALS else "external"
    return spec.allowance("external" if ruleset == "external" else "self-tuning", unit)[0]
