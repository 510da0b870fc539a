"""A record that was edited after its run: every reader counts the trial as one that missed its target."""

import json
import math

import numpy as np
import pytest
from scoring_cases import own_run

from algoperf_lightning.records.checksum import Ledger
from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.scoring import read_runs
from algoperf_lightning.tuning.planning import TuningRequest, plan_studies
from algoperf_lightning.tuning.state import State, look


@pytest.mark.parametrize(
    ("accuracy", "status", "found"), [(0.5, "reached", "do not meet"), (0.95, "budget_spent", "meet")]
)
def test_a_status_that_the_evaluations_contradict_is_noticed(tmp_path, accuracy, status, found):
    reached = accuracy > 0.9
    own_status = Status.REACHED if reached else Status.BUDGET_SPENT
    own_run(tmp_path / "trial", values=(0.1, accuracy), status=own_status)
    assert TrialResult.read(tmp_path / "trial").changed == ""
    path = tmp_path / "trial/trial.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": status}))
    assert f"evaluations {found} the targets" in TrialResult.read(tmp_path / "trial").changed


def test_every_reader_counts_a_changed_record_as_missed(tmp_path):
    """Of three equal trials one is edited: Python, `status`, `score` and the report agree."""
    (study,) = plan_studies(TuningRequest(["digits"], ["adamw"], tmp_path, studies=1, trials=2))
    study.write()
    folders = [trial.folder for trial in study.trials]
    for folder in folders:
        (folder / "config.yaml").rename(tmp_path / "kept.yaml")
        folder.rmdir()
        own_run(folder, values=(0.5, 0.98), workload="digits", validation_target=0.97, checksum="")
        (tmp_path / "kept.yaml").rename(folder / "config.yaml")
        result = TrialResult.read(folder)
        ledger = Ledger(result)
        result.checksum = ledger.checksum
        result.write_trial(folder)
    assert [look(trial).state for trial in study.trials] == [State.REACHED, State.REACHED]
    rows = folders[1] / "evaluations.csv"
    rows.write_text(rows.read_text().replace("0.98", "0.99"))
    read = TrialResult.read(folders[1])
    assert (read.status, read.step_to_target, read.is_reached) == (Status.FAILED, None, False)
    assert math.isinf(read.time_to_target)
    assert math.isinf(read.used_to_target)
    assert math.isnan(read.best)
    assert "failed" in repr(read)
    assert "reached" not in repr(read)
    state = look(study.trials[1])
    assert state.state is State.FAILED
    assert "not those that the clock recorded" in state.message
    assert "algoperf repair" in state.message
    runs = read_runs([tmp_path])
    assert [finding.kind for finding in runs.findings if "trial_2" in finding.message] == ["changed record"]
    assert [np.nanmax(each.metrics["validation/accuracy"], initial=0) for each in runs.trials] == [0.98, 0]
