"""``submission_log.jsonl``: written, cut, continued, read."""

import json
import math

import pytest

from algoperf_lightning.records.checks import RecordError
from algoperf_lightning.records.submission_log import LOG_FILE, LoggedStep, append_log, continue_log, read_log

ROWS = [
    LoggedStep(1, 0.5, loss=math.inf, learning_rates=[0.1, 0.2], values={"norm": 2.0}),
    LoggedStep(2, 1.0, values={"norm": -math.inf}),
    LoggedStep(4, 1.5, values={"norm": 1e-300}),
]


def test_rows_are_read_as_they_were_written(tmp_path):
    append_log(tmp_path, ROWS[:1])
    append_log(tmp_path, [])
    append_log(tmp_path, ROWS[1:])
    assert read_log(tmp_path) == ROWS
    lines = [json.loads(line) for line in (tmp_path / LOG_FILE).read_text().splitlines()]
    assert lines[0] == {
        "step": 1,
        "submission_seconds": 0.5,
        "loss": "inf",
        "learning_rates": [0.1, 0.2],
        "values": {"norm": 2.0},
    }
    assert lines[1] == {"step": 2, "submission_seconds": 1.0, "values": {"norm": "-inf"}}


def test_a_trial_without_a_log_has_no_rows(tmp_path):
    assert read_log(tmp_path) == []


def test_a_step_that_was_written_twice_is_one_row(tmp_path):
    append_log(tmp_path, [LoggedStep(3, 1.0, loss=0.5, values={"a": 1.0, "b": 2.0})])
    append_log(tmp_path, [LoggedStep(3, 1.5, values={"b": 3.0})])
    assert read_log(tmp_path) == [LoggedStep(3, 1.0, loss=0.5, values={"a": 1.0, "b": 3.0})]


def test_a_row_that_a_kill_has_cut_off_does_not_count(tmp_path):
    append_log(tmp_path, ROWS)
    with (tmp_path / LOG_FILE).open("a") as file:
        file.write('{"step": 5, "subm')
    assert read_log(tmp_path) == ROWS
    continue_log(tmp_path, 9)
    append_log(tmp_path, [LoggedStep(9, 2.0, loss=1.0)])
    assert read_log(tmp_path) == [*ROWS, LoggedStep(9, 2.0, loss=1.0)]


@pytest.mark.parametrize(("step", "left"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3)])
def test_rows_after_the_checkpoint_are_dropped_when_a_run_goes_on(step, left, tmp_path):
    append_log(tmp_path, ROWS)
    continue_log(tmp_path, step)
    assert read_log(tmp_path) == ROWS[:left]


def test_a_run_that_goes_on_in_another_folder_takes_the_log_along(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir(), new.mkdir()
    append_log(old, ROWS)
    continue_log(new, 2, old)
    assert read_log(new) == ROWS[:2]
    assert read_log(old) == ROWS


@pytest.mark.parametrize(
    "line", ["nonsense", "3", '{"step": -1, "submission_seconds": 0}', '{"step": 1}', '{"step": 1.5}', "\udcff"]
)
def test_a_damaged_row_is_named_and_is_no_obstacle_to_going_on(line, tmp_path):
    append_log(tmp_path, ROWS[:1])
    with (tmp_path / LOG_FILE).open("ab") as file:
        file.write(line.encode(errors="surrogateescape") + b"\n")
    append_log(tmp_path, ROWS[1:])
    with pytest.raises(RecordError, match=r"submission_log\.jsonl has a damaged row, line 2"):
        read_log(tmp_path)
    continue_log(tmp_path, 4)
    assert read_log(tmp_path) == ROWS
