"""Repair of damaged trials, on request: from their checkpoints, or by renaming their files so that they start again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.records.checks import RecordError
from algoperf_lightning.records.submission_log import LOG_FILE
from algoperf_lightning.result import (
    CHECKPOINT_FILE,
    EDITED,
    EVALUATIONS_FILE,
    FAILURE_FILE,
    HEARTBEAT_FILE,
    TRIAL_FILE,
    TrialResult,
)
from algoperf_lightning.utilities.locks import LOCK_FILE, TrialLock, is_locked

_OF_A_TRIAL = ("workload", "version", "ruleset", "submission", "hyperparameters", "seed", "batch_size")
_FILES = (TRIAL_FILE, EVALUATIONS_FILE, LOG_FILE, CHECKPOINT_FILE, f"{CHECKPOINT_FILE}.sha256", HEARTBEAT_FILE)
SET_ASIDE = "set_aside"


def is_trial(folder: Path) -> bool:
    """Return whether a folder contains files of a trial, damaged or not."""
    return any(os.path.lexists(folder / name) for name in (TRIAL_FILE, EVALUATIONS_FILE, CHECKPOINT_FILE))


def repair(folder: Path, planned: Mapping[str, Any] | None = None) -> str:
    """Make a damaged trial readable, and resumable if it is not finished; an undamaged one is not changed.

    Record and evaluations are rewritten from the checkpoint, which contains both. If the checkpoint is damaged itself,
    or belongs to another trial, all files are renamed to ``set_aside_N.*`` in the same folder, and the trial can start
    again. For a finished trial with a valid record, only the checkpoint is renamed, which is not needed.

    Args:
        folder: Folder of the trial.
        planned: Required fields of the record, if known: ``workload``, ``seed``.

    Returns:
        A description of what was done and why; empty if nothing was necessary.

    Raises:
        BadInputError: If a process runs the trial, or a file cannot be renamed or written.
    """
    lock = TrialLock(folder)
    done = _move_if_no_file(folder / LOCK_FILE)
    lock.take_or_raise()
    try:
        return " ".join(filter(None, [*done, *_move_what_is_no_file(folder), _repair(folder, planned or {})]))
    except OSError as error:
        raise BadInputError(f"{folder} cannot be repaired: {error.filename}: {error.strerror}.") from error
    finally:
        lock.release()


def _move_what_is_no_file(folder: Path) -> list[str]:
    others = [path for path in _present(folder) if path.name not in (TRIAL_FILE, EVALUATIONS_FILE, CHECKPOINT_FILE)]
    return [line for path in others for line in _move_if_no_file(path)]


def _repair(folder: Path, planned: Mapping[str, Any]) -> str:
    record, wrong = _read_record(folder, planned)
    over = record is not None and record.status.final
    if not os.path.lexists(folder / CHECKPOINT_FILE):
        return _set_aside(folder, wrong) if wrong else ""
    edited = record is not None and EDITED in record.warnings
    saved, wrong_there = _read_checkpoint(folder, planned, None if edited else record)
    if wrong_there:
        return _set_checkpoint_aside(folder, wrong_there) if over else _set_aside(folder, wrong_there)
    if edited and saved is not None:
        wrong = EDITED
    if not wrong:
        return ""
    if saved is None:
        return _set_aside(folder, f"{wrong} Its checkpoint was saved without a record.")
    for name in (TRIAL_FILE, EVALUATIONS_FILE):
        _move_if_no_file(folder / name)
    saved.write_evaluations(folder)
    saved.write_trial(folder)
    return f"restored from its checkpoint, with {len(saved.evaluations)} evaluations. {wrong}"


def forget_failure(folder: Path) -> None:
    """Mark a failed trial as interrupted, so that its old message is not mistaken for that of a new attempt."""
    for path in folder.glob(FAILURE_FILE.format(rank="*")):
        if path.is_file():
            path.unlink()
    try:
        result = TrialResult.read(folder)
    except RecordError:
        return
    if result.status is result.status.FAILED and not is_locked(folder):
        result.status, result.message = result.status.RUNNING, ""
        result.write_trial(folder)


def _read_record(folder: Path, planned: Mapping[str, Any]) -> tuple[TrialResult | None, str]:
    """Return the record, or a description of its damage."""
    try:
        record = TrialResult.read(folder, failures=False)
    except RecordError as error:
        return None, error.what
    wrong = record.changed or _difference(record, planned, TRIAL_FILE)
    return (None, wrong) if wrong else (record, "")


def _read_checkpoint(
    folder: Path, planned: Mapping[str, Any], record: TrialResult | None
) -> tuple[TrialResult | None, str]:
    """Return the record in the checkpoint, or a description of the checkpoint's damage."""
    from algoperf_lightning.records.checkpoint_checksums import renew_checksum
    from algoperf_lightning.records.checkpoints import read_checkpoint, record_of

    path = folder / CHECKPOINT_FILE
    known = {name: getattr(record, name) for name in _OF_A_TRIAL} if record is not None else {}
    try:
        renew_checksum(path)
        saved = record_of(read_checkpoint(path), path)
    except BadInputError as error:
        return None, error.what
    return saved, "" if saved is None else _difference(saved, {**known, **planned}, CHECKPOINT_FILE)


def _difference(record: TrialResult, known: Mapping[str, Any], where: str) -> str:
    differing = [name for name, value in known.items() if getattr(record, name) != value]
    lines = "; ".join(f"{name} is {getattr(record, name)!r} and not {known[name]!r}" for name in differing)
    return f"{where} is another trial's: {lines}." if lines else ""


def _present(folder: Path) -> list[Path]:
    failures = [path.name for path in sorted(folder.glob(FAILURE_FILE.format(rank="*")))]
    return [folder / name for name in (*_FILES, *failures) if os.path.lexists(folder / name)]


def _set_aside(folder: Path, wrong: str) -> str:
    prefix = _next_prefix(folder)
    for path in _present(folder):
        path.rename(folder / f"{prefix}.{path.name}")
    return f"moved aside as {prefix}.*, so that the trial can start again. {wrong}"


def _set_checkpoint_aside(folder: Path, wrong: str) -> str:
    prefix = _next_prefix(folder)
    for path in (folder / CHECKPOINT_FILE, folder / f"{CHECKPOINT_FILE}.sha256"):
        if os.path.lexists(path):
            path.rename(folder / f"{prefix}.{path.name}")
    return (
        f"checkpoint moved aside as {prefix}.*; the trial has ended and its record is valid, so it does not need one. "
        f"{wrong}"
    )


def _move_if_no_file(path: Path) -> list[str]:
    """Rename a folder or link that has the name of a file; return a description of what was done."""
    if not os.path.lexists(path) or (path.is_file() and not path.is_symlink()):
        return []
    prefix = _next_prefix(path.parent)
    path.rename(path.with_name(f"{prefix}.{path.name}"))
    return [f"{path.name}, which was not a file, moved aside as {prefix}.{path.name}."]


def _next_prefix(folder: Path) -> str:
    taken = {path.name.split(".")[0] for path in folder.glob(f"{SET_ASIDE}_*")}
    return next(name for number in range(1, len(taken) + 2) if (name := f"{SET_ASIDE}_{number}") not in taken)
