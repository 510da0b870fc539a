"""What a machine can see of the rules being broken while a run goes on.

Before the submission's code is called, everything that is not its own is noted: the model's structure, the data
pipeline, loss and metric, the numbers of the workload, the clocks, global settings. At each evaluation and at the end
it is noted again; what differs is a warning in the record. The submission's text is read too:
:mod:`algoperf_lightning.rule_scan`. Warnings are for people to judge: the run goes on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from algoperf_lightning import streams
from algoperf_lightning.rule_scan import scan

if TYPE_CHECKING:
    from algoperf_lightning.workload import Workload

_WORKLOAD_METHODS = (
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
_CLOCKS = ("time", "monotonic", "perf_counter", "perf_counter_ns", "monotonic_ns")

_OF_LIBRARIES = ("_", "TORCH", "TRITON", "PL_", "LT_")
"""Variables that torch and Lightning set themselves while a run goes on."""


_ADVICE = " From AlgoPerf 0.6 on, ask for another rate with workload.loss(batch, dropout=...)."


class RuleChecks:
    """Compares what is not the submission's own before and after its code ran."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._before: dict[str, Mapping[str, Any]] = {}
        self.warnings: list[str] = []
        """What was seen so far, each thing once."""

    def begin(self) -> None:
        """Note how things are; the model is built, and the submission's code was not called for this run yet."""
        self._before = self._look()
        settings = self._before["A global setting"]
        self._before["A global setting"] = {**settings, "torch.is_anomaly_enabled()": self._detects_anomalies()}
        self.warnings = scan(type(self._workload.submission))

    def look(self) -> None:
        """Add a warning for each thing that is not as it was."""
        seen = self._look()
        for what, now in seen.items():
            before = self._before.get(what, now)
            for key in sorted(before.keys() | now.keys()):
                if (was := before.get(key, "not there")) != (is_now := now.get(key, "not there")):
                    advice = _ADVICE if key.startswith("dropout ") else ""
                    self._add(f"{what} changed during the run: {key}{_difference(was, is_now)}.{advice}")
        # Each thing is told once: what is now is what later looks are compared with.
        self._before = seen

    def _add(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)

    def _look(self) -> dict[str, Mapping[str, Any]]:
        workload = self._workload
        return {
            "The model's structure": _structure(workload.network),
            "The workload": _methods(workload, _WORKLOAD_METHODS),
            "The data pipeline": _data(workload),
            "The workload's numbers": {"spec": workload.spec, "spec of the data": workload.data.spec},
            "A clock": {f"time.{name}": getattr(time, name) for name in _CLOCKS},
            "A global setting": _settings(),
            "The environment": _environment(),
        }

    def _detects_anomalies(self) -> bool:
        """Return whether the Trainer is to look for anomalies, which it does from the start of the training loop on."""
        return bool(getattr(self._workload._trainer, "_detect_anomaly", torch.is_anomaly_enabled()))


def _structure(model: nn.Module) -> dict[str, Any]:
    """Return types of modules, rates of dropout, and shapes and types of parameters and buffers."""
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        found[f"module {name or '(all)'}"] = type(module).__qualname__
        if isinstance(module, nn.modules.dropout._DropoutNd):
            found[f"dropout {name}"] = module.p
    for name, parameter in model.named_parameters():
        found[f"parameter {name}"] = (tuple(parameter.shape), parameter.dtype)
    for name, buffer in model.named_buffers():
        found[f"buffer {name}"] = (tuple(buffer.shape), buffer.dtype)
    return found


def _methods(owner: object, names: tuple[str, ...]) -> dict[str, Any]:
    """Return what an object's methods are, so that one that was replaced is seen."""
    return {name: vars(owner).get(name, getattr(type(owner), name, None)) for name in names}


def _data(workload: Workload) -> dict[str, Any]:
    data = workload.data
    found = _methods(data, _DATA_METHODS)
    found |= {name: getattr(data, name) for name in ("data_dir", "seed", "workers")}
    for stream in _STREAMS:
        found |= {f"{stream.__name__}.{name}": value for name, value in vars(stream).items() if callable(value)}
    return found


def _settings() -> dict[str, Any]:
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    return {
        "torch.get_float32_matmul_precision()": torch.get_float32_matmul_precision(),
        "torch.get_default_dtype()": torch.get_default_dtype(),
        "torch.get_num_threads()": torch.get_num_threads(),
        "torch.are_deterministic_algorithms_enabled()": torch.are_deterministic_algorithms_enabled(),
        "torch.is_anomaly_enabled()": torch.is_anomaly_enabled(),
        "torch.backends.cudnn.enabled": cudnn.enabled,
        "torch.backends.cudnn.benchmark": cudnn.benchmark,
        "torch.backends.cudnn.deterministic": cudnn.deterministic,
        "torch.backends.cudnn.allow_tf32": cudnn.allow_tf32,
        "torch.backends.cuda.matmul.allow_tf32": cuda.matmul.allow_tf32,
        "torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction": (
            cuda.matmul.allow_bf16_reduced_precision_reduction
        ),
        "torch.backends.cuda.flash_sdp_enabled()": cuda.flash_sdp_enabled(),  # type: ignore[no-untyped-call]
        "torch.backends.cuda.mem_efficient_sdp_enabled()": cuda.mem_efficient_sdp_enabled(),  # type: ignore[no-untyped-call]
        "torch.backends.cuda.math_sdp_enabled()": cuda.math_sdp_enabled(),  # type: ignore[no-untyped-call]
    }


def _environment() -> dict[str, Any]:
    """Return the environment's variables; their values are not shown, as a record is no place for secrets."""
    return {name: _Hidden(value) for name, value in os.environ.items() if not name.startswith(_OF_LIBRARIES)}


@dataclass(frozen=True)
class _Hidden:
    """A value that is compared and not shown."""

    value: str


def _difference(was: Any, now: Any) -> str:
    if isinstance(was, _Hidden) or isinstance(now, _Hidden):
        return ""
    if callable(was) or callable(now):
        return " was replaced"
    shown = [text if len(text := repr(value)) <= 80 else f"{text[:80]}..." for value in (was, now)]
    return f" was {shown[0]} and is now {shown[1]}"
