"""The folder of a trial: its choice, its checks, and its lock."""

from __future__ import annotations

import os
from pathlib import Path

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn

from algoperf_lightning.files import make_folder
from algoperf_lightning.records.checks import remedy
from algoperf_lightning.result import (
    CHECKPOINT_FILE,
    EVALUATIONS_FILE,
    TRIAL_FILE,
    RecordError,
    TrialResult,
    read_heartbeat,
)
from algoperf_lightning.utilities.locks import NoLocksError, TrialLock, is_handed_on


class TrialFolder:
    """Finds, locks and opens the folder of a run, on its first rank.

    Args:
        given: The user's folder, or None for one under the Trainer's ``default_root_dir``.
    """

    def __init__(self, given: Path | None) -> None:
        self._given = given
        self._lock: TrialLock | None = None

    def lock_if_known(self, trainer: L.Trainer) -> None:
        """Lock the given or resumed folder; a new one is locked by :meth:`open`, which creates it.

        Raises:
            TrialLockedError: If another process runs the trial.
            BadInputError: If the folder cannot be created or is not writable.
        """
        if (folder := self._known(trainer)) is not None:
            self._take_lock(folder)

    def open(self, trainer: L.Trainer, result: TrialResult) -> tuple[str, float]:
        """Return the folder, and the known submission seconds of a killed run.

        Raises:
            RecordError: If the folder contains a finished trial, or a trial other than the resumed one.
        """
        resumed = Path(trainer.ckpt_path) if trainer.ckpt_path else None
        folder = self._known(trainer)
        if folder is None:
            folder = _first_free(Path(trainer.default_root_dir) / "runs" / result.workload / result.submission)
            self._take_lock(folder)
        if resumed is not None and os.path.realpath(resumed.parent) == os.path.realpath(folder):
            return str(folder), read_heartbeat(folder)  # the checkpoint contains all other files
        if not any(os.path.lexists(folder / name) for name in (TRIAL_FILE, EVALUATIONS_FILE, CHECKPOINT_FILE)):
            return str(folder), 0.0
        _check_unfinished(folder)
        # Killed before its first checkpoint: it starts again, but the used time still counts.
        return str(folder), read_heartbeat(folder)

    def unlock(self) -> None:
        """Release the lock, if it is held."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _known(self, trainer: L.Trainer) -> Path | None:
        """Return the given or resumed folder; None for a new one."""
        resumed = Path(trainer.ckpt_path) if trainer.ckpt_path else None
        if self._given is None and resumed is not None and (resumed.parent / TRIAL_FILE).exists():
            return resumed.parent
        return self._given

    def _take_lock(self, folder: Path) -> None:
        self.unlock()
        make_folder(folder, "The trial's folder")
        if is_handed_on(folder):
            return
        lock = TrialLock(folder)
        try:
            lock.take_or_raise()
        except NoLocksError as error:
            rank_zero_warn(f"{error} This run continues without a lock; do not start a second one in its folder.")
            return
        self._lock = lock


def _check_unfinished(folder: Path) -> None:
    """Raise unless a folder contains the record of a run that was killed before its first checkpoint."""
    if os.path.lexists(folder / TRIAL_FILE):
        there = TrialResult.read(folder)
        if there.status.final:
            raise RecordError(
                f"{folder} already contains a finished trial ({there.status.value}). Choose another folder."
            )
    if os.path.lexists(folder / CHECKPOINT_FILE):
        raise RecordError(
            f"{folder} contains an unfinished trial. Resume it with ckpt_path={str(folder / CHECKPOINT_FILE)!r}, "
            "or choose another folder."
        )
    if not os.path.lexists(folder / TRIAL_FILE):
        raise RecordError(f"{folder} contains evaluations, but no {TRIAL_FILE}. {remedy(folder)}")


def _first_free(parent: Path) -> Path:
    make_folder(parent, "The folder of trials")
    number = 1
    while True:
        folder = parent / f"trial_{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder
