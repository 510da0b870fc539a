"""The CTC loss: torch's, and one that is twice differentiable."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from algoperf_lightning.data import Batch
from algoperf_lightning.workload import Loss

from .decoding import BLANK

_IMPOSSIBLE = -1e30
"""The logarithm of a probability of 0; with infinity, all derivatives would be NaN."""


def ctc_loss(logits: Tensor, lengths: Tensor, batch: Batch) -> Loss:
    """Return the CTC loss of each utterance in nats, 0 for padding, and its number of target tokens.

    Args:
        logits: Shape ``(B, T, V)``; label 0 is the blank.
        lengths: Valid frames, ``(B,)``.
        batch: Contains ``targets``, ``target_lengths``, and ``weights`` if some utterances are padding.

    Reference: A. Graves et al., Connectionist Temporal Classification, 2006, https://doi.org/10.1145/1143844.1143891.
    """
    losses = F.ctc_loss(
        logits.float().log_softmax(-1).transpose(0, 1),
        batch["targets"],
        lengths,
        batch["target_lengths"],
        blank=BLANK,
        reduction="none",
        zero_infinity=False,
    )
    return _of_utterances(losses, batch)


def smooth_ctc_loss(logits: Tensor, lengths: Tensor, batch: Batch) -> Loss:
    """Compute :func:`ctc_loss`, which has no second derivative, with operations that can be differentiated repeatedly.

    The recursion over frames is a Python loop, which takes tens of milliseconds and memory for every frame. If an
    utterance has fewer frames than its target requires, the loss is about 1e30.
    """
    scores = logits.float().log_softmax(-1)
    targets = batch["targets"].long()
    labels = targets.new_full((len(targets), 2 * targets.shape[1] + 1), BLANK)
    labels[:, 1::2] = targets  # blanks before, between and after all labels
    emitted = scores.gather(2, labels[:, None].expand(-1, scores.shape[1], -1))
    # A blank may be skipped between two different labels.
    may_skip = F.pad((labels[:, 2:] != BLANK) & (labels[:, 2:] != labels[:, :-2]), (2, 0))
    places = torch.arange(labels.shape[1], device=labels.device)
    paths = torch.where(places < 2, emitted[:, 0], _IMPOSSIBLE)
    for frame in range(1, scores.shape[1]):
        step = F.pad(paths[:, :-1], (1, 0), value=_IMPOSSIBLE)
        skip = torch.where(may_skip, F.pad(paths[:, :-2], (2, 0), value=_IMPOSSIBLE), _IMPOSSIBLE)
        longer = torch.stack([paths, step, skip]).logsumexp(0) + emitted[:, frame]
        paths = torch.where(frame < lengths[:, None], longer, paths)
    last = 2 * batch["target_lengths"].long()[:, None]
    ends = torch.cat([paths.gather(1, last), paths.gather(1, (last - 1).clamp(min=0))], 1)
    ends = torch.cat([ends[:, :1], torch.where(last > 0, ends[:, 1:], _IMPOSSIBLE)], 1)
    return _of_utterances(-ends.logsumexp(1), batch)


def _of_utterances(losses: Tensor, batch: Batch) -> Loss:
    tokens = batch["target_lengths"].float()
    if (weights := batch.get("weights")) is None:
        return Loss(losses, tokens)
    return Loss(torch.where(weights > 0, losses * weights, 0.0), tokens * weights)
