"""Section: dependence of the scores on held-out workloads, each workload, and each other submission."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.report.parts import Column, Field, Heat, Section, Table
from algoperf_lightning.report.scores import decimals
from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.uncertainty import (
    Uncertainty,
    leave_one_submission_out,
    leave_one_workload_out,
    without_held_out,
)


def dependence(board: Leaderboard, uncertainty: Uncertainty) -> Section:
    """Return the scores without each of these."""
    tables = []
    if board.benchmark.held_out:
        scores = {"without held-out": without_held_out(board)}
        tables.append(_table(board, "Without held-out workloads", "score", scores))
    for what, left_out in (
        ("workload", leave_one_workload_out(board)),
        ("submission", leave_one_submission_out(board)),
    ):
        if left_out:
            tables.append(_table(board, f"With one {what} left out", "all", left_out))
    text = [] if tables else ["One submission on one workload: nothing can be left out."]
    return Section("What the scores depend on", text, tables=tables)


def _table(board: Leaderboard, title: str, whole: str, scores: Mapping[str, NDArray[np.float64]]) -> Table:
    rows: list[list[Field]] = [
        [
            board.submissions[row],
            decimals(board.scores[row], 4),
            *(decimals(each[row], 4) for each in scores.values()),
        ]
        for row in board.order
    ]
    heat = Heat(0.0, 1.0)
    columns = [Column("submission"), Column(whole, heat=heat), *(Column(name, heat=heat) for name in scores)]
    return Table(columns, rows, title=title, submissions=[board.submissions[row] for row in board.order])
