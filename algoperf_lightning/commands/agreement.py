"""``algoperf agreement``: does a suite rank submissions like the benchmark?"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from algoperf_lightning.commands.chosen import add_benchmark
from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.agreement import Agreement, agreement, of_ruleset, shared_runs
from algoperf_lightning.scoring.agreement_outputs import agreement_tables, as_data
from algoperf_lightning.scoring.boards import board_name, find_board, packaged_boards
from algoperf_lightning.scoring.choice import choose_benchmark
from algoperf_lightning.scoring.leaderboard import score_runs
from algoperf_lightning.scoring.prices import priced_part, prices_of, with_sizes
from algoperf_lightning.scoring.readers import read_runs
from algoperf_lightning.scoring.selection import Selection
from algoperf_lightning.scoring.uncertainty import DRAWS
from algoperf_lightning.scoring.units import on_machine
from algoperf_lightning.utilities import terminal


def run(arguments: Sequence[str]) -> None:
    """Print how the scores of runs agree with those of a board, as tables or as JSON."""
    options = _parser().parse(arguments)
    if not options.runs:
        raise BadInputError(
            "No runs were given. Expected, for example: `algoperf agreement RUNS --board v0.5-external`."
        )
    names = _same_as(options.same_as)
    selection = Selection(exclude=options.exclude)
    everything = read_runs(options.runs)
    board = read_runs([find_board(options.board)])
    reference = choose_benchmark(board)
    chosen = of_ruleset(selection.of_runs(everything), options.ruleset or reference.ruleset)
    own, board = shared_runs(chosen, board, names)
    benchmark = choose_benchmark(own, options.version, options.ruleset, options.benchmark)
    benchmark = selection.of_benchmark(benchmark, everything)
    if options.priced:
        prices = with_sizes(prices_of(board), own)
        own, benchmark = priced_part(own, benchmark, prices)
        own, board = shared_runs(own, board, {})  # without submissions that have no cost
        own = on_machine(own, prices, f"the board {board_name(options.board)}")
    found = agreement(
        score_runs(own, benchmark, options.mode),
        score_runs(board, reference, options.mode),
        names=names,
        draws=options.draws,
        seed=options.seed,
    )
    without = tuple(finding.message for finding in own.findings if finding.kind == "no cost")
    found = dataclasses.replace(found, caveats=found.caveats + without)
    _print(found, board_name(options.board), options.json)


def _parser() -> Parser:
    parser = Parser(
        prog="algoperf agreement",
        description="Compare the ranking of the submissions in RUNS with that of a board: Kendall's tau and rank-"
        "biased overlap of the scores among the shared submissions, and Kendall's tau of the times on each workload.",
    )
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUNS",
        help="run folders, archives, official logs or tables of evaluations, as for `algoperf score`",
    )
    parser.add_argument("--board", required=True, help=f"{', '.join(packaged_boards())}, or a file of runs")
    parser.add_argument(
        "--same-as",
        metavar="NAME=BOARD_NAME",
        action="append",
        default=[],
        help="a submission with another name on the board, for example nadamw=baseline; can be repeated",
    )
    parser.add_argument(
        "--exclude",
        metavar="NAME",
        action="append",
        default=[],
        help="leave out these submissions or workloads of RUNS: NAME or a pattern of names; can be repeated",
    )
    parser.add_argument(
        "--priced",
        action="store_true",
        help="count RUNS in priced steps: steps times what a step of the submission costs on the board",
    )
    parser.add_argument("--draws", type=int, default=DRAWS, help="number of bootstrap draws (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    add_benchmark(parser)
    return parser


def _same_as(given: Sequence[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for each in given:
        name, equals, theirs = each.partition("=")
        if not (name and equals and theirs):
            raise BadInputError(f"--same-as {each}: expected NAME=BOARD_NAME, for example --same-as nadamw=baseline.")
        if names.setdefault(name, theirs) != theirs:
            raise BadInputError(f"--same-as names {name} twice, as {names[name]} and as {theirs}. Give one.")
    return names


def _print(found: Agreement, board: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(as_data(found, board), indent=2, allow_nan=False))
        return
    console = terminal.console()
    for part in agreement_tables(found, board):
        console.print(part, highlight=False, soft_wrap=True)
