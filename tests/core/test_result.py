import csv
import dataclasses
import json
import math
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from algoperf_lightning.records.summary import result_rows
from algoperf_lightning.result import Evaluation, RecordError, Status, TrialResult


def evaluation(step, validation, test=0.5, **changes):
    metrics = {"train/accuracy": 0.25, "validation/accuracy": validation, "test/accuracy": test}
    values = {"step": step, "submission_seconds": step / 10, "wall_seconds": step / 8, "loss": 1 / step}
    return Evaluation(**{**values, "metrics": metrics, **changes})


def trial(*evaluations, **changes):
    values = {
        "workload": "shapes_large",
        "version": "1.0",
        "ruleset": "external",
        "submission": "adamw",
        "hyperparameters": {"lr": 1e-3, "warmup": 0.05, "nesterov": True, "dropout": None, "name": "½"},
        "seed": 2**62,
        "batch_size": 64,
        "budget": 77.0,
        "eval_period": 1.5,
        "metric": "accuracy",
        "direction": "max",
        "validation_target": 0.9,
        "test_target": 0.8,
        "stop_at": "validation",
        "environment": {"torch": "2.11", "devices": 8},
    }
    return TrialResult(**{**values, **changes}, evaluations=list(evaluations))


def write(result, folder):
    result.write_trial(folder)
    result.write_evaluations(folder)


def same(one, other):
    """Equal, with NaN equal to NaN."""
    one, other = (vars(each) if isinstance(each, TrialResult) else each for each in (one, other))
    return repr(one) == repr(other)


def refuse(literal):
    raise AssertionError(f"{literal} is not JSON")


# What a result says


@pytest.mark.parametrize(
    ("direction", "target", "values", "seconds", "step"),
    [
        pytest.param("max", 0.9, [0.1, 0.95, 0.99], 2.0, 20, id="first-that-meets-it"),
        pytest.param("max", 0.9, [0.1, 0.9], 2.0, 20, id="inclusive-max"),
        pytest.param("min", 0.3, [0.5, 0.3], 2.0, 20, id="inclusive-min"),
        pytest.param("min", 0.3, [0.2, 0.5], 1.0, 10, id="first-also-if-worse-follows"),
        pytest.param("max", 0.9, [math.nan, 0.95], 2.0, 20, id="nan-is-passed-over-max"),
        pytest.param("min", 0.3, [math.nan, 0.2], 2.0, 20, id="nan-is-passed-over-min"),
        pytest.param("max", 0.9, [0.1, 0.2], math.inf, None, id="never-max"),
        pytest.param("min", 0.3, [0.4, math.inf], math.inf, None, id="never-min"),
        pytest.param("max", 0.9, [], math.inf, None, id="no-evaluation"),
    ],
)
def test_time_and_step_to_target(direction, target, values, seconds, step):
    evaluations = [evaluation(10 * (i + 1), value) for i, value in enumerate(values)]
    result = trial(*evaluations, direction=direction, validation_target=target)
    assert result.time_to_target == seconds
    assert result.step_to_target == step


@pytest.mark.parametrize(
    ("direction", "values", "best"),
    [
        pytest.param("max", [0.1, 0.7, 0.3], 0.7, id="highest"),
        pytest.param("min", [0.5, 0.2, 0.3], 0.2, id="lowest"),
        pytest.param("max", [math.nan, -5.0, math.nan], -5.0, id="any-number-beats-nan-max"),
        pytest.param("min", [math.nan, 5.0, math.nan], 5.0, id="any-number-beats-nan-min"),
        pytest.param("max", [math.nan, math.nan], math.nan, id="only-nan"),
        pytest.param("max", [], math.nan, id="no-evaluation"),
    ],
)
def test_best(direction, values, best):
    result = trial(*(evaluation(10 * (i + 1), value) for i, value in enumerate(values)), direction=direction)
    assert same(result.best, best)


def test_the_test_target_is_looked_for_in_the_test_split():
    first, second = evaluation(10, validation=0.95, test=0.7), evaluation(20, validation=0.5, test=0.8)
    result = trial(first, second)
    assert result.evaluation_at_target("validation") is first
    assert result.evaluation_at_target("test") is second


def test_without_a_test_target_none_is_met():
    result = trial(evaluation(10, 1.0, test=1.0), test_target=None)
    assert result.target("test") is None
    assert result.evaluation_at_target("test") is None


def test_a_metric_that_was_not_reported_meets_nothing():
    result = trial(evaluation(10, 1.0, metrics={"validation/loss": 0.1}))
    assert result.time_to_target == math.inf
    assert math.isnan(result.best)


