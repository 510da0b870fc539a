"""Own runs beside a board: its scores stay, and what cannot be compared is named."""

import csv
import dataclasses
import math
import re
import sys

import golden_v05 as golden
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoring_cases import extract, inf, nan, run_on, runs_of, suite

from algoperf_lightning import cli
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.report.times import over_baseline
from algoperf_lightning.scoring import Runs, choose_benchmark, get_benchmark, read_runs, score_runs
from algoperf_lightning.scoring.boards import add_board, find_board
from algoperf_lightning.scoring.leaderboard import score_times
from algoperf_lightning.scoring.outputs import write_tables
from algoperf_lightning.scoring.uncertainty import bootstrap, leave_one_submission_out

V05 = get_benchmark("0.5", "external")


def against(own, board):
    """Own runs and those of a board, both as for ``runs_of``."""
    runs = runs_of(own)
    add_board(runs, runs_of(board), "theirs")
    return runs


def by_name(board):
    return dict(zip(board.submissions, board.scores.tolist(), strict=True))


def said(board):
    return " ".join(finding.message for finding in board.findings if finding.kind == "against a board")


@pytest.mark.parametrize("factor", [0.01, 0.9, 1.5, 3.9, 100.0])
def test_no_published_score_moves_whatever_is_put_beside_it(factor):
    """A copy of the best submission with all its times multiplied."""
    best = [trial for trial in extract(V05).trials if trial.submission == "shampoo_submission"]
    mine = [dataclasses.replace(each, submission="mine", seconds=each.seconds * factor) for each in best]
    runs = Runs(mine)
    add_board(runs, extract(V05), "v0.5-external")
    board = score_runs(runs, choose_benchmark(runs))
    found = by_name(board)
    own = found.pop("mine")
    assert {name: round(score, 4) for name, score in found.items()} == golden.PRINTED
    # By hand: the ratios of the copy, on the grid of the profile; held-out times are within their limits up to 3.9.
    ratios = np.array(golden.RATIOS["shampoo_submission"]) * factor
    steps = np.ceil(33 * (np.where(np.isfinite(ratios), ratios, 99) - 1))
    counts = np.where(steps <= 0, 1, np.where(steps <= 99, (99.5 - steps) / 99, 0))
    if factor <= 1.5:
        assert own == pytest.approx(counts.mean(), abs=2e-3)
    assert ("Faster than every submission" in said(board)) == (factor < 1)


times = st.one_of(st.floats(1, 1000), st.just(inf), st.just(nan))


@given(st.lists(st.lists(times, min_size=3, max_size=3), min_size=3, max_size=6), st.integers(1, 2))
def test_a_reference_is_scored_as_if_it_were_alone_and_others_one_by_one(rows, own):
    benchmark = suite(base=("a", "b"), held_out=(("h", "b"),))
    matrix = np.array(rows)
    reference = np.arange(len(rows)) >= own
    together = score_times(matrix, benchmark, reference)
    alone = score_times(matrix[own:], benchmark)
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one[own:], other)
    # Where the reference has a time, an own submission does not depend on the other own one.
    if np.isfinite(alone[0]).any(axis=0).all():
        rest = np.delete(np.arange(len(rows)), 1 if own == 2 else [])
        apart = score_times(matrix[rest], benchmark, reference[rest])
        assert together[2][0] == apart[2][0]


def test_what_no_submission_of_the_board_reached_is_measured_by_the_own_ones():
    board = score_runs(
        against({"fast": {"a": 10.0, "b": 5.0}, "slow": {"a": 10.0, "b": 10.0}}, {"theirs": {"a": 10.0, "b": inf}}),
        suite(),
    )
    ratios = dict(zip(board.submissions, board.ratios.tolist(), strict=True))
    assert ratios == {"fast": [1, 1], "slow": [1, 2], "theirs": [1, inf]}


