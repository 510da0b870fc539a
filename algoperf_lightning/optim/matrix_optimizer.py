"""Base of the optimizers that have a rule for matrices and leave all else to AdamW."""

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
    """Base of an optimizer with a rule of its own for tensors of two axes or more.

    They are matrices of the first axis by the rest. Groups whose option ``matrices`` is false, and tensors of fewer
    axes, are updated by AdamW with the group's options.

    A subclass defines :meth:`update_matrices`.

    Args:
        params: Parameters, or groups of them.
        defaults: Options of groups that do not set their own, beside ``matrices``.
        matrices: Whether a group's matrices are updated by that rule.
        shard: Whether ranks share its work. All of them must then step together, with the same gradients.
        process_group: The ranks that share; None is all of them.

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
        """Return nothing: what a parameter needs depends on its group and is added with its first gradient."""
        return {}

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Make a step."""
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
        """Update tensors of two axes or more, in place; a state is empty before the first gradient."""
