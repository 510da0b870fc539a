"""Bootstrap and leave-one-out."""

import csv
import math

import numpy as np
import pytest
from rich.console import Console
from scoring_cases import runs_of, suite, trial

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.report.scores import leaderboard
from algoperf_lightning.scoring import Runs, score_runs
from algoperf_lightning.scoring.outputs import score_table, write_tables
from algoperf_lightning.scoring.uncertainty import (
    bootstrap,
    leave_one_submission_out,
    leave_one_workload_out,
    without_held_out,
)

inf = math.inf


def test_without_spread_the_interval_is_a_point():
    board = score_runs(runs_of({"x": {"a": [10.0] * 3}, "y": {"a": [20.0] * 3}}), suite(base=("a",), studies=3))
    for part in (bootstrap(board, 50).studies, bootstrap(board, 50).trials):
        np.testing.assert_array_equal(part.score_low, board.scores)
        np.testing.assert_array_equal(part.score_high, board.scores)
        assert part.rank_low.tolist() == part.rank_high.tolist() == [1, 2]
        assert part.first.tolist() == [1, 0]


def test_the_share_of_draws_is_the_exact_probability():
    """One of three studies reaches the target: the median does where it is drawn twice or thrice, in 7 of 27."""
    board = score_runs(runs_of({"x": {"a": [10.0, inf, inf]}}), suite(base=("a",), studies=3))
    for level, low, high in ((0.4, 0, 0), (0.95, 0, 1)):
        part = bootstrap(board, 4000, level=level).studies
        assert (part.score_low[0], part.score_high[0]) == (low, high)
    rival = score_runs(runs_of({"x": {"a": [10.0, inf, inf]}, "y": {"a": [20.0] * 3}}), suite(base=("a",), studies=3))
    assert bootstrap(rival, 4000).studies.first == pytest.approx([7 / 27, 20 / 27], abs=0.03)


def test_trials_are_drawn_within_their_study():
    """One of two trials reaches the target: a draw of two holds it in 3 of 4."""
    runs = Runs([trial("x", number="1", seconds=10.0), trial("x", number="2", seconds=inf)])
    runs.extend(Runs([trial("y", number=str(k), seconds=20.0) for k in (1, 2)]))
    found = bootstrap(score_runs(runs, suite(base=("a",), trials=2)), 4000)
    assert found.studies.first.tolist() == [1, 0]
    assert found.trials.first == pytest.approx([3 / 4, 1 / 4], abs=0.03)


def test_absent_studies_and_trials_are_never_drawn():
    runs = runs_of({"x": {"a": [10.0, 10.0, 10.0], "b": 10.0}, "y": {"a": [20.0]}})
    found = bootstrap(score_runs(runs, suite(studies=3)), 200)
    for part in (found.studies, found.trials):
        np.testing.assert_array_equal(part.score_low, part.score_high)


def shown(board, capsys, found=None):
    Console(width=200).print(*score_table(board, found or bootstrap(board, 10)))
    return capsys.readouterr().out


def test_of_one_study_no_interval_is_known_and_that_is_said(tmp_path, capsys):
    board = score_runs(runs_of({"x": {"a": 10.0, "b": 3.0}}), suite())
    found = bootstrap(board, 10)
    printed = shown(board, capsys, found)
    assert "With one study of each submission on each workload no interval can be given" in printed
    assert "unknown" in printed
    assert "1.000–1.000" not in printed
    write_tables(board, found, tmp_path)
    with (tmp_path / "scores.csv").open() as file:
        (row,) = csv.DictReader(file)
    unknown = ("score_low", "score_high", "rank_low", "rank_high", "score_low_with_trials", "score_high_with_trials")
    assert {row[name] for name in unknown} == {"NaN"}
    (fields,) = leaderboard(board, found).tables[0].rows
    assert [field.text for field in fields[3:7]] == ["unknown", "–", "–", "unknown"]


def test_an_interval_is_known_of_those_with_several_studies(capsys):
    """The other one's would only be the spread of its rival."""
    board = score_runs(runs_of({"x": {"a": 10.0}, "y": {"a": [20.0, 12.0, 15.0]}}), suite(base=("a",), studies=3))
    found = bootstrap(board, 50)
    assert found.studies.known.tolist() == found.trials.known.tolist() == [False, True]
    printed = shown(board, capsys, found)
    assert "No interval for x, with only one study of each workload." in printed
    assert printed.count("unknown") == 1


def test_an_interval_over_some_single_studies_is_too_narrow_and_that_is_said(capsys):
    board = score_runs(runs_of({"x": {"a": [10.0, 11.0], "b": 3.0}}), suite(studies=2))
    assert "Intervals are too narrow for x, with only one study of some workloads." in shown(board, capsys)


def test_of_one_study_of_several_trials_the_trials_are_drawn():
    runs = Runs([trial("x", number=str(k), seconds=10.0 * k) for k in (1, 2)])
    found = bootstrap(score_runs(runs, suite(base=("a",), trials=2)), 50)
    assert (found.studies.known.tolist(), found.trials.known.tolist()) == ([False], [True])


def test_the_seed_decides():
    runs = runs_of({"x": {"a": [10.0, 15.0, 30.0]}, "y": {"a": [12.0, 20.0, 25.0]}})
    board = score_runs(runs, suite(base=("a",), studies=3))
    one, two, three = (bootstrap(board, 100, seed).studies for seed in (1, 1, 2))
    assert one.first.tolist() == two.first.tolist()
    assert one.first.tolist() != three.first.tolist()


@pytest.mark.parametrize(("draws", "seed", "level"), [(0, 0, 0.95), (10, 0, 1.0), (10, 0, 0.0), (10, -1, 0.95)])
def test_refused(draws, seed, level):
    board = score_runs(runs_of({"x": {"a": 10.0}}), suite())
    with pytest.raises(BadInputError, match="Expected draws >= 1, seed >= 0"):
        bootstrap(board, draws, seed, level)


def test_leave_one_out():
    benchmark = suite(base=("a", "b"), held_out=(("a2", "a"),))
    board = score_runs(
        runs_of({"x": {"a": 10.0, "b": 50.0, "a2": inf}, "y": {"a": 25.0, "b": 20.0, "a2": 5.0}}), benchmark
    )
    weight = (99.5 - 50) / 99  # of the ratio 2.5
    assert board.scores == pytest.approx([weight / 2, 1.0])
    assert leave_one_workload_out(board)["a"] == pytest.approx([weight, 1.0])
    assert leave_one_workload_out(board)["b"] == pytest.approx([0.0, 1.0])
    assert leave_one_submission_out(board)["y"] == pytest.approx([0.5, math.nan], nan_ok=True)
    assert without_held_out(board) == pytest.approx([(1 + weight) / 2, (1 + weight) / 2])


def test_nothing_to_leave_out():
    board = score_runs(runs_of({"x": {"a": 10.0}}), suite(base=("a",)))
    assert leave_one_workload_out(board) == {}
    assert leave_one_submission_out(board) == {}
