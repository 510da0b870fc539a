"""The network of wmt: an encoder-decoder Transformer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from algoperf_lightning.dropout import Dropout

from .layers import DecoderLayer, EncoderLayer

MASKED = -1e10
"""Added to masked attention scores. A query whose keys are all masked attends to all of them equally."""


class Transformer(nn.Module):
    """Encoder and decoder with one embedding for source, target and output. 133,521,408 parameters at full size.

    Ids 0 are padding, on both sides. Packed rows contain several sentences; they come with the position of each token
    in its sentence and with the number of its sentence, and tokens attend only to their own sentence.

    Initialisation: embedding N(0, 1); matrices Xavier uniform, those for query, key and value as one matrix; biases
    N(0, 1e-12); layer norms 1 and 0.

    Args:
        vocabulary: Ids V.
        width: Features d of a token.
        feed_forward: Features inside the feed-forward blocks.
        heads: Attention heads; they share the width.
        layers: Layers of the encoder, and as many of the decoder.
        length: Maximum number of positions.
        dropout: One rate for embeddings, attention weights, the outputs of attention, and inside and after the
            feed-forward blocks.
        pre_norm: Normalise the input of each block, and the outputs of encoder and decoder; otherwise the output of
            each block.
        attention_temperature: Factor on all queries.
        activation: A name in :data:`~.layers.ACTIVATIONS`.
        gated: Multiply the activations by a second linear map.

    Reference: A. Vaswani et al., Attention Is All You Need, 2017, https://arxiv.org/abs/1706.03762; with layer norms
    as in R. Xiong et al., On Layer Normalization in the Transformer Architecture, 2020,
    https://arxiv.org/abs/2002.04745.
    """

    positions: Tensor

    def __init__(
        self,
        *,
        vocabulary: int = 32_000,
        width: int = 1_024,
        feed_forward: int = 1_024,
        heads: int = 16,
        layers: int = 6,
        length: int = 256,
        dropout: float = 0.1,
        pre_norm: bool = True,
        attention_temperature: float = 1.0,
        activation: str = "relu",
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.width = width
        self.shared_embedding = nn.Embedding(vocabulary, width)
        self.dropout = Dropout(dropout)
        self.register_buffer("positions", sinusoids(length, width), persistent=False)
        options: dict[str, Any] = {
            "width": width,
            "feed_forward": feed_forward,
            "heads": heads,
            "dropout": dropout,
            "pre_norm": pre_norm,
            "attention_temperature": attention_temperature,
            "activation": activation,
            "gated": gated,
        }
        self.encoder = _Stack([EncoderLayer(**options) for _ in range(layers)], width if pre_norm else None)
        self.decoder = _Stack([DecoderLayer(**options) for _ in range(layers)], width if pre_norm else None)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.normal_(module.bias, std=1e-6)

    def forward(
        self,
        inputs: Tensor,
        targets: Tensor,
        inputs_position: Tensor | None = None,
        targets_position: Tensor | None = None,
        inputs_segmentation: Tensor | None = None,
        targets_segmentation: Tensor | None = None,
    ) -> Tensor:
        """Return the logits of every target token, given the source and the target tokens before it.

        The decoder's input is the targets, shifted by one position after a 0. In a packed row this ignores the ends of
        sentences: all but the first start with the end token of the previous sentence, as in the benchmark.

        Args:
            inputs: Source ids, int64 ``(B, S)``.
            targets: Target ids, int64 ``(B, T)``.
            inputs_position: Position of each source token in its sentence, ``(B, S)``; None for 0, 1, 2, ...
            targets_position: The same of the target tokens, ``(B, T)``.
            inputs_segmentation: Number of each source token's sentence in the row, ``(B, S)``; None if there is one.
            targets_segmentation: The same of the target tokens, ``(B, T)``.

        Returns:
            Logits ``(B, T, V)``.
        """
        memory = self.encode(inputs, inputs_position, inputs_segmentation)
        written = targets > 0
        own = written[:, :, None] & written[:, None, :]
        own = own & own.new_ones(targets.shape[1], targets.shape[1]).tril()
        read = written[:, :, None] & (inputs > 0)[:, None, :]
        if targets_segmentation is not None and inputs_segmentation is not None:
            own = own & (targets_segmentation[:, :, None] == targets_segmentation[:, None, :])
            read = read & (targets_segmentation[:, :, None] == inputs_segmentation[:, None, :])
        x = self.embed(F.pad(targets, (1, 0))[:, :-1], targets_position)
        return self.logits(self.decoder(x, self.bias_of(own), memory, self.bias_of(read)))

    def encode(
        self, inputs: Tensor, inputs_position: Tensor | None = None, inputs_segmentation: Tensor | None = None
    ) -> Tensor:
        """Return the encoding of source ids ``(B, S)``: ``(B, S, d)``."""
        known = inputs > 0
        mask = known[:, :, None] & known[:, None, :]
        if inputs_segmentation is not None:
            mask = mask & (inputs_segmentation[:, :, None] == inputs_segmentation[:, None, :])
        memory: Tensor = self.encoder(self.embed(inputs, inputs_position), self.bias_of(mask))
        return memory

    def embed(self, ids: Tensor, position: Tensor | None = None) -> Tensor:
        """Return embeddings with their positions, after dropout: ``(B, T)`` to ``(B, T, d)``."""
        places = self.positions[: ids.shape[1]] if position is None else self.positions[position]
        embedded: Tensor = self.dropout(self.shared_embedding(ids) + places)
        return embedded

    def logits(self, x: Tensor) -> Tensor:
        """Map features ``(..., d)`` to logits ``(..., V)``: products with the embeddings, divided by sqrt(d)."""
        return F.linear(x / math.sqrt(self.width), self.shared_embedding.weight)

    def bias_of(self, mask: Tensor) -> Tensor:
        """Return the bias of attention scores for a mask ``(B, T, S)`` that is true for visible keys.

        Shape ``(B, 1, T, S)``, in the type of the attention. It is finite, so that a query of padding, which has no
        visible keys, gives an average and not NaN.
        """
        device = mask.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else self.shared_embedding.weight.dtype
        masked = max(MASKED, torch.finfo(dtype).min)
        return torch.zeros((), dtype=dtype, device=mask.device).where(mask, masked)[:, None]


class _Stack(nn.Module):
    """A sequence of layers, with or without a final norm."""

    def __init__(self, layers: list[Any], norm: int | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = nn.Identity() if norm is None else nn.LayerNorm(norm, eps=1e-6)

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        """Map features ``(B, T, d)``; all layers get the same context."""
        for layer in self.layers:
            x = layer(x, *context)
        normed: Tensor = self.norm(x)
        return normed


def sinusoids(length: int, width: int) -> Tensor:
    """Return the table of positions, float32 ``(length, width)``: first all sines, then all cosines.

    The angle of position t and wave i is ``t * 10000^(-i / (width / 2 - 1))``.
    """
    half = width // 2
    waves = torch.exp(torch.arange(half, dtype=torch.float32) * (-math.log(10_000) / (half - 1)))
    angles = torch.arange(length, dtype=torch.float32)[:, None] * waves
    return torch.cat([angles.sin(), angles.cos()], dim=1)
