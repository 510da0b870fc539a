"""``algoperf score``: from records of runs to a leaderboard, without loading torch."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from algoperf_lightning.commands.chosen import add_runs, chosen_runs
from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.leaderboard import Leaderboard, score_runs
from algoperf_lightning.scoring.leaderboard_data import as_data
from algoperf_lightning.scoring.official_logs import write_official
from algoperf_lightning.scoring.outputs import score_table, times_tables
from algoperf_lightning.scoring.reference import split_by_board
from algoperf_lightning.scoring.runs import Runs, counted
from algoperf_lightning.scoring.tuning_budget import tuning_budget
from algoperf_lightning.scoring.tuning_budget_outputs import budget_table
from algoperf_lightning.scoring.uncertainty import DRAWS, Uncertainty, bootstrap
from algoperf_lightning.scoring.units import COUNTS, counted_in
from algoperf_lightning.utilities import terminal

_SHOWN = 12


def run(arguments: Sequence[str]) -> None:
    """Print the leaderboard as tables or as JSON, and write tables, pictures and a report if a folder is given."""
    options = _parser().parse(arguments)
    if options.json and options.tuning_budget:
        raise BadInputError(
            "--json does not include scores by tuning budget. Leave out one of --json and --tuning-budget."
        )
    if options.unit and options.export:
        raise BadInputError(
            "--export writes runs as recorded, without --unit. Leave out --unit, or export in a separate command."
        )
    runs, benchmark = chosen_runs(options, partial(counted_in, count=options.unit) if options.unit else None)
    if options.export:
        written = write_official(Runs(split_by_board(runs)[0], runs.findings), options.export)
        if not options.json:
            print(f"{counted(len(written), 'trial')} in the official layout in {options.export}")
    if options.rescale:
        runs.rescale()
    board = score_runs(runs, benchmark, options.mode, options.baseline, options.strict, interpolate=options.interpolate)
    uncertainty = bootstrap(board, options.draws, options.seed)
    if options.json:
        print(json.dumps(as_data(board, uncertainty), indent=2, allow_nan=False))
    else:
        _print(board, uncertainty, options)
    if options.output:
        # Matplotlib takes longer to import than scoring takes.
        from algoperf_lightning.report import write_output

        path = write_output(board, uncertainty, Path(options.output), options.highlight)
        if not options.json:
            terminal.console().print(f"Report: {escape(str(path))}", soft_wrap=True)


def _print(board: Leaderboard, uncertainty: Uncertainty, options: Namespace) -> None:
    console = terminal.console()
    for part in [*score_table(board, uncertainty), *times_tables(board, console.width)]:
        console.print(part)
    if options.tuning_budget:
        for part in budget_table(board, tuning_budget(board, options.draws, options.seed)):
            console.print(part)
    _print_findings(board, console)


def _parser() -> Parser:
    parser = Parser(
        prog="algoperf score",
        description="Score submissions against each other: leaderboard, times, speedups, performance profiles.",
    )
    add_runs(parser)
    parser.add_argument(
        "--baseline", metavar="NAME", help="submission that speedups are relative to (default: baseline)"
    )
    parser.add_argument(
        "--unit",
        choices=COUNTS,
        help="compare by training steps, or by seconds without the machine's noise (default: the unit of the runs)",
    )
    parser.add_argument(
        "--rescale",
        action="store_true",
        help="divide times and budgets by the scales of their machines (gives estimates)",
    )
    parser.add_argument(
        "--interpolate",
        action="store_true",
        help="interpolate linearly between evaluations to find when the target was crossed (gives estimates)",
    )
    parser.add_argument("--strict", action="store_true", help="refuse incomplete or questionable sets of runs")
    parser.add_argument(
        "--tuning-budget", action="store_true", help="also show the scores with the best of 1, 2, 5, ... trials"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--output", metavar="DIR", help="folder for scores.csv, times.csv, pictures and report.html")
    parser.add_argument(
        "--highlight",
        metavar="NAME",
        action="append",
        default=[],
        help="draw this submission in colour and the others in grey; can be repeated",
    )
    parser.add_argument(
        "--export", metavar="DIR", help="write the runs to this folder in the layout of the official logs"
    )
    parser.add_argument("--draws", type=int, default=DRAWS, help="number of bootstrap draws (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default %(default)s)")
    return parser


def _print_findings(board: Leaderboard, console: Console) -> None:
    for finding in board.findings[:_SHOWN]:
        console.print(f"[yellow]{finding.kind}:[/] {escape(finding.message)}", soft_wrap=True, highlight=False)
    if len(board.findings) > _SHOWN:
        console.print(f"and {len(board.findings) - _SHOWN} more; the report (--output DIR) has all.")
