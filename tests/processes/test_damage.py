"""Every file of a trial's folder, damaged in many ways: one clear error, nothing lost, and a way to go on.

All in this process: `algoperf fit` on the folder, `status`, `tune`, `score`, `repair`, as a user would run them.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path
from unittest import mock

import pytest
import torch

from algoperf_lightning.cli import main
from algoperf_lightning.commands import tune
from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.submission import Submission
from algoperf_lightning.tuning.state import State, look
from algoperf_lightning.tuning.trial_process import fit_arguments, planned_trial

RECORD, ROWS, CHECKPOINT, PLAN, CONFIG = "trial.json", "evaluations.csv", "last.ckpt", "plan.json", "config.yaml"
STEPS = ["--time_budget.eval_period", "5", "--time_budget.budget", "20", "--time_budget.target", "0.999"]
TUNE = ["tune", "digits", "--submission", "adamw", "--unit", "steps", "--studies", "1", "--trials", "1", "--plain"]


def whole(path):
    """What lies where a file is, in ways that no JSON or CSV is damaged in particular."""
    data = path.read_bytes() if path.is_file() else b"text\n"
    half = len(data) // 2

    def write(content):
        return lambda: path.write_bytes(content)

    def replace(make):
        def call():
            if path.exists():
                path.unlink()
            make()

        return call

    return {
        "missing": replace(lambda: None),
        "empty": write(b""),
        "cut": write(data[:half]),
        "first byte": write(data[:1]),
        "zeros": write(bytes(len(data))),
        "binary": write(bytes(range(256)) * 4),
        "not utf-8": write(b"\xff\xfe" + data),
        "flipped": write(data[:half] + bytes([data[half] ^ 1 if data else 1]) + data[half + 1 :]),
        "twice": write(data + data),
        "json null": write(b"null"),
        "json list": write(b"[1, 2]"),
        "deep": write(b"[" * 100_000),
        "folder": replace(path.mkdir),
        "dangling": replace(lambda: path.symlink_to("nowhere")),
        "loop": replace(lambda: path.symlink_to(path.name)),
    }


def kinds(*quick):
    """All kinds of damage, of which most are tried only where time is taken for it."""
    return [
        pytest.param(kind, marks=[] if kind in quick else pytest.mark.slow, id=kind)
        for kind in sorted(whole(Path("x")))
    ]


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


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    """A study with one trial: over, and interrupted after its third evaluation; and what the record of the rest is."""
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


def stops_after(steps):
    def select(self, batches):
        self.selected = getattr(self, "selected", 0) + 1
        if self.selected > steps:
            raise RuntimeError("interrupted")
        return next(batches)

    return select


def plan(runs):
    """Write the plan as `tune` does, and run nothing."""
    options = tune._parser().parse_intermixed_args([*TUNE[1:], "--output", str(runs)])
    for study in tune.plan_studies(tune._request(options, STEPS)):
        study.write()


def trial_of(runs):
    return next(runs.rglob(CONFIG)).parent


def fit(folder, *more):
    main(["fit", *fit_arguments(planned_trial(folder)), *more])


COMMANDS = {
    "status": lambda runs, folder: main(["status", str(runs)]),
    "score": lambda runs, folder: main(["score", str(runs)]),
    "fit": lambda runs, folder: fit(folder),
    "repair": lambda runs, folder: main(["repair", str(folder)]),
}


def run(name, runs, folder, capsys):
    """Run a command; it may refuse, in one line that names a file, and must not raise anything else."""
    code = 0
    try:
        COMMANDS[name](runs, folder)
    except SystemExit as end:
        code = end.code or 0
    said, printed = capsys.readouterr()
    assert "algoperf repair" not in said or name != "repair", f"the repair advises a repair: {said}"
    if code:
        assert code == 2, name
        assert printed.startswith("algoperf: error: "), printed
        assert str(runs) in printed or str(folder) in printed, printed
    return code


@pytest.fixture
def copy(trials, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(name):
        shutil.copytree(trials[name], tmp_path / "runs")
        return tmp_path / "runs", trial_of(tmp_path / "runs")

    return make


def steps_known(folder):
    """Steps of all evaluations that a folder's files hold anywhere, also set aside."""
    found = set()
    for path in folder.rglob("*"):
        if path.name.endswith(ROWS) and path.is_file():
            with contextlib.suppress(ValueError):
                rows = path.read_text().splitlines()[1:]
                found |= {int(row.split(",")[0]) for row in rows}
        if path.name.endswith(CHECKPOINT) and path.is_file():
            with contextlib.suppress(Exception):
                clock = torch.load(path, weights_only=True)["callbacks"]["TimeBudget"]
                found |= {row["step"] for row in clock["evaluations"]}
    return found


