"""NorMuon: Muon with row-wise normalisation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch.distributed as dist
from torch import Tensor

from algoperf_lightning.optim.foreach import Group, State, Tensors
from algoperf_lightning.optim.muon import Muon


class NorMuon(Muon):
    """Muon with each row of the orthogonal matrices divided by the root of a moving average of its mean square.

    In a group with ``orthogonal``, with gradient g and ``betas`` b1 and b2::

        m <- b1 m + (1 - b1) g;  o = orthogonal(b1 m + (1 - b1) g), or of m without nesterov
        v <- b2 v + (1 - b2) mean(o^2), over the columns of each row;  h = o / (sqrt(v) + 1e-10)
        p <- p - lr * [max(1, sqrt(rows / columns)) h |o| / (|h| + 1e-10) + weight_decay p]

    The normalisation keeps the norm of the update. Other groups are updated by
    :class:`~algoperf_lightning.optim.NadamW`, as in :class:`Muon`. The authors use AdamW for them.

    The authors' code flattens a convolution kernel to one matrix for the orthogonalisation only. Rows, norms and scale
    are computed from the last two axes, the spatial axes of the kernel, with a separate v for each row. Here, a kernel
    is the same matrix in all operations, output channels by all other axes, unless ``flatten_kernels`` is False.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        betas: Decay rates, each in [0, 1).
        eps: Added to the root of the second moment of NadamW.
        weight_decay: Decoupled weight decay.
        orthogonal: Whether a group is updated by NorMuon instead of NadamW.
        nesterov: Whether to use Nesterov momentum.
        newton_schulz_dtype: ``float32`` or ``bfloat16``.
        newton_schulz: Dialect of the Newton-Schulz iterations.
        flatten_kernels: Whether tensors with more than two axes are matrices of the first axis by all other axes in all
            operations.
        shard: Whether to shard the orthogonalisation over the ranks.
        process_group: Process group to shard over; None means all ranks.

    Raises:
        BadInputError: If an option is out of its range, or an orthogonal group contains a tensor with fewer than two
            axes.

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
        """Return the updates after row-wise normalisation, with the scale of Muon."""
        matrices = [update.flatten(1) for update in updates] if group["flatten_kernels"] else updates
        balanced = [_balanced(*pair, group["betas"][1]) for pair in zip(matrices, states, strict=True)]
        return [matrix.view_as(update) for matrix, update in zip(balanced, updates, strict=True)]


def _balanced(update: Tensor, state: State, beta: float) -> Tensor:
    """Normalise the rows of ``(..., rows, columns)`` and update the moving average of their mean squares."""
    squares = update.square().mean(-1, keepdim=True)
    if "row_squares" not in state:
        state["row_squares"] = squares.new_zeros(squares.shape)
    state["row_squares"].lerp_(squares, 1 - beta)
    balanced = update / (state["row_squares"].sqrt() + 1e-10)
    length, changed = (x.norm(dim=(-2, -1), keepdim=True) for x in (update, balanced))
    rows, columns = update.shape[-2:]
    result: Tensor = balanced * (length / (changed + 1e-10) * max(1.0, rows / columns) ** 0.5)
    return result
