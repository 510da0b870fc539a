"""Partition of a tensor into the blocks that Shampoo preconditions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def merged_shape(shape: Sequence[int], limit: int) -> list[int]:
    """Drop axes of size 1 and merge adjacent axes from the left while their product is at most the limit.

    Example:
        >>> merged_shape((64, 3, 7, 7), 1024), merged_shape((512, 512, 3, 3), 1024), merged_shape((), 1024)
        ([192, 49], [512, 512, 9], [1])
    """
    merged: list[int] = []
    for size in (size for size in shape if size != 1):
        if merged and merged[-1] * size <= limit:
            merged[-1] *= size
        else:
            merged.append(size)
    return merged or [1]


def blocks_of(tensor: Tensor, limit: int) -> list[Tensor]:
    """Return the blocks of a contiguous tensor, as views."""
    blocks = [tensor.view(merged_shape(tensor.shape, limit))]
    for axis in range(blocks[0].ndim):
        blocks = [part for block in blocks for part in torch.split(block, limit, dim=axis)]
    return blocks
