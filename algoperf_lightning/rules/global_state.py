"""Global state of the process: clocks, settings of torch, the environment.

It is noted when the library is imported, which is before submissions that use the library are defined.
"""

from __future__ import annotations

import builtins
import gc
import os
import sys
import threading
import time
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch._C import _get_mkldnn_enabled, _is_multithreading_enabled
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

_CLOCKS = ("time", "monotonic", "perf_counter", "perf_counter_ns", "monotonic_ns", "process_time", "sleep")

_AUTOCAST = ("cpu", "cuda")

_OF_LIBRARIES = ("_", "TORCH", "TRITON", "PL_", "LT_")
"""Variables that torch and Lightning set themselves during a run."""


@dataclass(frozen=True)
class Seen:
    """A snapshot of a function that detects replaced code.

    The object is the same after ``function.__code__ = ...``, so code and defaults are stored as well.
    """

    function: Any
    code: Any
    defaults: Any
    keywords: Any

    @classmethod
    def of(cls, function: Any) -> Any:
        """Return a snapshot of a function; objects without Python code are returned unchanged."""
        plain = getattr(function, "__func__", function)
        if not isinstance(plain, types.FunctionType):
            return function
        return cls(function, plain.__code__, plain.__defaults__, dict(plain.__kwdefaults__ or {}))


def clocks() -> dict[str, Any]:
    """Return Python's clocks, and torch's synchronisation, on which the clock of a trial depends."""
    found = {f"time.{name}": getattr(time, name) for name in _CLOCKS}
    return {**found, "torch.cuda.synchronize": Seen.of(torch.cuda.synchronize)}


def foreign_clocks() -> list[str]:
    """Return the names of clocks that are not the original ones of Python and torch."""
    return [name for name, clock in clocks().items() if not _is_original(clock)]


def _is_original(clock: Any) -> bool:
    if isinstance(clock, Seen):
        return bool(clock.code.co_filename == torch.cuda.__file__)
    return isinstance(clock, types.BuiltinFunctionType)


def settings() -> dict[str, Any]:
    """Return torch's global settings that affect speed or numbers."""
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    return {
        "torch.get_float32_matmul_precision()": torch.get_float32_matmul_precision(),
        "torch.get_default_dtype()": torch.get_default_dtype(),
        "torch.get_default_device()": str(torch.get_default_device()),
        "torch.get_num_threads()": torch.get_num_threads(),
        "torch.get_num_interop_threads()": torch.get_num_interop_threads(),
        "torch.are_deterministic_algorithms_enabled()": torch.are_deterministic_algorithms_enabled(),
        "torch.is_deterministic_algorithms_warn_only_enabled()": (
            torch.is_deterministic_algorithms_warn_only_enabled()
        ),
        "torch.utils.deterministic.fill_uninitialized_memory": torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        "torch.set_flush_denormal": "on" if _flushes_denormal() else "off",
        "torch.autograd.set_multithreading_enabled": "on" if _is_multithreading_enabled() else "off",
        "torch.backends.mkldnn.set_flags": "on" if _get_mkldnn_enabled() else "off",
        **{f"torch.is_autocast_enabled({kind!r})": torch.is_autocast_enabled(kind) for kind in _AUTOCAST},
        **{f"torch.get_autocast_dtype({kind!r})": torch.get_autocast_dtype(kind) for kind in _AUTOCAST},
        "torch.is_anomaly_enabled()": torch.is_anomaly_enabled(),
        "torch.backends.cudnn.enabled": cudnn.enabled,
        "torch.backends.cudnn.benchmark": cudnn.benchmark,
        "torch.backends.cudnn.deterministic": cudnn.deterministic,
        "torch.backends.cudnn.allow_tf32": cudnn.allow_tf32,
        "torch.backends.cuda.matmul.allow_tf32": cuda.matmul.allow_tf32,
        "torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction": (
            cuda.matmul.allow_bf16_reduced_precision_reduction
        ),
        "torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction": (
            cuda.matmul.allow_fp16_reduced_precision_reduction
        ),
        "torch.backends.cuda.flash_sdp_enabled()": cuda.flash_sdp_enabled(),  # type: ignore[no-untyped-call]
        "torch.backends.cuda.mem_efficient_sdp_enabled()": cuda.mem_efficient_sdp_enabled(),  # type: ignore[no-untyped-call]
        "torch.backends.cuda.math_sdp_enabled()": cuda.math_sdp_enabled(),  # type: ignore[no-untyped-call]
    }


def _flushes_denormal() -> bool:
    """Return whether this thread flushes denormal numbers to 0; torch can set this but not return it."""
    smallest = sys.float_info.min
    return smallest / 2.0 == 0.0


def interpreter() -> dict[str, Any]:
    """Return hooks of Python that can run code unnoticed."""
    module = torch.nn.modules.module
    found: dict[str, Any] = {
        "sys.settrace": sys.gettrace(),
        "sys.setprofile": sys.getprofile(),
        "sys.setswitchinterval": sys.getswitchinterval(),
        "threading.settrace": threading.gettrace(),
        "threading.setprofile": threading.getprofile(),
    }
    found |= {f"gc.callbacks[{number}]": Seen.of(callback) for number, callback in enumerate(gc.callbacks)}
    if hasattr(os, "sched_getaffinity"):
        found["os.sched_setaffinity"] = sorted(os.sched_getaffinity(0))
    found |= {f"builtins.{name}": value for name, value in vars(builtins).items() if callable(value) and name != "_"}
    for kind in ("forward", "forward_pre", "backward", "backward_pre"):
        hooks: Mapping[int, Any] = getattr(module, f"_global_{kind}_hooks")
        found |= {f"torch's global {kind} hook {hook!r}": Seen.of(hook) for hook in hooks.values()}
    for kind, modes in (
        ("function", _get_current_function_mode_stack()),  # type: ignore[no-untyped-call]
        ("dispatch", _get_current_dispatch_mode_stack()),
    ):
        found |= {f"torch's {kind} mode {number}": type(mode) for number, mode in enumerate(modes)}
    return found


def environment() -> dict[str, Any]:
    """Return the environment variables; their values are not shown, because records must not contain secrets."""
    return {name: _Hidden(value) for name, value in os.environ.items() if not name.startswith(_OF_LIBRARIES)}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return descriptions of the names whose values differ, sorted."""
    words = []
    for name in sorted(before.keys() | now.keys()):
        was, is_now = before.get(name, "not there"), now.get(name, "not there")
        if was != is_now:
            words.append(f"{name}{_difference(was, is_now)}")
    return words


@dataclass(frozen=True)
class _Hidden:
    """A value that is compared but not shown."""

    value: str


def _difference(was: Any, now: Any) -> str:
    if isinstance(was, _Hidden) or isinstance(now, _Hidden):
        return ""
    if was == "not there" and _is_code(now):
        return " was added"
    if now == "not there" and _is_code(was):
        return " was removed"
    if _is_code(was) or _is_code(now):
        return " was replaced"
    shown = [text if len(text := repr(value)) <= 80 else f"{text[:80]}..." for value in (was, now)]
    return f" was {shown[0]} and is now {shown[1]}"


def _is_code(value: Any) -> bool:
    return callable(value) or isinstance(value, Seen)


SETTINGS_AT_IMPORT = settings()
"""Torch's settings when the library was imported."""

ENVIRONMENT_AT_IMPORT = dict(os.environ)
"""The environment then."""
