"""The mathematics of sensitivity: results as a function of one hyperparameter. Pure functions on arrays.

Results are seconds or steps to the target, lower is better; ``inf`` is a missed target. ``N`` trials, ``P`` different
values of a hyperparameter, in ascending order.
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
"""A basin contains the values whose results are at most this many times the best."""
DECADE = 10.0
"""Positive values that span at least this factor are assumed to be on a logarithmic scale, unless a plan defines it."""
EDGE = 0.1
"""A value in the outer tenth of a range is at its edge."""


@dataclass(frozen=True)
class Basin:
    """The range of one hyperparameter in which results are nearly as good as the best."""

    best: float
    """The value with the best result."""
    result: float
    """The best result."""
    low: float
    """Smallest tried value of the basin."""
    high: float
    """Largest tried value of the basin."""
    below: float
    """Largest tried value below the basin; NaN if there is none, so the end on this side is unknown."""
    above: float
    """Smallest tried value above the basin; NaN if there is none."""

    def width(self, scale: Scale) -> tuple[float, float]:
        """Return the smallest and the largest possible width: octaves, or the difference of the values.

        The basin extends at least from ``low`` to ``high``, and ends before ``below`` and ``above``; the largest width
        is ``inf`` if an end is unknown.
        """
        inner = distance(self.low, self.high, scale)
        open_ended = math.isnan(self.below) or math.isnan(self.above)
        return inner, math.inf if open_ended else distance(self.below, self.above, scale)


def distance(low: float, high: float, scale: Scale) -> float:
    """Return the distance of two values: on a logarithmic scale in octaves (factors of 2).

    Example:
        >>> distance(0.001, 0.008, "log"), distance(0.5, 0.75, "linear")
        (3.0, 0.25)
    """
    return math.log2(high / low) if scale == "log" else high - low


def guess_scale(values: Array) -> Scale:
    """Return the probable scale of values.

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

    Missed targets are included: if at least half of the trials at a value missed, its median is a miss.

    Args:
        values: Values of one hyperparameter, shape ``(N,)``.
        results: Results, shape ``(N,)``.

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

    This requires that no other hyperparameter varies, so that results of neighbours are comparable.

    Args:
        values: Different values, ascending, shape ``(P,)``.
        results: Result of each value, shape ``(P,)``.
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
    """Return the range of results within a factor of the best; None if all missed.

    For trials in which other hyperparameters vary too: these may be the reason for a bad result between two good ones,
    so only the outermost good ones count, and the ends are only known up to the next trials.

    Args:
        values: Values of one hyperparameter, shape ``(N,)``, in any order.
        results: Results, shape ``(N,)``.
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
    """Return the edge of a range at which a value is: ``lower``, ``upper``, or an empty string.

    Args:
        value: Value of a hyperparameter.
        low: Lower end of its range.
        high: Upper end, above the lower one.
        scale: Scale of the range.
        room: Share of the range that counts as edge; 0 for only the end itself.

    Example:
        >>> edge_of(1e-4, 1e-4, 1e-2, "log"), edge_of(1e-3, 1e-4, 1e-2, "log"), edge_of(0.95, 0.0, 1.0, "linear")
        ('lower', '', 'upper')
    """
    place = distance(low, value, scale) / distance(low, high, scale)
    return "lower" if place <= room else "upper" if place >= 1 - room else ""


def share_with_interval(hits: int, number: int, level: float = 0.95) -> tuple[float, float, float]:
    """Return a share and the ends of its Clopper-Pearson interval, which is valid for any number of trials.

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
    """Return the names of the hyperparameters that vary between points, in the order of the first point."""
    names = dict.fromkeys(name for point in points for name in point)
    return [name for name in names if len({repr(point.get(name)) for point in points}) > 1]
