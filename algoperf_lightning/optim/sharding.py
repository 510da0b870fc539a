"""Sharding of independent optimizer computations over the ranks of data-parallel training.

After gradients are averaged, all ranks perform the same step. If a step consists of many independent computations, such
as matrix decompositions, each rank can perform its share and send the results to the other ranks.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from algoperf_lightning.errors import BadInputError

Compute = Callable[[Sequence[int]], Iterable[Tensor]]
"""Performs the computations with the given indices and returns their results in the same order."""
Share = Callable[[Compute, Sequence[float], Sequence[Tensor]], list[Tensor]]
"""Distributes all computations and returns all results. See :func:`share_over_ranks` for the arguments."""

_ALIGNMENT = 16


def share_over_ranks(
    compute: Compute, costs: Sequence[float], like: Sequence[Tensor], group: dist.ProcessGroup | None = None
) -> list[Tensor]:
    """Run each of several independent computations on one rank and return all results on all ranks.

    All ranks of the group must call this function with identical ``costs``, shapes and inputs, as in an optimizer after
    the gradients are averaged. Each result is bitwise identical on all ranks. With one rank, everything is computed
    locally without copies.

    Args:
        compute: Function that takes indices of computations and returns their results in the order of the indices. It
            is not called on ranks without a share.
        costs: Duration of each computation in any unit. The sums per rank are approximately balanced.
        like: Tensors with the shape, dtype and device of each result.
        group: Process group to shard over; None means all ranks.

    Returns:
        The result of each computation. Results from the same rank are views of one buffer.

    Raises:
        BadInputError: If the numbers of costs and tensors differ, a result does not match its tensor, or this rank is
            not in the group.

    Example:
        >>> matrices = [torch.eye(2), 2 * torch.eye(3)]
        >>> def inverses(numbers):
        ...     return [torch.linalg.inv(matrices[number]) for number in numbers]
        >>> share_over_ranks(inverses, [len(matrix) ** 3 for matrix in matrices], matrices)[1].diagonal()
        tensor([0.5000, 0.5000, 0.5000])
    """
    if len(costs) != len(like):
        raise BadInputError(f"Each computation needs its cost, but got {len(costs)} for {len(like)} computations.")
    ranks, rank = _ranks_of(group)
    if ranks == 1:
        return _checked(compute(range(len(like))), like)
    owners = owners_of(costs, ranks)
    mine = [number for number, owner in enumerate(owners) if owner == rank]
    results, buffers = _buffers(like, owners)
    computed = _checked(compute(mine), [like[number] for number in mine]) if mine else []
    for number, result in zip(mine, computed, strict=True):
        results[number].copy_(result)
    sent = [
        dist.broadcast(buffer, group=group, group_src=owner, async_op=True) for (owner, _), buffer in buffers.items()
    ]
    for work in sent:
        work.wait()
    return results


def compute_here(compute: Compute, costs: Sequence[float], like: Sequence[Tensor]) -> list[Tensor]:
    """Perform all computations on every rank. See :func:`share_over_ranks` for the arguments."""
    return _checked(compute(range(len(like))), like)


def sharing(shard: bool, group: dist.ProcessGroup | None) -> Share:
    """Return :func:`share_over_ranks` for a group, or :func:`compute_here` if not sharding."""
    return partial(share_over_ranks, group=group) if shard else compute_here


def owners_of(costs: Sequence[float], ranks: int) -> list[int]:
    """Assign each computation, in order of decreasing cost, to the rank with the least work.

    The maximum work per rank is at most 4/3 of that of the optimal assignment.

    Example:
        >>> owners_of([1, 8, 7, 6, 3], ranks=2)
        [0, 0, 1, 1, 0]
    """
    work = [0.0] * ranks
    owners = [0] * len(costs)
    for number in sorted(range(len(costs)), key=lambda i: -costs[i]):
        owners[number] = work.index(min(work))
        work[owners[number]] += costs[number]
    return owners


def _ranks_of(group: dist.ProcessGroup | None) -> tuple[int, int]:
    """Return the number of ranks and the index of the current rank; (1, 0) without data-parallel training."""
    if not (dist.is_available() and dist.is_initialized()):
        return 1, 0
    rank = dist.get_rank(group)
    if rank < 0:
        raise BadInputError("This rank is not in the process group whose ranks share the work. Add it to the group.")
    return dist.get_world_size(group), rank


def _buffers(like: Sequence[Tensor], owners: Sequence[int]) -> tuple[list[Tensor], dict[tuple[int, Any], Tensor]]:
    """Return a view for each result, and the byte buffer of each owner and device that contains its results."""
    places: list[int] = []
    sizes: dict[tuple[int, Any], int] = defaultdict(int)
    for tensor, owner in zip(like, owners, strict=True):
        places.append(sizes[owner, tensor.device])
        size = math.ceil(tensor.numel() * tensor.element_size() / _ALIGNMENT) * _ALIGNMENT
        sizes[owner, tensor.device] += size
    buffers = {key: torch.empty(size, dtype=torch.uint8, device=key[1]) for key, size in sizes.items()}
    results = [
        buffers[owner, tensor.device][place : place + tensor.numel() * tensor.element_size()]
        .view(tensor.dtype)
        .view(tensor.shape)
        for tensor, owner, place in zip(like, owners, places, strict=True)
    ]
    return results, buffers


def _checked(results: Iterable[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
    results = list(results)
    if len(results) != len(like):
        raise BadInputError(f"Expected the results of {len(like)} computations, but got {len(results)}.")
    for result, tensor in zip(results, like, strict=True):
        if (result.shape, result.dtype) != (tensor.shape, tensor.dtype):
            raise BadInputError(
                f"A result has shape {tuple(result.shape)} and type {result.dtype}, but its tensor in `like` has "
                f"{tuple(tensor.shape)} and {tensor.dtype}."
            )
    return results
