"""Exact tests with missed targets, against scipy's and the enumeration of all permutations."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from algoperf_lightning.scoring.rank_tests import Sample, faster_than, holm, rank_test, signed_ranks, stratified_test

inf = math.inf


def two(first, second, limit=1000.0, paired=False):
    return Sample(np.array(first, dtype=float), np.array(second, dtype=float), limit, paired)


@pytest.mark.parametrize("sizes", [(3, 3), (5, 5), (4, 7), (20, 15)])
def test_two_groups_without_ties_are_mann_whitneys(sizes):
    rng = np.random.default_rng(sum(sizes))
    first, second = (rng.lognormal(3, 0.5, size) for size in sizes)
    ours = rank_test(two(first, second))
    theirs = stats.mannwhitneyu(first, second, method="exact")
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert (math.prod(sizes) - ours.statistic) / 2 == theirs.statistic


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param([5, 6, 7, 8], [6, 7, inf, inf], id="ties and misses"),
        pytest.param([5, 5, 5], [9, inf, inf, inf], id="all ahead"),
        pytest.param([inf, inf, 5, 6], [inf, inf, 7, 8], id="misses on both sides"),
    ],
)
def test_ties_and_misses_are_those_of_all_permutations(first, second):
    capped = [np.minimum(each, 1000.0) for each in (first, second)]

    def statistic(x, y, axis=-1):
        return np.sign(y[..., None, :] - x[..., :, None]).sum(axis=(-2, -1))

    ours = rank_test(two(first, second))
    theirs = stats.permutation_test(capped, statistic, n_resamples=np.inf, vectorized=True)
    assert ours.statistic == theirs.statistic
    assert ours.p_value == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize("count", [3, 6, 12])
def test_pairs_are_wilcoxons(count):
    rng = np.random.default_rng(count)
    first, second = (rng.lognormal(3, 0.5, count) for _ in range(2))
    ours = rank_test(two(first, second, paired=True))
    theirs = stats.wilcoxon(np.log(second) - np.log(first), method="exact")
    assert ours.p_value == pytest.approx(theirs.pvalue)


def test_pairs_with_misses_are_those_of_all_signs():
    sample = two([10, inf, 30, inf, 50], [20, 40, inf, inf, 40], limit=100, paired=True)
    scores = signed_ranks(np.log([20, 40, 100, 100, 40]) - np.log([10, 100, 30, 100, 50]))
    assert scores[3] == 0  # both missed
    sums = np.array([np.dot(np.abs(scores), signs) for signs in product([-1, 1], repeat=5)])
    found = rank_test(sample)
    assert found.statistic == scores.sum()
    assert found.slower == pytest.approx((sums <= scores.sum()).mean())
    assert found.faster == pytest.approx((sums >= scores.sum()).mean())
    assert found.chances.sum() == pytest.approx(1)


def test_over_workloads_all_permutations_are_counted():
    strata = [two([1, 2, 5], [3, 4, inf]), two([2, 6], [3, 5]), two([1, 7, 8], [2, 9, 10], paired=True)]
    found = stratified_test(strata)
    alone = [rank_test(each) for each in strata]
    weights = [2, 3, 2]  # about 1 over the number of runs
    places = [np.flatnonzero(each.chances) for each in alone]
    tail = 0.0
    for chosen in product(*places):
        total = sum(w * (at - len(one.chances) // 2) for w, at, one in zip(weights, chosen, alone, strict=True))
        if total >= found.statistic:
            tail += math.prod(one.chances[at] for at, one in zip(chosen, alone, strict=True))
    assert found.statistic == sum(w * one.statistic for w, one in zip(weights, alone, strict=True))
    assert found.faster == pytest.approx(tail)


def test_many_runs_are_near_the_exact_distribution():
    rng = np.random.default_rng(1)
    first, second = rng.lognormal(3, 0.5, 40), rng.lognormal(3.2, 0.5, 45)
    assert rank_test(two(first, second)).p_value == pytest.approx(stats.mannwhitneyu(first, second).pvalue, rel=0.05)


def test_asked_about_a_ratio_both_are_cut_off_at_the_lower_limit():
    first, second = two([50, inf], [90, 60], limit=100).at(2.0)
    np.testing.assert_array_equal(first, [25, 50])
    np.testing.assert_array_equal(second, [50, 50])


def test_nobody_reached_is_no_evidence():
    found = rank_test(two([inf] * 3, [inf] * 3))
    assert (found.statistic, found.p_value) == (0, 1.0)


def test_scores_add_up_to_nothing():
    times = np.random.default_rng(2).integers(1, 6, 20).astype(float)
    assert faster_than(times).sum() == 0


def test_corrections_of_holm_and_hochberg():
    p_values = np.array([0.011, 0.02, 0.03, 0.04, 0.6])
    np.testing.assert_allclose(holm(p_values), [0.055, 0.08, 0.09, 0.09, 0.6])
    np.testing.assert_allclose(holm(p_values, independent=True), [0.055, 0.08, 0.08, 0.08, 0.6])
