"""Final performance of default hyperparameters and of tuning: runs of a fixed length, compared by their final metric.

An optimizer is run at its default point with several seeds, and tuned: the point whose single run ends with the best
validation value is run again with more seeds. Results are test values, selection uses validation values.

Reference: R. Schmidt, F. Schneider, P. Hennig, Descending through a Crowded Valley: Benchmarking Deep Learning
Optimizers, ICML 2021, https://arxiv.org/abs/2007.01547.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.spec import Direction

Array = NDArray[np.float64]

Setting = tuple[str, str]
"""A budget and a schedule."""

DEFAULT = -1
"""The number of the default point."""


@dataclass(frozen=True)
class FinalRun:
    """Result of one run."""

    problem: str
    optimizer: str
    schedule: str
    point: int
    """Number of its point in the order of the search, :data:`DEFAULT` for the optimizer's default point."""
    seed: int
    validation: float
    """Validation value, by which a point is chosen."""
    test: float
    """Test value, which is reported."""


@dataclass(frozen=True)
class FinalRuns:
    """The runs of a study.

    Args:
        runs: The runs in any order; of several with the same point and seed, the last one counts.
        directions: ``max`` or ``min`` for every problem, in the order in which problems are shown.
        budgets: Number of tried points of each budget; 0 for only the default point.
        tuning_seed: Seed of the runs with which points are compared.
    """

    runs: Sequence[FinalRun]
    directions: Mapping[str, Direction]
    budgets: Mapping[str, int]
    tuning_seed: int

    @cached_property
    def _found(self) -> dict[tuple[str, str, str, int], dict[int, FinalRun]]:
        found: dict[tuple[str, str, str, int], dict[int, FinalRun]] = {}
        for run in self.runs:
            found.setdefault((run.problem, run.optimizer, run.schedule, run.point), {})[run.seed] = run
        return found

    @cached_property
    def optimizers(self) -> list[str]:
        """All optimizers, in the order of their first runs."""
        return list(dict.fromkeys(run.optimizer for run in self.runs))

    @cached_property
    def problems(self) -> list[str]:
        """All problems with runs."""
        there = {run.problem for run in self.runs}
        return [problem for problem in self.directions if problem in there]

    @cached_property
    def schedules(self) -> list[str]:
        """All schedules, in the order of their first runs."""
        return list(dict.fromkeys(run.schedule for run in self.runs))

    def of_point(self, problem: str, optimizer: str, schedule: str, point: int) -> list[FinalRun]:
        """Return the runs of a point, by ascending seed."""
        runs = self._found.get((problem, optimizer, schedule, point), {})
        return [runs[seed] for seed in sorted(runs)]

    def tried(self, problem: str, optimizer: str, schedule: str, budget: str) -> list[FinalRun]:
        """Return the runs with which the points of a budget are compared, one per point; empty unless all exist."""
        runs = [
            self._found.get((problem, optimizer, schedule, point), {}).get(self.tuning_seed)
            for point in range(self.budgets[budget])
        ]
        there = [run for run in runs if run is not None]
        return there if len(there) == len(runs) else []

    def chosen(self, problem: str, optimizer: str, schedule: str, budget: str) -> int | None:
        """Return the number of the best point of a budget, the first of equal ones; None if runs are missing.

        The choice only uses the runs with the tuning seed; otherwise, means of several runs would be compared with
        single runs.
        """
        if not self.budgets[budget]:
            return DEFAULT
        tried = self.tried(problem, optimizer, schedule, budget)
        if not tried:
            return None
        validation = np.array([run.validation for run in tried])
        return int((-validation if self.directions[problem] == "max" else validation).argmin())

    def performance(self, problem: str, optimizer: str, budget: str, schedule: str) -> Array:
        """Return the test values of the chosen point, one per seed, shape ``(S,)``; empty if runs are missing."""
        point = self.chosen(problem, optimizer, schedule, budget)
        runs = [] if point is None else self.of_point(problem, optimizer, schedule, point)
        return np.array([run.test for run in runs])

    def mean(self, problem: str, optimizer: str, budget: str, schedule: str) -> float:
        """Return the mean of :meth:`performance`, NaN if there is none."""
        values = self.performance(problem, optimizer, budget, schedule)
        return float(values.mean()) if values.size else np.nan

    def means(self, budget: str, schedule: str) -> Array:
        """Return the mean test value of every optimizer on every problem, shape ``(P, O)``; NaN if there is none."""
        return np.array(
            [[self.mean(problem, each, budget, schedule) for each in self.optimizers] for problem in self.problems]
        )