@pytest.mark.parametrize(
    ("status", "final"),
    [
        ("running", False),
        ("reached", True),
        ("budget_spent", True),
        ("stopped", True),
        ("preempted", False),
        ("failed", False),
    ],
)
def test_which_ends_are_final(status, final):
    assert Status(status).final is final


# Writing and reading


def test_round_trip(tmp_path):
    result = trial(
        evaluation(1, 0.1),
        evaluation(20, math.nan, test=math.inf, loss=-math.inf),
        evaluation(333, 0.1 + 0.2, test=5e-324, submission_seconds=1e22, wall_seconds=2**53 + 0.0),
        status=Status.BUDGET_SPENT,
        message='a "quoted"\nmessage; with ½',
        steps=400,
        submission_seconds=77.25,
        wall_seconds=99.5,
        preemptions=2,
        nonfinite_loss_step=20,
    )
    write(result, tmp_path)
    read = TrialResult.read(tmp_path)
    assert read.folder == tmp_path
    assert read.status is Status.BUDGET_SPENT
    for field in dataclasses.fields(TrialResult):
        if field.name != "folder":
            assert same(getattr(read, field.name), getattr(result, field.name)), field.name
    write(read, tmp_path)
    assert same(TrialResult.read(tmp_path), read)


def ended(status, **more):
    """A trial with a status that its evaluation agrees with."""
    return trial(evaluation(10, 0.95 if status is Status.REACHED else 0.1), status=status, **more)


@pytest.mark.parametrize("status", Status)
def test_every_status_is_read_back(tmp_path, status):
    write(ended(status), tmp_path)
    assert TrialResult.read(str(tmp_path)).status is status


@pytest.mark.parametrize(
    ("validation", "seconds", "step"),
    [pytest.param(0.95, 1.0, 10, id="reached"), pytest.param(0.1, None, None, id="not-reached")],
)
def test_trial_json_says_how_it_went_in_plain_json(tmp_path, validation, seconds, step):
    write(trial(evaluation(10, validation), status=Status.STOPPED), tmp_path)
    record = json.loads((tmp_path / "trial.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert record["format"] == 1
    assert record["status"] == "stopped"
    assert (record["time_to_target"], record["step_to_target"]) == (seconds, step)
    assert record["hyperparameters"]["lr"] == 1e-3
    assert record["environment"] == {"torch": "2.11", "devices": 8}


@pytest.mark.parametrize("value", [math.inf, math.nan], ids=str)
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda value: {"hyperparameters": {"gradient_clip": value}}, id="hyperparameter"),
        pytest.param(
            lambda value: {"hyperparameters": {"clip": {"by_layer": [1.0, value]}}}, id="nested-hyperparameter"
        ),
    ],
)
def test_trial_json_is_json_whatever_the_numbers(tmp_path, make, value):
    # NaN and Infinity are JavaScript; jq, pandas and every other strict reader refuse them.
    trial(**make(value)).write_trial(tmp_path)
    json.loads((tmp_path / "trial.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_evaluations_csv_is_read_by_others(tmp_path):
    write(trial(evaluation(1, 0.1), evaluation(20, math.nan)), tmp_path)
    with (tmp_path / "evaluations.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    fixed = ["step", "submission_seconds", "wall_seconds", "loss"]
    assert header == [*fixed, "train/accuracy", "validation/accuracy", "test/accuracy"]
    assert [list(map(float, row)) for row in rows[:1]] == [[1, 0.1, 0.125, 1.0, 0.25, 0.1, 0.5]]
    assert rows[1][5] == "nan"


def test_rows_appended_one_by_one_are_the_rows(tmp_path):
    result = trial()
    write(result, tmp_path)
    for step in (1, 20, 333):
        result.evaluations.append(evaluation(step, step / 1000))
        result.append_evaluation(tmp_path)
        assert TrialResult.read(tmp_path).evaluations == result.evaluations


def test_metrics_given_as_numpys_floats_are_read_back(tmp_path):
    numbers = {"validation/accuracy": np.float64(0.5), "validation/loss": np.float32(0.25)}
    write(trial(evaluation(1, 0, metrics=numbers, loss=np.float64(2.0))), tmp_path)
    (read,) = TrialResult.read(tmp_path).evaluations
    assert (read.loss, read.metrics) == (2.0, {"validation/accuracy": 0.5, "validation/loss": 0.25})


@pytest.mark.parametrize("append", [True, False], ids=["appended", "written-whole"])
def test_metrics_go_by_their_names_whatever_their_order(tmp_path, append):
    first = evaluation(1, 0, metrics={"validation/accuracy": 0.9, "validation/loss": 3.0})
    second = evaluation(2, 0, metrics={"validation/loss": 4.0, "validation/accuracy": 0.8})
    result = trial(first) if append else trial(first, second)
    write(result, tmp_path)
    if append:
        result.evaluations.append(second)
        result.append_evaluation(tmp_path)
    assert [dict(e.metrics) for e in TrialResult.read(tmp_path).evaluations] == [
        dict(first.metrics),
        dict(second.metrics),
    ]


# Damaged and unfinished records


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
    with pytest.raises(RecordError, match=r"holds no trial: trial\.json is missing") as error:
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


# In a notebook


def test_a_result_says_in_a_line_what_happened():
    reached = trial(evaluation(1, 0.3), evaluation(250, 0.95), steps=250, submission_seconds=25.0)
    assert repr(reached) == (
        "TrialResult(adamw on shapes_large: target reached in 25.00 s, step 250; best accuracy 0.95 (target ≥ 0.9); "
        "25.0 of 77 s, 2 evaluations)"
    )
    counted = dataclasses.replace(reached, unit="steps", budget=500)
    assert "target reached at step 250, in 25.00 s;" in repr(counted)
    assert "250 of 500 steps" in repr(counted)
    missed = trial(evaluation(1, 0.3), status=Status.BUDGET_SPENT)
    assert "budget spent, target missed; best accuracy 0.3" in repr(missed)
    assert "no evaluation" in repr(trial())


def test_a_result_in_html_cannot_break_the_page():
    page = trial(evaluation(1, 0.3), submission="<b>&", message="[red]a <script>")._repr_html_()
    assert "&lt;b&gt;&amp;" in page
    assert "a &lt;script&gt;" in page
    assert "<script>" not in page
    ElementTree.fromstring(page)


def test_columns_are_of_one_length_and_hold_every_metric():
    columns = trial(evaluation(1, 0.3), evaluation(2, 0.4, metrics={"validation/accuracy": 0.4})).columns()
    assert {len(values) for values in columns.values()} == {2}
    assert columns["validation/accuracy"] == [0.3, 0.4]
    assert columns["submission_seconds"] == [0.1, 0.2]
    assert math.isnan(columns["test/accuracy"][1])
    assert trial().columns() == {}


def test_a_frame_needs_pandas_and_says_so(monkeypatch):
    result = trial(evaluation(1, 0.3), evaluation(2, 0.4))
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=lambda columns: ("frame", columns)))
    assert result.to_frame() == ("frame", result.columns())
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"to_frame\(\) needs pandas.*pip install pandas.*columns\(\)"):
        result.to_frame()


