"""Tuning in stages: default points, nested budgets of shared points, a refined space, and the best points run again.

Everything is a function of the protocol, the search space, and the results of previous runs on disk; there is no other
state.

Reference: Schmidt et al. 2021, "Descending through a Crowded Valley", https://arxiv.org/abs/2007.01547.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from algoperf_lightning.tuning.points import Point, draw_points
from algoperf_lightning.tuning.search_space import Choices, Range, SearchSpace
from algoperf_lightning.utilities.inputs import nearest_or_raise

ONE_SHOT, TUNING, REFINED, BEST = "one_shot", "tuning", "refined", "best"
"""Stages: the default point; points of the search space; points of a refined one; the best points with other seeds."""


@dataclass(frozen=True)
class TuningBudget:
    """Number of points that are tried before the best one is run again; 0 for only the default point."""

    points: int = 0
    """Number of points of the search space: the first ones of a list that all budgets share."""
    refined: int = 0
    """Number of points of the space that the best of these span."""


@dataclass(frozen=True)
class Protocol:
    """The tuning protocol of a study."""

    budgets: Mapping[str, TuningBudget]
    """Budgets by name, ascending: each is part of the next one."""
    seed: int
    """Seed of the points, and of the runs that try them."""
    repeats: int
    """Number of runs of every reported point, with the seeds ``seed``, ``seed + 1``, ..."""
    spanning: int
    """Number of best points that a refined space spans."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Hyperparameters that are not tuned, each with the value for submissions without this hyperparameter. Each value
    is a separate study, and part of its folder's name."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the runs of a reported point."""
        return tuple(range(self.seed, self.seed + self.repeats))

    def up_to(self, budget: str) -> dict[str, TuningBudget]:
        """Return a budget and the smaller ones, ascending.

        Raises:
            BadInputError: If the budget is unknown; the message suggests the most similar one.
        """
        names = list(self.budgets)
        last = names.index(nearest_or_raise("budget", budget, self.budgets))
        return {name: self.budgets[name] for name in names[: last + 1]}

    def most_trials(self, budget: str) -> int:
        """Return the number of trials of a budget for one submission on one workload, including smaller budgets.

        There are fewer if two budgets have the same best point.
        """
        tuned = [each for each in self.up_to(budget).values() if each.points]
        tried = sum(max((getattr(each, name) for each in tuned), default=0) for name in ("points", "refined"))
        return self.repeats + tried + (self.repeats - 1) * len(tuned)


@dataclass(frozen=True)
class Stage:
    """Trials that can be planned together."""

    name: str
    points: tuple[Point, ...]
    seeds: tuple[int, ...]
    space: SearchSpace | None = None
    """Search space of the points; None if they were not drawn."""


@dataclass(frozen=True)
class Known:
    """The existing part of a stage on disk."""

    points: Sequence[Point] = ()
    scores: Sequence[float | None] = ()
    """Performance of each trial, higher is better; minus infinity if it failed, None if it has not ended."""
    space: Any = None
    """Search space in AlgoPerf's JSON form."""


@dataclass
class _Tried:
    points: list[Point] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)

    @property
    def all_over(self) -> bool:
        return None not in self.scores

    def best(self, count: int) -> list[Point]:
        """Return the best points, the best first, without failed ones; of equal ones the first."""
        scored = [(score, point) for score, point in zip(self.scores, self.points, strict=True) if score is not None]
        ranked = sorted((each for each in scored if each[0] > -math.inf), key=lambda each: -each[0])
        return [point for _, point in ranked[:count]]


def plan_stages(protocol: Protocol, budget: str, space: SearchSpace | None, known: Mapping[str, Known]) -> list[Stage]:
    """Return all stages that can be planned now: existing ones, extended if necessary, and those that depend on them.

    Args:
        protocol: The tuning protocol.
        budget: Name of the largest budget.
        space: Search space of the submission; may be None for a budget without points.
        known: Existing parts by stage.

    Raises:
        BadInputError: If the budget is unknown, or the search space has too few points.
    """
    stages = [Stage(ONE_SHOT, ({},) * protocol.repeats, protocol.seeds)]
    budgets = [each for each in protocol.up_to(budget).values() if each.points]
    if space is None or not budgets:
        return stages
    drawn = draw_points(space, max(each.points for each in budgets), protocol.seed, "random")
    stages.append(Stage(TUNING, tuple(drawn), (protocol.seed,) * len(drawn), space))
    tuned = _Tried(drawn, _scores(known, TUNING, len(drawn)))
    winners = _different(known[BEST].points) if BEST in known else []
    for each in budgets:
        tried = _Tried(tuned.points[: each.points], tuned.scores[: each.points])
        if each.refined and tried.all_over and len(spanning := tried.best(protocol.spanning)) > 1:
            stage = _refined(protocol, each.refined, refine(space, spanning), known)
            stages.append(stage)
            tried.points += stage.points
            tried.scores += _scores(known, REFINED, len(stage.points))
        if tried.all_over:
            winners += [point for point in tried.best(1) if point not in winners]
    if winners:
        others = protocol.seeds[1:]
        points = tuple(point for point in winners for _ in others)
        stages.append(Stage(BEST, points, others * len(winners)))
    return stages


def _refined(protocol: Protocol, count: int, space: SearchSpace, known: Mapping[str, Known]) -> Stage:
    """Return the stage of a refined space; an existing one is kept, even if a failed trial was repeated since."""
    seeds = (protocol.seed,) * count
    if REFINED in known:
        found = known[REFINED]
        return Stage(REFINED, tuple(found.points), seeds, SearchSpace.parse(found.space, "the refined one"))
    return Stage(REFINED, tuple(draw_points(space, count, protocol.seed, "random")), seeds, space)


def refine(space: SearchSpace, points: Sequence[Point]) -> SearchSpace:
    """Return the part of a search space that some points span: between the smallest and the largest value of each.

    Of non-numeric choices, those that occur.

    Args:
        space: Ranges and choices.
        points: At least one point of the space.

    Example:
        >>> space = SearchSpace("here", {"rate": Range(1e-4, 1.0, "log"), "k": Choices((1, 2, 3, 4))})
        >>> print(*refine(space, [{"rate": 0.1, "k": 3}, {"rate": 0.01, "k": 2}]).describe().values(), sep=", ")
        0.01 to 0.1 (log), 2 or 3
    """
    found: dict[str, Range | Choices] = {}
    for name, dimension in space.dimensions.items():
        values = [point[name] for point in points]
        if isinstance(dimension, Range):
            low, high = min(values), max(values)
            found[name] = Range(low, high, dimension.scaling) if low < high else Choices((low,))
        elif all(isinstance(value, (int, float)) for value in dimension.values):
            low, high = min(values), max(values)
            found[name] = Choices(tuple(value for value in dimension.values if low <= value <= high))
        else:
            found[name] = Choices(tuple(value for value in dimension.values if value in values))
    return SearchSpace(f"{space.source}, refined", found)


def _scores(known: Mapping[str, Known], stage: str, count: int) -> list[float | None]:
    scores = list(known[stage].scores) if stage in known else []
    return [*scores, *[None] * count][:count]


def _different(points: Iterable[Point]) -> list[Point]:
    found: list[Point] = []
    for point in points:
        if point not in found:
            found.append(dict(point))
    return found
