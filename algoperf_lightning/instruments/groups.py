"""Gradients of groups of examples in one pass, for losses of examples that do not depend on each other."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from algoperf_lightning.data.examples import Batch

GroupLoss = Callable[[Mapping[str, Tensor], Batch], Tensor]
"""The mean loss of some examples at some parameters, given by name."""


@dataclass
class Route:
    """How the groups of a run are measured: found out at the first measured step, and kept then."""

    at_once: bool | None = None
    """Whether one pass gives the right gradients; None as long as it is not known."""


def rows_at_once(
    loss: GroupLoss, parameters: Mapping[str, Tensor], batch: Batch, examples: int, groups: int
) -> Tensor | None:
    """Return the gradients of equally large groups of successive examples, by one pass of ``torch.func.vmap``.

    Where examples interact, these are gradients of another function: compare one of them before use.

    Args:
        loss: Of a group.
        parameters: By name.
        batch: Of all examples.
        examples: Their number.
        groups: Number of groups, R.

    Returns:
        Shape ``(R, D)``; None where the batch cannot be divided, or the model or its loss cannot be transformed.
    """
    leaves, structure = tree_flatten(batch)
    if any(isinstance(each, Tensor) and (not each.ndim or len(each) != examples) for each in leaves):
        return None
    parts = [each.view(groups, -1, *each.shape[1:]) if isinstance(each, Tensor) else each for each in leaves]
    dims = [0 if isinstance(each, Tensor) else None for each in parts]

    def of_group(theta: Mapping[str, Tensor], *part: object) -> Tensor:
        return loss(theta, tree_unflatten(part, structure))

    theta = {name: p.detach() for name, p in parameters.items()}
    gradients = torch.func.vmap(torch.func.grad(of_group), (None, *dims), randomness="different")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of operations that vmap calls for each group
            found = gradients(theta, *parts)
    except Exception:  # whatever it is, there is another way
        return None
    return torch.cat(
        [each.reshape(len(each), -1).to(torch.promote_types(each.dtype, torch.float32)) for each in found.values()], 1
    )
