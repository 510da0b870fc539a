"""Dropout whose rate may be another one in each step, in a compiled model too.

A rate that is a Python number is a constant of a compiled graph: torch compiles again for each new one, and after eight
it runs the model uncompiled. So where a rate has changed, a compiled model reads it from a tensor, which is an input of
the graph: it is compiled once more at the first change, and never again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dropout(nn.Dropout):
    """:class:`torch.nn.Dropout`, whose rate may change without compiling the model again.

    Example:
        >>> Dropout(0.25)
        Dropout(p=0.25, inplace=False)
    """

    rate_tensor: Tensor | None = None
    """The rate of this step, without axes, once it was changed; None before. Set by :class:`DropoutRates`."""

    def forward(self, values: Tensor) -> Tensor:
        """Drop single values."""
        if self.rate_tensor is None or not self.training or not torch.compiler.is_compiling():
            return super().forward(values)
        return _drop(values, torch.rand_like(values, dtype=torch.float32), self.rate_tensor)


class Dropout2d(nn.Dropout2d):
    """:class:`torch.nn.Dropout2d`, whose rate may change without compiling the model again."""

    rate_tensor: Tensor | None = None
    """As :attr:`Dropout.rate_tensor`."""

    def forward(self, values: Tensor) -> Tensor:
        """Drop whole channels of ``(B, C, H, W)``."""
        if self.rate_tensor is None or not self.training or not torch.compiler.is_compiling():
            return super().forward(values)
        draws = torch.rand(*values.shape[:2], 1, 1, device=values.device)
        return _drop(values, draws, self.rate_tensor)


def _drop(values: Tensor, draws: Tensor, rate: Tensor) -> Tensor:
    """Return values, 0 where a draw from [0, 1) is below the rate, and the others scaled up to keep the mean."""
    # At rate 1 nothing is kept, and 0 times a large number is 0, where 0 times infinity would be NaN.
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

    torch's fused attention takes a rate as a constant only. So a compiled model whose rate has changed computes the
    probabilities, and keeps them for the gradient.

    Args:
        queries: ``(B, heads, T, d)``.
        keys: ``(B, heads, S, d)``.
        values: ``(B, heads, S, d)``.
        dropout: Its rate; none in evaluation mode.
        bias: Added to the scores, can be broadcast to ``(B, heads, T, S)``; None is nothing.
        scale: Factor on the scores; None is ``1 / sqrt(d)``.

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
    """The rates of all dropout in a model: those it was built with, and, for single passes, one for all.

    Args:
        model: Its modules of dropout, torch's own or ours. Those of torch make a compiled model compile again for each
            new rate.
        built_with: The rate that the model was built for. A model may have made other rates of it.
    """

    def __init__(self, model: nn.Module, built_with: float | None) -> None:
        self.model = model
        self._built_with = built_with
        modules = [module for module in model.modules() if isinstance(module, nn.modules.dropout._DropoutNd)]
        self._built = [(module, module.p) for module in modules]

    def differ_from(self, rate: float) -> bool:
        """Return whether the model was built with another rate."""
        return rate != self._built_with and any(built != rate for _, built in self._built)

    @contextmanager
    def all_at(self, rate: float) -> Iterator[None]:
        """Set all rates to one, and back afterwards to those that the model was built with."""
        self._set({built: rate for _, built in self._built})
        try:
            yield
        finally:
            self._set({built: built for _, built in self._built})

    def _set(self, rates: dict[float, float]) -> None:
        """Set rates, given by those that the model was built with."""
        device = next((p.device for p in self.model.parameters()), None)
        # New tensors, never new values in old ones: a gradient may be computed after the rate was set back.
        tensors = {built: torch.full((), rate, device=device) for built, rate in rates.items()}
        for module, built in self._built:
            # Past the checks of nn.Module, which would take a tenth of a millisecond for every ten modules.
            object.__setattr__(module, "p", rates[built])
            if isinstance(module, (Dropout, Dropout2d)):
                object.__setattr__(module, "rate_tensor", tensors[built])
