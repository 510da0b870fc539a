"""A callback that implements only the last hook of a step."""

from __future__ import annotations

from typing import Any


class StepEndOnly:
    """Mixin that skips the five hooks of a step before its end.

    Lightning calls every hook of every callback, even empty ones, which takes a few microseconds each; it skips hooks
    that are not callable. With steps of 0.4 ms, the empty hooks of three callbacks took 4 % of the measured time.
    """

    on_train_batch_start: Any = None
    on_before_zero_grad: Any = None
    on_before_backward: Any = None
    on_after_backward: Any = None
    on_before_optimizer_step: Any = None
