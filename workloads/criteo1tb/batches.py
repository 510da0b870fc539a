"""Batches of criteo1tb: consecutive converted rows, and the order in which training reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from algoperf_lightning.data.examples import Batch, Draws, Examples, Order
from algoperf_lightning.rng import frozen_generator

from .parsing import BUCKETS, COUNTS
from .reading import map_rows

BLOCKS = 10_166
"""Number of blocks of consecutive rows in :class:`EvenlySpaced`."""


class RowFiles(Examples):
    """The rows of some files, one file after the other.

    Args:
        files: Paths and numbers of rows.
    """

    def __init__(self, files: list[tuple[Path, int]]) -> None:
        self.paths = [path for path, _ in files]
        self.sizes = np.array([size for _, size in files], np.int64)
        self.starts = np.cumsum(self.sizes) - self.sizes
        self._maps: dict[int, NDArray[np.void]] = {}

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.sizes.sum())

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without memory maps: pickling them for a worker process would read the whole data set."""
        return {**self.__dict__, "_maps": {}}

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return the rows; consecutive ones are read as one piece.

        Returns:
            ``inputs`` float32 ``(B, 13)``, ``ids`` int32 ``(B, 26)``, ``targets`` float32 ``(B,)``.
        """
        dense = np.empty((len(indices), COUNTS), np.float32)
        ids = np.empty((len(indices), len(BUCKETS)), np.int32)
        targets = np.empty(len(indices), np.float32)
        files = np.searchsorted(self.starts, indices, side="right") - 1
        cuts = np.flatnonzero(np.diff(files)) + 1
        for begin, end in zip([0, *cuts], [*cuts, len(indices)], strict=True):
            if begin == end:
                continue
            which = int(files[begin])
            rows = self._rows(which, indices[begin:end] - self.starts[which])
            dense[begin:end] = rows["dense"]
            targets[begin:end] = rows["label"]
            for column in range(len(BUCKETS)):
                ids[begin:end, column] = rows[f"id_{column}"]
        return {
            "inputs": torch.from_numpy(dense),
            "ids": torch.from_numpy(ids),
            "targets": torch.from_numpy(targets),
        }

    def order(self, seed: int) -> Order:
        """Return the benchmark's order: each pass shuffles the files, but not the rows of a file."""
        return ShuffledFiles(self.sizes, seed)

    def _rows(self, which: int, rows: NDArray[np.int64]) -> NDArray[np.void]:
        if which not in self._maps:
            self._maps[which] = map_rows(self.paths[which])
        mapped = self._maps[which]
        if (np.diff(rows) == 1).all():
            return mapped[rows[0] : rows[0] + len(rows)]
        return mapped[rows]


class ShuffledFiles:
    """Passes over all files, each in a new order, with the rows of a file in order.

    Args:
        sizes: Rows of each file, shape ``(files,)``.
        seed: Seed of the orders.
    """

    def __init__(self, sizes: NDArray[np.int64], seed: int) -> None:
        self.sizes = sizes
        self.starts = np.cumsum(sizes) - sizes
        self.size = int(sizes.sum())
        self.seed = seed
        self._pass: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None

    def take(self, begin: int, count: int) -> NDArray[np.int64]:
        """Return the rows at ``count`` positions of the stream from ``begin`` on, int64 ``(count,)``."""
        pieces = []
        while count:
            number, offset = divmod(begin, self.size)
            files, ends = self._files(number)
            place = int(np.searchsorted(ends, offset, side="right"))
            file, left = files[place], int(ends[place]) - offset
            piece = min(left, count)
            first = int(self.starts[file] + self.sizes[file]) - left
            pieces.append(np.arange(first, first + piece, dtype=np.int64))
            begin, count = begin + piece, count - piece
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _files(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the files of a pass in their order, and the positions in the pass at which they end."""
        if self._pass is None or self._pass[0] != number:
            files = frozen_generator(self.seed, "order", number).permutation(len(self.sizes)).astype(np.int64)
            self._pass = number, files, np.cumsum(self.sizes[files])
        return self._pass[1], self._pass[2]


class EvenlySpaced(Examples):
    """A subset of rows: up to 10,166 evenly spaced blocks of equal length.

    Args:
        rows: All rows.
        count: Number of rows in the subset.
    """

    def __init__(self, rows: Examples, count: int) -> None:
        self.rows = rows
        self.count = count
        self.stretch = -(-count // BLOCKS)
        self.stretches = -(-count // self.stretch)

    def __len__(self) -> int:
        """Return the number of rows in the subset."""
        return self.count

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return the rows, as ``rows`` reads them."""
        return self.rows.read(self.chosen(indices), draws)

    def chosen(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices among all rows of the subset's rows at ``indices``, int64 ``(B,)``."""
        stretch, within = np.divmod(indices, self.stretch)
        return stretch * len(self.rows) // self.stretches + within
