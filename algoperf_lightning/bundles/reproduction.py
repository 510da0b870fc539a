"""Verdict on whether a run has reproduced a recorded one, with the numbers on which it is based."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from algoperf_lightning.records.checksum import TERMS
from algoperf_lightning.result import TrialResult

_NOT_COMPARED = ("from_step", "data_settings", "submission_class", "workload_class")


class Verdict(StrEnum):
    """How close a run came to the recorded one."""

    IDENTICAL = "identical"
    """All numbers at steps that both runs recorded are bit-equal, and both runs ended in the same way."""
    REPRODUCED = "reproduced"
    """Not bit-equal, but the result is within the tolerance, the evaluation period or the spread of seeds."""
    NOT_REPRODUCED = "not reproduced"


@dataclass(frozen=True)
class Reproduction:
    """Comparison of a recorded trial with the run that repeated it."""

    verdict: Verdict
    reason: str
    """Text of the verdict, with its numbers."""
    measure: str
    """The measure that decides if the runs are not bit-equal: ``steps to the target``, or the best metric."""
    recorded: float
    """The measure in the record; NaN if it has none."""
    repeated: float
    evaluations: int
    """Evaluations at steps that both runs have."""
    losses: int
    """Training losses at steps that both runs have."""
    first_difference: str
    """First difference of the runs; empty if there is none."""
    seeds: tuple[float, ...] = ()
    """The measure in trials of the bundle that differ from this one only in the seed."""
    differences: list[str] = field(default_factory=list)
    """Versions, hardware, source files and settings that differ."""


def compare(
    recorded: TrialResult, repeated: TrialResult, others: Sequence[TrialResult] = (), tolerance: float = 0.1
) -> Reproduction:
    """Compare a run with the record that it repeats.

    Args:
        recorded: The record.
        repeated: The run.
        others: More trials; those that differ from the record only in the seed give the spread of results.
        tolerance: Largest relative difference of the measure, for the verdict "reproduced".
    """
    evaluations = list(_common(_evaluations(recorded), _evaluations(repeated)))
    losses = list(_common(_losses(recorded), _losses(repeated)))
    first = _first_difference([*evaluations, *losses])
    name, measure = _measure(recorded)
    was, now = measure(recorded), measure(repeated)
    alike = [each for each in others if _same_but_for_seed(each, recorded)]
    seeds = tuple(value for each in alike if not math.isnan(value := measure(each)))
    last = max((step for (step, _), *_ in [*evaluations, *losses]), default=0)
    equal = not first and _cover_the_run(last, recorded, repeated)
    verdict, reason = _verdict(recorded, repeated, equal, len(evaluations), (name, was, now), seeds, tolerance)
    if verdict is Verdict.IDENTICAL:
        reason = (
            f"{len(evaluations)} evaluations and {len(losses)} training losses are bit-equal, the last at step {last:,}"
        )
    differences = list(_differences(recorded, repeated))
    if first and not differences and recorded.environment.get("accelerator") == "cpu":
        reason += ". No difference in code, versions or hardware was found: is the submission deterministic?"
    return Reproduction(verdict, reason, name, was, now, len(evaluations), len(losses), first, seeds, differences)


def _verdict(
    recorded: TrialResult,
    repeated: TrialResult,
    equal: bool,
    compared: int,
    measured: tuple[str, float, float],
    seeds: Sequence[float],
    tolerance: float,
) -> tuple[Verdict, str]:
    name, was, now = measured
    reached = [result.step_to_target is not None for result in (recorded, repeated)]
    if not compared:
        return Verdict.NOT_REPRODUCED, f"the run was never evaluated: {repeated.status} {repeated.message}".strip()
    if reached[0] != reached[1]:
        ended = ["reached the target" if each else "missed the target" for each in reached]
        return Verdict.NOT_REPRODUCED, f"the record {ended[0]}, the run {ended[1]} ({repeated.status})"
    if equal:
        return Verdict.IDENTICAL, ""
    allowed = tolerance * abs(was)
    if abs(now - was) <= allowed:
        return Verdict.REPRODUCED, f"within {tolerance:.0%} in {name}"
    if reached[0] and abs(now - was) <= (apart := _evaluation_steps(recorded)):
        return Verdict.REPRODUCED, f"within one evaluation period ({apart:,.0f} steps) in {name}"
    spread = [was, *seeds]
    if seeds and min(spread) <= now <= max(spread):
        return Verdict.REPRODUCED, f"within the spread of {len(spread)} seeds in {name}"
    return Verdict.NOT_REPRODUCED, f"more than {tolerance:.0%} apart in {name}"


def _cover_the_run(last: int, recorded: TrialResult, repeated: TrialResult) -> bool:
    """Return whether equal numbers up to a step are sufficient for the verdict that runs are equal.

    With evaluations by time, steps of evaluations differ: the common ones must extend beyond half of the shorter run.
    """
    if recorded.unit == "seconds":
        return 2 * last >= min(recorded.steps, repeated.steps)
    return [row.step for row in recorded.evaluations] == [row.step for row in repeated.evaluations]


def _measure(recorded: TrialResult) -> tuple[str, Any]:
    if recorded.step_to_target is not None:
        return "steps to the target", lambda result: float(result.step_to_target or math.nan)
    return f"best validation/{recorded.metric}", lambda result: result.best


def _evaluation_steps(result: TrialResult) -> float:
    """Return the number of steps between the last evaluation that missed the target and the first that reached it."""
    steps = [row.step for row in result.evaluations]
    place = steps.index(result.step_to_target) if result.step_to_target in steps else 0
    return float(steps[place] - steps[place - 1]) if place else 0.0


def _evaluations(result: TrialResult) -> dict[tuple[int, str], dict[str, float]]:
    return {(row.step, "evaluation"): row.metrics for row in result.evaluations}


def _losses(result: TrialResult) -> dict[tuple[int, str], dict[str, float]]:
    rows = result.submission_log()
    return {(row.step, "step"): {"training/loss": row.loss} for row in rows if row.loss is not None}


_Pair = tuple[tuple[int, str], Mapping[str, float], Mapping[str, float]]


def _common(
    ours: Mapping[tuple[int, str], Mapping[str, float]], theirs: Mapping[tuple[int, str], Mapping[str, float]]
) -> Iterator[_Pair]:
    for key in sorted(ours.keys() & theirs.keys()):
        yield key, ours[key], theirs[key]


def _first_difference(pairs: Sequence[_Pair]) -> str:
    for (step, kind), was, now in sorted(pairs, key=lambda pair: (pair[0][0], pair[0][1] == "evaluation")):
        for name in was:
            if name not in now or not _equal(was[name], now[name]):
                where = f"step {step:,}" if kind == "step" else f"the evaluation after step {step:,}"
                return f"{name} at {where}: recorded {was[name]!r}, now {now.get(name)!r}"
    return ""


def _equal(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _same_but_for_seed(one: TrialResult, other: TrialResult) -> bool:
    names = [*(name for name in TERMS if name != "seed"), "submission"]
    return one.seed != other.seed and all(getattr(one, name) == getattr(other, name) for name in names)


def _differences(recorded: TrialResult, repeated: TrialResult) -> Iterator[str]:
    """Yield descriptions of what was different when a run was repeated."""
    for name in TERMS:
        was, now = getattr(recorded, name), getattr(repeated, name)
        if was != now:
            yield f"{name}: recorded {was}, now {now}"
    was, now = recorded.environment, repeated.environment
    for name in sorted(was.keys() & now.keys()):
        if name in _NOT_COMPARED:
            continue
        if isinstance(was[name], dict) and isinstance(now[name], dict):
            yield from _in_dict(name, was[name], now[name])
        elif was[name] != now[name]:
            yield f"{name}: recorded {was[name]}, now {now[name]}"
    if recorded.changed:
        yield f"the record was changed after the run: {recorded.changed}"
    if len(recorded.environments) > 1:
        yield "the recorded run was resumed in another environment"


def _in_dict(name: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(was.keys() & now.keys()):
        if was[key] != now[key]:
            yield f"{key} has changed" if name == "source" else f"{key}: recorded {was[key]}, now {now[key]}"
    if name == "source" and (missing := sorted(was.keys() - now.keys())):
        yield f"not used now: {', '.join(missing)}"
