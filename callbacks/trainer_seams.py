"""All changes that a timed run makes to Trainer internals; they are undone at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial, wraps
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from algoperf_lightning.training.calls import describe, is_error
from algoperf_lightning.utilities.interruption import is_from_outside


class TrainerSeams:
    """Changes to one Trainer for the duration of one fit.

    - Checkpoints and loggers run off the clock: their methods are wrapped, because Lightning has no hooks around them.
      The hooks of checkpoint callbacks at the end of an evaluation, which run after the clock's hook, are wrapped too,
      and so is the removal of a checkpoint that is no longer among the best.
    - ``StopIteration``, ``SystemExit`` and similar exceptions are errors, wherever in a step or an evaluation they are
      raised: a schedule, a hook of a module, a callback. Lightning interprets ``StopIteration`` as the end of the data:
      it would start one epoch after the other, or skip an evaluation.
    - Lightning checks for signals at every step on every rank; :class:`~.signals.RunSignals` checks when the clock is
      read.

    Args:
        trainer: The Trainer of the run.
        untimed: Makes a context in which the submission's clock is stopped.
    """

    def __init__(self, trainer: L.Trainer, untimed: Callable[[], AbstractContextManager[None]]) -> None:
        self._trainer = trainer
        self._undo: list[Callable[[], Any]] = []
        self._wrap(trainer, "save_checkpoint", untimed)
        for logger in trainer.loggers:
            for method in ("log_metrics", "save", "log_hyperparams", "after_save_checkpoint"):
                self._wrap(logger, method, untimed)
        self._wrap(trainer.strategy, "remove_checkpoint", untimed)
        for callback in trainer.callbacks:
            if isinstance(callback, Checkpoint):
                self._wrap(callback, "on_validation_end", untimed)
        loop = trainer.fit_loop.epoch_loop
        for owner, name in ((loop, "advance"), (loop, "on_advance_end"), (loop.val_loop, "_evaluation_step")):
            if hasattr(owner, name):
                self._replace(owner, name, _errors_only(getattr(owner, name)))
        # Present in the Lightning versions that setup.cfg allows; without it, nothing needs to be skipped.
        if hasattr(loop, "_broadcast_sigterm_tensor"):
            self._replace(loop, "_broadcast_sigterm_tensor", lambda: None)

    def no_more_validation(self) -> None:
        """Prevent Lightning's additional evaluation when the run is stopped."""
        limit = self._trainer.limit_val_batches
        if limit != 0:
            self._trainer.limit_val_batches = 0
            self._undo.append(lambda: setattr(self._trainer, "limit_val_batches", limit))

    def restore(self) -> None:
        """Undo all changes, in reverse order."""
        while self._undo:
            self._undo.pop()()

    def _wrap(self, owner: Any, name: str, untimed: Callable[[], AbstractContextManager[None]]) -> None:
        method = getattr(owner, name)

        @wraps(method)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with untimed():
                return method(*args, **kwargs)

        self._replace(owner, name, wrapped)

    def _replace(self, owner: Any, name: str, function: Callable[..., Any]) -> None:
        own = vars(owner).get(name)
        setattr(owner, name, function)
        self._undo.append(partial(delattr, owner, name) if own is None else partial(setattr, owner, name, own))


def _errors_only(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except BaseException as error:
            if is_error(error) or is_from_outside(error) or isinstance(error, SIGTERMException):
                raise
            raise RuntimeError(f"The run ended with {describe(error)}.") from error

    return wrapped


def evaluate_now(trainer: L.Trainer) -> None:
    """Evaluate all splits before the first step, as Lightning's training loop does later."""
    trainer.validating = True
    first = trainer._logger_connector._first_loop_iter
    try:
        trainer.fit_loop.epoch_loop.val_loop.run()
    finally:
        trainer.training = True
        trainer._logger_connector._first_loop_iter = first


@contextmanager
def outside_inference_mode() -> Iterator[None]:
    """Disable inference mode for a submission, because its tensors could not be used in training."""
    with torch.inference_mode(False), torch.enable_grad():
        yield
