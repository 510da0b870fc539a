"""Exact tests of two samples of times with missed targets, on one workload and over several. Pure functions on arrays.

A missed target is a censored time: it is above the limit of all runs. The tests therefore use ranks, in which such
times share the last place: Gehan's generalisation of Wilcoxon's tests (https://doi.org/10.1093/biomet/52.1-2.203).
P-values are computed over all permutations, so they are exact for small numbers of runs.

A test can be applied to any ratio: the first sample's times, divided by the ratio, are compared with the second's. The
limit is divided too, and both samples are censored at the lower of the two limits; otherwise the sample that was
observed longer would appear slower. Intervals are computed from these tests.

Letters in shapes: ``M`` runs of the first, ``N`` of the second sample; of pairs both are ``N``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

_COUNTED = 64
"""Up to this number of runs, distributions are exact; for larger samples they are normal with the exact spread."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Times of two submissions on one workload, in seconds or steps; ``inf`` missed."""

    first: Array
    """Shape ``(M,)``."""
    second: Array
    """Shape ``(N,)``."""
    limit: float
    """Limit beyond which a target counts as missed."""
    paired: bool
    """Whether runs with the same index are pairs."""

    @property
    def runs(self) -> int:
        """Total number of runs."""
        return len(self.first) + len(self.second)

    @property
    def smallest(self) -> float:
        """The smallest possible one-sided p-value of a test with this number of runs."""
        return 0.5 ** len(self.first) if self.paired else 1 / math.comb(self.runs, len(self.first))

    def at(self, ratio: float) -> tuple[Array, Array]:
        """Return both samples, the first divided by a ratio, and both censored at the lower limit."""
        limit = self.limit * min(1.0, 1 / ratio)
        return np.minimum(self.first / ratio, limit), np.minimum(self.second, limit)


@dataclass(frozen=True, eq=False)
class Ranked:
    """A test's statistic, positive if the first sample is faster, and its distribution under the null hypothesis."""

    statistic: int
    chances: Array
    """Probability of each value from ``-R`` to ``R``, shape ``(2 R + 1,)``."""

    @property
    def slower(self) -> float:
        """One-sided p-value against the first sample being as fast: small if it is slower."""
        return float(min(1.0, self.chances[: self._place + 1].sum()))

    @property
    def faster(self) -> float:
        """One-sided p-value against the first sample being as slow: small if it is faster."""
        return float(min(1.0, self.chances[self._place :].sum()))

    @property
    def p_value(self) -> float:
        """Two-sided p-value: twice the smaller one-sided p-value."""
        return min(1.0, 2 * min(self.slower, self.faster))

    @property
    def _place(self) -> int:
        return self.statistic + len(self.chances) // 2


def rank_test(sample: Sample, ratio: float = 1.0) -> Ranked:
    """Return the test of whether the first sample's times are ``ratio`` times the second's.

    Pairs use Wilcoxon's signed-rank test, others the rank-sum test, both with average ranks for ties.

    Example:
        >>> times = np.array([10.0, 11.0, 12.0]), np.array([20.0, 25.0, np.inf])
        >>> found = rank_test(Sample(*times, limit=30.0, paired=False))
        >>> found.statistic, round(found.p_value, 3)
        (9, 0.1)
    """
    scores = _scores(sample, ratio)
    if sample.paired:
        return Ranked(int(scores.sum()), _signs(tuple(np.sort(np.abs(scores)).tolist())))
    count = len(sample.first)
    return Ranked(int(scores[:count].sum()), _choices(tuple(np.sort(scores).tolist()), count))


def _scores(sample: Sample, ratio: float) -> Integers:
    """Return the contribution of each pair, or each run of both samples, to the statistic."""
    first, second = sample.at(ratio)
    if sample.paired:
        return signed_ranks(np.log(second) - np.log(first))
    return faster_than(np.concatenate([first, second]))


def faster_than(times: Array) -> Integers:
    """Return for each time the number of longer ones minus that of shorter ones, shape ``(..., N)``."""
    longer = times[..., None, :] > times[..., :, None]
    shorter = times[..., None, :] < times[..., :, None]
    return np.asarray(longer.sum(axis=-1) - shorter.sum(axis=-1), dtype=np.int64)


def signed_ranks(differences: Array) -> Integers:
    """Return twice the rank of each difference's size, with its sign, shape ``(..., N)``; 0 where there is none."""
    # Differences in the last digits are ignored: logarithms are rounded.
    sizes = np.where(np.abs(differences) < 1e-12, 0.0, np.round(np.abs(differences), 12))
    some = sizes > 0
    below = ((sizes[..., None, :] < sizes[..., :, None]) & some[..., None, :]).sum(axis=-1)
    equal = ((sizes[..., None, :] == sizes[..., :, None]) & some[..., None, :]).sum(axis=-1)
    return np.asarray(np.where(some, np.sign(differences) * (2 * below + equal + 1), 0), dtype=np.int64)


