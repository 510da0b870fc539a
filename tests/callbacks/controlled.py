"""A run whose time is ours: a clock that moves only when told, and work that tells it."""

import logging
from typing import ClassVar

import lightning as L
import torch

from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import Digits

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class FakeClock:
    """Seconds that pass only by ``advance``."""

    def __init__(self):
        self.now = 1000.0  # a monotonic clock starts anywhere

    def __call__(self):
        return self.now

    def __repr__(self):  # a hyperparameter of the tests' submissions: the same whatever the time is
        return "FakeClock"

    def advance(self, seconds):
        self.now += seconds


class TimedSubmission(PlainSGD):
    """Each part of a submission takes as long as it is told."""

    batch_sizes: ClassVar = {"digits": 8}

    def __init__(self, clock=None, step=0.25, select=0.0, before=0.0, after=0.0, stop_at_step=None):
        super().__init__()
        self.clock, self.step, self.select = clock, step, select
        self.before, self.after, self.stop_at_step = before, after, stop_at_step
        self.calls = []
        self.steps = 0

    def select_batch(self, batches):
        self.clock.advance(self.select)
        return next(batches)

    def training_step(self, workload, batch):
        self.steps += 1
        self.clock.advance(self.step(self.steps) if callable(self.step) else self.step)
        if self.steps == self.stop_at_step:
            workload.stop()
        return super().training_step(workload, batch)

    def before_evaluation(self, model):
        self.calls.append("before")
        self.clock.advance(self.before)

    def after_evaluation(self, model):
        self.calls.append("after")
        self.clock.advance(self.after)


class TimedDigits(Digits):
    """Digits whose evaluations take as long, and give what, they are told."""

    def __init__(self, submission, *, evaluation_seconds=0.0, scores=(), test_scores=(), **kwargs):
        super().__init__(submission, **kwargs)
        self.evaluation_seconds = evaluation_seconds
        self.scores, self.test_scores = list(scores), list(test_scores)

    def on_validation_epoch_end(self):
        super().on_validation_epoch_end()
        if self.submission.clock is not None:
            self.submission.clock.advance(self.evaluation_seconds)
        self.evaluation["validation/accuracy"] = self.scores.pop(0) if self.scores else 0.1
        self.evaluation["test/accuracy"] = self.test_scores.pop(0) if self.test_scores else 0.1


def controlled_fit(
    tmp_path, *, workload=None, budget=None, clock=None, callbacks=(), trainer=None, ckpt_path=None, **timed
):
    """Fit a timed workload and return (TimeBudget, workload, Trainer)."""
    clock = clock or FakeClock()
    options = {"evaluation_seconds", "scores", "test_scores", "seed"}
    workload = workload or TimedDigits(
        TimedSubmission(clock, **{k: v for k, v in timed.items() if k not in options}),
        **{k: v for k, v in timed.items() if k in options},
    )
    time_budget = TimeBudget(clock=clock, **{"budget": 10.0, "eval_period": 1.0, **(budget or {})})
    lightning = L.Trainer(
        callbacks=[*callbacks, time_budget],
        default_root_dir=tmp_path,
        **{
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": bool([c for c in callbacks if isinstance(c, L.pytorch.callbacks.Checkpoint)]),
            **(trainer or {}),
        },
    )
    lightning.fit(workload, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    return time_budget, workload, lightning


def same_parameters(one, other):
    first, second = one.network.state_dict(), other.network.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)


def seconds_of(time_budget):
    return [evaluation.submission_seconds for evaluation in time_budget.result.evaluations]


def steps_of(time_budget):
    return [evaluation.step for evaluation in time_budget.result.evaluations]
