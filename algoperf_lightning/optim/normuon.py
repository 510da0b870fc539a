"""NorMuon: Muon with rows of one length on average."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch.distributed as dist
from torch import Tensor

from algoperf_lightning.optim.foreach import Group, State, Tensors
from algoperf_lightning.optim.muon import Muon


class NorMuon(Muon):
    """Muon whose orthogonal matrices are divided, row by row, by the root of an average of their squares.

    In a group with ``orthogonal``, with gradient g, and b1 and b2 of ``betas``::

        m <- b1 m + (1 - b1) g;  o = orthogonal(b1 m + (1 - b1) g), or of m without nesterov
        v <- b2 v + (1 - b2) mean(o^2), over the columns of each row;  h = o / (sqrt(v) + 1e-10)
        p <- p - lr * [max(1, sqrt(rows / columns)) h |o| / (|h| + 1e-10) + weight_decay p]

    so that the update keeps its length. Other groups are updated as by :class:`~algoperf_lightning.optim.NadamW`, as in
    :class:`Muon`; the authors use AdamW there.

    The authors' code treats the kernel of a convolution as one matrix for the orthogonalisation only. Rows, lengths and
    the scale are then those of the last two axes, the kernel's sides, with a v for each row of each of them. Here a
    kernel is the same matrix throughout, output channels by the rest, unless ``flatten_kernels`` is false.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        betas: Decay rates, each in [0, 1).
        eps: Added to the root of NadamW's second moment.
        weight_decay: Decoupled weight decay.
        orthogonal: Whether a group is updated by NorMuon or by NadamW.
        nesterov: Whether the momentum looks one step ahead.
        newton_schulz_dtype: ``float32`` or ``bfloat16``.
        newton_schulz: Dialect of the iterations.
        flatten_kernels: Whether tensors of more than two axes are matrices of the first axis by the rest throughout.
        shard: Whether to shard the orthogonalisation over the ranks.
        process_group: Process group to shard over; None means all ranks.

    Raises:
        BadInputError: If an option is out of its range, or an orthogonal group holds a tensor of fewer than two axes.

    Reference: Li et al. 2025, https://arxiv.org/abs/2510.05491.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.02,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        orthogonal: bool = True,
        nesterov: bool = True,
        newton_schulz_dtype: str = "float32",
        newton_schulz: str = "classic",
        flatten_kernels: bool = True,
        *,
        shard: bool = False,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            orthogonal,
            nesterov,
            newton_schulz_dtype,
            newton_schulz,
            shard=shard,
            process_group=process_group,
        )
        self.defaults["flatten_kernels"] = flatten_kernels
        for group in self.param_groups:
            group.setdefault("flatten_kernels", flatten_kernels)

    def scaled(self, group: Group, updates: Tensors, states: list[State]) -> Tensors:
        """Return the updates with rows of one length on average, scaled as Muon's."""
        matrices = [update.flatten(1) for update in updates] if group["flatten_kernels"] else updates
        balanced = [_balanced(*pair, group["betas"][1]) for pair in zip(matrices, states, strict=True)]
        return [matrix.view_as(update) for matrix, update in zip(balanced, updates, strict=True)]


def _balanced(update: Tensor, state: State, beta: float) -> Tensor:
    """Return ``(..., rows, columns)`` with balanced rows, and move the average of their squares."""
    squares = update.square().mean(-1, keepdim=True)
    if "row_squares" not in state:
        state["row_squares"] = squares.new_zeros(squares.shape)
    state["row_squares"].lerp_(squares, 1 - beta)
    balanced = update / (state["row_squares"].sqrt() + 1e-10)
    length, changed = (x.norm(dim=(-2, -1), keepdim=True) for x in (update, balanced))
    rows, columns = update.shape[-2:]
    result: Tensor = balanced * (length / (changed + 1e-10) * max(1.0, rows / columns) ** 0.5)
    return result
