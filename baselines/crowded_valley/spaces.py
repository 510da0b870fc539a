"""The study's search spaces, in AlgoPerf's JSON form; the order of the keys is the order of the study's draws.

The study typed ends as logarithms of base 10: 0.5 as -0.301, 0.8 as -0.0969, 0.999 as -0.00043. What it drew as 1 minus
a logarithmic number (a momentum, say) is here a hyperparameter ``one_minus_...``.
"""

from __future__ import annotations

from typing import Any

Space = dict[str, Any]


def _logarithmic(low: float, high: float) -> Space:
    """Return a range by the logarithms of base 10 of its ends."""
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
