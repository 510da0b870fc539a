"""Trials to damage, made once."""

import shutil
from unittest import mock

import pytest
from damages import fit, plan, stops_after, trial_of

from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.submission import Submission


@pytest.fixture(scope="session")
def trials(tmp_path_factory):
    """Studies of one trial each, by what became of it: over, or interrupted after its third evaluation."""
    made = {}
    for name, steps in (("over", None), ("interrupted", 13)):
        runs = tmp_path_factory.mktemp(name) / "runs"
        plan(runs)
        folder = trial_of(runs)
        if steps is None:
            fit(folder)
        else:
            batches = mock.patch.object(Submission, "select_batch", stops_after(steps))
            with batches, pytest.raises(SystemExit):  # of the command, which prints the submission's own error
                fit(folder)
            result = TrialResult.read(folder)
            result.status, result.message = Status.RUNNING, ""
            result.write_trial(folder)
        made[name] = runs
    return made


@pytest.fixture
def copy(trials, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(name):
        shutil.copytree(trials[name], tmp_path / "runs")
        return tmp_path / "runs", trial_of(tmp_path / "runs")

    return make
