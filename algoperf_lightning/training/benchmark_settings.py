"""Settings of torch in the benchmark's own runs, which only affect speed and rounding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch

from algoperf_lightning.spec import BENCHMARK_VERSIONS, CompiledPart, WorkloadSpec


@dataclass(frozen=True)
class BenchmarkSettings:
    """Settings of torch with which a version of AlgoPerf times a workload.

    Reference: the AlgoPerf repository, ``submission_runner.py`` and ``pytorch_utils.py`` of each version.
    """

    matmul_precision: str | None
    """For ``torch.set_float32_matmul_precision``; None if the version does not set it."""
    cudnn_benchmark: bool
    """For ``torch.backends.cudnn.benchmark``."""
    compiled: tuple[CompiledPart, ...]
    """What is compiled: ``model``, ``loss``, both or nothing."""

    @classmethod
    def of(cls, spec: WorkloadSpec) -> BenchmarkSettings:
        """Return the settings for a workload, in the version of its spec."""
        return cls(BENCHMARK_VERSIONS[spec.version].matmul_precision, spec.cudnn_benchmark, spec.compiled)

    def apply(self) -> Callable[[], None]:
        """Apply the global settings of torch, and return a function that restores the previous ones."""
        precision, benchmark = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
        if self.matmul_precision is not None:
            torch.set_float32_matmul_precision(self.matmul_precision)
        torch.backends.cudnn.benchmark = self.cudnn_benchmark

        def restore() -> None:
            torch.set_float32_matmul_precision(precision)
            torch.backends.cudnn.benchmark = benchmark

        return restore


class SetForFit(L.Callback):
    """Configure torch for a run, and restore it when the run ends in any way: Lightning has no teardown after an error.

    Args:
        settings: Settings during the run.
    """

    def __init__(self, settings: BenchmarkSettings) -> None:
        self._settings = settings
        self._restore: Callable[[], None] | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Apply the settings."""
        self._restore = self._settings.apply()

    def teardown(self, *args: Any, **kwargs: Any) -> None:
        """Restore the previous settings."""
        if self._restore is not None:
            self._restore()
            self._restore = None

    def on_exception(self, *args: Any) -> None:
        """Restore the previous settings."""
        self.teardown()


def settings_of_torch(settings: BenchmarkSettings | None) -> dict[str, str | bool]:
    """Return the global settings of torch while a workload runs: the benchmark's, or the current ones."""
    precision, cudnn_benchmark = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    if settings is not None:
        precision, cudnn_benchmark = settings.matmul_precision or precision, settings.cudnn_benchmark
    return {"float32_matmul_precision": precision, "cudnn_benchmark": cudnn_benchmark}
