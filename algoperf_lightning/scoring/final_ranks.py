"""Ranks of optimizers by final performance, and a comparison of trying several optimizers with tuning one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from scipy.stats import t  # type: ignore[import-untyped]

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.best_of import without_fastest
from algoperf_lightning.scoring.final_performance import DEFAULT, Array, FinalRun, FinalRuns


@dataclass(frozen=True)
class Interval:
    """Estimates with intervals."""

    value: Array
    low: Array
    high: Array


def mean_ranks(
    runs: FinalRuns, budget: str, schedule: str, *, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Return the mean rank of every optimizer over the problems, each of shape ``(O,)``; 1 is the best.

    Ranks are those of mean test values; equal values share a rank. An optimizer is not ranked on problems without runs.
    Intervals are bootstrap percentiles over seeds; they do not include the variation between problems.

    Args:
        runs: The runs of the study.
        budget: Tuning budget of the optimizers.
        schedule: Schedule of the runs.
        draws: Number of bootstrap draws.
        level: Share of draws within the interval.
        seed: Seed of the bootstrap.
    """
    drawn = np.full((draws, len(runs.problems), len(runs.optimizers)), np.nan)
    generator = np.random.default_rng(seed)
    for row, problem in enumerate(runs.problems):
        for column, optimizer in enumerate(runs.optimizers):
            values = runs.performance(problem, optimizer, budget, schedule)
            if values.size:
                drawn[:, row, column] = generator.choice(values, (draws, values.size)).mean(axis=1)
    signs = np.array([[-1.0 if runs.directions[problem] == "max" else 1.0] for problem in runs.problems])
    tail = (1 - level) / 2
    low, high = np.quantile(_ranks(signs * drawn), [tail, 1 - tail], axis=0)
    return Interval(_ranks(signs * runs.means(budget, schedule)), low, high)


def _ranks(costs: Array) -> Array:
    """Return mean ranks ``(..., O)`` over the problems of costs ``(..., P, O)``; NaN if all of an optimizer are NaN."""
    one, other = costs[..., :, None], costs[..., None, :]
    ranks = 0.5 + (other < one).sum(axis=-1) + 0.5 * (other == one).sum(axis=-1)
    there = ~np.isnan(costs)
    counts = there.sum(axis=-2)
    total = np.where(there, ranks, 0.0).sum(axis=-2)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def expected_best_point(tried: Sequence[FinalRun], size: int, direction: str) -> float:
    """Return the expected test value of the best of ``size`` tried points, selected by validation.

    Exact over all sets of points, as in :mod:`~algoperf_lightning.scoring.best_of`.
    """
    ordered = sorted(tried, key=lambda run: -run.validation if direction == "max" else run.validation)
    none = without_fastest(len(ordered), size)
    return float(np.dot(none[:-1] - none[1:], [run.test for run in ordered]))


def expected_best_default(defaults: Sequence[Sequence[FinalRun]], size: int, direction: str) -> float:
    """Return the expected test value of the best of ``size`` optimizers at their defaults, selected by validation.

    Exact over all sets of optimizers and all of their seeds. Let q be the probability that a run of another optimizer
    is worse than a given run. The given run is the best of its set with a probability that is the elementary symmetric
    polynomial of degree ``size - 1`` in all q, divided by the number of sets of the others.

    Args:
        defaults: Runs of each of O optimizers, at least one each.
        size: Number of tried optimizers, from 1 to O.
        direction: Whether higher or lower values are better.
    """
    sign = -1.0 if direction == "max" else 1.0
    # Equal values are ordered, so that one run is the best in every set.
    order = sorted(
        (sign * run.validation, number, place) for number, runs in enumerate(defaults) for place, run in enumerate(runs)
    )
    left = [len(runs) for runs in defaults]
    total = 0.0
    for _, number, place in order:
        left[number] -= 1
        worse = [left[each] / len(defaults[each]) for each in range(len(defaults)) if each != number]
        polynomial = np.zeros(size)
        polynomial[0] = 1.0
        for q in worse:
            polynomial[1:] += q * polynomial[:-1]
        chance = polynomial[size - 1] / comb(len(defaults) - 1, size - 1) * size / len(defaults)
        total += chance / len(defaults[number]) * defaults[number][place].test
    return total


