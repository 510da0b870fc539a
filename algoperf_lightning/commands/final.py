"""``algoperf final``: the final performance of trained models, and the benefit of tuning."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.scoring.final_performance import FinalRuns, mean_and_spread, settings_of
from algoperf_lightning.scoring.final_ranks import Trying, in_words, mean_ranks, trying_against_tuning
from algoperf_lightning.scoring.final_runs import read_final_runs
from algoperf_lightning.utilities import terminal

_INTRODUCTION = (
    "Every run has a fixed number of passes over the training data, and its result is the value of the test split at "
    "the end. An optimizer is run at its default point with several seeds. Under a tuning budget, the point "
    "whose single run had the best validation value is rerun with more seeds.",
    "Reference: R. Schmidt, F. Schneider, P. Hennig, Descending through a Crowded Valley, ICML 2021, "
    "https://arxiv.org/abs/2007.01547.",
)


def run(arguments: Sequence[str]) -> None:
    """Print mean final performance and ranks, and write the report if a folder is given."""
    options = _parser().parse(arguments)
    runs, notes = read_final_runs(options.runs)
    settings = settings_of(runs)
    tuned = [each for each in settings if each[0] != settings[0][0] and each[1] == settings[0][1]]
    trying = trying_against_tuning(runs, *tuned[0]) if tuned and len(runs.optimizers) > 1 else None
    if options.output:
        from algoperf_lightning.report.final_performance import write_study  # matplotlib is slow to import

        title = "Final performance with default and tuned hyperparameters"
        write_study(title, [*_INTRODUCTION, " ".join(notes)], runs, Path(options.output))
    if options.json:
        print(json.dumps(_as_json(runs, settings, trying), indent=2))
        return
    console = terminal.console()
    for setting in settings:
        console.print(_table(runs, setting))
    if trying is not None and trying.problems:
        console.print(in_words(trying, len(trying.sizes) - 1), soft_wrap=True, highlight=False)
    for note in notes:
        console.print(escape(note), soft_wrap=True, highlight=False)
    if options.output:
        console.print(f"Report: {escape(str(Path(options.output) / 'report.html'))}", soft_wrap=True)


def _table(runs: FinalRuns, setting: tuple[str, str]) -> Table:
    ranks = mean_ranks(runs, *setting)
    table = Table("optimizer", "mean rank", *runs.problems, title=" ".join(setting), title_justify="left")
    for row in sorted(range(len(runs.optimizers)), key=lambda row: ranks.value[row]):
        values = [runs.performance(problem, runs.optimizers[row], *setting) for problem in runs.problems]
        if any(each.size for each in values):
            cells = map(mean_and_spread, values)
            table.add_row(escape(runs.optimizers[row]), f"{ranks.value[row]:.2f}", *cells)
    return table


def _as_json(runs: FinalRuns, settings: Sequence[tuple[str, str]], trying: Trying | None) -> dict[str, Any]:
    rows = [
        {
            "problem": problem,
            "optimizer": optimizer,
            "budget": setting[0],
            "schedule": setting[1],
            "test": runs.performance(problem, optimizer, *setting).tolist(),
        }
        for setting in settings
        for problem in runs.problems
        for optimizer in runs.optimizers
    ]
    found: dict[str, Any] = {"performance": rows}
    for budget, schedule in settings:
        ranks = mean_ranks(runs, budget, schedule).value.tolist()
        found.setdefault("ranks", {})[f"{budget} {schedule}"] = {
            name: None if math.isnan(rank) else rank for name, rank in zip(runs.optimizers, ranks, strict=True)
        }
    if trying is not None and trying.problems:
        sides = zip(trying.sizes, trying.gain.value, trying.gain.low, trying.gain.high, strict=True)
        found["trying"] = [
            {"runs": size, "gain": float(value), "low": float(low), "high": float(high)}
            for size, value, low, high in sides
        ]
    return found


def _parser() -> Parser:
    parser = Parser(
        prog="algoperf final",
        description="Show final performance after tuning in stages, and how much defaults and tuning matter.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUNS", help="folders of `algoperf tune --suite crowded-valley`")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--output", metavar="DIR", help="write report.html, tables and pictures there")
    return parser
