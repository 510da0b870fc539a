"""The best of k trials, against the enumeration of all sets of k and the intervals of scipy."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from algoperf_lightning.scoring.best_of import (
    median_best,
    median_interval,
    share_interval,
    share_reached,
    sizes,
    without_fastest,
)

inf, nan = math.inf, math.nan


@pytest.mark.parametrize("count", [1, 2, 5, 6, 8])
@pytest.mark.parametrize("missed", [0, 1, 3])
def test_all_sets_of_k_give_the_same_median_and_share(count, missed):
    rng = np.random.default_rng(count)
    times = np.where(np.arange(count) < count - missed, rng.permutation(count) + 1.0, inf)
    rng.shuffle(times)
    padded = np.append(times, [nan, nan])  # trials that were never made
    ks = range(1, count + 1)
    medians, shares = median_best(padded, ks), share_reached(padded, ks)
    for k in ks:
        best = sorted(min(chosen) for chosen in combinations(times, k))
        low, high = best[(len(best) - 1) // 2], best[len(best) // 2]
        assert medians[k - 1] == pytest.approx(low if low == high else (low + high) / 2)
        assert shares[k - 1] == pytest.approx(np.isfinite(best).mean())


def test_the_ith_fastest_is_the_best_of_k_as_often_as_the_formula_says():
    count, k = 25, 5
    chances = -np.diff(without_fastest(count, k))
    formula = [math.comb(count - i, k - 1) / math.comb(count, k) for i in range(1, count + 1)]
    np.testing.assert_allclose(chances, formula, atol=1e-14)


def test_leading_axes_and_missing_cells():
    times = np.array([[[3.0, 1.0, 2.0], [nan, nan, nan]], [[inf, inf, 4.0], [5.0, nan, nan]]])
    medians, shares = median_best(times, [1, 3]), share_reached(times, [1, 3])
    np.testing.assert_array_equal(medians, [[[2, 1], [nan, nan]], [[inf, 4], [5, 5]]])
    np.testing.assert_allclose(shares, [[[1, 1], [nan, nan]], [[1 / 3, 1], [1, 1]]])


def test_many_trials_are_looked_at_in_steps():
    ks = sizes(3000)
    assert ks[0] == 1
    assert ks[-1] == 3000
    assert len(ks) <= 50
    times = np.random.default_rng(0).lognormal(size=3000)
    assert (np.diff(median_best(times, ks)) <= 0).all()


@pytest.mark.parametrize("count", [6, 25, 40])
@pytest.mark.parametrize("k", [1, 3])
def test_intervals_are_those_of_scipy(count, k):
    rng = np.random.default_rng(count)
    times = np.where(rng.random(count) < 0.3, inf, rng.lognormal(size=count))
    low, high = median_interval(times, [k], 0.95)
    p = 1 - 0.5 ** (1 / k)
    reached = np.where(np.isinf(times), 1e9, times)  # scipy takes no infinite values
    theirs = stats.quantile_test(reached, q=0, p=p).confidence_interval(0.95)
    assert low[0] == (0 if np.isnan(theirs.low) else theirs.low)
    assert high[0] == (inf if np.isnan(theirs.high) or theirs.high == 1e9 else theirs.high)
    hits = int(np.isfinite(times).sum())
    ends = share_interval(times, [1], 0.95)
    binomial = stats.binomtest(hits, count).proportion_ci(0.95, method="exact")
    np.testing.assert_allclose([ends[0][0], ends[1][0]], [binomial.low, binomial.high])


@pytest.mark.parametrize(("count", "k"), [(5, 1), (25, 1), (25, 5), (25, 25)])
def test_intervals_hold_the_median_as_often_as_they_say(count, k):
    draws = np.random.default_rng(k).random((2000, count))  # of a uniform distribution, whose quantiles are known
    low, high = median_interval(draws, [k], 0.95)
    true = 1 - 0.5 ** (1 / k)
    assert ((low[:, 0] <= true) & (true <= high[:, 0])).mean() >= 0.94
