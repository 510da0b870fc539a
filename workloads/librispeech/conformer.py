"""The network of librispeech_conformer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from algoperf_lightning.dropout import Dropout
from algoperf_lightning.parameters import ParameterKind
from algoperf_lightning.utilities.inputs import nearest_or_raise

from .frontend import LogMel, SpecAugment
from .layers import LayerNorm, MaskedBatchNorm, Subsampling, linear, valid_frames

KERNEL = 5
"""Frames in the convolution kernel of a block."""

FEED_FORWARD_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "swish": nn.SiLU,
    "gelu": partial(nn.GELU, approximate="tanh"),
}
CONVOLUTION_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {"swish": nn.SiLU, "gelu": nn.GELU}
"""The same names; in AlgoPerf, GELU is approximate in feed-forward modules and exact in convolution modules."""


class Conformer(nn.Module):
    """Maps sound to logits of word pieces: log-mel front-end, convolutional subsampling, Conformer blocks, linear head.

    32,321,792 parameters at full size. Initialisation: Xavier uniform for every matrix and convolution; 0 for biases,
    norms and query scales (which makes their factors 1).

    Args:
        vocabulary: Number of word pieces; index 0 is the blank.
        width: Channels of all layers.
        blocks: Conformer blocks.
        heads: Attention heads, a divisor of the width.
        dropout: Rate after the subsampling and in every residual branch.
        attention_temperature: Factor on the output of the attention (not on its logits, as in AlgoPerf).
        final_layer_norm: Whether each block ends with a layer norm.
        batch_norm_momentum: Share of a batch in the running statistics of batch norm.
        activation: A name in :data:`FEED_FORWARD_ACTIVATIONS` and :data:`CONVOLUTION_ACTIVATIONS`.
        frequency_masks: Number of frequency masks of SpecAugment.
        time_masks: Number of time masks of SpecAugment.

    Reference: A. Gulati et al., Conformer: Convolution-augmented Transformer for Speech Recognition, 2020,
    https://arxiv.org/abs/2005.08100.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        width: int,
        blocks: int,
        heads: int,
        dropout: float,
        attention_temperature: float = 1.0,
        final_layer_norm: bool = True,
        batch_norm_momentum: float = 0.001,
        activation: str = "swish",
        frequency_masks: int = 2,
        time_masks: int = 10,
    ) -> None:
        super().__init__()
        nearest_or_raise("activation", activation, FEED_FORWARD_ACTIVATIONS)
        self.log_mel = LogMel()
        self.spec_augment = SpecAugment(frequency_masks, time_masks)
        self.subsampling = Subsampling(width, nn.ReLU(inplace=True))
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            ConformerBlock(
                width, heads, dropout, attention_temperature, final_layer_norm, batch_norm_momentum, activation
            )
            for _ in range(blocks)
        )
        self.norm = LayerNorm(width)
        self.head = linear(width, vocabulary)

    def forward(self, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map sound to logits.

        Args:
            audio: Samples as 16-bit integers, at 16 kHz, ``(B, N)``.
            lengths: Valid samples of each, ``(B,)``.

        Returns:
            Logits ``(B, T, vocabulary)``, a frame for every 40 ms, and the number of valid frames ``(B,)``.
        """
        return self.from_features(*self.log_mel(audio, lengths))

    def from_features(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map log-mel features ``(B, F, 80)`` with ``lengths`` valid frames to logits."""
        x, lengths = self.subsampling(self.spec_augment(features, lengths), lengths)
        x = self.dropout(x + positions(*x.shape[1:], device=x.device))
        valid = valid_frames(lengths, x.shape[1])
        for block in self.blocks:
            x = block(x, valid)
        return self.head(self.norm(x)), lengths


def positions(frames: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return the encoding of each position, ``(frames, width)``: all sines, then all cosines, in falling frequency."""
    scales = torch.arange(width // 2, device=device) * (-math.log(10_000.0) / (width // 2 - 1))
    angles = torch.arange(frames, device=device)[:, None] * scales.exp()
    return torch.cat([angles.sin(), angles.cos()], 1)


class ConformerBlock(nn.Module):
    """Half feed-forward, attention, convolution and half feed-forward modules with residuals; then a layer norm."""

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float,
        attention_temperature: float,
        final_layer_norm: bool,
        batch_norm_momentum: float,
        activation: str,
    ) -> None:
        super().__init__()
        self.feed_forward1 = FeedForward(width, dropout, activation)
        self.attention = Attention(width, heads, dropout, attention_temperature)
        self.convolution = Convolution(width, dropout, batch_norm_momentum, activation)
        self.feed_forward2 = FeedForward(width, dropout, activation)
        self.norm = LayerNorm(width) if final_layer_norm else nn.Identity()

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Map ``(B, T, width)`` with ``valid`` frames bool ``(B, T)`` to the same shape. Padding need not remain 0."""
        x = x + 0.5 * self.feed_forward1(x, valid)
        x = x + self.attention(x, valid)
        x = x + self.convolution(x, valid)
        x = x + 0.5 * self.feed_forward2(x, valid)
        normalised: Tensor = self.norm(x)
        return normalised


class FeedForward(nn.Module):
    """Layer norm, linear layer to four times the width, activation, linear layer back."""

    def __init__(self, width: int, dropout: float, activation: str) -> None:
        super().__init__()
        self.norm = LayerNorm(width)
        self.linear1 = linear(width, 4 * width)
        self.activation = FEED_FORWARD_ACTIVATIONS[activation]()
        self.linear2 = linear(4 * width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Map ``(B, T, width)`` to the same shape, 0 where not ``valid``."""
        mask = valid[..., None]
        x = self.activation(self.linear1(self.norm(x))) * mask
        out: Tensor = self.dropout(self.linear2(x) * mask)
        return out


class Attention(nn.Module):
    """Multi-head self-attention over the valid frames; queries are scaled by a learnt factor per channel of a head."""

    parameter_kinds: ClassVar[Mapping[str, ParameterKind]] = {
        "qkv.weight": ParameterKind.ATTENTION_QKV,
        "qkv.bias": ParameterKind.ATTENTION_BIAS,
        "out.weight": ParameterKind.ATTENTION_OUT,
        "out.bias": ParameterKind.ATTENTION_BIAS,
    }

    def __init__(self, width: int, heads: int, dropout: float, temperature: float) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = temperature
        self.norm = LayerNorm(width)
        self.qkv = linear(width, 3 * width)
        self.out = linear(width, width)
        self.query_scale = QueryScale(width // heads)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Map ``(B, T, width)`` to the same shape; frames that are not ``valid`` are not attended to."""
        query, key, value = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(
            self.query_scale(query), key, value, attn_mask=valid[:, None, None, :]
        )
        if self.temperature != 1:
            attended = attended * self.temperature
        out: Tensor = self.dropout(self.out(attended.transpose(1, 2).flatten(2)))
        return out


class QueryScale(nn.Module):
    """A factor for each of ``width`` channels: softplus divided by its value at 0."""

    parameter_kinds: ClassVar[Mapping[str, ParameterKind]] = {"scale": ParameterKind.WEIGHT}

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))

    def forward(self, query: Tensor) -> Tensor:
        """Scale ``(..., width)``."""
        return query * (F.softplus(self.scale) / math.log(2)).to(query.dtype)


class Convolution(nn.Module):
    """Layer norm, a gate, a convolution over time for each channel, masked batch norm, activation, linear."""

    # Also for the linear layers: AlgoPerf matches names, and theirs start with the module's name, "conv".
    parameter_kinds: ClassVar[Mapping[str, ParameterKind]] = {
        f"{linear}.weight": ParameterKind.CONV_WEIGHT for linear in ("content", "gate", "out")
    }

    def __init__(self, width: int, dropout: float, batch_norm_momentum: float, activation: str) -> None:
        super().__init__()
        self.norm = LayerNorm(width)
        self.content = linear(width, width)
        self.gate = linear(width, width)
        self.depthwise = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2, groups=width, bias=False)
        # The official rule counts fan_out over all groups, like torch's function.
        nn.init.xavier_uniform_(self.depthwise.weight)
        self.batch_norm = MaskedBatchNorm(width, batch_norm_momentum, synchronised=False)
        self.activation = CONVOLUTION_ACTIVATIONS[activation]()
        self.out = linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Map ``(B, T, width)`` to the same shape."""
        x = self.norm(x)
        x = self.content(x) * self.gate(x).sigmoid() * valid[..., None]
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.dropout(self.out(self.activation(self.batch_norm(x, valid))))
        return out
