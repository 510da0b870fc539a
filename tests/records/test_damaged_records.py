"""Records that are cut off, damaged or unfinished, and trials that ended in a failure."""

import json
import signal
import subprocess
import sys
import time

import pytest
from result_cases import ended, evaluation, trial, write

from algoperf_lightning.result import RecordError, Status, TrialResult


@pytest.fixture
def record(tmp_path):
    write(trial(evaluation(1, 0.1), evaluation(20, 0.2), evaluation(30, 0.3)), tmp_path)
    return tmp_path


@pytest.mark.parametrize("cut", range(1, 30, 4))
def test_a_last_row_that_was_cut_off_is_left_out(record, cut):
    path = record / "evaluations.csv"
    path.write_text(path.read_text()[:-cut])
    assert [e.step for e in TrialResult.read(record).evaluations] == [1, 20]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("step,submission_sec", id="header-cut-off"),
        pytest.param("step,submission_seconds,wall_seconds,loss,validation/accuracy\n", id="header-alone"),
        pytest.param("step,submission_seconds,wall_seconds,loss,validation/accuracy\n1,0.", id="first-row-cut-off"),
    ],
)
def test_a_record_without_a_whole_row_has_no_evaluations(record, content):
    (record / "evaluations.csv").write_text(content)
    assert TrialResult.read(record).evaluations == []


def test_a_record_without_the_file_has_no_evaluations(record):
    (record / "evaluations.csv").unlink()
    assert TrialResult.read(record).evaluations == []


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(b"20,2.0", id="too-few-values"),
        pytest.param(b"20,2.0,2.5,0.05,0.25,0.2,0.5,7.0", id="too-many-values"),
        pytest.param(b"20,2.0,2.5,0.05,0.25,0.2x,0.5", id="not-a-number"),
        pytest.param(b"twenty,2.0,2.5,0.05,0.25,0.2,0.5", id="not-a-step"),
        pytest.param(b"20,2.0,2.5,0.05,0.25,,0.5", id="nothing"),
        pytest.param(bytes(40), id="zeros-after-a-power-cut"),
        pytest.param(b"20,2.0,\xff\xfe,0.05,0.25,0.2,0.5", id="not-text"),
    ],
)
def test_a_damaged_row_before_the_last_is_an_error(record, damage):
    path = record / "evaluations.csv"
    lines = path.read_bytes().split(b"\n")
    assert lines[2].startswith(b"20,")
    lines[2] = damage
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(RecordError, match=r"evaluations\.csv has a damaged row"):
        TrialResult.read(record)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"workload": "shapes"', id="cut-off"),
        pytest.param(b"[]", id="not-an-object"),
        pytest.param(b"{}", id="nothing-in-it"),
        pytest.param(b"\xff\xfe", id="not-text"),
    ],
)
def test_a_damaged_trial_json_is_an_error(record, content):
    (record / "trial.json").write_bytes(content)
    with pytest.raises(RecordError, match=r"trial\.json.*`algoperf repair"):
        TrialResult.read(record)


def test_an_unknown_status_is_an_error(record):
    content = json.loads((record / "trial.json").read_text())
    (record / "trial.json").write_text(json.dumps(content | {"status": "tired"}))
    with pytest.raises(RecordError, match="tired"):
        TrialResult.read(record)


@pytest.mark.parametrize("missing", ["trial.json", "folder"])
def test_a_folder_without_a_trial_is_an_error(tmp_path, missing):
    folder = tmp_path if missing == "trial.json" else tmp_path / "missing"
    with pytest.raises(RecordError, match=r"contains no trial: trial\.json is missing") as error:
        TrialResult.read(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        pytest.param(Status.RUNNING, "", "Rank 3: out of memory", id="no-end-was-written"),
        pytest.param(
            Status.FAILED, "lost rank 3", "Rank 3: out of memory | lost rank 3", id="the-first-rank-saw-it-too"
        ),
        pytest.param(Status.PREEMPTED, "SIGTERM", "Rank 3: out of memory | SIGTERM", id="preempted-because-of-it"),
    ],
)
def test_a_failure_of_another_rank_is_why_a_trial_failed(tmp_path, status, message, expected):
    write(trial(status=status, message=message), tmp_path)
    (tmp_path / "failure_rank_3.txt").write_text("Rank 3: out of memory")
    read = TrialResult.read(tmp_path)
    assert (read.status, read.message) == (Status.FAILED, expected)


@pytest.mark.parametrize("status", [Status.REACHED, Status.BUDGET_SPENT, Status.STOPPED])
def test_a_failure_after_the_end_changes_nothing(tmp_path, status):
    write(ended(status, message="as written"), tmp_path)
    (tmp_path / "failure_rank_3.txt").write_text("Rank 3: lost the others")
    read = TrialResult.read(tmp_path)
    assert (read.status, read.message) == (status, "as written")


_WRITER = """
import sys
from pathlib import Path
from algoperf_lightning.result import Evaluation, TrialResult

folder = Path(sys.argv[1])
result = TrialResult.read(folder)
print("started", flush=True)
for step in range(1, 1_000_000):
    result.evaluations.append(Evaluation(step, step / 10, step / 8, 1 / step, {"validation/accuracy": step / 1e6}))
    result.steps = step
    result.append_evaluation(folder)
    result.write_trial(folder)
"""


@pytest.mark.parametrize("delay", [0.02, 0.05, 0.11])
def test_a_record_is_readable_after_a_kill_at_any_moment(tmp_path, delay):
    write(trial(), tmp_path)
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
    read = TrialResult.read(tmp_path)
    assert [e.step for e in read.evaluations] == list(range(1, len(read.evaluations) + 1))
    assert read.steps in (len(read.evaluations), len(read.evaluations) - 1)


_ENDER = """
import resource, sys
from pathlib import Path
from algoperf_lightning.result import Status, TrialResult

result = TrialResult.read(sys.argv[1])
result.status, result.message, result.steps = Status.FAILED, "No space left on device. " * 100, 7
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
result.write_trial(Path(sys.argv[1]))
"""


def test_without_room_the_end_is_written_over_the_old_record(tmp_path):
    # A limit on the size of files lets the short form through, in place, but not the usual one in a new file.
    write(trial(evaluation(1, 0.1)), tmp_path)
    before = (tmp_path / "trial.json").stat()
    subprocess.run([sys.executable, "-c", _ENDER, str(tmp_path)], check=True)
    assert (tmp_path / "trial.json").stat().st_ino == before.st_ino
    read = TrialResult.read(tmp_path)
    assert (read.status, read.steps, len(read.evaluations)) == (Status.FAILED, 7, 1)
    assert read.message == ("No space left on device. " * 100)[:500]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluations.csv", "trial.json"]


def test_a_first_record_that_cannot_be_written_raises(tmp_path):
    with pytest.raises(FileNotFoundError):
        trial().write_trial(tmp_path / "missing")
