"""States that can be loaded again: only plain types are saved, and others are refused when they are saved."""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from algoperf_lightning.errors import BadInputError

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.Tensor, torch.nn.Parameter)


class CheckpointContentError(BadInputError):
    """A state to be saved contains something that could not be loaded again; the message names the entry."""


def loadable(value: Any, name: str) -> Any:
    """Return a state with NumPy scalars as numbers and NumPy arrays as tensors; everything else must be loadable.

    Args:
        value: The state to be saved.
        name: Its name in errors.

    Raises:
        CheckpointContentError: Naming the first entry that ``torch.load(weights_only=True)`` would refuse.
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
        # An unchanged state_dict keeps its metadata.
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
    """Return the own state of each rank, in their order: ``mine`` with the submission's state.

    Most submissions have the same state on all ranks. It is only sent, and saved again, if it differs from that of the
    first rank.

    Args:
        ranks: Number of ranks, all of which call this.
        mine: The small part that always differs.
        submission: The submission's state on this rank, as returned by :func:`loadable`.
    """
    if ranks == 1:
        return [{**mine, "submission": submission}]
    fingerprint = fingerprint_of(submission)
    fingerprints: list[Any] = [None] * ranks
    dist.all_gather_object(fingerprints, fingerprint)
    differs = fingerprint != fingerprints[0]
    gathered: list[Any] = [None] * ranks
    dist.all_gather_object(gathered, {**mine, "submission": submission} if differs else mine)
    gathered[0]["submission"] = submission  # only the first rank writes the result
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