@pytest.mark.parametrize("unit", ["seconds", "steps"])
def test_a_plot_shows_the_metric_over_what_was_used(unit):
    result = trial(evaluation(10, 0.3), evaluation(20, 0.95), unit=unit, budget=100.0, steps=20, submission_seconds=2.0)
    axes = result.plot()
    line = axes.get_lines()[0]
    used = [1.0, 2.0] if unit == "seconds" else [10, 20]
    assert line.get_xdata().tolist() == used
    assert line.get_ydata().tolist() == [0.3, 0.95]
    assert axes.get_xlim()[1] == pytest.approx(1.03 * used[-1])
    assert unit in axes.get_xlabel()
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["adamw", "target ≥ 0.9", "reached: 2 s, step 20"]
    assert trial().plot(axes) is axes  # without evaluations, and where it is told to
    plt.close("all")


@pytest.mark.parametrize(
    ("steps", "values", "resolution"),
    [((1, 50), (0.3, 0.95), 4.9), ((40, 50), (0.95, 0.95), 4.0), ((40, 50), (0.3, 0.4), math.nan)],
)
def test_how_exactly_the_time_is_known(steps, values, resolution):
    result = trial(*map(evaluation, steps, values))
    assert result.resolution == pytest.approx(resolution, nan_ok=True)
    told = dict(result_rows(result)).get("resolution", "")
    assert bool(told) == math.isfinite(resolution)
    assert ("within the first evaluations" in told) == bool(told)
    later = trial(*(evaluation(step, 0.3) for step in range(10, 100, 10)), evaluation(100, 0.95))
    assert dict(result_rows(later))["resolution"] == "the evaluation before was 1 s earlier"


def test_what_the_budget_counts_comes_first():
    reached = trial(evaluation(1, 0.3), evaluation(250, 0.95), steps=250, submission_seconds=25.0)
    assert dict(result_rows(reached))["time to target"] == "25.00 s, step 250"
    counted = dict(result_rows(dataclasses.replace(reached, unit="steps", budget=500)))
    assert counted["steps to target"] == "250, in 25.00 s"
    assert "time to target" not in counted
