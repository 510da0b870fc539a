"""Diagnoses of runs that were made to have exactly one fault, and of runs that have none."""

import lightning as L
import pytest
import torch

from algoperf_lightning.callbacks import Instruments, TimeBudget
from algoperf_lightning.instruments.diagnosis import diagnose
from algoperf_lightning.plugins import get_submission
from algoperf_lightning.testing.runs import PlainSGD
from algoperf_lightning.workloads import Digits

MEASURE = ["light", "noise_scale", "activations", "stability"]


def rules(submission, batch=64, steps=300):
    """The rules that speak of a run on digits, and their findings."""
    submission.batch_sizes = {"digits": batch}
    instruments = Instruments(MEASURE)
    trainer = L.Trainer(
        callbacks=[instruments, TimeBudget(unit="steps", budget=steps, eval_period=steps // 10)],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Digits(submission))
    rows = {}
    for row in instruments.rows:
        rows.setdefault(row["step"], {}).update(row)
    return {finding.rule for finding in diagnose(list(rows.values()), batch)}


class WithoutAHiddenLayer(PlainSGD):
    def configure_optimizers(self, model, workload):
        trained = [p for name, p in model.named_parameters() if "hidden" not in name]
        return torch.optim.SGD(trained, lr=self.lr, momentum=0.9)


class WithDeadUnits(PlainSGD):
    def configure_optimizers(self, model, workload):
        with torch.no_grad():
            model.hidden.bias.sub_(100.0)
        return super().configure_optimizers(model, workload)


class WithAStuckSchedule(PlainSGD):
    def configure_optimizers(self, model, workload):
        optimizer = super().configure_optimizers(model, workload)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(step < 5))
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class Clipped(PlainSGD):
    gradient_clip = 1e-3


FAULTS = {
    "far too low": (PlainSGD(lr=1e-5), 64, "rate_too_low"),
    "too high for a layer": (PlainSGD(lr=1.0), 64, "exploding_layers"),
    "frozen layer": (WithoutAHiddenLayer(lr=0.03), 64, "frozen_layers"),
    "dead layer": (WithDeadUnits(lr=0.03), 64, "dead_units"),
    "stuck schedule": (WithAStuckSchedule(lr=0.03), 64, "stuck"),
    "batch of one": (PlainSGD(lr=0.003), 1, "noise"),
    "clipped": (Clipped(lr=0.03), 64, "always_clipped"),
    "diverged": (PlainSGD(lr=1e10), 64, "diverged"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault):
    submission, batch, rule = FAULTS[fault]
    assert rule in rules(submission, batch)


@pytest.mark.slow
def test_a_rate_that_is_far_too_high_is_found():
    assert "rate_too_high" in rules(get_submission("adamw")(learning_rate=0.3), steps=800)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw", "momentum", "sam", "muon", "schedule_free_adamw"])
def test_a_healthy_run_is_left_in_peace(name):
    assert rules(get_submission(name)(), steps=1500) == set()


@pytest.mark.slow
def test_plain_sgd_with_a_fitting_rate_is_left_in_peace():
    assert rules(PlainSGD(lr=0.03), steps=600) == set()
