"""Changes to Trainer and process for a timed run, undone at its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

import lightning as L

from algoperf_lightning.utilities.interruption import Preempted, StepTimeoutError

from .signals import RunSignals
from .trainer_seams import TrainerSeams
from .watchdog import Watchdog


class RunGuards:
    """The Trainer's seams, the signals and the watchdog, for the duration of one fit.

    Args:
        trainer: The Trainer of the run.
        untimed: Makes a block in which the submission's time stands still.
    """

    def __init__(self, trainer: L.Trainer, untimed: Callable[[], AbstractContextManager[None]]) -> None:
        self._trainer = trainer
        self._seams = TrainerSeams(trainer, untimed)
        self._signals = RunSignals(trainer)
        self._watchdog: Watchdog | None = None

    @property
    def signum(self) -> int:
        """The received signal, 0 if there was none."""
        return self._signals.received

    def take_signal(self, signum: int) -> None:
        """Set a signal that another rank received."""
        self._signals.received = self._signals.received or signum

    def evaluating(self, evaluating: bool) -> None:
        """Set whether an evaluation is running, which a signal ends immediately.

        Raises:
            Preempted: If a signal has come and an evaluation is to begin.
        """
        self._signals.evaluating(evaluating)

    def preemption(self) -> Preempted:
        """Return the exception that ends the process after the received signal."""
        return self._signals.end()

    def no_more_validation(self) -> None:
        """Prevent Lightning's additional evaluation when the run is stopped."""
        self._seams.no_more_validation()

    def watch(
        self, step: Callable[[], int | None], limit: Callable[[], float], note: Callable[[BaseException], None]
    ) -> None:
        """End a step that hangs.

        Args:
            step: How many steps have ended; None while the submission's clock stands still.
            limit: Seconds that the next step may take.
            note: Takes an exception into the trial's result, from any thread; callbacks that follow the clock write it.
        """

        def expired(watchdog: Watchdog) -> None:
            error = StepTimeoutError(
                f"Step {(step() or 0) + 1:,} did not end within the remaining budget plus {watchdog.grace:g} "
                f"seconds. It was executing {watchdog.place()}."
            )
            print(f"algoperf: {error}", file=sys.stderr, flush=True)  # noqa: T201
            # An exception where the step is leaves a process that can go on, as a notebook does. It is to no avail
            # where the work never returns to Python.
            if self._signals.raise_in_main_thread(error) and watchdog.was_stopped():
                return
            try:
                note(error)
                for callback in self._trainer.callbacks:
                    if getattr(callback, "follows_clock", False):
                        callback.on_exception(self._trainer, self._trainer.lightning_module, error)
            finally:
                os._exit(error.code)

        self._watchdog = Watchdog(step, limit, expired)

    def release(self) -> None:
        """Undo all changes to the Trainer and the process's signals."""
        if self._watchdog is not None:
            self._watchdog.stop()
        self._signals.restore()
        self._seams.restore()
