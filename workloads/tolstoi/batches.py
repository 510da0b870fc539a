"""Batches of tolstoi: blocks of characters in the order of the text."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from algoperf_lightning.data.examples import Batch, Draws, Examples, Order


class Blocks(Examples):
    """A text in rows, each a contiguous segment, which are read in parallel block by block.

    Example ``n`` is block ``n // rows`` of row ``n % rows``; the next block continues it.

    Batch: ``inputs`` and ``targets`` int64 ``(B, length)``, a target is the character after its input; ``rows`` and
    ``blocks`` int64 ``(B,)``, the row of each example and its place there.

    Args:
        numbers: Numbers of the characters, uint8 ``(characters,)``. Those after the last complete block are dropped.
        rows: Number of rows.
        length: Characters in a block.
        blocks: Number of blocks of a row to read; None reads all.
    """

    def __init__(self, numbers: NDArray[np.uint8], rows: int, length: int, blocks: int | None = None) -> None:
        whole = (len(numbers) - 1) // (rows * length)
        used = whole * rows * length
        self.inputs = numbers[:used].reshape(rows, -1)
        self.targets = numbers[1 : used + 1].reshape(rows, -1)
        self.rows, self.length = rows, length
        self.blocks = whole if blocks is None else blocks

    def __len__(self) -> int:
        """Return the number of blocks in all rows."""
        return self.rows * self.blocks

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return blocks."""
        blocks, rows = np.divmod(indices, self.rows)
        columns = blocks[:, None] * self.length + np.arange(self.length)
        return {
            "inputs": torch.from_numpy(self.inputs[rows[:, None], columns].astype(np.int64)),
            "targets": torch.from_numpy(self.targets[rows[:, None], columns].astype(np.int64)),
            "rows": torch.from_numpy(rows),
            "blocks": torch.from_numpy(blocks),
        }

    def order(self, seed: int) -> Order:
        """Return the order of the text for every pass, because states are carried from block to block."""
        return TextOrder(len(self))


class TextOrder:
    """The same order in each pass.

    Args:
        size: Number of examples.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def take(self, begin: int, count: int) -> NDArray[np.int64]:
        """Return the examples at ``count`` positions of the stream from ``begin`` on, shape ``(count,)``."""
        return np.arange(begin, begin + count, dtype=np.int64) % self.size
