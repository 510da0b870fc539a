"""The study's search spaces, in AlgoPerf's JSON form; the order of the keys is the order of the study's draws.

The study's code has the ends of ranges as base-10 logarithms: -0.301 for 0.5, -0.0969 for 0.8, -0.00043 for 0.999.
Values that it drew as 1 minus a log-uniform number, such as the momentum, are hyperparameters ``one_minus_...`` here.
"""

from __future__ import annotations

from typing import Any

Space = dict[str, Any]


def _logarithmic(low: float, high: float) -> Space:
    """Return a range, given the base-10 logarithms of its ends."""
    return {"min": 10.0**low, "max": 10.0**high, "scaling": "log"}


def of_rate(*one_minus: str) -> Space:
    """Return the space of a learning rate, and of hyperparameters that are 1 minus a decay rate."""
    return {name: _logarithmic(-4, 0) for name in ("learning_rate", *one_minus)}


_BETAS: Space = {"beta1": _logarithmic(-0.301, -0.00043), "beta2": _logarithmic(-0.0969, -0.00043)}
ADAM: Space = {**of_rate(), **_BETAS}
BOUND: Space = {**of_rate(), "final_lr": _logarithmic(-3, -0.301), **_BETAS, "gamma": _logarithmic(-4, -1)}
_LOOKAHEAD: Space = {
    "sync_period": {"feasible_points": list(range(1, 20))},
    "slow_step_size": _logarithmic(-4, 0),
}
LOOKAHEAD_MOMENTUM: Space = {**of_rate("one_minus_momentum"), **_LOOKAHEAD}
LOOKAHEAD_RADAM: Space = {**ADAM, **_LOOKAHEAD}
