"""The best of k trials: exact results over all subsets of k of the existing trials. Pure functions on arrays.

Of N trials in the order of their times, the i-th fastest is the best of k with probability C(N-i, k-1) / C(N, k). A
missed target is an infinite time, so that results are medians and shares, never means.

Letters in shapes: ``N`` trials, ``K`` sizes k; ``...`` any leading axes.

Reference: Dodge et al. 2019, https://arxiv.org/abs/1909.03004, in the unbiased form of Tang et al. 2020,
https://arxiv.org/abs/2004.13705.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Places = NDArray[np.intp]

_ALL_SIZES = 50
"""Up to this number of trials every k is used, beyond it about as many in equal ratios."""


def sizes(most: int) -> Places:
    """Return the used values of k: 1 to ``most``, or a selection in equal ratios, including the first and the last.

    Example:
        >>> sizes(3), len(sizes(1000)) < 60, int(sizes(1000)[-1])
        (array([1, 2, 3]), True, 1000)
    """
    if most <= _ALL_SIZES:
        return np.arange(1, most + 1)
    return np.unique(np.rint(np.geomspace(1, most, _ALL_SIZES)).astype(np.intp))


def without_fastest(count: int, size: int) -> Array:
    """Return the probability that none of the i fastest is among ``size`` of ``count`` trials, shape ``(count + 1,)``.

    C(count - i, size) / C(count, size) for i from 0 to ``count``; a size above the count is replaced by the count.

    Example:
        >>> without_fastest(4, 2)
        array([1.        , 0.5       , 0.16666667, 0.        , 0.        ])
    """
    left = count - np.arange(count)
    return np.concatenate([[1.0], np.cumprod(np.maximum(left - min(size, count), 0) / left)])


def median_places(count: int, ks: Sequence[int] | Places) -> Places:
    """Return the indices of the median of the best of k among ``count`` sorted times, shape ``(K, 2)``.

    The two indices are equal, unless exactly half of all sets have times up to the first and the other half from the
    second; then the median is the mean of the two times.

    Example:
        >>> median_places(4, [1, 2, 4]).tolist()
        [[1, 2], [0, 1], [0, 0]]
    """
    places = np.zeros((len(ks), 2), dtype=np.intp)
    for row, size in enumerate(ks):
        slower = without_fastest(count, int(size))[1:]  # than the i-th fastest
        places[row] = (slower <= 0.5 + 1e-12).argmax(), (slower < 0.5 - 1e-12).argmax()
    return places


def median_best(times: Array, ks: Sequence[int] | Places) -> Array:
    """Return the median time of the best of k over all sets of k of the trials, shape ``(..., K)``.

    With fewer than k trials, all of them are used: an upper bound, because another trial could only be faster.

    Args:
        times: Time of each trial, shape ``(..., N)``; ``inf`` missed, NaN absent.
        ks: Numbers of trials.

    Returns:
        ``inf`` if more than half of the sets, or one of the two in the middle, missed; NaN without trials.

    Example:
        >>> median_best(np.array([30.0, 10.0, np.inf, 20.0]), [1, 2, 3])
        array([25., 15., 10.])
    """
    ordered = np.sort(times, axis=-1)  # NaN last
    counts = (~np.isnan(times)).sum(axis=-1)
    places = np.zeros((*counts.shape, len(ks), 2), dtype=np.intp)
    for count in np.unique(counts[counts > 0]).tolist():
        places[counts == count] = median_places(count, ks)
    first, second = (np.take_along_axis(ordered, places[..., side], axis=-1) for side in (0, 1))
    return np.asarray(np.where(first == second, first, 0.5 * first + 0.5 * second))


def share_reached(times: Array, ks: Sequence[int] | Places) -> Array:
    """Return the share of all sets of k trials in which at least one reached the target, shape ``(..., K)``.

    Args:
        times: Time of each trial, shape ``(..., N)``; ``inf`` missed, NaN absent.
        ks: Numbers of trials; with fewer trials, all of them are used.

    Returns:
        In [0, 1]; NaN without trials.

    Example:
        >>> share_reached(np.array([30.0, 10.0, np.inf, np.inf]), [1, 2, 3])
        array([0.5       , 0.83333333, 1.        ])
    """
    counts, reached = (~np.isnan(times)).sum(axis=-1), np.isfinite(times).sum(axis=-1)
    shares = np.full((*counts.shape, len(ks)), np.nan)
    for count in np.unique(counts[counts > 0]).tolist():
        some = 1 - np.array([without_fastest(count, int(size)) for size in ks])  # (K, count + 1)
        rows = counts == count
        shares[rows] = some[:, reached[rows]].T
    return shares


def median_interval(times: Array, ks: Sequence[int] | Places, level: float) -> tuple[Array, Array]:
    """Return intervals for the median time of the best of k new trials, low and high, each of shape ``(..., K)``.

    This median is the quantile 1 - 0.5^(1/k) of a trial's time. An interval between two of the sorted times contains a
    quantile with a binomial probability, for any distribution of the times. An end that no trial supports is open: 0 or
    ``inf``. A bootstrap does not help if k is more than a fifth of the trials, because it never draws a time faster
    than the fastest one.

    Args:
        times: Time of each trial, shape ``(..., N)``; ``inf`` missed, NaN absent.
        ks: Numbers of trials.
        level: Minimum coverage probability of the intervals.

    Example:
        >>> low, high = median_interval(np.arange(1.0, 26.0), [1, 5, 25], 0.95)
        >>> low, high
        (array([8., 0., 0.]), array([18.,  8.,  4.]))
    """
    from scipy.special import bdtr  # type: ignore[import-untyped]

    counts = (~np.isnan(times)).sum(axis=-1)
    padded = np.concatenate([np.zeros((*counts.shape, 1)), np.sort(times, axis=-1)], axis=-1)
    low, high = (np.full((*counts.shape, len(ks)), np.nan) for _ in range(2))
    quantiles = 1 - 0.5 ** (1 / np.asarray(ks, dtype=np.float64))
    for count in np.unique(counts[counts > 0]).tolist():
        rows = counts == count
        below = bdtr(np.arange(count + 1.0), count, quantiles[:, None])  # (K, count + 1): at most so many are faster
        first = (below[:, :-1] <= (1 - level) / 2).sum(axis=1)
        last = (below[:, :-1] < (1 + level) / 2).sum(axis=1) + 1
        within = np.concatenate([padded[rows][:, : count + 1], np.full((int(rows.sum()), 1), np.inf)], axis=-1)
        low[rows], high[rows] = within[:, first], within[:, np.minimum(last, count + 1)]
    return low, high


def share_interval(times: Array, ks: Sequence[int] | Places, level: float) -> tuple[Array, Array]:
    """Return intervals for the probability that one of k new trials reaches the target, low and high, ``(..., K)``.

    The interval of Clopper and Pearson for the share of single trials (https://doi.org/10.1093/biomet/26.4.404),
    converted to the best of k.

    Args:
        times: Time of each trial, shape ``(..., N)``; ``inf`` missed, NaN absent.
        ks: Numbers of trials.
        level: Minimum coverage probability of the intervals.
    """
    from scipy.special import betaincinv

    counts, reached = (~np.isnan(times)).sum(axis=-1)[..., None], np.isfinite(times).sum(axis=-1)[..., None]
    tail, known = (1 - level) / 2, counts > 0
    missed = counts - reached
    low = np.where(reached > 0, betaincinv(np.maximum(reached, 1), missed + 1, tail), 0.0)
    high = np.where(missed > 0, betaincinv(reached + 1, np.maximum(missed, 1), 1 - tail), 1.0)
    sides = (np.where(known, 1 - (1 - end) ** np.asarray(ks), np.nan) for end in (low, high))
    first, second = map(np.asarray, sides)
    return first, second
