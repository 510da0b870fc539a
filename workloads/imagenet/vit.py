"""The network of imagenet_vit: a vision transformer with mean pooling, and the changes of its variants."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from algoperf_lightning.dropout import Dropout, attend
from algoperf_lightning.initialisation import lecun_normal_
from algoperf_lightning.parameters import ParameterKind
from algoperf_lightning.roles import ParameterRole, Role

_NORM_EPSILON = 1e-6


class VisionTransformer(nn.Module):
    """ViT with fixed sine and cosine positions and no class token. The default is S/16: 22,122,472 parameters.

    Patches, position embedding, blocks of attention and MLP, layer norm, the mean over all tokens, a linear layer with
    tanh, the head.

    Initialisation: patch convolution and the layer before the head LeCun normal (variance 1 / fan_in), truncated at two
    standard deviations, bias 0; matrices of attention and MLP Xavier uniform, attention biases 0, MLP biases
    N(0, 1e-6^2); head 0, so all initial logits are equal and the first gradients reach only the head.

    Args:
        width: Channels of a token.
        depth: Blocks.
        mlp_width: Hidden units of a block's MLP.
        heads: Attention heads, each of ``width / heads`` channels.
        patch: Side of a patch in pixels; it divides the side of the image.
        classes: Outputs.
        dropout: Rate after the position embedding, on attention probabilities, and in both branches of every block.
        gated: Gate each MLP (variant ``glu``).
        norm_last: Norm after each residual sum instead of before each branch, without a final norm (``post_ln``).
        attention_pooling: Pool by attention with one learned query instead of the mean (``map``).

    Reference: Dosovitskiy et al., An Image is Worth 16x16 Words, 2021, https://arxiv.org/abs/2010.11929; Beyer, Zhai,
    Kolesnikov, Better plain ViT baselines for ImageNet-1k, 2022, https://arxiv.org/abs/2205.01580 (positions, mean).
    """

    def __init__(
        self,
        *,
        width: int = 384,
        depth: int = 12,
        mlp_width: int = 1_536,
        heads: int = 6,
        patch: int = 16,
        classes: int = 1_000,
        dropout: float = 0.0,
        gated: bool = False,
        norm_last: bool = False,
        attention_pooling: bool = False,
    ) -> None:
        super().__init__()
        self.pre_logits = nn.Linear(width, width)
        self.conv_patch_extract = nn.Conv2d(3, width, patch, stride=patch)
        self.dropout = Dropout(dropout)
        self.encoder = Encoder(width, depth, mlp_width, heads, dropout, gated=gated, norm_last=norm_last)
        self.head = nn.Linear(width, classes)
        self.map = AttentionPooling(width, mlp_width, heads, dropout) if attention_pooling else None
        layers: tuple[Any, ...] = (self.pre_logits, self.conv_patch_extract)
        for layer in layers:
            lecun_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images ``(B, 3, H, W)``, H and W multiples of the patch, to logits ``(B, classes)``."""
        patches = self.conv_patch_extract(images)  # (B, width, H / patch, W / patch)
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = tokens + position_embedding(*patches.shape[1:], device=images.device)
        tokens = self.encoder(self.dropout(tokens))
        pooled = tokens.mean(1) if self.map is None else self.map(tokens)
        logits: Tensor = self.head(torch.tanh(self.pre_logits(pooled)))
        return logits


def position_embedding(width: int, rows: int, columns: int, device: torch.device | None = None) -> Tensor:
    """Return the embedding of every position of a grid.

    The channels of a position are ``sin(x w), cos(x w), sin(y w), cos(y w)``, column x before row y, with ``width / 4``
    geometrically spaced frequencies w from 1 down to 1e-4.

    Args:
        width: Channels of a token, a multiple of 4.
        rows: Patches of the image from top to bottom.
        columns: Patches of the image from left to right.
        device: Device of the result.

    Returns:
        float32 ``(1, rows * columns, width)``, in the order of the patches in the sequence: row by row.
    """
    count = width // 4
    frequencies = 10_000.0 ** -(torch.arange(count, device=device, dtype=torch.float32) / (count - 1))
    x = torch.arange(columns, device=device, dtype=torch.float32)[:, None] * frequencies
    y = torch.arange(rows, device=device, dtype=torch.float32)[:, None] * frequencies
    x = torch.cat([x.sin(), x.cos()], dim=1).expand(rows, columns, 2 * count)
    y = torch.cat([y.sin(), y.cos()], dim=1)[:, None].expand(rows, columns, 2 * count)
    return torch.cat([x, y], dim=2).reshape(1, rows * columns, 4 * count)