def check_all(runs, folder, capsys):
    """Every reader, then the repair, then all of them again: the trial can be run to its end."""
    before = steps_known(folder)
    codes = {name: run(name, runs, folder, capsys) for name in ("status", "score", "fit")}
    assert before <= steps_known(folder), "an evaluation was lost"
    assert run("repair", runs, folder, capsys) == 0
    assert before <= steps_known(folder), "an evaluation was lost by the repair"
    return codes


def ends_well(runs, folder, capsys):
    assert run("fit", runs, folder, capsys) == 0
    result = TrialResult.read(folder)
    assert result.status is Status.BUDGET_SPENT
    assert [each.step for each in result.evaluations] == [1, 6, 11, 16, 20]
    assert run("status", runs, folder, capsys) == 0
    assert run("score", runs, folder, capsys) == 0


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
        tune.renew([planned_trial(folder)])
    assert path.read_bytes() == written
    ends_well(runs, folder, capsys)


FIELDS = [
    *("format", "workload", "version", "ruleset", "submission", "hyperparameters", "seed", "batch_size", "budget"),
    *("eval_period", "metric", "direction", "validation_target", "test_target", "stop_at", "unit", "scale", "clock"),
    *("metric_range", "tiny_data", "warnings", "notes", "environment", "environments", "status", "message", "steps"),
    *("submission_seconds", "wall_seconds", "preemptions", "nonfinite_loss_step", "evaluations", "step_to_target"),
    *("checksum", "file_checksum", "stop_diverged", "processor_seconds", "load"),
]


def test_every_field_of_a_record_is_damaged_somewhere(trials):
    record = json.loads((trial_of(trials["over"]) / RECORD).read_text())
    assert set(record) - set(FIELDS) <= {"time_to_target"}


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


def test_an_edited_record_is_restored_from_its_checkpoint(copy, capsys):
    runs, folder = copy("over")
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**record, "submission": "another"}))
    assert run("repair", runs, folder, capsys) == 0
    assert TrialResult.read(folder).submission == record["submission"]
    assert (folder / "last.ckpt").is_file()
    assert run("repair", runs, folder, capsys) == 0
    assert not list(folder.glob("set_aside*"))


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


def test_a_finished_trial_whose_record_is_gone_gets_it_back_from_its_checkpoint(copy, capsys):
    runs, folder = copy("over")
    before = TrialResult.read(folder)
    (folder / RECORD).unlink()
    assert look(planned_trial(folder)).state is State.INTERRUPTED
    with pytest.raises(SystemExit):
        main(["score", str(runs)])
    assert f"but no {RECORD}. `algoperf repair" in capsys.readouterr().err
    assert run("fit", runs, folder, capsys) == 0
    after = TrialResult.read(folder)
    assert (after.status, after.used_to_target, after.checksum) == (
        before.status,
        before.used_to_target,
        before.checksum,
    )
    assert after.evaluations == before.evaluations
    assert after.environments == before.environments


def test_evaluations_alone_are_no_trial_that_waits(copy, capsys):
    _, folder = copy("over")
    for name in (RECORD, CHECKPOINT):
        (folder / name).unlink()
    state = look(planned_trial(folder))
    assert state.state is State.FAILED
    assert f"holds {ROWS}, but no {RECORD}. `algoperf repair" in state.message


