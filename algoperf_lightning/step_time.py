"""Seconds of a training step on the machines of the benchmark, and their sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

StepTimeSource = Literal["measured", "budget"]

SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "measured": "measured in the logs of AlgoPerf's PyTorch submissions on the scored machines",
        "budget": "the version's budget divided by its step hint, which the budget was set by",
    }
)
"""Descriptions of the sources of step times."""


@dataclass(frozen=True)
class StepTime:
    """Seconds of a training step of the default batch on the machine of a benchmark version."""

    seconds: float
    source: StepTimeSource = "measured"
    """``measured``: the 10th percentile over the intervals between evaluations, then the median over the submissions
    that the benchmark scored in its self-tuning ruleset of 2026, v1.0. ``budget``: budget over step hint."""
    jax_seconds: float | None = None
    """The same for its JAX submissions, if these show that PyTorch's step waits for its input; otherwise None."""
