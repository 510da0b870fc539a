"""A measurement never starts from a used object."""

import copy
import logging

import lightning as L
import pytest
import torch

from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workload import CheckpointMismatchError, UsedObjectError
from algoperf_lightning.workloads import Digits

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Averaging(PlainSGD):
    """Keeps something for itself that a second run would start with."""

    def __init__(self, lr: float = 0.01):
        super().__init__(lr)
        self.fail_at, self.steps = None, 0

    def training_step(self, workload, batch):
        self.steps += 1
        if self.steps == self.fail_at:
            raise ValueError("wrong")
        return super().training_step(workload, batch)


def trainer(folder, *callbacks, steps=6, max_steps=-1):
    return L.Trainer(
        callbacks=[TimeBudget(unit="steps", budget=steps, eval_period=2), *callbacks],
        default_root_dir=folder,
        max_steps=max_steps,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def evaluations(fitted):
    return [(e.step, e.metrics) for e in clock(fitted).result.evaluations]


def clock(fitted):
    return next(callback for callback in fitted.callbacks if isinstance(callback, TimeBudget))


def test_a_second_fit_of_the_same_workload_is_refused_and_the_first_result_stays(tmp_path):
    first, workload = trainer(tmp_path), Digits(Averaging(lr=0.02))
    first.fit(workload)
    measured = evaluations(first)
    for again in (first, trainer(tmp_path)):
        with pytest.raises(UsedObjectError) as refused:
            again.fit(workload)
    assert str(refused.value).endswith("Digits(Averaging(lr=0.02)).")  # what to type
    assert clock(first).result.status is Status.BUDGET_SPENT
    assert evaluations(first) == measured
    fresh = trainer(tmp_path)
    fresh.fit(Digits(Averaging(lr=0.02)))  # and it is what helps
    assert evaluations(fresh) == measured


@pytest.mark.parametrize("used", ["itself", "a copy"])
def test_a_submission_shared_by_two_workloads_is_refused(tmp_path, used):
    submission = Averaging()
    submission.extra = "set by its user"
    trainer(tmp_path).fit(Digits(submission))
    assert submission.extra == "set by its user"  # the object that was given is the one that trains
    assert submission.steps == 6
    with pytest.raises(UsedObjectError, match="This Averaging object was already used"):
        trainer(tmp_path).fit(Digits(submission if used == "itself" else copy.deepcopy(submission)))


def test_a_used_trainer_is_refused(tmp_path):
    again = trainer(tmp_path)
    again.fit(Digits(Averaging()))
    with pytest.raises(UsedObjectError, match="Create a new Trainer"):
        again.fit(Digits(Averaging()))


def test_after_a_failed_fit_too_but_not_after_one_that_was_refused(tmp_path):
    submission = Averaging()
    submission.fail_at = 3
    workload = Digits(submission)
    refused = trainer(tmp_path)
    refused.fit_loop.epoch_loop.min_steps = None
    refused.gradient_clip_val = 1.0
    with pytest.raises(ValueError, match="gradient_clip"):
        refused.fit(workload)  # nothing of the submission ran
    with pytest.raises(ValueError, match="wrong"):
        trainer(tmp_path).fit(workload)
    with pytest.raises(UsedObjectError):
        trainer(tmp_path).fit(workload)


def test_a_run_is_resumed_with_new_objects_only(tmp_path):
    whole = trainer(tmp_path, TrialRecorder(tmp_path / "whole"))
    whole.fit(Digits(Averaging()))
    submission = Averaging()
    submission.fail_at = 5
    workload = Digits(submission)
    with pytest.raises(ValueError, match="wrong"):
        trainer(tmp_path, TrialRecorder(tmp_path / "t")).fit(workload)
    recorder = TrialRecorder(tmp_path / "t")
    with pytest.raises(UsedObjectError, match="also to resume one"):
        trainer(tmp_path, recorder).fit(workload, ckpt_path=recorder.checkpoint_path, weights_only=True)
    resumed = trainer(tmp_path, recorder := TrialRecorder(tmp_path / "t"))
    resumed.fit(Digits(Averaging()), ckpt_path=recorder.checkpoint_path, weights_only=True)
    assert evaluations(resumed) == evaluations(whole)


def test_the_model_is_built_from_the_seed_whatever_was_done_with_it_before(tmp_path):
    plain, touched = Digits(Averaging()), Digits(Averaging())
    touched.configure_model()  # to look at it, say
    with torch.no_grad():
        for parameter in touched.network.parameters():
            parameter.zero_()
    one, other = trainer(tmp_path), trainer(tmp_path)
    one.fit(plain)
    other.fit(touched)
    assert evaluations(one) == evaluations(other)


class Decay:
    """A hyperparameter that is an object: without words of its own, and changed by the run."""

    def __init__(self, factor):
        self.factor, self.count = factor, 0

    def __call__(self, step):
        self.count += 1
        return self.factor**step


class Decaying(PlainSGD):
    def __init__(self, decay, label=frozenset("abc")):
        super().__init__()
        self.decay = decay

    def configure_optimizers(self, model, workload):
        optimizer = super().configure_optimizers(model, workload)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.decay(step))
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def test_a_run_whose_hyperparameter_is_an_object_is_resumed_and_another_object_is_refused(tmp_path):
    def fit(folder, factor, max_steps, resume=False):
        recorder = TrialRecorder(folder)
        fitted = trainer(tmp_path, recorder, max_steps=max_steps)
        path = recorder.checkpoint_path if resume else None
        fitted.fit(Digits(Decaying(Decay(factor))), ckpt_path=path, weights_only=True if resume else None)
        return fitted

    whole = fit(tmp_path / "whole", 0.5, -1)
    fit(tmp_path / "t", 0.5, 4)
    record = TrialResult.read(tmp_path / "t")
    assert record.hyperparameters == {"decay": f"{__name__}.Decay(count=0, factor=0.5)", "label": ["a", "b", "c"]}
    with pytest.raises(CheckpointMismatchError, match=r"factor=0\.5"):
        fit(tmp_path / "t", 0.25, -1, resume=True)
    resumed = fit(tmp_path / "t", 0.5, -1, resume=True)
    assert evaluations(resumed)[-1] == evaluations(whole)[-1]
