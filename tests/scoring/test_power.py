"""The stated power is how often differences are seen, and the studies asked for give what they promise."""

import math

import numpy as np
import pytest

from algoperf_lightning.scoring.power import Design, evidence_per_study, observed_design, power, studies_needed
from algoperf_lightning.scoring.rank_tests import Sample, stratified_test

LIMIT = 20.0
"""Far above every time that is drawn."""


def draw(design, ratio, rng):
    """A sample of a design, times around 1, with the difference and the misses that it says."""
    common = rng.standard_normal(design.first) * math.sqrt(design.together) if design.paired else 0.0
    own = math.sqrt(1 - design.together) if design.paired else 1.0
    times = []
    for count, shift in ((design.first, 0.5), (design.second, -0.5)):
        logs = (common + own * rng.standard_normal(count)) * design.spread + shift * math.log(ratio)
        times.append(np.where(rng.random(count) < design.missed, math.inf, np.exp(logs)))
    return Sample(*times, LIMIT, design.paired)


def seen(designs, ratio, rounds, seed=1):
    """The share of simulated experiments whose test says that there is a difference."""
    rng = np.random.default_rng(seed)
    hits = [stratified_test([draw(each, ratio, rng) for each in designs]).p_value <= 0.05 for _ in range(rounds)]
    return np.mean(hits)


DESIGNS = [
    pytest.param([Design(8, 8, False, 0.1)], id="one workload"),
    pytest.param([Design(3, 3, False, 0.15)] * 9, id="three studies of nine workloads"),
    pytest.param([Design(5, 5, False, 0.15, missed=0.3)] * 8, id="misses"),
    pytest.param([Design(5, 5, True, 0.2, together=0.6)] * 8, id="pairs"),
    pytest.param([Design(6, 6, True, 0.15, 0.25, 0.5, math.log(LIMIT) / 0.15)] * 5, id="pairs and misses"),
    pytest.param([Design(3, 7, False, 0.1), Design(12, 12, False, 0.3), Design(8, 5, False, 0.1, 0.2)], id="mixed"),
]


@pytest.mark.parametrize("designs", DESIGNS)
def test_stated_power_is_how_often_a_known_difference_is_seen(designs):
    stated = power(designs, 0.9, draws=2000)[1]
    assert stated == pytest.approx(seen(designs, 0.9, 400), abs=0.07)


@pytest.mark.parametrize("missed", [0.1, 0.3])
def test_of_one_workload_the_power_over_all_is_that_of_the_workload(missed):
    alone, together = power([Design(4, 4, False, 0.12, missed)], 0.9)
    assert together == alone[0]


def test_with_few_runs_and_misses_the_power_over_workloads_is_exact():
    designs = [Design(3, 3, False, 0.12, missed=0.2), Design(4, 4, False, 0.2, missed=0.2)]
    assert power(designs, 0.8, draws=3000)[1] == pytest.approx(seen(designs, 0.8, 1500), abs=0.035)


@pytest.mark.slow
@pytest.mark.parametrize("designs", DESIGNS)
def test_stated_power_and_error_rate_at_length(designs):
    stated = power(designs, 0.9, draws=10_000)[1]
    assert stated == pytest.approx(seen(designs, 0.9, 1500), abs=0.04)
    assert seen(designs, 1.0, 1500, seed=2) <= 0.067  # of no difference: 0.05 and three standard errors


@pytest.mark.slow
@pytest.mark.parametrize("designs", DESIGNS)
def test_the_studies_asked_for_give_the_power_they_promise(designs):
    more = studies_needed(designs, 0.92, wanted=0.8)
    planned = [design.more(more) for design in designs]
    assert 0.74 <= seen(planned, 0.92, 500) <= (0.93 if more else 1.0)


@pytest.mark.parametrize(("paired", "least"), [(False, 4), (True, 6)])
def test_never_so_few_studies_that_nothing_can_be_seen(paired, least):
    tight = Design(1, 1, paired, spread=0.001)
    assert power([tight], 0.9)[1] == 0
    assert 1 + studies_needed([tight], 0.9) == least
    assert power([tight.more(least - 1)], 0.9)[1] > 0.99


def test_a_workload_that_everybody_misses_needs_more_than_anybody_runs():
    assert studies_needed([Design(3, 3, False, 0.1, missed=1.0)], 0.9) is None


def test_evidence_grows_with_the_square_of_the_difference_over_the_spread():
    small, large = (evidence_per_study(Design(5, 5, False, spread), 0.99) for spread in (0.2, 0.1))
    assert large / small == pytest.approx(4, rel=0.01)
    pairs = evidence_per_study(Design(5, 5, True, 0.1, together=0.75), 0.99)
    assert pairs / large == pytest.approx(4, rel=0.02)  # differences of pairs vary half as much


def test_the_design_is_what_was_observed():
    rng = np.random.default_rng(0)
    many = draw(Design(4000, 4000, True, 0.2, 0.2, 0.5), 0.8, rng)
    found = observed_design(many, 0.0)
    assert found.spread == pytest.approx(0.2, rel=0.03)
    assert found.missed == pytest.approx(0.2, abs=0.02)
    assert found.together == pytest.approx(0.5, abs=0.04)


def test_equal_times_vary_at_least_by_the_distance_of_evaluations():
    same = Sample(np.full(3, 100.0), np.full(3, 120.0), 1000.0, False)
    assert observed_design(same, 0.12).spread == pytest.approx(0.12 / math.sqrt(12))


def test_without_two_that_reached_nothing_is_known():
    inf = math.inf
    assert observed_design(Sample(np.array([5.0, inf]), np.array([6.0, inf]), 10.0, False), 0.1) is None
