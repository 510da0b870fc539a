"""A leaderboard as plain data, for ``algoperf score --json``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.uncertainty import Interval, Uncertainty


def as_data(board: Leaderboard, uncertainty: Uncertainty) -> dict[str, Any]:
    """Return a leaderboard as numbers, strings, lists and dicts.

    Values that are not finite are None: the time of a missed target, or an interval that cannot be estimated.
    """
    return {
        "title": board.title,
        "mode": board.mode,
        "unit": board.measure.column,
        "baseline": board.baseline,
        "level": uncertainty.level,
        "submissions": [_submission(board, uncertainty.studies, row) for row in board.order],
        "times": [_time(board, row, workload) for row in board.order for workload in board.benchmark.workloads],
        "findings": [{"kind": each.kind, "message": each.message} for each in board.findings],
    }


def _submission(board: Leaderboard, part: Interval, row: int) -> dict[str, Any]:
    def known(values: Any) -> float | None:
        return finite(values[row]) if part.known[row] else None

    return {
        "submission": board.submissions[row],
        "rank": int(board.ranks[row]),
        "score": finite(board.scores[row]),
        "score_low": known(part.score_low),
        "score_high": known(part.score_high),
        "rank_low": known(part.rank_low),
        "rank_high": known(part.rank_high),
        "workloads_counted": int(np.isfinite(board.counted[row]).sum()),
        "over_baseline": None if board.speedups is None else finite(board.speedups[row]),
    }


def _time(board: Leaderboard, row: int, workload: Any) -> dict[str, Any]:
    cell = board.cells[board.submissions[row], workload.name]
    return {
        "submission": cell.submission,
        "workload": cell.workload,
        "held_out_of": workload.base,
        "used": finite(cell.used),
        "budget": finite(board.benchmark.budget(workload)),
        "resolution": finite(cell.resolution),
        "reason": cell.reason,
    }


def finite(value: Any) -> float | int | None:
    """Return a number, or None instead of infinity and NaN, which JSON does not have."""
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(value) if isinstance(value, np.integer | int) else number
