"""The layers of the Transformer of wmt."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from algoperf_lightning.dropout import Dropout, attend
from algoperf_lightning.parameters import ParameterKind
from algoperf_lightning.utilities.inputs import nearest_or_raise

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "tanh": torch.tanh}


class _Layer(nn.Module):
    """Base of a layer's blocks: a norm before or after the block, and a residual connection."""

    def __init__(self, pre_norm: bool, dropout: float) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.dropout = Dropout(dropout)

    def around(self, block: Callable[[Tensor], Tensor], norm: nn.Module, x: Tensor) -> Tensor:
        """Return ``x`` plus the output of the block."""
        if self.pre_norm:
            return x + block(norm(x))
        normed: Tensor = norm(x + block(x))
        return normed


class EncoderLayer(_Layer):
    """Self-attention, then a feed-forward block."""

    def __init__(
        self,
        *,
        width: int,
        feed_forward: int,
        heads: int,
        dropout: float,
        pre_norm: bool,
        attention_temperature: float,
        activation: str,
        gated: bool,
    ) -> None:
        super().__init__(pre_norm, dropout)
        self.self_attn = SelfAttention(width, heads, dropout, attention_temperature)
        self.feed_forward = FeedForward(width, feed_forward, dropout, activation, gated)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Map features ``(B, S, d)``, given the bias of attention scores ``(B, 1, S, S)``."""
        x = self.around(lambda y: self.dropout(self.self_attn(y, bias)), self.norm1, x)
        return self.around(self.feed_forward, self.norm2, x)


class DecoderLayer(_Layer):
    """Self-attention, attention to the encoder's output, then a feed-forward block."""

    def __init__(
        self,
        *,
        width: int,
        feed_forward: int,
        heads: int,
        dropout: float,
        pre_norm: bool,
        attention_temperature: float,
        activation: str,
        gated: bool,
    ) -> None:
        super().__init__(pre_norm, dropout)
        self.self_attn = SelfAttention(width, heads, dropout, attention_temperature)
        self.multihead_attn = CrossAttention(width, heads, dropout, attention_temperature)
        self.feed_forward = FeedForward(width, feed_forward, dropout, activation, gated)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.norm3 = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor, own_bias: Tensor, memory: Tensor, memory_bias: Tensor) -> Tensor:
        """Map features ``(B, T, d)``, given the encoder's output ``(B, S, d)`` and the biases of scores."""
        return self.through(
            x,
            lambda y: self.self_attn(y, own_bias),
            lambda y: self.multihead_attn(y, memory, memory_bias),
        )

    def through(
        self, x: Tensor, attend_own: Callable[[Tensor], Tensor], attend_memory: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Map features ``(B, T, d)``, with the caller's attention, for example with stored keys and values."""
        x = self.around(lambda y: self.dropout(attend_own(y)), self.norm1, x)
        x = self.around(lambda y: self.dropout(attend_memory(y)), self.norm2, x)
        return self.around(self.feed_forward, self.norm3, x)


class FeedForward(nn.Module):
    """Two linear layers with an activation between them, optionally gated by a third."""

    def __init__(self, width: int, hidden: int, dropout: float, activation: str, gated: bool) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[nearest_or_raise("activation", activation, ACTIVATIONS)]
        self.linear1 = nn.Linear(width, hidden)
        self.linear_glu = nn.Linear(width, hidden) if gated else None
        self.linear2 = nn.Linear(hidden, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map features ``(B, T, d)``; both dropouts are inside."""
        hidden = self.activation(self.linear1(x))
        if self.linear_glu is not None:
            hidden = hidden * self.linear_glu(x)
        out: Tensor = self.dropout(self.linear2(self.dropout(hidden)))
        return out


class _Attention(nn.Module):
    """Multi-head attention without biases; subclasses compute queries, keys and values."""

    out_proj: nn.Linear

    def __init__(self, heads: int, dropout: float, temperature: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = Dropout(dropout)
        self.temperature = temperature

    def split(self, x: Tensor) -> Tensor:
        """Split features by head: ``(B, T, d)`` to ``(B, heads, T, d / heads)``."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """Return the output ``(B, T, d)`` for queries ``(B, heads, T, ...)``, and keys and values of any length."""
        scale = self.temperature / math.sqrt(query.shape[-1])
        mixed = attend(query, key, value, self.dropout, bias=bias, scale=scale)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class SelfAttention(_Attention):
    """Attention of a sequence to itself; query, key and value are one matrix."""

    parameter_kinds: ClassVar[Mapping[str, ParameterKind]] = {
        "in_proj.weight": ParameterKind.ATTENTION_QKV,
        "out_proj.weight": ParameterKind.ATTENTION_OUT,
    }

    def __init__(self, width: int, heads: int, dropout: float, temperature: float) -> None:
        super().__init__(heads, dropout, temperature)
        self.in_proj = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value by heads, each ``(B, heads, T, d / heads)``."""
        query, key, value = self.in_proj(x).chunk(3, -1)
        return self.split(query), self.split(key), self.split(value)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Map features ``(B, T, d)``."""
        return self.attend(*self.project(x), bias)


class CrossAttention(_Attention):
    """Attention of one sequence to another; key and value are one matrix."""

    parameter_kinds: ClassVar[Mapping[str, ParameterKind]] = {
        "q_proj.weight": ParameterKind.ATTENTION_Q,
        "kv_proj.weight": ParameterKind.ATTENTION_KV,
        "out_proj.weight": ParameterKind.ATTENTION_OUT,
    }

    def __init__(self, width: int, heads: int, dropout: float, temperature: float) -> None:
        super().__init__(heads, dropout, temperature)
        self.q_proj = nn.Linear(width, width, bias=False)
        self.kv_proj = nn.Linear(width, 2 * width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)

    def project_memory(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return key and value by heads, each ``(B, heads, S, d / heads)``."""
        key, value = self.kv_proj(memory).chunk(2, -1)
        return self.split(key), self.split(value)

    def forward(self, x: Tensor, memory: Tensor, bias: Tensor) -> Tensor:
        """Map features ``(B, T, d)``, given the encoder's output ``(B, S, d)``."""
        return self.attend(self.split(self.q_proj(x)), *self.project_memory(memory), bias)
