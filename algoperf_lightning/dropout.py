"""Dropout with a rate that may change in every step, also in compiled models.

A rate given as a Python number is a constant of the compiled graph. PyTorch recompiles for each new value and falls
back to eager mode after eight recompilations. After the first change of a rate, a compiled model therefore reads it
from a tensor, which is an input of the graph. This needs a single recompilation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dropout(nn.Dropout):
    """:class:`torch.nn.Dropout` with a rate that can change without recompilation of the model.

    Example:
        >>> Dropout(0.25)
        Dropout(p=0.25, inplace=False)
    """

    rate_tensor: Tensor | None = None
    """Rate of the current step as a scalar tensor; None until the first change. Set by :class:`DropoutRates`."""

    def forward(self, values: Tensor) -> Tensor:
        """Apply dropout to individual values."""
        if self.rate_tensor is None or not self.training or not torch.compiler.is_compiling():
            return super().forward(values)
        return _drop(values, torch.rand_like(values, dtype=torch.float32), self.rate_tensor)


class Dropout2d(nn.Dropout2d):
    """:class:`torch.nn.Dropout2d` with a rate that can change without recompilation of the model."""

    rate_tensor: Tensor | None = None
    """See :attr:`Dropout.rate_tensor`."""

    def forward(self, values: Tensor) -> Tensor:
        """Apply dropout to complete channels of ``(B, C, H, W)``."""
        if self.rate_tensor is None or not self.training or not torch.compiler.is_compiling():
            return super().forward(values)
        draws = torch.rand(*values.shape[:2], 1, 1, device=values.device)
        return _drop(values, draws, self.rate_tensor)


def _drop(values: Tensor, draws: Tensor, rate: Tensor) -> Tensor:
    """Set values to 0 where the draw from [0, 1) is below the rate, and scale the others to keep the mean."""
    # At rate 1, all values are dropped. The finite scale avoids 0 * inf = NaN.
    return values * (draws >= rate) / (1 - rate).clamp(min=1e-6)


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    dropout: Dropout,
    *,
    bias: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Return ``dropout(softmax(queries keys^T * scale + bias)) values``: attention with dropout on its probabilities.

    PyTorch's fused attention supports only constant rates. A compiled model with a changed rate therefore computes the
    probabilities explicitly and stores them for the backward pass.

    Args:
        queries: ``(B, heads, T, d)``.
        keys: ``(B, heads, S, d)``.
        values: ``(B, heads, S, d)``.
        dropout: Module with the dropout rate. No dropout is applied in evaluation mode.
        bias: Added to the scores, broadcastable to ``(B, heads, T, S)``; None means no bias.
        scale: Factor applied to the scores; None means ``1 / sqrt(d)``.

    Returns:
        ``(B, heads, T, d)``.
    """
    if dropout.rate_tensor is None or not dropout.training or not torch.compiler.is_compiling():
        rate = dropout.p if dropout.training else 0.0
        return F.scaled_dot_product_attention(queries, keys, values, bias, dropout_p=rate, scale=scale)
    scores = queries @ keys.mT * (1 / math.sqrt(queries.shape[-1]) if scale is None else scale)
    if bias is not None:
        scores = scores + bias
    mixed: Tensor = dropout(scores.softmax(-1)).to(values.dtype) @ values
    return mixed


class DropoutRates:
    """Dropout rates of a model: the original rates, and a temporary common rate for individual passes.

    Args:
        model: Model with dropout modules of PyTorch or of this module. With modules of PyTorch, a compiled model
            recompiles for each new rate.
        built_with: Dropout rate used to build the model. The rates of its modules may be derived from it.
    """

    def __init__(self, model: nn.Module, built_with: float | None) -> None:
        self.model = model
        self._built_with = built_with
        modules = [module for module in model.modules() if isinstance(module, nn.modules.dropout._DropoutNd)]
        self._built = [(module, module.p) for module in modules]

    def differ_from(self, rate: float) -> bool:
        """Return whether the model was built with a different rate."""
        return rate != self._built_with and any(built != rate for _, built in self._built)

    @contextmanager
    def all_at(self, rate: float) -> Iterator[None]:
        """Set all rates to a common value, and restore the original rates afterwards."""
        self._set({built: rate for _, built in self._built})
        try:
            yield
        finally:
            self._set({built: built for _, built in self._built})

    def _set(self, rates: dict[float, float]) -> None:
        """Set rates by a mapping from the original rates."""
        device = next((p.device for p in self.model.parameters()), None)
        # Creates new tensors instead of updating in place, because a backward pass may follow after the rates are
        # restored.
        tensors = {built: torch.full((), rate, device=device) for built, rate in rates.items()}
        for module, built in self._built:
            # Bypasses the checks of nn.Module, which would take 0.1 ms per ten modules.
            object.__setattr__(module, "p", rates[built])
            if isinstance(module, (Dropout, Dropout2d)):
                object.__setattr__(module, "rate_tensor", tensors[built])
