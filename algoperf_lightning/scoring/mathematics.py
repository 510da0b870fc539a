"""The mathematics of the score: pure functions on arrays.

Letters in shapes: ``E`` evaluations of a trial, ``T`` trials of a study, ``K`` studies, ``S`` submissions, ``B`` base
workloads, ``H`` held-out workloads, ``P`` points of the profile; ``...`` any leading axes, for example bootstrap draws.
Times are seconds of submission time, or steps, never both. Two values have a special meaning everywhere: ``inf`` is a
missed target, NaN is a missing value (a trial without a log, a study without trials, a workload without studies).

Reference: Dahl et al. 2023, https://arxiv.org/abs/2306.07179, section 4; performance profiles after Dolan and Moré
2002, https://arxiv.org/abs/cs/0102001.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.spec import Direction

Array = NDArray[np.float64]
Rows = NDArray[np.bool_]  # which submissions, shape (S,)
Mode = Literal["published", "rules"]
MODES: tuple[Mode, ...] = ("published", "rules")


def first_success(values: Array, target: float, direction: Direction) -> int | None:
    """Return the index of the first evaluation that meets the target, None if none does.

    Args:
        values: Metric at each evaluation in the order they were made, shape ``(E,)``. Only finite ones meet it.
        target: In the metric's unit; meeting it exactly is enough.
        direction: ``max`` if higher is better.

    Example:
        >>> first_success(np.array([0.5, np.nan, 0.9, 0.8]), 0.9, "max")
        2
    """
    hits = np.isfinite(values) & (values >= target if direction == "max" else values <= target)
    index = int(hits.argmax()) if hits.size else 0
    return index if hits.size and hits[index] else None


def crossing(values: Array, used: Array, index: int, target: float) -> float:
    """Return the seconds or steps at which the line between two evaluations crosses the target.

    This is an estimate, because the metric is only known at evaluations. Without a previous evaluation with a finite
    value, the result is that of the evaluation itself.

    Args:
        values: Metric at each evaluation, shape ``(E,)``.
        used: Seconds or steps at each evaluation, shape ``(E,)``.
        index: The first evaluation that meets the target.
        target: In the metric's unit.

    Example:
        >>> crossing(np.array([0.5, 0.9]), np.array([50.0, 100.0]), 1, 0.8)
        87.5
    """
    if index == 0 or not np.isfinite(values[index - 1 : index + 1]).all():
        return float(used[index])
    share = (target - values[index - 1]) / (values[index] - values[index - 1])
    return float(used[index - 1] + share * (used[index] - used[index - 1]))


def time_to_target(values: Array, seconds: Array, target: float, direction: Direction) -> tuple[float, float]:
    """Return the index of the first evaluation that meets the target, and its time in seconds; both ``inf`` if none.

    Args:
        values: Metric at each evaluation, shape ``(E,)``.
        seconds: Submission time at each evaluation, shape ``(E,)``.
        target: In the metric's unit.
        direction: ``max`` if higher is better.
    """
    index = first_success(values, target, direction)
    return (math.inf, math.inf) if index is None else (float(index), float(seconds[index]))


def best_of_study(indices: Array, times: Array, mode: Mode = "published") -> Array:
    """Return the time of each study's best trial, in seconds, shape ``(...)``; NaN for a study without trials.

    According to the rules, this is the fastest trial. The code of the published scores uses the trial that reached the
    target at the smallest evaluation index; ties are in the order of the file system there, and by time here.

    Args:
        indices: Evaluation at which each trial reached the target, shape ``(..., T)``; ``inf`` missed, NaN absent.
        times: Seconds at which it did, shape ``(..., T)``.
        mode: ``published`` or ``rules``.

    Example:
        >>> indices, times = np.array([3.0, 4.0, np.inf]), np.array([90.0, 80.0, np.inf])
        >>> float(best_of_study(indices, times)), float(best_of_study(indices, times, "rules"))
        (90.0, 80.0)
    """
    absent = np.isnan(times)
    candidates = np.where(absent, np.inf, times)
    if mode == "published":
        ranks = np.where(absent, np.inf, indices)
        candidates = np.where(ranks == ranks.min(axis=-1, keepdims=True), candidates, np.inf)
    best = candidates.min(axis=-1)
    return np.asarray(np.where(absent.all(axis=-1), np.nan, best))


def median_over_studies(times: Array) -> Array:
    """Return the median over existing studies, in seconds, shape ``(...)``; NaN if there are none.

    ``inf`` is included: three of five studies must reach the target. For even numbers, the two middle values are
    averaged.

    Args:
        times: Seconds of each study's best trial, shape ``(..., K)``; ``inf`` missed, NaN absent.

    Example:
        >>> median_over_studies(np.array([[3.0, np.inf, 1.0], [4.0, np.nan, 2.0], [1.0, np.inf, np.nan]]))
        array([ 3.,  3., inf])
    """
    ordered = np.sort(times, axis=-1)  # NaN last
    count = (~np.isnan(times)).sum(axis=-1)
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    last = times.shape[-1] - 1
    middle = [np.take_along_axis(ordered, np.minimum(k, last)[..., None], axis=-1)[..., 0] for k in (low, high)]
    # Halves first: the sum of two large times may overflow although their mean does not.
    mean = np.where(middle[0] == middle[1], middle[0], 0.5 * middle[0] + 0.5 * middle[1])
    return np.asarray(np.where(count == 0, np.nan, mean))


def fastest(times: Array, reference: Rows | None = None) -> Array:
    """Return the smallest time of each workload over the submissions; ``inf`` where there is none.

    Args:
        times: Seconds, shape ``(..., S, W)``; ``inf`` and NaN do not count.
        reference: The submissions with which others are compared, shape ``(S,)``; None for all. On a workload where
            none of them has a time, the fastest of all is used, which does not affect them.

    Returns:
        Seconds, shape ``(..., W)``.

    Example:
        >>> times = np.array([[3.0, np.inf], [1.0, 5.0]])
        >>> fastest(times), fastest(times, np.array([True, False]))
        (array([1., 5.]), array([3., 5.]))
    """
    best = np.where(np.isnan(times), np.inf, times).min(axis=-2, initial=np.inf)
    if reference is None:
        return np.asarray(best)
    theirs = fastest(times[..., reference, :])
    return np.asarray(np.where(np.isfinite(theirs), theirs, best))


def gate_held_out(base: Array, held_out: Array, base_of: NDArray[np.intp]) -> Array:
    """Return the held-out times, ``inf`` where the submission did not reach the target of the base workload.

    Args:
        base: Seconds on base workloads, shape ``(..., S, B)``.
        held_out: Seconds on held-out workloads, shape ``(..., S, H)``.
        base_of: Column of each held-out workload's base, shape ``(H,)``.
    """
    return np.asarray(np.where(np.isfinite(base[..., base_of]), held_out, np.inf))


def drop_slow(times: Array, limit: float = 4.0, reference: Rows | None = None) -> Array:
    """Return times with those over ``limit`` times the fastest made ``inf``; exactly ``limit`` times is kept.

    Args:
        times: Seconds, shape ``(..., S, W)``; NaN stays NaN.
        limit: A factor without unit.
        reference: Submissions that define the fastest times, shape ``(S,)``; see :func:`fastest`.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(times > limit * fastest(times, reference)[..., None, :], np.inf, times))


