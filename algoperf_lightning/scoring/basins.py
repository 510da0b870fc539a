"""The mathematics of sensitivity: a result against one hyperparameter's value. Pure functions on arrays.

Results are seconds or steps to the target, below is better; ``inf`` is a target that was missed. ``N`` trials, ``P``
different values of a hyperparameter, in ascending order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.scoring.mathematics import median_over_studies

Array = NDArray[np.float64]
Scale = Literal["log", "linear"]

WITHIN = 1.25
"""A basin holds the values whose results are at most this many times the best."""
DECADE = 10.0
"""Positive values that span at least this factor are taken to be on a logarithmic scale, if no plan says it."""
EDGE = 0.1
"""A value in the outer tenth of a range lies at its edge."""


@dataclass(frozen=True)
class Basin:
    """Where, along one hyperparameter, results are nearly as good as the best."""

    best: float
    """The value with the best result."""
    result: float
    """What it needed."""
    low: float
    """Smallest value of the basin that was tried."""
    high: float
    """Largest one."""
    below: float
    """Largest value tried below the basin; NaN if there is none, and so its end on this side is unknown."""
    above: float
    """Smallest value tried above it; likewise."""

    def width(self, scale: Scale) -> tuple[float, float]:
        """Return the smallest and the largest width that the trials allow: octaves, or the difference of the values.

        The basin reaches at least from ``low`` to ``high``, and ends before ``below`` and ``above``; the largest width
        is ``inf`` where it has no end.
        """
        inner = distance(self.low, self.high, scale)
        open_ended = math.isnan(self.below) or math.isnan(self.above)
        return inner, math.inf if open_ended else distance(self.below, self.above, scale)


def distance(low: float, high: float, scale: Scale) -> float:
    """Return how far two values are apart: in octaves, factors of 2, on a logarithmic scale.

    Example:
        >>> distance(0.001, 0.008, "log"), distance(0.5, 0.75, "linear")
        (3.0, 0.25)
    """
    return math.log2(high / low) if scale == "log" else high - low


def guess_scale(values: Array) -> Scale:
    """Return the scale that values look to be on.

    Logarithmic if all are positive, and they span a factor of 10, or are spaced more evenly by factors than by
    differences.

    Example:
        >>> [guess_scale(np.array(values)) for values in ([0.001, 0.01], [0.0, 0.01], [1.0, 2.0, 4.0], [1.0, 2.0, 3.0])]
        ['log', 'linear', 'log', 'linear']
    """
    different = np.unique(values)
    if different[0] <= 0:
        return "linear"
    if different[-1] / different[0] >= DECADE:
        return "log"
    gaps, factors = np.diff(different), np.diff(np.log(different))
    uneven, uneven_factors = (float(each.std() / each.mean()) if each.size > 1 else 0.0 for each in (gaps, factors))
    return "log" if uneven_factors < uneven else "linear"


def by_value(values: Array, results: Array) -> tuple[Array, Array]:
    """Return the different values, ascending, and the median result at each, ``(P,)`` both.

    Misses take part: where half of the trials at a value or more missed, so did the value.

    Args:
        values: Of one hyperparameter, shape ``(N,)``.
        results: Shape ``(N,)``.

    Example:
        >>> by_value(np.array([2.0, 1.0, 2.0, 2.0]), np.array([5.0, np.inf, 9.0, 6.0]))
        (array([1., 2.]), array([inf,  6.]))
    """
    different, place = np.unique(values, return_inverse=True)
    table = np.full((different.size, values.size), np.nan)
    table[place, np.arange(values.size)] = results
    return different, median_over_studies(table)


def basin(values: Array, results: Array, within: float = WITHIN) -> Basin | None:
    """Return the basin around the best value: neighbours without a worse one between them; None if all missed.

    Only where nothing else varies is a value's result its own, and the neighbours' comparable.

    Args:
        values: Different and ascending, shape ``(P,)``.
        results: Of each, shape ``(P,)``.
        within: Factor on the best result, at least 1.

    Example:
        >>> basin(np.array([1.0, 2.0, 4.0, 8.0, 16.0]), np.array([90.0, 12.0, 10.0, 11.0, np.inf]))
        Basin(best=4.0, result=10.0, low=2.0, high=8.0, below=1.0, above=16.0)
    """
    if not np.isfinite(results).any():
        return None
    best = int(np.argmin(results))
    good = results <= within * results[best]
    low = high = best
    while low > 0 and good[low - 1]:
        low -= 1
    while high < values.size - 1 and good[high + 1]:
        high += 1
    return Basin(
        best=float(values[best]),
        result=float(results[best]),
        low=float(values[low]),
        high=float(values[high]),
        below=float(values[low - 1]) if low else math.nan,
        above=float(values[high + 1]) if high < values.size - 1 else math.nan,
    )


def span(values: Array, results: Array, within: float = WITHIN) -> Basin | None:
    """Return from where to where there are results within a factor of the best; None if all missed.

    For trials whose other hyperparameters vary too: a bad result between two good ones may be the others' fault, so
    only the outermost good ones count, and of the ends nothing is known but the next trials.

    Args:
        values: Of one hyperparameter, shape ``(N,)``, in any order.
        results: Shape ``(N,)``.
        within: Factor on the best result, at least 1.

    Example:
        >>> span(np.array([3.0, 1.0, 4.0, 2.0]), np.array([10.0, 50.0, 12.0, 60.0]))
        Basin(best=3.0, result=10.0, low=3.0, high=4.0, below=2.0, above=nan)
    """
    if not np.isfinite(results).any():
        return None
    best = int(np.argmin(results))
    good = values[results <= within * results[best]]
    low, high = float(good.min()), float(good.max())
    below, above = values[values < low], values[values > high]
    return Basin(
        best=float(values[best]),
        result=float(results[best]),
        low=low,
        high=high,
        below=float(below.max()) if below.size else math.nan,
        above=float(above.min()) if above.size else math.nan,
    )


def edge_of(value: float, low: float, high: float, scale: Scale, room: float = EDGE) -> str:
    """Return at which end of a range a value lies: ``lower``, ``upper``, or nothing.

    Args:
        value: Of a hyperparameter.
        low: Lower end of its range.
        high: Upper end, above the lower one.
        scale: On which the range is.
        room: Share of the range that is its edge; at 0 only the end itself.

    Example:
        >>> edge_of(1e-4, 1e-4, 1e-2, "log"), edge_of(1e-3, 1e-4, 1e-2, "log"), edge_of(0.95, 0.0, 1.0, "linear")
        ('lower', '', 'upper')
    """
    place = distance(low, value, scale) / distance(low, high, scale)
    return "lower" if place <= room else "upper" if place >= 1 - room else ""


def share_with_interval(hits: int, number: int, level: float = 0.95) -> tuple[float, float, float]:
    """Return a share and the ends of its Clopper-Pearson interval, which holds for any number of trials.

    Example:
        >>> [round(end, 3) for end in share_with_interval(3, 10)]
        [0.3, 0.067, 0.652]
    """
    from scipy.stats import beta  # type: ignore[import-untyped]  # here, as it takes a second

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, number - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, number - hits)) if hits < number else 1.0
    return hits / number, low, high


def varying(points: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of the hyperparameters that are not the same in all points, in the order of the first."""
    names = dict.fromkeys(name for point in points for name in point)
    return [name for name in names if len({repr(point.get(name)) for point in points}) > 1]