def test_a_ratio_below_one_counts_as_one_and_is_named():
    board = score_runs(against({"mine": {"a": 5.0, "b": 30.0}}, {"theirs": {"a": 10.0, "b": 20.0}}), suite())
    assert board.title == "a suite, against theirs"
    assert board.ratios.tolist() == [[0.5, 1.5], [1.0, 1.0]]
    assert by_name(board) == {"mine": pytest.approx((1 + (99.5 - 17) / 99) / 2), "theirs": 1.0}
    assert "mine is scored against theirs, whose submissions alone set the fastest times" in said(board)
    assert "Faster than every submission of theirs that counts: mine on a (0.500 times)" in said(board)
    assert board.cells["mine", "a"].reason == "counts"


def test_slower_than_the_limit_is_by_the_board():
    board = score_runs(against({"mine": {"a": 50.0}, "other": {"a": 2.0}}, {"theirs": {"a": 10.0}}), suite(base=("a",)))
    assert board.cells["mine", "a"].reason == "4x"
    assert by_name(board) == {"mine": 0.0, "other": 1.0, "theirs": 1.0}


def test_intervals_and_what_is_left_out_are_by_the_board_too():
    times = {"theirs": {"a": [10.0, 11.0, 12.0]}, "others": {"a": [20.0, 21.0, 22.0]}}
    beside = score_runs(against({"mine": {"a": [1.0, 2.0, 3.0]}}, times), suite(base=("a",), studies=3))
    interval = bootstrap(beside, draws=50).studies
    rows = [beside.submissions.index(name) for name in ("theirs", "others")]
    assert (interval.score_low[rows] > 0.5).all()  # by mine they would be over the limit
    assert leave_one_submission_out(beside)["theirs"][beside.submissions.index("others")] == 1.0


def test_own_runs_on_some_workloads_are_told_how_to_compare_on_these():
    board = score_runs(against({"mine": {"a": 10.0}}, {"theirs": {"a": 10.0, "b": 10.0}}), suite())
    assert by_name(board)["mine"] == 0.5
    assert "mine was run on 1 workload of 2, and the others count as not trained" in said(board)
    assert "--include a." in said(board)


def test_own_runs_without_held_out_ones_are_told_how_to_compare_without():
    benchmark = suite(base=("a", "b"), held_out=(("a2", "a"),))
    theirs = {"theirs": {"a": 10.0, "a2": 10.0, "b": 10.0}}
    message = said(score_runs(against({"mine": {"a": 10.0, "b": 10.0}}, theirs), benchmark))
    assert "mine does not count on a, because" in message
    assert message.endswith("--exclude a2.")
    whole = said(score_runs(against({"mine": {"a": 10.0, "a2": 10.0, "b": 10.0}}, theirs), benchmark))
    assert "held-out" not in whole


def test_own_runs_on_other_workloads_are_refused():
    with pytest.raises(BadInputError, match="None of the own runs is on a workload of theirs: found z, expected a, b"):
        score_runs(against({"mine": {"z": 10.0}}, {"theirs": {"a": 10.0, "b": 1.0}}), suite())


# From the command line, with the packaged board of version 1.0


def mine(root, used=3_000.0, **changes):
    for study in (1, 2, 3):
        folder = root / f"study_{study}/ogbg/trial_1"
        run_on(folder, "ogbg", used, **{"ruleset": "self-tuning", "submission": "mine", **changes})
    return str(root)


