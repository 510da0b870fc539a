"""Logs in the official layout, read and written."""

import json
import math

import numpy as np
import pytest
from log_files import OFFICIAL, official
from scoring_cases import REAL, kinds, own_run, runs_of

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring import get_benchmark, read_runs, score_runs, write_official


def test_official(tmp_path):
    (only,) = read_runs([official(tmp_path)]).trials
    assert only.key == ("mine", "wmt", "0", "1")
    assert only.framework == "jax"
    assert only.seconds.tolist() == [90.5]
    assert only.metrics["validation/bleu"].tolist() == [31.5]
    assert only.version is None


@pytest.mark.parametrize("below", ["mine", "mine/study_0", "mine/study_0/wmt_jax", "mine/study_0/wmt_jax/trial_1"])
def test_official_from_any_folder(tmp_path, below):
    assert read_runs([official(tmp_path) / below]).trials[0].key == ("mine", "wmt", "0", "1")


def test_a_folder_and_one_in_it(tmp_path):
    assert len(read_runs([official(tmp_path), tmp_path / "mine", tmp_path]).trials) == 1


def test_links_that_lead_back(tmp_path):
    (official(tmp_path) / "mine" / "again").symlink_to(tmp_path)
    assert len(read_runs([tmp_path]).trials) == 1


def test_a_missing_or_empty_log_is_as_if_the_trial_did_not_exist(tmp_path):
    official(tmp_path)
    (tmp_path / "mine/study_0/wmt_jax/trial_2").mkdir()
    official(tmp_path, "", "mine/study_0/wmt_jax/trial_3")
    runs = read_runs([tmp_path])
    assert [each.number for each in runs.trials] == ["1"]
    assert [finding.kind for finding in runs.findings] == ["trial without evaluations"] * 2


def test_a_header_alone_is_a_trial_that_missed(tmp_path):
    runs = read_runs([official(tmp_path, OFFICIAL)])
    assert kinds(runs.findings) == ["trial without evaluations"]
    board = score_runs(runs, get_benchmark("0.6", "self-tuning"))
    assert board.cells["mine", "wmt"].reason == "missed"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param(OFFICIAL + "1,1,1,10,10,1\n31.5,3", [10], id="fields-missing"),
        pytest.param(OFFICIAL + "1,1,1,10,10,1\n31.5,31,2,20,20,", [10, 20], id="a-field-that-does-not-matter"),
        pytest.param("score,validation/bleu\n10,1\n20,31", [10], id="the-value-may-be-cut"),
        pytest.param("validation/bleu,score\n1,10\n31,20", [10], id="the-time-may-be-cut"),
    ],
)
def test_a_cut_off_last_line(tmp_path, text, seconds):
    runs = read_runs([official(tmp_path, text)])
    assert kinds(runs.findings) == ["cut off"]
    assert runs.trials[0].seconds.tolist() == seconds


def test_what_lies_outside_the_layout_contributes_nothing(tmp_path):
    official(tmp_path)
    official(tmp_path, place="mine/study_0/trial_9")
    official(tmp_path, place="mine/study_0/wmt_tensorflow/trial_1")
    official(tmp_path, place="mine/study_0/wmt_jax/first")
    (tmp_path / "mine/study_0/wmt_jax.log").write_text("hello")
    runs = read_runs([tmp_path])
    assert len(runs.trials) == 1
    assert [finding.kind for finding in runs.findings] == ["ignored"] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a,b\n1,2\n", "no column of times", id="no-times"),
        pytest.param("score,score\n1,2\n", "names a column twice", id="column-twice"),
        pytest.param(OFFICIAL + "1,2\n31,31,1,1,1,1\n", "line 2: expected 6 fields, but got 2", id="short-line"),
        pytest.param(OFFICIAL + "high,2,3,4,4,6\n", "column validation/bleu must contain numbers", id="not-a-number"),
        pytest.param(OFFICIAL + "31,2,3,-4,-4,6\n", "has the time -4", id="negative-time"),
        pytest.param(OFFICIAL + "31,2,3,,,6\n", "has the time nan", id="no-time"),
        pytest.param(
            OFFICIAL + '"31",2,3\r,4,4,6\n', r"eval_measurements\.csv is not a CSV file: new-line", id="no-csv"
        ),
    ],
)
def test_official_logs_that_are_refused(tmp_path, text, message):
    with pytest.raises(BadInputError, match=message):
        read_runs([official(tmp_path, text)])


