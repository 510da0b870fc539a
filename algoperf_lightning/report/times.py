"""Sections about each submission on each workload: times, shares of the budget, ratios, curves."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from markupsafe import Markup

from algoperf_lightning.report.charts import curves_chart
from algoperf_lightning.report.parts import Cell, Column, Field, Heat, Section, Table
from algoperf_lightning.report.scores import decimals
from algoperf_lightning.scoring import cells
from algoperf_lightning.scoring.benchmarks import ScoredWorkload
from algoperf_lightning.scoring.cells import COUNTS, REASONS
from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.outputs import NO_BASELINE, RESOLUTION, faster_or_slower, short
from algoperf_lightning.scoring.uncertainty import Uncertainty


def times(board: Leaderboard, uncertainty: Uncertainty) -> Section:
    """Return the time to target of each submission on each workload, and the reason if it does not count."""
    rows = [[_marked(short(cell), cell.used, board, cell) for cell in row] for row in _cells(board)]
    reasons = {cell.reason for cell in board.cells.values()} - {COUNTS}
    meanings = [
        Markup("<em>{}</em>: {}").format(key, REASONS[key].format(limit=board.benchmark.limit))
        for key in REASONS
        if key in reasons
    ]
    text = [f"Median over studies, before any rule. {RESOLUTION}"]
    if meanings:
        text.append(Markup("In brackets: why a time does not count. {}.").format(Markup("; ").join(meanings)))
    return Section(board.measure.heading, text, tables=[_table(board, board.benchmark.workloads, rows)])


def shares(board: Leaderboard, uncertainty: Uncertainty) -> Section:
    """Return the share of the budget that each submission used."""
    rows = []
    for row, line in zip((board.times / board.benchmark.budgets)[board.order], _cells(board), strict=True):
        texts = ["missed" if np.isinf(share) else "–" if np.isnan(share) else f"{share:.2f}" for share in row]
        rows.append([_marked(text, share, board, cell) for text, share, cell in zip(texts, row, line, strict=True)])
    text = "Of the ruleset's budget, before any rule; –: no log; underlined: does not count."
    return Section(
        "Share of the budget", [text], tables=[_table(board, board.benchmark.workloads, rows, Heat(0.0, 1.0))]
    )


def ratios(board: Leaderboard, uncertainty: Uncertainty) -> Section:
    """Return the time of each submission, divided by the fastest that counts."""
    rows = [[decimals(ratio, 3) for ratio in board.ratios[row]] for row in board.order]
    heat = Heat(1.0, board.benchmark.limit, log=True)
    return Section("Multiples of the fastest that counts", tables=[_table(board, board.benchmark.base, rows, heat)])


def over_baseline(board: Leaderboard, uncertainty: Uncertainty) -> Section:
    """Return the time of each submission, divided by the baseline's; without a baseline, how to choose one."""
    if board.relative is None or board.speedups is None:
        return Section(f"{board.measure.noun.capitalize()} over that of a baseline", [NO_BASELINE])
    text = (
        "Below 1 is faster. No rules are applied; a missed target counts as the budget plus one, for both. The mean is "
        "geometric, and its inverse is called speedup in the rules. If a workload has no log, there is no mean."
    )
    rows: list[list[Field]] = []
    for row in board.order:
        mean, fields = float(board.speedups[row]), [decimals(value, 3) for value in board.relative[row]]
        rows.append([*fields, decimals(mean, 4), Cell(faster_or_slower(mean, board.measure), mean)])
    heat = Heat(0.25, 4.0, middle=1.0, log=True)
    table = _table(board, board.benchmark.base, rows, heat, [Column("geometric mean", heat=heat), Column("in words")])
    return Section(f"{board.measure.noun.capitalize()} over that of {board.baseline}", [text], tables=[table])


def curves(board: Leaderboard, uncertainty: Uncertainty) -> Section:
    """Return the training curves of each workload with runs."""
    run = {name for (_, name), cell in board.cells.items() if cell.studies}
    text = (
        "The best trial of each study; bold: a trial of the study that is the median, with a diamond where it reached "
        "the target. A study that missed the target is represented by its nearest trial."
    )
    charts = [curves_chart(board, workload) for workload in board.benchmark.workloads if workload.name in run]
    return Section("Training curves", [text], charts=charts)


def _cells(board: Leaderboard) -> list[list[cells.Cell]]:
    workloads = board.benchmark.workloads
    return [[board.cells[board.submissions[row], workload.name] for workload in workloads] for row in board.order]


def _marked(text: str, value: float, board: Leaderboard, cell: cells.Cell) -> Cell:
    counts = cell.reason == COUNTS
    note = "" if counts else REASONS[cell.reason].format(limit=board.benchmark.limit)
    return Cell(text, float(value), tone="" if counts else "out", note=note)


def _table(
    board: Leaderboard,
    workloads: Iterable[ScoredWorkload],
    rows: Iterable[Iterable[Field]],
    heat: Heat | None = None,
    more: Iterable[Column] = (),
) -> Table:
    names = [board.submissions[row] for row in board.order]
    columns = [Column("submission"), *(Column(each.name, heat=heat) for each in workloads), *more]
    return Table(columns, [[name, *row] for name, row in zip(names, rows, strict=True)], submissions=names)
