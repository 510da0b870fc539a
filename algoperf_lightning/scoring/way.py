"""Progress towards a target: fractions of the distance, ranks over time, and changes in the order of pairs.

The way is the interval of the metric from its first value to the target. Shape letters and special values are as in
``mathematics``. In addition, ``L`` is the number of fractions of the way, and ``G`` the number of grid times.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.scoring import mathematics
from algoperf_lightning.spec import Direction

Array = NDArray[np.float64]


def first_value(values: Array) -> float:
    """Return the start of the way: the median over submissions of medians over studies and trials; NaN if unknown.

    Args:
        values: Metric at the first evaluation of each trial, shape ``(S, K, T)``; NaN for missing values, which are
            ignored.

    Example:
        >>> first_value(np.array([[[1.0, 9.0, 2.0], [4.0, np.nan, np.nan]], [[5.0, 5.0, 5.0], [np.nan] * 3]]))
        4.0
    """
    medians = values
    for _ in range(3):
        medians = mathematics.median_over_studies(np.where(np.isinf(medians), np.nan, medians))
    return float(medians)


def values_on_the_way(first: float, target: float, levels: Array, logarithmic: bool = False) -> Array:
    """Return the metric value at each fraction of the way, shape ``(L,)``. At 1, it is the target.

    Args:
        first: Value at the start of the way.
        target: Value at the end of the way.
        levels: Fractions of the way, shape ``(L,)``.
        logarithmic: Whether to use the logarithm of the metric. Both ends must then be positive.

    Example:
        >>> values_on_the_way(1.0, 0.2, np.array([0.5, 1.0])), values_on_the_way(400.0, 4.0, np.array([0.5]), True)
        (array([0.6, 0.2]), array([40.]))
    """
    way = first * (target / first) ** levels if logarithmic else first + levels * (target - first)
    return np.asarray(np.where(levels == 1, target, way))


def first_successes(values: Array, targets: Array, direction: Direction) -> Array:
    """Return the index of the first evaluation that meets each target, shape ``(L,)``; ``inf`` if none does.

    Args:
        values: Metric at each evaluation, shape ``(E,)``. NaN never meets a target.
        targets: Targets of the metric, shape ``(L,)``. Equality meets a target.
        direction: ``max`` if higher is better.

    Example:
        >>> first_successes(np.array([3.0, np.nan, 1.0, 2.0]), np.array([3.5, 2.0, 1.0, 0.5]), "min")
        array([ 0.,  2.,  2., inf])
    """
    sign = 1.0 if direction == "max" else -1.0
    best = np.fmax.accumulate(sign * values) if values.size else values
    known = np.where(np.isnan(best), -np.inf, best)
    found = np.searchsorted(known, sign * targets, side="left")
    return np.where(found < values.size, found.astype(float), np.inf)


def share_of_way(values: Array, first: float, target: float, logarithmic: bool = False) -> Array:
    """Return the completed fraction of the way in [0, 1], with the shape of ``values``; NaN counts as 0.

    Args:
        values: Values of the metric.
        first: Value at the start of the way.
        target: Value at the end of the way.
        logarithmic: Whether to use the logarithm of the metric.

    Example:
        >>> share_of_way(np.array([1.2, 0.6, 0.2, 0.1, np.nan]), 1.0, 0.2).tolist()
        [0.0, 0.5, 1.0, 1.0, 0.0]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        done = np.log(values / first) / np.log(target / first) if logarithmic else (values - first) / (target - first)
    met = values >= target if target > first else values <= target
    # Rounding errors must not decide whether a target was met.
    done = np.where(met, 1.0, np.minimum(np.nan_to_num(done, nan=0.0), np.nextafter(1.0, 0.0)))
    return np.maximum(done, 0.0)


def mid_ranks(values: Array) -> Array:
    """Return ranks along the second-to-last axis, 1 for the largest value. Ties get the mean of their ranks.

    Args:
        values: Shape ``(..., S, G)``; NaN has no rank.

    Example:
        >>> mid_ranks(np.array([[0.5], [0.9], [0.5], [np.nan]]))[:, 0]
        array([2.5, 1. , 2.5, nan])
    """
    others, own = values[..., None, :, :], values[..., :, None, :]
    ranks = 1 + (others > own).sum(axis=-2) + ((others == own).sum(axis=-2) - 1) / 2
    return np.where(np.isnan(values), np.nan, ranks)


def undecided(times: Array, resolutions: Array) -> NDArray[np.bool_]:
    """Return which pairs cannot be distinguished at the resolution of the evaluations, shape ``(..., S, S)``.

    Two times are indistinguishable if their difference is smaller than the uncertainty of one of them. The true time is
    between an evaluation and the previous one.

    Args:
        times: Shape ``(..., S)``; ``inf`` means missed, NaN means no log.
        resolutions: Time since the previous evaluation, shape ``(..., S)``; NaN without a time.
    """
    with np.errstate(invalid="ignore"):
        apart = np.abs(times[..., :, None] - times[..., None, :])
        room = np.fmax(resolutions[..., :, None], resolutions[..., None, :])
        return np.asarray((apart < room) | (times[..., :, None] == times[..., None, :]))


def flips(times: Array, resolutions: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the numbers of pairs that differ in order from the last time, and that are ordered at both, ``(..., L)``.

    A pair is ordered if its times can be distinguished. Missed targets rank last.

    Args:
        times: Shape ``(..., L, S)``. All are compared with the last entry along ``L``.
        resolutions: Resolutions of the times.
    """
    with np.errstate(invalid="ignore"):
        order = np.sign(np.nan_to_num(times[..., :, None] - times[..., None, :], nan=0.0))
    order[undecided(times, resolutions)] = 0.0
    product = order * order[..., -1:, :, :]
    halves = [(product < 0).sum(axis=(-2, -1)) // 2, (product != 0).sum(axis=(-2, -1)) // 2]
    return halves[0], halves[1]


def rank_over_time(progress: Array, times: Array) -> Array:
    """Return ranks by the completed fraction of the way. Submissions at the target are ranked by their times.

    Args:
        progress: Shape ``(S, W, G)``; NaN means no log.
        times: Times to the target, shape ``(S, W)``; ``inf`` means missed, NaN means no log.

    Returns:
        Ranks, shape ``(S, W, G)``. Ties get the mean of their ranks.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        arrived = np.where(np.isfinite(times), 1 / (1 + times), 0.0)[:, :, None]
    keys = np.where(progress >= 1, 1 + arrived, progress)
    return np.moveaxis(mid_ranks(np.moveaxis(keys, 0, 1)), 0, 1)


def median_with(times: Array, others: Array) -> tuple[Array, Array]:
    """Return the median over the last axis, and the mean of another array at the elements that define the median.

    Args:
        times: See :func:`~algoperf_lightning.scoring.mathematics.median_over_studies`, shape ``(..., K)``.
        others: Shape ``(..., K)``.
    """
    order = np.argsort(times, axis=-1, kind="stable")  # NaN last
    count = (~np.isnan(times)).sum(axis=-1)
    last = times.shape[-1] - 1
    middle = [np.minimum(np.maximum(count - 1, 0) // 2, last), np.minimum(count // 2, last)]
    taken = [
        np.take_along_axis(others, np.take_along_axis(order, place[..., None], axis=-1), axis=-1)[..., 0]
        for place in middle
    ]
    medians = mathematics.median_over_studies(times)
    return medians, np.where(np.isfinite(medians), 0.5 * taken[0] + 0.5 * taken[1], np.nan)
