"""Gradients of groups of examples in one pass, if the losses of examples do not depend on each other."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.viewed import Loss

Losses = Callable[[Batch, Mapping[str, Tensor]], Loss]
"""Function that returns the losses of examples, given parameters by name."""


@dataclass
class Route:
    """How the groups of a run are measured, determined at the first measured step."""

    at_once: bool | None = None
    """Whether one pass gives the correct gradients; None while it is unknown."""


@dataclass(frozen=True)
class Groups:
    """Gradients and losses of R equally large groups of successive examples."""

    gradients: Tensor
    """Gradient of the mean loss of each group, shape ``(R, D)``."""
    losses: Tensor
    """Mean loss of each group, shape ``(R,)``."""
    units: Tensor
    """Valid units in all groups, a scalar."""
    size: int
    """Examples in each group."""

    @property
    def examples(self) -> int:
        """Examples in all groups."""
        return len(self.losses) * self.size

    def scaled(self, factor: Tensor) -> Groups:
        """Return these groups with all losses multiplied by a factor."""
        return Groups(self.gradients * factor, self.losses * factor, self.units, self.size)


def group_size(examples: int, groups: int) -> int:
    """Return the number of examples in each of as many equally large groups as possible.

    Args:
        examples: Number of examples in the batch.
        groups: Maximum number of groups.

    Example:
        >>> group_size(12, 8)
        2
    """
    return examples // next(count for count in range(min(groups, examples), 0, -1) if examples % count == 0)


def groups_at_once(losses: Losses, parameters: Mapping[str, Tensor], batch: Batch, groups: int) -> Groups | None:
    """Return the gradients of equally large groups of successive examples, by one pass of ``torch.func.vmap``.

    If examples interact, these are gradients of another function: compare one of them before use.

    Args:
        losses: Losses of the examples of a group.
        parameters: Parameters by name.
        batch: The batch of all examples.
        groups: Maximum number of groups.

    Returns:
        None if the batch cannot be divided, or the model or its loss cannot be transformed.
    """
    leaves, structure = tree_flatten(batch)
    sizes = {len(each) if each.ndim else 0 for each in leaves if isinstance(each, Tensor)}
    if len(sizes) != 1 or 0 in sizes:
        return None
    (examples,) = sizes
    size = group_size(examples, groups)
    parts = [each.view(-1, size, *each.shape[1:]) if isinstance(each, Tensor) else each for each in leaves]
    dims = [0 if isinstance(each, Tensor) else None for each in parts]

    def of_group(theta: Mapping[str, Tensor], *part: object) -> tuple[Tensor, Tensor]:
        found = losses(tree_unflatten(part, structure), theta)
        valid = torch.ones_like(found.per_example) if found.weight is None else found.weight
        return found.per_example.mean(), valid.sum()

    theta = {name: p.detach() for name, p in parameters.items()}
    gradients = torch.func.vmap(
        torch.func.grad_and_value(of_group, has_aux=True), (None, *dims), randomness="different"
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about operations that vmap calls for each group
            found, (means, units) = gradients(theta, *parts)
    except Exception:  # the rows can always be computed one by one
        return None
    rows = [each.reshape(len(each), -1).to(torch.promote_types(each.dtype, torch.float32)) for each in found.values()]
    return Groups(torch.cat(rows, 1), means.detach(), units.detach().sum(), size)