def disqualify(
    base: Array, held_out: Array, base_of: NDArray[np.intp], limit: float = 4.0, reference: Rows | None = None
) -> Array:
    """Return the times that count: ``inf`` if a rule removes a workload from a submission.

    The rules are applied in this order: a held-out time only counts if the base target was reached; a time over
    ``limit`` times the fastest is a miss, on base and held-out workloads; a base workload counts as missed if its
    held-out workload was. A submission that loses a base workload because of its held-out one therefore still defines
    the fastest time there for the second rule, but not for the ratios.

    Args:
        base: Seconds on base workloads, shape ``(..., S, B)``; ``inf`` missed, NaN no log.
        held_out: Seconds on held-out workloads, shape ``(..., S, H)``.
        base_of: Column of each held-out workload's base, shape ``(H,)``; several may share one.
        limit: A factor without unit.
        reference: Whose times are the fastest, shape ``(S,)``; see :func:`fastest`.

    Returns:
        Seconds on base workloads, shape ``(..., S, B)``; NaN stays where there was no log.

    Reference: https://arxiv.org/abs/2306.07179, section 4.1, in the order of the official scoring code.
    """
    gated = drop_slow(gate_held_out(base, held_out, base_of), limit, reference)
    counted = drop_slow(base, limit, reference)
    for column, of in enumerate(base_of):
        lost = ~np.isfinite(gated[..., column])
        counted[..., of] = np.where(lost, np.inf, counted[..., of])
    return counted


