import re
import warnings
from typing import ClassVar

import lightning as L
import pytest
from controlled import FakeClock, TimedDigits, TimedSubmission, controlled_fit

from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.callbacks.trainer_options import TrainerOptionError
from algoperf_lightning.errors import BadInputError


@pytest.mark.parametrize(
    ("options", "named"),
    [
        pytest.param({"accumulate_grad_batches": 2}, "accumulate_grad_batches=2", id="accumulation"),
        pytest.param({"gradient_clip_val": 1.0}, "gradient_clip_val=1.0", id="clipping"),
        pytest.param({"limit_train_batches": 10}, "limit_train_batches=10", id="limit-train"),
        pytest.param({"limit_val_batches": 0.5}, "limit_val_batches=0.5", id="limit-val"),
        pytest.param({"overfit_batches": 1}, "overfit_batches", id="overfit"),
        pytest.param({"fast_dev_run": True}, "fast_dev_run", id="fast-dev-run"),
        pytest.param({"max_time": "00:00:01:00"}, "max_time", id="max-time"),
    ],
)
def test_options_that_would_change_the_measurement_are_refused(tmp_path, options, named):
    with pytest.raises(TrainerOptionError, match=re.escape(named)):
        controlled_fit(tmp_path, trainer=options)


def test_all_problems_are_named_at_once(tmp_path):
    with pytest.raises(TrainerOptionError) as error:
        controlled_fit(tmp_path, trainer={"accumulate_grad_batches": 2, "gradient_clip_val": 1.0})
    assert "accumulate_grad_batches" in str(error.value)
    assert "gradient_clip_val" in str(error.value)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        pytest.param({"max_epochs": 3}, "max_epochs=3 is ignored", id="max-epochs"),
        pytest.param({"min_steps": 3}, "min_steps=3 is ignored", id="min-steps"),
        pytest.param({"val_check_interval": 5}, "val_check_interval=5 is ignored", id="val-check-interval"),
        pytest.param({"val_check_interval": "00:00:00:01"}, "val_check_interval=1.0 s is ignored", id="val-check-time"),
        pytest.param({"check_val_every_n_epoch": 7}, "check_val_every_n_epoch=7 is ignored", id="check-val-every"),
        pytest.param({"reload_dataloaders_every_n_epochs": 1}, "endless stream", id="reload"),
    ],
)
def test_options_in_the_way_are_overridden_with_a_warning_and_change_nothing(tmp_path, options, named):
    plain, *_ = controlled_fit(tmp_path, budget={"budget": 3.0})
    with pytest.warns(UserWarning, match=named):
        overridden, *_ = controlled_fit(tmp_path, trainer=options, budget={"budget": 3.0})
    assert overridden.result.evaluations == plain.result.evaluations


def test_an_ordinary_trainer_gives_no_warnings(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*max_epochs. was not set")  # set again by TimeBudget itself
        controlled_fit(tmp_path, budget={"budget": 2.0})


def test_processes_that_would_be_unrelated_runs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainerOptionError, match="2 separate runs"):
        controlled_fit(tmp_path)


@pytest.mark.parametrize("size", [0, -4, 1.5, True], ids=str)
def test_a_batch_size_must_be_a_positive_integer(size):
    class Odd(TimedSubmission):
        batch_sizes: ClassVar = {"digits": size}

    with pytest.raises(BadInputError, match="batch size for digits must be a positive integer"):
        TimedDigits(Odd(FakeClock()))


def test_a_class_in_place_of_a_submission_is_refused():
    with pytest.raises(TypeError, match="an instance, not a class"):
        TimedDigits(TimedSubmission)


def test_the_trainer_can_be_used_again(tmp_path):
    clock = FakeClock()
    time_budget = TimeBudget(clock=clock, budget=2.0, eval_period=1.0)
    trainer = L.Trainer(
        callbacks=[time_budget],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
    )
    first = TimedDigits(TimedSubmission(clock))
    trainer.fit(first)
    evaluations = time_budget.result.evaluations
    trainer.validate(first, verbose=False)
    assert time_budget.result.evaluations == evaluations
