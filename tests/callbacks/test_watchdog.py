"""A step that does not end, in this process: it is ended where it is."""

import threading
import time

import pytest
import torch
from test_submission_errors import failed_record, trainer_for

from algoperf_lightning.callbacks import TrialRecorder, watchdog
from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.utilities.interruption import StepTimeoutError
from algoperf_lightning.workloads import Digits

BUDGETS = {
    "seconds": {"unit": "seconds", "budget": 1.0, "eval_period": 0.5, "target": 0.9999},
    "steps": {"unit": "steps", "budget": 100, "eval_period": 50, "target": 0.9999},
}


@pytest.fixture
def quick(monkeypatch):
    """A watchdog that waits for tenths of seconds."""
    monkeypatch.setattr(watchdog, "LOOK_EVERY", 0.05)

    def set_limit(unit):
        # Where steps are counted, one may take all of the workload's 60 seconds; a negative grace leaves 0.5 of them.
        monkeypatch.setattr(watchdog, "GRACE", 0.5 if unit == "seconds" else 0.5 - Digits.spec.budget)

    return set_limit


class Hanging(PlainSGD):
    where, how = "training_step", "waits"

    def __init__(self):
        super().__init__()
        self.steps = 0

    def hang(self, where):
        if where != self.where:
            return
        if self.how == "waits":
            threading.Event().wait(600)
        while self.how == "works":
            torch.ones(10).sum()

    def select_batch(self, batches):
        self.steps += 1
        if self.steps == 3:
            self.hang("select_batch")
        return super().select_batch(batches)

    def training_step(self, workload, batch):
        if self.steps == 3:
            self.hang("training_step")
        return super().training_step(workload, batch)

    def before_evaluation(self, model):
        if self.steps > 1:
            self.hang("before_evaluation")


@pytest.mark.parametrize("unit", BUDGETS)
@pytest.mark.parametrize(
    ("where", "how"),
    [("training_step", "waits"), ("training_step", "works"), ("select_batch", "waits"), ("before_evaluation", "works")],
)
def test_a_step_that_never_ends_is_ended_and_recorded(tmp_path, quick, unit, where, how):
    quick(unit)
    submission = Hanging()
    submission.where, submission.how = where, how
    trainer = trainer_for(tmp_path, TrialRecorder(tmp_path / "trial"), **BUDGETS[unit])
    with pytest.raises(StepTimeoutError) as ended:
        trainer.fit(Digits(submission))
    assert ended.value.code == 124
    message = failed_record(tmp_path / "trial")
    assert "did not end" in message
    assert "It was executing" in message
    if where != "before_evaluation":
        assert message.startswith("Step 3 did not end")
    assert len(TrialResult.read(tmp_path / "trial").evaluations) == 1
    assert not any(thread.name == "algoperf-watchdog" for thread in threading.enumerate())


@pytest.mark.parametrize("unit", BUDGETS)
def test_a_long_evaluation_is_no_step(tmp_path, quick, unit):
    class SlowDigits(Digits):
        def on_validation_epoch_end(self):
            super().on_validation_epoch_end()
            time.sleep(2.5)

    quick(unit)
    rules = BUDGETS[unit] | ({"budget": 2} if unit == "steps" else {})
    trainer = trainer_for(tmp_path, TrialRecorder(tmp_path / "trial"), **rules)
    trainer.fit(SlowDigits(PlainSGD()))
    assert TrialResult.read(tmp_path / "trial").status is Status.BUDGET_SPENT


def test_time_in_which_the_process_was_stopped_is_not_held_against_it():
    expired = threading.Event()
    looks = iter([0.0, 0.1, 1000.0, 1000.1])

    class Clock:
        monotonic = staticmethod(lambda: next(looks, 1000.2))

    original, watchdog.time = watchdog.time, Clock
    try:
        dog = watchdog.Watchdog(lambda: 7, lambda: 1.0, lambda dog: expired.set())
        assert not expired.wait(0.3)
        dog.stop()
    finally:
        watchdog.time = original
