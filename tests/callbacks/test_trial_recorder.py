import json
import math
import shutil

import lightning as L
import pytest
import torch
from controlled import FakeClock, TimedDigits, TimedSubmission, controlled_fit

from algoperf_lightning.callbacks import BudgetProgressBar, StopHopeless, TimeBudget, TrialRecorder
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.result import RecordError, Status, TrialResult
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import Digits


def test_a_trial_is_recorded_as_it_was(tmp_path):
    recorder = TrialRecorder()
    time_budget, _, _ = controlled_fit(
        tmp_path, callbacks=[recorder], scores=[0.1, 0.2, 0.95], budget={"target": 0.9}, evaluation_seconds=2.0
    )
    assert recorder.folder == tmp_path / "runs" / "digits" / "TimedSubmission" / "trial_1"
    read = TrialResult.read(recorder.folder)
    assert read == time_budget.result
    record = json.loads((recorder.folder / "trial.json").read_text())
    assert record["status"] == "reached"
    assert record["time_to_target"] == pytest.approx(2.25)
    assert record["hyperparameters"]["step"] == 0.25
    assert record["environment"]["packages"]["torch"] == torch.__version__.split("+")[0]


def test_a_trial_that_misses_has_no_time(tmp_path):
    recorder = TrialRecorder(tmp_path / "t")
    controlled_fit(tmp_path, callbacks=[recorder], budget={"budget": 2.0})
    record = json.loads((tmp_path / "t" / "trial.json").read_text())
    assert record["time_to_target"] is None
    assert math.isinf(TrialResult.read(tmp_path / "t").time_to_target)


def test_each_trial_has_a_folder_of_its_own(tmp_path):
    folders = []
    for _ in range(3):
        recorder = TrialRecorder()
        controlled_fit(tmp_path, callbacks=[recorder], budget={"budget": 1.0})
        folders.append(recorder.folder.name)
    assert folders == ["trial_1", "trial_2", "trial_3"]


def test_a_record_is_readable_while_the_trial_runs(tmp_path):
    seen = []

    class Look(L.Callback):
        def on_train_batch_end(self, *args):
            seen.append(TrialResult.read(tmp_path / "t"))

    controlled_fit(tmp_path, callbacks=[Look(), TrialRecorder(tmp_path / "t")], budget={"budget": 3.0})
    assert {record.status for record in seen} == {Status.RUNNING}
    assert [len(record.evaluations) for record in seen] == [0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]


def test_a_finished_trial_is_not_overwritten(tmp_path):
    controlled_fit(tmp_path, callbacks=[TrialRecorder(tmp_path / "t")], budget={"budget": 1.0})
    with pytest.raises(RecordError, match="already contains a finished trial"):
        controlled_fit(tmp_path, callbacks=[TrialRecorder(tmp_path / "t")], budget={"budget": 1.0})


def test_an_unfinished_trial_is_resumed_or_left_alone(tmp_path):
    interrupted_run(tmp_path, at_step=7)
    with pytest.raises(RecordError, match="ckpt_path="):
        controlled_fit(tmp_path, callbacks=[TrialRecorder(tmp_path / "t")])


def interrupted_run(tmp_path, at_step, clock=None, checkpoint=True):
    """Leave what a SIGKILL at a step leaves."""
    clock = clock or FakeClock()

    class Killed(TimedSubmission):
        def training_step(self, workload, batch):
            if self.steps == at_step:
                shutil.copytree(tmp_path / "t", tmp_path / "as_killed")
                raise RuntimeError("killed")
            return super().training_step(workload, batch)

    Killed.__qualname__ = "TimedSubmission"
    with pytest.raises(RuntimeError, match="killed"):
        controlled_fit(
            tmp_path,
            workload=TimedDigits(Killed(clock)),
            clock=clock,
            callbacks=[TrialRecorder(tmp_path / "t", checkpoint=checkpoint)],
        )
    shutil.rmtree(tmp_path / "t")
    (tmp_path / "as_killed").rename(tmp_path / "t")
    return clock


