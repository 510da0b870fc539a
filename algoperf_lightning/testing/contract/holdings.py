"""Contents of objects: tensors, numbers and random generators in attributes, containers and closures."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from algoperf_lightning.view import WorkloadView

from .run import Run
from .stage import Stage

_NUMBERS = (bool, int, float, complex, str, type(None))
_OUTSIDE = (nn.Module, ModuleType, type, WorkloadView, Stage, LRScheduler, torch.dtype, torch.device)
_DEPTH = 8


def leaves(value: Any, path: str, seen: set[int] | None = None, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the tensors, numbers and generator states contained in an object, each with its path."""
    seen = set() if seen is None else seen
    if isinstance(value, _NUMBERS) or (isinstance(value, tuple) and all(isinstance(each, _NUMBERS) for each in value)):
        yield path, value
        return
    if isinstance(value, _OUTSIDE) or id(value) in seen or depth > _DEPTH:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield path, value
    elif (state := _generator_state(value)) is not None:
        yield path, state
    else:
        for name, inner in _inner(value):
            yield from leaves(inner, f"{path}{name}", seen, depth + 1)


def _generator_state(value: Any) -> Any:
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, random.Random):
        return repr(value.getstate())
    if isinstance(value, np.random.RandomState):
        return repr(value.get_state())
    return repr(value.bit_generator.state) if isinstance(value, np.random.Generator) else None


def _inner(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for number, (key, inner) in enumerate(value.items()):
            yield f"[{key!r}]" if isinstance(key, str) else f"[{number}]", inner
    elif isinstance(value, (set, frozenset)):
        yield "", tuple(sorted(map(repr, value))) if all(isinstance(each, _NUMBERS) for each in value) else len(value)
    elif isinstance(value, (list, tuple)) or type(value).__name__ == "deque":
        for number, inner in enumerate(value):
            yield f"[{number}]", inner
    elif isinstance(value, np.ndarray):
        yield "", torch.from_numpy(value) if value.dtype != object else repr(value)
    elif isinstance(value, MethodType):
        yield "", value.__self__
    elif isinstance(value, FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            yield f".{name}", cell.cell_contents
    elif hasattr(value, "__dict__") and not callable(getattr(value, "__wrapped__", None)):
        for name, inner in vars(value).items():
            yield f".{name}", inner


def attributes(run: Run) -> dict[str, Any]:
    """Return the contents of the submission and its optimizers by path, except optimizer states and groups."""
    seen = {id(run.submission.hyperparameters), id(run.submission)}
    for optimizer in run.optimization.optimizers:
        seen |= {id(optimizer.state), id(optimizer.param_groups), id(optimizer.defaults), id(optimizer)}
    owners: list[Any] = [run.submission, *run.optimization.optimizers]
    found: dict[str, Any] = {}
    for owner in owners:
        for name, value in vars(owner).items():
            path = f"{type(owner).__name__}.{name}"
            found |= dict(leaves(value, path, seen))
    return found


def equal(one: Any, other: Any) -> bool:
    """Return whether two leaves are equal. NaN equals NaN."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        same = one.shape == other.shape and one.dtype == other.dtype
        return same and bool(((one == other) | ((one != one) & (other != other))).all())
    return type(one) is type(other) and (one == other or (one != one and other != other))


def held(run: Run) -> tuple[int, int]:
    """Return the bytes of all tensors of the submission and its optimizers, except the model, and other leaves.

    For a view, the complete base tensor is counted.
    """
    outside = set()
    for parameter in run.stage.network.parameters():
        outside.add(parameter.untyped_storage().data_ptr())
        if parameter.grad is not None:
            outside.add(parameter.grad.untyped_storage().data_ptr())
    storages: dict[int, int] = {}
    others = 0
    seen: set[int] = set()
    for owner in (run.submission, *run.optimization.optimizers):
        for _, value in leaves(vars(owner), "", seen):
            if not isinstance(value, Tensor):
                others += 1
            elif value.untyped_storage().data_ptr() not in outside:
                storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
    return sum(storages.values()), others
