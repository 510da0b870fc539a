"""Checkpoints: saved states can be loaded again, damage is detected, and no checkpoint runs code."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.records.checkpoint_checksums import checksum_path, checksums, digest
from algoperf_lightning.records.checks import RecordError
from algoperf_lightning.records.checksum import difference
from algoperf_lightning.result import Evaluation, TrialResult

CHECKPOINT_KEY = "algoperf_lightning"
"""Key of the state that :class:`~algoperf_lightning.workload.Workload` adds to a checkpoint."""
RECORD_KEY = "algoperf_lightning_record"
"""Key of the trial's record in a checkpoint, from which it can be restored: see :func:`record_of`."""

_PARTS: Mapping[str, type] = {
    "pytorch-lightning_version": str,
    "epoch": int,
    "global_step": int,
    "state_dict": Mapping,
    "loops": Mapping,
    "callbacks": Mapping,
    "optimizer_states": list,
    "lr_schedulers": list,
    CHECKPOINT_KEY: Mapping,
}
_OF_A_RANK = {"rng", "batches", "submission"}


class CheckpointMismatchError(BadInputError):
    """A checkpoint does not belong to the run that should resume from it."""


def saved_trial(checkpoint: dict[str, Any], identity: dict[str, Any], path: object) -> dict[str, Any]:
    """Return the state of a workload in a checkpoint of the same trial.

    Args:
        checkpoint: A checkpoint that Lightning has read.
        identity: Identity of the resumed trial.
        path: Path of the checkpoint, for messages.

    Raises:
        CheckpointMismatchError: If the checkpoint belongs to another trial; the message names the differences.
    """
    saved: dict[str, Any] | None = checkpoint.get(CHECKPOINT_KEY)
    if saved is None:
        raise CheckpointMismatchError("This checkpoint was not written by a run of algoperf_lightning.")
    theirs = saved["identity"]
    if differing := [key for key in identity if identity[key] != theirs.get(key)]:
        lines = "; ".join(f"{key} is {theirs.get(key)!r} there and {identity[key]!r} here" for key in differing)
        raise CheckpointMismatchError(
            f"The checkpoint belongs to another run: {lines}. Resume {path} with the same settings, or start without "
            "ckpt_path, in another folder."
        )
    return saved


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read the checkpoint of a run without executing anything in it, independent of torch's environment variables.

    Raises:
        RecordError: If it is damaged.
        CheckpointMismatchError: If it was not written by a run of this library.
    """
    if (sums := checksums(path)) and _digest_or_raise(path) not in {line.partition(" ")[0] for line in sums}:
        raise RecordError(
            f"{path} is damaged: its SHA-256 is not the one in {checksum_path(path).name}.", _remedy(path)
        )
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch may raise anything for damaged bytes
        reason = str(error).strip().partition("\n")[0][:200]
        raise RecordError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}: {reason}).", _remedy(path)
        ) from error
    if not isinstance(checkpoint, dict) or CHECKPOINT_KEY not in checkpoint:
        raise CheckpointMismatchError(f"{path} was not written by a run of algoperf_lightning.", _remedy(path))
    for name, kind in _PARTS.items():
        if not isinstance(checkpoint.get(name), kind):
            raise RecordError(f"{path} is damaged: its entry {name!r} is missing or has a wrong type.", _remedy(path))
    ranks = checkpoint[CHECKPOINT_KEY].get("ranks")
    if not isinstance(ranks, list) or not all(
        isinstance(each, Mapping) and each.keys() >= _OF_A_RANK for each in ranks
    ):
        raise RecordError(f"{path} is damaged: the state of the ranks is missing.", _remedy(path))
    return checkpoint


def record_to_save(result: TrialResult) -> dict[str, Any]:
    """Return the part of a record that a checkpoint contains under :data:`RECORD_KEY`."""
    rows = [each.to_row() for each in result.evaluations]
    return {"trial": {**result.to_record(), "evaluations": len(rows)}, "evaluations": rows}


def record_of(checkpoint: Mapping[str, Any], path: Path) -> TrialResult | None:
    """Return the record at the time when a checkpoint was saved; None if it was saved without one.

    Raises:
        RecordError: If it is damaged.
    """
    saved = checkpoint.get(RECORD_KEY)
    if saved is None:
        return None
    try:
        evaluations = [Evaluation.from_row(row) for row in saved["evaluations"]]
        result = TrialResult.from_record(saved["trial"], evaluations, f"{path}: the record in it", path.parent)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError(f"{path}: the record in it is damaged: {error!r}.") from error
    if changed := difference(result):
        raise RecordError(f"{path}: the record in it was changed: {changed}.")
    return result


def _remedy(path: Path) -> str:
    folder = shlex.quote(str(path.parent))
    return f"Use another copy of it, or start the trial again: `algoperf repair {folder}` moves it aside."


def _digest_or_raise(path: Path) -> str:
    try:
        return digest(path)
    except OSError as error:
        raise RecordError(f"{path} cannot be read ({error.strerror}).", _remedy(path)) from error


class SafeCheckpointIO(CheckpointIO):
    """Reads checkpoints with :func:`read_checkpoint`; everything else is delegated to the wrapped plug-in.

    Args:
        inner: The strategy's own plug-in; a user's plug-in reads too, with weights only.
    """

    def __init__(self, inner: CheckpointIO) -> None:
        self.inner = inner

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        self.inner.save_checkpoint(checkpoint, path, storage_options)

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, always with weights only."""
        if type(self.inner) is TorchCheckpointIO and "://" not in str(path):
            return read_checkpoint(Path(path), map_location or "cpu")
        loaded: dict[str, Any] = self.inner.load_checkpoint(path, weights_only=True)
        return loaded

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint."""
        self.inner.remove_checkpoint(path)

    def teardown(self) -> None:
        """Tear down the wrapped plug-in."""
        self.inner.teardown()
