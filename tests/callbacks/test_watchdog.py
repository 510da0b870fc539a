"""A step that does not end, in this process: it is ended where it is."""

import signal
import threading
import time

import pytest
import torch
from test_submission_errors import failed_record, trainer_for

from algoperf_lightning.callbacks import TrialRecorder, watchdog
from algoperf_lightning.callbacks.signals import CallSignal
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
    monkeypatch.setattr(watchdog, "EVALUATION_GRACE", 0.5)

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
        if self.how == "raises":
            raise ValueError("no luck")
        if self.how == "waits":
            threading.Event().wait(600)
        while self.how == "works":
            torch.ones(10).sum()

    def configure_optimizers(self, model, workload):
        self.hang("configure_optimizers")
        optimizer = super().configure_optimizers(model, workload)
        load = optimizer.load_state_dict

        def load_state_dict(state):
            self.hang("optimizer's load_state_dict")
            load(state)

        optimizer.load_state_dict = load_state_dict
        return optimizer

    def load_state_dict(self, state):
        self.hang("load_state_dict")

    def select_batch(self, batches):
        self.steps += 1
        if self.steps == 1:
            self.hang("the first select_batch")
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

    def after_evaluation(self, model):
        self.hang("after_evaluation")


@pytest.mark.slow
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
    assert f", in {where}" in message
    if where != "before_evaluation":
        assert message.startswith("Step 3 did not end")
    assert len(TrialResult.read(tmp_path / "trial").evaluations) == 1
    assert not any(thread.name == "algoperf-watchdog" for thread in threading.enumerate())


def hanging(where, how="waits"):
    submission = Hanging()
    submission.where, submission.how = where, how
    return submission


def ends_by_the_watchdog(tmp_path, workload, **options):
    handler = signal.getsignal(signal.SIGTERM)
    trainer = trainer_for(tmp_path, TrialRecorder(tmp_path / "trial"), **BUDGETS["steps"])
    with pytest.raises(StepTimeoutError):
        trainer.fit(workload, **options)
    assert signal.getsignal(signal.SIGTERM) is handler
    assert not any(thread.name == "algoperf-watchdog" for thread in threading.enumerate())
    return failed_record(tmp_path / "trial")


@pytest.mark.parametrize(
    ("where", "how"),
    [
        ("configure_optimizers", "waits"),
        ("configure_optimizers", "works"),
        ("the first select_batch", "waits"),
        ("after_evaluation", "works"),
    ],
)
def test_so_is_whatever_else_a_submission_does_without_end(tmp_path, quick, where, how):
    quick("steps")
    message = ends_by_the_watchdog(tmp_path, Digits(hanging(where, how)))
    name = where.rpartition(" ")[2]
    assert f", in {name}" in message
    if where == "configure_optimizers":
        assert message.startswith("Hanging.configure_optimizers did not end within the remaining budget")


@pytest.mark.parametrize("where", ["load_state_dict", "optimizer's load_state_dict"])
def test_so_is_what_it_does_without_end_when_it_is_resumed(tmp_path, quick, where):
    with pytest.raises(ValueError, match="no luck"):
        trainer_for(tmp_path, TrialRecorder(tmp_path / "trial"), **BUDGETS["steps"]).fit(
            Digits(hanging("training_step", "raises"))
        )
    before = TrialResult.read(tmp_path / "trial")
    quick("steps")
    path = str(tmp_path / "trial" / "last.ckpt")
    message = ends_by_the_watchdog(tmp_path, Digits(hanging(where)), ckpt_path=path, weights_only=True)
    assert message.startswith(f"Hanging.{where} did not end")
    assert TrialResult.read(tmp_path / "trial").evaluations == before.evaluations


def test_an_evaluation_that_never_ends_is_ended_and_one_that_goes_on_is_not(tmp_path, quick):
    class SlowDigits(Digits):
        batches = 0

        def evaluate(self, batch, metrics):
            self.batches += 1
            time.sleep(0.3)  # all three together take longer than one may
            if self.batches > 3:
                threading.Event().wait(600)
            super().evaluate(batch, metrics)

    quick("steps")
    message = ends_by_the_watchdog(tmp_path, SlowDigits(PlainSGD()))
    assert message.startswith("The evaluation did not end: it finished no batch within 0.5 seconds. It was")
    assert len(TrialResult.read(tmp_path / "trial").evaluations) == 1


def test_a_signal_during_a_call_does_what_it_did_before():
    seen = []
    previous = signal.signal(signal.SIGTERM, lambda signum, frame: seen.append(signum))
    try:
        with CallSignal():
            signal.raise_signal(signal.SIGTERM)
        assert seen == [signal.SIGTERM]

        def wait_in_vain():
            with CallSignal() as call:
                assert call.raise_in_main_thread(StepTimeoutError("too long"))
                time.sleep(5)

        with pytest.raises(StepTimeoutError):
            wait_in_vain()
        signal.raise_signal(signal.SIGTERM)
        assert seen == [signal.SIGTERM] * 2
    finally:
        signal.signal(signal.SIGTERM, previous)


@pytest.mark.slow
@pytest.mark.parametrize("unit", BUDGETS)
def test_a_long_evaluation_is_no_step(tmp_path, quick, unit, monkeypatch):
    class SlowDigits(Digits):
        def on_validation_epoch_end(self):
            super().on_validation_epoch_end()
            time.sleep(2.5)

    quick(unit)
    monkeypatch.setattr(watchdog, "EVALUATION_GRACE", 60.0)
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
        dog = watchdog.Watchdog(lambda: 7, lambda: 60.0, lambda dog: expired.set())
        assert not expired.wait(0.3)
        dog.stop()
    finally:
        watchdog.time = original
