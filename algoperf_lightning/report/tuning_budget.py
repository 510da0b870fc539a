"""Section: results of each submission with the best of k trials, as a score and on each workload."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.report.parts import Axis, Cell, Chart, Column, Field, Heat, Section, Series, Table
from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.outputs import number
from algoperf_lightning.scoring.runs import counted
from algoperf_lightning.scoring.tuning_budget import TRIALS_A_TRY, Crossing, TuningBudget, tuning_budget
from algoperf_lightning.scoring.uncertainty import Uncertainty

Array = NDArray[np.float64]


def budget(board: Leaderboard, uncertainty: Uncertainty) -> Section | None:
    """Return scores and times against the number of trials; None if no submission has two trials of a workload."""
    found = tuning_budget(board, uncertainty.draws, uncertainty.seed, uncertainty.level)
    if len(found.sizes) < 2:
        return None
    workloads = [name for name in (each.name for each in board.benchmark.workloads) if _any(board, name)]
    return Section(
        "Tuning budget",
        [*_text(found), *found.notes],
        charts=[_score_chart(board, found), *(_chart(board, found, name) for name in workloads)],
        tables=[_scores(board, found), *_crossings(found)],
        files={
            "tuning_budget.csv": list(_score_rows(board, found)),
            "tuning_budget_workloads.csv": list(_workload_rows(board, found)),
        },
    )


def _text(found: TuningBudget) -> list[str]:
    return [
        "The benchmark's result with the best of k trials. All trials of a submission on a workload form one pool, "
        "whatever their study. The time at k is the median, over all sets of k trials of the pool, of the fastest "
        "one's time, computed exactly; the score at k is the benchmark's score of these times. At the number of "
        "trials of a study it may differ from the score above, which takes the median over the studies that were made.",
        f"Bands: {found.level:.0%}. Those of scores are bootstrap bands ({counted(found.draws, 'draw')} of trials), "
        f"given where there are at least {TRIALS_A_TRY} times k trials; those of times and shares are exact, and open "
        "where the trials give no bound: a further trial could be better than the best one so far.",
    ]


def _any(board: Leaderboard, workload: str) -> bool:
    column = [each.name for each in board.benchmark.workloads].index(workload)
    return bool(np.isfinite(board.table.times[:, column]).any())


def _sizes_axis(found: TuningBudget) -> Axis:
    sizes = found.sizes
    return Axis("trials, of which the best counts", float(sizes[0]), float(sizes[-1]), log=len(sizes) > 10)


def _score_chart(board: Leaderboard, found: TuningBudget) -> Chart:
    ks, scores = found.sizes.tolist(), found.scores
    lines = [
        Series(
            *(ks, scores.value[:, row].tolist()),
            submission=board.submissions[row],
            low=scores.low[:, row].tolist(),
            high=scores.high[:, row].tolist(),
            notes=[f"rank {rank}, {_band(found, place, row)}" for place, rank in enumerate(found.ranks[:, row])],
        )
        for row in board.order
    ]
    return Chart(
        title=f"Score against the tuning budget: {board.title}",
        x=_sizes_axis(found),
        y=Axis("score", 0.0),
        series=lines,
        picture="tuning_budget",
        values={board.submissions[row]: f"{scores.value[-1, row]:.3f}" for row in board.order},
        legend=f"score at {ks[-1]}",
    )


def _chart(board: Leaderboard, found: TuningBudget, workload: str) -> Chart:
    column = [each.name for each in board.benchmark.workloads].index(workload)
    ks, noun = found.sizes.tolist(), board.measure.noun
    lines, values = [], {}
    for row in board.order:
        times = found.times.value[:, row, column]
        if not np.isfinite(times).any():
            continue
        shares, low, high = (each[:, row, column] for each in (found.shares.value, found.times.low, found.times.high))
        notes = [
            f"{share:.0%} reach; {found.level:.0%}: {_end(board, start)} to {_end(board, end)}"
            for share, start, end in zip(shares, low, high, strict=True)
        ]
        lines.append(Series(ks, _gaps(times), submission=board.submissions[row], notes=notes))
        values[board.submissions[row]] = board.measure.text(float(times[-1]))
    return Chart(
        title=f"{workload}: {noun} of the best of k trials",
        x=_sizes_axis(found),
        y=Axis(f"median {noun} to target" + " in seconds" * (board.measure.unit == "seconds"), 0.0),
        series=lines,
        picture=f"tuning_budget_{workload}" if column < len(board.benchmark.base) else "",
        values=values,
        legend=f"best of {ks[-1]}",
    )


def _end(board: Leaderboard, value: float) -> str:
    return "missed" if np.isinf(value) else "unknown" if value <= 0 else board.measure.text(value)


def _gaps(values: Array) -> list[float]:
    return [float(value) for value in np.where(np.isfinite(values), values, np.nan)]


def _scores(board: Leaderboard, found: TuningBudget) -> Table:
    places = found.columns()
    columns = [Column("submission")]
    columns += [Column(f"best of {found.sizes[place]}", "score (rank)", heat=Heat(0.0, 1.0)) for place in places]
    rows: list[list[Field]] = []
    for row in board.order:
        fields: list[Field] = [board.submissions[row]]
        for place in places:
            score = float(found.scores.value[place, row])
            fields.append(Cell(f"{score:.4f} ({found.ranks[place, row]})", score, note=_band(found, place, row)))
        rows.append(fields)
    names = [board.submissions[row] for row in board.order]
    return Table(columns, rows, title="Score and rank at some budgets", submissions=names)


def _band(found: TuningBudget, place: int, row: int) -> str:
    low, high = found.scores.low[place, row], found.scores.high[place, row]
    return "band unknown" if np.isnan(low) else f"{found.level:.0%}: {low:.3f} to {high:.3f}"


def _crossings(found: TuningBudget) -> Iterator[Table]:
    overall = [each for each in found.crossings if each.workload is None]
    by_workload = [each for each in found.crossings if each.workload is not None]
    for title, crossings, first in (
        ("Where one overtakes another in the score", overall, False),
        ("Where one overtakes another on a workload", by_workload, True),
    ):
        if crossings:
            columns: list[Column | str] = [Column("workload")] if first else []
            columns += [Column("ahead with fewer trials", text=True), Column("from k trials", "Number of trials.")]
            columns += [Column("ahead is", text=True)]
            if not first:
                note = "Share of bootstrap draws with the same leader, where the lead is largest; –: no band there."
                columns += [Column("sure before", note), Column("sure after", note)]
            yield Table(columns, [_crossing(each) for each in crossings], title=title, folded=True)


def _crossing(each: Crossing) -> list[Field]:
    fields: list[Field] = [each.behind, float(each.size), each.ahead]
    if each.workload is not None:
        return [each.workload, *fields]
    return [*fields, *(Cell("–" if np.isnan(x) else f"{x:.0%}", x) for x in (each.before, each.after))]


def _score_rows(board: Leaderboard, found: TuningBudget) -> Iterator[Sequence[Any]]:
    yield "submission", "k", "score", "low", "high"
    for row in board.order:
        for place, size in enumerate(found.sizes.tolist()):
            numbers = (found.scores.value, found.scores.low, found.scores.high)
            yield board.submissions[row], size, *(number(each[place, row]) for each in numbers)


def _workload_rows(board: Leaderboard, found: TuningBudget) -> Iterator[Sequence[Any]]:
    unit = board.measure.column
    yield (
        *("submission", "workload", "trials", "k", unit, f"{unit}_low", f"{unit}_high"),
        *("share_reached", "share_low", "share_high"),
    )
    values = [getattr(of, name) for of in (found.times, found.shares) for name in ("value", "low", "high")]
    for row in board.order:
        for column, workload in enumerate(board.benchmark.workloads):
            for place, size in enumerate(found.sizes.tolist() if found.trials[row, column] else []):
                yield (
                    *(board.submissions[row], workload.name, int(found.trials[row, column]), size),
                    *(number(each[place, row, column]) for each in values),
                )
