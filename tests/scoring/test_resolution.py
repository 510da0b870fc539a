"""How exactly a time is known: the evaluation before, times within the first evaluations, interpolated times."""

import csv
import math

import numpy as np
import pytest
from scoring_cases import kinds, run_on, suite, trial

from algoperf_lightning import cli
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring import Runs, Trial, score_runs
from algoperf_lightning.scoring.mathematics import crossing
from algoperf_lightning.scoring.outputs import short

inf, nan = math.inf, math.nan


def evaluated(submission, used, values, *, study="0", unit="seconds"):
    """A trial on workload ``a`` with these evaluations."""
    numbers = np.array(used, dtype=float)
    return Trial(
        submission=submission,
        study=study,
        workload="a",
        number="1",
        framework="pytorch",
        steps=numbers,
        seconds=numbers,
        metrics={"validation/accuracy": np.array(values, dtype=float)},
        source=submission,
        unit=unit,
    )


ONE = suite(base=("a",))


def cell_of(*trials, benchmark=ONE, **options):
    board = score_runs(Runs(list(trials)), benchmark, **options)
    return board.cells[board.submissions[0], "a"], board


def test_the_resolution_is_how_much_earlier_the_evaluation_before_was():
    cell, _ = cell_of(evaluated("s", [1, 50, 90, 120], [0.1, 0.2, 0.95, 0.1]))
    assert (cell.used, cell.resolution) == (90, 40)
    assert short(cell) == "90 -40"


def test_the_first_evaluation_is_known_since_the_start():
    cell, board = cell_of(evaluated("s", [70, 90], [0.95, 0.95]))
    assert (cell.used, cell.resolution) == (70, 70)
    assert "coarse" in kinds(board.findings)


def test_the_resolution_is_that_of_the_deciding_studies():
    trials = [
        evaluated("s", [50, 90], [0.1, 0.95], study="0"),
        evaluated("s", [5, 10], [0.1, 0.95], study="1"),
        evaluated("s", [80, 100], [0.1, 0.95], study="2"),
    ]
    assert cell_of(*trials, benchmark=suite(base=("a",), studies=3))[0].resolution == 40
    cell, _ = cell_of(*trials, evaluated("s", [100, 200], [0.1, 0.95], study="3"))
    assert (cell.used, cell.resolution) == (95, 30)


def test_a_missed_target_has_none():
    cell, board = cell_of(evaluated("s", [50, 90], [0.1, 0.2]))
    assert math.isnan(cell.resolution)
    assert math.isnan(cell.studies[0].resolution)
    assert kinds(board.findings) == ["nothing counts"]


@pytest.mark.parametrize(("before", "told"), [(51, True), (74, True), (76, False), (95, False)])
def test_a_target_reached_within_the_first_evaluations_is_told(before, told):
    """51 against 101 steps is one evaluation period apart, and was scored as 1.98 times."""
    _, board = cell_of(
        evaluated("s", [1, before, 100], [0.1, 0.2, 0.95], unit="steps"), benchmark=suite(base=("a",), unit="steps")
    )
    found = [each for each in board.findings if each.kind == "coarse"]
    assert bool(found) is told
    assert all(each.strict for each in found)
    with pytest.raises(BadInputError, match="coarse") if told else pytest.MonkeyPatch.context():
        score_runs(Runs(list(board.table.trials.values())), board.benchmark, strict=True)


# Interpolation


@pytest.mark.parametrize(
    ("values", "target", "expected"),
    [
        ([0.5, 0.9], 0.9, 100.0),
        ([0.5, 0.9], 0.6, 62.5),
        ([0.5, 1.0], 0.9, 90.0),
        ([3.0, 1.0], 1.5, 87.5),
        ([nan, 0.95], 0.9, 100.0),
        ([-inf, 0.95], 0.9, 100.0),
        ([0.5, inf], 0.9, 100.0),
    ],
)
def test_where_the_line_crosses_the_target(values, target, expected):
    """Against NumPy's own interpolation where there is a line."""
    used = np.array([50.0, 100.0])
    assert crossing(np.array(values), used, 1, target) == pytest.approx(expected)
    if np.isfinite(values).all():
        order = np.argsort(values)
        assert expected == pytest.approx(np.interp(target, np.array(values)[order], used[order]))


def test_the_first_evaluation_has_no_line_before_it():
    assert crossing(np.array([0.95]), np.array([7.0]), 0, 0.9) == 7.0


def test_interpolated_scores_are_named_everywhere(tmp_path, capsys):
    for name, used in (("fast", 100.0), ("slow", 150.0)):
        folder = tmp_path / f"runs/{name}/study_1/digits/trial_1"
        run_on(folder, "digits", used, submission=name)
        text = (folder / "evaluations.csv").read_text().replace(",nan", ",0.9")
        (folder / "evaluations.csv").write_text(text.replace("0.968", "0.99"))
    plain, smooth = tmp_path / "plain", tmp_path / "smooth"
    cli.main(["score", str(tmp_path / "runs"), "--draws", "5", "--output", str(plain)])
    assert "interpolated between" not in capsys.readouterr().out + (plain / "report.html").read_text()
    cli.main(["score", str(tmp_path / "runs"), "--draws", "5", "--output", str(smooth), "--interpolate"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "interpolated between evaluations, not AlgoPerf scores" in printed
    assert "Seconds to target, interpolated between evaluations" in printed
    assert "interpolated between evaluations" in (smooth / "report.html").read_text()
    with (smooth / "cells.csv").open() as file:
        fast, slow = csv.DictReader(file)
    share = (0.968 - 0.9) / (0.99 - 0.9)
    assert float(fast["interpolated_seconds"]) == pytest.approx(80 + 20 * share)
    assert float(slow["interpolated_seconds"]) == pytest.approx(120 + 30 * share)
    assert float(fast["resolution"]) == pytest.approx(20)
    with (smooth / "times.csv").open() as file:
        assert {row["unit"] for row in csv.DictReader(file)} == {"interpolated_seconds"}


def test_interpolating_chooses_the_same_trials_and_studies():
    trials = [trial(number=str(k), seconds=100.0 + k, index=3) for k in range(3)]
    plain, smooth = (score_runs(Runs(trials), suite(base=("a",), trials=3), interpolate=each) for each in (False, True))
    assert plain.cells["s", "a"].studies[0].winner is smooth.cells["s", "a"].studies[0].winner
    assert plain.times.tolist() == smooth.times.tolist()  # their evaluation before is NaN: there is no line
