"""Logging of a timed run: the submission's log, and the metrics of the trial for the Trainer's loggers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger

from algoperf_lightning.files import to_plain
from algoperf_lightning.records.submission_log import LoggedStep
from algoperf_lightning.result import TrialResult
from algoperf_lightning.workload import Workload

from .run_clock import RunClock
from .run_state import Phase, RunState


class RunLog:
    """Opens the log of a run on its first rank, and passes trial and rows to the Trainer's loggers.

    Args:
        trainer: The Trainer of the run.
        workload: The trained workload.
        state: The state of the run.
        clock: Its clock, which is stopped while something is read or written here.
        result: Its record, whose conditions are logged as hyperparameters.
    """

    def __init__(
        self, trainer: L.Trainer, workload: Workload, state: RunState, clock: RunClock, result: TrialResult
    ) -> None:
        self._log, self._state, self._clock, self._result = workload.submission_log, state, clock, result
        self._loggers: Sequence[Logger] = trainer.loggers if trainer.is_global_zero else ()
        self._log.end()
        if trainer.is_global_zero:
            self._log.begin(self._step, workload.spec.step_hint)
            self._log.sinks = [partial(_pass_to, logger) for logger in self._loggers]
        if trainer.enable_autolog_hparams:
            for logger in self._loggers:
                logger.log_hyperparams(trial_hyperparameters(result))

    def _step(self) -> int:
        """Return the current step or, around evaluations, the last one."""
        return self._state.step + (self._state.phase is Phase.TRAINING)

    def forget(self) -> None:
        """Drop values logged before a run resumes."""
        self._log.forget()

    def collect(self, losses: Iterable[tuple[int, float]]) -> None:
        """Copy what was logged, and the losses of the steps since the last call, to the host."""
        self._log.collect(self._clock.now, losses)

    def evaluated(self) -> None:
        """Log the last evaluation's share of the budget, and its distance from the targets."""
        for logger in self._loggers:
            _log_metrics(logger, trial_metrics(self._result), self._result.evaluations[-1].step)

    def flush(self, step: int) -> None:
        """Write what was logged up to a step."""
        self._log.flush(self._clock.now, step)

    def end(self) -> None:
        """Close the log."""
        self._log.end()


def trial_hyperparameters(result: TrialResult) -> dict[str, Any]:
    """Return the hyperparameters of a trial for loggers: what was trained, and under which conditions.

    Those of the submission are in a nested dictionary, ``hyperparameters``.
    """
    names = (
        *("workload", "submission", "seed", "batch_size", "version", "ruleset", "unit", "budget", "scale"),
        *("metric", "validation_target", "test_target", "hyperparameters"),
    )
    return {name: to_plain(getattr(result, name)) for name in names}


def trial_metrics(result: TrialResult) -> dict[str, float]:
    """Return the metrics of a trial at its last evaluation for loggers, in addition to those of the workload.

    ========================================  =========================================================
    ``trial/submission_seconds``              on the clock of the submission
    ``trial/budget_share``                    used share of the budget, in the budget's unit; 1 is all of it
    ``trial/validation_target_distance``      from metric to target, in the metric's unit; 0 or less if it is met
    ``trial/test_target_distance``            the same for the test target
    ``trial/time_to_target``                  submission seconds; once the validation target was met
    ========================================  =========================================================
    """
    evaluation = result.evaluations[-1]
    metrics = {
        "trial/submission_seconds": evaluation.submission_seconds,
        "trial/budget_share": result.used_before(evaluation) / result.budget,
    }
    for split in ("validation", "test"):
        if (target := result.target(split)) is not None:
            value = evaluation.metrics.get(f"{split}/{result.metric}", math.nan)
            metrics[f"trial/{split}_target_distance"] = target - value if result.direction == "max" else value - target
    if math.isfinite(result.time_to_target):
        metrics["trial/time_to_target"] = result.time_to_target
    return metrics


def _pass_to(logger: Logger, rows: Sequence[LoggedStep]) -> None:
    for row in rows:
        _log_metrics(logger, row.to_metrics(), row.step)
    logger.save()


def _log_metrics(logger: Logger, metrics: dict[str, float], step: int) -> None:
    # Lightning counts the steps of loggers from 0, those of an evaluation too.
    logger.log_metrics(metrics, step=max(0, step - 1))
