"""Uncertainty of scores: bootstrap intervals, and the effect of leaving out a workload or a submission.

The published scores have no intervals. Ours use the percentile bootstrap of Efron 1979
(https://doi.org/10.1214/aos/1176344552) on the studies of each median time.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.benchmarks import Benchmark
from algoperf_lightning.scoring.leaderboard import Leaderboard, score_times
from algoperf_lightning.scoring.mathematics import Mode, best_of_study, median_over_studies, ranks
from algoperf_lightning.scoring.runs import some_of
from algoperf_lightning.scoring.table import TrialTable

Array = NDArray[np.float64]

LEVEL = 0.95
DRAWS = 1000


@dataclass(frozen=True)
class Interval:
    """Percentile intervals of scores and ranks; rows are those of the leaderboard."""

    score_low: Array
    """Shape ``(S,)``."""
    score_high: Array
    rank_low: NDArray[np.intp]
    """Best rank, shape ``(S,)``."""
    rank_high: NDArray[np.intp]
    first: Array
    """Share of draws in which the submission was first (alone or not), shape ``(S,)``."""
    known: NDArray[np.bool_]
    """Whether studies of the submission could be drawn, shape ``(S,)``; otherwise its interval is meaningless."""


@dataclass(frozen=True)
class Uncertainty:
    """Intervals of two bootstrap schemes."""

    draws: int
    level: float
    seed: int
    studies: Interval
    """Studies are drawn with replacement, separately for each submission and workload; trials are not drawn."""
    trials: Interval
    """Studies are drawn, and the trials within each too. Biased to slower times: a draw has fewer different trials."""
    unknown: tuple[str, ...]
    """Submissions with one study of each workload."""
    narrow: tuple[str, ...]
    """Submissions with one study of some workloads, and more of others."""

    @property
    def caveat(self) -> str:
        """Remark if nothing or too little could be drawn; otherwise empty."""
        if not self.studies.known.any():
            return "With one study of each submission on each workload no interval can be given."
        parts = []
        if self.unknown:
            parts.append(f"No interval for {some_of(self.unknown)}, with only one study of each workload.")
        if self.narrow:
            parts.append(f"Intervals are too narrow for {some_of(self.narrow)}, with only one study of some workloads.")
        return " ".join(parts)


def bootstrap(board: Leaderboard, draws: int = DRAWS, seed: int = 0, level: float = LEVEL) -> Uncertainty:
    """Return intervals for the scores and ranks of a leaderboard.

    Every draw takes the same number of studies with replacement, separately for each submission and workload, and
    scores all submissions again: fastest times, disqualifications and ratios are those of the draw.

    Args:
        board: The leaderboard.
        draws: Number of draws.
        seed: Seed of the draws.
        level: Share of the draws in an interval.

    Raises:
        BadInputError: If ``draws`` is not positive, ``seed`` negative, or ``level`` not between 0 and 1.
    """
    if draws < 1 or seed < 0 or not 0 < level < 1:
        raise BadInputError(
            f"Expected draws >= 1, seed >= 0 and a level between 0 and 1, but got {draws}, {seed} and {level}."
        )
    trials = (~np.isnan(board.table.times)).sum(axis=-1)  # (S, W, K)
    studies = (trials > 0).sum(axis=-1)  # (S, W)
    several = (studies > 1).any(axis=-1)
    known = several, several | (trials > 1).any(axis=(1, 2))
    found = [
        _interval(
            redraw(board.table, board.mode, draws, np.random.default_rng([seed, with_trials]), bool(with_trials)),
            board,
            level,
            known[with_trials],
        )
        for with_trials in (0, 1)
    ]
    single = (studies == 1).any(axis=-1)
    unknown, narrow = (
        tuple(name for name, chosen in zip(board.submissions, rows, strict=True) if chosen)
        for rows in (~several, several & single)
    )
    return Uncertainty(draws, level, seed, studies=found[0], trials=found[1], unknown=unknown, narrow=narrow)


def redraw(table: TrialTable, mode: Mode, draws: int, rng: np.random.Generator, with_trials: bool = False) -> Array:
    """Return medians over studies that are drawn with replacement, shape ``(draws, S, W)``.

    Args:
        table: Trials of ``S`` submissions and ``W`` workloads.
        mode: How a study's best trial is chosen.
        draws: Number of draws.
        rng: Random generator, which is advanced.
        with_trials: Whether to draw the trials of each study too.
    """
    shape = (draws, *table.times.shape[:2])
    medians = np.full(shape, np.nan)
    for column in range(shape[2]):  # one by one, to keep the arrays small
        times, indices = table.times[:, column], table.indices[:, column]  # (S, K, T)
        studies = (~np.isnan(times)).any(axis=-1).sum(axis=-1)  # (S,) existing ones are in the first places
        chosen = _with_replacement(rng, studies, (draws, *times.shape[:2]))  # (draws, S, K)
        if not with_trials:
            best = best_of_study(indices, times, mode)  # (S, K)
            drawn = np.take_along_axis(best[None], np.maximum(chosen, 0), axis=2)
        else:
            rows = np.arange(times.shape[0])[None, :, None]
            times, indices = times[rows, chosen], indices[rows, chosen]  # (draws, S, K, T)
            picks = _with_replacement(rng, (~np.isnan(times)).sum(axis=-1), times.shape)
            drawn_times, drawn_indices = (
                np.where(picks < 0, np.nan, np.take_along_axis(each, np.maximum(picks, 0), axis=3))
                for each in (times, indices)
            )
            drawn = best_of_study(drawn_indices, drawn_times, mode)
        medians[:, :, column] = median_over_studies(np.where(chosen < 0, np.nan, drawn))
    return medians


def _with_replacement(rng: np.random.Generator, counts: NDArray[np.intp], shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Return random indices below ``counts``, as many as the count along the last axis, then -1."""
    count = np.broadcast_to(counts[..., None], shape)
    chosen = (rng.random(shape) * count).astype(np.intp)
    return np.where(np.arange(shape[-1]) < count, chosen, -1)


