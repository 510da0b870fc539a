"""Learning-rate schedules of the baselines, as factors on the peak learning rate.

Both are pure functions of the number of completed steps, so a resumed run or one that goes past its horizon needs no
special case. Source: AlgoPerf's baseline submissions, as scored (their JAX form).
"""

from __future__ import annotations

import math
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(step: int, *, horizon: int, warmup: int) -> float:
    """Return the factor of linear warm-up, then half a cosine down to 0 at the horizon, and 0 after it.

    torch's ``CosineAnnealingLR`` would climb again after the horizon, which long runs do reach.

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
    """Return the factor of linear warm-up, then a straight line down to ``end_factor``, which it keeps.

    Args:
        step: Completed optimizer steps.
        horizon: Steps that warm-up and decay may take together.
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


def warmup_cosine_schedule(optimizer: Optimizer, *, horizon: int, warmup_factor: float) -> LambdaLR:
    """Return :func:`warmup_cosine` as a schedule; ``warmup_factor`` is the share of the horizon spent warming up."""
    return LambdaLR(optimizer, partial(warmup_cosine, horizon=horizon, warmup=int(warmup_factor * horizon)))


def warmup_linear_schedule(
    optimizer: Optimizer, *, horizon: int, warmup_factor: float, decay_steps_factor: float, end_factor: float
) -> LambdaLR:
    """Return :func:`warmup_linear` as a schedule; ``warmup_factor`` is the share of the horizon spent warming up."""
    factor = partial(
        warmup_linear,
        horizon=horizon,
        warmup=int(warmup_factor * horizon),
        decay_steps_factor=decay_steps_factor,
        end_factor=end_factor,
    )
    return LambdaLR(optimizer, factor)
