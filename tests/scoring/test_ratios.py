"""Ratios of times and their intervals: known answers, open ends, and how often they hold the truth."""

import math

import numpy as np
import pytest

from algoperf_lightning.scoring.rank_tests import Sample, stratified_test
from algoperf_lightning.scoring.ratios import ratio_of

inf = math.inf


def drawn(rng, ratio, counts=(5, 5), spread=0.3, limit=inf, paired=False):
    """Times of a known ratio; those over the limit are missed."""
    common = rng.normal(0, spread, counts[0]) if paired else 0.0
    first = ratio * np.exp(common + rng.normal(0, spread, counts[0])) * 100
    second = np.exp(common + rng.normal(0, spread, counts[1])) * 100
    cut = [np.where(each > limit, inf, each) for each in (first, second)]
    return Sample(*cut, limit=min(limit, 1e6), paired=paired)


@pytest.mark.parametrize("paired", [False, True])
def test_without_misses_the_estimate_is_that_of_hodges_and_lehmann(paired):
    sample = drawn(np.random.default_rng(3), 0.8, paired=paired)
    logs = np.log(sample.first), np.log(sample.second)
    if paired:
        apart = logs[0] - logs[1]
        walsh = [(apart[i] + apart[j]) / 2 for i in range(5) for j in range(i + 1)]
        expected = np.exp(np.median(walsh))
    else:
        expected = np.exp(np.median(logs[0][:, None] - logs[1]))
    assert ratio_of([sample]).value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("limit", [inf, 130.0])
@pytest.mark.parametrize("paired", [False, True])
def test_the_interval_is_what_the_test_does_not_refuse(limit, paired):
    rng = np.random.default_rng(7)
    samples = [drawn(rng, 0.7, limit=limit, paired=paired) for _ in range(3)]
    found = ratio_of(samples)
    grid = np.exp(np.linspace(-3, 3, 1501))
    tests = [stratified_test(samples, ratio) for ratio in grid]
    kept = grid[[min(test.slower, test.faster) > 0.025 for test in tests]]
    assert found.low == pytest.approx(kept[0], rel=0.005)
    assert found.high == pytest.approx(kept[-1], rel=0.005)


def test_exchanged_submissions_have_the_inverse_ratio():
    sample = drawn(np.random.default_rng(5), 0.7, limit=140.0)
    there = ratio_of([sample])
    back = ratio_of([Sample(sample.second, sample.first, sample.limit, False)])
    assert there.value == pytest.approx(1 / back.value)
    assert (there.low, there.high) == (pytest.approx(1 / back.high), pytest.approx(1 / back.low))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param([10, 11, 12, 13], [inf] * 4, (None, 0, 0.13), id="only the first reached"),
        pytest.param([inf] * 4, [10, 11, 12, 13], (None, 100 / 13, inf), id="only the second reached"),
        pytest.param([inf] * 4, [inf] * 4, (None, 0, inf), id="nobody reached"),
        pytest.param([10], [20], (0.5, 0, inf), id="one run of each"),
        pytest.param([10, inf, inf, inf], [inf, inf, inf, 90], (None, 0, inf), id="hardly anybody reached"),
    ],
)
def test_misses_leave_ends_open(first, second, expected):
    found = ratio_of([Sample(np.array(first, float), np.array(second, float), 100.0, False)])
    value, low, high = expected
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert math.isnan(found.value) if value is None else found.value == pytest.approx(value)


@pytest.mark.parametrize(("count", "level"), [(1, 0.0), (2, 2 / 3), (3, 0.9), (4, 0.95)])
def test_too_few_runs_say_which_level_they_can_give(count, level):
    sample = drawn(np.random.default_rng(count), 1.0, (count, count))
    assert ratio_of([sample]).level == pytest.approx(level)


@pytest.mark.slow
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("limit", [inf, 110.0], ids=["all reach", "a third misses"])
@pytest.mark.parametrize("workloads", [1, 6])
def test_intervals_hold_the_ratio_as_often_as_they_say(paired, limit, workloads):
    rng = np.random.default_rng(11)
    held = level = 0
    for _ in range(300):
        found = ratio_of([drawn(rng, 0.8, limit=limit, paired=paired) for _ in range(workloads)])
        held += found.low * (1 - 1e-9) <= 0.8 <= found.high * (1 + 1e-9)
        level = found.level
    assert held / 300 >= level - 0.04
    assert workloads == 1 or held / 300 < 1  # and no wider than they need be
