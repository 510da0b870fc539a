"""Batches of wmt: sentence pairs one by one for evaluation, packed into rows for training."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from algoperf_lightning.data.examples import Batch, Draws, Examples

from .packing import lay_out, pack
from .reading import TokenFile


class SentencePairs(Examples):
    """Sentence pairs, one per row.

    Batch: ``inputs`` and ``targets`` int64 ``(B, length)``, padded with 0.

    Args:
        tokens: The token file.
        pairs: Indices of its pairs, int64 ``(N,)``.
        length: Length of a row in tokens.
    """

    def __init__(self, tokens: TokenFile, pairs: NDArray[np.int64], length: int) -> None:
        self.tokens = tokens
        self.pairs = pairs
        self.length = length

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.pairs)

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return source and target ids."""
        pairs = self.pairs[indices]
        inputs, targets = (self.tokens.padded(pairs, side, self.length) for side in (0, 1))
        return {"inputs": torch.from_numpy(inputs), "targets": torch.from_numpy(targets)}


class PackedRows(Examples):
    """Sentence pairs packed into rows, as many as fit.

    They are packed once, in the given order and in groups, as in the benchmark (:func:`~.packing.pack`). Rows can then
    be read in any order, and each pass reads the same rows in a different order.

    The benchmark treats an id 0 within a sentence (an unknown token) as padding: the sentence counts as shorter by one
    and loses a token at its end, and the unknown token belongs to no sentence.

    Batch: ``inputs``, ``targets``, and for both ``_position`` (in the sentence, from 0) and ``_segmentation`` (1, 2,
    ... for the sentences of a row, 0 for padding), all int64 ``(B, length)``.

    Args:
        tokens: The token file.
        pairs: Indices of its pairs in the order of packing, int64 ``(N,)``.
        length: Length of a row in tokens, on each side.
    """

    def __init__(self, tokens: TokenFile, pairs: NDArray[np.int64], length: int) -> None:
        self.tokens = tokens
        self.pairs = pairs.astype(np.int32)
        self.begins = pack(tokens.known[self.pairs], length)
        self.length = length

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.begins) - 1

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return ids, positions and segments of both sides."""
        begins = self.begins[indices]
        counts = self.begins[indices + 1] - begins
        rows = np.repeat(np.arange(len(indices)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        pairs = self.pairs[begins[rows] + within].astype(np.int64)
        batch: Batch = {}
        for side, name in enumerate(("inputs", "targets")):
            lengths = self.tokens.known[pairs, side].astype(np.int64)
            columns = lay_out(self.tokens.ids, self.tokens.starts(pairs, side), lengths, rows, self.length)
            for key, values in zip((name, f"{name}_position", f"{name}_segmentation"), columns, strict=True):
                batch[key] = torch.from_numpy(values)
        return batch
