"""The README's comparison of submissions, shortened: data, trials, score."""

import csv
import json

import pytest
from commands import algoperf, states

from algoperf_lightning.records.instrument_rows import read_rows

WORKLOADS = ("digits", "mnist_tiny", "cifar10_tiny")
SUBMISSIONS = ("adamw", "nadamw", "momentum")


@pytest.mark.slow
def test_from_data_to_a_leaderboard(tmp_path):
    code, printed = algoperf("data", "tiny", "mnist", "cifar10", "--data-dir", tmp_path / "data")
    assert code == 0, printed
    runs, report = tmp_path / "runs", tmp_path / "report"
    code, printed = algoperf(
        *("tune", *WORKLOADS, "--submission", *SUBMISSIONS, "--studies", 1, "--trials", 2, "--option", "jobs=2"),
        *("--data-dir", tmp_path / "data", "--output", runs, "--", "--time_budget.budget", 4),
        *("--time_budget.eval_period", 0.5, "--time_budget.target", 0.5, "--instruments.measure", "light"),
        timeout=900,
    )
    assert code == 0, printed
    found = states(runs)
    assert len(found) == len(WORKLOADS) * len(SUBMISSIONS) * 2
    assert all(state.state.over for state in found)
    for state in found:
        record = json.loads((state.trial.folder / "trial.json").read_text())
        assert record["seed"] == state.trial.seed
        assert {name: record["hyperparameters"][name] for name in state.trial.point} == state.trial.point
        assert record["warnings"] == []
        assert read_rows(state.trial.folder)[0]["step"] == 0
    code, printed = algoperf("score", runs, "--output", report)
    assert code == 0, printed
    with (report / "scores.csv").open() as file:
        assert {row["submission"] for row in csv.DictReader(file)} == set(SUBMISSIONS)
    with (report / "times.csv").open() as file:
        assert set(WORKLOADS) <= set(next(csv.reader(file)))
    assert list(report.glob("*.png")) or list(report.glob("*.svg"))
