"""Submissions that write the record: in memory, through what they are given, and on disk."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rule_cases import Cheat, run

from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.scoring import read_runs
from algoperf_lightning.workload import CheckpointMismatchError


def clock_of(cheat):
    return cheat.view._workload.trainer.callbacks


def record_of(cheat):
    return next(callback.result for callback in clock_of(cheat) if hasattr(callback, "result"))


def shown_metrics(cheat):
    cheat.view.evaluations[-1].metrics["validation/accuracy"] = 1.0


def shown_seconds(cheat):
    cheat.view.evaluations[-1].submission_seconds = 0.0


@pytest.mark.parametrize("act", [shown_metrics, shown_seconds])
def test_what_a_submission_is_shown_cannot_be_changed(tmp_path, act):
    result = run(Cheat(act, at="training_step"), tmp_path, raises=True).result
    assert result.status is Status.FAILED
    assert result.best < 0.9


def forge_value(cheat):
    record_of(cheat).evaluations[-1].metrics["validation/accuracy"] = 1.0


def forge_row(cheat):
    record_of(cheat).evaluations.append(record_of(cheat).evaluations[-1])


def forge_target(cheat):
    record_of(cheat).validation_target = 0.01


def forge_budget(cheat):
    record_of(cheat).budget = 1e9


@pytest.mark.parametrize("act", [forge_value, forge_row, forge_target, forge_budget])
@pytest.mark.parametrize("at", ["training_step", "before_evaluation", "after_evaluation"])
def test_a_run_whose_record_is_written_by_its_submission_fails_with_the_clocks_record(tmp_path, act, at):
    def once(cheat):
        return act(cheat) if cheat.view.evaluations else False

    # The last hook of a run is its last after_evaluation.
    result = run(Cheat(once, at=at), tmp_path, steps=3, raises=True).result
    assert result.status is Status.FAILED
    assert "The record was changed by something other than the clock" in result.message
    assert result.time_to_target == float("inf")
    assert (result.validation_target, result.budget) == (0.9999, 3)
    read = TrialResult.read(tmp_path / "trial")
    assert (read.status, read.changed) == (Status.FAILED, "")


def test_a_view_holds_no_record(tmp_path):
    seen = []
    run(Cheat(lambda cheat: seen.extend(vars(cheat.view).values()), at="training_step"), tmp_path)
    assert not [value for value in seen if isinstance(value, TrialResult)]


SCRIPT = """
import atexit, json, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from rule_cases import Cheat, run

trial = Path({folder!r}) / "trial"

def rewrite():
    path = trial / "evaluations.csv"
    header, *rows = path.read_text().splitlines()
    fields = rows[0].split(",")
    fields[header.split(",").index("validation/accuracy")] = "1.0"
    path.write_text("\\n".join([header, ",".join(fields), *rows[1:]]) + "\\n")
    record = json.loads((trial / "trial.json").read_text())
    (trial / "trial.json").write_text(json.dumps({{**record, "status": "reached", "time_to_target": 0.07}}))

run(Cheat(lambda cheat: atexit.register(rewrite)), trial.parent)
"""


@pytest.mark.slow
def test_a_record_that_an_exit_handler_rewrote_is_not_scored(tmp_path):
    script = SCRIPT.format(paths=[str(Path(__file__).parents[1] / "rules")], folder=str(tmp_path))
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert json.loads((tmp_path / "trial/trial.json").read_text())["status"] == "reached"
    read = TrialResult.read(tmp_path / "trial")
    assert read.evaluation_at_target("validation") is None
    assert "not those that the clock recorded" in read.changed
    runs = read_runs([tmp_path])
    (finding,) = [finding for finding in runs.findings if finding.kind == "changed record"]
    assert finding.strict
    assert not (runs.trials[0].metrics["validation/accuracy"] >= 0.5).any()


def test_a_resumed_run_keeps_its_chain_and_refuses_a_checkpoint_with_other_rows(tmp_path):
    checkpoint = tmp_path / "trial" / "last.ckpt"
    submission = Cheat(lambda cheat: cheat.view.stop(), at="training_step")
    run(submission, tmp_path, steps=3)
    content = torch.load(checkpoint, weights_only=True)
    state = content["callbacks"]["TimeBudget"]
    assert state["checksum"] == TrialResult.read(tmp_path / "trial").checksum
    state["evaluations"][0]["validation/accuracy"] = 1.0
    torch.save(content, checkpoint)
    (tmp_path / "trial" / "last.ckpt.sha256").unlink()
    result = json.loads((tmp_path / "trial/trial.json").read_text())
    (tmp_path / "trial/trial.json").write_text(json.dumps({**result, "status": "running"}))
    with pytest.raises(CheckpointMismatchError, match="are not those that the clock recorded"):
        run(Cheat(**submission.hyperparameters), tmp_path, steps=3, resume=checkpoint)
