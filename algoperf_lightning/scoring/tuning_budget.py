"""Results as a function of the tuning budget: the best of k trials, per workload and as a score.

Published scores correspond to a single tuning budget, the number of trials per study. Here, all trials of a submission
on a workload form one pool, independent of their study. The time for k trials is the median of the fastest time over
all subsets of k trials. Everything else is scored as usual. ``docs/tuning_budget.md`` explains the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.best_of import median_best, median_interval, share_interval, share_reached, sizes
from algoperf_lightning.scoring.leaderboard import Leaderboard, score_times
from algoperf_lightning.scoring.mathematics import ranks
from algoperf_lightning.scoring.runs import some_of
from algoperf_lightning.scoring.uncertainty import DRAWS, LEVEL

Array = NDArray[np.float64]

TRIALS_A_TRY = 5
"""Minimum ratio of the number of trials to k for a score band. Below it, bootstrap bands are too narrow."""


@dataclass(frozen=True)
class Estimates:
    """Values and their intervals, all of the same shape. Unknown ends are 0 or ``inf``."""

    value: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Crossing:
    """Tuning budget at which one submission overtakes another."""

    workload: str | None
    """Workload; None means the score."""
    behind: str
    """Submission that leads with fewer trials."""
    ahead: str
    """Submission that leads from ``size`` trials until the next crossing."""
    size: int
    before: float
    """Fraction of draws in which ``behind`` leads at the earlier k with its largest lead; NaN without a band."""
    after: float
    """Fraction of draws in which ``ahead`` leads at the later k with its largest lead; NaN without a band."""


@dataclass(frozen=True)
class TuningBudget:
    """Results of the best of k trials. Rows are those of the leaderboard, columns its base, then held-out workloads."""

    sizes: NDArray[np.intp]
    """Values of k, shape ``(K,)``, from 1 to the maximum number of trials of a submission on a workload."""
    trials: NDArray[np.intp]
    """Number of trials, shape ``(S, W)``."""
    times: Estimates
    """Median time of the best of k trials, shape ``(K, S, W)``; ``inf`` means missed, NaN no log. Exact intervals."""
    shares: Estimates
    """Probability that at least one of k trials reaches the target, shape ``(K, S, W)``. Exact intervals."""
    scores: Estimates
    """Benchmark score of the median times, shape ``(K, S)``. Bootstrap intervals; NaN with too few trials."""
    ranks: NDArray[np.intp]
    """Shape ``(K, S)``."""
    crossings: tuple[Crossing, ...]
    draws: int
    level: float
    notes: tuple[str, ...]
    """Caveats of the numbers."""

    def columns(self, wanted: tuple[int, ...] = (1, 2, 5, 10, 25, 50, 100)) -> list[int]:
        """Return the positions in ``sizes`` of selected k for a table, including the last one."""
        places = [int(np.abs(self.sizes - size).argmin()) for size in wanted if size <= self.sizes[-1]]
        return sorted({*places, len(self.sizes) - 1})


def tuning_budget(board: Leaderboard, draws: int = DRAWS, seed: int = 0, level: float = LEVEL) -> TuningBudget:
    """Return the results of each submission with the best of k trials, for k up to the number of trials.

    Args:
        board: Leaderboard. The fastest of ``k`` trials is used in both of its modes.
        draws: Number of bootstrap draws for the scores. Each resamples the trials of every submission and workload with
            replacement. 0 disables the bootstrap.
        seed: The same seed gives the same bands.
        level: Confidence level of the intervals.

    Raises:
        BadInputError: If ``draws`` or ``seed`` is negative, or ``level`` is not between 0 and 1.
    """
    if draws < 0 or seed < 0 or not 0 < level < 1:
        raise BadInputError(
            f"Expected draws >= 0, seed >= 0 and a level between 0 and 1, but got {draws}, {seed} and {level}."
        )
    pooled = board.table.times.reshape(*board.times.shape, -1)  # (S, W, N)
    counts = (~np.isnan(pooled)).sum(axis=-1)
    ks = sizes(int(counts.max()))
    medians = median_best(pooled, ks)  # (S, W, K)
    times = _estimates(medians, *median_interval(pooled, ks, level))
    shares = _estimates(share_reached(pooled, ks), *share_interval(pooled, ks, level))
    scores = score_times(times.value, board.benchmark, board.reference)[2]  # (K, S)
    enough = np.array([np.median(row[row > 0]) for row in counts]) / TRIALS_A_TRY  # (S,)
    banded = ks[: int((ks <= enough.max()).sum())]
    drawn = _drawn_scores(pooled, banded, board, draws, seed)  # (draws, first part of K, S)
    low, high = np.full((2, *scores.shape), np.nan)
    if drawn.size:
        low[: len(banded)], high[: len(banded)] = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
        unknown = ks[:, None] > enough
        low[unknown] = high[unknown] = np.nan
    return TuningBudget(
        sizes=ks,
        trials=counts,
        times=times,
        shares=shares,
        scores=Estimates(scores, low, high),
        ranks=ranks(scores),
        crossings=tuple(_crossings(board, ks, times.value, scores, drawn)),
        draws=draws,
        level=level,
        notes=tuple(_notes(board, counts)),
    )


def _estimates(value: Array, low: Array, high: Array) -> Estimates:
    """Move the axis of k to the front."""
    return Estimates(*(np.moveaxis(each, -1, 0) for each in (value, low, high)))


def _drawn_scores(pooled: Array, ks: NDArray[np.intp], board: Leaderboard, draws: int, seed: int) -> Array:
    """Return the scores of resampled trials, shape ``(draws, K, S)``. Loops over workloads to save memory."""
    rng = np.random.default_rng([seed, 2])
    submissions, workloads = board.times.shape
    medians = np.empty((draws, len(ks), submissions, workloads))
    for column in range(workloads):
        ordered = np.sort(pooled[:, column], axis=-1)  # (S, N), NaN last
        counts = (~np.isnan(ordered)).sum(axis=-1)[:, None]
        chosen = (rng.random((draws, *ordered.shape)) * counts).astype(np.intp)
        drawn = np.take_along_axis(ordered[None], chosen, axis=-1)
        drawn[:, np.arange(ordered.shape[-1]) >= counts] = np.nan
        medians[..., column] = np.moveaxis(median_best(drawn, ks), -1, 1)
    scores = np.empty(medians.shape[:-1])
    for place in range(len(ks)):
        scores[:, place] = score_times(medians[:, place], board.benchmark, board.reference)[2]
    return scores


def _crossings(
    board: Leaderboard, ks: NDArray[np.intp], times: Array, scores: Array, drawn: Array
) -> Iterator[Crossing]:
    names = board.submissions
    yield from _where(None, names, ks, -scores, -drawn)
    for column, workload in enumerate(board.benchmark.workloads):
        yield from _where(workload.name, names, ks, times[..., column], None)


def _where(
    workload: str | None, names: tuple[str, ...], ks: NDArray[np.intp], values: Array, drawn: Array | None
) -> Iterator[Crossing]:
    """Yield the crossings of the values of each pair, shape ``(K, S)``. Lower is better, and ties are not crossings."""
    for one in range(len(names)):
        for other in range(one):
            with np.errstate(invalid="ignore"):
                lead = (values[:, other] < values[:, one]).astype(int) - (values[:, one] < values[:, other])
            places = np.flatnonzero(lead)
            turns = places[1:][lead[places][1:] != lead[places][:-1]].tolist()
            for turn, start, end in zip(turns, [0, *turns][: len(turns)], [*turns, len(ks)][1:], strict=True):
                ahead, behind = (other, one) if lead[turn] > 0 else (one, other)
                sure = (
                    (_led(values, drawn, behind, ahead, start, turn), _led(values, drawn, ahead, behind, turn, end))
                    if drawn is not None
                    else (np.nan, np.nan)
                )
                yield Crossing(workload, names[behind], names[ahead], int(ks[turn]), *sure)


def _led(values: Array, drawn: Array, first: int, second: int, start: int, end: int) -> float:
    """Return the fraction of draws in which one submission leads at the k, within a range, of its largest lead."""
    end = min(end, drawn.shape[1])
    if start >= end or not len(drawn):
        return np.nan
    at = start + int((values[start:end, second] - values[start:end, first]).argmax())
    return float((drawn[:, at, first] < drawn[:, at, second]).mean())


def _notes(board: Leaderboard, counts: NDArray[np.intp]) -> Iterator[str]:
    """Yield caveats that limit the interpretation of the numbers."""
    columns = [workload.name for workload in board.benchmark.workloads]
    most = int(counts.max())
    if most == 1:
        yield "Each submission has one trial on each workload, so nothing is known about other tuning budgets."
    fewer = [
        f"{name} on {columns[column]} ({counts[row, column]})"
        for row, name in enumerate(board.submissions)
        for column in np.flatnonzero((counts[row] > 0) & (counts[row] < most)).tolist()
    ]
    if fewer:
        yield (
            f"Fewer than {most} trials: {some_of(fewer)}. For larger k all of their trials are used, "
            "although more trials could only be faster."
        )
    reached: list[bool] = np.asarray(np.isfinite(board.table.times).any(axis=(0, 2, 3))).tolist()
    nobody = [name for name, some in zip(columns, reached, strict=True) if not some]
    if nobody:
        yield f"No trial reached the target on {some_of(nobody)}."
