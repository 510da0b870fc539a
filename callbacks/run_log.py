"""The submission's log in a timed run: when it is read from the device, and where its rows go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import lightning as L
from lightning.pytorch.loggers import Logger

from algoperf_lightning.records.submission_log import LoggedStep
from algoperf_lightning.workload import Workload

from .run_clock import RunClock
from .run_state import Phase, RunState


class RunLog:
    """Begins the log of a run on its first rank, and passes its rows to the Trainer's loggers.

    Args:
        trainer: The Trainer of the run.
        workload: What it trains.
        state: Where the run is.
        clock: Its clock, which stands still whenever something is read or written here.
    """

    def __init__(self, trainer: L.Trainer, workload: Workload, state: RunState, clock: RunClock) -> None:
        self._log, self._state, self._clock = workload.submission_log, state, clock
        self._log.end()
        if trainer.is_global_zero:
            self._log.begin(self._step, workload.spec.step_hint)
            self._log.sinks = [partial(_pass_to, logger) for logger in trainer.loggers]

    def _step(self) -> int:
        """Return the step that is made, or, around evaluations, the last one."""
        return self._state.step + (self._state.phase is Phase.TRAINING)

    def forget(self) -> None:
        """Drop values logged before a run resumes."""
        self._log.forget()

    def collect(self, losses: Iterable[tuple[int, float]]) -> None:
        """Copy what was logged, and the losses of the steps since the last call, to the host."""
        self._log.collect(self._clock.now, losses)

    def flush(self, step: int) -> None:
        """Write what was logged up to a step."""
        self._log.flush(self._clock.now, step)

    def end(self) -> None:
        """End it."""
        self._log.end()


def _pass_to(logger: Logger, rows: Sequence[LoggedStep]) -> None:
    for row in rows:
        # Lightning counts the steps of loggers from 0, those of an evaluation too.
        logger.log_metrics(row.to_metrics(), step=max(0, row.step - 1))
    logger.save()
