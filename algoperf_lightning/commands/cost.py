"""``algoperf cost``: the contributions of algorithm and machine to each time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from algoperf_lightning.commands.chosen import add_runs, chosen_runs
from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.files import make_folder
from algoperf_lightning.scoring.cost import STEADY
from algoperf_lightning.scoring.leaderboard import Leaderboard, score_runs
from algoperf_lightning.scoring.measure import digits
from algoperf_lightning.scoring.outputs import write_csv
from algoperf_lightning.scoring.runs import counted
from algoperf_lightning.scoring.views import Views, cost_files, views_of
from algoperf_lightning.utilities import terminal

_SHOWN = 20


def run(arguments: Sequence[str]) -> None:
    """Print scores by seconds, steps and seconds without noise, the split of each time, and the noisy trials."""
    parser = Parser(
        prog="algoperf cost",
        description="Split each time to target into steps, seconds per step, and the time that the machine added.",
    )
    add_runs(parser)
    parser.add_argument("--output", metavar="DIR", help="folder for CSV files; `score --output` also writes a page")
    options = parser.parse(arguments)
    board = score_runs(*chosen_runs(options), options.mode)
    views = views_of(board)
    console = terminal.console()
    for part in (_scores(board, views), _splits(board, views), _noisy(views)):
        console.print(part)
    for kind in ("against a board", "mixed hardware"):
        for finding in board.findings:
            if finding.kind == kind:
                console.print(f"[yellow]{kind}:[/] {escape(finding.message)}", soft_wrap=True, highlight=False)
    if options.output:
        folder = make_folder(Path(options.output), "--output")
        for name, rows in cost_files(board, views).items():
            write_csv(folder / name, rows)
            console.print(escape(str(folder / name)), soft_wrap=True)


def _scores(board: Leaderboard, views: Views) -> RenderableType:
    table = _table(f"Scores by what is counted: {board.title}", "submission", *views.scores)
    table.caption = "In brackets: rank. Clean seconds: steps times the cost of a step on an undisturbed machine."
    if views.odd:
        table.caption += (
            " – or *: excluded from the score by steps, on all or some workloads, because its steps cost many "
            "times as much as those of others."
        )
    for row in board.order:
        name = board.submissions[row]
        star = "*" * any(submission == name for submission, _ in views.odd)
        fields = [
            "–"
            if scores[row] != scores[row]
            else f"{scores[row]:.4f} ({views.ranks[view][row]})" + star * (view == "steps")
            for view, scores in views.scores.items()
        ]
        table.add_row(escape(name), *fields)
    return table


def _splits(board: Leaderboard, views: Views) -> RenderableType:
    table = _table("Seconds to target = steps x seconds per step + added", "workload", "submission", "seconds", "steps")
    table.caption = "added: start, compilation, and everything that slowed steps down."
    for column in ("ms per step", "added s", "added"):
        table.add_column(column, justify="right")
    for workload in board.benchmark.workloads:
        for row in board.order:
            split = views.splits.get((board.submissions[row], workload.name))
            if split is not None:
                numbers = (f"{split.seconds:,.0f}", f"{split.steps:,.0f}", digits(1e3 * split.step_seconds))
                added = (f"{split.added:,.0f}", f"{split.added / split.seconds:.0%}")
                table.add_row(*map(escape, (workload.name, board.submissions[row])), *numbers, *added)
    if not table.row_count:
        return "No submission reached a target in the median over its studies, so there is no time to split."
    return table


def _noisy(views: Views) -> RenderableType:
    if not views.noisy:
        return f"No trial took more than {STEADY:g} times what its steps cost without noise."
    number = counted(len(views.noisy), "trial")
    table = _table(
        f"Not steady: {number} took more than {STEADY:g} times what their steps cost without noise", "workload"
    )
    for column in ("submission", "study", "trial"):
        table.add_column(column, overflow="fold")
    for column in ("ms per step", "lowest", "highest", "times"):
        table.add_column(column, justify="right")
    for key, each in views.noisy[:_SHOWN]:
        milliseconds = (digits(1e3 * value) for value in (views.costs[key].seconds, each.lowest, each.highest))
        where = (each.trial.study, each.trial.number)
        table.add_row(*map(escape, (key[1], key[0], *where)), *milliseconds, f"{each.times:.2f}")
    if len(views.noisy) > _SHOWN:
        table.caption = f"and {len(views.noisy) - _SHOWN} more; --output DIR writes all."
    return table


def _table(title: str, first: str, *numbers: str) -> Table:
    table = Table(title=escape(title), title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(first, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="left" if name == "submission" else "right", overflow="fold")
    return table
