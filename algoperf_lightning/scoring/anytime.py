"""Anytime performance: times to shares of the way to the target, and ranks over time.

The way of a workload starts at its initial value and ends at its validation target. The initial value is the same for
all submissions: the median over submissions of the median over studies of the median over trials of the first
evaluation, which the benchmark makes after one step. A share of the way is a value between the two, so the time to it
is the time to an easier target. It is treated like a time to target: a study is scored by its best trial, a workload by
the median over studies, and profiles and scores follow by the same rules. At 100 % they are the board's.

Letters in shapes are those of ``mathematics``; ``L`` are shares of the way, ``G`` times of a grid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.scoring import mathematics, way
from algoperf_lightning.scoring.benchmarks import Benchmark, ScoredWorkload
from algoperf_lightning.scoring.leaderboard import Leaderboard, score_times
from algoperf_lightning.scoring.mathematics import Mode
from algoperf_lightning.scoring.runs import Finding, Trial

Array = NDArray[np.float64]

LEVELS = (0.25, 0.5, 0.75, 0.9, 1.0)
"""Shares of the way from the first value to the target."""
GRID = 101
"""Times from 0 to the budget at which ranks are taken."""
LOGARITHMIC = frozenset({"ppl"})
"""Metrics with a logarithmic scale. A perplexity is the exponential of the training loss: on a linear scale from 60,000
to 22, all submissions would complete nine tenths of the way (to 6,000) in their first evaluations."""


@dataclass(frozen=True)
class Anytime:
    """Times to shares of the way, and ranks over time. Rows are in the order of ``submissions``."""

    submissions: tuple[str, ...]
    benchmark: Benchmark
    """The benchmark with the workloads whose way is known: all of the board's, or some."""
    levels: Array
    """Shares of the way, shape ``(L,)``, the last one 1."""
    first: Array
    """Start of the way, shape ``(W,)``, in the unit of each metric."""
    values: Array
    """Metric at each share of the way, shape ``(L, W)``."""
    times: Array
    """Before any rule, shape ``(L, S, W)``; ``inf`` missed, NaN no log."""
    resolutions: Array
    """Resolution of the times, shape ``(L, S, W)``."""
    ratios: Array
    """Times divided by the fastest that counts, shape ``(L, S, B)``."""
    scores: Array
    """Scores with each share of the way as target, shape ``(L, S)``."""
    grid: Array
    """Shares of the budget, shape ``(G,)``."""
    progress: Array
    """Completed share of the way, median over studies of the best trial so far, shape ``(S, W, G)``; NaN no log."""
    time_ranks: Array
    """Rank by ``progress``, among those that reached the target by their times, shape ``(S, W, G)``; 1 is best."""

    @property
    def score_ranks(self) -> NDArray[np.intp]:
        """Rank of each submission by ``scores``, shape ``(L, S)``; 1 is best, equal scores share the better rank."""
        return mathematics.ranks(self.scores)

    @property
    def mean_ranks(self) -> Array:
        """Mean over base workloads of ``time_ranks``, shape ``(S, G)``; without a log, the last place."""
        ranks = self.time_ranks[:, : len(self.benchmark.base)]
        return np.asarray(np.where(np.isnan(ranks), len(self.submissions), ranks).mean(axis=1))

    def workload_ranks(self, column: int) -> Array:
        """Return the rank of each submission at each share of a workload's way, shape ``(L, S)``; NaN no log."""
        return way.mid_ranks(-self.times[:, :, column].T).T

    def flips(self, column: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the numbers of pairs whose order differs from that at the target, and of ordered pairs, ``(L,)``."""
        return way.flips(self.times[:, :, column], self.resolutions[:, :, column])


def anytime(board: Leaderboard, levels: Sequence[float] = LEVELS) -> Anytime | None:
    """Return the anytime performance of the submissions of a board.

    Workloads without a way are skipped; :func:`without_way` names them. None if no base workload remains.

    Args:
        board: The leaderboard; its mode determines how a study's best trial is chosen.
        levels: Shares of the way, ascending; the last one must be 1.
    """
    benchmark, first = board.benchmark, _first_values(board)
    kept: list[int] = []
    for column, workload in enumerate(benchmark.workloads):
        known = workload.base is None or any(workload.base == benchmark.workloads[place].name for place in kept)
        if known and not _no_way(workload, float(first[column])):
            kept.append(column)
    part = _part(benchmark, kept)
    if part is None:
        return None
    shares = np.asarray(levels, dtype=float)
    values = np.stack(
        [
            way.values_on_the_way(float(first[c]), w.validation_target, shares, w.metric in LOGARITHMIC)
            for c, w in zip(kept, part.workloads, strict=True)
        ],
        axis=1,
    )
    times, resolutions = _times(board, part, kept, values)
    _, ratios, scores = score_times(times, part, board.reference)
    grid = np.linspace(0.0, 1.0, GRID)
    progress = _progress(board, part, kept, first, grid)
    return Anytime(
        submissions=board.submissions,
        benchmark=part,
        levels=shares,
        first=first[kept],
        values=values,
        times=times,
        resolutions=resolutions,
        ratios=ratios,
        scores=scores,
        grid=grid,
        progress=progress,
        time_ranks=way.rank_over_time(progress, times[-1]),
    )


def without_way(board: Leaderboard) -> list[Finding]:
    """Return a finding for each workload without an initial value, or whose initial value already meets its target."""
    found = []
    for workload, first in zip(board.benchmark.workloads, _first_values(board).tolist(), strict=True):
        if reason := _no_way(workload, first):
            found.append(Finding("no way to follow", f"{workload.name}: {reason}; the way there is unknown."))
    return found


def _first_values(board: Leaderboard) -> Array:
    """Return the start of the way of each workload, shape ``(W,)``; with a reference board, that of the board."""
    found = []
    for column in range(len(board.benchmark.workloads)):
        values = _first_evaluations(board, column)
        theirs = np.nan if board.reference is None else way.first_value(values[board.reference])
        found.append(way.first_value(values) if np.isnan(theirs) else theirs)
    return np.array(found)


def _part(benchmark: Benchmark, kept: Sequence[int]) -> Benchmark | None:
    workloads = [benchmark.workloads[column] for column in kept]
    if len(kept) == len(benchmark.workloads):
        return benchmark
    base = tuple(each for each in workloads if each.base is None)
    held_out = tuple(each for each in workloads if each.base is not None)
    return dataclasses.replace(benchmark, base=base, held_out=held_out, part=True) if base else None


def _no_way(workload: ScoredWorkload, first: float) -> str:
    """Return the reason why a workload has no way from an initial value to the target; empty if it has one."""
    target = workload.validation_target
    if np.isnan(first):
        return "no trial has a number at its first evaluation"
    if first >= target if workload.direction == "max" else first <= target:
        return f"the first value, {first:g} in the median, meets the target, {target:g}"
    return ""


def _validation(trial: Trial, workload: ScoredWorkload) -> Array | None:
    values = trial.metrics.get(f"validation/{workload.metric}")
    return values if values is not None and values.size else None


def _trials(board: Leaderboard, column: int) -> Iterator[tuple[tuple[int, int, int], Trial]]:
    """Yield the index ``(S, K, T)`` of each trial of a workload, and the trial."""
    for (row, workload, study, number), trial in board.table.trials.items():
        if workload == column:
            yield (row, study, number), trial


def _first_evaluations(board: Leaderboard, column: int) -> Array:
    shape = board.table.times.shape
    found = np.full((shape[0], *shape[2:]), np.nan)
    for place, trial in _trials(board, column):
        values = _validation(trial, board.benchmark.workloads[column])
        if values is not None:
            found[place] = values[0]
    return found


def _times(board: Leaderboard, part: Benchmark, kept: Sequence[int], values: Array) -> tuple[Array, Array]:
    """Return times to shares of the way and their resolutions, ``(L, S, W)`` both."""
    rows, _, studies, trials = board.table.times.shape
    shape = (len(values), rows, len(kept), studies, trials)
    indices, times, resolutions = (np.full(shape, np.nan) for _ in range(3))
    for column, (source, workload) in enumerate(zip(kept, part.workloads, strict=True)):
        for (row, study, number), trial in _trials(board, source):
            place = (slice(None), row, column, study, number)
            found = _validation(trial, workload)
            if found is None:
                indices[place] = times[place] = np.inf
                continue
            hits = way.first_successes(found, values[:, column], workload.direction)
            used = np.concatenate([[0.0], trial.used, [np.inf]])
            at = np.minimum(hits, len(found)).astype(int) + 1
            indices[place], times[place] = hits, used[at]
            resolutions[place] = np.where(np.isfinite(hits), used[at] - used[at - 1], np.nan)  # inf - s is not a time
            for level in np.flatnonzero(np.isfinite(hits)) if board.measure.interpolated else ():
                target = float(values[level, column])
                times[level, *place[1:]] = mathematics.crossing(found, trial.used, int(hits[level]), target)
    return way.median_with(*_best_of_studies(indices, times, resolutions, board.mode))


def _best_of_studies(indices: Array, times: Array, resolutions: Array, mode: Mode) -> tuple[Array, Array]:
    """Return the time of each study's best trial and its resolution, ``(..., K)`` both."""
    best = mathematics.best_of_study(indices, times, mode)
    candidates = np.where(np.isnan(times), np.inf, times)
    if mode == "published":
        ranks = np.where(np.isnan(indices), np.inf, indices)
        candidates = np.where(ranks == ranks.min(axis=-1, keepdims=True), candidates, np.inf)
    place = candidates.argmin(axis=-1)[..., None]
    return best, np.take_along_axis(resolutions, place, axis=-1)[..., 0]


def _progress(board: Leaderboard, part: Benchmark, kept: Sequence[int], first: Array, grid: Array) -> Array:
    """Return the completed share of the way at times, the median over studies of the best trial, ``(S, W, G)``."""
    rows, _, studies, trials = board.table.times.shape
    done = np.full((rows, len(kept), studies, trials, len(grid)), np.nan)
    for column, (source, workload) in enumerate(zip(kept, part.workloads, strict=True)):
        times = grid * part.budget(workload)
        for (row, study, number), trial in _trials(board, source):
            found = _validation(trial, workload)
            if found is None:
                done[row, column, study, number] = 0.0
                continue
            shares = way.share_of_way(
                found, float(first[source]), workload.validation_target, workload.metric in LOGARITHMIC
            )
            best = np.concatenate([[0.0], np.maximum.accumulate(shares)])
            done[row, column, study, number] = best[
                np.searchsorted(np.maximum.accumulate(trial.used), times, side="right")
            ]
    absent = np.isnan(done).all(axis=3)
    best_trials = np.where(absent, np.nan, np.nan_to_num(done, nan=-1.0).max(axis=3))
    return mathematics.median_over_studies(np.moveaxis(best_trials, 2, -1))
