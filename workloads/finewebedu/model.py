"""The network of finewebedu_lm: a decoder-only Transformer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from algoperf_lightning.parameters import ParameterKind

from .cross_entropy import linear_cross_entropy

ROTARY_BASE = 500_000.0
_STD = 0.02
_EPSILON = 1e-6


class LanguageModel(nn.Module):
    """A causal Transformer with rotary positions, normalised queries and keys, and gated feed-forward blocks.

    At full size 252,815,372 parameters in 86 tensors. No biases, no dropout. Embeddings and logits share one parameter,
    so they cannot be untied.

    Initialisation: all matrices N(0, 0.02^2), except N(0, 0.02^2 / (2 layers)) for the last one of a residual branch;
    scales of norms 1.

    Args:
        vocabulary: Number of token ids.
        width: Features of a token.
        hidden: Features inside a feed-forward block.
        heads: Attention heads; each has ``width / heads`` features.
        layers: Blocks.
        length: Tokens of a window. Longer inputs also work; the initial scale of the queries depends on it.

    Reference: A. Vaswani et al., Attention Is All You Need, 2017, https://arxiv.org/abs/1706.03762; J. Su et al.,
    RoFormer, 2021, https://arxiv.org/abs/2104.09864 (rotary positions); A. Henry et al., Query-Key Normalization for
    Transformers, 2020, https://arxiv.org/abs/2010.04245; Y. Dauphin et al., Language Modeling with Gated Convolutional
    Networks, 2017, https://arxiv.org/abs/1612.08083 (the gates); O. Press, L. Wolf, Using the Output Embedding to
    Improve Language Models, 2017, https://arxiv.org/abs/1608.05859.
    """

    table: Tensor

    def __init__(self, vocabulary: int, width: int, hidden: int, heads: int, layers: int, length: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        blocks = [Block(width, hidden, heads, length) for _ in range(layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.RMSNorm(width, eps=_EPSILON)
        self.register_buffer("table", rotary_table(length, width // heads), persistent=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=_STD)
        for block in blocks:
            for last in (block.attention.out, block.mlp.out):
                nn.init.normal_(last.weight, std=_STD / math.sqrt(2 * layers))

    def forward(self, inputs: Tensor, targets: Tensor | None = None, label_smoothing: float = 0.0) -> Tensor:
        """Map token ids to logits or, with targets, to losses.

        Args:
            inputs: Ids, int32 or int64, shape ``(B, T)``.
            targets: The next ids, int64, shape ``(B, T)``.
            label_smoothing: In [0, 1).

        Returns:
            Logits ``(B, T, vocabulary)`` without targets, otherwise the cross-entropy of each in nats, ``(B, T)``.
        """
        length = inputs.shape[1]
        table = self.table[:, :length]
        if length > self.table.shape[1]:
            table = rotary_table(length, 2 * self.table.shape[2]).to(self.table)
        features: Tensor = self.embedding(inputs)
        for block in self.blocks:
            features = block(features, table)
        features = self.norm(features)
        if targets is None:
            return F.linear(features, self.embedding.weight)
        return linear_cross_entropy(features, self.embedding.weight, targets, label_smoothing)


class Block(nn.Module):
    """Attention, then a feed-forward block, each a residual branch after an RMS norm."""

    def __init__(self, width: int, hidden: int, heads: int, length: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads, length)
        self.attention_norm = nn.RMSNorm(width, eps=_EPSILON)
        self.mlp = GatedMlp(width, hidden)
        self.mlp_norm = nn.RMSNorm(width, eps=_EPSILON)

    def forward(self, features: Tensor, table: Tensor) -> Tensor:
        """Map features ``(B, T, width)`` to ones of the same shape."""
        features = features + self.attention(self.attention_norm(features), table)
        output: Tensor = features + self.mlp(self.mlp_norm(features))
        return output


class Attention(nn.Module):
    """Causal attention of queries and keys of length 1; one learned number per block scales the logits.

    That number is initialised to log2(T^2 - T) for windows of T tokens.
    """

    parameter_kinds: ClassVar[Mapping[str, ParameterKind]] = {
        "scale": ParameterKind.WEIGHT,
        "qkv.weight": ParameterKind.ATTENTION_QKV,
        "out.weight": ParameterKind.ATTENTION_OUT,
    }

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = nn.Parameter(torch.tensor(math.log2(length**2 - length)))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, features: Tensor, table: Tensor) -> Tensor:
        """Map features ``(B, T, width)`` to ones of the same shape; ``table`` as :func:`rotary_table` makes it."""
        query, key, value = self.qkv(features).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = (unit(rotate(x, table)) for x in (query, key))
        mixed = F.scaled_dot_product_attention(query * self.scale, key, value, is_causal=True, scale=1.0)
        output: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return output


class GatedMlp(nn.Module):
    """A feed-forward block: one half of the hidden features times the sigmoid of the other."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.into = nn.Linear(width, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, width, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(B, T, width)`` to ones of the same shape."""
        output: Tensor = self.out(F.glu(self.into(features)))
        return output


def rotary_table(length: int, size: int) -> Tensor:
    """Return the cosines and sines of position * 500000^(-2i / size), float32 ``(2, length, size / 2)``."""
    frequencies = ROTARY_BASE ** (-torch.arange(0, size, 2, dtype=torch.float32) / size)
    angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies)
    return torch.stack((angles.cos(), angles.sin()))


def rotate(features: Tensor, table: Tensor) -> Tensor:
    """Rotate the pairs (0, 1), (2, 3), ... of features by the angles of their positions.

    Args:
        features: Shape ``(..., T, size)``.
        table: Shape ``(2, T, size / 2)``.

    Returns:
        Same shape and type; computed in float32.
    """
    pairs = features.float().view(*features.shape[:-1], -1, 2)
    first, second = pairs.unbind(-1)
    cosines, sines = table
    turned = torch.stack((first * cosines - second * sines, second * cosines + first * sines), -1)
    return turned.flatten(-2).to(features.dtype)


def unit(features: Tensor) -> Tensor:
    """Divide vectors ``(..., size)`` by their length; 1e-6 is added after the division, as in the benchmark."""
    length: Tensor = torch.linalg.vector_norm(features, dim=-1, keepdim=True)
    return features / length + _EPSILON
