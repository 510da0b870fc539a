"""Short runs of a submission with a given ``configure_optimizers``, and the plain loop that they are compared with."""

from typing import ClassVar

import lightning as L
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, ReduceLROnPlateau

from algoperf_lightning import Submission
from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.workloads import Digits

STEPS, EVAL_PERIOD = 14, 3
ACCURACIES = {1: 0.1, 4: 0.2, 7: 0.2, 10: 0.2, 13: 0.15, 14: 0.3}
"""What the evaluations give, by the steps after which there is one: the first, then by the period, and the last."""
OF_LIGHTNING = {3: 0.1, 6: 0.1, 9: 0.1, 12: 0.1}
"""The same by Lightning's own cadence."""


class Configured(Submission):
    """SGD with whatever ``configure`` returns, which notes the learning rate of each step."""

    batch_sizes: ClassVar = {"digits": 8}

    def __init__(self, configure=None):
        self.configure = configure
        self.dies_at = None
        self.rates = []

    def configure_optimizers(self, model, workload):
        self.optimizer = SGD(model.parameters(), lr=0.1)
        return self.configure(self.optimizer)

    def training_step(self, workload, batch):
        if len(self.rates) == self.dies_at:
            raise RuntimeError("dies")
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        return super().training_step(workload, batch)


class DigitsOf(Digits):
    """Digits whose evaluations give what they are to."""

    def on_validation_epoch_end(self):
        super().on_validation_epoch_end()
        self.evaluation["validation/accuracy"] = {**OF_LIGHTNING, **ACCURACIES}.get(self.trainer.global_step, 0.0)


def fit(submission, folder, *, max_steps=-1, ckpt_path=None, timed=True):
    options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    workload = DigitsOf(submission)
    if timed:
        clock = TimeBudget(unit="steps", budget=STEPS, eval_period=EVAL_PERIOD)
        options["callbacks"] = [clock, TrialRecorder(folder / "trial")]
    else:
        options |= {"num_sanity_val_steps": 2, "val_check_interval": EVAL_PERIOD, "check_val_every_n_epoch": None}
    trainer = L.Trainer(max_steps=max_steps, max_epochs=-1, default_root_dir=folder, **options)
    trainer.fit(workload, ckpt_path=ckpt_path, weights_only=True)
    return submission.rates


def plain_loop(build, *, after_steps=1, after_evaluations=0, accuracies=ACCURACIES):
    """Return the learning rates of a plain PyTorch loop that steps its schedules as told."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedules = build(optimizer)
    rates, evaluations = [], 0
    for step in range(1, STEPS + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for schedule in schedules:
            if after_steps and step % after_steps == 0:
                schedule.step()
        if step in accuracies:
            evaluations += 1
            for schedule in schedules:
                if after_evaluations and evaluations % after_evaluations == 0:
                    takes_metric = isinstance(schedule, ReduceLROnPlateau)
                    schedule.step(*([accuracies[step]] if takes_metric else []))
    return rates


def cosine(optimizer):
    return CosineAnnealingLR(optimizer, STEPS)


def exponential(optimizer):
    return ExponentialLR(optimizer, 0.9)


def plateau(optimizer, mode="max"):
    return ReduceLROnPlateau(optimizer, mode, factor=0.5, patience=1)
