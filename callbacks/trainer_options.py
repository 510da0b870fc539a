"""What a Trainer must be for a run to be timed: options that would break the clock are refused or set right."""

from __future__ import annotations

import os
import sys
import warnings

import lightning as L
from lightning.pytorch.callbacks import (
    Checkpoint,
    EarlyStopping,
    GradientAccumulationScheduler,
    StochasticWeightAveraging,
    Timer,
)
from lightning.pytorch.utilities import rank_zero_warn

from algoperf_lightning.checkpoints import SafeCheckpointIO
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.workload import UsedObjectError

NEVER = sys.maxsize
"""A ``val_check_batch`` that no run reaches."""


_FALSE_ALARMS = (
    # Said of every Trainer without max_epochs; here the budget ends the run.
    "`max_epochs` was not set",
    # Lightning 2.6 on torch 2.11, at the first batch.
    ".*isinstance.treespec, LeafSpec.*",
    # Metrics are computed over all ranks before they are logged.
    r"It is recommended to use `self.log\('(train|validation|test)/",
)


class TrainerOptionError(BadInputError):
    """A Trainer option that would change the training algorithm or the measurement."""


def silence_false_alarms() -> None:
    """Silence warnings of Lightning that are not true of a timed run."""
    for message in _FALSE_ALARMS:
        warnings.filterwarnings("ignore", message=message)


def prepare_trainer(trainer: L.Trainer) -> None:
    """Refuse options that make a run meaningless, and set right those that only get in the way, with a warning.

    Raises:
        TrainerOptionError: Listing every option that cannot stay, and what to do instead.
        UsedObjectError: If the Trainer has trained before.
    """
    if trainer.fit_loop.epoch_loop.batch_progress.total.ready:
        raise UsedObjectError(
            "This Trainer has trained before, and counts on from there. Make a new Trainer for each run."
        )
    if problems := [*_problems(trainer), *_launch_problems(trainer)]:
        raise TrainerOptionError("This Trainer cannot time a run:\n" + "\n".join(f"- {line}" for line in problems))
    overridden = []
    loop = trainer.fit_loop
    # 1000 is what Lightning itself fills in where nothing is given.
    if loop.max_epochs not in (None, -1, 1000):
        overridden.append(f"max_epochs={loop.max_epochs} is ignored: there are no epochs, the budget ends the run")
    if loop.min_epochs or loop.epoch_loop.min_steps:
        overridden.append("min_epochs and min_steps are ignored: the target or the budget ends the run")
    interval = getattr(trainer, "val_check_interval", None)
    if interval not in (None, 1.0) or trainer._val_check_time_interval is not None:
        overridden.append("val_check_interval is ignored: the workload fixes when it is evaluated")
    if trainer.check_val_every_n_epoch not in (None, 1):
        overridden.append("check_val_every_n_epoch is ignored: the workload fixes when it is evaluated")
    if trainer.reload_dataloaders_every_n_epochs:
        overridden.append("reload_dataloaders_every_n_epochs is ignored: training data are one endless stream")
    for line in overridden:
        rank_zero_warn(f"TimeBudget: {line}.")
    loop.max_epochs = -1
    loop.min_epochs = 0
    loop.epoch_loop.min_steps = None
    trainer.val_check_interval = 1.0
    trainer._val_check_time_interval = None
    trainer.check_val_every_n_epoch = None
    trainer.reload_dataloaders_every_n_epochs = 0
    trainer.num_sanity_val_steps = 0
    if not isinstance(trainer.strategy.checkpoint_io, SafeCheckpointIO):
        trainer.strategy.checkpoint_io = SafeCheckpointIO(trainer.strategy.checkpoint_io)
    for callback in trainer.callbacks:
        if isinstance(callback, EarlyStopping):
            # It has looked at the options above already, and would wait for the end of an epoch.
            callback._check_on_train_epoch_end = False


def order_callbacks(trainer: L.Trainer, clock: L.Callback) -> None:
    """Give each callback its turn.

    Others come first, as their work at the end of a step or an evaluation must not lie between the clock's reading and
    its pause; then the clock, then what shows and writes its result.
    """

    def turn(callback: L.Callback) -> int:
        if isinstance(callback, Checkpoint):
            return 3
        if callback is clock:
            return 1
        return 2 if getattr(callback, "follows_clock", False) else 0

    trainer.callbacks = sorted(trainer.callbacks, key=turn)


def _problems(trainer: L.Trainer) -> list[str]:
    problems = []
    if trainer.fast_dev_run:
        problems.append("fast_dev_run cuts evaluations short. Use max_steps to try a few steps.")
    if trainer.overfit_batches:
        problems.append("overfit_batches changes the data. Leave it out.")
    if not trainer.fast_dev_run and not trainer.overfit_batches:  # which set the limits themselves
        limits = {name: getattr(trainer, name) for name in ("limit_train_batches", "limit_val_batches")}
        problems.extend(
            f"{name}={limit} changes the data. Leave it out." for name, limit in limits.items() if limit != 1.0
        )
    if trainer.accumulate_grad_batches != 1 or _has(trainer, GradientAccumulationScheduler):
        problems.append("gradient accumulation changes the batch size, which is the submission's. Set its batch_sizes.")
    if trainer.gradient_clip_val is not None:
        problems.append(
            f"gradient_clip_val={trainer.gradient_clip_val} is the submission's choice. Set its gradient_clip."
        )
    if _has(trainer, StochasticWeightAveraging):
        problems.append("weight averaging is the training algorithm's work. Put it into the submission.")
    if _has(trainer, Timer):
        problems.append("max_time ends the run by wall time. Use TimeBudget(budget=...), in submission seconds.")
    return problems


def _launch_problems(trainer: L.Trainer) -> list[str]:
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched > 1 and trainer.world_size == 1:
        local = os.environ.get("LOCAL_WORLD_SIZE", str(launched))
        return [
            f"the launcher started {launched} processes, but this Trainer uses one: they would be {launched} separate "
            f"runs. Pass devices={local} (and strategy='ddp') to the Trainer."
        ]
    return []


def _has(trainer: L.Trainer, kind: type[L.Callback]) -> bool:
    return any(isinstance(callback, kind) for callback in trainer.callbacks)
