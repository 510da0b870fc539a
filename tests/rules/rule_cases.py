"""Short real runs with submissions that each do one thing they must not, for the tests of the rule checks."""

import logging
from typing import ClassVar

import lightning as L
import torch

from algoperf_lightning import get_workload
from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.submission import Submission

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def run(submission, folder, *, steps=2, resume=None, raises=False, clock=None, workload=None, **options):
    """Fit a submission for a few steps, of digits if none is given, with an evaluation and a checkpoint each."""
    if workload is None:
        workload = get_workload("digits")
    source = {} if clock is None else {"clock": clock}
    budget = TimeBudget(unit="steps", eval_period=1, budget=steps, target=0.9999, **source)
    trainer = L.Trainer(
        callbacks=[budget, TrialRecorder(folder / "trial")],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=True,
        default_root_dir=folder,
        accelerator="cpu",
        devices=1,
    )
    try:
        trainer.fit(workload(submission, **options), ckpt_path=resume, weights_only=True if resume else None)
    except Exception:
        if not raises:
            raise
    return budget


class Cheat(Submission):
    """Does one thing at one moment: ``act``, a function of this submission or a method of a subclass.

    Args:
        act: What it does, once; if it returns False, it is tried again.
        at: A method of a submission (``training_step`` means its second step), or ``init``.
    """

    batch_sizes: ClassVar = {"digits": 32}

    def __init__(self, act=None, at="configure_optimizers"):
        self.model = self.view = self.batch = None
        self.steps = 0
        self.acted = False
        if act is not None:
            self.act = lambda: act(self)
        self.at = at
        self._now("init")

    def act(self):
        """Do it."""

    def _now(self, moment):
        if moment == self.at and not self.acted:
            self.acted = self.act() is not False

    def configure_optimizers(self, model, workload):
        self.model, self.view = model, workload
        self._now("configure_optimizers")
        return torch.optim.SGD(model.parameters(), lr=0.1)

    def training_step(self, workload, batch):
        self.steps += 1
        self.batch = batch
        if self.steps == 2:
            self._now("training_step")
        return super().training_step(workload, batch)

    def before_evaluation(self, model):
        self._now("before_evaluation")

    def after_evaluation(self, model):
        self._now("after_evaluation")

    def state_dict(self):
        self._now("state_dict")
        return {}
