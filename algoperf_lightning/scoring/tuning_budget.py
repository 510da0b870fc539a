"""Results against the tuning budget: what the best of k trials is worth, by workload and as a score.

The published scores are those of one tuning budget, the trials of a study. Here all trials of a submission on a
workload are one pool, whatever their study, and its time is the median over all sets of k of them of the fastest one's
time; the rest is scored as always. ``docs/tuning_budget.md`` explains the numbers.
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
"""A score has a band up to a k of which there are so many times as many trials; beyond it a bootstrap is too narrow."""


@dataclass(frozen=True)
class Estimates:
    """Values and the intervals around them, all of one shape; an end of which nothing is known is 0 or ``inf``."""

    value: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Crossing:
    """Where one submission overtakes another as more trials may be made."""

    workload: str | None
    """None: in the score."""
    behind: str
    """Who is ahead with few trials."""
    ahead: str
    """Who is ahead from ``size`` trials on, until the next crossing."""
    size: int
    before: float
    """Share of the draws in which ``behind`` leads at the k before where its lead is largest; NaN without a band."""
    after: float
    """Share of the draws in which ``ahead`` leads at the k after where its lead is largest; NaN without a band."""


@dataclass(frozen=True)
class TuningBudget:
    """Results of the best of k trials; rows are those of the leaderboard, columns its base, then held-out workloads."""

    sizes: NDArray[np.intp]
    """The k, shape ``(K,)``, from 1 to the most trials that a submission has of a workload."""
    trials: NDArray[np.intp]
    """How many trials there are, shape ``(S, W)``."""
    times: Estimates
    """Median time of the best of k, shape ``(K, S, W)``; ``inf`` missed, NaN no log. Exact intervals."""
    shares: Estimates
    """Chance that one of k reaches the target, shape ``(K, S, W)``. Exact intervals."""
    scores: Estimates
    """The benchmark score of the median times, shape ``(K, S)``. Bootstrap; NaN where it knows too little."""
    ranks: NDArray[np.intp]
    """Shape ``(K, S)``."""
    crossings: tuple[Crossing, ...]
    draws: int
    level: float
    notes: tuple[str, ...]
    """What must be said beside the numbers."""

    def columns(self, wanted: tuple[int, ...] = (1, 2, 5, 10, 25, 50, 100)) -> list[int]:
        """Return the places of some k in ``sizes`` that a table has room for, the last among them."""
        places = [int(np.abs(self.sizes - size).argmin()) for size in wanted if size <= self.sizes[-1]]
        return sorted({*places, len(self.sizes) - 1})


def tuning_budget(board: Leaderboard, draws: int = DRAWS, seed: int = 0, level: float = LEVEL) -> TuningBudget:
    """Return what each submission reaches with the best of k trials, for k up to the trials there are.

    Args:
        board: The leaderboard; of ``k`` trials the fastest is taken in both of its modes.
        draws: Of the bootstrap for the scores: each draws the trials of every submission and workload with
            replacement. 0 for none.
        seed: The same seed gives the same bands.
        level: Of the intervals.

    Raises:
        BadInputError: If ``draws`` or ``seed`` is negative, or ``level`` not between 0 and 1.
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
    drawn = _drawn_scores(pooled, banded, board, draws, seed)  # (draws, of K the first, S)
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
    """Put the axis of k first."""
    return Estimates(*(np.moveaxis(each, -1, 0) for each in (value, low, high)))


def _drawn_scores(pooled: Array, ks: NDArray[np.intp], board: Leaderboard, draws: int, seed: int) -> Array:
    """Return the scores of drawn trials, shape ``(draws, K, S)``; workload by workload, to keep the arrays small."""
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
    """Yield the crossings of each pair's values, shape ``(K, S)``, less is better; equal ones are no crossing."""
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
    """Return the share of draws in which one leads the other at the k, of some, where its lead is largest."""
    end = min(end, drawn.shape[1])
    if start >= end or not len(drawn):
        return np.nan
    at = start + int((values[start:end, second] - values[start:end, first]).argmax())
    return float((drawn[:, at, first] < drawn[:, at, second]).mean())


def _notes(board: Leaderboard, counts: NDArray[np.intp]) -> Iterator[str]:
    """Yield what keeps the numbers from being what they look like."""
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
            f"Fewer than {most} trials: {some_of(fewer)}. For a k above their number all of them are taken, "
            "though more trials could only be faster."
        )
    reached: list[bool] = np.asarray(np.isfinite(board.table.times).any(axis=(0, 2, 3))).tolist()
    nobody = [name for name, some in zip(columns, reached, strict=True) if not some]
    if nobody:
        yield f"No trial reached the target on {some_of(nobody)}."
