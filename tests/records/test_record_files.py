"""A trial's files: what is written is read back, in plain JSON and CSV."""

import csv
import dataclasses
import json
import math

import numpy as np
import pytest
from result_cases import ended, evaluation, same, trial, write

from algoperf_lightning.result import Status, TrialResult


def refuse(literal):
    raise AssertionError(f"{literal} is not JSON")


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
