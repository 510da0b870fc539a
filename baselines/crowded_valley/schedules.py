"""The study's schedules: factors on the learning rate, constant within an epoch.

An epoch is a pass over the training data without its last, incomplete batch. Epochs are counted from 0; after the last
one, the factor stays constant. With ``faithful``, factors are those of the published runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, TypeAlias

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from algoperf_lightning.view import WorkloadView

ScheduleName: TypeAlias = Literal["constant", "cosine", "cosine-restarts", "trapezoid"]

_FIRST_CYCLE = 10  # epochs


def constant(epoch: int, epochs: int, faithful: bool = False) -> float:
    """Return 1."""
    return 1.0


def cosine(epoch: int, epochs: int, faithful: bool = False) -> float:
    """Return half a cosine from 1 toward 0; published and repaired are the same.

    Example:
        >>> [round(cosine(epoch, 4), 3) for epoch in range(4)]
        [1.0, 0.854, 0.5, 0.146]
    """
    return 0.5 * (1 + math.cos(math.pi * epoch / epochs))


def cosine_restarts(epoch: int, epochs: int, faithful: bool = False) -> float:
    """Return cycles of half a cosine, each twice as long as the one before.

    Published: the first cycle has 10 epochs regardless of the length of the run, so the run may end anywhere in a
    cycle; a run of 160 epochs ends ten epochs after a restart. Repaired: as many complete cycles as fit (at least one),
    stretched so that the last one ends with the run.

    Example:
        >>> [round(cosine_restarts(epoch, 35, faithful=True), 3) for epoch in (0, 5, 10, 20, 30, 34)]
        [1.0, 0.5, 1.0, 0.5, 1.0, 0.976]
        >>> [round(cosine_restarts(epoch, 35), 3) for epoch in (0, 6, 12, 24, 34)]
        [1.0, 0.5, 1.0, 0.466, 0.005]
    """
    ends = _ends_of_cycles(epochs, faithful)
    start = max(end for end in ends if end <= epoch)
    return cosine(epoch - start, min(end for end in ends if end > epoch) - start)


def _ends_of_cycles(epochs: int, faithful: bool) -> list[int]:
    """Return the epochs at which a cycle begins or ends, up to the first that is not before the end of the run."""
    whole = max(1, int(math.log2(epochs / _FIRST_CYCLE + 1)))
    first = _FIRST_CYCLE if faithful else epochs / (2**whole - 1)
    ends = [0]
    while ends[-1] < epochs:
        ends.append(round(first * (2 ** len(ends) - 1)))
    return ends


def trapezoid(epoch: int, epochs: int, faithful: bool = False) -> float:
    """Return a linear rise in the first tenth of the epochs, 1 until the last tenth, then a linear fall.

    Published: one epoch at 1 comes before the rise. Repaired: the rise begins in the first epoch.

    Example:
        >>> [round(trapezoid(epoch, 20, faithful=True), 3) for epoch in (0, 1, 2, 18, 19)]
        [1.0, 0.5, 1.0, 1.0, 0.667]
        >>> [round(trapezoid(epoch, 20), 3) for epoch in (0, 1, 2, 18, 19)]
        [0.5, 1.0, 1.0, 1.0, 0.667]
    """
    width = round(0.1 * epochs)
    place = epoch if faithful else epoch + 1
    if 0 < place < width:
        return place / width
    return 1 - max(0, epoch - (epochs - width)) / (width + 1)


SCHEDULES: Mapping[str, Callable[[int, int, bool], float]] = {
    "constant": constant,
    "cosine": cosine,
    "cosine-restarts": cosine_restarts,
    "trapezoid": trapezoid,
}


def epoch_schedule(optimizer: Optimizer, workload: WorkloadView, name: ScheduleName, faithful: bool) -> LambdaLR:
    """Return a schedule of the study, stepped after every training step.

    Its epochs are those of the budget where that counts epochs, else those of the step hint, rounded up.
    """
    steps = workload.steps_per_epoch
    epochs = math.ceil(workload.budget if workload.unit == "epochs" else workload.step_hint / steps)
    return LambdaLR(optimizer, partial(_at_step, name=name, epochs=epochs, steps=steps, faithful=faithful))


def _at_step(step: int, *, name: ScheduleName, epochs: int, steps: int, faithful: bool) -> float:
    return SCHEDULES[name](min(step // steps, epochs - 1), epochs, faithful)
