"""Compilation, and settings of torch, while a workload runs."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import nn

from algoperf_lightning.spec import WorkloadSpec
from algoperf_lightning.utilities.inputs import nearest_or_raise

from .benchmark_settings import BenchmarkSettings, SetForFit, settings_of_torch


class TorchSetup:
    """The user's choice, or the benchmark's settings.

    Args:
        spec: The spec of the workload.
        compile: Whether to compile the model; a string is the mode.
        benchmark_settings: Use the benchmark's settings instead of ``compile``.

    Raises:
        BadInputError: If the mode of compilation is unknown.
    """

    def __init__(self, spec: WorkloadSpec, compile: bool | str, benchmark_settings: bool) -> None:
        if isinstance(compile, str):
            nearest_or_raise("compile mode", compile, torch._inductor.list_mode_options())
        self._settings = BenchmarkSettings.of(spec) if benchmark_settings else None
        self._compile = compile if self._settings is None else "model" in self._settings.compiled
        self.compile_loss = self._settings is not None and "loss" in self._settings.compiled
        """Whether the loss function is compiled."""

    def callbacks(self) -> list[L.Callback]:
        """Return the callbacks that configure torch for a run."""
        return [] if self._settings is None else [SetForFit(self._settings)]

    def compile_model(self, model: nn.Module) -> None:
        """Compile the model if requested, in place, which keeps the names of its parameters."""
        if self._compile:
            model.compile(mode=self._compile if isinstance(self._compile, str) else None)

    def describe(self) -> dict[str, Any]:
        """Return the settings of torch for the record."""
        return {
            **settings_of_torch(self._settings),
            "compile": self._compile,
            "compile_loss": self.compile_loss,
            "benchmark_settings": self._settings is not None,
        }
