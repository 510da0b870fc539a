"""What a machine sees of the rules being broken, and that it sees nothing where they are kept."""

import os
import time

import lightning as L
import pytest
import torch
from torch import nn

from algoperf_lightning import get_submission
from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.registry import SUBMISSIONS, plugins
from algoperf_lightning.result import TrialResult
from algoperf_lightning.streams import EvaluationBatches
from algoperf_lightning.submission import Submission
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import Digits


def warnings_of(submission, tmp_path, **options):
    budget = TimeBudget(eval_period=1e-6)
    trainer = L.Trainer(
        callbacks=[budget],
        max_steps=2,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        accelerator="cpu",
    )
    trainer.fit(Digits(submission, **options))
    return budget.result.warnings


class Meddler(Submission):
    """Does one thing that it must not."""

    def __init__(self, what):
        self.what = what

    def configure_optimizers(self, model, workload):
        if self.what != "at an evaluation":
            MEDDLING[self.what](model, workload)
        return torch.optim.SGD(model.parameters(), lr=0.1)

    def before_evaluation(self, model):
        if self.what == "at an evaluation":
            model.late = nn.Identity()


def swap_layer(model, workload):
    model.add_module("extra", nn.Dropout(0.5))


def behind(workload):
    return workload._workload


def bigger_evaluation(model, workload):
    import dataclasses

    owner = behind(workload)
    owner.spec = dataclasses.replace(owner.spec, eval_batch_size=7)


def other_data(model, workload):
    behind(workload).data.seed = 12


def patched_stream(model, workload):
    EvaluationBatches.__len__ = lambda self: 1


MEDDLING = {
    "module": swap_layer,
    "evaluation batch": bigger_evaluation,
    "data": other_data,
    "stream": patched_stream,
    "clock": lambda model, workload: setattr(time, "monotonic", lambda: 0.0),
    "setting": lambda model, workload: torch.set_float32_matmul_precision("medium"),
    "threads": lambda model, workload: torch.set_num_threads(2),
    "environment": lambda model, workload: os.environ.update(A_SECRET="do not show"),
    "loss": lambda model, workload: setattr(behind(workload), "evaluate", behind(workload).evaluate),
}


@pytest.fixture
def put_back(monkeypatch):
    """Undo what a meddler does."""
    monkeypatch.setattr(EvaluationBatches, "__len__", EvaluationBatches.__len__)
    monkeypatch.setattr(time, "monotonic", time.monotonic)
    monkeypatch.setenv("A_SECRET", "")
    monkeypatch.delenv("A_SECRET")
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("module", "The model's structure changed during the run: module extra was 'not there' and is now 'Dropout'"),
        ("module", "The model's structure changed during the run: dropout extra was 'not there' and is now 0.5"),
        ("at an evaluation", "The model's structure changed during the run: module late"),
        ("evaluation batch", "The workload's numbers changed during the run: spec"),
        ("data", "The data pipeline changed during the run: seed was"),
        ("stream", "The data pipeline changed during the run: EvaluationBatches.__len__ was replaced"),
        ("clock", "A clock changed during the run: time.monotonic was replaced"),
        ("setting", "A global setting changed during the run: torch.get_float32_matmul_precision() was 'highest'"),
        ("threads", "A global setting changed during the run: torch.get_num_threads() was 1 and is now 2"),
        ("environment", "The environment changed during the run: A_SECRET."),
        ("loss", "The workload changed during the run: evaluate was replaced"),
    ],
)
def test_meddling_is_seen_once_and_recorded(tmp_path, put_back, what, expected):
    warnings = warnings_of(Meddler(what), tmp_path)
    found = [warning for warning in warnings if warning.startswith(expected)]
    assert len(found) == 1, warnings
    assert "do not show" not in " ".join(warnings)


@pytest.mark.parametrize("submission", [*plugins(SUBMISSIONS)])
def test_baselines_keep_the_rules(submission, tmp_path):
    assert warnings_of(get_submission(submission)(), tmp_path) == []


def test_warnings_are_in_the_record_and_read_back(tmp_path):
    result = TrialResult(
        **dict.fromkeys(("workload", "version", "ruleset", "submission", "metric", "stop_at"), "x"),
        **dict.fromkeys(("seed", "batch_size", "budget", "eval_period", "validation_target", "test_target"), 1),
        hyperparameters={},
        direction="max",
        warnings=["it did something"],
    )
    result.write_trial(tmp_path)
    assert TrialResult.read(tmp_path).warnings == ["it did something"]


def test_evaluations_that_a_submission_sees_are_not_the_records_own(tmp_path):
    class Forger(PlainSGD):
        def training_step(self, workload, batch):
            with pytest.raises((AttributeError, TypeError)):
                workload.evaluations.append("forged")
            return super().training_step(workload, batch)

    warnings_of(Forger(), tmp_path)
