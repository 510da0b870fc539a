"""Checkpoints: what is saved can be read again, what is damaged is found, and no checkpoint runs code."""

from __future__ import annotations

import hashlib
import io
import os
import shlex
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import write_atomic
from algoperf_lightning.records.checks import RecordError
from algoperf_lightning.records.checksum import difference
from algoperf_lightning.result import Evaluation, TrialResult

CHECKPOINT_KEY = "algoperf_lightning"
"""Where a checkpoint holds what :class:`~algoperf_lightning.workload.Workload` adds to it."""
RECORD_KEY = "algoperf_lightning_record"
"""Where a checkpoint holds the trial's record, so that it can be restored: see :func:`record_of`."""

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.Tensor, torch.nn.Parameter)
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


class CheckpointContentError(BadInputError):
    """A state to be saved holds something that could not be read again; the message names the entry."""


class CheckpointMismatchError(BadInputError):
    """A checkpoint belongs to another run than the one that wants to resume from it."""


# Saving


def loadable(value: Any, name: str) -> Any:
    """Return a state with NumPy scalars as numbers and NumPy arrays as tensors; all else must be loadable as it is.

    Args:
        value: Anything that is to be saved.
        name: What errors call it.

    Raises:
        CheckpointContentError: Naming the first entry that ``torch.load(weights_only=True)`` would not read.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, np.generic):
        return loadable(value.item(), name)
    if isinstance(value, np.ndarray):
        return _as_tensor(value, name)
    if kind in (dict, OrderedDict):
        keys = [loadable(key, f"a key of {name}") for key in value]
        items = [loadable(item, _entry(name, key)) for key, item in value.items()]
        # A state_dict that stays as it is keeps its metadata.
        return value if _same(keys, value) and _same(items, value.values()) else kind(zip(keys, items, strict=True))
    if kind in (list, tuple):
        members = [loadable(item, f"{name}[{place}]") for place, item in enumerate(value)]
        return value if _same(members, value) else kind(members)
    _try_reading(value, name)
    return value


def _same(new: Iterable[Any], old: Iterable[Any]) -> bool:
    return all(one is other for one, other in zip(new, old, strict=True))


def _entry(name: str, key: Any) -> str:
    return f"{name}.{key}" if isinstance(key, str) and key.isidentifier() else f"{name}[{key!r}]"


def _as_tensor(value: np.ndarray[Any, Any], name: str) -> torch.Tensor:
    try:
        return torch.from_numpy(np.array(value))
    except TypeError:
        raise _refusal(name, f"a NumPy array of {value.dtype}") from None


def _try_reading(value: Any, name: str) -> None:
    saved = io.BytesIO()
    try:
        torch.save(value, saved)
        saved.seek(0)
        torch.load(saved, weights_only=True)
    except Exception as error:
        kind = type(value)
        raise _refusal(name, f"{kind.__module__}.{kind.__qualname__}") from error


def _refusal(name: str, kind: str) -> CheckpointContentError:
    return CheckpointContentError(
        f"{name}: {kind} can be saved but not read again, so the run could not be resumed. Keep numbers, strings, "
        "lists, dicts and tensors in states: list(deque), generator.get_state(), enum.value."
    )


def gather_by_rank(ranks: int, mine: dict[str, Any], submission: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what each rank has of its own, in their order: ``mine`` with the submission's state.

    Most submissions have the same state on all ranks. It travels, and is saved again, only where it differs from the
    first rank's.

    Args:
        ranks: How many there are; all of them call this.
        mine: What always differs: small.
        submission: The submission's state on this rank, as :func:`loadable` returns it.
    """
    if ranks == 1:
        return [{**mine, "submission": submission}]
    fingerprint = fingerprint_of(submission)
    fingerprints: list[Any] = [None] * ranks
    dist.all_gather_object(fingerprints, fingerprint)
    differs = fingerprint != fingerprints[0]
    gathered: list[Any] = [None] * ranks
    dist.all_gather_object(gathered, {**mine, "submission": submission} if differs else mine)
    gathered[0]["submission"] = submission  # the first rank alone writes what is returned
    return [{"submission": gathered[0]["submission"], **each} for each in gathered]


def fingerprint_of(value: Any) -> str:
    """Return a digest of a state of plain types and tensors: the same for equal ones in all processes."""
    digest = hashlib.blake2b()

    def add(part: Any) -> None:
        if isinstance(part, torch.Tensor):
            digest.update(f"tensor {part.dtype} {tuple(part.shape)}".encode())
            digest.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(part, Mapping):
            digest.update(f"mapping {len(part)}".encode())
            for key, item in part.items():
                add(key)
                add(item)
        elif isinstance(part, (list, tuple)):
            digest.update(f"sequence {len(part)}".encode())
            for item in part:
                add(item)
        else:
            digest.update(f"{type(part).__name__} {part!r}".encode())

    add(value)
    return digest.hexdigest()


def checksum_path(path: Path) -> Path:
    """Return where the checksum of a checkpoint is kept."""
    return path.with_name(f"{path.name}.sha256")