def time_ratios(times: Array, reference: Rows | None = None) -> Array:
    """Return each time divided by the fastest of its workload, without unit, shape ``(..., S, W)``.

    ``inf`` for missed targets, even if all submissions missed it; NaN for missing times. Below 1 only with a reference.

    Args:
        times: Seconds that count, shape ``(..., S, W)``, positive.
        reference: Whose times are the fastest, shape ``(S,)``; see :func:`fastest`.

    Example:
        >>> time_ratios(np.array([[10.0, np.inf], [25.0, np.inf]]))
        array([[1. , inf],
               [2.5, inf]])
    """
    best = fastest(times, reference)[..., None, :]
    divisor = np.broadcast_to(np.where(np.isfinite(best), best, 1.0), times.shape)
    ratios = np.divide(times, divisor, out=times.copy(), where=np.isfinite(times))
    return np.asarray(ratios)


def performance_profile(ratios: Array, taus: Array) -> Array:
    """Return the share of workloads each submission solved within ``tau`` times the fastest, shape ``(..., S, P)``.

    Args:
        ratios: Time over the fastest, shape ``(..., S, B)``; ``inf`` and NaN never count, but are in the denominator.
        taus: Factors, shape ``(P,)``, each at least 1.

    Raises:
        ValueError: If a factor is below 1.

    Example:
        >>> performance_profile(np.array([[1.0, 2.5], [2.0, 1.0]]), np.array([1.0, 2.0]))
        array([[0.5, 0.5],
               [0.5, 1. ]])
    """
    if (taus < 1).any():
        raise ValueError(f"Factors must be at least 1, but got {taus.min():g}.")
    return np.asarray((ratios[..., None] <= taus).mean(axis=-2))


def benchmark_score(ratios: Array, taus: Array) -> Array:
    """Return the area under each performance profile as a share of the whole, in [0, 1], shape ``(..., S)``.

    The integral uses the trapezoidal rule on the grid, as in the official code. It is summed over workloads instead of
    grid points: a workload whose ratio is first covered by grid point k contributes the area of all trapezoids right of
    it, and half of the one before.

    Args:
        ratios: Time over the fastest, shape ``(..., S, B)``; every benchmark workload has a column.
        taus: Grid of factors, shape ``(P,)``, ascending.

    Example:
        >>> benchmark_score(np.array([[1.0, np.inf], [2.5, 1.0]]), np.array([1.0, 2.0, 3.0, 4.0]))
        array([0.5 , 0.75])
    """
    widths = np.diff(taus)
    weights = np.concatenate([widths, [0.0]]) / 2 + np.concatenate([[0.0], widths]) / 2
    area_from = np.concatenate([np.cumsum(weights[::-1])[::-1], [0.0]])
    area_from /= area_from[0]  # the width of the grid, summed in the same order: a full profile is exactly 1
    # NaN is sorted as the largest number, so like inf it finds the 0 at the end.
    return np.asarray(area_from[np.searchsorted(taus, ratios)].mean(axis=-1))


def relative_times(times: Array, reference: Array, budgets: Array) -> Array:
    """Return times divided by those of a reference submission, without unit, shape ``(..., S, B)``; below 1 is faster.

    Disqualifications are not applied. A missed target counts as the budget plus 1, for both; NaN stays.

    Args:
        times: Seconds, shape ``(..., S, B)``.
        reference: Seconds of the reference, shape ``(..., B)``.
        budgets: Seconds, shape ``(B,)``.
    """
    capped, base = (np.where(np.isinf(each), budgets + 1, each) for each in (times, reference))
    return np.asarray(capped / base[..., None, :])


def geometric_mean(factors: Array) -> Array:
    """Return the geometric mean over the last axis; NaN if one factor is.

    A mean of 0.72 equals a speedup of 1.39: the published "28 % faster" is ``100 * (1 - 0.72)``.

    Args:
        factors: Positive, shape ``(..., B)``.
    """
    return np.asarray(np.exp(np.log(factors).mean(axis=-1)))


def ranks(scores: Array) -> NDArray[np.intp]:
    """Return the rank of each score, 1 is best, equal scores share the better one, shape ``(..., S)``.

    Example:
        >>> ranks(np.array([0.5, 0.7, 0.5, 0.1]))
        array([2, 1, 2, 4])
    """
    above = scores[..., None, :] > scores[..., :, None] + 1e-12  # rounding errors do not change ranks
    return np.asarray(above.sum(axis=-1) + 1)
