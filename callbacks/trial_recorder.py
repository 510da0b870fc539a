"""TrialRecorder: one folder a trial, readable at any moment, enough to resume from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from algoperf_lightning.result import (
    CHECKPOINT_FILE,
    FAILURE_FILE,
    HEARTBEAT_FILE,
    TRIAL_FILE,
    RecordError,
    Status,
    TrialResult,
    read_heartbeat,
)

from .step_end_only import StepEndOnly
from .time_budget import TimeBudget
from .trainer_options import TrainerOptionError

_BEAT_FORMAT = "{:>24.6f}\n"


class TrialRecorder(StepEndOnly, Checkpoint):
    """Keep a trial in a folder: ``trial.json``, ``evaluations.csv``, and ``last.ckpt`` to resume from.

    After each evaluation the checkpoint is replaced first, then the evaluation's row is written; so a row that was
    written is never lost by a kill, and none is written twice. At each reading of the clock, a heartbeat notes when it
    will be read next: a killed run that goes on from its last checkpoint is charged up to then, and charged again for
    the work it does again. No kill is to the submission's advantage.

    To resume: ``trainer.fit(workload, ckpt_path=recorder.checkpoint_path)``; None where there is nothing to resume.

    Args:
        folder: The trial's folder. Default: ``runs/<workload>/<submission>/trial_<n>`` under the Trainer's
            ``default_root_dir``, the first n that is free; or the folder of the checkpoint that is resumed.
        checkpoint: Whether to write checkpoints.

    Raises:
        RecordError: When the run starts, if the folder holds a finished trial, or another than ``ckpt_path`` resumes.
    """

    follows_clock = True

    def __init__(self, folder: str | Path | None = None, *, checkpoint: bool = True) -> None:
        super().__init__()
        self._given = None if folder is None else Path(folder)
        self._folder: Path | None = None
        self._checkpoint = checkpoint
        self._budget: TimeBudget | None = None
        self._recorded = 0
        self._saved_step = -1
        self._beat: int | None = None
        self._beat_at = -1.0

    @property
    def folder(self) -> Path:
        """The trial's folder.

        Raises:
            RuntimeError: If it was not given and no run has started.
        """
        folder = self._folder or self._given
        if folder is None:
            raise RuntimeError("The trial's folder is chosen when the run starts; give one to know it before.")
        return folder

    @property
    def checkpoint_path(self) -> str | None:
        """The checkpoint to resume from, None if the folder was not given or has none."""
        path = None if self._given is None else self._given / CHECKPOINT_FILE
        return str(path) if path is not None and path.exists() else None

    @property
    def state_key(self) -> str:
        """A constant, as there is one recorder."""
        return "TrialRecorder"

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find the clock whose trial is recorded."""
        clocks = [callback for callback in trainer.callbacks if isinstance(callback, TimeBudget)]
        if stage == "fit" and not clocks:
            raise TrainerOptionError(
                "TrialRecorder records what TimeBudget measures. Add TimeBudget() to the callbacks."
            )
        self._budget = clocks[0] if clocks else None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the folder and write what is about to run."""
        budget = self._clock()
        found: tuple[str, float] | RecordError | None = None
        if trainer.is_global_zero:
            try:
                found = self._open(trainer)
            except RecordError as error:
                found = error
        found = trainer.strategy.broadcast(found)
        if isinstance(found, RecordError):
            raise found
        assert found is not None
        self._folder, used = Path(found[0]), found[1]
        budget.charge_until(used)
        result = budget.result
        result.folder = self._folder
        self._recorded = len(result.evaluations)
        self._saved_step = -1
        if trainer.is_global_zero:
            for failure in self.folder.glob(FAILURE_FILE.format(rank="*")):
                failure.unlink()
            result.write_trial(self.folder)
            result.write_evaluations(self.folder)
            self._beat = os.open(self.folder / HEARTBEAT_FILE, os.O_WRONLY | os.O_CREAT, 0o644)
            self._write_beat(budget.seconds)

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Note the clock when it was read."""
        if self._budget is not None and self._budget.seconds != self._beat_at:
            self._beat_at = self._budget.seconds
            self._write_beat(self._budget.next_reading)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save, then write the row: a row on disk is in the checkpoint too."""
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
        """Write how it ended."""
        if self._folder is None:
            return
        result = self._clock().result
        if result.steps != self._saved_step:
            self._save(trainer)
        if trainer.is_global_zero:
            self._write_beat(result.submission_seconds)
            result.write_trial(self.folder)
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Write what happened, on every rank that can."""
        if self._folder is None or isinstance(exception, SystemExit):
            return
        result = self._clock().result
        if trainer.is_global_zero:
            result.write_trial(self.folder)
        elif result.status is Status.FAILED:
            name = FAILURE_FILE.format(rank=trainer.global_rank)
            (self.folder / name).write_text(f"Rank {trainer.global_rank}: {result.message}", encoding="utf-8")
        self._close()

    def _clock(self) -> TimeBudget:
        assert self._budget is not None
        return self._budget

    def _open(self, trainer: L.Trainer) -> tuple[str, float]:
        """Return the folder, and the submission seconds that a killed run is known to have used."""
        resumed = Path(trainer.ckpt_path) if trainer.ckpt_path else None
        folder = self._given
        if folder is None:
            if resumed is not None and (resumed.parent / TRIAL_FILE).exists():
                folder = resumed.parent
            else:
                result = self._clock().result
                folder = _first_free(Path(trainer.default_root_dir) / "runs" / result.workload / result.submission)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / TRIAL_FILE).exists():
            return str(folder), 0.0
        there = TrialResult.read(folder)
        if resumed is not None and resumed.resolve().parent == folder.resolve():
            return str(folder), read_heartbeat(folder)
        if there.status.final:
            raise RecordError(f"{folder} already holds a finished trial ({there.status.value}). Choose another folder.")
        if (folder / CHECKPOINT_FILE).exists():
            raise RecordError(
                f"{folder} holds an unfinished trial. Resume it with ckpt_path={str(folder / CHECKPOINT_FILE)!r}, "
                "or choose another folder."
            )
        # Killed before its first checkpoint: it begins anew, but the time it used stays used.
        return str(folder), read_heartbeat(folder)

    def _save(self, trainer: L.Trainer) -> None:
        if not self._checkpoint:
            return
        temporary = self.folder / f".{CHECKPOINT_FILE}.new"
        try:
            trainer.save_checkpoint(temporary, weights_only=False)
            if trainer.is_global_zero:
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
                temporary.replace(self.folder / CHECKPOINT_FILE)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self._saved_step = self._clock().result.steps

    def _write_beat(self, seconds: float) -> None:
        if self._beat is not None:
            os.pwrite(self._beat, _BEAT_FORMAT.format(seconds).encode(), 0)

    def _close(self) -> None:
        if self._beat is not None:
            os.close(self._beat)
            self._beat = None


def _first_free(parent: Path) -> Path:
    number = 1
    while True:
        folder = parent / f"trial_{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder
