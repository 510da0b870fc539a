"""Whatever a submission raises, and wherever: the trial is over, as failed, with its text in the record."""

import itertools
import logging
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException, _TunerExitException

from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.training.calls import SubmissionError
from algoperf_lightning.workloads import Digits
from algoperf_lightning.workloads.digits.data import DigitsData

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

RAISED = [
    ValueError("no luck"),
    StopIteration("no luck"),
    StopAsyncIteration("no luck"),
    GeneratorExit("no luck"),
    SystemExit("no luck"),
    SystemExit(0),
    KeyboardInterrupt("no luck"),
    SIGTERMException("no luck"),
    _TunerExitException("no luck"),
    BaseException("no luck"),
]


class FailingOptimizer(torch.optim.SGD):
    raised: BaseException

    def step(self, closure=None):
        closure()
        raise self.raised


class Failing(PlainSGD):
    """Plain SGD that raises something in one of its methods, or in a part of itself that Lightning calls."""

    def __init__(self, where="", raised=None, on_call=2):
        super().__init__()
        self.where, self.raised, self.calls_left = where, raised, on_call

    def fail(self, where):
        if where == self.where:
            self.calls_left -= 1
            if self.calls_left <= 0:
                raise self.raised

    def configure_optimizers(self, model, workload):
        self.fail("configure_optimizers")
        if self.where == "optimizer":
            optimizer = FailingOptimizer(model.parameters(), lr=0.01)
            optimizer.raised = self.raised
            return optimizer
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        if self.where == "hook of a module":
            model.register_forward_hook(lambda *args: self.fail("hook of a module"))
        if self.where == "hook of a gradient":
            next(model.parameters()).register_hook(lambda *args: self.fail("hook of a gradient"))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.fail("schedule") or 1.0)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def select_batch(self, batches):
        self.fail("select_batch")
        return super().select_batch(batches)

    def training_step(self, workload, batch):
        self.fail("training_step")
        return super().training_step(workload, batch)

    def before_evaluation(self, model):
        self.fail("before_evaluation")

    def after_evaluation(self, model):
        self.fail("after_evaluation")

    def state_dict(self):
        self.fail("state_dict")
        return {}

    def load_state_dict(self, state):
        self.fail("load_state_dict")


PLACES = {
    "configure_optimizers": 1,
    "select_batch": 2,
    "training_step": 2,
    "before_evaluation": 2,
    "after_evaluation": 1,
    "state_dict": 1,
    "optimizer": 1,
    "schedule": 2,
    "hook of a module": 4,
    "hook of a gradient": 2,
}


def trainer_for(folder, *callbacks, **budget):
    return L.Trainer(
        callbacks=[TimeBudget(**{"unit": "steps", "budget": 12, "eval_period": 4, **budget}), *callbacks],
        default_root_dir=folder,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def failed_record(folder):
    record = TrialResult.read(folder)
    assert record.status is Status.FAILED
    return record.message


CASES = [
    *((where, raised) for where in PLACES for raised in (StopIteration("no luck"), SystemExit(0))),
    *(("training_step", raised) for raised in RAISED),
]


@pytest.mark.parametrize(("where", "raised"), CASES, ids=repr)
def test_whatever_a_submission_raises_ends_the_trial_as_failed(tmp_path, where, raised):
    raised = type(raised)(*raised.args)  # an exception keeps its traceback and its notes
    trainer = trainer_for(tmp_path, TrialRecorder(tmp_path / "trial"))
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        trainer.fit(Digits(Failing(where, raised, PLACES[where])))
    if isinstance(raised, ValueError):
        assert caught.value is raised
    assert not isinstance(caught.value, SystemExit | KeyboardInterrupt | StopIteration)
    message = failed_record(tmp_path / "trial")
    assert type(raised).__name__ in message
    assert str(raised) in message
    assert Path(__file__).name in message
    if hasattr(PlainSGD, where):
        assert f"Failing.{where}" in message


class FailingData(DigitsData):
    raised: BaseException

    def open(self, split):
        examples = super().open(split)
        if split == "train":
            reads = itertools.count()
            read = examples.read

            def fail_later(indices, draws):
                if next(reads) == 3:
                    raise self.raised
                return read(indices, draws)

            examples.read = fail_later
        return examples


class FailingDataDigits(Digits):
    data_class = FailingData


@pytest.mark.parametrize("raised", [OSError("disk gone"), StopIteration("early"), SystemExit(0)], ids=repr)
def test_so_do_errors_of_the_data(tmp_path, raised):
    workload = FailingDataDigits(PlainSGD())
    workload.data.raised = type(raised)(*raised.args)
    with pytest.raises((OSError, RuntimeError)):
        trainer_for(tmp_path, TrialRecorder(tmp_path / "trial")).fit(workload)
    message = failed_record(tmp_path / "trial")
    assert type(raised).__name__ in message
    assert str(raised) in message
    assert Path(__file__).name in message


@pytest.mark.parametrize("raised", [StopIteration("no luck"), SystemExit(0), ValueError("no luck")], ids=repr)
def test_so_does_load_state_dict_and_the_record_keeps_what_it_had(tmp_path, raised):
    first, resumed = Failing(), Failing()
    first.where, first.raised, first.calls_left = "training_step", ValueError("stop here"), 7
    resumed.where, resumed.raised, resumed.calls_left = "load_state_dict", type(raised)(*raised.args), 1
    with pytest.raises(ValueError, match="stop here"):
        trainer_for(tmp_path, TrialRecorder(tmp_path / "trial")).fit(Digits(first))
    before = TrialResult.read(tmp_path / "trial")
    assert len(before.evaluations) == 2
    recorder = TrialRecorder(tmp_path / "trial")
    with pytest.raises((ValueError, SubmissionError)):
        trainer_for(tmp_path, recorder).fit(Digits(resumed), ckpt_path=recorder.checkpoint_path, weights_only=True)
    message = failed_record(tmp_path / "trial")
    assert "Failing.load_state_dict" in message
    after = TrialResult.read(tmp_path / "trial")
    assert (after.steps, after.evaluations) == (before.steps, before.evaluations)


def test_bad_input_before_the_clock_starts_leaves_no_trial_behind(tmp_path):
    submission = Failing("configure_optimizers", BadInputError("no learning rate"), 1)
    with pytest.raises(BadInputError):
        trainer_for(tmp_path, TrialRecorder(tmp_path / "trial")).fit(Digits(submission))
    assert not (tmp_path / "trial" / "trial.json").exists()
