"""TrialRecorder: one folder per trial, which is readable at any time and from which the trial can be resumed."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.records.checkpoint_checksums import put_in_place
from algoperf_lightning.records.checkpoints import RECORD_KEY, read_checkpoint, record_of, record_to_save
from algoperf_lightning.records.instrument_rows import continue_rows
from algoperf_lightning.records.submission_log import append_log, continue_log
from algoperf_lightning.result import (
    CHECKPOINT_FILE,
    FAILURE_FILE,
    TRIAL_FILE,
    RecordError,
    Status,
    TrialResult,
)

from .heartbeat import Heartbeat
from .rules import timed_workload
from .step_end_only import StepEndOnly
from .time_budget import TimeBudget
from .trainer_options import TrainerOptionError
from .trial_folder import TrialFolder

_T = TypeVar("_T")


class TrialRecorder(StepEndOnly, Checkpoint):
    """Record a trial in a folder: ``trial.json``, ``evaluations.csv``, and ``last.ckpt`` to resume from.

    After each evaluation, the checkpoint is replaced first, then the evaluation's row is written, so a kill neither
    loses nor duplicates a row. At each reading of the clock, a heartbeat stores the time of the next reading: a killed
    run that resumes from its last checkpoint is charged up to that time, and also for the repeated work. A kill never
    benefits the submission.

    While a trial runs, its folder is locked: a second process is refused before it changes anything. The operating
    system releases the lock when the process ends.

    To resume: ``trainer.fit(workload, ckpt_path=recorder.checkpoint_path)``; it is None if there is nothing to resume.

    Args:
        folder: The trial's folder. Default: ``runs/<workload>/<submission>/trial_<n>`` under the Trainer's
            ``default_root_dir``, with the first free n; or the folder of the resumed checkpoint.
        checkpoint: Whether to write checkpoints.

    Raises:
        RecordError: When the run starts, if the folder contains a finished trial, or a trial other than that of
            ``ckpt_path``.
        TrialLockedError: When the run starts, if another process runs the trial.
        BadInputError: When the run starts, if the folder cannot be created or is not writable.
    """

    follows_clock = True

    def __init__(self, folder: str | Path | None = None, *, checkpoint: bool = True) -> None:
        super().__init__()
        self._given = None if folder is None else Path(folder)
        self._folder: Path | None = None
        self._checkpoint = checkpoint
        self._budget: TimeBudget | None = None
        self._place = TrialFolder(self._given)
        self._set_up = False
        self._recorded = 0
        self._saved: tuple[int, Status] | None = None
        self._was_over = False
        self._beat: Heartbeat | None = None
        self._beat_at = -1.0

    @property
    def folder(self) -> Path:
        """The folder of the trial.

        Raises:
            RuntimeError: If it was not given and no run has started.
        """
        folder = self._folder or self._given
        if folder is None:
            raise RuntimeError("The folder is chosen when the run starts. Pass a folder to know it before.")
        return folder

    @property
    def checkpoint_path(self) -> str | None:
        """The checkpoint to resume from, None if the folder was not given or has none."""
        path = None if self._given is None else self._given / CHECKPOINT_FILE
        return str(path) if path is not None and os.path.lexists(path) else None

    @property
    def state_key(self) -> str:
        """A constant, because there is only one recorder."""
        return "TrialRecorder"

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find the clock whose trial is recorded, and lock the trial before its checkpoint is read."""
        clocks = [callback for callback in trainer.callbacks if isinstance(callback, TimeBudget)]
        if stage == "fit" and not clocks:
            raise TrainerOptionError("TrialRecorder needs TimeBudget. Add TimeBudget() to the callbacks.")
        self._budget = clocks[0] if clocks else None
        self._folder = None
        self._set_up = stage == "fit"
        if self._set_up:
            _on_first_rank(trainer, lambda: self._place.lock_if_known(trainer))

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the folder and write the record of the new run."""
        budget = self._clock()
        folder, used = _on_first_rank(trainer, lambda: self._place.open(trainer, budget.result))
        self._folder = Path(folder)
        budget.charge_until(used)
        result = budget.result
        result.folder = self._folder
        self._recorded = len(result.evaluations)
        self._saved = None
        self._was_over = result.status.final  # so that an error below does not overwrite a damaged record
        if self._was_over:
            _on_first_rank(trainer, lambda: self._restore_finished(trainer))
            self._was_over = self._take_finished(result)
        if not self._was_over:
            resumed = Path(trainer.ckpt_path).parent if trainer.ckpt_path else None
            _on_first_rank(trainer, lambda: self._begin_record(resumed))
            timed_workload(pl_module).submission_log.sinks.insert(0, partial(append_log, self._folder))

    def _begin_record(self, resumed: Path | None) -> None:
        result = self._clock().result
        try:
            for failure in self.folder.glob(FAILURE_FILE.format(rank="*")):
                failure.unlink()
            # The count of evaluations must never exceed the rows, whenever the process is killed.
            for write in (result.write_evaluations, result.write_trial)[:: 1 if result.evaluations else -1]:
                write(self.folder)
            continue_log(self.folder, result.steps, resumed)
            continue_rows(self.folder, result.steps, resumed)
            self._beat = Heartbeat(self.folder)
        except OSError as error:
            raise RecordError(
                f"The trial cannot be recorded in {self.folder}: {error.filename}: {error.strerror}. Remove the "
                "obstacle, free disk space, or choose another folder."
            ) from error
        self._beat.write(self._clock().seconds)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Store the record in the checkpoint too, so that it can be restored."""
        if self._folder is not None:
            checkpoint[RECORD_KEY] = record_to_save(self._clock().result)

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Write the time of the next reading of the clock."""
        if self._budget is not None and self._budget.seconds != self._beat_at:
            self._beat_at = self._budget.seconds
            self._write_beat(self._budget.next_reading)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the checkpoint, then write the row, so that the checkpoint contains every row on disk."""
        if self._folder is None or len(self._clock().result.evaluations) == self._recorded:
            return
        with self._clock().untimed():
            self._save(trainer)
            self._recorded += 1
            if trainer.is_global_zero:
                self._clock().result.append_evaluation(self.folder)
                self._clock().result.write_trial(self.folder)
                self._write_beat(self._clock().next_reading)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the end of the run."""
        if self._folder is None or self._was_over:
            return
        result = self._clock().result
        if (result.steps, result.status) != self._saved:
            self._save(trainer)
        if trainer.is_global_zero:
            self._write_beat(result.submission_seconds)
            result.write_trial(self.folder)
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Write the error, on every rank that is able to.

        An error may occur before :meth:`setup`, for example in the creation of a process group. In that case there is
        no trial, and the state of this recorder belongs to an earlier run.
        """
        if not self._set_up:
            return
        try:
            if self._folder is not None:
                with suppress(OSError):  # the exception that ended the run is reported anyway
                    self._write_failure(trainer, self._clock().result)
            elif trainer.is_global_zero and not isinstance(exception, BadInputError):
                self._record_early_failure(trainer)
        finally:
            self._close()
            self._place.unlock()
            self._set_up = False

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Unlock the trial."""
        self._place.unlock()
        self._set_up = False

    def _restore_finished(self, trainer: L.Trainer) -> None:
        """Restore the record of a finished trial without ``trial.json`` from its checkpoint."""
        if trainer.ckpt_path and not os.path.lexists(self.folder / TRIAL_FILE):
            path = Path(trainer.ckpt_path)
            record = record_of(read_checkpoint(path), path) or self._clock().result
            record.write_evaluations(self.folder)
            record.write_trial(self.folder)

    def _take_finished(self, result: TrialResult) -> bool:
        """Read the result of a finished trial; its record is not changed."""
        there = TrialResult.read(self.folder)
        if not there.status.final:
            return False
        for item in dataclasses.fields(there):
            if item.name not in ("evaluations", "checksum", "changed", "folder"):
                setattr(result, item.name, getattr(there, item.name))
        return True

    def _write_failure(self, trainer: L.Trainer, result: TrialResult) -> None:
        if self._was_over:
            return
        if trainer.is_global_zero:
            if result.status is Status.PREEMPTED and self._beat is not None:
                self._write_beat(result.submission_seconds)  # it ended regularly, so no more time was used
            result.write_trial(self.folder)
        elif result.status is Status.FAILED:
            name = FAILURE_FILE.format(rank=trainer.global_rank)
            (self.folder / name).write_text(f"Rank {trainer.global_rank}: {result.message}", encoding="utf-8")

    def _clock(self) -> TimeBudget:
        assert self._budget is not None
        return self._budget

    def _record_early_failure(self, trainer: L.Trainer) -> None:
        """Record an error from before the folder was opened, as in ``configure_optimizers``."""
        with suppress(RecordError, RuntimeError):  # the folder contains another trial; nothing was started
            failed = self._clock().result
            if failed.status is not Status.FAILED:
                return
            folder = Path(self._place.open(trainer, failed)[0])
            if (folder / TRIAL_FILE).exists():
                record = TrialResult.read(folder)  # ours may not have taken everything from the checkpoint yet
                if record.status.final:
                    return
                record.status, record.message = failed.status, failed.message
                failed = record
            failed.write_trial(folder)

    def _save(self, trainer: L.Trainer) -> None:
        if not self._checkpoint:
            return
        temporary = self.folder / f".{CHECKPOINT_FILE}.new"
        try:
            trainer.save_checkpoint(temporary, weights_only=False)
            if self._saved is None:
                # Detects a checkpoint that cannot be loaded now, not after the first kill.
                _on_first_rank(trainer, lambda: read_checkpoint(temporary) and None)
            if trainer.is_global_zero:
                put_in_place(temporary, self.folder / CHECKPOINT_FILE)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self._saved = (self._clock().result.steps, self._clock().result.status)

    def _write_beat(self, seconds: float) -> None:
        if self._beat is not None:  # on the first rank
            self._beat.write(seconds)

    def _close(self) -> None:
        if self._beat is not None:
            self._beat.close()
            self._beat = None


def _on_first_rank(trainer: L.Trainer, function: Callable[[], _T]) -> _T:
    """Return on every rank what a function returns on the first one, or raise what it raises there."""
    found: Any = None
    if trainer.is_global_zero:
        try:
            found = function()
        except BadInputError as error:
            found = error
    found = trainer.strategy.broadcast(found)
    if isinstance(found, BadInputError):
        raise found
    returned: _T = found
    return returned
