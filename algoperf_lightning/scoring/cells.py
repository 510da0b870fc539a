"""The result of each submission on each workload, with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.scoring import mathematics
from algoperf_lightning.scoring.mathematics import Mode, Rows
from algoperf_lightning.scoring.runs import Trial
from algoperf_lightning.scoring.table import TrialTable

Array = NDArray[np.float64]
Cells = dict[tuple[str, str], "Cell"]
"""By submission and workload."""

COUNTS = "counts"
REASONS = {
    COUNTS: "it counts",
    "no log": "no trial left a log",
    "missed": "the target was missed in the median over studies",
    "4x": "more than {limit:g} times the fastest",
    "held-out missed": "the target of the held-out workload was missed",
    "held-out 4x": "on the held-out workload more than {limit:g} times the fastest",
    "held-out no log": "no trial on the held-out workload left a log",
    "base missed": "a held-out workload does not count where the base target was missed",
}


@dataclass(frozen=True)
class StudyOutcome:
    """The result of one study on one workload."""

    study: str
    used: float
    """Seconds or steps of the best trial; ``inf`` if all missed."""
    resolution: float
    """Distance of the best trial's evaluation from the previous one, between which it met the target; NaN if missed."""
    winner: Trial | None
    trials: int
    """Number of trials."""
    decides: bool
    """Whether this study is the median, or one of the two in the middle."""


@dataclass(frozen=True)
class Cell:
    """One submission on one workload: its time, its result, and its studies."""

    submission: str
    workload: str
    used: float
    """Seconds or steps, median over studies, before any rule; ``inf`` missed, NaN no log."""
    resolution: float
    """Resolution of ``used``: distance from the previous evaluation; NaN without a time."""
    ratio: float
    """``used`` divided by the fastest that counts; below 1 if it is faster than the board it is scored against. ``inf``
    if it does not count, NaN for a held-out workload."""
    reason: str
    """A key of ``REASONS``."""
    studies: tuple[StudyOutcome, ...]


def explain_cells(table: TrialTable, times: Array, ratios: Array, mode: Mode, reference: Rows | None = None) -> Cells:
    """Return every cell of a leaderboard.

    Args:
        table: The trials.
        times: Medians over studies, shape ``(S, B + H)``.
        ratios: Times divided by the fastest that counts, shape ``(S, B)``.
        mode: How a study's best trial was chosen.
        reference: Submissions that define the fastest times, shape ``(S,)``; None for all.
    """
    benchmark, split = table.benchmark, len(table.benchmark.base)
    gated = mathematics.gate_held_out(times[:, :split], times[:, split:], benchmark.base_of)
    kept = np.concatenate(
        [mathematics.drop_slow(each, benchmark.limit, reference) for each in (times[:, :split], gated)], axis=1
    )
    study_times = table.study_times(mode)
    cells = {}
    for row, submission in enumerate(table.submissions):
        own = [_own_reason(times[row, column], kept[row, column]) for column in range(times.shape[1])]
        for column, base in enumerate(benchmark.base_of, start=split):
            if own[column] == "4x" and not np.isfinite(times[row, base]):
                own[column] = "base missed"
        reasons = list(own)
        for column, base in enumerate(benchmark.base_of, start=split):
            if own[base] == COUNTS and own[column] != COUNTS:
                reasons[base] = f"held-out {own[column]}"
        for column, workload in enumerate(benchmark.workloads):
            studies = _studies(table, study_times, row, column, mode)
            deciding = [study.resolution for study in studies if study.decides]
            cells[submission, workload.name] = Cell(
                submission=submission,
                workload=workload.name,
                used=float(times[row, column]),
                resolution=float(np.mean(deciding)) if np.isfinite(times[row, column]) else np.nan,
                ratio=float(ratios[row, column]) if column < split else np.nan,
                reason=reasons[column],
                studies=studies,
            )
    return cells


def _own_reason(time: float, kept: float) -> str:
    if np.isnan(time):
        return "no log"
    if np.isinf(time):
        return "missed"
    return COUNTS if np.isfinite(kept) else "4x"


def _studies(table: TrialTable, study_times: Array, row: int, column: int, mode: Mode) -> tuple[StudyOutcome, ...]:
    names: Sequence[str] = table.studies.get((row, column), ())
    times = study_times[row, column, : len(names)]
    order = np.argsort(times, kind="stable").tolist()
    middle = {order[(len(order) - 1) // 2], order[len(order) // 2]} if order else set()
    outcomes = []
    for k, name in enumerate(names):
        place = table.winner(row, column, k, mode)
        outcomes.append(
            StudyOutcome(
                study=name,
                used=float(times[k]),
                resolution=np.nan if place is None else float(table.resolutions[row, column, k, place]),
                winner=None if place is None else table.trials[row, column, k, place],
                trials=int((~np.isnan(table.times[row, column, k])).sum()),
                decides=k in middle,
            )
        )
    return tuple(outcomes)
