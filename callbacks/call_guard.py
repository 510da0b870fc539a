"""Ends calls into a submission that hang before the training loop has started."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import lightning as L

from algoperf_lightning.utilities.interruption import StepTimeoutError
from algoperf_lightning.workload import Workload

from . import watchdog
from .signals import CallSignal
from .watchdog import Watchdog, end_by, time_allowed


class CallGuard:
    """Watches ``load_state_dict``, ``configure_optimizers`` and the restoring of optimizers and schedules, for one fit.

    Other work before the loop, such as reading data, is not the submission's and has no time limit.

    Args:
        trainer: The Trainer of the run.
        workload: The trained workload.
        limit: Seconds that a call may take; a grace period is added.
        note: Stores an exception in the trial's result, from any thread.
    """

    def __init__(
        self,
        trainer: L.Trainer,
        workload: Workload,
        limit: Callable[[], float],
        note: Callable[[BaseException], None],
    ) -> None:
        self._trainer, self._calls, self._limit, self._note = trainer, workload.calls, limit, note
        self._calls.watched = self._watched
        connector: Any = trainer._checkpoint_connector
        self._replaced: list[tuple[Any, str]] = []
        self._watch(trainer.strategy, "load_optimizer_state_dict", "optimizer's load_state_dict")
        self._watch(connector, "restore_lr_schedulers", "schedule's load_state_dict")

    def restore(self) -> None:
        """Undo all changes."""
        self._calls.watched = lambda where: nullcontext()
        for owner, name in self._replaced:
            delattr(owner, name)

    def _watch(self, owner: Any, name: str, where: str) -> None:
        setattr(owner, name, partial(self._calls.call_watched, where, getattr(owner, name)))
        self._replaced.append((owner, name))

    @contextmanager
    def _watched(self, where: str) -> Iterator[None]:
        def expired(dog: Watchdog) -> None:
            error = StepTimeoutError(f"{where} did not end {time_allowed()}. It was executing {dog.place()}.")
            end_by(error, dog, self._trainer, signal.raise_in_main_thread, self._note)

        with CallSignal() as signal:
            dog = Watchdog(lambda: where, lambda: self._limit() + watchdog.GRACE, expired)
            try:
                yield
            finally:
                dog.stop()
