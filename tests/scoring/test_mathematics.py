"""The mathematics of the score, by cases computed by hand."""

import math

import numpy as np
import pytest

from algoperf_lightning.scoring import mathematics as m

inf, nan = math.inf, math.nan
TAUS = np.linspace(1.0, 4.0, 100)


def same(actual, expected):
    np.testing.assert_array_equal(actual, np.array(expected, dtype=float))


@pytest.mark.parametrize(
    ("values", "direction", "index"),
    [
        pytest.param([0.1, 0.9, 0.95], "max", 1, id="equality-is-enough"),
        pytest.param([0.95, 0.1], "max", 0, id="a-relapse-does-not-matter"),
        pytest.param([nan, 0.91], "max", 1, id="nan-is-passed-over"),
        pytest.param([nan, nan], "min", None, id="nan-never-meets"),
        pytest.param([inf, 0.91], "max", 1, id="infinity-is-passed-over"),
        pytest.param([1.0, 0.9], "min", 1, id="smaller-is-better"),
        pytest.param([1.0, 0.9000001], "min", None, id="missed"),
        pytest.param([inf], "max", None, id="infinite"),
        pytest.param([], "max", None, id="no-evaluations"),
    ],
)
def test_first_success(values, direction, index):
    assert m.first_success(np.array(values), 0.9, direction) == index


def test_time_to_target():
    values, seconds = np.array([0.1, 0.92, 0.3, 0.99]), np.array([10.0, 20.5, 30.0, 40.0])
    assert m.time_to_target(values, seconds, 0.9, "max") == (1.0, 20.5)
    assert m.time_to_target(values, seconds, 1.0, "max") == (inf, inf)


@pytest.mark.parametrize(
    ("indices", "times", "published", "rules"),
    [
        pytest.param([3, 4], [90, 80], 90, 80, id="an-earlier-evaluation-may-be-later"),
        pytest.param([3, 3, 4], [90, 85, 80], 85, 80, id="a-tie-goes-to-the-faster"),
        pytest.param([inf, 7], [inf, 70], 70, 70, id="one-reaches"),
        pytest.param([inf, inf], [inf, inf], inf, inf, id="none-reaches"),
        pytest.param([nan, 5], [nan, 50], 50, 50, id="one-is-absent"),
        pytest.param([nan, inf], [nan, inf], inf, inf, id="absent-and-missed"),
        pytest.param([nan, nan], [nan, nan], nan, nan, id="no-trials"),
    ],
)
def test_best_of_study(indices, times, published, rules):
    arrays = np.array(indices, dtype=float), np.array(times, dtype=float)
    same(m.best_of_study(*arrays), published)
    same(m.best_of_study(*arrays, "rules"), rules)


@pytest.mark.parametrize(
    ("times", "median"),
    [
        ([5, 1, 3], 3),
        ([5, 1, 3, inf, inf], 5),
        ([1, 2, inf, inf, inf], inf),
        ([1, inf], inf),
        ([1, 4], 2.5),
        ([1, 2, 4, inf], 3),
        ([nan, 4, nan, 2, 9], 4),
        ([nan, nan], nan),
        ([nan, inf], inf),
        ([inf, inf], inf),
        ([7], 7),
        ([1.5e308, 1.5e308], 1.5e308),
    ],
)
def test_median_over_studies(times, median):
    same(m.median_over_studies(np.array(times, dtype=float)), median)


def test_median_works_along_the_last_axis():
    times = np.array([[[1.0, 2.0, 3.0], [inf, inf, 1.0]], [[nan, nan, nan], [nan, 6.0, 8.0]]])
    same(m.median_over_studies(times), [[2, inf], [nan, 7]])


def test_exactly_four_times_the_fastest_is_kept():
    same(m.drop_slow(np.array([[10.0], [40.0], [40.001], [nan], [inf]])), [[10], [40], [inf], [nan], [inf]])


def test_nobody_reached_a_target():
    times = np.array([[inf, nan], [inf, nan]])
    same(m.drop_slow(times), times)
    same(m.time_ratios(times), times)
    same(m.benchmark_score(m.time_ratios(times), TAUS), [0, 0])


def disqualified(base, held_out):
    """One base workload and its held-out one, a submission a row."""
    counted = m.disqualify(
        np.array(base, dtype=float)[:, None], np.array(held_out, dtype=float)[:, None], np.array([0])
    )
    return counted[:, 0].tolist()