class Encoder(nn.Module):
    """The blocks, and a norm after them unless each block ends with one."""

    def __init__(
        self, width: int, depth: int, mlp_width: int, heads: int, dropout: float, *, gated: bool, norm_last: bool
    ) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(Block(width, mlp_width, heads, dropout, gated=gated, norm_last=norm_last) for _ in range(depth))
        )
        self.encoder_norm: nn.Module = nn.Identity() if norm_last else nn.LayerNorm(width, _NORM_EPSILON)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens ``(B, T, width)`` to ``(B, T, width)``."""
        encoded: Tensor = self.encoder_norm(self.net(tokens))
        return encoded


class Block(nn.Module):
    """Attention, then MLP, each with a shortcut; the norm is before each branch, or after each sum."""

    def __init__(self, width: int, mlp_width: int, heads: int, dropout: float, *, gated: bool, norm_last: bool) -> None:
        super().__init__()
        self.norm_last = norm_last
        self.layer_norm0 = nn.LayerNorm(width, _NORM_EPSILON)
        self.self_attention1 = SelfAttention(width, heads, dropout)
        self.layer_norm2 = nn.LayerNorm(width, _NORM_EPSILON)
        self.mlp3 = Mlp(width, mlp_width, dropout, gated=gated)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens ``(B, T, width)`` to ``(B, T, width)``."""
        if self.norm_last:
            tokens = self.layer_norm0(tokens + self.dropout(self.self_attention1(tokens)))
            tokens = self.layer_norm2(tokens + self.dropout(self.mlp3(tokens)))
        else:
            tokens = tokens + self.dropout(self.self_attention1(self.layer_norm0(tokens)))
            tokens = tokens + self.dropout(self.mlp3(self.layer_norm2(tokens)))
        return tokens


class SelfAttention(nn.Module):
    """Multi-head attention among all tokens, with dropout on the attention probabilities."""

    parameter_kinds: ClassVar[dict[str, ParameterKind]] = {
        "query.weight": ParameterKind.ATTENTION_Q,
        "key.weight": ParameterKind.ATTENTION_K,
        "value.weight": ParameterKind.ATTENTION_V,
        "out.weight": ParameterKind.ATTENTION_OUT,
        "query.bias": ParameterKind.ATTENTION_BIAS,
        "key.bias": ParameterKind.ATTENTION_BIAS,
        "value.bias": ParameterKind.ATTENTION_BIAS,
        "out.bias": ParameterKind.ATTENTION_BIAS,
    }

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = Dropout(dropout)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens ``(B, T, width)`` to ``(B, T, width)``."""
        mixed = _attend(self.query(tokens), self.key(tokens), self.value(tokens), self.heads, self.dropout)
        output: Tensor = self.out(mixed)
        return output


class Mlp(nn.Module):
    """Two linear layers with GELU (tanh form) and dropout between them.

    The gate of the variant ``glu`` is a linear function of the activated units, not of the input, and multiplies them.
    """

    def __init__(self, width: int, mlp_width: int, dropout: float, *, gated: bool = False) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, mlp_width)
        self.glu_linear = nn.Linear(mlp_width, mlp_width) if gated else None
        self.linear2 = nn.Linear(mlp_width, width)
        self.dropout = Dropout(dropout)
        for layer in (self.linear1, self.glu_linear, self.linear2):
            if layer is not None:
                nn.init.xavier_uniform_(layer.weight)
                nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens ``(B, T, width)`` to ``(B, T, width)``."""
        hidden = F.gelu(self.linear1(tokens), approximate="tanh")
        if self.glu_linear is not None:
            hidden = hidden * self.glu_linear(hidden)
        output: Tensor = self.linear2(self.dropout(hidden))
        return output


class AttentionPooling(nn.Module):
    """Attention of one learned query over all tokens, then an MLP with a shortcut (variant ``map``).

    Reference: Lee et al., Set Transformer, 2019, https://arxiv.org/abs/1810.00825; Zhai et al., Scaling Vision
    Transformers, 2022, https://arxiv.org/abs/2106.04560.
    """

    def __init__(self, width: int, mlp_width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.empty(1, 1, width))
        nn.init.xavier_uniform_(self.probe)
        self.mha = PoolingAttention(width, heads, dropout)
        self.layer_norm = nn.LayerNorm(width, _NORM_EPSILON)
        self.mlp = Mlp(width, mlp_width, dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens ``(B, T, width)`` to one vector each, ``(B, width)``."""
        pooled = self.mha(self.probe.expand(len(tokens), -1, -1), tokens)
        pooled = pooled + self.mlp(self.layer_norm(pooled))
        vector: Tensor = pooled[:, 0]
        return vector


class PoolingAttention(nn.Module):
    """Multi-head attention of some queries over tokens, with one layer for keys and values.

    The benchmark counts its matrices and biases as plain ones, not as those of attention, so no kinds are declared. The
    roles of the matrices with heads are declared.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = Dropout(dropout)
        self.q_proj = nn.Linear(width, width)
        self.kv_proj = nn.Linear(width, 2 * width)
        self.out_proj = nn.Linear(width, width)
        self.parameter_roles = {
            "q_proj.weight": ParameterRole(Role.MATRIX, heads=heads),
            "kv_proj.weight": ParameterRole(Role.FUSED_ATTENTION, (width, width), heads),
        }
        for layer in (self.q_proj, self.kv_proj, self.out_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Map queries ``(B, Q, width)`` and tokens ``(B, T, width)`` to ``(B, Q, width)``."""
        keys, values = self.kv_proj(tokens).chunk(2, dim=-1)
        output: Tensor = self.out_proj(_attend(self.q_proj(queries), keys, values, self.heads, self.dropout))
        return output


def _attend(queries: Tensor, keys: Tensor, values: Tensor, heads: int, dropout: Dropout) -> Tensor:
    """Return softmax(Q K^T / sqrt(channels of a head)) V of every head, joined: ``(B, Q, width)``."""
    queries, keys, values = (x.view(*x.shape[:2], heads, -1).transpose(1, 2) for x in (queries, keys, values))
    return attend(queries, keys, values, dropout).transpose(1, 2).flatten(2)
