"""Snapshots of a run: model, hooks, workload, data pipeline, threads and processes."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from algoperf_lightning.data import streams
from algoperf_lightning.rules.global_state import Seen

if TYPE_CHECKING:
    from algoperf_lightning.workload import Workload

_WORKLOAD_METHODS = (
    "outputs",
    "loss_of",
    "regularization",
    "regularized",
    "count_units",
    "split_batch",
    "first_examples",
    "second_order",
    "loss",
    "loss_function",
    "evaluate",
    "build_metrics",
    "build_model",
    "validation_step",
    "on_validation_epoch_end",
)
_DATA_METHODS = ("open", "training_batches", "evaluation_batches", "train_dataloader", "val_dataloader")
_STREAMS = (streams.TrainingStream, streams.EvaluationBatches, streams.Loader, streams.TrainingBatches)
_HOOKS = (
    *("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks"),
    *("_state_dict_pre_hooks", "_state_dict_hooks"),
)

_THREADS_OF_NOBODY = ("threading", "time", "builtins", "_thread")
"""Modules whose functions run in threads that user code has started."""

_CHILDREN_OF_LIBRARIES = (
    "torch/_inductor",
    "multiprocessing.resource_tracker",
    "multiprocessing.forkserver",
    "wandb",
    "nvidia-smi",
)


def structure(model: nn.Module) -> dict[str, Any]:
    """Return types of modules, rates of dropout, and shapes and types of parameters and buffers."""
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        found[f"module {name or '(all)'}"] = type(module)
        if isinstance(module, nn.modules.dropout._DropoutNd):
            found[f"dropout {name}"] = module.p
    for name, parameter in model.named_parameters():
        found[f"parameter {name}"] = _described(parameter)
    for name, buffer in model.named_buffers():
        found[f"buffer {name}"] = _described(buffer)
    return found


def _described(tensor: Tensor) -> tuple[Any, ...]:
    """Return shape and type of a tensor, and its class if it is not torch's, because it can change operations."""
    plain = (tuple(tensor.shape), tensor.dtype)
    return plain if type(tensor) in (Tensor, nn.Parameter) else (*plain, type(tensor).__qualname__)


def modes(model: nn.Module) -> dict[str, Any]:
    """Return whether each module is in training mode."""
    return {f"training of {name or '(all)'}": module.training for name, module in model.named_modules()}


def hooks(model: nn.Module) -> dict[str, Any]:
    """Return hooks and forward methods of modules."""
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        label = name or "(all)"
        found[f"forward of {label}"] = Seen.of(vars(module).get("forward", type(module).forward))
        for kind in _HOOKS:
            for number, hook in enumerate(getattr(module, kind).values()):
                found[f"{kind.strip('_').removesuffix('s')} {number} of {label}"] = Seen.of(hook)
    return found


def methods(workload: Workload) -> dict[str, Any]:
    """Return the workload's methods that compute loss and metric."""
    return _methods(workload, _WORKLOAD_METHODS)


def numbers(workload: Workload) -> dict[str, Any]:
    """Return copies of the workload's numbers, so that in-place changes are detected."""
    found = {}
    for label, spec in (("spec", workload.spec), ("spec of the data", workload.data.spec)):
        for field in dataclasses.fields(spec):
            found[f"{label}: {field.name}"] = copy.deepcopy(getattr(spec, field.name))
    return found


def data(workload: Workload) -> dict[str, Any]:
    """Return the objects that create the workload's batches."""
    found = _methods(workload.data, _DATA_METHODS)
    found |= {name: getattr(workload.data, name) for name in ("data_dir", "seed", "workers")}
    for stream in _STREAMS:
        found |= {f"{stream.__name__}.{name}": Seen.of(each) for name, each in vars(stream).items() if callable(each)}
    return found


def replaced(workload: Workload) -> list[str]:
    """Return methods that are not from the file of their class before the run, for example replaced at import."""
    owners: list[tuple[type, tuple[str, ...]]] = [
        (type(workload), _WORKLOAD_METHODS),
        (type(workload.data), _DATA_METHODS),
        *(
            (stream, tuple(name for name, value in vars(stream).items() if inspect.isfunction(value)))
            for stream in _STREAMS
        ),
        *((type(module), ("forward",)) for module in workload.network.modules()),
    ]
    return sorted({f"{cls.__name__}.{name}" for cls, names in owners for name in names if not _is_own(cls, name)})


def _is_own(cls: type, name: str) -> bool:
    """Return whether a method is defined in the file or package of its class, if this is known."""
    owner = next((base for base in cls.__mro__ if name in vars(base)), None)
    file = getattr(sys.modules.get(owner.__module__), "__file__", None) if owner is not None else None
    function = inspect.unwrap(vars(owner)[name]) if owner is not None and callable(vars(owner)[name]) else None
    code = getattr(function, "__code__", None)
    if code is None or file is None or owner is None or owner.__module__ == "__main__":
        return True
    generated = code.co_filename.startswith("<") and getattr(function, "__module__", "") == owner.__module__
    package = owner.__module__.rpartition(".")[0]
    beside = bool(package) and Path(code.co_filename).parent == Path(file).parent  # e.g. a loss in its own file
    return generated or beside or _same_file(code.co_filename, file)


@functools.cache
def _same_file(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()


def _methods(owner: object, names: tuple[str, ...]) -> dict[str, Any]:
    """Return snapshots of an object's methods, so that replaced ones are detected."""
    return {name: Seen.of(vars(owner).get(name, getattr(type(owner), name, None))) for name in names}


# Threads and processes


def threads(own_files: frozenset[str]) -> dict[str, Any]:
    """Return the threads that run code of the given files, or a plain Python function that no library would run.

    Threads of libraries that are idle, or have only the library's code on their stack, are not reported.
    """
    frames = sys._current_frames()
    found = {}
    for thread in threading.enumerate():
        if thread is threading.main_thread() or thread is threading.current_thread():
            continue
        functions = [getattr(thread, "_target", None), getattr(thread, "function", None), type(thread).run]
        files = set(map(_file_of, functions)) | set(_files(frames.get(thread.ident or 0)))
        target = functions[0] or functions[1]
        if files & own_files or getattr(target, "__module__", "") in _THREADS_OF_NOBODY:
            found[f"a thread of {getattr(target, '__qualname__', type(thread).__qualname__)}"] = "alive"
    return found


def children() -> dict[str, Any]:
    """Return the running child processes, without those that read data and those of libraries."""
    found = {}
    for pid in _child_pids():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # it has ended
            continue
        if not command or pid in streams.READING_PROCESSES or any(part in command for part in _CHILDREN_OF_LIBRARIES):
            continue
        forked = command == _own_command()
        found["a copy of this process" if forked else f"the process {command[:80]!r}"] = "alive"
    return found


def _child_pids() -> Iterator[int]:
    for listed in Path("/proc/self/task").glob("*/children"):
        try:
            yield from map(int, listed.read_text().split())
        except OSError:
            continue


def _own_command() -> str:
    return Path("/proc/self/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def _file_of(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return "" if code is None else str(code.co_filename)


def _files(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        yield frame.f_code.co_filename
        frame = frame.f_back
