"""Computes the states of a submission on the clock, although checkpoints are written off the clock."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

import lightning as L

from algoperf_lightning.result import TrialResult
from algoperf_lightning.rules.checks import RuleChecks
from algoperf_lightning.workload import Workload


class SubmissionStates:
    """Charges ``state_dict`` of submission, optimizer and schedules to the clock, for the duration of one fit.

    Args:
        trainer: The Trainer of the run.
        workload: The trained workload.
        result: Its record, which notes violations that were found while a checkpoint was assembled.
        checks: Compare the parameters before and after a checkpoint is assembled.
        timed: Makes a context in which the submission's clock runs, inside one in which it is stopped.
    """

    def __init__(
        self,
        trainer: L.Trainer,
        workload: Workload,
        result: TrialResult,
        checks: RuleChecks,
        timed: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._workload = workload
        self._connector: Any = trainer._checkpoint_connector
        self._strategy: Any = trainer.strategy
        workload.on_clock = timed
        optimizer_state, dump_checkpoint = self._strategy.optimizer_state, self._connector.dump_checkpoint

        @wraps(optimizer_state)
        def charged(*args: Any, **kwargs: Any) -> Any:
            with timed():
                return optimizer_state(*args, **kwargs)

        @wraps(dump_checkpoint)
        def dump(*args: Any, **kwargs: Any) -> Any:
            configs = trainer.lr_scheduler_configs
            schedulers: list[Any] = [config.scheduler for config in configs]
            for config in configs:
                config.scheduler = _Charged(config.scheduler, timed)  # type: ignore[assignment]
            try:
                with checks.saving():
                    return dump_checkpoint(*args, **kwargs)
            finally:
                result.warnings = list(checks.warnings)
                for config, scheduler in zip(configs, schedulers, strict=True):
                    config.scheduler = scheduler

        self._strategy.optimizer_state = charged  # type: ignore[method-assign]
        self._connector.dump_checkpoint = dump  # type: ignore[method-assign]

    def restore(self) -> None:
        """Undo all changes."""
        del self._strategy.optimizer_state, self._connector.dump_checkpoint
        self._workload.on_clock = nullcontext


class _Charged:
    """A schedule while a checkpoint is written: its state is computed on the clock.

    An attribute that is set on the schedule itself would be part of its state.
    """

    def __init__(self, scheduler: Any, timed: Callable[[], AbstractContextManager[None]]) -> None:
        self._scheduler = scheduler
        self._timed = timed

    def state_dict(self) -> Any:
        with self._timed():
            return self._scheduler.state_dict()
