"""Running statistics of batch norms: frozen during a pass, or recomputed for other weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor, nn

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.rng import get_rng_state, set_rng_state

Statistics: TypeAlias = dict[str, Tensor]
"""Running statistics by the names of their buffers."""

_AVERAGED = ("running_mean", "running_var")
_BUFFERS = (*_AVERAGED, "num_batches_tracked")


@contextmanager
def statistics_left_alone(model: nn.Module) -> Iterator[None]:
    """Let batch norms normalise by the batch, as in training, without updating their running statistics."""
    modules: list[Any] = [module for module in model.modules() if getattr(module, "track_running_stats", False)]
    for module in modules:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in modules:
            module.track_running_stats = True


def statistics_of(model: nn.Module) -> Statistics:
    """Return copies of the running statistics of all batch norms."""
    return {name: buffer.clone() for name, buffer in _buffers(model).items()}


@torch.no_grad()
def set_statistics(model: nn.Module, statistics: Statistics) -> None:
    """Set running statistics that :func:`statistics_of` has returned.

    Raises:
        BadInputError: If they belong to another model.
    """
    buffers = _buffers(model)
    if buffers.keys() != statistics.keys():
        differing = ", ".join(sorted(buffers.keys() ^ statistics.keys())[:3])
        raise BadInputError(
            f"The running statistics are those of another model: only one of the two has {differing}. Pass the "
            "statistics that update_batch_norm returned."
        )
    for name, buffer in buffers.items():
        buffer.copy_(statistics[name])


@torch.no_grad()
def recompute(model: nn.Module, batches: Iterable[Any], run: Callable[[Any], Any], ranks: int) -> Statistics:
    """Recompute the running statistics of all batch norms on batches, and return the previous ones.

    Each batch is normalised separately, so its statistics do not depend on previous batches. This is like
    :func:`torch.optim.swa_utils.update_bn`, but without synchronising with the device, for any module with
    ``momentum`` and running statistics, and also in compiled models.

    Args:
        model: The model.
        batches: At least one.
        run: Runs the model on a batch.
        ranks: Processes that share the global batch, whose statistics are averaged.

    Raises:
        BadInputError: If there are no batches.
    """
    before = statistics_of(model)
    if not before:
        return before
    rng, averages, count = get_rng_state(), list[Tensor](), 0
    try:
        with _each_batch_alone(model):
            running = [buffer for name, buffer in _buffers(model).items() if name.endswith(_AVERAGED)]
            for count, batch in enumerate(batches, start=1):
                run(batch)
                if count == 1:
                    averages = [buffer.clone() for buffer in running]
                else:
                    torch._foreach_lerp_(averages, running, 1 / count)
        _check_count(count)
    except BaseException:
        set_statistics(model, before)
        raise
    finally:
        set_rng_state(rng)
    if ranks > 1:
        averages = _over_ranks(averages, count)
    torch._foreach_copy_(running, averages)
    return before


@contextmanager
def _each_batch_alone(model: nn.Module) -> Iterator[None]:
    """Make the running statistics those of the last batch, in a model in training mode."""
    kept = [(module, module.training) for module in model.modules()]
    norms: list[tuple[Any, Any]] = [(norm, norm.momentum) for norm in _norms(model).values()]
    model.train()
    for norm, _ in norms:
        norm.momentum = 1.0
        norm.running_mean.zero_()  # they are multiplied by 0, which would turn infinities into NaN
        norm.running_var.zero_()
    try:
        yield
    finally:
        for norm, momentum in norms:
            norm.momentum = momentum
        for module, training in kept:
            module.training = training


def _over_ranks(averages: list[Tensor], count: int) -> list[Tensor]:
    """Return the average over all ranks, weighted by their numbers of batches."""
    flat = torch.cat([*(average.flatten() * count for average in averages), averages[0].new_full((1,), count)])
    dist.all_reduce(flat)
    parts = torch.split(flat[:-1] / flat[-1], [average.numel() for average in averages])
    return [part.view_as(average) for part, average in zip(parts, averages, strict=True)]


def _check_count(count: int) -> None:
    if not count:
        raise BadInputError(
            "update_batch_norm needs at least one batch, but got none. Keep batches of select_batch, or draw new ones "
            "from its iterator: itertools.islice(self.batches, 10)."
        )


def _norms(model: nn.Module) -> dict[str, Any]:
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(getattr(module, "running_mean", None), Tensor) and hasattr(module, "momentum")
    }


def _buffers(model: nn.Module) -> Statistics:
    return {
        f"{name}.{kind}" if name else kind: buffer
        for name, norm in _norms(model).items()
        for kind in _BUFFERS
        if isinstance(buffer := getattr(norm, kind, None), Tensor)
    }
