"""The networks of criteo1tb: a small DLRM, and a residual variant."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from algoperf_lightning.dropout import Dropout

from .table import HashTable

DENSE = 13
SPARSE = 26

_EPS = 1e-6
_RESIDUAL_BOTTOM = 3
_RESIDUAL_TOP = 4


class DLRM(nn.Module):
    """Deep learning recommendation model with one embedding table for all columns. 539,267,457 parameters.

    A bottom MLP maps the 13 dense values to one more embedding. The scalar products of all pairs of the 27 embeddings,
    including each with itself, and the dense embedding are the input of the top MLP, which returns a logit.

    Initialisation: table U(0, scale), which is not negative; bottom weights Glorot uniform, top weights Glorot normal;
    biases N(0, 1 / fan_out).

    Args:
        vocab_size: Rows of the table; an id is taken modulo this, and columns share rows.
        embed_dim: Width of an embedding.
        bottom: Hidden widths of the bottom MLP, which ends at ``embed_dim``.
        top: Hidden widths of the top MLP.
        embedding_scale: Maximum of the table's initial values; None is 1 / sqrt(vocab_size).
        layer_norm: Whether a layer norm follows every ReLU, and every embedding lookup.
        dropout: Rate after the top MLP's last hidden layer.

    Reference: M. Naumov et al., Deep Learning Recommendation Model for Personalization and Recommendation Systems,
    2019, https://arxiv.org/abs/1906.00091; the diagonal of the products, which that leaves out, is AlgoPerf's.
    """

    pairs: Tensor

    def __init__(
        self,
        vocab_size: int,
        embed_dim: int,
        bottom: Sequence[int],
        top: Sequence[int],
        embedding_scale: float | None = None,
        layer_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        vectors = SPARSE + 1
        rows, columns = torch.triu_indices(vectors, vectors)
        self.table = _table(vocab_size, embed_dim, embedding_scale)
        self.bottom = _mlp([DENSE, *bottom, embed_dim], layer_norm)
        self.top = _mlp([embed_dim + len(rows), *top], layer_norm)
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(top[-1], 1)
        self.table_norm = nn.LayerNorm(embed_dim, eps=_EPS) if layer_norm else nn.Identity()
        self.register_buffer("pairs", rows * vectors + columns, persistent=False)
        _initialise(self.bottom, nn.init.xavier_uniform_)
        _initialise(self.top, nn.init.xavier_normal_)
        _initialise(self.head, nn.init.xavier_normal_)

    def forward(self, dense: Tensor, ids: Tensor) -> Tensor:
        """Map dense values, float32 ``(B, 13)``, and ids, int32 ``(B, 26)``, to logits ``(B,)``."""
        embedded = self.table_norm(self.table(ids))
        first = self.bottom(dense)
        vectors = torch.cat([first[:, None], embedded.to(first.dtype)], dim=1)
        products = vectors @ vectors.mT
        features = torch.cat([first, products.flatten(1).index_select(1, self.pairs)], dim=1)
        logits: Tensor = self.head(self.dropout(self.top(features)))
        return logits[:, 0]


class ResidualDLRM(nn.Module):
    """The same table between residual MLPs, without products: embeddings are concatenated. 538,121,473 parameters.

    Initialisation as in :class:`DLRM`.

    Args:
        vocab_size: Rows of the table.
        embed_dim: Width of an embedding.
        width: Width of all blocks; three before the table, four after it, then a linear layer to the logit.
        dropout: Dropout rate inside the last block.
    """

    def __init__(self, vocab_size: int, embed_dim: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.table = _table(vocab_size, embed_dim, None)
        self.bottom = _residual_mlp(DENSE, width, _RESIDUAL_BOTTOM)
        self.top = _residual_mlp(width + SPARSE * embed_dim, width, _RESIDUAL_TOP, dropout)
        self.head = nn.Linear(width, 1)
        _initialise(self.bottom, nn.init.xavier_uniform_)
        _initialise(self.top, nn.init.xavier_normal_)
        _initialise(self.head, nn.init.xavier_normal_)

    def forward(self, dense: Tensor, ids: Tensor) -> Tensor:
        """Map dense values, float32 ``(B, 13)``, and ids, int32 ``(B, 26)``, to logits ``(B,)``."""
        embedded = self.table(ids)
        first = self.bottom(dense)
        features = torch.cat([first, embedded.flatten(1).to(first.dtype)], dim=1)
        logits: Tensor = self.head(self.top(features))
        return logits[:, 0]


class Residual(nn.Module):
    """A linear layer, ReLU and optional dropout, with a shortcut."""

    def __init__(self, width: int, dropout: float | None) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.activation = nn.ReLU()
        self.dropout = nn.Identity() if dropout is None else Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(B, width)`` to ``(B, width)``."""
        output: Tensor = features + self.dropout(self.activation(self.linear(features)))
        return output


def _table(vocab_size: int, embed_dim: int, scale: float | None) -> HashTable:
    """Return the table, initialised in place: nn.Embedding would first fill its 2 GiB with other values."""
    weights = torch.empty(vocab_size, embed_dim).uniform_(0, 1 / math.sqrt(vocab_size) if scale is None else scale)
    table: HashTable = HashTable.from_pretrained(weights, freeze=False)  # type: ignore[no-untyped-call]
    return table


def _mlp(widths: Sequence[int], layer_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        if layer_norm:
            layers.append(nn.LayerNorm(outputs, eps=_EPS))
    return nn.Sequential(*layers)


def _residual_mlp(inputs: int, width: int, depth: int, dropout: float | None = None) -> nn.Sequential:
    blocks = [Residual(width, dropout if number == depth - 1 else None) for number in range(1, depth)]
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), *blocks)


def _initialise(module: nn.Module, initialise_weight: Callable[[Tensor], Tensor]) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            initialise_weight(layer.weight)
            nn.init.normal_(layer.bias, std=1 / math.sqrt(layer.out_features))
