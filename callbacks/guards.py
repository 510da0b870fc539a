"""What a timed run sets up around itself, and takes down at its end."""

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
    """The Trainer's seams, the signals and the watchdog, for the length of one fit.

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
        """The signal that came, 0 if none did."""
        return self._signals.received

    def take_signal(self, signum: int) -> None:
        """Take a signal that came to another rank."""
        self._signals.received = self._signals.received or signum

    def evaluating(self, evaluating: bool) -> None:
        """Say whether an evaluation is on, which a signal ends at once.

        Raises:
            Preempted: If a signal has come and an evaluation is to begin.
        """
        self._signals.evaluating(evaluating)

    def preemption(self) -> Preempted:
        """Return what ends the process for the signal that came."""
        return self._signals.end()

    def no_more_validation(self) -> None:
        """Keep Lightning from evaluating once more when the run is told to stop."""
        self._seams.no_more_validation()

    def watch(
        self, step: Callable[[], int | None], limit: Callable[[], float], note: Callable[[BaseException], None]
    ) -> None:
        """Let no step go on for ever.

        Args:
            step: How many steps have ended; None while the submission's clock stands still.
            limit: Seconds that the next step may take.
            note: Takes an exception into the trial's result, from any thread; callbacks that follow the clock write it.
        """

        def expired(watchdog: Watchdog) -> None:
            error = StepTimeoutError(
                f"Step {(step() or 0) + 1:,} did not end: all that was left of the budget and {watchdog.grace:g} "
                f"seconds more went by. It was at {watchdog.place()}."
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
        """Take everything down; the Trainer and the process's signals are as they were."""
        if self._watchdog is not None:
            self._watchdog.stop()
        self._signals.restore()
        self._seams.restore()
