"""Trials that missed their target, in the report of real runs with instruments."""

import csv
import dataclasses
import json
import math

import lightning as L
import pytest
from reading import Page
from scoring_cases import runs_of, suite

from algoperf_lightning.callbacks import Instruments, TimeBudget, TrialRecorder
from algoperf_lightning.cli import main
from algoperf_lightning.plugins import get_submission
from algoperf_lightning.report.missed import missed
from algoperf_lightning.scoring import bootstrap, score_runs
from algoperf_lightning.workloads import Digits


def trained(folder, rate, measure):
    """A trial of eight steps, too few for the target."""
    budget = TimeBudget(unit="steps", budget=8, eval_period=2)
    trainer = L.Trainer(
        callbacks=[budget, Instruments(measure), TrialRecorder(folder)],
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    submission = get_submission("adamw")(learning_rate=rate, warmup_factor=0.0)
    submission.batch_sizes = {"digits": 16}
    trainer.fit(Digits(submission))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, rate, measure in (("too_high", 3.0, "light"), ("not_measured", 1e-3, None)):
        trained(folder / name / "study_0" / "digits" / "trial_1", rate, measure)
    return folder


def written(runs, folder):
    main(["score", str(runs), "--output", str(folder)])
    return Page((folder / "report.html").read_text())


def test_a_missed_target_has_its_measurements_and_a_diagnosis_beside_it(runs, tmp_path):
    page = written(runs, tmp_path)
    assert "Why targets were missed" in page.words
    (table,) = [table for table in page.tables if "likely problem" in table[0]]
    assert {row[0] for row in table[1:]} == {"too_high"}
    assert any("learning rate is likely too high" in row[4] for row in table[1:])
    with (tmp_path / "diagnosis.csv").open(newline="") as file:
        assert [list(row) for row in csv.reader(file)] == table
    charts = [chart for chart in page.data["charts"] if any("update ratio" in each["name"] for each in chart["series"])]
    ((line,),) = [chart["series"] for chart in charts]
    path = runs / "too_high" / "study_0" / "digits" / "trial_1" / "instruments.jsonl"
    rows = [row for row in map(json.loads, path.read_text().splitlines()) if "update_ratio" in row]
    assert line["submission"] == "too_high"
    assert line["x"] == [row["step"] for row in rows]
    assert line["y"] == pytest.approx([row["update_ratio"] for row in rows], rel=1e-5)


def test_rows_that_cannot_be_read_are_named(runs, tmp_path):
    path = runs / "too_high" / "study_0" / "digits" / "trial_1" / "instruments.jsonl"
    kept = path.read_bytes()
    path.write_bytes(b"nonsense\n" + kept)
    try:
        page = written(runs, tmp_path)
    finally:
        path.write_bytes(kept)
    assert "has a damaged row, line 1" in page.words


def test_a_target_that_was_met_has_no_diagnosis(runs):
    source = str(runs / "too_high" / "study_0" / "digits" / "trial_1")

    def section(times):
        found = runs_of({name: {"a": seconds} for name, seconds in times.items()})
        found.trials = [dataclasses.replace(trial, source=source) for trial in found.trials]
        board = score_runs(found, suite(base=("a",)))
        return missed(board, bootstrap(board, 2))

    assert section({"x": 10.0, "y": 20.0}) is None
    (table,) = section({"x": math.inf, "y": 20.0}).tables
    assert set(table.submissions) == {"x"}
