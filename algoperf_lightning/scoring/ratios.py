"""The ratio of the times of two submissions: estimates and intervals from rank tests.

The model has one ratio: the first sample's times are those of the second multiplied by a number, including unobserved
times beyond the limit. The interval contains all ratios that the exact test does not reject. Its coverage is therefore
correct for any distribution of times, and it is open on a side on which misses do not limit the ratio.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.scoring.rank_tests import Sample, stratified_statistic, stratified_test

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """Ratio of the first submission's times to the second's."""

    value: float
    """Hodges-Lehmann estimate, at which the test shows no difference; NaN if misses leave it undetermined: on most
    workloads, one of the two missed in half of its runs."""
    low: float
    """Lower end, 0 if open."""
    high: float
    """Upper end, ``inf`` if open."""
    level: float
    """Minimum coverage probability of the interval: the requested one, or the maximum for the number of runs; 0 if
    there is no interval."""


def ratio_of(samples: Sequence[Sample], level: float = 0.95) -> Ratio:
    """Return the ratio of one sample, or the common ratio of several workloads.

    Args:
        samples: One sample per workload.
        level: Confidence level of the interval, in (0, 1).

    Example:
        >>> sample = Sample(np.array([10.0, 11.0, 12.0, 13.0]), np.array([20.0, 22.0, 24.0, 26.0]), 30.0, False)
        >>> found = ratio_of([sample])
        >>> round(found.value, 3), round(found.low, 3), round(found.high, 3), found.level
        (0.5, 0.385, 0.65, 0.95)
    """
    known = [sample for sample in samples if np.isfinite(sample.first).any() or np.isfinite(sample.second).any()]
    if not known:
        return Ratio(math.nan, 0.0, math.inf, 0.0)
    turns = np.unique(np.concatenate([_turns(sample) for sample in known]))
    between = np.concatenate([[turns[0] - 0.01], (turns[1:] + turns[:-1]) / 2, [turns[-1] + 0.01]])
    edge = _Edges(np.exp(turns).tolist(), np.exp(between).tolist())
    seen = [np.isfinite([np.median(each.first), np.median(each.second)]).all() for each in known]
    value = edge.middle(lambda ratio: stratified_statistic(known, ratio)) if 2 * sum(seen) >= len(seen) else math.nan
    smallest = math.prod(sample.smallest for sample in known)
    if smallest >= 0.5:
        return Ratio(value, 0.0, math.inf, 0.0)
    tail = max((1 - level) / 2, smallest) * (1 + 1e-9)
    low = edge.last(lambda ratio: stratified_test(known, ratio).slower <= tail, missing=0.0)
    high = edge.last(lambda ratio: stratified_test(known, ratio).faster > tail, missing=math.inf)
    return Ratio(value, low, high, min(level, 1 - 2 * smallest))


def _turns(sample: Sample) -> Array:
    """Return the logarithms of the ratios at which the statistic may change: times are reordered or censored."""
    first, second = (np.log(np.minimum(each, sample.limit)) for each in (sample.first, sample.second))
    limit = math.log(sample.limit)
    if not sample.paired:
        first, second = first[np.isfinite(sample.first)], second[np.isfinite(sample.second)]
        return np.concatenate([(first[:, None] - second).ravel(), first - limit, limit - second])
    # The size of a pair's difference changes with the ratio, or is constant if one of the two is censored.
    moving, resting = second - first, np.concatenate([second - limit, limit - first])
    meeting = [(moving[:, None] + moving).ravel() / 2, (moving[:, None] - resting).ravel()]
    return -np.concatenate([*meeting, (moving[:, None] + resting).ravel(), resting])


@dataclass(frozen=True)
class _Edges:
    """Finds the ratio at which a monotonic condition changes."""

    turns: list[float]
    """Ascending; nothing changes between two of them."""
    points: list[float]
    """One below, between and above the turns."""

    def last(self, holds: Callable[[float], bool], missing: float) -> float:
        """Return the ratio up to which something holds; ``missing`` if it never or always does."""
        if not holds(self.points[0]) or holds(self.points[-1]):
            return missing
        start, end = 0, len(self.points) - 1
        while end - start > 1:
            middle = (start + end) // 2
            start, end = (middle, end) if holds(self.points[middle]) else (start, middle)
        return self.turns[start]

    def middle(self, statistic: Callable[[float], int]) -> float:
        """Return the middle of the ratios between which a rising statistic is 0; NaN if it is never above or below."""
        low = self.last(lambda ratio: statistic(ratio) < 0, math.nan)
        high = self.last(lambda ratio: statistic(ratio) <= 0, math.nan)
        return math.sqrt(low * high)