def test_step_1_a_held_out_time_counts_only_with_the_base():
    # The third is fastest on the held-out workload, but missed the base: the 4x rule there starts from 50.
    assert disqualified([10, 20, inf], [50, 200, 1]) == [10, 20, inf]
    assert disqualified([10, 20, 30], [50, 200, 1]) == [inf, inf, 30]


def test_step_2_applies_to_both_kinds_of_workload():
    assert disqualified([10, 41, 40], [50, 50, 50]) == [10, inf, 40]
    assert disqualified([10, 10], [50, 201]) == [10, inf]


def test_a_base_time_over_4x_still_opens_the_gate_of_its_held_out_workload():
    # Step 1 looks at base times before the 4x rule: 41 is finite, so 1 is the fastest held-out time.
    assert disqualified([10, 41], [50, 1]) == [inf, inf]


def test_step_3_a_held_out_workload_without_log_loses_the_base():
    assert disqualified([10, 20], [nan, 50]) == [inf, 20]
    assert disqualified([10, 20], [inf, 50]) == [inf, 20]


def test_a_submission_lost_by_its_held_out_workload_still_sets_the_4x_but_not_the_ratio():
    counted = disqualified([10, 35, 41], [inf, 50, 50])
    assert counted == [inf, 35, inf]
    same(m.time_ratios(np.array(counted)[:, None])[:, 0], [inf, 1, inf])


def test_two_held_out_workloads_of_one_base():
    base, held_out = np.array([[10.0], [10.0]]), np.array([[5.0, 5.0], [5.0, inf]])
    same(m.disqualify(base, held_out, np.array([0, 0])), [[10], [inf]])


def test_without_held_out_workloads_only_the_4x_rule_is_left():
    base, none = np.array([[10.0, 1.0], [41.0, nan]]), np.empty((2, 0))
    same(m.disqualify(base, none, np.array([], dtype=np.intp)), [[10, 1], [inf, nan]])


def test_inputs_are_not_changed():
    base, held_out = np.array([[10.0], [50.0]]), np.array([[inf], [5.0]])
    m.time_ratios(m.disqualify(base, held_out, np.array([0])))
    same(base, [[10], [50]])
    same(held_out, [[inf], [5]])


def test_profile_counts_ratios_up_to_tau():
    ratios = np.array([[1.0, 2.0, inf, nan]])
    same(m.performance_profile(ratios, np.array([1.0, 1.99, 2.0, 4.0])), [[0.25, 0.25, 0.5, 0.5]])


def test_profile_refuses_factors_below_one():
    with pytest.raises(ValueError, match=r"at least 1, but got 0\.5"):
        m.performance_profile(np.ones((1, 1)), np.array([0.5]))


@pytest.mark.parametrize(
    ("ratio", "score"),
    [
        (1.0, 1.0),
        (1.0 + 1e-12, 98.5 / 99),
        (1.01, 98.5 / 99),
        (1.0 + 1.5 / 33, 97.5 / 99),
        (4.0, 0.5 / 99),
        (4.0 + 1e-9, 0.0),
        (inf, 0.0),
        (nan, 0.0),
    ],
)
def test_score_of_one_workload_is_the_closed_form(ratio, score):
    assert m.benchmark_score(np.array([[ratio]]), TAUS)[0] == pytest.approx(score, abs=1e-12)


def test_score_is_the_trapezoidal_integral_of_the_profile():
    ratios = 1 + 4 * np.random.default_rng(0).random((50, 8))
    ratios[ratios > 4] = inf
    integral = np.trapezoid(m.performance_profile(ratios, TAUS), TAUS, axis=-1) / 3
    np.testing.assert_allclose(m.benchmark_score(ratios, TAUS), integral, atol=1e-14)


def test_relative_times_cap_a_missed_target_just_above_the_budget():
    times = np.array([[50.0, inf, inf, nan], [100.0, 100.0, inf, 100.0]])
    budgets = np.array([199.0, 199.0, 199.0, 199.0])
    same(m.relative_times(times, times[1], budgets), [[0.5, 2, 1, nan], [1, 1, 1, 1]])


def test_geometric_mean():
    same(m.geometric_mean(np.array([[0.5, 2.0], [nan, 1.0]])), [1, nan])
    assert m.geometric_mean(np.array([0.25, 1.0])) == pytest.approx(0.5)


def test_ranks_ignore_rounding():
    assert m.ranks(np.array([0.3, 0.1 + 0.2, 0.4, 0.0])).tolist() == [2, 2, 1, 4]
