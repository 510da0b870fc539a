"""Greedy decoding of a CTC model's outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from .layers import valid_frames

BLANK = 0


def greedy_decode(logits: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Take each frame's best label, merge repeated labels, and drop blanks.

    Args:
        logits: Shape ``(B, T, labels)``; label 0 is the blank.
        lengths: Valid frames of each example, shape ``(B,)``.

    Returns:
        Labels int64 ``(B, T)``, padded with blanks on the right; and their number, ``(B,)``.
    """
    best = logits.argmax(-1)
    best = torch.where(valid_frames(lengths, best.shape[1]), best, BLANK)
    before = torch.nn.functional.pad(best[:, :-1], (1, 0), value=BLANK)
    kept = (best != BLANK) & (best != before)
    # All dropped labels are written to one position after the last.
    places = torch.where(kept, kept.cumsum(1) - 1, best.shape[1])
    labels = best.new_full((best.shape[0], best.shape[1] + 1), BLANK).scatter_(1, places, best * kept)
    return labels[:, :-1], kept.sum(1)
