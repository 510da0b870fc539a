"""Running statistics of batch norms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def statistics_left_alone(model: nn.Module) -> Iterator[None]:
    """Let batch norms normalise by the batch, as in training, but not move their running statistics."""
    modules: list[Any] = [module for module in model.modules() if getattr(module, "track_running_stats", False)]
    for module in modules:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in modules:
            module.track_running_stats = True
