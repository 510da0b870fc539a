"""A callback that implements only the last hook of a step."""

from __future__ import annotations

from typing import Any


class StepEndOnly:
    """Mixin: skip the five hooks of a step before its end.

    Lightning calls every hook of every callback, empty or not, at some microseconds each, and passes over those that
    are not callable. At a step of 0.4 ms, three callbacks' empty hooks were 4 % of the time that is measured.
    """

    on_train_batch_start: Any = None
    on_before_zero_grad: Any = None
    on_before_backward: Any = None
    on_after_backward: Any = None
    on_before_optimizer_step: Any = None