def test_two_times_that_differ_are_told(tmp_path):
    runs = read_runs([official(tmp_path, OFFICIAL + "31,2,3,4,5,6\n")])
    assert kinds(runs.findings) == ["two times"]
    assert runs.trials[0].seconds.tolist() == [4]


def test_a_missing_column_means_the_target_was_never_reached(tmp_path):
    official(tmp_path)
    official(tmp_path, "global_step,score\n1,5\n", "mine/study_0/wmt_jax/trial_2")
    runs = read_runs([tmp_path])
    board = score_runs(runs, get_benchmark("0.6", "external"))
    assert board.cells["mine", "wmt"].used == 90.5
    assert "metric missing" in kinds(board.findings)


def test_a_metric_nobody_logged_is_refused(tmp_path):
    runs = read_runs([official(tmp_path, "validation/blue,score\n31.5,5\n")])
    with pytest.raises(BadInputError, match=r"No log of wmt contains .*'validation/bleu'.*validation/blue"):
        score_runs(runs, get_benchmark("0.6", "external"))


def test_written_runs_read_back_the_same(tmp_path):
    runs = runs_of({"one": {"a": [0.1 + 0.2, 1e-9, math.inf]}, "two": {"a": [5.0, 6.0], "b": 7.0}}, framework="jax")
    assert len(write_official(runs, tmp_path)) == 6
    back = {each.key: each for each in read_runs([tmp_path]).trials}
    assert len(back) == 6
    for each in runs.trials:
        np.testing.assert_array_equal(each.seconds, back[each.key].seconds)
        np.testing.assert_array_equal(each.steps, back[each.key].steps)
        assert each.framework == back[each.key].framework
        for name, values in each.metrics.items():
            np.testing.assert_array_equal(values, back[each.key].metrics[name])


def test_the_writer_does_not_write_over_logs(tmp_path):
    runs = runs_of({"one": {"a": 5.0}})
    write_official(runs, tmp_path)
    with pytest.raises(BadInputError, match="exists already"):
        write_official(runs, tmp_path)


@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_the_writer_stays_in_its_folder(tmp_path, name):
    with pytest.raises(BadInputError, match="cannot be the name of a folder"):
        write_official(runs_of({name: {"a": 5.0}}), tmp_path)


@pytest.mark.slow
def test_the_whole_leaderboard_through_the_writer(tmp_path):
    runs = read_runs([REAL])
    assert len(write_official(runs, tmp_path)) == 3654
    benchmark = get_benchmark("0.5", "external")
    one, two = score_runs(runs, benchmark), score_runs(read_runs([tmp_path]), benchmark)
    np.testing.assert_array_equal(one.times, two.times)
    np.testing.assert_array_equal(one.scores, two.scores)


def test_own_runs_in_the_official_layout(tmp_path):
    own_run(tmp_path / "runs/shapes/adamw/trial_1")
    (folder,) = write_official(read_runs([tmp_path / "runs"]), tmp_path / "official")
    assert folder == tmp_path / "official/adamw/study_0/shapes_pytorch/trial_1"
    assert json.loads((folder / "hparams.json").read_text()) == {"lr": 1e-3}
    assert json.loads((folder / "meta_data_0.json").read_text())["workload.max_allowed_runtime_sec"] == 60
    header, *rows = (folder / "eval_measurements.csv").read_text().splitlines()
    assert header == "validation/accuracy,test/accuracy,global_step,score,accumulated_submission_time,total_duration"
    assert rows[1] == "0.95,0.95,10,2.0,2.0,3.0"


def test_official_logs_without_a_study_are_scored_as_published_and_that_is_told(tmp_path):
    for study in (0, 1, 2):
        official(
            tmp_path, place=f"mine/study_{study}/wmt_jax/trial_1", text="" if study else OFFICIAL + "31,31,1,5,5,6\n"
        )
    board = score_runs(read_runs([tmp_path]), get_benchmark("0.6", "self-tuning"))
    assert board.cells["mine", "wmt"].used == 5
    (few,) = (each.message for each in board.findings if each.kind == "few studies")
    assert few.startswith("mine has a time where no more than half of 3 studies reached the target: wmt (1).")
