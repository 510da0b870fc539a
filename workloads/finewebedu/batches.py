"""Batches of finewebedu_lm: windows of the stream of tokens; targets are the inputs shifted by one."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from algoperf_lightning.data.examples import Batch, Draws, Examples


class Windows(Examples):
    """Windows of a stream of tokens, in order.

    Batch: ``inputs`` int32 and ``targets`` int64, both ``(B, length)``; a target is the token after its input.

    Args:
        windows: Ids, uint16 ``(N, length + 1)``, possibly memory-mapped.
    """

    def __init__(self, windows: NDArray[np.uint16]) -> None:
        self.windows = windows

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.windows)

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return ``inputs`` int32 and ``targets`` int64, both ``(B, length)``."""
        rows = self.windows[indices]
        return {
            "inputs": torch.from_numpy(rows[:, :-1].astype(np.int32)),
            "targets": torch.from_numpy(rows[:, 1:].astype(np.int64)),
        }
