"""Planning of more runs: power of the tests, number of additional studies, evidence per hour.

The model: one submission needs a known percentage less than the other; logarithms of times are normal, with the spread
that was observed on the workload, and both miss the observed share of targets, independent of their times.

Reference: Noether 1987, sample sizes for Wilcoxon's tests, https://doi.org/10.1080/01621459.1987.10478478.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.scoring.rank_tests import (
    Sample,
    convolved,
    faster_than,
    rank_test,
    seen,
    signed_ranks,
    weights,
)

Array = NDArray[np.float64]

_MOST = 1000
"""Maximum number of studies; larger numbers are impractical."""
_COMBINATIONS = 200
"""With more combinations of missed targets than this, the sum over workloads is assumed to be normal."""
_REACH = 2000
"""The sum is also assumed to be normal if it can exceed this, because its exact distribution takes long."""


@dataclass(frozen=True)
class Design:
    """Numbers of runs of both submissions on a workload, and the distribution of their times."""

    first: int
    second: int
    paired: bool
    spread: float
    """Standard deviation of the logarithm of a time."""
    missed: float = 0.0
    """Share of the runs that miss their target."""
    together: float = 0.0
    """Correlation of the logarithms of a pair, in [0, 1)."""
    room: float = math.inf
    """Distance from the mean to the limit, in spreads: the minimum lead of a reached target over a miss."""

    def more(self, studies: int) -> Design:
        """Return a design with more studies of both."""
        return replace(self, first=self.first + studies, second=self.second + studies)

    @property
    def smallest(self) -> float:
        """The smallest possible two-sided p-value of its test; 0 if it is negligible."""
        if self.first + self.second > 60:
            return 0.0
        if self.paired:
            return min(1.0, 2 * 0.5**self.first)
        return min(1.0, 2 / math.comb(self.first + self.second, self.first))


def observed_design(sample: Sample, resolution: float) -> Design | None:
    """Return the design of a workload's sample; None if too few runs reached the target to estimate their spread.

    The spread is at least that of rounding a time up to the next evaluation.

    Args:
        sample: Sample of one workload.
        resolution: Time between two evaluations, as a share of the time.
    """
    reached = [np.isfinite(each) for each in (sample.first, sample.second)]
    logs = [np.log(each[seen]) for each, seen in zip((sample.first, sample.second), reached, strict=True)]
    logs = [each for each in logs if len(each)]
    freedom = sum(len(each) - 1 for each in logs)
    if freedom < 2:
        return None
    rounding = resolution / math.sqrt(12)
    squares = sum(float(((each - each.mean()) ** 2).sum()) for each in logs)
    spread = max(_unbiased_inverse(squares, freedom), rounding, 1e-6)
    together = 0.0
    both = reached[0] & reached[1] if sample.paired else np.zeros(0, dtype=bool)
    if both.sum() > 2:
        ratios = np.log(sample.first[both] / sample.second[both])
        apart = max(_unbiased_inverse(float(ratios.var()) * len(ratios), len(ratios) - 1), rounding)
        together = min(max(1 - apart**2 / (2 * spread**2), 0.0), 0.99)
    return Design(
        first=len(sample.first),
        second=len(sample.second),
        paired=sample.paired,
        spread=spread,
        missed=float(1 - np.mean([each.mean() for each in reached])),
        together=together,
        room=(math.log(sample.limit) - float(np.mean([each.mean() for each in logs]))) / spread,
    )


def _unbiased_inverse(squares: float, freedom: int) -> float:
    """Return a standard deviation whose inverse is right on average, from a sum of squares of normal deviations.

    The usual one is too small more often than too large, which would overestimate the power.
    """
    half = freedom / 2
    return math.sqrt(squares / 2) * math.exp(math.lgamma(half - 0.5) - math.lgamma(half))


def power(
    designs: Sequence[Design], ratio: float, alpha: float = 0.05, draws: int = 1000, seed: int = 0
) -> tuple[Array, float]:
    """Return the probability that a difference is detected on each workload separately, shape ``(W,)``, and over all.

    Runs are drawn from the model and tested like observed ones.

    Args:
        designs: One design per workload.
        ratio: The faster submission's times divided by the other's.
        alpha: Significance level.
        draws: Number of draws.
        seed: Seed of the draws.
    """
    rng = np.random.default_rng(seed)
    alone, total, variance = np.zeros(len(designs)), np.zeros(draws, dtype=np.int64), np.zeros(draws)
    tests, found = [], _weights(designs)
    for place, (design, weight) in enumerate(zip(designs, found, strict=True)):
        drawn = _drawn_tests(design, ratio, draws, rng)
        alone[place] = seen(drawn.statistics, drawn.kinds, drawn.chances, alpha).mean()
        total += weight * drawn.statistics
        variance += weight**2 * drawn.variances
        tests.append(drawn)
    if (exact := _exact_chances(tests, found)) is not None:
        return alone, float(seen(total, *exact, alpha).mean())
    if 2 * math.prod(design.smallest / 2 for design in designs) > alpha:
        return alone, 0.0
    return alone, float((np.abs(total) >= _quantile(1 - alpha / 2) * np.sqrt(np.maximum(variance, 1e-9))).mean())


@dataclass(frozen=True, eq=False)
class _Drawn:
    statistics: NDArray[np.int64]
    variances: Array
    """Variance of each statistic if both submissions were equal."""
    kinds: NDArray[np.int64]
    """Number of misses, on which the distribution of each statistic depends if both submissions were equal."""
    chances: dict[int, Array]
    """These distributions by kind."""


def _drawn_tests(design: Design, ratio: float, draws: int, rng: np.random.Generator) -> _Drawn:
    """Return the tests of drawn samples."""
    shift = math.log(ratio) / design.spread / 2
    first, second = (rng.standard_normal((draws, count)) for count in (design.first, design.second))
    if design.together:
        common = rng.standard_normal((draws, design.first)) * math.sqrt(design.together)
        first, second = (common + each * math.sqrt(1 - design.together) for each in (first, second))
    # A miss is above all reached times: at the limit, or higher if no time was near the limit.
    limit = min(max(design.room, 0.0 if design.paired else 10 + abs(shift)), 1e9)
    missed = [rng.random(each.shape) < design.missed for each in (first, second)]
    sides = zip((first, second), missed, (shift, -shift), strict=True)
    first, second = (np.where(miss, limit, np.minimum(each + moved, limit)) for each, miss, moved in sides)
    if design.paired:
        scores = signed_ranks(second - first)
        statistics, variances = scores.sum(axis=1), (scores.astype(np.float64) ** 2).sum(axis=1)
        kinds = (scores == 0).sum(axis=1)
    else:
        scores = faster_than(np.concatenate([first, second], axis=1))
        count, runs = design.first, scores.shape[1]
        statistics = scores[:, :count].sum(axis=1)
        variances = count * (runs - count) / (runs - 1) * (scores.astype(np.float64) ** 2).mean(axis=1)
        kinds = (first == limit).sum(axis=1) + (second == limit).sum(axis=1)
    chances = {}
    for kind in np.unique(kinds).tolist():
        row = int((kinds == kind).argmax())
        values = [first[row], second[row]]
        largest = max(50.0, *(float(np.abs(each).max()) for each in values))
        times = [np.exp(each * (50 / largest)) for each in values]  # its ranks are the same, and none overflows
        example = Sample(times[0], times[1], math.inf, design.paired)
        chances[kind] = rank_test(example).chances
    return _Drawn(statistics, variances, kinds, chances)


def _exact_chances(tests: Sequence[_Drawn], by: Sequence[int]) -> tuple[NDArray[np.int64], dict[int, Array]] | None:
    """Return which distribution the weighted sum of each draw has, and these distributions; None if they are many."""
    if not tests:
        return None
    kinds = np.stack([test.kinds for test in tests], axis=1)
    rows, which = np.unique(kinds, axis=0, return_inverse=True)
    reach = sum(weight * len(next(iter(test.chances.values()))) // 2 for test, weight in zip(tests, by, strict=True))
    if len(rows) > 1 and (len(rows) > _COMBINATIONS or reach > _REACH):
        return None
    chances = {}
    for place, row in enumerate(rows.tolist()):
        whole = np.ones(1)
        for test, kind, weight in zip(tests, row, by, strict=True):
            whole = convolved(whole, test.chances[kind], weight)
        chances[place] = whole
    return which.reshape(-1).astype(np.int64), chances


def studies_needed(designs: Sequence[Design], ratio: float, alpha: float = 0.05, wanted: float = 0.8) -> int | None:
    """Return the number of additional studies of both submissions, on each workload, for the required power.

    Uses Noether's approximation, and at least as many as the test needs for significance; None if it is out of reach.

    Args:
        designs: One design per workload.
        ratio: The faster submission's times divided by the other's.
        alpha: Significance level.
        wanted: Required power, in (0, 1).
    """
    leads = [_lead(design, ratio) for design in designs]

    def enough(studies: int) -> bool:
        more = [design.more(studies) for design in designs]
        if 2 * math.prod(design.smallest / 2 for design in more) > alpha:
            return False
        expected = alike = unlike = 0.0
        for design, lead, weight in zip(more, leads, _weights(more), strict=True):
            moments = _moments(design, lead)
            expected += weight * moments[0]
            alike, unlike = alike + weight**2 * moments[1], unlike + weight**2 * moments[2]
        margin = expected - _quantile(1 - alpha / 2) * math.sqrt(alike)
        return expected > 0 and margin >= _quantile(wanted) * math.sqrt(max(unlike, 0.0))  # rounded

    if not enough(_MOST):
        return None
    low, high = 0, _MOST
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def evidence_per_study(design: Design, ratio: float) -> float:
    """Return the square of the standard score that one more study of both adds to a large test, in the long run."""
    expected, variance, _ = _moments(design.more(_MOST), _lead(design, ratio))
    return expected**2 / variance / (_MOST + design.first)


@dataclass(frozen=True)
class _Lead:
    """Comparison (+1, 0 or -1) of a run, or the mean of two pairs, of the faster submission with one of the other."""

    mean: float
    one: float
    """Mean for one pair; equal to ``mean`` without pairs."""
    variance: float
    by_run: tuple[float, float]
    """Variance of the mean given a run of the faster or of the slower submission; with pairs, twice given one pair."""


def _lead(design: Design, ratio: float) -> _Lead:
    from scipy.special import ndtr, ndtri  # type: ignore[import-untyped]

    shift = -math.log(ratio) / design.spread
    middles = ndtri((np.arange(400) + 0.5) / 400)  # of 400 equal shares of a normal distribution
    if design.paired:  # of two pairs that reached their targets
        shift /= math.sqrt(2 * (1 - design.together))
        mean = float(2 * ndtr(math.sqrt(2) * shift) - 1)
        by_pair = float((2 * ndtr(2 * shift + middles) - 1).var())
        return _Lead(mean, float(2 * ndtr(shift) - 1), 1 - mean**2, (by_pair, by_pair))
    reached = 1 - design.missed
    ahead = reached * (2 * ndtr(shift + middles) - 1)  # of the slower submission's run at each place, less behind
    mean = float(reached * ahead.mean())
    # Given a run of one submission at each place, or a miss, averaged over the runs of the other.
    variances = [
        float(reached * ((side * ahead + design.missed) ** 2).mean() + design.missed * reached**2 - mean**2)
        for side in (1, -1)
    ]
    return _Lead(mean, mean, 1 - design.missed**2 - mean**2, (variances[0], variances[1]))


def _moments(design: Design, lead: _Lead) -> tuple[float, float, float]:
    """Return the expected statistic, and its variance if both submissions were equal, and under the model."""
    if design.paired:
        both, some = (design.first * share for share in ((1 - design.missed) ** 2, 1 - design.missed**2))
        alike, alone = (4 * pairs * (pairs + 1) * (2 * pairs + 1) / 6 for pairs in (some, both))
        unlike = 2 * both**2 * (2 * both * lead.by_run[0] + lead.variance)
        expected = both * (both - 1) * lead.mean + 2 * both * lead.one
        return expected, alike, alike - alone + unlike
    product = design.first * design.second
    alike = product * (design.first + design.second + 1) / 3 * (1 - design.missed**3)
    runs = (design.second - 1) * lead.by_run[0] + (design.first - 1) * lead.by_run[1]
    return product * lead.mean, alike, product * (lead.variance + runs)


def _weights(designs: Sequence[Design]) -> list[int]:
    return weights([Sample(np.empty(each.first), np.empty(each.second), 1.0, each.paired) for each in designs])


def _quantile(probability: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)
