"""Base class of optimizers with an update rule for matrices and AdamW for all other parameters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import torch.distributed as dist
from torch import Tensor

from algoperf_lightning.optim.adamw import adamw_state, adamw_update
from algoperf_lightning.optim.foreach import ForeachOptimizer, Group, State, Tensors
from algoperf_lightning.optim.sharding import Share, compute_here, sharing


class MatrixOptimizer(ForeachOptimizer):
    """Base class for optimizers with a separate update rule for tensors with two or more axes.

    These tensors are flattened to matrices of the first axis by all other axes. Groups with ``matrices=False`` and
    tensors with fewer axes are updated by AdamW with the options of the group.

    Subclasses define :meth:`update_matrices`.

    Args:
        params: Parameters or parameter groups.
        defaults: Default options of the groups, except ``matrices``.
        matrices: Whether the matrices of a group use that rule.
        shard: Whether to shard the work of that rule over the ranks. All ranks must then step together with the same
            gradients.
        process_group: Process group to shard over; None means all ranks.

    Raises:
        BadInputError: If an option of a group is out of its range.
    """

    _share: Share = staticmethod(compute_here)

    def __init__(
        self,
        params: Iterable[Any],
        defaults: Group,
        *,
        matrices: bool = True,
        shard: bool = False,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__(params, {**defaults, "matrices": matrices, "fused": True})
        self._share = sharing(shard, process_group)

    def init_state(self, parameter: Tensor) -> State:
        """Return an empty state. It depends on the group and is initialised with the first gradient."""
        return {}

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        chosen: dict[bool, list[tuple[Tensor, Tensor, State]]] = {True: [], False: []}
        for triple in zip(parameters, gradients, states, strict=True):
            chosen[group["matrices"] and triple[0].ndim >= 2].append(triple)
        if matrices := chosen[True]:
            self.update_matrices(
                group,
                [p.detach() for p, _, _ in matrices],
                [g for _, g, _ in matrices],
                [state for _, _, state in matrices],
            )
        if others := chosen[False]:
            for p, _, state in others:
                state.update({} if state else adamw_state(p))
            adamw_update(group, [p for p, _, _ in others], [g for _, g, _ in others], [state for _, _, state in others])

    @abstractmethod
    def update_matrices(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update tensors with two or more axes in place. A state is empty before the first gradient."""
