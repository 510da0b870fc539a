"""`algoperf repair` and `tune --retry-failed` on damaged trials: nothing is lost, and the trial can go on."""

import contextlib
import json
import shutil

import pytest
from damages import CHECKPOINT, RECORD, ROWS, ends_well, fit, kinds, run, whole

from algoperf_lightning.cli import main
from algoperf_lightning.commands import tune_run
from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.tuning.state import State, look
from algoperf_lightning.tuning.trial_process import planned_trial


def test_an_edited_record_is_restored_from_its_checkpoint(copy, capsys):
    runs, folder = copy("over")
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**record, "submission": "another"}))
    assert run("repair", runs, folder, capsys) == 0
    assert TrialResult.read(folder).submission == record["submission"]
    assert (folder / "last.ckpt").is_file()
    assert run("repair", runs, folder, capsys) == 0
    assert not list(folder.glob("set_aside*"))


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
    assert f"contains {ROWS}, but no {RECORD}. `algoperf repair" in state.message


# `tune --retry-failed`


@pytest.mark.sampled(7)
@pytest.mark.parametrize("kind", kinds("missing"))
@pytest.mark.parametrize("name", [RECORD, ROWS, CHECKPOINT, "last.ckpt.sha256", "heartbeat", "lock"])
def test_a_failed_trial_is_made_to_run_again_whatever_was_damaged(copy, capsys, name, kind):
    runs, folder = copy("interrupted")
    whole(folder / name)[kind]()
    (folder / "failure_rank_0.txt").write_text("an older failure")
    assert look(planned_trial(folder)).state is State.FAILED
    tune_run.renew([planned_trial(folder)])
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
    tune_run.renew([planned_trial(folder)])
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
    (folder / "failure_rank_0.txt").write_text("The checkpoint belongs to another run")
    tune_run.renew([planned_trial(folder)])
    assert "last.ckpt is another trial's: seed is 77 and not" in capsys.readouterr().out
    ends_well(runs, folder, capsys)


def test_a_damaged_checkpoint_of_a_finished_trial_is_set_aside_and_named(copy, capsys):
    _, folder = copy("over")
    before = TrialResult.read(folder)
    (folder / CHECKPOINT).write_bytes(b"no checkpoint")
    main(["repair", str(folder)])
    said = capsys.readouterr().out
    assert "checkpoint moved aside as set_aside_1.*; the trial has ended and its record is valid" in said
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
    assert capsys.readouterr().out == f"{folder}: {name}, which was not a file, moved aside as set_aside_1.{name}.\n"


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
