"""Search spaces in AlgoPerf's JSON form. The order of the keys determines the random sequence of each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Ends = tuple[float, float]


def paper_space(
    *,
    one_minus_beta1: Ends,
    weight_decay: Ends,
    learning_rate: Ends = (1e-4, 1e-2),
    beta2: float | None = 0.999,
    **choices: Sequence[float],
) -> dict[str, Any]:
    """Return a space of the benchmark paper with tuned beta1; ranges are logarithmic.

    Args:
        one_minus_beta1: Ends of its range.
        weight_decay: Ends of its range.
        learning_rate: Ends of its range.
        beta2: Its single value; None if the algorithm has no beta2.
        **choices: The values of other hyperparameters.
    """
    return {
        "learning_rate": _logarithmic(learning_rate),
        "one_minus_beta1": _logarithmic(one_minus_beta1),
        **({} if beta2 is None else {"beta2": _one_of(beta2)}),
        "warmup_factor": _one_of(0.05),
        "weight_decay": _logarithmic(weight_decay),
        "label_smoothing": _one_of(0.1, 0.2),
        "dropout_rate": _one_of(0.0, 0.1),
        **{name: _one_of(*values) for name, values in choices.items()},
    }


def points(names: str, *values: Sequence[Any]) -> list[dict[str, Any]]:
    """Return a list of points.

    Args:
        names: Names of the hyperparameters, separated by spaces.
        *values: The values of each point, in this order.

    Example:
        >>> points("learning_rate beta2", (0.1, 0.99), (0.2, 0.9))
        [{'learning_rate': 0.1, 'beta2': 0.99}, {'learning_rate': 0.2, 'beta2': 0.9}]
    """
    return [dict(zip(names.split(), each, strict=True)) for each in values]


def _logarithmic(ends: Ends) -> dict[str, Any]:
    return {"min": ends[0], "max": ends[1], "scaling": "log"}


def _one_of(*values: float) -> dict[str, Any]:
    return {"feasible_points": list(values)}
