"""Runs with and without instruments, whose clock passes a quarter of a second a step, and more while something is
measured."""

from contextlib import contextmanager

import lightning as L
import torch
from controlled import FakeClock

from algoperf_lightning.callbacks import Instruments, TimeBudget, TrialRecorder
from algoperf_lightning.instruments.undisturbed import undisturbed


class Passing(L.Callback):
    """Lets time pass in each step."""

    def __init__(self, clock):
        self.clock = clock

    def on_train_batch_end(self, *args):
        self.clock.advance(0.25)


def fit(workload, folder, measure=None, steps=10, callbacks=(), budget=None, monkeypatch=None, clock=None, **options):
    """Fit a workload under a clock of its own; measuring takes 7 s each time. Return (result, workload, Trainer)."""
    clock = clock or FakeClock()
    instruments = options.pop("instruments", None) or Instruments(measure)
    if monkeypatch is not None:
        monkeypatch.setattr("algoperf_lightning.callbacks.instruments.undisturbed", slowly(clock))
    limits = {"budget": 99.0, "eval_period": 1.0, **(budget or {})}
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(
        callbacks=[Passing(clock), instruments, time_budget := TimeBudget(clock=clock, **limits), *callbacks],
        max_steps=steps,
        default_root_dir=folder,
        enable_checkpointing=any(isinstance(each, TrialRecorder) for each in callbacks),
        **{**quiet, "accelerator": "cpu", "devices": 1, **options},
    )
    checkpoint = next((each.checkpoint_path for each in callbacks if hasattr(each, "checkpoint_path")), None)
    trainer.fit(workload, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    return time_budget.result, workload, trainer


def slowly(clock):
    @contextmanager
    def measured(seed):
        with undisturbed(seed):
            clock.advance(7.0)
            yield

    return measured


def differences(one, other):
    """What differs between two runs of :func:`fit`: nothing, if measuring changes nothing."""
    found = [name for name, (a, b) in paired(one[1].network, other[1].network) if not torch.equal(a, b)]
    for name in ("steps", "submission_seconds", "status", "message", "warnings", "notes"):
        pair = getattr(one[0], name), getattr(other[0], name)
        found += [] if pair[0] == pair[1] else [f"{name}: {pair}"]
    rows = [[(e.step, e.submission_seconds, e.loss, e.metrics) for e in each[0].evaluations] for each in (one, other)]
    found += [] if str(rows[0]) == str(rows[1]) else [f"evaluations: {rows}"]
    states = [[optimizer.state_dict() for optimizer in each[2].optimizers] for each in (one, other)]
    return found + ([] if str(states[0]) == str(states[1]) else ["states of optimizers"])


def paired(one, other):
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    return [(name, (first[name], second[name])) for name in first]
