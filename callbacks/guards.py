"""Changes to Trainer and process for a timed run, undone at its end."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager

import lightning as L

from algoperf_lightning.utilities.interruption import Preempted, StepTimeoutError

from . import watchdog
from .signals import RunSignals
from .trainer_seams import TrainerSeams
from .watchdog import Watchdog, end_by, time_allowed


class RunGuards:
    """Changes to the Trainer, signal handlers and the watchdog, for the duration of one fit.

    Args:
        trainer: The Trainer of the run.
        untimed: Makes a context in which the submission's clock is stopped.
    """

    def __init__(self, trainer: L.Trainer, untimed: Callable[[], AbstractContextManager[None]]) -> None:
        self._trainer = trainer
        self._seams = TrainerSeams(trainer, untimed)
        self._signals = RunSignals(trainer)
        self._watchdog: Watchdog | None = None
        self._evaluating = False

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
            Preempted: If a signal has been received and an evaluation is about to start.
        """
        self._evaluating = evaluating
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
        """End a step or an evaluation that hangs.

        Args:
            step: Number of completed steps; None while the submission's clock is stopped.
            limit: Seconds that the next step may take; a grace period is added.
            note: Stores an exception in the trial's result, from any thread; callbacks that follow the clock write it.
        """
        evaluation = self._trainer.fit_loop.epoch_loop.val_loop

        def progress() -> Hashable:
            return ("evaluation", evaluation.batch_progress.total.completed) if self._evaluating else step()

        def allowed() -> float:
            return watchdog.EVALUATION_GRACE if self._evaluating else limit() + watchdog.GRACE

        def expired(dog: Watchdog) -> None:
            if self._evaluating:
                text = f"The evaluation did not end: it finished no batch within {watchdog.EVALUATION_GRACE:g} seconds"
            else:
                text = f"Step {(step() or 0) + 1:,} did not end {time_allowed()}"
            error = StepTimeoutError(f"{text}. It was executing {dog.place()}.")
            end_by(error, dog, self._trainer, self._signals.raise_in_main_thread, note)

        self._watchdog = Watchdog(progress, allowed, expired)

    def restore(self) -> None:
        """Undo all changes to the Trainer and the process's signals."""
        if self._watchdog is not None:
            self._watchdog.stop()
        self._signals.restore()
        self._seams.restore()