def improvement(new: Array | float, old: Array | float, direction: Direction, *, relative: bool = True) -> Array:
    """Return the improvement of new values over old ones, positive if they are better.

    Args:
        new: New values, in a shape that can be broadcast with ``old``.
        old: Old values.
        direction: Whether higher or lower values are better.
        relative: Whether to divide by the old value's size.

    Example:
        >>> float(improvement(0.9, 0.8, "max", relative=False)), float(improvement(50.0, 100.0, "min"))
        (0.09999999999999998, 0.5)
    """
    difference = np.asarray(new, dtype=np.float64) - np.asarray(old, dtype=np.float64)
    better = difference if direction == "max" else -difference
    return np.asarray(better / np.abs(old) if relative else better)


def switch_matrix(runs: FinalRuns, problem: str, tuned: str, untuned: str, schedule: str) -> Array:
    """Return the gain of switching from one untuned optimizer to another tuned one, shape ``(O, O)``.

    Row i is the untuned optimizer, column j the tuned one; the diagonal is the gain from tuning only. Accuracies
    (higher is better) are in percentage points, losses in percent of the loss of row i.
    """
    direction, names = runs.directions[problem], runs.optimizers
    old = np.array([runs.mean(problem, each, untuned, schedule) for each in names])
    new = np.array([runs.mean(problem, each, tuned, schedule) for each in names])
    return 100 * improvement(new[None, :], old[:, None], direction, relative=direction == "min")


def gains(runs: FinalRuns, settings: Iterable[tuple[str, str]], base: tuple[str, str]) -> Array:
    """Return the relative improvement of every optimizer over its own base setting, shape ``(T, P, O)``.

    Args:
        runs: The runs of the study.
        settings: T pairs of ``(budget, schedule)``.
        base: The setting with which they are compared, usually one-shot with a constant rate.
    """
    old = runs.means(*base)
    return np.array(
        [
            [improvement(new[row], old[row], runs.directions[problem]) for row, problem in enumerate(runs.problems)]
            for new in (runs.means(*setting) for setting in settings)
        ]
    )


def mean_and_spread(values: Array) -> str:
    """Return mean and standard deviation, the latter with two significant digits; a dash for no values.

    Example:
        >>> [mean_and_spread(np.array(values)) for values in ([87.0, 87.18], [0.996, 0.996], [])]
        ['87.09 ± 0.13', '0.996 ± 0', '–']
    """
    if not values.size:
        return "–"
    mean = float(values.mean())
    if values.size == 1:
        return f"{mean:.5g}"
    deviation = float(values.std(ddof=1))
    if not deviation > 1e-6 * abs(mean):
        return f"{mean:.5g} ± {deviation:.2g}"
    decimals = max(0, 1 - math.floor(math.log10(deviation)))
    return f"{mean:.{decimals}f} ± {deviation:.{decimals}f}"


def settings_of(runs: FinalRuns) -> list[Setting]:
    """Return the budgets and schedules with runs; the first one, with the smallest budget, is the base setting."""
    return [
        (budget, schedule)
        for budget in runs.budgets
        for schedule in runs.schedules
        if np.isfinite(runs.means(budget, schedule)).any()
    ]
