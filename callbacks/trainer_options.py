"""Checks of the Trainer of a timed run: options that would break the clock are refused or corrected."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from lightning.pytorch.utilities import rank_zero_warn

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.records.checkpoints import SafeCheckpointIO
from algoperf_lightning.workload import UsedObjectError, Workload

from .trainer_decisions import TRAINER_OPTIONS, Verdict, decide

NEVER = sys.maxsize
"""A ``val_check_batch`` beyond the length of any run."""


_FALSE_ALARMS = (
    # Lightning warns about every Trainer without max_epochs; here the budget ends the run.
    "`max_epochs` was not set",
    # Lightning 2.6 on torch 2.11, at the first batch.
    ".*isinstance.treespec, LeafSpec.*",
    # Metrics are aggregated over all ranks before they are logged.
    r"It is recommended to use `self.log\('(train|validation|test)/",
)


class TrainerOptionError(BadInputError):
    """A Trainer option that would change the training algorithm or the measurement."""


def silence_false_alarms() -> Callable[[], None]:
    """Silence Lightning's warnings that do not apply to a timed run; return a function that undoes it."""
    before = list(warnings.filters)
    for message in _FALSE_ALARMS:
        warnings.filterwarnings("ignore", message=message)
    return partial(_remove_filters, [entry for entry in warnings.filters if entry not in before])


def _remove_filters(added: Sequence[Any]) -> None:
    left = [entry for entry in warnings.filters if entry not in added]
    warnings.resetwarnings()  # which also resets the decisions made by the old ones
    warnings.filters[:] = left  # type: ignore[index]


def prepare_trainer(trainer: L.Trainer, workload: Workload, clock: L.Callback) -> None:
    """Refuse options that make a run meaningless, and correct harmless ones with a warning.

    The decisions are in the table of :mod:`algoperf_lightning.callbacks.trainer_decisions`.

    Raises:
        TrainerOptionError: Listing every refused option and callback, and what to do instead.
        UsedObjectError: If the Trainer has trained before.
    """
    if trainer.fit_loop.epoch_loop.batch_progress.total.ready:
        raise UsedObjectError("This Trainer was used before. Create a new Trainer for each run.")
    problems = [*_refused_options(trainer), *_refused_callbacks(trainer), *_other_data(trainer, workload)]
    if problems := [*problems, *_launch_problems(trainer)]:
        raise TrainerOptionError("This Trainer cannot time a run:\n" + "\n".join(f"- {line}" for line in problems))
    for option in TRAINER_OPTIONS.values():
        if option.verdict is Verdict.IGNORED and (given := option.given(trainer)) is not None:
            rank_zero_warn(f"TimeBudget: {given} is ignored: {option.text}.")
    loop = trainer.fit_loop
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
            # A timed run has no end of an epoch.
            callback._check_on_train_epoch_end = False
    _order_callbacks(trainer, clock)


def _order_callbacks(trainer: L.Trainer, clock: L.Callback) -> None:
    """Sort the callbacks.

    Others come first, because their work at the end of a step or an evaluation must not be between the clock's reading
    and its pause; then the clock, then callbacks that show or write its result.
    """

    def turn(callback: L.Callback) -> int:
        if isinstance(callback, Checkpoint):
            return 3
        if callback is clock:
            return 1
        return 2 if getattr(callback, "follows_clock", False) else 0

    trainer.callbacks = sorted(trainer.callbacks, key=turn)


def _refused_options(trainer: L.Trainer) -> list[str]:
    return [
        f"{given} {option.text}"
        for option in TRAINER_OPTIONS.values()
        if option.verdict is Verdict.REFUSED and (given := option.given(trainer)) is not None
    ]


def _refused_callbacks(trainer: L.Trainer) -> list[str]:
    problems = []
    for callback in trainer.callbacks:
        name, decision = decide(callback)
        if decision.verdict is Verdict.REFUSED:
            own = type(callback).__name__
            problems.append(f"{own if own == name else f'{own}, a {name},'} {decision.text}")
    return problems


def _other_data(trainer: L.Trainer, workload: Workload) -> list[str]:
    loops = {"training": trainer.fit_loop, "evaluation": trainer.fit_loop.epoch_loop.val_loop}
    return [
        f"Trainer.fit was given {kind} data, but a workload has its own. Pass the workload alone."
        for kind, loop in loops.items()
        if loop._data_source.instance is not workload and loop._data_source.instance is not workload.data
    ]


def _launch_problems(trainer: L.Trainer) -> list[str]:
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched > 1 and trainer.world_size == 1:
        local = os.environ.get("LOCAL_WORLD_SIZE", str(launched))
        return [
            f"the launcher started {launched} processes, but this Trainer uses one: they would be {launched} separate "
            f"runs. Pass devices={local} (and strategy='ddp') to the Trainer."
        ]
    return []
