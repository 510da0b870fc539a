"""Learning-rate schedules of the baselines, as factors on the peak learning rate.

All are pure functions of the number of completed steps, so resuming and running past the horizon need no special case.
Source: AlgoPerf's baseline submissions, as scored (their JAX form).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(step: float, *, horizon: float, warmup: int) -> float:
    """Return the factor of linear warm-up, then half a cosine down to 0 at the horizon, and 0 after it.

    torch's ``CosineAnnealingLR`` increases again after the horizon, which long runs reach.

    Args:
        step: Completed optimizer steps; 0 at the first step, whose factor is 0 if there is a warm-up.
        horizon: Steps until the factor is 0.
        warmup: Steps until it is 1.

    Example:
        >>> [round(warmup_cosine(s, horizon=8, warmup=4), 3) for s in (0, 2, 4, 6, 8, 12)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    """
    if step < warmup:
        return step / warmup
    share = min(1.0, (step - warmup) / max(horizon - warmup, 1))
    return 0.5 * (1 + math.cos(math.pi * share))


def warmup_linear(step: int, *, horizon: int, warmup: int, decay_steps_factor: float, end_factor: float) -> float:
    """Return the factor of linear warm-up, then linear decay to ``end_factor``, then a constant.

    Args:
        step: Completed optimizer steps.
        horizon: Total number of steps of warm-up and decay.
        warmup: Steps until the factor is 1.
        decay_steps_factor: Share of the steps after warm-up in which it falls, in (0, 1].
        end_factor: The factor at the end.

    Example:
        >>> options = dict(horizon=12, warmup=2, decay_steps_factor=0.8, end_factor=0.2)
        >>> [round(warmup_linear(s, **options), 3) for s in (0, 1, 2, 6, 10, 99)]
        [0.0, 0.5, 1.0, 0.6, 0.2, 0.2]
    """
    if step < warmup:
        return step / warmup
    decay = max(int((horizon - warmup) * decay_steps_factor), 1)
    return 1 + (end_factor - 1) * min(1.0, (step - warmup) / decay)


def cycles(step: int, *, horizon: int, warmup: int, count: int) -> float:
    """Return the factor of equally long cycles, each a linear warm-up, then half a cosine down to 0; 0 after the last.

    The very first step has factor 1: AlgoPerf's cyclic submissions set the learning rate only after an optimizer
    step, so their first step used the peak.

    Args:
        step: Completed optimizer steps.
        horizon: Total number of steps of all cycles.
        warmup: Steps of warm-up in each cycle.
        count: Number of cycles.

    Example:
        >>> [round(cycles(s, horizon=8, warmup=2, count=2), 3) for s in range(10)]
        [1.0, 0.5, 1.0, 0.5, 0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    """
    if step == 0:
        return 1.0
    length = horizon // count
    if step >= length * count:
        return 0.0
    return warmup_cosine(step % length, horizon=length, warmup=warmup)


def nested_cosines(step: int, *, horizon: int, warmup_factor: float) -> float:
    """Return the factor of linear warm-up, then three half cosines down to 0.

    The cosines end at 0.53571619898, 0.75 and 1 of the horizon. The first starts at 1, the others at the value of
    :func:`warmup_cosine` over the whole horizon.

    Args:
        step: Completed optimizer steps.
        horizon: Steps until the factor stays 0.
        warmup_factor: Share of the first of them spent warming up, and of the horizon in the longer curve.

    Example:
        >>> [round(nested_cosines(s, horizon=1000, warmup_factor=0.1), 3) for s in (0, 53, 535, 536, 749, 750, 1000)]
        [0.0, 1.0, 0.0, 0.525, 0.0, 0.179, 0.0]
    """
    first, second = 0.53571619898 * horizon, 0.75 * horizon
    warmup = int(warmup_factor * first)
    if step < warmup:
        return step / warmup
    if step < first:
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(first - warmup, 1)))
    start, end = (first, second) if step < second else (second, horizon)
    share = min(1.0, (step - start) / max(end - start, 1))
    peak = warmup_cosine(start, horizon=horizon, warmup=int(warmup_factor * horizon))
    return peak * 0.5 * (1 + math.cos(math.pi * share))


def restarts(step: int, *, horizons: Sequence[int], warmups: Sequence[int], peaks: Sequence[float]) -> float:
    """Return the learning rate of consecutive runs, each with its own warm-up and cosine; 0 after the last.

    Args:
        step: Completed optimizer steps of all runs together.
        horizons: Steps of each run.
        warmups: Steps of warm-up of each run.
        peaks: Peak learning rate of each run.

    Example:
        >>> options = dict(horizons=(4, 2), warmups=(2, 0), peaks=(1.0, 10.0))
        >>> [round(restarts(s, **options), 3) for s in range(8)]
        [0.0, 0.5, 1.0, 0.5, 10.0, 5.0, 0.0, 0.0]
    """
    for horizon, warmup, peak in zip(horizons, warmups, peaks, strict=True):
        if step < horizon:
            return peak * warmup_cosine(step, horizon=horizon, warmup=warmup)
        step -= horizon
    return 0.0


def warmup_cosine_schedule(
    optimizer: Optimizer, *, horizon: float, warmup_factor: float, warmup_steps: int | None = None
) -> LambdaLR:
    """Return :func:`warmup_cosine` as a schedule.

    Args:
        optimizer: Its groups' learning rates are the peaks.
        horizon: Steps until the learning rate is 0.
        warmup_factor: Share of the horizon spent warming up, cut to whole steps.
        warmup_steps: Steps of warm-up, in place of ``warmup_factor``.
    """
    warmup = int(warmup_factor * horizon) if warmup_steps is None else warmup_steps
    return LambdaLR(optimizer, partial(warmup_cosine, horizon=horizon, warmup=warmup))


def warmup_linear_schedule(
    optimizer: Optimizer,
    *,
    horizon: int,
    warmup_factor: float,
    decay_steps_factor: float,
    end_factor: float,
    warmup_steps: int | None = None,
) -> LambdaLR:
    """Return :func:`warmup_linear` as a schedule; arguments as in :func:`warmup_cosine_schedule`."""
    factor = partial(
        warmup_linear,
        horizon=horizon,
        warmup=int(warmup_factor * horizon) if warmup_steps is None else warmup_steps,
        decay_steps_factor=decay_steps_factor,
        end_factor=end_factor,
    )
    return LambdaLR(optimizer, factor)


def cycles_schedule(optimizer: Optimizer, *, horizon: int, warmup_factor: float, count: int = 1) -> LambdaLR:
    """Return :func:`cycles` as a schedule; the warm-up of each cycle is a share of the whole horizon."""
    return LambdaLR(optimizer, partial(cycles, horizon=horizon, warmup=int(warmup_factor * horizon), count=count))
