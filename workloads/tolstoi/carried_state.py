"""States of a recurrent network that are carried from one batch of a text to the next."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from algoperf_lightning.second_order import in_transform


class CarriedState(nn.Module):
    """The state after the last block of each row of a text, and the one before it.

    A block that is read again, for example in the second pass of a two-pass method, starts from the same state as
    before. The first block of a row starts from zero. States have no gradient.

    Args:
        rows: Rows of the text.
        shape: Shape of the state of one row.
        persistent: Whether checkpoints contain the states.
    """

    before: Tensor
    behind: Tensor
    block: Tensor

    def __init__(self, rows: int, shape: tuple[int, ...], *, persistent: bool) -> None:
        super().__init__()
        self.register_buffer("before", torch.zeros(rows, *shape), persistent)
        self.register_buffer("behind", torch.zeros(rows, *shape), persistent)
        self.register_buffer("block", torch.full((rows,), -1), persistent)

    def start(self, rows: Tensor, blocks: Tensor) -> Tensor:
        """Return the initial states ``(B, *shape)`` of blocks.

        Args:
            rows: Their rows, all different, int64 ``(B,)``.
            blocks: Their positions in the rows, int64 ``(B,)``.
        """
        axes = (len(rows), *[1] * (self.before.ndim - 1))
        again = (self.block[rows] == blocks).view(axes)
        state = torch.where(again, self.before[rows], self.behind[rows])
        return state * (blocks > 0).view(axes)

    @torch.no_grad()
    def keep(self, rows: Tensor, blocks: Tensor, start: Tensor, end: Tensor) -> None:
        """Store the initial and final states of blocks, on all ranks; not in a transform of ``torch.func``."""
        if in_transform(end):
            return
        kept = torch.zeros_like(self.block, dtype=self.before.dtype)
        kept.index_fill_(0, rows, 1)  # kept[rows] = 1 would copy the 1 from the host, and synchronise
        shared = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if shared:
            dist.all_reduce(kept)
        for buffer, values in ((self.before, start), (self.behind, end), (self.block, blocks)):
            new = torch.zeros_like(buffer)
            new[rows] = values.detach().to(buffer.dtype)
            if shared:
                dist.all_reduce(new)
            counts = kept.view(-1, *[1] * (buffer.ndim - 1)).clamp(min=1)  # padding repeats a row on another rank
            buffer.copy_(torch.where(kept.view_as(counts) > 0, (new / counts).to(buffer.dtype), buffer))
