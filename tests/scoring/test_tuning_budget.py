"""Scores against the tuning budget: by enumeration, on the official logs, and what is said beside the numbers."""

import math
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scoring_cases import extract, runs_of, suite, trial

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring import Runs, get_benchmark, score_runs
from algoperf_lightning.scoring.tuning_budget import tuning_budget

inf = math.inf
PAGE = Path(__file__).parents[2] / "docs" / "tuning_budget.md"


def made_up(rng, *, submissions="xyz", workloads="ab", studies=3, trials=3, missed=0.3):
    """Runs with times between 100 and 300, some missed."""
    runs = Runs()
    for submission in submissions:
        for workload in workloads:
            for study in range(studies):
                for number in range(trials):
                    seconds = inf if rng.random() < missed else rng.uniform(100, 300)
                    runs.trials.append(trial(submission, workload, seconds, study=str(study), number=str(number)))
    return runs


def score_by_hand(times, limit=4.0, points=100):
    """The official discrete score of one submission against all, in closed form, without held-out workloads."""
    best = np.nanmin(times, axis=0)
    with np.errstate(invalid="ignore"):
        ratios = np.where(np.isfinite(times) & (times <= limit * best), times / best, inf)
    k = np.where(np.isfinite(ratios), np.ceil((points - 1) / 3 * (ratios - 1) - 1e-9), inf)
    shares = np.where(k == 0, 1.0, np.where(k <= points - 1, (points - 0.5 - k) / (points - 1), 0.0))
    return shares.mean(axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_at_the_trials_of_a_study_it_is_the_enumeration_of_all_sets(seed):
    runs = made_up(np.random.default_rng(seed))
    board = score_runs(runs, suite(studies=3, trials=3))
    found = tuning_budget(board, draws=0)
    assert found.sizes.tolist() == list(range(1, 10))
    for k in (1, 3, 9):
        times = np.empty((3, 2))
        for row in range(3):
            for column in range(2):
                pool = board.table.times[row, column].ravel()
                best = sorted(min(chosen) for chosen in combinations(pool, k))
                low, high = best[(len(best) - 1) // 2], best[len(best) // 2]
                times[row, column] = low if low == high else (low + high) / 2
                share = np.isfinite(best).mean()
                assert found.shares.value[k - 1, row, column] == pytest.approx(share)
        np.testing.assert_allclose(found.times.value[k - 1], times)
        np.testing.assert_allclose(found.scores.value[k - 1], score_by_hand(times), atol=1e-9)


@pytest.fixture(scope="module")
def official():
    benchmark = get_benchmark("0.5", "external")
    board = score_runs(extract(benchmark), benchmark)
    return board, tuning_budget(board, draws=200)


def test_the_ranking_of_the_first_competition_depends_on_the_budget(official):
    board, found = official
    ranking = {
        int(found.sizes[place]): [board.submissions[row] for row in np.argsort(-found.scores.value[place])[:3]]
        for place in found.columns()
    }
    assert list(ranking) == [1, 2, 5, 10, 25]
    assert ranking[1][:2] == ["schedule_free_adamw", "baseline"]
    assert ranking[5] == ["shampoo_submission", "schedule_free_adamw", "generalized_adam"]  # as published
    assert ranking[25][:2] == ["shampoo_submission", "schedule_free_adamw"]


def test_the_table_of_the_documentation_is_this_one(official):
    board, found = official
    rows = re.findall(r"^\| `(\w+)` \| (\d+, .*) \|$", PAGE.read_text(), re.MULTILINE)
    assert [name for name, _ in rows] == [board.submissions[row] for row in board.order]
    for name, cells in rows:
        row = board.submissions.index(name)
        shown = [f"{found.ranks[place, row]}, {found.scores.value[place, row]:.4f}" for place in found.columns()]
        assert cells.split(" | ") == shown


def test_more_trials_are_never_slower_and_one_is_the_median_trial(official):
    board, found = official
    times = found.times.value
    present = found.trials > 0
    assert (np.where(present, times[1:], 0) <= np.where(present, times[:-1], 0)).all()
    assert (np.diff(np.where(present, found.shares.value, 0), axis=0) >= -1e-12).all()
    pooled = board.table.times.reshape(*board.times.shape, -1)
    row, column = board.submissions.index("baseline"), 1
    assert times[0, row, column] == np.median(pooled[row, column])
    assert times[-1, row, column] == pooled[row, column].min()


def test_draws_agree_with_sets_that_are_drawn(official):
    board, found = official
    row, column = board.submissions.index("shampoo_submission"), 2  # imagenet_resnet: 8 of 25 reach the target
    pool = board.table.times[row, column].ravel()
    rng = np.random.default_rng(0)
    best = np.array([rng.choice(pool, 5, replace=False).min() for _ in range(4000)])
    assert found.shares.value[4, row, column] == pytest.approx(np.isfinite(best).mean(), abs=0.025)


def test_bands_are_given_where_there_are_five_times_as_many_trials(official):
    board, found = official
    row = board.submissions.index("baseline")
    assert np.isfinite(found.scores.low[:5, row]).all()
    assert np.isnan(found.scores.low[5:, row]).all()
    inside = (found.scores.low[:5, row] <= found.scores.high[:5, row]).all()
    assert inside
    assert (found.times.low <= found.times.value).all(where=found.trials > 0)
    assert (found.times.high >= found.times.value).all(where=found.trials > 0)


def test_cells_with_fewer_trials_are_named(official):
    _, found = official
    assert any("amos on criteo1tb (5)" in note for note in found.notes)


def test_crossings_are_where_the_order_turns():
    # x is always at 200; y is faster, but only in one trial of five.
    runs = runs_of({"x": {"a": [200.0] * 5}, "y": {"a": [100.0, inf, inf, inf, inf]}})
    found = tuning_budget(score_runs(runs, suite(base=("a",), studies=5)), draws=100)
    (crossing,) = [each for each in found.crossings if each.workload == "a"]
    assert (crossing.behind, crossing.ahead, crossing.size) == ("x", "y", 3)  # C(4, 2) / C(5, 3) = 6 / 10
    overall = [each for each in found.crossings if each.workload is None]
    assert [(each.behind, each.ahead, each.size) for each in overall] == [("x", "y", 3)]


def test_one_trial_and_workloads_that_nobody_reached_are_said():
    one = tuning_budget(score_runs(runs_of({"x": {"a": 100.0, "b": inf}}), suite()), draws=50)
    assert one.sizes.tolist() == [1]
    assert any("one trial" in note for note in one.notes)
    assert any("target on b" in note for note in one.notes)
    assert np.isnan(one.scores.low).all()
    assert (one.times.low[0, 0, 0], one.times.high[0, 0, 0]) == (0, inf)


def test_numbers_out_of_range_are_named():
    board = score_runs(runs_of({"x": {"a": 100.0}}), suite(base=("a",)))
    with pytest.raises(BadInputError, match="draws >= 0"):
        tuning_budget(board, draws=-1)


@pytest.mark.slow
def test_bands_hold_the_score_of_many_trials_as_often_as_they_say():
    """For submissions that differ; a score at its upper end, that of one always fastest, has no room for a band."""

    def of(rng, studies):
        runs = made_up(rng, workloads="abcdefgh", studies=studies, trials=5)
        slower = {"x": 1.0, "y": 1.5, "z": 2.0}
        runs.trials = [replace(each, seconds=each.seconds * slower[each.submission]) for each in runs.trials]
        return score_runs(runs, suite(base="abcdefgh"))

    true = tuning_budget(of(np.random.default_rng(1), 400), draws=0)
    held = np.zeros((2, 3))
    for seed in range(80):
        found = tuning_budget(of(np.random.default_rng(100 + seed), 5), draws=200)
        for row, k in enumerate((1, 5)):
            value = true.scores.value[int(np.abs(true.sizes - k).argmin())]
            held[row] += (found.scores.low[k - 1] <= value) & (value <= found.scores.high[k - 1])
    assert (held[:, 1:] / 80 >= 0.8).all()
