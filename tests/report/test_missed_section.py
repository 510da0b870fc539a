"""Trials that missed their target, in the report of real runs with instruments."""

import csv
import dataclasses
import json
import math

import lightning as L
import pytest
import torch
from reading import Page
from scoring_cases import runs_of, suite

from algoperf_lightning import Submission
from algoperf_lightning.callbacks import Instruments, TimeBudget, TrialRecorder
from algoperf_lightning.cli import main
from algoperf_lightning.instruments.diagnosis import diagnose
from algoperf_lightning.plugins import get_submission
from algoperf_lightning.records.instrument_rows import read_rows
from algoperf_lightning.report.missed import missed
from algoperf_lightning.scoring import bootstrap, score_runs
from algoperf_lightning.workloads import Digits


class NeverWarmedUp(Submission):
    """A warm-up that is never stepped, which the settings in the record show, and no row does."""

    def __init__(self, learning_rate=1e-2):
        self.learning_rate = learning_rate

    def configure_optimizers(self, model, workload):
        return torch.optim.SGD(model.parameters(), lr=1e-3 * self.learning_rate)


def trained(folder, submission, measure):
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
    submission.batch_sizes = {"digits": 16}
    trainer.fit(Digits(submission))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    adamw = get_submission("adamw")
    for name, submission, measure in (
        ("too_high", adamw(learning_rate=3.0, warmup_factor=0.0), "light"),
        ("not_measured", adamw(learning_rate=1e-3, warmup_factor=0.0), None),
        ("NeverWarmedUp", NeverWarmedUp(), "light"),
    ):
        trained(folder / name / "study_0" / "digits" / "trial_1", submission, measure)
    return folder


def written(runs, folder):
    main(["score", str(runs), "--output", str(folder)])
    return Page((folder / "report.html").read_text())


def test_a_missed_target_has_its_measurements_and_a_diagnosis_beside_it(runs, tmp_path):
    page = written(runs, tmp_path)
    assert "Why targets were missed" in page.words
    (table,) = [table for table in page.tables if "likely problem" in table[0]]
    assert {row[0] for row in table[1:]} == {"too_high", "NeverWarmedUp"}
    assert any("learning rate is likely too high" in row[4] for row in table[1:])
    with (tmp_path / "diagnosis.csv").open(newline="") as file:
        assert [list(row) for row in csv.reader(file)] == table
    charts = [chart for chart in page.data["charts"] if any("update ratio" in each["name"] for each in chart["series"])]
    ((line,),) = [[each for each in chart["series"] if each["submission"] == "too_high"] for chart in charts]
    path = runs / "too_high" / "study_0" / "digits" / "trial_1" / "instruments.jsonl"
    rows = [row for row in map(json.loads, path.read_text().splitlines()) if "update_ratio" in row]
    assert line["x"] == [row["step"] for row in rows]
    assert line["y"] == pytest.approx([row["update_ratio"] for row in rows], rel=1e-5)


@pytest.mark.parametrize(("name", "rules"), [("too_high", set()), ("NeverWarmedUp", {"stuck"})])
def test_the_report_names_what_the_command_names(name, rules, runs, tmp_path, capsys):
    folder = runs / name / "study_0" / "digits" / "trial_1"
    with pytest.raises(SystemExit):
        main(["diagnose", str(folder), "--json"])
    findings = json.loads(capsys.readouterr().out)[0]["findings"]
    page = written(runs, tmp_path)
    (table,) = [table for table in page.tables if "likely problem" in table[0]]
    assert [row[4:] for row in table[1:] if row[0] == name] == [
        [each["sentence"], each["evidence"]] for each in findings
    ]
    from_rows = {finding.rule for finding in diagnose(read_rows(folder))}
    assert {each["rule"] for each in findings} - from_rows == rules, "what only the record shows"


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
    (table,) = section({"x": math.inf, "y": 20.0}).above
    assert set(table.submissions) == {"x"}