def test_own_runs_among_those_of_version_1(tmp_path, capsys):
    machine = {"accelerator": "cuda", "gpus": ["NVIDIA H100"], "ranks": 1}
    cli.main(["score", mine(tmp_path, 3100.0, environment=machine), "--against", "v1.0-self-tuning", "--draws", "5"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "Scores: AlgoPerf 1.0, self-tuning ruleset, against v1.0-self-tuning" in shown
    assert "mixed hardware: Results are not comparable where the hardware differs: 1 x NVIDIA H100: mine" in shown
    assert "4 x NVIDIA A100 40 GB: ademamix" in shown
    assert "choose one with --baseline NAME" in shown
    assert " schedule_free_adamw_v2 0.5679 " in shown
    # muon_torch is the fastest there, with 1,833 s.
    score = (99.5 - math.ceil(33 * (3100 / 1833 - 1))) / 99 / 9
    assert f" mine {score:.4f} " in shown


def test_a_table_without_a_baseline_says_so(tmp_path):
    board = score_runs(runs_of({"x": {"a": 1.0}, "y": {"a": 2.0}}), suite(base=("a",)))
    uncertainty = bootstrap(board, draws=1)
    write_tables(board, uncertainty, tmp_path)
    with (tmp_path / "scores.csv").open(newline="") as file:
        assert {row["time_over_baseline"] for row in csv.DictReader(file)} == {"no baseline"}
    section = over_baseline(board, uncertainty)
    assert "choose one with --baseline NAME" in section.text[0]
    assert not section.tables


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"version": "0.6", "budget": 18016.5}, "mixed version"),
        ({"ruleset": "external"}, "mixed ruleset"),
        ({"budget": 500.0}, "other budget"),
        ({"validation_target": 0.2}, "other validation target"),
    ],
)
def test_what_is_not_comparable_is_named_and_the_board_stays(tmp_path, changes, kind):
    runs = read_runs([mine(tmp_path, **changes)])
    add_board(runs, read_runs([find_board("v1.0-self-tuning")]), "v1.0-self-tuning")
    board = score_runs(runs, choose_benchmark(runs))
    assert kind in {finding.kind for finding in board.findings}
    assert (board.benchmark.version, board.benchmark.ruleset) == ("1.0", "self-tuning")
    assert round(by_name(board)["schedule_free_adamw_v2"], 4) == 0.5679


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "steps", "used": 3000}, "in seconds: ademamix.*in steps: mine on ogbg.*--unit steps"),
        ({"scale": 2.0}, "scales are ogbg: 1 .*2 [(]mine[)].*--rescale"),
        ({"workload": "wmt_tiny"}, "None of the own runs is on a workload of v1.0-self-tuning: found wmt_tiny"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(tmp_path, capsys, changes, message):
    used = changes.pop("used", 3000.0)
    if "workload" in changes:
        run_on(tmp_path / "study_1/x/trial_1", changes["workload"], used, ruleset="self-tuning")
        path = str(tmp_path)
    else:
        path = mine(tmp_path, used, **changes)
    with pytest.raises(SystemExit):
        cli.main(["score", path, "--against", "v1.0-self-tuning"])
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "No runs were given"),
        (["--against", "tiny"], "No runs were given"),
        (["runs", "--board", "tiny"], "RUNS --against BOARD"),
        (["--board", "tiny", "--against", "tiny"], "RUNS --against BOARD"),
        (["--board", "v1.0"], "Unknown board 'v1.0'"),
    ],
)
def test_a_board_by_itself_takes_no_runs(capsys, arguments, message):
    with pytest.raises(SystemExit) as raised:
        cli.main(["score", *arguments])
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_a_board_given_twice_is_one(tmp_path, capsys):
    cli.main(["score", mine(tmp_path), *["--against", "v1.0-self-tuning"] * 2, "--draws", "1"])
    assert "named alike" not in capsys.readouterr().out


def test_boards_are_listed_with_what_they_are(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    cli.main(["boards"])
    shown = capsys.readouterr().out
    for wanted in ("v0.5-external", "11 submissions", "3,654 trials", "8 x NVIDIA V100 16 GB, 2024", "Apache-2.0"):
        assert wanted in shown
    cli.main(["boards", "v1.0-self-tuning"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "It is not the official leaderboard" in shown
    assert "Apache-2.0. Runs by the MLCommons Algorithms Working Group" in shown


def test_the_list_of_boards_is_quick(monkeypatch):
    """It reads the first member of each archive only."""
    monkeypatch.setattr("tarfile.TarFile.extractall", None)
    cli.main(["boards"])
    assert "algoperf_lightning.commands.boards" in sys.modules