def put_in_place(new: Path, path: Path) -> None:
    """Let a new checkpoint take the place of the old one, and keep its checksum beside it.

    The checksums of both are written before the one replaces the other, so that a kill at any moment leaves a
    checkpoint whose checksum is there.

    Raises:
        OSError: If it cannot be written; the old checkpoint is still there then.
    """
    with new.open("rb") as file:
        os.fsync(file.fileno())
    line = f"{_digest(new)}  {path.name}"
    write_atomic(checksum_path(path), "\n".join([line, *_checksums(path)]) + "\n")
    new.replace(path)
    write_atomic(checksum_path(path), f"{line}\n")


def renew_checksum(path: Path) -> None:
    """Write the checksum of a checkpoint anew, if the checkpoint is sound by the checksums that its archive has inside.

    Those find no byte that was changed in the archive's own tables, so they are no replacement; but where the file of
    the checksum was damaged itself, nothing else can tell.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sound = archive.testzip() is None
    except (OSError, ValueError, RuntimeError, NotImplementedError, EOFError, zipfile.BadZipFile, zlib.error):
        return
    if sound and not _is_known(path):
        write_atomic(checksum_path(path), f"{_digest(path)}  {path.name}\n")


def _is_known(path: Path) -> bool:
    try:
        return _digest(path) in {line.partition(" ")[0] for line in _checksums(path)}
    except RecordError:
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksums(path: Path) -> list[str]:
    try:
        return checksum_path(path).read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise RecordError(f"{checksum_path(path)} cannot be read ({error}). Remove it to do without.") from error


# Reading


def saved_trial(checkpoint: dict[str, Any], identity: dict[str, Any], path: object) -> dict[str, Any]:
    """Return what a workload has saved in a checkpoint of the same trial.

    Args:
        checkpoint: A checkpoint as Lightning read it.
        identity: What the trial that is to resume is.
        path: Where the checkpoint was read, for the message.

    Raises:
        CheckpointMismatchError: If the checkpoint is of another trial; the message names what differs.
    """
    saved: dict[str, Any] | None = checkpoint.get(CHECKPOINT_KEY)
    if saved is None:
        raise CheckpointMismatchError("This checkpoint was not written by a run of algoperf_lightning.")
    theirs = saved["identity"]
    if differing := [key for key in identity if identity[key] != theirs.get(key)]:
        lines = "; ".join(f"{key} is {theirs.get(key)!r} there and {identity[key]!r} here" for key in differing)
        raise CheckpointMismatchError(
            f"The checkpoint is of another run: {lines}. Resume {path} with the same settings, or start without "
            "ckpt_path, in another folder."
        )
    return saved


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read the checkpoint of a run; nothing in it is executed, whatever torch's environment variables say.

    Raises:
        RecordError: If it is damaged.
        CheckpointMismatchError: If it was not written by a run of this library.
    """
    if (sums := _checksums(path)) and _digest_or_raise(path) not in {line.partition(" ")[0] for line in sums}:
        raise RecordError(
            f"{path} is damaged: its SHA-256 is not the one in {checksum_path(path).name}.", _remedy(path)
        )
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # whatever torch says of damaged bytes
        reason = str(error).strip().partition("\n")[0][:200]
        raise RecordError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}: {reason}).", _remedy(path)
        ) from error
    if not isinstance(checkpoint, dict) or CHECKPOINT_KEY not in checkpoint:
        raise CheckpointMismatchError(f"{path} was not written by a run of algoperf_lightning.", _remedy(path))
    for name, kind in _PARTS.items():
        if not isinstance(checkpoint.get(name), kind):
            raise RecordError(f"{path} is damaged: its entry {name!r} is missing or of a wrong type.", _remedy(path))
    ranks = checkpoint[CHECKPOINT_KEY].get("ranks")
    if not isinstance(ranks, list) or not all(
        isinstance(each, Mapping) and each.keys() >= _OF_A_RANK for each in ranks
    ):
        raise RecordError(f"{path} is damaged: it lacks what each rank had of its own.", _remedy(path))
    return checkpoint


def record_to_save(result: TrialResult) -> dict[str, Any]:
    """Return what a checkpoint holds of the record, under :data:`RECORD_KEY`."""
    rows = [each.to_row() for each in result.evaluations]
    return {"trial": {**result.to_record(), "evaluations": len(rows)}, "evaluations": rows}


def record_of(checkpoint: Mapping[str, Any], path: Path) -> TrialResult | None:
    """Return the record as it was when a checkpoint was saved; None if it was saved without one.

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
    return f"Take another copy of it, or let the trial begin again: `algoperf repair {folder}` sets it aside."


def _digest_or_raise(path: Path) -> str:
    try:
        return _digest(path)
    except OSError as error:
        raise RecordError(f"{path} cannot be read ({error.strerror}).", _remedy(path)) from error


class SafeCheckpointIO(CheckpointIO):
    """Reads checkpoints by :func:`read_checkpoint`; for the rest it is the one it is put before.

    Args:
        inner: The strategy's own; where it is one of the user's, that reads too, weights only.
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
        """Let the one behind end."""
        self.inner.teardown()