def _interval(medians: Array, board: Leaderboard, level: float, known: NDArray[np.bool_]) -> Interval:
    scores = score_times(medians, board.benchmark, board.reference)[2]
    ranked = ranks(scores)
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(scores, ends, axis=0)
    best, worst = np.quantile(ranked, ends, axis=0, method="nearest")
    return Interval(low, high, best.astype(np.intp), worst.astype(np.intp), (ranked == 1).mean(axis=0), known)


def leave_one_workload_out(board: Leaderboard) -> dict[str, Array]:
    """Return the scores without each base workload and its held-out ones: by workload, shape ``(S,)``.

    Empty if there is only one base workload.
    """
    found = {}
    names = [workload.name for workload in board.benchmark.workloads]
    for workload in board.benchmark.base if len(board.benchmark.base) > 1 else ():
        benchmark = board.benchmark.without(workload.name)
        columns = [names.index(each.name) for each in benchmark.workloads]
        found[workload.name] = score_times(board.times[:, columns], benchmark, board.reference)[2]
    return found


def leave_one_submission_out(board: Leaderboard) -> dict[str, Array]:
    """Return the scores of the others without each submission: by submission, shape ``(S,)``, NaN at its own place.

    Empty if there is only one submission.
    """
    found = {}
    for row, submission in enumerate(board.submissions if len(board.submissions) > 1 else ()):
        rest = np.arange(len(board.submissions)) != row
        scores = np.full(len(board.submissions), np.nan)
        reference = None if board.reference is None else board.reference[rest]
        scores[rest] = score_times(board.times[rest], board.benchmark, reference)[2]
        found[submission] = scores
    return found


def without_held_out(board: Leaderboard) -> Array:
    """Return the scores without held-out workloads, shape ``(S,)``."""
    benchmark: Benchmark = dataclasses.replace(board.benchmark, held_out=())
    return score_times(board.times[:, : len(benchmark.base)], benchmark, board.reference)[2]