# `tune --retry-failed`


@pytest.mark.parametrize("kind", kinds("missing"))
@pytest.mark.parametrize("name", [RECORD, ROWS, CHECKPOINT, "last.ckpt.sha256", "heartbeat", "lock"])
def test_a_failed_trial_is_made_to_run_again_whatever_was_damaged(copy, capsys, name, kind):
    runs, folder = copy("interrupted")
    whole(folder / name)[kind]()
    (folder / "failure_rank_0.txt").write_text("an older failure")
    assert look(planned_trial(folder)).state is State.FAILED
    tune.renew([planned_trial(folder)])
    state = look(planned_trial(folder))
    assert state.state in (State.INTERRUPTED, State.WAITING)
    assert state.message == ""
    ends_well(runs, folder, capsys)


def test_the_message_of_an_older_failure_is_not_that_of_the_next(copy, capsys):
    _, folder = copy("interrupted")
    result = TrialResult.read(folder)
    result.status, result.message = Status.FAILED, "out of memory"
    result.write_trial(folder)
    assert look(planned_trial(folder)).message == "out of memory"
    tune.renew([planned_trial(folder)])
    (folder / "failure_rank_0.txt").write_text("no such module")  # as a start that fails before the record is opened
    assert look(planned_trial(folder)).message == "no such module"


def test_a_checkpoint_of_another_trial_is_set_aside(copy, trials, capsys):
    runs, folder = copy("interrupted")
    with contextlib.suppress(SystemExit):
        fit(folder, "--workload.seed", "77", "--recorder.folder", str(runs / "other"), "--trainer.max_steps", "6")
    for name in (CHECKPOINT, "last.ckpt.sha256"):
        shutil.copy(runs / "other" / name, folder / name)
    shutil.rmtree(runs / "other")
    assert run("fit", runs, folder, capsys) == 2
    (folder / "failure_rank_0.txt").write_text("The checkpoint is of another run")
    tune.renew([planned_trial(folder)])
    assert "last.ckpt is another trial's: seed is 77 and not" in capsys.readouterr().out
    ends_well(runs, folder, capsys)


def test_a_damaged_checkpoint_of_a_finished_trial_is_set_aside_and_named(copy, capsys):
    _, folder = copy("over")
    before = TrialResult.read(folder)
    (folder / CHECKPOINT).write_bytes(b"no checkpoint")
    main(["repair", str(folder)])
    said = capsys.readouterr().out
    assert "checkpoint set aside as set_aside_1.*; the trial is over and its record is sound" in said
    assert f"{CHECKPOINT} is damaged" in said
    assert (folder / f"set_aside_1.{CHECKPOINT}").read_bytes() == b"no checkpoint"
    assert TrialResult.read(folder) == before
    main(["repair", str(folder)])
    assert capsys.readouterr().out == f"{folder}: sound\n"


@pytest.mark.parametrize("name", ["heartbeat", "lock"])
def test_what_is_moved_away_is_named(copy, capsys, name):
    _, folder = copy("over")
    whole(folder / name)["folder"]()
    main(["repair", str(folder)])
    assert capsys.readouterr().out == f"{folder}: {name}, which was no file, set aside as set_aside_1.{name}.\n"


def test_a_checksum_that_was_damaged_itself_loses_nothing(copy, capsys):
    runs, folder = copy("interrupted")
    (folder / "last.ckpt.sha256").write_text("0" * 64 + "  last.ckpt\n")
    assert run("fit", runs, folder, capsys) == 2
    assert run("repair", runs, folder, capsys) == 0
    assert not list(folder.glob("set_aside*"))
    ends_well(runs, folder, capsys)
    assert TrialResult.read(folder).preemptions == 1


def test_a_record_of_a_newer_format_is_left_alone(copy, capsys):
    runs, folder = copy("over")
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**record, "format": 2}))
    with pytest.raises(SystemExit):
        main(["score", str(runs)])
    assert "has format 2, and this version of algoperf-lightning reads up to 1" in capsys.readouterr().err
