"""Label smoothing that may change in every step, also in a compiled loss.

A Python number is a constant of a compiled function: torch recompiles the function for each new value, and runs it
uncompiled after eight. From the third value on, a compiled loss therefore gets a tensor instead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_CONSTANTS = 2
"""Number of values that are compiled as constants. Most runs have two: 0 in evaluations, and one in training."""


def cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float | Tensor) -> Tensor:
    """Return the cross-entropy in nats of each row; with smoothing a, its target is (1 - a) one-hot + a / classes.

    Args:
        logits: ``(N, classes)``.
        targets: int64 ``(N,)``.
        label_smoothing: In [0, 1); a tensor without axes in compiled functions if it varies.

    Returns:
        ``(N,)``.
    """
    if not isinstance(label_smoothing, Tensor):
        return F.cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)
    logs = logits.log_softmax(-1)
    hard = F.nll_loss(logs, targets, reduction="none")
    return (1 - label_smoothing) * hard - label_smoothing * logs.mean(-1)


def compile_loss(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a compiled loss function whose float arguments may change at each call.

    Args:
        function: The loss function; its first argument is a tensor, or has its ``device``.
    """
    compiled = torch.compile(function)
    constants: dict[float, None] = {}

    def passed(value: Any, device: torch.device) -> Any:
        if not isinstance(value, float) or value in constants:
            return value
        if len(constants) < _CONSTANTS:
            constants[value] = None
            return value
        return torch.full((), value, device=device)

    @wraps(function)
    def call(outputs: Any, *args: Any) -> Any:
        return compiled(outputs, *(passed(arg, outputs.device) for arg in args))

    return call
