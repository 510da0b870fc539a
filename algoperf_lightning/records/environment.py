"""The environment of a trial: versions, hardware, strategy, code."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from algoperf_lightning.records.source import describe_source

if TYPE_CHECKING:
    import lightning as L

    from algoperf_lightning.workload import Workload

_PACKAGES = ("algoperf-lightning", "torch", "lightning", "torchvision", "torchmetrics", "numpy")
FIXED = (
    *("accelerator", "precision", "float32_matmul_precision", "cudnn_benchmark", "compile", "compile_loss"),
    *("benchmark_settings", "data_settings"),
)
"""Fields that must not change in a resumed run: choices of the user that affect the measurement. Other fields describe
where it runs; a record contains all environments of its run."""


def describe_environment(trainer: L.Trainer, workload: Workload) -> dict[str, Any]:
    """Return versions, hardware, its use by the Trainer, and the code, as plain types."""
    return {
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name)) is not None},
        "os": platform.platform(),
        "cpu": cpu_name(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "accelerator": trainer.strategy.root_device.type,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "strategy": type(trainer.strategy).__name__,
        "ranks": trainer.world_size,
        "nodes": trainer.num_nodes,
        "precision": str(trainer.precision),
        "data_settings": workload.data.settings(),
        **workload.torch_settings(),
        **describe_source(workload),
    }


def cpu_name() -> str:
    """Return the model name of the CPU."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