@dataclass(frozen=True)
class Trying:
    """Comparison of trying optimizers at their defaults with tuning one of them, with the same number of runs."""

    sizes: list[int]
    """K numbers of runs."""
    problems: list[str]
    """Problems with all of these runs."""
    defaults: Array
    """Expected test value of the best default, shape ``(P, K)``."""
    tuned: Array
    """Expected test value of an optimizer tuned with the same number of points, mean over optimizers, ``(P, K)``."""
    gain: Interval
    """Gain of the defaults over tuning, relative to one default run, mean over problems, ``(K,)``."""


def trying_against_tuning(
    runs: FinalRuns, budget: str, schedule: str, *, sizes: Sequence[int] | None = None, level: float = 0.95
) -> Trying:
    """Compare m optimizers at their defaults with m points of one optimizer.

    Values are expectations over the choice of the tried optimizers, the tuned optimizer and its points. On each
    problem, both are relative to the expected result of one optimizer that is run once at its default. The interval is
    a jackknife over optimizers with Student's t: optimizers are treated as a sample, problems as fixed.

    Args:
        runs: The runs of the study.
        budget: Tuning budget, from whose points samples are drawn.
        schedule: Schedule of the runs.
        sizes: Values of m, from 1 to the number of optimizers minus one. Default: all.
        level: Confidence level of the interval.

    Raises:
        BadInputError: If a size is out of that range.
    """
    problems = [problem for problem in runs.problems if _complete(runs, problem, budget, schedule)]
    everyone = range(len(runs.optimizers))
    most = min(len(everyone) - 1, runs.budgets[budget])
    sizes = list(range(1, most + 1)) if sizes is None else list(sizes)
    if bad := [size for size in sizes if not 1 <= size <= most]:
        raise BadInputError(
            f"{bad[0]} runs cannot be compared: expected 1 to {most}, one less than there are optimizers, and no more "
            f"than the {runs.budgets[budget]} points of the budget {budget!r}."
        )
    sets = [everyone, *([each for each in everyone if each != left_out] for left_out in everyone)]
    base, defaults, tuned = (
        np.zeros((len(sets), len(problems), 1)),
        *np.zeros((2, len(sets), len(problems), len(sizes))),
    )
    for row, problem in enumerate(problems):
        direction = runs.directions[problem]
        untuned = [runs.of_point(problem, each, schedule, DEFAULT) for each in runs.optimizers]
        points = [runs.tried(problem, each, schedule, budget) for each in runs.optimizers]
        alone = np.array([[expected_best_point(each, size, direction) for size in sizes] for each in points])
        for number, kept in enumerate(sets):
            some = [untuned[each] for each in kept]
            base[number, row] = abs(expected_best_default(some, 1, direction))
            defaults[number, row] = [expected_best_default(some, size, direction) for size in sizes]
            tuned[number, row] = alone[list(kept)].mean(axis=0)
    signs = np.array([[1.0 if runs.directions[problem] == "max" else -1.0] for problem in problems])
    gain = (signs * (defaults - tuned) / base).mean(axis=1) if problems else np.full((len(sets), len(sizes)), np.nan)
    return Trying(sizes, problems, defaults[0], tuned[0], _jackknife(gain[0], gain[1:], level))


def _complete(runs: FinalRuns, problem: str, budget: str, schedule: str) -> bool:
    return all(
        runs.of_point(problem, each, schedule, DEFAULT) and runs.tried(problem, each, schedule, budget)
        for each in runs.optimizers
    )


def _jackknife(value: Array, without: Array, level: float) -> Interval:
    """Return the jackknife interval of a number, given its values without each of n items, ``(n, K)``."""
    n = len(without)
    spread = np.sqrt((n - 1) / n * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    half = t.ppf((1 + level) / 2, n - 1) * spread
    return Interval(value, value - half, value + half)


def in_words(trying: Trying, place: int) -> str:
    """Return a sentence about the gain of trying optimizers over tuning one."""
    value, low, high = (100 * each[place] for each in (trying.gain.value, trying.gain.low, trying.gain.high))
    size = trying.sizes[place]
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "not distinguishable from"
    return (
        f"Trying {size} optimizers at their defaults is {verdict} tuning one with {size} runs: "
        f"{value:+.2g} % [{low:+.2g}, {high:+.2g}]."
    )