def test_time_after_the_last_checkpoint_stays_charged_and_work_done_again_is_charged_again(tmp_path):
    clock = interrupted_run(tmp_path, at_step=8)  # evaluated and saved at 0.25 s and 1.25 s; killed at 2.0 s
    recorder = TrialRecorder(tmp_path / "t")
    time_budget, _, _ = controlled_fit(
        tmp_path, clock=clock, callbacks=[recorder], ckpt_path=recorder.checkpoint_path, trainer={"max_steps": 20}
    )
    evaluations = time_budget.result.evaluations
    assert [e.step for e in evaluations[:2]] == [1, 5]
    # The clock was to be read next at 2.25 s: so much is charged, though the run goes on from step 5 at 1.25 s.
    assert evaluations[2].submission_seconds >= 2.0 + 0.25
    assert evaluations[2].submission_seconds == pytest.approx(2.25 + 0.25)
    assert evaluations[2].step == 6
    assert TrialResult.read(tmp_path / "t").preemptions == 1


def test_a_run_whose_budget_was_spent_when_it_was_killed_ends_as_spent(tmp_path):
    clock = interrupted_run(tmp_path, at_step=8)
    (tmp_path / "t" / "heartbeat").write_text(f"{10.5:>24.6f}\n")  # of a budget of 10 s
    recorder = TrialRecorder(tmp_path / "t")
    _, workload, _ = controlled_fit(tmp_path, clock=clock, callbacks=[recorder], ckpt_path=recorder.checkpoint_path)
    assert workload.submission.steps == 0
    read = TrialResult.read(tmp_path / "t")
    assert (read.status, read.message, read.submission_seconds) == (Status.BUDGET_SPENT, "", 10.5)


def test_a_run_killed_before_its_first_checkpoint_begins_anew_with_the_time_it_used(tmp_path):
    clock = interrupted_run(tmp_path, at_step=3, checkpoint=False)
    time_budget, _, _ = controlled_fit(tmp_path, clock=clock, callbacks=[TrialRecorder(tmp_path / "t")])
    first = time_budget.result.evaluations[0]
    assert first.step == 1
    assert first.submission_seconds >= 0.75 + 0.25


def test_a_resumed_run_goes_on_in_the_folder_of_its_checkpoint(tmp_path):
    clock = interrupted_run(tmp_path, at_step=8)
    recorder = TrialRecorder()
    controlled_fit(tmp_path, clock=clock, callbacks=[recorder], ckpt_path=str(tmp_path / "t" / "last.ckpt"))
    assert recorder.folder == tmp_path / "t"


def test_rows_cut_off_or_not_in_the_checkpoint_are_put_right_on_resume(tmp_path):
    clock = interrupted_run(tmp_path, at_step=8)
    with (tmp_path / "t" / "evaluations.csv").open("a") as file:
        file.write("9,2.2")  # a kill cut the row off
    recorder = TrialRecorder(tmp_path / "t")
    time_budget, _, _ = controlled_fit(
        tmp_path, clock=clock, callbacks=[recorder], ckpt_path=recorder.checkpoint_path, trainer={"max_steps": 12}
    )
    assert TrialResult.read(tmp_path / "t").evaluations == time_budget.result.evaluations


def test_a_full_disk_ends_the_run_and_leaves_what_was_recorded(tmp_path):
    """``evaluations.csv`` lies on /dev/full from the third evaluation on: the write itself fails, as on a full disk."""
    clock = FakeClock()

    class DiskFills(TimedDigits):
        def on_validation_start(self):
            super().on_validation_start()
            if self.submission.steps == 9:
                (tmp_path / "t" / "evaluations.csv").rename(tmp_path / "kept.csv")
                (tmp_path / "t" / "evaluations.csv").symlink_to("/dev/full")

    with pytest.raises(OSError, match="No space left"):
        controlled_fit(
            tmp_path,
            workload=DiskFills(TimedSubmission(clock)),
            clock=clock,
            callbacks=[TrialRecorder(tmp_path / "t")],
        )
    record = json.loads((tmp_path / "t" / "trial.json").read_text())
    assert record["status"] == "failed"
    assert "No space left" in record["message"]
    assert len((tmp_path / "kept.csv").read_text().splitlines()) == 1 + 2

    # When there is room again, the run goes on, and the evaluation that could not be written is not lost.
    (tmp_path / "t" / "evaluations.csv").unlink()
    recorder = TrialRecorder(tmp_path / "t")
    resumed = TimedDigits(TimedSubmission(clock))
    controlled_fit(
        tmp_path,
        workload=resumed,
        clock=clock,
        callbacks=[recorder],
        ckpt_path=recorder.checkpoint_path,
        trainer={"max_steps": 13},
    )
    assert [e.step for e in TrialResult.read(tmp_path / "t").evaluations] == [1, 5, 9, 13]


