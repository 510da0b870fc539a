"""Section: the log from which each number was computed."""

from __future__ import annotations

import numpy as np

from algoperf_lightning.report.parts import Cell, Column, Field, Section, Table
from algoperf_lightning.scoring.cells import StudyOutcome
from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.uncertainty import Uncertainty


def sources(board: Leaderboard, uncertainty: Uncertainty) -> Section:
    """Return the trial and the log behind each study's result."""
    rows: list[list[Field]] = []
    for row in board.order:
        for workload in board.benchmark.workloads:
            cell = board.cells[board.submissions[row], workload.name]
            rows += [[cell.submission, cell.workload, *_study(study, cell.reason)] for study in cell.studies]
    columns = [
        Column("submission"),
        Column("workload", text=True),
        Column("study", text=True),
        Column("trial", text=True),
        Column(board.measure.name),
        Column("resolution", "Time since the previous evaluation."),
        Column("the workload", "Whether it counts in the score, or why it does not.", text=True),
        Column("log", text=True),
    ]
    names = [str(row[0]) for row in rows]
    table = Table(columns, rows, f"{len(rows)} studies", submissions=names, folded=True)
    return Section("Where each number comes from", tables=[table])


def _study(study: StudyOutcome, reason: str) -> list[Field]:
    trial = study.winner
    used = "missed" if np.isinf(study.used) else f"{study.used:,.6g}"
    return [
        study.study,
        trial.number if trial else "none reached the target",
        Cell(used + " (median)" * study.decides, study.used),
        Cell("–" if np.isnan(study.resolution) else f"{study.resolution:,.4g}", study.resolution),
        reason,
        trial.source if trial else f"{study.trials} trials",
    ]
