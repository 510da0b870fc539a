"""Sections: the leaderboard with its uncertainty, the performance profiles, and findings about the runs."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from algoperf_lightning.report.charts import profile_chart
from algoperf_lightning.report.parts import Axis, Cell, Chart, Column, Field, Section, Series, Table
from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.outputs import interval, span
from algoperf_lightning.scoring.uncertainty import Interval, Uncertainty


def leaderboard(board: Leaderboard, uncertainty: Uncertainty) -> Section:
    """Return the ranking with its intervals."""
    level, speedups = f"{uncertainty.level:.0%}", board.speedups
    part, wide = uncertainty.studies, uncertainty.trials
    columns = [
        Column("submission"),
        Column("rank"),
        Column("score", "The area under its performance profile, in [0, 1]."),
        Column(f"{level} interval", "The range of the score if the studies are resampled."),
        Column(f"{level} of ranks", "The range of the rank if the studies are resampled."),
        Column("first in", "Share of the draws in which no other score was higher."),
        Column(f"{level}, trials drawn too", "The range of the score if trials are resampled, too."),
        Column("workloads counted"),
    ]
    if speedups is not None:
        columns.append(Column(f"{board.measure.noun} over {board.baseline}", "Below 1 is faster."))
    rows: list[list[Field]] = []
    for row in board.order:
        counted = int(np.isfinite(board.counted[row]).sum())
        fields: list[Field] = [
            board.submissions[row],
            float(board.ranks[row]),
            Cell(f"{board.scores[row]:.4f}", float(board.scores[row]), tone="best"),
            _interval(part, row),
            Cell(span(part.rank_low[row], part.rank_high[row]), float(part.rank_low[row]))
            if part.known[row]
            else Cell("–", np.nan),
            Cell(f"{part.first[row]:.0%}", float(part.first[row])) if part.known[row] else Cell("–", np.nan),
            _interval(wide, row),
            Cell(f"{counted} of {len(board.benchmark.base)}", counted),
        ]
        rows.append([*fields, *([] if speedups is None else [decimals(speedups[row], 4)])])
    names = [board.submissions[row] for row in board.order]
    text = [uncertainty.caveat] if uncertainty.caveat else []
    table = Table(columns, rows, submissions=names)
    return Section("Leaderboard", text, [scores_chart(board, uncertainty)], [table], [_how_sure(uncertainty)])


def decimals(value: float, places: int) -> Cell:
    """Return a number with a fixed number of decimals; ``–`` for NaN and ``inf``."""
    return Cell(f"{value:.{places}f}" if np.isfinite(value) else "–", float(value))


def _interval(part: Interval, row: int) -> Cell:
    return Cell(interval(part, row, 4), float(part.score_low[row]) if part.known[row] else np.nan)


def _how_sure(uncertainty: Uncertainty) -> str:
    return Markup(
        "Intervals: percentile bootstrap, {draws:,} draws, seed {seed}. Each draw takes, for each submission and "
        "workload separately, as many studies as there are, with replacement, and scores all submissions again. The "
        "hyperparameters, the workloads and the set of submissions are fixed. In the column <em>trials drawn "
        "too</em> the trials within each drawn study are drawn as well; a draw then has fewer different trials "
        "than were made, so that its times are longer on average. A score is relative to the fastest of its draw, and "
        "the fastest of many noisy ones is lucky: intervals are biased downwards, and may lie below the score. With 3 "
        "or 5 studies a bootstrap is rough: read the intervals as an order of magnitude. <em>First in</em>: share of "
        "the draws in which no other score was higher. Equal scores share a rank."
    ).format(draws=uncertainty.draws, seed=uncertainty.seed)


def scores_chart(board: Leaderboard, uncertainty: Uncertainty) -> Chart:
    """Return the scores with their intervals, one below the other."""
    part, names = uncertainty.studies, [board.submissions[row] for row in board.order]
    series = [
        Series(
            *([board.scores[row]], [place], board.submissions[row]),
            x_low=[part.score_low[row] if part.known[row] else np.nan],
            x_high=[part.score_high[row] if part.known[row] else np.nan],
            line="none",
        )
        for place, row in enumerate(board.order)
    ]
    return Chart(
        title=f"Scores with {uncertainty.level:.0%} intervals",
        x=Axis("score", 0, 1),
        y=Axis("", names=names),
        series=series,
        picture="scores",
    )


def profiles(board: Leaderboard, uncertainty: Uncertainty) -> Section:
    """Return the performance profiles."""
    text = (
        "For each factor, the share of workloads that a submission trained within this factor of the fastest one, "
        f"in {board.measure.name}. The score is the area under the line."
    )
    return Section("Performance profiles", [text], charts=[profile_chart(board)])


def findings(board: Leaderboard, uncertainty: Uncertainty) -> Section:
    """Return what was missing, assumed or odd."""
    if not board.findings:
        return Section("What to know", ["Nothing was missing, assumed or unusual."])
    columns = [Column("kind"), Column("what", text=True)]
    return Section("What to know", tables=[Table(columns, [[each.kind, each.message] for each in board.findings])])