@lru_cache(maxsize=4096)
def _choices(scores: tuple[int, ...], count: int) -> Array:
    """Return the distribution of the sum of ``count`` of the scores, drawn without replacement; they add up to 0."""
    values = np.array(scores)
    reach = int(np.sort(values)[len(values) - count :].sum())  # the largest sum; the smallest is its negative
    reach = max(reach, -int(np.sort(values)[:count].sum()))
    if len(values) > _COUNTED:
        variance = count * (len(values) - count) / (len(values) - 1) * float((values**2).mean())
        return _normal(variance, reach)
    width = int(np.abs(values).sum())
    ways = np.zeros((count + 1, 2 * width + 1))
    ways[0, width] = 1.0
    for value in scores:
        ways[1:] += np.roll(ways[:-1], value, axis=1)
    found = ways[count, width - reach : width + reach + 1]
    return np.asarray(found / found.sum())


@lru_cache(maxsize=4096)
def _signs(scores: tuple[int, ...]) -> Array:
    """Return the distribution of the sum of the scores with random signs."""
    reach = sum(scores)
    if len(scores) > _COUNTED:
        return _normal(float(np.sum(np.square(scores))), reach)
    chances = np.ones(1)
    for score in filter(None, scores):
        both = np.zeros(2 * score + 1)
        both[[0, -1]] = 0.5
        chances = np.convolve(chances, both)
    return chances


def _normal(variance: float, reach: int) -> Array:
    values = np.arange(-reach, reach + 1.0)
    chances = np.exp(-(values**2) / (2 * max(variance, 1e-12)))
    return np.asarray(chances / chances.sum())


def stratified_test(samples: Sequence[Sample], ratio: float = 1.0) -> Ranked:
    """Return one test over several workloads: the sum of their statistics, weighted by about 1 / number of runs.

    These are van Elteren's weights, which have the best power for a common ratio, rounded to integers for exactness.

    Example:
        >>> times = np.array([10.0, 11.0, 12.0]), np.array([20.0, 25.0, np.inf])
        >>> round(stratified_test([Sample(*times, limit=30.0, paired=False)] * 3).p_value, 5)
        0.00025
    """
    statistic, chances = 0, np.ones(1)
    for sample, weight in zip(samples, weights(samples), strict=True):
        found = rank_test(sample, ratio)
        statistic += weight * found.statistic
        chances = convolved(chances, found.chances, weight)
    return Ranked(statistic, chances)


def convolved(chances: Array, others: Array, weight: int) -> Array:
    """Return the distribution of a statistic plus ``weight`` times another one."""
    stretched = np.zeros((len(others) - 1) * weight + 1)
    stretched[::weight] = others
    return np.convolve(chances, stretched)


def seen(statistics: Integers, kinds: Integers, chances: dict[int, Array], alpha: float) -> NDArray[np.bool_]:
    """Return whether each statistic is significant, with the distribution of its kind, shape ``(D,)``.

    Args:
        statistics: Statistics, shape ``(D,)``.
        kinds: Kind of the distribution of each under the null hypothesis, shape ``(D,)``.
        chances: The distributions by kind, as in ``Ranked``.
        alpha: Two-sided significance level.
    """
    found = np.zeros(len(statistics), dtype=bool)
    for kind, of_kind in chances.items():
        rows, reach = kinds == kind, len(of_kind) // 2
        below = np.cumsum(of_kind)[reach + statistics[rows]]
        above = np.cumsum(of_kind[::-1])[reach - statistics[rows]]
        found[rows] = 2 * np.minimum(below, above) <= alpha * (1 + 1e-9)
    return found


def stratified_statistic(samples: Sequence[Sample], ratio: float = 1.0) -> int:
    """Return only the statistic of the test over several workloads, which is fast."""
    total = 0
    for sample, weight in zip(samples, weights(samples), strict=True):
        scores = _scores(sample, ratio)
        total += weight * int((scores if sample.paired else scores[: len(sample.first)]).sum())
    return total


def weights(samples: Sequence[Sample]) -> list[int]:
    """Return the weight of each workload's statistic in the sum over workloads."""
    counts = [sample.runs + 1 for sample in samples]
    if len(set(counts)) < 2:
        return [1] * len(counts)
    found = [round(4 * max(counts) / count) for count in counts]
    return [weight // math.gcd(*found) for weight in found]


def holm(p_values: Array, *, independent: bool = False) -> Array:
    """Return p-values corrected for multiple tests, shape ``(N,)``; NaN stays, and does not count as a test.

    Args:
        p_values: Two-sided or one-sided p-values, shape ``(N,)``.
        independent: Whether no run is part of two tests, as with workloads. Hochberg's step-up procedure is then valid
            (1988, https://doi.org/10.1093/biomet/75.4.800), which helps if tests with few runs share the smallest
            possible p-value.

    Reference: Holm 1979, https://www.jstor.org/stable/4615733.

    Example:
        >>> holm(np.array([0.01, 0.04, np.nan, 0.03])), holm(np.array([0.02, 0.02, 0.9]), independent=True)
        (array([0.03, 0.06,  nan, 0.06]), array([0.04, 0.04, 0.9 ]))
    """
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    bounds = p_values[order] * np.arange(len(order), 0, -1)
    corrected = p_values.copy()
    largest = np.minimum.accumulate(bounds[::-1])[::-1] if independent else np.maximum.accumulate(bounds)
    corrected[order] = np.minimum(1.0, largest)
    return corrected
