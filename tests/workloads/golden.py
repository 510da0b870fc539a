"""Fills that make a model's outputs comparable with a reference: no random generator, so the numbers hold anywhere.

The parameters are walked in the order of ``model.parameters()`` with one running counter k; buffers stay as built.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from algoperf_lightning.parameters import ParameterKind, parameter_kinds

_NORM_SCALES = (ParameterKind.BATCH_NORM_SCALE, ParameterKind.LAYER_NORM_SCALE)


def u(start: int, count: int) -> NDArray[np.float64]:
    """Return u(start), u(start + 1), ...: hashes of the counter, in [-1, 1), shape ``(count,)``."""
    mask = np.uint64(0xFFFFFFFF)
    h = (np.arange(start, start + count, dtype=np.uint64) * np.uint64(2654435761) + np.uint64(12345)) & mask
    h ^= h >> np.uint64(15)
    h = (h * np.uint64(2246822519)) & mask
    h ^= h >> np.uint64(13)
    return h / 2.0**31 - 1.0


def fill_a(model: nn.Module) -> None:
    """Set element k to 0.02 sin(k)."""
    _fill(model, lambda name, parameter, k: 0.02 * np.sin(np.arange(k, k + parameter.numel(), dtype=np.float64)))


def fill_b(model: nn.Module) -> None:
    """Set element k to u(k), scaled: by sqrt(3 / fan_in) from two axes on; 1 + 0.1 u for norm scales; else 0.1 u."""
    kinds = parameter_kinds(model)

    def values(name: str, parameter: nn.Parameter, k: int) -> NDArray[np.float64]:
        hashes = u(k, parameter.numel())
        if parameter.ndim >= 2:
            return hashes * np.sqrt(3 / (parameter.numel() / len(parameter)))
        return 1 + 0.1 * hashes if kinds[name] in _NORM_SCALES else 0.1 * hashes

    _fill(model, values)


def h(start: int, count: int) -> NDArray[np.float64]:
    """Return h(start), h(start + 1), ...: the sine of k^2 mod 7919, shape ``(count,)``."""
    k = np.arange(start, start + count, dtype=np.int64)
    return np.sin((k * k % 7919).astype(np.float64))


def fill_c(model: nn.Module) -> None:
    """Set element k to h(k), scaled: by sqrt(4 / fan_in) from two axes on; 1 + 0.1 h for norm scales; else 0.1 h."""
    kinds = parameter_kinds(model)

    def values(name: str, parameter: nn.Parameter, k: int) -> NDArray[np.float64]:
        hashes = h(k, parameter.numel())
        if parameter.ndim >= 2:
            return hashes * np.sqrt(4 * len(parameter) / parameter.numel())
        return 1 + 0.1 * hashes if kinds[name] in _NORM_SCALES else 0.1 * hashes

    _fill(model, values)


def _fill(model: nn.Module, values: Callable[[str, nn.Parameter, int], NDArray[np.float64]]) -> None:
    k = 0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(values(name, parameter, k)).view_as(parameter))
            k += parameter.numel()
