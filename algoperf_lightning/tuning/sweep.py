"""Sweeps: octaves of one hyperparameter around its default, extended while the best one is at an end.

The next octaves follow from the planned points on disk and the records of their trials. A sweep is therefore resumed
like every plan, with the same command.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.hyperparameters import Hyperparameter, numeric_hyperparameters
from algoperf_lightning.tuning.checks import is_number
from algoperf_lightning.tuning.plan import Study
from algoperf_lightning.tuning.points import Point
from algoperf_lightning.tuning.search_space import Range, SearchSpace
from algoperf_lightning.tuning.state import State, TrialState, look
from algoperf_lightning.utilities.inputs import nearest_or_raise
from algoperf_lightning.utilities.signatures import constructor_parameters

if TYPE_CHECKING:
    from algoperf_lightning.submission import Submission

FIRST = 7
"""Initial octaves of a sweep: the default, and three on each side."""
STEP = 2
"""Octaves added at a time, so that a best one at the end gets two new neighbours."""
FARTHEST = 10
"""Maximum number of octaves on each side of the default: a factor of 1,024."""

Outcome = tuple[float, float]
"""Sort key of results, smaller is better: seconds or steps to the target, then distance of the best value from it."""
NOTHING: Outcome = (math.inf, math.inf)


@dataclass(frozen=True)
class Sweep:
    """One hyperparameter at its centre times powers of 2."""

    hyperparameter: Hyperparameter
    centre: float

    @classmethod
    def of(cls, submission: type[Submission], wanted: str) -> Sweep:
        """Return the requested sweep: ``learning_rate`` around its default, or ``learning_rate=0.01``.

        Raises:
            BadInputError: If the hyperparameter is unknown or not a number, or its centre has no octaves.
        """
        name, given, text = wanted.partition("=")
        numbers = numeric_hyperparameters(submission)
        known, takes_any = constructor_parameters(submission)
        if not takes_any or not given:
            nearest_or_raise(f"hyperparameter of {submission.__name__}", name, dict.fromkeys(numbers))
        hyperparameter = numbers.get(name, Hyperparameter(name, None, whole=False, optional=False))
        centre = _number(wanted, text) if given else known[name].default
        if not is_number(centre) or not 0 < centre < math.inf:
            what = f"{centre!r} was given" if given else f"the default of {submission.__name__} is {centre!r}"
            raise BadInputError(
                f"--sweep {wanted}: octaves need a positive number as their centre, but {what}. "
                f"Give one: --sweep {name}=VALUE."
            )
        hyperparameter.check(submission.__name__, round(centre) if hyperparameter.whole else centre)
        sweep = cls(hyperparameter, float(centre))
        if len(sweep.values) < 3:
            raise BadInputError(
                f"--sweep {wanted}: there are no octaves of {centre:g} in {hyperparameter.interval}. Sweep another "
                "hyperparameter, or write a --search-space."
            )
        return sweep

    @property
    def name(self) -> str:
        """Of the hyperparameter."""
        return self.hyperparameter.name

    @cached_property
    def values(self) -> dict[int, float]:
        """The value of each existing octave, ascending; the centre is octave 0.

        For integers, only octaves that are different after rounding exist.
        """
        found = {0: self._at(0)}
        for side in (-1, 1):
            for octave in range(side, side * (FARTHEST + 1), side):
                value = self._at(octave)
                interval = self.hyperparameter.interval
                if value in found.values() or value <= 0 or (interval is not None and value not in interval):
                    break
                found[octave] = value
        return dict(sorted(found.items()))

    def _at(self, octave: int) -> float:
        value = self.centre * 2.0**octave
        return round(value) if self.hyperparameter.whole else value

    @property
    def space(self) -> SearchSpace:
        """The maximum range of the sweep."""
        ends = (float(min(self.values.values())), float(max(self.values.values())))
        return SearchSpace(f"--sweep {self.name}", {self.name: Range(*ends, "log")})

    def first(self, number: int = FIRST) -> list[int]:
        """Return the initial octaves of a sweep: the centre, then alternating up and down."""
        ordered = sorted(self.values, key=lambda octave: (abs(octave), -octave))
        return ordered[:number]

    def points(self, studies: Sequence[Study], number: int = FIRST) -> list[Point]:
        """Return the points of every study: planned ones, initial ones of a sweep, and the next ones.

        Args:
            studies: Studies of one submission on one workload that are planned on disk.
            number: Initial number of octaves.
        """
        octaves = {value: octave for octave, value in self.values.items()}
        planned = [point[self.name] for study in studies for point in study.points]
        known = [octaves[value] for value in planned if value in octaves]
        chosen = list(dict.fromkeys([*known, *self.first(number)]))
        outcomes = self.outcomes(studies)
        if set(chosen) == set(outcomes):
            chosen += next_octaves(outcomes, list(self.values))
        return [{self.name: self.values[octave]} for octave in chosen]

    def outcomes(self, studies: Sequence[Study]) -> dict[int, Outcome]:
        """Return the median result over studies by octave, for octaves without unfinished trials."""
        octaves = {value: octave for octave, value in self.values.items()}
        found: dict[int, list[Outcome] | None] = {}
        for study in studies:
            for trial in study.trials:
                octave = octaves.get(trial.point[self.name])
                state = look(trial)
                if octave is None:
                    continue
                so_far = found.setdefault(octave, [])
                settled = state.state.over or state.state is State.FAILED
                found[octave] = [*so_far, outcome(state)] if settled and so_far is not None else None
        return {octave: _median(each) for octave, each in found.items() if each}


def outcome(state: TrialState) -> Outcome:
    """Return the result of a finished trial."""
    result = state.result
    if result is None or state.state is State.FAILED:
        return NOTHING
    time = result.time_to_target
    sign = 1.0 if result.direction == "min" else -1.0
    distance = sign * (
        result.best - (result.validation_target or 0.0)
    )  # without a target, the value itself is compared
    return (time if math.isfinite(time) else math.inf, math.inf if math.isnan(distance) else distance)


def next_octaves(outcomes: Mapping[int, Outcome], allowed: Sequence[int]) -> list[int]:
    """Return the octaves to try next: beyond each end with the best result; none if nothing was run.

    Both ends may have the best result, for example if all results are equal.

    Args:
        outcomes: Results of the tried octaves, which are contiguous.
        allowed: Existing octaves, ascending.

    Example:
        >>> rising = {-1: (9.0, 0.0), 0: (8.0, 0.0), 1: (7.0, 0.0)}
        >>> next_octaves(rising, range(-10, 11)), next_octaves(rising, [-1, 0, 1, 2])
        ([2, 3], [2])
    """
    best = min(outcomes.values(), default=NOTHING)
    if best == NOTHING:
        return []
    low, high = min(outcomes), max(outcomes)
    below = range(low - 1, low - 1 - STEP, -1) if outcomes[low] == best else ()
    above = range(high + 1, high + 1 + STEP) if outcomes[high] == best else ()
    return [octave for octave in (*below, *above) if octave in allowed]


def describe_sweep(sweep: Sweep, studies: Sequence[Study]) -> str:
    """Return a description of a sweep's result: the best value, the tried ones, and whether it is at an end.

    Args:
        sweep: Sweep of a submission.
        studies: Its studies on one workload.
    """
    label = f"{studies[0].submission} on {studies[0].workload}, {sweep.name}"
    outcomes = sweep.outcomes(studies)
    best = min(outcomes.values(), default=NOTHING)
    if best == NOTHING:
        return f"{label}: no trial gave a result, so there is no best value."
    winners = [octave for octave in sorted(outcomes) if outcomes[octave] == best]
    values = ", ".join(f"{sweep.values[octave]:.4g}" for octave in winners)
    low, high = (sweep.values[octave] for octave in (min(outcomes), max(outcomes)))
    line = f"{label}: best at {values}, of {len(outcomes)} octaves from {low:.4g} to {high:.4g}"
    line += "" if math.isfinite(best[0]) else "; no run reached the target, so by the best validation value"
    at_end = {min(outcomes), max(outcomes)} & set(winners)
    return f"{line}{'. It is at the end of the allowed range' if at_end else ''}."


def _median(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the median; for even numbers the worse of the two middle ones, as half of the trials are no better."""
    return sorted(outcomes)[len(outcomes) // 2]


def _number(wanted: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadInputError(f"--sweep {wanted}: expected a number, but got {text!r}.") from None
