"""Every file of a trial's folder, damaged in many ways: one clear error, nothing lost, and a way to go on.

All in this process: `algoperf fit` on the folder, `status`, `tune`, `score`, `repair`, as a user would run them.
"""

import json
import os
import shutil

import pytest
from damages import CHECKPOINT, CONFIG, PLAN, RECORD, ROWS, check_all, ends_well, kinds, plan, run, trial_of, whole

from algoperf_lightning.commands import tune_run
from algoperf_lightning.result import TrialResult
from algoperf_lightning.tuning.trial_process import planned_trial

VALUES = {
    "null": None,
    "text": "text",
    "true": True,
    "list": [1],
    "object": {"a": 1},
    "nan": float("nan"),
    "infinite": float("inf"),
    "negative": -1.5,
    "huge": 10**400,
    "zero": 0,
}


@pytest.mark.sampled(7)
@pytest.mark.parametrize("kind", kinds("cut"))
@pytest.mark.parametrize("name", [RECORD, ROWS, CHECKPOINT, "last.ckpt.sha256", "heartbeat", "lock"])
@pytest.mark.parametrize("state", ["interrupted", pytest.param("over", marks=pytest.mark.slow)])
def test_a_file_of_a_trial_that_is_damaged(copy, capsys, state, name, kind):
    runs, folder = copy(state)
    whole(folder / name)[kind]()
    check_all(runs, folder, capsys)
    if state == "interrupted":
        ends_well(runs, folder, capsys)
    else:
        result = TrialResult.read(folder)
        assert [each.step for each in result.evaluations] == [1, 6, 11, 16, 20]


@pytest.mark.sampled(7)
@pytest.mark.parametrize("kind", kinds("cut"))
@pytest.mark.parametrize("name", [PLAN, CONFIG])
def test_a_file_of_a_plan_that_is_damaged(copy, capsys, name, kind):
    runs, folder = copy("interrupted")
    path = (folder.parent if name == PLAN else folder) / name
    written = path.read_bytes()
    whole(path)[kind]()
    for command in ("status", "score", "repair"):
        run(command, runs, folder, capsys)
    if name == PLAN:
        if os.path.lexists(path):  # as the error says
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        plan(runs)
    else:
        tune_run.renew([planned_trial(folder)])
    assert path.read_bytes() == written
    ends_well(runs, folder, capsys)


FIELDS = [
    *("format", "workload", "version", "ruleset", "submission", "hyperparameters", "seed", "batch_size", "budget"),
    *("eval_period", "metric", "direction", "validation_target", "test_target", "stop_at", "unit", "scale", "clock"),
    *("metric_range", "tiny_data", "warnings", "notes", "environment", "environments", "status", "message", "steps"),
    *("submission_seconds", "wall_seconds", "preemptions", "nonfinite_loss_step", "evaluations", "step_to_target"),
    *("checksum", "file_checksum", "stop_diverged", "processor_seconds", "load", "steps_per_epoch"),
]


def test_every_field_of_a_record_is_damaged_somewhere(trials):
    record = json.loads((trial_of(trials["over"]) / RECORD).read_text())
    assert set(record) - set(FIELDS) <= {"time_to_target"}


@pytest.mark.sampled(4)
@pytest.mark.slow
@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_a_record_that_is_damaged(copy, capsys, field):
    runs, folder = copy("over")
    record = json.loads((folder / RECORD).read_text())
    for name, value in [*VALUES.items(), ("missing", None)]:
        changed = {**record, field: value}
        if name == "missing":
            del changed[field]
        (folder / RECORD).write_text(json.dumps(changed))
        for command in ("status", "score"):
            run(command, runs, folder, capsys)
        assert run("repair", runs, folder, capsys) == 0
        result = TrialResult.read(folder)
        assert [each.step for each in result.evaluations] == [1, 6, 11, 16, 20]


@pytest.mark.sampled(7)
@pytest.mark.slow
@pytest.mark.parametrize("column", ["step", "submission_seconds", "wall_seconds", "loss", "validation/accuracy"])
@pytest.mark.parametrize("value", ["", "text", "nan", "inf", "-1", "1e400", "99999", "1.5", "0", '"', "1,1", "½"])
def test_a_value_of_an_evaluation_that_is_damaged(copy, capsys, column, value):
    runs, folder = copy("over")
    lines = [line.split(",") for line in (folder / ROWS).read_text().splitlines()]
    lines[3][lines[0].index(column)] = value
    (folder / ROWS).write_text("".join(",".join(line) + "\n" for line in lines))
    for command in ("status", "score"):
        run(command, runs, folder, capsys)
    harmless = (column == "loss" and value in ("nan", "inf", "-1", "1e400", "99999", "1.5", "0")) or (
        column == "validation/accuracy" and value in ("nan", "0")
    )
    assert run("repair", runs, folder, capsys) == 0
    if not harmless:
        assert TrialResult.read(folder).evaluations[2].step == 11
        assert list(folder.glob("set_aside*")) == [], "what the checkpoint holds was not restored"
        assert (folder / ROWS).read_text().splitlines()[3].startswith("11,")
