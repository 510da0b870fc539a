"""Ways in which a run ends before its budget: the submission, the Trainer, other callbacks, errors."""

import math

import lightning as L
import pytest
import torch
from controlled import FakeClock, TimedDigits, TimedSubmission, controlled_fit, seconds_of, steps_of
from lightning.pytorch.callbacks import EarlyStopping

from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.result import Status
from algoperf_lightning.workloads import Digits


def test_submission_ends_the_run_with_a_last_evaluation(tmp_path):
    time_budget, _, _ = controlled_fit(tmp_path, stop_at_step=7, budget={"eval_period": 1000.0, "budget": 2000.0})
    result = time_budget.result
    assert result.status is Status.STOPPED
    assert "submission" in result.message
    assert steps_of(time_budget)[0] == 1
    # honoured at the next reading of the clock, which is at most a second away: 1.75 s to 2.5 s
    assert 7 <= steps_of(time_budget)[1] <= 10


def test_max_steps_ends_the_run_with_a_last_evaluation(tmp_path):
    time_budget, _, _ = controlled_fit(
        tmp_path, trainer={"max_steps": 11}, budget={"budget": 1000.0, "eval_period": 900.0}
    )
    assert steps_of(time_budget) == [1, 11]
    assert time_budget.result.status is Status.STOPPED
    assert "max_steps=11" in time_budget.result.message


def test_early_stopping_of_the_user_ends_the_run(tmp_path):
    stopper = EarlyStopping("validation/loss", mode="min", patience=0, min_delta=1e9)
    time_budget, workload, _ = controlled_fit(tmp_path, callbacks=[stopper], before=0.125)
    result = time_budget.result
    assert result.status is Status.STOPPED
    assert steps_of(time_budget) == [1, 5]
    assert workload.submission.calls.count("before") == workload.submission.calls.count("after") == 2


def test_should_stop_between_evaluations_gives_a_timed_and_recorded_last_one(tmp_path):
    class StopAtStep3(L.Callback):
        def on_train_batch_end(self, trainer, *args):
            trainer.should_stop = trainer.global_step == 3

    time_budget, workload, _ = controlled_fit(
        tmp_path, callbacks=[StopAtStep3()], evaluation_seconds=9.0, before=0.5, after=0.25
    )
    # 0.25 + 0.5 before the first; 0.25 after it, two steps of 0.25, 0.5 before the last
    assert seconds_of(time_budget) == pytest.approx([0.75, 2.0])
    assert time_budget.result.status is Status.STOPPED
    assert workload.submission.calls == ["before", "after"] * 2


def test_loss_that_becomes_nan_is_recorded_and_the_run_goes_on(tmp_path):
    class Diverging(TimedSubmission):
        def training_step(self, workload, batch):
            loss = super().training_step(workload, batch)
            return loss * math.nan if self.steps >= 4 else loss

    clock = FakeClock()
    workload = Digits(Diverging(clock))
    time_budget, _, _ = controlled_fit(tmp_path, workload=workload, clock=clock, budget={"budget": 3.0})
    result = time_budget.result
    assert result.status is Status.BUDGET_SPENT
    assert 4 <= result.nonfinite_loss_step <= 8
    assert math.isnan(result.evaluations[-1].loss)
    assert math.isnan(result.evaluations[-1].metrics["validation/loss"])
    assert math.isfinite(result.evaluations[0].loss)


def test_a_step_that_the_submission_skips_is_no_diverged_one(tmp_path):
    class Skipping(TimedSubmission):
        def training_step(self, workload, batch):
            loss = super().training_step(workload, batch)
            return loss if self.steps % 2 else None

    clock = FakeClock()
    time_budget, _, _ = controlled_fit(
        tmp_path, workload=TimedDigits(Skipping(clock)), clock=clock, budget={"budget": 3.0}
    )
    assert time_budget.result.nonfinite_loss_step is None
    assert time_budget.result.steps == 12  # skipped steps count, as their time does


@pytest.mark.parametrize("where", ["evaluation", "training"])
def test_an_error_ends_the_trial_with_a_record_that_says_so(tmp_path, where):
    class Failing(TimedDigits):
        def evaluate(self, batch, metrics):
            if where == "evaluation":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            super().evaluate(batch, metrics)

        def training_step(self, batch):
            if where == "training":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return super().training_step(batch)

    clock = FakeClock()
    workload = Failing(TimedSubmission(clock))
    time_budget = TimeBudget(clock=clock)
    trainer = L.Trainer(
        callbacks=[time_budget], accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False
    )
    with pytest.raises(torch.OutOfMemoryError):
        trainer.fit(workload)
    assert time_budget.result.status is Status.FAILED
    assert "OutOfMemoryError" in time_budget.result.message
    assert where in time_budget.result.message
    assert "2.00 GiB" in time_budget.result.message
