"""``algoperf reprice``: the ranking on another machine, estimated from the cost of steps there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from algoperf_lightning.commands.chosen import add_runs, chosen_runs
from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.files import make_folder
from algoperf_lightning.scoring.cost import step_costs
from algoperf_lightning.scoring.leaderboard import Leaderboard, score_runs
from algoperf_lightning.scoring.outputs import times_tables, write_csv
from algoperf_lightning.scoring.prices import priced_part, read_prices, with_sizes
from algoperf_lightning.scoring.units import by_clean_seconds, on_machine
from algoperf_lightning.utilities import terminal


def run(arguments: Sequence[str]) -> None:
    """Print the scores without noise on the machine of the runs, and on the other machine."""
    parser = Parser(
        prog="algoperf reprice",
        description="Estimate the ranking on another machine: steps to the target, times the cost of a step there.",
    )
    add_runs(parser)
    parser.add_argument(
        "--costs",
        metavar="PLACE",
        required=True,
        help="cost of a step there: a table submission,workload,seconds_per_step (.csv or .yaml), or runs made there. "
        "The cost for wmt is also used for wmt_small, unless the table has its own",
    )
    parser.add_argument("--output", metavar="DIR", help="write repriced.csv there")
    options = parser.parse(arguments)
    runs, benchmark = chosen_runs(options)
    prices = with_sizes(read_prices(Path(options.costs)), runs)
    runs, benchmark = priced_part(runs, benchmark, prices)
    here = score_runs(by_clean_seconds(runs), benchmark, options.mode)
    there = score_runs(on_machine(runs, prices, options.costs), benchmark, options.mode)
    console = terminal.console()
    console.print(_scores(here, there))
    for part in times_tables(there, console.width):
        console.print(part)
    for finding in there.findings:
        if finding.strict:
            console.print(f"[yellow]{finding.kind}:[/] {escape(finding.message)}", soft_wrap=True, highlight=False)
    if options.output:
        path = make_folder(options.output, "--output") / "repriced.csv"
        write_csv(path, _rows(here, there, prices))
        console.print(escape(str(path)), soft_wrap=True)


def _scores(here: Leaderboard, there: Leaderboard) -> RenderableType:
    table = Table(title=escape(f"Scores: {there.title}"), title_justify="left", box=box.SIMPLE_HEAD)
    table.caption = (
        "here: on the machine of the runs, without its noise. step: cost of a step there divided by its cost "
        "here, geometric mean over workloads."
    )
    table.caption_justify = "left"
    table.add_column("")
    table.add_column("submission", overflow="fold")
    for column in ("score there", "score here", "rank here", "step"):
        table.add_column(column, justify="right")
    for row in there.order:
        name = there.submissions[row]
        other = here.submissions.index(name)
        fields = (f"{there.scores[row]:.4f}", f"{here.scores[other]:.4f}", str(here.ranks[other]))
        table.add_row(str(there.ranks[row]), escape(name), *fields, f"{_dearer(name, there):.3g}")
    return table


def _dearer(name: str, there: Leaderboard) -> float:
    """Return the ratio of a submission's step cost to that on the machine of the runs."""
    mine = [trial for trial in there.table.trials.values() if trial.submission == name]
    costs = step_costs(mine)
    factors = {
        trial.workload: trial.price.seconds / costs[name, trial.workload].seconds
        for trial in mine
        if trial.price is not None
    }
    return float(np.exp(np.mean(np.log(list(factors.values())))))


def _rows(here: Leaderboard, there: Leaderboard, prices: dict[tuple[str, str], float]) -> list[Sequence[object]]:
    rows: list[Sequence[object]] = [
        ("submission", "workload", "seconds_per_step", "seconds_there", "seconds_here", "score_there", "score_here")
    ]
    for row in there.order:
        name = there.submissions[row]
        scores = (float(there.scores[row]), float(here.scores[here.submissions.index(name)]))
        for workload in there.benchmark.workloads:
            used = (there.cells[name, workload.name].used, here.cells[name, workload.name].used)
            rows.append((name, workload.name, prices.get((name, workload.name), ""), *used, *scores))
    return rows