def test_checkpoints_load_with_weights_only(tmp_path):
    controlled_fit(tmp_path, callbacks=[TrialRecorder(tmp_path / "t")], budget={"budget": 2.0})
    checkpoint = torch.load(tmp_path / "t" / "last.ckpt", weights_only=True)
    assert checkpoint["callbacks"]["TimeBudget"]["seconds"] > 0


def test_without_a_clock_there_is_nothing_to_record(tmp_path):
    trainer = L.Trainer(callbacks=[TrialRecorder(tmp_path)], accelerator="cpu", logger=False, max_steps=1)
    with pytest.raises(BadInputError, match="Add TimeBudget"):
        trainer.fit(TimedDigits(TimedSubmission(FakeClock())))


def test_the_order_of_callbacks_does_not_matter(tmp_path):
    clock = FakeClock()
    recorder, time_budget = TrialRecorder(tmp_path / "t"), TimeBudget(clock=clock, budget=3.0, eval_period=1.0)
    trainer = L.Trainer(callbacks=[recorder, time_budget], accelerator="cpu", logger=False, enable_progress_bar=False)
    trainer.fit(TimedDigits(TimedSubmission(clock)))
    assert TrialResult.read(tmp_path / "t") == time_budget.result


def trainer_of(folder, *callbacks, **options):
    return L.Trainer(
        callbacks=[*callbacks], default_root_dir=folder, accelerator="cpu", devices=1, logger=False,
        enable_model_summary=False, enable_checkpointing=True, **options,
    )  # fmt: skip


@pytest.mark.parametrize("used_before", [False, True])
def test_an_error_before_anything_is_set_up_is_not_hidden(tmp_path, monkeypatch, used_before):
    """As when the port of a process group is in use: no callback was set up then."""
    recorder, clock = TrialRecorder(tmp_path / "t"), TimeBudget()
    if used_before:
        clock, _, _ = controlled_fit(tmp_path, callbacks=[recorder], budget={"budget": 1.0})
        before = (tmp_path / "t" / "trial.json").read_bytes()
    trainer = trainer_of(tmp_path, clock, BudgetProgressBar(), StopHopeless(tmp_path), recorder)

    def fail():
        raise RuntimeError("EADDRINUSE")

    monkeypatch.setattr(trainer.strategy, "setup_environment", fail)
    with pytest.raises(RuntimeError, match="EADDRINUSE"):
        trainer.fit(Digits(PlainSGD()))
    if used_before:
        assert (tmp_path / "t" / "trial.json").read_bytes() == before
    else:
        assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("failing", [False, True])
def test_callbacks_of_a_trial_leave_an_evaluation_alone(tmp_path, timed, failing):
    class FailingDigits(Digits):
        def evaluate(self, batch, metrics):
            if failing:
                raise RuntimeError("no luck")
            super().evaluate(batch, metrics)

    clock = [TimeBudget()] if timed else []
    trainer = trainer_of(tmp_path, TrialRecorder(tmp_path / "t"), StopHopeless(tmp_path), BudgetProgressBar(), *clock)
    if failing:
        with pytest.raises(RuntimeError, match="no luck"):
            trainer.validate(FailingDigits(PlainSGD()), verbose=False)
    else:
        assert trainer.validate(FailingDigits(PlainSGD()), verbose=False)
    assert not (tmp_path / "t").exists()
