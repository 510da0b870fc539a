"""Section: contributions of algorithm and machine: scores in three units, split of times, noisy trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.report.parts import Axis, Cell, Chart, Column, Field, Heat, Section, Series, Table
from algoperf_lightning.scoring.cost import STEADY, interval_costs
from algoperf_lightning.scoring.leaderboard import Leaderboard
from algoperf_lightning.scoring.measure import digits
from algoperf_lightning.scoring.runs import counted
from algoperf_lightning.scoring.uncertainty import Uncertainty
from algoperf_lightning.scoring.views import Views, can_be_split, cost_files, views_of

_TITLE = "Algorithm, cost and machine"
_CHARTS = 4
"""Number of drawn workloads."""

COUNTED = (
    "Steps ignore the cost of a step. Clean seconds are steps times the undisturbed cost of "
    "a step of the submission: the 10 % quantile over the intervals between evaluations of all its trials on the "
    "workload. Neither is an AlgoPerf score. In both, a trial that was stopped by its budget of seconds counts as "
    "missed."
)
LEFT_OUT = (
    "–: left out, because its steps are not comparable with those of the others. *: left out on some workloads for "
    "that reason."
)
SPLIT = (
    "Seconds to target = steps x seconds per step + what the machine added: its start, compilation, and everything "
    "that slowed steps down. If two trials are the median, means of both."
)
NOISY = (
    f"Trials whose steps took more than {STEADY:g} times what a step of their submission costs on the workload without "
    "noise. A step whose cost changes on purpose, for example with a growing batch, looks the same."
)


def cost(board: Leaderboard, uncertainty: Uncertainty) -> Section | None:
    """Return scores by seconds, steps and seconds without noise; None if the runs are not in measured seconds."""
    if not can_be_split(board):
        return None
    try:
        views = views_of(board)
    except BadInputError as error:
        return Section(_TITLE, [f"These times cannot be split into steps and their cost: {error}"])
    tables = [scores_table(board, views), split_table(board, views)]
    if views.noisy:
        tables.append(noise_table(views))
    return Section(
        _TITLE,
        [COUNTED, LEFT_OUT] if views.odd else [COUNTED],
        charts=noise_charts(board, views),
        tables=tables,
        files=cost_files(board, views),
    )


def scores_table(board: Leaderboard, views: Views) -> Table:
    """Return the scores and ranks by what is counted."""
    rows = []
    for row in board.order:
        fields: list[Field] = [board.submissions[row]]
        for name in views.scores:
            fields += [_score(board, views, name, row), _rank(views, name, row)]
        rows.append(fields)
    heat = Heat(0.0, 1.0)
    columns = [Column("submission")]
    for name in views.scores:
        columns += [Column(name, heat=heat), Column("rank")]
    return Table(columns, rows, submissions=[board.submissions[row] for row in board.order])


def _score(board: Leaderboard, views: Views, name: str, row: int) -> Cell:
    value = float(views.scores[name][row])
    if np.isnan(value):
        return Cell("–", value, note="its steps are not comparable with those of the others")
    star = "*" * (name == "steps" and any(key[0] == board.submissions[row] for key in views.odd))
    return Cell(f"{value:.4f}{star}", value)


def _rank(views: Views, name: str, row: int) -> Cell:
    if np.isnan(views.scores[name][row]):
        return Cell("–", float("nan"))
    return Cell(str(views.ranks[name][row]), float(views.ranks[name][row]))


def split_table(board: Leaderboard, views: Views) -> Table:
    """Return each time to target, split."""
    rows: list[Sequence[Field]] = []
    for workload in board.benchmark.workloads:
        for row in board.order:
            split = views.splits.get((board.submissions[row], workload.name))
            if split is not None:
                rows.append([
                    f"{workload.name}, {board.submissions[row]}",
                    Cell(f"{split.seconds:,.0f}", split.seconds),
                    Cell(f"{split.steps:,.0f}", split.steps),
                    Cell(digits(1e3 * split.step_seconds), split.step_seconds),
                    Cell(f"{split.added:,.0f}", split.added),
                    Cell(f"{split.added / split.seconds:.0%}", split.added / split.seconds),
                ])  # fmt: skip
    columns: list[Column | str] = [
        Column("workload, submission"),
        *("seconds", "steps", "ms per step", "added, s"),
        Column("added", heat=Heat(0.0, 1.0)),
    ]
    return Table(columns, rows, title="Times to target, split", text=[SPLIT], folded=True)


def noise_charts(board: Leaderboard, views: Views) -> list[Chart]:
    """Return what a step cost along each trial, on the workloads with the most trials that did not run steadily."""
    noisy = Counter(workload for (_, workload), _ in views.noisy)
    charts = []
    for workload, number in noisy.most_common(_CHARTS):
        series = []
        for name in (board.submissions[row] for row in board.order):
            cost = views.costs.get((name, workload))
            for each in () if cost is None else cost.trials:
                made, took, ends = interval_costs(each.trial.steps, each.trial.seconds)
                where = f"study {each.trial.study}, trial {each.trial.number}"
                series.append(Series(ends, 1e3 * took / made, name, strong=not each.steady, name=where))
        low, high = Axis("submission time in seconds", 0), Axis("milliseconds per step", log=True)
        text = f"{counted(number, 'trial')} that did not run steadily, in full colour; the others are pale."
        title = f"{workload}: what a step cost"
        charts.append(Chart(title, low, high, series, text=text, picture=f"step_cost_{workload}"))
    return charts


def noise_table(views: Views) -> Table:
    """Return the trials that did not run steadily, the worst first."""
    rows: list[Sequence[Field]] = [
        [
            each.trial.label,
            Cell(digits(1e3 * views.costs[key].seconds), views.costs[key].seconds),
            Cell(digits(1e3 * each.lowest), each.lowest),
            Cell(digits(1e3 * each.highest), each.highest),
            Cell(f"{each.times:.2f}", each.times),
        ]
        for key, each in views.noisy
    ]
    columns = [
        Column("trial"),
        Column("ms per step", note="without noise, of the submission on the workload"),
        Column("lowest", note="ms per step in the trial's fastest interval"),
        Column("highest", note="ms per step in its slowest interval"),
        Column("times", note="its seconds over what its steps cost without noise", heat=Heat(1.0, 4.0)),
    ]
    return Table(columns, rows, title="Trials that did not run steadily", text=[NOISY], folded=True)
