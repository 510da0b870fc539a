"""Report section on anytime performance: early and final leaders, and changes of the rankings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from algoperf_lightning.report.charts import profile_points
from algoperf_lightning.report.parts import Axis, Cell, Chart, Column, Field, Heat, Section, Series, Table
from algoperf_lightning.report.scores import decimals
from algoperf_lightning.scoring.anytime import Anytime, without_way
from algoperf_lightning.scoring.anytime import anytime as follow
from algoperf_lightning.scoring.anytime_outputs import anytime_files, tied_with
from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.mathematics import time_ratios
from algoperf_lightning.scoring.measure import Measure, resolved
from algoperf_lightning.scoring.uncertainty import Uncertainty

_TEXT = (
    "The way of a workload goes from its first value (the median over submissions of the evaluation after one step) to "
    "its target. A share of the way is an easier target, and profiles and scores follow from it by the same rules; "
    "at 100 % they are the leaderboard's. Early shares are mostly passed between two evaluations, so "
    "many submissions cannot be distinguished there; anytime.csv lists them in tied_with. Only the scores at 100 % "
    "are AlgoPerf scores.",
    "The way is measured in the metric itself, except for perplexities, whose logarithm is used. How much training a "
    "share takes differs between metrics: the last tenth often takes most of the time.",
)


def anytime(board: Leaderboard, uncertainty: Uncertainty) -> Section | None:
    """Return times to fractions of the way, their scores, and ranks over time; None for a single submission."""
    if len(board.submissions) < 2:
        return None
    found, lost = follow(board), [finding.message for finding in without_way(board)]
    if found is None:
        return Section("On the way to the targets", ["No workload has both a first value and a target.", *lost])
    charts = [
        _score_ranks(board, found),
        _mean_ranks(board, found),
        *(_profiles(board, found, level) for level in range(len(found.levels) - 1)),
        *(_times(board, found, column) for column in range(len(found.benchmark.base))),
    ]
    return Section(
        title="On the way to the targets",
        text=[*_TEXT, *lost],
        charts=charts,
        tables=[_score_table(board, found), _leaders(found), _flips(found)],
        files=anytime_files(found, board.measure),
    )


def _shares(found: Anytime) -> list[str]:
    return [f"{share:.0%}" for share in found.levels]


def _numbers(board: Leaderboard) -> list[str]:
    return [str(rank) for rank in range(1, len(board.submissions) + 1)]


def _places(board: Leaderboard, ranks: np.ndarray) -> list[Series]:
    """Return one line per submission through its ranks, with rank 1 at the top."""
    at = np.arange(float(ranks.shape[1]))
    return [Series(at, ranks[row] - 1.0, submission=board.submissions[row]) for row in board.order]


def _score_ranks(board: Leaderboard, found: Anytime) -> Chart:
    return Chart(
        title="Rank by score, if the targets were a share of the way",
        x=Axis("share of the way to the target", names=_shares(found)),
        y=Axis("rank by score", names=_numbers(board)),
        series=_places(board, found.score_ranks.T.astype(float)),
        text="Where lines cross, the ranking changes: the submission that is ahead early is not the one that "
        "reaches the targets first.",
        picture="anytime",
        values={board.submissions[row]: f"{found.scores[-1, row]:.4f}" for row in board.order},
        legend="score at 100%",
    )


def _mean_ranks(board: Leaderboard, found: Anytime) -> Chart:
    ranks = found.mean_ranks
    return Chart(
        title="Mean rank over time",
        x=Axis("share of the budget used", 0, 1, percent=True),
        y=Axis("mean rank over workloads (1 is best)", 1, len(board.submissions)),
        series=[Series(found.grid, ranks[row], submission=board.submissions[row]) for row in board.order],
        text=(
            "On each workload, submissions are ranked by the share of the way covered so far (median over studies of "
            "the best trial); those that reached the target are ranked by their time. Without a log "
            "the rank is the last."
        ),
        picture="anytime_ranks",
        values={board.submissions[row]: f"{ranks[row, -1]:.1f}" for row in board.order},
        legend="mean rank at the end",
    )


def _profiles(board: Leaderboard, found: Anytime, level: int) -> Chart:
    share, limit = f"{found.levels[level]:.0%}", found.benchmark.limit
    lines = [
        Series(*(each.tolist() for each in profile_points(found.ratios[level, row], limit)),
               submission=board.submissions[row], line="step")
        for row in board.order
    ]  # fmt: skip
    return Chart(
        title=f"Performance profiles at {share} of the way",
        x=Axis(f"{board.measure.noun}, as a multiple of the fastest submission's", 1, limit),
        y=Axis(f"share of workloads brought to {share}", -0.02, 1.02),
        series=lines,
        values={board.submissions[row]: f"{found.scores[level, row]:.4f}" for row in board.order},
        legend="score",
    )


def _times(board: Leaderboard, found: Anytime, column: int) -> Chart:
    workload, measure = found.benchmark.base[column], board.measure
    times = found.times[:, :, column]
    ties = [tied_with(found, level, column) for level in range(len(found.levels))]
    ratios = time_ratios(times.T, board.reference).T  # each fraction is a separate column
    lowest = 0.95 * min(1.0, float(np.nanmin(ratios)))  # times may be faster than the fastest of a reference board
    at, levels = np.arange(float(len(found.levels))), range(len(found.levels))
    lines = [
        Series(
            x=at,
            y=np.where(np.isfinite(ratios[:, row]), ratios[:, row], np.nan),
            submission=board.submissions[row],
            notes=[
                _note(times[level, row], found.resolutions[level, row, column], ties[level][row], measure)
                for level in levels
            ],
        )
        for row in board.order
    ]
    return Chart(
        title=f"{workload.name}: {measure.noun} to shares of the way",
        x=Axis("share of the way to the target", names=_shares(found)),
        y=Axis(f"{measure.noun}, as a multiple of the fastest's there", lowest, found.benchmark.limit),
        series=lines,
        picture=f"anytime_{workload.name}",
        values={
            board.submissions[row]: measure.text(times[-1, row]) if np.isfinite(times[-1, row]) else "missed"
            for row in board.order
            if np.isfinite(times[:, row]).any()
        },
        legend=f"{measure.noun} to the target",
    )


def _note(time: float, resolution: float, ties: Sequence[str], measure: Measure) -> str:
    if not np.isfinite(time):
        return "missed"
    tied = f"; tied, within the distance between evaluations, with {', '.join(ties)}" if ties else ""
    return f"{resolved(time, resolution)} {measure.unit}{tied}"


def _score_table(board: Leaderboard, found: Anytime) -> Table:
    heat = Heat(0.0, 1.0)
    rows: list[list[Field]] = [
        [board.submissions[row], *(decimals(found.scores[level, row], 4) for level in range(len(found.levels)))]
        for row in board.order
    ]
    columns = [Column("submission"), *(Column(share, heat=heat) for share in _shares(found))]
    names = [board.submissions[row] for row in board.order]
    return Table(columns, rows, title="Score, if the targets were a share of the way", submissions=names)


def _leaders(found: Anytime) -> Table:
    """Return the table of leaders."""
    rows: list[list[Field]] = [
        [
            workload.name,
            float(found.first[column]),
            workload.validation_target,
            *(_leader(found, level, column) for level in range(len(found.levels))),
        ]
        for column, workload in enumerate(found.benchmark.workloads)
    ]
    columns = [Column("workload"), Column("first value"), Column("target"), *map(Column, _shares(found))]
    text = "After the +: how many others are tied with the first, within the distance between evaluations."
    return Table(columns, rows, title="First at each share of the way", text=[text])


def _flips(found: Anytime) -> Table:
    """Return the table of pairs of submissions that change their order on the rest of the way."""
    rows: list[list[Field]] = []
    for column, workload in enumerate(found.benchmark.workloads):
        changed, ordered = (each[:-1].tolist() for each in found.flips(column))
        rows.append([workload.name, *(_part_of(*pair) for pair in zip(changed, ordered, strict=True))])
    heat = Heat(0.0, 0.5)
    columns = [Column("workload"), *(Column(share, heat=heat) for share in _shares(found)[:-1])]
    return Table(columns, rows, title="Pairs that flip", text=[_PAIRS])


def _part_of(changed: int, ordered: int) -> Cell:
    return Cell(f"{changed} of {ordered}", changed / ordered if ordered else np.nan)


_PAIRS = (
    "Pairs of submissions whose order at this share of the way differs from that at the target, of the pairs that are "
    "not tied at either; a missed target comes last."
)


def _leader(found: Anytime, level: int, column: int) -> Cell:
    times = found.times[level, :, column]
    if not np.isfinite(times).any():
        return Cell("none", np.nan)
    row = int(np.nanargmin(times))
    others = tied_with(found, level, column)[row]
    return Cell(found.submissions[row] + (f" +{len(others)}" if others else ""), note=", ".join(others))
