"""The section on the way to the targets: its charts, tables and files."""

import math

import numpy as np
import pytest
from scoring_cases import runs_of, suite

from algoperf_lightning.report.anytime import anytime
from algoperf_lightning.report.figures import draw
from algoperf_lightning.report.looks import styles
from algoperf_lightning.scoring import score_runs
from algoperf_lightning.scoring.runs import Runs
from algoperf_lightning.scoring.uncertainty import bootstrap


@pytest.fixture(scope="module")
def board():
    runs = runs_of({"x": {"a": 10.0, "b": 30.0}, "y": {"a": 40.0, "b": math.inf}, "z": {"a": math.inf, "b": 20.0}})
    for trial in runs.trials:
        values = trial.metrics["validation/accuracy"]
        values[:-1] = np.linspace(0.1, 0.8, len(values) - 1)
    return score_runs(runs, suite())


def section(board):
    return anytime(board, bootstrap(board, 2))


def test_it_ends_at_the_leaderboard(board):
    found = section(board)
    scores, leaders, flips = found.tables
    for row in board.order:
        (fields,) = [fields for fields in scores.rows if fields[0] == board.submissions[row]]
        assert fields[-1].value == board.scores[row]
    first = {fields[0]: fields[-1].text for fields in leaders.rows}
    assert first == {"a": "x", "b": "z"}
    assert [fields[0] for fields in flips.rows] == ["a", "b"]
    assert set(found.files) == {"anytime.csv", "anytime_scores.csv", "anytime_ranks.csv"}


def test_every_chart_can_be_drawn_and_every_picture_has_a_name_of_its_own(board):
    charts = section(board).charts
    for chart in charts:
        draw(chart, styles(board))
    pictures = [chart.picture for chart in charts if chart.picture]
    assert len(set(pictures)) == len(pictures) == 4


def test_one_submission_has_no_rank(board):
    alone = Runs([trial for trial in board.table.trials.values() if trial.submission == "x"])
    assert section(score_runs(alone, suite())) is None


def test_workloads_without_a_way_are_named():
    board = score_runs(runs_of({"x": {"a": 10.0}, "y": {"a": 12.0}}), suite(base=("a",)))
    found = section(board)
    assert not found.charts
    assert any("a: no trial has a number at its first evaluation" in text for text in found.text)
